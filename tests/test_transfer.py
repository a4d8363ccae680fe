"""Schedules of one workload, fitted to another of its kind."""

import json

import pytest
from tvm import auto_scheduler

from edgetvm.stages.build.records import record_line
from edgetvm.stages.tune.register_tiling import tiled_states
from edgetvm.stages.tune.transfer import KnownSchedules, WorkloadKey, fit
from tests.test_register_tiling import task, tiling_conv, tiling_depthwise


def line_of(search_task: auto_scheduler.SearchTask, seconds: float, error_no: int = 0) -> str:
    state = next(tiled_states(search_task))
    result = auto_scheduler.MeasureResult([seconds], error_no, "", 0.1, 0)
    return record_line((auto_scheduler.MeasureInput(search_task, state), result))


def steps_of(line: str) -> list[list[object]]:
    return json.loads(line)["i"][1][1]


def test_a_schedule_fits_its_own_workload_unchanged() -> None:
    search_task = task(tiling_conv, 14, 96, 64, 1, 1)
    state = next(tiled_states(search_task))
    fitted = fit(steps_of(line_of(search_task, 1e-3)), search_task.compute_dag)
    assert str(fitted) == str(state)


@pytest.mark.parametrize("args", [(28, 32, 192, 1, 1), (7, 960, 160, 1, 1), (13, 50, 23, 1, 1)])
def test_a_schedule_fits_other_shapes_with_factors_that_divide(args: tuple[int, ...]) -> None:
    line = line_of(task(tiling_conv, 14, 96, 64, 1, 1), 1e-3)
    other = task(tiling_conv, *args)
    state = fit(steps_of(line), other.compute_dag)
    assert state is not None
    result = auto_scheduler.MeasureResult([1e-3], 0, "", 0.1, 0)
    fitted = record_line((auto_scheduler.MeasureInput(other, state), result))
    for step in steps_of(fitted):
        if step[0] == "SP" and step[1] == steps_of(fitted)[0][1]:
            product = 1
            for length in step[4]:  # type: ignore[attr-defined]
                product *= length
            assert step[3] % product == 0  # type: ignore[operator]
    other.compute_dag.apply_steps_from_state(state)


def test_the_nearest_workload_lends_first_and_failures_never() -> None:
    known = KnownSchedules()
    near, far = task(tiling_conv, 28, 96, 64, 1, 1), task(tiling_conv, 112, 16, 96, 1, 1)
    target = task(tiling_conv, 14, 96, 64, 1, 1)
    known.learn([line_of(far, 1e-6), line_of(near, 1e-3)])
    known.learn([line_of(task(tiling_conv, 14, 48, 64, 1, 1), 1e10, error_no=2)])
    fitted = list(known.fitted(target))
    expected = [fit(steps_of(line_of(kin, 1.0)), target.compute_dag) for kin in (near, far)]
    assert list(map(str, fitted)) == list(map(str, expected))


def test_only_the_fastest_schedule_of_a_workload_is_kept() -> None:
    known, search_task = KnownSchedules(), task(tiling_conv, 14, 96, 64, 1, 1)
    slow, fast = list(tiled_states(search_task))[:2]
    for state, seconds in ((slow, 2e-3), (fast, 1e-3)):
        result = auto_scheduler.MeasureResult([seconds], 0, "", 0.1, 0)
        known.learn([record_line((auto_scheduler.MeasureInput(search_task, state), result))])
    assert [str(state) for state in known.fitted(search_task)] == [str(fast)]


def test_other_kinds_lend_nothing() -> None:
    known = KnownSchedules()
    known.learn([line_of(task(tiling_depthwise, 14, 64), 1e-3)])
    assert not list(known.fitted(task(tiling_conv, 14, 64, 64, 1, 1)))


def test_a_step_that_cannot_be_applied_yields_nothing() -> None:
    dag = task(tiling_conv, 14, 96, 64, 1, 1).compute_dag
    assert fit([["SP", 3, 99, 14, [7], 1]], dag) is None
    assert fit([["??", 3]], dag) is None


def test_distance_grows_with_the_ratio_of_the_shapes() -> None:
    here = WorkloadKey.parse('["kind", [1, 14, 14, 96]]')
    near = WorkloadKey.parse('["kind", [1, 14, 14, 48]]')
    far = WorkloadKey.parse('["kind", [1, 112, 112, 96]]')
    assert here.distance(here) == 0
    assert here.distance(near) < here.distance(far)
