"""1x1 convolutions of a concatenation, without the concatenation (NHWC)."""

from typing import Any

import numpy as np
from tvm import relay
from tvm.relay.dataflow_pattern import DFPatternCallback, is_constant, is_op, is_tuple

LEAST_SQUEEZE = 2
"""How many times fewer the outputs are than the channels: each partial sum is written and read."""


class ConvolvedParts(DFPatternCallback):  # type: ignore[misc]
    """Convolve each part with its own rows of the weight, and add the results up.

    SqueezeNet's modules end with a concatenation and begin by squeezing it to an eighth: adding the
    small results moves less memory than putting the large parts together. A maximum pool between
    the two is applied to each part. If anything else reads the concatenation, TVM does not match.
    """

    def __init__(self) -> None:
        super().__init__(require_type=True)
        self.parts, self.weight = is_tuple(None), is_constant()
        self.joined = is_op("concatenate")(self.parts)
        self.pool = is_op("nn.max_pool2d")(self.joined)
        self.pattern = is_op("nn.conv2d")(self.pool | self.joined, self.weight)

    def callback(self, pre: Any, post: Any, matched: Any) -> Any:
        """Return the sum of the parts' convolutions."""
        attrs, weight = pre.attrs, matched[self.weight][0].data.numpy()
        pool = matched[self.pool][0] if self.pool in matched else None
        joined = pre.args[0] if pool is None else pre.args[0].args[0]
        if (attrs.data_layout, attrs.kernel_layout) != ("NHWC", "HWIO") or int(attrs.groups) > 1:
            return post
        if weight.shape[:2] != (1, 1) or weight.shape[2] < LEAST_SQUEEZE * weight.shape[3]:
            return post
        if int(joined.attrs.axis) % 4 != 3 or (pool is not None and pool.attrs.layout != "NHWC"):
            return post
        ends = np.cumsum([int(part.checked_type.shape[3]) for part in joined.args[0].fields])
        weights = np.split(weight, ends[:-1], axis=2)
        total = None
        for part, own in zip(matched[self.parts][0].fields, weights, strict=True):
            data = part if pool is None else relay.Call(pool.op, [part], pool.attrs)
            result = relay.Call(pre.op, [data, relay.const(own)], attrs)
            total = result if total is None else relay.add(total, result)
        return total
