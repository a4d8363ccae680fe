"""ResNet: He et al., "Deep Residual Learning for Image Recognition" (arXiv 1512.03385)."""

import torch
from torch import nn

from edgetvm.errors import UsageError
from edgetvm.models.layers import ResidualNorm2d

# Table 1: bottlenecks in each of the four stages, by depth.
STAGES = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}

EXPANSION = 4
"""Output channels of a bottleneck over those of its 3x3 convolution."""


class ResNet(nn.Module):
    """The classifier of arXiv 1512.03385, Table 1: (N, 3, H, W) float32 to (N, num_classes).

    The names in the state dict are torchvision's, so its checkpoints load.

    Parameters
    ----------
    depth : number of weighted layers: 50, 101 or 152.
    stride_on : which convolution of a bottleneck halves the map: "1x1", the first, as in the
        paper, or "3x3", as in torchvision ("v1.5").
    num_classes : length of the output, the logits.

    Raises
    ------
    UsageError
        There is no such `depth` or `stride_on`.
    """

    def __init__(self, depth: int = 152, stride_on: str = "3x3", num_classes: int = 1000) -> None:
        super().__init__()
        if depth not in STAGES:
            raise UsageError(f"ResNet: depth must be 50, 101 or 152, not {depth!r}.")
        if stride_on not in ("1x1", "3x3"):
            raise UsageError(f"ResNet: stride_on must be '1x1' or '3x3', not {stride_on!r}.")
        self.conv1 = nn.Conv2d(3, 64, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        strides = (1, 2) if stride_on == "3x3" else (2, 1)
        one, two, three, four = STAGES[depth]
        self.layer1 = make_stage(64, 64, one)
        self.layer2 = make_stage(256, 128, two, strides=strides)
        self.layer3 = make_stage(512, 256, three, strides=strides)
        self.layer4 = make_stage(1024, 512, four, strides=strides)
        self.fc = nn.Linear(512 * EXPANSION, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, num_classes)."""
        features = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        features = self.layer4(self.layer3(self.layer2(self.layer1(features))))
        pooled = nn.functional.adaptive_avg_pool2d(features, 1)
        logits: torch.Tensor = self.fc(torch.flatten(pooled, 1))
        return logits


def make_stage(
    in_channels: int,
    width: int,
    blocks: int,
    *,
    strides: tuple[int, int] = (1, 1),
    dilation: int = 1,
) -> nn.Sequential:
    """Chain bottlenecks: (N, in_channels, H, W) to (N, 4 * width, H / s, W / s).

    Parameters
    ----------
    width : channels of the 3x3 convolutions.
    blocks : number of bottlenecks.
    strides : of the first bottleneck's first 1x1 and 3x3 convolution; s is their product.
    dilation : of all 3x3 convolutions.
    """
    first = Bottleneck(in_channels, width, strides, dilation)
    others = [Bottleneck(EXPANSION * width, width, (1, 1), dilation) for _ in range(blocks - 1)]
    return nn.Sequential(first, *others)


class Bottleneck(nn.Module):
    """The building block of Figure 5: 1x1, 3x3 and 1x1, added to its input or a projection of it.

    Maps (N, in_channels, H, W) to (N, 4 * width, H / s, W / s), where s is the product of
    `strides`. The projection is there where the shapes differ (option B of section 3.3).
    """

    def __init__(
        self, in_channels: int, width: int, strides: tuple[int, int], dilation: int
    ) -> None:
        super().__init__()
        out_channels = EXPANSION * width
        first, second = strides
        self.conv1 = nn.Conv2d(in_channels, width, kernel_size=1, stride=first, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(
            width,
            width,
            kernel_size=3,
            stride=second,
            padding=dilation,
            dilation=dilation,
            bias=False,
        )
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, kernel_size=1, bias=False)
        self.bn3 = ResidualNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        stride = first * second
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Add the residual and rectify."""
        residual = self.relu(self.bn1(self.conv1(features)))
        residual = self.relu(self.bn2(self.conv2(residual)))
        residual = self.bn3(self.conv3(residual))
        shortcut = features if self.downsample is None else self.downsample(features)
        total: torch.Tensor = self.relu(residual + shortcut)
        return total
