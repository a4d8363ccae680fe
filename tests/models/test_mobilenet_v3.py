"""MobileNetV3: sizes as published, torchvision's names, variants and bad arguments."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from edgetvm.errors import UsageError
from edgetvm.models.layers import SamePaddedConv2d, SqueezeExcite
from edgetvm.models.mobilenet_v3 import Bottleneck, MobileNetV3, NaiveHardswish, features
from edgetvm.models.mobilenet_v3_table import Variant
from tests.models.counting import million_multiply_adds, parameters_of, state_shapes


@pytest.mark.parametrize(
    ("size", "width_multiplier", "parameters"),
    [
        ("large", 1.25, 7_551_976),
        ("large", 1.0, 5_483_032),
        ("large", 0.75, 3_993_528),
        ("large", 0.5, 2_689_520),
        ("large", 0.35, 2_131_832),
        ("small", 1.25, 3_645_960),
        ("small", 1.0, 2_542_856),
        ("small", 0.75, 2_041_872),
        ("small", 0.5, 1_592_704),
        ("small", 0.35, 1_358_288),
    ],
)
def test_the_parameters_are_as_published(
    size: Any, width_multiplier: float, parameters: int
) -> None:
    assert parameters_of(partial(MobileNetV3, size, width_multiplier)) == parameters


@pytest.mark.parametrize(
    ("size", "width_multiplier", "resolution", "published"),
    [
        ("large", 1.0, 224, 217),  # Table 9
        ("large", 1.0, 96, 43),
        ("large", 0.5, 224, 69),
        ("small", 1.25, 224, 91),
        ("small", 1.0, 256, 74),
    ],
)
def test_the_work_is_as_published(
    size: Any, width_multiplier: float, resolution: int, published: float
) -> None:
    counted = million_multiply_adds(partial(MobileNetV3, size, width_multiplier), resolution)
    assert counted == pytest.approx(published, rel=0.03)


@pytest.mark.parametrize(
    ("size", "number", "expected"),
    [
        (
            "large",
            312,
            {
                "features.0.0.weight": (16, 3, 3, 3),
                "features.1.block.0.0.weight": (16, 1, 3, 3),
                "features.1.block.1.1.bias": (16,),
                "features.4.block.1.0.weight": (72, 1, 5, 5),
                "features.4.block.2.fc1.weight": (24, 72, 1, 1),
                "features.4.block.2.fc2.bias": (72,),
                "features.4.block.3.0.weight": (40, 72, 1, 1),
                "features.15.block.3.1.running_var": (160,),
                "features.16.0.weight": (960, 160, 1, 1),
                "classifier.0.weight": (1280, 960),
                "classifier.3.bias": (1000,),
            },
        ),
        (
            "small",
            244,
            {
                "features.1.block.1.fc1.weight": (8, 16, 1, 1),
                "features.2.block.0.0.weight": (72, 16, 1, 1),
                "features.3.block.0.0.weight": (88, 24, 1, 1),
                "features.12.1.weight": (576,),
                "classifier.0.weight": (1024, 576),
                "classifier.3.weight": (1000, 1024),
            },
        ),
    ],
)
def test_the_keys_are_torchvisions(
    size: Any, number: int, expected: dict[str, tuple[int, ...]]
) -> None:
    shapes = state_shapes(partial(MobileNetV3, size))
    assert len(shapes) == number
    assert {key: shapes.get(key) for key in expected} == expected


def test_torchvisions_width_rule_scales_expansions_and_classifier() -> None:
    build = partial(MobileNetV3, "large", 0.75, width_rule="torchvision")
    shapes = state_shapes(build)
    assert shapes["classifier.0.weight"] == (960, 720)
    # 200 * 0.75 is 150; the paper's rule gives 2.5 * 64 = 160.
    assert shapes["features.8.block.0.0.weight"] == (152, 64, 1, 1)
    paper = state_shapes(partial(MobileNetV3, "large", 0.75))
    assert paper["features.8.block.0.0.weight"] == (160, 64, 1, 1)
    assert parameters_of(build) == 3_377_576
    for size in ("large", "small"):
        full = partial(MobileNetV3, size)  # type: ignore[arg-type]
        assert state_shapes(partial(full, width_rule="torchvision")) == state_shapes(full)


def test_timms_narrow_networks_keep_the_full_stem() -> None:
    narrow = partial(MobileNetV3, "small", 0.5)
    assert state_shapes(narrow)["features.0.0.weight"] == (8, 3, 3, 3)
    shapes = state_shapes(partial(narrow, scaled_stem=False))
    assert shapes["features.0.0.weight"] == (16, 3, 3, 3)
    assert shapes["features.1.block.0.0.weight"] == (16, 1, 3, 3)


@pytest.mark.parametrize(
    ("size", "tail", "blocks", "last"),
    [
        ("large", "full", [(672, 160), (960, 160), (960, 160)], 960),
        ("large", "segmentation", [(336, 80), (480, 80), (480, 80)], 480),
        ("large", "detection", [(672, 80), (480, 80), (480, 80)], 480),
        ("small", "full", [(288, 96), (576, 96), (576, 96)], 576),
        ("small", "segmentation", [(144, 48), (288, 48), (288, 48)], 288),
        ("small", "detection", [(288, 48), (288, 48), (288, 48)], 288),
    ],
)
def test_tails_are_halved(size: Any, tail: Any, blocks: list[tuple[int, int]], last: int) -> None:
    variant = Variant(size, tail=tail)
    assert [(block.hidden, block.out_channels) for block in variant.blocks()[-3:]] == blocks
    assert variant.last == last


@pytest.mark.parametrize(
    ("output_stride", "dilated_from", "dilations"),
    [(32, "after", [1, 1, 1]), (16, "after", [1, 2, 2]), (16, "first", [2, 2, 2])],
)
@pytest.mark.parametrize(("size", "channels"), [("large", 960), ("small", 576)])
def test_the_output_stride_is_kept_by_dilation(
    size: Any, channels: int, output_stride: int, dilated_from: Any, dilations: list[int]
) -> None:
    variant = Variant(size, output_stride=output_stride, dilated_from=dilated_from)
    with torch.device("meta"):
        network = features(variant).eval()
        output = network(torch.zeros(1, 3, 64, 96))
    assert output.shape == (1, channels, 64 // output_stride, 96 // output_stride)
    depthwise = [
        conv
        for block in network
        if isinstance(block, Bottleneck)
        for conv in block.modules()
        if isinstance(conv, nn.Conv2d) and conv.groups > 1
    ]
    assert [conv.dilation[0] for conv in depthwise[-3:]] == dilations
    assert {conv.dilation for conv in depthwise[:-3]} == {(1, 1)}


@pytest.mark.parametrize(("dilated_from", "expected"), [("after", True), ("first", False)])
def test_only_the_authors_add_the_identity_where_dilation_allows_it(
    dilated_from: Any, expected: bool
) -> None:
    variant = Variant("small", output_stride=16, tail="segmentation", dilated_from=dilated_from)
    assert [block.has_identity for block in variant.blocks()[-3:]] == [expected, True, True]
    strided = Variant("small", tail="segmentation", dilated_from=dilated_from)
    assert not strided.blocks()[-3].has_identity


def test_identities_are_those_of_table_1() -> None:
    blocks = Variant("large").blocks()
    with_identity = [index for index, block in enumerate(blocks, 1) if block.has_identity]
    assert with_identity == [1, 3, 5, 6, 8, 9, 10, 12, 14, 15]


@pytest.mark.parametrize(
    ("size", "hardswishes", "squeezes"),
    [("large", 1 + 2 * 9 + 2, 8), ("small", 1 + 2 * 8 + 2, 9)],
)
def test_activations_are_those_of_the_tables(size: Any, hardswishes: int, squeezes: int) -> None:
    with torch.device("meta"):
        kinds = [type(module) for module in MobileNetV3(size).modules()]
    assert kinds.count(nn.Hardswish) == hardswishes
    assert kinds.count(SqueezeExcite) == kinds.count(nn.Hardsigmoid) == squeezes


@pytest.mark.parametrize(("size", "published"), [("large", 3.9e6), ("small", 2.0e6)])
def test_minimalistic_has_plain_layers_only(size: Any, published: float) -> None:
    build = partial(MobileNetV3, size, minimalistic=True)
    with torch.device("meta"):
        modules = list(build().modules())
    assert not any(isinstance(m, SqueezeExcite | nn.Hardswish | nn.Hardsigmoid) for m in modules)
    assert {m.kernel_size for m in modules if isinstance(m, nn.Conv2d)} == {(1, 1), (3, 3)}
    assert parameters_of(build) == pytest.approx(published, rel=0.03)


def test_naive_and_fused_hardswish_agree() -> None:
    torch.manual_seed(0)
    fused, naive = MobileNetV3("small"), MobileNetV3("small", hardswish="naive")
    naive.load_state_dict(fused.state_dict())
    kinds = [type(module) for module in naive.modules()]
    assert nn.Hardswish not in kinds
    assert kinds.count(NaiveHardswish) == 19
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(naive.eval()(images), fused.eval()(images))
    values = torch.linspace(-5.0, 5.0, 101)
    torch.testing.assert_close(NaiveHardswish()(values), nn.functional.hardswish(values))


@pytest.mark.parametrize(
    ("options", "hardswishes"),
    [
        ({"hardswish_from": 16}, 1 + 14 + 15 + 2),  # the first bottleneck does not expand
        ({"hardswish_from": 80}, 1 + 2 * 9 + 2),  # as in Table 1
        ({"hardswish_from": 112}, 1 + 2 * 5 + 2),
        ({"hardswish": "none"}, 0),
        ({"hardswish": "none", "hardswish_from": 16}, 0),
    ],
)
def test_table_5_varies_where_hardswish_is(options: dict[str, Any], hardswishes: int) -> None:
    build = partial(MobileNetV3, "large", **options)
    with torch.device("meta"):
        kinds = [type(module) for module in build().modules()]
    assert kinds.count(nn.Hardswish) == hardswishes
    assert state_shapes(build) == state_shapes(partial(MobileNetV3, "large"))
    assert million_multiply_adds(build, 224) == pytest.approx(216.6, abs=0.05)


def test_the_convention_reaches_all_layers() -> None:
    with torch.device("meta"):
        network = MobileNetV3(padding="same", norm_eps=0.25)
    modules = list(network.modules())
    assert sum(isinstance(module, SamePaddedConv2d) for module in modules) == 5
    assert {module.eps for module in modules if isinstance(module, nn.BatchNorm2d)} == {0.25}


def test_the_output_has_one_value_a_class() -> None:
    with torch.device("meta"):
        logits = MobileNetV3("small", num_classes=7).eval()(torch.zeros(2, 3, 64, 64))
    assert logits.shape == (2, 7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "medium"}, "size must be 'large' or 'small', not 'medium'"),
        ({"width_multiplier": 0}, "width_multiplier 0 must be positive"),
        ({"output_stride": 8}, "output_stride must be 32 or 16, not 8"),
        ({"tail": "short"}, "tail must be 'full' or .*not 'short'"),
        ({"hardswish": "slow"}, "hardswish must be 'fused' or 'naive' or 'none', not 'slow'"),
        ({"width_rule": "timm"}, "width_rule must be 'paper' or 'torchvision', not 'timm'"),
        ({"dilated_from": "last"}, "dilated_from must be 'after' or 'first', not 'last'"),
    ],
)
def test_bad_arguments_are_rejected(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Variant(**options)


def test_an_unknown_padding_is_rejected() -> None:
    with pytest.raises(UsageError, match=r"padding must be .*not 'valid'"):
        MobileNetV3(padding="valid")  # type: ignore[arg-type]
