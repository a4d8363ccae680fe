"""The blocks that architectures share."""

from typing import Any

import pytest
import torch
from torch import nn

from edgetvm.errors import UsageError
from edgetvm.models.layers import Convention, ConvNorm, SqueezeExcite, make_divisible


@pytest.mark.parametrize(
    ("value", "rounded"), [(32, 32), (11.2, 16), (33.6, 32), (1, 8), (44.8, 48), (12, 16)]
)
def test_channels_are_rounded_down_by_a_tenth_at_most(value: float, rounded: int) -> None:
    assert make_divisible(value) == rounded


@pytest.mark.parametrize("size", [7, 8, 9])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (5, 2), (3, 1), (1, 2)])
def test_same_padding_puts_the_odd_rest_at_the_end(size: int, kernel: int, stride: int) -> None:
    conv = Convention(padding="same").conv(1, 1, kernel, stride)
    nn.init.ones_(conv.weight)
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    data = torch.arange(1.0, size + 1)
    padded = nn.functional.pad(data, (total // 2, total - total // 2))
    sums = padded.unfold(0, kernel, stride).sum(1)
    with torch.no_grad():
        found = conv(data.reshape(1, 1, 1, size).expand(1, 1, size, size))
    # In the middle no padding above or below takes part.
    assert found.shape[-1] == -(-size // stride)
    middle = found[0, 0, found.shape[2] // 2]
    torch.testing.assert_close(middle / middle[0] * sums[0], sums)


def test_symmetric_padding_follows_the_dilation() -> None:
    conv = ConvNorm(3, 4, 3, dilation=2)
    assert conv(torch.zeros(2, 3, 9, 9)).shape == (2, 4, 9, 9)
    assert conv[0].padding == (2, 2)


def test_squeeze_and_excite_weights_whole_channels() -> None:
    block = SqueezeExcite(4, 2, nn.ReLU, nn.Sigmoid)
    data = torch.randn(2, 4, 5, 5)
    with torch.no_grad():
        weights = block(data) / data
    torch.testing.assert_close(weights, weights[:, :, :1, :1].expand_as(weights))
    assert weights.std() > 0


@pytest.mark.parametrize("padding", ["valid", "SAME", None])
def test_an_unknown_padding_is_rejected(padding: Any) -> None:
    with pytest.raises(UsageError, match=f"'symmetric' or 'same', not {padding!r}"):
        Convention(padding=padding)
