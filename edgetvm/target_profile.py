"""Target profiles: where a network runs. One TOML file a target in `targets/`."""

import re
from pathlib import Path

import msgspec

from edgetvm.errors import UsageError, did_you_mean
from edgetvm.files import read_toml, toml_stems


class TargetProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A board or CPU as the compiler and the search have to know it.

    Attributes
    ----------
    name : the file's stem; not a key of the file.
    title : the device's name as people write it.
    tvm_target : TVM target string; it sets ``-model`` to `name`, so that records of one target
        are never applied to another of the same kind.
    arch : machine as ``uname -m`` prints it: x86_64, aarch64.
    features : CPU features that the compiled code uses and a device must have, as
        ``/proc/cpuinfo`` names them.
    link_triple : linker target ``arch-os-abi.glibc``; its last part is the oldest glibc served.
    cores : physical cores that a network may use.
    vector_unit_bytes, cache_line_bytes, l1_cache_bytes, l2_cache_bytes : for the search space.
    sources : where each number comes from.
    """

    tvm_target: str
    arch: str
    link_triple: str
    cores: int
    vector_unit_bytes: int
    cache_line_bytes: int
    name: str = ""
    title: str = ""
    features: tuple[str, ...] = ()
    l1_cache_bytes: int = 0
    l2_cache_bytes: int = 0
    sources: tuple[str, ...] = ()


def list_target_profiles(folder: Path) -> list[str]:
    """Return the names of all target profiles, sorted."""
    return toml_stems(folder)


def load_target_profile(name: str, folder: Path) -> TargetProfile:
    """Load the profile of the target `name`.

    Raises
    ------
    UsageError
        There is no such profile, its file is faulty, or its target string lacks the model.
    """
    path = folder / f"{name}.toml"
    if not path.is_file():
        known = ["host", *list_target_profiles(folder)]
        raise UsageError(f"Unknown target {name!r}: {did_you_mean(name, known)}")
    profile = msgspec.structs.replace(read_toml(path, TargetProfile), name=name)
    if not re.search(rf"(^|\s)-model={re.escape(name)}(\s|$)", profile.tvm_target):
        raise UsageError(
            f"{path}: tvm_target must hold -model={name}, else records of another board of "
            "the same kind could be applied."
        )
    for key in ("cores", "vector_unit_bytes", "cache_line_bytes"):
        if getattr(profile, key) < 1:
            raise UsageError(f"{path}: {key} must be at least 1.")
    return profile
