"""MetaSchedule's two tables: nothing is lost, and each trial stays with its workload."""

import multiprocessing
from pathlib import Path

import pytest

from edgetvm.errors import RecordError
from edgetvm.records import MetaScheduleStore
from edgetvm.records.metaschedule_store import MetaScheduleRecord, parse_trial


def workload(number: int) -> str:
    return f'["{number}","bW9kdWxl"]'


def trial(number: int, seconds: float = 0.1, *, schedule: int = 0) -> MetaScheduleRecord:
    """A trial of the workload `number` that no device measured."""
    return parse_trial(
        str(number), f'[[[["Split",{schedule}]],[]],[{seconds}],{{"kind":"llvm"}},[]]'
    )


@pytest.fixture
def store(tmp_path: Path) -> MetaScheduleStore:
    store = MetaScheduleStore(tmp_path / "board", threads=2)
    store.add_workloads([workload(7), workload(8)])
    for number in (8, 7):
        store.append(trial(number))
    return store


def test_trials_are_read_back_with_their_workloads(store: MetaScheduleStore) -> None:
    assert store.open() == [trial(8), trial(7)]
    assert store.path.name == "metaschedule_threads_2.json"
    assert store.path.read_text().startswith("[1,[")


def test_a_new_store_is_empty(tmp_path: Path) -> None:
    assert MetaScheduleStore(tmp_path, threads=1).open() == []


def test_workloads_keep_their_places_and_are_added_once(store: MetaScheduleStore) -> None:
    other = MetaScheduleStore(store.path.parent, threads=2)
    other.add_workloads([workload(9), workload(8)])
    other.append(trial(9))
    store.append(trial(8, schedule=1))
    assert store.workloads_path.read_text().splitlines() == list(map(workload, (7, 8, 9)))
    assert [record.workload_key for record in store.read()] == ["8", "7", "9", "8"]


def test_equal_schedules_look_equal_and_others_do_not() -> None:
    assert trial(7, 0.1).trace == trial(7, 0.2).trace
    assert trial(7, schedule=1).trace != trial(7, schedule=2).trace


@pytest.mark.parametrize("costs", ["[1e10]", "null", "[]"])
def test_a_failed_trial_has_no_time(costs: str) -> None:
    assert parse_trial("7", f"[[[],[]],{costs},{{}},[]]").seconds is None


def test_several_costs_count_by_their_mean() -> None:
    assert parse_trial("7", "[[[],[]],[1.0,3.0],{},[]]").seconds == 2.0


def test_an_interrupted_write_is_set_aside_and_the_rest_kept(store: MetaScheduleStore) -> None:
    with store.path.open("a") as file:
        file.write('[0,[[["Spl')
    assert store.open() == [trial(8), trial(7)]
    assert store.rejected_path.read_text() == '[0,[[["Spl\n'
    with store.path.open("a") as file:
        file.write('[0,[[["Spl')
    store.append(trial(7))
    assert store.read() == [trial(8), trial(7), trial(7)]


@pytest.mark.parametrize(
    "bad", ['[0,[[["Spl', "[]", "{}", "", '[0,["trace"]]', "[0.5,[[],[],{},[]]]"]
)
def test_a_broken_trial_is_named_and_moved_away_when_asked(
    store: MetaScheduleStore, bad: str
) -> None:
    good = store.path.read_text()
    store.path.write_text(f"{bad}\n{good}")
    with pytest.raises(RecordError, match=r"line 1 is not a whole MetaSchedule record.*drop-bad"):
        store.open()
    assert store.open(drop_bad=True) == [trial(8), trial(7)]
    assert store.path.read_text() == good


def test_a_broken_workload_is_never_moved_away_alone(store: MetaScheduleStore) -> None:
    text = f"broken\n{store.workloads_path.read_text()}"
    store.workloads_path.write_text(text)
    with pytest.raises(RecordError, match=r"line 1 is not a whole MetaSchedule workload.*together"):
        store.open(drop_bad=True)
    assert store.workloads_path.read_text() == text


def test_a_trial_of_a_workload_that_is_gone_is_an_error(store: MetaScheduleStore) -> None:
    store.workloads_path.write_text(f"{workload(7)}\n")
    with pytest.raises(RecordError, match=r"line 1 names workload 1, of which .* has 1"):
        store.open()


def _append(folder: Path, key: int, count: int) -> None:
    store = MetaScheduleStore(folder, threads=2)
    store.add_workloads([workload(key)])
    for number in range(count):
        store.append(trial(key, schedule=number))


def test_two_tuners_at_once_lose_and_mix_nothing(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_append, args=(tmp_path, key, 50)) for key in (7, 8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    records = MetaScheduleStore(tmp_path, threads=2).open()
    for key in (7, 8):
        own = [record for record in records if record.workload_key == str(key)]
        assert own == [trial(key, schedule=number) for number in range(50)]
