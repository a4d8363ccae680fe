"""MobileNetV1: Howard et al., "Efficient Convolutional Neural Networks" (arXiv 1704.04861)."""

import torch
from torch import nn

from edgetvm.errors import UsageError
from edgetvm.models.layers import PYTORCH, Activation, Convention, ConvNorm, Padding

# Table 1: output channels and stride of the blocks. The last stride is 1, not the 2 that is
# printed there, since its input and output are both 7 x 7.
_BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *[(512, 1)] * 5,
    (1024, 2),
    (1024, 1),
)
# Table 5: the shallow network lacks the five blocks at 14 x 14 x 512.
_SHALLOW = _BLOCKS[:6] + _BLOCKS[11:]
_FORMS = ("separable", "convolutional", "shallow")
_ACTIVATIONS: dict[str, Activation] = {"relu": nn.ReLU, "relu6": nn.ReLU6}


def features(
    width_multiplier: float = 1.0,
    convention: Convention = PYTORCH,
    activation: Activation = nn.ReLU,
    form: str = "separable",
) -> nn.Sequential:
    """Make all layers before the pooling: (N, 3, H, W) to (N, 1024 * width, H/32, W/32).

    Child 0 is the first convolution, and child i block i of Table 1: a depthwise ``0`` and a
    pointwise ``1`` :class:`ConvNorm`. Child 11 is the last at H/16.

    Parameters
    ----------
    width_multiplier : scales all channel counts; they are cut to whole numbers, 8 at least, as
        in the authors' code, not to multiples of 8.
    form : ``separable``; ``convolutional``, with full 3x3 convolutions for blocks (Table 4); or
        ``shallow``, without the five blocks of 14 x 14 x 512 (Table 5).

    Raises
    ------
    UsageError
        `width_multiplier` is not positive or there is no such `form`.
    """
    if width_multiplier <= 0:
        raise UsageError(f"MobileNetV1: width_multiplier {width_multiplier} must be positive.")
    if form not in _FORMS:
        raise UsageError(f"MobileNetV1: form must be one of {', '.join(_FORMS)}, not {form!r}.")
    channels = _scale(32, width_multiplier)
    layers: list[nn.Module] = [
        ConvNorm(3, channels, kernel=3, stride=2, activation=activation, convention=convention)
    ]
    for base, stride in _SHALLOW if form == "shallow" else _BLOCKS:
        width = _scale(base, width_multiplier)
        block = ConvNorm if form == "convolutional" else DepthwiseSeparable
        layers.append(
            block(channels, width, 3, stride, activation=activation, convention=convention)
        )
        channels = width
    return nn.Sequential(*layers)


class MobileNetV1(nn.Module):
    """The classifier of arXiv 1704.04861, Table 1: (N, 3, H, W) float32 to (N, num_classes).

    Parameters
    ----------
    width_multiplier, form : see :func:`features`.
    num_classes : length of the output, the logits.
    padding, norm_eps : see :class:`Convention`.
    activation : ``relu``, the paper's, or ``relu6``, that of the authors' code and weights.

    Raises
    ------
    UsageError
        `width_multiplier` is not positive, or there is no such `form`, `padding` or `activation`.
    """

    def __init__(
        self,
        width_multiplier: float = 1.0,
        num_classes: int = 1000,
        form: str = "separable",
        padding: Padding = "symmetric",
        norm_eps: float = 1e-3,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        if activation not in _ACTIVATIONS:
            known = " or ".join(repr(name) for name in _ACTIVATIONS)
            raise UsageError(f"MobileNetV1: activation must be {known}, not {activation!r}.")
        convention = Convention(padding, norm_eps)
        self.features = features(width_multiplier, convention, _ACTIVATIONS[activation], form)
        last = _scale(1024, width_multiplier)
        self.classifier = nn.Sequential(nn.Dropout(0.001), nn.Linear(last, num_classes))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, num_classes)."""
        pooled = nn.functional.adaptive_avg_pool2d(self.features(images), 1)
        logits: torch.Tensor = self.classifier(torch.flatten(pooled, 1))
        return logits


class DepthwiseSeparable(nn.Sequential):
    """The block of Figure 3: depthwise convolution, then 1x1, each normalised and activated.

    Maps (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int,
        *,
        activation: Activation,
        convention: Convention,
    ) -> None:
        super().__init__(
            ConvNorm(
                in_channels,
                in_channels,
                kernel,
                stride,
                groups=in_channels,
                activation=activation,
                convention=convention,
            ),
            ConvNorm(in_channels, out_channels, 1, activation=activation, convention=convention),
        )


def _scale(channels: int, width_multiplier: float) -> int:
    return max(int(channels * width_multiplier), 8)
