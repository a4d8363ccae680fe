"""ESPNet: sizes as published, the authors' names, shapes, fusion and bad arguments."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgetvm.errors import UsageError
from edgetvm.models.espnet import ESP, ESPNet, ESPNetEncoder, StridedESP
from edgetvm.models.factory import build_module
from edgetvm.recipe import load_recipe
from tests.models.counting import parameters_of, state_shapes

RECIPES = Path(__file__).parents[2] / "compile"

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
BRANCHES = ("c1", "d1", "d2", "d4", "d8", "d16")


@pytest.mark.parametrize(
    ("level3_depth", "encoder", "full"),
    [(3, 187_529, 202_649), (5, 252_297, 267_417), (8, 349_449, 364_569)],
)
def test_the_parameters_are_those_of_the_checkpoints(
    level3_depth: int, encoder: int, full: int
) -> None:
    assert parameters_of(partial(ESPNetEncoder, level3_depth=level3_depth)) == encoder
    assert parameters_of(partial(ESPNet, level3_depth=level3_depth)) == full


def test_the_variants_grow_as_published() -> None:
    # The paper's Table 2 has 0.186 for B and 0.187 for C; A is our reading.
    sizes = [
        parameters_of(partial(ESPNetEncoder, variant, level3_depth=3)) for variant in ("A", "B")
    ]
    assert sizes == [168_352, 186_464]


@pytest.mark.parametrize(
    ("name", "counted", "output"),
    [
        # Published: 4.5 thousand million, without the transposed convolutions.
        ("espnet", 4_709, (1, 20, 512, 1024)),
        ("espnet_q3", 3_399, (1, 20, 512, 1024)),
        ("espnet_c", 3_470, (1, 20, 64, 128)),
        ("espnet_c_q3", 2_159, (1, 20, 64, 128)),
        ("espnet_b_q3", 2_143, (1, 20, 64, 128)),
        ("espnet_a_q3", 2_004, (1, 20, 64, 128)),
        ("espnet_camvid", 1_321, (1, 12, 360, 480)),
    ],
)
def test_a_recipe_has_this_work_and_output(
    name: str, counted: float, output: tuple[int, ...]
) -> None:
    recipe = load_recipe(name, RECIPES)
    with torch.device("meta"):
        network = build_module(recipe.factory, recipe.options, recipe.seed).eval()
        with FlopCounterMode(display=False) as counter:
            assert network(torch.empty(recipe.input_shape)).shape == output
    assert counter.get_total_flops() / 2e6 == pytest.approx(counted, rel=1e-3)


def encoder_keys(level2_depth: int, level3_depth: int) -> set[str]:
    strided = ("level2_0", "level3_0")
    units = [f"level2.{n}" for n in range(level2_depth)]
    units += [f"level3.{n}" for n in range(level3_depth)]
    convolutions = ["level1.conv", "classifier.conv"]
    convolutions += [
        f"{block}.{branch}.conv" for block in (*strided, *units) for branch in BRANCHES
    ]
    norms = ["level1.bn", *(f"{block}.bn" for block in ("b1", "b2", "b3", *strided))]
    norms += [f"{unit}.bn.bn" for unit in units]
    slopes = [f"{block}.act" for block in ("level1", "b1", "b2", "b3", *strided)]
    slopes += [f"{unit}.bn.act" for unit in units]
    return {f"{layer}.weight" for layer in (*convolutions, *slopes)} | {
        f"{norm}.{kind}" for norm in norms for kind in NORM
    }


def test_the_encoders_keys_are_the_authors() -> None:
    shapes = state_shapes(partial(ESPNetEncoder, level3_depth=3))
    assert set(shapes) == encoder_keys(2, 3)
    assert shapes["level2_0.c1.conv.weight"] == (12, 19, 3, 3)
    assert shapes["level2.0.d1.conv.weight"] == (16, 12, 3, 3)
    assert shapes["level3_0.d16.conv.weight"] == (25, 25, 3, 3)
    assert shapes["classifier.conv.weight"] == (20, 256, 1, 1)


def test_the_full_networks_keys_are_the_authors() -> None:
    shapes = state_shapes(partial(ESPNet, level3_depth=3))
    convolutions = ["level3_C.conv", "conv.conv", "up_l3.0", "up_l2.0", "classifier"]
    convolutions += [f"combine_l2_l3.1.{branch}.conv" for branch in BRANCHES]
    slopes = ["conv.act", "combine_l2_l3.0.act", "combine_l2_l3.1.bn.act", "up_l2.1.act"]
    norms = ["br", "conv.bn", "combine_l2_l3.0.bn", "combine_l2_l3.1.bn.bn", "up_l2.1.bn"]
    assert set(shapes) == {
        *(f"encoder.{key}" for key in encoder_keys(2, 3)),
        *(f"{layer}.weight" for layer in (*convolutions, *slopes)),
        *(f"{norm}.{kind}" for norm in norms for kind in NORM),
    }
    assert shapes["conv.conv.weight"] == (20, 36, 3, 3)
    assert shapes["combine_l2_l3.1.c1.conv.weight"] == (4, 40, 1, 1)


def test_the_sums_leave_out_the_branch_without_dilation() -> None:
    module = StridedESP(3, 10, branches=5).eval()
    outputs: list[torch.Tensor] = []
    for name in module.names:
        module.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output: outputs.append(output)
        )
    with torch.no_grad():
        merged = module.merged(torch.randn(1, 3, 32, 32))
    first, second, *others = outputs
    sums = [second]
    for output in others:
        sums.append(sums[-1] + output)
    torch.testing.assert_close(merged, torch.cat([first, *sums], dim=1))


@pytest.mark.parametrize("residual", [True, False])
def test_only_a_residual_module_adds_its_input(residual: bool) -> None:
    module = ESP(10, 10, residual=residual).eval()
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.zeros_(layer.weight)
    features = torch.rand(1, 10, 8, 8)
    with torch.no_grad():
        expected = module.bn(features if residual else torch.zeros_like(features))
        torch.testing.assert_close(module(features), expected)


def test_another_number_of_branches_keeps_the_widths() -> None:
    shapes = state_shapes(partial(ESPNetEncoder, branches=3))
    assert shapes["level2.0.d1.conv.weight"] == (22, 21, 3, 3)
    assert shapes["level2.0.d4.conv.weight"] == (21, 21, 3, 3)
    assert "level2.0.d8.conv.weight" not in shapes
    assert shapes["level3.0.bn.bn.weight"] == (128,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "D"}, "variant must be 'A', 'B' or 'C', not 'D'"),
        ({"level2_depth": 0}, "level2_depth is 0"),
        ({"level3_depth": -1}, "level3_depth is -1"),
        ({"branches": 1}, "branches is 1, not between 2 and the 64 channels"),
        ({"branches": 65}, "branches is 65"),
        ({"num_classes": 0}, "num_classes is 0"),
    ],
)
def test_a_bad_argument_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ESPNetEncoder(**options)


def test_the_decoders_module_needs_a_class_a_branch() -> None:
    with pytest.raises(UsageError, match="branches is 5, not between 2 and the 4 channels"):
        ESPNet(num_classes=4)
