"""Which task is tuned next: the one whose next round promises most for the whole network.

The rule is Ansor's (arXiv 2006.06762, section 6.2): the expected gain of a task is a mix of what
its latest rounds gained and what it could gain at most, judged by its own history and by the
throughput that similar tasks reach; each weighted by how often the network runs the task.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

ROUND_TRIALS = 16
"""Trials of one round: search, build, measure, learn."""

SEEN_WEIGHT = 0.2
"""Weight of the gain seen against the gain hoped for; alpha in Ansor."""

KIN_SLACK = 2.0
"""A task is taken to reach at least this part (1/2) of its kin's best throughput; beta in Ansor."""

GAIN_NOTED = 0.01
"""A task that becomes faster by less than this part has not improved."""

WINDOW_ROUNDS = 3
"""Rounds over which the gain seen is taken."""


@dataclass
class TaskState:
    """What tuning knows of one task.

    Attributes
    ----------
    kind : tasks of one kind compute the same on other shapes.
    count : how often the network runs it; 0 if only another form of the network has it, which is
        slower as far as is known.
    trials : trials so far, failed ones and those of earlier runs included.
    best_s : best time, seconds; None before the first valid trial.
    improved_at : trials when it last became faster by more than `GAIN_NOTED`.
    history : (trials, best_s) after each round.
    exhausted : the search has nothing new to offer, or nothing that works.
    """

    name: str
    kind: str
    count: int
    flop: float
    trials: int = 0
    best_s: float | None = None
    improved_at: int = 0
    history: list[tuple[int, float]] = field(default_factory=list)
    exhausted: bool = False

    @property
    def is_open(self) -> bool:
        """Whether more trials may make the network faster."""
        return not self.exhausted and (self.count > 0 or self.trials == 0)

    @property
    def flop_per_s(self) -> float:
        """Best throughput so far."""
        return self.flop / self.best_s if self.best_s else 0.0

    def note_trial(self, seconds: float | None) -> None:
        """Count one trial; `seconds` is None if it failed."""
        self.trials += 1
        if seconds is None or (self.best_s is not None and seconds >= self.best_s):
            return
        if self.best_s is None or seconds < (1 - GAIN_NOTED) * self.best_s:
            self.improved_at = self.trials
        self.best_s = seconds

    def end_round(self) -> None:
        """Note what the round just over has reached."""
        if self.best_s is not None:
            self.history.append((self.trials, self.best_s))


def next_task(tasks: Sequence[TaskState], busy: int | None = None) -> int | None:
    """Return the index of the task to tune next, None if none is open.

    Tasks without any trial come first, the ones that compute most before the others. The task at
    `busy` has a round under way and is passed over.
    """
    open_tasks = [i for i, task in enumerate(tasks) if task.is_open and i != busy]
    untouched = [index for index in open_tasks if tasks[index].trials == 0]
    if untouched:
        return max(untouched, key=lambda index: tasks[index].count * tasks[index].flop)
    if not open_tasks:
        return None
    return max(open_tasks, key=lambda index: expected_gain(tasks[index], tasks))


def next_search(histories: Sequence[TaskState]) -> int:
    """Return the index of the search that gets a task's next round, of those not exhausted.

    Each is tried once. Then it is the one whose next round promises the lowest time, by what it
    has reached itself: one that is behind gets a round now and then while its hope, which many
    trials lower, makes up for that.

    Parameters
    ----------
    histories : what each search has done for the task; one at least is not exhausted.
    """
    open_searches = [i for i, history in enumerate(histories) if not history.exhausted]
    untried = [index for index in open_searches if histories[index].trials == 0]
    if untried:
        return untried[0]
    return min(open_searches, key=lambda i: (promised_s(histories[i]), histories[i].trials))


def promised_s(history: TaskState) -> float:
    """Return the time of a task, seconds, that one more round of a search promises to reach."""
    if history.best_s is None:
        return math.inf
    return history.best_s - _mixed_gain_s(history, _hope_by_own_history_s(history))


def expected_gain(task: TaskState, tasks: Sequence[TaskState]) -> float:
    """Return the seconds of network latency that one more round of `task` promises to save."""
    if task.best_s is None:
        return math.inf
    kin = max(other.flop_per_s for other in tasks if other.kind == task.kind)
    # TVM counts no operations in some pools.
    by_kin = task.best_s - KIN_SLACK * task.flop / kin if kin > 0 else 0.0
    hoped = max(_hope_by_own_history_s(task), by_kin)
    return task.count * _mixed_gain_s(task, hoped)


def _hope_by_own_history_s(state: TaskState) -> float:
    return (state.best_s or 0.0) * min(1.0, ROUND_TRIALS / state.trials)


def _mixed_gain_s(state: TaskState, hoped_s: float) -> float:
    window = [best_s for _, best_s in state.history[-WINDOW_ROUNDS - 1 :]]
    seen_s = (window[0] - (state.best_s or 0.0)) / (len(window) - 1) if len(window) > 1 else 0.0
    return SEEN_WEIGHT * seen_s + (1 - SEEN_WEIGHT) * hoped_s


def network_latency_s(tasks: Sequence[TaskState]) -> float | None:
    """Return the sum of all tasks' best times, each as often as the network runs it.

    None while a task that it runs has no valid trial. Operators without a task are not in it.
    """
    used = [task for task in tasks if task.count]
    if any(task.best_s is None for task in used):
        return None
    return sum(task.count * (task.best_s or 0.0) for task in used)
