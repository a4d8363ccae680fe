"""GPU targets, with OpenCL on this machine's CPU in the GPU's place."""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import msgspec
import numpy as np
import pytest
import tvm
from tvm import te

from edgetvm.deploy import deploy
from edgetvm.errors import CompileError, DeviceError, UsageError
from edgetvm.manifest import read_manifest
from edgetvm.measurement import latest_run
from edgetvm.models.resolve import resolve_network
from edgetvm.opencl_device import LIBRARY_VARIABLE, OpenCLDevice, find_opencl, opencl_devices
from edgetvm.paths import DataFolders
from edgetvm.records import RecordStore
from edgetvm.runtime import runtime
from edgetvm.stages.build import opencl_runtime
from edgetvm.stages.build.bundle import write_bundle
from edgetvm.stages.build.definitions import add_definitions, define_workload
from edgetvm.stages.build.library import link_kernel
from edgetvm.stages.build.network_build import NetworkBuild
from edgetvm.stages.build.records import parse_records, record_line
from edgetvm.stages.device.choice import device_at
from edgetvm.stages.device.fitting import (
    check_gpu_fits,
    check_precision_fits,
    with_limits_of,
)
from edgetvm.stages.device.library import RemoteLibrary, check_on_device
from edgetvm.stages.device.opencl import OpenCLAnswer, load_opencl, use_opencl
from edgetvm.stages.device.session import Address, DeviceSession
from edgetvm.stages.host_target import resolve_target
from edgetvm.stages.tune.transfer import fit
from edgetvm.stages.verify import verification
from edgetvm.stages.verify.kernel import Kernel
from edgetvm.stages.verify.winners import reject_bad_winners
from edgetvm.target_profile import GPU, TargetProfile, load_target_profile
from edgetvm.tune import tune
from tests.candidates import draw
from tests.conftest import ROOT, TINY, Invoke
from tests.planted import device_info

pytestmark = pytest.mark.slow

TARGETS = ROOT / "targets"
HERE = platform.machine()
LIBRARY = find_opencl()
has_device = LIBRARY is not None and bool(opencl_devices(LIBRARY))
MISSING = [
    package
    for package, is_there in {
        "pocl-opencl-icd": has_device,
        "g++": shutil.which("g++") is not None,
    }.items()
    if not is_there
]
needs_opencl = pytest.mark.skipif(
    bool(MISSING), reason=f"OpenCL on the CPU needs Debian's {' '.join(MISSING)}"
)

MALI = OpenCLDevice(
    platform="ARM Platform",
    name="Mali-G610 r0p0",
    driver="3.0",
    version="OpenCL 3.0",
    extensions=("cl_khr_fp16",),
    is_gpu=True,
    max_threads=1024,
    compute_units=4,
    clock_mhz=1000,
    local_memory_bytes=32768,
    memory_bytes=1 << 32,
)


@pytest.fixture(scope="module")
def profile() -> TargetProfile:
    return resolve_target("mali_g610", TARGETS, driven_here=True)


@pytest.fixture(scope="module")
def gpu_build(profile: TargetProfile) -> Iterator[NetworkBuild]:
    network = resolve_network(TINY, ROOT / "compile", (1, 3, 32, 32))
    with NetworkBuild(network, profile, 1) as build:
        yield build


@pytest.fixture(scope="module")
def gpu() -> Iterator[Address]:
    with device_at("opencl-cpu") as address:
        yield address


class TestPlugIn:
    @needs_opencl
    def test_it_is_small_and_built_once(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, invoke: Invoke
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert opencl_runtime.built_opencl_runtime() is None
        built = invoke(runtime, "build", "--opencl")
        assert built.exit_code == 0, built.stderr
        plugin = opencl_runtime.built_opencl_runtime()
        assert plugin is not None
        assert str(plugin) in built.stdout.replace("\n", "")
        assert plugin.stat().st_size < 200_000
        monkeypatch.setattr(opencl_runtime, "_compile", None)
        assert opencl_runtime.build_opencl_runtime(HERE) == plugin
        again = json.loads(invoke(runtime, "build", "--opencl", "--json").stdout)
        assert again["path"] == str(plugin)

    def test_a_missing_compiler_is_said_with_its_package(
        self, monkeypatch: pytest.MonkeyPatch, project: DataFolders, invoke: Invoke
    ) -> None:
        monkeypatch.setattr(opencl_runtime.shutil, "which", lambda _: None)
        outcome = invoke(runtime, "build", "--opencl", "--for", "rasp3b_32")
        assert outcome.exit_code == 2
        assert "install Debian's package g++-arm-linux-gnueabihf" in outcome.error
        outcome = invoke(runtime, "build", "--opencl")
        assert outcome.error.endswith("g++ is not installed: install Debian's package g++.")
        with pytest.raises(UsageError, match="No OpenCL runtime is built for 'riscv64'"):
            opencl_runtime.find_compiler("riscv64")

    def test_a_compiler_that_fails_is_quoted(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        compiler = tmp_path / "g++"
        compiler.write_text("#!/bin/sh\necho 'x.cc:1: error: planted' >&2; exit 1\n")
        compiler.chmod(0o755)
        monkeypatch.setattr(opencl_runtime.shutil, "which", lambda _: str(compiler))
        with pytest.raises(CompileError, match=r"cannot build the OpenCL runtime: .*planted"):
            opencl_runtime.build_opencl_runtime(HERE)
        assert opencl_runtime.built_opencl_runtime() is None


class TestDevice:
    def test_its_library_is_found_where_vendors_put_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(LIBRARY_VARIABLE, "/vendor/libOpenCL.so")
        assert find_opencl() == "/vendor/libOpenCL.so"
        monkeypatch.delenv(LIBRARY_VARIABLE)
        monkeypatch.setattr("edgetvm.opencl_device.find_library", lambda _: None)
        monkeypatch.setattr("sys.prefix", str(tmp_path / "none"))
        monkeypatch.setattr("edgetvm.opencl_device._NAMES", ())
        assert find_opencl(tmp_path) is None
        mali = tmp_path / "usr/lib/aarch64-linux-gnu/libmali-valhall-g610.so"
        mali.parent.mkdir(parents=True)
        mali.write_text("no library")
        assert find_opencl(tmp_path) is None
        monkeypatch.setattr("edgetvm.opencl_device._open", lambda name: name)
        assert find_opencl(tmp_path) == str(mali)
        mali.unlink()
        monkeypatch.setattr("sys.prefix", str(tmp_path))
        assert find_opencl(tmp_path) == str(tmp_path / "lib/libintelocl.so")

    @needs_opencl
    def test_it_is_listed(self, invoke: Invoke) -> None:
        outcome = invoke(runtime, "devices")
        assert outcome.exit_code == 0, outcome.stderr
        assert "work-groups of" in outcome.stdout
        (device, *_) = json.loads(invoke(runtime, "devices", "--json").stdout)
        assert device["name"] in outcome.stdout.replace("\n", " ")

    @pytest.mark.parametrize(
        ("library", "reason"), [(None, "No OpenCL library was found"), ("x", "knows no device")]
    )
    def test_none_is_one_sentence(
        self, invoke: Invoke, monkeypatch: pytest.MonkeyPatch, library: str | None, reason: str
    ) -> None:
        monkeypatch.setattr("edgetvm.runtime.find_opencl", lambda: library)
        outcome = invoke(runtime, "devices")
        assert outcome.exit_code == 2
        assert reason in outcome.error

    def test_the_search_goes_by_what_the_device_says(self) -> None:
        profile = load_target_profile("mali_g610", TARGETS)
        assert with_limits_of(MALI, profile) == (profile, [])
        small = msgspec.structs.replace(MALI, max_threads=512)
        fitted, changes = with_limits_of(small, profile)
        assert fitted.gpu is not None
        assert fitted.gpu.max_threads == 512
        (change,) = changes
        assert "has max_threads = 512, where mali_g610 has 1024" in change
        on_cpu = msgspec.structs.replace(MALI, is_gpu=False, max_threads=4096)
        assert with_limits_of(on_cpu, profile) == (profile, [])

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"name": "QUALCOMM Adreno(TM)"}, "edgetvm knows no other makers' GPUs"),
            ({"max_threads": 128}, "lower -max_num_threads=256 in targets/mali_g610.toml"),
        ],
    )
    def test_another_gpu_is_refused(self, changes: dict[str, object], reason: str) -> None:
        profile = load_target_profile("mali_g610", TARGETS)
        address = Address("board", 9090)
        check_gpu_fits(MALI, profile.tvm_target, profile.name, address)
        other = msgspec.structs.replace(MALI, **changes)
        with pytest.raises(DeviceError, match=reason.replace("(", r"\(")):
            check_gpu_fits(other, profile.tvm_target, profile.name, address)

    @pytest.mark.parametrize(
        ("answers", "reason"),
        [
            ([OpenCLAnswer()], "has no OpenCL"),
            ([OpenCLAnswer(library="libmali.so")], "libmali.so at board knows no device"),
            (
                2 * [OpenCLAnswer(library="l", devices=(MALI,), trouble="GLIBC_2.34 not found")],
                r"GLIBC_2.34 not found\): build it there",
            ),
        ],
    )
    def test_a_board_without_opencl_says_why(
        self, monkeypatch: pytest.MonkeyPatch, answers: list[OpenCLAnswer], reason: str
    ) -> None:
        plugin = Path("opencl.so")
        monkeypatch.setattr("edgetvm.stages.device.opencl.build_opencl_runtime", lambda _: plugin)
        said = iter(answers)
        asked, sent = [], []

        def ask(name: str) -> str:
            asked.append(name)
            return msgspec.json.encode(next(said)).decode()

        with pytest.raises(DeviceError, match=reason):
            use_opencl(ask, sent.append, "aarch64", "board")
        assert asked == ["", "opencl.so"][: len(answers)]
        assert sent == [plugin] * (len(answers) - 1)

    def test_without_a_library_nothing_is_loaded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("edgetvm.stages.device.opencl.find_opencl", lambda: None)
        assert load_opencl("") == OpenCLAnswer()


class TestProfile:
    @pytest.mark.parametrize("name", ["mali_t628", "mali_t860", "mali_g71", "mali_g610"])
    def test_it_has_the_gpus_limits_and_the_hosts_cpu(self, name: str) -> None:
        profile = load_target_profile(name, TARGETS)
        target = tvm.target.Target(profile.tvm_target)
        assert (target.kind.name, target.model, target.attrs["device"]) == ("opencl", name, "mali")
        assert target.host.kind.name == "llvm"
        assert isinstance(profile.gpu, GPU)
        assert profile.gpu.peak_flop_per_s > 0
        assert int(target.max_num_threads) <= profile.gpu.max_threads
        assert profile.arch in ("aarch64", "armv7l")

    def test_only_a_gpu_can_be_stood_for(self) -> None:
        with pytest.raises(UsageError, match="rasp4b is no GPU"):
            resolve_target("rasp4b", TARGETS, driven_here=True)
        with pytest.raises(UsageError, match="Unknown target 'host'"):
            resolve_target("host", TARGETS, driven_here=True)

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            (("--tuner", "best"), "MetaSchedule has no search"),
            (("--flush-cache",), "stay as they are"),
        ],
    )
    def test_what_is_for_cpus_only_is_refused(
        self, project: DataFolders, invoke: Invoke, options: tuple[str, ...], reason: str
    ) -> None:
        outcome = invoke(tune, TINY, "--target", "mali_g610", *options)
        assert outcome.exit_code == 2
        assert reason in outcome.error

    @pytest.mark.skipif(
        shutil.which("aarch64-linux-gnu-g++") is None, reason="needs Debian's g++-aarch64-linux-gnu"
    )
    def test_a_bundle_for_the_board_is_made_for_its_cpu(self, tmp_path: Path) -> None:
        network = resolve_network(TINY, ROOT / "compile", (1, 3, 32, 32))
        with NetworkBuild(network, load_target_profile("mali_g610", TARGETS), 1) as build:
            build.build_tuned([])
            manifest = write_bundle(build, tmp_path)
        assert (manifest.tuned.arch, manifest.is_for_gpu) == ("aarch64", True)
        assert b"__kernel void" in (tmp_path / "library.so").read_bytes()


THERE = ("--target", "mali_g610", "--rpc", "opencl-cpu")


UNTUNED = ("mobilenet_v1", "mobilenet_v2", "shufflenet_g3", "efficientnet_b0", "espnet", "espnetv2")


@needs_opencl
@pytest.mark.parametrize("model", UNTUNED)
def test_the_papers_networks_run_as_on_a_mali(
    model: str, project: DataFolders, invoke: Invoke
) -> None:
    tuned = invoke(tune, model, *THERE, "--trials", "0")
    assert tuned.exit_code == 0, tuned.stderr
    manifest = read_manifest(project.bundles / "mali_g610.emulated" / model)
    assert manifest.is_for_gpu
    assert manifest.relative_error is not None
    assert manifest.relative_error < 1e-4


@needs_opencl
@pytest.mark.parametrize("model", ["squeezenet_1.1", "mobilenet_v3_small"])
def test_the_papers_networks_are_tuned_as_on_a_mali(
    model: str, project: DataFolders, invoke: Invoke
) -> None:
    tuned = invoke(tune, model, *THERE, "--trials", "8")
    assert tuned.exit_code == 6, tuned.stderr  # so few trials do not reach every task
    assert "verified on the device" in tuned.stderr
    assert "is emulated: its times say nothing" in tuned.stderr
    assert not (project.tuning_logs / "mali_g610").exists()
    bundle = project.bundles / "mali_g610.emulated" / model
    manifest = read_manifest(bundle)
    assert manifest.tuned_tasks > 0
    assert manifest.relative_error is not None
    assert manifest.relative_error < 1e-4
    if model == "squeezenet_1.1":
        check_deployed(model, bundle, invoke)


def check_deployed(model: str, bundle: Path, invoke: Invoke) -> None:
    """Deploy a bundle and run it alone; both give the same error and no latency."""
    deployed = invoke(deploy, model, *THERE, "--repeat", "2")
    assert deployed.exit_code == 0, deployed.stderr
    assert "so no time is given" in deployed.stderr
    assert " ms" not in deployed.stdout
    run = latest_run(bundle)
    assert run is not None
    assert run.relative_error < 1e-4
    assert run.device.opencl is not None
    assert run.device.emulated
    assert run.tuned.first_run_s
    assert run.tuned.copy_s
    kept = sorted((bundle / "kernels").iterdir())
    assert len(kept) == 2  # the tuned library's and the untuned one's
    assert invoke(deploy, model, *THERE, "--repeat", "2").exit_code == 0
    again = latest_run(bundle)
    assert again is not None
    assert (run.tuned.has_kept_kernels, again.tuned.has_kept_kernels) == (False, True)
    assert again.relative_error == run.relative_error
    assert sorted((bundle / "kernels").iterdir()) == kept
    runner = bundle / "runner"
    environment = {"PATH": os.environ["PATH"], LIBRARY_VARIABLE: str(LIBRARY)}
    for program in ([str(runner / "runner")], [sys.executable, "-I", str(runner / "runner.py")]):
        command = [*program, str(bundle), "--repeat", "1"]
        alone = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment
        )
        assert alone.returncode == 0, alone.stderr
        error = json.loads(alone.stdout)["relative_error"]
        assert error == pytest.approx(run.relative_error, rel=1e-3)
    assert sorted((bundle / "kernels").iterdir()) == kept


@needs_opencl
def test_kernels_that_the_driver_refuses_are_thrown_away(
    gpu_build: NetworkBuild, gpu: Address, tmp_path: Path
) -> None:
    build, kept = gpu_build, tmp_path / "kernels"

    def load() -> RemoteLibrary:
        session = DeviceSession(gpu, 1, timeout_s=60)
        try:
            path = build.untuned_library()
            return RemoteLibrary(session, path, build.network.input_name, kept_kernels=kept)
        finally:
            session.end()

    assert not load().has_kept_kernels
    (file,) = kept.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"pocl", b"PLAN"))
    with pytest.raises(DeviceError, match="failed on untuned_gpu"):
        load()
    assert not list(kept.iterdir())
    assert not load().has_kept_kernels
    assert load().has_kept_kernels


@needs_opencl
def test_bundles_for_a_gpu_are_chosen_by_what_stands_for_it(
    project: DataFolders, invoke: Invoke
) -> None:
    tiny = (TINY, "--input-shape", "1,3,32,32", "--trials", "0", "--threads", "1")
    assert invoke(tune, *tiny, "--target", "host").exit_code == 0
    missing = invoke(deploy, "--rpc", "opencl-cpu")
    assert missing.exit_code == 2
    assert "No bundle for opencl-cpu" in missing.error
    made = invoke(tune, *tiny, "--target", "mali_t860", "--rpc", "opencl-cpu")
    assert made.exit_code == 0, made.stderr
    for options in ((), ("--rpc", "opencl-cpu")):
        assert invoke(deploy, *options, "--repeat", "2").exit_code == 0


def two_records_a_task(build: NetworkBuild, gpu: Address) -> dict[str, list[str]]:
    """Schedules at random that are right on the device, the first with the better time.

    Not all are: TVM writes vectors of five elements, too, which no driver compiles.
    """
    lines: dict[str, list[str]] = {}
    with verification.Verifier(gpu, 1, build.profile.tvm_target, 1) as verifier:
        for task in build.tasks:
            workload, right = define_workload(task), lines.setdefault(task.workload_key, [])
            for seed in count():
                result = tvm.auto_scheduler.MeasureResult(
                    [1e-3 + 1e-3 * len(right)], 0, "", 0, seed
                )
                line = record_line((draw(task, seed)[0], result))
                (verdict,) = verifier.verify([(workload, [line])])
                if verdict.is_right:
                    right.append(line)
                if len(right) == 2:
                    break
    return lines


def planted_library(kernel: Kernel, folder: Path, written: int, factor: float) -> Path:
    """A real kernel in the place of `kernel`: it writes `written` elements, of `factor`."""
    tensors = [te.placeholder(shape, dtype=dtype) for shape, dtype in kernel.arguments]
    *inputs, output = tensors
    size = int(np.prod([int(extent) for extent in output.shape]))

    def body(ins: list[object], outs: list[object]) -> object:
        builder = tvm.tir.ir_builder.create()
        flat = builder.buffer_ptr(outs[0])
        thread = te.thread_axis("blockIdx.x")
        builder.scope_attr(thread, "thread_extent", min(written, size))
        flat[thread] = tvm.tir.const(factor, "float32")
        return builder.get()

    made = te.extern([output.shape], inputs, body, dtype="float32")
    target = resolve_target("mali_g610", TARGETS, driven_here=True).tvm_target
    module = tvm.build(te.create_schedule(made.op), [*inputs, made], tvm.target.Target(target))
    library = folder / "planted.so"
    link_kernel(module, library)
    return library


@needs_opencl
@pytest.mark.parametrize(("written", "factor"), [(1 << 30, 0.5), (7, 0.0)])
def test_a_kernel_that_is_wrong_or_writes_nothing_is_kept_out_of_the_bundle(
    gpu_build: NetworkBuild,
    gpu: Address,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    written: int,
    factor: float,
) -> None:
    build = gpu_build
    store = RecordStore(tmp_path / "logs", 1)
    add_definitions(store.workloads, build.tasks)
    lines = two_records_a_task(build, gpu)
    for line in (line for pair in lines.values() for line in pair):
        store.append(line)
    run = verification._run
    first = set()

    def run_planted(session: DeviceSession, kernel: Kernel, inputs: list[object]) -> object:
        if not kernel.on_cpu and not first:
            first.add(kernel.library)
            planted = planted_library(kernel, tmp_path, written, factor)
            kernel = replace(kernel, library=planted)
        return run(session, kernel, inputs)

    monkeypatch.setattr(verification, "_run", run_planted)
    notes: list[str] = []
    keys = build.workload_keys
    reject_bad_winners(gpu, store, keys, build.profile, notes.append)
    monkeypatch.undo()
    assert len(notes) == 1, notes
    (note,) = notes
    assert "differs from the untuned one by" in note
    (gone,) = store.rejected_path.read_text().splitlines()
    assert gone in {pair[0] for pair in lines.values()}
    kept = store.read_lines()
    assert len(kept) == 2 * len(build.tasks) - 1
    library = build.build_tuned(parse_records(kept))
    assert check_on_device(gpu, library, build) < 1e-4
    manifest = write_bundle(build, tmp_path / "bundle")
    assert sorted(task.best_s or 0.0 for task in manifest.tasks)[-2:] == [1e-3, 2e-3]


def test_a_gpus_schedule_fits_other_shapes(gpu_build: NetworkBuild) -> None:
    task = gpu_build.tasks[0].search_task
    _, steps = msgspec.json.decode(record_line(draw(gpu_build.tasks[0], 1)))["i"]
    fitted = fit(steps[1], task.compute_dag)
    assert fitted is not None
    assert "threadIdx.x" in str(fitted)


HALF_LIBRARY = Path(sys.prefix) / "lib/libintelocl.so"
needs_half = pytest.mark.skipif(
    not HALF_LIBRARY.is_file() or shutil.which("g++") is None,
    reason="float16 needs g++ and a driver that has it: pip install 'edgetvm[opencl]'",
)


class TestHalfPrecision:
    @needs_half
    @pytest.mark.parametrize(("model", "trials"), [("mobilenet_v3_small", "8"), ("espnetv2", "0")])
    def test_the_papers_networks_run_in_float16(
        self,
        model: str,
        trials: str,
        project: DataFolders,
        invoke: Invoke,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv(LIBRARY_VARIABLE, str(HALF_LIBRARY))
        half = (*THERE, "--precision", "float16", "--trials", trials)
        tuned = invoke(tune, model, *half)
        assert tuned.exit_code == (6 if int(trials) else 0), tuned.stderr
        bundle = project.bundles / "mali_g610.emulated" / f"{model}_float16"
        manifest = read_manifest(bundle)
        assert manifest.precision == "float16"
        assert manifest.tuned_tasks > 0 or trials == "0"
        assert manifest.relative_error is not None
        # Rounded, so that it is not float32 under another name, and by no more than that.
        assert 1e-4 < manifest.relative_error < 3e-2
        assert b"half" in (bundle / "library.so").read_bytes()
        deployed = invoke(deploy, bundle.name, *THERE, "--repeat", "2")
        assert deployed.exit_code == 0, deployed.stderr

    @needs_opencl
    def test_a_driver_without_it_is_refused(
        self, project: DataFolders, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv(LIBRARY_VARIABLE, raising=False)
        if LIBRARY is not None and "cl_khr_fp16" in opencl_devices(LIBRARY)[0].extensions:
            pytest.skip("this machine's first OpenCL driver has cl_khr_fp16")
        tiny = (TINY, "--input-shape", "1,3,32,32", "--trials", "0", "--threads", "1")
        outcome = invoke(tune, *tiny, *THERE, "--precision", "float16")
        assert outcome.exit_code == 3
        assert "no cl_khr_fp16, which float16 needs: set EDGETVM_LIBOPENCL" in outcome.error

    def test_a_gpu_without_it_is_told_to_take_float32(self) -> None:
        address, info = Address("board", 9090), device_info(opencl=MALI)
        check_precision_fits(info, "float16", "mali_g610", address)
        without = device_info(opencl=msgspec.structs.replace(MALI, extensions=()))
        check_precision_fits(without, "float32", "mali_g610", address)
        with pytest.raises(DeviceError, match=r"Mali-G610 r0p0 at board.* choose float32"):
            check_precision_fits(without, "float16", "mali_g610", address)

    def test_cpus_compile_in_float32_only(self, project: DataFolders, invoke: Invoke) -> None:
        tiny = (TINY, "--input-shape", "1,3,32,32", "--trials", "0", "--precision", "float16")
        outcome = invoke(tune, *tiny, "--target", "host")
        assert outcome.exit_code == 2
        assert "is a CPU, for which networks are compiled in float32 only" in outcome.error
