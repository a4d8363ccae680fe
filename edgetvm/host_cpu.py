"""What the kernel says of the CPU that this process runs on. Linux only."""

import os
import platform
import re
from pathlib import Path

import msgspec

from edgetvm import arm_cpu

_CPUINFO = Path("/proc/cpuinfo")
_CPUS = Path("/sys/devices/system/cpu")
_CACHES = _CPUS / "cpu0" / "cache"

_CLUSTER_NAMES = {0: (), 1: ("all",), 2: ("big", "LITTLE"), 3: ("big", "middle", "LITTLE")}


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """Cores of one kind.

    Attributes
    ----------
    name : ``big``, ``middle`` and ``LITTLE`` by their clocks; ``all`` if there is one kind only.
    core : the core's design, such as ``Cortex-A72``; empty where the kernel does not say.
    cpus : the kernel's numbers of those that this process may run on.
    max_clock_mhz : highest clock; 0 where the kernel does not say.
    """

    name: str
    core: str
    cpus: tuple[int, ...]
    max_clock_mhz: int


class CacheSizes(msgspec.Struct, frozen=True):
    """Sizes in bytes of the first core's caches; 0 where the kernel does not say."""

    line: int = 0
    l1_data: int = 0
    l2: int = 0


def cpu_name(cpuinfo: Path = _CPUINFO) -> str:
    """Return the CPU's name, or the board's where the kernel names no CPU model."""
    fields = _cpuinfo_fields(cpuinfo)
    for key in ("model name", "Model", "Hardware"):
        if fields.get(key):
            return fields[key]
    return platform.machine()


def board_name(model: Path = Path("/proc/device-tree/model")) -> str:
    """Return the board's model as its firmware tells the kernel; empty on most PCs."""
    return _text(model).strip("\0")


def cpu_features(cpuinfo: Path = _CPUINFO) -> tuple[str, ...]:
    """Return the features that the kernel lists (``flags`` on x86, ``Features`` on ARM), sorted."""
    fields = _cpuinfo_fields(cpuinfo)
    if "Features" not in fields and arm_cpu.is_arm():
        return arm_cpu.features()  # under emulation the file is that of the machine below
    return tuple(sorted(set((fields.get("Features") or fields.get("flags") or "").split())))


def clusters(cpuinfo: Path = _CPUINFO, cpus: Path = _CPUS) -> tuple[Cluster, ...]:
    """Return the cores that this process may run on by their kind, the fastest kind first."""
    parts = _parts(cpuinfo)
    kinds: dict[tuple[int, str], list[int]] = {}
    for cpu in sorted(os.sched_getaffinity(0)):
        clock_khz = _text(cpus / f"cpu{cpu}" / "cpufreq" / "cpuinfo_max_freq")
        clock_mhz = int(clock_khz) // 1000 if clock_khz.isdecimal() else 0
        kinds.setdefault((clock_mhz, parts.get(cpu, "")), []).append(cpu)
    # Two clusters of one core may differ in their clocks a little: Rockchip bins them so.
    merged: dict[str, tuple[int, list[int]]] = {}
    for (clock_mhz, part), numbers in sorted(kinds.items(), reverse=True):
        merged.setdefault(part, (clock_mhz, []))[1].extend(numbers)
    names = _CLUSTER_NAMES[min(len(merged), 3)]
    return tuple(
        Cluster(
            name=name,
            core=arm_cpu.CORE_DESIGNS.get(part, part),
            cpus=tuple(numbers),
            max_clock_mhz=clock_mhz,
        )
        for name, (part, (clock_mhz, numbers)) in zip(names, merged.items(), strict=False)
    )


def usable_cores() -> int:
    """Return the number of logical CPUs that this process may run on."""
    return len(os.sched_getaffinity(0))


def cache_sizes(caches: Path = _CACHES) -> CacheSizes:
    """Return the cache sizes of the first core, in bytes."""
    line = l1_data = l2 = 0
    for index in sorted(caches.glob("index*")):
        level, kind = _text(index / "level"), _text(index / "type")
        size = _bytes(_text(index / "size"))
        if level == "1" and kind in ("Data", "Unified"):
            l1_data, line = size, _bytes(_text(index / "coherency_line_size"))
        elif level == "2":
            l2 = size
    return CacheSizes(line, l1_data, l2)


def _parts(cpuinfo: Path) -> dict[int, str]:
    """Return implementer and part of each ARM core."""
    parts: dict[int, str] = {}
    cpu, implementer = -1, ""
    for text in _text(cpuinfo).splitlines():
        key, _, value = (part.strip() for part in text.partition(":"))
        if key == "processor" and value.isdecimal():
            cpu = int(value)
        elif key == "CPU implementer":
            implementer = value
        elif key == "CPU part":
            parts[cpu] = f"{implementer}:{value}"
    return parts


def _cpuinfo_fields(cpuinfo: Path) -> dict[str, str]:
    """First value of each key: the first core stands for all."""
    fields: dict[str, str] = {}
    for text in _text(cpuinfo).splitlines():
        key, colon, value = text.partition(":")
        if colon:
            fields.setdefault(key.strip(), value.strip())
    return fields


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+)([KM]?)", text)
    if not match:
        return 0
    return int(match[1]) * {"": 1, "K": 1024, "M": 1024**2}[match[2]]
