"""The live display of a tuning run, and its closing summary."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from edgetvm.manifest import Manifest
from edgetvm.units import format_duration, format_latency, format_throughput

if TYPE_CHECKING:
    from edgetvm.stages.tune.tuner import TuningProgress

_PLAIN_INTERVAL_S = 10.0
"""Without a terminal, one line of progress is printed this often."""

_SHOWN_TASKS = 14
"""Rows of the live table; the tasks that take most of the network's time are shown."""


class TuningDisplay:
    """Shows a tuning run: a live table on a terminal, a line now and then elsewhere.

    Use as a context manager around the run; :meth:`update` is the tuner's callback.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
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
            self._live.update(Group(_task_table(progress), self._bar), refresh=True)
        elif now_s - self._printed_s >= _PLAIN_INTERVAL_S:
            self._printed_s = now_s
            done = f"trial {progress.trials}/{progress.trials_planned}"
            self._console.print(f"{done}  {_status(progress, now_s)}")


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


def print_tuning_summary(
    console: Console,
    manifest: Manifest,
    bundle: Path,
    relative_error: float,
    progress: "TuningProgress | None",
) -> None:
    """Print what a run has come to: trials, failures, coverage, the bundle and what to do next."""
    if progress is not None:
        seconds = (progress.ended_s or time.monotonic()) - progress.started_s
        pace = f", {seconds / progress.trials:.2f} s each" if progress.trials else ""
        console.print(f"{progress.trials} trials in {format_duration(seconds)}{pace}")
        for kind, count in progress.failures.items():
            console.print(f"  {count} failed: {kind}; first reason: {progress.first_reasons[kind]}")
    tasks, tuned = manifest.tasks, manifest.tuned_tasks
    console.print(f"{tuned} of {len(tasks)} tasks are tuned")
    for task in tasks:
        if task.best_s is None:
            console.print(f"  untuned: {task.name} ({task.count} times)")
    if tuned == len(tasks):
        estimate = sum(task.count * (task.best_s or 0.0) for task in tasks)
        flop_per_s = sum(task.count * task.flop for task in tasks) / estimate
        console.print(
            f"sum of the tasks' best times: {format_latency(estimate)}, "
            f"{format_throughput(flop_per_s)}"
        )
    console.print(f"relative error {relative_error:.1e} against {manifest.reference_runtime}")
    console.print(f"bundle: {bundle}")
    console.print(f"next: python -m edgetvm.deploy {manifest.model} --target {manifest.target}")
