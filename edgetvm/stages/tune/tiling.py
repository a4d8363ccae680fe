"""A tiling of a task's loops, and the schedule that it stands for.

The loop structure is Ansor's own (SSRSRS, arXiv 2006.06762, section 4.1), so that evolution can go
on from here.
"""

from dataclasses import dataclass

from tvm.auto_scheduler.loop_state import State, StateObject

from edgetvm.stages.tune.loop_nest import LoopNest

UNROLL_STEPS = 512
"""Most multiply-adds of a loop body."""

WINDOW_STEPS = 256
"""The same where each of them may come with conditions for the padding."""


@dataclass(frozen=True)
class Tiling:
    """One schedule of a task.

    Attributes
    ----------
    rows, columns : pixels of the register tile.
    vectors, lanes : channels of the tile: vectors of that many float32.
    row_blocks, channel_blocks : the parallel loop goes over them.
    padding : where a padded input is made: "inline", for each "block" or "whole".
    is_parallel : whether the outermost loops are shared among threads.
    """

    rows: int
    columns: int
    vectors: int
    lanes: int
    row_blocks: int = 1
    channel_blocks: int = 1
    padding: str = "inline"
    is_parallel: bool = True

    @property
    def accumulators(self) -> int:
        """Vector registers that hold sums."""
        return self.rows * self.columns * self.vectors


def schedule_tiling(nest: LoopNest, tiling: Tiling) -> StateObject:
    """Write `tiling` as the steps of a schedule."""
    state, reduction, target = nest.start()
    axes = list(state.stages[reduction].iters)
    spatial, taps = axes[: nest.rank], axes[nest.rank :]
    source_steps, spatial_parts = [], []
    for iterator, lengths in zip(spatial, _spatial_lengths(nest, tiling), strict=True):
        source_steps.append(len(state.transform_steps))
        spatial_parts.append(state.split(reduction, iterator, lengths))
    tap_parts = [
        state.split(reduction, iterator, [length])
        for iterator, length in zip(taps, _tap_lengths(nest, tiling), strict=True)
    ]
    levels = [[parts[level] for parts in spatial_parts] for level in range(4)]
    outer_taps, inner_taps = ([parts[level] for parts in tap_parts] for level in range(2))
    order = [*levels[0], *levels[1], *outer_taps, *levels[2], *inner_taps, *levels[3]]
    state.reorder(reduction, order)
    _tile_target(state, target, source_steps, reduction, tiling)
    _pad(state, nest, tiling, target)
    first, last = state.stages[reduction].iters[0], state.stages[reduction].iters[-1]
    state.pragma(reduction, first, f"auto_unroll_max_step${UNROLL_STEPS}")
    state.vectorize(reduction, last)
    return nest.dag.infer_bound_from_state(state).state_object


def _spatial_lengths(nest: LoopNest, tiling: Tiling) -> list[list[int]]:
    """Return the lengths of the three inner levels of each spatial axis."""
    rows = nest.rows // tiling.rows // tiling.row_blocks
    columns = nest.columns // tiling.columns
    channel_blocks = nest.channels // (tiling.vectors * tiling.lanes) // tiling.channel_blocks
    inner = [
        [rows, 1, tiling.rows],
        [columns, 1, tiling.columns],
        [channel_blocks, tiling.vectors, tiling.lanes],
    ]
    return [[1, 1, 1]] * (nest.rank - 3) + inner[-nest.rank :]


def _tap_lengths(nest: LoopNest, tiling: Tiling) -> list[int]:
    """Return the inner, unrolled length of each reduction axis; the last axes are unrolled first.

    Sums over many channels are long enough as loops: there no more than a pixel is unrolled.
    """
    longest, most_steps = (3, UNROLL_STEPS) if nest.sums_channels else (9, WINDOW_STEPS)
    lengths, steps = [], tiling.accumulators
    for extent in reversed(nest.tap_extents):
        lengths.append(extent if extent <= longest and steps * extent <= most_steps else 1)
        steps *= lengths[-1]
    return lengths[::-1]


def _tile_target(
    state: State, target: int, source_steps: list[int], reduction: int, tiling: Tiling
) -> None:
    """Give the last stage the outer loops of the reduction, and compute that inside of them."""
    parts = [
        state.follow_split(target, iterator, step, 2)
        for iterator, step in zip(list(state.stages[target].iters), source_steps, strict=True)
    ]
    state.reorder(target, [part[level] for level in range(3) for part in parts])
    state.split(target, parts[-1][2], [tiling.lanes])
    state.compute_at(reduction, target, parts[-1][1])
    outer = [part[0] for part in parts]
    outermost = state.fuse(target, outer) if len(outer) > 1 else outer[0]
    if tiling.is_parallel:
        state.parallel(target, outermost)
    for iterator in state.stages[target].iters[len(parts) + 1 : -1]:
        state.unroll(target, iterator)
    state.vectorize(target, state.stages[target].iters[-1])


def _pad(state: State, nest: LoopNest, tiling: Tiling, target: int) -> None:
    """Place the stage that pads the input."""
    if nest.padding is None:
        return
    padding = nest.padding
    if tiling.padding == "inline":
        state.compute_inline(padding)
        return
    if tiling.padding == "block":
        state.compute_at(padding, target, state.stages[target].iters[0])
    else:
        outer = state.fuse(padding, list(state.stages[padding].iters)[:-1])
        if tiling.is_parallel:
            state.parallel(padding, outer)
    state.vectorize(padding, state.stages[padding].iters[-1])
