"""PyTorch and ONNX into Relay: what is folded and rewritten, and that the numbers stay."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import tvm
from onnx import TensorProto, helper
from tvm import relay

from edgetvm.errors import CompileError
from edgetvm.measurement import relative_error
from edgetvm.models.network import Network
from edgetvm.models.resolve import resolve_network
from edgetvm.stages.build.library import CODE_GENERATION
from edgetvm.stages.build.tasks import describe_function, fused_calls
from edgetvm.stages.export.constant_folding import (
    change_layout,
    change_loop_layout,
    fold_constants,
)
from edgetvm.stages.export.optimise import fuse_for_auto_scheduler, fuse_for_default_schedules
from edgetvm.stages.export.relay_import import import_network
from edgetvm.stages.export.rewrites import (
    convolve_parts,
    fill_vectors,
    make_tunable,
    spread_pixels,
)

RECIPES = Path(__file__).parent.parent / "compile"
TARGET = "llvm"


def tiny() -> Network:
    return resolve_network("tests.tiny_network:build", RECIPES, (1, 3, 32, 32))


def operators(mod: tvm.IRModule) -> list[str]:
    found: list[str] = []
    relay.analysis.post_order_visit(
        mod["main"],
        lambda e: (
            found.append(e.op.name)
            if isinstance(e, relay.Call) and isinstance(e.op, tvm.ir.Op)
            else None
        ),
    )
    return found


def run(mod: tvm.IRModule, *data: np.ndarray) -> np.ndarray:
    with tvm.transform.PassContext(opt_level=3, config=CODE_GENERATION):
        library = relay.build(mod, target=TARGET)
    from tvm.contrib import graph_executor

    executor = graph_executor.GraphModule(library["default"](tvm.cpu()))
    for place, values in enumerate(data):
        executor.set_input(place, values)
    executor.run()
    return executor.get_output(0).numpy()


def test_batch_norm_is_folded_into_the_convolutions() -> None:
    found = operators(import_network(tiny()))
    assert found.count("nn.conv2d") == 3
    assert not {"nn.batch_norm", "multiply", "sqrt", "rsqrt"} & set(found)


def test_relay_computes_what_pytorch_computes() -> None:
    network = tiny()
    data = network.golden_input()
    output = run(import_network(network), data)
    np.testing.assert_allclose(output, network.reference_outputs(data)[0], rtol=1e-4, atol=1e-5)


def test_float16_is_what_convolutions_read_and_no_more() -> None:
    whole = tiny()
    assert whole.in_precision("float32") is whole
    network = whole.in_precision("float16")
    assert network.name == f"{whole.name}_float16"
    assert network.recipe.accepted_error == 3e-2
    mod = import_network(network)
    main = relay.transform.InferType()(mod)["main"]
    dtypes = {main.params[0].checked_type.dtype, main.ret_type.dtype}
    assert dtypes == {"float32"}
    read = []

    def visit(expr: object) -> None:
        if isinstance(expr, relay.Call) and expr.op.name in ("nn.conv2d", "nn.dense"):
            read.append((*(one.checked_type.dtype for one in expr.args), expr.checked_type.dtype))

    relay.analysis.post_order_visit(main, visit)
    assert read == 4 * [("float16", "float16", "float32")]
    fused = fuse_for_auto_scheduler(mod, tvm.target.Target(TARGET))
    written = {
        describe_function(call.op).partition(" ")[2]: call.op.ret_type.dtype
        for call in fused_calls(fused)
    }
    assert written["3x3/1 16x16x16 depthwise+add+clip+cast"] == "float16"
    assert written["1x1/1 16->16x16x16+add+add"] == "float32"  # a residual sum, then averaged


def test_a_classifier_of_float16_computes_what_pytorch_computes() -> None:
    network = tiny().in_precision("float16")
    data = network.golden_input()
    (expected,) = network.reference_outputs(data)
    for fuse in (fuse_for_auto_scheduler, fuse_for_default_schedules):
        output = run(fuse(import_network(network), tvm.target.Target(TARGET)), data)
        assert 1e-5 < relative_error(output, expected) < 1e-2


def test_the_classifier_becomes_a_convolution_with_its_bias_fused() -> None:
    fused = fuse_for_auto_scheduler(import_network(tiny()), tvm.target.Target(TARGET))
    assert "nn.dense" not in operators(fused)
    text = fused["main"].astext(show_meta_data=False)
    assert text.count('data_layout="NHWC"') == 4
    assert 'data_layout="NCHW"' not in text


def test_the_layout_changes_once_at_the_input() -> None:
    fused = fuse_for_auto_scheduler(import_network(tiny()), tvm.target.Target(TARGET))
    text = fused["main"].astext(show_meta_data=False)
    assert text.count("layout_transform(") == 1


@pytest.mark.parametrize("fuse", [fuse_for_auto_scheduler, fuse_for_default_schedules])
def test_no_computation_on_constants_is_left_for_the_device(fuse: object) -> None:
    assert callable(fuse)
    fused = fuse(import_network(tiny()), tvm.target.Target(TARGET))
    constant_calls: list[str] = []

    def visit(expr: object) -> None:
        if isinstance(expr, relay.Call) and all(isinstance(a, relay.Constant) for a in expr.args):
            constant_calls.append(str(expr.op))

    relay.analysis.post_order_visit(fused["main"], visit)
    assert constant_calls == []


def test_what_is_left_alone_keeps_what_was_rewritten_before_it() -> None:
    data = relay.var("data", shape=(1, 4, 6, 6))
    pooled = relay.nn.adaptive_avg_pool2d(relay.nn.adaptive_avg_pool2d(data, (3, 3)), (1, 1))
    rewritten = make_tunable(tvm.IRModule.from_expr(pooled))
    assert operators(rewritten) == ["nn.avg_pool2d", "nn.adaptive_avg_pool2d"]


def grouped(width: int, *following: str) -> tvm.IRModule:
    conv = relay.nn.conv2d(
        relay.var("data", shape=(1, 5, 5, 24)),
        relay.const(np.random.default_rng(0).standard_normal((1, 1, 8, 3 * width), "float32")),
        groups=3,
        channels=3 * width,
        kernel_size=(1, 1),
        data_layout="NHWC",
        kernel_layout="HWIO",
    )
    if "add" in following:
        bias = np.linspace(-1, 1, 3 * width, dtype="float32").reshape(1, 1, 1, -1)
        conv = relay.add(conv, relay.const(bias))
    if "relu" in following:
        conv = relay.nn.relu(conv)
    return tvm.IRModule.from_expr(relay.nn.avg_pool2d(conv, (5, 5), layout="NHWC"))


@pytest.mark.parametrize("following", [(), ("add",), ("relu",), ("add", "relu")])
def test_groups_are_filled_to_whole_vectors(following: tuple[str, ...]) -> None:
    mod = grouped(20, *following)
    filled = fill_vectors(mod)
    assert operators(filled).count("strided_slice") == 1
    assert "channels=72" in filled["main"].astext(show_meta_data=False)
    data = np.random.default_rng(1).standard_normal((1, 5, 5, 24), "float32")
    np.testing.assert_allclose(run(filled, data), run(mod, data), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("width", [4, 16, 40])
def test_groups_that_fill_vectors_or_are_small_stay(width: int) -> None:
    assert "strided_slice" not in operators(fill_vectors(grouped(width, "add")))


def squeezed(outputs: int, *, pooled: bool = False, shared: bool = False) -> tvm.IRModule:
    parts = [relay.var(name, shape=(1, 6, 6, 16)) for name in ("one", "two")]
    joined = relay.concatenate([relay.nn.relu(part) for part in parts], axis=3)
    data = relay.nn.max_pool2d(joined, (3, 3), (2, 2), layout="NHWC") if pooled else joined
    weight = np.random.default_rng(0).standard_normal((1, 1, 32, outputs), "float32")
    conv = relay.nn.conv2d(
        data,
        relay.const(weight),
        channels=outputs,
        kernel_size=(1, 1),
        data_layout="NHWC",
        kernel_layout="HWIO",
    )
    body = relay.Tuple([conv, joined]) if shared else conv
    return tvm.IRModule.from_expr(relay.Function(parts, body))


@pytest.mark.parametrize("pooled", [False, True])
def test_a_squeezed_concatenation_is_not_put_together(pooled: bool) -> None:
    mod = squeezed(16, pooled=pooled)
    rewritten = convolve_parts(mod)
    assert "concatenate" not in operators(rewritten)
    assert operators(rewritten).count("nn.max_pool2d") == 2 * pooled
    generator = np.random.default_rng(1)
    data = [generator.standard_normal((1, 6, 6, 16), "float32") for _ in range(2)]
    np.testing.assert_allclose(run(rewritten, *data), run(mod, *data), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mod", [squeezed(24), squeezed(16, shared=True)], ids=["wide", "shared"])
def test_a_concatenation_that_is_needed_stays(mod: tvm.IRModule) -> None:
    assert "concatenate" in operators(convolve_parts(mod))


def enlarged(kernel: int, stride: int, padding: int = 0) -> tvm.IRModule:
    generator = np.random.default_rng(0)
    return tvm.IRModule.from_expr(
        relay.nn.conv2d_transpose(
            relay.var("data", shape=(1, 6, 4, 5)),
            relay.const(generator.standard_normal((6, 3, kernel, kernel), "float32")),
            channels=3,
            kernel_size=(kernel, kernel),
            strides=(stride, stride),
            padding=(padding, padding),
        )
    )


@pytest.mark.parametrize("stride", [2, 3])
def test_an_enlargement_without_overlap_becomes_a_pointwise_convolution(stride: int) -> None:
    mod = enlarged(stride, stride)
    rewritten = spread_pixels(mod)
    spread = ["reshape", "transpose", "reshape"]
    assert operators(rewritten) == ["layout_transform", "nn.conv2d", *spread, "layout_transform"]
    data = np.random.default_rng(1).standard_normal((1, 6, 4, 5), "float32")
    np.testing.assert_allclose(run(rewritten, data), run(mod, data), rtol=1e-5, atol=1e-5)


def test_an_enlargement_between_convolutions_changes_no_layout() -> None:
    generator = np.random.default_rng(0)

    def convolved(data: relay.Expr, inputs: int, outputs: int) -> relay.Expr:
        weight = relay.const(generator.standard_normal((outputs, inputs, 1, 1), "float32"))
        return relay.nn.relu(relay.nn.conv2d(data, weight, channels=outputs, kernel_size=(1, 1)))

    large = relay.nn.conv2d_transpose(
        convolved(relay.var("data", shape=(1, 3, 4, 4)), 3, 8),
        relay.const(generator.standard_normal((8, 8, 2, 2), "float32")),
        channels=8,
        kernel_size=(2, 2),
        strides=(2, 2),
    )
    mod = tvm.IRModule.from_expr(convolved(large, 8, 4))
    fused = fuse_for_auto_scheduler(mod, tvm.target.Target(TARGET))
    # The image comes and the result leaves as NCHW.
    text = fused["main"].astext(show_meta_data=False)
    assert text.count("layout_transform(") == 2


@pytest.mark.parametrize("args", [(3, 2), (2, 2, 1)])
def test_other_enlargements_stay(args: tuple[int, ...]) -> None:
    assert operators(spread_pixels(enlarged(*args))) == ["nn.conv2d_transpose"]


def test_squeeze_and_excite_scales_activations_not_weights() -> None:
    fused = fuse_for_auto_scheduler(
        import_network(resolve_network("mobilenet_v3_small_0.35", RECIPES)),
        tvm.target.Target(TARGET),
    )
    weights: list[relay.Expr] = []

    def visit(expr: relay.Expr) -> None:
        if isinstance(expr, relay.Call) and isinstance(expr.op, relay.Function):
            arguments = dict(zip(expr.op.params, expr.args, strict=True))
            relay.analysis.post_order_visit(
                expr.op.body, lambda e: weights.extend(weight_of(e, arguments))
            )

    relay.analysis.post_order_visit(fused["main"], visit)
    assert len(weights) > 50
    assert all(isinstance(weight, relay.Constant) for weight in weights)


def weight_of(expr: relay.Expr, arguments: dict[relay.Var, relay.Expr]) -> list[relay.Expr]:
    if isinstance(expr, relay.Call) and expr.op == tvm.ir.Op.get("nn.conv2d"):
        return [arguments.get(expr.args[1], expr.args[1])]
    return []


def test_batch_norm_without_a_convolution_before_it_stays_right() -> None:
    data = np.random.default_rng(0).standard_normal((1, 4, 3, 3), dtype=np.float32)
    network = _onnx_network(with_conv=False)
    np.testing.assert_allclose(
        run(import_network(network), data), network.reference_outputs(data)[0], rtol=1e-5, atol=1e-6
    )


def test_an_onnx_file_takes_the_same_path(tmp_path: Path) -> None:
    network = _onnx_network(with_conv=True)
    mod = import_network(network)
    assert "nn.batch_norm" not in operators(mod)
    data = network.golden_input()
    np.testing.assert_allclose(
        run(mod, data), network.reference_outputs(data)[0], rtol=1e-5, atol=1e-5
    )


def test_an_unknown_operation_is_named() -> None:
    network = resolve_network("tests.tiny_network:build_unknown_operation", RECIPES, (1, 3, 8, 8))
    with pytest.raises(CompileError, match="bessel_j0"):
        import_network(network)


def _onnx_network(*, with_conv: bool) -> Network:
    rng = np.random.default_rng(1)

    def tensor(name: str, *shape: int, low: float = -1.0) -> onnx.TensorProto:
        values = rng.uniform(low, 1.0, shape).astype(np.float32)
        return helper.make_tensor(name, TensorProto.FLOAT, shape, values.tobytes(), raw=True)

    statistics = ["scale", "shift", "mean", "var"]
    nodes = [helper.make_node("BatchNormalization", ["hidden", *statistics], ["output"])]
    weights = [tensor(name, 4, low=0.5) for name in statistics]
    if with_conv:
        nodes.insert(0, helper.make_node("Conv", ["data", "weight", "bias"], ["hidden"]))
        weights += [tensor("weight", 4, 4, 1, 1), tensor("bias", 4)]
    else:
        nodes.insert(0, helper.make_node("Relu", ["data"], ["hidden"]))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 4, 3, 3])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 4, 3, 3])],
        weights,
    )
    opset = [helper.make_opsetid("", 15)]
    path = Path(_onnx_network.__name__ + ".onnx")
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    import tempfile

    folder = Path(tempfile.mkdtemp())
    onnx.save(model, folder / path)
    return resolve_network(str(folder / path), RECIPES)


A, B = (
    np.random.default_rng(seed).uniform(0.5, 2, (8, 4, 3, 3)).astype("float32") for seed in (1, 2)
)
CONSTANT_EXPRESSIONS = {
    "reshape": lambda a, b: relay.reshape(a, (4, 8, 9)),
    "expand_dims": lambda a, b: relay.expand_dims(a, 1, 2),
    "squeeze": lambda a, b: relay.squeeze(relay.expand_dims(a, 0), [0]),
    "batch_flatten": lambda a, b: relay.nn.batch_flatten(a),
    "broadcast_to": lambda a, b: relay.broadcast_to(relay.const(A[:, :1]), A.shape),
    "transpose": lambda a, b: relay.transpose(a, (2, 0, 3, 1)),
    "transpose without axes": lambda a, b: relay.transpose(a),
    "arithmetic": lambda a, b: relay.negative((a + b) * a / b - a),
    "roots": lambda a, b: relay.sqrt(a) + relay.rsqrt(b),
    "layout": lambda a, b: relay.layout_transform(a, "OIHW", "HWIO"),
    "blocked layout": lambda a, b: relay.layout_transform(a, "OIHW", "OIHW2i4o"),
    "blocked layout back": lambda a, b: relay.layout_transform(
        relay.layout_transform(a, "OIHW", "OIHW2i4o"), "OIHW2i4o", "OIHW"
    ),
    "left to TVM": lambda a, b: relay.exp(a) + relay.sqrt(b),
}


@pytest.mark.parametrize("build", CONSTANT_EXPRESSIONS.values(), ids=CONSTANT_EXPRESSIONS.keys())
def test_folding_gives_what_tvm_gives(build: object) -> None:
    assert callable(build)
    mod = tvm.IRModule.from_expr(relay.Function([], build(relay.const(A), relay.const(B))))
    ours = fold_constants(mod)["main"].body
    theirs = relay.transform.FoldConstant()(relay.transform.InferType()(mod))["main"].body
    assert isinstance(ours, relay.Constant)
    np.testing.assert_allclose(ours.data.numpy(), theirs.data.numpy(), rtol=1e-6)


def test_folding_leaves_what_depends_on_the_input() -> None:
    x = relay.var("x", shape=(8, 4, 3, 3))
    mod = tvm.IRModule.from_expr(relay.Function([x], relay.add(x, relay.sqrt(relay.const(A)))))
    body = fold_constants(mod)["main"].body
    assert body.op.name == "add"
    np.testing.assert_allclose(body.args[1].data.numpy(), np.sqrt(A), rtol=1e-6)


def test_tuples_and_deep_nets_are_folded() -> None:
    x = relay.var("x", shape=(8, 4, 3, 3))
    deep = x
    for _ in range(2000):
        deep = relay.add(deep, relay.const(np.float32(1)))
    parts = relay.split(deep, 2, 0)
    mod = tvm.IRModule.from_expr(relay.Function([x], relay.concatenate(parts, 0)))
    assert operators(fold_constants(mod)).count("add") == 2000


def test_a_layout_whose_factor_does_not_divide_is_left_alone() -> None:
    assert change_layout(A, "OIHW", "OIHW3i") is None


def test_loop_layouts_split_and_reorder_the_axes() -> None:
    weight = np.arange(3 * 3 * 4 * 8).reshape(3, 3, 4, 8)
    changed = change_loop_layout(weight, "3ry3rx4rc8ff", "2ff3ry2rc3rx4ff2rc")
    assert changed.shape == (2, 3, 2, 3, 4, 2)
    # ff = 1*4+2, ry = 2, rc = 1*2+0, rx = 1
    assert changed[1, 2, 1, 1, 2, 0] == weight[2, 1, 2, 6]
