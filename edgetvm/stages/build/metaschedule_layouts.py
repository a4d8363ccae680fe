"""The layouts that MetaSchedule's schedules want of their weights, made when a library is built."""

from typing import Any

import tvm
from tvm import auto_scheduler
from tvm.relay.backend import te_compiler

LAYOUT_REWRITE = tvm.get_global_func("relay._transform.MetaScheduleLayoutRewrite")()
"""Relay's pass that gives each weight the layout that its schedule in the database wants."""

_REWRITTEN = (
    "nn.conv2d",
    "nn.contrib_conv2d_winograd_without_weight_transform",
    "nn.conv3d",
    "nn.matmul",
    "nn.dense",
    "nn.batch_matmul",
)
"""Operators whose weights TVM lays out anew."""

_original_shape = tvm.get_global_func("relay.attrs.get_meta_schedule_original_shape")


def _lower_call(call: Any, inputs: Any, target: Any, out_type: Any = None) -> Any:
    """Lower as TVM does, with weights in a layout of MetaSchedule's as if they had their own.

    The schedule, which Relay's lowering applies next, gives them their layout. TVM knows to do this
    too, but not where AutoScheduler is enabled.
    """
    shape = _original_shape(call.attrs) if call.op.name in _REWRITTEN else ()
    if shape:
        auto_scheduler.rewrite_tensor_shape(inputs[1], shape)
    return te_compiler.lower_call(call, inputs, target, out_type)


tvm.register_func("relay.backend.lower_call", _lower_call, override=True)
