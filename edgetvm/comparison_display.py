"""A comparison on the terminal: its tables, with the columns that fit a screen."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from edgetvm.paper.comparison import Comparison
from edgetvm.paper.table import (
    NOTHING,
    Row,
    board_rows,
    claim_rows,
    figure_rows,
    latency_rows,
    modelled_rows,
    ratio_rows,
)

LATENCY_COLUMNS = (
    "Model",
    "Estimate",
    "At build",
    "Untuned",
    "Tuned",
    "Reference",
    "Untuned / tuned",
    "Relative error",
    "Tuned tasks",
)
FIGURE_COLUMNS = (
    "Model",
    "Latency",
    "Our latency",
    "Device",
    "Beside ours",
    "Paper",
    "Where",
    "Top-1",
    "COCO mAP",
    "mIoU",
    "Parameters",
    "Our parameters",
    "Multiply-adds",
    "Our multiply-adds",
)
RATIO_COLUMNS = (
    "Models",
    "Our latency ratio",
    "Published ratio",
    "Ratio of",
    "Paper",
    "Where",
    "Paper's device",
)
CLAIM_COLUMNS = ("Claim", "Networks", "Ratio of", "Published", "Ours", "Outcome", "Why", "Doubts")
UNANSWERED_COLUMNS = ("Claim", "Outcome", "Why")
BOARD_COLUMNS = ("Model", "Latency", "Our latency", "Device", "Beside ours", "Threads", "Runtime")
MODELLED_TITLE = "Modelled, not measured, beside what was published of the same board"
MODELLED_COLUMNS = (
    "Model",
    "Modelled on",
    "Threads",
    "Modelled",
    "Published",
    "Within band",
    "Runtime",
    "Source",
)


def print_comparison(console: Console, comparison: Comparison) -> None:
    """Print our latencies beside the papers' figures, ratios and claims, and boards' latencies.

    All columns are in the other formats of ``python -m edgetvm.compare``.
    """
    latencies = latency_rows(comparison)
    for device in dict.fromkeys(
        (row["Target"], row["Device"], row["Threads"]) for row in latencies
    ):
        rows = [
            row for row in latencies if (row["Target"], row["Device"], row["Threads"]) == device
        ]
        title = "Latency on {1} ({0}), threads: {2}; median and its 95 % interval".format(*device)
        print_table(console, title, rows, LATENCY_COLUMNS)
        references = {row["Reference runtime"] for row in rows} - {NOTHING}
        if references:
            console.print(f"Reference: {', '.join(sorted(references))}\n")
    figures = figure_rows(comparison)
    print_table(console, "The papers' figures, each on its own device", figures, FIGURE_COLUMNS)
    print_table(
        console,
        "Ratios between models, ours and the papers'",
        ratio_rows(comparison),
        RATIO_COLUMNS,
    )
    print_table(console, MODELLED_TITLE, modelled_rows(comparison), MODELLED_COLUMNS)
    claims = claim_rows(comparison)
    answered = [row for row in claims if row["Ours"] != NOTHING]
    print_table(
        console, "What the papers claim, and whether it holds here", answered, CLAIM_COLUMNS
    )
    unanswered = [row for row in claims if row["Ours"] == NOTHING]
    # Phones that the paper compares are one ratio here: it is missing once.
    distinct = {tuple(row[header] for header in UNANSWERED_COLUMNS): row for row in unanswered}
    title = "Claims without an answer here"
    print_table(console, title, list(distinct.values()), UNANSWERED_COLUMNS)
    print_table(
        console,
        "Published latencies of boards, with as many threads as ours",
        board_rows(comparison),
        BOARD_COLUMNS,
    )


def print_table(console: Console, title: str, rows: Sequence[Row], headers: Sequence[str]) -> None:
    """Print those columns of `rows` that `headers` names and that say anything."""
    if not rows:
        return
    shown = [header for header in headers if any(row[header] != NOTHING for row in rows)]
    table = Table(title=title, title_justify="left", title_style="bold", show_edge=False)
    for header in shown:
        table.add_column(header, overflow="fold")
    for row in rows:
        table.add_row(*(row[header] for header in shown))
    console.print(table)
    console.print()
