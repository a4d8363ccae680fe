"""Convolutions of a fused program by Winograd's algorithm, where that was chosen (NHWC, HWIO).

Each becomes three fused functions; see :mod:`edgetvm.stages.export.winograd_operators`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import tvm
from tvm import relay

from edgetvm.stages.export.winograd_operators import (
    TILE,
    convolve,
    transformed_shape,
    transformed_weight,
)
from edgetvm.stages.export.winograd_schedules import VECTORS


@dataclass(frozen=True)
class WinogradForm:
    """What computes the same as a fused function around a convolution.

    Attributes
    ----------
    function : takes the same arguments, but the weight transformed, and calls three fused ones.
    weight : place of the weight among the arguments.
    """

    function: relay.Function
    weight: int

    @classmethod
    def of(cls, function: relay.Function) -> Self | None:
        """Find the form of `function`; None if the algorithm is not for it (NHWC, HWIO)."""
        conv = _the_convolution(function.body)
        if conv is None or not _is_suitable(conv):
            return None
        params = list(function.params)
        weight = next((i for i, var in enumerate(params) if var.same_as(conv.args[1])), None)
        if weight is None:
            return None
        *_, inputs, outputs = (int(extent) for extent in params[weight].checked_type.shape)
        params[weight] = relay.var("weight", shape=transformed_shape(inputs, outputs))
        size = [int(extent) for extent in conv.checked_type.shape[1:3]]
        padding = list(conv.attrs.padding)[:2]
        by_winograd = convolve(conv.args[0], params[weight], size, padding)
        body = _Substitution(conv, by_winograd).visit(function.body)
        mod = tvm.IRModule.from_expr(relay.Function(params, body))
        fuse = relay.transform.FuseOps(fuse_opt_level=2)
        return cls(fuse(relay.transform.InferType()(mod))["main"], weight)

    def call(self, args: Sequence[relay.Expr]) -> relay.Expr:
        """Return what replaces a call with `args`, among them a constant weight."""
        weight = relay.const(transformed_weight(args[self.weight].data.numpy()))
        new_args = [*args[: self.weight], weight, *args[self.weight + 1 :]]
        params = self.function.params
        return relay.bind(self.function.body, dict(zip(params, new_args, strict=True)))


def compute_by_winograd(
    fused: tvm.IRModule, form_of: Callable[[relay.Call], WinogradForm | None]
) -> tvm.IRModule:
    """Replace the calls of fused functions for which `form_of` returns a form."""
    replaced: dict[Any, relay.Expr] = {}

    def rebuild(expr: relay.Expr) -> None:
        # Networks are deeper than Python's stack: each node finds its arguments done.
        if isinstance(expr, relay.Call):
            args = [replaced.get(arg, arg) for arg in expr.args]
            form = form_of(expr)
            if form is not None:
                replaced[expr] = form.call(args)
            elif any(arg in replaced for arg in expr.args):
                replaced[expr] = relay.Call(expr.op, args, expr.attrs, expr.type_args)
        elif isinstance(expr, relay.Tuple) and any(field in replaced for field in expr.fields):
            replaced[expr] = relay.Tuple([replaced.get(field, field) for field in expr.fields])
        elif isinstance(expr, relay.TupleGetItem) and expr.tuple_value in replaced:
            replaced[expr] = relay.TupleGetItem(replaced[expr.tuple_value], expr.index)

    main = fused["main"]
    relay.analysis.post_order_visit(main.body, rebuild)
    body = replaced.get(main.body, main.body)
    mod = tvm.IRModule.from_expr(relay.Function(main.params, body, main.ret_type))
    return relay.transform.InferType()(mod)


class _Substitution(relay.ExprMutator):  # type: ignore[misc]
    """Puts `other` in the place of the call `old`."""

    def __init__(self, old: relay.Call, other: relay.Call) -> None:
        super().__init__()
        self._old, self._other = old, other

    def visit_call(self, call: relay.Call) -> relay.Expr:
        """Return the other call for the one."""
        return self._other if call.same_as(self._old) else super().visit_call(call)


def _the_convolution(body: relay.Expr) -> relay.Call | None:
    found: list[relay.Call] = []
    conv2d = relay.op.get("nn.conv2d")
    relay.analysis.post_order_visit(
        body,
        lambda e: found.append(e) if isinstance(e, relay.Call) and e.op == conv2d else None,
    )
    return found[0] if len(found) == 1 else None


def _is_suitable(conv: relay.Call) -> bool:
    """Say whether a convolution is 3x3, dense in space, with channels that fill vectors."""
    attrs = conv.attrs
    data, weight = (arg.checked_type for arg in conv.args)
    ones = (*attrs.strides, *attrs.dilation, attrs.groups)
    channels = (int(extent) for extent in weight.shape[2:])
    return (
        (attrs.data_layout, attrs.kernel_layout) == ("NHWC", "HWIO")
        and [int(extent) for extent in weight.shape[:2]] == [3, 3]
        and all(int(one) == 1 for one in ones)
        and not any(count % VECTORS[-1] for count in channels)
        and min(int(extent) for extent in data.shape[1:3]) >= TILE
    )
