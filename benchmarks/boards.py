"""Networks tuned by the cycle model, its estimates beside published latencies of the real boards.

    python benchmarks/boards.py [NETWORK]... [--board NAME]... [--trials N]

Each network is tuned from nothing for each board, and the estimate is the sum over its tasks; what
has no task (layout transforms, for instance) is left out. The published figures, those of
`board_latencies.toml`, are of another tuner and an older TVM: the error is of both together.
Prints a table, and writes it with a scatter plot to `build/boards/`.
"""

import json
import tempfile
import tomllib
from pathlib import Path
from statistics import median

import click
from rich.console import Console
from rich.table import Table

import edgetvm.stages  # noqa: F401 - TVM's environment, before tvm
from edgetvm.host_cpu import usable_cores
from edgetvm.models.resolve import resolve_network
from edgetvm.records import RecordStore
from edgetvm.stages.build.network_build import NetworkBuild
from edgetvm.stages.cycles.cycle_model import CycleModel
from edgetvm.stages.tune.auto_scheduler_search import AutoSchedulerSearch
from edgetvm.stages.tune.candidate_build import CandidateBuilder
from edgetvm.stages.tune.candidate_modelling import ModelTimer
from edgetvm.stages.tune.cost_model import CostModel
from edgetvm.stages.tune.tools import Tools
from edgetvm.stages.tune.tuner import Tuner
from edgetvm.target_profile import load_target_profile

ROOT = Path(__file__).parents[1]
WORK = ROOT / "build" / "boards"
PUBLISHED = tomllib.loads(Path(__file__).with_name("board_latencies.toml").read_text())


@click.command()
@click.argument("networks", nargs=-1)
@click.option("--board", "boards", multiple=True, help="Profile; without it all with a figure.")
@click.option("--trials", type=int, default=256, show_default=True)
def compare_boards(networks: tuple[str, ...], boards: tuple[str, ...], trials: int) -> None:
    """Tune NETWORKS for boards by the model and compare with published latencies."""
    WORK.mkdir(parents=True, exist_ok=True)
    rows = []
    for board in boards or tuple(PUBLISHED["milliseconds"]):
        for network, published_ms in PUBLISHED["milliseconds"][board].items():
            if not networks or network in networks:
                estimate_ms = 1e3 * estimated_s(network, board, trials)
                rows.append((board, network, published_ms, estimate_ms))
                (WORK / "boards.json").write_text(json.dumps(rows))
    print_table(rows)
    draw(rows, WORK / "boards.svg")


def estimated_s(name: str, board: str, trials: int) -> float:
    """Tune a network for a board from nothing; return the estimate of its tasks, seconds."""
    profile = load_target_profile(board, ROOT / "targets")
    network = resolve_network(name, ROOT / "compile")
    with (
        NetworkBuild(network, profile, profile.cores) as build,
        tempfile.TemporaryDirectory() as folder,
        CandidateBuilder(usable_cores(), has_own_core=True, as_text=True) as builder,
    ):
        store = RecordStore(Path(folder), profile.cores)
        cost_model = CostModel(Path(folder) / "cost_model.ubj", None, usable_cores(), 0)
        search = AutoSchedulerSearch(build.forms.tasks, store, cost_model, 0)
        tools = Tools(builder, ModelTimer(CycleModel(profile, profile.cores)))
        tuner = Tuner(build.forms.tasks, [search], tools, lambda _: None, build.forms.uses)
        latency_s = tuner.run(trials).network_latency_s
    if latency_s is None:
        raise click.UsageError(f"{trials} trials do not reach every task of {name}: give more.")
    return latency_s


def print_table(rows: list[tuple[str, str, float, float]]) -> None:
    """Print every point, and the median error."""
    table = Table(box=None)
    for header in ("board", "network", "published, ms", "estimate, ms", "error"):
        table.add_column(header)
    errors = []
    for board, network, published_ms, estimate_ms in rows:
        errors.append(estimate_ms / published_ms - 1)
        numbers = (f"{published_ms:.1f}", f"{estimate_ms:.1f}", f"{errors[-1]:+.0%}")
        table.add_row(board, network, *numbers)
    console = Console(width=100)
    console.print(table)
    console.print(f"median absolute error: {median(map(abs, errors)):.0%}")


def draw(rows: list[tuple[str, str, float, float]], path: Path) -> None:
    """Draw estimates over published latencies, a colour a board."""
    import matplotlib.pyplot as plt

    _, axes = plt.subplots(figsize=(5, 5))
    for board in dict.fromkeys(row[0] for row in rows):
        own = [row for row in rows if row[0] == board]
        axes.scatter([row[2] for row in own], [row[3] for row in own], label=board)
    ends = [min(min(row[2:]) for row in rows), max(max(row[2:]) for row in rows)]
    axes.plot(ends, ends, "k:")
    axes.set(xlabel="published, ms", ylabel="estimate, ms", xscale="log", yscale="log")
    axes.legend()
    plt.tight_layout()
    plt.savefig(path)


if __name__ == "__main__":
    compare_boards()
