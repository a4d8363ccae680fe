"""MetaSchedule's search over a network: its searches task by task, cost model and records."""

from collections.abc import Sequence

from tvm.meta_schedule.cost_model import XGBModel
from tvm.meta_schedule.cost_model.xgb_model import XGBConfig

from edgetvm.records import MetaScheduleStore
from edgetvm.stages.build.metaschedule_records import (
    metaschedule_key,
    metaschedule_record,
    metaschedule_target,
    workload_line,
)
from edgetvm.stages.build.tasks import NetworkTask
from edgetvm.stages.tune.candidate_timing import Outcome
from edgetvm.stages.tune.metaschedule_task_search import (
    MetaScheduleCandidate,
    MetaScheduleTaskSearch,
)


class MetaScheduleSearch:
    """Implements :class:`edgetvm.stages.tune.tools.Search`; adds the tasks to the store.

    Parameters
    ----------
    threads : of one inference.
    cores : that the search itself may use.
    seed : of the search.
    """

    def __init__(
        self,
        tasks: Sequence[NetworkTask],
        store: MetaScheduleStore,
        threads: int,
        cores: int,
        seed: int,
    ) -> None:
        self._tasks = tasks
        self._store = store
        self._target = metaschedule_target(tasks[0].search_task.target, threads)
        model = XGBModel(config=XGBConfig(nthread=cores, seed=seed), num_warmup_samples=0)
        self._searches = [
            MetaScheduleTaskSearch(task, self._target, model, cores, seed + place)
            for place, task in enumerate(tasks)
        ]
        store.add_workloads(map(workload_line, tasks))

    def take_up(self) -> list[tuple[int, float | None]]:
        """Take up the records of the store; each task's are rebuilt when its first round begins."""
        places = {metaschedule_key(task): place for place, task in enumerate(self._tasks)}
        restored = []
        for record in self._store.read():
            place = places.get(record.workload_key)
            if place is not None:
                self._searches[place].restore(record)
                restored.append((place, record.seconds))
        return restored

    def propose(self, place: int, count: int) -> list[MetaScheduleCandidate]:
        """Return what :meth:`MetaScheduleTaskSearch.propose` does."""
        return self._searches[place].propose(count)

    def note(self, place: int, candidate: MetaScheduleCandidate, outcome: Outcome) -> None:
        """Write the record of a trial and remember it."""
        costs_s, _, _ = outcome
        task, trace = self._tasks[place], candidate.schedule.trace
        self._store.append(metaschedule_record(task, trace, self._target, costs_s))
        self._searches[place].note(candidate.schedule, costs_s)

    def learn(self, place: int) -> None:
        """Let the cost model learn from the round just over."""
        self._searches[place].learn()

    def save(self) -> None:
        """Do nothing: the next run trains its model from the records."""
