"""Latencies that others published of boards, and ours beside them: `board_latencies.csv`.

A row stands beside a run of the same network if precision and number of threads are the same.
Of a graphics processor there are no threads: there it has to be the same board.
"""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from edgetvm.errors import UsageError
from edgetvm.measurement import Run
from edgetvm.paper.devices import Match, match_device
from edgetvm.paper.estimate import Estimate, estimate_median
from edgetvm.paper.evidence import TargetEvidence, newest_runs
from edgetvm.paper.figures import Count, Positive, Text

BOARD_LATENCIES = Path(__file__).parent / "board_latencies.csv"

_NEAREST_FIRST: tuple[Match, ...] = ("same board", "same core", "other device")


class BoardLatency(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One published latency.

    Attributes
    ----------
    model : our name of the network.
    printed_as : its name in the source.
    input_resolution : side of the square input, pixels.
    precision : ``ncnn default`` is float32 or float16, as the CPU has it.
    threads : None if not stated, or of a graphics processor.
    runtime, version : what ran it.
    latency_ms : of one image.
    source : where it was published.
    """

    model: Text
    printed_as: Text
    input_resolution: Count
    precision: Literal["float32", "float16", "int8", "ncnn default"]
    device: Text
    threads: Count | None
    runtime: Text
    version: str
    latency_ms: Positive
    source: Text


class BoardComparison(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A published latency and ours of the same network, seconds, with as many threads."""

    published: BoardLatency
    match: Match
    target: str
    device: str
    threads: int
    ours: Estimate


def load_board_latencies(path: Path = BOARD_LATENCIES) -> list[BoardLatency]:
    """Load the published latencies, in the order of the file.

    Raises
    ------
    UsageError
        The file is missing, or a row is faulty; the message names its line.
    """
    try:
        text = path.read_text()
    except OSError as err:
        raise UsageError(f"{path} cannot be read: {err.strerror}.") from err
    reader = csv.DictReader(text.splitlines())
    return [_convert(row, f"{path}, line {reader.line_num}") for row in reader]


def compare_boards(
    evidence: Iterable[TargetEvidence], published: Sequence[BoardLatency]
) -> tuple[BoardComparison, ...]:
    """Put runs beside what was published of the same networks, the nearest devices first."""
    found = [
        BoardComparison(
            published=row,
            match=match,
            target=run.target,
            device=run.device.processor,
            threads=run.tuned.threads,
            ours=estimate_median(run.tuned),
        )
        for target in evidence
        for run in newest_runs(target.runs)
        for row in published
        if (row.model, row.precision) == (run.model, target.networks[run.model].precision)
        and _has_threads(row, run, match := match_device(row.device, run))
    ]
    return tuple(sorted(found, key=lambda one: _NEAREST_FIRST.index(one.match)))


def _has_threads(row: BoardLatency, run: Run, match: Match) -> bool:
    if run.device.opencl is not None:
        return match == "same board"
    return row.threads == run.tuned.threads


def _convert(row: dict[str, str], place: str) -> BoardLatency:
    try:
        return msgspec.convert(
            {**row, "threads": row.get("threads") or None}, BoardLatency, strict=False
        )
    except (msgspec.ValidationError, TypeError) as err:
        raise UsageError(f"{place}: {err}. Columns: {', '.join(_columns())}.") from err


def _columns() -> list[str]:
    return [field.name for field in msgspec.structs.fields(BoardLatency)]
