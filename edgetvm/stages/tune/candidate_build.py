"""Candidates in, small shared libraries or LLVM IR out, built by worker processes that stay alive.

A worker that crashes or takes too long is replaced; its candidate has failed and the others go on.
"""

import tempfile
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import tvm
from tvm import auto_scheduler
from tvm.auto_scheduler.measure import MeasureErrorNo
from tvm.contrib.popen_pool import PopenPoolExecutor, StatusKind

from edgetvm.errors import one_line
from edgetvm.stages.build.interrupts import leave_interrupts_to_parent
from edgetvm.stages.build.library import CODE_GENERATION, link_kernel

BUILD_TIMEOUT_S = 20

TEXT = ".ll"
"""Ending of a file that is to hold a candidate as LLVM IR."""


@dataclass(frozen=True)
class BuiltCandidate:
    """The outcome of building one candidate.

    Attributes
    ----------
    library : a shared library, or a text of LLVM IR; None if the build failed.
    arguments : shape and dtype of each argument of the function, in order.
    error_no : TVM's MeasureErrorNo.
    """

    library: Path | None
    arguments: tuple[tuple[tuple[int, ...], str], ...] = ()
    error_no: int = MeasureErrorNo.NO_ERROR
    error: str = ""


@dataclass(frozen=True)
class ScheduledModule:
    """A candidate of MetaSchedule on its way to a worker: TIR as ``tvm.ir.save_json`` writes it."""

    module: str
    tvm_target: str


class Candidate(Protocol):
    """What can be built: AutoScheduler's ``MeasureInput``, or a schedule of MetaSchedule's."""

    def serialize(self) -> Any:
        """Return what a worker builds: TVM's form of a ``MeasureInput``, or `ScheduledModule`."""


class CandidateBuilder:
    """Builds candidates in `workers` processes; use as a context manager.

    Parameters
    ----------
    as_text : build optimised LLVM IR, for a cycle model, in the place of shared libraries.

    Attributes
    ----------
    has_own_core : whether building disturbs no measurement.
    """

    def __init__(self, workers: int, *, has_own_core: bool = False, as_text: bool = False) -> None:
        self.has_own_core = has_own_core
        self._ending = TEXT if as_text else ".so"
        self._pool = PopenPoolExecutor(
            max_workers=workers, timeout=BUILD_TIMEOUT_S, initializer=leave_interrupts_to_parent
        )
        self._waiting = ThreadPoolExecutor(1)
        self._folder = tempfile.TemporaryDirectory(prefix="edgetvm-candidates-")
        self._serial = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._waiting.shutdown(cancel_futures=True)
        del self._pool
        self._folder.cleanup()

    def start(self, candidates: Sequence[Candidate]) -> Future[list[BuiltCandidate]]:
        """Begin to build all `candidates` in parallel; the outcomes come in the same order."""
        jobs = []
        for candidate in candidates:
            self._serial += 1
            library = Path(self._folder.name) / f"candidate_{self._serial}{self._ending}"
            jobs.append((candidate.serialize(), str(library)))
        return self._waiting.submit(self._build, jobs)

    def _build(self, jobs: list[tuple[Any, str]]) -> list[BuiltCandidate]:
        outcomes = self._pool.map_with_error_catching(build_candidate, jobs)
        return [_outcome(outcome) for outcome in outcomes]


def _outcome(outcome: Any) -> BuiltCandidate:
    if outcome.status == StatusKind.COMPLETE:
        error_no, error, library, arguments = outcome.value
        if error_no == MeasureErrorNo.NO_ERROR:
            return BuiltCandidate(Path(library), arguments)
        return BuiltCandidate(None, error_no=error_no, error=error)
    if outcome.status == StatusKind.TIMEOUT:
        reason = f"took longer than {BUILD_TIMEOUT_S} s"
        return BuiltCandidate(None, error_no=MeasureErrorNo.BUILD_TIMEOUT, error=reason)
    error = one_line(outcome.value)
    return BuiltCandidate(None, error_no=MeasureErrorNo.COMPILE_HOST, error=error)


def build_candidate(job: tuple[Any, str]) -> tuple[int, str, str, tuple[Any, ...]]:
    """Build one candidate; runs in a worker.

    Parameters
    ----------
    job : serialised candidate, file to write.

    Returns
    -------
    Error number, error, file, and shape and dtype of each argument.
    """
    serialised, library = job
    try:
        kernel = _schedule(serialised)
    except Exception as err:  # noqa: BLE001 - whatever TVM raises is the candidate's failure
        return MeasureErrorNo.INSTANTIATION_ERROR, one_line(err), "", ()
    try:
        with tvm.transform.PassContext(opt_level=3, config=CODE_GENERATION):
            module = tvm.build(*kernel.inputs, target=kernel.target)
        if library.endswith(TEXT):
            Path(library).write_text(module.get_source("ll"))
        else:
            link_kernel(module, Path(library))
    except Exception as err:  # noqa: BLE001 - as above
        return MeasureErrorNo.COMPILE_HOST, one_line(err), "", ()
    shapes = ((tuple(int(extent) for extent in t.shape), str(t.dtype)) for t in kernel.arguments)
    return MeasureErrorNo.NO_ERROR, "", library, tuple(shapes)


@dataclass(frozen=True)
class _Kernel:
    """What ``tvm.build`` takes, and the tensors or buffers that are the function's arguments."""

    inputs: tuple[Any, ...]
    target: Any
    arguments: list[Any]


def _schedule(serialised: Any) -> _Kernel:
    if isinstance(serialised, ScheduledModule):
        # As its timing begins, the weights have the layout that the schedule wants.
        remove = tvm.tir.transform.RemoveWeightLayoutRewriteBlock(skip_ndarray_rewrite=True)
        module = remove(tvm.ir.load_json(serialised.module))
        function = module["main"]
        arguments = [function.buffer_map[param] for param in function.params]
        return _Kernel((module,), tvm.target.Target(serialised.tvm_target), arguments)
    measure_input = auto_scheduler.measure.MeasureInput.deserialize(serialised)
    task = measure_input.task
    schedule, tensors = task.compute_dag.apply_steps_from_state(
        measure_input.state, layout_rewrite=task.layout_rewrite_option
    )
    return _Kernel((schedule, tensors), task.target, list(tensors))
