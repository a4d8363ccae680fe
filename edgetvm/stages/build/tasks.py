"""The tuning tasks of a network: its distinct functions that hold a reduction."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import tvm
from tvm import auto_scheduler, relay, tir
from tvm.auto_scheduler.dispatcher import DispatchContext

from edgetvm.stages.export.optimise import AUTO_SCHEDULER
from edgetvm.stages.export.winograd_schedules import is_transform
from edgetvm.target_profile import TargetProfile

_UNLIMITED = 2**31 - 1
"""OpenCL has no limit on a thread's own memory."""


@dataclass(frozen=True)
class NetworkTask:
    """A search task with what it means in its network.

    Attributes
    ----------
    name : operators and shape, such as ``conv2d 3x3/2 112x112x96 depthwise``.
    count : how often the network runs it.
    search_task : AutoScheduler's task.
    function : the fused function; those of one task are all lowered alike.
    """

    name: str
    count: int
    search_task: auto_scheduler.SearchTask
    function: relay.Function

    @property
    def workload_key(self) -> str:
        """AutoScheduler's key: a hash of the computation and the shapes of its tensors."""
        return str(self.search_task.workload_key)

    @property
    def flop(self) -> float:
        """Floating-point operations of one run."""
        return float(self.search_task.compute_dag.flop_ct)

    @cached_property
    def tir_module(self) -> tvm.IRModule:
        """What MetaSchedule tunes: the module that Relay's lowering looks up in a database."""
        lower = tvm.get_global_func("relay.backend.LowerToPrimFunc")
        target = self.search_task.target
        with target, tvm.transform.PassContext(opt_level=3, config=AUTO_SCHEDULER):
            return normalised_module(lower(self.function, target))


def normalised_module(function: tvm.tir.PrimFunc) -> tvm.IRModule:
    """Return `function` as the one of a module, in the form by which databases know it."""
    named = function.with_attr({"global_symbol": "main", "tir.noalias": tvm.tir.IntImm("bool", 1)})
    return tvm.IRModule({"main": named})


def hardware_params(profile: TargetProfile, threads: int) -> auto_scheduler.HardwareParams:
    """Return what the search has to know of the device; the cores are the threads in use."""
    if profile.gpu is not None:
        return auto_scheduler.HardwareParams(
            num_cores=-1,
            vector_unit_bytes=profile.vector_unit_bytes,
            cache_line_bytes=profile.cache_line_bytes,
            max_shared_memory_per_block=profile.gpu.local_memory_bytes,
            max_local_memory_per_block=_UNLIMITED,
            max_threads_per_block=profile.gpu.max_threads,
            max_vthread_extent=1,
            warp_size=1,
        )
    return auto_scheduler.HardwareParams(
        num_cores=threads,
        vector_unit_bytes=profile.vector_unit_bytes,
        cache_line_bytes=profile.cache_line_bytes,
        target=tvm.target.Target(profile.tvm_target),
    )


def extract_tasks(fused: tvm.IRModule, profile: TargetProfile, threads: int) -> list[NetworkTask]:
    """List the tasks of a network, each once, in the order of first use.

    TVM's function of this name lowers the whole network for that. Here each function runs
    through the one pass that asks AutoScheduler's context for its schedule.

    Parameters
    ----------
    fused : from :func:`edgetvm.stages.export.optimise.fuse_for_auto_scheduler`.
    """
    counts: Counter[str] = Counter()
    functions: dict[str, relay.Function] = {}
    for call in fused_calls(fused):
        key = workload_key(call.op, profile.tvm_target)
        if key is not None:
            functions.setdefault(key, call.op)
            counts[key] += 1
    return [
        define_task(function, key, profile, threads, counts[key])
        for key, function in functions.items()
    ]


def fused_calls(fused: tvm.IRModule) -> list[relay.Call]:
    """List the calls of fused functions, in the order of computation."""
    calls: list[relay.Call] = []
    relay.analysis.post_order_visit(
        fused["main"], lambda e: calls.append(e) if _calls_primitive(e) else None
    )
    return calls


def define_task(
    function: relay.Function, key: str, profile: TargetProfile, threads: int, count: int
) -> NetworkTask:
    """Return the task of a fused function whose workload key is `key`."""
    target = tvm.target.Target(profile.tvm_target)
    name = describe_function(function)
    search_task = auto_scheduler.SearchTask(
        workload_key=key,
        target=target,
        hardware_params=hardware_params(profile, threads),
        layout_rewrite_option=auto_scheduler.LayoutRewriteOption.get_target_default(target, True),
        desc=name,
    )
    return NetworkTask(name, count, search_task, function)


class _QueriedTasks(DispatchContext):  # type: ignore[misc]
    """A context that has no schedules and notes which workloads it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.workload_keys: list[str] = []

    def query(
        self, _target: Any, workload_key: str, has_complex_op: bool, dag: Any, _func_name: str
    ) -> None:
        """Note the workload if it holds a reduction; most others are not worth tuning."""
        if has_complex_op or is_transform(dag):
            self.workload_keys.append(workload_key)


class _Structure:
    """A function that equals all others that compute the same, of the same shapes."""

    def __init__(self, function: relay.Function) -> None:
        self.function = function
        self._hash = int(tvm.ir.structural_hash(function))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Structure) and bool(
            tvm.ir.structural_equal(self.function, other.function)
        )


def workload_key(function: relay.Function, tvm_target: str) -> str | None:
    """Return the workload key of a fused function, None if it has no task.

    A network's blocks repeat themselves: a function is asked for once.
    """
    return _query_workload(_Structure(function), tvm_target)


@cache
def _query_workload(structure: _Structure, tvm_target: str) -> str | None:
    """Ask Relay for the workload of a function, which registers it with TVM."""
    function, target = structure.function, tvm.target.Target(tvm_target)
    params = [relay.Var(param.name_hint, param.checked_type) for param in function.params]
    mod = tvm.IRModule.from_expr(relay.Function(params, relay.Call(function, params)))
    rewrite = tvm.get_global_func("relay._transform.AutoSchedulerLayoutRewrite")
    context = tvm.transform.PassContext(opt_level=3, config=AUTO_SCHEDULER)
    queried = _QueriedTasks()
    with queried, target, context:
        rewrite()(relay.transform.InferType()(mod))
    return next(iter(queried.workload_keys), None)


def _calls_primitive(expr: Any) -> bool:
    function = expr.op if isinstance(expr, relay.Call) else None
    return isinstance(function, relay.Function) and "Primitive" in (function.attrs or {})


def describe_function(function: relay.Function) -> str:
    """Say in short what a fused function computes: ``conv2d 3x3/2 3->112x112x32+add+clip``."""
    calls: list[relay.Call] = []
    relay.analysis.post_order_visit(
        function.body, lambda e: calls.append(e) if isinstance(e, relay.Call) else None
    )
    anchor = next((call for call in calls if _is_convolution(call)), calls[0])
    rest = "".join(f"+{_short(call.op.name)}" for call in calls if not call.same_as(anchor))
    return f"{_describe_anchor(anchor)}{rest}"


def _describe_anchor(call: relay.Call) -> str:
    kind = call.checked_type
    if isinstance(kind, relay.TupleType):  # of several outputs the first, as of a sort or a split
        kind = kind.fields[0]
    shape = "x".join(str(extent) for extent in kind.shape[1:])
    name = _short(call.op.name)
    if not _is_convolution(call):
        return f"{name} {shape}"
    height, width = call.attrs.kernel_size
    stride = int(call.attrs.strides[0])
    groups = int(call.attrs.groups)
    channels = _channels(call.args[0].checked_type.shape, call.attrs.data_layout)
    grouped = "" if groups == 1 else " depthwise" if groups == channels else f" groups={groups}"
    source = f"{channels}->" if groups == 1 else ""
    return f"{name} {height}x{width}/{stride} {source}{shape}{grouped}"


def _is_convolution(call: relay.Call) -> bool:
    """Tell convolutions, also those of TVM's blocked layouts, from all else."""
    return "conv2d" in call.op.name and "transpose" not in call.op.name


def _channels(shape: Sequence[tir.IntImm], layout: str) -> int:
    """Return the channels of a tensor in a layout such as ``NHWC`` or ``NCHW16c``."""
    letters = [letter for letter in layout if letter.isalpha()]
    of_letters = zip(letters, shape, strict=True)
    return math.prod(int(extent) for letter, extent in of_letters if letter in "Cc")


def _short(operator: str) -> str:
    return operator.rpartition(".")[2].replace("bias_add", "add")
