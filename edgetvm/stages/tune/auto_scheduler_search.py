"""AutoScheduler's search over a network: its searches task by task, cost model and records."""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from tvm import auto_scheduler

from edgetvm.records import RecordStore, lines_of_other_stores
from edgetvm.records.line import FAILED_COST_S, parse_line
from edgetvm.stages.build.records import Record, cost_s, parse_records, record_line
from edgetvm.stages.build.tasks import NetworkTask
from edgetvm.stages.tune.candidate_timing import Outcome
from edgetvm.stages.tune.cost_model import CostModel
from edgetvm.stages.tune.relatives import cost_model_of, kind_of, nearest_cost_model
from edgetvm.stages.tune.search import TaskSearch
from edgetvm.stages.tune.transfer import KnownSchedules


class AutoSchedulerSearch:
    """Implements :class:`edgetvm.stages.tune.tools.Search`.

    Parameters
    ----------
    model : the cost model.
    seed : of the search.
    """

    def __init__(
        self, tasks: Sequence[NetworkTask], store: RecordStore, model: CostModel, seed: int
    ) -> None:
        self._store = store
        self._model = model
        self._own = KnownSchedules()
        self._known = [self._own]
        self._places = {task.workload_key: place for place, task in enumerate(tasks)}
        self._searches = [
            TaskSearch(task, model, self._known, seed + i) for i, task in enumerate(tasks)
        ]
        self._new: list[Record] = []

    def take_up(self) -> list[tuple[int, float | None]]:
        """Take up the records of the store; searches and cost model go on from there."""
        lines = self._store.read_lines()
        self._own.learn(lines)
        records = parse_records(lines, set(self._places))
        restored = []
        for measure_input, result in records:
            place, seconds = self._places[measure_input.task.workload_key], cost_s(result)
            self._searches[place].restore([(measure_input.state, seconds)])
            restored.append((place, seconds))
        if not self._model.is_restored:
            self._model.learn(records)
        return restored

    def take_hints(self, lines: Iterable[str]) -> None:
        """Let each task begin with the best schedules that another store has for its kind."""
        known = KnownSchedules()
        known.learn(lines)
        self._known.append(known)

    def propose(self, place: int, count: int) -> list[auto_scheduler.MeasureInput]:
        """Return what :meth:`TaskSearch.propose` does."""
        return self._searches[place].propose(count)

    def note(self, place: int, candidate: auto_scheduler.MeasureInput, outcome: Outcome) -> None:
        """Write the record of a trial and remember it."""
        costs_s, error_no, error = outcome
        result = auto_scheduler.MeasureResult(
            costs_s or [FAILED_COST_S], error_no, error, sum(costs_s), time.time()
        )
        line = record_line((candidate, result))
        self._store.append(line)
        self._own.learn([line])
        self._new.append((candidate, result))
        self._searches[place].note(candidate.state, cost_s(result))

    def learn(self, _place: int) -> None:
        """Let the cost model learn what was noted since the last time."""
        records, self._new = self._new, []
        self._model.learn(records)

    def save(self) -> None:
        """Write the cost model."""
        self._model.save()


def begin_auto_scheduler_search(
    tasks: Sequence[NetworkTask], store: RecordStore, cores: int, seed: int
) -> tuple[AutoSchedulerSearch, Path | None]:
    """Set a search up with what other stores and earlier runs have left for it, but records.

    Parameters
    ----------
    cores : that training the cost model may use.

    Returns
    -------
    The search, and the file of the cost model that it goes on from, None if there is none.
    """
    logs = store.path.parent.parent
    beginning = nearest_cost_model(logs, store)
    seed += len(store.read_lines())
    model = CostModel(cost_model_of(store), beginning, cores, seed)
    search = AutoSchedulerSearch(tasks, store, model, seed)
    kinds = {task.search_task.target.kind.name for task in tasks}
    for lines in lines_of_other_stores(logs, store):
        search.take_hints(line for line in lines if kind_of(parse_line(line).target) in kinds)
    return search, beginning
