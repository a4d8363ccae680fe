"""The tuning run: rounds of search, build, measure and learn over a network's tasks."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from tvm import auto_scheduler
from tvm.auto_scheduler.measure import MeasureErrorNo

from edgetvm.errors import CompileError
from edgetvm.records import RecordStore
from edgetvm.stages.build.records import FAILURE_NAMES, Record, cost_s, record_line
from edgetvm.stages.build.tasks import NetworkTask
from edgetvm.stages.tune.candidate_build import BuiltCandidate
from edgetvm.stages.tune.schedule import ROUND_TRIALS, TaskState, network_latency_s, next_task
from edgetvm.stages.tune.search import TaskSearch

FRUITLESS_TRIALS = 2 * ROUND_TRIALS
"""A task that has not one valid candidate after this many trials is given up."""

USUAL_PACE_S = 1.0
"""Seconds a trial takes, before the run knows better."""

FAILED_COST = 1e10
"""TVM's cost of a failed trial, seconds."""


class Builder(Protocol):
    """Builds candidates; see :class:`edgetvm.stages.tune.candidate_build.CandidateBuilder`."""

    def build(self, inputs: list[auto_scheduler.MeasureInput]) -> list[BuiltCandidate]:
        """Build all `inputs` and return the outcomes in the same order."""


class Timer(Protocol):
    """Times candidates; see :class:`edgetvm.stages.tune.candidate_timing.CandidateTimer`."""

    def time(
        self, candidates: list[BuiltCandidate], best_s: float | None
    ) -> Iterator[tuple[list[float], int, str]]:
        """Yield costs in seconds, error number and error of each candidate."""


@dataclass
class TuningProgress:
    """What a tuning run has done so far, for the display and the final report.

    Attributes
    ----------
    trials_planned : of this run.
    started_s, ended_s : of the run, on the monotonic clock; None until it has ended.
    deadline_s : latest end of the run; None without a time budget.
    resumed : records of these tasks that earlier runs left.
    current : index of the task being tuned.
    failures : failed trials of this run by kind.
    first_reasons : the first reason seen of each kind.
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

    @property
    def network_latency_s(self) -> float | None:
        """Estimated latency of the network, seconds; None while a task has no valid trial."""
        return network_latency_s(self.tasks)

    def seconds_left(self, now_s: float) -> float | None:
        """Estimate how long the run still takes; None before the first trial."""
        by_deadline = None if self.deadline_s is None else max(0.0, self.deadline_s - now_s)
        if not self.trials:
            return by_deadline
        pace = (now_s - self.started_s) / self.trials
        by_trials = pace * (self.trials_planned - self.trials)
        return by_trials if by_deadline is None else min(by_trials, by_deadline)


class Tuner:
    """Tunes the tasks of a network within a budget.

    Parameters
    ----------
    store : every finished trial is on disk there before the next begins.
    seed : of the search.
    on_change : called after each trial and at each change of task.
    """

    def __init__(
        self,
        tasks: list[NetworkTask],
        builder: Builder,
        timer: Timer,
        store: RecordStore,
        seed: int,
        on_change: Callable[[TuningProgress], None],
    ) -> None:
        self._tasks = tasks
        self._builder = builder
        self._timer = timer
        self._store = store
        self._on_change = on_change
        self._stopped = False
        self._model = auto_scheduler.XGBModel(
            verbose_eval=0, num_warmup_sample=ROUND_TRIALS, seed=seed + 1, adaptive_training=True
        )
        self._searches = [TaskSearch(task, self._model, seed + i) for i, task in enumerate(tasks)]
        states = [TaskState(task.name, _kind(task), task.count, task.flop) for task in tasks]
        self.progress = TuningProgress(states, trials_planned=0, started_s=time.monotonic())

    def take_up(self, records: list[Record]) -> None:
        """Take up the records of earlier runs: tasks, search and cost model go on from there."""
        places = {task.workload_key: place for place, task in enumerate(self._tasks)}
        known = [record for record in records if record[0].task.workload_key in places]
        for measure_input, result in known:
            place = places[measure_input.task.workload_key]
            seconds = cost_s(result)
            self._searches[place].restore([(measure_input.state, seconds)])
            self.progress.tasks[place].note_trial(seconds)
        for state in self.progress.tasks:
            state.end_round()
            self._give_up_if_fruitless(state)
        self._learn(known)
        self.progress.resumed = len(known)

    def take_hints(self, records: list[Record]) -> None:
        """Let each task begin with the best schedules that another store has for it."""
        valid = [(seconds, r[0]) for r in records if (seconds := cost_s(r[1])) is not None]
        best_first = sorted(valid, key=lambda entry: entry[0])
        for task, search in zip(self._tasks, self._searches, strict=True):
            search.hint(
                measure_input.state
                for _, measure_input in best_first
                if measure_input.task.workload_key == task.workload_key
            )

    def stop(self) -> None:
        """Ask the run to end after the trial that is being measured."""
        self._stopped = True

    def run(self, trials: int, budget_s: float | None = None) -> TuningProgress:
        """Tune until `trials` are done, the time is up, :meth:`stop` or nothing is left to try.

        Raises
        ------
        CompileError
            No task has a single valid candidate; the first reason is quoted.
        DeviceError
            The device is lost.
        """
        progress = self.progress
        progress.trials_planned = trials
        progress.started_s = time.monotonic()
        progress.deadline_s = None if budget_s is None else progress.started_s + budget_s
        while not self._is_over():
            progress.current = next_task(progress.tasks)
            if progress.current is None:
                break
            self._on_change(progress)
            self._round(progress.current, self._round_size())
        progress.ended_s = time.monotonic()
        self._on_change(progress)
        if progress.trials and all(state.best_s is None for state in progress.tasks):
            kind, reason = next(iter(progress.first_reasons.items()))
            raise CompileError(
                f"None of {progress.trials} candidates could be measured. First failure ({kind}): "
                f"{reason}"
            )
        return progress

    def _is_over(self) -> bool:
        progress = self.progress
        late = progress.deadline_s is not None and time.monotonic() >= progress.deadline_s
        return self._stopped or late or progress.trials >= progress.trials_planned

    def _round_size(self) -> int:
        """Shrink the first rounds of a small budget, so that each task gets one."""
        progress = self.progress
        left = progress.trials_planned - progress.trials
        if progress.deadline_s is not None:
            now_s = time.monotonic()
            done = (now_s - progress.started_s) / progress.trials if progress.trials else None
            left = min(left, int((progress.deadline_s - now_s) / (done or USUAL_PACE_S)))
        untouched = sum(1 for state in progress.tasks if state.trials == 0)
        share = left // untouched if untouched else left
        return max(1, min(ROUND_TRIALS, share))

    def _round(self, place: int, size: int) -> None:
        state, search = self.progress.tasks[place], self._searches[place]
        inputs = search.propose(size)
        if not inputs:
            state.exhausted = True
            return
        built = self._builder.build(inputs)
        records: list[Record] = []
        outcomes = self._timer.time(built, state.best_s)
        for measure_input, candidate in zip(inputs, outcomes, strict=False):
            records.append(self._finish_trial(measure_input, *candidate))
            seconds = cost_s(records[-1][1])
            state.note_trial(seconds)
            search.note(measure_input.state, seconds)
            self._on_change(self.progress)
            if self._is_over():
                break
        state.end_round()
        self._give_up_if_fruitless(state)
        self._learn(records)

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
        self._store.append(record_line((measure_input, result)))
        self.progress.trials += 1
        if error_no != MeasureErrorNo.NO_ERROR:
            kind = FAILURE_NAMES.get(int(error_no), "unknown")
            self.progress.failures[kind] += 1
            self.progress.first_reasons.setdefault(kind, error)
        return measure_input, result

    def _give_up_if_fruitless(self, state: TaskState) -> None:
        if state.best_s is None and state.trials >= FRUITLESS_TRIALS:
            state.exhausted = True

    def _learn(self, records: list[Record]) -> None:
        if records:
            self._model.update([r[0] for r in records], [r[1] for r in records])


def _kind(task: NetworkTask) -> str:
    """Tasks of one kind share the hash of the computation and differ in shapes only."""
    return task.workload_key.split('"')[1]
