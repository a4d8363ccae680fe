"""Schedules of the two transforms of Winograd's algorithm, in AutoScheduler's steps.

A tile is a few vectors of channels and goes from registers to registers: everything inside of one
is unrolled. There is nothing to search; what is tried is the width of the vectors.
"""

from collections.abc import Iterator

from tvm import auto_scheduler, te
from tvm.auto_scheduler.loop_state import State, StateObject

TILES = "edgetvm.winograd_tiles"
PIXELS = "edgetvm.winograd_pixels"
"""The operators' names, and the tags of their last stages."""

VECTORS = (16, 8)
"""Channels of a vector; as many outputs have their weights side by side in memory."""


def is_transform(dag: auto_scheduler.ComputeDAG) -> bool:
    """Say whether `dag` is one of the two transforms."""
    return any(op.tag in (TILES, PIXELS) for op in dag.ops)


def transform_states(dag: auto_scheduler.ComputeDAG, *, is_parallel: bool) -> Iterator[StateObject]:
    """Yield the schedules of a transform, the likely best first; none for other computations.

    Parameters
    ----------
    is_parallel : whether the rows of tiles are shared among threads.
    """
    if not is_transform(dag):
        return
    start = dag.get_init_state()
    stages = [i for i, stage in enumerate(start.stages) if isinstance(stage.op, te.ComputeOp)]
    lay_out = _lay_out_tiles if start.stages[stages[-1]].op.tag == TILES else _lay_out_pixels
    *_, channels = _extents(start, _find(start, "half"))
    for lanes in VECTORS:
        if channels % lanes == 0:
            state = dag.get_init_state()
            lay_out(state, stages, lanes, is_parallel=is_parallel)
            yield dag.infer_bound_from_state(state).state_object


def _lay_out_tiles(state: State, stages: list[int], lanes: int, *, is_parallel: bool) -> None:
    """Pad the inputs of a row of tiles, and transform these tile by tile."""
    padded, half, tiles = stages
    *_, window, _ = _extents(state, half)
    place, row, tile, channel = state.stages[tiles].iters
    i, j = state.split(tiles, place, [window])
    block, vector = state.split(tiles, channel, [lanes])
    state.reorder(tiles, [row, tile, block, i, j, vector])
    if is_parallel:
        state.parallel(tiles, row)
    _unroll(state, tiles, 3, 4)
    state.vectorize(tiles, state.stages[tiles].iters[5])
    _compute_vectors_at(state, half, tiles, 3)
    *_, run = state.stages[padded].iters
    state.split(padded, run, [lanes])
    state.compute_at(padded, tiles, state.stages[tiles].iters[0])
    state.vectorize(padded, state.stages[padded].iters[-1])


def _lay_out_pixels(state: State, stages: list[int], lanes: int, *, is_parallel: bool) -> None:
    """Transform tile by tile, a row of pixels at a time, and apply what is fused behind."""
    half, blocks, last = _find(state, "half"), _find(state, "blocks"), stages[-1]
    *_, tile, _ = _extents(state, blocks)
    for stage in stages:
        if stage not in (half, blocks, last):
            state.compute_inline(stage)
    batch, row, column, channel = state.stages[last].iters
    down, y = state.split(last, row, [tile])
    across, x = state.split(last, column, [tile])
    block, vector = state.split(last, channel, [lanes])
    state.reorder(last, [batch, down, across, block, y, x, vector])
    tiles = state.fuse(last, [batch, down])
    if is_parallel:
        state.parallel(last, tiles)
    _unroll(state, last, 3, 4)
    state.vectorize(last, state.stages[last].iters[5])
    _compute_vectors_at(state, blocks, last, 3)
    _compute_vectors_at(state, half, last, 3)


def _compute_vectors_at(state: State, stage: int, target: int, place: int) -> None:
    """Compute `stage`, whose last axes are a tile's and the channels, in a loop of `target`."""
    state.compute_at(stage, target, state.stages[target].iters[place])
    _unroll(state, stage, 2, 3)
    state.vectorize(stage, state.stages[stage].iters[4])


def _unroll(state: State, stage: int, *places: int) -> None:
    for place in places:
        state.unroll(stage, state.stages[stage].iters[place])


def _find(state: State, name: str) -> int:
    return next(place for place, stage in enumerate(state.stages) if stage.op.name == name)


def _extents(state: State, stage: int) -> list[int]:
    return [int(iterator.range.extent) for iterator in state.stages[stage].iters]
