"""What a task computes, as far as laying out its loops needs to know."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Self

import tvm
from tvm import arith, auto_scheduler, te, tir
from tvm.auto_scheduler.loop_state import State

from edgetvm.stages.export.data_movement import reads_of


@dataclass(frozen=True)
class LoopNest:
    """A task of one reduction whose result goes through elementwise operators only.

    Stages are known by their place in the compute DAG.

    Attributes
    ----------
    reduction : the stage that sums or takes a maximum.
    target : the last stage; `reduction` itself if nothing follows.
    padding : the stage that pads the input, if there is one.
    inlined : the other stages.
    spatial_extents : of the result; the last axis is the channels, the one before the columns.
    tap_extents : of the reduction: the window, then the channels if they are summed over.
    channel_run : as many consecutive channels, aligned, read the same inputs: a group's.
    sums_channels : whether each output reads all channels of its group.
    """

    dag: auto_scheduler.ComputeDAG
    reduction: int
    target: int
    padding: int | None
    inlined: tuple[int, ...]
    spatial_extents: tuple[int, ...]
    tap_extents: tuple[int, ...]
    channel_run: int
    sums_channels: bool

    @classmethod
    def of(cls, dag: auto_scheduler.ComputeDAG) -> Self | None:
        """Look at a compute DAG; None if it is of another kind."""
        ops = [stage.op for stage in dag.get_init_state().stages]
        computed = [i for i, op in enumerate(ops) if isinstance(op, te.ComputeOp)]
        reductions = [i for i in computed if len(ops[i].reduce_axis)]
        if len(reductions) != 1:
            return None
        (reduction,), target = reductions, computed[-1]
        padded = [i for i in computed if i < reduction and "if_then_else" in str(ops[i].body)]
        spatial = _extents(ops[reduction].axis)
        if len(padded) > 1 or not spatial or spatial != _extents(ops[target].axis):
            return None
        channel = _data_channel(ops[reduction])
        depends = None if channel is None else _dependence(channel, ops[reduction].axis[-1].var)
        return cls(
            dag=dag,
            reduction=reduction,
            target=target,
            padding=padded[0] if padded else None,
            inlined=tuple(i for i in computed if i not in (reduction, target, *padded)),
            spatial_extents=spatial,
            tap_extents=_extents(ops[reduction].reduce_axis),
            channel_run=depends if depends and depends > 1 else spatial[-1],
            sums_channels=depends != 1,
        )

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.spatial_extents)

    @property
    def rows(self) -> int:
        """Extent of the axis before the columns, 1 if there is none."""
        return self.spatial_extents[-3] if self.rank > 2 else 1

    @property
    def columns(self) -> int:
        """Extent of the axis before the channels, 1 if there is none."""
        return self.spatial_extents[-2] if self.rank > 1 else 1

    @property
    def channels(self) -> int:
        """Extent of the last axis."""
        return self.spatial_extents[-1]

    @property
    def taps(self) -> int:
        """Inputs that one output reads."""
        return prod(self.tap_extents)

    def start(self) -> tuple[State, int, int]:
        """Return a schedule with all but the reduction, its target and the padding inlined.

        A reduction that nothing follows gets a local stage, which is written out at the end.

        Returns
        -------
        The schedule, the reduction's stage and the target's.
        """
        state = self.dag.get_init_state()
        for stage in self.inlined:
            state.compute_inline(stage)
        if self.target != self.reduction:
            return state, self.reduction, self.target
        state.cache_write(self.reduction, "local")
        return state, self.reduction, self.reduction + 1


def _extents(axes: Sequence[tir.IterVar]) -> tuple[int, ...]:
    simplify = arith.Analyzer().simplify
    return tuple(int(simplify(axis.dom.extent)) for axis in axes)


def _data_channel(op: te.ComputeOp) -> tir.PrimExpr | None:
    """Return the last index at which the reduction reads its data; it reads that first."""
    reads = reads_of(op.body[0].source[0])
    return reads[0].indices[-1] if reads and len(reads[0].indices) else None


def _dependence(index: tir.PrimExpr, channel: tir.Var) -> int | None:
    """Say for how many consecutive values of `channel` the index stays the same; None: for all."""
    linear = arith.detect_linear_equation(index, [channel])
    if len(linear):
        return None if tvm.ir.structural_equal(linear[0], tir.const(0, linear[0].dtype)) else 1
    widths: list[int] = []
    tir.stmt_functor.post_order_visit(
        index,
        lambda node: widths.append(int(node.b)) if isinstance(node, tir.FloorDiv) else None,
    )
    return min(widths, default=1)
