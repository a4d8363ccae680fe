"""MobileNetV2: Sandler et al., "Inverted Residuals and Linear Bottlenecks" (arXiv 1801.04381)."""

from functools import partial

import torch
from torch import nn

from edgetvm.errors import UsageError
from edgetvm.models.layers import PYTORCH, Convention, ConvNorm, Padding, make_divisible

# Table 2: expansion t, output channels c, repeats n, stride s of the first repeat.
_BOTTLENECKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_HALVED = {160: 80, 320: 160}
_LAST = 1280


def features(
    width_multiplier: float = 1.0,
    convention: Convention = PYTORCH,
    output_stride: int = 32,
    halved_tail: bool = False,
) -> nn.Sequential:
    """Make all layers before the pooling: (N, 3, H, W) to (N, 1280, H/stride, W/stride).

    The 19 children are torchvision's: 0 the first convolution, 1 to 17 the bottlenecks, 18 the
    last convolution, 1x1.

    Parameters
    ----------
    width_multiplier : scales all channel counts; the last layer's only if above 1.
    output_stride : 32, or 16 for segmentation: the first bottleneck of 160 channels keeps the
        resolution, and those after it are dilated by 2 (section 6.3).
    halved_tail : 80 and 160 channels instead of 160 and 320, the "RF2" of arXiv 1905.02244,
        Table 7.

    Raises
    ------
    UsageError
        `width_multiplier` is not positive or `output_stride` is another.
    """
    if width_multiplier <= 0:
        raise UsageError(f"MobileNetV2: width_multiplier {width_multiplier} must be positive.")
    if output_stride not in (16, 32):
        raise UsageError(f"MobileNetV2: output_stride must be 16 or 32, not {output_stride}.")
    conv = partial(ConvNorm, activation=nn.ReLU6, convention=convention)
    channels = make_divisible(32 * width_multiplier)
    layers: list[nn.Module] = [conv(3, channels, kernel=3, stride=2)]
    reached, dilation = 2, 1
    for expansion, base, repeats, first_stride in _BOTTLENECKS:
        width = make_divisible(
            (_HALVED.get(base, base) if halved_tail else base) * width_multiplier
        )
        for index in range(repeats):
            stride = first_stride if index == 0 else 1
            kept = stride if reached * stride <= output_stride else 1
            layers.append(InvertedResidual(channels, width, kept, expansion, dilation, convention))
            reached, dilation = reached * kept, dilation * stride // kept
            channels = width
    layers.append(conv(channels, last_width(width_multiplier), kernel=1))
    return nn.Sequential(*layers)


def last_width(width_multiplier: float) -> int:
    """Return the channels of the last convolution, which only grow with the multiplier."""
    return make_divisible(_LAST * max(1.0, width_multiplier))


class MobileNetV2(nn.Module):
    """The classifier of arXiv 1801.04381, Table 2: (N, 3, H, W) float32 to (N, num_classes).

    The names in the state dict are torchvision's, so its checkpoints load.

    Parameters
    ----------
    width_multiplier : see :func:`features`.
    num_classes : length of the output, the logits.
    padding, norm_eps : see :class:`Convention`.

    Raises
    ------
    UsageError
        `width_multiplier` is not positive or there is no such `padding`.
    """

    def __init__(
        self,
        width_multiplier: float = 1.0,
        num_classes: int = 1000,
        padding: Padding = "symmetric",
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.features = features(width_multiplier, Convention(padding, norm_eps))
        last = last_width(width_multiplier)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, num_classes))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, num_classes)."""
        pooled = nn.functional.adaptive_avg_pool2d(self.features(images), 1)
        logits: torch.Tensor = self.classifier(torch.flatten(pooled, 1))
        return logits


class InvertedResidual(nn.Module):
    """The bottleneck of Table 1: expand 1x1, depthwise 3x3, project 1x1 without activation.

    The identity is added where stride and channel count allow it. An expansion of 1 has no
    expanding convolution, as in the authors' code.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        expansion: int,
        dilation: int = 1,
        convention: Convention = PYTORCH,
    ) -> None:
        super().__init__()
        hidden = in_channels * expansion
        conv = partial(ConvNorm, activation=nn.ReLU6, convention=convention)
        identity = stride == 1 and in_channels == out_channels
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(conv(in_channels, hidden, kernel=1))
        layers += [
            conv(hidden, hidden, kernel=3, stride=stride, groups=hidden, dilation=dilation),
            convention.conv(hidden, out_channels, kernel=1),
            convention.residual_norm(out_channels) if identity else convention.norm(out_channels),
        ]
        self.conv = nn.Sequential(*layers)
        self.has_identity = identity

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride)."""
        projected: torch.Tensor = self.conv(features)
        return features + projected if self.has_identity else projected
