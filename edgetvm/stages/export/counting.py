"""How much a network computes."""

from math import prod

import tvm
from tvm import relay


def multiply_adds(mod: tvm.IRModule) -> int:
    """Return those of an imported network's convolutions and matrix products, one inference."""
    total = 0

    def count(expr: relay.Expr) -> None:
        nonlocal total
        if isinstance(expr, relay.Call) and isinstance(expr.op, tvm.ir.Op):
            total += _of_call(expr)

    relay.analysis.post_order_visit(relay.transform.InferType()(mod)["main"], count)
    return total


def _of_call(call: relay.Call) -> int:
    if call.op.name not in ("nn.conv2d", "nn.conv2d_transpose", "nn.dense", "nn.batch_matmul"):
        return 0
    data, weight = ([int(n) for n in argument.checked_type.shape] for argument in call.args)
    if call.op.name == "nn.conv2d_transpose":
        return prod(data) * prod(weight[1:])  # each value goes into a window of each output
    # Each output sums up its products with the weights behind the first dimension, the outputs'.
    terms = prod(weight[1:]) if call.op.name != "nn.batch_matmul" else data[-1]
    return prod(int(n) for n in call.checked_type.shape) * terms
