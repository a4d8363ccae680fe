"""The RPC server on a device: TVM's protocol, one session at a time, each in a process of its own.

TVM's own server stops listening for good when a session's process crashes, and a client that
says nothing blocks all others. Here every connection is greeted by a thread of its own, and a
crashed, hung or killed session takes nothing with it.
"""

import json
import logging
import multiprocessing
import os
import platform
import socket
import struct
import threading
from collections.abc import Callable
from multiprocessing.context import ForkServerContext

import msgspec
import tvm
from tvm.rpc import base
from tvm.rpc import server as tvm_server

from edgetvm import __version__, host_cpu
from edgetvm.errors import DeviceError
from edgetvm.measurement import DeviceInfo

RPC_KEY = "edgetvm"
DEFAULT_PORT = 9090
GREETING_TIMEOUT_S = 5.0
_FASTEST_CORES = 1
"""TVM's affinity mode ``kBig``: one thread a core, the cores with the highest clock first."""

HUGE_PAGES = "glibc.malloc.hugetlb=1"
"""Weights and activations on pages of 4 KiB miss the TLB at every turn: ask for large ones."""

logger = logging.getLogger(__name__)


class DeviceServer:
    """Listens on ``host:port`` and serves TVM RPC sessions one after another.

    Parameters
    ----------
    port : 0 takes any free port; `address` tells which.

    Raises
    ------
    DeviceError
        The port is taken or the address is not this machine's.
    """

    def __init__(self, host: str, port: int) -> None:
        try:
            self._socket = socket.create_server((host, port), backlog=64)
        except (OSError, OverflowError) as err:
            raise DeviceError(
                f"Cannot listen on {host}:{port}: {err}. Give another --port or --host."
            ) from err
        self.address: tuple[str, int] = self._socket.getsockname()[:2]
        # Sessions are forked from a process without threads that has TVM loaded already, and
        # that starts with this environment.
        os.environ.setdefault("GLIBC_TUNABLES", HUGE_PAGES)
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__])
        self._one_session = threading.Lock()

    def serve_forever(self) -> None:
        """Accept connections until :meth:`close` is called."""
        while True:
            try:
                connection, peer = self._socket.accept()
            except OSError:
                return
            greeter = threading.Thread(target=self._greet, args=(connection, peer), daemon=True)
            greeter.start()

    def close(self) -> None:
        """Stop listening; a running session goes on until its client leaves."""
        # shutdown wakes the thread that waits in accept, which close alone does not.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _greet(self, connection: socket.socket, peer: tuple[str, int]) -> None:
        with connection:
            try:
                connection.settimeout(GREETING_TIMEOUT_S)
                key = _read_key(connection)
                name, *options = key.split() or [""]
                if name != f"client:{RPC_KEY}":
                    connection.sendall(struct.pack("<i", base.RPC_CODE_MISMATCH))
                    return
                with self._one_session:
                    self._run_session(connection, peer, _session_timeout_s(options))
            except (OSError, struct.error, ValueError) as err:
                logger.info("%s:%s left or is no client: %s", *peer[:2], err)

    def _run_session(
        self, connection: socket.socket, peer: tuple[str, int], timeout_s: float | None
    ) -> None:
        answer = f"server:{RPC_KEY}".encode()
        connection.sendall(struct.pack("<ii", base.RPC_CODE_SUCCESS, len(answer)) + answer)
        connection.settimeout(None)
        logger.info("session of %s:%s", *peer[:2])
        session = self._context.Process(target=_session, args=(connection,), daemon=True)
        session.start()
        session.join(timeout_s)
        if session.is_alive():
            logger.warning("session of %s:%s took longer than %s s", *peer[:2], timeout_s)
            session.kill()
            session.join()
        elif session.exitcode:
            logger.warning("session of %s:%s ended with %s", *peer[:2], session.exitcode)


def _read_key(connection: socket.socket) -> str:
    (magic,) = struct.unpack("<i", base.recvall(connection, 4))
    if magic != base.RPC_MAGIC:
        raise ValueError("no TVM RPC client")
    (length,) = struct.unpack("<i", base.recvall(connection, 4))
    if not 0 < length < 1024:
        raise ValueError("key too long")
    return bytes(base.recvall(connection, length)).decode("utf-8", "replace")


def _session_timeout_s(options: list[str]) -> float | None:
    for option in options:
        name, _, value = option.partition("=")
        if name == "-timeout":
            return float(value)
    return None


def _session(connection: socket.socket) -> None:
    """Serve one session; runs in a process of its own and ends with it."""
    # TVM would take half of the x86 hardware threads, on the guess that they are hyper-threads.
    os.environ["TVM_NUM_THREADS"] = str(host_cpu.usable_cores())
    environment = tvm_server._server_env([])
    tvm.register_func("edgetvm.device_info", device_info_json, override=True)
    tvm.register_func("edgetvm.set_threads", set_threads, override=True)
    serve: Callable[[int], None] = tvm_server._ffi_api.ServerLoop
    serve(connection.detach())
    environment.remove()


def set_threads(threads: int) -> None:
    """Run kernels on `threads` threads from now on.

    TVM's profiler starts the threads anew, as many as the environment says.
    """
    os.environ["TVM_NUM_THREADS"] = str(threads)
    tvm.get_global_func("runtime.config_threadpool")(_FASTEST_CORES, threads)


def device_info() -> DeviceInfo:
    """Describe the machine that this process runs on."""
    return DeviceInfo(
        host=platform.node(),
        arch=platform.machine(),
        cpu=host_cpu.cpu_name(),
        features=host_cpu.cpu_features(),
        cores=host_cpu.usable_cores(),
        pointer_bits=struct.calcsize("P") * 8,
        libc=" ".join(platform.libc_ver()),
        edgetvm_version=__version__,
        tvm_version=tvm.__version__,
    )


def device_info_json() -> str:
    """Describe this machine as JSON, for the client to ask over RPC."""
    return json.dumps(msgspec.to_builtins(device_info()))
