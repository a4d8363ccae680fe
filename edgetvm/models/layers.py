"""Building blocks that several architectures share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from edgetvm.errors import UsageError

Activation = Callable[[], nn.Module]
Padding = Literal["symmetric", "same"]


def make_divisible(value: float, divisor: int = 8) -> int:
    """Round a scaled channel count to a multiple of `divisor`, down by a tenth at the most.

    The rule of the MobileNet and EfficientNet authors' code (tensorflow/models, slim
    ``mobilenet.py``); the papers speak of width multipliers only.
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * value else rounded + divisor


@dataclass(frozen=True)
class Convention:
    """What differs between the frameworks that networks were trained in, not between networks.

    Attributes
    ----------
    padding : ``symmetric`` as in PyTorch, or ``same`` as in TensorFlow, which pads an odd rest
        at the end only.
    norm_eps : epsilon of the batch normalisations.

    Raises
    ------
    UsageError
        There is no such padding.
    """

    padding: Padding = "symmetric"
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        """Refuse what a recipe can spell wrong."""
        if self.padding not in ("symmetric", "same"):
            raise UsageError(f"padding must be 'symmetric' or 'same', not {self.padding!r}.")

    def conv(  # noqa: PLR0913 - those of a convolution
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        *,
        groups: int = 1,
        dilation: int = 1,
        bias: bool = False,
    ) -> nn.Conv2d:
        """Make a convolution that keeps height and width at stride 1."""
        kind, padding = nn.Conv2d, (kernel - 1) // 2 * dilation
        if self.padding == "same" and stride > 1:
            kind, padding = SamePaddedConv2d, 0
        return kind(
            in_channels,
            out_channels,
            kernel,
            stride,
            padding,
            dilation=dilation,
            groups=groups,
            bias=bias,
        )

    def norm(self, channels: int) -> nn.BatchNorm2d:
        """Make a batch normalisation."""
        return nn.BatchNorm2d(channels, eps=self.norm_eps)

    def residual_norm(self, channels: int) -> "ResidualNorm2d":
        """Make the batch normalisation at the end of a residual branch."""
        return ResidualNorm2d(channels, eps=self.norm_eps)


PYTORCH = Convention()


class ResidualNorm2d(nn.BatchNorm2d):
    """The normalisation at the end of one of many residual branches.

    It computes what its base class does; random weights make such a branch small, see
    :func:`edgetvm.models.weights.initialise`.
    """


class SamePaddedConv2d(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding: (N, C, H, W) to (N, C', ceil(H/s), ceil(W/s))."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - the base class's name
        """Pad at the end what cannot be halved, and convolve."""
        pads: list[int] = []
        # nn.functional.pad takes the last axis first.
        for axis in (1, 0):
            size, stride = int(input.shape[2 + axis]), self.stride[axis]
            reach = (self.kernel_size[axis] - 1) * self.dilation[axis] + 1
            total = max((-(-size // stride) - 1) * stride + reach - size, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(nn.functional.pad(input, pads))


class ConvNorm(nn.Sequential):
    """Convolution without bias, batch normalisation and, if given, an activation.

    Maps (N, C, H, W) to (N, C', H/stride, W/stride), rounded up. The children are ``0``, ``1``
    and ``2``, as in torchvision.
    """

    def __init__(  # noqa: PLR0913 - those of a convolution
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        *,
        groups: int = 1,
        dilation: int = 1,
        activation: Activation | None = None,
        convention: Convention = PYTORCH,
    ) -> None:
        layers: list[nn.Module] = [
            convention.conv(
                in_channels, out_channels, kernel, stride, groups=groups, dilation=dilation
            ),
            convention.norm(out_channels),
        ]
        if activation is not None:
            layers.append(activation())
        super().__init__(*layers)


class SqueezeExcite(nn.Module):
    """Squeeze-and-excite: channels weighted by a gate computed from their averages.

    (N, C, H, W) to the same shape. Hu et al., arXiv 1709.01507; with 1x1 convolutions ``fc1`` and
    ``fc2``, both with bias, as in torchvision.
    """

    def __init__(
        self, channels: int, squeezed: int, activation: Activation, gate: Activation
    ) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, kernel_size=1)
        self.activation = activation()
        self.fc2 = nn.Conv2d(squeezed, channels, kernel_size=1)
        self.gate = gate()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Scale each channel of `features`."""
        pooled = nn.functional.adaptive_avg_pool2d(features, 1)
        gate: torch.Tensor = self.gate(self.fc2(self.activation(self.fc1(pooled))))
        return features * gate
