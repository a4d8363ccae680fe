"""Where a network's time goes, layer by layer, and what the device could do at best."""

from pathlib import Path
from typing import Literal

import msgspec

from edgetvm.device_info import DeviceInfo
from edgetvm.files import read_newest, write_dated

SCHEMA_VERSION = 1

Bound = Literal["compute", "memory", "latency"]
"""What a layer's time is spent on. Of a measured one only the ceilings are known."""


class Ceiling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The most that a device does of something, a second: median of the probe, and its interval."""

    value: float
    low: float
    high: float


class MemoryCeiling(Ceiling, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The most bytes that a device reads and writes a second, of arrays of a size.

    Attributes
    ----------
    footprint_bytes : of all arrays together, over and over: what a cache holds comes from there.
    """

    footprint_bytes: int


class Roofline(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A device's ceilings, as a probe measured them on the threads that the network ran on.

    Attributes
    ----------
    flop_per_s : fp32, multiply and add counted apart.
    one_thread_flop_per_s : the same of one thread.
    bytes_per_s : by footprint, the smallest first; the last is that of memory.
    """

    flop_per_s: Ceiling
    one_thread_flop_per_s: Ceiling
    bytes_per_s: tuple[MemoryCeiling, ...]

    def memory_ceiling(self, moved_bytes: int) -> MemoryCeiling:
        """Return the fastest that so many bytes can come, were they all in the nearest cache."""
        smaller = [one for one in self.bytes_per_s if one.footprint_bytes <= moved_bytes]
        return max(self.bytes_per_s[max(0, len(smaller) - 1) :], key=lambda one: one.value)

    def ceiling(self, work: "LayerWork") -> tuple[float, Ceiling]:
        """Return the seconds that the work takes at least, and the ceiling that says so.

        As in Williams et al. 2009, with a ceiling for each cache.
        """
        memory = self.memory_ceiling(work.moved_bytes)
        bounds = (
            (work.flop / self.flop_per_s.value, self.flop_per_s),
            (work.moved_bytes / memory.value, memory),
        )
        return max(bounds, key=lambda bound: bound[0])


class LayerWork(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One operator of the compiled network, in the order in which they run.

    Attributes
    ----------
    name : in short what it computes, such as ``conv2d 3x3/2 3->112x112x32+add+clip``.
    function : TVM's name of it in the library.
    flop : operations of its convolutions and products, multiply and add counted apart.
    moved_bytes : its inputs, weights and outputs, each once.
    weight_bytes : of these, its weights.
    is_tuned : whether its schedule comes from a record.
    """

    name: str
    function: str
    flop: int
    moved_bytes: int
    weight_bytes: int = 0
    is_tuned: bool


class Layer(LayerWork, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same, timed: `seconds` is the median of one run within the network."""

    seconds: float


class LayerTimes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A network's layers with their times, in order, and what they could reach at best.

    Attributes
    ----------
    roofline : None if it is not known.
    """

    layers: tuple[Layer, ...]
    roofline: Roofline | None

    @property
    def layers_s(self) -> float:
        """Sum of all layers' times, seconds."""
        return sum(layer.seconds for layer in self.layers)

    def share(self, layer: Layer) -> float:
        """Part of all layers' time that `layer` takes, 0 to 1."""
        return layer.seconds / self.layers_s

    def roofline_share(self, layer: Layer) -> float | None:
        """Part of the roofline that `layer` reaches, 1 being all, not clipped."""
        if self.roofline is None:
            return None
        return self.roofline.ceiling(layer)[0] / layer.seconds

    def bound_by(self, layer: Layer) -> Bound | None:
        """Return which ceiling is the lower one for `layer`; None without a roofline."""
        if self.roofline is None:
            return None
        _, ceiling = self.roofline.ceiling(layer)
        return "memory" if isinstance(ceiling, MemoryCeiling) else "compute"


class LayerProfile(LayerTimes, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One profile of one bundle on one device; written to its own file below the bundle.

    Attributes
    ----------
    measured_at : UTC, ISO 8601.
    network_s : median latency of the whole network, timed apart from its layers.
    roofline : None for a GPU, which the probe does not reach, and on an emulated device.
    """

    schema_version: int = SCHEMA_VERSION
    model: str
    target: str
    bundle_id: str
    measured_at: str
    device: DeviceInfo
    threads: int
    network_s: float

    @property
    def gap_s(self) -> float:
        """What the network takes beyond the sum of its layers; below 0 where it takes less."""
        return self.network_s - self.layers_s

    @property
    def faults(self) -> tuple[Layer, ...]:
        """Layers above the roofline by more than the probe's interval: the probe is at fault."""
        if self.roofline is None:
            return ()
        found = []
        for layer in self.layers:
            bound_s, ceiling = self.roofline.ceiling(layer)
            if bound_s * ceiling.value / ceiling.high > layer.seconds:
                found.append(layer)
        return tuple(found)


def write_profile(profile: LayerProfile, bundle: Path) -> Path:
    """Write `profile` to a file of its own below `bundle`, and return the file."""
    return write_dated(bundle / "profiles", profile.measured_at, profile)


def latest_profile(bundle: Path) -> LayerProfile | None:
    """Return the newest profile of `bundle` as it is now, None if there is none.

    Raises
    ------
    UsageError
        The newest file comes from another version of edgetvm.
    """
    return read_newest(bundle / "profiles", LayerProfile, what="profile", remedy="profile again")
