"""Whether code for a target runs on a device, asked before anything is sent there."""

import msgspec
import tvm

from edgetvm.device_info import DeviceInfo
from edgetvm.errors import DeviceError, UsageError
from edgetvm.manifest import Manifest
from edgetvm.opencl_device import LIBRARY_VARIABLE, OpenCLDevice
from edgetvm.recipe import FLOAT16, Precision
from edgetvm.stages.device.connection import REACH_TIMEOUT_S
from edgetvm.stages.device.session import Address, DeviceSession
from edgetvm.target_profile import TargetProfile

HALF = "cl_khr_fp16"
"""OpenCL's extension for arithmetic in half precision."""


def open_for_target(
    address: Address, info: DeviceInfo, profile: TargetProfile, threads: int
) -> DeviceSession:
    """Open a short session with a device to make sure that code for `profile` runs there.

    Parameters
    ----------
    info : what the device said of itself.

    Raises
    ------
    DeviceError
        As :class:`DeviceSession` and :func:`check_device_fits`.
    """
    check_device_fits(info, profile, address)
    return DeviceSession(address, threads, REACH_TIMEOUT_S)


def check_device_fits(info: DeviceInfo, profile: TargetProfile, address: Address) -> None:
    """Make sure that code for `profile` runs on the device.

    Raises
    ------
    DeviceError
        The architecture differs, the CPU lacks a feature, or the GPU is another.
    """
    if info.arch != profile.arch:
        raise DeviceError(
            f"The device at {address} ({info.cpu}) is {info.arch}, the target {profile.name} is "
            f"{profile.arch}: give --rpc HOST of a {profile.arch} device, or another --target."
        )
    _check_features(info, profile.features, profile.name, address)
    if info.opencl is not None:
        check_gpu_fits(info.opencl, profile.tvm_target, profile.name, address)


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


def check_gpu_fits(device: OpenCLDevice, tvm_target: str, target: str, address: Address) -> None:
    """Make sure that kernels for a GPU run on an OpenCL device.

    Parameters
    ----------
    tvm_target, target : of the kernels; TVM's string and the profile's name.

    Raises
    ------
    DeviceError
        It is a GPU of another maker, or its limits are lower than those that TVM's default
        schedules go by.
    """
    wanted = tvm.target.Target(tvm_target)
    maker, threads = str(wanted.attrs["device"]), int(wanted.max_num_threads)
    if device.is_gpu and maker not in device.name.lower():
        raise DeviceError(
            f"The GPU at {address} is {device.name}, the target {target} a {maker.capitalize()}: "
            "edgetvm knows no other makers' GPUs and promises nothing on them. Give --target of "
            "the board's CPU."
        )
    if device.max_threads < threads:
        raise DeviceError(
            f"{device.name} at {address} runs work-groups of {device.max_threads} threads at "
            f"most: lower -max_num_threads={threads} in targets/{target}.toml."
        )


def check_precision_fits(
    info: DeviceInfo, precision: Precision, target: str, address: Address
) -> None:
    """Make sure that a network of a precision can be compiled for and run on the device.

    Raises
    ------
    UsageError
        It is float16 on a CPU.
    DeviceError
        It is float16, which the GPU's driver does not have.
    """
    if precision != FLOAT16:
        return
    if info.opencl is None:
        raise UsageError(
            f"{target} is a CPU, for which networks are compiled in float32 only: leave float16 to "
            "a GPU, such as --target mali_g610."
        )
    if HALF not in info.opencl.extensions:
        instead = (
            f"set {LIBRARY_VARIABLE} to the path of Intel's libintelocl.so, which has it"
            if address.opencl and not info.opencl.is_gpu
            else "choose float32"
        )
        raise DeviceError(
            f"{info.opencl.name} at {address} has no {HALF}, which float16 needs: {instead}."
        )


def with_limits_of(device: OpenCLDevice, profile: TargetProfile) -> tuple[TargetProfile, list[str]]:
    """Return the profile with a GPU's own limits, and what these change.

    OpenCL on a CPU stands for the GPU, and keeps to the profile's.
    """
    gpu = profile.gpu
    assert gpu is not None
    if not device.is_gpu:
        return profile, []
    own = msgspec.structs.replace(
        gpu,
        shader_cores=device.compute_units,
        max_threads=device.max_threads,
        local_memory_bytes=device.local_memory_bytes,
    )
    changes = [
        f"{device.name} has {field} = {getattr(own, field)}, where {profile.name} has "
        f"{getattr(gpu, field)}: the search goes by the device"
        for field in ("shader_cores", "max_threads", "local_memory_bytes")
        if getattr(own, field) != getattr(gpu, field)
    ]
    return msgspec.structs.replace(profile, gpu=own), changes
