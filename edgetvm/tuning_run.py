"""One tuning run: a network and a target in, a tuned and checked bundle out."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edgetvm.cli import notes, results
from edgetvm.errors import RecordError
from edgetvm.host_cpu import usable_cores
from edgetvm.manifest import AUTO_SCHEDULER, METASCHEDULE
from edgetvm.paths import DataFolders
from edgetvm.records import TunerStores, store_folder
from edgetvm.target_profile import TargetProfile
from edgetvm.tuning_display import TuningDisplay, print_tuning_summary

if TYPE_CHECKING:
    from edgetvm.stages.build.network_build import NetworkBuild
    from edgetvm.stages.device.session import Address
    from edgetvm.stages.tune.progress import TuningProgress
    from edgetvm.stages.tune.tools import Search
    from edgetvm.stages.tune.tuner import Tuner


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
    weights: Path | None = None
    weights_from: str | None = None
    input_shape: tuple[int, ...] | None = None
    flush_cache: bool = False
    drop_bad_records: bool = False
    tuner: str = AUTO_SCHEDULER

    def uses(self, tuner: str) -> bool:
        """Whether `tuner` searches, and its schedules go into the bundle."""
        return self.tuner in (tuner, BEST)


def run(options: TuneOptions, folders: DataFolders) -> Path:
    """Carry out one tuning run and return the folder of the bundle.

    Raises
    ------
    EdgetvmError
        Of every kind; records measured until then are kept. A `RecordError` also if the budget did
        not reach every task: there is a bundle then, but not the one that was asked for.
    """
    from edgetvm.models.resolve import resolve_network
    from edgetvm.stages.build.definitions import add_definitions
    from edgetvm.stages.build.network_build import NetworkBuild
    from edgetvm.stages.device.breakdown import break_down
    from edgetvm.stages.device.library import check_on_device
    from edgetvm.stages.device.loopback import device_at
    from edgetvm.stages.device.session import open_for_target
    from edgetvm.stages.host_target import TVM_VERSION, resolve_target

    profile = resolve_target(options.target, folders.profiles)
    threads = options.threads or profile.cores
    stores = _open_stores(options, folders, profile, threads)
    store = stores.auto_scheduler
    with ExitStack() as stack:
        with notes.status("loading the network"):
            network = resolve_network(
                options.model,
                folders.recipes,
                options.input_shape,
                options.weights,
                options.weights_from,
            )
        notes.print(
            f"{network.title} for {profile.name} ({profile.title}), {threads} thread(s), "
            f"records in {store.path}"
        )
        address = stack.enter_context(device_at(options.rpc))
        device = open_for_target(address, profile, threads).info
        with notes.status("exporting to Relay"):
            build = stack.enter_context(NetworkBuild(network, profile, threads))

        if options.trials is None:
            options = msgspec.structs.replace(options, trials=network.recipe.trials)
        progress = None
        if options.trials:
            with notes.status("building untuned, checking against the reference"):
                error = check_on_device(address, build.untuned_library(), build)
            notes.print(f"untuned: relative error {error:.1e} against {network.reference_runtime}")
            store.write_provenance(profile.tvm_target, TVM_VERSION, device)
            add_definitions(store.workloads, build.forms.tasks)
            progress = _tune(build, address, stores, options)

        if not options.trials:
            check_on_device(address, build.untuned_library(), build)
        tuned, error = _build_tuned(build, address, stores, options)
        if progress is not None and _choose_in_network(address, build, stores, progress):
            tuned, error = _build_tuned(build, address, stores, options)
        if build.is_tuned:
            with notes.status("measuring tuned against untuned"):
                build.latency = break_down(address, build, tuned, flushed=options.flush_cache)
            if not build.latency.is_faster_tuned:
                build.fall_back_to_untuned()
        with notes.status("writing the bundle"):
            bundle = folders.bundles / profile.name / network.name
            manifest = build.write_bundle(bundle)
    print_tuning_summary(results, manifest, bundle, error, progress)
    if progress is not None and (untried := progress.untried):
        raise RecordError(
            f"{untried} of {len(manifest.tasks)} tasks were not tried within the budget, and the "
            "bundle has TVM's default schedules for them: run the command again to go on."
        )
    return bundle


def _open_stores(
    options: TuneOptions, folders: DataFolders, profile: TargetProfile, threads: int
) -> TunerStores:
    from edgetvm.stages.host_target import TVM_VERSION

    folder = store_folder(folders.tuning_logs, profile.name, flushed=options.flush_cache)
    stores = TunerStores.of(folder, threads)
    drop_bad = options.drop_bad_records
    stores.auto_scheduler.open(profile.tvm_target, TVM_VERSION, drop_bad=drop_bad)
    if options.uses(METASCHEDULE):
        stores.metaschedule.open(drop_bad=drop_bad)
    return stores


def _build_tuned(
    build: "NetworkBuild", address: "Address", stores: TunerStores, options: TuneOptions
) -> tuple[Path, float]:
    """Return the tuned library and its relative error."""
    from edgetvm.stages.build.records import parse_records
    from edgetvm.stages.device.library import check_on_device

    store = stores.auto_scheduler
    lines = store.read_lines() if options.uses(AUTO_SCHEDULER) else []
    others = stores.metaschedule.read() if options.uses(METASCHEDULE) else []
    with notes.status("building the tuned library, checking against the reference"):
        records = parse_records(lines, build.workload_keys)
        tuned = build.build_tuned(records, others, store.choices.read())
        return tuned, check_on_device(address, tuned, build)


def _choose_in_network(
    address: "Address", build: "NetworkBuild", stores: TunerStores, progress: "TuningProgress"
) -> bool:
    """Choose among each task's best within the network, where tuning took longer than that does."""
    from edgetvm.stages.build.records import parse_records
    from edgetvm.stages.device.network_choice import LIBRARIES, choose_in_network

    tuning_s = (progress.ended_s or time.monotonic()) - progress.started_s
    if not build.is_tuned or LIBRARIES * build.seconds_to_build > tuning_s:
        return False
    store = stores.auto_scheduler
    with notes.status("choosing the schedules that are fastest within the network"):
        records = parse_records(store.read_lines(), build.workload_keys)
        choices = choose_in_network(address, build, records)
    store.choices.update(choices)
    if choices:
        notes.print(f"chose {len(choices)} tasks' schedules within the network")
    return bool(choices)


def _tune(
    build: "NetworkBuild", address: "Address", stores: TunerStores, options: TuneOptions
) -> "TuningProgress":
    from edgetvm.stages.tune.candidate_build import CandidateBuilder
    from edgetvm.stages.tune.candidate_timing import CandidateTimer
    from edgetvm.stages.tune.tools import Tools
    from edgetvm.stages.tune.tuner import Tuner

    display = TuningDisplay(notes)
    spare_cores = usable_cores() - (build.threads if options.rpc is None else 0)
    with CandidateBuilder(spare_cores or usable_cores(), has_own_core=spare_cores > 0) as builder:
        timer = CandidateTimer(address, build.threads, flush_cache=options.flush_cache)
        with notes.status("taking up earlier records"):
            forms, searches = build.forms, _searches(build, stores, options)
            tuner = Tuner(forms.tasks, searches, Tools(builder, timer), display.update, forms.uses)
            tuner.take_up()
        if tuner.progress.resumed:
            notes.print(f"took up {tuner.progress.resumed} records of earlier runs")
        with display, _interrupt_stops(tuner):
            return tuner.run(options.trials or 0, options.budget_s)


def _searches(build: "NetworkBuild", stores: TunerStores, options: TuneOptions) -> "list[Search]":
    from edgetvm.stages.tune.auto_scheduler_search import begin_auto_scheduler_search
    from edgetvm.stages.tune.metaschedule_search import MetaScheduleSearch

    tasks, seed, cores = build.forms.tasks, build.network.recipe.seed, usable_cores()
    searches: list[Search] = []
    if options.uses(AUTO_SCHEDULER):
        search, model = begin_auto_scheduler_search(tasks, stores.auto_scheduler, cores, seed)
        if model is not None:
            notes.print(f"took up the cost model of {model.parent.name}")
        searches.append(search)
    if options.uses(METASCHEDULE):
        theirs = stores.metaschedule
        seed += len(theirs.read())
        searches.append(MetaScheduleSearch(tasks, theirs, build.threads, cores, seed))
    return searches


@contextmanager
def _interrupt_stops(tuner: "Tuner") -> Iterator[None]:
    """Make the first Ctrl-C end the run after the trial at hand; the second one aborts."""
    ordinary: Callable[..., object] | int | None = signal.getsignal(signal.SIGINT)

    def stop(_number: int, _frame: object) -> None:
        notes.print("ending after the trial at hand; Ctrl-C again aborts")
        signal.signal(signal.SIGINT, ordinary)
        tuner.stop()

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, ordinary)
