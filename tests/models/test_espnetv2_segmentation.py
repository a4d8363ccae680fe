"""ESPNetv2 segmentation: sizes and work as published, EdgeNets' names, sizes and bad arguments."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgetvm.errors import UsageError
from edgetvm.models.espnetv2_segmentation import (
    ESPNetV2Segmentation,
    GatedProjection,
    PyramidPool,
)
from edgetvm.models.factory import build_module
from edgetvm.recipe import load_recipe
from tests.models.counting import parameters_of, state_shapes

RECIPES = Path(__file__).parents[2] / "compile"


@pytest.mark.parametrize(
    ("scale", "cityscapes", "voc"),
    [
        (0.5, 80_342, 80_353),
        (1.0, 234_010, 234_021),
        (1.5, 468_362, 468_373),
        (2.0, 789_242, 789_253),
    ],
)
def test_the_parameters_are_those_of_the_checkpoints(
    scale: float, cityscapes: int, voc: int
) -> None:
    assert parameters_of(partial(ESPNetV2Segmentation, scale)) == cityscapes
    assert parameters_of(partial(ESPNetV2Segmentation, scale, 21)) == voc


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("espnetv2_segmentation_0.5", 597.56),
        ("espnetv2_segmentation_0.5_256x512", 149.4),
        ("espnetv2_segmentation", 1086.59),
        ("espnetv2_segmentation_256x512", 271.66),
        ("espnetv2_segmentation_1.5", 1714.57),
        ("espnetv2_segmentation_2.0", 2699.05),
        ("espnetv2_segmentation_voc_0.5", 168.46),
        ("espnetv2_segmentation_voc_0.5_256", 74.88),
        ("espnetv2_segmentation_voc", 306.0),
        ("espnetv2_segmentation_voc_1.5", 482.63),
        ("espnetv2_segmentation_voc_2.0", 759.52),
        ("espnetv2_segmentation_voc_2.0_256", 337.58),
    ],
)
def test_a_recipe_has_the_published_work_and_the_inputs_size(name: str, published: float) -> None:
    recipe = load_recipe(name, RECIPES)
    with torch.device("meta"):
        network = build_module(recipe.factory, recipe.options, recipe.seed).eval()
        with FlopCounterMode(display=False) as counter:
            output = network(torch.empty(recipe.input_shape))
    assert counter.get_total_flops() / 2e6 == pytest.approx(published, rel=3e-3)
    assert output.shape == (1, 21 if "voc" in name else 20, *recipe.input_shape[2:])


def test_the_keys_are_those_of_edgenets() -> None:
    shapes = state_shapes(ESPNetV2Segmentation)
    assert len(shapes) == 526
    assert not any("level5" in key or "base_net.classifier" in key for key in shapes)
    decoder = {key: shape for key, shape in shapes.items() if not key.startswith("base_net.")}
    convolution = ("cbr.0.weight", "cbr.2.weight")
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected: set[str] = set()
    for n in (1, 2, 3, 4):
        pool = f"bu_dec_l{n}"
        layers = [f"{pool}.projection_layer.cbr", f"{pool}.merge_layer.2.cbr"]
        norms = [f"{layer}.1" for layer in layers] + [f"{pool}.merge_layer.0.br.0"]
        expected |= {f"{layer}.{index}.weight" for layer in layers for index in (0, 2)}
        expected |= {f"{pool}.stages.{index}.weight" for index in range(5)}
        expected |= {f"{pool}.merge_layer.0.br.1.weight", f"{pool}.merge_layer.3.weight"}
        if n == 4:
            expected.add(f"{pool}.merge_layer.3.bias")
        else:
            norms.append(f"{pool}.br.br.0")
            expected.add(f"{pool}.br.br.1.weight")
        if n > 1:
            gated = f"merge_enc_dec_l{n}"
            expected |= {f"{gated}.expansion_layer.{key}" for key in convolution}
            expected |= {f"{gated}.wt_layer.1.weight", f"bu_br_l{n}.1.weight"}
            norms += [f"{gated}.expansion_layer.cbr.1", f"bu_br_l{n}.0"]
        expected |= {f"{layer}.{kind}" for layer in norms for kind in norm}
    assert set(decoder) == expected
    assert shapes["bu_dec_l1.projection_layer.cbr.0.weight"] == (10, 256, 1, 1)
    assert shapes["bu_dec_l2.merge_layer.2.cbr.0.weight"] == (10, 5, 3, 3)
    assert shapes["merge_enc_dec_l3.expansion_layer.cbr.0.weight"] == (48, 4, 3, 3)


def test_a_pyramid_sees_no_fewer_than_five_pixels_a_side() -> None:
    pool = PyramidPool(4, 2, 6).eval()
    sizes: list[tuple[int, ...]] = []
    for stage in pool.stages:
        stage.register_forward_hook(lambda _, __, output: sizes.append(tuple(output.shape[2:])))
    with torch.no_grad():
        assert pool(torch.rand(1, 4, 9, 73)).shape == (1, 6, 9, 73)
    assert sizes == [(18, 146), (14, 110), (9, 73), (5, 37), (5, 8)]


def test_a_pyramid_merges_the_scales_of_one_channel() -> None:
    pool = PyramidPool(3, 2, 3, scales=(2.0, 1.0, 0.5)).eval()
    merge = pool.merge_layer[2]
    given: list[torch.Tensor] = []
    merge.register_forward_hook(lambda _, inputs, __: given.append(inputs[0]))
    for index, stage in enumerate(pool.stages):
        stage.register_forward_hook(
            lambda _, __, output, index=index: torch.stack(
                [torch.full_like(output[:, 0], 10 * index + 1 + c) for c in range(2)], dim=1
            )
        )
    with torch.no_grad():
        pool(torch.rand(1, 3, 12, 12))
    values = given[0].mean(dim=(0, 2, 3)).round().int().tolist()
    assert values == [1, 11, 21, 2, 12, 22]


def test_a_closed_gate_halves() -> None:
    layer = GatedProjection(6, 4).eval()
    gate = layer.wt_layer[1]
    assert isinstance(gate, nn.Conv2d)
    nn.init.zeros_(gate.weight)
    features = torch.randn(1, 6, 5, 5)
    with torch.no_grad():
        torch.testing.assert_close(layer(features), layer.expansion_layer(features) / 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"scale": 3.0}, "scale must be one of"), ({"num_classes": 1}, "num_classes is 1")],
)
def test_a_bad_argument_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ESPNetV2Segmentation(**options)
