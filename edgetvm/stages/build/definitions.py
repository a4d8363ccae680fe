"""Workload definitions out of tasks and into TVM, so that records need no network."""

from collections.abc import Iterable

import tvm
from tvm import auto_scheduler
from tvm.auto_scheduler.workload_registry import WORKLOAD_FUNC_REGISTRY, register_workload_tensors

from edgetvm.errors import RecordError, one_line
from edgetvm.records import Workload, WorkloadFile
from edgetvm.stages.build.tasks import NetworkTask


def define_workload(task: NetworkTask) -> Workload:
    """Return the definition of the workload that `task` tunes."""
    tensors = tvm.ir.save_json(task.search_task.compute_dag.tensors)
    return Workload.define(task.workload_key, task.name, task.flop, tensors)


def add_definitions(workloads: WorkloadFile, tasks: Iterable[NetworkTask]) -> int:
    """Store the definitions of `tasks` that are not there yet; return how many.

    Raises
    ------
    RecordError
        The file cannot be read or written.
    """
    known = workloads.read()
    return workloads.add(define_workload(task) for task in tasks if task.workload_key not in known)


def register_workloads(workloads: Iterable[Workload]) -> None:
    """Make TVM know `workloads`, as exporting their networks does; known ones are passed over.

    Raises
    ------
    RecordError
        This TVM cannot read a definition, or reads something else from it.
    """
    for workload in workloads:
        if workload.key in WORKLOAD_FUNC_REGISTRY:
            continue
        try:
            tensors = list(tvm.ir.load_json(workload.tensors))
            key = str(auto_scheduler.ComputeDAG(tensors).workload_key())
        except Exception as err:
            raise _unreadable(workload, one_line(err)) from err
        if key != workload.key:
            raise _unreadable(workload, f"it reads it as {key}")
        register_workload_tensors(workload.key, tensors)


def _unreadable(workload: Workload, reason: str) -> RecordError:
    return RecordError(
        f"TVM {tvm.__version__} does not read the definition of {workload.description} "
        f"({reason}). Move the target's workloads.jsonl away; the next tuning of a model with "
        "that workload defines it again."
    )
