"""The choice of the task to tune next, on planted histories."""

from edgetvm.stages.tune.schedule import (
    TaskState,
    expected_gain,
    network_latency_s,
    next_search,
    next_task,
)


def task(name: str, **values: object) -> TaskState:
    return TaskState(**{"name": name, "kind": name, "count": 1, "flop": 1e6, **values})  # type: ignore[arg-type]


def test_untouched_tasks_come_first_and_the_largest_of_them_before_the_others() -> None:
    tasks = [task("done", trials=16, best_s=1.0), task("small"), task("large", count=4)]
    assert next_task(tasks) == 2


def test_a_task_that_the_network_runs_more_often_comes_first() -> None:
    tasks = [task("a", trials=32, best_s=1e-3), task("b", trials=32, best_s=1e-3, count=3)]
    assert next_task(tasks) == 1


def test_a_task_far_behind_its_kin_comes_first() -> None:
    slow = task("slow", kind="conv", trials=64, best_s=1e-3)
    fast = task("fast", kind="conv", trials=64, best_s=1e-4)
    other = task("other", trials=64, best_s=1e-3)
    assert next_task([other, fast, slow]) == 2


def test_a_task_that_still_gains_comes_before_one_that_has_settled() -> None:
    gaining = task("gaining", trials=64, best_s=1e-3, history=[(16, 4e-3), (32, 2e-3), (64, 1e-3)])
    settled = task("settled", trials=64, best_s=1e-3, history=[(16, 1e-3), (32, 1e-3), (64, 1e-3)])
    assert expected_gain(gaining, [gaining, settled]) > expected_gain(settled, [gaining, settled])


def test_many_trials_lower_the_hope() -> None:
    few, many = task("few", trials=32, best_s=1e-3), task("many", trials=320, best_s=1e-3)
    assert expected_gain(few, [few, many]) > expected_gain(many, [few, many])


def test_a_task_without_a_valid_trial_comes_before_all_with_one() -> None:
    assert next_task([task("valid", trials=16, best_s=9.0), task("failing", trials=16)]) == 1


def test_exhausted_tasks_are_left_alone() -> None:
    tasks = [task("a", exhausted=True), task("b", trials=16, best_s=1e-9)]
    assert next_task(tasks) == 1
    tasks[1].exhausted = True
    assert next_task(tasks) is None


def test_latency_counts_each_task_as_often_as_it_runs() -> None:
    tasks = [task("a", best_s=1.0, count=2), task("b", best_s=0.5)]
    assert network_latency_s(tasks) == 2.5
    tasks[0].best_s = None
    assert network_latency_s(tasks) is None


def test_failed_trials_count_and_do_not_improve() -> None:
    state = task("a")
    for seconds in (None, 2.0, 3.0, None):
        state.note_trial(seconds)
    assert (state.trials, state.best_s) == (4, 2.0)


def test_a_task_whose_operations_tvm_cannot_count_is_judged_by_its_own_history() -> None:
    pools = [task("a", kind="pool", flop=flop, trials=16, best_s=1e-6) for flop in (0.0, -1.0)]
    assert all(expected_gain(pool, pools) > 0 for pool in pools)


def test_each_search_is_tried_once_before_either_is_tried_again() -> None:
    assert next_search([task("a"), task("b")]) == 0
    assert next_search([task("a", trials=16, best_s=1e-9), task("b")]) == 1


def test_of_two_searches_the_faster_one_gets_most_rounds_of_a_task() -> None:
    fast = task("fast", trials=32, best_s=1.0, history=[(16, 1.0), (32, 1.0)])
    slow = task("slow", trials=32, best_s=1.6, history=[(16, 1.6), (32, 1.6)])
    assert next_search([fast, slow]) == 0


def test_a_search_that_has_settled_leaves_room_for_one_that_is_a_little_behind() -> None:
    settled = task("settled", trials=160, best_s=1.0)
    behind = task("behind", trials=32, best_s=1.2)
    assert next_search([settled, behind]) == 1


def test_a_search_that_still_gains_is_preferred() -> None:
    settled = task("settled", trials=64, best_s=1.0, history=[(32, 1.0), (48, 1.0), (64, 1.0)])
    gaining = task("gaining", trials=64, best_s=1.05, history=[(32, 2.0), (48, 1.5), (64, 1.05)])
    assert next_search([settled, gaining]) == 1


def test_a_search_without_a_valid_trial_or_with_nothing_new_gives_way() -> None:
    assert next_search([task("failing", trials=16), task("valid", trials=64, best_s=9.0)]) == 1
    exhausted = task("exhausted", trials=16, best_s=1e-9, exhausted=True)
    assert next_search([exhausted, task("valid", trials=64, best_s=9.0)]) == 1


def test_a_task_of_a_slower_form_is_tried_and_then_left_alone() -> None:
    used, untried = task("used", trials=16, best_s=1.0), task("untried", count=0)
    assert next_task([used, untried]) == 1
    slower = task("slower", count=0, trials=16, best_s=9.0)
    assert next_task([used, slower]) == 0
    assert next_task([task("settled", trials=16, best_s=1.0, exhausted=True), slower]) is None
    assert network_latency_s([used, untried, slower]) == 1.0
