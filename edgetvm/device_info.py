"""What a device says of itself: its CPU, its cores, its software, its GPU."""

import os
import platform
import struct
from typing import Self

import msgspec

from edgetvm import __version__, host_cpu
from edgetvm.host_cpu import Cluster
from edgetvm.opencl_device import OpenCLDevice

EMULATED = "EDGETVM_EMULATED"
"""Environment variable that says what emulates the machine, set where an emulated board starts."""


class DeviceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a device says of itself when a session opens.

    Attributes
    ----------
    host : the device's own name.
    board : its model, where firmware says; empty on most PCs.
    arch : as ``uname -m`` prints it.
    cpu : the kernel's name of the CPU.
    features : CPU features as ``/proc/cpuinfo`` lists them, sorted.
    cores : logical CPUs that the server may use.
    clusters : the same by kind, the fastest first.
    memory_bytes : of the machine.
    pointer_bits : word length of the server's process.
    libc : C library and its version, such as ``glibc 2.36``.
    kernel : name and release.
    edgetvm_version, tvm_version : of the server.
    emulated : by what, such as ``QEMU cortex-a72``; empty on a real machine.
    opencl : the OpenCL device that kernels run on; None if it is the CPU.
    """

    host: str
    board: str
    arch: str
    cpu: str
    features: tuple[str, ...]
    cores: int
    clusters: tuple[Cluster, ...]
    memory_bytes: int
    pointer_bits: int
    libc: str
    kernel: str
    edgetvm_version: str
    tvm_version: str
    emulated: str = ""
    opencl: OpenCLDevice | None = None

    @classmethod
    def here(cls, tvm_version: str) -> Self:
        """Describe the machine that this process runs on."""
        emulated = os.environ.get(EMULATED, "")
        return cls(
            host=platform.node(),
            board=host_cpu.board_name(),
            arch=platform.machine(),
            cpu=emulated or host_cpu.cpu_name(),
            features=host_cpu.cpu_features(),
            cores=host_cpu.usable_cores(),
            clusters=host_cpu.clusters(),
            memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            pointer_bits=struct.calcsize("P") * 8,
            libc=" ".join(platform.libc_ver()),
            kernel=f"{platform.system()} {platform.release()}",
            edgetvm_version=__version__,
            tvm_version=tvm_version,
            emulated=emulated,
        )

    def with_opencl(self, device: OpenCLDevice) -> Self:
        """Return the same with kernels on an OpenCL device; one on the CPU stands for a GPU."""
        emulated = self.emulated or ("" if device.is_gpu else f"{device.platform} on a CPU")
        return msgspec.structs.replace(self, opencl=device, emulated=emulated)

    @property
    def processor(self) -> str:
        """What kernels run on, as its maker calls it."""
        return self.cpu if self.opencl is None else self.opencl.name

    def cluster_for(self, runs_on: str) -> str:
        """Return the cluster to run on for a target's: an emulator has none of the board's."""
        return "" if self.emulated else runs_on
