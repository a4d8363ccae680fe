"""How fast tuning gets good: best latency over trials and over time, cold, warm and stock TVM.

``cold`` starts from nothing. ``warm`` starts from what `tuning_logs/` knows of other networks:
their schedules and a cost model trained on their records, but no record of this network's
workloads.
Both tune all tasks with as many threads, one after the other, each seed from the start.

``stock`` is TVM's own ``TaskScheduler`` with its defaults, on the first model's heaviest tasks, of
which each gets a round as large as a usual run would give it; ``ours`` is a cold run on the same
tasks with as many trials.

    python benchmarks/tuning_curve.py [MODEL]... [--trials N] [--warm-trials N] [--stock-tasks N]

Writes every point to `build/tuning_curve/curves.json`, a plot beside it, and prints a table.
"""

import json
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import click
from rich.console import Console
from rich.table import Table

import edgetvm.stages  # noqa: F401 - TVM's environment, before tvm
from edgetvm.host_cpu import usable_cores
from edgetvm.models.resolve import resolve_network
from edgetvm.records import RecordStore
from edgetvm.stages.build.definitions import register_workloads
from edgetvm.stages.build.network_build import NetworkBuild
from edgetvm.stages.build.records import parse_records
from edgetvm.stages.build.tasks import NetworkTask
from edgetvm.stages.device.choice import device_at
from edgetvm.stages.device.session import Address
from edgetvm.stages.host_target import TVM_VERSION, detect_host_profile
from edgetvm.stages.tune.auto_scheduler_search import AutoSchedulerSearch
from edgetvm.stages.tune.candidate_build import CandidateBuilder
from edgetvm.stages.tune.candidate_timing import CandidateTimer
from edgetvm.stages.tune.cost_model import CostModel
from edgetvm.stages.tune.progress import TuningProgress
from edgetvm.stages.tune.tools import Tools
from edgetvm.stages.tune.tuner import Tuner
from edgetvm.units import format_latency

STOCK_ROUND = 31
"""Trials of a task in a round of TVM's, in a run of 1,000 trials for some 32 tasks."""

ROOT = Path(__file__).parents[1]
WORK = ROOT / "build" / "tuning_curve"


class Point(NamedTuple):
    """The state of a run: trials, seconds since its start, estimated network latency."""

    trials: int
    wall_s: float
    latency_s: float


class Curve(NamedTuple):
    """One run of one kind on one model."""

    model: str
    kind: str
    seed: int
    points: list[Point]


@click.command()
@click.argument("models", nargs=-1)
@click.option("--threads", type=int, default=1, show_default=True)
@click.option("--seeds", type=int, default=3, show_default=True)
@click.option("--trials", type=int, default=1000, show_default=True, help="Of a cold run.")
@click.option("--warm-trials", type=int, default=200, show_default=True)
@click.option("--stock-tasks", type=int, default=0, help="Of the first model, with one seed.")
def tuning_curve(
    models: tuple[str, ...],
    threads: int,
    seeds: int,
    trials: int,
    warm_trials: int,
    stock_tasks: int,
) -> None:
    """Run all kinds on MODELS, print what they reached, and draw their curves."""
    WORK.mkdir(parents=True, exist_ok=True)
    curves: list[Curve] = []
    for model in models or ("mobilenet_v2", "squeezenet_1.1", "shufflenet_g3"):
        network = resolve_network(model, ROOT / "compile")
        with NetworkBuild(network, detect_host_profile(), threads) as build, device_at(None) as at:
            known, tasks = others(build), build.forms.tasks
            runs = []
            if stock_tasks and not curves:
                few = heaviest(build, stock_tasks)
                same = len(few) * STOCK_ROUND
                runs = [("stock", 0, partial(run_stock, few, same))]
                runs += [("ours", 0, partial(run_ours, build, at, few, same, []))]
            for seed in range(seeds):
                runs += [("cold", seed, partial(run_ours, build, at, tasks, trials, []))]
                runs += [("warm", seed, partial(run_ours, build, at, tasks, warm_trials, known))]
            for kind, seed, run in runs:
                curves.append(Curve(model, kind, seed, run(seed)))
                (WORK / "curves.json").write_text(json.dumps(curves))
    print_table(curves)
    draw(curves, WORK / "curves.svg")


def others(build: NetworkBuild) -> list[str]:
    """Return the record lines of this target's workloads that the network does not have."""
    folder = ROOT / "tuning_logs" / build.profile.name
    store = RecordStore(folder, build.threads)
    lines = store.open(build.profile.tvm_target, TVM_VERSION)
    register_workloads(store.workloads.read().values())
    return [line for line in lines if json.loads(line)["i"][0][0] not in build.workload_keys]


def heaviest(build: NetworkBuild, count: int) -> list[NetworkTask]:
    """Return the tasks of the direct form with the most operations."""
    return sorted(build.tasks, key=lambda task: -task.count * task.flop)[:count]


def run_ours(
    build: NetworkBuild,
    address: Address,
    tasks: list[NetworkTask],
    trials: int,
    known: list[str],
    seed: int,
) -> list[Point]:
    """Tune from nothing but `known`, records of other networks."""
    points: list[Point] = []

    def note(progress: TuningProgress) -> None:
        latency_s = progress.network_latency_s
        if latency_s is not None and (not points or points[-1].trials < progress.trials):
            wall_s = time.monotonic() - progress.started_s
            points.append(Point(progress.trials, wall_s, latency_s))

    spare_cores = usable_cores() - build.threads
    with (
        tempfile.TemporaryDirectory() as folder,
        CandidateBuilder(spare_cores or usable_cores(), has_own_core=spare_cores > 0) as builder,
    ):
        store = RecordStore(Path(folder), build.threads)
        tools = Tools(builder, CandidateTimer(address, build.threads))
        model = CostModel(Path(folder) / "cost_model.ubj", None, usable_cores(), seed)
        if known:
            model.learn(parse_records(known))
        uses = build.forms.uses if tasks is build.forms.tasks else None
        search = AutoSchedulerSearch(tasks, store, model, seed)
        search.take_hints(known)
        Tuner(tasks, [search], tools, note, uses).run(trials)
    return points


def run_stock(tasks: list[NetworkTask], trials: int, seed: int) -> list[Point]:
    """Tune as TVM's tutorials do; it has no callback, so the points are those of its records."""
    from tvm import auto_scheduler

    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.json"
        runner = auto_scheduler.LocalRunner(repeat=3, min_repeat_ms=100)
        options = auto_scheduler.TuningOptions(
            num_measure_trials=trials,
            runner=runner,
            measure_callbacks=[auto_scheduler.RecordToFile(str(log))],
            verbose=0,
        )
        scheduler = auto_scheduler.TaskScheduler(
            [task.search_task for task in tasks], [task.count for task in tasks]
        )
        started_s = time.time()
        policy = "sketch.xgb"
        scheduler.tune(options, search_policy=policy, search_policy_params={"seed": seed})
        records = parse_records(log.read_text().splitlines())
    counts = {task.workload_key: task.count for task in tasks}
    best: dict[str, float] = {}
    points: list[Point] = []
    for place, (measure_input, result) in enumerate(records, start=1):
        if result.error_no == 0:
            key = measure_input.task.workload_key
            seconds = sum(cost.value for cost in result.costs) / len(result.costs)
            best[key] = min(seconds, best.get(key, seconds))
        if len(best) == len(counts):
            latency_s = sum(counts[key] * seconds for key, seconds in best.items())
            points.append(Point(place, result.timestamp - started_s, latency_s))
    return points


def print_table(curves: list[Curve]) -> None:
    """Print what each run reached, and when the warm one was as good as the cold one's end."""
    table = Table(box=None)
    headers = ("model", "kind", "seed", "trials", "s a trial", "reached")
    for header in (*headers, "trials to the cold run's end"):
        table.add_column(header)
    ends = {(c.model, c.seed): c.points[-1].latency_s for c in curves if c.kind == "cold"}
    for curve in curves:
        last, goal = curve.points[-1], ends.get((curve.model, curve.seed), 0.0)
        reached = next((p.trials for p in curve.points if p.latency_s <= goal), None)
        table.add_row(
            curve.model,
            curve.kind,
            str(curve.seed),
            str(last.trials),
            f"{last.wall_s / last.trials:.2f}",
            format_latency(last.latency_s),
            "-" if reached is None else str(reached),
        )
    Console(width=120).print(table)


def draw(curves: list[Curve], path: Path) -> None:
    """Draw latency over trials and over time, a row a model."""
    import matplotlib.pyplot as plt

    models = list(dict.fromkeys(curve.model for curve in curves))
    _, axes = plt.subplots(len(models), 2, figsize=(10, 3 * len(models)), squeeze=False)
    colours = {"cold": "tab:blue", "warm": "tab:red"}
    for row, model in zip(axes, models, strict=True):
        for curve in (c for c in curves if c.model == model and c.kind in colours):
            latencies_ms = [point.latency_s * 1e3 for point in curve.points]
            for axis, abscissae in zip(
                row,
                ([p.trials for p in curve.points], [p.wall_s for p in curve.points]),
                strict=True,
            ):
                label = curve.kind if curve.seed == 0 else None
                axis.step(abscissae, latencies_ms, colours[curve.kind], where="post", label=label)
        row[0].set(title=model, xlabel="trials", ylabel="estimated latency, ms", xscale="log")
        row[1].set(title=model, xlabel="seconds", xscale="log")
        row[0].legend()
    plt.tight_layout()
    plt.savefig(path)


if __name__ == "__main__":
    tuning_curve()
