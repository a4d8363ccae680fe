"""Segmentation on MobileNets: sizes and work as published, shapes, names, and what is refused."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgetvm.errors import UsageError
from edgetvm.models.factory import build_module
from edgetvm.models.segmentation import (
    Segmenter,
    mobilenet_v1_segmenter,
    mobilenet_v2_segmenter,
    mobilenet_v3_segmenter,
    torchvision_lraspp,
)
from edgetvm.models.segmentation_heads import Aspp, LiteAspp, Window, WindowedAverage
from edgetvm.models.weights import initialise
from edgetvm.recipe import Recipe, load_recipe, load_recipes

RECIPES = Path(__file__).parents[2] / "compile"

# Exact sizes, and millions of multiply-adds from arXiv 1801.04381, Table 7, 1905.02244, Tables 7
# and 8, and torchvision's.
PUBLISHED = {
    "mobilenet_v1_deeplabv3": (11_145_301, 14_250),
    "mobilenet_v2_deeplabv3": (4_523_541, 5_800),
    "mobilenet_v2_raspp": (2_113_557, 2_750),
    "mobilenet_v2_raspp_cityscapes": (2_113_043, 21_290),
    "mobilenet_v2_raspp_cityscapes_halved": (1_159_123, 13_680),
    "mobilenet_v2_lraspp": (984_006, 12_570),
    "mobilenet_v2_lraspp_f256": (1_027_654, 12_830),
    "mobilenet_v2_lraspp_0.5": (280_950, 4_000),
    "mobilenet_v2_lraspp_0.35": (166_854, 2_540),
    "mobilenet_v3_large_raspp": (1_762_435, 11_240),
    "mobilenet_v3_large_raspp_full": (3_600_963, 18_430),
    "mobilenet_v3_large_lraspp": (1_505_550, 9_740),
    "mobilenet_v3_large_lraspp_513x1025": (1_505_550, 2_480),
    "mobilenet_v3_large_lraspp_f256": (1_631_118, 10_330),
    "mobilenet_v3_large_lraspp_os32": (1_505_550, 7_740),
    "mobilenet_v3_large_lraspp_torchvision": (3_221_538, 2_100),
    "mobilenet_v3_small_lraspp": (467_486, 2_900),
    "mobilenet_v3_small_lraspp_513x1025": (467_486, 740),
    "mobilenet_v3_small_lraspp_os32": (467_486, 2_060),
}
# By what share they count more. TensorFlow runs the atrous convolutions on 36 x 36 positions, not
# 33 x 33. LR-ASPP's finer map is a wider one in the authors' code, and in MobileNetV3
# squeeze-and-excite and h-swish seem to count, both of which matters in small networks.
COUNTED_BESIDES = {
    "mobilenet_v1_deeplabv3": 0.115,
    "mobilenet_v2_deeplabv3": 0.085,
    "mobilenet_v2_lraspp_0.35": 0.02,
    "mobilenet_v3_small_lraspp": 0.055,
    "mobilenet_v3_small_lraspp_513x1025": 0.055,
    "mobilenet_v3_small_lraspp_os32": 0.065,
}


def build(recipe: Recipe) -> nn.Module:
    with torch.device("meta"):
        return build_module(recipe.factory, recipe.options, recipe.seed).eval()


def shapes_of(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}


def run(network: nn.Module, shape: tuple[int, ...]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        output: torch.Tensor = network.eval()(torch.randn(shape, generator=generator))
    return output


@pytest.mark.parametrize("name", PUBLISHED)
def test_size_and_work_are_the_published_ones(name: str) -> None:
    recipe = load_recipe(name, RECIPES)
    network = build(recipe)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        logits = network(torch.zeros(recipe.input_shape, device="meta"))
    parameters, millions = PUBLISHED[name]
    counted = counter.get_total_flops() / 2e6 * (1 + COUNTED_BESIDES.get(name, 0.0))
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert counted == pytest.approx(millions, rel=0.03)
    classes = 21 if recipe.input_shape[3] in (513, 520) else 19
    assert logits.shape == (1, classes, *recipe.input_shape[2:])


def test_torchvisions_names_are_its_own() -> None:
    recipe = load_recipe("mobilenet_v3_large_lraspp_torchvision", RECIPES)
    shapes = shapes_of(build(recipe))
    expected = {
        "backbone.0.0.weight": (16, 3, 3, 3),
        "backbone.4.block.2.fc1.weight": (24, 72, 1, 1),
        "backbone.13.block.1.0.weight": (672, 1, 5, 5),
        "backbone.15.block.3.1.running_mean": (160,),
        "backbone.16.0.weight": (960, 160, 1, 1),
        "classifier.cbr.0.weight": (128, 960, 1, 1),
        "classifier.cbr.1.running_var": (128,),
        "classifier.scale.1.weight": (128, 960, 1, 1),
        "classifier.low_classifier.weight": (21, 40, 1, 1),
        "classifier.low_classifier.bias": (21,),
        "classifier.high_classifier.weight": (21, 128, 1, 1),
        "classifier.high_classifier.bias": (21,),
    }
    assert {key: shapes.get(key) for key in expected} == expected
    heads = [key for key in shapes if key.startswith("classifier")]
    assert len(heads) == 11
    assert "torchvision" in recipe.weights_from


def test_all_lraspp_nets_have_torchvisions_names() -> None:
    heads = [
        {key for key in shapes_of(build(load_recipe(name, RECIPES))) if "classifier" in key}
        for name in PUBLISHED
        if "_lraspp" in name
    ]
    assert all(head == heads[0] for head in heads)


def dilations(network: nn.Module) -> dict[str, int]:
    return {
        name: module.dilation[0]
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and module.dilation != (1, 1)
    }


@pytest.mark.parametrize(
    ("factory", "options", "dilated"),
    [
        (mobilenet_v1_segmenter, {}, {"backbone.13.0.0": 2}),
        (
            mobilenet_v2_segmenter,
            {},
            {f"backbone.{index}.conv.1.0": 2 for index in (15, 16, 17)},
        ),
        (mobilenet_v3_segmenter, {}, {f"backbone.{index}.block.1.0": 2 for index in (14, 15)}),
        (mobilenet_v3_segmenter, {"output_stride": 32}, {}),
        (torchvision_lraspp, {}, {f"backbone.{index}.block.1.0": 2 for index in (13, 14, 15)}),
    ],
)
def test_the_backbone_is_dilated_after_its_lost_stride(
    factory: Callable[..., nn.Module], options: Mapping[str, Any], dilated: dict[str, int]
) -> None:
    with torch.device("meta"):
        network = factory(**options)
    rates = {key: rate for key, rate in dilations(network).items() if key.startswith("backbone")}
    assert rates == dilated


def test_deeplabs_rates_are_those_of_output_stride_16() -> None:
    with torch.device("meta"):
        network = mobilenet_v2_segmenter("deeplabv3")
    head = {name: rate for name, rate in dilations(network).items() if "branches" in name}
    assert head == {f"classifier.branches.{index}.0": 6 * index for index in (1, 2, 3)}


@pytest.mark.parametrize(
    ("factory", "options", "stride"),
    [
        (mobilenet_v2_segmenter, {"width_multiplier": 0.35}, 16),
        (mobilenet_v3_segmenter, {"size": "small"}, 8),
    ],
)
def test_the_logits_are_enlarged_to_the_image_with_aligned_corners(
    factory: Callable[..., Segmenter], options: Mapping[str, Any], stride: int
) -> None:
    network = factory(num_classes=5, **options)
    initialise(network, (1, 3, 65, 97), seed=0)
    coarse: list[torch.Tensor] = []
    network.classifier.register_forward_hook(lambda _, __, output: coarse.append(output))
    logits = run(network, (2, 3, 65, 97))
    assert logits.shape == (2, 5, 65, 97)
    torch.testing.assert_close(logits[:, :, ::stride, ::stride], coarse[0])
    assert float(logits.std(dim=(2, 3)).min()) > 0.1


@pytest.mark.parametrize(
    ("shape", "averaged"),
    [
        ((65, 129), (2, 5)),  # of 1025 x 2049
        ((33, 65), (1, 1)),  # of 513 x 1025
        ((33, 33), (1, 1)),
    ],
)
def test_the_gates_window_is_no_larger_than_the_map(
    shape: tuple[int, int], averaged: tuple[int, int]
) -> None:
    pool = WindowedAverage(Window(49, (16, 20)))
    assert run(pool, (1, 2, *shape)).shape == (1, 2, *averaged)


@pytest.mark.parametrize(
    ("output_stride", "window"), [(16, Window(49, (16, 20))), (32, Window(25, (4, 5)))]
)
def test_the_gates_window_follows_the_output_stride(output_stride: int, window: Window) -> None:
    with torch.device("meta"):
        network = mobilenet_v3_segmenter(output_stride=output_stride)
    pools = [module for module in network.modules() if isinstance(module, WindowedAverage)]
    assert [pool.window for pool in pools] == [window]


@pytest.mark.parametrize(
    ("window", "gate"), [(None, nn.Sigmoid), (Window(3, (1, 1)), nn.Hardsigmoid)]
)
def test_the_gate_scales_the_coarse_map(window: Window | None, gate: type[nn.Module]) -> None:
    head = LiteAspp(2, 4, 8, 3, window).eval()
    assert isinstance(head.scale[2], gate)
    low, high = torch.randn(1, 2, 10, 10), torch.randn(1, 4, 5, 5)
    with torch.no_grad():
        nn.init.zeros_(head.scale[1].weight)  # type: ignore[arg-type] - a gate of one half
        enlarged = nn.functional.interpolate(
            head.cbr(high) / 2, (10, 10), mode="bilinear", align_corners=window is not None
        )
        expected = head.low_classifier(low) + head.high_classifier(enlarged)
        torch.testing.assert_close(head(low, high), expected)


def test_raspp_sees_the_whole_map_everywhere() -> None:
    head = Aspp(4, 16, 3)
    initialise(head, (1, 4, 5, 5), seed=0)
    high = torch.zeros(1, 4, 5, 5)
    changed = high.clone()
    changed[:, :, 0, 0] = 10
    with torch.no_grad():
        moved = (head(high) - head(changed)).abs().amax(dim=1)
    assert float(moved.min()) > 0.01


@pytest.mark.parametrize(
    ("factory", "options", "message"),
    [
        (mobilenet_v2_segmenter, {"head": "aspp"}, "head must be 'deeplabv3' or .*not 'aspp'"),
        (mobilenet_v2_segmenter, {"filters": 0}, "filters 0 must be positive"),
        (mobilenet_v1_segmenter, {"num_classes": -1}, "num_classes -1 must be positive"),
        (torchvision_lraspp, {"num_classes": 0}, "num_classes 0 must be positive"),
        (mobilenet_v3_segmenter, {"output_stride": 8}, "output_stride must be .*not 8"),
        (mobilenet_v3_segmenter, {"size": "medium"}, "size must be .*not 'medium'"),
        (mobilenet_v2_segmenter, {"width_multiplier": 0}, "width_multiplier 0 must be positive"),
    ],
)
def test_a_bad_argument_is_rejected(
    factory: Callable[..., nn.Module], options: Mapping[str, Any], message: str
) -> None:
    with torch.device("meta"), pytest.raises(UsageError, match=message):
        factory(**options)


def test_every_recipe_is_checked_above() -> None:
    names = {
        name.removesuffix("_513x1025")
        for name, recipe in load_recipes(RECIPES).items()
        if recipe.factory.startswith("edgetvm.models.segmentation:")
    }
    assert names == {name.removesuffix("_513x1025") for name in PUBLISHED}
