"""A first-level cache, simulated: which of a sequence of accesses miss it."""

from functools import cache
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import te, tir

HIT, STREAM, MISS = range(3)
"""An access finds its line; does not, but the line before it is there, as a prefetcher sees it
coming; or neither."""


def simulate(lines: NDArray[np.int64], sets: int, ways: int) -> NDArray[np.int64]:
    """Return the outcome of each access to a cache that is empty at first and evicts the oldest."""
    tags = tvm.nd.array(np.full(sets * ways, -2, np.int64))
    outcomes = tvm.nd.array(np.zeros(len(lines), np.int64))
    _simulator(sets, ways)(tvm.nd.array(lines), tags, outcomes)
    return np.asarray(outcomes.numpy())


@cache
def _simulator(sets: int, ways: int) -> Any:
    """Build the simulator of a cache; Python would take a hundred times as long as a candidate."""
    count = te.var("count", "int32")
    source = te.placeholder((count,), "int64", "lines")
    state = te.placeholder((sets * ways,), "int64", "tags")

    def body(inputs: list[tir.Buffer], outputs: list[tir.Buffer]) -> tir.Stmt:
        builder = tir.ir_builder.create()
        lines, tags = (builder.buffer_ptr(one) for one in inputs)
        outcomes = builder.buffer_ptr(outputs[0])
        place = builder.allocate("int64", (1,), scope="local")
        seen = builder.allocate("int64", (1,), scope="local")
        with builder.for_range(0, count) as access:
            line = lines[access]
            first = tir.floormod(line, sets) * ways
            before = tir.floormod(line - 1, sets) * ways
            place[0] = tir.const(ways - 1, "int64")
            seen[0] = tir.const(0, "int64")
            for way in range(ways):
                with builder.if_scope(tags[first + way] == line):
                    place[0] = tir.const(way, "int64")
                with builder.if_scope(tags[before + way] == line - 1):
                    seen[0] = tir.const(1, "int64")
            hit = tags[first + place[0]] == line
            missed = tir.Select(seen[0] == 1, tir.const(STREAM, "int64"), tir.const(MISS, "int64"))
            outcomes[access] = tir.Select(hit, tir.const(HIT, "int64"), missed)
            for way in range(ways - 1, 0, -1):
                with builder.if_scope(place[0] >= way):
                    tags[first + way] = tags[first + way - 1]
            tags[first] = line
        return builder.get()

    result = te.extern([(count,)], [source, state], body, "cache", dtype="int64")
    return tvm.build(te.create_schedule(result.op), [source, state, result], "llvm")
