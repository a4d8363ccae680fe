"""SSDLite: the light SSD of Sandler et al. (arXiv 1801.04381), section 6.2, on MobileNets.

All read the backbone at 1/16 and 1/32 of the image and four more levels, and predict with a
depthwise and a pointwise convolution. MobileNetV3's are those of arXiv 1905.02244, section 6.3.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import nn

from edgetvm.errors import UsageError
from edgetvm.models import detection, mobilenet_v1, mobilenet_v2, mobilenet_v3
from edgetvm.models.detection import Detector, Selection, Shape, linear_scales
from edgetvm.models.layers import Convention, ConvNorm, make_divisible
from edgetvm.models.mobilenet_v3_table import Size, Variant

# Of the image of 320 x 320 that the priors are for.
_MAP_SIZES = ((20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1))
_EXTRA_WIDTHS = (512, 256, 256, 128)
_LEAST_EXTRA_WIDTH = 16
_CONVENTION = Convention(norm_eps=1e-3)


@dataclass(frozen=True)
class Scheme:
    """The priors of an SSDLite and how detections are selected.

    Attributes
    ----------
    shapes : width and height of the priors of a cell, for each map.
    clip : see :func:`detection.prior_boxes`.
    """

    shapes: Sequence[Sequence[Shape]]
    clip: bool
    selection: Selection


def tensorflow_scheme() -> Scheme:
    """Return the authors' (TensorFlow's object detection API): three priors on the first map."""
    scales = linear_scales(len(_MAP_SIZES))
    shapes = [[(0.1, 0.1), *(_rectangle(scales[0], ratio) for ratio in (2, 1 / 2))]]
    for scale, following in pairwise(scales[1:]):
        middle = math.sqrt(scale * following)
        rectangles = [_rectangle(scale, ratio) for ratio in (1, 2, 1 / 2, 3, 1 / 3)]
        shapes.append([*rectangles, (middle, middle)])
    return Scheme(shapes, clip=False, selection=Selection("sigmoid", iou_threshold=0.6))


def torchvision_scheme() -> Scheme:
    """Return that of torchvision: six priors on every map."""
    scales = pairwise(linear_scales(len(_MAP_SIZES)))
    shapes = [
        detection.prior_shapes(scale, following, ratios=(2, 3)) for scale, following in scales
    ]
    return Scheme(shapes, clip=True, selection=Selection("softmax", iou_threshold=0.55))


def on_mobilenet_v1(num_classes: int = 91, detections: bool = False) -> "SSDLite":
    """Make SSDLite on MobileNetV1: it reads the last layers of 512 and of 1024 channels.

    Parameters and errors: see :class:`SSDLite`.
    """
    layers = list(mobilenet_v1.features(convention=_CONVENTION, activation=nn.ReLU6))
    backbone = Backbone(nn.Sequential(*layers[:12]), nn.Sequential(*layers[12:]))
    return SSDLite(backbone, tensorflow_scheme(), num_classes, detections)


def on_mobilenet_v2(
    width_multiplier: float = 1.0, num_classes: int = 91, detections: bool = False
) -> "SSDLite":
    """Make SSDLite on MobileNetV2: it reads the expansion at 1/16 and the last convolution.

    Parameters
    ----------
    width_multiplier : scales all channel counts, here those of the last convolution and of the
        extra levels as well; this gives the sizes of arXiv 1905.02244, Table 6.

    The others and errors: see :class:`SSDLite` and :func:`mobilenet_v2.features`.
    """
    layers = list(mobilenet_v2.features(width_multiplier, _CONVENTION))
    layers[18] = ConvNorm(
        _width(layers[17]),
        make_divisible(1280 * width_multiplier),
        kernel=1,
        activation=nn.ReLU6,
        convention=_CONVENTION,
    )
    block = layers[14]
    assert isinstance(block, mobilenet_v2.InvertedResidual)
    backbone = _split(layers, 14, block.conv, width_multiplier)
    return SSDLite(backbone, tensorflow_scheme(), num_classes, detections)


def on_mobilenet_v3(
    size: Size = "large", reduced: bool = False, num_classes: int = 91, detections: bool = False
) -> "SSDLite":
    """Make SSDLite on MobileNetV3: it reads the last expansion at 1/16 and the last convolution.

    Parameters
    ----------
    size : ``large`` or ``small``.
    reduced : half the channels after the expansion at 1/16 (the dagger of Table 6).

    The others and errors: see :class:`SSDLite` and :class:`Variant`.
    """
    return SSDLite(_v3_backbone(size, reduced), tensorflow_scheme(), num_classes, detections)


def as_torchvision(num_classes: int = 91, detections: bool = False) -> "SSDLite":
    """Make torchvision's ``ssdlite320_mobilenet_v3_large``, with its names in the state dict.

    Parameters and errors: see :class:`SSDLite`.
    """
    backbone = _v3_backbone("large", reduced=True)
    return SSDLite(backbone, torchvision_scheme(), num_classes, detections)


class SSDLite(nn.Module):
    """A detector of arXiv 1801.04381, section 6.2, for images (N, 3, 320, 320) float32.

    Parameters
    ----------
    num_classes : logits of a prior; class 0 is the background.
    detections : whether :class:`Detector` follows.

    Raises
    ------
    UsageError
        `num_classes` is below 2.
    """

    def __init__(
        self, backbone: "Backbone", scheme: Scheme, num_classes: int, detections: bool
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise UsageError(
                f"SSDLite: num_classes {num_classes} must be 2 or more, as the background is one."
            )
        self.backbone = backbone
        priors = [len(cell) for cell in scheme.shapes]
        self.head = nn.ModuleDict(
            {
                "classification_head": Predictor(backbone.widths, priors, num_classes),
                "regression_head": Predictor(backbone.widths, priors, 4),
            }
        )
        self.detector: Detector | None = None
        if detections:
            boxes = detection.prior_boxes(_MAP_SIZES, scheme.shapes, scheme.clip)
            self.detector = Detector(boxes, scheme.selection)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return logits (N, A, num_classes), offsets (N, A, 4) and any detections.

        The priors A run over maps, rows, columns and shapes; for detections see
        :class:`Detector`.
        """
        maps = self.backbone(images)
        logits = self.head["classification_head"](maps)
        offsets = self.head["regression_head"](maps)
        if self.detector is None:
            return logits, offsets
        return logits, offsets, *self.detector(logits, offsets)


class Backbone(nn.Module):
    """The layers to 1/16 of the image, those to 1/32, and four more levels.

    Parameters
    ----------
    width_multiplier : of the channel counts of the extra levels, 16 at least.
    """

    def __init__(
        self, shallow: nn.Sequential, deep: nn.Sequential, width_multiplier: float = 1.0
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(shallow, deep)
        extra = [max(_LEAST_EXTRA_WIDTH, int(width * width_multiplier)) for width in _EXTRA_WIDTHS]
        self.widths = [_width(shallow), _width(deep), *extra]
        self.extra = nn.ModuleList(_extra_level(*pair) for pair in pairwise(self.widths[1:]))

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the six maps (N, widths[i], H, W), the largest first."""
        maps: list[torch.Tensor] = []
        for layers in [*self.features, *self.extra]:
            maps.append(layers(maps[-1] if maps else images))
        return maps


class Predictor(nn.Module):
    """A depthwise 3x3 and a 1x1 convolution for each map, which give each prior its values.

    Maps (N, widths[i], H, W) to (N, A, columns), A over maps, rows, columns of cells and priors.
    """

    def __init__(self, widths: Sequence[int], priors: Sequence[int], columns: int) -> None:
        super().__init__()
        self.columns = columns
        self.module_list = nn.ModuleList(
            nn.Sequential(
                _relu6_conv(width, width, 3, groups=width),
                nn.Conv2d(width, count * columns, kernel_size=1),
            )
            for width, count in zip(widths, priors, strict=True)
        )

    def forward(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """Concatenate the predictions of all maps."""
        predictions = [
            predict(features).permute(0, 2, 3, 1).reshape(int(features.shape[0]), -1, self.columns)
            for predict, features in zip(self.module_list, maps, strict=True)
        ]
        return torch.cat(predictions, dim=1)


_relu6_conv = partial(ConvNorm, activation=nn.ReLU6, convention=_CONVENTION)


def _extra_level(in_channels: int, out_channels: int) -> nn.Sequential:
    half = out_channels // 2
    return nn.Sequential(
        _relu6_conv(in_channels, half, 1),
        _relu6_conv(half, half, 3, stride=2, groups=half),
        _relu6_conv(half, out_channels, 1),
    )


def _v3_backbone(size: Size, reduced: bool) -> Backbone:
    variant = Variant(size, convention=_CONVENTION, tail="detection" if reduced else "full")
    layers = list(mobilenet_v3.features(variant))
    # The first of the last three bottlenecks.
    index = len(layers) - 4
    block = layers[index]
    assert isinstance(block, mobilenet_v3.Bottleneck)
    return _split(layers, index, block.block)


def _split(
    layers: list[nn.Module], index: int, block: nn.Sequential, width_multiplier: float = 1.0
) -> Backbone:
    """Part `layers` after the expansion, the first layer, of the bottleneck at `index`."""
    shallow = nn.Sequential(*layers[:index], block[0])
    return Backbone(shallow, nn.Sequential(block[1:], *layers[index + 1 :]), width_multiplier)


def _width(layers: nn.Module) -> int:
    norms = [module for module in layers.modules() if isinstance(module, nn.BatchNorm2d)]
    return norms[-1].num_features


def _rectangle(scale: float, ratio: float) -> Shape:
    return scale * math.sqrt(ratio), scale / math.sqrt(ratio)
