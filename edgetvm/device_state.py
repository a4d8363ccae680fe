"""What a Linux machine does at one moment: clocks, governors, temperatures, throttling, load.

A latency is worth little without it: a board that throttles takes twice as long.
"""

import re
from pathlib import Path
from typing import Self

import msgspec

_PI_FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"
_PI_FLAGS = {
    0: "under-voltage",
    1: "clock capped",
    2: "throttled",
    3: "soft temperature limit",
}
"""Bits of the Raspberry Pi's ``get_throttled``, as its documentation of vcgencmd lists them; those
from 16 on say the same of the time since boot."""


class DeviceState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a machine, as far as its kernel tells; what it does not tell is left out.

    Attributes
    ----------
    clocks_mhz : of each CPU, by its number.
    governors : frequency governors in use.
    temperatures_c : by the thermal zone's name.
    throttled : why the machine is slower than it could be, such as ``under-voltage``.
    load : average number of running processes in the last minute.
    available_memory_bytes : for new programs.
    """

    clocks_mhz: dict[int, int]
    governors: tuple[str, ...]
    temperatures_c: dict[str, float]
    throttled: tuple[str, ...]
    load: float | None
    available_memory_bytes: int | None

    @classmethod
    def read(cls, root: Path = Path("/")) -> Self:
        """Read ``/proc`` and ``/sys`` below `root`."""
        cpus = root / "sys/devices/system/cpu"
        clocks_khz = {
            int(path.parts[-3].removeprefix("cpu")): _text(path)
            for path in cpus.glob("cpu[0-9]*/cpufreq/scaling_cur_freq")
        }
        governors = {_text(path) for path in cpus.glob("cpu[0-9]*/cpufreq/scaling_governor")}
        load = _text(root / "proc/loadavg").partition(" ")[0]
        available = re.search(r"MemAvailable:\s*(\d+) kB", _text(root / "proc/meminfo"))
        return cls(
            clocks_mhz={cpu: int(k) // 1000 for cpu, k in sorted(clocks_khz.items()) if k},
            governors=tuple(sorted(governors - {""})),
            temperatures_c=_temperatures_c(root),
            throttled=(*_firmware_flags(root), *_cooled(root)),
            load=float(load) if load else None,
            available_memory_bytes=int(available[1]) * 1024 if available else None,
        )

    def __str__(self) -> str:
        """In a line, what is known: ``600 to 1500 MHz, governor ondemand, 48 °C, load 0.3``."""
        clocks = sorted(set(self.clocks_mhz.values()))
        parts = [
            " to ".join(map(str, dict.fromkeys([clocks[0], clocks[-1]]))) + " MHz"
            if clocks
            else "",
            f"governor {', '.join(self.governors)}" if self.governors else "",
            f"{max(self.temperatures_c.values()):.0f} °C" if self.temperatures_c else "",
            "" if self.load is None else f"load {self.load}",
            f"slowed down: {', '.join(self.throttled)}" if self.throttled else "",
        ]
        return ", ".join(filter(None, parts))


def _temperatures_c(root: Path) -> dict[str, float]:
    found: dict[str, float] = {}
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        millidegrees = _text(zone / "temp")
        if re.fullmatch(r"-?\d+", millidegrees):
            found[_text(zone / "type") or zone.name] = int(millidegrees) / 1000
    return found


def _firmware_flags(root: Path) -> list[str]:
    """Return what a Raspberry Pi's firmware reports at this moment."""
    text = _text(root / _PI_FIRMWARE)
    flags = int(text, 16) if re.fullmatch(r"(0x)?[0-9a-f]+", text) else 0
    return [name for bit, name in _PI_FLAGS.items() if flags >> bit & 1]


def _cooled(root: Path) -> list[str]:
    """Return which processors the kernel holds back to cool the machine."""
    devices = sorted((root / "sys/class/thermal").glob("cooling_device*"))
    states = {device: (_text(device / "type"), _text(device / "cur_state")) for device in devices}
    return [
        f"{kind} cooled by {state} steps"
        for kind, state in states.values()
        if re.search("cpu|processor", kind, re.IGNORECASE) and state not in ("", "0")
    ]


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
