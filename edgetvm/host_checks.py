"""What this machine needs, as far as TVM need not be loaded: packages, disk, CPU, its state."""

import importlib.util
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path

import msgspec
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from edgetvm import host_cpu
from edgetvm.checks import Check
from edgetvm.device_state import DeviceState
from edgetvm.errors import EdgetvmError, UsageError
from edgetvm.paths import DataFolders

HOST_EXTRA = "host"

COMPILING = ("llvm", "ziglang", "torch")
"""Modules of which a board's installation has none."""

LOW_DISK_BYTES = 10**9
"""A large network's bundle, with what is written while it is built."""

FULL_DISK_BYTES = 10**7

BUSY_LOAD = 1.0
"""Load average from which on times are disturbed: about one core is busy."""

TOLD_FEATURES = ("avx2", "fma", "avx512f", "neon", "asimd", "asimddp")
"""Features that profiles ask for."""


def can_compile() -> bool:
    """Whether this is more than a board's installation, which serves and does not compile."""
    return any(importlib.util.find_spec(module) is not None for module in COMPILING)


def check_python() -> Check:
    """Check the interpreter against what the package's metadata asks for."""
    here = platform.python_version()
    try:
        wanted = metadata("edgetvm")["Requires-Python"]
    except PackageNotFoundError:
        return _not_installed("Python")
    if SpecifierSet(wanted).contains(here, prereleases=True):
        return Check(name="Python", found=here)
    return _wrong("Python", f"it is {here}, edgetvm needs {wanted}", "use another for its .venv")


def check_packages(extra: str = "") -> Check:
    """Check the installed packages against the requirements in the package's metadata.

    Parameters
    ----------
    extra : whose packages to check; empty for those that every installation has.
    """
    name = f"packages of [{extra}]" if extra else "packages"
    try:
        wanted = requires("edgetvm") or []
    except PackageNotFoundError:
        return _not_installed(name)
    if extra == HOST_EXTRA and not can_compile():
        found = "not installed: this machine serves, and does not compile"
        return Check(name=name, status="note", found=found)
    faults, there = [], []
    for requirement in map(Requirement, wanted):
        if _is_of(requirement, extra):
            fault = _fault(requirement)
            faults += [fault] if fault else []
            there += [] if fault else [f"{requirement.name} {version(requirement.name)}"]
    if faults:
        package = f"edgetvm[{extra}]" if extra else "edgetvm"
        return _wrong(name, "; ".join(faults), f"pip install '{package}'")
    return Check(name=name, found=", ".join(there))


def check_disk(folders: DataFolders) -> Iterator[Check]:
    """Check that there is room where bundles, records and temporary files are written."""
    for name, folder, variable in (
        ("disk of build/", folders.bundles, "EDGETVM_ROOT"),
        ("disk of tuning_logs/", folders.tuning_logs, "EDGETVM_ROOT"),
        ("temporary files", Path(tempfile.gettempdir()), "TMPDIR"),
    ):
        there = next(path for path in (folder, *folder.parents) if path.is_dir())
        free_bytes = shutil.disk_usage(there).free
        found = f"{free_bytes / 1e9:.1f} GB free in {there}"
        remedy = f"make space there, or set {variable} to another folder"
        if not os.access(there, os.W_OK):
            yield _wrong(name, f"{there} cannot be written", f"set {variable} to another folder")
        elif free_bytes < FULL_DISK_BYTES:
            yield _wrong(name, found, remedy, EdgetvmError.exit_code)
        elif free_bytes < LOW_DISK_BYTES:
            yield Check(name=name, status="warning", found=found, remedy=remedy)
        else:
            yield Check(name=name, found=found)


def check_cpu() -> Check:
    """Say what the CPU is, and which of the features that code is made for it has."""
    caches = host_cpu.cache_sizes()
    kinds = [f"{one.name}: {len(one.cpus)} {one.core}" for one in host_cpu.clusters() if one.core]
    sizes = {"L1": caches.l1_data, "L2": caches.l2}
    parts = [
        ", ".join(dict.fromkeys(filter(None, (host_cpu.board_name(), host_cpu.cpu_name())))),
        ", ".join(kinds),
        ", ".join(f"{name} {size // 1024} KiB" for name, size in sizes.items() if size),
        " ".join(one for one in TOLD_FEATURES if one in host_cpu.cpu_features()),
    ]
    return Check(name="CPU", found="; ".join(filter(None, parts)))


def check_cores() -> Check:
    """Say how many of the machine's cores a run may use."""
    usable, there = host_cpu.usable_cores(), os.cpu_count() or 1
    found = f"{usable} of {there} may be used"
    if usable == there:
        return Check(name="cores", found=found)
    remedy = "start it without taskset or a container's limit if all are meant"
    return Check(name="cores", status="note", found=found, remedy=remedy)


def check_clocks(state: DeviceState, whose: str = "") -> Check:
    """Say clocks, governor and temperature, and whether something holds the machine back.

    Parameters
    ----------
    whose : begins the name, for another machine than this.
    """
    name = f"{whose}clocks"
    found = str(msgspec.structs.replace(state, load=None)) or "the kernel tells nothing of them"
    if state.throttled:
        remedy = "cool it, give it a stronger power supply, and time nothing until it has recovered"
    elif "powersave" in state.governors:
        remedy = "for steady times run there: cpupower frequency-set --governor performance"
    else:
        return Check(name=name, found=found)
    return Check(name=name, status="warning", found=found, remedy=remedy)


def check_load(state: DeviceState, whose: str = "") -> Check:
    """Say how busy the machine is; `whose` as for :func:`check_clocks`."""
    name = f"{whose}load"
    found = "the kernel does not tell it" if state.load is None else f"{state.load:g}"
    if state.load is None or state.load < BUSY_LOAD:
        return Check(name=name, found=found)
    remedy = "let other programs end before anything is timed"
    return Check(name=name, status="warning", found=found, remedy=remedy)


def _is_of(requirement: Requirement, extra: str) -> bool:
    marker = requirement.marker
    if marker is None or marker.evaluate({"extra": ""}):
        return not extra
    return bool(extra) and marker.evaluate({"extra": extra})


def _fault(requirement: Requirement) -> str:
    try:
        there = version(requirement.name)
    except PackageNotFoundError:
        return f"{requirement.name} is missing"
    if requirement.specifier.contains(there, prereleases=True):
        return ""
    return f"{requirement.name} is {there}, not {requirement.specifier}"


def _not_installed(name: str) -> Check:
    found = "edgetvm runs from its folder, uninstalled, and cannot say what it needs"
    return Check(name=name, status="note", found=found)


def _wrong(name: str, found: str, remedy: str, exit_code: int = UsageError.exit_code) -> Check:
    return Check(name=name, status="wrong", found=found, remedy=remedy, exit_code=exit_code)
