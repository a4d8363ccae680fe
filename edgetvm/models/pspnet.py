"""PSPNet: Zhao et al., "Pyramid Scene Parsing Network" (arXiv 1612.01105)."""

import torch
from torch import nn

from edgetvm.errors import UsageError
from edgetvm.models.resnet import EXPANSION, STAGES, make_stage
from edgetvm.models.segmentation_heads import resize

_BINS = (1, 2, 3, 6)
_HEAD_WIDTH = 512


class PSPNet(nn.Module):
    """The segmenter of arXiv 1612.01105, Figure 3: (N, 3, H, W) to logits (N, num_classes, H, W).

    The names in the state dict are those of the authors' PyTorch code (hszhao/semseg), but for
    its auxiliary head, which serves training only. That code wants H and W of the form 8 n + 1.

    Parameters
    ----------
    depth : of the ResNet below, 50, 101 or 152, with three 3x3 convolutions for its first and
        dilation instead of stride in its last two stages.
    num_classes : 19 for Cityscapes.

    Raises
    ------
    UsageError
        There is no such `depth`.
    """

    def __init__(self, depth: int = 101, num_classes: int = 19) -> None:
        super().__init__()
        if depth not in STAGES:
            raise UsageError(f"PSPNet: depth must be 50, 101 or 152, not {depth!r}.")
        stem: list[nn.Module] = []
        for in_channels, out_channels, stride in ((3, 64, 2), (64, 64, 1), (64, 128, 1)):
            stem += _conv_norm_relu(in_channels, out_channels, kernel=3, stride=stride)
        self.layer0 = nn.Sequential(*stem, nn.MaxPool2d(kernel_size=3, stride=2, padding=1))
        one, two, three, four = STAGES[depth]
        self.layer1 = make_stage(128, 64, one)
        self.layer2 = make_stage(256, 128, two, strides=(1, 2))
        self.layer3 = make_stage(512, 256, three, dilation=2)
        self.layer4 = make_stage(1024, 512, four, dilation=4)
        channels = 512 * EXPANSION
        self.ppm = PyramidPooling(channels)
        self.cls = nn.Sequential(
            *_conv_norm_relu(2 * channels, _HEAD_WIDTH, kernel=3),
            nn.Dropout2d(0.1),
            nn.Conv2d(_HEAD_WIDTH, num_classes, kernel_size=1),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, num_classes, H, W)."""
        features = self.layer2(self.layer1(self.layer0(images)))
        features = self.layer4(self.layer3(features))
        return resize(self.cls(self.ppm(features)), images, aligned=True)


class PyramidPooling(nn.Module):
    """The pyramid of section 3.2: averages over ever smaller parts of the map, joined to it.

    Maps (N, C, H, W) to (N, 2 C, H, W).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = channels // len(_BINS)
        self.features = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(bins), *_conv_norm_relu(channels, width, kernel=1))
            for bins in _BINS
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Concatenate `features` and the levels of the pyramid along the channels."""
        levels = [resize(level(features), features, aligned=True) for level in self.features]
        return torch.cat([features, *levels], dim=1)


def _conv_norm_relu(
    in_channels: int, out_channels: int, kernel: int, stride: int = 1
) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    ]
