"""Record lines in and out: TVM's text form and its objects."""

from collections.abc import Iterable
from statistics import fmean

import tvm
from tvm import auto_scheduler
from tvm.auto_scheduler.measure import MeasureErrorNo

from edgetvm.errors import RecordError, one_line
from edgetvm.records.line import workload_key_of

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


def best_times(records: Iterable[Record]) -> dict[str, float]:
    """Return the best time of each workload key that has a valid record, seconds."""
    best: dict[str, float] = {}
    for measure_input, result in records:
        seconds = cost_s(result)
        key = measure_input.task.workload_key
        if seconds is not None and seconds < best.get(key, float("inf")):
            best[key] = seconds
    return best
