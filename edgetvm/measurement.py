"""Measured latencies as data: raw samples in seconds, kept whole, and what is derived from them.

One deployment of one bundle gives one :class:`Run`, written to its own file below the bundle
and never changed again.
"""

import os
import platform
import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgetvm import __version__, host_cpu
from edgetvm.device_state import DeviceState
from edgetvm.files import read_json, write_json
from edgetvm.host_cpu import Cluster
from edgetvm.opencl_device import OpenCLDevice

SCHEMA_VERSION = 5
EMULATED = "EDGETVM_EMULATED"
"""Environment variable that says what emulates the machine, set where an emulated board starts."""


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
    """

    samples_s: tuple[float, ...]
    number: int
    threads: int
    runtime: str
    first_run_s: float | None = None
    kernels_s: float | None = None
    has_kept_kernels: bool = False
    copy_s: float | None = None

    @property
    def median_s(self) -> float:
        """Median of the samples, seconds."""
        return float(np.median(self.samples_s))

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


class DeviceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a device says of itself when a session opens.

    Attributes
    ----------
    host : the device's own name.
    board : its model, where firmware says; empty on most PCs.
    arch : as ``uname -m`` prints it.
    cpu : the kernel's name of the CPU.
    features : CPU features as ``/proc/cpuinfo`` lists them, sorted.
    cores : logical CPUs that the server may use.
    clusters : the same by kind, the fastest first.
    memory_bytes : of the machine.
    pointer_bits : word length of the server's process.
    libc : C library and its version, such as ``glibc 2.36``.
    kernel : name and release.
    edgetvm_version, tvm_version : of the server.
    emulated : by what, such as ``QEMU cortex-a72``; empty on a real machine.
    opencl : the OpenCL device that kernels run on; None if it is the CPU.
    """

    host: str
    board: str
    arch: str
    cpu: str
    features: tuple[str, ...]
    cores: int
    clusters: tuple[Cluster, ...]
    memory_bytes: int
    pointer_bits: int
    libc: str
    kernel: str
    edgetvm_version: str
    tvm_version: str
    emulated: str = ""
    opencl: OpenCLDevice | None = None

    @classmethod
    def here(cls, tvm_version: str) -> Self:
        """Describe the machine that this process runs on."""
        emulated = os.environ.get(EMULATED, "")
        return cls(
            host=platform.node(),
            board=host_cpu.board_name(),
            arch=platform.machine(),
            cpu=emulated or host_cpu.cpu_name(),
            features=host_cpu.cpu_features(),
            cores=host_cpu.usable_cores(),
            clusters=host_cpu.clusters(),
            memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            pointer_bits=struct.calcsize("P") * 8,
            libc=" ".join(platform.libc_ver()),
            kernel=f"{platform.system()} {platform.release()}",
            edgetvm_version=__version__,
            tvm_version=tvm_version,
            emulated=emulated,
        )

    def with_opencl(self, device: OpenCLDevice) -> Self:
        """Return the same with kernels on an OpenCL device; one on the CPU stands for a GPU."""
        emulated = self.emulated or ("" if device.is_gpu else f"{device.platform} on a CPU")
        return msgspec.structs.replace(self, opencl=device, emulated=emulated)

    @property
    def processor(self) -> str:
        """What kernels run on, as its maker calls it."""
        return self.cpu if self.opencl is None else self.opencl.name

    def cluster_for(self, runs_on: str) -> str:
        """Return the cluster to run on for a target's: an emulator has none of the board's."""
        return "" if self.emulated else runs_on


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
    before, after : the device's state around the timing.
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
    tuned: Measurement
    untuned: Measurement
    reference: Measurement | None

    @property
    def tuning_paid(self) -> bool:
        """Whether the tuned library is at least as fast as the untuned one."""
        return self.tuned.median_s <= self.untuned.median_s


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
    stamp = run.measured_at.replace(":", "").replace("-", "")
    path = bundle / "runs" / f"{stamp}.json"
    serial = 1
    while path.exists():
        serial += 1
        path = bundle / "runs" / f"{stamp}_{serial}.json"
    write_json(path, run)
    return path


def latest_run(bundle: Path) -> Run | None:
    """Return the newest run of `bundle`, None if it was never deployed."""
    paths = list((bundle / "runs").glob("*.json"))
    if not paths:
        return None
    return max((read_json(path, Run) for path in paths), key=lambda run: run.measured_at)
