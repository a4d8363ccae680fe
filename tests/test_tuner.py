"""The tuning run on real tasks: with the real builder and device, and with planted faults."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tvm.auto_scheduler.measure import MeasureErrorNo

from edgetvm.errors import CompileError
from edgetvm.records import RecordStore, lines_of_other_stores
from edgetvm.stages.build.network_build import NetworkBuild
from edgetvm.stages.build.records import best_times, parse_records
from edgetvm.stages.tune.candidate_build import BuiltCandidate, CandidateBuilder
from edgetvm.stages.tune.candidate_timing import CandidateTimer
from edgetvm.stages.tune.tuner import FRUITLESS_TRIALS, Tuner, TuningProgress

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.slow


@pytest.fixture
def store(tmp_path: Path) -> RecordStore:
    return RecordStore(tmp_path, threads=1)


class FailingBuilder:
    """Builds nothing."""

    def build(self, inputs: list[object]) -> list[BuiltCandidate]:
        failure = BuiltCandidate(None, error_no=MeasureErrorNo.COMPILE_HOST, error="planted fault")
        return [failure] * len(inputs)


class PlantedTimer:
    """Passes failures on and gives every other candidate the same time."""

    def time(
        self, candidates: list[BuiltCandidate], best_s: float | None
    ) -> Iterator[tuple[list[float], int, str]]:
        for candidate in candidates:
            yield ([], candidate.error_no, candidate.error) if candidate.error else ([1e-3], 0, "")


class PlantedBuilder:
    """Says of every candidate that it is built."""

    def build(self, inputs: list[object]) -> list[BuiltCandidate]:
        return [BuiltCandidate(Path("unused"))] * len(inputs)


def tuner_of(build: NetworkBuild, store: RecordStore, builder: object, timer: object) -> Tuner:
    return Tuner(build.tasks, builder, timer, store, 0, lambda progress: None)  # type: ignore[arg-type]


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


def test_a_small_budget_is_spread_over_the_tasks(build: NetworkBuild, store: RecordStore) -> None:
    tuner = tuner_of(build, store, PlantedBuilder(), PlantedTimer())
    progress = tuner.run(trials=len(build.tasks))
    assert [state.trials for state in progress.tasks] == [1] * len(build.tasks)


def test_the_next_run_takes_up_the_records_and_measures_nothing_twice(
    build: NetworkBuild, store: RecordStore
) -> None:
    tuner_of(build, store, PlantedBuilder(), PlantedTimer()).run(trials=30)
    again = tuner_of(build, store, PlantedBuilder(), PlantedTimer())
    again.take_up(parse_records(store.read_lines()))
    assert again.progress.resumed == 30
    assert all(state.best_s == pytest.approx(1e-3) for state in again.progress.tasks)
    again.run(trials=30)
    lines = store.read_lines()
    assert len(lines) == 60
    schedules = {line.partition('"r"')[0] for line in lines}
    assert len(schedules) == 60


def test_schedules_of_another_store_are_tried_first(build: NetworkBuild, tmp_path: Path) -> None:
    theirs, ours = RecordStore(tmp_path / "theirs", 1), RecordStore(tmp_path / "ours", 1)
    tuner_of(build, theirs, PlantedBuilder(), PlantedTimer()).run(trials=20)
    tuner = tuner_of(build, ours, PlantedBuilder(), PlantedTimer())
    for lines in lines_of_other_stores(tmp_path, ours):
        tuner.take_hints(parse_records(lines))
    tuner.run(trials=len(build.tasks))
    known = {line.partition('"r"')[0] for line in theirs.read_lines()}
    assert {line.partition('"r"')[0] for line in ours.read_lines()} <= known


def test_a_run_without_one_valid_candidate_says_why(
    build: NetworkBuild, store: RecordStore
) -> None:
    tuner = tuner_of(build, store, FailingBuilder(), PlantedTimer())
    with pytest.raises(CompileError, match=r"does not compile\): planted fault"):
        tuner.run(trials=10)
    assert len(store.read_lines()) == 10
    assert tuner.progress.failures == {"does not compile": 10}


def test_tasks_that_always_fail_are_given_up(build: NetworkBuild, store: RecordStore) -> None:
    tuner = tuner_of(build, store, FailingBuilder(), PlantedTimer())
    with pytest.raises(CompileError):
        tuner.run(trials=10_000)
    assert tuner.progress.trials == FRUITLESS_TRIALS * len(build.tasks)
    assert all(state.exhausted for state in tuner.progress.tasks)


def test_stop_ends_the_run_after_the_trial_at_hand(build: NetworkBuild, store: RecordStore) -> None:
    def stop_at_three(progress: TuningProgress) -> None:
        if progress.trials == 3:
            tuner.stop()

    tuner = Tuner(build.tasks, PlantedBuilder(), PlantedTimer(), store, 0, stop_at_three)
    assert tuner.run(trials=100).trials == 3
    assert len(store.read_lines()) == 3


def test_no_time_means_no_trial(build: NetworkBuild, store: RecordStore) -> None:
    tuner = tuner_of(build, store, PlantedBuilder(), PlantedTimer())
    assert tuner.run(trials=100, budget_s=0.0).trials == 0


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
    import tvm

    from edgetvm.stages.build.linker import link_candidate
    from edgetvm.stages.tune import candidate_timing

    monkeypatch.setattr(candidate_timing, "SESSION_TIMEOUT_S", 1.0)
    monkeypatch.setattr(candidate_timing, "TRIAL_TIMEOUT_S", 0.5)

    def candidate(name: str, extent: int, repeat: int) -> BuiltCandidate:
        """``extent`` beyond the buffer crashes; a large ``repeat`` hangs."""
        x = tvm.te.placeholder((16,), name="x")
        k = tvm.te.reduce_axis((0, repeat), name="k")
        y = tvm.te.compute((extent,), lambda i: tvm.te.sum(tvm.te.sqrt(x[i] + k), axis=k))
        module = tvm.build(tvm.te.create_schedule(y.op), [x, y], "llvm")
        module.save(str(tmp_path / f"{name}.o"))
        link_candidate([tmp_path / f"{name}.o"], tmp_path / f"{name}.so")
        return BuiltCandidate(tmp_path / f"{name}.so", (((16,), "float32"), ((16,), "float32")))

    candidates = [
        candidate("good", 16, 4),
        BuiltCandidate(None, error_no=MeasureErrorNo.BUILD_TIMEOUT, error="took too long"),
        candidate("hangs", 16, 2_000_000_000),
        candidate("good_again", 16, 4),
    ]
    timer = CandidateTimer(device, 1)  # type: ignore[arg-type]
    outcomes = [error_no for _, error_no, _ in timer.time(candidates, None)]
    assert outcomes == [
        MeasureErrorNo.NO_ERROR,
        MeasureErrorNo.BUILD_TIMEOUT,
        MeasureErrorNo.RUN_TIMEOUT,
        MeasureErrorNo.NO_ERROR,
    ]


def test_a_hopeless_candidate_is_timed_once(build: NetworkBuild, device: object) -> None:
    task = build.tasks[0]
    from tvm import auto_scheduler

    policy = auto_scheduler.SketchPolicy(task.search_task, params={}, seed=3, verbose=0)
    state = task.search_task.compute_dag.infer_bound_from_state(
        policy.sample_initial_population()[0]
    )
    measure_input = auto_scheduler.MeasureInput(task.search_task, state)
    with CandidateBuilder(workers=1) as builder:
        first, second = builder.build([measure_input, measure_input])
        timer = CandidateTimer(device, 1)  # type: ignore[arg-type]
        ((costs, _, _),) = timer.time([first], None)
        ((hopeless, _, _),) = timer.time([second], costs[0] / 1000)
    assert len(costs) == 3
    assert len(hopeless) == 1
