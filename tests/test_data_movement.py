"""Operators that move data: what is scheduled, what is left to TVM, and that the results hold."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relay, te, topi

from edgetvm.stages.build.library import CODE_GENERATION
from edgetvm.stages.export.data_movement import PARALLEL_ELEMENTS, schedule_data_movement
from edgetvm.stages.export.optimise import AUTO_SCHEDULER

GENERATOR = np.random.default_rng(0)


def var(*shape: int) -> relay.Var:
    return relay.var(f"x{len(shape)}_{GENERATOR.integers(1 << 30)}", shape=shape)


def concatenation(*channels: int) -> relay.Expr:
    parts = [var(1, 5, 6, count) for count in channels]
    return relay.nn.relu(relay.concatenate(parts, axis=3))


def channel_shuffle(groups: int, channels: int) -> relay.Expr:
    data = relay.layout_transform(var(1, 5, 6, channels), "NHWC", "NCHW")
    grouped = relay.reshape(data, (1, groups, channels // groups, 5, 6))
    mixed = relay.reshape(relay.transpose(grouped, (0, 2, 1, 3, 4)), (1, channels, 5, 6))
    return relay.layout_transform(mixed, "NCHW", "NHWC")


def rescaled(channels: int) -> relay.Expr:
    return relay.multiply(var(1, 5, 6, channels), var(1, 1, 1, channels))


def pixels_spread(height: int, width: int, channels: int) -> relay.Expr:
    parts = relay.reshape(var(1, height, width, 4 * channels), (1, height, width, 2, 2, channels))
    spread = relay.transpose(parts, (0, 1, 3, 2, 4, 5))
    return relay.reshape(spread, (1, 2 * height, 2 * width, channels))


OPERATORS = {
    "concatenation": lambda: concatenation(216, 24),
    "concatenation of odd parts": lambda: concatenation(3, 8, 5),
    "concatenation along rows": lambda: relay.concatenate([var(1, 3, 4), var(1, 5, 4)], axis=1),
    "channel shuffle": lambda: channel_shuffle(3, 60),
    "channel shuffle of two groups": lambda: channel_shuffle(2, 16),
    "image to NHWC": lambda: relay.layout_transform(var(1, 3, 8, 9), "NCHW", "NHWC"),
    "result to NCHW": lambda: relay.layout_transform(var(1, 8, 16, 20), "NHWC", "NCHW"),
    "odd result to NCHW": lambda: relay.layout_transform(var(1, 8, 9, 20), "NHWC", "NCHW"),
    "pixels spread": lambda: pixels_spread(5, 6, 20),
    "channel weights": lambda: rescaled(72),
    "odd channel weights": lambda: rescaled(19),
    "slice": lambda: relay.strided_slice(var(1, 5, 6, 48), [16], [40], axes=[3]),
    "resize": lambda: relay.image.resize2d(var(1, 5, 6, 16), (9, 11), layout="NHWC"),
    "large": lambda: relay.nn.relu(var(1, 64, 64, 16)),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_results_are_those_of_the_default_schedules(name: str) -> None:
    expression = OPERATORS[name]()
    function = relay.Function(relay.analysis.free_vars(expression), expression)
    module = tvm.IRModule.from_expr(function)
    arguments = {
        param.name_hint: GENERATOR.standard_normal(
            [int(extent) for extent in param.type_annotation.shape]
        ).astype("float32")
        for param in function.params
    }
    ours, default = (run(module, arguments, config) for config in (AUTO_SCHEDULER, {}))
    np.testing.assert_allclose(ours, default, rtol=1e-6)


def run(module: tvm.IRModule, arguments: dict[str, Any], config: dict[str, bool]) -> Any:
    with tvm.transform.PassContext(opt_level=3, config={**config, **CODE_GENERATION}):
        library = relay.build(module, target="llvm")
    executor = tvm.contrib.graph_executor.GraphModule(library["default"](tvm.cpu()))
    executor.run(**arguments)
    return executor.get_output(0).numpy()


def shuffled(groups: int, channels: int) -> te.Tensor:
    data = te.placeholder((1, 5, 6, channels))
    run_length = channels // groups
    return te.compute(
        data.shape, lambda n, h, w, c: data[n, h, w, c % groups * run_length + c // groups]
    )


def joined(*channels: int) -> te.Tensor:
    return topi.nn.relu(topi.concatenate([te.placeholder((1, 5, 6, c)) for c in channels], axis=3))


def lowered(out: te.Tensor) -> str:
    schedule = schedule_data_movement([out])
    assert schedule is not None
    inputs = [stage.op.output(0) for stage in schedule.stages if not stage.op.input_tensors]
    return str(tvm.lower(schedule, [*inputs, out]))


@pytest.mark.parametrize(("channels", "lanes"), [((216, 24), 8), ((32, 32), 16), ((12, 20), 4)])
def test_vectors_hold_parts_of_one_tensor(channels: tuple[int, ...], lanes: int) -> None:
    text = lowered(joined(*channels))
    assert f"+ {lanes}]" in text
    assert "T.if_then_else(T.Broadcast" not in text


@pytest.mark.parametrize("groups", [2, 3, 4, 8])
def test_shuffles_need_no_division(groups: int) -> None:
    text = lowered(shuffled(groups, 20 * groups))
    assert "//" not in text
    assert "%" not in text


def test_a_transposition_writes_short_runs_for_all_channels() -> None:
    data = te.placeholder((1, 8, 32, 20))
    text = lowered(topi.layout_transform(data, "NHWC", "NCHW"))
    assert "T.grid(8, 2, 20)" in text
    assert text.count("T_layout_trans_1[") == 16


def gathered() -> te.Tensor:
    data, places = te.placeholder((1, 5, 16)), te.placeholder((16,), "int32")
    return te.compute((1, 5, 16), lambda n, h, c: data[n, h, places[c]])


def with_variable_shape() -> te.Tensor:
    return topi.nn.relu(te.placeholder((te.var("n"), 5, 16)))


LEFT_TO_TVM: dict[str, Callable[[], list[te.Tensor]]] = {
    "two outputs": lambda: list(topi.split(te.placeholder((1, 5, 16)), 2, axis=2)),
    "one axis": lambda: [topi.nn.relu(te.placeholder((16,)))],
    "variable shape": lambda: [with_variable_shape()],
    "gathering": lambda: [gathered()],
    "odd channels": lambda: [topi.nn.relu(te.placeholder((1, 5, 6, 19)))],
    "sum": lambda: [topi.sum(te.placeholder((1, 5, 16)), axis=1)],
    "extern": lambda: [topi.x86.concatenate([te.placeholder((1, 5, 16))] * 2, axis=2)],
}


@pytest.mark.parametrize("name", LEFT_TO_TVM)
def test_other_operators_are_left_to_tvm(name: str) -> None:
    assert schedule_data_movement(LEFT_TO_TVM[name]()) is None


@pytest.mark.parametrize(("rows", "expected"), [(8, False), (PARALLEL_ELEMENTS // 64, True)])
def test_only_much_data_is_shared_among_threads(rows: int, expected: bool) -> None:
    text = lowered(topi.nn.relu(te.placeholder((1, rows, 4, 16))))
    assert ("T.parallel" in text) == expected
