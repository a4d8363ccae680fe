"""OpenCL in a session: TVM's runtime of it is loaded there, and sent there first if need be."""

import ctypes
import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import tvm

from edgetvm.errors import DeviceError
from edgetvm.opencl_device import LIBRARY_VARIABLE, OpenCLDevice, find_opencl, opencl_devices
from edgetvm.stages.build.opencl_runtime import build_opencl_runtime, built_opencl_runtime


class OpenCLAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a device says of its OpenCL.

    Attributes
    ----------
    library : OpenCL's, empty if there is none.
    devices : those that TVM would take.
    is_loaded : whether TVM's runtime of it is.
    trouble : why it could not be loaded.
    """

    library: str = ""
    devices: tuple[OpenCLDevice, ...] = ()
    is_loaded: bool = False
    trouble: str = ""


def load_opencl(plugin: str) -> OpenCLAnswer:
    """Load TVM's OpenCL runtime into this process, where the device is.

    Parameters
    ----------
    plugin : name of its file among those of the session; empty for one that was built here.
    """
    library = find_opencl()
    if library is None:
        return OpenCLAnswer()
    os.environ[LIBRARY_VARIABLE] = library
    devices = opencl_devices(library)
    work_path = tvm.get_global_func("tvm.rpc.server.workpath")
    path = Path(work_path(plugin)) if plugin else built_opencl_runtime()
    if path is None or not devices:
        return OpenCLAnswer(library=library, devices=devices)
    try:
        ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)
    except OSError as err:
        return OpenCLAnswer(library=library, devices=devices, trouble=str(err))
    return OpenCLAnswer(library=library, devices=devices, is_loaded=True)


class LoadedKernels(msgspec.Struct, frozen=True, kw_only=True):
    """How a library's kernels came to be.

    Attributes
    ----------
    name : file among the session's that holds what the driver made of them; empty if it gives none.
    seconds : that the driver took.
    """

    name: str
    seconds: float


def load_kernels(library: tvm.runtime.Module) -> LoadedKernels:
    """Take the library's kernels from the session's files, or compile them and put them there."""
    folder = tvm.get_global_func("tvm.rpc.server.workpath")("")
    started_s = time.perf_counter()
    name = str(tvm.get_global_func("edgetvm.keep_kernels")(library, folder))
    return LoadedKernels(name=name, seconds=time.perf_counter() - started_s)


def use_opencl(
    ask: Callable[[str], str], upload: Callable[[Path], None], arch: str, where: str
) -> OpenCLDevice:
    """Have a session's device load TVM's OpenCL runtime, and return the OpenCL device there.

    Parameters
    ----------
    ask : calls :func:`load_opencl` there; its answer in JSON.
    upload : sends a file to the session.
    arch : of the device's machine.
    where : its address, for messages.

    Raises
    ------
    UsageError, CompileError
        The runtime cannot be built.
    DeviceError
        There is no OpenCL, or it takes no runtime.
    """
    answer = msgspec.json.decode(ask(""), type=OpenCLAnswer)
    if not answer.library:
        raise DeviceError(
            f"The device at {where} has no OpenCL: install its GPU's driver, or start its server "
            f"with {LIBRARY_VARIABLE} set to the path of the driver's library."
        )
    if not answer.devices:
        raise DeviceError(
            f"{answer.library} at {where} knows no device: install its GPU's driver, and let its "
            "user open the GPU's device file."
        )
    if not answer.is_loaded:
        plugin = build_opencl_runtime(arch)
        upload(plugin)
        answer = msgspec.json.decode(ask(plugin.name), type=OpenCLAnswer)
    if not answer.is_loaded:
        raise DeviceError(
            f"The device at {where} does not load the OpenCL runtime ({answer.trouble}): build it "
            "there, with python -m edgetvm.runtime build --opencl."
        )
    return answer.devices[0]
