"""Bundles on a device: checked against the reference, and timed in turn."""

import importlib.util
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgetvm.cli import notes
from edgetvm.device_info import DeviceInfo
from edgetvm.device_state import others_busy
from edgetvm.errors import UsageError
from edgetvm.golden import GOLDEN, read_golden
from edgetvm.manifest import KERNELS, TUNED_LIBRARY, UNTUNED_LIBRARY, Manifest
from edgetvm.measurement import Measurement, Run, utc_now

if TYPE_CHECKING:
    from edgetvm.stages.device.library import RemoteLibrary
    from edgetvm.stages.device.session import Address, DeviceSession
    from edgetvm.stages.device.timing import Contender, Samples

COPIES = 10
"""Copies of the input and the outputs over which their time is averaged."""

TUNED, UNTUNED, REFERENCE = "tuned", "untuned", "reference"


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """How to time.

    Attributes
    ----------
    threads : None for as many as the bundles were tuned for, or as the device has.
    cores : kind of cores to run on; empty for the one that the bundles are for.
    repeat : samples of each library.
    with_reference : whether the reference network takes its turn too, in this process.
    """

    threads: int | None = None
    cores: str = ""
    repeat: int = 20
    with_reference: bool = False


@dataclass
class _Loaded:
    """A bundle in an open session, and what can be timed of it."""

    bundle: Path
    manifest: Manifest
    libraries: dict[str, "RemoteLibrary"]
    relative_error: float
    contenders: dict[str, "Contender"] = field(default_factory=dict)


def deploy_together(
    bundles: Sequence[tuple[Path, Manifest]],
    info: DeviceInfo,
    address: "Address",
    timing: Timing,
) -> list[Run]:
    """Check bundles on the device and time all their libraries in turn, in one session.

    Raises
    ------
    DeviceError
        The device does not fit a bundle, or is lost.
    NumericsError
        A library computes something else than the reference.
    UsageError
        The bundles want different numbers of threads, cores or devices.
    """
    from edgetvm.stages.device.timing import time_interleaved

    manifests = [manifest for _, manifest in bundles]
    session = _open_session(manifests, info, address, timing)
    loaded = [_load(session, bundle, manifest) for bundle, manifest in bundles]
    if timing.with_reference:
        for one in loaded:
            _add_reference(one)
    before, own_s = session.state(), time.process_time()
    contenders = {
        (one.bundle, name): contender
        for one in loaded
        for name, contender in one.contenders.items()
    }
    timed = time_interleaved(contenders, timing.repeat)
    # On this machine the reference runs in this process, which is no stranger.
    own_s = time.process_time() - own_s if address.is_local else 0.0
    after = session.state()
    surroundings = {
        "measured_at": utc_now(),
        "device": session.info,
        "before": before,
        "after": after,
        "others_busy": others_busy(before, after, own_s),
        "cpus": session.cpus,
    }
    turn = secrets.token_hex(6)
    runs = []
    for one in loaded:
        samples = {name: timed[one.bundle, name] for name in one.contenders}
        runs.append(_describe(one, samples, session, turn, surroundings))
    return runs


def _open_session(
    manifests: Sequence[Manifest], info: DeviceInfo, address: "Address", timing: Timing
) -> "DeviceSession":
    from edgetvm.stages.device.fitting import (
        check_bundle_fits,
        check_gpu_fits,
        check_precision_fits,
    )
    from edgetvm.stages.device.library import SESSION_TIMEOUT_S
    from edgetvm.stages.device.session import DeviceSession

    wanted = {
        (
            timing.threads or min(one.threads, info.cores),
            timing.cores or info.cluster_for(one.runs_on),
            one.is_for_gpu,
        )
        for one in manifests
    }
    if len(wanted) > 1:
        raise UsageError(
            "Bundles that are timed together need as many threads, on cores or a GPU of one kind: "
            "give --threads and --cores, or name fewer models."
        )
    ((threads, cores, on_gpu),) = wanted
    for manifest in manifests:
        check_bundle_fits(info, manifest, address)
    address = replace(address, cores=cores, opencl=on_gpu)
    session = DeviceSession(address, threads, SESSION_TIMEOUT_S * len(manifests))
    if session.info.opencl is not None:
        for one in manifests:
            check_gpu_fits(session.info.opencl, one.tvm_target, one.target, address)
            check_precision_fits(session.info, one.precision, one.target, address)
    return session


def _load(session: "DeviceSession", bundle: Path, manifest: Manifest) -> _Loaded:
    """Load and check both libraries of a bundle."""
    from edgetvm.stages.device.library import RemoteLibrary
    from edgetvm.stages.device.timing import Contender

    data, golden = read_golden(bundle / GOLDEN)
    libraries = {
        name: RemoteLibrary(
            session,
            bundle / file,
            manifest.input_name,
            kept_kernels=bundle / KERNELS,
            name=f"{bundle.name}_{file}",
        )
        for name, file in {TUNED: TUNED_LIBRARY, UNTUNED: UNTUNED_LIBRARY}.items()
    }
    errors = {
        name: library.check(data, golden, manifest.tolerance) for name, library in libraries.items()
    }
    contenders = {name: Contender.of_library(library) for name, library in libraries.items()}
    return _Loaded(bundle, manifest, libraries, errors[TUNED], contenders)


def _add_reference(one: _Loaded) -> None:
    """Have the reference network take its turn, too; a note says if it cannot."""
    from edgetvm.stages.device.timing import Contender

    data, _ = read_golden(one.bundle / GOLDEN)
    reference = _reference(one.manifest, data)
    if reference is not None:
        one.contenders[REFERENCE] = Contender.of_callable(reference)


def _reference(manifest: Manifest, data: NDArray[np.float32]) -> Callable[[], None] | None:
    """Make the reference network again, to be timed beside; None, with a note, if it cannot be."""
    if importlib.util.find_spec("torch") is None:
        notes.print("PyTorch is not installed here, so it is not timed")
        return None
    from edgetvm.models.resolve import network_from_source

    try:
        network = network_from_source(
            manifest.model, manifest.title, manifest.source, manifest.input_shape
        )
        return network.reference_callable(data, manifest.threads)
    except UsageError as err:
        notes.print(f"the reference is not timed: {err}")
        return None


def _describe(
    one: _Loaded,
    timed: dict[str, "Samples"],
    session: "DeviceSession",
    turn: str,
    surroundings: dict[str, Any],
) -> Run:
    manifest = one.manifest
    runtimes = {REFERENCE: manifest.reference_runtime}
    measured = {
        name: Measurement(
            samples_s=samples.samples_s,
            number=samples.number,
            threads=session.threads,
            runtime=runtimes.get(name, f"TVM {session.info.tvm_version}"),
            timing=turn,
            warm_up=samples.warm_up,
            has_settled=samples.has_settled,
        )
        for name, samples in timed.items()
    }
    for name, library in one.libraries.items():
        measured[name] = msgspec.structs.replace(
            measured[name],
            kernels_s=library.kernels_s,
            has_kept_kernels=library.has_kept_kernels,
            first_run_s=library.first_run_s,
            copy_s=library.copy_s(COPIES) if manifest.is_for_gpu else None,
        )
    return Run(
        model=manifest.model,
        target=manifest.target,
        bundle_id=manifest.bundle_id,
        relative_error=one.relative_error,
        estimate_s=manifest.latency.estimate_s if manifest.latency else None,
        at_build_s=manifest.latency.tuned_s if manifest.latency else None,
        tuned_tasks=manifest.tuned_tasks,
        tasks=len(manifest.tasks),
        library_bytes=manifest.tuned.size_bytes,
        tuned=measured[TUNED],
        untuned=measured[UNTUNED],
        reference=measured.get(REFERENCE),
        **surroundings,
    )
