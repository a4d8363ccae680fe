"""Records in, verdicts out: whether each still builds, and computes what it should."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Self

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm.contrib.popen_pool import PopenPoolExecutor, StatusKind

from edgetvm.errors import EdgetvmError, one_line
from edgetvm.measurement import relative_error
from edgetvm.records import Workload
from edgetvm.stages.build.interrupts import leave_interrupts_to_parent
from edgetvm.stages.device.session import Address, DeviceSession
from edgetvm.stages.verify.kernel import Kernel, KernelJob, build_kernel

TOLERANCES = {"float32": 1e-4, "float16": 2e-3}
"""Largest relative error of a right record's output, by its dtype. Rounding alone stays below 1e-6
in float32, and below 1e-3 in float16: values on either side of half a step end a step apart."""

BUILD_TIMEOUT_S = 60.0
SESSION_TIMEOUT_S = 60.0
"""A session is this long plus `RUN_TIMEOUT_S` for each record of its workload."""

RUN_TIMEOUT_S = 10.0

Array = NDArray[Any]


class Outcome(Enum):
    """What came of a record."""

    RIGHT = "right"
    WRONG = "wrong"
    NOT_REBUILT = "not rebuilt"
    NOT_JUDGED = "not judged"


@dataclass(frozen=True)
class Verdict:
    """What came of the record `line`; `reason` says why if it is not right."""

    workload: Workload
    line: str
    outcome: Outcome
    reason: str = ""

    @property
    def is_right(self) -> bool:
        """Whether it builds and its output equals the untuned one."""
        return self.outcome is Outcome.RIGHT

    @property
    def is_bad(self) -> bool:
        """Whether the record itself is at fault; what could not be judged may be right."""
        return self.outcome in (Outcome.WRONG, Outcome.NOT_REBUILT)


class Verifier:
    """Verifies records of one target on the device at `address`; use as a context manager.

    Parameters
    ----------
    threads : of the device's runtime.
    workers : processes that build.
    """

    def __init__(self, address: Address, threads: int, tvm_target: str, workers: int) -> None:
        self._address = address
        self._threads = threads
        self._tvm_target = tvm_target
        self._pool = PopenPoolExecutor(
            max_workers=workers, timeout=BUILD_TIMEOUT_S, initializer=leave_interrupts_to_parent
        )
        self._folder = tempfile.TemporaryDirectory(prefix="edgetvm-verify-")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        del self._pool
        self._folder.cleanup()

    def verify(self, groups: Sequence[tuple[Workload, Sequence[str]]]) -> Iterator[Verdict]:
        """Yield a verdict on each record line, in order.

        Parameters
        ----------
        groups : workloads, each with records of it.

        Raises
        ------
        DeviceError
            The device is lost.
        """
        jobs = [(workload, line) for workload, lines in groups for line in (None, *lines)]
        folder = Path(self._folder.name)
        outcomes = self._pool.map_with_error_catching(
            build_kernel,
            [
                KernelJob(workload, line, self._tvm_target, folder / f"kernel_{serial}.so")
                for serial, (workload, line) in enumerate(jobs)
            ],
        )
        with closing(outcomes):
            for workload, lines in groups:
                yield from self._verify_workload(workload, lines, map(_built, outcomes))

    def _verify_workload(
        self, workload: Workload, lines: Sequence[str], built: Iterator[Kernel | str]
    ) -> Iterator[Verdict]:
        """Judge the records of one workload in one session, which ends when this returns."""
        device = _Device(self._address, self._threads, len(lines))
        judge = _Judge(device, next(built))
        for line in lines:
            outcome, reason = judge.judge(next(built))
            yield Verdict(workload, line, outcome, reason)


class _Judge:
    """Judges the records of one workload by the output of its untuned computation."""

    def __init__(self, device: "_Device", untuned: Kernel | str) -> None:
        self._device = device
        self._inputs: list[Array] = []
        self._expected: list[Array] = []
        self._failure = self._compute_expected(untuned)
        if isinstance(untuned, Kernel):
            untuned.library.unlink()

    def judge(self, tuned: Kernel | str) -> tuple[Outcome, str]:
        if self._failure:
            return Outcome.NOT_JUDGED, self._failure
        if isinstance(tuned, str):
            return Outcome.NOT_REBUILT, tuned
        outputs = self._device.run(tuned, self._inputs)
        tuned.library.unlink()
        if isinstance(outputs, str):
            return Outcome.WRONG, f"it fails on the device: {outputs}"
        for output, expected in zip(outputs, self._expected, strict=True):
            error = relative_error(output, expected)
            accepted = TOLERANCES.get(str(output.dtype), TOLERANCES["float32"])
            if not error <= accepted:
                return Outcome.WRONG, (
                    f"its output differs from the untuned one by {error:.1e} (relative; allowed "
                    f"are {accepted:.0e})"
                )
        return Outcome.RIGHT, ""

    def _compute_expected(self, untuned: Kernel | str) -> str:
        """Return why there is nothing to judge by, if so."""
        if isinstance(untuned, str):
            return f"the untuned computation cannot be built: {untuned}"
        for self._inputs in _draw_inputs(untuned):
            outputs = self._device.run(untuned, self._inputs)
            if isinstance(outputs, str):
                return f"the untuned computation fails on the device: {outputs}"
            self._expected = outputs
            if all(np.isfinite(output).all() and output.any() for output in outputs):
                return ""
        return "on random inputs the untuned computation has no output to judge by"


class _Device:
    """Runs kernels in one session, and in a new one after a crash."""

    def __init__(self, address: Address, threads: int, kernels: int) -> None:
        self._address = address
        self._threads = threads
        self._timeout_s = SESSION_TIMEOUT_S + RUN_TIMEOUT_S * kernels
        self._session: DeviceSession | None = None
        self._inputs: Sequence[Array] = ()
        self._uploaded: dict[bool, list[Any]] = {}

    def run(self, kernel: Kernel, inputs: Sequence[Array]) -> list[Array] | str:
        """Return the outputs, or why there are none; the same `inputs` are uploaded once."""
        if self._session is None:
            self._session = DeviceSession(self._address, self._threads, self._timeout_s)
            self._inputs = ()
        try:
            if inputs is not self._inputs:
                self._uploaded = {}
                self._inputs = inputs
            if kernel.on_cpu not in self._uploaded:
                device = _device_of(self._session, kernel)
                self._uploaded[kernel.on_cpu] = [tvm.nd.array(data, device) for data in inputs]
            return _run(self._session, kernel, self._uploaded[kernel.on_cpu])
        except tvm.TVMError as err:
            self._session.end()
            self._session = None
            self._uploaded = {}
            return one_line(err)


def _device_of(session: DeviceSession, kernel: Kernel) -> Any:
    return session.cpu if kernel.on_cpu else session.device


def _run(session: DeviceSession, kernel: Kernel, inputs: list[Any]) -> list[Array]:
    device = _device_of(session, kernel)
    # Not a number: else what a kernel leaves out may be there, right, from the one before.
    outputs = [
        tvm.nd.array(np.full(shape, _poison(dtype), dtype), device)
        for shape, dtype in kernel.arguments[kernel.inputs :]
    ]
    module = session.load_library(kernel.library)
    module[module.entry_name](*inputs, *outputs)
    return [output.numpy() for output in outputs]


def _poison(dtype: str) -> float:
    return float("nan") if np.issubdtype(dtype, np.floating) else 99


def _built(outcome: Any) -> Kernel | str:
    """Return what a worker built, or why it built nothing; a defect of edgetvm is raised."""
    if outcome.status == StatusKind.COMPLETE:
        kernel: Kernel = outcome.value
        return kernel
    if outcome.status == StatusKind.TIMEOUT:
        return f"building it took longer than {BUILD_TIMEOUT_S:g} s"
    if isinstance(outcome.value, ChildProcessError):
        return "the compiler crashed on it"
    if isinstance(outcome.value, EdgetvmError):
        return str(outcome.value)
    raise outcome.value


def _draw_inputs(kernel: Kernel) -> Iterator[list[Array]]:
    """Yield random inputs around zero, then positive ones for what has roots or logarithms.

    Products of two are scaled so that a sum of all that are reduced is near one: no activation
    behind it saturates and hides an error.
    """
    rng = np.random.default_rng(0)
    scale = kernel.reduced**-0.25
    for is_positive in (False, True):
        inputs = []
        for shape, dtype in kernel.arguments[: kernel.inputs]:
            if np.issubdtype(dtype, np.floating):
                drawn = rng.standard_normal(shape) * scale
                inputs.append((abs(drawn) if is_positive else drawn).astype(dtype))
            else:
                inputs.append(rng.integers(0, 2, shape).astype(dtype))
        yield inputs
