"""What a tuning run is asked for."""

from pathlib import Path

import msgspec

from edgetvm.errors import UsageError
from edgetvm.manifest import AUTO_SCHEDULER, METASCHEDULE
from edgetvm.opencl_device import OPENCL_CPU
from edgetvm.recipe import Precision
from edgetvm.target_profile import MODELLED, TargetProfile

MODELLED_ARCHITECTURES = ("x86_64", "aarch64")

BEST = "best"
"""Both tuners: each task's trials go to the one that gains, and the faster schedule is taken."""


class TuneOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of one run; None means the recipe's or the profile's value."""

    model: str
    target: str
    trials: int | None = None
    budget_s: float | None = None
    threads: int | None = None
    rpc: str | None = None
    token: str | None = None
    tracker: str | None = None
    key: str | None = None
    cores: str = ""
    weights: Path | None = None
    weights_from: str | None = None
    input_shape: tuple[int, ...] | None = None
    flush_cache: bool = False
    drop_bad_records: bool = False
    tuner: str = AUTO_SCHEDULER
    precision: Precision | None = None
    json: bool = False

    @property
    def stands_for_gpu(self) -> bool:
        """Whether OpenCL on this machine's CPU stands for the target's GPU."""
        return self.rpc == OPENCL_CPU

    @property
    def is_modelled(self) -> bool:
        """Whether candidates are not measured but estimated by a cycle model of the target."""
        return self.rpc == MODELLED

    def threads_for(self, target_cores: int, device_cores: int) -> tuple[int, int]:
        """Return the threads of an inference, and those of the device that checks libraries."""
        if self.is_modelled:  # that device may have fewer cores than the target
            threads = self.threads or target_cores
            return threads, min(threads, device_cores)
        threads = self.threads or min(target_cores, device_cores)
        return threads, threads

    def uses(self, tuner: str) -> bool:
        """Whether `tuner` searches, and its schedules go into the bundle."""
        return self.tuner in (tuner, BEST)


def needs_model(options: TuneOptions, profile: TargetProfile, machine: str) -> bool:
    """Whether a cycle model has to stand for the target: no device is named, and this is none.

    Parameters
    ----------
    machine : architecture of this machine.
    """
    named = options.rpc is not None or options.tracker is not None
    is_modelled = profile.gpu is None and profile.arch in MODELLED_ARCHITECTURES
    return not named and is_modelled and profile.arch != machine


def check_tuner_fits(options: TuneOptions, profile: TargetProfile) -> None:
    """Make sure that a run can be made as it is asked for on the target.

    Raises
    ------
    UsageError
        It is a GPU, or a cycle model stands for it, and the run asks for what is not there then.
    """
    if options.is_modelled:
        _check_model_fits(options, profile)
    if profile.gpu is None:
        return
    if options.uses(METASCHEDULE):
        raise UsageError(
            f"{profile.name} is a GPU, and MetaSchedule has no search for it: leave --tuner out."
        )
    if options.flush_cache:
        raise UsageError(
            f"{profile.name} is a GPU, whose caches stay as they are: no --flush-cache."
        )


def _check_model_fits(options: TuneOptions, profile: TargetProfile) -> None:
    if profile.gpu is not None:
        raise UsageError(
            f"{profile.name} is a GPU, and --rpc {MODELLED} knows CPUs only: --rpc emulated checks "
            "its kernels."
        )
    if profile.arch not in MODELLED_ARCHITECTURES:
        raise UsageError(
            f"{profile.name} is {profile.arch}, whose cores' pipelines LLVM does not describe: "
            f"--rpc {MODELLED} is for {' and '.join(MODELLED_ARCHITECTURES)}."
        )
    if options.uses(METASCHEDULE) or options.flush_cache:
        raise UsageError(
            f"--rpc {MODELLED} goes with AutoScheduler's search and warm caches: leave --tuner and "
            "--flush-cache out."
        )
