"""Planted data that several tests share."""

from edgetvm.measurement import DeviceInfo


def device_info(cpu: str, arch: str = "aarch64", tvm_version: str = "0.19.0") -> DeviceInfo:
    """A device that does not exist."""
    return DeviceInfo(
        host="secret-name",
        arch=arch,
        cpu=cpu,
        features=(),
        cores=4,
        pointer_bits=64,
        libc="glibc 2.36",
        edgetvm_version="0",
        tvm_version=tvm_version,
    )
