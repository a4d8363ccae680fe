"""Schedules laid out from the register file outwards, measured before anything is searched.

A convolution runs near a CPU's peak if the innermost loops hold a tile of outputs in registers,
and its inner loop is nothing but loads and multiply-adds. There are few such tiles for a shape and
they can be named, where a search has to meet them by chance.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from math import prod

from tvm import auto_scheduler
from tvm.auto_scheduler.loop_state import StateObject

from edgetvm.stages.export.winograd_schedules import is_transform, transform_states
from edgetvm.stages.tune.loop_nest import LoopNest
from edgetvm.stages.tune.tiling import Tiling, schedule_tiling

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

TILES = 8
"""Register tiles that are tried of each task."""

SERIAL_STEPS = 1 << 20
"""Tasks of fewer multiply-adds are also tried on one thread: the others take a while to wake."""

SERIAL_TILINGS = 3
"""Schedules that are tried on one thread."""

CACHED_ROWS = 8
"""Rows of outputs in a block of the schedules that keep inputs, not weights, in the cache."""


def tiled_states(task: auto_scheduler.SearchTask) -> Iterator[StateObject]:
    """Yield the schedules of `task`, the likely best first; none for tasks of other kinds.

    A task qualifies if it runs on a CPU and has one reduction, whose result goes through
    elementwise operators only, or if it is one of Winograd's transforms.
    """
    if task.target.kind.name != "llvm":
        return
    if is_transform(task.compute_dag):
        for is_parallel in {int(task.hardware_params.num_cores) > 1, False}:
            yield from transform_states(task.compute_dag, is_parallel=is_parallel)
        return
    nest = LoopNest.of(task.compute_dag)
    if nest is None:
        return
    for tiling in tilings(nest, task.hardware_params):
        yield schedule_tiling(nest, tiling)


def tilings(nest: LoopNest, hardware: auto_scheduler.HardwareParams) -> list[Tiling]:
    """List the tilings of `nest`, the likely best first."""
    ranked = []
    tiles = sorted(_tiles(nest, hardware), key=lambda tile: -_throughput(nest, tile, hardware))
    for place, tile in enumerate(tiles[:TILES]):
        variants = _variants(nest, tile, int(hardware.num_cores))
        ranked += [(place + 2 * rank, tiling) for rank, tiling in enumerate(variants)]
    best_first = [tiling for _, tiling in sorted(ranked, key=lambda entry: entry[0])]
    if int(hardware.num_cores) == 1 or prod(nest.spatial_extents) * nest.taps > SERIAL_STEPS:
        return best_first
    serial = [replace(tiling, is_parallel=False) for tiling in best_first[:SERIAL_TILINGS]]
    return best_first[:SERIAL_TILINGS] + serial + best_first[SERIAL_TILINGS:]


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
