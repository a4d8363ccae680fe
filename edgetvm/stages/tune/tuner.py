"""The tuning run: rounds of search, build, measure and learn over a network's tasks."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from tvm.auto_scheduler.measure import MeasureErrorNo

from edgetvm.errors import CompileError
from edgetvm.stages.build.records import FAILURE_NAMES
from edgetvm.stages.build.tasks import NetworkTask
from edgetvm.stages.tune.candidate_build import BuiltCandidate
from edgetvm.stages.tune.candidate_timing import Outcome
from edgetvm.stages.tune.progress import TuningProgress
from edgetvm.stages.tune.schedule import ROUND_TRIALS, TaskState, next_search, next_task
from edgetvm.stages.tune.tools import Search, Tools
from edgetvm.stages.tune.transfer import WorkloadKey

FRUITLESS_TRIALS = 2 * ROUND_TRIALS
"""A task that has not one valid candidate after this many trials ends the run."""

PATIENCE_TRIALS = 6 * ROUND_TRIALS
"""A search leaves a task alone once so many of its trials have not made it faster."""

SHORTEST_ROUND = 2
"""Trials of the rounds in which a small budget ends."""

USUAL_PACE_S = 0.5
"""Seconds a trial takes, before the run knows better."""

Uses = Callable[[Mapping[str, float]], Mapping[str, int]]


@dataclass(frozen=True)
class _Round:
    """Candidates of one task, from one search, on their way."""

    place: int
    search: int
    candidates: list[Any]
    built: Future[list[BuiltCandidate]]


class Tuner:
    """Tunes the tasks of a network within a budget.

    While one round is measured the next one is built, if the builder has a core of its own.

    Parameters
    ----------
    searches : one, or several, between which each task's rounds are divided.
    on_change : called after each trial and at each change of task.
    uses : says from the best times of workloads, seconds by key, how often the network in its
        fastest form runs each; without it a task's own count stands.
    """

    def __init__(
        self,
        tasks: Sequence[NetworkTask],
        searches: Sequence[Search],
        tools: Tools,
        on_change: Callable[[TuningProgress], None],
        uses: Uses | None = None,
    ) -> None:
        self._tasks = tasks
        self._searches = searches
        self._tools = tools
        self._on_change = on_change
        self._uses = uses
        self._stopped = False
        states, *self._histories = ([_untried(task) for task in tasks] for _ in [None, *searches])
        self.progress = TuningProgress(states, trials_planned=0, started_s=time.monotonic())

    def take_up(self) -> None:
        """Take up the records of earlier runs: tasks and searches go on from there."""
        for search, histories in zip(self._searches, self._histories, strict=True):
            for place, seconds in search.take_up():
                self.progress.tasks[place].note_trial(seconds)
                histories[place].note_trial(seconds)
                self.progress.resumed += 1
        for place in range(len(self.progress.tasks)):
            for history in self._histories_of(place):
                history.end_round()
            self._end_round(place)
        self._count_uses()

    def stop(self) -> None:
        """Ask the run to end after the trial that is being measured."""
        self._stopped = True

    def run(self, trials: int, budget_s: float | None = None) -> TuningProgress:
        """Tune until `trials` are done, the time is up, :meth:`stop` or nothing is left to try.

        Raises
        ------
        CompileError
            A task has not a single valid candidate after many trials; the first reason is quoted.
        DeviceError
            The device is lost.
        """
        progress = self.progress
        progress.trials_planned = trials
        progress.started_s = time.monotonic()
        progress.deadline_s = None if budget_s is None else progress.started_s + budget_s
        try:
            self._run_rounds()
        finally:
            progress.ended_s = time.monotonic()
            for search in self._searches:
                search.save()
        self._on_change(progress)
        if progress.trials and all(state.best_s is None for state in progress.tasks):
            kind, reason = next(iter(progress.first_reasons.items()))
            raise CompileError(
                f"None of {progress.trials} candidates could be measured. First failure ({kind}): "
                f"{reason}"
            )
        return progress

    def _run_rounds(self) -> None:
        ahead = self._begin_round(None)
        while ahead is not None and not self._is_over():
            current = ahead
            self.progress.current = current.place
            self._on_change(self.progress)
            ahead = self._begin_round(current) if self._tools.builder.has_own_core else None
            self._measure(current)
            if ahead is None and not self._is_over():
                ahead = self._begin_round(None)

    def _is_over(self) -> bool:
        progress = self.progress
        late = progress.deadline_s is not None and time.monotonic() >= progress.deadline_s
        return self._stopped or late or progress.trials >= progress.trials_planned

    def _begin_round(self, under_way: _Round | None) -> _Round | None:
        """Choose a task, propose candidates and begin to build them; None if nothing is left."""
        busy = None if under_way is None else under_way.place
        while (place := next_task(self.progress.tasks, busy)) is not None:
            size = self._round_size(len(under_way.candidates) if under_way else 0)
            if size <= 0:
                return None
            histories = self._histories_of(place)
            index = next_search(histories)
            with self.progress.clocked("search"):
                candidates = self._searches[index].propose(place, size)
            if candidates:
                return _Round(place, index, candidates, self._tools.builder.start(candidates))
            histories[index].exhausted = True
            self._leave_if_settled(place)
        return None

    def _round_size(self, under_way: int) -> int:
        """Shrink the rounds of a small budget: each task gets one, and those that gain more."""
        progress = self.progress
        left = progress.trials_planned - progress.trials - under_way
        if progress.deadline_s is not None:
            now_s = time.monotonic()
            pace_s = USUAL_PACE_S
            if progress.trials:
                pace_s = (now_s - progress.started_s) / progress.trials
            left = min(left, max(1, int((progress.deadline_s - now_s) / pace_s) - under_way))
        untouched = sum(1 for state in progress.tasks if state.trials == 0)
        if untouched:
            share = left // untouched
            return min(left, max(1, min(ROUND_TRIALS, share // 2)))
        return min(left, max(SHORTEST_ROUND, min(ROUND_TRIALS, left // ROUND_TRIALS)))

    def _measure(self, current: _Round) -> None:
        state, search = self.progress.tasks[current.place], self._searches[current.search]
        history = self._histories[current.search][current.place]
        with self.progress.clocked("build"):
            built = current.built.result()
        with self.progress.clocked("measure"):
            outcomes = self._tools.timer.time(built, state.best_s)
            for candidate, outcome in zip(current.candidates, outcomes, strict=False):
                search.note(current.place, candidate, outcome)
                self._count(outcome)
                seconds = fmean(outcome[0]) if outcome[0] else None
                state.note_trial(seconds)
                history.note_trial(seconds)
                self._on_change(self.progress)
                if self._is_over():
                    break
        history.end_round()
        self._end_round(current.place)
        self._count_uses()
        self._fail_without_candidate(state)
        with self.progress.clocked("learn"):
            search.learn(current.place)

    def _histories_of(self, place: int) -> list[TaskState]:
        return [states[place] for states in self._histories]

    def _end_round(self, place: int) -> None:
        self.progress.tasks[place].end_round()
        for history in self._histories_of(place):
            if history.trials - history.improved_at >= PATIENCE_TRIALS:
                history.exhausted = True
        self._leave_if_settled(place)

    def _leave_if_settled(self, place: int) -> None:
        exhausted = all(history.exhausted for history in self._histories_of(place))
        self.progress.tasks[place].exhausted = exhausted

    def _count(self, outcome: Outcome) -> None:
        _, error_no, error = outcome
        self.progress.trials += 1
        if error_no != MeasureErrorNo.NO_ERROR:
            kind = FAILURE_NAMES.get(int(error_no), "unknown")
            self.progress.failures[kind] += 1
            self.progress.first_reasons.setdefault(kind, error)

    def _count_uses(self) -> None:
        """Give each task its weight in what is now the network's fastest form."""
        if self._uses is None:
            return
        pairs = list(zip(self._tasks, self.progress.tasks, strict=True))
        uses = self._uses({t.workload_key: s.best_s for t, s in pairs if s.best_s is not None})
        for task, state in pairs:
            state.count = uses.get(task.workload_key, 0)

    def _fail_without_candidate(self, state: TaskState) -> None:
        """Raise if `state` has nothing valid after so many trials; no bundle could be whole."""
        if state.best_s is None and state.trials >= FRUITLESS_TRIALS:
            kind, reason = next(iter(self.progress.first_reasons.items()))
            raise CompileError(
                f"{state.name}: none of {state.trials} candidates works. First failure ({kind}): "
                f"{reason}"
            )


def _untried(task: NetworkTask) -> TaskState:
    kind = WorkloadKey.parse(task.workload_key).kind
    return TaskState(task.name, kind, task.count, task.flop)
