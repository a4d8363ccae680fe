"""The record store: nothing is lost, nothing broken is read in silence."""

import json
from pathlib import Path

import pytest

from edgetvm.errors import RecordError
from edgetvm.records import RecordStore
from tests.planted import device_info

TARGET, VERSION = "llvm -model=board", "0.19.0"


def line(number: int) -> str:
    task = [f'["hash{number}", [1]]', TARGET, [1], "", 0, []]
    return json.dumps({"i": [task, [[], []]], "r": [[0.1], 0, 0.2, number], "v": "v0.6"})


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
