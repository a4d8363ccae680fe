"""``tune --rpc modelled``: schedules by estimate, kept apart from everything that was measured."""

import shutil

import msgspec
import pytest

from edgetvm.manifest import read_manifest
from edgetvm.modelled import latest_modelled
from edgetvm.paths import DataFolders
from edgetvm.records import RecordStore, lines_of_other_stores, store_folder
from edgetvm.records.__main__ import records
from edgetvm.records.store import is_modelled, target_of
from edgetvm.stages.host_target import TVM_VERSION, detect_host_profile
from edgetvm.stages.tune.relatives import COST_MODEL, nearest_cost_model
from edgetvm.target_profile import load_target_profile
from edgetvm.tune import tune
from edgetvm.tuning_options import TuneOptions
from tests.conftest import ROOT, TINY, TINY_SHAPE, Invoke
from tests.planted import device_info
from tests.planted_records import line
from tests.test_emulated_board import MISSING

HOST = detect_host_profile()
MODELLED = ("--rpc", "modelled")


@pytest.mark.slow
def test_a_network_is_tuned_by_the_model_and_checked_for_its_output(
    project: DataFolders, invoke: Invoke
) -> None:
    tiny = (TINY, "--input-shape", TINY_SHAPE, "--target", "host", *MODELLED)
    first = invoke(tune, *tiny, "--trials", "12", "--threads", "1")
    assert first.exit_code == 0, first.stderr
    assert "nothing was measured" in first.stderr
    assert f"--target {HOST.name}\n" in first.stdout
    store = RecordStore(store_folder(project.tuning_logs, HOST.name, modelled=True), 1)
    assert len(store.read_lines()) == 12
    assert any(record.seconds for record in store.read_records())
    provenance = store.read_provenance()
    assert provenance is not None
    assert provenance.modelled
    assert provenance.machines[0].cpu.startswith("model of ")
    assert [folder.name for folder in project.tuning_logs.iterdir()] == [f"{HOST.name}.modelled"]
    (bundle,) = (project.bundles / f"{HOST.name}.modelled").iterdir()
    manifest = read_manifest(bundle)
    assert manifest.tuned_tasks == len(manifest.tasks)
    assert manifest.latency is None
    assert latest_modelled(bundle) is not None
    assert manifest.relative_error is not None
    assert manifest.relative_error < manifest.tolerance
    again = invoke(tune, *tiny, "--trials", "4", "--threads", "1")
    assert "took up 12 records" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--target", "mali_g610"), "mali_g610 is a GPU"),
        (("--target", "rasp3b_32"), "rasp3b_32 is armv7l"),
        (("--target", "rasp4b", "--tuner", "metaschedule"), "goes with AutoScheduler's search"),
        (("--target", "rasp4b", "--flush-cache"), "warm caches"),
    ],
)
def test_what_the_model_does_not_know_is_refused(
    arguments: tuple[str, ...], said: str, project: DataFolders, invoke: Invoke
) -> None:
    outcome = invoke(tune, "mobilenet_v2", *arguments, *MODELLED)
    assert outcome.exit_code == 2
    assert said in outcome.error


def test_the_target_has_its_cores_whatever_checks_the_libraries() -> None:
    modelled = TuneOptions(model="", target="", rpc="modelled")
    assert modelled.threads_for(target_cores=4, device_cores=2) == (4, 2)
    assert msgspec.structs.replace(modelled, threads=1).threads_for(4, 2) == (1, 1)
    measured = TuneOptions(model="", target="")
    assert measured.threads_for(target_cores=4, device_cores=2) == (2, 2)
    assert msgspec.structs.replace(measured, threads=8).threads_for(4, 2) == (8, 8)


def test_a_modelled_store_lies_beside_the_measured_one(project: DataFolders) -> None:
    folder = store_folder(project.tuning_logs, "rasp4b", modelled=True)
    assert folder.name == "rasp4b.modelled"
    assert target_of(folder.name) == "rasp4b"
    assert is_modelled(RecordStore(folder, 1))
    assert not is_modelled(RecordStore(store_folder(project.tuning_logs, "rasp4b"), 1))


def test_estimates_give_schedules_to_try_but_no_cost_model(project: DataFolders) -> None:
    own = RecordStore(store_folder(project.tuning_logs, "rasp4b"), 1)
    own.write_provenance(HOST.tvm_target, TVM_VERSION, device_info("A72"))
    modelled = RecordStore(store_folder(project.tuning_logs, "rasp4b", modelled=True), 1)
    modelled.write_provenance(HOST.tvm_target, TVM_VERSION, device_info("A72"))
    modelled.append(line(0))
    (modelled.path.parent / COST_MODEL).write_bytes(b"")
    assert lines_of_other_stores(project.tuning_logs, own) == [[line(0)]]
    assert nearest_cost_model(project.tuning_logs, own) is None


@pytest.mark.parametrize("modelled", [True, False])
def test_estimates_and_measurements_are_not_merged(
    modelled: bool, project: DataFolders, invoke: Invoke
) -> None:
    theirs, ours = (
        RecordStore(store_folder(project.tuning_logs, HOST.name, modelled=kind), 2)
        for kind in (modelled, not modelled)
    )
    for store in (theirs, ours):
        store.write_provenance(HOST.tvm_target, TVM_VERSION, device_info("A72"))
        store.append(line(0))
    outcome = invoke(records, "merge", str(theirs.path), "--target", ours.path.parent.name)
    assert outcome.exit_code == 6
    assert "the two are never mixed" in outcome.error
    assert ours.read_lines() == [line(0)]


@pytest.mark.parametrize(("target", "threads"), [("rasp4b", 4), ("pixel1", 1)])
def test_the_included_records_are_of_the_profiles_and_say_that_they_are_modelled(
    target: str, threads: int
) -> None:
    store = RecordStore(store_folder(ROOT / "tuning_logs", target, modelled=True), threads)
    profile = load_target_profile(target, ROOT / "targets")
    provenance = store.read_provenance()
    assert provenance is not None
    assert provenance.modelled
    assert provenance.tvm_target == profile.tvm_target
    keys = {record.workload_key for record in store.read_records()}
    assert len(keys) > 300
    assert keys <= set(store.workloads.read())


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")
def test_the_included_records_make_a_library_for_a_board_that_is_not_there(
    project: DataFolders, invoke: Invoke
) -> None:
    store = project.tuning_logs / "rasp4b.modelled"
    shutil.copytree(ROOT / "tuning_logs" / store.name, store)
    outcome = invoke(tune, "squeezenet_1.1", "--target", "rasp4b", "--trials", "0")
    assert outcome.exit_code == 0, outcome.stderr
    assert "no --rpc: a cycle model of its cores stands for Raspberry Pi 4" in outcome.stderr
    assert "nothing was measured" in outcome.stderr
    manifest = read_manifest(project.bundles / store.name / "squeezenet_1.1")
    assert manifest.tuned_tasks == len(manifest.tasks)
    assert manifest.relative_error is not None
    assert manifest.relative_error < manifest.tolerance
    assert manifest.tuned.arch == "aarch64"
