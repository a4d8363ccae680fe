"""``python -m edgetvm.deploy``: bundles in, checked and timed on the device, beside the papers."""

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
import numpy as np
from numpy.typing import NDArray

from edgetvm import __version__
from edgetvm.bundle_choice import choose_bundles
from edgetvm.cli import device_options, notes, results, run_command
from edgetvm.comparison_display import print_comparison
from edgetvm.errors import UsageError
from edgetvm.golden import GOLDEN, read_golden
from edgetvm.manifest import KERNELS, TUNED_LIBRARY, UNTUNED_LIBRARY, Manifest
from edgetvm.measurement import DeviceInfo, Measurement, Run, utc_now, write_run
from edgetvm.paper.comparison import compare
from edgetvm.paper.figures import load_papers
from edgetvm.paths import DataFolders, find_data_folders

if TYPE_CHECKING:
    from edgetvm.stages.device.session import Address


COPIES = 10
"""Copies of the input and the outputs over which their time is averaged."""


class DeployOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of one run."""

    models: tuple[str, ...] = ()
    target: str | None = None
    rpc: str | None = None
    token: str | None = None
    threads: int | None = None
    cores: str = ""
    repeat: int = 20


@click.command()
@click.argument("models", metavar="[MODEL]...", nargs=-1)
@click.option("--target", help="Target whose bundles to take; without it what fits the device.")
@device_options
@click.option(
    "--threads", type=click.IntRange(min=1), help="Without it, as many as it was tuned for."
)
@click.option(
    "--repeat",
    type=click.IntRange(min=2),
    default=20,
    show_default=True,
    help="Samples of each library.",
)
@click.version_option(__version__)
def deploy(**options: Any) -> None:
    """Run bundles on a device, check their output, time them and compare with the papers.

    Without MODEL every bundle that was built for the device's target is taken.

    \b
    Examples:
      python -m edgetvm.deploy
      python -m edgetvm.deploy mobilenet_v2 --target rasp4b --rpc 192.168.1.20
    """
    run(DeployOptions(**options), find_data_folders())


def run(options: DeployOptions, folders: DataFolders) -> list[Run]:
    """Deploy the bundles, write a run beside each, print the comparison and return the runs.

    Raises
    ------
    EdgetvmError
        Of every kind; runs of bundles deployed before are kept.
    """
    from edgetvm.stages.device.choice import device_at
    from edgetvm.stages.device.session import describe_device

    runs = []
    with device_at(options.rpc, options.token, notes.print) as address:
        info = describe_device(address)
        notes.print(f"device at {address}: {info.processor}, {info.cores} cores, {info.arch}")
        for bundle, manifest in choose_bundles(
            options.models, options.target, options.rpc, folders.bundles, info, address
        ):
            with notes.status(f"{manifest.model}: uploading, checking, timing"):
                runs.append(_deploy(bundle, manifest, info, address, options))
            write_run(runs[-1], bundle)
            notes.print(f"{manifest.model}: relative error {runs[-1].relative_error:.1e}")
            if emulator := runs[-1].device.emulated:
                notes.print(f"{manifest.model}: emulated by {emulator}, so no time is given")
                continue
            notes.print(f"{manifest.model}: timed at {runs[-1].after}")
            if not runs[-1].tuning_paid:
                notes.print(f"{manifest.model}: tuned is slower than untuned here; tune it longer")
    print_comparison(results, compare(runs, load_papers()))
    return runs


def _deploy(
    bundle: Path,
    manifest: Manifest,
    info: DeviceInfo,
    address: "Address",
    options: DeployOptions,
) -> Run:
    """Check and time one bundle on the device."""
    from edgetvm.stages.device.fitting import check_bundle_fits, check_gpu_fits
    from edgetvm.stages.device.library import SESSION_TIMEOUT_S, RemoteLibrary
    from edgetvm.stages.device.session import DeviceSession
    from edgetvm.stages.device.timing import Contender, time_interleaved

    check_bundle_fits(info, manifest, address)
    cores = options.cores or info.cluster_for(manifest.runs_on)
    address = replace(address, cores=cores, opencl=manifest.is_for_gpu)
    threads = options.threads or min(manifest.threads, info.cores)
    session = DeviceSession(address, threads, SESSION_TIMEOUT_S)
    if session.info.opencl is not None:
        check_gpu_fits(session.info.opencl, manifest.tvm_target, manifest.target, address)
    data, golden = read_golden(bundle / GOLDEN)
    tuned, untuned = (
        RemoteLibrary(session, bundle / name, manifest.input_name, bundle / KERNELS)
        for name in (TUNED_LIBRARY, UNTUNED_LIBRARY)
    )
    untuned.check(data, golden, manifest.tolerance)
    error = tuned.check(data, golden, manifest.tolerance)
    contenders = {
        "untuned": Contender.of_library(untuned),
        "tuned": Contender.of_library(tuned),
    }
    reference = _reference(manifest, data) if options.rpc is None else None
    if reference is not None:
        contenders["reference"] = Contender.of_callable(reference)
    before = session.state()
    timed = time_interleaved(contenders, options.repeat)
    runtime = {"reference": manifest.reference_runtime}
    measured = {
        name: Measurement(
            samples_s=samples.samples_s,
            number=samples.number,
            threads=session.threads,
            runtime=runtime.get(name, f"TVM {session.info.tvm_version}"),
        )
        for name, samples in timed.items()
    }
    for name, library in {"tuned": tuned, "untuned": untuned}.items():
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
        measured_at=utc_now(),
        device=session.info,
        relative_error=error,
        estimate_s=manifest.latency.estimate_s if manifest.latency else None,
        at_build_s=manifest.latency.tuned_s if manifest.latency else None,
        tuned_tasks=manifest.tuned_tasks,
        tasks=len(manifest.tasks),
        before=before,
        after=session.state(),
        tuned=measured["tuned"],
        untuned=measured["untuned"],
        reference=measured.get("reference"),
    )


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


if __name__ == "__main__":
    run_command(deploy)
