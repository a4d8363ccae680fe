"""Layers that turn a backbone's maps into the logits of a segmentation."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from edgetvm.models.layers import ConvNorm


class Window(NamedTuple):
    """An average pooling: height and width of the window, and its strides."""

    size: int
    strides: tuple[int, int]


class Aspp(nn.Module):
    """Atrous spatial pyramid pooling: (N, channels, H, W) to logits (N, num_classes, H, W).

    Chen et al., DeepLabv3, arXiv 1706.05587, section 3.3: 1x1 and dilated 3x3 convolutions and a
    global average side by side, then two 1x1 convolutions. Without any `rates` it is the R-ASPP
    of arXiv 1801.04381.
    """

    def __init__(
        self, channels: int, filters: int, num_classes: int, rates: Sequence[int] = ()
    ) -> None:
        super().__init__()
        branches = [ConvNorm(channels, filters, 1, activation=nn.ReLU)]
        branches += [
            ConvNorm(channels, filters, 3, dilation=rate, activation=nn.ReLU) for rate in rates
        ]
        self.branches = nn.ModuleList(branches)
        self.pooled = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), ConvNorm(channels, filters, 1, activation=nn.ReLU)
        )
        merged = filters * (len(branches) + 1)
        self.project = ConvNorm(merged, filters, 1, activation=nn.ReLU)
        self.predict = nn.Sequential(nn.Dropout(0.1), nn.Conv2d(filters, num_classes, 1))

    def forward(self, high: torch.Tensor) -> torch.Tensor:
        """Classify each position of the backbone's last map."""
        outputs = [branch(high) for branch in self.branches]
        outputs.append(resize(self.pooled(high), high, aligned=True))
        logits: torch.Tensor = self.predict(self.project(torch.cat(outputs, dim=1)))
        return logits


class LiteAspp(nn.Module):
    """LR-ASPP: arXiv 1905.02244, section 6.4 and Figure 10, with torchvision's names.

    Maps (N, low_channels, H, W) and (N, channels, h, w) to logits (N, num_classes, H, W). The
    averages of the coarser map gate it; with them it is enlarged to the finer, and each is
    classified.

    Parameters
    ----------
    window : of the averages, which pass a hard sigmoid and are enlarged with aligned corners;
        none: torchvision's global average and sigmoid, and enlargement without.
    """

    def __init__(
        self,
        low_channels: int,
        channels: int,
        filters: int,
        num_classes: int,
        window: Window | None,
    ) -> None:
        super().__init__()
        self.aligned = window is not None
        self.cbr = ConvNorm(channels, filters, 1, activation=nn.ReLU)
        self.scale = nn.Sequential(
            nn.AdaptiveAvgPool2d(1) if window is None else WindowedAverage(window),
            nn.Conv2d(channels, filters, 1, bias=False),
            nn.Sigmoid() if window is None else nn.Hardsigmoid(),
        )
        self.low_classifier = nn.Conv2d(low_channels, num_classes, 1)
        self.high_classifier = nn.Conv2d(filters, num_classes, 1)

    def forward(self, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
        """Classify each position of the finer map, `low`."""
        gate = self.scale(high)
        if self.aligned:
            gate = resize(gate, high, aligned=True)
        gated = resize(self.cbr(high) * gate, low, self.aligned)
        logits: torch.Tensor = self.low_classifier(low) + self.high_classifier(gated)
        return logits


class WindowedAverage(nn.Module):
    """Average pooling whose window is no larger than the map: (N, C, H, W) to (N, C, H', W')."""

    def __init__(self, window: Window) -> None:
        super().__init__()
        self.window = window

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Average each window that lies within the map."""
        height, width = (min(self.window.size, int(size)) for size in features.shape[2:])
        return nn.functional.avg_pool2d(features, (height, width), self.window.strides)


def resize(maps: torch.Tensor, like: torch.Tensor, aligned: bool) -> torch.Tensor:
    """Interpolate `maps` bilinearly to height and width of `like`."""
    size = (int(like.shape[2]), int(like.shape[3]))
    return nn.functional.interpolate(maps, size, mode="bilinear", align_corners=aligned)
