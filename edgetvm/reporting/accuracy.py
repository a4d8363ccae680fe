"""Published accuracies beside latencies, and which networks no other beats in both."""

from collections.abc import Sequence

import msgspec

from edgetvm.paper.figures import Figure, Paper, figures_of


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One network: top-1 in percent, and a latency in seconds with its interval.

    Attributes
    ----------
    series : whose it is, for its colour and shape.
    """

    model: str
    series: str
    top1: float
    latency_s: float
    low_s: float
    high_s: float


def published_top1(model: str, papers: Sequence[Paper]) -> tuple[Paper, Figure] | None:
    """Return the first figure with the network's accuracy at full precision, None without one.

    Of papers sorted by age that is the one that defines the network; later ones cite it.
    """
    stated = (
        (paper, figure)
        for paper, figure in figures_of(model, papers)
        if figure.top1 is not None and figure.precision == "float32"
    )
    return next(stated, None)


def published_points(papers: Sequence[Paper]) -> list[Point]:
    """Return every published row with accuracy and latency at full precision, by device."""
    return [
        Point(
            model=figure.model,
            series=figure.device,
            top1=figure.top1,
            latency_s=figure.latency_ms / 1e3,
            low_s=figure.latency_ms / 1e3,
            high_s=figure.latency_ms / 1e3,
        )
        for paper in papers
        for figure in paper.figures
        if figure.device is not None
        and figure.latency_ms is not None
        and figure.top1 is not None
        and figure.precision == "float32"
    ]


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Return the points than which no other is both faster and as accurate, the fastest first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda one: (one.latency_s, -one.top1)):
        if not front or point.top1 > front[-1].top1:
            front.append(point)
    return front
