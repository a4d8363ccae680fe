"""The target `host`: this machine's CPU, as LLVM and the kernel know it."""

import platform
from pathlib import Path

import tvm

from edgetvm import host_cpu
from edgetvm.errors import UsageError
from edgetvm.stages.build.linker import own_link_triple
from edgetvm.target_profile import (
    ARM_ARCHITECTURES,
    HOST,
    PLAIN_KEYS,
    CoreCluster,
    TargetProfile,
    load_target_profile,
    on_host,
)

TVM_VERSION = str(tvm.__version__)
"""Version of the TVM in use; records belong to one version."""


def detect_host_profile() -> TargetProfile:
    """Return the profile of this machine's CPU, under LLVM's name for it, such as ``znver4``.

    The number of cores is what this process may use: TVM itself would assume that every second
    x86 hardware thread is a hyper-thread and use half.

    Raises
    ------
    UsageError
        LLVM is not installed, so that the CPU cannot be named.
    """
    from tvm.target import codegen

    try:
        name = str(codegen.llvm_get_system_cpu())
    except AttributeError as err:
        raise UsageError(
            "The target host needs LLVM to name this CPU: pip install 'edgetvm[host]'."
        ) from err
    features = host_cpu.cpu_features()
    caches = host_cpu.cache_sizes()
    arch = platform.machine()
    keys = f" {PLAIN_KEYS}" if arch in ARM_ARCHITECTURES else ""
    return TargetProfile(
        name=name,
        title=host_cpu.cpu_name(),
        tvm_target=f"llvm{keys} -mcpu={name} -model={name}{_attributes(features)}",
        arch=arch,
        features=tuple(f for f in ("avx2", "fma", "avx512f", "asimd") if f in features),
        link_triple=own_link_triple(),
        clusters=tuple(
            CoreCluster(
                name=one.name,
                core=one.core or host_cpu.cpu_name(),
                count=len(one.cpus),
                clock_mhz=one.max_clock_mhz,
                l1_data_bytes=caches.l1_data,
                l2_bytes=caches.l2,
            )
            for one in host_cpu.clusters()
        ),
        vector_unit_bytes=_vector_bytes(features),
        cache_line_bytes=caches.line or 64,
        sources=("LLVM's name of the CPU, /proc/cpuinfo and /sys/devices/system/cpu",),
    )


def resolve_target(name: str, profiles: Path, *, driven_here: bool = False) -> TargetProfile:
    """Return the profile of the target `name`; ``host`` is this machine's CPU.

    Parameters
    ----------
    driven_here : whether this machine's CPU is to drive a GPU's kernels, not the profile's host.

    Raises
    ------
    UsageError
        There is no such target, its profile is faulty, or it is to be driven from here and is no
        GPU's.
    """
    if name == HOST and not driven_here:
        return detect_host_profile()
    profile = load_target_profile(name, profiles)
    if not driven_here:
        return profile
    if profile.gpu is None:
        raise UsageError(f"{name} is no GPU: --rpc opencl-cpu stands for a GPU, such as mali_g610.")
    return on_host(profile, detect_host_profile())


def _vector_bytes(features: tuple[str, ...]) -> int:
    if "avx512f" in features:
        return 64
    return 32 if "avx2" in features else 16


def _attributes(features: tuple[str, ...]) -> str:
    """Keep LLVM from halving 512-bit vectors on the CPUs where it prefers 256 bits."""
    return " -mattr=-prefer-256-bit" if "avx512f" in features else ""
