"""ESPNetv2-SSD: sizes and work as published, EdgeNets' names, maps, priors and bad arguments."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from edgetvm.errors import UsageError
from edgetvm.models.espnetv2_detection import ESPNetV2SSD, priors
from edgetvm.recipe import load_recipe
from tests.models.counting import million_multiply_adds, parameters_of, state_shapes

RECIPES = Path(__file__).parents[2] / "compile"


@pytest.mark.parametrize(
    ("name", "parameters", "counted"),
    [
        ("espnetv2_ssd", 5_812_878, 1165),  # published: 5.81 million, 1.1 thousand million
        ("espnetv2_ssd_512", 5_812_878, 3218),  # 5.81, 3.2
        ("espnetv2_ssd_voc", 4_750_878, 913),  # 4.75, 0.9
        ("espnetv2_ssd_voc_512", 4_750_878, 2520),  # 4.75, 2.5
    ],
)
def test_a_recipe_has_the_published_size_and_work(
    name: str, parameters: int, counted: float
) -> None:
    recipe = load_recipe(name, RECIPES)
    build = partial(ESPNetV2SSD, **recipe.options)
    assert parameters_of(build) == parameters
    assert million_multiply_adds(build, recipe.input_shape[2]) == pytest.approx(counted, rel=1e-3)


def test_the_keys_are_those_of_edgenets() -> None:
    shapes = state_shapes(ESPNetV2SSD)
    expected = {
        "base_net.basenet.level1.conv.weight": (32, 3, 3, 3),
        "base_net.basenet.level5_0.inp_reinf.1.conv.weight": (1024, 3, 1, 1),
        "base_net.basenet.level5.4.conv.weight": (1280, 256, 1, 1),
        "base_net.extra_level6.layer.0.cbr.0.weight": (1280, 1, 3, 3),
        "base_net.extra_level6.layer.1.cbr.0.weight": (512, 1280, 1, 1),
        "base_net.extra_level7.layer.1.cbr.2.weight": (256,),
        "base_net.extra_level8.1.weight": (128, 256, 1, 1),
        "base_net.bu_3x3_5x5.projection_layer.cbr.0.weight": (102, 768, 1, 1),
        "base_net.bu_3x3_5x5.stages.1.weight": (102, 1, 3, 3),
        "base_net.bu_5x5_10x10.merge_layer.2.cbr.0.weight": (256, 3, 3, 3),
        "base_net.bu_10x10_19x19.merge_layer.3.weight": (512, 102, 1, 1),
        "base_net.bu_19x19_38x38.br.br.0.running_var": (256,),
        "loc_layers.0.weight": (24, 256, 1, 1),
        "cls_layers.2.weight": (486, 1280, 1, 1),
        "cls_layers.5.bias": (486,),
    }
    assert {key: shapes.get(key) for key in expected} == expected
    assert {key.split(".")[0] for key in shapes} == {"base_net", "loc_layers", "cls_layers"}
    assert not any("extra_level8.1.bias" in key or "classifier" in key for key in shapes)


@pytest.mark.parametrize(
    ("size", "sides"), [(300, [38, 19, 10, 5, 3, 1]), (512, [64, 32, 16, 8, 4, 1])]
)
def test_the_maps_fit_the_priors(size: int, sides: list[int]) -> None:
    with torch.device("meta"):
        network = ESPNetV2SSD(num_classes=21).eval()
        maps = network.base_net(torch.empty(1, 3, size, size))
        logits, offsets = network(torch.empty(2, 3, size, size))
    assert [tuple(level.shape[2:]) for level in maps] == [(side, side) for side in sides]
    assert [level.shape[1] for level in maps] == [256, 512, 1280, 512, 256, 128]
    boxes = 6 * sum(side * side for side in sides)
    assert logits.shape == (2, boxes, 21)
    assert offsets.shape == (2, boxes, 4)
    assert priors(size).shape == (boxes, 4)


def test_level_five_is_given_the_image() -> None:
    network = ESPNetV2SSD(0.5, num_classes=2).eval()
    given: list[torch.Size] = []
    network.base_net.basenet.level5_0.inp_reinf.register_forward_hook(
        lambda _, inputs, __: given.append(inputs[0].shape)
    )
    with torch.no_grad():
        network(torch.zeros(1, 3, 64, 64))
    assert given == [(1, 3, 2, 2)]


def test_the_heads_put_a_cells_priors_together() -> None:
    network = ESPNetV2SSD(0.5, num_classes=3).eval()
    heads: list[torch.Tensor] = []
    network.cls_layers[0].register_forward_hook(lambda _, __, output: heads.append(output))
    with torch.no_grad():
        logits, _ = network(torch.rand(1, 3, 160, 160))
    # Row 4, column 7 of a map 20 wide, prior 2.
    torch.testing.assert_close(logits[0, (4 * 20 + 7) * 6 + 2], heads[0][0, 6:9, 4, 7])


def test_the_priors_are_those_of_edgenets() -> None:
    boxes = priors(300)
    side = 30 / 300
    middle = math.sqrt(30 * 77) / 300
    centre = 4 / 300
    expected = [(side, side), (middle, middle)]
    for ratio in (2, 3):
        long, short = side * math.sqrt(ratio), side / math.sqrt(ratio)
        expected += [(long, short), (short, long)]
    torch.testing.assert_close(
        boxes[:6], torch.tensor([(centre, centre, *shape) for shape in expected])
    )
    # Ten cells of 32 pixels are wider than the image.
    third = boxes[6 * (38 * 38 + 19 * 19) :]
    assert float(third[6 * 8, 0]) == pytest.approx(8.5 * 32 / 300)
    assert float(third[6 * 9, 0]) == 1.0
    assert float(boxes[-1, 3]) == 1.0
    assert float(priors(512)[-6, 2]) == pytest.approx(457 / 512)


def test_detections_follow_if_wanted() -> None:
    build = partial(ESPNetV2SSD, 0.5, num_classes=3)
    with torch.device("meta"):
        network = build(detections=300).eval()
        outputs = network(torch.empty(1, 3, 300, 300))
    shapes = [tuple(output.shape) for output in outputs]
    assert shapes == [(1, 11_640, 3), (1, 11_640, 4), (1, 200), (1, 200), (1, 200, 4)]
    # The checkpoints have no key for them.
    assert set(network.state_dict()) == set(state_shapes(build))


def test_the_priors_of_the_detections_are_of_that_size() -> None:
    detector = ESPNetV2SSD(0.5, num_classes=2, detections=512).detector
    assert detector is not None
    torch.testing.assert_close(detector.priors, priors(512))
    assert (detector.selection.iou_threshold, detector.selection.score_threshold) == (0.45, 0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 0.1}, "scale must be one of"),
        ({"num_classes": 1}, "num_classes is 1"),
        ({"detections": 320}, "300 or 512, not 320"),
    ],
)
def test_a_bad_argument_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message), torch.device("meta"):
        ESPNetV2SSD(**options)
