"""PSPNet: size and names as published, the output stride and the pyramid."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgetvm.errors import UsageError
from edgetvm.models.pspnet import PSPNet, PyramidPooling


@pytest.mark.parametrize(
    ("height", "width", "multiply_adds"),
    [(713, 713, 517_190_422_720), (512, 1024, 523_405_099_008)],
)
def test_pspnet_101_has_the_published_size(height: int, width: int, multiply_adds: int) -> None:
    with torch.device("meta"):
        network = PSPNet().eval()
    assert sum(parameter.numel() for parameter in network.parameters()) == 65_707_475
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        logits = network(torch.empty(1, 3, height, width, device="meta"))
    assert logits.shape == (1, 19, height, width)
    assert counter.get_total_flops() == 2 * multiply_adds


def test_the_keys_are_the_authors() -> None:
    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in PSPNet().state_dict().items()}
    groups = {key.rsplit(".", 1)[0] for key in shapes if key.startswith(("layer0", "ppm", "cls"))}
    assert groups == {
        *(f"layer0.{index}" for index in (0, 1, 3, 4, 6, 7)),
        *(f"ppm.features.{level}.{index}" for level in range(4) for index in (1, 2)),
        *(f"cls.{index}" for index in (0, 1, 4)),
    }
    expected = {
        "layer0.0.weight": (64, 3, 3, 3),
        "layer0.6.weight": (128, 64, 3, 3),
        "layer1.0.downsample.0.weight": (256, 128, 1, 1),
        "layer3.22.conv2.weight": (256, 256, 3, 3),
        "layer4.0.downsample.1.running_mean": (2048,),
        "ppm.features.3.1.weight": (512, 2048, 1, 1),
        "ppm.features.0.2.running_var": (512,),
        "cls.0.weight": (512, 4096, 3, 3),
        "cls.4.weight": (19, 512, 1, 1),
        "cls.4.bias": (19,),
    }
    assert {key: shapes.get(key) for key in expected} == expected


def test_the_last_two_stages_dilate_instead_of_striding() -> None:
    sizes = []
    with torch.device("meta"):
        network = PSPNet(depth=50).eval()
    stages = (network.layer0, network.layer1, network.layer2, network.layer3, network.layer4)
    for stage in stages:
        stage.register_forward_hook(lambda _, __, output: sizes.append(output.shape[-1]))
    with torch.no_grad():
        network(torch.empty(1, 3, 65, 129, device="meta"))
    assert sizes == [33, 33, 17, 17, 17]
    for stage, dilation in zip(stages[1:], (1, 1, 2, 4), strict=True):
        kernels = [layer for layer in stage.modules() if isinstance(layer, nn.Conv2d)]
        wide = {layer.dilation[0] for layer in kernels if layer.kernel_size == (3, 3)}
        assert wide == {dilation}


@pytest.mark.parametrize(("height", "width"), [(6, 12), (8, 15)])
def test_the_pyramid_averages_over_its_bins(height: int, width: int) -> None:
    channels = 4
    pyramid = PyramidPooling(channels).eval()
    for level in range(4):
        nn.init.ones_(pyramid.get_parameter(f"features.{level}.1.weight"))
    features = torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        joined = pyramid(features)
    assert joined.shape == (1, 2 * channels, height, width)
    torch.testing.assert_close(joined[:, :channels], features)
    total = features.sum(dim=1)
    for level, bins in enumerate((1, 2, 3, 6)):
        corner = total[0, : -(-height // bins), : -(-width // bins)].mean()
        found = joined[0, channels + level, 0, 0]
        # The batch normalisation as it is made divides by the root of 1 + 1e-5.
        torch.testing.assert_close(found, corner, rtol=1e-4, atol=0)


def test_the_corners_of_the_logits_are_those_of_the_map() -> None:
    network = PSPNet(depth=50, num_classes=2).eval()
    coarse = []
    network.cls.register_forward_hook(lambda _, __, output: coarse.append(output))
    with torch.no_grad():
        logits = network(torch.randn(1, 3, 33, 49, generator=torch.Generator().manual_seed(0)))
    assert coarse[0].shape == (1, 2, 5, 7)
    torch.testing.assert_close(logits[:, :, ::32, ::48], coarse[0][:, :, ::4, ::6])
    # With aligned corners the pixels of the map are every eighth of the logits.
    torch.testing.assert_close(logits[:, :, ::8, ::8], coarse[0])


def test_an_unknown_depth_is_rejected() -> None:
    with pytest.raises(UsageError, match="depth must be 50, 101 or 152, not 34"):
        PSPNet(34)
