"""SqueezeNet: sizes as published, torchvision's names, bypasses and bad arguments."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from edgetvm.errors import UsageError
from edgetvm.models.squeezenet import Fire, SqueezeNet
from tests.models.counting import million_multiply_adds, parameters_of, state_shapes


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        ({}, 1_248_424),
        ({"version": "1.1"}, 1_235_496),
        ({"bypass": "simple"}, 1_248_424),
        ({"bypass": "complex"}, 1_589_672),
    ],
)
def test_the_parameters_are_as_published(options: dict[str, Any], parameters: int) -> None:
    assert parameters_of(partial(SqueezeNet, **options)) == parameters


def test_the_work_is_as_published() -> None:
    # ShuffleNet's Table 6; the authors of SqueezeNet crop to 227.
    assert million_multiply_adds(SqueezeNet, 227) == pytest.approx(833, abs=0.5)
    light = million_multiply_adds(partial(SqueezeNet, "1.1"))
    # What the release announces: 2.4 times less.
    assert million_multiply_adds(SqueezeNet) / light == pytest.approx(2.4, abs=0.06)


@pytest.mark.parametrize(
    ("options", "stem", "fires"),
    [
        ({"version": "1.0"}, (96, 3, 7, 7), [3, 4, 5, 7, 8, 9, 10, 12]),
        ({"version": "1.1"}, (64, 3, 3, 3), [3, 4, 6, 7, 9, 10, 11, 12]),
        ({"bypass": "simple"}, (96, 3, 7, 7), [3, 4, 5, 7, 8, 9, 10, 12]),
    ],
)
def test_the_keys_are_torchvisions(
    options: dict[str, Any], stem: tuple[int, ...], fires: list[int]
) -> None:
    shapes = state_shapes(partial(SqueezeNet, **options))
    layers = ["features.0", "classifier.1"] + [
        f"features.{index}.{part}"
        for index in fires
        for part in ("squeeze", "expand1x1", "expand3x3")
    ]
    assert set(shapes) == {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
    assert shapes["features.0.weight"] == stem
    assert shapes["features.12.expand3x3.weight"] == (256, 64, 3, 3)


def test_the_complex_bypass_convolves_where_the_channels_change() -> None:
    shapes = state_shapes(partial(SqueezeNet, bypass="complex"))
    assert {key: shape for key, shape in shapes.items() if key.endswith("bypass.weight")} == {
        "features.3.bypass.weight": (128, 96, 1, 1),
        "features.5.bypass.weight": (256, 128, 1, 1),
        "features.8.bypass.weight": (384, 256, 1, 1),
        "features.10.bypass.weight": (512, 384, 1, 1),
    }


@pytest.mark.parametrize("bypass", ["simple", "complex"])
def test_the_other_fire_modules_add_their_input(bypass: Any) -> None:
    with torch.device("meta"):
        fires = [layer for layer in SqueezeNet(bypass=bypass).features if isinstance(layer, Fire)]
    identities = [index for index, fire in enumerate(fires, 2) if type(fire.bypass) is nn.Identity]
    assert identities == [3, 5, 7, 9]


def test_the_bypass_is_added_after_the_activation() -> None:
    fire = Fire(8, 2, 4, "simple")
    with torch.no_grad():
        # Nothing gets through the activation, so the input comes out.
        for conv in (fire.expand1x1, fire.expand3x3):
            conv.weight.zero_()
            conv.bias.fill_(-1)
        features = torch.randn(1, 8, 3, 3, generator=torch.Generator().manual_seed(0))
        assert fire(features).equal(features)


def test_the_sizes_are_those_of_the_papers_table() -> None:
    sizes = []
    with torch.device("meta"):
        network = SqueezeNet("1.0").eval()
        images = torch.zeros(1, 3, 227, 227)  # what the authors crop to
    for layer in network.features:
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            layer.register_forward_hook(lambda _, __, output: sizes.append(output.shape[-1]))
    network(images)
    assert sizes == [111, 55, 27, 13]


def test_the_output_has_one_value_a_class() -> None:
    with torch.device("meta"):
        assert SqueezeNet(num_classes=7).eval()(torch.zeros(2, 3, 64, 64)).shape == (2, 7)


@pytest.mark.parametrize("version", ["2.0", 1.1])
def test_an_unknown_version_is_rejected(version: Any) -> None:
    with pytest.raises(UsageError, match=r"'1\.0' or '1\.1'.*not .*" + str(version)):
        SqueezeNet(version)


@pytest.mark.parametrize("bypass", ["identity", True])
def test_an_unknown_bypass_is_rejected(bypass: Any) -> None:
    with pytest.raises(UsageError, match=f"bypass must be 'none', 'simple'.*not .*{bypass}"):
        SqueezeNet(bypass=bypass)
