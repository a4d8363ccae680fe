"""What a record line says, read without TVM: fast enough for a whole store at every start."""

import hashlib
from statistics import fmean

import msgspec

from edgetvm.records.line_file import is_decodable

FAILED_COST_S = 1e10
"""What TVM writes as the cost of a failed trial, seconds."""


class _Task(msgspec.Struct, frozen=True, array_like=True):
    workload_key: str
    target: str
    hardware: tuple[int, ...]


class _Result(msgspec.Struct, frozen=True, array_like=True):
    costs_s: tuple[float, ...]
    error_no: int
    elapsed_s: float = 0.0
    measured_at_s: float = 0.0


class _Line(msgspec.Struct, frozen=True):
    """TVM's names: i is the input, r the result."""

    i: tuple[_Task, msgspec.Raw]
    r: _Result


class RecordLine(msgspec.Struct, frozen=True):
    """One trial.

    Attributes
    ----------
    text : the line as TVM wrote it.
    workload_key : names what was computed.
    target : TVM's long form of the target string.
    threads : that the search reckoned with.
    schedule : the transform steps, in a form that is equal for equal ones.
    seconds : mean cost; None if the trial failed.
    measured_at_s : when the trial was over, seconds since 1970; 0 if the line does not say.
    """

    text: str
    workload_key: str
    target: str
    threads: int
    schedule: bytes
    seconds: float | None
    measured_at_s: float

    @property
    def identity(self) -> tuple[str, bytes]:
        """What was measured: equal for two trials of one schedule of one workload."""
        return self.workload_key, self.schedule

    @property
    def digest(self) -> str:
        """A short name of the schedule, the same in every file."""
        return hashlib.sha256(self.schedule).hexdigest()[:16]


_DECODER = msgspec.json.Decoder(_Line)


def parse_line(text: str) -> RecordLine:
    """Read a record line.

    Raises
    ------
    msgspec.DecodeError
        It is none.
    """
    line = _DECODER.decode(text)
    task, steps = line.i
    valid = line.r.error_no == 0 and line.r.costs_s
    return RecordLine(
        text=text,
        workload_key=task.workload_key,
        target=task.target,
        threads=task.hardware[0] if task.hardware else 0,
        schedule=bytes(steps).translate(None, b" "),
        seconds=fmean(line.r.costs_s) if valid else None,
        measured_at_s=line.r.measured_at_s,
    )


def workload_key_of(text: str) -> str:
    """Return the workload key of a record line; raises as :func:`parse_line`."""
    return _DECODER.decode(text).i[0].workload_key


def is_record(text: str) -> bool:
    """Whether `text` has the outer form of a record: its input and its result."""
    return is_decodable(_DECODER, text)
