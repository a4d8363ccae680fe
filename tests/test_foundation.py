"""Errors, files, paths and units."""

from pathlib import Path

import msgspec
import pytest

from edgetvm.errors import CompileError, UsageError, did_you_mean, one_line
from edgetvm.files import read_json, read_toml, replacing, write_json
from edgetvm.paths import find_data_folders
from edgetvm.units import format_duration, format_latency, format_throughput


class Sample(msgspec.Struct, forbid_unknown_fields=True):
    size: int


def test_unknown_name_is_answered_with_the_nearest() -> None:
    assert did_you_mean("mobilnet", ["mobilenet", "squeezenet"]) == "did you mean mobilenet?"
    assert "known: a, b" in did_you_mean("zzzzz", ["b", "a"])
    assert did_you_mean("x", []) == "none is known."


def test_the_reason_behind_a_tvm_stack_is_found() -> None:
    tvm_error = "Traceback (most recent call last):\n  0: f()\nInternalError: Check failed: x\n"
    assert one_line(RuntimeError(tvm_error)) == "InternalError: Check failed: x"
    assert one_line(RuntimeError("plain reason\nmore")) == "plain reason"
    assert one_line(ValueError()) == "ValueError"
    assert len(one_line(ValueError("x" * 999))) == 200


@pytest.mark.parametrize(
    ("text", "fault"),
    [("sise = 1", "sise"), ("size = 'a'", "int"), ("size = ", "size"), ("", "size")],
)
def test_faulty_toml_names_the_file_and_its_keys(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "sample.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"sample\.toml.*Keys of this file: size") as raised:
        read_toml(path, Sample)
    assert fault in str(raised.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.json cannot be read: No such file"):
        read_json(tmp_path / "gone.json", Sample)


def test_json_survives_a_round_trip(tmp_path: Path) -> None:
    write_json(tmp_path / "sample.json", Sample(3))
    assert read_json(tmp_path / "sample.json", Sample) == Sample(3)


def test_a_failed_write_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise CompileError("midway")

    with pytest.raises(CompileError), replacing(path) as temporary:
        fail(temporary)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_named_root_comes_before_all_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGETVM_ROOT", str(tmp_path))
    assert find_data_folders().bundles == tmp_path / "build"


def test_without_a_checkout_the_working_directory_takes_the_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDGETVM_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("edgetvm.paths._PACKAGE", tmp_path / "site" / "edgetvm")
    folders = find_data_folders()
    assert folders.recipes == tmp_path / "site" / "edgetvm" / "_share" / "compile"
    assert folders.tuning_logs == tmp_path / "tuning_logs"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0000123, "0.012 ms"),
        (0.00881, "8.81 ms"),
        (0.0123, "12.3 ms"),
        (0.123, "123 ms"),
        (0.00999999, "10.0 ms"),
    ],
)
def test_latency_has_three_digits(seconds: float, text: str) -> None:
    assert format_latency(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(42, "42 s"), (185, "3 min 05 s"), (7620, "2 h 07 min")]
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_throughput_is_in_gflops() -> None:
    assert format_throughput(95.34e9) == "95.3 GFLOP/s"
