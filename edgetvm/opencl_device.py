"""OpenCL as a machine has it: its library, wherever a vendor puts it, and the devices behind it.

Asked through OpenCL's own C interface, so that a machine can say what it has without TVM.
"""

import ctypes
import os
import sys
from ctypes.util import find_library
from pathlib import Path

import msgspec

OPENCL_CPU = "opencl-cpu"
"""What ``--rpc`` calls this machine's CPU in the place of a GPU."""

LIBRARY_VARIABLE = "EDGETVM_LIBOPENCL"
"""Environment variable with the library's path, for what is found nowhere else."""

_NAMES = ("libOpenCL.so", "libOpenCL.so.1", "libmali.so", "libmali.so.1", "libpocl.so.2")
_PATTERNS = (
    "usr/lib/*/libmali*.so",
    "usr/lib/*/mali/libOpenCL.so*",
    "usr/lib/libmali*.so",
    "vendor/lib64/libOpenCL.so",
    "system/vendor/lib64/libOpenCL.so",
    "system/vendor/lib64/egl/libGLES_mali.so",
)
"""Where vendors put it, below the root."""

_INTEL = "lib/libintelocl.so"
"""Intel's runtime for CPUs, where pip puts it below Python's prefix. The driver is opened itself:
the loader beside it looks for drivers elsewhere."""

_SUCCESS = 0
_CPU_TYPE, _GPU_TYPE = 1 << 1, 1 << 2
_PLATFORM_NAME = 0x0902
_TYPE, _COMPUTE_UNITS, _GROUP_SIZE = 0x1000, 0x1002, 0x1004
_CLOCK_MHZ, _MEMORY_BYTES, _LOCAL_BYTES = 0x100C, 0x101F, 0x1023
_NAME, _DRIVER, _VERSION, _EXTENSIONS = 0x102B, 0x102D, 0x102F, 0x1030
"""Numbers of ``CL/cl.h``."""


class OpenCLDevice(msgspec.Struct, frozen=True, kw_only=True):
    """An OpenCL device.

    Attributes
    ----------
    platform, name, driver, version : as the driver says them; `version` is OpenCL's.
    extensions : sorted.
    is_gpu : whether it says so; OpenCL on a CPU does not.
    max_threads : of one work-group.
    compute_units : shader cores of a GPU.
    clock_mhz : highest clock; 0 where the driver does not say.
    local_memory_bytes : of one work-group.
    memory_bytes : of all buffers.
    """

    platform: str
    name: str
    driver: str
    version: str
    extensions: tuple[str, ...]
    is_gpu: bool
    max_threads: int
    compute_units: int
    clock_mhz: int
    local_memory_bytes: int
    memory_bytes: int


def find_opencl(root: Path = Path("/")) -> str | None:
    """Return the name or path of this machine's OpenCL library, None if it has none."""
    if given := os.environ.get(LIBRARY_VARIABLE):
        return given
    paths = [str(path) for pattern in _PATTERNS for path in sorted(root.glob(pattern))]
    for name in (find_library("OpenCL"), *_NAMES, *paths, str(Path(sys.prefix) / _INTEL)):
        if name and _open(name) is not None:
            return name
    return None


def opencl_devices(library: str) -> tuple[OpenCLDevice, ...]:
    """Return the devices that TVM would take: GPUs, or where there are none, CPUs."""
    opencl = _open(library)
    if opencl is None:
        return ()
    for kind in (_GPU_TYPE, _CPU_TYPE):
        found = [
            _describe(opencl, device, platform)
            for platform in _platforms(opencl)
            for device in _devices(opencl, platform, kind)
        ]
        if found:
            return tuple(found)
    return ()


def _open(name: str) -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(name)
    except OSError:
        return None
    return library if hasattr(library, "clGetPlatformIDs") else None


def _platforms(opencl: ctypes.CDLL) -> list[ctypes.c_void_p]:
    count = ctypes.c_uint()
    if opencl.clGetPlatformIDs(0, None, ctypes.byref(count)) != _SUCCESS:
        return []
    ids = (ctypes.c_void_p * count.value)()
    opencl.clGetPlatformIDs(count, ids, None)
    return [ctypes.c_void_p(one) for one in ids]


def _devices(opencl: ctypes.CDLL, platform: ctypes.c_void_p, kind: int) -> list[ctypes.c_void_p]:
    count, bits = ctypes.c_uint(), ctypes.c_uint64(kind)
    if opencl.clGetDeviceIDs(platform, bits, 0, None, ctypes.byref(count)) != _SUCCESS:
        return []
    ids = (ctypes.c_void_p * count.value)()
    opencl.clGetDeviceIDs(platform, bits, count, ids, None)
    return [ctypes.c_void_p(one) for one in ids]


def _describe(
    opencl: ctypes.CDLL, device: ctypes.c_void_p, platform: ctypes.c_void_p
) -> OpenCLDevice:
    def text(what: int) -> str:
        return _ask(opencl.clGetDeviceInfo, device, what).rstrip(b"\0").decode(errors="replace")

    def number(what: int) -> int:
        return int.from_bytes(_ask(opencl.clGetDeviceInfo, device, what), "little")

    name = _ask(opencl.clGetPlatformInfo, platform, _PLATFORM_NAME)
    return OpenCLDevice(
        platform=name.rstrip(b"\0").decode(errors="replace"),
        name=text(_NAME).strip(),
        driver=text(_DRIVER),
        version=text(_VERSION).strip(),
        extensions=tuple(sorted(text(_EXTENSIONS).split())),
        is_gpu=bool(number(_TYPE) & _GPU_TYPE),
        max_threads=number(_GROUP_SIZE),
        compute_units=number(_COMPUTE_UNITS),
        clock_mhz=number(_CLOCK_MHZ),
        local_memory_bytes=number(_LOCAL_BYTES),
        memory_bytes=number(_MEMORY_BYTES),
    )


def _ask(function: object, subject: ctypes.c_void_p, what: int) -> bytes:
    """Call one of OpenCL's ``Get…Info``; an unknown question has an empty answer."""
    assert callable(function)
    size = ctypes.c_size_t()
    if function(subject, what, ctypes.c_size_t(0), None, ctypes.byref(size)) != _SUCCESS:
        return b""
    content = ctypes.create_string_buffer(size.value)
    function(subject, what, size, content, None)
    return content.raw
