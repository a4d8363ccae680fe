"""Tuning records on the terminal."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from edgetvm.comparison_display import print_table
from edgetvm.paper.table import NOTHING
from edgetvm.records import RecordStore
from edgetvm.records.summary import StoreSummary, WorkloadSummary
from edgetvm.units import format_latency, format_size, format_throughput

if TYPE_CHECKING:
    from edgetvm.stages.verify.verification import Verdict

_STORE = ("Target", "Threads", "Workloads", "Records", "Failed", "Machines", "Size")
_WORKLOAD = ("Workload", "Records", "Failed", "Best", "Throughput")


def print_stores(console: Console, stores: Sequence[StoreSummary]) -> None:
    """Print one line a store."""
    rows = [
        {
            "Target": store.target,
            "Threads": str(store.threads),
            "Workloads": str(store.workloads),
            "Records": str(store.records),
            "Failed": str(store.failed),
            "Machines": ", ".join(
                f"{machine.cpu}, {machine.cores} cores" for machine in store.machines
            )
            or NOTHING,
            "Size": format_size(store.size_bytes),
        }
        for store in stores
    ]
    print_table(console, "Stores of tuning records", rows, _STORE)


def print_workloads(console: Console, title: str, workloads: Iterable[WorkloadSummary]) -> None:
    """Print one line a workload."""
    rows = [
        {
            "Workload": workload.description,
            "Records": str(workload.records),
            "Failed": str(workload.failed),
            "Best": format_latency(workload.best_s) if workload.best_s else NOTHING,
            "Throughput": format_throughput(workload.flop_per_s)
            if workload.flop_per_s
            else NOTHING,
        }
        for workload in workloads
    ]
    print_table(console, title, rows, _WORKLOAD)


def note_undefined(console: Console, count: int) -> None:
    """Say how many workloads have no definition, if any, and what brings them one."""
    if count:
        console.print(
            f"workloads without a definition: {count}. Their records cannot be rebuilt alone; the "
            "next tuning of a model that has them adds it"
        )


def print_verdicts(
    console: Console, store: RecordStore, verdicts: Iterable["Verdict"]
) -> list["Verdict"]:
    """Print each record that is not right by its line, as soon as it is known; return them all."""
    places = {line: number for number, line in enumerate(store.read_lines(), start=1)}
    seen = []
    for verdict in verdicts:
        seen.append(verdict)
        if not verdict.is_right:
            console.print(
                f"{store.path.name}, line {places.get(verdict.line, 'gone')}: "
                f"{verdict.outcome.value}: {verdict.workload.description}: {verdict.reason}",
                soft_wrap=True,
            )
    right = sum(verdict.is_right for verdict in seen)
    console.print(f"{store.path}: {right} of {len(seen)} records are right")
    return seen


def verdict_row(verdict: "Verdict") -> dict[str, object]:
    """Return what came of a record, for JSON; `record` is its line."""
    return {
        "workload_key": verdict.workload.key,
        "description": verdict.workload.description,
        "outcome": verdict.outcome.value,
        "reason": verdict.reason,
        "record": verdict.line,
    }
