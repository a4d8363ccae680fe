"""What MODEL may be, and what is said when it names nothing usable."""

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from edgetvm.errors import UsageError
from edgetvm.manifest import sha256_of
from edgetvm.models.network import Network
from edgetvm.models.resolve import network_from_source, resolve_network

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "compile"
SHAPE = (1, 3, 8, 8)
SMALL = (1, 3, 64, 64)

OWN_NETWORKS = """
import torch
from torch import nn

class Tiny(nn.Module):
    def __init__(self, channels=4):
        super().__init__()
        self.layer = nn.Conv2d(3, channels, 3)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        return self.dropout(self.layer(x))

class Pair(Tiny):
    def forward(self, x):
        return self.layer(x), x

class Mixed(Tiny):
    def forward(self, x):
        return self.layer(x), self.layer(x).argmax(1)

class Nothing(Tiny):
    def forward(self, x):
        return ()

class Half(Tiny):
    def forward(self, x):
        return self.layer(x).to(torch.bfloat16)

def build_tiny():
    return Tiny()

def needs_width(width):
    return Tiny()

def list_of_layers():
    return [nn.ReLU()]

NOT_CALLABLE = 5
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory with a module of the user's own."""
    (tmp_path / "own_nets.py").write_text(OWN_NETWORKS)
    (tmp_path / "broken_nets.py").write_text("import no_such_library\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.delitem(sys.modules, "own_nets", raising=False)


def write_onnx(
    path: Path,
    input_shape: tuple[int | str, ...] = SHAPE,
    input_type: int = TensorProto.FLOAT,
    inputs: int = 1,
    outputs: int = 1,
) -> Path:
    """Write convolution, batch normalisation, ReLU, pooling, Gemm: (N, 3, H, W) to (N, 5)."""
    draw = np.random.default_rng(0).standard_normal
    shapes = {"w": (4, 3, 3, 3), "scale": (4,), "shift": (4,), "mean": (4,), "fc": (4, 5)}
    values = {name: draw(shape, dtype=np.float32) for name, shape in shapes.items()}
    values["var"] = np.full(4, 2, np.float32)
    if inputs == 0:
        values["image"] = draw(SHAPE, dtype=np.float32)
    nodes = [
        helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("BatchNormalization", ["c", "scale", "shift", "mean", "var"], ["b"]),
        helper.make_node("Relu", ["b"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "fc"], ["scores"]),
    ]
    # Older exporters list the weights among the inputs, too.
    declared = [helper.make_tensor_value_info("w", TensorProto.FLOAT, shapes["w"])]
    images = [
        helper.make_tensor_value_info(name, input_type, input_shape)
        for name in ("image", "mask")[:inputs]
    ]
    results = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ("n", size))
        for name, size in (("scores", 5), ("f", 4))[:outputs]
    ]
    weights = [numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "net", images + declared, results, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


def make_again(network: Network) -> Network:
    return network_from_source(network.name, network.title, network.source, network.input_shape)


@pytest.mark.parametrize("name", ["squeezenet_1.1", "mobilenet_v2_ssdlite_0.35"])
def test_a_recipe_resolves_to_a_network_that_runs(name: str) -> None:
    network = resolve_network(name, RECIPES)
    output = network.reference_outputs(network.golden_input())[0]
    assert network.name == name
    assert network.title == network.recipe.title
    assert network.input_shape == network.recipe.input_shape == network.golden_input().shape
    assert network.module is not None
    assert not network.module.training
    assert network.source.weights == network.source.weights_sha256 == ""
    assert output.dtype == network.golden_input().dtype == np.float32
    assert np.isfinite(output).all()
    assert np.abs(output).max() > 0.2


def test_a_recipe_resolves_to_the_same_network_every_time() -> None:
    one, other = (resolve_network("squeezenet_1.1", RECIPES, SMALL) for _ in range(2))
    data = one.golden_input()
    np.testing.assert_array_equal(data, other.golden_input())
    np.testing.assert_array_equal(one.reference_outputs(data)[0], other.reference_outputs(data)[0])


def test_an_input_shape_replaces_the_recipes() -> None:
    network = resolve_network("mobilenet_v2_0.5", RECIPES, SMALL)
    assert network.input_shape == network.recipe.input_shape == SMALL
    assert network.parameters == 1_968_680


def test_a_checkpoint_replaces_the_random_weights(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    saved = resolve_network("squeezenet_1.1", RECIPES, SMALL).module
    assert saved is not None
    with torch.no_grad():
        saved.classifier[1].bias.fill_(3)
    torch.save(saved.state_dict(), path)
    network = resolve_network("squeezenet_1.1", RECIPES, SMALL, weights=path)
    assert network.module is not None
    assert network.module.classifier[1].bias.eq(3).all()
    assert network.source.weights == str(path)
    assert network.source.weights_sha256 == sha256_of(path)


def test_an_unknown_recipe_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"'squeezenet_1\.2'.*did you mean"):
        resolve_network("squeezenet_1.2", RECIPES)


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(("factory", "name"), [("build_tiny", "build_tiny"), ("Tiny", "tiny")])
def test_a_factory_in_the_working_directory_is_found(factory: str, name: str) -> None:
    network = resolve_network(f"own_nets:{factory}", RECIPES, SHAPE)
    assert (network.name, network.title) == (name, factory)
    assert network.parameters == 4 * 3 * 9 + 4
    assert network.input_name == "input"
    assert network.source.reference == f"own_nets:{factory}"
    assert network.reference_runtime.startswith("PyTorch 2.")


@pytest.mark.usefixtures("own")
def test_a_factorys_network_keeps_its_weights_and_they_are_reproducible() -> None:
    before = torch.get_rng_state()
    one, other = (resolve_network("own_nets:Tiny", RECIPES, SHAPE) for _ in range(2))
    assert torch.get_rng_state().equal(before)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        expected = torch.nn.Conv2d(3, 4, 3).weight
    for network in (one, other):
        assert network.module is not None
        assert network.module.layer.weight.equal(expected)


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("no_such_module:build", r"module no_such_module cannot be imported.*working directory"),
        ("broken_nets:build", r"broken_nets cannot be imported \(No module named 'no_such_lib"),
        ("own_nets:build_tinny", r"no callable 'build_tinny': did you mean build_tiny\?"),
        ("own_nets:NOT_CALLABLE", r"no callable 'NOT_CALLABLE'"),
        ("own_nets:", r"not of the form package\.module:callable"),
        (":build", r"not of the form package\.module:callable"),
        ("own_nets:list_of_layers", r"returns a list, not a torch\.nn\.Module"),
        ("own_nets:needs_width", r"fails when called with no arguments \(.*'width'.*recipe"),
        ("own_nets:Mixed", r"mixed returns a tensor of torch\.int64; .*float32 tensors"),
        ("own_nets:Nothing", r"nothing returns a tuple; .*float32 tensors"),
        ("own_nets:Half", r"half returns a tensor of torch\.bfloat16"),
    ],
)
def test_an_unusable_factory_is_rejected(model: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve_network(model, RECIPES, SHAPE)


@pytest.mark.usefixtures("own")
def test_a_factory_without_input_shape_is_rejected() -> None:
    with pytest.raises(UsageError, match=r"own_nets:Tiny needs --input-shape"):
        resolve_network("own_nets:Tiny", RECIPES)


@pytest.mark.usefixtures("own")
def test_a_shape_that_does_not_fit_the_network_is_rejected_with_the_reason() -> None:
    with pytest.raises(UsageError, match=r"tiny does not run.*1,5,8,8 \(.*channels.*\)\. Give"):
        resolve_network("own_nets:Tiny", RECIPES, (1, 5, 8, 8))


def test_a_shape_that_does_not_fit_a_recipe_is_rejected_with_the_reason() -> None:
    with pytest.raises(UsageError, match=r"squeezenet does not run.*1,3,4,4 \(.*[Kk]ernel"):
        resolve_network("squeezenet", RECIPES, (1, 3, 4, 4))


@pytest.mark.parametrize("shape", [(), (1, 3, 0, 8), (-1, 3, 8, 8)])
def test_a_shape_that_is_not_positive_is_rejected(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"--input-shape .*must be positive"):
        resolve_network("squeezenet", RECIPES, shape)


def test_an_onnx_file_is_read_with_its_own_shape(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "My Net-v2.onnx")
    network = resolve_network(str(path), RECIPES)
    assert (network.name, network.title) == ("my_net_v2", "My Net-v2")
    assert (network.input_name, network.input_shape) == ("image", SHAPE)
    assert network.parameters == 4 * 27 + 2 * 4 + 4 * 5
    assert (network.module, network.onnx_path) == (None, path)
    assert network.source.reference == str(path)
    assert network.source.weights_sha256 == sha256_of(path)
    assert network.reference_runtime.startswith("ONNX Runtime 1.")
    assert network.reference_outputs(network.golden_input())[0].shape == (1, 5)


def test_an_input_shape_fills_open_dimensions_of_an_onnx_file(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "net.onnx", ("batch", 3, "height", "width"))
    network = resolve_network(str(path), RECIPES, (2, 3, 9, 7))
    assert network.input_shape == (2, 3, 9, 7)
    assert network.reference_outputs(network.golden_input())[0].shape == (2, 5)


def test_open_dimensions_without_input_shape_are_rejected(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "net.onnx", ("batch", 3, 8, 8))
    with pytest.raises(UsageError, match=r"\(\?,3,8,8\): give --input-shape.* 1,3,224,224"):
        resolve_network(str(path), RECIPES)


@pytest.mark.parametrize("shape", [(1, 3, 16, 8), (1, 3, 8)])
def test_a_shape_against_the_onnx_files_is_rejected(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = write_onnx(tmp_path / "net.onnx")
    with pytest.raises(UsageError, match=r"--input-shape 1,3,.*contradicts .*net\.onnx.*1,3,8,8"):
        resolve_network(str(path), RECIPES, shape)


def test_an_onnx_network_that_fails_for_the_shape_is_rejected(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "net.onnx", (1, 3, "height", "width"))
    with pytest.raises(UsageError, match=r"net does not run with an input of shape 1,3,2,2"):
        resolve_network(str(path), RECIPES, (1, 3, 2, 2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": 2}, r"has 2 inputs \(image, mask\).*single input"),
        ({"inputs": 0}, r"has 0 inputs \(none\).*single input"),
        ({"input_type": TensorProto.UINT8}, r"input image is uint8; .*float32"),
    ],
)
def test_an_onnx_network_with_another_interface_is_rejected(
    tmp_path: Path, changes: dict[str, int], message: str
) -> None:
    path = write_onnx(tmp_path / "net.onnx", **changes)
    with pytest.raises(UsageError, match=message):
        resolve_network(str(path), RECIPES)


@pytest.mark.parametrize("content", [b"", b"no protobuf at all", b"\x08\x08"])
def test_a_file_that_is_not_onnx_is_rejected(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "net.onnx").write_bytes(content)
    with pytest.raises(UsageError, match=r"net\.onnx is not a valid ONNX file"):
        resolve_network(str(tmp_path / "net.onnx"), RECIPES)


def test_a_missing_onnx_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.onnx: there is no such ONNX file"):
        resolve_network(str(tmp_path / "absent.onnx"), RECIPES)


def test_an_operator_that_onnx_runtime_lacks_is_reported(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "net.onnx")
    model = onnx.load(path)
    model.graph.node[3].domain = "own.operators"
    model.opset_import.append(helper.make_opsetid("own.operators", 1))
    onnx.save(model, path)
    with pytest.raises(UsageError, match=r"net\.onnx cannot be run by ONNX Runtime"):
        resolve_network(str(path), RECIPES)


def test_weights_with_an_onnx_file_are_rejected(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "net.onnx")
    with pytest.raises(UsageError, match=r"--weights cannot be combined with .*net\.onnx"):
        resolve_network(str(path), RECIPES, weights=tmp_path / "net.pth")


@pytest.mark.usefixtures("own")
def test_a_network_may_have_several_outputs(tmp_path: Path) -> None:
    pair = resolve_network("own_nets:Pair", RECIPES, SHAPE)
    data = pair.golden_input()
    features, copied = pair.reference_outputs(data)
    assert features.shape == (1, 4, 6, 6)
    np.testing.assert_array_equal(copied, data)
    onnx_pair = resolve_network(str(write_onnx(tmp_path / "net.onnx", outputs=2)), RECIPES)
    shapes = [output.shape for output in onnx_pair.reference_outputs(data)]
    assert shapes == [(1, 5), (1, 4)]


def public_checkpoint(listing: str, path: Path) -> Path:
    """A state dict with a public definition's keys and shapes, and small random values."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for line in (ROOT / "tests/data/state_dicts" / listing).read_text().splitlines()[1:]:
        key, shape = line.split()
        sizes = [] if shape == "scalar" else [int(size) for size in shape.split("x")]
        state[key] = torch.rand(sizes, generator=generator) / 10 + 0.01
    torch.save(state, path)
    return path


def test_a_public_checkpoint_loads_by_the_name_of_its_source(tmp_path: Path) -> None:
    path = public_checkpoint("timm_tf_mobilenetv3_small_075.txt", tmp_path / "net.pth")
    network = resolve_network("mobilenet_v3_small_0.75", RECIPES, SMALL, path, "tf")
    assert network.source.key_map == "timm_mobilenet"
    assert network.recipe.options["padding"] == "same"
    assert network.recipe.normalisation is not None
    assert network.recipe.normalisation.mean == (0.5, 0.5, 0.5)
    data = network.golden_input()
    np.testing.assert_array_equal(
        make_again(network).reference_outputs(data)[0], network.reference_outputs(data)[0]
    )


def test_a_public_checkpoint_of_another_network_is_rejected_by_its_path(tmp_path: Path) -> None:
    path = public_checkpoint("timm_mobilenetv2_050.txt", tmp_path / "net.pth")
    with pytest.raises(UsageError, match=r"net\.pth does not fit MobileNetV3"):
        resolve_network("mobilenet_v3_small_0.75", RECIPES, SMALL, path, "timm")


@pytest.mark.parametrize(
    ("model", "source", "message"),
    [
        ("mobilenet_v2", "torchvison", r"no weights from 'torchvison': did you mean torchvision"),
        ("own_nets:Tiny", "timm", r"--weights-from says whose keys.*name of a recipe"),
        ("net.onnx", "timm", r"--weights cannot be combined"),
    ],
)
def test_a_source_that_the_model_does_not_have_is_rejected(
    tmp_path: Path, model: str, source: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        resolve_network(model, RECIPES, SHAPE, tmp_path / "net.pth", source)


def test_a_source_without_a_checkpoint_is_rejected() -> None:
    with pytest.raises(UsageError, match=r"give --weights FILE"):
        resolve_network("mobilenet_v2", RECIPES, SMALL, weights_from="timm")


def test_compressed_weights_are_sparse_and_few() -> None:
    network = resolve_network("squeezenet_compressed", RECIPES, SMALL)
    assert network.module is not None
    weight = network.module.state_dict()["features.5.expand3x3.weight"]
    assert (weight != 0).float().mean().item() == pytest.approx(0.33, abs=0.01)
    assert 30 < len(weight.unique()) <= 64
    data = network.golden_input()
    np.testing.assert_array_equal(
        make_again(network).reference_outputs(data)[0], network.reference_outputs(data)[0]
    )


@pytest.mark.usefixtures("own")
def test_a_network_is_made_again_from_its_source(tmp_path: Path) -> None:
    checkpoint = tmp_path / "net.pth"
    tiny = resolve_network("own_nets:Tiny", RECIPES, SHAPE)
    assert tiny.module is not None
    torch.save(tiny.module.state_dict(), checkpoint)
    for network in (
        tiny,
        resolve_network("own_nets:Tiny", RECIPES, SHAPE, weights=checkpoint),
        resolve_network("mobilenet_v2_0.5", RECIPES, SMALL),
        resolve_network(str(write_onnx(tmp_path / "net.onnx")), RECIPES),
    ):
        again = make_again(network)
        assert (again.name, again.title, again.source) == (
            network.name,
            network.title,
            network.source,
        )
        data = network.golden_input()
        np.testing.assert_array_equal(
            again.reference_outputs(data)[0], network.reference_outputs(data)[0]
        )


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("kind", ["onnx", "checkpoint"])
def test_a_source_file_that_changed_or_is_gone_is_reported(tmp_path: Path, kind: str) -> None:
    if kind == "onnx":
        path = write_onnx(tmp_path / "net.onnx")
        network = resolve_network(str(path), RECIPES)
    else:
        path = tmp_path / "net.pth"
        tiny = resolve_network("own_nets:Tiny", RECIPES, SHAPE).module
        assert tiny is not None
        torch.save(tiny.state_dict(), path)
        network = resolve_network("own_nets:Tiny", RECIPES, SHAPE, weights=path)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(UsageError, match=rf"{path.name}.* has changed since.*build"):
        make_again(network)
    path.unlink()
    with pytest.raises(UsageError, match=rf"{path.name}.* is gone.*build"):
        make_again(network)


def test_one_timed_inference_runs_with_the_threads_asked_for(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    try:
        for model, shape in ((str(write_onnx(tmp_path / "n.onnx")), SHAPE), ("squeezenet", SMALL)):
            network = resolve_network(model, RECIPES, shape)
            network.reference_callable(network.golden_input(), threads=1)()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)
