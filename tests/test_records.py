"""The record store: nothing is lost, nothing broken is read in silence."""

from pathlib import Path

import pytest

from edgetvm.errors import RecordError, UsageError
from edgetvm.records import RecordStore, Workload
from edgetvm.records.compaction import compact
from edgetvm.records.line import parse_line
from edgetvm.records.merging import merge
from edgetvm.records.store import find_store, list_stores
from edgetvm.records.summary import summarise_store, summarise_workloads
from tests.planted import device_info
from tests.planted_records import TARGET, VERSION, line


@pytest.fixture
def store(tmp_path: Path) -> RecordStore:
    store = RecordStore(tmp_path / "board", threads=2)
    for number in range(3):
        store.append(line(number))
    return store


def test_appended_records_are_read_back(store: RecordStore) -> None:
    assert store.open(TARGET, VERSION) == [line(0), line(1), line(2)]


def test_a_new_store_is_empty(tmp_path: Path) -> None:
    assert RecordStore(tmp_path, threads=1).open(TARGET, VERSION) == []


def test_an_interrupted_write_is_set_aside_and_the_rest_kept(store: RecordStore) -> None:
    with store.path.open("a") as file:
        file.write(line(3)[:40])
    assert store.open(TARGET, VERSION) == [line(0), line(1), line(2)]
    assert store.rejected_path.read_text() == line(3)[:40] + "\n"
    store.append(line(4))
    assert store.read_lines() == [line(0), line(1), line(2), line(4)]


@pytest.mark.parametrize("bad", [line(1)[:40], "{}", "[]", "", '{"i": [], "r": []}'])
def test_a_truncated_line_is_named_and_nothing_changed(store: RecordStore, bad: str) -> None:
    text = f"{line(0)}\n{bad}\n{line(2)}\n"
    store.path.write_text(text)
    with pytest.raises(RecordError, match=r"threads_2\.json, line 2 .*--drop-bad-records"):
        store.open(TARGET, VERSION)
    assert store.path.read_text() == text


def test_bad_lines_are_moved_away_when_asked(store: RecordStore) -> None:
    store.path.write_text(f"{line(0)}\n{line(1)[:40]}\n{line(2)}\n")
    assert store.open(TARGET, VERSION, drop_bad=True) == [line(0), line(2)]
    assert store.rejected_path.read_text() == line(1)[:40] + "\n"


@pytest.mark.parametrize(
    ("target", "version", "what"),
    [("llvm -model=other", VERSION, "TVM target"), (TARGET, "0.20.0", "TVM version")],
)
def test_records_of_another_target_or_tvm_are_refused(
    store: RecordStore, target: str, version: str, what: str
) -> None:
    store.write_provenance(TARGET, VERSION, device_info("A72"))
    with pytest.raises(RecordError, match=what):
        store.open(target, version)


def test_the_sidecar_lists_each_machine_once_and_not_its_name(store: RecordStore) -> None:
    for cpu in ("A72", "A76", "A72"):
        store.write_provenance(TARGET, VERSION, device_info(cpu))
    text = store.meta_path.read_text()
    assert text.count('"A72"') == 1
    assert text.count('"A76"') == 1
    assert "secret-name" not in text


def test_a_record_behind_an_interrupted_write_is_not_glued_to_it(store: RecordStore) -> None:
    with store.path.open("a") as file:
        file.write(line(3)[:40])
    store.append(line(4))
    assert store.read_lines() == [line(0), line(1), line(2), line(4)]
    assert store.rejected_path.read_text() == line(3)[:40] + "\n"


def test_a_line_that_is_being_written_is_not_read(store: RecordStore) -> None:
    with store.path.open("a") as file:
        file.write(line(3)[:40])
    assert len(store.read_lines()) == 3


def test_bytes_that_are_no_text_are_moved_away_unchanged(store: RecordStore) -> None:
    garbage = b"\xff\x00\n"
    store.path.write_bytes(garbage + store.path.read_bytes())
    with pytest.raises(RecordError, match="line 1 is not a whole tuning record"):
        store.read_lines()
    assert store.open(TARGET, VERSION, drop_bad=True) == [line(0), line(1), line(2)]
    assert store.rejected_path.read_bytes() == garbage


def test_a_store_that_cannot_be_written_is_a_record_error(tmp_path: Path) -> None:
    store = RecordStore(tmp_path, threads=1)
    store.path.mkdir()
    with pytest.raises(RecordError, match="cannot be written: Is a directory"):
        store.append(line(0))
    with pytest.raises(RecordError, match="cannot be written: Is a directory"):
        store.edit(lambda lines: lines)


def test_a_failed_edit_leaves_the_store_as_it_was(store: RecordStore) -> None:
    def fail(lines: list[str]) -> list[str]:
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - planted
        store.edit(fail)
    assert store.read_lines() == [line(0), line(1), line(2)]


def test_an_edit_of_broken_lines_is_refused(store: RecordStore) -> None:
    store.path.write_text("{}\n" + store.path.read_text())
    with pytest.raises(RecordError, match="line 1 is not a whole tuning record"):
        store.edit(lambda lines: lines[:1])
    assert len(store.path.read_text().splitlines()) == 4


def test_edit_counts_what_is_gone_and_keeps_it_if_asked(store: RecordStore) -> None:
    store.append(line(0))
    assert store.edit(lambda lines: [line(0), line(7)], reject=True) == 3
    assert store.read_lines() == [line(0), line(7)]
    assert sorted(store.rejected_path.read_text().splitlines()) == [line(0), line(1), line(2)]


def test_compacting_keeps_the_fastest_of_each_schedule() -> None:
    slow, fast = line(0, 0.2), line(0, 0.1)
    failed, other = line(0, None), line(0, 0.3, schedule=1)
    failed_twice = [line(1, None), line(1, None).replace("0.2", "0.3")]
    lines = [failed, slow, fast, fast, other, *failed_twice]
    assert compact(lines) == [fast, other, failed_twice[1]]


def test_compacting_to_the_best_drops_failures_and_spreads_the_rest() -> None:
    timed = [line(0, seconds / 10, schedule=seconds) for seconds in range(1, 11)]
    lines = [*reversed(timed), line(0, None, schedule=99), line(1, 0.1)]
    assert compact(lines, keep=2) == [timed[1], timed[0], line(1, 0.1)]
    assert compact(lines, keep=2, spread=2) == [timed[9], timed[5], timed[1], timed[0], lines[-1]]
    assert set(compact(lines, keep=20)) == {*timed, line(1, 0.1)}


def test_merging_takes_new_schedules_only_and_counts() -> None:
    own = [line(0, 0.2), line(1, 0.2)]
    theirs = [line(0, 0.1), line(0, 0.1, schedule=1), line(1, 0.3, schedule=1), line(2, None)]
    lines, count = merge(own, theirs)
    assert lines == [*own, *theirs[1:]]
    assert (count.new, count.known, count.better) == (3, 1, 1)
    assert merge(lines, theirs)[1].new == 0


def test_equal_schedules_are_equal_however_they_are_spaced() -> None:
    spaced = line(0).replace('"SP", 0, 0', '"SP",0,0')
    assert spaced != line(0)
    assert parse_line(spaced).identity == parse_line(line(0)).identity


def test_stores_are_found_by_target_and_threads(store: RecordStore, tmp_path: Path) -> None:
    (store.path.parent / "threads_2 copy.json").write_text("")
    assert [found.path for found in list_stores(tmp_path)] == [store.path]
    assert find_store(tmp_path, "board", None).path == store.path
    RecordStore(tmp_path / "board", threads=4).append(line(0))
    with pytest.raises(UsageError, match=r"numbers of threads: 2, 4\. Give one as --threads"):
        find_store(tmp_path, "board", None)
    with pytest.raises(UsageError, match="did you mean board"):
        find_store(tmp_path, "bord", None)


def test_summaries_count_and_find_the_best(store: RecordStore) -> None:
    workload = Workload.define('["hash0", [1]]', "conv", 1e9, "{}")
    assert store.workloads.add([workload]) == 1
    store.append(line(0, 0.01))
    store.append(line(0, None))
    first, *others = summarise_workloads(store.read_records(), store.workloads.read())
    assert (first.description, first.records, first.failed) == ("conv", 3, 1)
    assert first.best_s == 0.01
    assert first.flop_per_s == pytest.approx(1e11)
    assert [other.description for other in others] == ['["hash1", [1]]', '["hash2", [1]]']
    assert others[0].flop_per_s is None
    summary = summarise_store(store)
    assert (summary.workloads, summary.undefined, summary.records, summary.failed) == (3, 2, 5, 1)


class TestDefinitions:
    """workloads.jsonl, under the same rules as the records."""

    workload = Workload.define("key", "conv", 1.0, '{ "tensors": 1 }')

    def test_each_is_stored_once_and_read_back(self, store: RecordStore) -> None:
        assert store.workloads.add([self.workload, self.workload]) == 1
        assert store.workloads.add([self.workload]) == 0
        assert store.workloads.read() == {"key": self.workload}
        assert self.workload.tensors == '{"tensors":1}'

    def test_an_interrupted_write_is_mended(self, store: RecordStore) -> None:
        store.workloads.add([self.workload])
        whole = store.workloads.path.read_text()
        store.workloads.path.write_text(whole + whole[:30])
        store.open(TARGET, VERSION)
        assert store.workloads.path.read_text() == whole

    def test_a_broken_line_is_named_and_moved_away_when_asked(self, store: RecordStore) -> None:
        store.workloads.add([self.workload])
        whole = store.workloads.path.read_text()
        store.workloads.path.write_text('{"key": 1}\n' + whole)
        with pytest.raises(RecordError, match=r"workloads\.jsonl, line 1 is not a whole workload"):
            store.open(TARGET, VERSION)
        store.open(TARGET, VERSION, drop_bad=True)
        assert store.workloads.path.read_text() == whole
