"""A schedule for what TVM leaves unscheduled on GPUs."""

from typing import Any

from tvm import te

THREADS = 64
"""Of a work-group: every GPU has so many."""


def bound_schedule(made: Any, outputs: Any) -> Any:
    """Return `made` if it binds loops to a GPU's threads, else a plain schedule that does.

    Relay gives convolutions no schedule where AutoScheduler is to make one. Then a task without a
    record could not be built at all; with one thread for each value it can, if slowly.

    Parameters
    ----------
    made : TVM's schedule; None if it has none.
    outputs : tensors to compute.
    """
    if made is not None and any(
        attributes.bind_thread is not None
        for stage in made.stages
        for attributes in stage.iter_var_attrs.values()
    ):
        return made
    schedule = te.create_schedule([output.op for output in outputs])
    te.schedule.AutoInlineInjective(schedule)
    results = {output.op for output in outputs}
    for stage in schedule.stages:
        is_inlined = stage.attach_type == _INLINED and stage.op not in results
        if isinstance(stage.op, te.ComputeOp) and not is_inlined:
            values = stage.fuse(*stage.op.axis)
            group, thread = stage.split(values, factor=THREADS)
            stage.bind(group, te.thread_axis("blockIdx.x"))
            stage.bind(thread, te.thread_axis("threadIdx.x"))
    return schedule


_INLINED = 2
"""TVM's ``AttachType`` of a stage that is computed where it is read: ``kInline``."""
