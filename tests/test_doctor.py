"""doctor: what it says of a healthy machine, and of each fault that can be planted."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
import tvm
import xgboost
from tvm.target import codegen

from edgetvm import host_checks, host_cpu
from edgetvm.access import KnownTokens
from edgetvm.checks import Check, follow, look
from edgetvm.device_state import DeviceState
from edgetvm.doctor import doctor
from edgetvm.errors import CompileError, DeviceError, NumericsError, UsageError
from edgetvm.host_checks import (
    check_clocks,
    check_cores,
    check_disk,
    check_load,
    check_packages,
    check_python,
)
from edgetvm.opencl_device import find_opencl, opencl_devices
from edgetvm.paths import DataFolders
from edgetvm.stages.build import toolchain
from edgetvm.stages.build.toolchain import find_llvm, find_tvm, try_linker, try_xgboost
from edgetvm.stages.device import hops as hops_module
from edgetvm.stages.device.hops import DeviceHops
from edgetvm.stages.device.session import Address, DeviceSession, describe_device
from edgetvm.stages.device.trial_kernel import TrialKernel
from edgetvm.target_profile import load_target_profile
from tests.conftest import ROOT, Invoke
from tests.test_device import listener
from tests.test_device_state import FIRMWARE, RASPBERRY_PI_4, plant

PROFILES = ROOT / "targets"
HERE = "x86_64-linux-gnu.2.28"

LIBRARY = find_opencl()
needs_opencl = pytest.mark.skipif(
    LIBRARY is None or not opencl_devices(LIBRARY), reason="no OpenCL device"
)


def is_wrong(check: Check, found: str, remedy: str, exit_code: int = 2) -> bool:
    assert (check.status, check.exit_code) == ("wrong", exit_code)
    assert found in check.found
    assert remedy in check.remedy
    return True


def checks_of(stdout: str) -> dict[str, Check]:
    return {check.name: check for check in msgspec.json.decode(stdout, type=list[Check])}


class TestChecks:
    def test_an_error_is_wrong_with_the_code_of_its_kind(self) -> None:
        def fail() -> str:
            raise DeviceError("It is gone: fetch it.")

        assert look("one", fail) == Check(
            name="one", status="wrong", found="It is gone: fetch it.", exit_code=3
        )
        assert look("two", lambda: "there") == Check(name="two", found="there")

    def test_behind_a_wrong_hop_none_is_tried(self) -> None:
        def fail() -> str:
            raise DeviceError("gone")

        def warn() -> Check:
            return Check(name="warned", status="warning", found="hot", remedy="cool it")

        hops = [("warned", warn), ("gone", fail), ("next", pytest.fail), ("last", pytest.fail)]
        warned, *others = follow(hops)
        assert str(warned) == "hot: cool it"
        assert [check.status for check in others] == ["wrong", "not tried", "not tried"]


class TestHost:
    def test_another_python_is_wrong(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert check_python().status == "ok"
        monkeypatch.setattr(host_checks.platform, "python_version", lambda: "3.10.4")
        assert is_wrong(check_python(), "it is 3.10.4, edgetvm needs >=3.11", "use another")

    @pytest.mark.parametrize(
        ("wanted", "extra", "found", "remedy"),
        [
            ("click==1.0", "", "click is 8.", "pip install 'edgetvm'"),
            ("no-such-one>=1", "", "no-such-one is missing", "pip install 'edgetvm'"),
            (
                "click==1.0; extra == 'host'",
                "host",
                ", not ==1.0",
                "pip install 'edgetvm[host]'",
            ),
        ],
    )
    def test_packages_are_held_against_the_metadata(
        self, wanted: str, extra: str, found: str, remedy: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        unwanted = ["other==2; extra == 'dev'", "other==2; python_version < '3'"]
        monkeypatch.setattr(host_checks, "requires", lambda _: ["rich", wanted, *unwanted])
        check = check_packages(extra)
        assert is_wrong(check, found, remedy)
        assert "other" not in check.found
        assert check_packages("" if extra else "host").status == "ok"

    def test_what_is_installed_is_told(self) -> None:
        assert "xtc-tvm-python-bindings 0.19.0" in check_packages().found
        assert "torch 2." in check_packages("host").found
        assert "torch" not in check_packages().found

    def test_a_board_needs_no_compiler(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(host_checks, "COMPILING", ("no_such_module",))
        assert check_packages("host").status == "note"
        assert check_packages().status == "ok"

    def test_a_folder_that_is_not_installed_names_no_packages(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def nothing(name: str) -> None:
            raise PackageNotFoundError(name)

        monkeypatch.setattr(host_checks, "requires", nothing)
        monkeypatch.setattr(host_checks, "metadata", nothing)
        assert [check_packages().status, check_python().status] == ["note", "note"]

    @pytest.mark.parametrize(
        ("free", "status", "exit_code"),
        [(50e9, "ok", 0), (0.4e9, "warning", 0), (1e6, "wrong", 1)],
    )
    def test_room_on_the_disk(
        self,
        free: float,
        status: str,
        exit_code: int,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        asked = []

        def usage(folder: Path) -> SimpleNamespace:
            asked.append(folder)
            return SimpleNamespace(free=free)

        monkeypatch.setattr(host_checks.shutil, "disk_usage", usage)
        (tmp_path / "tuning_logs").mkdir()
        checks = list(check_disk(DataFolders.below(tmp_path, tmp_path)))
        assert {check.status for check in checks} == {status}
        assert {check.exit_code for check in checks} == {exit_code}
        assert asked[:2] == [tmp_path, tmp_path / "tuning_logs"]
        assert ("set EDGETVM_ROOT to another folder" in checks[0].remedy) == (status != "ok")
        assert ("set TMPDIR to another folder" in checks[2].remedy) == (status != "ok")

    def test_a_folder_that_cannot_be_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(host_checks.os, "access", lambda *_: False)
        first, *_ = check_disk(DataFolders.below(tmp_path, tmp_path))
        assert is_wrong(first, f"{tmp_path} cannot be written", "set EDGETVM_ROOT")

    def test_cores_that_may_not_be_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(host_checks.os, "cpu_count", lambda: 64)
        check = check_cores()
        assert check.status == "note"
        assert check.found == f"{host_cpu.usable_cores()} of 64 may be used"

    @pytest.mark.parametrize(
        ("files", "status", "remedy"),
        [
            ({FIRMWARE: "0\n"}, "ok", ""),
            ({FIRMWARE: "0x50005\n"}, "warning", "power supply"),
            (
                {
                    "sys/class/thermal/cooling_device1/type": "cpufreq-cpu4\n",
                    "sys/class/thermal/cooling_device1/cur_state": "3\n",
                },
                "warning",
                "cool it",
            ),
            (
                {"sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n"},
                "warning",
                "--governor performance",
            ),
        ],
    )
    def test_clocks_of_a_raspberry_pi(
        self, files: dict[str, str], status: str, remedy: str, tmp_path: Path
    ) -> None:
        state = DeviceState.read(plant(tmp_path, {**RASPBERRY_PI_4, **files}))
        check = check_clocks(state, "device ")
        assert (check.name, check.status) == ("device clocks", status)
        assert remedy in check.remedy
        assert "1500 MHz" in check.found
        assert "load" not in check.found

    @pytest.mark.parametrize(("load", "status"), [("0.30", "ok"), ("3.10", "warning"), ("", "ok")])
    def test_load(self, load: str, status: str, tmp_path: Path) -> None:
        state = DeviceState.read(plant(tmp_path, {"proc/loadavg": f"{load} 0.58 0.59 1/9 1\n"}))
        assert check_load(state).status == status


class TestToolchain:
    @pytest.mark.slow
    def test_it_works_here(self) -> None:
        assert find_tvm().startswith("0.19.0, of ")
        assert "aarch64" in find_llvm("aarch64")
        assert "2.28" in try_linker("aarch64-linux-gnu.2.28", "aarch64")
        assert xgboost.__version__ in try_xgboost()

    def test_a_tvm_that_does_not_load(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "tvm", None)
        with pytest.raises(CompileError, match=r"TVM does not load .*--force-reinstall xtc-tvm"):
            find_tvm()

    def test_another_tvm_than_the_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tvm, "__version__", "0.18.0")
        with pytest.raises(CompileError, match=r"is 0\.18\.0, the package .* is 0\.19\.0"):
            find_tvm()

        def missing(name: str) -> None:
            raise PackageNotFoundError(name)

        monkeypatch.setattr(toolchain, "version", missing)
        with pytest.raises(CompileError, match="is missing: take the other one from PYTHONPATH"):
            find_tvm()

    def test_no_llvm_and_one_without_the_target(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(CompileError, match="no code for riscv64, only for arm, "):
            find_llvm("riscv64")
        assert find_llvm("armv7l")
        monkeypatch.delattr(codegen, "llvm_get_targets")
        with pytest.raises(UsageError, match=r"found no LLVM.*pip install 'edgetvm\[host\]'"):
            find_llvm("x86_64")

    def test_a_linker_for_another_architecture(self) -> None:
        with pytest.raises(CompileError, match="gives x86_64 code, the target is aarch64"):
            try_linker(HERE, "aarch64")
        with pytest.raises(CompileError, match=r"Linking probe\.so failed"):
            try_linker("nosuch-linux-gnu", "nosuch")

    def test_a_linker_that_is_missing_or_does_not_start(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def start(*_arguments: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(toolchain, "link_library", start)
        with pytest.raises(CompileError, match=r"does not start \(Permission denied\): pip"):
            try_linker(HERE, "x86_64")
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
        with pytest.raises(UsageError, match=r"ziglang is not installed: pip"):
            try_linker(HERE, "x86_64")

    def test_an_xgboost_that_does_not_load(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "xgboost", None)
        with pytest.raises(CompileError, match=r"xgboost does not work .*: pip install"):
            try_xgboost()

    def test_an_xgboost_that_loads_another_model(self, monkeypatch: pytest.MonkeyPatch) -> None:
        data = xgboost.DMatrix(np.zeros((4, 1)), label=np.ones(4))
        other = xgboost.train({}, data, num_boost_round=1).save_raw("ubj")
        monkeypatch.setattr(xgboost.Booster, "save_raw", lambda *_: other)
        with pytest.raises(CompileError, match="loads another model than it saved"):
            try_xgboost()


@contextmanager
def way(
    rpc: str | None, token: str | None = None, target: str | None = None
) -> Iterator[DeviceHops]:
    with ExitStack() as stack:
        yield DeviceHops(rpc, token, target, PROFILES, stack, print)


def statuses(hops: DeviceHops) -> dict[str, Check]:
    return {check.name: check for check in follow(hops.in_order(with_gpu=False))}


def the_wrong_one(hops: DeviceHops) -> Check:
    """The only hop that is wrong; those before it are fine, those behind were not tried."""
    checks = list(follow(hops.in_order(with_gpu=False)))
    (place,) = (at for at, check in enumerate(checks) if check.status == "wrong")
    assert {check.status for check in checks[:place]} <= {"ok", "warning"}
    assert {check.status for check in checks[place + 1 :]} == {"not tried"}
    return checks[place]


class TestHops:
    def test_a_name_without_an_address(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def unknown(*_arguments: object, **_options: object) -> None:
            raise socket.gaierror(-2, "Name or service not known")

        monkeypatch.setattr(hops_module.socket, "getaddrinfo", unknown)
        with way("pi.local") as hops:
            wrong = the_wrong_one(hops)
        assert (wrong.name, wrong.exit_code) == ("name", 3)
        assert "pi.local has no address (Name or service not known): check" in wrong.found

    def test_what_is_no_name(self) -> None:
        with way("a" * 70) as hops:
            assert the_wrong_one(hops).name == "name"
        with way("pi:http") as hops:
            assert the_wrong_one(hops).name == "address"

    def test_a_closed_port(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with way(f"127.0.0.1:{port}") as hops:
            wrong = the_wrong_one(hops)
        assert wrong.name == "port"
        assert "Connection refused. Start it there with: python -m edgetvm.serve" in wrong.found

    def test_another_server(self) -> None:
        with listener(b"HTTP/1.1 400 Bad Request\r\n") as address, way(str(address)) as hops:
            wrong = the_wrong_one(hops)
        assert wrong.name == "access"
        assert "is no TVM RPC server" in wrong.found

    def test_a_token_that_is_none(self) -> None:
        with way("127.0.0.1", token="secret") as hops:
            wrong = the_wrong_one(hops)
        assert (wrong.name, wrong.exit_code) == ("address", 2)


@pytest.mark.slow
class TestGuardedDevice:
    @pytest.fixture(autouse=True)
    def own_tokens(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    def test_the_whole_way_keeps_the_token(self, guarded: Address) -> None:
        with way(str(guarded), str(guarded.token)) as hops:
            checks = statuses(hops)
        assert {check.status for check in checks.values()} <= {"ok", "warning"}
        assert "TLS" in checks["access"].found
        assert "code for x86_64_avx2 fits" in checks["target"].found
        assert "device load" in checks
        assert KnownTokens.read().of("127.0.0.1") == guarded.token

    def test_no_token(self, guarded: Address) -> None:
        with way(str(guarded)) as hops:
            wrong = the_wrong_one(hops)
        assert wrong.name == "access"
        assert "asks for a token. Run once" in wrong.found

    @pytest.mark.parametrize(
        ("part", "said"),
        [("secret", "the token is wrong"), ("fingerprint", "is not the server that its token")],
    )
    def test_a_wrong_token(self, part: str, said: str, guarded: Address) -> None:
        assert guarded.token
        token = replace(guarded.token, **{part: b"x" * 15})
        with way(str(guarded), str(token)) as hops:
            wrong = the_wrong_one(hops)
        assert (wrong.name, wrong.exit_code) == ("access", 3)
        assert said in wrong.found
        assert KnownTokens.read().of("127.0.0.1") is None

    def test_another_version_is_told_behind_a_right_token(
        self, guarded: Address, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tvm, "__version__", "0.18.0")
        with way(str(guarded), str(guarded.token)) as hops:
            wrong = the_wrong_one(hops)
        assert wrong.name == "versions"
        assert "install the same edgetvm on both" in wrong.found


@pytest.mark.slow
class TestLocalDevice:
    def test_another_version(self, device: Address, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tvm, "__version__", "0.18.0")
        with way(str(device)) as hops:
            wrong = the_wrong_one(hops)
        assert wrong.name == "versions"
        assert "this machine edgetvm" in wrong.found

    def test_code_for_another_cpu(self, device: Address) -> None:
        with way(str(device), target="rasp4b") as hops:
            wrong = the_wrong_one(hops)
        assert wrong.name == "target"
        assert "the target rasp4b is aarch64" in wrong.found

    def test_a_device_that_no_target_fits(self, device: Address) -> None:
        with way(str(device)) as hops:
            hops.address = device
            hops.info = msgspec.structs.replace(describe_device(device), arch="riscv64")
            with pytest.raises(UsageError, match=r"No target's code runs on riscv64.*README\.md"):
                hops.fit()

    def test_a_device_that_is_lost(self, device: Address) -> None:
        with way(str(device)) as hops:
            looks = dict(hops.in_order(with_gpu=False))
            for name in ("address", "versions", "session"):
                looks[name]()
            hops.session.end()
            with pytest.raises(DeviceError, match=r"was lost \(.*look at the server's own output"):
                looks["device clocks"]()

    def test_llvm_is_asked_before_tvm_crashes_over_it(self, device: Address) -> None:
        with way(str(device)) as hops:
            hops.profile = load_target_profile("rasp4b", PROFILES)
            hops.profile = msgspec.structs.replace(hops.profile, arch="riscv64")
            with pytest.raises(CompileError, match="LLVM generates no code for riscv64"):
                hops.build()

    def test_a_cpu_is_no_gpu(self, invoke: Invoke) -> None:
        outcome = invoke(doctor, "--rpc", "opencl-cpu", "--target", "rasp4b", "--json")
        assert outcome.exit_code == 2
        assert "rasp4b is no GPU" in checks_of(outcome.stdout)["target"].found

    def test_a_library_that_the_device_does_not_load(self, device: Address, tmp_path: Path) -> None:
        kernel = TrialKernel(tmp_path, tvm.target.Target("llvm"))
        kernel.build(HERE)
        (tmp_path / "trial_llvm.so").write_bytes(b"no ELF file")
        session = DeviceSession(device, 1, timeout_s=10)
        kernel.upload(session)
        with pytest.raises(DeviceError, match=r"fails on trial_llvm\.so.*made for this device\?"):
            kernel.load(session)

    def test_a_library_that_computes_something_else(self, device: Address, tmp_path: Path) -> None:
        kernel = TrialKernel(tmp_path, tvm.target.Target("llvm"))
        session = DeviceSession(device, 1, timeout_s=10)
        kernel._module = lambda data, result: data.copyto(result)
        with pytest.raises(NumericsError, match="something else than numpy"):
            kernel.check(session)

    def test_a_target_that_tvm_has_no_code_for(self, tmp_path: Path) -> None:
        kernel = TrialKernel(tmp_path, tvm.target.Target("hexagon"))
        with pytest.raises(CompileError, match=r"no code for hexagon .*Correct tvm_target"):
            kernel.build(HERE)


@pytest.mark.slow
class TestCommand:
    def test_a_healthy_machine(self, project: DataFolders, invoke: Invoke) -> None:
        outcome = invoke(doctor)
        assert outcome.exit_code == 0, outcome.stdout + outcome.stderr
        lines = outcome.stdout.splitlines()
        assert {line[:11].strip() for line in lines} <= {"ok", "warning", "note"}
        assert lines[-1].startswith("ok         timing                works; ")

    def test_what_is_wrong_sets_the_exit_code_and_is_named(
        self, project: DataFolders, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(host_checks, "requires", lambda _: ["click==1.0"])
        outcome = invoke(doctor, "--rpc", "127.0.0.1:1", "--json")
        assert outcome.exit_code == 2
        assert outcome.error.startswith("Not right: packages, port. Do what the lines say")
        assert checks_of(outcome.stdout)["access"].status == "not tried"

    def test_without_tvm_there_is_no_device(
        self, project: DataFolders, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail() -> str:
            raise CompileError("TVM does not load.")

        monkeypatch.setattr("edgetvm.doctor.find_tvm", fail)
        outcome = invoke(doctor, "--json")
        assert outcome.exit_code == 4
        checks = checks_of(outcome.stdout)
        assert [checks[name].status for name in ("LLVM", "device")] == ["not tried"] * 2
        assert checks["linker"].status == "ok"

    def test_an_unknown_target_is_no_check(self, project: DataFolders, invoke: Invoke) -> None:
        outcome = invoke(doctor, "--target", "rasp4")
        assert (outcome.exit_code, outcome.stdout) == (2, "")
        assert "did you mean rasp4b" in outcome.error

    def test_a_missing_opencl_compiler_is_a_note(
        self, project: DataFolders, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("edgetvm.stages.build.opencl_runtime.shutil.which", lambda _: None)
        options = ("--rpc", "127.0.0.1:1", "--json")
        for target, status in (("rasp4b", "note"), ("mali_g610", "warning")):
            checks = checks_of(invoke(doctor, *options, "--target", target).stdout)
            assert checks["OpenCL compiler"].status == status
            assert "Debian's package" in checks["OpenCL compiler"].found
            assert ("OpenCL" in checks) == (target == "mali_g610")

    @needs_opencl
    @pytest.mark.parametrize("target", [(), ("--target", "mali_g610")])
    def test_a_gpu_is_one_hop_further(
        self, target: tuple[str, ...], project: DataFolders, invoke: Invoke
    ) -> None:
        outcome = invoke(doctor, "--rpc", "opencl-cpu", *target, "--json")
        assert outcome.exit_code == 0, outcome.stdout
        assert checks_of(outcome.stdout)["OpenCL output"].found == "16384 values are numpy's"

    def test_on_a_board_nothing_is_compiled(self, project: DataFolders, tmp_path: Path) -> None:
        # Python runs it at its start; what a board lacks is there, and not found.
        (tmp_path / "sitecustomize.py").write_text(
            "import importlib.util\n"
            "find = importlib.util.find_spec\n"
            "absent = ('llvm', 'ziglang', 'torch')\n"
            "importlib.util.find_spec = lambda name, *more: (\n"
            "    None if name in absent else find(name, *more))\n"
        )
        environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
        environment.pop("TVM_USE_RUNTIME_LIB", None)
        done = subprocess.run(
            [sys.executable, "-m", "edgetvm.doctor", "--json"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        checks = checks_of(done.stdout)
        assert checks["session"].status == "ok"
        assert [checks[name].status for name in ("packages of [host]", "library")] == ["note"] * 2
        assert not {"LLVM", "linker", "xgboost", "upload"} & set(checks)
        assert json.loads(done.stdout)[-1]["name"] == "library"
