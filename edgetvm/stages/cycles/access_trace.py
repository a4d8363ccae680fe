"""The memory accesses of a kernel in their order: those of a window of its iterations."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgetvm.stages.cycles.execution import BlockRuns
from edgetvm.stages.cycles.loops import Loop

WINDOW = 60_000
"""Accesses of a trace, about."""

LIKELY = 0.5
"""Blocks that run in a smaller part of the iterations are left out of the trace."""

OBJECT_DISTANCE_BYTES = (1 << 32) + 37 * 64
"""From one object to the next: never the same lines, and not the same sets."""


@dataclass(frozen=True)
class Trace:
    """Accesses in order: addresses, and how many accesses of the kernel each stands for."""

    addresses: NDArray[np.int64]
    weights: NDArray[np.float64]


def trace_accesses(blocks: dict[str, BlockRuns], loops: list[Loop], line_bytes: int) -> Trace:
    """Return a window of a kernel's accesses; inner loops are whole where they fit.

    Parameters
    ----------
    blocks : in the order of the flow of control.
    """
    bases: dict[str, int] = {}
    columns = {loop.header: place for place, loop in enumerate(loops)}

    def of_block(runs: BlockRuns) -> _Part:
        rows = []
        for access in runs.accesses:
            start = bases.setdefault(access.base, len(bases)) * OBJECT_DISTANCE_BYTES
            strides = [access.strides.get(header, 0) for header in columns]
            pieces = range(0, access.size_bytes, line_bytes)
            rows += [[start + access.offset + piece, *strides] for piece in pieces]
        table = np.array(rows, np.int64).reshape(len(rows), 1 + len(columns))
        return _Part(table, np.ones(len(rows)))

    def of(names: list[str], level: int) -> _Part:
        """Return the accesses of blocks that lie in the same loops down to `level`."""
        parts, done = [], set()
        for name in names:
            if name in done:
                continue
            inner = [loop for loop in loops if name in loop.blocks][level:]
            if not inner:
                if blocks[name].share >= LIKELY:
                    parts.append(of_block(blocks[name]))
                continue
            own = [one for one in names if one in inner[0].blocks]
            done.update(own)
            body = of(own, level + 1)
            parts.append(body.repeated(inner[0].trips, 1 + columns[inner[0].header]))
        return _Part.joined(parts, 1 + len(columns))

    whole = of(list(blocks), 0)
    return Trace(whole.table[:, 0], whole.weights)


@dataclass(frozen=True)
class _Part:
    """Accesses: their addresses and strides by loop, and their weights."""

    table: NDArray[np.int64]
    weights: NDArray[np.float64]

    @staticmethod
    def joined(parts: list["_Part"], width: int) -> "_Part":
        tables = [np.zeros((0, width), np.int64), *(part.table for part in parts)]
        return _Part(
            np.concatenate(tables), np.concatenate([np.zeros(0), *(p.weights for p in parts)])
        )

    def repeated(self, trips: int, column: int) -> "_Part":
        size = len(self.weights)
        if not size:
            return self
        run = max(1, min(trips, WINDOW // size))
        table = np.tile(self.table, (run, 1))
        table[:, 0] += np.repeat(np.arange(run), size) * table[:, column]
        return _Part(table, np.tile(self.weights, run) * (trips / run))


def footprint_lines(blocks: dict[str, BlockRuns], loops: list[Loop], line_bytes: int) -> float:
    """Return how many cache lines a kernel's accesses span, object by object."""
    spans: dict[str, tuple[int, int]] = {}
    trips = {loop.header: loop.trips for loop in loops}
    for runs in blocks.values():
        for access in runs.accesses:
            passed = [stride * (trips[name] - 1) for name, stride in access.strides.items()]
            low = access.offset + sum(min(0, one) for one in passed)
            high = access.offset + access.size_bytes + sum(max(0, one) for one in passed)
            known_low, known_high = spans.get(access.base, (low, high))
            spans[access.base] = (min(low, known_low), max(high, known_high))
    return sum(high - low for low, high in spans.values()) / line_bytes
