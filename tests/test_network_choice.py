"""Schedules chosen within the network: rivals, what wins, and how it is kept."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tvm import auto_scheduler

from edgetvm.errors import UsageError
from edgetvm.manifest import AUTO_SCHEDULER
from edgetvm.paths import DataFolders
from edgetvm.records import RecordStore
from edgetvm.records.compaction import compact
from edgetvm.records.line import parse_line
from edgetvm.stages.build.network_build import NetworkBuild
from edgetvm.stages.build.records import Record, digest, only_chosen, record_line
from edgetvm.stages.device import network_choice
from edgetvm.stages.device.library import check_on_device
from edgetvm.stages.device.network_choice import NEAR, choose_in_network
from edgetvm.stages.device.session import Address
from edgetvm.tune import tune
from tests.candidates import draw
from tests.conftest import TINY, TINY_SHAPE, Invoke
from tests.planted_records import line

slow = pytest.mark.slow
SCHEDULES = 3


def timed(record: Record, seconds: float) -> Record:
    return record[0], auto_scheduler.MeasureResult([seconds], 0, "", 0.1, 0)


@pytest.fixture(scope="module")
def schedules(build: NetworkBuild) -> list[list[Record]]:
    """Different schedules of each task, the best first: 1.0 ms, 1.1 ms and so on."""
    found = []
    for task in build.forms.direct.tasks:
        different: dict[str, Record] = {}
        for seed in range(40):
            record = draw(task, seed)
            different.setdefault(digest(record), record)
            if len(different) == SCHEDULES:
                break
        assert len(different) == SCHEDULES, task.name
        found.append(
            [
                timed(record, 1e-3 * (1 + place / 10))
                for place, record in enumerate(different.values())
            ]
        )
    return found


@pytest.fixture
def tuned(build: NetworkBuild, schedules: list[list[Record]]) -> Iterator[NetworkBuild]:
    build.build_tuned([group[0] for group in schedules])
    yield build
    build.build_tuned([])


def plant_times(
    monkeypatch: pytest.MonkeyPatch, fastest_rank: Mapping[str, int], *, is_faster: bool
) -> None:
    """Have each task be fastest within the library of the rank that is planned for it."""

    def task_times_s(
        _address: object, _build: object, library: Path, order: list[str]
    ) -> dict[str, float]:
        rank = int(library.stem.removeprefix("rival_"))
        return {key: 1.0 + (rank != fastest_rank[key]) for key in order}

    monkeypatch.setattr(network_choice, "_task_times_s", task_times_s)
    monkeypatch.setattr(network_choice, "_is_faster", lambda *_: is_faster)
    # What is built does not matter here, only which of it was fastest.
    monkeypatch.setattr(NetworkBuild, "build_with", lambda _self, _records, name: Path(name))


def all_of(schedules: list[list[Record]]) -> list[Record]:
    return [record for group in schedules for record in group]


@slow
def test_each_task_gets_what_was_fastest_in_its_place(
    tuned: NetworkBuild, schedules: list[list[Record]], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [group[0][0].task.workload_key for group in schedules]
    ranks = {key: place % SCHEDULES for place, key in enumerate(keys)}
    plant_times(monkeypatch, ranks, is_faster=True)
    choices = choose_in_network(Address("", 1), tuned, all_of(schedules))
    expected = zip(keys, schedules, strict=True)
    assert choices == {key: digest(group[ranks[key]]) for key, group in expected}


@slow
def test_nothing_is_chosen_that_does_not_pay_as_a_whole(
    tuned: NetworkBuild, schedules: list[list[Record]], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [group[0][0].task.workload_key for group in schedules]
    plant_times(monkeypatch, dict.fromkeys(keys, 1), is_faster=False)
    assert not choose_in_network(Address("", 1), tuned, all_of(schedules))


@slow
def test_a_schedule_that_is_slow_alone_is_no_rival(
    tuned: NetworkBuild, schedules: list[list[Record]], monkeypatch: pytest.MonkeyPatch
) -> None:
    far = [[group[0], timed(group[1], 1e-3 * NEAR * 1.01)] for group in schedules]
    keys = [group[0][0].task.workload_key for group in far]
    plant_times(monkeypatch, dict.fromkeys(keys, 1), is_faster=True)
    choices = choose_in_network(Address("", 1), tuned, all_of(far))
    assert set(choices.values()) == {digest(group[0]) for group in far}


@slow
def test_a_choice_is_made_on_the_device_and_computes_the_same(
    tuned: NetworkBuild,
    schedules: list[list[Record]],
    device: Address,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(network_choice, "_is_faster", lambda *_: True)
    choices = choose_in_network(device, tuned, all_of(schedules))
    assert choices.keys() == {task.workload_key for task in tuned.won_by(AUTO_SCHEDULER)}
    library = tuned.build_tuned(all_of(schedules), choices=choices)
    assert check_on_device(device, library, tuned) < 1e-4


@slow
def test_the_library_holds_what_was_chosen(
    tuned: NetworkBuild, schedules: list[list[Record]]
) -> None:
    records = all_of(schedules)
    best = tuned.build_tuned(records).read_bytes()
    assert tuned.build_tuned(records, choices={"unknown": "0"}).read_bytes() == best
    key = schedules[0][0][0].task.workload_key
    chosen = tuned.build_tuned(records, choices={key: digest(schedules[0][1])}).read_bytes()
    assert chosen != best
    # What the estimate and the choice of the form go by stays the best alone.
    assert tuned.estimate_s == pytest.approx(1e-3 * sum(task.count for task in tuned.tasks))


@slow
def test_tuning_that_took_long_enough_ends_with_a_choice(
    project: DataFolders, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (tune, TINY, "--target", "host", "--input-shape", TINY_SHAPE, "--threads", "1")
    monkeypatch.setattr(network_choice, "_is_faster", lambda *_: True)
    monkeypatch.setattr(network_choice, "LIBRARIES", 10**6)
    assert invoke(*command, "--trials", "12").exit_code == 0
    assert not list(project.tuning_logs.glob("*/*.choices.json"))
    monkeypatch.setattr(network_choice, "LIBRARIES", 0)
    assert invoke(*command, "--trials", "12").exit_code == 0
    (folder,) = project.tuning_logs.iterdir()
    store = RecordStore(folder, 1)
    records = {(one.workload_key, one.digest) for one in store.read_records()}
    assert store.choices.read().items() <= records
    assert store.choices.read()


@slow
def test_records_as_tvm_writes_them_keep_their_digest(schedules: list[list[Record]]) -> None:
    record = schedules[0][0]
    assert digest(record) == parse_line(record_line(record)).digest
    assert digest(record) != digest(schedules[0][1])
    key = record[0].task.workload_key
    assert only_chosen(schedules[0], {key: digest(schedules[0][1])}) == [schedules[0][1]]
    assert only_chosen(schedules[0], {key: "gone"}) == schedules[0]


def test_choices_are_kept_by_workload(tmp_path: Path) -> None:
    store = RecordStore(tmp_path, 2)
    assert store.choices.read() == {}
    store.choices.update({"a": "1", "b": "2"})
    store.choices.update({"b": "3", "c": "4"})
    assert RecordStore(tmp_path, 2).choices.read() == {"a": "1", "b": "3", "c": "4"}
    assert RecordStore(tmp_path, 1).choices.read() == {}


def test_a_faulty_file_of_choices_is_named(tmp_path: Path) -> None:
    (tmp_path / "threads_2.choices.json").write_text('{"by": {}}')
    with pytest.raises(UsageError, match=r"threads_2\.choices\.json: .*unknown field"):
        RecordStore(tmp_path, 2).choices.read()


def test_compacting_keeps_what_was_chosen() -> None:
    lines = [line(0, seconds / 10, schedule=seconds) for seconds in range(1, 11)]
    chosen = parse_line(lines[7])
    kept = compact(lines, keep=2, choices={chosen.workload_key: chosen.digest})
    assert kept == [*lines[:2], lines[7]]
