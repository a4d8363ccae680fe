"""Names of ARM's cores and features, and what the kernel tells this process of them."""

import ctypes
import platform

CORE_DESIGNS = {
    "0x41:0xc07": "Cortex-A7",
    "0x41:0xc09": "Cortex-A9",
    "0x41:0xc0f": "Cortex-A15",
    "0x41:0xd03": "Cortex-A53",
    "0x41:0xd04": "Cortex-A35",
    "0x41:0xd05": "Cortex-A55",
    "0x41:0xd07": "Cortex-A57",
    "0x41:0xd08": "Cortex-A72",
    "0x41:0xd09": "Cortex-A73",
    "0x41:0xd0a": "Cortex-A75",
    "0x41:0xd0b": "Cortex-A76",
    "0x41:0xd0d": "Cortex-A77",
    "0x41:0xd41": "Cortex-A78",
    "0x4e:0x003": "Denver 2",
    "0x51:0x201": "Kryo",
    "0x51:0x205": "Kryo",
    "0x51:0x211": "Kryo",
    "0x51:0x800": "Kryo 280 Gold",
    "0x51:0x801": "Kryo 280 Silver",
    "0x51:0x802": "Kryo 385 Gold",
    "0x51:0x803": "Kryo 385 Silver",
}
"""ARM's "CPU implementer" and "CPU part" of ``/proc/cpuinfo``, as util-linux's lscpu names them."""

_FEATURE_BITS = {
    "aarch64": {
        0: "fp",
        1: "asimd",
        3: "aes",
        4: "pmull",
        5: "sha1",
        6: "sha2",
        7: "crc32",
        8: "atomics",
        9: "fphp",
        10: "asimdhp",
        12: "asimdrdm",
        15: "lrcpc",
        20: "asimddp",
        22: "sve",
        23: "asimdfhm",
    },
    "armv7l": {12: "neon", 13: "vfpv3", 16: "vfpv4", 17: "idiva", 18: "idivt"},
}
"""Bits of Linux' AT_HWCAP (its ``uapi/asm/hwcap.h``), under the names of ``/proc/cpuinfo``."""

_AT_HWCAP = 16


def is_arm() -> bool:
    """Whether this process is ARM code."""
    return platform.machine() in _FEATURE_BITS


def features() -> tuple[str, ...]:
    """Return the features that the kernel tells this process, sorted."""
    bits, names = _hwcap(), _FEATURE_BITS[platform.machine()]
    return tuple(sorted(name for bit, name in names.items() if bits >> bit & 1))


def _hwcap() -> int:
    read = ctypes.CDLL(None).getauxval
    read.restype, read.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
    return int(read(_AT_HWCAP))
