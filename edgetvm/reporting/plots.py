"""Plots of whole networks: accuracy against latency, samples, tuning curves."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from edgetvm.measurement import Measurement
from edgetvm.reporting.accuracy import Point, pareto_front
from edgetvm.reporting.drawing import (
    INK,
    MARKERS,
    MUTED,
    PAPER,
    SERIES,
    new_axes,
    separate_lines,
    set_log_axis,
)
from edgetvm.reporting.tuning_curve import TuningCurve

_MANY = 14
"""Of more points than this only those on the front are named."""

_AXES_WIDTH, _AXES_HEIGHT = 350, 330
_LETTER_WIDTH, _LINE_HEIGHT = 6.2, 13
"""About, in pixels, to see which names there is room for."""


def draw_accuracy(
    points: Sequence[Point], series: Sequence[str], top1_range: tuple[float, float], *, named: bool
) -> Figure:
    """Draw published accuracy against latency.

    Parameters
    ----------
    series : all series of the page, so that each has the same colour and shape everywhere.
    top1_range : of the y axis, so that panels can be compared.
    named : whether the points are one device's: with the Pareto front, and networks' names.
        Otherwise each series is a device of its own, with its own front.
    """
    figure, axes = new_axes(420, 440)
    latencies_ms = [latency * 1e3 for point in points for latency in (point.low_s, point.high_s)]
    set_log_axis(axes, "x", min(latencies_ms) / 3.5, max(latencies_ms) * 1.5)
    axes.set_ylim(*top1_range)
    axes.set_xlabel("latency, ms")
    axes.set_ylabel("published top-1, %")
    for number, name in enumerate(series):
        if own := [point for point in points if point.series == name]:
            colour, marker = SERIES[number % len(SERIES)], MARKERS[number % len(MARKERS)]
            _draw_points(axes, own, colour, marker)
            if not named:
                axes.plot(*_coordinates(pareto_front(own)), color=colour, linewidth=0.8, zorder=1)
    if named:
        front = pareto_front(points)
        axes.plot(*_coordinates(front), color=MUTED, linewidth=1, zorder=1)
        _draw_names(axes, front, [] if len(points) > _MANY else points)
    longest = max(len(point.series) for point in points)
    figure.legend(loc="outside lower left", ncols=2 if longest < 22 else 1)
    return figure


def _draw_points(axes: Axes, points: Sequence[Point], colour: str, marker: str) -> None:
    axes.hlines(
        [point.top1 for point in points],
        [point.low_s * 1e3 for point in points],
        [point.high_s * 1e3 for point in points],
        color=colour,
        linewidth=1.2,
    )
    axes.plot(
        *_coordinates(points),
        color=colour,
        marker=marker,
        markeredgecolor=PAPER,
        markeredgewidth=0.8,
        markersize=9,
        linestyle="none",
        label=points[0].series,
    )


def _coordinates(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [point.latency_s * 1e3 for point in points], [point.top1 for point in points]


def _draw_names(axes: Axes, front: Sequence[Point], others: Sequence[Point]) -> None:
    """Name the points as far as there is room: those of the front above, where no point is."""
    taken: list[Bbox] = []
    for point in dict.fromkeys((*front, *others)):
        place = (point.latency_s * 1e3, point.top1)
        across, up = axes.transAxes.inverted().transform(axes.transData.transform(place))
        x, y, width = across * _AXES_WIDTH, up * _AXES_HEIGHT, len(point.model) * _LETTER_WIDTH
        is_above = point in front
        is_left = is_above and width < x
        below = y + 4 if is_above else y - 4 - _LINE_HEIGHT
        box = Bbox.from_bounds(x - width if is_left else x, below, width, _LINE_HEIGHT)
        if box.count_overlaps(taken):
            continue
        taken.append(box)
        axes.annotate(
            point.model,
            place,
            xytext=(-5 if is_left else 5, 5 if is_above else -13),
            textcoords="offset points",
            ha="right" if is_left else "left",
            fontsize=10.5,
            color=INK,
        )


def draw_samples(measurements: Mapping[str, Measurement]) -> Figure:
    """Draw every sample as a thin line, a row a library, with a long line at each median."""
    figure, axes = new_axes(340, 40 + 38 * len(measurements))
    for row, measurement in enumerate(measurements.values()):
        samples_ms = [seconds * 1e3 for seconds in measurement.samples_s]
        for values_ms, reach, width in (
            (samples_ms, 0.26, 0.7),
            ([measurement.median_s * 1e3], 0.42, 2.4),
        ):
            lines = [((value, row - reach), (value, row + reach)) for value in values_ms]
            axes.plot(*separate_lines(lines), color=SERIES[row], linewidth=width)
    everything_ms = [seconds * 1e3 for one in measurements.values() for seconds in one.samples_s]
    set_log_axis(axes, "x", min(everything_ms) / 1.1, max(everything_ms) * 1.1)
    axes.set_xlabel("ms")
    axes.set_yticks(range(len(measurements)), list(measurements), color=INK)
    axes.set_ylim(len(measurements) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    return figure


def draw_curve(curve: TuningCurve, measured_s: float) -> Figure:
    """Draw the estimate after each trial, and the measured latency as a dashed line."""
    figure, axes = new_axes(340, 190)
    estimates_ms = [seconds * 1e3 for seconds in curve.estimates_s]
    axes.step(
        [*curve.trials, curve.all_trials],
        [*estimates_ms, estimates_ms[-1]],
        where="post",
        color=SERIES[0],
        label="estimate",
    )
    axes.axhline(measured_s * 1e3, color=SERIES[1], linestyle=(0, (5, 3)), label="measured")
    axes.set_xlim(0, curve.all_trials * 1.02)
    axes.set_ylim(0, 1.08 * max(*estimates_ms, measured_s * 1e3))
    axes.set_xlabel("trials")
    axes.set_ylabel("ms")
    axes.legend(loc="lower left", ncols=2)
    return figure
