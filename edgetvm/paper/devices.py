"""Which of ours a published device is: the same board, another with the same core, or neither."""

from functools import cache
from pathlib import Path
from typing import Literal

import msgspec

from edgetvm.errors import UsageError
from edgetvm.files import read_toml
from edgetvm.measurement import Run

DEVICES = Path(__file__).parent / "devices.toml"

Match = Literal["same board", "same core", "other device"]


class PublishedDevice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A device that published latencies are from.

    Attributes
    ----------
    printed : its names in figures and board latencies.
    targets : profiles of this very board, and of those of its cores that the source names.
    board : how the name begins that the board's firmware tells; empty if unknown.
    core : the design of its cores, as a device of ours tells it; empty if unknown.
    """

    printed: tuple[str, ...]
    targets: tuple[str, ...] = ()
    board: str = ""
    core: str = ""


class _DeviceFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    devices: tuple[PublishedDevice, ...] = msgspec.field(name="device")


@cache
def load_devices(path: Path = DEVICES) -> dict[str, PublishedDevice]:
    """Load the published devices by each of their printed names.

    Raises
    ------
    UsageError
        The file is faulty, or two devices have one name.
    """
    found: dict[str, PublishedDevice] = {}
    for device in read_toml(path, _DeviceFile).devices:
        for name in device.printed:
            if name in found:
                raise UsageError(f"{path}: {name!r} stands twice. Remove one of them.")
            found[name] = device
    return found


def match_device(printed: str, run: Run) -> Match:
    """Tell how near the device that a source names is to the one that ran `run`."""
    if printed == run.device.processor:
        return "same core"
    device = load_devices().get(printed)
    if device is None:
        return "other device"
    is_board = run.target in device.targets
    if run.device.opencl is not None:
        return "same board" if is_board else "other device"
    is_board |= bool(device.board) and run.device.board.startswith(device.board)
    cores = _known_cores(run)
    # Of an x86 CPU the target is LLVM's name for the design.
    is_core = bool(device.core) and device.core in {*cores, run.target}
    if is_board and (is_core or not cores):
        return "same board"
    return "same core" if is_core else "other device"


def _known_cores(run: Run) -> set[str]:
    """Return the designs of the cores that ran it; none where the kernel does not tell."""
    cpus = {int(cpu) for cpu in run.cpus.split(",") if cpu}
    ran = (one for one in run.device.clusters if not cpus or cpus & set(one.cpus))
    return {cluster.core for cluster in ran} - {""}
