"""How much a network computes."""

from math import prod

import tvm
from tvm import relay


def multiply_adds(mod: tvm.IRModule) -> int:
    """Return those of an imported network's convolutions and matrix products, one inference."""
    return function_multiply_adds(relay.transform.InferType()(mod)["main"])


def function_multiply_adds(function: relay.Function) -> int:
    """Return those of a function whose types are known; weights may be in a schedule's layout."""
    total = 0

    def count(expr: relay.Expr) -> None:
        nonlocal total
        if isinstance(expr, relay.Call) and isinstance(expr.op, tvm.ir.Op):
            total += _of_call(expr)

    relay.analysis.post_order_visit(function, count)
    return total


def _of_call(call: relay.Call) -> int:
    name = call.op.name
    if not any(part in name for part in ("conv2d", "dense", "batch_matmul", "winograd_products")):
        return 0
    data, weight = ([int(n) for n in one.checked_type.shape] for one in call.args[:2])
    if name == "nn.conv2d_transpose":
        return prod(data) * prod(weight[1:])  # each value goes into a window of each output
    # Each output sums up products: with its part of the weights, in whatever order they lie.
    terms = prod(weight) // int(call.attrs.channels) if "conv2d" in name else data[-1]
    return prod(int(n) for n in call.checked_type.shape) * terms
