"""A Raspberry Pi's code on an emulated aarch64 board: tuned, deployed, run without Python."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgetvm.deploy import deploy
from edgetvm.doctor import doctor
from edgetvm.errors import DeviceError, NumericsError, UsageError
from edgetvm.manifest import read_manifest
from edgetvm.measurement import latest_run
from edgetvm.models.resolve import resolve_network
from edgetvm.opencl_device import LIBRARY_VARIABLE
from edgetvm.paths import DataFolders
from edgetvm.records import RecordStore
from edgetvm.stages.build.linker import describe_library
from edgetvm.stages.build.network_build import NetworkBuild
from edgetvm.stages.build.opencl_runtime import build_opencl_runtime
from edgetvm.stages.device import emulated_board, lowering
from edgetvm.stages.device.emulated_board import (
    TOOLS,
    USERLAND,
    Emulated,
    emulated_server,
    find_architecture,
    prepare,
)
from edgetvm.stages.device.library import check_on_device
from edgetvm.stages.device.session import Address, DeviceSession, describe_device
from edgetvm.target_profile import ARM_CPU, CPU, load_target_profile
from edgetvm.tune import tune
from tests.conftest import ROOT, TINY, Invoke

pytestmark = pytest.mark.slow

BOARD = find_architecture("aarch64")
MISSING = [tool for tool in (*TOOLS, BOARD.emulator) if shutil.which(tool) is None]
needs_board = pytest.mark.skipif(
    bool(MISSING), reason=f"an emulated board needs {', '.join(MISSING)}"
)


@pytest.fixture(scope="module")
def board() -> Emulated:
    prepare(BOARD, print)
    return BOARD


@pytest.fixture(scope="module")
def server(board: Emulated) -> Iterator[Address]:
    with emulated_server(board) as address:
        yield address


@needs_board
def test_it_is_a_cortex_a72_and_says_that_it_is_emulated(server: Address) -> None:
    info = describe_device(server)
    assert (info.arch, info.pointer_bits) == ("aarch64", 64)
    assert info.emulated == info.cpu == "QEMU cortex-a72"
    assert "asimd" in info.features
    assert "asimddp" not in info.features
    assert info.libc.startswith("glibc ")


@needs_board
def test_checkouts_share_the_board_and_each_serves_itself(board: Emulated) -> None:
    assert not list(board.folder.rglob("edgetvm"))


@needs_board
def test_its_sessions_are_processes_of_its_own(server: Address) -> None:
    for threads in (1, 2):
        session = DeviceSession(server, threads, timeout_s=60)
        assert session.threads == threads
        del session  # ends it: the server takes one at a time


@needs_board
@pytest.mark.parametrize(("target", "last"), [("rasp4b", "timing"), ("mali_t860", "OpenCL output")])
def test_doctor_goes_the_whole_way(
    target: str, last: str, board: Emulated, project: DataFolders, invoke: Invoke
) -> None:
    outcome = invoke(doctor, "--rpc", "emulated", "--target", target, "--json")
    assert outcome.exit_code == 0, outcome.stdout
    checks = {check["name"]: check for check in json.loads(outcome.stdout)}
    assert next(reversed(checks)) == last
    assert "QEMU cortex-a72" in checks["session"]["found"]
    assert "so that it says nothing of speed" in checks["timing"]["found"]


@needs_board
def test_squeezenet_is_tuned_and_deployed_for_a_raspberry_pi(
    board: Emulated, project: DataFolders, invoke: Invoke
) -> None:
    tuned = invoke(
        tune, "squeezenet_1.1", "--target", "rasp4b", "--rpc", "emulated", "--trials", "8",
        "--threads", "2", "--input-shape", "1,3,96,96",
    )  # fmt: skip
    # Eight trials do not reach every task.
    assert tuned.exit_code == 6, tuned.stderr
    assert "8 trials" in tuned.stdout
    assert "QEMU cortex-a72 is emulated" in tuned.stderr
    assert not (project.tuning_logs / "rasp4b").exists()
    store = RecordStore(project.tuning_logs / "rasp4b.emulated", 2)
    assert len(store.read_lines()) == 8
    meta = store.read_provenance()
    assert meta is not None
    assert {machine.cpu for machine in meta.machines} == {"QEMU cortex-a72"}

    deployed = invoke(deploy, "squeezenet_1.1", "--rpc", "emulated", "--repeat", "2")
    assert deployed.exit_code == 0, deployed.stderr
    assert "so no time is given" in deployed.stderr
    assert " ms" not in deployed.stdout

    bundle = project.bundles / "rasp4b" / "squeezenet_1.1"
    manifest = read_manifest(bundle)
    assert (manifest.tuned.arch, manifest.latency, manifest.lowering) == ("aarch64", None, CPU)
    run = latest_run(bundle)
    assert run is not None
    assert run.device.emulated
    assert run.relative_error < 1e-4

    runner = bundle / "runner"
    for command in (
        run_on(board, str(runner / "runner"), str(bundle), "--repeat", "1"),
        started(str(board.python), str(runner / "runner.py"), str(bundle), "--repeat", "1"),
    ):
        assert command.returncode == 0, command.stderr
        # The same library on the same board computes the same, to the last bit.
        error = json.loads(command.stdout)["relative_error"]
        assert error == pytest.approx(run.relative_error, rel=1e-6)


@needs_board
@pytest.mark.skipif(
    shutil.which("aarch64-linux-gnu-g++") is None, reason="needs Debian's g++-aarch64-linux-gnu"
)
def test_code_for_a_mali_runs_there_on_pocl(
    board: Emulated, project: DataFolders, invoke: Invoke
) -> None:
    assert describe_library(build_opencl_runtime("aarch64")).arch == "aarch64"
    there = ("--target", "mali_t860", "--rpc", "emulated")
    tuned = invoke(
        tune, TINY, *there, "--input-shape", "1,3,32,32", "--trials", "0", "--threads", "1"
    )
    assert tuned.exit_code == 0, tuned.stderr
    (bundle,) = (project.bundles / "mali_t860").iterdir()
    deployed = invoke(deploy, bundle.name, *there, "--repeat", "2")
    assert deployed.exit_code == 0, deployed.stderr
    run = latest_run(bundle)
    assert run is not None
    assert run.device.opencl is not None
    assert "pthread-aarch64" in run.device.opencl.version
    assert run.device.emulated == "QEMU cortex-a72"
    assert run.relative_error < 1e-4
    assert list((bundle / "kernels").iterdir())
    environment = os.environ | {LIBRARY_VARIABLE: "libOpenCL.so.1"}
    command = [str(board.python), str(bundle / "runner/runner.py"), str(bundle), "--repeat", "1"]
    alone = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert alone.returncode == 0, alone.stderr
    assert json.loads(alone.stdout)["relative_error"] == pytest.approx(run.relative_error, rel=1e-6)


@pytest.fixture(scope="module")
def tiny_for_a_raspberry_pi() -> Iterator[NetworkBuild]:
    network = resolve_network(TINY, ROOT / "compile", (1, 3, 32, 32))
    profile = load_target_profile("rasp4b", ROOT / "targets")
    with NetworkBuild(network, profile, 1, profile.lowerings) as build:
        yield build


@needs_board
def test_the_lowering_that_is_faster_on_the_device_is_taken(
    server: Address, tiny_for_a_raspberry_pi: NetworkBuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = tiny_for_a_raspberry_pi
    monkeypatch.setattr(
        lowering,
        "library_medians_s",
        lambda _address, _build, libraries: {name: 1.0 - (name == ARM_CPU) for name in libraries},
    )
    assert not lowering.choose_lowering(server, build)
    assert build.lowering == ARM_CPU
    assert build.untuned_error is not None
    assert build.untuned_error < 1e-4
    assert build.untuned_library().read_bytes() != build.untuned_library(CPU).read_bytes()


@needs_board
def test_a_lowering_that_is_wrong_is_left_out(
    server: Address, tiny_for_a_raspberry_pi: NetworkBuild, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = tiny_for_a_raspberry_pi
    build.lowering = CPU

    def check(address: Address, library: Path, build: NetworkBuild) -> float:
        if library == build.untuned_library(ARM_CPU):
            raise NumericsError("planted")
        return check_on_device(address, library, build)

    monkeypatch.setattr(lowering, "check_on_device", check)
    assert lowering.choose_lowering(server, build) == {ARM_CPU: "planted"}
    assert build.lowering == CPU


def run_on(board: Emulated, *command: str) -> "subprocess.CompletedProcess[str]":
    emulator = [board.emulator, "-cpu", board.core, "-L", str(board.folder / USERLAND)]
    return started(*emulator, *command)


def started(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, check=False)


@needs_board
def test_code_for_this_machine_is_refused(server: Address, invoke: Invoke) -> None:
    outcome = invoke(tune, "squeezenet_1.1", "--target", "host", "--rpc", str(server))
    assert outcome.exit_code == 3
    assert "is aarch64, the target" in outcome.error


def test_an_architecture_without_a_runtime_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'riscv64' is emulated: did you mean aarch64\?"):
        find_architecture("riscv64")


def test_missing_programs_are_said_with_their_packages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(emulated_board.shutil, "which", lambda _: None)
    with pytest.raises(UsageError, match="packages apt dpkg qemu-user-static"):
        prepare(BOARD, print)


def test_a_failed_preparation_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in (*TOOLS, BOARD.emulator):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text("#!/bin/sh\necho no network >&2\nexit 100\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(DeviceError, match="apt cannot list Debian's packages: no network"):
        prepare(BOARD, print)
    assert not BOARD.folder.exists()
    assert not list(BOARD.folder.parent.iterdir())


def test_the_target_of_the_board_is_a_raspberry_pi_4(project: DataFolders) -> None:
    assert BOARD.core in load_target_profile("rasp4b", project.profiles).tvm_target
