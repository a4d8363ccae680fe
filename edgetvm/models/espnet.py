"""ESPNet: Mehta et al., "Efficient Spatial Pyramid of Dilated Convolutions" (arXiv 1803.06815)."""

from collections import OrderedDict

import torch
from torch import nn

from edgetvm.errors import UsageError
from edgetvm.models.layers import PYTORCH, Convention

_CONVENTION = Convention(norm_eps=1e-3)

_VARIANTS = ("A", "B", "C")


class ESPNetEncoder(nn.Module):
    """ESPNet-A, -B and -C of arXiv 1803.06815: (N, 3, H, W) to (N, classes, H/8, W/8).

    The logits stay at an eighth of the input, as in the authors' code, which enlarges them
    afterwards. The names in the state dict are those of the released ESPNet-C.

    The paper describes all three, the code holds C only. B is C without the image concatenated to
    the maps; its size is the published one. A is our reading: a plain chain of the same modules,
    in which nothing is concatenated and the strided modules alone widen the maps.

    Parameters
    ----------
    variant : "A", a chain; "B", which concatenates each level's first and last map; or "C", which
        adds the average-pooled image to the first two.
    level2_depth, level3_depth : the paper's alpha 2 and alpha 3, p and q in the code: modules after
        the strided one.
    branches : K, the parallel dilated convolutions of a module.
    num_classes : channels of the output.

    Raises
    ------
    UsageError
        There is no such `variant`, or a count is out of range.
    """

    def __init__(
        self,
        variant: str = "C",
        level2_depth: int = 2,
        level3_depth: int = 8,
        branches: int = 5,
        num_classes: int = 20,
    ) -> None:
        super().__init__()
        if variant not in _VARIANTS:
            raise UsageError(f"ESPNet: variant must be 'A', 'B' or 'C', not {variant!r}.")
        counts = {"level2_depth": level2_depth, "level3_depth": level3_depth}
        for name, count in (counts | {"num_classes": num_classes}).items():
            if count < 1:
                raise UsageError(f"ESPNet: {name} is {count}; there is at least one.")
        self.concatenates = variant != "A"
        self.reinforces = variant == "C"
        image = 3 if self.reinforces else 0
        widening = 2 if self.concatenates else 1

        self.level1 = conv_norm_prelu(3, 16, 3, 2, convention=_CONVENTION)
        self.b1 = norm_prelu(16 + image, _CONVENTION) if self.reinforces else nn.Identity()
        self.level2_0 = StridedESP(16 + image, 64, branches)
        self.level2 = _chain(64, level2_depth, branches)
        width = widening * 64 + image
        self.b2 = norm_prelu(width, _CONVENTION) if self.concatenates else nn.Identity()
        self.level3_0 = StridedESP(width, 128, branches)
        self.level3 = _chain(128, level3_depth, branches)
        width = widening * 128
        self.b3 = norm_prelu(width, _CONVENTION) if self.concatenates else nn.Identity()
        self.classifier = _conv(width, num_classes, 1)

    def levels(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the maps at a half (without the image), a quarter and an eighth of the input."""
        half, quarter = _pool(images), _pool(_pool(images))
        level1 = self.level1(images)
        first = self.level2_0(self.b1(self._reinforced([level1], half)))
        last = self.level2(first)
        level2 = self.b2(self._reinforced([last, first] if self.concatenates else [last], quarter))
        first = self.level3_0(level2)
        last = self.level3(first)
        level3 = self.b3(torch.cat([first, last], dim=1) if self.concatenates else last)
        return level1, level2, level3

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, num_classes, H/8, W/8), sizes rounded up."""
        logits: torch.Tensor = self.classifier(self.levels(images)[2])
        return logits

    def _reinforced(self, maps: list[torch.Tensor], image: torch.Tensor) -> torch.Tensor:
        if self.reinforces:
            maps = [*maps, image]
        return torch.cat(maps, dim=1) if len(maps) > 1 else maps[0]


class ESPNet(nn.Module):
    """ESPNet of arXiv 1803.06815: (N, 3, H, W) to logits (N, num_classes, H, W).

    ESPNet-C and a light decoder that doubles the size three times. Height and width must be
    multiples of 8. The names in the state dict are those of the authors' code, so their
    checkpoints load.

    Parameters
    ----------
    level2_depth, level3_depth, branches, num_classes : as of :class:`ESPNetEncoder`.

    Raises
    ------
    UsageError
        A count is out of range.
    """

    def __init__(
        self,
        level2_depth: int = 2,
        level3_depth: int = 8,
        branches: int = 5,
        num_classes: int = 20,
    ) -> None:
        super().__init__()
        classes = num_classes
        self.encoder = ESPNetEncoder("C", level2_depth, level3_depth, branches, classes)
        self.level3_C = _conv(128 + 3, classes, 1)
        self.br = _CONVENTION.norm(classes)
        self.conv = conv_norm_prelu(classes + 16, classes, 3, convention=_CONVENTION)
        self.up_l3 = nn.Sequential(_double(classes))
        self.combine_l2_l3 = nn.Sequential(
            norm_prelu(2 * classes, _CONVENTION),
            ESP(2 * classes, classes, branches, residual=False),
        )
        self.up_l2 = nn.Sequential(_double(classes), norm_prelu(classes, _CONVENTION))
        self.classifier = _double(classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, num_classes, H, W)."""
        level1, level2, level3 = self.encoder.levels(images)
        quarter = self.up_l3(self.br(self.encoder.classifier(level3)))
        quarter = self.combine_l2_l3(torch.cat([self.level3_C(level2), quarter], dim=1))
        half = self.conv(torch.cat([self.up_l2(quarter), level1], dim=1))
        logits: torch.Tensor = self.classifier(half)
        return logits


class _Pyramid(nn.Module):
    """Reduce, split, transform, merge: (N, in_channels, H, W) to (N, out, H/s, W/s).

    One convolution reduces the channels to out / K, K convolutions 3x3 of dilations 1, 2, 4, ...
    work on them side by side. The sums of the second, the second and third, ... and the first
    alone are concatenated: hierarchical feature fusion, against gridding.

    Raises
    ------
    UsageError
        `branches` is below 2 or above `out_channels`.
    """

    def __init__(self, in_channels: int, out_channels: int, branches: int, stride: int) -> None:
        super().__init__()
        if not 2 <= branches <= out_channels:
            raise UsageError(
                f"ESPNet: branches is {branches}, not between 2 and the {out_channels} channels of "
                "a module."
            )
        reduced = out_channels // branches
        self.names = [f"d{2**index}" for index in range(branches)]
        self.c1 = _conv(in_channels, reduced, 3 if stride == 2 else 1, stride)
        # What does not divide by the branches goes to the one without dilation.
        widths = [out_channels - (branches - 1) * reduced] + [reduced] * (branches - 1)
        for index, (name, width) in enumerate(zip(self.names, widths, strict=True)):
            self.add_module(name, _conv(reduced, width, 3, dilation=2**index))

    def merged(self, features: torch.Tensor) -> torch.Tensor:
        """Return the concatenated sums, before normalisation."""
        reduced = self.c1(features)
        outputs = [self.get_submodule(name)(reduced) for name in self.names]
        sums = outputs[1:2]
        for output in outputs[2:]:
            sums.append(sums[-1] + output)
        return torch.cat([outputs[0], *sums], dim=1)


class StridedESP(_Pyramid):
    """The ESP module that halves: a 3x3 convolution of stride 2 reduces; no residual."""

    def __init__(self, in_channels: int, out_channels: int, branches: int = 5) -> None:
        super().__init__(in_channels, out_channels, branches, stride=2)
        self.bn = _CONVENTION.norm(out_channels)
        self.act = nn.PReLU(out_channels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H/2, W/2), rounded up."""
        output: torch.Tensor = self.act(self.bn(self.merged(features)))
        return output


class ESP(_Pyramid):
    """The ESP module: a 1x1 convolution reduces; the input is added if `residual`."""

    def __init__(
        self, in_channels: int, out_channels: int, branches: int = 5, *, residual: bool = True
    ) -> None:
        super().__init__(in_channels, out_channels, branches, stride=1)
        self.bn = norm_prelu(out_channels, _CONVENTION)
        self.residual = residual

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H, W)."""
        merged = self.merged(features)
        output: torch.Tensor = self.bn(features + merged if self.residual else merged)
        return output


def named(**layers: nn.Module) -> nn.Sequential:
    """Chain layers under the given names."""
    return nn.Sequential(OrderedDict(layers))


def conv_norm_prelu(
    in_channels: int,
    out_channels: int,
    kernel: int,
    stride: int = 1,
    *,
    groups: int = 1,
    convention: Convention = PYTORCH,
) -> nn.Sequential:
    """Make ``conv``, ``bn`` and ``act``, a PReLU with a slope a channel."""
    return named(
        conv=convention.conv(in_channels, out_channels, kernel, stride, groups=groups),
        bn=convention.norm(out_channels),
        act=nn.PReLU(out_channels),
    )


def norm_prelu(channels: int, convention: Convention = PYTORCH) -> nn.Sequential:
    """Make ``bn`` and ``act``, a PReLU with a slope a channel."""
    return named(bn=convention.norm(channels), act=nn.PReLU(channels))


def _conv(
    in_channels: int, out_channels: int, kernel: int, stride: int = 1, dilation: int = 1
) -> nn.Sequential:
    return named(
        conv=_CONVENTION.conv(in_channels, out_channels, kernel, stride, dilation=dilation)
    )


def _chain(channels: int, depth: int, branches: int) -> nn.Sequential:
    return nn.Sequential(*(ESP(channels, channels, branches) for _ in range(depth)))


def _double(channels: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(channels, channels, kernel_size=2, stride=2, bias=False)


def _pool(images: torch.Tensor) -> torch.Tensor:
    return nn.functional.avg_pool2d(images, kernel_size=3, stride=2, padding=1)
