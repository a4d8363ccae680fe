"""MobileNetV2: Sandler et al., "Inverted Residuals and Linear Bottlenecks" (arXiv 1801.04381)."""

import torch
from torch import nn

from edgetvm.errors import UsageError
from edgetvm.models.layers import ConvNormReLU6, make_divisible

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


class MobileNetV2(nn.Module):
    """The classifier of arXiv 1801.04381, Table 2: (N, 3, H, W) float32 to (N, num_classes).

    The names in the state dict are torchvision's, so its checkpoints load.

    Parameters
    ----------
    width_multiplier : scales all channel counts; the last layer's only if above 1.
    num_classes : length of the output, the logits.

    Raises
    ------
    UsageError
        `width_multiplier` is not positive.
    """

    def __init__(self, width_multiplier: float = 1.0, num_classes: int = 1000) -> None:
        super().__init__()
        if width_multiplier <= 0:
            raise UsageError(f"MobileNetV2: width_multiplier {width_multiplier} must be positive.")
        channels = make_divisible(32 * width_multiplier)
        features: list[nn.Module] = [ConvNormReLU6(3, channels, kernel=3, stride=2)]
        for expansion, base, repeats, first_stride in _BOTTLENECKS:
            width = make_divisible(base * width_multiplier)
            for index in range(repeats):
                stride = first_stride if index == 0 else 1
                features.append(InvertedResidual(channels, width, stride, expansion))
                channels = width
        last = make_divisible(1280 * max(1.0, width_multiplier))
        features.append(ConvNormReLU6(channels, last, kernel=1))
        self.features = nn.Sequential(*features)
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

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(ConvNormReLU6(in_channels, hidden, kernel=1))
        layers += [
            ConvNormReLU6(hidden, hidden, kernel=3, stride=stride, groups=hidden),
            nn.Conv2d(hidden, out_channels, kernel_size=1, bias=False),
            nn.BatchNorm2d(out_channels),
        ]
        self.conv = nn.Sequential(*layers)
        self.has_identity = stride == 1 and in_channels == out_channels

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride)."""
        projected: torch.Tensor = self.conv(features)
        return features + projected if self.has_identity else projected
