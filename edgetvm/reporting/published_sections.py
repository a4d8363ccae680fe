"""Sections on what was published, beside what was measured here."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import get_args

from edgetvm.comparison_display import (
    BOARD_COLUMNS,
    FIGURE_COLUMNS,
    MODELLED_COLUMNS,
    MODELLED_TITLE,
    RATIO_COLUMNS,
)
from edgetvm.paper.claim_check import Outcome
from edgetvm.paper.table import (
    NOTHING,
    Row,
    board_rows,
    claim_rows,
    figure_rows,
    modelled_rows,
    ratio_rows,
)
from edgetvm.reporting.accuracy import Point, pareto_front, published_points, published_top1
from edgetvm.reporting.document import Plot, Section, Table
from edgetvm.reporting.material import Material, Network
from edgetvm.reporting.plots import draw_accuracy
from edgetvm.units import format_latency

_CLAIM_COLUMNS = (
    "Claim",
    "Says",
    "Outcome",
    "Published",
    "Ours",
    "Networks",
    "Ratio of",
    "Why",
    "Doubts",
    "Paper",
    "Where",
)

_MARGIN = 2.0
"""Of the axis of accuracies, percent points."""


def accuracy(material: Material) -> Section:
    """Show published accuracies against our latencies, and against the papers'."""
    ours = {
        setting: [point for one in networks if (point := _point(one, material)) is not None]
        for setting, networks in material.by_setting.items()
    }
    placed = {point.model for points in ours.values() for point in points}
    others = sorted({one.model for one in material.networks} - placed)
    return Section(
        title="Accuracy and latency",
        notes=(
            "Accuracies are the papers' top-1 on ImageNet; none was measured here.",
            (
                "A line is a Pareto front: no network of the same device is both faster than one "
                "on it and as accurate. The papers' latencies are of other devices, and stand "
                "beside ours without being compared."
            ),
            *([f"Without a published top-1: {', '.join(others)}."] if others else []),
        ),
        plots=_accuracy_plots(ours, published_points(material.papers)),
        tables=(Table(title="Accuracy here", rows=_accuracy_rows(material, ours)),),
    )


def _point(network: Network, material: Material) -> Point | None:
    stated = published_top1(network.model, material.papers)
    if stated is None:
        return None
    _, figure = stated
    assert figure.top1 is not None
    tuned = network.compared.tuned
    return Point(
        model=network.model,
        series=network.architecture,
        top1=figure.top1,
        latency_s=tuned.value,
        low_s=tuned.low,
        high_s=tuned.high,
    )


def _accuracy_plots(
    ours: Mapping[str, Sequence[Point]], theirs: Sequence[Point]
) -> tuple[Plot, ...]:
    all_ours = [point for points in ours.values() for point in points]
    top1 = [point.top1 for point in (*all_ours, *theirs)]
    panels = (
        *((f"Here: {setting}", points, all_ours) for setting, points in ours.items()),
        ("Other devices: the papers' own points", theirs, theirs),
    )
    return tuple(
        Plot(
            title=title,
            description=_describe(points),
            draw=partial(
                draw_accuracy,
                points,
                sorted({point.series for point in family}),
                (min(top1) - _MARGIN, max(top1) + _MARGIN),
                named=family is all_ours,
            ),
        )
        for title, points, family in panels
        if points
    )


def _describe(points: Sequence[Point]) -> str:
    front = ", ".join(
        f"{point.model} ({point.top1:.1f} %, {format_latency(point.latency_s)})"
        for point in pareto_front(points)
    )
    return f"{len(points)} points. No other is both faster and as accurate as: {front}."


def _accuracy_rows(material: Material, ours: Mapping[str, Sequence[Point]]) -> list[Row]:
    rows = []
    for setting, points in ours.items():
        front = pareto_front(points)
        for point in sorted(points, key=lambda one: -one.top1):
            stated = published_top1(point.model, material.papers)
            assert stated is not None
            paper, figure = stated
            rows.append(
                {
                    "Model": point.model,
                    "Top-1": f"{point.top1:.1f} %",
                    "Our latency": format_latency(point.latency_s),
                    "On the front": "yes" if point in front else "no",
                    "Setting": setting,
                    "Top-1 from": f"{paper.citation}, {figure.where}",
                }
            )
    return rows


def claims(material: Material) -> Section:
    """Show what the papers claim, and whether it holds here."""
    checks = material.comparison.claims
    outcomes = Counter(check.outcome for check in checks)
    counted = ", ".join(f"{outcomes[one]} {one}" for one in get_args(Outcome) if outcomes[one])
    rows = claim_rows(material.comparison)
    return Section(
        title="Claims",
        notes=(
            f"Numbers that the papers claim, each judged by the same rule: {counted}.",
            "Partly is what holds in its direction, but not in its size.",
        ),
        tables=(
            Table(
                title="What the papers claim, and whether it holds here",
                rows=[row for row in rows if row["Ours"] != NOTHING],
                columns=_CLAIM_COLUMNS,
            ),
            Table(
                title="Claims without an answer here",
                rows=[row for row in rows if row["Ours"] == NOTHING],
                columns=("Claim", "Says", "Networks", "Outcome", "Why"),
                folded=True,
            ),
        ),
    )


def published(material: Material) -> Section:
    """Show the papers' figures of the networks that ran here, and the ratios of both."""
    comparison = material.comparison
    return Section(
        title="Published figures",
        notes=("A paper's figure keeps the paper's device; ratios are formed within one device.",),
        tables=(
            Table(
                title="The papers' figures, each on its own device",
                rows=figure_rows(comparison),
                columns=FIGURE_COLUMNS,
                folded=True,
            ),
            Table(
                title="Ratios between networks, ours and the papers'",
                rows=ratio_rows(comparison),
                columns=RATIO_COLUMNS,
                folded=True,
            ),
            Table(
                title="Published latencies of boards, with as many threads as ours",
                rows=board_rows(comparison),
                columns=BOARD_COLUMNS,
            ),
            Table(
                title=MODELLED_TITLE,
                rows=modelled_rows(comparison),
                columns=MODELLED_COLUMNS,
            ),
        ),
    )
