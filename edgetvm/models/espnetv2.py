"""ESPNetv2: Mehta et al., "A Light-weight, Power Efficient, General Purpose CNN" (1811.11431)."""

import torch
from torch import nn

from edgetvm.errors import UsageError
from edgetvm.models.espnet import conv_norm_prelu, named, norm_prelu
from edgetvm.models.layers import PYTORCH

# Channels of levels 1 to 5 and of the last convolution (the authors' code; the paper has no s).
_CHANNELS = {
    0.5: (16, 32, 64, 128, 256, 1024),
    1.0: (32, 64, 128, 256, 512, 1024),
    1.25: (32, 80, 160, 320, 640, 1024),
    1.5: (32, 96, 192, 384, 768, 1024),
    2.0: (32, 128, 256, 512, 1024, 1280),
}
# EESP units after the strided one, at levels 3, 4 and 5.
_REPEATS = (3, 7, 3)

_BRANCHES = 4
# Dilations of the branches; those whose 3x3 kernel reaches beyond the level's limit are 1 (3.3).
_WIDE, _MIDDLE, _NARROW = (1, 2, 3, 4), (1, 1, 2, 3), (1, 1, 1, 2)


class Backbone(nn.Module):
    """Levels 1 to 4 of ESPNetv2: (N, 3, H, W) to maps at 1/2, 1/4, 1/8 and 1/16, rounded up.

    Parameters
    ----------
    scale : the factor s of the channels, one of the published ones.

    Attributes
    ----------
    channels : of levels 1 to 5 and of the convolution after the last level.

    Raises
    ------
    UsageError
        `scale` is not a published one.
    """

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        if scale not in _CHANNELS:
            known = ", ".join(map(str, _CHANNELS))
            raise UsageError(f"ESPNetv2: scale must be one of {known}, not {scale!r}.")
        self.channels = _CHANNELS[scale]
        one, two, three, four = self.channels[:4]
        self.level1 = conv_norm_prelu(3, one, 3, 2)
        self.level2_0 = StridedEESP(one, two, _WIDE)
        self.level3_0 = StridedEESP(two, three, _WIDE)
        self.level3 = nn.Sequential(*(EESP(three, three, _WIDE) for _ in range(_REPEATS[0])))
        self.level4_0 = StridedEESP(three, four, _WIDE)
        self.level4 = nn.Sequential(*(EESP(four, four, _MIDDLE) for _ in range(_REPEATS[1])))

    def levels(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the maps of levels 1 to 4."""
        quarter = pooled(images, 2)
        eighth = pooled(quarter)
        level1 = self.level1(images)
        level2 = self.level2_0(level1, quarter)
        level3 = self.level3(self.level3_0(level2, eighth))
        level4 = self.level4(self.level4_0(level3, pooled(eighth)))
        return level1, level2, level3, level4


class DeepBackbone(Backbone):
    """ESPNetv2 with level 5, at 1/32, and the two convolutions that end it; see `Backbone`."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__(scale)
        four, five, last = self.channels[3:]
        self.level5_0 = StridedEESP(four, five, _MIDDLE)
        self.level5 = nn.Sequential(
            *(EESP(five, five, _NARROW) for _ in range(_REPEATS[2])),
            conv_norm_prelu(five, five, 3, groups=five),
            conv_norm_prelu(five, last, 1, groups=_BRANCHES),
        )


class ESPNetV2(DeepBackbone):
    """The classifier of arXiv 1811.11431, section 3.3: (N, 3, H, W) to (N, num_classes).

    The names in the state dict are those of the authors' code (ESPNetv2 and EdgeNets), so their
    checkpoints load. Like theirs it holds weights that nothing uses: the activation of each
    strided EESP unit, and at level 5 the shortcut from the image, which is not given there.

    Parameters
    ----------
    scale : the factor s of the channels, one of the published ones.
    num_classes : length of the output, the logits.

    Raises
    ------
    UsageError
        `scale` is not a published one, or there are no classes.
    """

    def __init__(self, scale: float = 1.0, num_classes: int = 1000) -> None:
        super().__init__(scale)
        if num_classes < 1:
            raise UsageError(f"ESPNetv2: num_classes is {num_classes}; there is at least one.")
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(self.channels[-1], num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, num_classes)."""
        features = self.level5(self.level5_0(self.levels(images)[-1]))
        averages = torch.flatten(nn.functional.adaptive_avg_pool2d(features, 1), 1)
        logits: torch.Tensor = self.classifier(self.dropout(averages))
        return logits


class EESP(nn.Module):
    """The EESP unit, Figure 1c: (N, in_channels, H, W) to (N, out_channels, H/stride, W/stride).

    A 1x1 convolution in groups reduces to a quarter of `out_channels`; four depthwise 3x3
    convolutions of growing dilation work on that; their running sums are concatenated
    (hierarchical feature fusion) and mixed by a second 1x1 convolution in groups. At stride 1 the
    input is added before the activation; at stride 2 neither follows, see :class:`StridedEESP`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, dilations: tuple[int, ...], stride: int = 1
    ) -> None:
        super().__init__()
        reduced = out_channels // _BRANCHES
        self.stride = stride
        self.proj_1x1 = conv_norm_prelu(in_channels, reduced, 1, groups=_BRANCHES)
        self.spp_dw = nn.ModuleList(
            named(conv=PYTORCH.conv(reduced, reduced, 3, stride, groups=reduced, dilation=dilation))
            for dilation in dilations
        )
        self.conv_1x1_exp = named(
            conv=PYTORCH.conv(out_channels, out_channels, 1, groups=_BRANCHES),
            bn=PYTORCH.norm(out_channels),
        )
        self.br_after_cat = norm_prelu(out_channels)
        self.module_act = nn.PReLU(out_channels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Reduce, split, transform and merge."""
        reduced = self.proj_1x1(features)
        sums: list[torch.Tensor] = []
        for branch in self.spp_dw:
            output = branch(reduced)
            sums.append(sums[-1] + output if sums else output)
        merged: torch.Tensor = self.conv_1x1_exp(self.br_after_cat(torch.cat(sums, dim=1)))
        if self.stride > 1:
            return merged
        activated: torch.Tensor = self.module_act(features + merged)
        return activated


class StridedEESP(nn.Module):
    """The strided EESP unit, Figure 2: (N, in_channels, H, W) to (N, out_channels, H/2, W/2).

    The average-pooled input and an EESP unit of stride 2 are concatenated; two convolutions of
    the image, pooled to the same size, are added if it is given.
    """

    def __init__(self, in_channels: int, out_channels: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.eesp = EESP(in_channels, out_channels - in_channels, dilations, stride=2)
        self.inp_reinf = nn.Sequential(
            conv_norm_prelu(3, 3, 3),
            named(conv=PYTORCH.conv(3, out_channels, 1), bn=PYTORCH.norm(out_channels)),
        )
        self.act = nn.PReLU(out_channels)

    def forward(self, features: torch.Tensor, image: torch.Tensor | None = None) -> torch.Tensor:
        """Halve `features`; `image` has half their height and width."""
        merged = torch.cat([pooled(features), self.eesp(features)], dim=1)
        if image is not None:
            merged = merged + self.inp_reinf(image)
        halved: torch.Tensor = self.act(merged)
        return halved


def pooled(features: torch.Tensor, times: int = 1) -> torch.Tensor:
    """Halve height and width by average pooling, 3x3 as the authors do it, so many times."""
    for _ in range(times):
        features = nn.functional.avg_pool2d(features, kernel_size=3, stride=2, padding=1)
    return features
