"""Planted data that several tests share."""

from edgetvm.device_info import DeviceInfo
from edgetvm.device_state import DeviceState
from edgetvm.host_cpu import Cluster
from edgetvm.opencl_device import OpenCLDevice

STATE = DeviceState(
    clocks_mhz={0: 1500},
    governors=("performance",),
    temperatures_c={},
    throttled=(),
    load=0.1,
    available_memory_bytes=1 << 30,
)


def device_info(
    cpu: str = "Cortex-A76",
    arch: str = "aarch64",
    tvm_version: str = "0.19.0",
    opencl: OpenCLDevice | None = None,
) -> DeviceInfo:
    """A device that does not exist."""
    return DeviceInfo(
        host="secret-name",
        board="",
        arch=arch,
        cpu=cpu,
        features=(),
        cores=4,
        clusters=(Cluster(name="all", core="", cpus=(0, 1, 2, 3), max_clock_mhz=0),),
        memory_bytes=1 << 32,
        pointer_bits=64,
        libc="glibc 2.36",
        kernel="Linux 6.1",
        edgetvm_version="0",
        tvm_version=tvm_version,
        opencl=opencl,
    )
