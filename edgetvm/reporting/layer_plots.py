"""Plots of one network's layers: their times in order, and their place below the roofline."""

from itertools import cycle

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.typing import LineStyleType

from edgetvm.layer_profile import LayerProfile, Roofline
from edgetvm.reporting.drawing import (
    INK,
    MUTED,
    PAPER,
    SERIES,
    new_axes,
    separate_lines,
    set_log_axis,
)
from edgetvm.units import format_size, format_throughput

_KINDS = (
    ("compute", "bound by compute", SERIES[0], ""),
    ("memory", "bound by memory", SERIES[1], "////"),
    (None, "measured", SERIES[0], ""),
)
_DASHES: tuple[LineStyleType, ...] = ("solid", (0, (6, 2)), (0, (3, 2)), (0, (1, 2)))


def draw_layers(profile: LayerProfile) -> Figure:
    """Draw a bar a layer in the order in which they run, and a tick where the roofline has it."""
    figure, axes = new_axes(900, 300)
    numbered = list(enumerate(profile.layers, start=1))
    for bound, label, colour, hatch in _KINDS:
        own = [(place, layer) for place, layer in numbered if profile.bound_by(layer) == bound]
        if own:
            bars = Path.make_compound_path(
                *(_bar(place, layer.seconds * 1e3) for place, layer in own)
            )
            face = "none" if hatch else colour
            axes.add_patch(PathPatch(bars, fc=face, ec=colour, hatch=hatch, label=label))
    if roofline := profile.roofline:
        bounds_ms = [(place, roofline.ceiling(layer)[0] * 1e3) for place, layer in numbered]
        lines = [((place - 0.5, bound), (place + 0.5, bound)) for place, bound in bounds_ms]
        axes.plot(*separate_lines(lines), color=INK, linewidth=2, label="at best, by the roofline")
    axes.set_xlim(0, len(numbered) + 1)
    axes.set_ylim(0, 1.05e3 * max(layer.seconds for layer in profile.layers))
    axes.set_xlabel("layer, in the order in which they run")
    axes.set_ylabel("ms")
    axes.grid(visible=False, axis="x")
    figure.legend(loc="outside upper left", ncols=3)
    return figure


def _bar(place: float, height: float) -> Path:
    left, right = place - 0.4, place + 0.4
    return Path([(left, 0), (left, height), (right, height), (right, 0), (left, 0)], closed=True)


def draw_roofline(profile: LayerProfile, roofline: Roofline) -> Figure:
    """Draw the layers that compute, operations a second over operations a byte, and ceilings."""
    figure, axes = new_axes(460, 480)
    computing = [layer for layer in profile.layers if layer.flop]
    intensities = [layer.flop / layer.moved_bytes for layer in computing]
    throughputs = [layer.flop / layer.seconds / 1e9 for layer in computing]
    ridges = [roofline.flop_per_s.value / memory.value for memory in roofline.bytes_per_s]
    low, high = min(*intensities, *ridges) / 2, max(*intensities, *ridges) * 2
    _draw_ceilings(axes, roofline, low, high)
    for (bound, label, colour, hatch), marker in zip(_KINDS[:2], "os", strict=True):
        own = [place for place, one in enumerate(computing) if profile.bound_by(one) == bound]
        axes.plot(
            [intensities[place] for place in own],
            [throughputs[place] for place in own],
            color=colour,
            marker=marker,
            markerfacecolor=PAPER if hatch else colour,
            markersize=7,
            linestyle="none",
            label=label,
        )
    highest = max(*throughputs, roofline.flop_per_s.value / 1e9)
    set_log_axis(axes, "x", low, high)
    set_log_axis(axes, "y", min(throughputs) / 1.5, highest * 1.3)
    axes.set_xlabel("operations a byte")
    axes.set_ylabel("GFLOP/s")
    figure.legend(loc="outside lower left", ncols=2)
    return figure


def _draw_ceilings(axes: Axes, roofline: Roofline, low: float, high: float) -> None:
    peak = roofline.flop_per_s.value
    for memory, dashes in zip(roofline.bytes_per_s, cycle(_DASHES), strict=False):
        ridge = min(max(peak / memory.value, low), high)
        axes.plot(
            [low, ridge, high],
            [min(place * memory.value, peak) / 1e9 for place in (low, ridge, high)],
            color=MUTED,
            linestyle=dashes,
            linewidth=1.2,
            label=f"{memory.value / 1e9:.0f} GB/s from {format_size(memory.footprint_bytes)}",
        )
    for ceiling, label, dashes in (
        (roofline.flop_per_s, "all threads", "-"),
        (roofline.one_thread_flop_per_s, "one thread", ":"),
    ):
        axes.axhline(
            ceiling.value / 1e9,
            color=INK,
            linewidth=1.2,
            linestyle=dashes,
            label=f"{format_throughput(ceiling.value)}, {label}",
        )
