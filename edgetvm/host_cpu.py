"""What the kernel says of the CPU that this process runs on. Linux only."""

import os
import platform
import re
from pathlib import Path

import msgspec

_CPUINFO = Path("/proc/cpuinfo")
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


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


def cpu_features(cpuinfo: Path = _CPUINFO) -> tuple[str, ...]:
    """Return the features that the kernel lists (``flags`` on x86, ``Features`` on ARM), sorted."""
    fields = _cpuinfo_fields(cpuinfo)
    return tuple(sorted(set((fields.get("flags") or fields.get("Features") or "").split())))


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
