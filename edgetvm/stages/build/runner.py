"""What runs a bundle alone: a C program, built for the target, one in Python, TVM's runtime."""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib import metadata
from pathlib import Path

import platformdirs
import tvm

from edgetvm.errors import CompileError
from edgetvm.files import replacing
from edgetvm.stages.build.linker import describe_library, run_zig
from edgetvm.stages.build.opencl_runtime import build_opencl_runtime
from edgetvm.target_profile import TargetProfile

SOURCES = Path(__file__).parents[2] / "runner"
HEADERS = ("include/tvm/runtime/c_runtime_api.h", "3rdparty/dlpack/include/dlpack/dlpack.h")
RUNTIME, OPENCL_RUNTIME = "libtvm_runtime.so", "opencl.so"
LICENSE = "licenses/LICENSE"
"""The one of edgetvm and TVM, among the files that pip keeps of an installed package."""

WHEEL_PLATFORM = "manylinux_2_28"
"""Of the TVM wheels: the oldest that all architectures have."""

_TVM = Path(tvm.__file__).parent


def build_runner(profile: TargetProfile, folder: Path) -> None:
    """Put both programs, what the C one is built from, and TVM's runtime into `folder`.

    Raises
    ------
    CompileError
        There is no runtime for the architecture, or the program cannot be built.
    UsageError
        A GPU's bundle needs a compiler that is not installed.
    """
    source = folder / "runner.c"
    for program in sorted(SOURCES.glob("runner.*")):
        shutil.copyfile(program, folder / program.name)
    for header in HEADERS:
        copy = folder / "include" / header.rpartition("include/")[2]
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_TVM / header, copy)
    shutil.copyfile(runtime_library(profile.arch), folder / RUNTIME)
    if profile.gpu is not None:
        shutil.copyfile(build_opencl_runtime(profile.arch), folder / OPENCL_RUNTIME)
    (folder / "LICENSE").write_text(metadata.distribution("edgetvm").read_text(LICENSE) or "")
    command = ["cc", "-target", profile.link_triple, "-std=c11", "-O2", f"-I{folder / 'include'}"]
    options = ["-lm", "-ldl", "-Wl,-rpath,$ORIGIN", "-Wl,--allow-shlib-undefined"]
    run_zig([*command, *options], [source, folder / RUNTIME], folder / "runner")


def runtime_library(arch: str) -> Path:
    """Return TVM's runtime for an architecture, the one of this machine's TVM version.

    That of another architecture is taken from TVM's wheel for it, once.

    Raises
    ------
    CompileError
        The wheel cannot be had.
    """
    own = _TVM / RUNTIME
    if describe_library(own).arch == arch:
        return own
    cached = platformdirs.user_cache_path("edgetvm") / f"tvm-{tvm.__version__}" / arch / RUNTIME
    if not cached.is_file():
        _fetch_runtime(arch, cached)
    return cached


def _fetch_runtime(arch: str, path: Path) -> None:
    (wheel,) = (one for one in metadata.requires("edgetvm") or [] if one.startswith("xtc-tvm"))
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
                *("--disable-pip-version-check", "--only-binary=:all:", "--dest", folder),
                *("--platform", f"{WHEEL_PLATFORM}_{arch}", "--python-version", "3.11", wheel),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise CompileError(
                f"TVM's runtime for {arch} cannot be had from the package index: {reason}"
            )
        (archive,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(archive) as content, replacing(path) as temporary:
            temporary.write_bytes(content.read(f"tvm/{RUNTIME}"))
