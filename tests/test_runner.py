"""The programs that run a bundle alone, in C and in Python."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import ziglang

from edgetvm.stages.build.bundle import write_bundle
from edgetvm.stages.build.network_build import NetworkBuild

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bundle(build: NetworkBuild, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    build.build_tuned([])
    write_bundle(build, folder)
    return folder


@pytest.fixture
def copied(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "bundle"))


def run(bundle: Path, *options: str, python: bool = False) -> "subprocess.CompletedProcess[str]":
    folder = bundle / "runner"
    # -I: nothing that is installed beside Python's own library is found.
    program = (
        [sys.executable, "-I", str(folder / "runner.py")] if python else [str(folder / "runner")]
    )
    command = [*program, *options]
    # Without this environment's libraries: the bundle brings what it needs.
    environment = {key: value for key, value in os.environ.items() if key == "PATH"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


in_both = pytest.mark.parametrize("python", [False, True])


def test_the_licence_of_what_is_handed_out_lies_beside_it(bundle: Path) -> None:
    assert "Apache License" in (bundle / "runner" / "LICENSE").read_text()


@in_both
def test_it_checks_and_times_the_library(bundle: Path, python: bool) -> None:
    done = run(bundle, str(bundle), "--repeat", "5", python=python)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["relative_error"] < 1e-4
    assert len(result["samples_s"]) == 5
    assert min(result["samples_s"]) > 0
    assert result["threads"] == 1
    assert result["runtime"] == "TVM 0.19.0"


@in_both
def test_it_runs_the_untuned_library_and_other_threads(bundle: Path, python: bool) -> None:
    options = ("--untuned", "--threads", "2", "--repeat", "1")
    done = run(bundle, str(bundle), *options, python=python)
    assert json.loads(done.stdout)["threads"] == 2


@in_both
@pytest.mark.parametrize("value", [1e3, np.nan])
def test_a_wrong_output_is_an_error(copied: Path, value: float, python: bool) -> None:
    golden = copied / "golden" / "output_0.npy"
    wrong = np.load(golden)
    wrong.flat[-1] = value
    np.save(golden, wrong)
    done = run(copied, str(copied), "--repeat", "1", python=python)
    assert done.returncode == 5
    assert "differs from the reference" in done.stderr
    assert (json.loads(done.stdout)["relative_error"] is None) == np.isnan(value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give the folder of a bundle"),
        (["--repeat"], "--repeat is unknown"),
        (["/nowhere"], "/nowhere/manifest.json cannot be opened"),
    ],
)
def test_wrong_arguments_are_said(bundle: Path, options: list[str], message: str) -> None:
    done = run(bundle, *options)
    assert done.returncode == 2
    assert message in done.stderr


@in_both
def test_faulty_files_are_said(copied: Path, python: bool) -> None:
    data = copied / "golden" / "input.npy"
    content = data.read_bytes()
    for faulty, message in ((content[:-4], "is cut off"), (b"no array", "no array of NumPy")):
        data.write_bytes(faulty)
        done = run(copied, str(copied), python=python)
        assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    np.save(data, np.zeros((1, 3), dtype=np.float64))
    assert "holds no float32" in run(copied, str(copied), python=python).stderr
    data.write_bytes(content)
    (copied / "library.so").write_bytes(b"no library")
    assert run(copied, str(copied), python=python).returncode == 3
    (copied / "runner" / "libtvm_runtime.so").write_bytes(b"no library")
    without_runtime = run(copied, str(copied), python=True)
    assert (without_runtime.returncode, without_runtime.stderr.count("\n")) == (3, 1)
    (copied / "manifest.json").write_text("{}")
    without_key = run(copied, str(copied), python=True)
    assert (without_key.returncode, "'tolerance'" in without_key.stderr) == (2, True)


def test_a_manifest_without_a_key_is_said(copied: Path) -> None:
    (copied / "manifest.json").write_text("{}")
    assert "the manifest has no tolerance" in run(copied, str(copied)).stderr


def test_the_program_in_c_can_be_built_from_the_bundle(copied: Path) -> None:
    """By the command that its source names; any C compiler does, here zig's."""
    source = (copied / "runner" / "runner.c").read_text()
    command = next(line for line in source.splitlines() if " cc " in line).strip(" *")
    zig = Path(ziglang.__file__).with_name("zig")
    (copied / "runner" / "runner").unlink()
    subprocess.run(
        command.replace("cc", f"{zig} cc", 1), shell=True, check=True, cwd=copied / "runner"
    )
    assert run(copied, str(copied), "--repeat", "1").returncode == 0
