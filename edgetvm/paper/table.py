"""A comparison as rows of text, header to cell: the same rows for the terminal and for files."""

import csv
import io
from collections.abc import Sequence

from edgetvm.paper.comparison import Comparison, ModelComparison, PairComparison, PublishedFigure
from edgetvm.paper.estimate import Estimate
from edgetvm.paper.published_ratio import PublishedRatio
from edgetvm.units import format_latency

Row = dict[str, str]
"""Header to cell. All rows of one table have the same headers in the same order."""

NOTHING = "-"
"""Cell of what was not measured or is not stated."""


def latency_rows(comparison: Comparison) -> list[Row]:
    """Return a row a run: our latencies, medians with 95 % intervals."""
    return [_latency_row(one) for one in comparison.models]


def figure_rows(comparison: Comparison) -> list[Row]:
    """Return a row a published figure of each network that was run."""
    # Runs of one network on several devices share its figures, but not what is another device.
    rows = [_figure_row(one, beside) for one in comparison.models for beside in one.published]
    return list({tuple(row.items()): row for row in rows}.values())


def ratio_rows(comparison: Comparison) -> list[Row]:
    """Return a row a pair and published ratio; a pair that no paper has keeps a row of its own."""
    return [
        {**_pair_cells(pair), **_published_ratio_cells(ratio)}
        for pair in comparison.pairs
        for ratio in pair.published or (None,)
    ]


def to_markdown(rows: Sequence[Row]) -> str:
    """Return `rows` as a Markdown table, ending in a newline; empty if there are none."""
    if not rows:
        return ""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "".join(f"| {' | '.join(map(_markdown_cell, line))} |\n" for line in lines)


def to_csv(rows: Sequence[Row]) -> str:
    """Return `rows` as CSV with a header line; empty if there are none."""
    if not rows:
        return ""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _latency_row(one: ModelComparison) -> Row:
    return {
        "Model": one.model,
        "Target": one.target,
        "Device": one.device,
        "Threads": str(one.threads),
        "Estimate": format_latency(one.estimate_s) if one.estimate_s else NOTHING,
        "At build": format_latency(one.at_build_s) if one.at_build_s else NOTHING,
        "Untuned": _latency(one.untuned),
        "Tuned": _latency(one.tuned),
        "Reference": _latency(one.reference) if one.reference else NOTHING,
        "Reference runtime": one.reference_runtime or NOTHING,
        "Untuned / tuned": _ratio(one.speedup),
        "Relative error": f"{one.relative_error:.1e}",
        "Tuned tasks": f"{one.tuned_tasks}/{one.tasks}",
    }


def _figure_row(one: ModelComparison, beside: PublishedFigure) -> Row:
    figure = beside.figure
    return {
        "Model": one.model,
        "Paper": beside.paper,
        "Where": figure.where,
        "Latency": _as_printed(figure.latency_ms, " ms"),
        "Device": figure.device or NOTHING,
        "Other device": _yes_or_no(beside.other_device),
        "Threads": _as_printed(figure.threads),
        "Runtime": figure.runtime or NOTHING,
        "Precision": figure.precision,
        "Resolution": _as_printed(figure.input_resolution),
        "Top-1": f"{figure.top1:.1f} %" if figure.top1 else NOTHING,
        "COCO mAP": _as_printed(figure.coco_map, " %"),
        "mIoU": _as_printed(figure.miou, " %"),
        "Parameters": _as_printed(figure.params_m, " M"),
        "Multiply-adds": _as_printed(figure.madds_m, " M"),
        "Operations": _as_printed(figure.flop_m, " M"),
        "Source": figure.source,
        "Note": figure.note or NOTHING,
        "Our count differs": figure.deviation or NOTHING,
    }


def _pair_cells(pair: PairComparison) -> Row:
    return {
        "Models": f"{pair.slower} / {pair.faster}",
        "Target": pair.target,
        "Device": pair.device,
        "Threads": str(pair.threads),
        "Our latency ratio": _ratio(pair.ratio),
    }


def _published_ratio_cells(published: PublishedRatio | None) -> Row:
    headers = ("Published ratio", "Ratio of", "Paper", "Where", "Paper's device", "Precision")
    if published is None:
        return dict.fromkeys(headers, NOTHING)
    across = ", two papers" if len(published.papers) > 1 else ""
    cells = (
        f"{published.ratio:.2f}",
        published.basis + across,
        " and ".join(published.papers),
        " and ".join(published.where),
        published.device or NOTHING,
        published.precision or NOTHING,
    )
    return dict(zip(headers, cells, strict=True))


def _latency(estimate: Estimate) -> str:
    low, high = (
        format_latency(value).removesuffix(" ms") for value in (estimate.low, estimate.high)
    )
    return f"{format_latency(estimate.value)} ({low} to {high})"


def _ratio(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


def _as_printed(value: float | str | None, unit: str = "") -> str:
    # Not format_latency: three digits would claim more than the paper prints.
    if value is None:
        return NOTHING
    return value if isinstance(value, str) else f"{value:.10g}{unit}"


def _yes_or_no(value: bool | None) -> str:
    return NOTHING if value is None else "yes" if value else "no"


def _markdown_cell(cell: str) -> str:
    return cell.replace("|", r"\|").replace("\n", " ")
