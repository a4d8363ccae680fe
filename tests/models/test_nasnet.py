"""NASNet-A Mobile: size and names as published, and TensorFlow's padding."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgetvm.models.nasnet import NASNetMobile, ReductionCell, _average_pool, _max_pool


@pytest.fixture(scope="module")
def network() -> NASNetMobile:
    with torch.device("meta"):
        return NASNetMobile().eval()


def test_it_has_the_published_size(network: NASNetMobile) -> None:
    assert sum(parameter.numel() for parameter in network.parameters()) == 5_289_978
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        logits = network(torch.empty(2, 3, 224, 224, device="meta"))
    assert logits.shape == (2, 1000)
    assert counter.get_total_flops() / 4 == pytest.approx(564e6, rel=0.001)


def test_cells_shrink_and_grow_as_in_the_paper(network: NASNetMobile) -> None:
    shapes = []
    hooks = [
        cell.register_forward_hook(lambda _, __, output: shapes.append(tuple(output.shape[1:3])))
        for name, cell in network.named_children()
        if "cell" in name
    ]
    with torch.no_grad():
        network(torch.empty(1, 3, 224, 224, device="meta"))
    for hook in hooks:
        hook.remove()
    assert shapes == [
        (44, 56),
        (88, 28),
        *[(264, 28)] * 4,
        (352, 14),
        *[(528, 14)] * 4,
        (704, 7),
        *[(1056, 7)] * 4,
    ]


def test_the_keys_are_those_of_the_public_port(network: NASNetMobile) -> None:
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert {key.split(".")[0] for key in shapes} == {
        "conv0",
        "cell_stem_0",
        "cell_stem_1",
        *(f"cell_{index}" for index in (0, 1, 2, 3, 6, 7, 8, 9, 12, 13, 14, 15)),
        "reduction_cell_0",
        "reduction_cell_1",
        "last_linear",
    }
    expected = {
        "conv0.conv.weight": (32, 3, 3, 3),
        "conv0.bn.running_mean": (32,),
        "cell_stem_0.conv_1x1.conv.weight": (11, 32, 1, 1),
        "cell_stem_0.comb_iter_0_right.separable_1.depthwise_conv2d.weight": (32, 1, 7, 7),
        "cell_stem_0.comb_iter_0_right.separable_1.pointwise_conv2d.weight": (11, 32, 1, 1),
        "cell_stem_1.path_2.conv.weight": (11, 32, 1, 1),
        "cell_stem_1.final_path_bn.weight": (22,),
        "cell_0.path_1.conv.weight": (22, 44, 1, 1),
        "cell_1.conv_prev_1x1.conv.weight": (44, 88, 1, 1),
        "cell_1.comb_iter_1_left.separable_2.depthwise_conv2d.weight": (44, 1, 5, 5),
        "reduction_cell_1.comb_iter_4_left.bn_sep_2.bias": (176,),
        "cell_12.path_1.conv.weight": (88, 528, 1, 1),
        "cell_15.conv_1x1.bn.weight": (176,),
        "last_linear.weight": (1000, 1056),
    }
    assert {key: shapes.get(key) for key in expected} == expected
    assert "cell_stem_0.conv_prev_1x1.conv.weight" not in shapes


@pytest.mark.parametrize(("size", "before", "after"), [(8, 0, 1), (7, 1, 1)])
def test_pools_pad_like_tensorflow(size: int, before: int, after: int) -> None:
    features = torch.randn(1, 2, size, size, generator=torch.Generator().manual_seed(0))
    padding = [before, after, before, after]
    lowest = nn.functional.pad(features, padding, value=-torch.inf)
    expected = nn.functional.max_pool2d(lowest, 3, 2)
    torch.testing.assert_close(_max_pool(features), expected)
    # The average is over the pixels there are.
    total = nn.functional.avg_pool2d(nn.functional.pad(features, padding), 3, 2)
    there = nn.functional.pad(torch.ones_like(features), padding)
    count = nn.functional.avg_pool2d(there, 3, 2)
    torch.testing.assert_close(_average_pool(features, stride=2), total / count)


@pytest.mark.parametrize("size", [7, 8])
def test_halving_takes_two_diagonals_of_pixels(size: int) -> None:
    cell = ReductionCell(1, 1, 2, halve_previous=True).eval()
    for name in ("path_1.conv.weight", "path_2.conv.weight"):
        nn.init.ones_(cell.get_parameter(name))
    nn.init.constant_(cell.get_buffer("final_path_bn.running_var"), 1.0 - 1e-3)
    features = torch.rand(1, 1, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        first, second = cell.adapt(features)[0]
    torch.testing.assert_close(first, features[0, 0, ::2, ::2])
    odd = features[0, 0, 1::2, 1::2]
    torch.testing.assert_close(second[: odd.shape[0], : odd.shape[1]], odd)
    # Beyond the last pixel of an odd size there is nothing.
    assert second[odd.shape[0] :].abs().sum() == 0
