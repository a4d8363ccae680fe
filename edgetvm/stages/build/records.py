"""Record lines in and out: TVM's text form and its objects."""

from collections.abc import Iterable, Mapping
from statistics import fmean

import tvm
from tvm import auto_scheduler
from tvm.auto_scheduler.measure import MeasureErrorNo

from edgetvm.errors import RecordError, one_line
from edgetvm.records.line import parse_line, workload_key_of

Record = tuple[auto_scheduler.MeasureInput, auto_scheduler.MeasureResult]

FAILURE_NAMES = {
    int(MeasureErrorNo.INSTANTIATION_ERROR): "schedule not applicable",
    int(MeasureErrorNo.COMPILE_HOST): "does not compile",
    int(MeasureErrorNo.COMPILE_DEVICE): "does not compile for the device",
    int(MeasureErrorNo.RUNTIME_DEVICE): "fails on the device",
    int(MeasureErrorNo.WRONG_ANSWER): "wrong result",
    int(MeasureErrorNo.BUILD_TIMEOUT): "compiles too long",
    int(MeasureErrorNo.RUN_TIMEOUT): "crashes or runs too long",
    int(MeasureErrorNo.UNKNOWN_ERROR): "unknown",
}
"""What each of TVM's error numbers means to a user."""


def parse_records(lines: Iterable[str], workload_keys: set[str] | None = None) -> list[Record]:
    """Turn record lines into TVM's objects, only those of `workload_keys` if given.

    Raises
    ------
    RecordError
        TVM does not take a line, for instance one of a future format.
    """
    records = []
    for line in lines:
        if workload_keys is not None and workload_key_of(line) not in workload_keys:
            continue
        try:
            records.append(auto_scheduler.measure_record.load_record_from_string(line))
        except Exception as err:
            raise RecordError(
                f"TVM does not read a tuning record ({one_line(err)}): {line[:80]}… Run the "
                "command again with --drop-bad-records if its file was edited by hand."
            ) from err
    return records


def full_target(tvm_target: str) -> str:
    """Return a target string in the long form that TVM writes into records."""
    return str(tvm.target.Target(tvm_target))


def record_line(record: Record) -> str:
    """Return the record as TVM's one line of text."""
    return str(auto_scheduler.measure_record.dump_record_to_string(*record)).strip()


def cost_s(result: auto_scheduler.MeasureResult) -> float | None:
    """Return the mean cost of a measured candidate in seconds, None if it failed."""
    if result.error_no != MeasureErrorNo.NO_ERROR:
        return None
    return fmean(cost.value for cost in result.costs)


def fastest_records(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Return the valid records of each workload key, the fastest first."""
    timed: dict[str, list[tuple[float, int, Record]]] = {}
    for place, record in enumerate(records):
        seconds = cost_s(record[1])
        if seconds is not None:
            timed.setdefault(record[0].task.workload_key, []).append((seconds, place, record))
    return {key: [record for *_, record in sorted(group)] for key, group in timed.items()}


def digest(record: Record) -> str:
    """Return the short name of a record's schedule, as a store's choices have it."""
    return parse_line(record_line(record)).digest


def only_chosen(records: list[Record], choices: Mapping[str, str]) -> list[Record]:
    """Leave out what is not the schedule chosen for its workload, if that is among `records`."""
    named = [(record[0].task.workload_key, record) for record in records]
    chosen = {key: r for key, r in named if key in choices and digest(r) == choices[key]}
    others = [record for key, record in named if key not in chosen]
    return [*others, *chosen.values()]


def best_times(records: Iterable[Record]) -> dict[str, float]:
    """Return the best time of each workload key that has a valid record, seconds."""
    best = {key: cost_s(group[0][1]) for key, group in fastest_records(records).items()}
    return {key: seconds for key, seconds in best.items() if seconds is not None}
