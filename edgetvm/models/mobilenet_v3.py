"""MobileNetV3: Howard et al., "Searching for MobileNetV3" (arXiv 1905.02244)."""

from functools import partial
from typing import Literal

import torch
from torch import nn

from edgetvm.models.layers import (
    Activation,
    Convention,
    ConvNorm,
    Padding,
    SqueezeExcite,
    make_divisible,
)
from edgetvm.models.mobilenet_v3_table import Block, Hardswish, Size, Variant


def features(variant: Variant) -> nn.Sequential:
    """Make all layers before the pooling: (N, 3, H, W) to (N, C, H/stride, W/stride).

    The children are torchvision's: 0 the first convolution, then a bottleneck a row of the
    table, and last a 1x1 convolution to 960 channels (Large) or 576 (Small).
    """
    activation = _outer_activation(variant)
    convention = variant.convention
    blocks = variant.blocks()
    layers: list[nn.Module] = [
        ConvNorm(3, variant.stem, 3, 2, activation=activation, convention=convention)
    ]
    layers += [Bottleneck(block, variant) for block in blocks]
    channels = blocks[-1].out_channels
    layers.append(ConvNorm(channels, variant.last, 1, activation=activation, convention=convention))
    return nn.Sequential(*layers)


class MobileNetV3(nn.Module):
    """The classifiers of arXiv 1905.02244: (N, 3, H, W) float32 to (N, num_classes).

    The names in the state dict are torchvision's, so its checkpoints load.

    Parameters
    ----------
    num_classes : length of the output, the logits.
    padding, norm_eps : see :class:`Convention`.
    size, width_multiplier, minimalistic, hardswish, hardswish_from, width_rule, scaled_stem : see
        :class:`Variant`.

    Raises
    ------
    UsageError
        `width_multiplier` is not positive, or another value is none of those allowed.
    """

    def __init__(  # noqa: PLR0913 - the options of recipes
        self,
        size: Size = "large",
        width_multiplier: float = 1.0,
        num_classes: int = 1000,
        *,
        padding: Padding = "symmetric",
        norm_eps: float = 1e-3,
        minimalistic: bool = False,
        hardswish: Hardswish = "fused",
        hardswish_from: int | None = None,
        width_rule: Literal["paper", "torchvision"] = "paper",
        scaled_stem: bool = True,
    ) -> None:
        super().__init__()
        variant = Variant(
            size,
            width_multiplier,
            Convention(padding, norm_eps),
            minimalistic=minimalistic,
            hardswish=hardswish,
            hardswish_from=hardswish_from,
            width_rule=width_rule,
            scaled_stem=scaled_stem,
        )
        self.features = features(variant)
        self.classifier = nn.Sequential(
            nn.Linear(variant.last, variant.classifier),
            _outer_activation(variant)(),
            nn.Dropout(0.2),
            nn.Linear(variant.classifier, num_classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, num_classes)."""
        pooled = nn.functional.adaptive_avg_pool2d(self.features(images), 1)
        logits: torch.Tensor = self.classifier(torch.flatten(pooled, 1))
        return logits


class Bottleneck(nn.Module):
    """The block of Figure 4: expand 1x1, depthwise, squeeze-and-excite, project 1x1.

    Maps (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride). Without expansion
    there is no expanding convolution. The identity is added where shapes and variant allow it.
    """

    def __init__(self, block: Block, variant: Variant) -> None:
        super().__init__()
        activation = _hardswish(variant) if block.hardswish else nn.ReLU
        conv = partial(ConvNorm, convention=variant.convention)
        hidden = block.hidden
        layers: list[nn.Module] = []
        if hidden != block.in_channels:
            layers.append(conv(block.in_channels, hidden, 1, activation=activation))
        layers.append(
            conv(
                hidden,
                hidden,
                block.kernel,
                block.stride,
                groups=hidden,
                dilation=block.dilation,
                activation=activation,
            )
        )
        if block.squeezes:
            squeezed = make_divisible(hidden / 4)
            layers.append(SqueezeExcite(hidden, squeezed, nn.ReLU, nn.Hardsigmoid))
        layers.append(conv(hidden, block.out_channels, 1))
        self.block = nn.Sequential(*layers)
        self.has_identity = block.has_identity

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map `features` as said above."""
        projected: torch.Tensor = self.block(features)
        return features + projected if self.has_identity else projected


class NaiveHardswish(nn.Module):
    """x * relu6(x + 3) / 6 (section 5.2), operator by operator."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map each value; the shape stays."""
        return features * nn.functional.relu6(features + 3) / 6


def _hardswish(variant: Variant) -> Activation:
    kinds: dict[str, Activation] = {
        "fused": nn.Hardswish,
        "naive": NaiveHardswish,
        "none": nn.ReLU,
    }
    return kinds[variant.hardswish]


def _outer_activation(variant: Variant) -> Activation:
    """Return the activation of the first and the last layers."""
    return nn.ReLU if variant.minimalistic else _hardswish(variant)
