"""The client's side: reach a device, make sure that it is the right one, open sessions."""

import socket
import struct
from dataclasses import dataclass
from typing import Any

import msgspec
import tvm
from tvm import rpc
from tvm.rpc import base

from edgetvm.errors import DeviceError, one_line
from edgetvm.manifest import Manifest
from edgetvm.measurement import DeviceInfo
from edgetvm.stages.device.server import DEFAULT_PORT, RPC_KEY
from edgetvm.target_profile import TargetProfile

REACH_TIMEOUT_S = 10.0
START_SERVER = "Start it there with: python -m edgetvm.serve --host 0.0.0.0"


@dataclass(frozen=True)
class Address:
    """Where a device's server listens."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
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
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def reach(address: Address, timeout_s: float = REACH_TIMEOUT_S) -> None:
    """Make sure that a TVM RPC server answers at `address`, without opening a session.

    The probe's key fits no session, which every TVM server refuses with a code of its own.

    Raises
    ------
    DeviceError
        Nothing listens there, it does not answer in time, or it is something else.
    """
    probe = b"client:edgetvm-probe"
    try:
        with socket.create_connection((address.host, address.port), timeout_s) as connection:
            connection.sendall(struct.pack("<ii", base.RPC_MAGIC, len(probe)) + probe)
            answer = connection.recv(4, socket.MSG_WAITALL)
    except TimeoutError as err:
        raise DeviceError(
            f"{address} does not answer within {timeout_s:g} s: is the address right, and does "
            f"edgetvm's server run on the device? {START_SERVER}"
        ) from err
    except OSError as err:
        raise DeviceError(f"{address} cannot be reached: {err.strerror}. {START_SERVER}") from err
    if answer != struct.pack("<i", base.RPC_CODE_MISMATCH):
        raise DeviceError(f"What listens on {address} is no TVM RPC server. {START_SERVER}")


class DeviceSession:
    """An open RPC session with a device, its runtime set to `threads` threads.

    Parameters
    ----------
    timeout_s : the server ends the session after this long, whatever it is doing, so that a
        kernel that never returns cannot block the device.

    Raises
    ------
    DeviceError
        The server is not edgetvm's or of another TVM version, or its runtime does not take the
        number of threads.
    """

    def __init__(self, address: Address, threads: int, timeout_s: float) -> None:
        reach(address)
        self.address = address
        try:
            self.remote = rpc.connect(
                address.host, address.port, RPC_KEY, session_timeout=timeout_s
            )
            self.cpu = self.remote.cpu()
            self.info = self._ask_device_info()
        except tvm.TVMError as err:
            raise DeviceError(
                f"No session with {address}: {one_line(err)}. {START_SERVER}"
            ) from err
        self._check_version()
        self.threads = self._set_threads(threads)

    def _ask_device_info(self) -> DeviceInfo:
        try:
            ask = self.remote.get_function("edgetvm.device_info")
        except AttributeError as err:
            raise DeviceError(
                f"{self.address} is a TVM RPC server, but not edgetvm's, so it cannot say what "
                f"device it is. {START_SERVER}"
            ) from err
        return msgspec.json.decode(ask(), type=DeviceInfo)

    def _check_version(self) -> None:
        if self.info.tvm_version != tvm.__version__:
            raise DeviceError(
                f"{self.address} runs TVM {self.info.tvm_version}, this machine "
                f"{tvm.__version__}: install the same edgetvm on both."
            )

    def _set_threads(self, threads: int) -> int:
        if threads > self.info.cores:
            raise DeviceError(
                f"{threads} threads were asked for, {self.address} offers {self.info.cores} "
                f"cores: give --threads {self.info.cores} or fewer."
            )
        self.remote.get_function("edgetvm.set_threads")(threads)
        in_use = int(self.remote.get_function("runtime.NumThreads")())
        if in_use != threads:
            raise DeviceError(
                f"{self.address} runs {in_use} threads where {threads} were asked for: restart "
                "its server without TVM_NUM_THREADS."
            )
        return in_use

    def load_library(self, path: Any) -> Any:
        """Upload a shared library and load it on the device."""
        self.remote.upload(str(path))
        return self.remote.load_module(path.name)


def describe_device(address: Address) -> DeviceInfo:
    """Ask the device at `address` what it is; raises as :class:`DeviceSession`."""
    return DeviceSession(address, threads=1, timeout_s=REACH_TIMEOUT_S).info


def open_for_target(address: Address, profile: TargetProfile, threads: int) -> DeviceSession:
    """Open a short session with a device to make sure that code for `profile` runs there.

    Raises
    ------
    DeviceError
        As :class:`DeviceSession` and :func:`check_device_fits`.
    """
    check_device_fits(describe_device(address), profile, address)
    return DeviceSession(address, threads, timeout_s=REACH_TIMEOUT_S)


def check_device_fits(info: DeviceInfo, profile: TargetProfile, address: Address) -> None:
    """Make sure that code for `profile` runs on the device.

    Raises
    ------
    DeviceError
        The architecture differs or the CPU lacks a feature.
    """
    if info.arch != profile.arch:
        raise DeviceError(
            f"The device at {address} ({info.cpu}) is {info.arch}, the target {profile.name} is "
            f"{profile.arch}: give --rpc HOST of a {profile.arch} device, or another --target."
        )
    _check_features(info, profile.features, profile.name, address)


def check_bundle_fits(info: DeviceInfo, manifest: Manifest, address: Address) -> None:
    """Make sure that the libraries of a bundle can be loaded and run on the device.

    Raises
    ------
    DeviceError
        Architecture, word length or C library do not fit, or the CPU lacks a feature.
    """
    library = manifest.tuned
    bundle = f"The bundle {manifest.target}/{manifest.model}"
    if (library.arch, library.pointer_bits) != (info.arch, info.pointer_bits):
        raise DeviceError(
            f"{bundle} is {library.pointer_bits}-bit {library.arch} code, the device at {address} "
            f"({info.cpu}) runs {info.pointer_bits}-bit {info.arch}: give --rpc HOST of a fitting "
            "device, or build for this one with python -m edgetvm.tune."
        )
    _check_features(info, manifest.features, manifest.target, address)
    name, _, version = info.libc.partition(" ")
    if name == "glibc" and _version(library.glibc) > _version(version):
        raise DeviceError(
            f"{bundle} needs glibc {library.glibc}, the device at {address} has {version}: lower "
            "the version in its profile's link_triple and build again."
        )


def _check_features(
    info: DeviceInfo, features: tuple[str, ...], target: str, address: Address
) -> None:
    missing = [feature for feature in features if feature not in info.features]
    if missing:
        raise DeviceError(
            f"The device at {address} ({info.cpu}) lacks {', '.join(missing)}, which code for "
            f"{target} uses: choose another --target."
        )


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdecimal())
