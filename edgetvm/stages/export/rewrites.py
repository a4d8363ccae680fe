"""Rewrites of the imported Relay program into operators that tune and run well."""

from typing import Any

import numpy as np
import tvm
from tvm import relay
from tvm.relay.dataflow_pattern import (
    DFPatternCallback,
    is_constant,
    is_op,
    is_tuple_get_item,
    rewrite,
    wildcard,
)

from edgetvm.stages.export.convolved_parts import ConvolvedParts
from edgetvm.stages.export.group_widths import GroupsOfVectors
from edgetvm.stages.export.transposed_convolutions import (
    InverseLayouts,
    TransposedConvolutions,
)
from edgetvm.stages.export.uniform_pools import AdaptivePools


def fold_batch_norm(mod: tvm.IRModule) -> tvm.IRModule:
    """Fold each batch norm that follows a convolution (NCHW, OIHW) into its weight and bias.

    A batch norm anywhere else stays and becomes a multiplication and an addition later.
    """
    return _rewrite(_BatchNormAfterConv(), mod)


def make_tunable(mod: tvm.IRModule) -> tvm.IRModule:
    """Rewrite what AutoScheduler or the change of layout cannot deal with (NCHW).

    Adaptive average pools become ordinary ones. PReLU becomes arithmetic, which changes layout
    with the convolution before it and is fused into it. Products of matrices with constant ones
    become dense layers. Sigmoids and divisions by constants become arithmetic that vectorises.
    """
    operators = [AdaptivePools(), _PRelu(), _BatchMatmulWithConstantWeight()]
    return _rewrite([*operators, _Sigmoid(), _DivisionByConstant()], mod)


def dense_to_conv2d(mod: tvm.IRModule) -> tvm.IRModule:
    """Rewrite dense layers with constant weight as 1x1 convolutions (NHWC, HWIO).

    AutoScheduler cannot tune ``nn.dense`` in TVM 0.19: the rewrite of the weight's layout fails
    for every candidate. The bias moves along, so that it stays fused.
    """
    return _rewrite(_DenseWithConstantWeight(), mod)


def spread_pixels(mod: tvm.IRModule) -> tvm.IRModule:
    """Rewrite transposed convolutions without overlap as 1x1 convolutions (IOHW)."""
    return _rewrite(TransposedConvolutions(), mod)


def join_layouts(mod: tvm.IRModule) -> tvm.IRModule:
    """Leave out changes of layout that undo each other."""
    return _rewrite(InverseLayouts(), mod)


def convolve_parts(mod: tvm.IRModule) -> tvm.IRModule:
    """Rewrite 1x1 convolutions that squeeze a concatenation as sums (NHWC, HWIO)."""
    return _rewrite(ConvolvedParts(), mod)


def fill_vectors(mod: tvm.IRModule) -> tvm.IRModule:
    """Rewrite grouped 1x1 convolutions whose groups' outputs fill no vectors (NHWC, HWIO)."""
    return _rewrite(GroupsOfVectors(), mod)


def _rewrite(
    callbacks: DFPatternCallback | list[DFPatternCallback], mod: tvm.IRModule
) -> tvm.IRModule:
    # A callback that leaves a match alone has to return `post`: `pre` would undo what was rewritten
    # before it.
    mod = relay.transform.InferType()(mod)
    mod = tvm.IRModule.from_expr(rewrite(callbacks, mod["main"]))
    return relay.transform.InferType()(mod)


class _BatchNormAfterConv(DFPatternCallback):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(require_type=True)
        self.data, self.weight, self.bias = wildcard(), is_constant(), is_constant()
        self.statistics = [is_constant() for _ in range(4)]
        self.conv = is_op("nn.conv2d")(self.data, self.weight)
        biased = is_op("nn.bias_add")(self.conv, self.bias)
        self.batch_norm = is_op("nn.batch_norm")(biased | self.conv, *self.statistics)
        self.pattern = is_tuple_get_item(self.batch_norm, 0)

    def callback(self, _pre: Any, post: Any, matched: Any) -> Any:
        conv, attrs = matched[self.conv][0], matched[self.batch_norm][0].attrs
        if conv.attrs.data_layout != "NCHW" or conv.attrs.kernel_layout != "OIHW":
            return post
        gamma, beta, mean, var = (matched[s][0].data.numpy() for s in self.statistics)
        scale = 1 / np.sqrt(var + attrs.epsilon)
        if attrs.scale:
            scale = scale * gamma
        bias = matched[self.bias][0].data.numpy() if self.bias in matched else 0
        shift = (bias - mean) * scale
        if attrs.center:
            shift = shift + beta
        weight = matched[self.weight][0].data.numpy()
        # A depthwise weight is (channels, multiplier, H, W), the outputs in this order.
        weight = (weight.reshape(scale.size, -1) * scale[:, None]).reshape(weight.shape)
        folded = relay.Call(conv.op, [matched[self.data][0], _const(weight)], conv.attrs)
        return relay.nn.bias_add(folded, _const(shift), axis=1)


class _PRelu(DFPatternCallback):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(require_type=True)
        self.data, self.slope = wildcard(), is_constant()
        self.pattern = is_op("nn.prelu")(self.data, self.slope)

    def callback(self, pre: Any, _post: Any, matched: Any) -> Any:
        data, slope = matched[self.data][0], matched[self.slope][0].data.numpy()
        shape = [1] * len(pre.checked_type.shape)
        shape[pre.attrs.axis] = slope.size
        zero = relay.const(0.0)
        negative = relay.multiply(relay.minimum(data, zero), _const(slope.reshape(shape)))
        return relay.add(relay.nn.relu(data), negative)


class _Sigmoid(DFPatternCallback):  # type: ignore[misc]
    """Written with TVM's polynomial for exp, of error 1e-7: LLVM calls libm for each element."""

    def __init__(self) -> None:
        super().__init__(require_type=True)
        self.data = wildcard()
        self.pattern = is_op("sigmoid")(self.data)

    def callback(self, pre: Any, post: Any, matched: Any) -> Any:
        if pre.checked_type.dtype != "float32":
            return post
        power = relay.Call(tvm.ir.Op.get("fast_exp"), [relay.negative(matched[self.data][0])])
        return relay.divide(relay.const(1.0), relay.add(power, relay.const(1.0)))


class _DivisionByConstant(DFPatternCallback):  # type: ignore[misc]
    """A multiplication takes a tenth of a division's time: hard-swish divides everything by 6."""

    def __init__(self) -> None:
        super().__init__(require_type=True)
        self.data, self.divisor = wildcard(), is_constant()
        self.pattern = is_op("divide")(self.data, self.divisor)

    def callback(self, _pre: Any, post: Any, matched: Any) -> Any:
        divisor = matched[self.divisor][0].data.numpy()
        if divisor.dtype != np.float32 or not divisor.all():
            return post
        return relay.multiply(matched[self.data][0], _const(1 / divisor))


class _BatchMatmulWithConstantWeight(DFPatternCallback):  # type: ignore[misc]
    """PyTorch's linear layer of more than two axes, as TVM imports it."""

    def __init__(self) -> None:
        super().__init__(require_type=True)
        self.data, self.weight = wildcard(), is_constant()
        self.pattern = is_op("nn.batch_matmul")(self.data, self.weight)

    def callback(self, pre: Any, post: Any, matched: Any) -> Any:
        data, weight = matched[self.data][0], matched[self.weight][0].data.numpy()
        if pre.attrs.transpose_a or not (weight == weight[:1]).all():
            return post
        matrix = weight[0] if pre.attrs.transpose_b else weight[0].T
        rows = relay.reshape(data, (-1, matrix.shape[1]))
        shape = [int(extent) for extent in pre.checked_type.shape]
        return relay.reshape(relay.nn.dense(rows, _const(matrix)), shape)


class _DenseWithConstantWeight(DFPatternCallback):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(require_type=True)
        self.data, self.weight, self.bias = wildcard(), is_constant(), is_constant()
        self.dense = is_op("nn.dense")(self.data, self.weight)
        added = is_op("add")(self.dense, self.bias) | is_op("nn.bias_add")(self.dense, self.bias)
        self.pattern = added | self.dense

    def callback(self, _pre: Any, post: Any, matched: Any) -> Any:
        data, weight = matched[self.data][0], matched[self.weight][0].data.numpy()
        bias = matched[self.bias][0].data.numpy() if self.bias in matched else None
        shape = [int(extent) for extent in matched[self.dense][0].checked_type.shape]
        if len(shape) != 2 or (bias is not None and bias.size != shape[1]):
            return post
        (batch, outputs), inputs = shape, weight.shape[1]
        pixel = relay.reshape(data, (batch, 1, 1, inputs))
        conv = relay.nn.conv2d(
            pixel,
            relay.const(np.ascontiguousarray(weight.T.reshape(1, 1, inputs, outputs))),
            channels=outputs,
            kernel_size=(1, 1),
            data_layout="NHWC",
            kernel_layout="HWIO",
            out_dtype=matched[self.dense][0].checked_type.dtype,
        )
        if bias is not None:
            conv = relay.add(conv, _const(bias.reshape(1, 1, 1, outputs)))
        return relay.reshape(conv, (batch, outputs))


def _const(value: Any) -> Any:
    return relay.const(np.ascontiguousarray(value, dtype="float32"))
