"""The client's side: reach a device, make sure that it is the right one, open sessions."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import tvm
from tvm import rpc

from edgetvm.access import Token
from edgetvm.device_info import DeviceInfo
from edgetvm.device_state import DeviceState
from edgetvm.errors import DeviceError, VersionError, did_you_mean, one_line
from edgetvm.files import replacing
from edgetvm.stages.device.connection import (
    DEFAULT_PORT,
    REACH_TIMEOUT_S,
    RPC_KEY,
    START_SERVER,
    Route,
)
from edgetvm.stages.device.forwarder import Forwarder
from edgetvm.stages.device.greeting import Versions
from edgetvm.stages.device.opencl import LoadedKernels, use_opencl

COMPILE_TIMEOUT_S = 300.0
"""A GPU's first session waits while this machine compiles the OpenCL runtime for it."""


@dataclass(frozen=True)
class Address:
    """Where a device's server listens, and what it asks of a client.

    Attributes
    ----------
    token : None if the server asks for none.
    key : TVM's RPC key of the next session; a tracker gives one for each.
    cores : cluster that sessions run on, such as ``big``; empty takes the fastest cores first.
    opencl : whether sessions compute on the OpenCL device there.
    most_threads : of a check of a library that may be for a device of more cores; 0 is no limit.
    """

    host: str
    port: int
    token: Token | None = None
    key: str = RPC_KEY
    cores: str = ""
    opencl: bool = False
    most_threads: int = 0

    @classmethod
    def parse(cls, text: str, token: Token | None = None) -> "Address":
        """Read ``HOST`` or ``HOST:PORT`` (``[IPV6]:PORT`` for an IPv6 address).

        Raises
        ------
        DeviceError
            The port is no number from 1 to 65535, or the host is empty.
        """
        host, colon, port = text.rpartition(":")
        if not colon or text.endswith("]"):
            host, port = text, str(DEFAULT_PORT)
        host = host.removeprefix("[").removesuffix("]")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise DeviceError(f"--rpc {text!r} is no address: give HOST or HOST:PORT.")
        return cls(host, int(port), token)

    def __str__(self) -> str:
        return str(self.route)

    @property
    def route(self) -> Route:
        """How its server is reached."""
        return Route(self.host, self.port, self.token)

    @property
    def is_local(self) -> bool:
        """Whether its server listens on this machine, in the clear."""
        return self.token is None and self.host in ("127.0.0.1", "::1", "localhost")


def reach(address: Address, timeout_s: float = REACH_TIMEOUT_S) -> None:
    """Make sure that a server answers at `address`; raises as :meth:`Route.probe`."""
    asyncio.run(address.route.probe(Versions.here(), timeout_s))


class DeviceSession:
    """An open RPC session with a device, its runtime set to `threads` threads.

    Parameters
    ----------
    timeout_s : the server ends the session after this long, whatever it is doing, so that a
        kernel that never returns cannot block the device.

    Attributes
    ----------
    threads : in use, as read back.
    cpus : the CPUs that they run on, with commas between.
    device : what kernels run on, the CPU or an OpenCL device.

    Raises
    ------
    DeviceError
        The server is not edgetvm's or of another version, or its device does not have so many
        cores of that kind.
    """

    def __init__(self, address: Address, threads: int, timeout_s: float) -> None:
        reach(address)
        self.address = address
        host, port, key = address.host, address.port, address.key
        if not address.is_local:
            forwarder = Forwarder.to(address.route)
            host, port, key = "127.0.0.1", forwarder.port, forwarder.key(key)
        try:
            self.remote = rpc.connect(host, port, key, session_timeout=timeout_s)
            self.cpu = self.remote.cpu()
            self._check_versions()
            self.info = msgspec.json.decode(self._call("device_info"), type=DeviceInfo)
            self.threads, self.cpus = self._set_threads(threads, address.cores)
            self.device = self._use_opencl() if address.opencl else self.cpu
        except tvm.TVMError as err:
            raise DeviceError(
                f"No session with {address}: {one_line(err)}. {START_SERVER}"
            ) from err

    def end(self) -> None:
        """End the session now: an error keeps what it came through, and others wait for the end."""
        with suppress(tvm.TVMError):
            self.remote._sess.get_function("CloseRPCConnection")()

    def state(self) -> DeviceState:
        """Ask for clocks, temperature and load."""
        return msgspec.json.decode(self._call("device_state"), type=DeviceState)

    def time_runs(self, executor: Any, number: int) -> float:
        """Return the seconds of one inference of a network on the device, of `number`."""
        return float(self._call("time_runs", executor, self.device, number))

    def time_copies(self, executor: Any, name: str, number: int) -> float:
        """Return the seconds that the input `name` and the outputs take to the device and back."""
        return float(self._call("time_copies", executor, self.device, name, number))

    def load_kernels(self, library: Any, kept: Path) -> tuple[float, bool]:
        """Have the GPU's driver take a library's kernels, and keep what it compiled.

        Parameters
        ----------
        library : as :meth:`load_library` returned it.
        kept : folder of the kernels that drivers compiled before.

        Returns
        -------
        Seconds that the driver took, and whether it could take what was kept.
        """
        known = {path.name: path for path in sorted(kept.glob("*"))}
        for path in known.values():
            self.upload(path)
        try:
            loaded = msgspec.json.decode(self._call("load_kernels", library), type=LoadedKernels)
        except tvm.TVMError:
            for path in known.values():
                path.unlink()  # the next session compiles them anew
            raise
        if loaded.name and loaded.name not in known:
            with replacing(kept / loaded.name) as temporary:
                temporary.write_bytes(self.remote.download(loaded.name))
        return loaded.seconds, loaded.name in known

    def _use_opencl(self) -> Any:
        device = use_opencl(
            lambda plugin: str(self._call("load_opencl", plugin)),
            self.upload,
            self.info.arch,
            str(self.address),
        )
        self.info = self.info.with_opencl(device)
        return self.remote.cl()

    def _call(self, name: str, *arguments: object) -> Any:
        return self.remote.get_function(f"edgetvm.{name}")(*arguments)

    def _check_versions(self) -> None:
        here = Versions.here()
        try:
            there = msgspec.json.decode(self._call("versions"), type=Versions)
        except AttributeError as err:
            raise DeviceError(
                f"{self.address} is a TVM RPC server, but not one of edgetvm {here.edgetvm}, so "
                f"it cannot say what device it is. {START_SERVER}"
            ) from err
        if not here.fits(there):
            raise VersionError(
                f"{self.address} runs {there}, this machine {here}: install the same edgetvm on "
                "both."
            )

    def _set_threads(self, threads: int, cores: str) -> tuple[int, str]:
        clusters = {one.name: len(one.cpus) for one in self.info.clusters}
        if cores and cores not in clusters:
            raise DeviceError(
                f"{self.address} has no cores called {cores!r}: {did_you_mean(cores, clusters)}"
            )
        offered = clusters.get(cores, self.info.cores)
        if threads > offered:
            raise DeviceError(
                f"{threads} threads were asked for, {self.address} offers {offered} "
                f"{cores + ' ' if cores else ''}cores: give --threads {offered} or fewer."
            )
        cpus = self._call("set_threads", threads, cores)
        in_use = int(self.remote.get_function("runtime.NumThreads")())
        if in_use != threads:
            raise DeviceError(
                f"{self.address} runs {in_use} threads where {threads} were asked for: restart "
                "its server without TVM_NUM_THREADS."
            )
        return in_use, cpus

    def load_library(self, path: Path, name: str | None = None) -> Any:
        """Upload a shared library and load it on the device; arguments and errors of `upload`."""
        name = name or path.name
        self.upload(path, name)
        return self.remote.load_module(name)

    def upload(self, path: Path, name: str | None = None) -> None:
        """Write a file among those of the session, under another name if one is given.

        Raises
        ------
        DeviceError
            The device cannot write it.
        """
        name = name or path.name
        trouble = self._call("upload", name, bytearray(path.read_bytes()))
        if trouble:
            raise DeviceError(
                f"{self.address} cannot write {name} ({trouble}): make space in its folder "
                "for temporary files, or start its server with TMPDIR set to another one."
            )


def describe_device(address: Address) -> DeviceInfo:
    """Ask the device at `address` what it is; raises as :class:`DeviceSession`."""
    timeout_s = COMPILE_TIMEOUT_S if address.opencl else REACH_TIMEOUT_S
    return DeviceSession(address, threads=1, timeout_s=timeout_s).info
