"""A comparison as rows of text, header to cell: the same rows for the terminal and for files."""

import csv
import io
from collections.abc import Sequence

from edgetvm.paper.boards import BoardComparison, BoardLatency
from edgetvm.paper.claim_check import RatioCheck
from edgetvm.paper.claims import ClaimedRatio
from edgetvm.paper.comparison import Comparison, ModelComparison, PairComparison, PublishedFigure
from edgetvm.paper.estimate import Estimate
from edgetvm.paper.modelled_figures import ModelledFigure
from edgetvm.paper.published_latency import PublishedLatency
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
    # Runs of one network in several settings share the figures that have no latency.
    rows = [_figure_row(one, beside) for one in comparison.models for beside in one.published]
    return list({tuple(row.items()): row for row in rows}.values())


def ratio_rows(comparison: Comparison) -> list[Row]:
    """Return a row a pair and published ratio; a pair that no paper has keeps a row of its own."""
    return [
        {**_pair_cells(pair), **_published_ratio_cells(ratio)}
        for pair in comparison.pairs
        for ratio in pair.published or (None,)
    ]


def claim_rows(comparison: Comparison) -> list[Row]:
    """Return a row a number that a paper claims, target and device."""
    return [_claim_row(one) for one in comparison.claims]


def board_rows(comparison: Comparison) -> list[Row]:
    """Return a row a published latency of a board beside ours, the nearest devices first."""
    return [_board_row(one) for one in comparison.boards]


def modelled_rows(comparison: Comparison) -> list[Row]:
    """Return a row an estimate and latency that was published of the same board."""
    return [_modelled_row(one) for one in comparison.modelled]


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
    is_timed = figure.latency_ms is not None
    return {
        "Model": one.model,
        "Paper": beside.paper,
        "Where": figure.where,
        "Latency": _as_printed(figure.latency_ms, " ms"),
        "Our latency": _latency(one.tuned) if is_timed else NOTHING,
        "Device": figure.device or NOTHING,
        "Beside ours": beside.match or NOTHING,
        "Our device": f"{one.device} ({one.target})" if is_timed else NOTHING,
        "Threads": _as_printed(figure.threads),
        "Our threads": str(one.threads) if is_timed else NOTHING,
        "Runtime": figure.runtime or NOTHING,
        "Precision": figure.precision,
        "Our precision": (one.precision or NOTHING) if is_timed else NOTHING,
        "Resolution": _as_printed(figure.input_resolution),
        "Top-1": f"{figure.top1:.1f} %" if figure.top1 else NOTHING,
        "COCO mAP": _as_printed(figure.coco_map, " %"),
        "mIoU": _as_printed(figure.miou, " %"),
        "Parameters": _as_printed(figure.params_m, " M"),
        "Our parameters": _millions(one.parameters, 2),
        "Multiply-adds": _as_printed(figure.madds_m, " M"),
        "Our multiply-adds": _millions(one.multiply_adds, 1),
        "Operations": _as_printed(figure.flop_m, " M"),
        "Source": figure.source,
        "Note": figure.note or NOTHING,
        "Our count differs": figure.deviation or NOTHING,
    }


def _claim_row(one: RatioCheck) -> Row:
    ratio = one.ratio
    bound = "" if ratio.expects == "about" else f"{ratio.expects} "
    return {
        "Claim": one.claim,
        "Paper": one.paper,
        "Says": one.says,
        "Where": one.where,
        "Ratio of": ratio.quantity,
        "Networks": " / ".join(ratio.models),
        "Published": f"{bound}{ratio.published:.3g}",
        "Ours": _ratio(one.ours) if one.ours else NOTHING,
        "Outcome": one.outcome,
        "Beside ours": one.match or NOTHING,
        "Paper's device": _published_setting(ratio),
        "Our device": _our_setting(one),
        "Why": " ".join(filter(None, (one.remark, ratio.note))) or NOTHING,
        "Doubts": "; ".join(one.doubts) or NOTHING,
    }


def _published_setting(ratio: ClaimedRatio) -> str:
    if ratio.device is None:
        return NOTHING
    return ratio.device if ratio.threads is None else f"{ratio.device}, threads: {ratio.threads}"


def _our_setting(one: RatioCheck) -> str:
    if one.device is None:
        return one.target or NOTHING
    return f"{one.device} ({one.target}), threads: {one.threads}"


def _board_row(one: BoardComparison) -> Row:
    published = one.published
    return {
        "Model": published.model,
        "Latency": _as_printed(published.latency_ms, " ms"),
        "Our latency": _latency(one.ours),
        "Device": published.device,
        "Beside ours": one.match,
        "Our device": f"{one.device} ({one.target})",
        "Threads": _as_printed(published.threads),
        "Runtime": _runtime(published),
        "Precision": published.precision,
        "Resolution": str(published.input_resolution),
        "Printed as": published.printed_as,
        "Source": published.source,
    }


def _modelled_row(one: ModelledFigure) -> Row:
    published = one.published
    low, high = (format_latency(value).removesuffix(" ms") for value in (one.low_s, one.high_s))
    return {
        "Model": one.model,
        "Modelled": f"{format_latency(one.seconds)} [{low}, {high}]",
        "Modelled on": f"{one.title} ({one.target})",
        "Threads": str(one.threads),
        "Published": format_latency(published.latency_s) if published else NOTHING,
        "Within band": NOTHING if published is None else "yes" if one.is_within_band else "no",
        "Device": published.device if published else NOTHING,
        "Published threads": _as_printed(published.threads) if published else NOTHING,
        "Runtime": _runtime(published) if published else NOTHING,
        "Source": published.source if published else NOTHING,
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


def _runtime(published: BoardLatency | PublishedLatency) -> str:
    return f"{published.runtime} {published.version}".strip() or NOTHING


def _latency(estimate: Estimate) -> str:
    low, high = (
        format_latency(value).removesuffix(" ms") for value in (estimate.low, estimate.high)
    )
    return f"{format_latency(estimate.value)} ({low} to {high})"


def _ratio(estimate: Estimate) -> str:
    if estimate.low == estimate.high:  # counted, not measured
        return f"{estimate.value:.2f}"
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


def _as_printed(value: float | str | None, unit: str = "") -> str:
    # Not format_latency: three digits would claim more than the paper prints.
    if value is None:
        return NOTHING
    return value if isinstance(value, str) else f"{value:.10g}{unit}"


def _millions(count: int | None, digits: int) -> str:
    return NOTHING if count is None else f"{count / 1e6:,.{digits}f} M"


def _markdown_cell(cell: str) -> str:
    return cell.replace("|", r"\|").replace("\n", " ")
