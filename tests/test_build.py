"""Tasks, candidates, linking and bundles, with the real compiler."""

import functools
import platform
import re
from pathlib import Path

import msgspec
import numpy as np
import pytest
import tvm
from tvm import auto_scheduler, relay

from edgetvm.errors import CompileError, NumericsError, RecordError, UsageError
from edgetvm.manifest import (
    TUNED_LIBRARY,
    TuningSummary,
    list_bundles,
    read_manifest,
    write_manifest,
)
from edgetvm.models.resolve import resolve_network
from edgetvm.stages.build.bundle import write_bundle
from edgetvm.stages.build.linker import describe_library, link_candidate
from edgetvm.stages.build.network_build import NetworkBuild
from edgetvm.stages.build.records import Record, best_times, digest, parse_records, record_line
from edgetvm.stages.device.library import check_on_device
from edgetvm.stages.export.relay_import import import_network
from edgetvm.target_profile import load_target_profile

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.slow


@functools.cache
def one_record_a_task(build: NetworkBuild) -> list[Record]:
    """Any schedule of each task, with a planted time."""
    records = []
    for task in build.tasks:
        policy = auto_scheduler.SketchPolicy(
            task.search_task, params={"sample_init_min_population": 2}, seed=3, verbose=0
        )
        state = policy.sample_initial_population()[0]
        result = auto_scheduler.MeasureResult([1e-3], 0, "", 0.1, 0.0)
        records.append((auto_scheduler.MeasureInput(task.search_task, state), result))
    return records


def test_tasks_are_those_that_stock_tvm_extracts(build: NetworkBuild) -> None:
    mod = import_network(build.network)
    with tvm.transform.PassContext(opt_level=3):
        mod = relay.transform.ConvertLayout({"nn.conv2d": ["NHWC", "default"]})(mod)
    stock, counts = auto_scheduler.extract_tasks(
        mod["main"], {}, tvm.target.Target(build.profile.tvm_target)
    )
    stock_counts = {task.workload_key: count for task, count in zip(stock, counts, strict=True)}
    ours = {task.workload_key: task.count for task in build.tasks}
    # Stock has the classifier as a dense layer, which it cannot tune; ours is a convolution.
    assert len(ours) == len(stock_counts)
    assert len(ours.items() & stock_counts.items()) == len(ours) - 1


def test_tasks_have_names_that_people_understand(build: NetworkBuild) -> None:
    names = [task.name for task in build.tasks]
    assert "conv2d 3x3/2 3->16x16x16+add+clip" in names
    assert "conv2d 3x3/1 16x16x16 depthwise+add+clip" in names
    assert names[0].startswith("conv2d 3x3/2"), "tasks are in the network's order"
    assert len(set(names)) == len(names)


def test_a_tuned_library_computes_what_pytorch_computes(
    build: NetworkBuild, device: object
) -> None:
    library = build.build_tuned(one_record_a_task(build))
    assert check_on_device(device, library, build) < 1e-4  # type: ignore[arg-type]
    assert all(summary.best_s == 1e-3 for summary in build.task_summaries())


def test_a_wrong_library_is_not_handed_out(build: NetworkBuild, device: object) -> None:
    library = build.untuned_library()
    right = build.golden_outputs
    try:
        build.golden_outputs = (right[0] + 0.01 * np.abs(right[0]).max(),)
        with pytest.raises(NumericsError, match=r"differs from the reference by 1\.0e-02"):
            check_on_device(device, library, build)  # type: ignore[arg-type]
        build.golden_outputs = (right[0][:, :5],)
        with pytest.raises(NumericsError, match="shape"):
            check_on_device(device, library, build)  # type: ignore[arg-type]
    finally:
        build.golden_outputs = right


def test_a_bundle_is_described_and_checked_whole(build: NetworkBuild, tmp_path: Path) -> None:
    build.build_tuned([])
    manifest = write_bundle(build, tmp_path / "tiny")
    assert list_bundles(tmp_path) == [tmp_path / "tiny"]
    assert read_manifest(tmp_path / "tiny") == manifest
    assert manifest.tuned_tasks == 0
    assert manifest.tuned.arch == build.profile.arch
    (tmp_path / "tiny" / TUNED_LIBRARY).write_bytes(b"changed")
    with pytest.raises(UsageError, match=r"library\.so is missing or not the file.*tune"):
        read_manifest(tmp_path / "tiny")


def test_the_manifest_says_what_the_library_was_made_of(
    build: NetworkBuild, tmp_path: Path
) -> None:
    records: list[Record] = one_record_a_task(build)
    build.build_tuned(records)
    manifest = write_bundle(build, tmp_path, trials=7, search_s=2.5)
    assert manifest.tuning == TuningSummary(trials=7, search_s=2.5, records=len(records), seed=0)
    assert [task.record for task in manifest.tasks] == [digest(record) for record in records]
    # 3x3x3 to 16 channels, 3x3 of each of 16, 16 to 16, at 16x16; 16 to 10.
    assert manifest.multiply_adds == 256 * (27 * 16 + 9 * 16 + 16 * 16) + 160
    image, channels = 3 * 32 * 32 * 4, 16 * 16 * 16 * 4
    assert image + 2 * channels <= manifest.activation_bytes <= image + 4 * channels
    build.fall_back_to_untuned()
    untuned = write_bundle(build, tmp_path)
    assert {task.record for task in untuned.tasks} == {None}
    assert untuned.activation_bytes > 0


def test_a_bundle_of_another_schema_is_refused(build: NetworkBuild, tmp_path: Path) -> None:
    build.build_tuned([])
    manifest = write_bundle(build, tmp_path)
    write_manifest(tmp_path, msgspec.structs.replace(manifest, schema_version=99))
    with pytest.raises(UsageError, match="schema_version 99"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(UsageError, match=r"build it again with python -m edgetvm\.tune"):
        read_manifest(tmp_path)


def test_records_survive_their_text_form(build: NetworkBuild) -> None:
    records = one_record_a_task(build)
    lines = [record_line(record) for record in records]
    parsed = parse_records(lines, build.workload_keys)
    assert best_times(parsed) == dict.fromkeys(build.workload_keys, 1e-3)
    assert parse_records(lines, set()) == []


def test_a_record_that_tvm_does_not_take_is_named(build: NetworkBuild) -> None:
    line = record_line(one_record_a_task(build)[0])
    with pytest.raises(RecordError, match="TVM does not read"):
        parse_records([line.replace('[["', '[[["', 1)])


def test_records_of_a_failed_trial_tune_nothing(build: NetworkBuild) -> None:
    (measure_input, _), *_ = one_record_a_task(build)  # type: ignore[misc]
    failed = auto_scheduler.MeasureResult([1e10], 4, "crash", 0.1, 0.0)
    assert best_times([(measure_input, failed)]) == {}


def test_what_cannot_be_linked_is_a_compile_error(tmp_path: Path) -> None:
    (tmp_path / "bad.o").write_text("no object")
    with pytest.raises(CompileError, match="Linking out failed"):
        link_candidate([tmp_path / "bad.o"], tmp_path / "out")


def test_a_library_for_a_board_is_linked_without_its_toolchain(tmp_path: Path) -> None:
    network = resolve_network("tests.tiny_network:build", ROOT / "compile", (1, 3, 32, 32))
    profile = load_target_profile("rasp4b", ROOT / "targets")
    with NetworkBuild(network, profile, threads=4) as build:
        library = describe_library(build.untuned_library())
    assert (library.arch, library.pointer_bits) == ("aarch64", 64)
    assert library.glibc in ("", *(f"2.{minor}" for minor in range(29)))


def test_the_newest_glibc_that_a_library_asks_for_is_read() -> None:
    (extension,) = Path(np.__file__).parent.glob("_core/_multiarray_umath*.so")
    library = describe_library(extension)
    assert library.arch == platform.machine()
    assert re.fullmatch(r"2\.\d+", library.glibc)
