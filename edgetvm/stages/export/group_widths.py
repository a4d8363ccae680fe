"""Grouped convolutions whose groups' outputs fill vectors (NHWC)."""

from typing import Any

import numpy as np
from tvm import relay
from tvm.relay.dataflow_pattern import DFPatternCallback, is_constant, is_op, wildcard

VECTOR = 8
"""Outputs of a group become a multiple of this many: a vector of float32 on most CPUs.

Wider vectors need not pay: where a CPU has them it runs the half ones twice as often.
"""


class GroupsOfVectors(DFPatternCallback):  # type: ignore[misc]
    """Give each group of a 1x1 convolution outputs that fill vectors, and cut them off again.

    Twenty outputs are five vectors of four, which run at half of an AVX2 or AVX-512 CPU's speed;
    seventeen are none at all. The cut is fused into the channel shuffle that follows.
    """

    def __init__(self) -> None:
        super().__init__(require_type=True)
        self.data, self.weight, self.bias = wildcard(), is_constant(), is_constant()
        self.conv = is_op("nn.conv2d")(self.data, self.weight)
        biased = is_op("add")(self.conv, self.bias) | self.conv
        self.relu = is_op("nn.relu")(biased)
        self.pattern = self.relu | biased

    def callback(self, pre: Any, post: Any, matched: Any) -> Any:
        """Return the wider convolution, with bias and activation, and the cut."""
        conv = matched[self.conv][0]
        attrs, weight = conv.attrs, matched[self.weight][0].data.numpy()
        groups, outputs = int(attrs.groups), int(weight.shape[-1])
        width = outputs // groups
        filled = -(-width // VECTOR) * VECTOR
        if (attrs.data_layout, attrs.kernel_layout) != ("NHWC", "HWIO") or groups == 1:
            return post
        if width == filled or width < VECTOR or weight.shape[:2] != (1, 1):
            return post
        wide = relay.nn.conv2d(
            matched[self.data][0],
            relay.const(_fill(weight, groups, filled)),
            strides=attrs.strides,
            channels=groups * filled,
            kernel_size=(1, 1),
            groups=groups,
            data_layout="NHWC",
            kernel_layout="HWIO",
            out_dtype=attrs.out_dtype,
        )
        if self.bias in matched:
            bias = matched[self.bias][0].data.numpy()
            if bias.size != outputs:
                return post
            wide = relay.add(wide, relay.const(_fill(bias.reshape(1, 1, 1, -1), groups, filled)))
        if self.relu in matched:
            wide = relay.nn.relu(wide)
        batch, rows, columns, _ = (int(extent) for extent in pre.checked_type.shape)
        by_group = relay.reshape(wide, (batch, rows, columns, groups, filled))
        cut = relay.strided_slice(by_group, [0], [width], axes=[4])
        return relay.reshape(cut, (batch, rows, columns, outputs))


def _fill(values: Any, groups: int, filled: int) -> Any:
    """Append zeros to each group's part of the last axis."""
    by_group = values.reshape(*values.shape[:-1], groups, -1)
    missing = [(0, 0)] * (by_group.ndim - 1) + [(0, filled - by_group.shape[-1])]
    return np.pad(by_group, missing).reshape(*values.shape[:-1], groups * filled)
