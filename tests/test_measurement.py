"""Runs, relative errors, and what the kernel says of a CPU."""

import inspect
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgetvm import host_cpu
from edgetvm.measurement import (
    SCHEMA_VERSION,
    Measurement,
    Run,
    latest_run,
    relative_error,
    write_run,
)
from tests.conftest import ROOT
from tests.planted import STATE, device_info

CPUINFO = """processor\t: 0
model name\t: Some CPU 3000
flags\t\t: fpu sse2 avx2

processor\t: 1
model name\t: Another
"""


def run(measured_at: str) -> Run:
    measurement = Measurement(samples_s=(0.01, 0.02, 0.03), number=1, threads=1, runtime="TVM")
    return Run(
        model="net",
        target="board",
        bundle_id="0",
        measured_at=measured_at,
        device=device_info("A72"),
        relative_error=1e-6,
        estimate_s=None,
        at_build_s=None,
        tuned_tasks=1,
        tasks=1,
        before=STATE,
        after=STATE,
        tuned=measurement,
        untuned=measurement,
        reference=None,
    )


def test_error_is_relative_to_the_largest_output() -> None:
    assert relative_error(np.array([1.0, 101.0]), np.array([0.0, 100.0])) == pytest.approx(0.01)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_output_that_is_no_number_is_infinitely_wrong(bad: float) -> None:
    assert relative_error(np.array([1.0, bad]), np.array([1.0, 1.0])) == np.inf


def test_a_reference_of_zeros_judges_nothing() -> None:
    assert relative_error(np.zeros(3), np.zeros(3)) == np.inf


def test_every_run_is_kept_and_the_newest_found(tmp_path: Path) -> None:
    newest = "2026-02-03T04:05:06Z"
    for stamp in (newest, "2025-01-01T00:00:00Z", newest):
        write_run(run(stamp), tmp_path)
    assert len(list((tmp_path / "runs").iterdir())) == 3
    found = latest_run(tmp_path)
    assert found is not None
    assert found.measured_at == newest
    assert found.tuned.median_s == 0.02


def test_a_bundle_that_was_never_deployed_has_no_run(tmp_path: Path) -> None:
    assert latest_run(tmp_path) is None


def test_tuning_that_made_it_slower_is_seen() -> None:
    slow = Measurement(samples_s=(0.05, 0.06), number=1, threads=1, runtime="TVM")
    assert run("x").tuning_paid
    assert not msgspec.structs.replace(run("x"), tuned=slow).tuning_paid


def test_a_run_is_plain_data() -> None:
    assert msgspec.json.decode(msgspec.json.encode(run("x")), type=Run) == run("x")


def test_cpu_name_and_features_come_from_the_first_core(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(CPUINFO)
    assert host_cpu.cpu_name(tmp_path / "cpuinfo") == "Some CPU 3000"
    assert host_cpu.cpu_features(tmp_path / "cpuinfo") == ("avx2", "fpu", "sse2")


def test_arm_features_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("Features\t: fp asimd\nModel\t: Raspberry Pi 4\n")
    assert host_cpu.cpu_features(tmp_path / "cpuinfo") == ("asimd", "fp")
    assert host_cpu.cpu_name(tmp_path / "cpuinfo") == "Raspberry Pi 4"


def test_caches_are_read_by_level_and_kind(tmp_path: Path) -> None:
    for index, (level, kind, size) in enumerate(
        [("1", "Data", "48K"), ("1", "Instruction", "32K"), ("2", "Unified", "2M")]
    ):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        for name, value in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(value + "\n")
        (folder / "coherency_line_size").write_text("64\n")
    assert host_cpu.cache_sizes(tmp_path) == host_cpu.CacheSizes(64, 48 * 1024, 2 * 1024**2)


def test_a_silent_kernel_gives_zeros(tmp_path: Path) -> None:
    assert host_cpu.cache_sizes(tmp_path) == host_cpu.CacheSizes()
    assert host_cpu.cpu_features(tmp_path / "none") == ()


def test_the_schema_of_a_run_is_published() -> None:
    schema = msgspec.json.schema(Run)
    published = json.loads((ROOT / "docs/run.schema.json").read_text())
    assert with_clean_descriptions(published) == with_clean_descriptions(schema)
    assert schema["$defs"]["Run"]["properties"]["schema_version"]["default"] == SCHEMA_VERSION


def with_clean_descriptions(schema: object) -> object:
    """Docstrings as one reads them: versions of msgspec differ in whether they keep indentation."""
    match schema:
        case dict():
            return {
                key: inspect.cleandoc(value)
                if key == "description" and isinstance(value, str)
                else with_clean_descriptions(value)
                for key, value in schema.items()
            }
        case list():
            return [with_clean_descriptions(item) for item in schema]
        case _:
            return schema
