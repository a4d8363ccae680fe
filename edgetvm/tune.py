"""``python -m edgetvm.tune``: a network and a target in, a tuned and checked bundle out."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from edgetvm import __version__
from edgetvm.cli import Duration, Shape, notes, require_host_packages, results, run_command
from edgetvm.errors import RecordError
from edgetvm.host_cpu import usable_cores
from edgetvm.manifest import AUTO_SCHEDULER, METASCHEDULE
from edgetvm.paths import DataFolders, find_data_folders
from edgetvm.recipe import list_recipes
from edgetvm.records import TunerStores, store_folder
from edgetvm.target_profile import TargetProfile, list_target_profiles
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


@click.command()
@click.argument("model", required=False)
@click.option("--target", help="Target profile, or host for this machine's CPU.")
@click.option("--trials", type=click.IntRange(min=0), help="Candidates to measure in this run.")
@click.option(
    "--budget", "budget_s", type=Duration(), help="Time for tuning, such as 90s, 30m or 2h."
)
@click.option("--threads", type=click.IntRange(min=1), help="Threads of one inference.")
@click.option("--rpc", metavar="HOST[:PORT]", help="Device; without it this machine.")
@click.option(
    "--tuner",
    type=click.Choice([AUTO_SCHEDULER, METASCHEDULE, BEST]),
    default=AUTO_SCHEDULER,
    show_default=True,
    help="Whose search; best uses both and takes the faster schedule of each task.",
)
@click.option(
    "--weights", type=click.Path(path_type=Path), help="Checkpoint: .pth, .safetensors, .dcz."
)
@click.option("--weights-from", metavar="SOURCE", help="Whose keys it has, such as torchvision.")
@click.option("--input-shape", type=Shape(), help="Input of a network of your own.")
@click.option(
    "--flush-cache", is_flag=True, help="Measure candidates with weights from memory, apart."
)
@click.option("--drop-bad-records", is_flag=True, help="Move unreadable record lines away.")
@click.option("--list", "list_only", is_flag=True, help="List models and targets, and stop.")
@click.version_option(__version__)
def tune(model: str | None, target: str | None, list_only: bool, **options: Any) -> None:
    """Tune MODEL for a target and build its bundle below build/.

    MODEL is a recipe's name, the path of an ONNX file, or my_package.my_model:build.
    Records of earlier runs are taken up; Ctrl-C ends a run and keeps what it found.

    \b
    Examples:
      python -m edgetvm.tune mobilenet_v2 --target host --budget 30m
      python -m edgetvm.tune squeezenet --target rasp4b --rpc 192.168.1.20
    """
    folders = find_data_folders()
    if list_only:
        results.print("models:  " + "  ".join(list_recipes(folders.recipes)))
        results.print("targets: " + "  ".join(["host", *list_target_profiles(folders.profiles)]))
        return
    if model is None or target is None:
        raise click.UsageError("MODEL and --target are needed; --list shows what there is.")
    require_host_packages()
    run(TuneOptions(model=model, target=target, **options), folders)


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

        with notes.status("building the tuned library, checking against the reference"):
            tuned = _build_tuned(build, stores, options)
            if not options.trials:
                check_on_device(address, build.untuned_library(), build)
            error = check_on_device(address, tuned, build)
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


def _build_tuned(build: "NetworkBuild", stores: TunerStores, options: TuneOptions) -> Path:
    from edgetvm.stages.build.records import parse_records

    lines = stores.auto_scheduler.read_lines() if options.uses(AUTO_SCHEDULER) else []
    others = stores.metaschedule.read() if options.uses(METASCHEDULE) else []
    return build.build_tuned(parse_records(lines, build.workload_keys), others)


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


if __name__ == "__main__":
    run_command(tune)
