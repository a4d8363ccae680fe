"""What a built library computes, operator by operator."""

import json
import math
from collections.abc import Collection

import msgspec
import tvm
from tvm import relay
from tvm.relay.backend.executor_factory import GraphExecutorFactoryModule

from edgetvm.layer_profile import LayerWork
from edgetvm.stages.build.tasks import describe_function
from edgetvm.stages.export.counting import function_multiply_adds


def describe_layers(factory: GraphExecutorFactoryModule) -> list[LayerWork]:
    """List the operators that the executor runs, in its order; none is called tuned yet."""
    nodes = json.loads(factory.get_graph_json())["nodes"]
    weights = {
        name: math.prod(value.shape) * _bytes(value.dtype) for name, value in factory.params.items()
    }
    layers = []
    for node in nodes:
        name = node.get("attrs", {}).get("func_name")
        if name in factory.function_metadata:  # a reshape computes nothing and has no function
            inputs = {nodes[place]["name"] for place, *_ in node["inputs"]}
            own_bytes = sum(weights.get(one, 0) for one in inputs)
            layers.append(_describe(name, factory.function_metadata[name], own_bytes))
    return layers


def mark_tuned(layers: Collection[LayerWork], tuned: Collection[str]) -> tuple[LayerWork, ...]:
    """Return `layers`, those tuned whose names are among those of the tuned tasks."""
    return tuple(msgspec.structs.replace(layer, is_tuned=layer.name in tuned) for layer in layers)


def _describe(name: str, metadata: tvm.runtime.Object, weight_bytes: int) -> LayerWork:
    (function,) = metadata.relay_primfuncs.values()
    types = [param.checked_type for param in function.params] + [function.ret_type]
    return LayerWork(
        name=describe_function(function),
        function=name,
        flop=2 * function_multiply_adds(function),
        moved_bytes=sum(map(_size_bytes, types)),
        weight_bytes=weight_bytes,
        is_tuned=False,
    )


def _size_bytes(kind: relay.Type) -> int:
    if isinstance(kind, relay.TupleType):
        return sum(map(_size_bytes, kind.fields))
    return math.prod(int(extent) for extent in kind.shape) * _bytes(kind.dtype)


def _bytes(dtype: str) -> int:
    return int(-(-tvm.runtime.DataType(dtype).bits // 8))
