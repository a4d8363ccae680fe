"""Semantic segmentation on MobileNets: DeepLabv3, R-ASPP and LR-ASPP."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from edgetvm.errors import UsageError
from edgetvm.models import mobilenet_v1, mobilenet_v2, mobilenet_v3
from edgetvm.models.layers import Convention
from edgetvm.models.mobilenet_v3_table import Size, Tail, Variant
from edgetvm.models.segmentation_heads import Aspp, LiteAspp, Window, resize

HeadKind = Literal["deeplabv3", "raspp", "lraspp"]

_HEADS = ("deeplabv3", "raspp", "lraspp")
# With the sizes of the papers, multiples of 16 plus 1, TensorFlow's padding is symmetric too.
_BACKBONE = Convention(norm_eps=1e-3)
# In pixels of the image: rates 6, 12 and 18 at an output stride of 16.
_ATROUS_REACHES = (96, 192, 288)
_POOLED_REACH = 768
# By output stride: Figure 10 of arXiv 1905.02244, and the flags of the authors' weights.
_POOLING_STRIDES = {16: (16, 20), 32: (4, 5)}


def mobilenet_v1_segmenter(num_classes: int = 21) -> "Segmenter":
    """Make MobileNetV1 with DeepLabv3, output stride 16: arXiv 1801.04381, Table 7.

    Raises
    ------
    UsageError
        `num_classes` is not positive.
    """
    backbone = mobilenet_v1.features(convention=_BACKBONE)
    # The last block but one keeps the resolution, so the last is dilated instead.
    depthwise = [backbone.get_submodule(f"{block}.0.0") for block in (12, 13)]
    for conv, dilation in zip(depthwise, (1, 2), strict=True):
        assert isinstance(conv, nn.Conv2d)
        conv.stride = (1, 1)
        conv.dilation = conv.padding = (dilation, dilation)
    return Segmenter(backbone, Head("deeplabv3", 256, num_classes), low=5, output_stride=16)


def mobilenet_v2_segmenter(
    head: HeadKind = "raspp",
    filters: int = 256,
    num_classes: int = 21,
    width_multiplier: float = 1.0,
    halved_tail: bool = False,
) -> "Segmenter":
    """Make MobileNetV2 with output stride 16: arXiv 1801.04381, Table 7; 1905.02244, Table 7.

    Without its last convolution, to 1280 channels (section 6.3).

    Parameters
    ----------
    head, filters, num_classes : see :class:`Head`.
    width_multiplier, halved_tail : see :func:`edgetvm.models.mobilenet_v2.features`.

    Raises
    ------
    UsageError
        An argument is none of those allowed.
    """
    backbone = mobilenet_v2.features(width_multiplier, _BACKBONE, 16, halved_tail)
    del backbone[18]
    return Segmenter(backbone, Head(head, filters, num_classes), low=4, output_stride=16)


def mobilenet_v3_segmenter(
    head: HeadKind = "lraspp",
    filters: int = 128,
    num_classes: int = 19,
    *,
    size: Size = "large",
    tail: Tail = "segmentation",
    output_stride: int = 16,
) -> "Segmenter":
    """Make MobileNetV3 for segmentation: arXiv 1905.02244, section 6.4, Tables 7 and 8.

    Parameters
    ----------
    head, filters, num_classes : see :class:`Head`.
    size, tail, output_stride : see :class:`edgetvm.models.mobilenet_v3_table.Variant`.

    Raises
    ------
    UsageError
        An argument is none of those allowed.
    """
    variant = Variant(size, convention=_BACKBONE, output_stride=output_stride, tail=tail)
    low = 4 if size == "large" else 2
    backbone = mobilenet_v3.features(variant)
    return Segmenter(backbone, Head(head, filters, num_classes), low, output_stride)


def torchvision_lraspp(num_classes: int = 21) -> "Segmenter":
    """Make torchvision's ``lraspp_mobilenet_v3_large``, whose checkpoint loads.

    Unlike the paper's it has the full last bottlenecks, all of them dilated, a global average
    as gate, through a sigmoid, and enlarges without aligning corners.

    Raises
    ------
    UsageError
        `num_classes` is not positive.
    """
    variant = Variant("large", convention=_BACKBONE, output_stride=16, dilated_from="first")
    head = Head("lraspp", 128, num_classes, aligned=False)
    return Segmenter(mobilenet_v3.features(variant), head, low=4, output_stride=16)


@dataclass(frozen=True)
class Head:
    """What follows the backbone.

    Attributes
    ----------
    kind : ``deeplabv3``, ``raspp`` (both :class:`Aspp`) or ``lraspp`` (:class:`LiteAspp`).
    filters : channels of its layers.
    num_classes : channels of the result.
    aligned : as the DeepLab authors do it, enlarge with aligned corners and let LR-ASPP pool in
        windows; if not, as torchvision.

    Raises
    ------
    UsageError
        There is no such `kind`, or `filters` or `num_classes` is not positive.
    """

    kind: HeadKind
    filters: int
    num_classes: int
    aligned: bool = True

    def __post_init__(self) -> None:
        """Refuse what a recipe can spell wrong."""
        if self.kind not in _HEADS:
            known = " or ".join(map(repr, _HEADS))
            raise UsageError(f"Segmentation: head must be {known}, not {self.kind!r}.")
        for name in ("filters", "num_classes"):
            value = getattr(self, name)
            if value <= 0:
                raise UsageError(f"Segmentation: {name} {value} must be positive.")

    def build(self, low: int, high: int, output_stride: int) -> nn.Module:
        """Make the layers for maps of `low` channels at stride 8 and `high` at the last stride."""
        if self.kind != "lraspp":
            reaches = _ATROUS_REACHES if self.kind == "deeplabv3" else ()
            rates = [reach // output_stride for reach in reaches]
            return Aspp(high, self.filters, self.num_classes, rates)
        size = _POOLED_REACH // output_stride + 1
        window = Window(size, _POOLING_STRIDES[output_stride]) if self.aligned else None
        return LiteAspp(low, high, self.filters, self.num_classes, window)


class Segmenter(nn.Module):
    """Backbone and head: (N, 3, H, W) float32 to logits (N, num_classes, H, W).

    Parameters
    ----------
    backbone : its last child gives the map that the head reads.
    low : child of `backbone` whose output, at stride 8, LR-ASPP reads besides: that of the first
        block there, as in torchvision. The paper does not say which; the authors' code takes the
        depthwise output of the last block there, for up to 2 % more work.
    output_stride : that of the backbone.
    """

    def __init__(self, backbone: nn.Sequential, head: Head, low: int, output_stride: int) -> None:
        super().__init__()
        self.backbone = backbone
        last = len(backbone) - 1
        self.taps = (low, last) if head.kind == "lraspp" else (last,)
        self.aligned = head.aligned
        channels = [_count_channels(backbone[index]) for index in (low, last)]
        self.classifier = head.build(channels[0], channels[1], output_stride)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits of each pixel, enlarged bilinearly."""
        maps = []
        features = images
        for index, layer in enumerate(self.backbone):
            features = layer(features)
            if index in self.taps:
                maps.append(features)
        return resize(self.classifier(*maps), images, self.aligned)


def _count_channels(layer: nn.Module) -> int:
    """Return the channels of a layer that ends in a batch normalisation."""
    norms = [module for module in layer.modules() if isinstance(module, nn.BatchNorm2d)]
    return norms[-1].num_features
