"""How good the cycle model is: its estimates beside measured times of the same candidates.

``measure`` builds candidates of each network's heaviest tasks, laid-out ones, samples at random and
some of the committed records, and times them on this machine, several passes, the fastest of which
counts: what else runs here makes a candidate slower, never faster. ``evaluate`` estimates them and
prints for each task the rank correlation (Spearman) and the regret, the measured time of the
candidate that the model likes best over the best measured time.

    python benchmarks/model.py measure [NETWORK]... [--tasks N] [--passes N]
    python benchmarks/model.py evaluate [NETWORK]...
    python benchmarks/model.py networks
    python benchmarks/model.py tuned [NETWORK]... [--trials N]

``networks`` estimates whole networks that were deployed on this machine, as ``make demo`` does, and
compares with their measured latencies. ``tuned`` tunes networks by the model and by measuring, both
from nothing and with as many trials, and times both libraries and the untuned one in turn. How many
times faster than untuned any schedule could be, the roofline of this machine says: each layer at
the lower of its two ceilings, nothing between them.

The costs in `edgetvm/stages/cycles/cores.toml` were fitted to the networks of `FITTED`; the others
show what that is worth. Measured candidates are kept in `build/model/<network>/`, and the table in
`build/model/evaluation.json`.
"""

import json
import random
import shutil
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from statistics import median
from typing import NamedTuple

import click
import numpy as np
from papers import NETWORKS
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

import edgetvm.stages  # noqa: F401 - TVM's environment, before tvm
from edgetvm.deployment import Timing, deploy_together
from edgetvm.host_cpu import usable_cores
from edgetvm.manifest import CODE, list_bundles, read_manifest
from edgetvm.measurement import latest_run
from edgetvm.modelling import model_bundle
from edgetvm.models.resolve import resolve_network
from edgetvm.paper.estimate import Estimate, estimate_ratio
from edgetvm.paths import DataFolders
from edgetvm.records import RecordStore
from edgetvm.records.line import FAILED_COST_S
from edgetvm.records.summary import by_workload, fastest
from edgetvm.stages.build.definitions import add_definitions, register_workloads
from edgetvm.stages.build.network_build import NetworkBuild
from edgetvm.stages.build.records import cost_s, parse_records, record_line
from edgetvm.stages.build.tasks import NetworkTask
from edgetvm.stages.cycles.cycle_model import CycleModel
from edgetvm.stages.device.choice import device_at
from edgetvm.stages.device.roofline import measure_roofline
from edgetvm.stages.device.session import describe_device
from edgetvm.stages.host_target import detect_host_profile
from edgetvm.stages.tune.candidate_build import BuiltCandidate, CandidateBuilder
from edgetvm.stages.tune.candidate_modelling import ModelTimer
from edgetvm.stages.tune.candidate_timing import CandidateTimer
from edgetvm.stages.tune.register_tiling import tiled_states
from edgetvm.target_profile import HOST, MODELLED
from edgetvm.tuning_options import TuneOptions
from edgetvm.tuning_run import run as tune

ROOT = Path(__file__).parents[1]
WORK = ROOT / "build" / "model"
FITTED = ("mobilenet_v3_large", "shufflenet_g3")
HELD_BACK = ("efficientnet_b0", "espnetv2", "squeezenet_1.1", "mobilenet_v2")
COMMITTED, LAID_OUT, SAMPLED = 4, 7, 8
"""Candidates of a task, of each kind."""

CHUNK = 32
"""Candidates that are built and estimated together."""

FEWEST = 8
"""Candidates of a task without which a rank correlation says nothing."""


class Point(NamedTuple):
    """A candidate: of which task, measured and estimated seconds."""

    task: str
    measured_s: float
    estimated_s: float


class Row(NamedTuple):
    """What came of a task."""

    network: str
    task: str
    candidates: int
    correlation: float
    regret: float
    ratio: float


class Compared(NamedTuple):
    """A network tuned by the model and by measuring; each ratio is one of latencies."""

    network: str
    model_ms: float
    measured_ms: float
    model_over_measured: Estimate
    untuned_over_model: Estimate
    untuned_over_measured: Estimate
    untuned_over_roofline: float


@click.group()
def model() -> None:
    """Measure candidates, and see what the cycle model says of them."""


@model.command()
@click.argument("networks", nargs=-1)
@click.option("--tasks", "most", type=int, default=11, show_default=True, help="Of a network.")
@click.option("--passes", type=int, default=4, show_default=True)
def measure(networks: tuple[str, ...], most: int, passes: int) -> None:
    """Build and time candidates of NETWORKS, one thread; those measured before stay."""
    for name in networks or (*FITTED, *HELD_BACK):
        profile = detect_host_profile()
        known = by_workload(RecordStore(ROOT / "tuning_logs" / profile.name, 1).read_records())
        store = RecordStore(WORK / name, 1)
        store.path.parent.mkdir(parents=True, exist_ok=True)
        with NetworkBuild(resolve_network(name, ROOT / "compile"), profile, 1) as build:
            tasks = heaviest(build.forms.tasks, most)
            add_definitions(store.workloads, tasks)
            inputs = [one for task in tasks for one in candidates(task, known)]
        for line in timed(inputs, passes):
            store.append(line)


def heaviest(tasks: Iterable[NetworkTask], most: int) -> list[NetworkTask]:
    """Return the tasks with the most operations; four are depthwise or grouped if there are."""
    ranked = sorted(tasks, key=lambda task: -task.count * task.flop)
    apart = [task for task in ranked if "depthwise" in task.name or "groups" in task.name][:4]
    others = [task for task in ranked if task not in apart]
    return [*others[: most - len(apart)], *apart]


def candidates(task: NetworkTask, known: dict) -> Iterator:
    """Yield distinct candidates of a task: committed, laid-out, at random."""
    from tvm import auto_scheduler

    draw = random.Random(0)
    search_task = task.search_task
    records = [one.text for one in fastest(known.get(task.workload_key, []))]
    half = COMMITTED // 2
    chosen = dict.fromkeys([*records[:half], *records[-half:]])
    states = [measure_input.state for measure_input, _ in parse_records(chosen)]
    laid_out = list(islice(tiled_states(search_task), 300))
    states += draw.sample(laid_out, min(LAID_OUT, len(laid_out)))
    params = {"sample_init_min_population": 2 * SAMPLED}
    policy = auto_scheduler.SketchPolicy(search_task, params=params, seed=1, verbose=0)
    sampled = list(policy.sample_initial_population())
    states += draw.sample(sampled, min(SAMPLED, len(sampled)))
    seen = set()
    for state in states:
        bounded = search_task.compute_dag.infer_bound_from_state(state).state_object
        if str(bounded) not in seen:
            seen.add(str(bounded))
            yield auto_scheduler.MeasureInput(search_task, bounded)


def timed(inputs: list, passes: int) -> Iterator[str]:
    """Yield the record of each candidate, with the fastest of its passes."""
    from tvm import auto_scheduler

    with CandidateBuilder(usable_cores()) as builder, device_at(None) as address:
        built = builder.start(inputs).result()
        best = [([], one.error_no, one.error) for one in built]
        for _ in range(passes):
            for place, outcome in enumerate(CandidateTimer(address, 1).time(copies(built), None)):
                costs_s = sorted([*best[place][0], *outcome[0]])
                best[place] = (costs_s[:1], outcome[1] if not costs_s else 0, outcome[2])
    for measure_input, (costs_s, error_no, error) in zip(inputs, best, strict=True):
        result = auto_scheduler.MeasureResult(
            costs_s or [FAILED_COST_S], error_no, error, sum(costs_s), time.time()
        )
        yield record_line((measure_input, result))


def copies(built: list[BuiltCandidate]) -> list[BuiltCandidate]:
    """Return candidates whose libraries may be deleted, as a timer does."""
    copied = []
    for one in built:
        library = one.library
        if library is not None:
            library = library.with_suffix(".copy.so")
            library.hardlink_to(one.library)
        copied.append(BuiltCandidate(library, one.arguments, one.error_no, one.error))
    return copied


@model.command()
@click.argument("networks", nargs=-1)
def evaluate(networks: tuple[str, ...]) -> None:
    """Estimate the measured candidates of NETWORKS, and compare."""
    cycle_model = CycleModel(detect_host_profile(), 1)
    rows, seconds = [], []
    for name in networks or (*FITTED, *HELD_BACK):
        timer = ModelTimer(cycle_model)
        started_s = time.monotonic()
        points = list(estimated(RecordStore(WORK / name, 1), timer))
        whole_s = time.monotonic() - started_s
        seconds.append((timer.spent_s / len(points), whole_s / len(points)))
        rows += list(rows_of(name, points))
    (WORK / "evaluation.json").write_text(json.dumps([row._asdict() for row in rows]))
    print_table(rows, seconds)


def estimated(store: RecordStore, timer: ModelTimer) -> Iterator[Point]:
    """Yield measured and estimated seconds of a store's valid records."""
    from tvm import auto_scheduler

    workloads = store.workloads.read()
    register_workloads(workloads.values())
    records = [one for one in parse_records(store.read_lines()) if cost_s(one[1]) is not None]
    with CandidateBuilder(usable_cores(), as_text=True) as builder:
        for start in range(0, len(records), CHUNK):
            chunk = records[start : start + CHUNK]
            recover = auto_scheduler.measure.recover_measure_input
            inputs = [recover(measure_input, rebuild_state=True) for measure_input, _ in chunk]
            outcomes = timer.time(builder.start(inputs).result(), None)
            for (measure_input, result), (costs_s, _, _) in zip(chunk, outcomes, strict=True):
                if costs_s:
                    task = workloads[measure_input.task.workload_key].description
                    yield Point(
                        f"{task} {measure_input.task.workload_key[2:8]}", cost_s(result), costs_s[0]
                    )


def rows_of(network: str, points: list[Point]) -> Iterator[Row]:
    """Yield what came of each task of a network."""
    for task in dict.fromkeys(point.task for point in points):
        own = [point for point in points if point.task == task]
        if len(own) < FEWEST:
            continue
        measured = [point.measured_s for point in own]
        guesses = [point.estimated_s for point in own]
        liked = min(own, key=lambda point: point.estimated_s)
        yield Row(
            network,
            task,
            len(own),
            float(spearmanr(measured, guesses).statistic),
            liked.measured_s / min(measured),
            median(point.estimated_s / point.measured_s for point in own),
        )


@model.command()
def networks() -> None:
    """Estimate the networks whose bundles ran on this machine, and compare."""
    profile = detect_host_profile()
    table = Table(box=None)
    for header in ("network", "threads", "measured ms", "estimated ms", "measured / estimated"):
        table.add_column(header)
    ratios = []
    for bundle in list_bundles(ROOT / "build" / profile.name):
        manifest, run = read_manifest(bundle), latest_run(bundle)
        if run is None or not (bundle / CODE).exists() or run.bundle_id != manifest.bundle_id:
            continue
        measured_s = run.tuned.median_s
        modelled = model_bundle(bundle, manifest, profile, run.tuned.threads)
        ratios.append(measured_s / modelled.seconds)
        times = (f"{one * 1e3:.2f}" for one in (measured_s, modelled.seconds))
        table.add_row(bundle.name, str(modelled.threads), *times, f"{ratios[-1]:.2f}")
    console = Console(width=140)
    console.print(table)
    errors = [abs(1 / ratio - 1) for ratio in ratios]
    low, high = np.percentile(ratios, (5, 95))
    console.print(
        f"{len(ratios)} networks, median absolute error {median(errors):.0%}; nine of ten measured "
        f"latencies are {low:.2f} to {high:.2f} times the estimate"
    )


@model.command()
@click.argument("networks", nargs=-1)
@click.option("--trials", type=int, default=320, show_default=True)
@click.option("--repeat", type=int, default=40, show_default=True, help="Samples of each library.")
def tuned(networks: tuple[str, ...], trials: int, repeat: int) -> None:
    """Tune NETWORKS by the model and by measuring, one thread, and time both and the untuned."""
    rows = []
    for name in networks or NETWORKS:
        rows.append(compare_tuned(name, trials, repeat))
        print_compared(rows)


def print_compared(rows: list[Compared]) -> None:
    """Print each network, and how far the ratios go."""
    table = Table(box=None)
    for header in Compared._fields:
        table.add_column(header.replace("_over_", " / ").replace("_", " "))
    for row in rows:
        table.add_row(*map(cell, row))
    console = Console(width=160)
    console.print(table)
    slower = [row.model_over_measured.value for row in rows]
    faster = [row.untuned_over_model.value for row in rows]
    console.print(
        f"{len(rows)} networks: model / measured {median(slower):.2f} in the median, at most "
        f"{max(slower):.2f}; untuned / model {median(faster):.2f} in the median, at least "
        f"{min(faster):.2f}"
    )


def compare_tuned(name: str, trials: int, repeat: int) -> Compared:
    """Tune a network by the model and by measuring, and time both libraries and the untuned."""
    bundles = [tuned_bundle(name, rpc, trials) for rpc in (MODELLED, None)]
    chosen = [(bundle, read_manifest(bundle)) for bundle in bundles]
    manifest = chosen[0][1]
    with device_at(None) as address:
        timing = Timing(threads=1, repeat=repeat)
        by_model, by_measuring = deploy_together(chosen, describe_device(address), address, timing)
        roofline = measure_roofline(address, 1, manifest.tvm_target, manifest.vector_unit_bytes)
    least_s = sum(roofline.ceiling(layer)[0] for layer in manifest.layers)
    return Compared(
        name,
        by_model.tuned.median_s * 1e3,
        by_measuring.tuned.median_s * 1e3,
        estimate_ratio(by_model.tuned, by_measuring.tuned),
        estimate_ratio(by_model.untuned, by_model.tuned),
        estimate_ratio(by_measuring.untuned, by_measuring.tuned),
        by_model.untuned.median_s / least_s,
    )


def cell(value: object) -> str:
    """Return a cell of the table."""
    if isinstance(value, Estimate):
        return f"{value.value:.2f} ({value.low:.2f} to {value.high:.2f})"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def tuned_bundle(name: str, rpc: str | None, trials: int) -> Path:
    """Tune a network in a project of its own, without any record; return its bundle."""
    project = WORK / "tuned" / f"{name}_{rpc or 'measured'}"
    shutil.rmtree(project, ignore_errors=True)
    folders = DataFolders.below(ROOT, project)
    options = TuneOptions(model=name, target=HOST, threads=1, trials=trials, rpc=rpc)
    # Libraries are told apart on the device by their bundles' names.
    return tune(options, folders).rename(project / project.name)


def print_table(rows: list[Row], seconds: list[tuple[float, float]]) -> None:
    """Print each task, and the medians of the networks fitted to and of those held back."""
    table = Table(box=None)
    for header in Row._fields:
        table.add_column(header)
    for row in rows:
        table.add_row(*map(cell, row))
    console = Console(width=140)
    console.print(table)
    for title, networks in (("fitted", FITTED), ("held back", HELD_BACK)):
        if own := [row for row in rows if row.network in networks]:
            console.print(
                f"{title}: {sum(row.candidates for row in own)} candidates of {len(own)} tasks, "
                f"median rank correlation {median(row.correlation for row in own):.2f}, "
                f"median regret {median(row.regret for row in own):.2f}"
            )
    alone_s, whole_s = (median(times) for times in zip(*seconds, strict=True))
    console.print(f"{alone_s:.2f} s a candidate, {whole_s:.2f} s with compiling it")


if __name__ == "__main__":
    model()
