"""What a tuning run has done so far, for the display and the final report."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from edgetvm.stages.tune.schedule import TaskState, network_latency_s


@dataclass
class TuningProgress:
    """The state of a run.

    Attributes
    ----------
    trials_planned : of this run.
    started_s, ended_s : of the run, on the monotonic clock; None until it has ended.
    deadline_s : latest end of the run; None without a time budget.
    resumed : records of these tasks that earlier runs left.
    current : index of the task being tuned.
    failures : failed trials of this run by kind.
    first_reasons : the first reason seen of each kind.
    seconds : wall time of each part of the run.
    """

    tasks: list[TaskState]
    trials_planned: int
    started_s: float
    deadline_s: float | None = None
    ended_s: float | None = None
    resumed: int = 0
    trials: int = 0
    current: int | None = None
    failures: Counter[str] = field(default_factory=Counter)
    first_reasons: dict[str, str] = field(default_factory=dict)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    @property
    def network_latency_s(self) -> float | None:
        """Estimated latency of the network, seconds; None while a task has no valid trial."""
        return network_latency_s(self.tasks)

    @property
    def search_s(self) -> float:
        """Seconds of the run until now, or until its end."""
        return (self.ended_s or time.monotonic()) - self.started_s

    @property
    def is_settled(self) -> bool:
        """Whether no task promises anything more."""
        return not any(task.is_open for task in self.tasks)

    @property
    def untried(self) -> int:
        """Number of tasks that the network runs and that have no trial."""
        return sum(task.count > 0 and task.trials == 0 for task in self.tasks)

    @contextmanager
    def clocked(self, part: str) -> Iterator[None]:
        """Add the time that the block takes to `seconds` of `part`."""
        started_s = time.monotonic()
        try:
            yield
        finally:
            self.seconds[part] += time.monotonic() - started_s

    def seconds_left(self, now_s: float) -> float | None:
        """Estimate how long the run still takes; None before the first trial."""
        by_deadline = None if self.deadline_s is None else max(0.0, self.deadline_s - now_s)
        if not self.trials:
            return by_deadline
        pace = (now_s - self.started_s) / self.trials
        by_trials = pace * (self.trials_planned - self.trials)
        return by_trials if by_deadline is None else min(by_trials, by_deadline)
