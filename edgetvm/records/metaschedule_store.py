"""MetaSchedule's records of one target at one thread count: TVM's own two tables, beside the store.

``metaschedule_threads_<n>_workloads.json`` has a line for each workload, its hash and its module;
``metaschedule_threads_<n>.json`` a line for each trial, which names its workload by the number of
that line. ``tvm.meta_schedule.database.JSONDatabase`` reads both. ``threads_<n>.meta.json``, the
store's sidecar, holds for them too. Nothing here imports TVM.
"""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from statistics import fmean

import msgspec

from edgetvm.errors import RecordError
from edgetvm.records.line import FAILED_COST_S
from edgetvm.records.line_file import LineFile, is_decodable


class _Workload(msgspec.Struct, frozen=True, array_like=True):
    """TVM's structural hash, and the module as ``tvm.ir.save_json`` writes it, in base64."""

    key: str
    module: str


class _Trial(msgspec.Struct, frozen=True, array_like=True):
    trace: msgspec.Raw
    costs_s: tuple[float, ...] | None
    target: msgspec.Raw
    arguments: msgspec.Raw


class _Line(msgspec.Struct, frozen=True, array_like=True):
    workload: int
    trial: msgspec.Raw


class MetaScheduleRecord(msgspec.Struct, frozen=True):
    """One trial.

    Attributes
    ----------
    workload_key : TVM's structural hash of the module, in decimal digits.
    text : the trial as TVM writes it, without the number of its workload.
    trace : the schedule's instructions and decisions, in a form that is equal for equal ones.
    seconds : mean cost; None if the trial failed.
    """

    workload_key: str
    text: str
    trace: bytes
    seconds: float | None


_WORKLOAD = msgspec.json.Decoder(_Workload)
_LINE = msgspec.json.Decoder(_Line)
_TRIAL = msgspec.json.Decoder(_Trial)


def parse_trial(workload_key: str, text: str) -> MetaScheduleRecord:
    """Read a trial of a workload; ``msgspec.DecodeError`` if it is none."""
    trial = _TRIAL.decode(text)
    costs_s = trial.costs_s or (FAILED_COST_S,)
    return MetaScheduleRecord(
        workload_key=workload_key,
        text=text,
        trace=bytes(trial.trace).translate(None, b" "),
        seconds=None if FAILED_COST_S in costs_s else fmean(costs_s),
    )


class MetaScheduleStore:
    """MetaSchedule's records of one target at one thread count.

    Parameters
    ----------
    folder : ``tuning_logs/<target>``.
    threads : threads that the records were measured with.
    """

    def __init__(self, folder: Path, threads: int) -> None:
        name = f"metaschedule_threads_{threads}"
        self._lines = LineFile(
            folder / f"{name}.json",
            _is_line,
            "MetaSchedule record",
            f"Move it to {name}.rejected and keep all others with --drop-bad-records.",
        )
        self._workloads = LineFile(
            folder / f"{name}_workloads.json",
            partial(is_decodable, _WORKLOAD),
            "MetaSchedule workload",
            f"Records name workloads by their line: move it and {name}.json away together.",
        )
        self.path = self._lines.path
        self.workloads_path = self._workloads.path
        self.rejected_path = self._lines.rejected_path
        self._places: dict[str, int] = {}

    def open(self, *, drop_bad: bool = False) -> list[MetaScheduleRecord]:
        """Mend what an interrupted write left and return the records.

        Parameters
        ----------
        drop_bad : move unreadable record lines to ``.rejected`` instead of raising.

        Raises
        ------
        RecordError
            As :meth:`read`.
        """
        self._workloads.mend()
        self._lines.mend()
        if drop_bad:
            self._lines.reject_bad_lines()
        return self.read()

    def read(self) -> list[MetaScheduleRecord]:
        """Return all records.

        Raises
        ------
        RecordError
            A line is no record or no workload, or a record's workload is not there.
        """
        # Records first: what they name was written before them.
        lines = self._lines.read()
        keys = [_WORKLOAD.decode(line).key for line in self._workloads.read()]
        records = []
        for number, line in enumerate(lines, start=1):
            decoded = _LINE.decode(line)
            place, trial = decoded.workload, decoded.trial
            if not 0 <= place < len(keys):
                raise RecordError(
                    f"{self.path}, line {number} names workload {place}, of which "
                    f"{self.workloads_path.name} has {len(keys)}: move both files away, or put "
                    "back the one that was changed."
                )
            records.append(parse_trial(keys[place], bytes(trial).decode()))
        return records

    def add_workloads(self, lines: Iterable[str]) -> None:
        """Append the workloads that are not there yet, so that trials of them can be appended.

        Parameters
        ----------
        lines : workloads as TVM writes them: hash and module.
        """
        new = {_WORKLOAD.decode(line).key: line for line in lines}

        def with_new(known: list[str]) -> list[str]:
            there = {_WORKLOAD.decode(line).key for line in known}
            return [*known, *(line for key, line in new.items() if key not in there)]

        # Under the lock as a whole, so that two runs agree on the number of each line.
        self._workloads.edit(with_new)
        places = enumerate(_WORKLOAD.decode(line).key for line in self._workloads.read())
        self._places = {key: place for place, key in places}

    def append(self, record: MetaScheduleRecord) -> None:
        """Append one trial, on disk before this returns; its workload must have been added.

        Raises
        ------
        RecordError
            The file cannot be written, for instance because the disk is full.
        """
        self._lines.append([f"[{self._places[record.workload_key]},{record.text}]"])


def _is_line(text: str) -> bool:
    return is_decodable(_LINE, text) and is_decodable(_TRIAL, _LINE.decode(text).trial)
