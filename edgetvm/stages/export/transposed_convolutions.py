"""Transposed convolutions whose windows do not overlap, as 1x1 convolutions.

They are NCHW; what replaces them is NHWC inside, where an output pixel's channels are neighbours
before and after they are spread.
"""

from typing import Any

from tvm import relay
from tvm.relay.dataflow_pattern import DFPatternCallback, is_constant, is_op, wildcard


class TransposedConvolutions(DFPatternCallback):  # type: ignore[misc]
    """Compute all outputs of a pixel at once, then spread them over their pixels.

    TVM convolves the input with zeros put between its pixels: with a stride of 2 three of four
    products are with zero. Where the kernel is as large as the stride each output has one input.
    """

    def __init__(self) -> None:
        super().__init__(require_type=True)
        self.data, self.weight = wildcard(), is_constant()
        self.pattern = is_op("nn.conv2d_transpose")(self.data, self.weight)

    def callback(self, pre: Any, post: Any, matched: Any) -> Any:
        """Return the convolution and the move of its outputs to their pixels."""
        attrs, weight = pre.attrs, matched[self.weight][0].data.numpy()
        inputs, outputs, *kernel = weight.shape
        batch, _, *size = (int(extent) for extent in pre.args[0].checked_type.shape)
        if (attrs.data_layout, attrs.kernel_layout) != ("NCHW", "IOHW") or int(attrs.groups) > 1:
            return post
        if kernel != [int(stride) for stride in attrs.strides] or any(map(int, attrs.padding)):
            return post
        if [int(extent) for extent in pre.checked_type.shape[2:]] != [
            extent * stride for extent, stride in zip(size, kernel, strict=True)
        ]:
            return post
        rows = weight.transpose(0, 2, 3, 1).reshape(1, 1, inputs, -1)
        conv = relay.nn.conv2d(
            relay.layout_transform(matched[self.data][0], "NCHW", "NHWC"),
            relay.const(rows),
            channels=rows.shape[-1],
            kernel_size=(1, 1),
            data_layout="NHWC",
            kernel_layout="HWIO",
            out_dtype=pre.checked_type.dtype,
        )
        parts = relay.reshape(conv, (batch, *size, *kernel, outputs))
        spread = relay.transpose(parts, (0, 1, 3, 2, 4, 5))
        pixels = (size[0] * kernel[0], size[1] * kernel[1])
        return relay.layout_transform(
            relay.reshape(spread, (batch, *pixels, outputs)), "NHWC", "NCHW"
        )


class InverseLayouts(DFPatternCallback):  # type: ignore[misc]
    """Leave out a change of layout that undoes the one before it."""

    def __init__(self) -> None:
        super().__init__()
        self.data = wildcard()
        self.first = is_op("layout_transform")(self.data)
        self.pattern = is_op("layout_transform")(self.first)

    def callback(self, pre: Any, post: Any, matched: Any) -> Any:
        """Return what both changes began with, if they end there."""
        first = matched[self.first][0].attrs
        if pre.attrs.dst_layout != first.src_layout or pre.attrs.src_layout != first.dst_layout:
            return post
        return matched[self.data][0]
