"""Which of TVM's implementations Relay may take where AutoScheduler chooses, and how it schedules.

The library with TVM's default schedules, to which the tuned one is compared, keeps TVM's choice,
but for grouped convolutions on Mali GPUs, of which TVM has none.
"""

from collections.abc import Callable
from typing import Any

from tvm import autotvm, relay, topi
from tvm.relay.backend import te_compiler
from tvm.relay.op import OpPattern
from tvm.relay.op.strategy import generic

from edgetvm.stages.export.data_movement import SHORTEST_VECTOR, schedule_data_movement
from edgetvm.stages.export.gpu_schedules import bound_schedule

_all_implementations = te_compiler.get_valid_implementations


def install() -> None:
    """Put this module's choice into TVM's Relay compiler, which has no other way to take it."""
    te_compiler.get_valid_implementations = _implementations
    # AutoTVM would advise to tune with AutoTVM.
    autotvm.GLOBAL_SCOPE.silent = True


def _implementations(op: Any, attrs: Any, inputs: Any, out_type: Any, target: Any) -> list[Any]:
    """Return what TVM may choose from; its function of the same parameters is replaced."""
    if op.name == "nn.conv2d" and target.kind.name != "llvm" and _is_grouped(attrs, inputs):
        return [_grouped_convolution(attrs.data_layout)]
    found: list[Any] = _all_implementations(op, attrs, inputs, out_type, target)
    if not te_compiler.is_auto_scheduler_enabled():
        return found
    if op.name == "nn.conv2d":
        # Relay would take its Winograd for every 3x3 convolution, unmeasured: one task of four
        # stages, with a search space that a budget of hours does not cover. Ours, for CPUs, is in
        # `winograd.py`.
        found = [one for one in found if "winograd" not in one.name]
    if target.kind.name != "llvm":
        return [_rescheduled(one, _bound) for one in found]
    if op.name == "concatenate":
        found = [one for one in found if one.name == _concatenation(attrs, inputs)] or found
    if op.get_attr("TOpPattern") in (
        OpPattern.ELEMWISE,
        OpPattern.BROADCAST,
        OpPattern.INJECTIVE,
    ):
        return [_rescheduled(max(found, key=lambda one: one.plevel), _moving_data)]
    return found


def _is_grouped(attrs: Any, inputs: Any) -> bool:
    """Say whether a convolution has groups, and several channels in each."""
    channels = inputs[0].shape[attrs.data_layout.index("C")]
    return 1 < int(attrs.groups) < int(channels)


def _grouped_convolution(layout: str) -> Any:
    compute = {"NCHW": topi.nn.group_conv2d_nchw, "NHWC": topi.nn.group_conv2d_nhwc}[layout]
    return _implementation(
        generic.wrap_compute_conv2d(compute, has_groups=True),
        lambda _attrs, outs, _target: bound_schedule(None, outs),
        name=f"group_conv2d_{layout.lower()}.gpu",
    )


def _concatenation(attrs: Any, inputs: Any) -> str:
    """Name the implementation of a concatenation: fused with what follows, or part by part."""
    axis = int(attrs.axis) % len(inputs[0].shape)
    if axis == len(inputs[0].shape) - 1 and not any(
        int(part.shape[axis]) % SHORTEST_VECTOR for part in inputs
    ):
        return "concatenate.generic"
    return "concatenate.cpu"


def _rescheduled(default: Any, schedule: Callable[..., Any]) -> Any:
    """Return `default` with another schedule, a function of `default`'s and of the outputs."""

    def scheduled(attrs: Any, outs: Any, target: Any) -> Any:
        return schedule(lambda: default.schedule(attrs, outs, target), outs)

    return _implementation(
        default.compute, scheduled, name=f"{default.name}.rescheduled", plevel=default.plevel
    )


def _implementation(compute: Callable[..., Any], schedule: Callable[..., Any], **named: Any) -> Any:
    strategy = relay.op.OpStrategy()
    strategy.add_implementation(compute, schedule, **named)
    return strategy.specializations[0].implementations[0]


def _moving_data(by_default: Callable[[], Any], outs: Any) -> Any:
    """Return a schedule that follows what is read, where there is one."""
    ours = schedule_data_movement(outs)
    return by_default() if ours is None else ours


def _bound(by_default: Callable[[], Any], outs: Any) -> Any:
    return bound_schedule(by_default(), outs)
