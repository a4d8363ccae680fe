"""MetaSchedule's records in and out, and a database of them for Relay's lowering."""

import base64
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

import msgspec
import tvm
from tvm import tir
from tvm.meta_schedule import _ffi_api
from tvm.meta_schedule.arg_info import ArgInfo
from tvm.meta_schedule.database import Database, MemoryDatabase, TuningRecord, Workload

from edgetvm.errors import RecordError, one_line
from edgetvm.records.line import FAILED_COST_S
from edgetvm.records.metaschedule_store import MetaScheduleRecord, parse_trial
from edgetvm.stages.build.tasks import NetworkTask, normalised_module

LOOK_UP = {"relay.backend.tir_converter": "edgetvm.in_database"}
"""Configuration under which Relay's lowering looks up what the present database has."""


_LENGTH_BYTES = 8


def metaschedule_target(target: tvm.target.Target, threads: int) -> tvm.target.Target:
    """Return `target` with the number of cores, which MetaSchedule asks for."""
    return tvm.target.Target({**target.export(), "num-cores": threads})


def metaschedule_key(task: NetworkTask) -> str:
    """Return the key of the task's workload: TVM's structural hash, in decimal digits."""
    return str(tvm.ir.structural_hash(task.tir_module) % 2**64)


def workload_line(task: NetworkTask) -> str:
    """Return the task's workload as TVM's one line of text, half as long as TVM's own."""
    key, module = Workload(task.tir_module).as_json()
    # TVM writes the length in front of the text, which is indented.
    compact = msgspec.json.format(base64.b64decode(module)[_LENGTH_BYTES:], indent=-1)
    content = len(compact).to_bytes(_LENGTH_BYTES, "little") + compact
    return msgspec.json.encode([key, base64.b64encode(content).decode()]).decode()


def metaschedule_record(
    task: NetworkTask,
    trace: tir.schedule.Trace,
    target: tvm.target.Target,
    costs_s: Sequence[float],
) -> MetaScheduleRecord:
    """Make the record of a trial.

    Parameters
    ----------
    target : from :func:`metaschedule_target`.
    costs_s : seconds; none if the trial failed.
    """
    module = task.tir_module
    arguments = ArgInfo.from_prim_func(module["main"])
    costs = list(costs_s) or [FAILED_COST_S]
    trial = TuningRecord(trace, Workload(module), costs, target, arguments)
    text = msgspec.json.encode(_ffi_api.TuningRecordAsJSON(trial), enc_hook=_plain)
    return parse_trial(metaschedule_key(task), text.decode())


def trace_text(trace: tir.schedule.Trace) -> bytes:
    """Return a schedule's instructions and decisions as a record has them."""
    as_json = tvm.get_global_func("tir.schedule.TraceAsJSON")
    text = msgspec.json.encode(as_json(trace, False), enc_hook=_plain)
    return text.translate(None, b" ")


def _plain(value: Any) -> Any:
    """Turn an object of TVM's into what JSON has; TVM's own function knows no index maps."""
    match value:
        case tvm.ir.Array():
            return list(value)
        case tvm.ir.Map():
            return {str(key): item for key, item in value.items()}
        case tvm.runtime.String():
            return str(value)
        case tir.IntImm() | tir.FloatImm():
            return value.value  # true as 1: TVM does not read back the true that it writes itself
        case _:
            return msgspec.json.format(tvm.ir.save_json(value), indent=-1)


def parse_metaschedule(record: MetaScheduleRecord, task: NetworkTask) -> TuningRecord:
    """Turn a record of `task` into TVM's object.

    Raises
    ------
    RecordError
        TVM does not read it, or its instructions do not fit the task.
    """
    return _parse(record, Workload(task.tir_module))


def _parse(record: MetaScheduleRecord, workload: Workload) -> TuningRecord:
    try:
        return TuningRecord.from_json(msgspec.json.decode(record.text), workload)
    except Exception as err:
        raise RecordError(
            f"TVM does not read a MetaSchedule record ({one_line(err)}): {record.text[:80]}… Run "
            "the command again with --tuner auto_scheduler, which leaves such records alone, or "
            "move its file away."
        ) from err


def best_metaschedule(
    records: Iterable[MetaScheduleRecord], tasks: Iterable[NetworkTask]
) -> dict[str, MetaScheduleRecord]:
    """Return the fastest record of each task that has a valid one, by AutoScheduler's key."""
    valid = [record for record in records if record.seconds is not None]
    if not valid:
        return {}  # lowering all tasks to find their keys takes seconds
    fastest = {r.workload_key: r for r in sorted(valid, key=attrgetter("seconds"), reverse=True)}
    keys = {task.workload_key: metaschedule_key(task) for task in tasks}
    return {ours: fastest[theirs] for ours, theirs in keys.items() if theirs in fastest}


def make_database(schedules: Iterable[tuple[NetworkTask, MetaScheduleRecord]]) -> Database | None:
    """Return a database with one record for each task given, None if there is none.

    Raises
    ------
    RecordError
        As :func:`parse_metaschedule`.
    """
    database = MemoryDatabase()
    for task, record in schedules:
        workload = database.commit_workload(task.tir_module)
        database.commit_tuning_record(_parse(record, workload))
    return database if len(database) else None


def _convert_if_in_database(tensors: Any, constants: Any) -> tir.PrimFunc | None:
    """Convert what the present database has; for all else TVM would warn that it has not."""
    function = tvm.get_global_func("relay.backend.tir_converter.default")(tensors, constants)
    if function is None or not Database.current().has_workload(normalised_module(function)):
        return None
    return function


tvm.register_func(
    "relay.backend.tir_converter.edgetvm.in_database", _convert_if_in_database, override=True
)
