"""DeepLabv3+ on Xception-65: Chen et al., "Encoder-Decoder with Atrous Separable Convolution".

arXiv 1802.02611, Figures 2 and 4, in the form of the authors' model zoo (tensorflow/models,
research/deeplab): its backbone has a ReLU after depthwise convolutions in the last block only.
"""

import torch
from torch import nn

from edgetvm.models.layers import PYTORCH, Convention, ConvNorm
from edgetvm.models.segmentation_heads import resize

_BACKBONE = Convention(norm_eps=1e-3)
_HEAD = PYTORCH

_MIDDLE_BLOCKS = 16
_LOW_CHANNELS = 256
_HIGH_CHANNELS = 2048

_RATES = (6, 12, 18)
_HEAD_WIDTH = 256
_LOW_WIDTH = 48


class XceptionDeepLab(nn.Module):
    """The segmenter of arXiv 1802.02611, Figure 2: (N, 3, H, W) to logits (N, num_classes, H, W).

    The backbone's output is a sixteenth of the input, the decoder's a quarter.

    Parameters
    ----------
    num_classes : 21 for PASCAL VOC, 19 for Cityscapes.
    """

    def __init__(self, num_classes: int = 21) -> None:
        super().__init__()
        self.backbone = Xception65()
        self.pyramid = AtrousPyramid(_HIGH_CHANNELS)
        self.low_projection = ConvNorm(
            _LOW_CHANNELS, _LOW_WIDTH, 1, activation=nn.ReLU, convention=_HEAD
        )
        self.decoder = nn.Sequential(
            separable(_HEAD_WIDTH + _LOW_WIDTH, _HEAD_WIDTH, rectify=True, convention=_HEAD),
            separable(_HEAD_WIDTH, _HEAD_WIDTH, rectify=True, convention=_HEAD),
        )
        self.logits = nn.Conv2d(_HEAD_WIDTH, num_classes, kernel_size=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, num_classes, H, W)."""
        low, high = self.backbone(images)
        enlarged = resize(self.pyramid(high), low, aligned=True)
        joined = torch.cat([enlarged, self.low_projection(low)], dim=1)
        return resize(self.logits(self.decoder(joined)), images, aligned=True)


class Xception65(nn.Module):
    """The backbone: (N, 3, H, W) to (N, 256, H/4, W/4) and (N, 2048, H/16, W/16), rounded up."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            ConvNorm(3, 32, kernel=3, stride=2, activation=nn.ReLU, convention=_BACKBONE),
            ConvNorm(32, 64, kernel=3, activation=nn.ReLU, convention=_BACKBONE),
        )
        self.entry_1 = XceptionBlock(64, (128, 128, 128), stride=2)
        self.entry_2 = XceptionBlock(128, (256, 256, 256), stride=2)
        self.entry_3 = XceptionBlock(256, (728, 728, 728), stride=2)
        self.middle = nn.Sequential(
            *(XceptionBlock(728, (728, 728, 728)) for _ in range(_MIDDLE_BLOCKS))
        )
        self.exit = XceptionBlock(728, (728, 1024, 1024))
        # Dilated, since at a sixteenth of the input the block before has no stride.
        self.last = nn.Sequential(
            separable(1024, 1536, dilation=2, rectify=True),
            separable(1536, 1536, dilation=2, rectify=True),
            separable(1536, _HIGH_CHANNELS, dilation=2, rectify=True),
        )

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the features for the decoder and for the pyramid."""
        features = self.entry_1(self.stem(images))
        # The decoder's are those before the block's last convolution, which halves the map.
        low = self.entry_2.inner(features)
        features = self.entry_3(self.entry_2.finish(low, features))
        return low, self.last(self.exit(self.middle(features)))


class XceptionBlock(nn.Module):
    """Three separable convolutions, each after a ReLU, and a way around them.

    Maps (N, in_channels, H, W) to (N, widths[-1], H / stride, W / stride), rounded up. The last
    convolution has the stride, where Xception itself pools. The input is added as it is, or
    through a 1x1 convolution if the shape changes.
    """

    def __init__(self, in_channels: int, widths: tuple[int, int, int], stride: int = 1) -> None:
        super().__init__()
        one, two, three = widths
        self.inner = nn.Sequential(
            nn.ReLU(), separable(in_channels, one), nn.ReLU(), separable(one, two)
        )
        last = separable(two, three, stride)
        pointwise = last[1]
        assert isinstance(pointwise, nn.Sequential)
        pointwise[1] = _BACKBONE.residual_norm(three)
        self.outer = nn.Sequential(nn.ReLU(), last)
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != three or stride != 1:
            self.shortcut = ConvNorm(in_channels, three, 1, stride, convention=_BACKBONE)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Run the whole block."""
        return self.finish(self.inner(features), features)

    def finish(self, inner: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """Run the rest, given what the first two convolutions made of `features`."""
        total: torch.Tensor = self.outer(inner) + self.shortcut(features)
        return total


class AtrousPyramid(nn.Module):
    """Atrous spatial pyramid pooling: the map at four ranges and its average, joined.

    Maps (N, channels, H, W) to (N, 256, H, W). Chen et al., arXiv 1706.05587, section 3.3, with
    separable convolutions.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pooled = ConvNorm(channels, _HEAD_WIDTH, 1, activation=nn.ReLU, convention=_HEAD)
        near = ConvNorm(channels, _HEAD_WIDTH, 1, activation=nn.ReLU, convention=_HEAD)
        far = [
            separable(channels, _HEAD_WIDTH, dilation=rate, rectify=True, convention=_HEAD)
            for rate in _RATES
        ]
        self.ranges = nn.ModuleList([near, *far])
        joined = (2 + len(_RATES)) * _HEAD_WIDTH
        self.projection = nn.Sequential(
            ConvNorm(joined, _HEAD_WIDTH, 1, activation=nn.ReLU, convention=_HEAD),
            nn.Dropout(0.1),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Join all ranges."""
        average = self.pooled(nn.functional.adaptive_avg_pool2d(features, 1))
        parts = [resize(average, features, aligned=True)]
        parts += [part(features) for part in self.ranges]
        joined: torch.Tensor = self.projection(torch.cat(parts, dim=1))
        return joined


def separable(
    in_channels: int,
    out_channels: int,
    stride: int = 1,
    *,
    dilation: int = 1,
    rectify: bool = False,
    convention: Convention = _BACKBONE,
) -> nn.Sequential:
    """Make a depthwise 3x3 and a 1x1 convolution, each with its batch normalisation.

    Maps (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride), rounded up. With
    `rectify` a ReLU follows each of the two.
    """
    activation = nn.ReLU if rectify else None
    depthwise = ConvNorm(
        in_channels,
        in_channels,
        3,
        stride,
        groups=in_channels,
        dilation=dilation,
        activation=activation,
        convention=convention,
    )
    pointwise = ConvNorm(in_channels, out_channels, 1, activation=activation, convention=convention)
    return nn.Sequential(depthwise, pointwise)
