"""The libraries of a tuning run: built with the records that there are, checked and measured."""

from pathlib import Path
from typing import TYPE_CHECKING

from edgetvm.cli import notes
from edgetvm.manifest import AUTO_SCHEDULER, METASCHEDULE
from edgetvm.records import RecordStore, TunerStores
from edgetvm.tuning_options import TuneOptions

if TYPE_CHECKING:
    from edgetvm.device_info import DeviceInfo
    from edgetvm.stages.build.network_build import NetworkBuild
    from edgetvm.stages.device.session import Address
    from edgetvm.stages.tune.progress import TuningProgress


def choose_untuned(build: "NetworkBuild", address: "Address") -> None:
    """Check TVM's default schedules on the device, of each of its lowerings, and take the best."""
    from edgetvm.stages.device.lowering import choose_lowering

    with notes.status("building untuned, checking against the reference"):
        left_out = choose_lowering(address, build)
    for lowering, reason in left_out.items():
        notes.print(f"TVM's default schedules for {lowering} are left out: {reason}")
    of_several = f", lowered for {build.lowering}" if len(build.lowerings) > 1 else ""
    notes.print(
        f"untuned{of_several}: relative error {build.untuned_error:.1e} against "
        f"{build.network.reference_runtime}"
    )


def build_fastest(
    build: "NetworkBuild",
    address: "Address",
    device: "DeviceInfo",
    stores: TunerStores,
    options: TuneOptions,
    progress: "TuningProgress | None",
) -> None:
    """Build what the bundle will hold, and measure it."""
    from edgetvm.stages.device.breakdown import break_down

    tuned = _build_tuned(build, address, stores, options)
    if options.is_modelled:
        return
    if device.emulated:
        notes.print(f"{device.processor} is emulated: its times say nothing of a real device")
        return
    if progress is not None and _choose_in_network(address, build, stores, progress):
        tuned = _build_tuned(build, address, stores, options)
    if build.is_tuned:
        with notes.status("measuring tuned against untuned"):
            build.latency = break_down(address, build, tuned, flushed=options.flush_cache)
        if not build.latency.is_faster_tuned:
            build.fall_back_to_untuned()


def _build_tuned(
    build: "NetworkBuild", address: "Address", stores: TunerStores, options: TuneOptions
) -> Path:
    """Build the tuned library and check it on the device."""
    from edgetvm.stages.build.records import parse_records
    from edgetvm.stages.device.library import check_on_device

    store = stores.auto_scheduler
    if build.profile.gpu is not None:
        _reject_bad_winners(build, address, store)
    lines = store.read_lines() if options.uses(AUTO_SCHEDULER) else []
    others = stores.metaschedule.read() if options.uses(METASCHEDULE) else []
    with notes.status("building the tuned library"):
        records = parse_records(lines, build.workload_keys)
        tuned = build.build_tuned(records, others, store.choices.read())
    if build.untuned_error is None:  # nothing was searched: the two were built beside each other
        choose_untuned(build, address)
    if not build.is_tuned:
        build.fall_back_to_untuned()  # of the lowering that was chosen by now
        return tuned
    with notes.status("checking the tuned library against the reference"):
        build.relative_error = check_on_device(address, tuned, build)
    return tuned


def _reject_bad_winners(build: "NetworkBuild", address: "Address", store: RecordStore) -> None:
    from edgetvm.stages.verify.winners import reject_bad_winners

    with notes.status("verifying each task's best record on the device"):
        keys = build.workload_keys
        verified = reject_bad_winners(address, store, keys, build.profile, notes.print)
    notes.print(f"verified on the device: {verified} records, the best of each task")


def _choose_in_network(
    address: "Address", build: "NetworkBuild", stores: TunerStores, progress: "TuningProgress"
) -> bool:
    """Choose among each task's best within the network, where tuning took longer than that does."""
    from edgetvm.stages.build.records import parse_records
    from edgetvm.stages.device.network_choice import LIBRARIES, choose_in_network

    if not build.is_tuned or LIBRARIES * build.seconds_to_build > progress.search_s:
        return False
    store = stores.auto_scheduler
    with notes.status("choosing the schedules that are fastest within the network"):
        records = parse_records(store.read_lines(), build.workload_keys)
        choices = choose_in_network(address, build, records)
    store.choices.update(choices)
    if choices:
        notes.print(f"chose {len(choices)} tasks' schedules within the network")
    return bool(choices)
