"""AlexNet in both forms: sizes and names as published, groups and normalisations."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgetvm.errors import UsageError
from edgetvm.models.alexnet import AlexNet, ResponseNorm


@pytest.mark.parametrize(
    ("towers", "size", "parameters", "multiply_adds"),
    [(2, 227, 60_965_224, 724_406_816), (1, 224, 61_100_840, 714_188_480)],
)
def test_both_forms_have_the_published_size(
    towers: int, size: int, parameters: int, multiply_adds: int
) -> None:
    with torch.device("meta"):
        network = AlexNet(towers).eval()
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        logits = network(torch.empty(2, 3, size, size, device="meta"))
    assert logits.shape == (2, 1000)
    assert counter.get_total_flops() == 2 * 2 * multiply_adds


def test_the_response_norm_is_that_of_the_paper() -> None:
    features = 40 * torch.randn(2, 7, 3, 4, generator=torch.Generator().manual_seed(0))
    # PyTorch's alpha is that of the mean of the five.
    expected = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)(features)
    torch.testing.assert_close(ResponseNorm()(features), expected)


def test_the_towers_meet_in_the_third_convolution_only() -> None:
    with torch.device("meta"):
        layers = list(AlexNet().features)
    assert [layer.groups for layer in layers if isinstance(layer, nn.Conv2d)] == [1, 2, 1, 2, 2]
    # Normalised after the ReLU and before the pool.
    assert [type(layer) for layer in layers[1:4]] == [nn.ReLU, ResponseNorm, nn.MaxPool2d]
    assert [type(layer) for layer in layers[5:8]] == [nn.ReLU, ResponseNorm, nn.MaxPool2d]


def test_the_original_shrinks_as_in_the_paper() -> None:
    sizes = []
    with torch.device("meta"):
        network = AlexNet().eval()
    for layer in network.features:
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            layer.register_forward_hook(lambda _, __, output: sizes.append(output.shape[-1]))
    with torch.no_grad():
        network(torch.empty(1, 3, 227, 227, device="meta"))
    assert sizes == [55, 27, 27, 13, 13, 13, 13, 6]


def test_other_sizes_fit() -> None:
    with torch.device("meta"):
        network = AlexNet(num_classes=7).eval()
        with torch.no_grad():
            assert network(torch.empty(1, 3, 480, 640)).shape == (1, 7)


def test_one_towers_keys_are_torchvisions() -> None:
    with torch.device("meta"):
        state = AlexNet(towers=1).state_dict()
    layers = [f"features.{index}" for index in (0, 3, 6, 8, 10)]
    layers += [f"classifier.{index}" for index in (1, 4, 6)]
    assert set(state) == {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
    assert state["features.0.weight"].shape == (64, 3, 11, 11)
    assert state["features.8.weight"].shape == (256, 384, 3, 3)
    assert state["classifier.1.weight"].shape == (4096, 9216)


@pytest.mark.parametrize("towers", [0, 3])
def test_another_number_of_towers_is_rejected(towers: int) -> None:
    with pytest.raises(UsageError, match=f"towers must be 1 or 2, not {towers}"):
        AlexNet(towers)
