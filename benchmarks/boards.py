"""How good the cycle model is on boards: its estimates beside the latencies that were published.

The networks' libraries are those of `rasp4b`, tuned by the model; LLVM makes their code anew for
each board's cores, and the model estimates it at the board's clock. Published are float32 latencies
of boards that there is a profile of, or whose cores and clock are those of a profile.

    python benchmarks/boards.py [--fresh]

Whoever published used other schedules, most of them another program altogether: what is compared is
not the same code. Nothing is fitted to these latencies. Writes `build/model/boards.json` and
`docs/boards.svg`, and prints every point, the errors, and the band that `cores.toml` has.
"""

import json
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import NamedTuple

import click
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

import edgetvm.stages  # noqa: F401 - TVM's environment, before tvm
from edgetvm.manifest import list_bundles, read_manifest
from edgetvm.modelling import model_bundle
from edgetvm.paper.boards import is_float32, load_board_latencies
from edgetvm.paper.devices import load_devices
from edgetvm.paper.figures import load_papers
from edgetvm.stages.host_target import resolve_target

ROOT = Path(__file__).parents[1]
WORK = ROOT / "build" / "model"
BUNDLES = ROOT / "build" / "rasp4b.modelled"
TARGETS = ROOT / "targets"

SAME_CORES = {"Huawei P20 Pro (Kirin970 4xA73 2.36GHz)": "hikey960"}
"""Profiles of the same cores at the same clock, of devices that have no profile."""

ALL_CORES = {"RPi 4 (BCM2711)": 4}
"""Threads of devices whose source says ``multi-threaded`` and no number: all cores."""

BAND = (5, 95)
"""Percentiles of published over estimated latencies that an estimate's band goes by."""


class Point(NamedTuple):
    """A published latency, and what the model says of the same network on such a board."""

    model: str
    device: str
    target: str
    core: str
    threads: int
    runtime: str
    published_s: float
    estimated_s: float

    @property
    def ratio(self) -> float:
        """Published over estimated."""
        return self.published_s / self.estimated_s


class Published(NamedTuple):
    """A latency as it was published, its device named by a profile."""

    model: str
    device: str
    target: str
    threads: int
    runtime: str


@click.command()
@click.option("--fresh", is_flag=True, help="Estimate again what was estimated before.")
def boards(fresh: bool) -> None:
    """Estimate every network and board of which a latency was published, and compare."""
    kept = WORK / "boards.json"
    if kept.exists() and not fresh:
        points = [Point(*one) for one in json.loads(kept.read_text())]
    else:
        points = estimate(published())
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(points))
    print_points(points)
    draw(points, ROOT / "docs" / "boards.svg")


def published() -> dict[Published, float]:
    """Return the published latencies in seconds; of several of one setting the median."""
    found: dict[Published, list[float]] = defaultdict(list)
    for paper in load_papers():
        for row in paper.figures:
            if row.device and row.latency_ms and row.precision == "float32":
                target = profile_of(row.device)
                if target:
                    key = Published(
                        row.model, row.device, target, row.threads or 1, row.runtime or "TF-Lite"
                    )
                    found[key].append(row.latency_ms / 1e3)
    for row in load_board_latencies():
        threads = row.threads or ALL_CORES.get(row.device)
        target = profile_of(row.device)
        if not target or not threads:
            continue
        if is_float32(row, resolve_target(target, TARGETS).cluster.core):
            key = Published(row.model, row.device, target, threads, row.runtime)
            found[key].append(row.latency_ms / 1e3)
    return {key: median(times) for key, times in found.items()}


def profile_of(device: str) -> str | None:
    """Return the 64-bit CPU profile of a device as a source names it."""
    known = load_devices().get(device)
    names = [SAME_CORES[device]] if device in SAME_CORES else known.targets if known else ()
    profiles = [resolve_target(name, TARGETS) for name in names]
    return next((one.name for one in profiles if one.arch == "aarch64" and one.gpu is None), None)


def estimate(latencies: dict[Published, float]) -> list[Point]:
    """Estimate each network that has a bundle on each of its boards."""
    bundles = {bundle.name: (bundle, read_manifest(bundle)) for bundle in list_bundles(BUNDLES)}
    seconds: dict[tuple[str, str, int], float] = {}
    points = []
    for one, published_s in latencies.items():
        if one.model not in bundles:
            continue
        profile = resolve_target(one.target, TARGETS)
        core = str(profile.tvm_target.partition("-mcpu=")[2].split()[0])
        setting = (one.model, one.target, one.threads)
        if setting not in seconds:
            modelled = model_bundle(*bundles[one.model], profile, one.threads)
            seconds[setting] = modelled.seconds
        points.append(
            Point(
                one.model,
                one.device,
                one.target,
                core,
                one.threads,
                one.runtime,
                published_s,
                seconds[setting],
            )
        )
    return points


def print_points(points: list[Point]) -> None:
    """Print each point, the errors by runtime and by core, and the band."""
    table = Table(box=None)
    for header in (*Point._fields[:-2], "published ms", "estimated ms", "ratio"):
        table.add_column(header)
    for point in sorted(points, key=lambda one: (one.core, one.device, one.threads, one.model)):
        times = (f"{one * 1e3:.1f}" for one in (point.published_s, point.estimated_s))
        table.add_row(*map(str, point[:-2]), *times, f"{point.ratio:.2f}")
    console = Console(width=180)
    console.print(table)
    for name in dict.fromkeys(label for point in points for label in labels(point)):
        group = [point for point in points if name in labels(point)]
        console.print(
            f"{name}: {len(group)} points, median absolute error "
            f"{median(error(one) for one in group):.0%}, median of published / estimated "
            f"{median(one.ratio for one in group):.2f}"
        )
    low, high = np.percentile([one.ratio for one in points], BAND)
    console.print(f"band: {low:.2f} to {high:.2f} times the estimate")


def labels(point: Point) -> tuple[str, ...]:
    """Return the groups that a point belongs to."""
    return ("all", point.runtime.split()[0], point.core, f"threads: {point.threads}")


def error(point: Point) -> float:
    """Return the error of an estimate, relative to what was published."""
    return abs(point.estimated_s / point.published_s - 1)


def draw(points: list[Point], path: Path) -> None:
    """Draw published against estimated latencies, one mark a core."""
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.add_subplot()
    for core in sorted({point.core for point in points}):
        own = [point for point in points if point.core == core]
        axes.loglog(
            [one.estimated_s * 1e3 for one in own],
            [one.published_s * 1e3 for one in own],
            "o",
            label=core,
            alpha=0.7,
        )
    low, high = axes.get_xlim()
    axes.loglog([low, high], [low, high], color="gray", linewidth=1)
    axes.set_xlabel("modelled, ms")
    axes.set_ylabel("published, ms")
    axes.legend()
    figure.savefig(path)


if __name__ == "__main__":
    boards()
