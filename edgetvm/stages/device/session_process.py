"""What runs in the process of one session: TVM's server loop, and what edgetvm offers beside it."""

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import tvm
from tvm.contrib.utils import tempdir
from tvm.rpc import server as tvm_server

from edgetvm import host_cpu
from edgetvm.device_info import DeviceInfo
from edgetvm.device_state import DeviceState
from edgetvm.stages.device.greeting import Versions
from edgetvm.stages.device.opencl import load_kernels, load_opencl

_FASTEST_CORES, _GIVEN_CORES = 1, -2
"""TVM's affinity modes ``kBig`` and ``kSpecifyOneCorePerThread``."""


def serve(connection: socket.socket, folder: Path) -> None:
    """Serve one session, with uploaded files below `folder`; the process ends with it."""
    threading.Thread(target=_die_with_server, daemon=True).start()
    # TVM would take half of the x86 hardware threads, on the guess that they are hyper-threads.
    os.environ["TVM_NUM_THREADS"] = str(host_cpu.usable_cores())
    tvm_server._server_env([], work_path=tempdir(folder / "files"))
    for name, function in {
        "versions": lambda: _json(Versions.here()),
        "device_info": lambda: _json(DeviceInfo.here(str(tvm.__version__))),
        "device_state": lambda: _json(DeviceState.read()),
        "set_threads": set_threads,
        "upload": upload,
        "load_opencl": lambda plugin: _json(load_opencl(plugin)),
        "load_kernels": lambda library: _json(load_kernels(library)),
        "time_runs": time_runs,
        "time_copies": time_copies,
    }.items():
        tvm.register_func(f"edgetvm.{name}", function, override=True)
    loop: Callable[[int], None] = tvm_server._ffi_api.ServerLoop
    loop(connection.detach())


def _die_with_server() -> None:
    """End this process when the server has gone, even from within a kernel that never ends."""
    server = multiprocessing.parent_process()
    assert server is not None
    server.join()
    os.kill(os.getpid(), signal.SIGKILL)


def set_threads(threads: int, cores: str = "") -> str:
    """Run kernels on `threads` threads from now on.

    TVM's profiler starts the threads anew, as many as the environment says.

    Parameters
    ----------
    cores : a cluster's name, such as ``big``; each thread gets a core of it. Empty leaves it to
        TVM, which takes the fastest cores first.

    Returns
    -------
    The CPUs that the threads may run on, as numbers with commas between.
    """
    os.environ["TVM_NUM_THREADS"] = str(threads)
    configure = tvm.get_global_func("runtime.config_threadpool")
    clusters = host_cpu.clusters()
    if not cores:
        configure(_FASTEST_CORES, threads)
        return ",".join(str(cpu) for one in clusters for cpu in one.cpus)
    cpus = [str(cpu) for one in clusters for cpu in one.cpus if one.name == cores][:threads]
    configure(_GIVEN_CORES, threads, cpus)
    return ",".join(cpus)


def upload(name: str, content: bytearray) -> str:
    """Write a file among those of the session; return what went wrong, or nothing.

    TVM's own upload writes what there is room for and is silent of the rest, and errors of Python
    functions lose their text on the way to the client.
    """
    try:
        Path(tvm.get_global_func("tvm.rpc.server.workpath")(name)).write_bytes(content)
    except OSError as err:
        return err.strerror or type(err).__name__
    return ""


def time_runs(executor: Any, device: tvm.runtime.Device, number: int) -> float:
    """Return the seconds of one of `number` inferences run back to back, by this machine's clock.

    TVM's own timer adds up a GPU's kernels and leaves out what lies between them.
    """
    run = executor["run"]
    device.sync()
    started_s = time.perf_counter()
    for _ in range(number):
        run()
    device.sync()
    return (time.perf_counter() - started_s) / number


def time_copies(executor: Any, device: tvm.runtime.Device, name: str, number: int) -> float:
    """Return the seconds that it takes to copy the input `name` to the device, and outputs back."""
    outputs = [executor["get_output"](i) for i in range(executor["get_num_outputs"]())]
    image = tvm.nd.array(executor["get_input"](name).numpy())
    copies = [tvm.nd.empty(output.shape, output.dtype) for output in outputs]
    device.sync()
    started_s = time.perf_counter()
    for _ in range(number):
        executor["set_input"](name, image)
        for output, copy in zip(outputs, copies, strict=True):
            output.copyto(copy)
        device.sync()
    return (time.perf_counter() - started_s) / number


def _json(value: msgspec.Struct) -> str:
    return msgspec.json.encode(value).decode()
