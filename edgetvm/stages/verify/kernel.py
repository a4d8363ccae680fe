"""One workload as a small shared library: tuned as a record says, or untuned to judge it by."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tvm
from tvm import auto_scheduler, te
from tvm.auto_scheduler import LayoutRewriteOption

from edgetvm.errors import CompileError, RecordError, one_line
from edgetvm.records import Workload
from edgetvm.stages.build.definitions import register_workloads
from edgetvm.stages.build.library import CODE_GENERATION, link_kernel
from edgetvm.stages.build.records import parse_records
from edgetvm.stages.export.gpu_schedules import THREADS


@dataclass(frozen=True)
class KernelJob:
    """What to build; `line` is the record, None for the untuned computation."""

    workload: Workload
    line: str | None
    tvm_target: str
    library: Path


@dataclass(frozen=True)
class Kernel:
    """A kernel that was built.

    Attributes
    ----------
    arguments : shape and dtype of each argument, inputs first.
    inputs : how many arguments are inputs; the others are outputs.
    on_cpu : whether it runs on the CPU also where records are of a GPU: the untuned computation.
    reduced : most terms that one value of it sums up.
    """

    library: Path
    arguments: tuple[tuple[tuple[int, ...], str], ...]
    inputs: int
    reduced: int
    on_cpu: bool


def build_kernel(job: KernelJob) -> Kernel:
    """Build a kernel; runs in a worker.

    Raises
    ------
    RecordError
        TVM cannot read the definition or the record, or the record's steps do not fit.
    CompileError
        TVM cannot generate code.
    """
    register_workloads([job.workload])
    target = tvm.target.Target(job.tvm_target)
    dag = auto_scheduler.ComputeDAG(job.workload.key)
    if job.line is None:
        schedule, tensors = _untuned(dag.tensors)
        target = target.host or target
    else:
        schedule, tensors = _tuned(dag, job.line)
    try:
        with tvm.transform.PassContext(opt_level=3, config=CODE_GENERATION):
            module = tvm.build(schedule, tensors, target=target)
    except tvm.TVMError as err:
        raise CompileError(f"it does not compile ({one_line(err)})") from err
    link_kernel(module, job.library)
    computed = [op for op in dag.ops if isinstance(op, te.ComputeOp)]
    return Kernel(
        library=job.library,
        arguments=tuple((tuple(map(int, t.shape)), str(t.dtype)) for t in tensors),
        inputs=sum(isinstance(t.op, te.PlaceholderOp) for t in tensors),
        reduced=max(math.prod(map(_extent, op.reduce_axis)) for op in computed),
        on_cpu=job.line is None,
    )


def _untuned(tensors: Any) -> tuple[Any, Any]:
    """Return TVM's schedule of `tensors` as they come, every tensor computed on its own.

    Only the order of loops differs from it, and rows are shared among threads: both leave the
    order of each sum as it is and make a large workload bearable.
    """
    outputs = [t.op for t in tensors if not isinstance(t.op, te.PlaceholderOp)]
    schedule = te.create_schedule(outputs)
    for stage in schedule.stages:
        if isinstance(stage.op, te.ComputeOp) and stage.op.axis:
            *rows, last = stage.op.axis
            stage.reorder(*rows, *stage.op.reduce_axis, last)
            if rows:
                stage.parallel(stage.fuse(*rows))
    return schedule, list(tensors)


def _tuned(dag: Any, line: str) -> tuple[Any, Any]:
    ((measure_input, _),) = parse_records([line])
    layouts = int(measure_input.task.layout_rewrite_option)
    if layouts == LayoutRewriteOption.REWRITE_FOR_PRE_TRANSFORMED:
        # The schedule reads its weights in a layout of its own, which a library gives them when
        # it is built. Here the kernel does that at its start, so that it takes the same input.
        layouts = LayoutRewriteOption.INSERT_TRANSFORM_STAGE
    try:
        schedule, tensors = dag.apply_steps_from_state(measure_input.state, layout_rewrite=layouts)
    except tvm.TVMError as err:
        raise RecordError(f"its steps do not fit its workload ({one_line(err)})") from err
    if measure_input.task.target.kind.name != "llvm":
        _bind_transforms(schedule)
    return schedule, tensors


def _bind_transforms(schedule: Any) -> None:
    """Bind the changes of layout, which TVM inserts for CPUs only, to a GPU's threads."""
    for stage in schedule.stages:
        if stage.op.name == "auto_scheduler_layout_transform":
            group, thread = stage.split(stage.leaf_iter_vars[0], factor=THREADS)
            stage.bind(group, te.thread_axis("blockIdx.x"))
            stage.bind(thread, te.thread_axis("threadIdx.x"))


def _extent(axis: Any) -> int:
    return int(tvm.arith.Analyzer().simplify(axis.dom.extent))
