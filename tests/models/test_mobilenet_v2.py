"""MobileNetV2: sizes as published, torchvision's names, strides and bad arguments."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from edgetvm.errors import UsageError
from edgetvm.models.layers import SamePaddedConv2d
from edgetvm.models.mobilenet_v2 import InvertedResidual, MobileNetV2, features
from tests.models.counting import million_multiply_adds, parameters_of, state_shapes


@pytest.mark.parametrize(
    ("width_multiplier", "parameters"),
    [
        (0.35, 1_677_128),
        (0.5, 1_968_680),
        (0.75, 2_636_424),
        (1.0, 3_504_872),
        (1.3, 5_386_792),
        (1.4, 6_108_776),
    ],
)
def test_the_parameters_are_as_published(width_multiplier: float, parameters: int) -> None:
    assert parameters_of(partial(MobileNetV2, width_multiplier)) == parameters


@pytest.mark.parametrize(
    ("width_multiplier", "resolution", "published"),
    [
        (0.35, 224, 59),
        (1.0, 224, 300),
        (1.0, 96, 56),
        (1.4, 224, 582),
    ],
)
def test_the_work_is_as_published(
    width_multiplier: float, resolution: int, published: float
) -> None:
    counted = million_multiply_adds(partial(MobileNetV2, width_multiplier), resolution)
    assert counted == pytest.approx(published, rel=0.01)


def test_the_keys_are_torchvisions() -> None:
    shapes = state_shapes(MobileNetV2)
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


@pytest.mark.parametrize(("width_multiplier", "last"), [(0.5, 1280), (1.0, 1280), (1.4, 1792)])
def test_the_last_layer_only_grows(width_multiplier: float, last: int) -> None:
    shapes = state_shapes(partial(MobileNetV2, width_multiplier))
    assert shapes["features.18.0.weight"][0] == last
    assert shapes["classifier.1.weight"] == (1000, last)


@pytest.mark.parametrize(
    ("output_stride", "sizes", "dilated"),
    [(32, [14, 7, 7, 7, 7], []), (16, [14, 14, 14, 14, 14], [15, 16, 17])],
)
def test_the_output_stride_is_kept_by_dilation(
    output_stride: int, sizes: list[int], dilated: list[int]
) -> None:
    with torch.device("meta"):
        network = features(output_stride=output_stride).eval()
        maps = torch.zeros(1, 3, 224, 224)
    seen = []
    for layer in network:
        maps = layer(maps)
        seen.append(maps.shape[-1])
    assert len(seen) == 19
    assert seen[:14] == [112, 112, 56, 56, 28, 28, 28, 14, 14, 14, 14, 14, 14, 14]
    assert seen[13:18] == sizes
    dilations = {
        index: conv.dilation
        for index, block in enumerate(network)
        for conv in block.modules()
        if isinstance(conv, nn.Conv2d) and conv.dilation != (1, 1)
    }
    assert dilations == dict.fromkeys(dilated, (2, 2))


def test_the_halved_tail_has_80_and_160_channels() -> None:
    with torch.device("meta"):
        network = features(halved_tail=True, output_stride=16)
    blocks = [block for block in network if isinstance(block, InvertedResidual)]
    convs = [[conv for conv in b.modules() if isinstance(conv, nn.Conv2d)] for b in blocks[12:]]
    assert [(first.out_channels, last.out_channels) for first, *_, last in convs] == [
        (576, 96),
        (576, 80),
        (480, 80),
        (480, 80),
        (480, 160),
    ]


def test_the_identity_is_added_within_a_stage_only() -> None:
    with torch.device("meta"):
        blocks = [block for block in features() if isinstance(block, InvertedResidual)]
    with_identity = [index for index, block in enumerate(blocks, 1) if block.has_identity]
    assert with_identity == [3, 5, 6, 8, 9, 10, 12, 13, 15, 16]


def test_the_convention_reaches_all_layers() -> None:
    with torch.device("meta"):
        network = MobileNetV2(padding="same", norm_eps=0.25)
    modules = list(network.modules())
    assert sum(isinstance(module, SamePaddedConv2d) for module in modules) == 5
    assert {module.eps for module in modules if isinstance(module, nn.BatchNorm2d)} == {0.25}


def test_the_output_has_one_value_a_class() -> None:
    with torch.device("meta"):
        logits = MobileNetV2(num_classes=7).eval()(torch.zeros(2, 3, 64, 64))
    assert logits.shape == (2, 7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width_multiplier": 0.0}, r"width_multiplier 0\.0 must be positive"),
        ({"width_multiplier": -1.0}, r"width_multiplier -1\.0 must be positive"),
        ({"output_stride": 8}, "output_stride must be 16 or 32, not 8"),
    ],
)
def test_bad_arguments_are_rejected(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        features(**options)


def test_an_unknown_padding_is_rejected() -> None:
    with pytest.raises(UsageError, match=r"padding must be .*not 'valid'"):
        MobileNetV2(padding="valid")  # type: ignore[arg-type]
