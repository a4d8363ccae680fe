"""Schedules, for CPUs, of the operators that move data or work element by element.

TVM's own take the last axis sixteen elements at a time whatever is read there. Where that is not
sixteen neighbours in one tensor (a concatenation, a channel shuffle, a change of layout, 72
channels) the vector falls apart into scalars with conditions and divisions and takes ten times as
long. Here the order of the loops follows what is read.
"""

from collections.abc import Sequence
from math import gcd, prod

import tvm
from tvm import arith, te, tir

LONGEST_VECTOR = 16
SHORTEST_VECTOR = 4
"""Elements of a vector."""

LONGEST_UNROLLED = 8
"""Most elements of the last axis that are written one by one."""

PARALLEL_ELEMENTS = 1 << 15
"""Fewer elements are moved by one thread before the others have woken up."""


def schedule_data_movement(outs: Sequence[te.Tensor]) -> te.Schedule | None:
    """Schedule an operator whose one output has each element computed from single ones of inputs.

    None if the order in which it reads is none of those that are known here.
    """
    out = outs[0]
    if len(outs) != 1 or len(out.shape) < 2 or not _is_static(out.shape):
        return None
    schedule = te.create_schedule(out.op)
    te.schedule.AutoInlineInjective(schedule)
    op = schedule.normalize().stages[-1].op
    if not isinstance(op, te.ComputeOp) or len(op.reduce_axis) or len(op.body) != 1:
        return None
    reads = reads_of(op.body[0])
    last = schedule[out].op.axis[-1]
    extent = int(out.shape[-1])

    strides = [_stride(read, op, op.axis[-1]) for read in reads]
    if all(stride in (0, 1) for stride in strides):
        moved = [
            int(read.producer.shape[-1])
            for read, stride in zip(reads, strides, strict=True)
            if stride
        ]
        return _vectorised(schedule, out, gcd(extent, *moved))
    for parts in range(2, min(LONGEST_UNROLLED, extent - 1) + 1):
        if extent % parts == 0 and all(_is_run_of(parts, read, op) for read in reads):
            _, last = schedule[out].split(last, factor=parts)
            return _unrolled(schedule, out, last)
    before = [_stride(read, op, op.axis[-2]) for read in reads]
    if extent <= LONGEST_UNROLLED and all(stride in (0, 1) for stride in before):
        return _unrolled(schedule, out, last)
    return _tiled(schedule, out, reads, op)


def _tiled(
    schedule: te.Schedule, out: te.Tensor, reads: list[tir.ProducerLoad], op: te.ComputeOp
) -> te.Schedule | None:
    """Write short runs of the last axis for all of the axis that lies last in what is read.

    A transposition; both the lines that are read and those that are written stay in the cache.
    """
    inner = next(
        (
            place
            for place in range(1, len(op.axis) - 1)
            if any(_stride(read, op, op.axis[place]) == 1 for read in reads)
        ),
        None,
    )
    run = gcd(int(out.shape[-1]), LONGEST_VECTOR)
    if inner is None or run < SHORTEST_VECTOR:
        return None
    axes = list(schedule[out].op.axis)
    outer_last, run_axis = schedule[out].split(axes[-1], factor=run)
    others = [axis for place, axis in enumerate(axes[:-1]) if place != inner]
    schedule[out].reorder(*others, outer_last, axes[inner], run_axis)
    schedule[out].unroll(run_axis)
    if prod(int(extent) for extent in out.shape) >= PARALLEL_ELEMENTS:
        schedule[out].parallel(schedule[out].fuse(*others) if len(others) > 1 else others[0])
    return schedule


def _vectorised(schedule: te.Schedule, out: te.Tensor, run: int) -> te.Schedule | None:
    """Vectorise the last axis; `run` divides the extents of all that is put together there."""
    lanes = min(LONGEST_VECTOR, run & -run)
    if lanes < SHORTEST_VECTOR:
        return None
    _, vector = schedule[out].split(schedule[out].op.axis[-1], factor=lanes)
    schedule[out].vectorize(vector)
    return _parallel(schedule, out)


def _unrolled(schedule: te.Schedule, out: te.Tensor, inner: tir.IterVar) -> te.Schedule:
    """Unroll `inner`; LLVM makes vector loads and shuffles of the loop around it."""
    schedule[out].unroll(inner)
    return _parallel(schedule, out)


def _parallel(schedule: te.Schedule, out: te.Tensor) -> te.Schedule:
    """Share the outer axes among threads; the one before the last is left for one thread."""
    outer = list(schedule[out].op.axis)[:-2] or [schedule[out].op.axis[0]]
    if prod(int(extent) for extent in out.shape) >= PARALLEL_ELEMENTS:
        schedule[out].parallel(schedule[out].fuse(*outer) if len(outer) > 1 else outer[0])
    return schedule


def reads_of(body: tir.PrimExpr) -> list[tir.ProducerLoad]:
    """List what an expression reads of tensors, in the order in which it does."""
    reads: list[tir.ProducerLoad] = []
    tir.stmt_functor.post_order_visit(
        body, lambda e: reads.append(e) if isinstance(e, tir.ProducerLoad) else None
    )
    return reads


def _is_run_of(parts: int, read: tir.ProducerLoad, op: te.ComputeOp) -> bool:
    """Say whether every `parts`-th element of the last axis comes from neighbours in memory."""
    last = op.axis[-1]
    run, part = tir.Var("run", last.var.dtype), tir.Var("part", last.var.dtype)
    run_axis = tir.IterVar((0, int(last.dom.extent) // parts), run, tir.IterVar.DataPar)
    part_axis = tir.IterVar((0, parts), part, tir.IterVar.DataPar)
    at = {last.var: run * parts + part}
    return _stride(read, op, run_axis, part_axis, at=at) in (0, 1)


def _stride(
    read: tir.ProducerLoad,
    op: te.ComputeOp,
    *axes: tir.IterVar,
    at: dict[tir.Var, tir.PrimExpr] | None = None,
) -> int | None:
    """Return by how many elements a step of the first of `axes` moves in the tensor that is read.

    None if that varies, or if it is no constant for one of the other `axes`.

    Parameters
    ----------
    at : what stands for axes of `op`.
    """
    analyzer = arith.Analyzer()
    for axis in (*op.axis, *axes):
        analyzer.bind(axis.var, tvm.ir.Range(axis.dom.min, axis.dom.min + axis.dom.extent))
    flat: tir.PrimExpr = tir.const(0, axes[0].var.dtype)
    for index, extent in zip(read.indices, read.producer.shape, strict=True):
        flat = flat * extent + index
    flat = analyzer.canonical_simplify(tir.stmt_functor.substitute(flat, at or {}))
    steps = arith.detect_linear_equation(flat, [axis.var for axis in axes])[:-1]
    steps = [analyzer.simplify(step) for step in steps]
    if len(steps) != len(axes) or not all(isinstance(step, tir.IntImm) for step in steps):
        return None
    return int(steps[0])


def _is_static(shape: Sequence[tir.PrimExpr]) -> bool:
    return all(isinstance(extent, tir.IntImm) for extent in shape)
