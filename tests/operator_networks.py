"""A small network for each kind of layer that TVM 0.19 needs help with, or once did."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from edgetvm.models.detection import Detector, Selection
from edgetvm.models.layers import SqueezeExcite


class Function(nn.Module):
    """What `function` makes of an input with `layers`."""

    def __init__(self, function: Callable[..., object], *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.function = function

    def forward(self, data: torch.Tensor) -> object:
        return self.function(data, *self.layers)


def conv(channels: int, outputs: int, kernel: int = 1, **options: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, outputs, kernel, bias=False, **options), nn.BatchNorm2d(outputs)
    )


def shuffled(data: torch.Tensor, first: nn.Module, second: nn.Module) -> torch.Tensor:
    features = first(data)
    shape = features.shape
    groups = features.reshape(shape[0], 4, shape[1] // 4, *shape[2:])
    return second(groups.transpose(1, 2).reshape(shape))


def naive_hard_swish(data: torch.Tensor, layer: nn.Module) -> torch.Tensor:
    features = layer(data)
    return features * functional.relu6(features + 3) / 6


def pyramid(data: torch.Tensor, *layers: nn.Module) -> torch.Tensor:
    """PSPNet's: averages of several sizes, some of them uneven, brought back to the map's."""
    maps = [data]
    for layer, bins in zip(layers, (1, 2, 5), strict=True):
        small = layer(functional.adaptive_avg_pool2d(data, bins))
        maps.append(functional.interpolate(small, (13, 13), mode="bilinear", align_corners=True))
    return torch.cat(maps, 1)


def resized(size: int, *, aligned: bool) -> Function:
    def resize(data: torch.Tensor, layer: nn.Module) -> torch.Tensor:
        features = layer(data)
        return functional.interpolate(
            features, (size, size), mode="bilinear", align_corners=aligned
        )

    return Function(resize, conv(16, 8))


class TinyDetector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.logits, self.offsets = nn.Conv2d(16, 5, 1), nn.Conv2d(16, 4, 1)
        centres = torch.rand(64, 2, generator=torch.Generator().manual_seed(0))
        priors = torch.cat([centres, torch.full((64, 2), 0.3)], dim=1)
        # More rows than can be found, so that some stay empty.
        self.detector = Detector(priors, Selection(score_threshold=0.3, detections=40))

    def forward(self, data: torch.Tensor) -> tuple[torch.Tensor, ...]:
        logits = self.logits(data).permute(0, 2, 3, 1).reshape(-1, 64, 5)
        offsets = self.offsets(data).permute(0, 2, 3, 1).reshape(-1, 64, 4)
        return logits, offsets, *self.detector(logits, offsets)


SQUARE = (1, 16, 16, 16)
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "grouped": (lambda: conv(16, 24, 3, groups=4, padding=1), SQUARE),
    "grouped 1x1 of odd width": (lambda: conv(15, 24, groups=3), (1, 15, 9, 9)),
    "grouped 1x1 whose groups fill no vectors, then a shuffle": (
        lambda: Function(shuffled, conv(16, 48, groups=4), conv(48, 32, groups=4)),
        SQUARE,
    ),
    "squeezed concatenation": (
        lambda: Function(
            lambda data, one, two, squeeze: squeeze(torch.cat([one(data), two(data)], 1)),
            conv(16, 24),
            conv(16, 24, 3, padding=1),
            conv(48, 8),
        ),
        SQUARE,
    ),
    "depthwise with a multiplier": (
        lambda: nn.Sequential(conv(8, 16, 3, groups=8, padding=1), nn.ReLU()),
        (1, 8, 12, 12),
    ),
    "depthwise 5x5 with a stride": (
        lambda: conv(16, 16, 5, groups=16, stride=2, padding=2),
        (1, 16, 15, 15),
    ),
    "dilated and PReLU": (
        lambda: nn.Sequential(conv(16, 16, 3, padding=4, dilation=4), nn.PReLU(16, init=0.1)),
        SQUARE,
    ),
    "dilated depthwise and one PReLU": (
        lambda: nn.Sequential(conv(16, 16, 3, groups=16, padding=3, dilation=3), nn.PReLU()),
        SQUARE,
    ),
    "channel shuffle": (
        lambda: Function(shuffled, conv(16, 16, groups=4), conv(16, 32, groups=4)),
        SQUARE,
    ),
    "hard-swish": (lambda: nn.Sequential(conv(16, 16), nn.Hardswish()), SQUARE),
    "naive hard-swish": (lambda: Function(naive_hard_swish, conv(16, 16)), SQUARE),
    "squeeze and excite": (
        lambda: nn.Sequential(conv(16, 24), SqueezeExcite(24, 8, nn.ReLU, nn.Hardsigmoid)),
        SQUARE,
    ),
    "squeeze and excite with SiLU": (
        lambda: nn.Sequential(conv(16, 24), SqueezeExcite(24, 8, nn.SiLU, nn.Sigmoid)),
        SQUARE,
    ),
    "large average pool": (
        lambda: Function(
            lambda data, layer: layer(functional.avg_pool2d(data, 49, (16, 20))), conv(16, 8)
        ),
        (1, 16, 65, 129),
    ),
    "padded average pool beside a convolution": (
        lambda: Function(
            lambda data, layer: torch.cat([functional.avg_pool2d(data, 3, 2, 1), layer(data)], 1),
            conv(16, 16, 3, stride=2, padding=1),
        ),
        (1, 16, 17, 17),
    ),
    "max pool with a ceiling": (
        lambda: nn.Sequential(conv(16, 8), nn.MaxPool2d(3, 2, ceil_mode=True)),
        (1, 16, 18, 18),
    ),
    "adaptive pools": (
        lambda: Function(pyramid, *(conv(16, 4) for _ in range(3))),
        (1, 16, 13, 13),
    ),
    "adaptive pool that enlarges": (
        lambda: nn.Sequential(nn.AdaptiveAvgPool2d((7, 4)), conv(16, 8)),
        (1, 16, 5, 8),
    ),
    "bilinear": (lambda: resized(33, aligned=False), (1, 16, 17, 17)),
    "bilinear with aligned corners": (lambda: resized(33, aligned=True), (1, 16, 17, 17)),
    "transposed convolution": (
        lambda: nn.Sequential(
            nn.ConvTranspose2d(16, 8, 2, 2, bias=False), nn.BatchNorm2d(8), nn.PReLU(8)
        ),
        SQUARE,
    ),
    "linear layers": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 40), nn.ReLU(), nn.Linear(40, 10)),
        (1, 4, 4, 4),
    ),
    "linear layers of a sequence": (
        lambda: nn.Sequential(nn.Linear(40, 30), nn.Tanh(), nn.Linear(30, 20)),
        (1, 4, 40),
    ),
    "depthwise in one dimension": (
        lambda: nn.Conv1d(8, 8, 3, padding=2, dilation=2, groups=8),
        (1, 8, 40),
    ),
    "two outputs": (
        lambda: Function(
            lambda data, one, two: (one(data), two(data)), conv(16, 8), conv(16, 4, 3)
        ),
        SQUARE,
    ),
    "non-maximum suppression": (TinyDetector, (1, 16, 8, 8)),
}
