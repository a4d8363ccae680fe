"""Adaptive average pooling as ordinary pooling.

TVM computes the bounds of each adaptive window with divisions inside the loops. AutoScheduler
takes minutes to draw a first population for them, and LLVM refuses many of the results.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relay
from tvm.relay.dataflow_pattern import DFPatternCallback, is_op, wildcard


class AdaptivePools(DFPatternCallback):  # type: ignore[misc]
    """Rewrites ``nn.adaptive_avg_pool2d`` (NCHW) to more than one pixel as ``nn.avg_pool2d``."""

    def __init__(self) -> None:
        super().__init__(require_type=True)
        self.data = wildcard()
        self.pattern = is_op("nn.adaptive_avg_pool2d")(self.data)

    def callback(self, pre: Any, post: Any, matched: Any) -> Any:
        """Gather the windows, one after the other and weighted, where their sizes differ."""
        data = matched[self.data][0]
        sizes = [int(extent) for extent in pre.args[0].checked_type.shape[2:]]
        outputs = [int(extent) for extent in pre.checked_type.shape[2:]]
        if pre.attrs.layout != "NCHW" or outputs == [1, 1]:
            return post
        kernel = []
        for axis, size, output in zip((2, 3), sizes, outputs, strict=True):
            indices, weights = _windows(size, output)
            kernel.append(indices.shape[1])
            if size % output:
                data = relay.take(data, relay.const(indices.ravel()), axis=axis)
                shape = [-1 if dim == axis else 1 for dim in range(4)]
                data = relay.multiply(data, relay.const(weights.reshape(shape)))
        return relay.nn.avg_pool2d(data, pool_size=kernel, strides=kernel)


def _windows(size: int, outputs: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return what each output averages: indices (outputs, widest), and their weights.

    PyTorch's windows reach from ``floor(i size / outputs)`` to ``ceil((i + 1) size / outputs)``.
    A narrower one repeats its last element with weight 0; the weights make up for the division
    by the widest.
    """
    places = np.arange(outputs)
    starts, ends = places * size // outputs, -(-(places + 1) * size // outputs)
    lengths = (ends - starts)[:, None]
    widest = int(lengths.max())
    offsets = np.arange(widest)[None, :]
    indices = starts[:, None] + np.minimum(offsets, lengths - 1)
    weights = np.where(offsets < lengths, widest / lengths, 0)
    return indices.astype(np.int32), weights.astype(np.float32)
