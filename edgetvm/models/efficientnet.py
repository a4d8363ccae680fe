"""EfficientNet: Tan and Le, "Rethinking Model Scaling for CNNs" (arXiv 1905.11946)."""

import math

import torch
from torch import nn

from edgetvm.errors import UsageError
from edgetvm.models.layers import Convention, ConvNorm, Padding, SqueezeExcite, make_divisible

# Table 1, stages 2 to 8: expansion, kernel, stride of the first repeat, output channels, repeats.
_STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)


class EfficientNet(nn.Module):
    """The classifier of arXiv 1905.11946, Table 1: (N, 3, H, W) float32 to (N, num_classes).

    The defaults are B0's. The multipliers of B1 to B7 are those of the authors' code
    (tensorflow/tpu, ``efficientnet_builder.py``), as the paper gives the rule only. The names in
    the state dict are torchvision's. Stochastic depth (section 5.2), which acts in training only,
    is left out.

    Parameters
    ----------
    width_multiplier : scales all channel counts, rounded to multiples of 8.
    depth_multiplier : scales the repeats of each stage, rounded up.
    dropout : probability before the last layer, 0.2 for B0 to 0.5 for B7.
    num_classes : length of the output, the logits.
    padding : ``symmetric``, or ``same`` as the authors trained it.
    norm_eps : epsilon of the batch normalisations, by default the authors'.

    Raises
    ------
    UsageError
        A multiplier is not positive, `dropout` is no probability, or there is no such `padding`.
    """

    def __init__(
        self,
        width_multiplier: float = 1.0,
        depth_multiplier: float = 1.0,
        dropout: float = 0.2,
        num_classes: int = 1000,
        padding: Padding = "symmetric",
        norm_eps: float = 1e-3,
    ) -> None:
        super().__init__()
        _check(width_multiplier, depth_multiplier, dropout)
        convention = Convention(padding, norm_eps)
        channels = make_divisible(32 * width_multiplier)
        layers: list[nn.Module] = [
            ConvNorm(3, channels, 3, stride=2, activation=nn.SiLU, convention=convention)
        ]
        for expansion, kernel, first_stride, base, repeats in _STAGES:
            width = make_divisible(base * width_multiplier)
            stage = nn.Sequential()
            for index in range(math.ceil(repeats * depth_multiplier)):
                stride = first_stride if index == 0 else 1
                stage.append(MBConv(channels, width, kernel, stride, expansion, convention))
                channels = width
            layers.append(stage)
        last = make_divisible(1280 * width_multiplier)
        layers.append(ConvNorm(channels, last, 1, activation=nn.SiLU, convention=convention))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, num_classes)."""
        pooled = nn.functional.adaptive_avg_pool2d(self.features(images), 1)
        logits: torch.Tensor = self.classifier(torch.flatten(pooled, 1))
        return logits


class MBConv(nn.Module):
    """Inverted bottleneck with squeeze-and-excite: expand 1x1, depthwise, gate, project 1x1.

    Maps (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride), rounded up. An
    expansion of 1 has no expanding convolution. The gate is squeezed to a quarter of the block's
    input, not of the expanded channels (authors' code).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int,
        expansion: int,
        convention: Convention,
    ) -> None:
        super().__init__()
        hidden = in_channels * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(
                ConvNorm(in_channels, hidden, 1, activation=nn.SiLU, convention=convention)
            )
        layers += [
            ConvNorm(
                hidden,
                hidden,
                kernel,
                stride,
                groups=hidden,
                activation=nn.SiLU,
                convention=convention,
            ),
            SqueezeExcite(hidden, max(1, in_channels // 4), nn.SiLU, nn.Sigmoid),
            ConvNorm(hidden, out_channels, 1, convention=convention),
        ]
        self.block = nn.Sequential(*layers)
        self.has_identity = stride == 1 and in_channels == out_channels

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Add the block's output to its input where the shapes allow it."""
        projected: torch.Tensor = self.block(features)
        return features + projected if self.has_identity else projected


def _check(width_multiplier: float, depth_multiplier: float, dropout: float) -> None:
    multipliers = {"width_multiplier": width_multiplier, "depth_multiplier": depth_multiplier}
    for name, value in multipliers.items():
        if value <= 0:
            raise UsageError(f"EfficientNet: {name} {value} must be positive.")
    if not 0 <= dropout <= 1:
        raise UsageError(f"EfficientNet: dropout {dropout} must be between 0 and 1.")
