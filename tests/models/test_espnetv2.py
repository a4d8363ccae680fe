"""ESPNetv2: sizes and work as published, the authors' names, dilations and bad arguments."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from edgetvm.errors import UsageError
from edgetvm.models.espnetv2 import EESP, ESPNetV2, StridedEESP, pooled
from edgetvm.recipe import load_recipe
from tests.models.counting import million_multiply_adds, parameters_of, state_shapes

RECIPES = Path(__file__).parents[2] / "compile"


@pytest.mark.parametrize(
    ("name", "parameters", "published"),
    [
        ("espnetv2_0.5", 1_241_332, 28.37),
        ("espnetv2", 1_670_072, 85.72),
        ("espnetv2_1.25", 1_965_440, 123.39),
        ("espnetv2_1.5", 2_314_856, 168.6),
        ("espnetv2_2.0", 3_498_136, 284.8),
    ],
)
def test_a_recipe_has_the_published_size_and_work(
    name: str, parameters: int, published: float
) -> None:
    build = partial(ESPNetV2, **load_recipe(name, RECIPES).options)
    assert parameters_of(build) == parameters
    # They do not count the last layer.
    counted = million_multiply_adds(build) - state_shapes(build)["classifier.weight"][1] / 1e3
    assert counted == pytest.approx(published, rel=2e-3)


def test_the_keys_are_the_authors() -> None:
    shapes = state_shapes(ESPNetV2)
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    units = [f"level{level}.{n}" for level, count in ((3, 3), (4, 7), (5, 3)) for n in range(count)]
    strided = [f"level{level}_0" for level in (2, 3, 4, 5)]
    units += [f"{block}.eesp" for block in strided]
    plain = ["level1", "level5.3", "level5.4", *(f"{block}.inp_reinf.0" for block in strided)]
    plain += [f"{unit}.proj_1x1" for unit in units]
    unactivated = [f"{unit}.conv_1x1_exp" for unit in units]
    unactivated += [f"{block}.inp_reinf.1" for block in strided]
    convolutions = [f"{layer}.conv" for layer in (*plain, *unactivated)]
    convolutions += [f"{unit}.spp_dw.{n}.conv" for unit in units for n in range(4)]
    norms = [f"{layer}.bn" for layer in (*plain, *unactivated)]
    norms += [f"{unit}.br_after_cat.bn" for unit in units]
    slopes = [f"{layer}.act" for layer in (*plain, *strided)]
    slopes += [f"{unit}.{act}" for unit in units for act in ("module_act", "br_after_cat.act")]
    assert set(shapes) == {
        *(f"{layer}.weight" for layer in (*convolutions, *slopes)),
        *(f"{layer}.{kind}" for layer in norms for kind in norm),
        "classifier.weight",
        "classifier.bias",
    }
    assert shapes["level2_0.eesp.proj_1x1.conv.weight"] == (8, 8, 1, 1)
    assert shapes["level2_0.inp_reinf.1.conv.weight"] == (64, 3, 1, 1)
    assert shapes["level4.6.spp_dw.3.conv.weight"] == (64, 1, 3, 3)
    assert shapes["level5.4.conv.weight"] == (1024, 128, 1, 1)


def test_the_dilations_respect_the_limits_of_the_levels() -> None:
    network = ESPNetV2(0.5)

    def dilations(path: str) -> list[int]:
        unit = network.get_submodule(path)
        assert isinstance(unit, EESP)
        return [
            layer.dilation[0] for layer in unit.spp_dw.modules() if isinstance(layer, nn.Conv2d)
        ]

    for path in ("level2_0.eesp", "level3_0.eesp", "level3.2", "level4_0.eesp"):
        assert dilations(path) == [1, 2, 3, 4]
    for path in ("level4.0", "level4.6", "level5_0.eesp"):
        assert dilations(path) == [1, 1, 2, 3]
    assert dilations("level5.0") == dilations("level5.2") == [1, 1, 1, 2]


def test_the_image_is_added_at_levels_two_to_four_only() -> None:
    network = ESPNetV2(0.5, num_classes=4).eval()
    given: list[torch.Size] = []
    for level in (2, 3, 4, 5):
        shortcut = network.get_submodule(f"level{level}_0.inp_reinf")
        shortcut.register_forward_hook(lambda _, inputs, __: given.append(inputs[0].shape))
    with torch.no_grad():
        assert network(torch.zeros(2, 3, 40, 72)).shape == (2, 4)
    assert given == [(2, 3, 10, 18), (2, 3, 5, 9), (2, 3, 3, 5)]


def test_a_strided_unit_puts_the_pooled_input_first() -> None:
    block = StridedEESP(16, 48, (1, 2, 3, 4)).eval()
    features = torch.rand(1, 16, 7, 9)
    with torch.no_grad():
        output = block(features)
    assert output.shape == (1, 48, 4, 5)
    torch.testing.assert_close(output[:, :16], pooled(features))


def test_the_running_sums_take_in_the_first_branch() -> None:
    unit = EESP(16, 16, (1, 2, 3, 4)).eval()
    outputs: list[torch.Tensor] = []
    for branch in unit.spp_dw:
        branch.register_forward_hook(lambda _, __, output: outputs.append(output))
    merged: list[torch.Tensor] = []
    unit.br_after_cat.register_forward_hook(lambda _, inputs, __: merged.append(inputs[0]))
    with torch.no_grad():
        unit(torch.randn(1, 16, 12, 12))
    sums = torch.stack(outputs).cumsum(dim=0)
    torch.testing.assert_close(merged[0], torch.cat(list(sums), dim=1))


@pytest.mark.parametrize("scale", [0.75, 0.0, -1.0])
def test_a_scale_that_is_not_published_is_refused(scale: float) -> None:
    with pytest.raises(UsageError, match=rf"one of 0\.5, 1\.0, 1\.25, 1\.5, 2\.0, not {scale}"):
        ESPNetV2(scale)


def test_no_classes_are_refused() -> None:
    with pytest.raises(UsageError, match="num_classes is 0"):
        ESPNetV2(num_classes=0)
