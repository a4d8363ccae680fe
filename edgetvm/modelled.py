"""What a cycle model says of a network on cores that are not at hand, layer by layer."""

from pathlib import Path

from edgetvm.files import read_newest, write_dated
from edgetvm.layer_profile import Bound, Layer, LayerTimes

SCHEMA_VERSION = 1

BUSY = 0.25
"""Part of the roofline below which neither arithmetic nor memory is what a layer waits for."""


class ModelledLayer(Layer, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A layer whose `seconds` are an estimate.

    Attributes
    ----------
    waiting_s : of these, for caches and memory.
    """

    waiting_s: float


class ModelledLatency(LayerTimes, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An estimate of one bundle on its target; written to its own file below the bundle.

    It was not measured, and says so wherever it is shown.

    Attributes
    ----------
    modelled_at : UTC, ISO 8601.
    target, title, core : the profile's name, the device's and its cores'.
    clock_mhz : that the cycles are divided by.
    seconds, low_s, high_s : of the network; between the last two lie nine of ten published
        latencies of boards, as `benchmarks/boards.py` found.
    roofline : of the profile's figures; None if one of them is missing.
    """

    schema_version: int = SCHEMA_VERSION
    model: str
    target: str
    title: str
    core: str
    bundle_id: str
    modelled_at: str
    threads: int
    clock_mhz: float
    layers: tuple[ModelledLayer, ...]
    seconds: float
    low_s: float
    high_s: float

    def bound_by(self, layer: Layer) -> Bound | None:
        """Return what keeps `layer` from being faster; None without a roofline.

        Where it is far from both ceilings that is latency: instructions that wait for one another,
        or for caches, and the handing out of work to threads.
        """
        share = self.roofline_share(layer)
        if share is not None and share < BUSY:
            return "latency"
        return super().bound_by(layer)


def write_modelled(modelled: ModelledLatency, bundle: Path) -> Path:
    """Write an estimate to a file of its own below `bundle`, and return the file."""
    return write_dated(bundle / "modelled", modelled.modelled_at, modelled)


def latest_modelled(bundle: Path) -> ModelledLatency | None:
    """Return the newest estimate of `bundle`, None if there is none.

    Raises
    ------
    UsageError
        The newest file comes from another version of edgetvm.
    """
    return read_newest(
        bundle / "modelled",
        ModelledLatency,
        what="estimate",
        remedy="deploy again with --rpc modelled",
    )
