"""ResNet: sizes and names as published, and where it strides."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgetvm.errors import UsageError
from edgetvm.models.resnet import Bottleneck, ResNet, make_stage


@pytest.mark.parametrize(
    ("stride_on", "multiply_adds"), [("3x3", 11_513_626_624), ("1x1", 11_282_415_616)]
)
def test_resnet_152_has_the_published_size(stride_on: str, multiply_adds: int) -> None:
    with torch.device("meta"):
        network = ResNet(152, stride_on).eval()
    assert sum(parameter.numel() for parameter in network.parameters()) == 60_192_808
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        logits = network(torch.empty(2, 3, 224, 224, device="meta"))
    assert logits.shape == (2, 1000)
    assert counter.get_total_flops() == 2 * 2 * multiply_adds


@pytest.mark.parametrize(("depth", "parameters"), [(50, 25_557_032), (101, 44_549_160)])
def test_the_shallower_ones_have_the_published_size(depth: int, parameters: int) -> None:
    with torch.device("meta"):
        network = ResNet(depth)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


@pytest.mark.parametrize(("stride_on", "strides"), [("3x3", (1, 2)), ("1x1", (2, 1))])
def test_one_convolution_of_a_stage_and_its_projection_halve_the_map(
    stride_on: str, strides: tuple[int, int]
) -> None:
    with torch.device("meta"):
        network = ResNet(50, stride_on)
    for stage, expected in ((network.layer1, (1, 1)), (network.layer3, strides)):
        blocks = [block for block in stage if isinstance(block, Bottleneck)]
        found = [(block.conv1.stride[0], block.conv2.stride[0]) for block in blocks]
        assert found == [expected] + [(1, 1)] * (len(blocks) - 1)
        assert isinstance(blocks[0].downsample, nn.Sequential)
        assert all(block.downsample is None for block in blocks[1:])


def test_dilation_keeps_the_map() -> None:
    with torch.device("meta"):
        stage = make_stage(8, 4, 2, dilation=4).eval()
        assert stage(torch.empty(1, 8, 9, 11)).shape == (1, 16, 9, 11)
    convolutions = [layer for layer in stage.modules() if isinstance(layer, nn.Conv2d)]
    dilated = [layer.kernel_size for layer in convolutions if layer.dilation == (4, 4)]
    assert dilated == [(3, 3), (3, 3)]


def test_a_bottleneck_adds_its_input() -> None:
    block = Bottleneck(8, 2, (1, 1), 1).eval()
    nn.init.zeros_(block.bn3.weight)
    features = torch.randn(1, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(block(features), features.clamp_min(0))


def test_the_keys_are_torchvisions() -> None:
    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in ResNet(152).state_dict().items()}
    # 155 convolutions, each with a batch normalisation, and the classifier.
    assert len(shapes) == 155 * 6 + 2
    expected = {
        "conv1.weight": (64, 3, 7, 7),
        "bn1.num_batches_tracked": (),
        "layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "layer2.7.conv2.weight": (128, 128, 3, 3),
        "layer3.35.bn3.running_var": (1024,),
        "layer4.0.downsample.1.bias": (2048,),
        "layer4.2.conv3.weight": (2048, 512, 1, 1),
        "fc.weight": (1000, 2048),
    }
    assert {key: shapes.get(key) for key in expected} == expected


def test_an_unknown_depth_is_rejected() -> None:
    with pytest.raises(UsageError, match="depth must be 50, 101 or 152, not 18"):
        ResNet(18)


def test_an_unknown_place_of_the_stride_is_rejected() -> None:
    with pytest.raises(UsageError, match="stride_on must be '1x1' or '3x3', not '7x7'"):
        ResNet(50, "7x7")
