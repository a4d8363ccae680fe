"""A network in half precision: weights and activations lie in memory as float16."""

from typing import Any

import tvm
from tvm import relay
from tvm.relay.op import register_mixed_precision_conversion

from edgetvm.recipe import FLOAT16, FLOAT32
from edgetvm.stages.export.constant_folding import fold_constants

_READING = ("nn.conv2d", "nn.conv2d_transpose", "nn.dense", "nn.batch_matmul")

_ALWAYS = 0
"""TVM's category of operators that are converted whatever stands around them."""

_LEVEL = 11
"""Above TVM's own registrations of these, which compute in float16 throughout."""


def to_float16(mod: tvm.IRModule) -> tvm.IRModule:
    """Return `mod` with convolutions and products of float16; input and outputs stay float32.

    They read float16 and sum in float32, and what is fused behind them stays float32 until the next
    one's input is written. So most memory is halved and an activation is rounded once: with sums
    and activations of float16 throughout, MobileNetV3-Small erred seven times as much. What a
    residual sum reads as well stays float32.
    """
    mod = relay.transform.InferType()(mod)
    with tvm.transform.PassContext(config={"relay.ToMixedPrecision.keep_orig_output_dtype": True}):
        return fold_constants(relay.transform.ToMixedPrecision(FLOAT16)(mod))


def _read_float16(_call: Any, precision: str) -> list[Any]:
    assert precision == FLOAT16
    sums, outputs = FLOAT32, FLOAT32
    return [_ALWAYS, sums, outputs]


for _name in _READING:
    register_mixed_precision_conversion(_name, _read_float16, level=_LEVEL)
