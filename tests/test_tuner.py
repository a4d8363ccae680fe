"""The tuning run on real tasks: with the real builder and device, and with planted faults."""

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from tvm import auto_scheduler
from tvm.auto_scheduler.measure import MeasureErrorNo

from edgetvm.errors import CompileError
from edgetvm.records import RecordStore, lines_of_other_stores
from edgetvm.stages.build.network_build import NetworkBuild
from edgetvm.stages.build.records import best_times, parse_records
from edgetvm.stages.tune import candidate_timing
from edgetvm.stages.tune.auto_scheduler_search import AutoSchedulerSearch
from edgetvm.stages.tune.candidate_build import BuiltCandidate, CandidateBuilder
from edgetvm.stages.tune.candidate_timing import REPEATS, CandidateTimer
from edgetvm.stages.tune.cost_model import CostModel
from edgetvm.stages.tune.progress import TuningProgress
from edgetvm.stages.tune.register_tiling import tiled_states
from edgetvm.stages.tune.relatives import cost_model_of, nearest_cost_model
from edgetvm.stages.tune.schedule import ROUND_TRIALS
from edgetvm.stages.tune.tools import Tools
from edgetvm.stages.tune.tuner import FRUITLESS_TRIALS, Tuner
from tests.planted_candidates import HANGING_REPEATS, built_candidate

pytestmark = pytest.mark.slow


@pytest.fixture
def store(tmp_path: Path) -> RecordStore:
    return RecordStore(tmp_path, threads=1)


class PlantedBuilder:
    """Says of every candidate that it is built, or that it failed."""

    def __init__(self, error: str = "", *, has_own_core: bool = False) -> None:
        self.error = error
        self.has_own_core = has_own_core
        self.batches: list[int] = []

    def start(self, inputs: list[auto_scheduler.MeasureInput]) -> Future[list[BuiltCandidate]]:
        self.batches.append(len(inputs))
        built = BuiltCandidate(Path("unused"))
        if self.error:
            built = BuiltCandidate(None, error_no=MeasureErrorNo.COMPILE_HOST, error=self.error)
        done: Future[list[BuiltCandidate]] = Future()
        done.set_result([built] * len(inputs))
        return done


class PlantedTimer:
    """Passes failures on and gives every other candidate the same time."""

    def time(
        self, candidates: list[BuiltCandidate], best_s: float | None
    ) -> Iterator[tuple[list[float], int, str]]:
        for candidate in candidates:
            yield ([], candidate.error_no, candidate.error) if candidate.error else ([1e-3], 0, "")


def tuner_of(
    build: NetworkBuild, store: RecordStore, builder: object = None, timer: object = None
) -> Tuner:
    tools = Tools(builder or PlantedBuilder(), timer or PlantedTimer())  # type: ignore[arg-type]
    return Tuner(build.tasks, [search_of(build, store)], tools, lambda progress: None)


def search_of(build: NetworkBuild, store: RecordStore) -> AutoSchedulerSearch:
    beginning = nearest_cost_model(store.path.parent.parent, store)
    model = CostModel(cost_model_of(store), beginning, threads=1, seed=0)
    return AutoSchedulerSearch(build.tasks, store, model, 0)


def schedules(store: RecordStore) -> list[str]:
    return [line.partition('"r"')[0] for line in store.read_lines()]


def test_every_task_gets_a_measured_record(
    build: NetworkBuild, store: RecordStore, device: object
) -> None:
    with CandidateBuilder(workers=1) as builder:
        tuner = tuner_of(build, store, builder, CandidateTimer(device, 1))  # type: ignore[arg-type]
        progress = tuner.run(trials=3 * len(build.tasks))
    lines = store.read_lines()
    assert len(lines) == progress.trials == 3 * len(build.tasks)
    assert set(best_times(parse_records(lines))) == build.workload_keys
    assert progress.network_latency_s
    assert set(progress.seconds) == {"search", "build", "measure", "learn"}


def test_a_small_budget_is_spread_over_the_tasks(build: NetworkBuild, store: RecordStore) -> None:
    progress = tuner_of(build, store).run(trials=len(build.tasks))
    assert [state.trials for state in progress.tasks] == [1] * len(build.tasks)


def test_with_a_core_of_its_own_the_builder_is_a_round_ahead(
    build: NetworkBuild, store: RecordStore
) -> None:
    measured_when_asked: list[int] = []

    class Watching(PlantedBuilder):
        def start(self, inputs: list[auto_scheduler.MeasureInput]) -> Future[list[BuiltCandidate]]:
            measured_when_asked.append(tuner.progress.trials)
            return super().start(inputs)

    builder = Watching(has_own_core=True)
    tuner = tuner_of(build, store, builder)
    tuner.run(trials=40)
    assert measured_when_asked[:2] == [0, 0]
    assert sum(builder.batches) == tuner.progress.trials == 40


def test_the_next_run_takes_up_the_records_and_measures_nothing_twice(
    build: NetworkBuild, store: RecordStore
) -> None:
    tuner_of(build, store).run(trials=30)
    again = tuner_of(build, store)
    again.take_up()
    assert again.progress.resumed == 30
    assert nearest_cost_model(store.path.parent.parent, store) == cost_model_of(store)
    assert all(state.best_s == pytest.approx(1e-3) for state in again.progress.tasks)
    again.run(trials=30)
    assert len(store.read_lines()) == 60
    assert len(set(schedules(store))) == 60


def test_schedules_of_another_store_are_tried_first(build: NetworkBuild, tmp_path: Path) -> None:
    theirs, ours = RecordStore(tmp_path / "theirs", 1), RecordStore(tmp_path / "ours", 1)
    tuner_of(build, theirs).run(trials=20)
    search = search_of(build, ours)
    for lines in lines_of_other_stores(tmp_path, ours):
        search.take_hints(lines)
    tools = Tools(PlantedBuilder(), PlantedTimer())
    Tuner(build.tasks, [search], tools, lambda progress: None).run(trials=len(build.tasks))
    assert set(schedules(ours)) <= set(schedules(theirs))


def test_a_task_with_no_valid_candidate_ends_the_run_with_its_reason(
    build: NetworkBuild, store: RecordStore
) -> None:
    tuner = tuner_of(build, store, PlantedBuilder("planted fault"))
    with pytest.raises(CompileError, match=r"does not compile\): planted fault"):
        tuner.run(trials=10_000)
    assert tuner.progress.failures["does not compile"] == tuner.progress.trials
    assert max(state.trials for state in tuner.progress.tasks) == FRUITLESS_TRIALS
    assert len(store.read_lines()) == tuner.progress.trials


def test_a_short_run_without_a_valid_candidate_says_why(
    build: NetworkBuild, store: RecordStore
) -> None:
    tuner = tuner_of(build, store, PlantedBuilder("planted fault"))
    with pytest.raises(CompileError, match="None of 3 candidates"):
        tuner.run(trials=3)


def test_tasks_that_do_not_improve_any_more_are_left_alone(
    build: NetworkBuild, store: RecordStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgetvm.stages.tune.tuner.PATIENCE_TRIALS", 20)
    progress = tuner_of(build, store).run(trials=10_000)
    assert progress.is_settled
    assert all(state.trials <= 20 + ROUND_TRIALS for state in progress.tasks)


def test_stop_ends_the_run_after_the_trial_at_hand(build: NetworkBuild, store: RecordStore) -> None:
    def stop_at_three(progress: TuningProgress) -> None:
        if progress.trials == 3:
            tuner.stop()

    tools = Tools(PlantedBuilder(), PlantedTimer())
    tuner = Tuner(build.tasks, [search_of(build, store)], tools, stop_at_three)
    assert tuner.run(trials=100).trials == 3
    assert len(store.read_lines()) == 3


def test_no_time_means_no_trial(build: NetworkBuild, store: RecordStore) -> None:
    assert tuner_of(build, store).run(trials=100, budget_s=0.0).trials == 0


def test_time_left_is_the_nearer_of_both_ends() -> None:
    progress = TuningProgress([], trials_planned=100, started_s=0.0, deadline_s=50.0)
    assert progress.seconds_left(10.0) == 40.0
    progress.trials = 50
    assert progress.seconds_left(10.0) == 10.0
    progress.deadline_s = None
    assert progress.seconds_left(20.0) == 20.0


def test_candidates_that_crash_or_hang_cost_only_themselves(
    build: NetworkBuild, device: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidate_timing, "SESSION_TIMEOUT_S", 1.0)
    monkeypatch.setattr(candidate_timing, "TRIAL_TIMEOUT_S", 0.5)
    candidates = [
        built_candidate(tmp_path, "good"),
        BuiltCandidate(None, error_no=MeasureErrorNo.BUILD_TIMEOUT, error="took too long"),
        built_candidate(tmp_path, "hangs", repeats=HANGING_REPEATS),
        built_candidate(tmp_path, "good_again"),
    ]
    timer = CandidateTimer(device, 1)  # type: ignore[arg-type]
    outcomes = [error_no for _, error_no, _ in timer.time(candidates, None)]
    assert outcomes == [
        MeasureErrorNo.NO_ERROR,
        MeasureErrorNo.BUILD_TIMEOUT,
        MeasureErrorNo.RUN_TIMEOUT,
        MeasureErrorNo.NO_ERROR,
    ]


def test_a_hopeless_candidate_gets_no_more_than_a_glance(
    build: NetworkBuild, device: object
) -> None:
    task = build.tasks[0]
    policy = auto_scheduler.SketchPolicy(task.search_task, params={}, seed=3, verbose=0)
    state = task.search_task.compute_dag.infer_bound_from_state(
        policy.sample_initial_population()[0]
    )
    measure_input = auto_scheduler.MeasureInput(task.search_task, state)
    with CandidateBuilder(workers=1) as builder:
        first, second = builder.start([measure_input, measure_input]).result()
        timer = CandidateTimer(device, 1)  # type: ignore[arg-type]
        ((costs, _, _),) = timer.time([first], None)
        ((hopeless, _, _),) = timer.time([second], costs[0] / 1000)
    assert len(costs) == REPEATS
    assert len(hopeless) == 1


def test_a_candidate_that_runs_long_is_run_once(
    build: NetworkBuild, device: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgetvm.stages.tune.candidate_timing.LONG_S", 0.0)
    (state, *_) = tiled_states(build.tasks[0].search_task)
    with CandidateBuilder(workers=1) as builder:
        inputs = [auto_scheduler.MeasureInput(build.tasks[0].search_task, state)]
        candidates = builder.start(inputs).result()
        ((costs, _, _),) = CandidateTimer(device, 1).time(candidates, None)  # type: ignore[arg-type]
    assert len(costs) == 1
