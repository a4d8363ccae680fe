"""How good the cycle model is on boards: its estimates beside the latencies that were published.

The networks' libraries are those of `rasp4b`, tuned by the model; LLVM makes their code anew for
each board's cores, and the model estimates it at the board's clock. Published are float32 latencies
of boards that there is a profile of, or whose cores and clock are those of a profile.

    python benchmarks/boards.py [--fresh]

Whoever published used other schedules, most of them another program altogether: what is compared is
not the same code. Nothing is fitted to these latencies. Writes every point, the errors and the band
that `cores.toml` has to `docs/boards.md`, with a plot, and prints them; estimates are kept in
`build/model/boards.json`.
"""

import json
from collections import defaultdict
from functools import cache
from pathlib import Path
from statistics import median
from typing import NamedTuple

import click
import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

import edgetvm.stages  # noqa: F401 - TVM's environment, before tvm
from edgetvm.manifest import list_bundles, read_manifest
from edgetvm.modelling import model_bundle
from edgetvm.paper.boards import load_board_latencies
from edgetvm.paper.devices import load_devices
from edgetvm.paper.figures import load_papers
from edgetvm.paper.published_latency import published_latencies
from edgetvm.paper.table import to_markdown
from edgetvm.stages.host_target import resolve_target
from edgetvm.units import format_latency

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
    write_page(points, ROOT / "docs" / "boards.md")
    draw(points, ROOT / "docs" / "boards.svg")
    click.echo((ROOT / "docs" / "boards.md").read_text())


def published() -> dict[Published, float]:
    """Return the published latencies in seconds; of several of one setting the median."""
    found: dict[Published, list[float]] = defaultdict(list)
    for one in published_latencies(load_papers(), load_board_latencies()):
        threads = one.threads or ALL_CORES.get(one.device)
        target = profile_of(one.device)
        if target and threads and one.is_float32(resolve_target(target, TARGETS).cluster.core):
            runtime = one.runtime or "TF-Lite"  # of the papers
            found[Published(one.model, one.device, target, threads, runtime)].append(one.latency_s)
    return {key: median(times) for key, times in found.items()}


@cache
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


def rows_of(points: list[Point]) -> list[dict[str, str]]:
    """Return a row a point, by core and device."""
    return [
        {
            "network": point.model,
            "device": point.device,
            "profile": point.target,
            "core": point.core,
            "threads": str(point.threads),
            "runtime": point.runtime,
            "published": format_latency(point.published_s),
            "estimated": format_latency(point.estimated_s),
            "published / estimated": f"{point.ratio:.2f}",
        }
        for point in sorted(points, key=lambda one: (one.core, one.device, one.threads, one.model))
    ]


def summaries(points: list[Point]) -> list[dict[str, str]]:
    """Return the errors of all points, by runtime, by core and by number of threads."""
    rows = []
    for name in dict.fromkeys(label for point in points for label in labels(point)):
        group = [point for point in points if name in labels(point)]
        rows.append(
            {
                "points": name,
                "number": str(len(group)),
                "median absolute error": f"{median(map(error, group)):.0%}",
                "median of published / estimated": f"{median(one.ratio for one in group):.2f}",
            }
        )
    return rows


def write_page(points: list[Point], path: Path) -> None:
    """Write every point, the errors and the band as Markdown."""
    low, high = np.percentile([one.ratio for one in points], BAND)
    path.write_text(
        "# Estimates of the cycle model, and published latencies of boards\n\n"
        "Written by `benchmarks/boards.py`, which says what is compared. Nothing was run, and "
        "nothing is fitted to\nthese latencies. Nine of ten are "
        f"{low:.2f} to {high:.2f} times the estimate.\n\n"
        "![Published against estimated latencies](boards.svg)\n\n"
        f"{to_markdown(summaries(points))}\n{to_markdown(rows_of(points))}"
    )


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
    with rc_context({"svg.hashsalt": path.name}):  # the same file for the same points
        figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    boards()
