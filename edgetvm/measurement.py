"""Measured latencies as data: raw samples in seconds, kept whole, and what is derived from them.

One deployment of one bundle gives one :class:`Run`, written to its own file below the bundle
and never changed again.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgetvm.device_info import DeviceInfo
from edgetvm.device_state import DeviceState
from edgetvm.files import read_json, write_dated
from edgetvm.verdict import Conditions, Verdict, judge

SCHEMA_VERSION = 5


class Measurement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Latency samples of one library on one device.

    Attributes
    ----------
    samples_s : seconds of one inference, batch as in the recipe; each sample is the mean of
        `number` inferences run back to back. Copies to and from the device are not in it.
    number : inferences a sample.
    threads : threads as read back from the runtime that ran it.
    runtime : what ran it: ``tvm``, ``PyTorch 2.13.0``.
    first_run_s : of the first inference, after a GPU's kernels were compiled; None if it was not
        timed.
    kernels_s : seconds in which a GPU's driver compiled the library's kernels, or took the compiled
        ones that the bundle keeps; None on a CPU.
    has_kept_kernels : whether it took those.
    copy_s : seconds that input and outputs take to a GPU and back; None on a CPU.
    timing : measurements with the same were taken in turn, sample by sample; empty for one alone.
    warm_up : inferences before the first sample.
    has_settled : whether these reached a steady time.
    """

    samples_s: tuple[float, ...]
    number: int
    threads: int
    runtime: str
    first_run_s: float | None = None
    kernels_s: float | None = None
    has_kept_kernels: bool = False
    copy_s: float | None = None
    timing: str = ""
    warm_up: int = 0
    has_settled: bool = True

    @property
    def median_s(self) -> float:
        """Median of the samples, seconds."""
        return float(np.median(self.samples_s))

    @property
    def minimum_s(self) -> float:
        """Fastest sample, seconds."""
        return min(self.samples_s)

    def percentile_s(self, percent: float) -> float:
        """Percentile of the samples, seconds, such as of 90 or 99."""
        return float(np.percentile(self.samples_s, percent))

    @property
    def mad_s(self) -> float:
        """Median absolute deviation from the median, seconds, not scaled."""
        return float(np.median(np.abs(np.asarray(self.samples_s) - self.median_s)))

    def was_timed_with(self, other: "Measurement") -> bool:
        """Whether the samples of both were taken in turn, so that they go together in pairs."""
        return bool(self.timing) and self.timing == other.timing

    def interval_s(self, confidence: float = 0.95) -> tuple[float, float]:
        """Bootstrap confidence interval of the median, seconds; resampling is seeded."""
        from scipy.stats import bootstrap

        result = bootstrap(
            (np.asarray(self.samples_s),),
            np.median,
            confidence_level=confidence,
            method="percentile",
            rng=np.random.default_rng(0),
        )
        return float(result.confidence_interval.low), float(result.confidence_interval.high)


class Run(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One deployment of one bundle to one device.

    Attributes
    ----------
    measured_at : UTC, ISO 8601.
    relative_error : largest output error of the tuned library, relative to the reference
        output's largest magnitude.
    estimate_s : sum of the tasks' best times when the bundle was built; None without all of them.
    at_build_s : latency of the tuned library on the device when the bundle was built; None if
        it was not tuned.
    tuned_tasks, tasks : how many of the network's tuning tasks had a record.
    before, after : the device's state around the timing; the peak memory of `after` is that of a
        process with all libraries of the timing loaded.
    cpus : that the runtime's threads ran on, as read back, with commas between.
    others_busy : cores that other programs kept busy during the timing; None if unknown.
    library_bytes : size of the tuned library.
    tuned, untuned : the bundle's libraries on the device.
    reference : the reference network on the same machine; None on another device.
    """

    schema_version: int = SCHEMA_VERSION
    model: str
    target: str
    bundle_id: str
    measured_at: str
    device: DeviceInfo
    relative_error: float
    estimate_s: float | None
    at_build_s: float | None
    tuned_tasks: int
    tasks: int
    before: DeviceState
    after: DeviceState
    cpus: str = ""
    others_busy: float | None = None
    library_bytes: int | None = None
    tuned: Measurement
    untuned: Measurement
    reference: Measurement | None

    @property
    def tuning_paid(self) -> bool:
        """Whether the tuned library is at least as fast as the untuned one."""
        return self.tuned.median_s <= self.untuned.median_s

    @property
    def verdict(self) -> Verdict:
        """Whether the tuned library's latency can be trusted."""
        return self.verdict_on(self.tuned)

    def verdict_on(self, measurement: Measurement) -> Verdict:
        """Judge one of the run's measurements."""
        conditions = Conditions(
            emulated=self.device.emulated,
            before=self.before,
            after=self.after,
            others_busy=self.others_busy,
        )
        return judge(
            measurement.samples_s,
            measurement.interval_s(),
            conditions,
            has_settled=measurement.has_settled,
        )


def relative_error(output: NDArray[Any], reference: NDArray[Any]) -> float:
    """Return the largest difference, relative to the reference's largest magnitude.

    NaN or infinity in either gives infinity, and so does a reference that is all zero: nothing
    can be judged by it.
    """
    scale = float(np.abs(reference).max())
    error = float(np.abs(output.astype(np.float64) - reference).max()) / scale if scale else np.inf
    return error if np.isfinite(error) else float("inf")


def utc_now() -> str:
    """Return the time now, UTC, as ISO 8601 without fractions."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def write_run(run: Run, bundle: Path) -> Path:
    """Write `run` to a file of its own below `bundle`, and return the file."""
    return write_dated(bundle / "runs", run.measured_at, run)


def list_runs(bundle: Path) -> list[Run]:
    """Return all runs of `bundle`, the oldest first."""
    runs = [read_json(path, Run) for path in (bundle / "runs").glob("*.json")]
    return sorted(runs, key=lambda run: run.measured_at)


def latest_run(bundle: Path) -> Run | None:
    """Return the newest run of `bundle`, None if it was never deployed."""
    return max(list_runs(bundle), key=lambda run: run.measured_at, default=None)
