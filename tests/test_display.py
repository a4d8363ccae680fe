"""What a tuning run shows on a terminal and in a file."""

import io
import math

import pytest
from rich.console import Console

from edgetvm.latency_breakdown import LatencyBreakdown
from edgetvm.stages.device.fleet import Board
from edgetvm.stages.tune.progress import TuningProgress
from edgetvm.stages.tune.schedule import TaskState
from edgetvm.tuning_display import TuningDisplay, print_latency

LATENCY = LatencyBreakdown(
    estimate_s=5e-3,
    task_operators_s=6e-3,
    layout_transforms=2,
    layout_transforms_s=0.25e-3,
    other_operators=3,
    other_operators_s=0.5e-3,
    tuned_s=7e-3,
    untuned_s=9e-3,
)


def progress(tasks: int = 2) -> TuningProgress:
    states = [
        TaskState(f"conv {n}", "conv", count=n + 1, flop=1e6, trials=4, best_s=1e-3 * (n + 1))
        for n in range(tasks)
    ]
    state = TuningProgress(states, trials_planned=100, started_s=0.0, trials=8, current=1)
    state.failures["does not compile"] = 3
    return state


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_terminal_shows_tasks_budget_failures_and_estimate() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with TuningDisplay(console) as display:
        display.update(progress())
    text = shown(console)
    for part in ("conv 1", "2.00 ms", "8/100", "~5.00 ms", "3 does not compile", "left"):
        assert part in text


def test_a_terminal_shows_the_heaviest_tasks_of_many() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120, height=60)
    with TuningDisplay(console) as display:
        display.update(progress(tasks=40))
    assert "conv 39" in shown(console)
    assert "and 26 smaller tasks" in shown(console)


def test_a_file_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [1000.0]
    monkeypatch.setattr("edgetvm.tuning_display.time.monotonic", lambda: now_s[0])
    console = Console(file=io.StringIO(), width=120)
    with TuningDisplay(console) as display:
        for _ in range(21):
            now_s[0] += 1
            display.update(progress())
    assert shown(console).count("trial 8/100") == 2


def test_several_boards_are_shown_with_what_they_did(monkeypatch: pytest.MonkeyPatch) -> None:
    boards = {"192.168.1.20:9090": Board(trials=12), "192.168.1.21:9090": Board(trials=7)}
    boards["192.168.1.21:9090"].failures = 1
    boards["192.168.1.21:9090"].out_until_s = math.inf
    terminal = Console(file=io.StringIO(), force_terminal=True, width=120)
    with TuningDisplay(terminal, boards) as display:
        display.update(progress())
    for part in ("192.168.1.20:9090", "12", "192.168.1.21:9090", "left out for now"):
        assert part in shown(terminal)
    monkeypatch.setattr("edgetvm.tuning_display._PLAIN_INTERVAL_S", 0.0)
    plain = Console(file=io.StringIO(), width=120)
    with TuningDisplay(plain, boards) as display:
        display.update(progress())
    assert "1 of 2 boards" in shown(plain)


def test_the_estimate_waits_for_every_task() -> None:
    state = progress()
    state.tasks[0].best_s = None
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with TuningDisplay(console) as display:
        display.update(state)
    assert "1 tasks to go" in shown(console)


def test_the_summary_shows_what_lies_between_estimate_and_measurement() -> None:
    console = Console(file=io.StringIO(), width=120)
    print_latency(console, LATENCY, threads=2)
    lines = shown(console).splitlines()
    times = ["5.00 ms", "6.00 ms", "0.250 ms", "0.500 ms", "7.00 ms", "9.00 ms"]
    assert [line.rpartition("  ")[2].strip() for line in lines] == times
    assert "2 layout transforms" in lines[2]
    assert "2 thread(s)" in lines[4]
