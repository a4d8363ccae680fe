"""The data that ships with the project: every recipe, profile and record is sound."""

from pathlib import Path

import pytest

from edgetvm.records import RecordStore
from edgetvm.records.line import parse_line
from edgetvm.target_profile import list_target_profiles, load_target_profile

ROOT = Path(__file__).parent.parent
STORES = sorted((ROOT / "tuning_logs").glob("*/threads_*[0-9].json"))


@pytest.mark.parametrize("folder", ["compile", "targets", "tuning_logs"])
def test_data_folders_hold_no_code(folder: str) -> None:
    assert not list((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("name", list_target_profiles(ROOT / "targets"))
def test_profile_is_complete(name: str) -> None:
    profile = load_target_profile(name, ROOT / "targets")
    assert profile.title
    assert profile.sources
    assert profile.link_triple.startswith({"armv7l": "arm"}.get(profile.arch, profile.arch))


@pytest.mark.parametrize("name", list_target_profiles(ROOT / "targets"))
def test_profile_is_a_target_that_tvm_generates_code_for(name: str) -> None:
    import tvm

    profile = load_target_profile(name, ROOT / "targets")
    target = tvm.target.Target(profile.tvm_target)
    assert target.attrs["model"] == name
    cpu = target if profile.gpu is None else target.host
    assert str(cpu.attrs["mcpu"]) in list(tvm.target.codegen.llvm_get_cpu_archlist(cpu))


@pytest.mark.parametrize("path", STORES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_committed_records_are_whole(path: Path) -> None:
    threads = int(path.stem.removeprefix("threads_"))
    store = RecordStore(path.parent, threads)
    assert store.read_lines()
    assert store.meta_path.exists()
    assert path.read_bytes().endswith(b"\n")


@pytest.mark.parametrize("path", STORES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_committed_choices_are_of_committed_records(path: Path) -> None:
    store = RecordStore(path.parent, int(path.stem.removeprefix("threads_")))
    records = {(one.workload_key, one.digest) for one in map(parse_line, store.read_lines())}
    assert set(store.choices.read().items()) <= records
