"""ShuffleNet: Zhang et al., "An Extremely Efficient CNN for Mobile Devices" (arXiv 1707.01083)."""

from collections import OrderedDict
from typing import Literal, get_args

import torch
from torch import nn

from edgetvm.errors import UsageError
from edgetvm.models.layers import make_divisible

Order = Literal["residual_first", "shortcut_first"]
Shuffle = Literal["interleave", "deal"]

# Table 1: output channels of stage 2 by the number of groups; they double from stage to stage.
_STAGE_2 = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}
_UNITS = (4, 8, 4)


class ShuffleNet(nn.Module):
    """The classifier of arXiv 1707.01083, Table 1: (N, 3, H, W) float32 to (N, num_classes).

    The names in the state dict are pytorchcv's, which counts the paper's stages 2 to 4 from 1.

    Parameters
    ----------
    groups : g, the groups of the 1x1 convolutions; one of Table 1's.
    width_multiplier : s, scales all channel counts; see :func:`stage_widths`.
    num_classes : length of the output, the logits.
    concatenate : order of the two branches of a unit with stride 2, which the paper leaves open.
    shuffle : ``interleave`` the groups' channels as in section 3.1, or ``deal`` them out to the
        groups one by one, which undoes it.
    classifier_bias : False as in the authors' code (megvii-model/ShuffleNet-Series).

    Raises
    ------
    UsageError
        `groups`, `concatenate` or `shuffle` is unknown, or `width_multiplier` is not positive.
    """

    def __init__(
        self,
        groups: int = 3,
        width_multiplier: float = 1.0,
        num_classes: int = 1000,
        concatenate: Order = "residual_first",
        shuffle: Shuffle = "interleave",
        classifier_bias: bool = True,
    ) -> None:
        super().__init__()
        _check("concatenate", concatenate, get_args(Order))
        _check("shuffle", shuffle, get_args(Shuffle))
        stem, *widths = stage_widths(groups, width_multiplier)
        self.features = nn.Sequential(OrderedDict(init_block=_init_block(stem)))
        channels = stem
        for number, (width, repeats) in enumerate(zip(widths, _UNITS, strict=True), start=1):
            stage = nn.Sequential()
            for index in range(repeats):
                # So few channels go into the first convolution that it is not grouped.
                compress_groups = groups if channels > stem else 1
                unit = ShuffleUnit(channels, width, groups, compress_groups, concatenate, shuffle)
                stage.add_module(f"unit{index + 1}", unit)
                channels = width
            self.features.add_module(f"stage{number}", stage)
        self.output = nn.Linear(channels, num_classes, bias=classifier_bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, num_classes)."""
        pooled = nn.functional.adaptive_avg_pool2d(self.features(images), 1)
        logits: torch.Tensor = self.output(torch.flatten(pooled, 1))
        return logits


class ShuffleUnit(nn.Module):
    """The units of Figure 2 (b) and, where the channel count changes, (c) with stride 2.

    Maps (N, in_channels, H, W) to (N, out_channels, H, W), or half of H and W, rounded up.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        groups: int,
        compress_groups: int,
        concatenate: Order,
        shuffle: Shuffle,
    ) -> None:
        super().__init__()
        self.downsamples = in_channels != out_channels
        self.residual_first = concatenate == "residual_first"
        # Of the full width: what the shortcut contributes at stride 2 is not taken off.
        bottleneck = out_channels // 4
        residual = out_channels - in_channels if self.downsamples else out_channels
        stride = 2 if self.downsamples else 1
        # A matrix of channels with this many rows is transposed.
        self.shuffled_rows = groups if shuffle == "interleave" else bottleneck // groups
        self.is_shuffled = groups > 1

        self.compress_conv1 = nn.Conv2d(
            in_channels, bottleneck, 1, groups=compress_groups, bias=False
        )
        self.compress_bn1 = nn.BatchNorm2d(bottleneck)
        self.dw_conv2 = nn.Conv2d(
            bottleneck, bottleneck, 3, stride, padding=1, groups=bottleneck, bias=False
        )
        self.dw_bn2 = nn.BatchNorm2d(bottleneck)
        self.expand_conv3 = nn.Conv2d(bottleneck, residual, 1, groups=groups, bias=False)
        self.expand_bn3 = nn.BatchNorm2d(residual)
        self.activation = nn.ReLU()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Add the residual to `features`, or concatenate it with their average."""
        residual = self.activation(self.compress_bn1(self.compress_conv1(features)))
        if self.is_shuffled:
            residual = shuffle_channels(residual, self.shuffled_rows)
        residual = self.dw_bn2(self.dw_conv2(residual))
        residual = self.expand_bn3(self.expand_conv3(residual))
        if not self.downsamples:
            added: torch.Tensor = self.activation(residual + features)
            return added
        # Never negative, averages of ReLU outputs: the activation acts on the residual alone.
        shortcut = nn.functional.avg_pool2d(features, kernel_size=3, stride=2, padding=1)
        branches = [residual, shortcut] if self.residual_first else [shortcut, residual]
        concatenated: torch.Tensor = self.activation(torch.cat(branches, dim=1))
        return concatenated


def shuffle_channels(features: torch.Tensor, rows: int) -> torch.Tensor:
    """Transpose the channels of (N, C, H, W) as a matrix of `rows` rows."""
    batch, channels, height, width = (int(size) for size in features.shape)
    matrix = features.reshape(batch, rows, channels // rows, height, width)
    return matrix.transpose(1, 2).reshape(batch, channels, height, width)


def stage_widths(groups: int, width_multiplier: float) -> tuple[int, int, int, int]:
    """Return the output channels of the first convolution and of stages 2, 3 and 4.

    The paper only says that the channels are scaled. Where they do not fall into `groups` groups
    of bottlenecks, a stage is rounded to the nearest multiple of 4 `groups`, half up, and the
    first convolution to one of `groups`. This rule is ours: no public definition has groups of 2
    or 4 that need it. It gives the authors' 16 instead of 12 channels at 0.5x with 8 groups.

    At 0.25x the first convolution has the 6 channels of pytorchcv, whose checkpoints load, and
    the network 11 million multiply-adds; the 13 of the paper's Table 2 would need 12.

    Raises
    ------
    UsageError
        `groups` is not in Table 1, or `width_multiplier` is not positive.
    """
    _check("groups", groups, tuple(_STAGE_2))
    if width_multiplier <= 0:
        raise UsageError(f"ShuffleNet: width_multiplier {width_multiplier} must be positive.")
    # 24 at 1.5x too: it is in the authors' code, and with 36 Table 5's 292 M would be 300 M.
    stem = 24 if width_multiplier == 1.5 else int(24 * width_multiplier)
    stage_2, stage_3, stage_4 = (
        make_divisible(_STAGE_2[groups] * factor * width_multiplier, 4 * groups)
        for factor in (1, 2, 4)
    )
    return make_divisible(stem, groups), stage_2, stage_3, stage_4


def _init_block(channels: int) -> nn.Sequential:
    """Make the first convolution and the pooling: (N, 3, H, W) to (N, channels, H / 4, W / 4)."""
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(3, channels, 3, stride=2, padding=1, bias=False),
            bn=nn.BatchNorm2d(channels),
            activation=nn.ReLU(),
            pool=nn.MaxPool2d(3, stride=2, padding=1),
        )
    )


def _check(name: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        listed = ", ".join(map(repr, allowed))
        raise UsageError(f"ShuffleNet: {name} must be one of {listed}, not {value!r}.")
