"""``python -m edgetvm.records`` as a user runs it, on stores that no device measured."""

import json
from pathlib import Path

import msgspec
import pytest

from edgetvm.manifest import TaskSummary
from edgetvm.paths import DataFolders
from edgetvm.records import RecordStore, Workload
from edgetvm.records.__main__ import records
from edgetvm.stages.build.records import full_target
from edgetvm.stages.host_target import TVM_VERSION, detect_host_profile
from tests.conftest import Invoke
from tests.planted import device_info
from tests.planted_records import line

HOST = detect_host_profile()
TARGET = full_target(HOST.tvm_target)


def host_line(number: int, seconds: float | None = 0.1, schedule: int = 0) -> str:
    return line(number, seconds, schedule=schedule, target=TARGET)


@pytest.fixture
def store(project: DataFolders) -> RecordStore:
    store = RecordStore(project.tuning_logs / HOST.name, threads=2)
    store.write_provenance(HOST.tvm_target, TVM_VERSION, device_info("A72"))
    for number, seconds in ((0, 0.2), (0, 0.1), (0, None), (1, 0.3)):
        store.append(host_line(number, seconds))
    store.workloads.add([Workload.define('["hash0", [1]]', "conv2d 3x3", 1e9, "{}")])
    return store


@pytest.fixture
def theirs(tmp_path: Path) -> RecordStore:
    theirs = RecordStore(tmp_path / "theirs", threads=2)
    theirs.write_provenance(HOST.tvm_target, TVM_VERSION, device_info("A76"))
    for number, schedule in ((0, 0), (0, 1), (2, 0)):
        theirs.append(host_line(number, 0.05, schedule))
    return theirs


def test_list_shows_stores_and_workloads(store: RecordStore, invoke: Invoke) -> None:
    stores = invoke(records, "list")
    assert stores.exit_code == 0
    assert [HOST.name, "2", "2", "4", "1"] == stores.stdout.splitlines()[3].split()[:9:2]
    assert "A72, 4 cores" in stores.stdout
    assert "workloads without a definition: 1" in stores.stderr
    workloads = invoke(records, "list", "--target", HOST.name)
    assert "conv2d 3x3" in workloads.stdout
    assert "10.0 GFLOP/s" in workloads.stdout
    assert '["hash1", [1]]' in workloads.stdout
    assert "conv2d" not in invoke(records, "list", "--target", "host", "--threads", "1").stdout


def test_best_shows_one_record_of_each_workload(store: RecordStore, invoke: Invoke) -> None:
    assert "100 ms" in invoke(records, "best").stdout
    rows = json.loads(invoke(records, "best", "--format", "json").stdout)
    assert [row["record"] for row in rows] == [host_line(0, 0.1), host_line(1, 0.3)]
    assert rows[0]["description"] == "conv2d 3x3"
    assert rows[1]["flop_per_s"] is None


def test_compact_says_what_it_removed(store: RecordStore, invoke: Invoke) -> None:
    assert "2 of 4 records removed" in invoke(records, "compact").stdout
    assert store.read_lines() == [host_line(0, 0.1), host_line(1, 0.3)]
    store.append(host_line(0, 0.2, schedule=1))
    assert "1 of 3 records removed" in invoke(records, "compact", "--keep", "1").stdout


def test_merge_takes_records_definitions_and_machines(
    store: RecordStore, theirs: RecordStore, invoke: Invoke
) -> None:
    outcome = invoke(records, "merge", str(theirs.path))
    assert outcome.exit_code == 0, outcome.stderr
    assert "2 records are new, 1 known; 2 workloads have a better one now" in outcome.stdout
    assert store.read_lines()[-2:] == theirs.read_lines()[1:]
    assert {machine.cpu for machine in store.read_provenance().machines} == {"A72", "A76"}  # type: ignore[union-attr]
    again = invoke(records, "merge", str(theirs.path))
    assert "0 records are new, 3 known; 0 workloads" in again.stdout
    assert len(store.read_lines()) == 6


def test_merge_starts_a_store_and_says_what_it_does_not_know(
    project: DataFolders, theirs: RecordStore, invoke: Invoke
) -> None:
    theirs.meta_path.unlink()
    outcome = invoke(records, "merge", str(theirs.path))
    assert outcome.exit_code == 0, outcome.stderr
    assert "its machine is not written down" in outcome.stderr
    store = RecordStore(project.tuning_logs / HOST.name, threads=2)
    assert store.open(HOST.tvm_target, TVM_VERSION) == theirs.read_lines()
    assert store.read_provenance().machines == ()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "exit_code", "said"),
    [
        (None, 2, "is no file of tuning records"),
        ("", 2, "holds no tuning records"),
        (host_line(0) + "\n{}\n", 6, "line 2 is not a whole tuning record. Delete that line there"),
        (line(0) + "\n", 6, "line 1: its target is 'llvm -model=board'"),
        (line(0, target=TARGET, threads=4) + "\n", 6, "number of threads is 4, the store's 2"),
    ],
)
def test_merge_refuses_what_does_not_belong(
    store: RecordStore, tmp_path: Path, invoke: Invoke, text: str | None, exit_code: int, said: str
) -> None:
    file = tmp_path / "mail" / "records.json"
    file.parent.mkdir()
    if text is not None:
        file.write_text(text)
    before = store.path.read_bytes()
    outcome = invoke(records, "merge", str(file), "--threads", "2")
    assert outcome.exit_code == exit_code
    assert said in outcome.error
    assert store.path.read_bytes() == before


def test_merge_refuses_records_of_another_tvm(
    store: RecordStore, theirs: RecordStore, invoke: Invoke
) -> None:
    theirs.meta_path.write_text(theirs.meta_path.read_text().replace(TVM_VERSION, "0.99"))
    outcome = invoke(records, "merge", str(theirs.path))
    assert outcome.exit_code == 6
    assert "was measured with TVM 0.99" in outcome.error


def test_drop_moves_the_records_of_a_workload(store: RecordStore, invoke: Invoke) -> None:
    assert "moved to threads_2.rejected: 3" in invoke(records, "drop", "--workload", "3x3").stdout
    assert store.read_lines() == [host_line(1, 0.3)]
    assert "moved to threads_2.rejected: 1" in invoke(records, "drop", "--workload", "hash1").stdout
    assert len(store.rejected_path.read_text().splitlines()) == 4


def test_drop_moves_the_records_of_a_model(
    store: RecordStore, project: DataFolders, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = invoke(records, "drop", "--model", "tiny")
    assert missing.exit_code == 2
    assert "No bundle of 'tiny'" in missing.error
    key = '["hash0", [1]]'
    task = TaskSummary(
        name="", workload_key=key, count=1, flop=1.0, best_s=None, tuner=None, record=None
    )
    manifest = msgspec.defstruct("Tasks", ["tasks"])((task,))
    (project.bundles / HOST.name / "tiny").mkdir(parents=True)
    monkeypatch.setattr("edgetvm.records.__main__.read_manifest", lambda bundle: manifest)
    assert "moved to threads_2.rejected: 3" in invoke(records, "drop", "--model", "tiny").stdout


def test_drop_moves_lines_that_cannot_be_read(store: RecordStore, invoke: Invoke) -> None:
    good = store.path.read_text()
    store.path.write_text("{}\n" + good)
    refused = invoke(records, "list")
    assert refused.exit_code == 6
    assert "python -m edgetvm.records drop --bad-lines" in refused.error
    assert "moved to threads_2.rejected: 1" in invoke(records, "drop", "--bad-lines").stdout
    assert store.path.read_text() == good


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Missing command"),
        (("lst",), "No such command 'lst'"),
        (("best", "--target", "rasp5"), "No tuning records of the target 'rasp5'"),
        (("best", "--threads", "7"), "has records of these numbers of threads: 2"),
        (("compact", "--spread", "3"), "--spread goes with --keep"),
        (("drop",), "Give one of --workload, --model and --bad-lines"),
        (("merge",), "Missing argument 'FILE...'"),
        (("merge", "x", "--target", "rasp44"), "did you mean rasp4b"),
    ],
)
def test_a_wrong_argument_ends_in_one_sentence(
    store: RecordStore, invoke: Invoke, arguments: tuple[str, ...], said: str
) -> None:
    outcome = invoke(records, *arguments)
    assert outcome.exit_code == 2
    assert said in outcome.error
