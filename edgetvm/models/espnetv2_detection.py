"""ESPNetv2 in a single-shot detector, as in its authors' later code (EdgeNets)."""

import math

import torch
from torch import nn

from edgetvm.errors import UsageError
from edgetvm.models.detection import Detector, Selection, prior_boxes, prior_shapes
from edgetvm.models.espnet import named
from edgetvm.models.espnetv2 import DeepBackbone, pooled
from edgetvm.models.espnetv2_segmentation import PyramidPool, pyramid_conv, resized, size_of

# Channels of the maps after the backbone's last.
_EXTRA = (512, 256, 128)
# The pyramids work on a fifth of the channels that they give.
_REDUCTION = 5
# Pooling scales of the pyramids, from the smallest map to the largest.
_PYRAMID_SCALES = ((2.0, 1.0), (2.0, 1.0, 0.5), (2.0, 1.0, 0.5, 0.25), (2.0, 1.0, 0.5, 0.25))

# Per input size: pixels of the image from one cell of a map to the next.
_STRIDES = {300: (8, 16, 32, 64, 100, 300), 512: (8, 16, 32, 64, 128, 512)}
_RATIOS = (2.0, 3.0)
_PRIORS = 6
_SELECTION = Selection(iou_threshold=0.45, score_threshold=0.01, per_class=200, detections=200)


class ESPNetV2SSD(nn.Module):
    """EdgeNets' ESPNetv2-SSD: (N, 3, H, W) to class logits (N, A, classes) and offsets (N, A, 4).

    The maps at 1/8, 1/16 and 1/32 and three smaller ones, the last a single pixel. From the fifth
    down to the first, each of the larger ones is merged with the next smaller by a pyramid of
    pooling scales. One 1x1 convolution a map gives the logits, one the offsets, of 6 priors a
    cell. The priors run over maps, rows, columns and shapes, the last fastest.

    The names in the state dict are those of the code at the release of the published checkpoints.

    Parameters
    ----------
    scale : the factor s of the backbone's channels; published is 2.0.
    num_classes : with the background, which is the first: 81 for COCO, 21 for VOC.
    detections : None, or the height and width of the images, 300 or 512, for which a
        :class:`Detector` follows.

    Raises
    ------
    UsageError
        `scale` is not a published one, there are fewer than 2 classes, or there are no priors for
        images of that size.
    """

    def __init__(
        self, scale: float = 2.0, num_classes: int = 81, detections: int | None = None
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise UsageError(
                f"ESPNetv2: num_classes is {num_classes}; with the background there are at least 2."
            )
        self.num_classes = num_classes
        self.base_net = _Maps(scale)
        channels = self.base_net.channels
        self.loc_layers = nn.ModuleList(nn.Conv2d(width, _PRIORS * 4, 1) for width in channels)
        self.cls_layers = nn.ModuleList(
            nn.Conv2d(width, _PRIORS * num_classes, 1) for width in channels
        )

        self.detector = None if detections is None else Detector(priors(detections), _SELECTION)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return class logits, offsets and any detections, see :class:`Detector`."""
        maps = self.base_net(images)
        logits = _priors_last(self.cls_layers, maps, self.num_classes)
        offsets = _priors_last(self.loc_layers, maps, 4)
        if self.detector is None:
            return logits, offsets
        return logits, offsets, *self.detector(logits, offsets)


class _Maps(nn.Module):
    """The six maps of the detector, the largest first.

    Attributes
    ----------
    channels : of each map.
    """

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.basenet = DeepBackbone(scale)
        eighth, sixteenth, _, last = self.basenet.channels[2:]
        self.channels = (eighth, sixteenth, last, *_EXTRA)
        self.extra_level6 = _halving(last, _EXTRA[0])
        self.extra_level7 = _halving(_EXTRA[0], _EXTRA[1])
        self.extra_level8 = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(_EXTRA[1], _EXTRA[2], kernel_size=1, bias=False),
            nn.ReLU(inplace=True),
        )
        pools = [
            PyramidPool(small + large, large // _REDUCTION, large, scales)
            for small, large, scales in zip(
                self.channels[4:0:-1], self.channels[3::-1], _PYRAMID_SCALES, strict=True
            )
        ]
        self.bu_3x3_5x5, self.bu_5x5_10x10, self.bu_10x10_19x19, self.bu_19x19_38x38 = pools

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the maps, merged from the small to the large."""
        base = self.basenet
        _, _, eighth, sixteenth = base.levels(images)
        thirtysecond = base.level5(base.level5_0(sixteenth, pooled(images, 5)))
        fourth = self.extra_level6(thirtysecond)
        fifth = self.extra_level7(fourth)
        sixth = self.extra_level8(fifth)
        fourth = _merged(self.bu_3x3_5x5, fifth, fourth)
        thirtysecond = _merged(self.bu_5x5_10x10, fourth, thirtysecond)
        sixteenth = _merged(self.bu_10x10_19x19, thirtysecond, sixteenth)
        eighth = _merged(self.bu_19x19_38x38, sixteenth, eighth)
        return eighth, sixteenth, thirtysecond, fourth, fifth, sixth


def priors(size: int) -> torch.Tensor:
    """Return EdgeNets' priors (A, 4) for images of `size`: centre and extent, as shares of it.

    Their centres are a whole stride apart, so the grids whose maps were rounded up end beyond the
    image; there the centres are cut off at its border.

    Raises
    ------
    UsageError
        `size` is neither 300 nor 512.
    """
    if size not in _STRIDES:
        raise UsageError(f"ESPNetv2: detections must be for images of 300 or 512, not {size}.")
    strides = _STRIDES[size]
    smallest, largest = math.ceil(0.1 * size), math.ceil(1.05 * size)
    step = (largest - smallest) / len(strides)
    # Whole pixels, as there.
    sides = [int(smallest + step * index) / size for index in range(len(strides) + 1)]
    boxes = []
    for stride, side, next_side in zip(strides, sides[:-1], sides[1:], strict=True):
        cells = math.ceil(size / stride)
        grid = prior_boxes([(cells, cells)], [prior_shapes(side, next_side, _RATIOS)])
        grid[:, :2] *= cells * stride / size
        boxes.append(grid.clamp(max=1.0))
    return torch.cat(boxes)


def _halving(in_channels: int, out_channels: int) -> nn.Sequential:
    return named(
        layer=nn.Sequential(
            named(cbr=pyramid_conv(in_channels, in_channels, 3, stride=2, groups=in_channels)),
            named(cbr=pyramid_conv(in_channels, out_channels, 1)),
        )
    )


def _merged(pool: nn.Module, small: torch.Tensor, large: torch.Tensor) -> torch.Tensor:
    merged: torch.Tensor = pool(torch.cat([resized(small, size_of(large)), large], dim=1))
    return merged


def _priors_last(heads: nn.ModuleList, maps: tuple[torch.Tensor, ...], values: int) -> torch.Tensor:
    outputs = [head(features) for head, features in zip(heads, maps, strict=True)]
    moved = [output.permute(0, 2, 3, 1) for output in outputs]
    return torch.cat([output.reshape(int(output.shape[0]), -1, values) for output in moved], dim=1)
