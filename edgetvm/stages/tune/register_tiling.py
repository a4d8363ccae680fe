"""Schedules laid out from the register file outwards, measured before anything is searched.

A convolution runs near a CPU's peak if the innermost loops hold a tile of outputs in registers,
and its inner loop is nothing but loads and multiply-adds. There are few such tiles for a shape and
they can be named, where a search has to meet them by chance. The loop structure is Ansor's own
(SSRSRS, arXiv 2006.06762, section 4.1), so that evolution can go on from here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from tvm import auto_scheduler
from tvm.auto_scheduler.loop_state import State, StateObject

from edgetvm.stages.tune.loop_nest import LoopNest

VECTOR_REGISTERS = {16: 32, 32: 16, 64: 32}
"""Registers by their width in bytes: NEON, AVX2, AVX-512."""

LATENCY_CYCLES = 4
"""A multiply-add takes this long, so that as many have to be under way at once."""

WINDOW_ACCUMULATORS = 8
"""Tiles of windows are best near this size: enough for the latency, short enough when unrolled."""

LARGEST_TILE = 8
"""Rows of a tile, and vectors of each of its pixels, are at most this many."""

WIDEST_TILE = 28
"""Pixels of a tile in one row are at most this many."""

UNROLL_STEPS = 512
"""Most multiply-adds of a loop body."""

WINDOW_STEPS = 256
"""The same where each of them may come with conditions for the padding."""

TILES = 8
"""Register tiles that are tried of each task."""

CACHED_ROWS = 8
"""Rows of outputs in a block of the schedules that keep inputs, not weights, in the cache."""


@dataclass(frozen=True)
class Tiling:
    """One schedule of a task.

    Attributes
    ----------
    rows, columns : pixels of the register tile.
    vectors, lanes : channels of the tile: vectors of that many float32.
    row_blocks, channel_blocks : the parallel loop goes over them.
    padding : where a padded input is made: "inline", for each "block" or "whole".
    """

    rows: int
    columns: int
    vectors: int
    lanes: int
    row_blocks: int = 1
    channel_blocks: int = 1
    padding: str = "inline"

    @property
    def accumulators(self) -> int:
        """Vector registers that hold sums."""
        return self.rows * self.columns * self.vectors


def tiled_states(task: auto_scheduler.SearchTask) -> Iterator[StateObject]:
    """Yield the schedules of `task`, the likely best first; none for tasks of other kinds.

    A task qualifies if it runs on a CPU and has one reduction, whose result goes through
    elementwise operators only.
    """
    nest = LoopNest.of(task.compute_dag)
    if nest is None or task.target.kind.name != "llvm":
        return
    for tiling in tilings(nest, task.hardware_params):
        yield _apply(nest, tiling)


def tilings(nest: LoopNest, hardware: auto_scheduler.HardwareParams) -> list[Tiling]:
    """List the tilings of `nest`, the likely best first."""
    ranked = []
    tiles = sorted(_tiles(nest, hardware), key=lambda tile: -_throughput(nest, tile, hardware))
    for place, tile in enumerate(tiles[:TILES]):
        variants = _variants(nest, tile, int(hardware.num_cores))
        ranked += [(place + 2 * rank, tiling) for rank, tiling in enumerate(variants)]
    return [tiling for _, tiling in sorted(ranked, key=lambda entry: entry[0])]


def _tiles(nest: LoopNest, hardware: auto_scheduler.HardwareParams) -> Iterator[Tiling]:
    """Yield every register tile that divides the shape and fits into the registers."""
    registers = VECTOR_REGISTERS.get(int(hardware.vector_unit_bytes), 16)
    lanes = _power_of_two(nest.channel_run, int(hardware.vector_unit_bytes) // 4)
    for rows, columns, vectors in product(
        _divisors(nest.rows, LARGEST_TILE),
        _divisors(nest.columns, WIDEST_TILE),
        _divisors(nest.channel_run // lanes, LARGEST_TILE),
    ):
        tile = Tiling(rows, columns, vectors, lanes)
        operands = 1 + (vectors if nest.sums_channels else 1)
        if tile.accumulators + operands <= registers:
            yield tile


def _throughput(nest: LoopNest, tile: Tiling, hardware: auto_scheduler.HardwareParams) -> float:
    """Estimate multiply-adds a cycle: by arithmetic, loads or latency, whichever limits."""
    # A vector of half the width or less takes half the time where two units share the full width.
    wide = tile.lanes * 4 > int(hardware.vector_unit_bytes) // 2
    vector_cycles = 1.0 if wide or int(hardware.vector_unit_bytes) < 64 else 0.5
    arithmetic = tile.accumulators * vector_cycles
    inputs = 0.5 * tile.rows * tile.columns if nest.sums_channels else arithmetic
    loads = inputs + tile.vectors * vector_cycles
    cycles = max(arithmetic, loads, LATENCY_CYCLES)
    # Sums start and end in memory, once for each tile.
    ends = tile.accumulators * vector_cycles / nest.taps
    # All else being equal, wide tiles read consecutive pixels.
    score = tile.accumulators * tile.lanes / (cycles + ends) * (1 + 0.001 * tile.columns)
    if nest.padding is None and nest.sums_channels:
        return score
    return score / (1 + 0.02 * abs(tile.accumulators - WINDOW_ACCUMULATORS))


def _variants(nest: LoopNest, tile: Tiling, threads: int) -> list[Tiling]:
    """Return the ways to go through memory with one register tile, the likely best first."""
    blocks = nest.channels // (tile.vectors * tile.lanes)
    rows = nest.rows // tile.rows
    orders = {
        # All pixels with one block of weights, which stays in the cache.
        (_balanced(rows, blocks, threads), blocks): None,
        # A few rows with all weights.
        (_divisors(rows, max(1, rows * tile.rows // CACHED_ROWS))[-1], blocks): None,
        (rows, 1): None,
    }
    paddings = [""]
    if nest.padding is not None:
        paddings = ["inline", "block"] if not nest.sums_channels else ["inline", "whole", "block"]
    return [
        replace(tile, row_blocks=row_blocks, channel_blocks=channel_blocks, padding=padding)
        for padding, (row_blocks, channel_blocks) in product(paddings, orders)
    ]


def _apply(nest: LoopNest, tiling: Tiling) -> StateObject:
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
    state.parallel(target, state.fuse(target, outer) if len(outer) > 1 else outer[0])
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
        state.parallel(padding, outer)
    state.vectorize(padding, state.stages[padding].iters[-1])


def _balanced(rows: int, blocks: int, threads: int) -> int:
    """Return the fewest row blocks that share the work evenly among `threads`."""
    for row_blocks in _divisors(rows, rows):
        total = row_blocks * blocks
        if total % threads == 0 or total >= 8 * threads:
            return row_blocks
    return rows


def _divisors(number: int, largest: int) -> list[int]:
    return [d for d in range(1, min(number, largest) + 1) if number % d == 0]


def _power_of_two(number: int, largest: int) -> int:
    """Return the largest power of two that divides `number`, at most `largest`."""
    return min(largest, number & -number)
