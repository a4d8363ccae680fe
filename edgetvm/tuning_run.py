"""One tuning run: a network and a target in, a tuned and checked bundle out."""

import platform
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edgetvm.cli import notes, print_json, results
from edgetvm.errors import RecordError, UsageError
from edgetvm.manifest import METASCHEDULE, Manifest
from edgetvm.modelled import write_modelled
from edgetvm.modelling import model_bundle
from edgetvm.paths import DataFolders
from edgetvm.profile_display import format_modelled
from edgetvm.records import TunerStores, store_folder
from edgetvm.target_profile import MODELLED, TargetProfile
from edgetvm.tuning_build import build_fastest, choose_untuned
from edgetvm.tuning_display import print_boards, print_tuning_summary
from edgetvm.tuning_options import TuneOptions, check_tuner_fits, needs_model
from edgetvm.tuning_search import search_schedules

if TYPE_CHECKING:
    from edgetvm.device_info import DeviceInfo
    from edgetvm.models.network import Network
    from edgetvm.stages.build.network_build import NetworkBuild
    from edgetvm.stages.device.fleet import Fleet
    from edgetvm.stages.device.session import Address
    from edgetvm.stages.tune.progress import TuningProgress


def run(options: TuneOptions, folders: DataFolders) -> Path:
    """Carry out one tuning run and return the folder of the bundle.

    Raises
    ------
    EdgetvmError
        Of every kind; records measured until then are kept. A `RecordError` also if the budget did
        not reach every task: there is a bundle then, but not the one that was asked for.
    """
    from edgetvm.stages.device.fitting import check_precision_fits, open_for_target
    from edgetvm.stages.device.session import describe_device
    from edgetvm.stages.host_target import resolve_target

    profile = resolve_target(options.target, folders.profiles, driven_here=options.stands_for_gpu)
    if needs_model(options, profile, platform.machine()):
        options = msgspec.structs.replace(options, rpc=MODELLED)
        notes.print(
            f"no --rpc: a cycle model of its cores stands for {profile.title}; give --rpc HOST to "
            "tune on the board itself"
        )
    check_tuner_fits(options, profile)
    with ExitStack() as stack:
        address, fleet = _find_devices(options, profile, stack)
        address = replace(address, opencl=profile.gpu is not None)
        device = describe_device(address)
        address = replace(address, cores=options.cores or device.cluster_for(profile.runs_on))
        threads, checking = options.threads_for(profile.cores, device.cores)
        address = replace(address, most_threads=checking)
        open_for_target(address, device, profile, checking)
        if fleet is not None:
            fleet.cores, fleet.opencl = address.cores, address.opencl
        profile = _with_limits_of(device, profile)
        stores = _open_stores(options, folders, profile, threads, device)
        network = _load_network(options, folders)
        check_precision_fits(device, network.recipe.precision, profile.name, address)
        notes.print(
            f"{network.title} for {profile.name} ({profile.title}), {threads} thread(s), "
            f"records in {stores.auto_scheduler.path}"
        )
        is_timed = not device.emulated and not options.is_modelled
        build = stack.enter_context(_export(network, profile, threads, is_timed=is_timed))
        if options.trials is None:
            options = msgspec.structs.replace(options, trials=network.recipe.trials)
        if options.trials:  # nobody shall search for hours what does not even run untuned
            choose_untuned(build, address)
        progress = search_schedules(build, fleet or address, device, stores, options)
        address = fleet.find_address() if fleet else address  # the first may be lost by now
        build_fastest(build, address, device, stores, options, progress)
        bundle, manifest = _write_bundle(build, options, folders, progress)
    rpc = options.rpc if fleet is None else str(address)
    if options.is_modelled:
        rpc = None if address.is_local and not device.emulated else "HOST"
    if options.json:
        print_json({"bundle": str(bundle), "manifest": manifest})
    summary = notes if options.json else results
    print_tuning_summary(summary, manifest, bundle, progress, rpc)
    if fleet is not None:
        print_boards(summary, fleet.boards)
    if progress is not None and (untried := progress.untried):
        raise RecordError(
            f"{untried} of {len(manifest.tasks)} tasks were not tried within the budget, and the "
            "bundle has TVM's default schedules for them: run the command again to go on."
        )
    return bundle


def _load_network(options: TuneOptions, folders: DataFolders) -> "Network":
    """Return the network that was asked for, with its weights."""
    from edgetvm.models.resolve import resolve_network

    with notes.status("loading the network"):
        network = resolve_network(
            options.model,
            folders.recipes,
            options.input_shape,
            options.weights,
            options.weights_from,
        )
        return network.in_precision(options.precision or network.recipe.precision)


def _export(
    network: "Network", profile: TargetProfile, threads: int, *, is_timed: bool
) -> "NetworkBuild":
    """Export to Relay; which lowering is the fastest only a device that is timed can say."""
    from edgetvm.stages.build.network_build import NetworkBuild

    with notes.status("exporting to Relay"):
        return NetworkBuild(network, profile, threads, profile.lowerings if is_timed else None)


def _write_bundle(
    build: "NetworkBuild",
    options: TuneOptions,
    folders: DataFolders,
    progress: "TuningProgress | None",
) -> tuple[Path, Manifest]:
    """Write the bundle, and estimate it if nothing was measured."""
    from edgetvm.stages.build.bundle import write_bundle

    with notes.status("writing the bundle"):
        target = store_folder(
            folders.bundles,
            build.profile.name,
            emulated=options.stands_for_gpu,
            modelled=options.is_modelled,
        )
        bundle = target / build.network.name
        spent = (progress.trials, progress.search_s) if progress else (0, 0.0)
        manifest = write_bundle(build, bundle, *spent)
    if options.is_modelled:
        with notes.status("estimating each layer"):
            modelled = model_bundle(bundle, manifest, build.profile)
        write_modelled(modelled, bundle)
        notes.print(f"estimate of a cycle model, nothing was measured: {format_modelled(modelled)}")
    return bundle, manifest


def _find_devices(
    options: TuneOptions, profile: TargetProfile, stack: ExitStack
) -> "tuple[Address, Fleet | None]":
    """Return the device that checks libraries, and the fleet if there is one to tune on."""
    from edgetvm.stages.device.choice import EMULATED, device_at
    from edgetvm.stages.device.fleet import Fleet

    if options.tracker is None:
        rpc = options.rpc
        if options.is_modelled:  # the model times, and what is at hand checks
            rpc = None if profile.arch == platform.machine() else EMULATED
        return stack.enter_context(device_at(rpc, options.token, notes.print)), None
    if options.rpc is not None:
        raise UsageError("--rpc and --tracker name devices both: give one of them.")
    if options.token is not None:
        remedy = "give each one once, with python -m edgetvm.deploy --rpc HOST --token TOKEN"
        raise UsageError(f"Each board of a tracker has a token of its own: {remedy}.")
    fleet = Fleet.at(options.tracker, options.key or options.target)
    return fleet.find_address(), fleet


def _with_limits_of(device: "DeviceInfo", profile: TargetProfile) -> TargetProfile:
    """Return the profile of a GPU with the limits that the device itself gives."""
    from edgetvm.stages.device.fitting import with_limits_of

    if device.opencl is None:
        return profile
    profile, changes = with_limits_of(device.opencl, profile)
    for change in changes:
        notes.print(change)
    return profile


def _open_stores(
    options: TuneOptions,
    folders: DataFolders,
    profile: TargetProfile,
    threads: int,
    device: "DeviceInfo",
) -> TunerStores:
    from edgetvm.stages.host_target import TVM_VERSION

    folder = store_folder(
        folders.tuning_logs,
        profile.name,
        flushed=options.flush_cache,
        emulated=bool(device.emulated) and not options.is_modelled,
        modelled=options.is_modelled,
    )
    stores = TunerStores.of(folder, threads)
    drop_bad = options.drop_bad_records
    stores.auto_scheduler.open(profile.tvm_target, TVM_VERSION, drop_bad=drop_bad)
    if options.uses(METASCHEDULE):
        stores.metaschedule.open(drop_bad=drop_bad)
    return stores
