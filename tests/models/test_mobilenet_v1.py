"""MobileNetV1: sizes as published, layers, names and bad arguments."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from edgetvm.errors import UsageError
from edgetvm.models.layers import ConvNorm, SamePaddedConv2d
from edgetvm.models.mobilenet_v1 import DepthwiseSeparable, MobileNetV1, features
from tests.models.counting import million_multiply_adds, parameters_of, state_shapes


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        ({}, 4_231_976),
        ({"width_multiplier": 0.75}, 2_585_560),
        ({"width_multiplier": 0.5}, 1_331_592),
        ({"width_multiplier": 0.25}, 470_072),
        ({"form": "convolutional"}, 29_294_088),
        ({"form": "shallow"}, 2_887_976),
    ],
)
def test_the_parameters_are_as_published(options: dict[str, Any], parameters: int) -> None:
    assert parameters_of(partial(MobileNetV1, **options)) == parameters


@pytest.mark.parametrize(
    ("options", "resolution", "published"),
    [
        ({}, 224, 569),  # Tables 4, 5, 7 and 9
        ({}, 128, 186),
        ({"width_multiplier": 0.5}, 160, 76),
        ({"form": "convolutional"}, 224, 4866),
        ({"form": "shallow"}, 224, 307),
    ],
)
def test_the_work_is_as_published(
    options: dict[str, Any], resolution: int, published: float
) -> None:
    counted = million_multiply_adds(partial(MobileNetV1, **options), resolution)
    assert counted == pytest.approx(published, rel=0.01)


def test_the_keys_are_regular() -> None:
    shapes = state_shapes(MobileNetV1)
    layers = ["features.0"] + [
        f"features.{index}.{part}" for index in range(1, 14) for part in (0, 1)
    ]
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    assert set(shapes) == {
        *(f"{layer}.0.weight" for layer in layers),
        *(f"{layer}.1.{kind}" for layer in layers for kind in norm),
        "classifier.1.weight",
        "classifier.1.bias",
    }
    assert shapes["features.0.0.weight"] == (32, 3, 3, 3)
    assert shapes["features.1.0.0.weight"] == (32, 1, 3, 3)
    assert shapes["features.1.1.0.weight"] == (64, 32, 1, 1)
    assert shapes["features.13.1.1.weight"] == (1024,)
    assert shapes["classifier.1.weight"] == (1000, 1024)


@pytest.mark.parametrize("form", ["separable", "convolutional"])
def test_the_maps_shrink_as_in_table_1(form: str) -> None:
    with torch.device("meta"):
        network, maps = features(form=form).eval(), torch.zeros(1, 3, 224, 224)
    sizes = []
    for layer in network:
        maps = layer(maps)
        sizes.append(maps.shape[-1])
    # The last block keeps its 7 x 7, whatever stride the table prints.
    assert sizes == [112, 112, 56, 56, 28, 28, 14, 14, 14, 14, 14, 14, 7, 7]


def test_the_shallow_network_lacks_five_blocks() -> None:
    with torch.device("meta"):
        blocks = list(features(form="shallow"))[1:]
    pointwise = [block[1][0] for block in blocks if isinstance(block, DepthwiseSeparable)]
    assert [conv.out_channels for conv in pointwise] == [64, 128, 128, 256, 256, 512, 1024, 1024]


def test_widths_are_cut_not_rounded() -> None:
    # 32 * 0.3 is 9.6; a multiple of 8 would be 8 or 16.
    assert state_shapes(partial(MobileNetV1, 0.3))["features.0.0.weight"] == (9, 3, 3, 3)
    assert state_shapes(partial(MobileNetV1, 0.1))["features.0.0.weight"] == (8, 3, 3, 3)


@pytest.mark.parametrize(("name", "kind"), [("relu", nn.ReLU), ("relu6", nn.ReLU6)])
def test_every_convolution_is_activated(name: str, kind: type[nn.Module]) -> None:
    with torch.device("meta"):
        network = MobileNetV1(activation=name)
    layers = [module for module in network.modules() if isinstance(module, ConvNorm)]
    assert [type(layer[2]) for layer in layers] == [kind] * 27


def test_the_convention_reaches_all_layers() -> None:
    with torch.device("meta"):
        network = MobileNetV1(padding="same", norm_eps=0.25)
    modules = list(network.modules())
    assert sum(isinstance(module, SamePaddedConv2d) for module in modules) == 5
    assert {module.eps for module in modules if isinstance(module, nn.BatchNorm2d)} == {0.25}


def test_the_output_has_one_value_a_class() -> None:
    with torch.device("meta"):
        logits = MobileNetV1(0.25, num_classes=7).eval()(torch.zeros(2, 3, 64, 64))
    assert logits.shape == (2, 7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width_multiplier": 0.0}, r"width_multiplier 0\.0 must be positive"),
        ({"form": "deep"}, "form must be one of separable, .*not 'deep'"),
        ({"activation": "selu"}, "activation must be 'relu' or 'relu6', not 'selu'"),
        ({"padding": "valid"}, "padding must be .*not 'valid'"),
    ],
)
def test_bad_arguments_are_rejected(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        MobileNetV1(**options)
