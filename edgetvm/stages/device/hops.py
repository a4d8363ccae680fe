"""The way to a device, hop by hop: each does one thing more than the one before and says what.

What comes of it is a list of functions that either return what they found or raise an error that
says what is wrong there, for :func:`edgetvm.checks.follow`.
"""

import asyncio
import platform
import socket
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import tvm

from edgetvm.checks import Check, Look
from edgetvm.device_info import DeviceInfo
from edgetvm.device_state import DeviceState
from edgetvm.errors import DeviceError, UsageError, VersionError, one_line
from edgetvm.host_checks import can_compile, check_clocks, check_load
from edgetvm.opencl_device import OPENCL_CPU
from edgetvm.stages.build.toolchain import find_llvm
from edgetvm.stages.device.choice import EMULATED, address_of, device_at, keep_token
from edgetvm.stages.device.fitting import check_device_fits, check_gpu_fits
from edgetvm.stages.device.greeting import Versions
from edgetvm.stages.device.session import (
    COMPILE_TIMEOUT_S,
    Address,
    DeviceSession,
    describe_device,
    reach,
)
from edgetvm.stages.host_target import resolve_target
from edgetvm.target_profile import HOST, TargetProfile, list_target_profiles, load_target_profile
from edgetvm.units import format_latency, format_size

if TYPE_CHECKING:
    from edgetvm.stages.device.trial_kernel import TrialKernel

SESSION_TIMEOUT_S = 60.0
SERVED_HERE = (None, EMULATED, OPENCL_CPU)
"""What ``--rpc`` calls devices whose server is started for the run."""


@dataclass
class DeviceHops:
    """The hops to one device; each builds on what the ones before left here.

    Parameters
    ----------
    rpc, token, target : as on the command line.
    profiles : folder of the target profiles.
    stack : closes what the hops open.
    note : told of what takes a while.
    """

    rpc: str | None
    token: str | None
    target: str | None
    profiles: Path
    stack: ExitStack
    note: Callable[[str], None]
    address: Address = field(init=False)
    info: DeviceInfo = field(init=False)
    profile: TargetProfile = field(init=False)
    session: DeviceSession = field(init=False)
    kernel: "TrialKernel" = field(init=False)

    def in_order(self, *, with_gpu: bool) -> list[tuple[str, Look]]:
        """Return the hops by name, in order; on a GPU those of OpenCL come last."""
        hops: list[tuple[str, Look]] = [
            ("address", self.find),
            ("name", self.resolve),
            ("port", self.knock),
            ("access", self.enter),
            ("versions", self.compare_versions),
            ("session", self.open),
        ]
        if not self._is_this_machine:
            hops += [
                ("device clocks", lambda: check_clocks(self._state(), "device ")),
                ("device load", lambda: check_load(self._state(), "device ")),
            ]
        if not can_compile():
            return [*hops, ("library", _nothing_is_built)]
        hops += [
            ("target", self.fit),
            ("library", self.build),
            ("upload", lambda: self.kernel.upload(self.session)),
            ("loader", lambda: self.kernel.load(self.session)),
            ("output", lambda: self.kernel.check(self.session)),
            ("timing", self.time),
        ]
        if with_gpu:
            hops += [("OpenCL", self.open_opencl), ("OpenCL output", self.run_on_opencl)]
        return hops

    def find(self) -> str:
        """Find the address, and start the server where that is this machine's affair."""
        if self.rpc in SERVED_HERE:
            self.address = self.stack.enter_context(device_at(self.rpc, note=self.note))
            self.address = replace(self.address, opencl=False)
            return f"{self.address}, a server started for this check"
        assert self.rpc is not None
        self.address = address_of(self.rpc, self.token)
        token = "a token" if self.address.token else "no token"
        return f"{self.address}, {token} known for it"

    def resolve(self) -> str:
        """Resolve the host's name."""
        host, port = self.address.host, self.address.port
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as err:
            reason = getattr(err, "strerror", None) or err
            raise DeviceError(
                f"The name {host} has no address ({reason}): check its spelling, or give the "
                "device's IP address."
            ) from err
        return f"{host} is {', '.join(dict.fromkeys(str(one[4][0]) for one in found))}"

    def knock(self) -> str:
        """Connect to the port and say nothing."""

        async def connect() -> None:
            stream = await replace(self.address.route, token=None).open(Versions.here())
            stream[1].close()

        asyncio.run(connect())
        return f"{self.address.port} is open"

    def enter(self) -> str:
        """Be greeted: inside TLS with the token where there is one."""
        with suppress(VersionError):  # the token was right, and the next hop is about versions
            reach(self.address)
        if self.address.token is None:
            return "a TVM RPC server that asks for no token"
        keep_token(self.address)
        return "TLS, the token's certificate; the token is right"

    def compare_versions(self) -> str:
        """Open a first session, in which both sides compare versions."""
        self.info = describe_device(self.address)
        there = f"edgetvm {self.info.edgetvm_version} with TVM {self.info.tvm_version}"
        return f"there {there}, here {Versions.here()}"

    def open(self) -> str:
        """Open a session on all cores of the device."""
        self.session = DeviceSession(self.address, self.info.cores, SESSION_TIMEOUT_S)
        info, threads = self.info, self.session.threads
        return (
            f"{info.board or info.host}: {info.processor}, {info.arch}, {info.libc}; {threads} "
            f"threads on CPUs {self.session.cpus}"
        )

    def _state(self) -> DeviceState:
        try:
            return self.session.state()
        except tvm.TVMError as err:
            raise DeviceError(
                f"{self.address} was lost ({one_line(err)}): look at the server's own output "
                "there, and try again."
            ) from err

    def fit(self) -> str:
        """Find a target whose code runs on the device."""
        if self.target is None and not self._is_this_machine:
            self.profile, others = self._first_that_fits()
            also = f"; also {', '.join(others)}" if others else ""
            return f"code for {self.profile.name} fits{also}"
        is_gpu_here = self.rpc == OPENCL_CPU and self.target is not None
        self.profile = resolve_target(self.target or HOST, self.profiles, driven_here=is_gpu_here)
        check_device_fits(self.info, self.profile, self.address)
        return f"code for {self.profile.name} fits"

    @property
    def _is_this_machine(self) -> bool:
        return self.rpc in (None, OPENCL_CPU)

    def _first_that_fits(self) -> tuple[TargetProfile, list[str]]:
        fitting = []
        for name in list_target_profiles(self.profiles):
            profile = load_target_profile(name, self.profiles)
            try:
                check_device_fits(self.info, profile, self.address)
            except DeviceError:
                continue
            if profile.gpu is None:
                fitting.append(profile)
        if not fitting:
            raise UsageError(
                f"No target's code runs on {self.info.arch} without further features: write a "
                "profile for the device, as targets/README.md says."
            )
        return fitting[0], [profile.name for profile in fitting[1:]]

    def build(self) -> str:
        """Build a small library for the target, as a network's is built."""
        find_llvm(self.profile.arch)  # TVM crashes where LLVM has no such target
        self.kernel = self._kernel_for(self._cpu_target())
        library = self.kernel.build(self.profile.link_triple)
        return f"{format_size(library.size_bytes)} of {library.arch} code"

    def time(self) -> str:
        """Time the library."""
        seconds = self.kernel.time_s(self.session)
        if self.info.emulated:
            return f"works; emulated by {self.info.emulated}, so that it says nothing of speed"
        return f"works; {format_latency(seconds)} for the check's kernel"

    def open_opencl(self) -> str:
        """Open a session on the OpenCL device; TVM's runtime of it is sent there if need be."""
        self.session.end()
        address = replace(self.address, opencl=True)
        self.session = DeviceSession(address, 1, COMPILE_TIMEOUT_S)
        device = self.session.info.opencl
        assert device is not None
        if self.profile.gpu is not None:
            target = self.profile.tvm_target
            check_gpu_fits(device, target, self.profile.name, address)
        return f"{device.name} ({device.platform}, {device.version})"

    def run_on_opencl(self) -> str:
        """Build the same kernel for OpenCL, and run it."""
        kernel = self._kernel_for(self._gpu_target())
        kernel.build(self.profile.link_triple)
        kernel.upload(self.session)
        kernel.load(self.session)
        return kernel.check(self.session)

    def _kernel_for(self, target: "tvm.target.Target") -> "TrialKernel":
        # A board's TVM has no compiler, and cannot import what uses it.
        from edgetvm.stages.device.trial_kernel import TrialKernel

        folder = self.stack.enter_context(tempfile.TemporaryDirectory())
        return TrialKernel(Path(folder), target)

    def _cpu_target(self) -> "tvm.target.Target":
        target = tvm.target.Target(self.profile.tvm_target)
        return target.host or target

    def _gpu_target(self) -> "tvm.target.Target":
        if self.profile.gpu is not None:
            return tvm.target.Target(self.profile.tvm_target)
        return tvm.target.Target("opencl", host=self._cpu_target())


def _nothing_is_built() -> Check:
    found = f"nothing is compiled on {platform.node()}, a board's installation"
    return Check(name="library", status="note", found=found)
