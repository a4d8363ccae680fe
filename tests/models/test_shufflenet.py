"""ShuffleNet: sizes as published, pytorchcv's names, the unit's structure and bad arguments."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from edgetvm.errors import UsageError
from edgetvm.models.shufflenet import ShuffleNet, ShuffleUnit, shuffle_channels, stage_widths
from tests.models.counting import million_multiply_adds, parameters_of, state_shapes


@pytest.mark.parametrize(
    ("groups", "width_multiplier", "parameters"),
    [
        (1, 1.0, 1_531_936),
        (2, 1.0, 1_733_848),
        (3, 1.0, 1_865_728),
        (4, 1.0, 1_968_344),
        (8, 1.0, 2_434_768),
        (1, 0.25, 209_746),
        (1, 0.5, 534_484),
        (1, 0.75, 975_214),
        (3, 0.25, 305_902),
        (3, 0.5, 718_324),
        (3, 0.75, 1_238_266),
        (3, 1.5, 3_442_168),
        (3, 2.0, 5_450_776),
    ],
)
def test_the_parameters_are_as_published(
    groups: int, width_multiplier: float, parameters: int
) -> None:
    assert parameters_of(partial(ShuffleNet, groups, width_multiplier)) == parameters


@pytest.mark.parametrize(
    ("groups", "width_multiplier", "published"),
    [
        # Tables 1 and 5; 0.5x with 8 groups and more: the authors' code.
        (1, 1.0, 143),
        (2, 1.0, 140),
        (3, 1.0, 137),
        (4, 1.0, 133),
        (8, 1.0, 137),
        (3, 0.5, 38),
        (4, 0.5, 38),
        (8, 0.5, 40),
        (3, 1.5, 292),
        (8, 1.5, 290),
        (3, 2.0, 524),
        (8, 2.0, 522),
    ],
)
def test_the_work_is_as_published(groups: int, width_multiplier: float, published: float) -> None:
    counted = million_multiply_adds(partial(ShuffleNet, groups, width_multiplier))
    assert counted == pytest.approx(published, rel=0.012)


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("width_multiplier", [0.25, 0.5, 1.0, 1.5, 2.0])
def test_the_channels_fall_into_groups(groups: int, width_multiplier: float) -> None:
    stem, *stages = stage_widths(groups, width_multiplier)
    assert [width % (4 * groups) for width in stages] == [0, 0, 0]
    assert stem % groups == 0
    # Rounding moves them by half of that at the most.
    exact = [base * width_multiplier for base in stage_widths(groups, 1.0)[1:]]
    assert all(
        abs(width - wanted) <= 2 * groups for width, wanted in zip(stages, exact, strict=True)
    )


@pytest.mark.parametrize(
    ("groups", "width_multiplier", "widths"),
    [
        (2, 0.25, (6, 48, 104, 200)),
        (4, 0.25, (8, 64, 144, 272)),
        (4, 0.5, (12, 144, 272, 544)),
        (8, 0.5, (16, 192, 384, 768)),
        (3, 1.5, (24, 360, 720, 1440)),
        (3, 2.0, (48, 480, 960, 1920)),
    ],
)
def test_only_channels_that_do_not_fit_are_rounded(
    groups: int, width_multiplier: float, widths: tuple[int, ...]
) -> None:
    assert stage_widths(groups, width_multiplier) == widths


def test_the_keys_are_pytorchcvs() -> None:
    shapes = state_shapes(ShuffleNet)
    assert len(shapes) == 296
    expected = {
        "features.init_block.conv.weight": (24, 3, 3, 3),
        "features.init_block.bn.running_var": (24,),
        # Ungrouped, and 24 channels left to the shortcut.
        "features.stage1.unit1.compress_conv1.weight": (60, 24, 1, 1),
        "features.stage1.unit1.dw_conv2.weight": (60, 1, 3, 3),
        "features.stage1.unit1.expand_conv3.weight": (216, 20, 1, 1),
        "features.stage2.unit1.compress_conv1.weight": (120, 80, 1, 1),
        "features.stage2.unit1.expand_bn3.bias": (240,),
        "features.stage2.unit8.expand_conv3.weight": (480, 40, 1, 1),
        "features.stage3.unit4.dw_bn2.num_batches_tracked": (),
        "output.weight": (1000, 960),
        "output.bias": (1000,),
    }
    assert {key: shapes.get(key) for key in expected} == expected
    without_bias = state_shapes(partial(ShuffleNet, classifier_bias=False))
    assert shapes.keys() - without_bias.keys() == {"output.bias"}


def test_the_maps_halve_once_a_stage() -> None:
    with torch.device("meta"):
        network = ShuffleNet().eval()
        maps = torch.zeros(1, 3, 720, 1280)
    sizes = []
    for stage in network.features:
        maps = stage(maps)
        sizes.append(tuple(maps.shape[2:]))
    assert sizes == [(180, 320), (90, 160), (45, 80), (23, 40)]


def test_shuffling_mixes_the_groups_as_in_the_papers_figure() -> None:
    numbered = torch.arange(6.0).reshape(1, 6, 1, 1)
    assert shuffle_channels(numbered, 3).flatten().tolist() == [0, 2, 4, 1, 3, 5]
    assert shuffle_channels(shuffle_channels(numbered, 3), 2).equal(numbered)


def test_the_depthwise_convolution_has_no_activation() -> None:
    with torch.device("meta"):
        unit = ShuffleUnit(24, 24, 3, 3, "residual_first", "interleave").eval()
        features = torch.zeros(1, 24, 4, 4)
    seen: list[str] = []
    for name, layer in unit.named_children():
        layer.register_forward_hook(lambda *_, name=name: seen.append(name))
    unit(features)
    assert seen == [
        "compress_conv1",
        "compress_bn1",
        "activation",
        "dw_conv2",
        "dw_bn2",
        "expand_conv3",
        "expand_bn3",
        "activation",
    ]


@pytest.mark.parametrize(
    ("shuffle", "order"),
    [("interleave", [0, 2, 4, 1, 3, 5]), ("deal", [0, 3, 1, 4, 2, 5])],
)
def test_the_channels_are_shuffled_before_the_depthwise_convolution(
    shuffle: Any, order: list[int]
) -> None:
    unit = ShuffleUnit(24, 24, 3, 3, "residual_first", shuffle).eval()
    seen = {}
    for name in ("compress_bn1", "dw_conv2"):
        layer = getattr(unit, name)
        layer.register_forward_hook(
            lambda _, inputs, output, name=name: seen.update({name: (inputs[0], output)})
        )
    with torch.no_grad():
        unit(torch.randn(1, 24, 3, 3, generator=torch.Generator().manual_seed(0)))
    assert seen["dw_conv2"][0].equal(seen["compress_bn1"][1].relu()[:, order])


def test_deal_undoes_interleave() -> None:
    units = [ShuffleUnit(96, 96, 3, 3, "residual_first", way) for way in ("interleave", "deal")]
    numbered = torch.arange(24.0).reshape(1, 24, 1, 1)
    for unit in units:
        numbered = shuffle_channels(numbered, unit.shuffled_rows)
    assert numbered.flatten().tolist() == list(range(24))


@pytest.mark.parametrize(
    ("concatenate", "shortcut"), [("residual_first", slice(8, 12)), ("shortcut_first", slice(4))]
)
def test_stride_2_concatenates_in_the_order_asked_for(concatenate: Any, shortcut: slice) -> None:
    unit = ShuffleUnit(4, 12, 1, 1, concatenate, "interleave").eval()
    features = torch.rand(1, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        output = unit(features)
    assert output.shape == (1, 12, 3, 3)
    averaged = nn.functional.avg_pool2d(features, 3, 2, 1)
    torch.testing.assert_close(output[:, shortcut], averaged)


def test_the_output_has_one_value_a_class() -> None:
    with torch.device("meta"):
        assert ShuffleNet(num_classes=7).eval()(torch.zeros(2, 3, 64, 64)).shape == (2, 7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": 5}, "groups must be one of 1, 2, 3, 4, 8, not 5"),
        ({"width_multiplier": 0.0}, r"width_multiplier 0\.0 must be positive"),
        ({"concatenate": "both"}, "concatenate must be one of 'residual_first'.*not 'both'"),
        ({"shuffle": "none"}, "shuffle must be one of 'interleave', 'deal', not 'none'"),
    ],
)
def test_bad_arguments_are_rejected(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ShuffleNet(**options)
