"""What a Linux machine does at one moment: clocks, governors, temperatures, throttling, load.

A latency is worth little without it: a board that throttles takes twice as long.
"""

import os
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
    uptime_s : seconds since the machine started.
    busy_s : processor seconds since then, of all programs and whatever else keeps a core from us,
        on the cores that this process may use.
    process_s : processor seconds of the process that asks, with all its threads.
    process_peak_bytes : the most memory that it ever held.
    throttle_events : how often x86 cores slowed themselves down since the machine started.
    """

    clocks_mhz: dict[int, int]
    governors: tuple[str, ...]
    temperatures_c: dict[str, float]
    throttled: tuple[str, ...]
    load: float | None
    available_memory_bytes: int | None
    uptime_s: float | None = None
    busy_s: float | None = None
    process_s: float | None = None
    process_peak_bytes: int | None = None
    throttle_events: int | None = None

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
        status = _text(root / "proc/self/status")
        uptime = _text(root / "proc/uptime").partition(" ")[0]
        return cls(
            clocks_mhz={cpu: int(k) // 1000 for cpu, k in sorted(clocks_khz.items()) if k},
            governors=tuple(sorted(governors - {""})),
            temperatures_c=_temperatures_c(root),
            throttled=(*_firmware_flags(root), *_cooled(root)),
            load=float(load) if load else None,
            available_memory_bytes=_kilobytes("MemAvailable", _text(root / "proc/meminfo")),
            uptime_s=float(uptime) if uptime else None,
            busy_s=_busy_s(_text(root / "proc/stat"), status),
            process_s=_process_s(_text(root / "proc/self/stat")),
            process_peak_bytes=_kilobytes("VmHWM", status),
            throttle_events=_throttle_events(cpus),
        )

    @property
    def clocks(self) -> str:
        """The slowest and the fastest CPU's clock: ``600 to 1500 MHz``; empty if unknown."""
        ends = [end(self.clocks_mhz.values()) for end in (min, max) if self.clocks_mhz]
        return " to ".join(map(str, dict.fromkeys(ends))) + " MHz" if ends else ""

    @property
    def temperature(self) -> str:
        """That of the hottest zone: ``48 °C``; empty if unknown."""
        return f"{max(self.temperatures_c.values()):.0f} °C" if self.temperatures_c else ""

    def __str__(self) -> str:
        """In a line, what is known: ``600 to 1500 MHz, governor ondemand, 48 °C, load 0.3``."""
        parts = [
            self.clocks,
            f"governor {', '.join(self.governors)}" if self.governors else "",
            self.temperature,
            "" if self.load is None else f"load {self.load}",
            f"slowed down: {', '.join(self.throttled)}" if self.throttled else "",
        ]
        return ", ".join(filter(None, parts))


def others_busy(before: DeviceState, after: DeviceState, own_s: float = 0.0) -> float | None:
    """Return how many cores programs other than the asking process kept busy between two states.

    Parameters
    ----------
    own_s : processor seconds of further processes that are no strangers.

    Returns
    -------
    None where the kernel does not say, or no time went by.
    """
    deltas = [
        None if first is None or last is None else last - first
        for first, last in (
            (before.busy_s, after.busy_s),
            (before.process_s, after.process_s),
            (before.uptime_s, after.uptime_s),
        )
    ]
    busy_s, process_s, elapsed_s = deltas
    if busy_s is None or process_s is None or not elapsed_s:
        return None
    return max(0.0, busy_s - process_s - own_s) / elapsed_s


def _kilobytes(name: str, text: str) -> int | None:
    """Return a line of the kernel's, such as ``VmHWM:  1696 kB``, in bytes."""
    found = re.search(rf"^{name}:\s*(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _busy_s(stat: str, status: str) -> float | None:
    """Return all that ``/proc/stat`` counts but idling, waiting and what is counted twice."""
    allowed = re.search(r"^Cpus_allowed_list:\s*(\S+)", status, re.MULTILINE)
    if allowed is None:
        return None
    cpus = set()
    for part in allowed[1].split(","):
        first, _, last = part.partition("-")
        cpus |= {f"cpu{number}" for number in range(int(first), int(last or first) + 1)}
    lines = [line.split() for line in stat.splitlines()]
    times = [[int(field) for field in line[1:9]] for line in lines if line and line[0] in cpus]
    if not times or any(len(fields) < 8 for fields in times):
        return None
    busy = sum(
        user + nice + system + interrupts + soft_interrupts + stolen
        for user, nice, system, _idle, _waiting, interrupts, soft_interrupts, stolen in times
    )
    return busy / os.sysconf("SC_CLK_TCK")


def _process_s(stat: str) -> float | None:
    """Return user and system time, fields 14 and 15; field 2, a name, may hold anything."""
    fields = stat.rpartition(")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    return (int(fields[11]) + int(fields[12])) / ticks if len(fields) > 12 else None


def _throttle_events(cpus: Path) -> int | None:
    counts = [_text(path) for path in cpus.glob("cpu[0-9]*/thermal_throttle/core_throttle_count")]
    return sum(int(count) for count in counts if count) if counts else None


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
