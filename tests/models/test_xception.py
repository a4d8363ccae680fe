"""DeepLabv3+ on Xception-65: sizes as published, strides and dilations."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgetvm.models.xception import XceptionBlock, XceptionDeepLab


def test_it_has_as_many_weights_as_the_keras_port_of_the_authors_checkpoint() -> None:
    with torch.device("meta"):
        network = XceptionDeepLab(num_classes=21)
    assert sum(parameter.numel() for parameter in network.parameters()) == 41_055_413
    # Keras counts the running statistics too.
    entries = [value for key, value in network.state_dict().items() if "num_batches" not in key]
    assert sum(entry.numel() for entry in entries) == 41_258_213


@pytest.mark.parametrize(
    ("num_classes", "size", "published"),
    [(21, (513, 513), 54.17e9), (19, (1025, 2049), 418.64e9)],
)
def test_it_does_the_work_that_the_model_zoo_states(
    num_classes: int, size: tuple[int, int], published: float
) -> None:
    with torch.device("meta"):
        network = XceptionDeepLab(num_classes).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        logits = network(torch.empty(1, 3, *size, device="meta"))
    assert logits.shape == (1, num_classes, *size)
    # The zoo's count includes pooling and resizing.
    assert counter.get_total_flops() / 2 == pytest.approx(published, rel=0.003)


def test_the_backbone_stops_at_a_sixteenth_and_dilates() -> None:
    with torch.device("meta"):
        backbone = XceptionDeepLab().backbone.eval()
        low, high = backbone(torch.empty(1, 3, 65, 97))
    assert low.shape == (1, 256, 17, 25)
    assert high.shape == (1, 2048, 5, 7)
    dilated = {
        name.split(".")[0]
        for name, layer in backbone.named_modules()
        if isinstance(layer, nn.Conv2d) and layer.dilation != (1, 1)
    }
    assert dilated == {"last"}


def test_the_pyramid_reaches_6_12_and_18() -> None:
    with torch.device("meta"):
        pyramid = XceptionDeepLab().pyramid
    layers = [layer for layer in pyramid.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.dilation[0] for layer in layers if layer.kernel_size == (3, 3)] == [6, 12, 18]


def test_the_epsilons_are_those_of_backbone_and_head() -> None:
    with torch.device("meta"):
        network = XceptionDeepLab()
    epsilons: dict[bool, set[float]] = {True: set(), False: set()}
    for name, layer in network.named_modules():
        if isinstance(layer, nn.BatchNorm2d):
            epsilons[name.startswith("backbone")].add(layer.eps)
    assert epsilons == {True: {1e-3}, False: {1e-5}}


def test_the_decoder_sees_what_the_strided_convolution_gets() -> None:
    block = XceptionBlock(2, (3, 4, 5), stride=2).eval()
    features = torch.randn(1, 2, 9, 9, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        inner = block.inner(features)
        assert inner.shape == (1, 4, 9, 9)
        assert inner.min() < 0  # no ReLU at its end
        whole = block(features)
        assert whole.shape == (1, 5, 5, 5)
        torch.testing.assert_close(whole, block.outer(inner) + block.shortcut(features))


def test_a_middle_block_adds_its_input_as_it_is() -> None:
    with torch.device("meta"):
        blocks = list(XceptionDeepLab().backbone.middle)
    assert len(blocks) == 16
    assert all(isinstance(block.shortcut, nn.Identity) for block in blocks)
