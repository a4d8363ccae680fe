"""What a built library computes, operator by operator."""

import json
import math
from collections.abc import Collection

import tvm
from tvm import relay
from tvm.relay.backend.executor_factory import GraphExecutorFactoryModule

from edgetvm.layer_profile import LayerWork
from edgetvm.stages.build.tasks import describe_function
from edgetvm.stages.export.counting import function_multiply_adds


def describe_layers(factory: GraphExecutorFactoryModule) -> list[LayerWork]:
    """List the operators that the executor runs, in its order; none is called tuned yet."""
    functions = [
        node["attrs"]["func_name"]
        for node in json.loads(factory.get_graph_json())["nodes"]
        if node["op"] == "tvm_op"
    ]
    return [
        _describe(name, factory.function_metadata[name])
        for name in functions
        if name in factory.function_metadata  # a reshape computes nothing and has no function
    ]


def mark_tuned(layers: Collection[LayerWork], tuned: Collection[str]) -> tuple[LayerWork, ...]:
    """Return `layers`, those tuned whose names are among those of the tuned tasks."""
    return tuple(
        LayerWork(
            name=layer.name,
            function=layer.function,
            flop=layer.flop,
            moved_bytes=layer.moved_bytes,
            is_tuned=layer.name in tuned,
        )
        for layer in layers
    )


def _describe(name: str, metadata: tvm.runtime.Object) -> LayerWork:
    (function,) = metadata.relay_primfuncs.values()
    types = [param.checked_type for param in function.params] + [function.ret_type]
    return LayerWork(
        name=describe_function(function),
        function=name,
        flop=2 * function_multiply_adds(function),
        moved_bytes=sum(map(_size_bytes, types)),
        is_tuned=False,
    )


def _size_bytes(kind: relay.Type) -> int:
    if isinstance(kind, relay.TupleType):
        return sum(map(_size_bytes, kind.fields))
    bits = tvm.runtime.DataType(kind.dtype).bits
    return math.prod(int(extent) for extent in kind.shape) * int(-(-bits // 8))
