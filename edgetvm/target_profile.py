"""Target profiles: where a network runs. One TOML file a target in `targets/`."""

import re
from pathlib import Path

import msgspec

from edgetvm.errors import UsageError, did_you_mean
from edgetvm.files import read_toml, toml_stems

CPU, ARM_CPU, GPU_LOWERING = "cpu", "arm_cpu", "gpu"
"""TVM's operator libraries with default schedules, as its targets' keys name them."""

PLAIN_KEYS = f"-keys={CPU}"
"""What an ARM target's string has to hold for TVM's plain operators."""

ARM_ARCHITECTURES = ("aarch64", "armv7l")

MODELLED = "modelled"
"""What ``--rpc`` calls a cycle model of a target's cores."""

HOST = "host"
"""The target of this machine's own CPU, which has no file."""


class CoreCluster(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Cores of one kind; 0 stands for what no source says.

    Attributes
    ----------
    name : as ``--cores`` takes it: ``big``, ``LITTLE``, or ``all`` if there is one kind only.
    core : the core's design, such as ``Cortex-A72``.
    count : physical cores.
    clock_mhz : highest clock.
    l1_data_bytes : of one core.
    l2_bytes : of one core if it has its own, else what they share.
    flop_per_cycle : fp32 operations that one core can begin in a cycle; a fused product and sum are
        two.
    """

    name: str
    core: str
    count: int
    clock_mhz: int = 0
    l1_data_bytes: int = 0
    l2_bytes: int = 0
    flop_per_cycle: int = 0

    @property
    def peak_flop_per_s(self) -> float:
        """Of all its cores together, fp32; 0 if unknown."""
        return self.count * self.clock_mhz * 1e6 * self.flop_per_cycle


class GPU(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A GPU as OpenCL shows it; 0 stands for what no source says.

    Attributes
    ----------
    shader_cores : OpenCL's compute units.
    clock_mhz : highest clock.
    flop_per_cycle : fp32 operations that one shader core can begin in a cycle.
    max_threads : of one work-group.
    local_memory_bytes : of one work-group.
    """

    shader_cores: int
    max_threads: int
    local_memory_bytes: int
    clock_mhz: int = 0
    flop_per_cycle: int = 0

    @property
    def peak_flop_per_s(self) -> float:
        """Of all shader cores together, fp32; 0 if unknown."""
        return self.shader_cores * self.clock_mhz * 1e6 * self.flop_per_cycle


class TargetProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A board or CPU as the compiler and the search have to know it.

    Attributes
    ----------
    name : the file's stem; not a key of the file.
    title : the device's name as people write it.
    tvm_target : TVM target string; it sets ``-model`` to `name`, so that records of one target
        are never applied to another of the same kind.
    arch : machine as ``uname -m`` prints it: x86_64, aarch64, armv7l.
    features : CPU features that the compiled code uses and a device must have, as
        ``/proc/cpuinfo`` names them.
    link_triple : linker target ``arch-os-abi.glibc``; its last part is the oldest glibc served.
    clusters : the device's cores by kind.
    runs_on : the cluster that code is compiled and tuned for; the first one unless given.
    vector_unit_bytes, cache_line_bytes : for the search space.
    memory_bytes_per_s : what memory can deliver at most; 0 is unknown.
    sources : where each number comes from.
    gpu : that kernels run on; None where they run on `clusters`. A GPU's file names the profile of
        the CPU that drives it, and what is not the GPU's is taken from there.
    """

    tvm_target: str
    arch: str
    link_triple: str
    clusters: tuple[CoreCluster, ...]
    vector_unit_bytes: int
    cache_line_bytes: int
    name: str = ""
    title: str = ""
    runs_on: str = ""
    features: tuple[str, ...] = ()
    memory_bytes_per_s: float = 0
    sources: tuple[str, ...] = ()
    gpu: GPU | None = None

    @property
    def lowerings(self) -> dict[str, str]:
        """TVM targets of TVM's default schedules, by the operator library that they are of.

        ``cpu`` is what AutoScheduler's tasks are lowered for, too. ARM has a library of its own,
        which TVM takes for every ARM target whose string does not put ``cpu`` first.
        """
        if self.gpu is not None:
            return {GPU_LOWERING: self.tvm_target}
        if PLAIN_KEYS not in self.tvm_target:
            return {CPU: self.tvm_target}
        own_keys = f"-keys={ARM_CPU},{CPU}"
        return {CPU: self.tvm_target, ARM_CPU: self.tvm_target.replace(PLAIN_KEYS, own_keys)}

    @property
    def cluster(self) -> CoreCluster:
        """The cluster that `runs_on` names."""
        return next(one for one in self.clusters if self.runs_on in ("", one.name))

    def on_cores(self, kind: str) -> "TargetProfile":
        """Return the profile run by its cores of a `kind`; raises `UsageError` if it has none."""
        names = [one.name for one in self.clusters]
        if kind and kind not in names:
            raise UsageError(f"{self.name} has no cores {kind!r}: {did_you_mean(kind, names)}")
        return msgspec.structs.replace(self, runs_on=kind or self.runs_on)

    @property
    def peak_flop_per_s(self) -> float:
        """Of what kernels run on, the GPU or `cluster`, fp32; 0 if unknown."""
        return (self.gpu or self.cluster).peak_flop_per_s

    @property
    def cores(self) -> int:
        """Threads of one inference unless the user says otherwise."""
        return self.cluster.count


class _GPUFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file of a GPU; `host` is the name of the profile of the CPU that drives it."""

    title: str
    tvm_target: str
    host: str
    gpu: GPU
    sources: tuple[str, ...]
    vector_unit_bytes: int = 16
    cache_line_bytes: int = 64
    memory_bytes_per_s: float | None = None


def list_target_profiles(folder: Path) -> list[str]:
    """Return the names of all target profiles, sorted."""
    return toml_stems(folder)


def target_argument(name: str, folder: Path) -> str:
    """Return what ``--target`` takes for a target: its name, or ``host`` without a profile."""
    return name if name in list_target_profiles(folder) else HOST


def load_target_profile(name: str, folder: Path) -> TargetProfile:
    """Load the profile of the target `name`.

    Raises
    ------
    UsageError
        There is no such profile, its file is faulty, or its target string lacks the model.
    """
    path = folder / f"{name}.toml"
    if not path.is_file():
        known = [HOST, *list_target_profiles(folder)]
        raise UsageError(f"Unknown target {name!r}: {did_you_mean(name, known)}")
    profile = msgspec.structs.replace(_read(path, folder), name=name)
    if not re.search(rf"(^|\s)-model={re.escape(name)}(\s|$)", profile.tvm_target):
        raise UsageError(
            f"{path}: tvm_target must hold -model={name}, else records of another board of "
            "the same kind could be applied."
        )
    is_arm_cpu = profile.gpu is None and profile.arch in ARM_ARCHITECTURES
    if is_arm_cpu and PLAIN_KEYS not in profile.tvm_target:
        raise UsageError(
            f"{path}: tvm_target must hold {PLAIN_KEYS}, else TVM computes convolutions in a form "
            "that AutoScheduler's search is not made for."
        )
    for field in ("vector_unit_bytes", "cache_line_bytes"):
        if getattr(profile, field) < 1:
            raise UsageError(f"{path}: {field} must be at least 1.")
    names = [one.name for one in profile.clusters]
    if not names or min(one.count for one in profile.clusters) < 1:
        raise UsageError(f"{path}: clusters must name at least one kind of cores, each with some.")
    if profile.runs_on and profile.runs_on not in names:
        nearest = did_you_mean(profile.runs_on, names)
        raise UsageError(f"{path}: runs_on = {profile.runs_on!r} is no cluster: {nearest}")
    return profile


def on_host(profile: TargetProfile, host: TargetProfile) -> TargetProfile:
    """Return the profile of a GPU with another CPU than its own to drive it."""
    return msgspec.structs.replace(
        host,
        name=profile.name,
        title=profile.title,
        tvm_target=_with_host(profile.tvm_target, host),
        gpu=profile.gpu,
        vector_unit_bytes=profile.vector_unit_bytes,
        cache_line_bytes=profile.cache_line_bytes,
        memory_bytes_per_s=profile.memory_bytes_per_s,
        sources=profile.sources,
    )


_HOST = " -host="


def _read(path: Path, folder: Path) -> TargetProfile:
    """Read a CPU's file, or a GPU's and that of its host."""
    if not read_toml(path, _Kind).host:
        return read_toml(path, TargetProfile)
    described = read_toml(path, _GPUFile)
    host = load_target_profile(described.host, folder)
    return msgspec.structs.replace(
        host,
        title=described.title,
        tvm_target=_with_host(described.tvm_target, host),
        gpu=described.gpu,
        vector_unit_bytes=described.vector_unit_bytes,
        cache_line_bytes=described.cache_line_bytes,
        memory_bytes_per_s=described.memory_bytes_per_s or host.memory_bytes_per_s,
        sources=(*described.sources, *host.sources),
    )


def _with_host(tvm_target: str, host: TargetProfile) -> str:
    """Return a GPU's target string with `host` in the place of the host that it may have."""
    return f"{tvm_target.partition(_HOST)[0]}{_HOST}'{host.tvm_target}'"


class _Kind(msgspec.Struct, frozen=True):
    """What tells a GPU's file from a CPU's."""

    host: str = ""
