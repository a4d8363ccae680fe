"""Constant folding in numpy.

TVM's own ``FoldConstant`` compiles every constant expression with LLVM, one tiny module each:
some 800 for MobileNetV2, most of a minute. All of them are shape changes and element-wise
arithmetic on weights, which numpy does in milliseconds. An expression with an operator that is
not in the table below is left to TVM's pass.
"""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relay

Array = NDArray[Any]


def fold_constants(mod: tvm.IRModule) -> tvm.IRModule:
    """Return `mod` with every call on constants only in ``main`` replaced by its value.

    `mod` must not be fused: calls of functions are left alone.
    """
    mod = relay.transform.InferType()(mod)
    main = mod["main"]
    folder = _Folder()
    relay.analysis.post_order_visit(main.body, folder.visit)
    body = folder.folded[main.body]
    mod = tvm.IRModule.from_expr(relay.Function(main.params, body, attrs=main.attrs))
    mod = relay.transform.InferType()(mod)
    return relay.transform.FoldConstant()(mod) if folder.left_to_tvm else mod


class _Folder:
    """Rebuilds an expression in post-order, without recursion: nets are deeper than Python's stack.

    The type of a call is taken from the original expression, which is typed.
    """

    def __init__(self) -> None:
        self.folded: dict[Any, Any] = {}
        self.left_to_tvm = False

    def visit(self, expr: Any) -> None:
        match expr:
            case relay.Call():
                self.folded[expr] = self._call(expr)
            case relay.Tuple():
                fields = [self.folded[field] for field in expr.fields]
                self.folded[expr] = relay.Tuple(fields, expr.span)
            case relay.TupleGetItem():
                self.folded[expr] = relay.TupleGetItem(self.folded[expr.tuple_value], expr.index)
            case relay.Constant() | relay.Var() | tvm.ir.Op() | relay.GlobalVar():
                self.folded[expr] = expr
            case _:
                # Functions and control flow, which a classifier does not have.
                self.left_to_tvm = True
                self.folded[expr] = expr

    def _call(self, call: Any) -> Any:
        args = [self.folded[arg] for arg in call.args]
        if args and all(isinstance(arg, relay.Constant) for arg in args):
            value = _evaluate(call, [arg.data.numpy() for arg in args])
            if value is not None:
                dtype = call.checked_type.dtype
                return relay.const(np.ascontiguousarray(value, dtype=dtype))
            self.left_to_tvm = True
        return relay.Call(call.op, args, call.attrs, call.type_args, call.span)


def _evaluate(call: Any, args: list[Array]) -> Array | None:
    evaluate = _OPERATORS.get(getattr(call.op, "name", ""))
    return evaluate(call, *args) if evaluate else None


def _reshape(call: Any, data: Array) -> Array:
    return data.reshape([int(extent) for extent in call.checked_type.shape])


def _broadcast_to(call: Any, data: Array) -> Array:
    return np.broadcast_to(data, [int(extent) for extent in call.checked_type.shape])


def _transpose(call: Any, data: Array) -> Array:
    axes = call.attrs.axes
    return data.transpose([int(axis) for axis in axes] if axes is not None else None)


def _layout_transform(call: Any, data: Array) -> Array | None:
    return change_layout(data, call.attrs.src_layout, call.attrs.dst_layout)


def _auto_scheduler_layout_transform(call: Any, data: Array) -> Array:
    return change_loop_layout(data, call.attrs.src_layout, call.attrs.dst_layout)


def _meta_schedule_layout_transform(call: Any, data: Array) -> Array:
    return call.attrs.index_map.map_ndarray(tvm.nd.array(data)).numpy()  # type: ignore[no-any-return]


def _elementwise(function: Callable[..., Array]) -> Callable[..., Array]:
    return lambda _call, *args: function(*args)


_OPERATORS: dict[str, Callable[..., Array | None]] = {
    "reshape": _reshape,
    "expand_dims": _reshape,
    "squeeze": _reshape,
    "nn.batch_flatten": _reshape,
    "broadcast_to": _broadcast_to,
    "transpose": _transpose,
    "layout_transform": _layout_transform,
    "auto_scheduler_layout_transform": _auto_scheduler_layout_transform,
    "meta_schedule_layout_transform": _meta_schedule_layout_transform,
    "add": _elementwise(np.add),
    "subtract": _elementwise(np.subtract),
    "multiply": _elementwise(np.multiply),
    "divide": _elementwise(np.divide),
    "negative": _elementwise(np.negative),
    "cast": _elementwise(lambda data: data),  # a constant takes the dtype of its call
    "sqrt": _elementwise(np.sqrt),
    "rsqrt": _elementwise(lambda data: 1 / np.sqrt(data)),
}


def change_layout(data: Array, source: str, destination: str) -> Array | None:
    """Apply Relay's ``layout_transform``, e.g. ``OIHW`` to ``HWIO`` or to ``OIHW4i16o``.

    Capitals are axes, a lower-case letter with a factor is the inner part of its axis. Returns
    None where a factor does not divide its axis (TVM pads there).
    """
    whole = _merge_inner_axes(data, source)
    axes = [letter for _, letter in _layout_parts(source) if letter.isupper()]
    shape: list[int] = []
    parts: list[str] = []
    for axis, extent in zip(axes, whole.shape, strict=True):
        factors = [n for n, letter in _layout_parts(destination) if letter == axis.lower()]
        if extent % int(np.prod(factors)):
            return None
        shape += [extent // int(np.prod(factors)), *factors]
        parts += [axis, *[axis.lower()] * len(factors)]
    order = _positions([letter for _, letter in _layout_parts(destination)], parts)
    return whole.reshape(shape).transpose(order)


def _merge_inner_axes(data: Array, layout: str) -> Array:
    """Return `data` with the inner parts of each axis joined to it, axes in `layout`'s order."""
    letters = [letter for _, letter in _layout_parts(layout)]
    axes = [letter for letter in letters if letter.isupper()]
    grouped = [part for axis in axes for part in letters if part in (axis, axis.lower())]
    order = _positions(grouped, letters)
    extents = [
        int(np.prod([n for n, part in zip(data.shape, letters, strict=True) if part.upper() == a]))
        for a in axes
    ]
    return data.transpose(order).reshape(extents)


def _layout_parts(layout: str) -> list[tuple[int, str]]:
    return [(int(factor or 0), letter) for factor, letter in re.findall(r"(\d*)([A-Za-z])", layout)]


def change_loop_layout(data: Array, source: str, destination: str) -> Array:
    """Apply ``auto_scheduler_layout_transform``, e.g. ``1ry1rx96rc576ff`` to ``36ff...96rc16ff``.

    A layout lists loops, outermost first, each with its extent; loops of one name are the parts
    of one axis.
    """
    loops = _loop_parts(destination)
    shape: list[int] = []
    parts: list[str] = []
    for _, name in _loop_parts(source):
        extents = [extent for extent, part in loops if part == name]
        shape += extents
        parts += [name] * len(extents)
    return data.reshape(shape).transpose(_positions([name for _, name in loops], parts))


def _loop_parts(layout: str) -> list[tuple[int, str]]:
    return [(int(extent), name) for extent, name in re.findall(r"(\d+)([^\d]+)", layout)]


def _positions(wanted: list[str], available: list[str]) -> list[int]:
    """Index in `available` of each of `wanted`; the n-th of a name is the n-th of that name."""
    places: dict[str, list[int]] = {}
    for index, name in enumerate(available):
        places.setdefault(name, []).append(index)
    taken = {name: iter(indices) for name, indices in places.items()}
    return [next(taken[name]) for name in wanted]
