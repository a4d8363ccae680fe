"""ESPNetv2 for semantic segmentation, with the decoder of its authors' later code (EdgeNets)."""

import math

import torch
from torch import nn

from edgetvm.errors import UsageError
from edgetvm.models.espnet import named
from edgetvm.models.espnetv2 import Backbone
from edgetvm.models.layers import ConvNorm

# Channels after each of the decoder's pyramids; the last has the classes.
_WIDTHS = (64, 48, 32)
_MOST_PROJECTED = 16

_SCALES = (2.0, 1.5, 1.0, 0.5, 0.1)
_SMALLEST = 5


class ESPNetV2Segmentation(nn.Module):
    """ESPNetv2 of arXiv 1811.11431 as in EdgeNets: (N, 3, H, W) to (N, num_classes, H, W).

    Four pyramids of pooling scales decode the map of level 4; before each of the last three, the
    map doubles and that of an encoder level is added.

    This is not the decoder of the paper but the later one, of which the published checkpoints
    and costs are; the names in the state dict are theirs.

    Parameters
    ----------
    scale : the factor s of the encoder's channels, one of the published ones.
    num_classes : channels of the output, with the void class of Cityscapes 20.

    Raises
    ------
    UsageError
        `scale` is not a published one, or there are fewer than 2 classes.
    """

    def __init__(self, scale: float = 1.0, num_classes: int = 20) -> None:
        super().__init__()
        if num_classes < 2:
            raise UsageError(f"ESPNetv2: num_classes is {num_classes}; there are at least 2.")
        self.base_net = Backbone(scale)
        one, two, three, four = self.base_net.channels[:4]
        wide, middle, narrow = _WIDTHS
        projected = min(num_classes // 2, _MOST_PROJECTED)
        self.bu_dec_l1 = PyramidPool(four, projected, wide)
        self.bu_dec_l2 = PyramidPool(wide, projected, middle)
        self.bu_dec_l3 = PyramidPool(middle, projected, narrow)
        self.bu_dec_l4 = PyramidPool(narrow, projected, num_classes, ends=True)
        self.merge_enc_dec_l2 = GatedProjection(three, wide)
        self.merge_enc_dec_l3 = GatedProjection(two, middle)
        self.merge_enc_dec_l4 = GatedProjection(one, narrow)
        self.bu_br_l2 = _norm_prelu(wide)
        self.bu_br_l3 = _norm_prelu(middle)
        self.bu_br_l4 = _norm_prelu(narrow)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, num_classes, H, W)."""
        one, two, three, four = self.base_net.levels(images)
        decoded = self.bu_dec_l1(four)
        decoded = self.bu_br_l2(self.merge_enc_dec_l2(three) + resized(decoded, size_of(three)))
        decoded = self.bu_dec_l2(decoded)
        decoded = self.bu_br_l3(self.merge_enc_dec_l3(two) + resized(decoded, size_of(two)))
        decoded = self.bu_dec_l3(decoded)
        decoded = self.bu_br_l4(self.merge_enc_dec_l4(one) + resized(decoded, size_of(one)))
        return resized(self.bu_dec_l4(decoded), size_of(images))


class PyramidPool(nn.Module):
    """EdgeNets' efficient pyramid pool: (N, in_channels, H, W) to (N, out_channels, H, W).

    A depthwise 3x3 convolution sees the projected map at each scale, at no less than 5 pixels a
    side: enlarged bilinearly and averaged back, or averaged and enlarged back. The results are
    shuffled so that a convolution in groups merges those of one channel.

    Parameters
    ----------
    projected : channels at each of `scales`.
    ends : for the network's last layer: a bias, no normalisation and no activation.
    """

    def __init__(
        self,
        in_channels: int,
        projected: int,
        out_channels: int,
        scales: tuple[float, ...] = _SCALES,
        *,
        ends: bool = False,
    ) -> None:
        super().__init__()
        self.scales = scales
        channels = len(scales) * projected
        self.projection_layer = named(cbr=pyramid_conv(in_channels, projected, 1))
        self.stages = nn.ModuleList(
            nn.Conv2d(projected, projected, 3, padding=1, groups=projected, bias=False)
            for _ in scales
        )
        self.merge_layer = nn.Sequential(
            named(br=_norm_prelu(channels)),
            _Shuffle(len(scales)),
            named(cbr=pyramid_conv(channels, projected, 3, groups=projected)),
            nn.Conv2d(projected, out_channels, kernel_size=1, bias=ends),
        )
        self.br = nn.Identity() if ends else named(br=_norm_prelu(out_channels))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Convolve at each scale and merge."""
        features = self.projection_layer(features)
        size = size_of(features)
        outputs = []
        for scale, stage in zip(self.scales, self.stages, strict=True):
            height, width = (max(math.ceil(side * scale), _SMALLEST) for side in size)
            if scale > 1:
                output = stage(resized(features, (height, width)))
                output = nn.functional.adaptive_avg_pool2d(output, size)
            elif scale < 1:
                output = stage(nn.functional.adaptive_avg_pool2d(features, (height, width)))
                output = resized(output, size)
            else:
                output = stage(features)
            outputs.append(output)
        merged: torch.Tensor = self.br(self.merge_layer(torch.cat(outputs, dim=1)))
        return merged


class GatedProjection(nn.Module):
    """EdgeNets' efficient point-wise convolution: (N, in_channels, H, W) to (N, out, H, W).

    A 3x3 convolution in as many groups as divide both channel counts, weighted by a gate of the
    channels' averages.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.wt_layer = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False),
            nn.Sigmoid(),
        )
        groups = math.gcd(in_channels, out_channels)
        self.expansion_layer = named(cbr=pyramid_conv(in_channels, out_channels, 3, groups=groups))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Scale each channel of the projection."""
        gated: torch.Tensor = self.expansion_layer(features) * self.wt_layer(features)
        return gated


def resized(features: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resize bilinearly, corner to corner."""
    return nn.functional.interpolate(features, size=size, mode="bilinear", align_corners=True)


class _Shuffle(nn.Module):
    """Channel shuffle: (N, groups * C, H, W), ordered by group, to the same ordered by channel."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        batch, channels, height, width = map(int, features.shape)
        split = features.reshape(batch, self.groups, channels // self.groups, height, width)
        return split.transpose(1, 2).reshape(batch, channels, height, width)


def pyramid_conv(
    in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Make a convolution, a batch normalisation and a PReLU: ``0``, ``1`` and ``2``."""
    return ConvNorm(
        in_channels,
        out_channels,
        kernel,
        stride,
        groups=groups,
        activation=lambda: nn.PReLU(out_channels),
    )


def _norm_prelu(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(channels), nn.PReLU(channels))


def size_of(features: torch.Tensor) -> tuple[int, int]:
    """Return height and width."""
    return int(features.shape[2]), int(features.shape[3])
