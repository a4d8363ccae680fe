"""TVM's OpenCL runtime, which no published wheel has: built from the sources that the wheel brings.

The plug-in has to use the C++ library that TVM's runtime uses, GNU's, so zig's compiler is of no
use here.
"""

import hashlib
import platform
import shutil
import subprocess
from pathlib import Path

import platformdirs
import tvm

from edgetvm.errors import CompileError, UsageError, did_you_mean
from edgetvm.files import replacing

COMPILERS = {
    "x86_64": ("x86_64-linux-gnu-g++", "g++-x86-64-linux-gnu"),
    "aarch64": ("aarch64-linux-gnu-g++", "g++-aarch64-linux-gnu"),
    "armv7l": ("arm-linux-gnueabihf-g++", "g++-arm-linux-gnueabihf"),
}
"""Compilers by the architecture for which they compile, and Debian's packages of them."""

_TVM = Path(tvm.__file__).parent
_SOURCES = Path(__file__).parents[2] / "opencl"
_INCLUDES = (
    _SOURCES / "include",
    _TVM,
    _TVM / "include",
    _TVM / "3rdparty/dlpack/include",
    _TVM / "3rdparty/dmlc-core/include",
    _TVM / "3rdparty/OpenCL-Headers",
)
_OPTIONS = (
    *("-std=c++17", "-Os", "-flto=auto", "-fPIC", "-shared", "-s", "-w"),
    *("-fvisibility=hidden", "-fvisibility-inlines-hidden", "-Wl,-z,noseparate-code"),
    "-DDMLC_USE_LOGGING_LIBRARY=<tvm/runtime/logging.h>",
    "-DCL_TARGET_OPENCL_VERSION=120",
    # Beside TVM's compiler its stub of the same name would win.
    "-Wl,-Bsymbolic",
)


def built_opencl_runtime(arch: str = platform.machine()) -> Path | None:
    """Return the plug-in for an architecture if it was built here before, the newest of several."""
    found = _folder(arch).glob(f"opencl-{_sources_digest()}-*.so")
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def build_opencl_runtime(arch: str = platform.machine()) -> Path:
    """Return the plug-in for an architecture; it is built once for each TVM and compiler.

    Raises
    ------
    UsageError
        The compiler is missing, or there is none for the architecture.
    CompileError
        The compiler failed; its first message is quoted.
    """
    compiler = find_compiler(arch)
    version = _run([compiler, "--version"]).stdout.partition("\n")[0]
    digest = hashlib.sha256(version.encode()).hexdigest()[:8]
    plugin = _folder(arch) / f"opencl-{_sources_digest()}-{digest}.so"
    if not plugin.is_file():
        with replacing(plugin, mode=0o755) as temporary:
            _compile(compiler, temporary)
    return plugin


def find_compiler(arch: str) -> str:
    """Return the compiler for an architecture; raises `UsageError`."""
    if arch not in COMPILERS:
        raise UsageError(
            f"No OpenCL runtime is built for {arch!r}: {did_you_mean(arch, COMPILERS)}"
        )
    cross, package = COMPILERS[arch]
    names = ("g++", cross) if arch == platform.machine() else (cross,)
    for name in names:
        if found := shutil.which(name):
            return found
    package = "g++" if arch == platform.machine() else package
    raise UsageError(f"{names[0]} is not installed: install Debian's package {package}.")


def _folder(arch: str) -> Path:
    return platformdirs.user_cache_path("edgetvm") / f"tvm-{tvm.__version__}" / arch


def _sources_digest() -> str:
    own = b"".join(path.read_bytes() for path in sorted(_SOURCES.rglob("*.*")) if path.is_file())
    return hashlib.sha256(" ".join(_OPTIONS).encode() + own).hexdigest()[:8]


def _compile(compiler: str, output: Path) -> None:
    includes = [f"-I{folder}" for folder in _INCLUDES]
    source = str(_SOURCES / "opencl.cc")
    done = _run([compiler, *_OPTIONS, *includes, source, "-o", str(output), "-ldl"])
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "error" in line]
        raise CompileError(f"{compiler} cannot build the OpenCL runtime: {(errors or ['?'])[0]}")


def _run(command: list[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, check=False)
