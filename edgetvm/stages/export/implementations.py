"""Which of TVM's implementations Relay may take where AutoScheduler chooses, and how it schedules.

The library with TVM's default schedules, to which the tuned one is compared, keeps TVM's choice.
"""

from collections.abc import Callable
from typing import Any

from tvm import autotvm, relay
from tvm.relay.backend import te_compiler
from tvm.relay.op import OpPattern

from edgetvm.stages.export.data_movement import SHORTEST_VECTOR, schedule_data_movement

_all_implementations = te_compiler.get_valid_implementations


def install() -> None:
    """Put this module's choice into TVM's Relay compiler, which has no other way to take it."""
    te_compiler.get_valid_implementations = _implementations
    # AutoTVM would advise to tune with AutoTVM.
    autotvm.GLOBAL_SCOPE.silent = True


def _implementations(op: Any, attrs: Any, inputs: Any, out_type: Any, target: Any) -> list[Any]:
    """Return what TVM may choose from; its function of the same parameters is replaced."""
    found: list[Any] = _all_implementations(op, attrs, inputs, out_type, target)
    if not te_compiler.is_auto_scheduler_enabled() or target.kind.name != "llvm":
        return found
    if op.name == "concatenate":
        found = [one for one in found if one.name == _concatenation(attrs, inputs)] or found
    if op.get_attr("TOpPattern") in (
        OpPattern.ELEMWISE,
        OpPattern.BROADCAST,
        OpPattern.INJECTIVE,
    ):
        return [_moving_data(max(found, key=lambda one: one.plevel))]
    if op.name != "nn.conv2d":
        return found
    # Relay would take its Winograd for every 3x3 convolution, unmeasured: one task of four stages,
    # with a search space that a budget of hours does not cover. Ours is in `winograd.py`.
    return [one for one in found if "winograd" not in one.name]


def _concatenation(attrs: Any, inputs: Any) -> str:
    """Name the implementation of a concatenation: fused with what follows, or part by part."""
    axis = int(attrs.axis) % len(inputs[0].shape)
    if axis == len(inputs[0].shape) - 1 and not any(
        int(part.shape[axis]) % SHORTEST_VECTOR for part in inputs
    ):
        return "concatenate.generic"
    return "concatenate.cpu"


def _moving_data(default: Any) -> Any:
    """Return `default` with a schedule that follows what is read, where there is one."""

    def schedule(attrs: Any, outs: Any, target: Any) -> Any:
        ours = schedule_data_movement(outs)
        return default.schedule(attrs, outs, target) if ours is None else ours

    compute: Callable[..., Any] = default.compute
    strategy = relay.op.OpStrategy()
    strategy.add_implementation(compute, schedule, name=f"{default.name}.data_movement")
    return strategy.specializations[0].implementations[0]
