"""The tuning run: rounds of search, build, measure and learn over a network's tasks."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from tvm import auto_scheduler
from tvm.auto_scheduler.measure import MeasureErrorNo

from edgetvm.errors import CompileError
from edgetvm.stages.build.records import (
    FAILURE_NAMES,
    Record,
    cost_s,
    parse_records,
    record_line,
)
from edgetvm.stages.build.tasks import NetworkTask
from edgetvm.stages.tune.candidate_build import BuiltCandidate
from edgetvm.stages.tune.cost_model import CostModel
from edgetvm.stages.tune.progress import TuningProgress
from edgetvm.stages.tune.schedule import ROUND_TRIALS, TaskState, next_task
from edgetvm.stages.tune.search import TaskSearch
from edgetvm.stages.tune.tools import Tools
from edgetvm.stages.tune.transfer import KnownSchedules, WorkloadKey

FRUITLESS_TRIALS = 2 * ROUND_TRIALS
"""A task that has not one valid candidate after this many trials ends the run."""

PATIENCE_TRIALS = 6 * ROUND_TRIALS
"""A task is left alone once so many trials have not made it faster."""

SHORTEST_ROUND = 2
"""Trials of the rounds in which a small budget ends."""

USUAL_PACE_S = 0.5
"""Seconds a trial takes, before the run knows better."""

Uses = Callable[[Mapping[str, float]], Mapping[str, int]]

FAILED_COST = 1e10
"""TVM's cost of a failed trial, seconds."""


@dataclass(frozen=True)
class _Round:
    """Candidates of one task on their way."""

    place: int
    inputs: list[auto_scheduler.MeasureInput]
    built: Future[list[BuiltCandidate]]


class Tuner:
    """Tunes the tasks of a network within a budget.

    While one round is measured the next one is built, if the builder has a core of its own.

    Parameters
    ----------
    model : the cost model.
    seed : of the search.
    on_change : called after each trial and at each change of task.
    uses : says from the best times of workloads, seconds by key, how often the network in its
        fastest form runs each; without it a task's own count stands.
    """

    def __init__(
        self,
        tasks: list[NetworkTask],
        tools: Tools,
        model: CostModel,
        seed: int,
        on_change: Callable[[TuningProgress], None],
        uses: Uses | None = None,
    ) -> None:
        self._tasks = tasks
        self._tools = tools
        self._on_change = on_change
        self._uses = uses
        self._stopped = False
        self._model = model
        self._own = KnownSchedules()
        self._known = [self._own]
        self._searches = [
            TaskSearch(task, model, self._known, seed + i) for i, task in enumerate(tasks)
        ]
        states = [
            TaskState(t.name, WorkloadKey.parse(t.workload_key).kind, t.count, t.flop)
            for t in tasks
        ]
        self.progress = TuningProgress(states, trials_planned=0, started_s=time.monotonic())
        self.progress.model_restored = model.is_restored

    def take_up(self, lines: list[str]) -> None:
        """Take up the records of this store: tasks, search and cost model go on from there."""
        self._own.learn(lines)
        places = {task.workload_key: place for place, task in enumerate(self._tasks)}
        records = parse_records(lines, set(places))
        for measure_input, result in records:
            place = places[measure_input.task.workload_key]
            seconds = cost_s(result)
            self._searches[place].restore([(measure_input.state, seconds)])
            self.progress.tasks[place].note_trial(seconds)
        for state in self.progress.tasks:
            state.end_round()
            self._leave_if_settled(state)
        self._count_uses()
        if not self._model.is_restored:
            self._model.learn(records)
        self.progress.resumed = len(records)

    def take_hints(self, lines: list[str]) -> None:
        """Let each task begin with the best schedules that another store has for its kind."""
        known = KnownSchedules()
        known.learn(lines)
        self._known.append(known)

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
            self._model.save()
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
            size = self._round_size(len(under_way.inputs) if under_way else 0)
            if size <= 0:
                return None
            with self.progress.clocked("search"):
                inputs = self._searches[place].propose(size)
            if inputs:
                return _Round(place, inputs, self._tools.builder.start(inputs))
            self.progress.tasks[place].exhausted = True
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
        state, search = self.progress.tasks[current.place], self._searches[current.place]
        with self.progress.clocked("build"):
            built = current.built.result()
        records: list[Record] = []
        with self.progress.clocked("measure"):
            outcomes = self._tools.timer.time(built, state.best_s)
            for measure_input, outcome in zip(current.inputs, outcomes, strict=False):
                records.append(self._finish_trial(measure_input, *outcome))
                seconds = cost_s(records[-1][1])
                state.note_trial(seconds)
                search.note(measure_input.state, seconds)
                self._on_change(self.progress)
                if self._is_over():
                    break
        state.end_round()
        self._leave_if_settled(state)
        self._count_uses()
        self._fail_without_candidate(state)
        with self.progress.clocked("learn"):
            self._model.learn(records)

    def _finish_trial(
        self,
        measure_input: auto_scheduler.MeasureInput,
        costs: list[float],
        error_no: int,
        error: str,
    ) -> Record:
        result = auto_scheduler.MeasureResult(
            costs or [FAILED_COST], error_no, error, sum(costs), time.time()
        )
        line = record_line((measure_input, result))
        self._tools.store.append(line)
        self._own.learn([line])
        self.progress.trials += 1
        if error_no != MeasureErrorNo.NO_ERROR:
            kind = FAILURE_NAMES.get(int(error_no), "unknown")
            self.progress.failures[kind] += 1
            self.progress.first_reasons.setdefault(kind, error)
        return measure_input, result

    def _count_uses(self) -> None:
        """Give each task its weight in what is now the network's fastest form."""
        if self._uses is None:
            return
        pairs = list(zip(self._tasks, self.progress.tasks, strict=True))
        uses = self._uses({t.workload_key: s.best_s for t, s in pairs if s.best_s is not None})
        for task, state in pairs:
            state.count = uses.get(task.workload_key, 0)

    def _leave_if_settled(self, state: TaskState) -> None:
        if state.trials - state.improved_at >= PATIENCE_TRIALS:
            state.exhausted = True

    def _fail_without_candidate(self, state: TaskState) -> None:
        """Raise if `state` has nothing valid after so many trials; no bundle could be whole."""
        if state.best_s is None and state.trials >= FRUITLESS_TRIALS:
            kind, reason = next(iter(self.progress.first_reasons.items()))
            raise CompileError(
                f"{state.name}: none of {state.trials} candidates works. First failure ({kind}): "
                f"{reason}"
            )
