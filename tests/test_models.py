"""The architectures: sizes and names as published, and shapes."""

from pathlib import Path

import pytest
import torch
from torch import nn

from edgetvm.errors import UsageError
from edgetvm.models.factory import build_module
from edgetvm.models.layers import make_divisible
from edgetvm.models.mobilenet_v2 import MobileNetV2
from edgetvm.models.squeezenet import SqueezeNet
from edgetvm.recipe import list_recipes, load_recipe

RECIPES = Path(__file__).parent.parent / "compile"


def count_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("width_multiplier", "parameters"),
    [(0.35, 1_677_128), (0.5, 1_968_680), (0.75, 2_636_424), (1.0, 3_504_872), (1.4, 6_108_776)],
)
def test_mobilenet_v2_has_the_published_size(width_multiplier: float, parameters: int) -> None:
    assert count_parameters(MobileNetV2(width_multiplier)) == parameters


@pytest.mark.parametrize(("version", "parameters"), [("1.0", 1_248_424), ("1.1", 1_235_496)])
def test_squeezenet_has_the_published_size(version: str, parameters: int) -> None:
    assert count_parameters(SqueezeNet(version)) == parameters


def test_mobilenet_v2_keys_are_torchvisions() -> None:
    shapes = {key: tuple(value.shape) for key, value in MobileNetV2().state_dict().items()}
    assert len(shapes) == 314
    expected = {
        "features.0.0.weight": (32, 3, 3, 3),
        "features.0.1.running_var": (32,),
        "features.1.conv.0.0.weight": (32, 1, 3, 3),
        "features.1.conv.1.weight": (16, 32, 1, 1),
        "features.1.conv.2.num_batches_tracked": (),
        "features.2.conv.0.0.weight": (96, 16, 1, 1),
        "features.17.conv.1.0.weight": (960, 1, 3, 3),
        "features.17.conv.2.weight": (320, 960, 1, 1),
        "features.17.conv.3.bias": (320,),
        "features.18.0.weight": (1280, 320, 1, 1),
        "classifier.1.weight": (1000, 1280),
        "classifier.1.bias": (1000,),
    }
    assert {key: shapes.get(key) for key in expected} == expected


@pytest.mark.parametrize(
    ("version", "stem", "fires"),
    [
        ("1.0", (96, 3, 7, 7), [3, 4, 5, 7, 8, 9, 10, 12]),
        ("1.1", (64, 3, 3, 3), [3, 4, 6, 7, 9, 10, 11, 12]),
    ],
)
def test_squeezenet_keys_are_torchvisions(
    version: str, stem: tuple[int, ...], fires: list[int]
) -> None:
    state = SqueezeNet(version).state_dict()
    layers = ["features.0", "classifier.1"] + [
        f"features.{index}.{part}"
        for index in fires
        for part in ("squeeze", "expand1x1", "expand3x3")
    ]
    assert set(state) == {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
    assert state["features.0.weight"].shape == stem
    assert state["features.12.expand3x3.weight"].shape == (256, 64, 3, 3)


def test_squeezenet_shrinks_as_in_the_papers_table() -> None:
    sizes = []
    network = SqueezeNet("1.0").eval()
    for layer in network.features:
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            layer.register_forward_hook(lambda _, __, output: sizes.append(output.shape[-1]))
    with torch.no_grad():
        network(torch.zeros(1, 3, 227, 227))  # what the authors crop to
    assert sizes == [111, 55, 27, 13]


@pytest.mark.parametrize("name", list_recipes(RECIPES))
def test_a_recipes_network_keeps_the_batch(name: str) -> None:
    recipe = load_recipe(name, RECIPES)
    network = build_module(recipe.factory, recipe.options, recipe.seed).eval()
    with torch.no_grad():
        output = network(torch.zeros(2, *recipe.input_shape[1:]))
    assert output.dtype == torch.float32
    assert output.shape[0] == 2


@pytest.mark.parametrize("network", [MobileNetV2(num_classes=7), SqueezeNet(num_classes=7)])
def test_the_output_has_one_value_a_class(network: nn.Module) -> None:
    with torch.no_grad():
        assert network.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 7)


@pytest.mark.parametrize("version", ["2.0", 1.1])
def test_an_unknown_squeezenet_version_is_rejected(version: str) -> None:
    with pytest.raises(UsageError, match=r"'1\.0' or '1\.1'.*not .*" + str(version)):
        SqueezeNet(version)


@pytest.mark.parametrize("width_multiplier", [0.0, -1.0])
def test_a_width_multiplier_that_is_not_positive_is_rejected(width_multiplier: float) -> None:
    with pytest.raises(UsageError, match=f"width_multiplier {width_multiplier}"):
        MobileNetV2(width_multiplier)


@pytest.mark.parametrize(
    ("value", "rounded"), [(32, 32), (11.2, 16), (33.6, 32), (1, 8), (44.8, 48), (12, 16)]
)
def test_channels_are_rounded_down_by_a_tenth_at_most(value: float, rounded: int) -> None:
    assert make_divisible(value) == rounded
