"""Winograd's algorithm for 3x3 convolutions as Relay operators: F(4x4, 3x3) on NHWC data.

Tiles of 6x6 inputs give 4x4 outputs each by 36 multiplications a channel, where sums of products
take 144 ("Fast Algorithms for Convolutional Neural Networks", arXiv 1509.09308, section 4.3).

- ``edgetvm.winograd_tiles`` transforms the tiles, which overlap by two pixels, into 36 planes, one
  for each place in a tile: (36, batch x tiles down, tiles across, channels);
- ``edgetvm.winograd_products`` sums over the channels, which takes nearly all of the time;
- ``edgetvm.winograd_pixels`` transforms back; what follows is fused into it.

Values grow by the transforms before they cancel out, so that rounding errors are near 5e-6 of the
largest output, ten times those of a direct convolution.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import auto_scheduler, relay, te, tir

from edgetvm.stages.export.winograd_schedules import PIXELS, TILES, VECTORS, transform_states

PRODUCTS = "edgetvm.winograd_products"

TILE = 4
"""Outputs of a tile in each direction."""

WINDOW = TILE + 2
"""Its inputs in each direction."""

_WEIGHT_TRANSFORM = (
    np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
)
"""G of the paper."""


def convolve(
    data: relay.Expr, weight: relay.Expr, size: Sequence[int], padding: Sequence[int]
) -> relay.Call:
    """Convolve `data`, NHWC, with a weight of :func:`transformed_weight`.

    Parameters
    ----------
    size : rows and columns of the result.
    padding : pixels at the top and the left; what lacks below and on the right is zero, too.
    """
    attrs = tvm.ir.make_node("DictAttrs", size=list(size), padding=list(padding))
    tiles = relay.Call(relay.op.get(TILES), [data], attrs)
    products = relay.Call(relay.op.get(PRODUCTS), [tiles, weight], attrs)
    return relay.Call(relay.op.get(PIXELS), [products], attrs)


def transformed_shape(inputs: int, outputs: int) -> tuple[int, int, int, int]:
    """Return the shape of a transformed weight: places, vectors of outputs, inputs, lanes."""
    lanes = next(lanes for lanes in VECTORS if outputs % lanes == 0)
    return WINDOW * WINDOW, outputs // lanes, inputs, lanes


def transformed_weight(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Transform a weight (3, 3, inputs, outputs), in float64, and round it once."""
    exact: NDArray[np.float64] = np.einsum(
        "ai,bj,ijck->abck", _WEIGHT_TRANSFORM, _WEIGHT_TRANSFORM, weight.astype(np.float64)
    )
    places, vectors, inputs, lanes = transformed_shape(*weight.shape[2:])
    by_vector = exact.reshape(places, inputs, vectors, lanes).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(by_vector, dtype=np.float32)


def _transform_inputs(line: Sequence[tir.PrimExpr]) -> list[tir.PrimExpr]:
    """Multiply six values by the paper's B^T."""
    d0, d1, d2, d3, d4, d5 = line
    four, five, two = (tir.const(value, "float32") for value in (4.0, 5.0, 2.0))
    even, odd = d4 - four * d2, d3 - four * d1
    near_even, near_odd = d4 - d2, two * (d3 - d1)
    return [
        four * d0 - five * d2 + d4,
        even + odd,
        even - odd,
        near_even + near_odd,
        near_even - near_odd,
        four * d1 - five * d3 + d5,
    ]


def _transform_outputs(line: Sequence[tir.PrimExpr]) -> list[tir.PrimExpr]:
    """Multiply six values by the paper's A^T, which gives four."""
    m0, m1, m2, m3, m4, m5 = line
    two, four, eight = (tir.const(value, "float32") for value in (2.0, 4.0, 8.0))
    near_sum, near_difference, far_sum, far_difference = m1 + m2, m1 - m2, m3 + m4, m3 - m4
    return [
        m0 + near_sum + far_sum,
        near_difference + two * far_difference,
        near_sum + four * far_sum,
        near_difference + eight * far_difference + m5,
    ]


def _compute_tiles(attrs: Any, inputs: Sequence[te.Tensor], out_type: Any) -> list[te.Tensor]:
    (data,) = inputs
    top, left = (int(pixels) for pixels in attrs["padding"])
    batch, rows, columns, channels = (int(extent) for extent in data.shape)
    places, down, across, _ = (int(extent) for extent in out_type.shape)
    down //= batch

    def pad(n: Any, y: Any, x: Any, c: Any) -> Any:
        inside = tir.all(y >= top, y < rows + top, x >= left, x < columns + left)
        zero = tir.const(0.0, "float32")
        return tir.if_then_else(inside, data[n, y - top, x - left, c], zero)

    padded = te.compute((batch, TILE * down + 2, TILE * across + 2, channels), pad, name="padded")

    def by_column(row: Any, tile: Any, i: Any, j: Any, c: Any) -> Any:
        n, y = tir.indexdiv(row, down), TILE * tir.indexmod(row, down)
        column = [padded[n, y + q, TILE * tile + j, c] for q in range(WINDOW)]
        return _at(i, _transform_inputs(column))

    half = te.compute((batch * down, across, WINDOW, WINDOW, channels), by_column, name="half")

    def by_row(place: Any, row: Any, tile: Any, c: Any) -> Any:
        i, j = tir.indexdiv(place, WINDOW), tir.indexmod(place, WINDOW)
        return _at(j, _transform_inputs([half[row, tile, i, q, c] for q in range(WINDOW)]))

    shape = (places, batch * down, across, channels)
    return [te.compute(shape, by_row, name="tiles", tag=TILES)]


def _compute_products(_attrs: Any, inputs: Sequence[te.Tensor], out_type: Any) -> list[te.Tensor]:
    tiles, weight = inputs
    channel = te.reduce_axis((0, int(tiles.shape[3])), name="rc")
    lanes = int(weight.shape[3])

    def total(place: Any, row: Any, tile: Any, c: Any) -> Any:
        vector, lane = tir.indexdiv(c, lanes), tir.indexmod(c, lanes)
        product = tiles[place, row, tile, channel] * weight[place, vector, channel, lane]
        return te.sum(product, axis=channel)

    return [te.compute(tuple(map(int, out_type.shape)), total, name="products", tag=PRODUCTS)]


def _compute_pixels(_attrs: Any, inputs: Sequence[te.Tensor], out_type: Any) -> list[te.Tensor]:
    (products,) = inputs
    _, rows, across, channels = (int(extent) for extent in products.shape)
    down = rows // int(out_type.shape[0])

    def by_column(row: Any, tile: Any, i: Any, j: Any, c: Any) -> Any:
        column = [products[q * WINDOW + j, row, tile, c] for q in range(WINDOW)]
        return _at(i, _transform_outputs(column))

    half = te.compute((rows, across, TILE, WINDOW, channels), by_column, name="half")

    def by_row(row: Any, tile: Any, i: Any, j: Any, c: Any) -> Any:
        return _at(j, _transform_outputs([half[row, tile, i, q, c] for q in range(WINDOW)]))

    blocks = te.compute((rows, across, TILE, TILE, channels), by_row, name="blocks")

    def pick(n: Any, y: Any, x: Any, c: Any) -> Any:
        row, tile = n * down + tir.indexdiv(y, TILE), tir.indexdiv(x, TILE)
        return blocks[row, tile, tir.indexmod(y, TILE), tir.indexmod(x, TILE), c]

    return [te.compute(tuple(map(int, out_type.shape)), pick, name="pixels", tag=PIXELS)]


def _at(place: tir.PrimExpr, values: Sequence[tir.PrimExpr]) -> tir.PrimExpr:
    """Return the value at `place`; loops over it are unrolled, so that one is left."""
    chosen = values[-1]
    for number in range(len(values) - 2, -1, -1):
        chosen = tir.if_then_else(place == number, values[number], chosen)
    return chosen


def _tiles_type(types: Sequence[relay.TensorType], attrs: Any) -> relay.TensorType:
    batch, _, _, channels = types[0].shape
    down, across = (-(-int(extent) // TILE) for extent in attrs["size"])
    return _type(types, WINDOW * WINDOW, batch * down, across, channels)


def _products_type(types: Sequence[relay.TensorType], _attrs: Any) -> relay.TensorType:
    _, vectors, _, lanes = types[1].shape
    return _type(types, *types[0].shape[:3], vectors * lanes)


def _pixels_type(types: Sequence[relay.TensorType], attrs: Any) -> relay.TensorType:
    _, rows, _, channels = types[0].shape
    down = -(-int(attrs["size"][0]) // TILE)
    return _type(types, int(rows) // down, *attrs["size"], channels)


def _type(types: Sequence[relay.TensorType], *shape: Any) -> relay.TensorType:
    # Extents of other widths than TVM's own would make the same workload look like another.
    return relay.TensorType(tuple(map(int, shape)), types[0].dtype)


def _schedule_transform(_attrs: Any, outs: Any, _target: Any) -> te.Schedule:
    """Schedule a transform without a record as its first candidate."""
    dag = auto_scheduler.ComputeDAG(list(outs))
    schedule, _ = dag.apply_steps_from_state(next(transform_states(dag, is_parallel=True)))
    return schedule


def _schedule_products(_attrs: Any, outs: Any, _target: Any) -> te.Schedule:
    """Schedule products without a record: they are right, but not fast."""
    schedule = te.create_schedule(outs[0].op)
    *outer, last = schedule[outs[0]].op.axis
    schedule[outs[0]].parallel(schedule[outs[0]].fuse(*outer[:2]))
    _, vector = schedule[outs[0]].split(last, factor=VECTORS[-1])
    schedule[outs[0]].reorder(*schedule[outs[0]].op.reduce_axis, vector)
    schedule[outs[0]].vectorize(vector)
    return schedule


def _define(
    name: str,
    arguments: Sequence[str],
    type_of: Callable[..., Any],
    compute: Callable[..., Any],
    schedule: Callable[..., Any],
    pattern: int,
) -> None:
    relay.op.op.register(name)
    operator = relay.op.get(name)
    operator.set_num_inputs(len(arguments))
    for argument in arguments:
        operator.add_argument(argument, "Tensor", "")
    operator.set_attrs_type_key("DictAttrs")
    operator.add_type_rel(name, type_of)
    relay.op.register_pattern(name, pattern)
    tvm.ir.register_op_attr(name, "TOpIsStateful", False)

    def strategy(_attrs: Any, _inputs: Any, _out_type: Any, _target: Any) -> relay.op.OpStrategy:
        only = relay.op.OpStrategy()
        only.add_implementation(compute, schedule, name=name)
        return only

    generic = tvm.target.override_native_generic_func(f"{name}_strategy")(strategy)
    relay.op.op.register_strategy(name, generic)


_OPAQUE, _FUSABLE = relay.op.OpPattern.OPAQUE, relay.op.OpPattern.OUT_ELEMWISE_FUSABLE

_define(TILES, ["data"], _tiles_type, _compute_tiles, _schedule_transform, _OPAQUE)
_define(
    PRODUCTS, ["tiles", "weight"], _products_type, _compute_products, _schedule_products, _OPAQUE
)
_define(PIXELS, ["products"], _pixels_type, _compute_pixels, _schedule_transform, _FUSABLE)
