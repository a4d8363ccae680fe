"""What is measured next for one task, by MetaSchedule's search.

Space, mutators and evolution are TVM's; they are driven from here as AutoScheduler's are, so that
candidates can be built by workers that stay alive, timed on any RPC server, and written down one
by one.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import meta_schedule, tir
from tvm.meta_schedule import _ffi_api
from tvm.meta_schedule.arg_info import ArgInfo
from tvm.meta_schedule.database import MemoryDatabase
from tvm.meta_schedule.mutator import Mutator
from tvm.meta_schedule.postproc import Postproc
from tvm.meta_schedule.runner import RunnerResult
from tvm.meta_schedule.schedule_rule import ScheduleRule
from tvm.meta_schedule.search_strategy import EvolutionarySearch, MeasureCandidate
from tvm.meta_schedule.space_generator import PostOrderApply

from edgetvm.errors import RecordError
from edgetvm.records.metaschedule_store import MetaScheduleRecord
from edgetvm.stages.build.metaschedule_records import parse_metaschedule, trace_text
from edgetvm.stages.build.tasks import NetworkTask
from edgetvm.stages.tune.candidate_build import ScheduledModule

POPULATION = 32
"""Candidates in one generation. TVM's 512 costs more time than the better choice wins back."""

GENERATIONS = 2

SEARCHED = 16
"""Candidates that are searched for at a time: evolution takes longer than measuring fewer."""

RANDOM_SHARE = 0.1
"""Part of these that is taken from the samples at random."""

SAMPLED = 16
"""Fresh samples of each round, with the elite the start of its evolution."""

ELITE = 16
"""Best measured candidates that enter each evolution."""

_sample = tvm.get_global_func("meta_schedule.SearchStrategyEvolutionarySearchSampleInitPopulation")
_evolve = tvm.get_global_func("meta_schedule.SearchStrategyEvolutionarySearchEvolveWithCostModel")


@dataclass(frozen=True)
class MetaScheduleCandidate:
    """A schedule to be measured; `trace` is the text by which equal ones are known."""

    schedule: tir.Schedule
    target: tvm.target.Target
    trace: bytes

    def serialize(self) -> ScheduledModule:
        """Return what a worker builds."""
        return ScheduledModule(tvm.ir.save_json(self.schedule.mod), str(self.target))


class MetaScheduleTaskSearch:
    """Proposes candidates for one task and remembers what was measured.

    Parameters
    ----------
    target : with the number of cores that the network may use.
    model : cost model, shared by all tasks of a run.
    threads : that the search itself may use.
    seed : of the search's random choices.
    """

    def __init__(
        self,
        task: NetworkTask,
        target: tvm.target.Target,
        model: meta_schedule.cost_model.XGBModel,
        threads: int,
        seed: int,
    ) -> None:
        self._task = task
        self._target = target
        self._model = model
        self._threads = threads
        self._seed = seed
        self._random = random.Random(seed)  # noqa: S311 - a search, not a secret
        self._measured: set[bytes] = set()
        self._found: list[MetaScheduleCandidate] = []
        self._elite: list[tuple[float, tir.Schedule]] = []
        self._new: list[tuple[tir.Schedule, list[float]]] = []
        self._earlier: list[MetaScheduleRecord] = []
        self._strategy: EvolutionarySearch | None = None
        self._context: _Context | None = None

    def note(self, schedule: tir.Schedule, costs_s: list[float]) -> None:
        """Remember that `schedule` was measured; `costs_s`, seconds, is empty if it failed."""
        self._new.append((schedule, costs_s))
        if costs_s:
            self._elite.append((sum(costs_s) / len(costs_s), schedule))
            self._elite.sort(key=lambda entry: entry[0])
            del self._elite[ELITE:]

    def restore(self, record: MetaScheduleRecord) -> None:
        """Take up what an earlier run measured."""
        self._measured.add(record.trace)
        self._earlier.append(record)

    def learn(self) -> None:
        """Let the cost model learn what was noted since the last time."""
        schedules, self._new = self._new, []
        if schedules:
            results = [RunnerResult(costs or None, None if costs else "") for _, costs in schedules]
            candidates = [_measure_candidate(schedule) for schedule, _ in schedules]
            self._model.update(self._context, candidates, results)

    def propose(self, count: int) -> list[MetaScheduleCandidate]:
        """Return up to `count` candidates that were not measured yet, most promising first.

        Fewer, or none, mean that the space is all but exhausted.
        """
        strategy = self._begin()
        missing = count - len(self._found)
        if missing > 0:
            self._found += self._search(strategy, max(missing, SEARCHED))
        chosen, self._found = self._found[:count], self._found[count:]
        return chosen

    def _search(self, strategy: EvolutionarySearch, count: int) -> list[MetaScheduleCandidate]:
        """Return what evolution finds, and a few samples at random."""
        sampled = list(_sample(strategy, max(SAMPLED, count)))
        self._random.shuffle(sampled)
        by_model = count - round(count * RANDOM_SHARE)
        chosen = self._evolved(strategy, sampled, by_model) if self._model.booster else []
        return chosen + self._unseen(sampled, count - len(chosen))

    def _evolved(
        self, strategy: EvolutionarySearch, sampled: list[tir.Schedule], count: int
    ) -> list[MetaScheduleCandidate]:
        """Return what the cost model likes best of what evolution finds."""
        elite = [schedule for _, schedule in self._elite]
        beginning = [*elite, *sampled][:POPULATION]
        chosen = self._unseen(_evolve(strategy, beginning, count), count)
        if len(chosen) < count / 2:
            # TVM offers nothing twice, but the elite once if it was restored or sampled.
            chosen += self._unseen(_evolve(strategy, beginning, count), count - len(chosen))
        return chosen

    def _begin(self) -> EvolutionarySearch:
        """Set the search up, when it is wanted first, with what earlier runs have left."""
        if self._strategy is None:
            self._strategy = EvolutionarySearch(
                population_size=POPULATION,
                init_min_unmeasured=1,
                genetic_num_iters=GENERATIONS,
            )
            self._context = _Context(
                self._task, self._target, self._strategy, self._threads, self._seed
            )
            space = self._context.generate_design_space()
            self._strategy.pre_tuning(0, 1, space, MemoryDatabase(), self._model)
            self._replay()
        return self._strategy

    def _replay(self) -> None:
        """Rebuild the best of the restored schedules, and as many others for the cost model."""
        valid = [record for record in self._earlier if record.seconds is not None]
        valid.sort(key=lambda record: record.seconds or 0.0)
        best, rest = valid[:ELITE], valid[ELITE:]
        for record in best + rest[:: max(1, len(rest) // ELITE)]:
            try:
                candidate = parse_metaschedule(record, self._task).as_measure_candidate()
            except (RecordError, tvm.TVMError):
                continue  # a build says so, if that record is its task's best
            self.note(candidate.sch, [record.seconds or 0.0])
        self._earlier = []
        self.learn()

    def _unseen(self, schedules: Iterable[tir.Schedule], count: int) -> list[MetaScheduleCandidate]:
        chosen: list[MetaScheduleCandidate] = []
        for schedule in schedules:
            if len(chosen) >= count:
                break
            trace = trace_text(schedule.trace)
            if trace not in self._measured:
                self._measured.add(trace)
                chosen.append(MetaScheduleCandidate(schedule, self._target, trace))
        return chosen


class _Context(meta_schedule.TuneContext):  # type: ignore[misc]
    """A silent context; TVM's own first parses all tensor intrinsics, for many seconds."""

    def __init__(
        self,
        task: NetworkTask,
        target: tvm.target.Target,
        strategy: EvolutionarySearch,
        threads: int,
        seed: int,
    ) -> None:
        # Without the rules for int8 instructions, which TVM adds on CPUs that have them.
        space = PostOrderApply(
            sch_rules=ScheduleRule.create("llvm"),
            postprocs=Postproc.create("llvm"),
            mutator_probs=Mutator.create("llvm"),
        )
        arguments = (task.tir_module, target, space, strategy, task.name, threads, seed + 1)
        self.__init_handle_by_constructor__(_ffi_api.TuneContext, *arguments, _log_nothing)
        _ffi_api.TuneContextInitialize(self)


def _by_other_rules(schedule: tir.Schedule, block: Any) -> list[tir.Schedule]:
    """Leave a block that names a rule of its own to the others, as TVM does, but in silence."""
    schedule.unannotate(block, "schedule_rule")
    return [schedule]


for _rule in (
    "meta_schedule.adaptive_pool_avg",
    "meta_schedule.adaptive_pool_max",
    "meta_schedule.pool_avg",
    "meta_schedule.pool_max",
    "conv2d_nhwc_winograd_data_pack",
    "conv2d_nhwc_winograd_inverse",
):
    # TVM names these rules and has none of them for CPUs.
    tvm.register_func(f"meta_schedule.cpu.{_rule}", _by_other_rules, override=True)


def _log_nothing(*_message: Any) -> None:
    pass


def _measure_candidate(schedule: tir.Schedule) -> MeasureCandidate:
    return MeasureCandidate(schedule, ArgInfo.from_entry_func(schedule.mod, remove_preproc=True))
