"""The live display of a tuning run, and its closing summary."""

import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from edgetvm.latency_breakdown import LatencyBreakdown
from edgetvm.manifest import Manifest
from edgetvm.units import format_duration, format_latency

if TYPE_CHECKING:
    from edgetvm.stages.device.fleet import Board
    from edgetvm.stages.tune.progress import TuningProgress

_PLAIN_INTERVAL_S = 10.0
"""Without a terminal, one line of progress is printed this often."""

_SHOWN_TASKS = 14
"""Rows of the live table; the tasks that take most of the network's time are shown."""


class TuningDisplay:
    """Shows a tuning run: a live table on a terminal, a line now and then elsewhere.

    Use as a context manager around the run; :meth:`update` is the tuner's callback.

    Parameters
    ----------
    boards : that measure, by address, if they are several; they may become more.
    """

    def __init__(self, console: Console, boards: "Mapping[str, Board]" = MappingProxyType({})):
        self._console = console
        self._boards = boards
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._bar = Progress(
            TextColumn("trials"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            console=console,
        )
        self._bar_task = self._bar.add_task("", total=None)
        self._printed_s = time.monotonic()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._live.stop()

    def update(self, progress: "TuningProgress") -> None:
        """Show the present state."""
        now_s = time.monotonic()
        if self._console.is_terminal:
            self._bar.update(
                self._bar_task,
                total=progress.trials_planned,
                completed=progress.trials,
                description=_status(progress, now_s),
            )
            boards = [_board_table(self._boards)] if self._boards else []
            self._live.update(Group(_task_table(progress), *boards, self._bar), refresh=True)
        elif now_s - self._printed_s >= _PLAIN_INTERVAL_S:
            self._printed_s = now_s
            done = f"trial {progress.trials}/{progress.trials_planned}"
            working = sum(not board.is_out for board in list(self._boards.values()))
            of_boards = f"  {working} of {len(self._boards)} boards" if self._boards else ""
            self._console.print(f"{done}  {_status(progress, now_s)}{of_boards}")


def _status(progress: "TuningProgress", now_s: float) -> str:
    latency = progress.network_latency_s
    untried = sum(task.best_s is None for task in progress.tasks)
    estimate = f"{untried} tasks to go" if latency is None else f"~{format_latency(latency)}"
    failures = ", ".join(f"{count} {kind}" for kind, count in progress.failures.items())
    left_s = progress.seconds_left(now_s)
    eta = "" if left_s is None else f"{format_duration(left_s)} left"
    return "  ".join(part for part in (f"network {estimate}", eta, failures) if part)


def _task_table(progress: "TuningProgress") -> Table:
    table = Table(box=None, pad_edge=False)
    for header in ("task", "times", "trials", "best", "GFLOP/s"):
        table.add_column(header, justify="left" if header == "task" else "right")
    order = sorted(
        range(len(progress.tasks)),
        key=lambda place: (
            -progress.tasks[place].count
            * (progress.tasks[place].best_s or progress.tasks[place].flop / 1e9)
        ),
    )
    for place in order[:_SHOWN_TASKS]:
        task = progress.tasks[place]
        table.add_row(
            task.name,
            str(task.count),
            str(task.trials),
            format_latency(task.best_s) if task.best_s else "-",
            f"{task.flop_per_s / 1e9:.1f}" if task.best_s else "-",
            style="bold" if place == progress.current else None,
        )
    if len(order) > _SHOWN_TASKS:
        table.add_row(f"… and {len(order) - _SHOWN_TASKS} smaller tasks", style="dim")
    return table


def _board_table(boards: "Mapping[str, Board]") -> Table:
    table = Table(box=None, pad_edge=False)
    for header in ("board", "trials", "failures", ""):
        table.add_column(header, justify="right" if header in ("trials", "failures") else "left")
    for address, board in sorted(boards.items()):
        state = "left out for now" if board.is_out else ""
        table.add_row(address, str(board.trials), str(board.failures), state)
    return table


def print_boards(console: Console, boards: "Mapping[str, Board]") -> None:
    """Print which boards measured how much of a run."""
    console.print(_board_table(boards))


def print_tuning_summary(
    console: Console,
    manifest: Manifest,
    bundle: Path,
    progress: "TuningProgress | None",
    rpc: str | None = None,
) -> None:
    """Print what a run has come to: trials, failures, coverage, the bundle and what to do next.

    Parameters
    ----------
    rpc : where the device is; None for this machine.
    """
    if progress is not None:
        seconds = progress.search_s
        pace = f", {seconds / progress.trials:.2f} s each" if progress.trials else ""
        console.print(f"{progress.trials} trials in {format_duration(seconds)}{pace}")
        parts = (f"{what} {format_duration(s)}" for what, s in progress.seconds.items())
        console.print(f"  waited for: {', '.join(parts)}")
        if progress.is_settled:
            console.print("  every task has settled: more trials promise nothing")
        for kind, count in progress.failures.items():
            console.print(f"  {count} failed: {kind}; first reason: {progress.first_reasons[kind]}")
    _print_coverage(console, manifest)
    if manifest.latency is not None:
        print_latency(console, manifest.latency, manifest.threads)
    error = manifest.relative_error
    console.print(f"relative error {error:.1e} against {manifest.reference_runtime}")
    console.print(f"bundle: {bundle}")
    there = "" if rpc is None else f" --rpc {rpc}"
    console.print(
        f"next: python -m edgetvm.deploy {manifest.model} --target {manifest.target}{there}"
    )


def _print_coverage(console: Console, manifest: Manifest) -> None:
    latency = manifest.latency
    if latency is not None and not latency.is_faster_tuned:
        console.print(
            f"The tuned library took {format_latency(latency.tuned_s)}, TVM's default schedules "
            f"{format_latency(latency.untuned_s)}: the bundle holds these. Tune for longer."
        )
        return
    share = "" if latency is None else f"; all tasks take {latency.task_share:.0%} of the time"
    console.print(f"{manifest.tuned_tasks} of {len(manifest.tasks)} tasks are tuned{share}")
    by_tuner = manifest.tasks_by_tuner
    if len(by_tuner) > 1:
        console.print("  " + ", ".join(f"{count} by {tuner}" for tuner, count in by_tuner.items()))
    for task in manifest.tasks:
        if task.best_s is None:
            console.print(f"  untuned: {task.name} ({task.count} times)")


def print_latency(console: Console, latency: LatencyBreakdown, threads: int) -> None:
    """Print the estimate, the measurement and what lies between."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    rows = [
        (f"{latency.layout_transforms} layout transforms", latency.layout_transforms_s),
        (f"{latency.other_operators} other operators without a task", latency.other_operators_s),
        (f"measured on the device, {threads} thread(s)", latency.tuned_s),
        ("the same untuned", latency.untuned_s),
    ]
    within = ("operators with a task, within the network", latency.task_operators_s)
    if latency.estimate_s is not None:
        cache = "with a flushed cache" if latency.estimate_flushed else "from the cache"
        table.add_row(
            f"estimate: the tasks' best times, alone and {cache}",
            format_latency(latency.estimate_s),
        )
    for what, seconds in (within, *rows):
        table.add_row(what, format_latency(seconds))
    console.print(table)
