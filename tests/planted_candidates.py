"""Candidates that do well, crash or hang, built for this machine."""

from pathlib import Path

import tvm
from tvm import te

from edgetvm.stages.build.linker import link_candidate
from edgetvm.stages.tune.candidate_build import BuiltCandidate

BUFFER = 16
CRASHING_EXTENT = 1 << 28
HANGING_REPEATS = 2_000_000_000


def built_candidate(
    folder: Path, name: str, extent: int = BUFFER, repeats: int = 4
) -> BuiltCandidate:
    """Build a candidate; an `extent` beyond the buffer crashes, many `repeats` hang."""
    x = te.placeholder((BUFFER,), name="x")
    k = te.reduce_axis((0, repeats), name="k")
    y = te.compute((extent,), lambda i: te.sum(te.sqrt(x[i] + k), axis=k))
    module = tvm.build(te.create_schedule(y.op), [x, y], "llvm")
    module.save(str(folder / f"{name}.o"))
    link_candidate([folder / f"{name}.o"], folder / f"{name}.so")
    buffer = ((BUFFER,), "float32")
    return BuiltCandidate(folder / f"{name}.so", (buffer, buffer))
