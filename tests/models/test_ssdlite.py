"""SSDLite: sizes as published, torchvision's names, the levels read and the priors."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgetvm.errors import UsageError
from edgetvm.models.factory import build_module
from edgetvm.models.ssdlite import (
    SSDLite,
    as_torchvision,
    on_mobilenet_v1,
    on_mobilenet_v2,
    on_mobilenet_v3,
    tensorflow_scheme,
    torchvision_scheme,
)
from edgetvm.recipe import load_recipe

RECIPES = Path(__file__).parents[2] / "compile"
IMAGE = (1, 3, 320, 320)

# Parameters, and millions of multiply-adds as published (arXiv 1801.04381 and 1905.02244, Tables
# 6 of both; torchvision publishes its own).
PUBLISHED = {
    "mobilenet_v1_ssdlite": (5_100_661, 1300),
    "mobilenet_v2_ssdlite": (4_337_013, 800),
    "mobilenet_v2_ssdlite_0.5": (1_562_111, 270),
    "mobilenet_v3_large_ssdlite": (5_006_735, 620),
    "mobilenet_v3_large_ssdlite_reduced": (3_248_255, 510),
    "mobilenet_v3_small_ssdlite": (2_518_271, 210),
    "mobilenet_v3_small_ssdlite_reduced": (1_785_743, 160),
    "mobilenet_v3_large_ssdlite_torchvision": (3_440_060, 583),
}


def count_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def on_meta(make: Callable[[], SSDLite]) -> SSDLite:
    with torch.device("meta"):
        return make().eval()


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_has_the_published_size_and_work(name: str) -> None:
    recipe = load_recipe(name, RECIPES)
    parameters, work = PUBLISHED[name]
    with torch.device("meta"):
        network = build_module(recipe.factory, recipe.options, recipe.seed).eval()
        assert count_parameters(network) == parameters
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(recipe.input_shape))
    assert counter.get_total_flops() / 2e6 == pytest.approx(work, rel=0.03)


def test_the_smallest_has_the_published_size() -> None:
    network = on_meta(lambda: on_mobilenet_v2(0.35))
    # Published: 0.93 million, and 160 million multiply-adds where 167 are counted.
    assert count_parameters(network) == 947_709


@pytest.mark.parametrize(
    ("make", "parameters"), [(on_mobilenet_v1, 5_246_911), (on_mobilenet_v2, 4_500_543)]
)
def test_ninety_one_classes_are_the_default(make: Callable[[], SSDLite], parameters: int) -> None:
    assert count_parameters(on_meta(make)) == parameters


@pytest.mark.parametrize(
    ("make", "widths"),
    [
        (on_mobilenet_v1, [512, 1024]),
        (on_mobilenet_v2, [576, 1280]),
        (lambda: on_mobilenet_v2(0.5), [288, 640]),
        (on_mobilenet_v3, [672, 960]),
        (lambda: on_mobilenet_v3(reduced=True), [672, 480]),
        (lambda: on_mobilenet_v3("small"), [288, 576]),
        (lambda: on_mobilenet_v3("small", reduced=True), [288, 288]),
    ],
)
def test_the_backbone_is_read_where_the_papers_say(
    make: Callable[[], SSDLite], widths: list[int]
) -> None:
    network = on_meta(make)
    maps = network.backbone(torch.empty(IMAGE, device="meta"))
    assert [level.shape[1] for level in maps[:2]] == widths
    assert [tuple(level.shape[2:]) for level in maps] == [(n, n) for n in (20, 10, 5, 3, 2, 1)]


def test_the_extra_levels_shrink_with_the_width_but_not_below_sixteen() -> None:
    assert on_meta(on_mobilenet_v2).backbone.widths[2:] == [512, 256, 256, 128]
    assert on_meta(lambda: on_mobilenet_v2(0.35)).backbone.widths[2:] == [179, 89, 89, 44]
    assert on_meta(lambda: on_mobilenet_v2(0.1)).backbone.widths[2:] == [51, 25, 25, 16]


def test_the_keys_are_torchvisions() -> None:
    shapes = {key: tuple(v.shape) for key, v in on_meta(as_torchvision).state_dict().items()}
    assert len(shapes) == 476
    expected = {
        "backbone.features.0.0.0.weight": (16, 3, 3, 3),
        "backbone.features.0.12.block.3.0.weight": (112, 672, 1, 1),
        "backbone.features.0.13.0.weight": (672, 112, 1, 1),
        "backbone.features.1.0.1.0.weight": (672, 1, 5, 5),
        "backbone.features.1.0.2.fc1.weight": (168, 672, 1, 1),
        "backbone.features.1.0.3.1.running_var": (80,),
        "backbone.features.1.1.block.0.0.weight": (480, 80, 1, 1),
        "backbone.features.1.3.0.weight": (480, 80, 1, 1),
        "backbone.extra.0.0.0.weight": (256, 480, 1, 1),
        "backbone.extra.3.2.1.num_batches_tracked": (),
        "head.classification_head.module_list.0.0.0.weight": (672, 1, 3, 3),
        "head.classification_head.module_list.0.1.weight": (546, 672, 1, 1),
        "head.regression_head.module_list.5.0.1.bias": (128,),
        "head.regression_head.module_list.5.1.bias": (24,),
    }
    assert {key: shapes.get(key) for key in expected} == expected


def test_all_normalisations_have_the_sources_epsilon() -> None:
    for make in (on_mobilenet_v1, on_mobilenet_v2, on_mobilenet_v3, as_torchvision):
        norms = [m for m in on_meta(make).modules() if isinstance(m, nn.BatchNorm2d)]
        assert {norm.eps for norm in norms} == {1e-3}


def test_the_schemes_differ_in_the_first_map() -> None:
    ours, torchvisions = tensorflow_scheme(), torchvision_scheme()
    assert [len(cell) for cell in ours.shapes] == [3, 6, 6, 6, 6, 6]
    assert [len(cell) for cell in torchvisions.shapes] == [6] * 6
    assert ours.shapes[0][0] == (0.1, 0.1)
    half = 2**0.5
    assert ours.shapes[0][1:] == [
        pytest.approx((0.2 * half, 0.2 / half)),
        pytest.approx((0.2 / half, 0.2 * half)),
    ]
    shapes = [torch.tensor(sorted(scheme.shapes[1])) for scheme in (ours, torchvisions)]
    torch.testing.assert_close(*shapes)
    assert ours.shapes[5][5] == pytest.approx((0.95**0.5, 0.95**0.5))
    assert (ours.selection.score, ours.selection.iou_threshold) == ("sigmoid", 0.6)
    assert (torchvisions.selection.score, torchvisions.selection.iou_threshold) == ("softmax", 0.55)


def test_predictions_run_over_rows_columns_and_shapes() -> None:
    network = on_meta(lambda: on_mobilenet_v3("small", reduced=True, num_classes=4))
    predictor = network.head["classification_head"].to_empty(device="cpu").eval()
    for level in predictor.module_list:
        for parameter in level.parameters():
            nn.init.zeros_(parameter)
        # Channel by channel 0, 1, 2 ..., so that each value names its shape and class.
        level[1].bias.data = torch.arange(level[1].out_channels, dtype=torch.float32)
        level[0][1].reset_running_stats()
    maps = [torch.zeros(2, width, 2, 3) for width in network.backbone.widths]
    with torch.no_grad():
        found = predictor(maps)
    assert found.shape == (2, 6 * (3 + 5 * 6), 4)
    cell = torch.arange(12.0).reshape(3, 4)
    torch.testing.assert_close(found[0, :18], cell.repeat(6, 1))
    torch.testing.assert_close(found[1, 18:24], torch.arange(24.0).reshape(6, 4))


@pytest.mark.parametrize("name", ["mobilenet_v3_large_ssdlite_torchvision", "mobilenet_v2_ssdlite"])
def test_suppression_adds_an_output_but_no_key(name: str) -> None:
    networks = []
    for recipe in (load_recipe(name, RECIPES), load_recipe(f"{name}_nms", RECIPES)):
        with torch.device("meta"):
            networks.append(build_module(recipe.factory, recipe.options, recipe.seed).eval())
    plain, whole = networks
    assert list(plain.state_dict()) == list(whole.state_dict())
    logits, offsets, *detections = whole(torch.empty(IMAGE, device="meta"))
    assert [value.shape for value in plain(torch.empty(IMAGE, device="meta"))] == [
        logits.shape,
        offsets.shape,
    ]
    assert logits.shape[:2] == offsets.shape[:2] == (1, len(whole.detector.priors))
    assert [value.shape for value in detections] == [(1, 100), (1, 100), (1, 100, 4)]


def test_a_trace_of_the_whole_gives_its_detections() -> None:
    torch.manual_seed(0)
    network = on_mobilenet_v3("small", reduced=True, num_classes=4, detections=True).eval()
    images = torch.randn(IMAGE)
    with torch.no_grad():
        traced = torch.jit.trace(network, torch.zeros(IMAGE), check_trace=False)
        outputs, expected = traced(images), network(images)
    assert outputs[0].shape == outputs[1].shape == (1, 2034, 4)
    for output, value in zip(outputs, expected, strict=True):
        torch.testing.assert_close(output, value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: on_mobilenet_v1(num_classes=1), "num_classes 1 must be 2 or more"),
        (lambda: on_mobilenet_v2(0.0), r"width_multiplier 0\.0 must be positive"),
        (lambda: on_mobilenet_v3("medium"), "size must be 'large' or 'small', not 'medium'"),
    ],
)
def test_what_cannot_be_is_rejected(make: Callable[[], SSDLite], message: str) -> None:
    with pytest.raises(UsageError, match=message), torch.device("meta"):
        make()
