"""Single-shot detection after the network: prior boxes, decoding, non-maximum suppression."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from edgetvm.errors import UsageError

Shape = tuple[float, float]
ScoreFunction = Literal["softmax", "sigmoid"]

# The same bound as torchvision's: no box grows more than 62.5 times its prior.
_LARGEST_LOG_SCALE = math.log(1000 / 16)


def linear_scales(maps: int, smallest: float = 0.2, largest: float = 0.95) -> list[float]:
    """Return the scale of each of `maps` feature maps, equally spaced, and a last one of 1.

    Equation 4 of SSD (Liu et al., arXiv 1512.02325), with the bounds of SSDLite.
    """
    step = (largest - smallest) / max(maps - 1, 1)
    return [smallest + step * index for index in range(maps)] + [1.0]


def prior_shapes(scale: float, next_scale: float, ratios: Sequence[float]) -> list[Shape]:
    """Return width and height of one map's priors, in the order of torchvision's.

    A square of `scale`, a square of the geometric mean with `next_scale`, and for each of
    `ratios` (width by height) the lying and the standing rectangle of the area of `scale` squared.
    """
    middle = math.sqrt(scale * next_scale)
    shapes = [(scale, scale), (middle, middle)]
    for ratio in ratios:
        long, short = scale * math.sqrt(ratio), scale / math.sqrt(ratio)
        shapes += [(long, short), (short, long)]
    return shapes


def prior_boxes(
    map_sizes: Sequence[tuple[int, int]], shapes: Sequence[Sequence[Shape]], clip: bool = True
) -> torch.Tensor:
    """Return the priors (A, 4): centre x, centre y, width, height, as shares of the image.

    They run over maps, rows, columns and shapes, the last fastest, as convolutional heads do
    whose channels were moved last.

    Parameters
    ----------
    map_sizes : height and width of each feature map.
    shapes : width and height of each prior of a cell, for each map; see :func:`prior_shapes`.
    clip : whether no prior may be wider or higher than the image.

    Raises
    ------
    UsageError
        There are not as many lists of shapes as maps.
    """
    if len(map_sizes) != len(shapes):
        raise UsageError(
            f"prior_boxes: {len(map_sizes)} feature maps need as many lists of shapes, not "
            f"{len(shapes)}."
        )
    maps = []
    for (height, width), cell in zip(map_sizes, shapes, strict=True):
        rows = (torch.arange(height) + 0.5) / height
        columns = (torch.arange(width) + 0.5) / width
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        centres = torch.stack([x, y], dim=-1).reshape(-1, 1, 2).expand(-1, len(cell), 2)
        extents = torch.tensor(cell).expand(height * width, len(cell), 2)
        maps.append(torch.cat([centres, extents.clamp(max=1.0) if clip else extents], dim=2))
    return torch.cat([boxes.reshape(-1, 4) for boxes in maps])


def decode_boxes(
    offsets: torch.Tensor,
    priors: torch.Tensor,
    weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0),
) -> torch.Tensor:
    """Move and scale `priors` (A, 4) by the network's `offsets` (N, A, 4).

    Returns x1, y1, x2, y2 (N, A, 4) as shares of the image, cut off at its borders. SSD, section
    2.2; the `weights`, which divide the offsets, are the inverse "variances" of its code.
    """
    scaled = offsets / priors.new_tensor(weights)
    centres = priors[:, :2] + scaled[:, :, :2] * priors[:, 2:]
    halves = 0.5 * priors[:, 2:] * torch.exp(scaled[:, :, 2:].clamp(max=_LARGEST_LOG_SCALE))
    return torch.cat([centres - halves, centres + halves], dim=2).clamp(0.0, 1.0)


@torch.library.custom_op("edgetvm::class_wise_nms", mutates_args=())
def class_wise_nms(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    per_class: int,
    iou_threshold: float,
    score_threshold: float,
    detections: int,
) -> torch.Tensor:
    """Keep in each class the best boxes that no better one of it overlaps, then the best of all.

    One operator, so that a trace keeps it whole and the compiler can use its own.

    Parameters
    ----------
    boxes : (N, A, 4), x1, y1, x2, y2.
    scores : (N, C, A), without the background.
    per_class : most boxes that are kept of a class.
    iou_threshold : of intersection over union, above which the worse box goes.
    score_threshold : boxes must score more in a class to count.
    detections : number of rows of the result.

    Returns
    -------
    torch.Tensor : (N, detections, 6), rows of class, score, x1, y1, x2, y2 from the best score
        down; of equal ones the lower class and then the lower box first. Rows of -1 fill up.
    """
    rows = [
        _suppress(image_boxes, image_scores, per_class, iou_threshold, score_threshold, detections)
        for image_boxes, image_scores in zip(boxes, scores, strict=True)
    ]
    return torch.stack(rows)


@class_wise_nms.register_fake
def _class_wise_nms_shape(
    boxes: torch.Tensor,
    scores: torch.Tensor,  # noqa: ARG001
    per_class: int,  # noqa: ARG001
    iou_threshold: float,  # noqa: ARG001
    score_threshold: float,  # noqa: ARG001
    detections: int,
) -> torch.Tensor:
    return boxes.new_empty(boxes.shape[0], detections, 6)


def _suppress(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    per_class: int,
    iou_threshold: float,
    score_threshold: float,
    detections: int,
) -> torch.Tensor:
    """Suppress in one image, in all classes at once: each step keeps one more box of each."""
    classes = torch.arange(scores.shape[0])
    left = scores.masked_fill(scores <= score_threshold, -math.inf)
    # Class, score, x1, y1, x2, y2, in the order of their ranks.
    kept = boxes.new_empty(0, 6)
    for _ in range(per_class):
        best, index = left.max(dim=1)
        # A class whose best box comes after `detections` others has nothing to add any more.
        worst = kept[detections - 1, 1] if len(kept) >= detections else -math.inf
        alive = (best > -math.inf) & (best >= worst)
        if not alive.any():
            break
        classes, left, best, index = classes[alive], left[alive], best[alive], index[alive]
        chosen = boxes[index]
        overlapping = _overlaps(chosen, boxes) > iou_threshold
        left = left.masked_fill(overlapping, -math.inf).scatter(1, index[:, None], -math.inf)
        kept = torch.cat([kept, torch.cat([classes[:, None], best[:, None], chosen], dim=1)])
        kept = kept[kept[:, 0].sort(stable=True).indices]
        kept = kept[kept[:, 1].sort(descending=True, stable=True).indices]
    missing = max(detections - len(kept), 0)
    return torch.cat([kept[:detections], kept.new_full((missing, 6), -1.0)])


def _overlaps(some: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return intersection over union (K, A) of boxes (K, 4) and (A, 4)."""
    left_top = torch.maximum(some[:, None, :2], others[:, :2])
    right_bottom = torch.minimum(some[:, None, 2:], others[:, 2:])
    common = (right_bottom - left_top).clamp(min=0.0).prod(dim=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(dim=1) for boxes in (some, others)]
    return common / (areas[0][:, None] + areas[1] - common)


@dataclass(frozen=True)
class Selection:
    """How a network's scores and boxes become detections.

    Attributes
    ----------
    score : function of the logits: ``softmax`` over the classes, or ``sigmoid`` of each.
    iou_threshold, score_threshold, per_class, detections : see :func:`class_wise_nms`.

    Raises
    ------
    UsageError
        There is no such `score`, a threshold is not in 0..1 or a number is not positive.
    """

    score: ScoreFunction = "softmax"
    iou_threshold: float = 0.55
    score_threshold: float = 0.001
    per_class: int = 100
    detections: int = 100

    def __post_init__(self) -> None:
        """Refuse what a recipe can spell wrong."""
        if self.score not in ("softmax", "sigmoid"):
            raise UsageError(f"Selection: score must be softmax or sigmoid, not {self.score!r}.")
        for name in ("iou_threshold", "score_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"Selection: {name} {getattr(self, name)} must be in 0..1.")
        for name in ("per_class", "detections"):
            if getattr(self, name) < 1:
                raise UsageError(f"Selection: {name} {getattr(self, name)} must be positive.")


class Detector(nn.Module):
    """The last step of an SSD: class logits (N, A, C+1) and offsets (N, A, 4) to detections.

    Class 0 is the background; the classes of the detections are counted without it. There is
    nothing learnt, nor a key in the state dict.

    Parameters
    ----------
    priors : (A, 4), see :func:`prior_boxes`.
    """

    priors: torch.Tensor

    def __init__(self, priors: torch.Tensor, selection: Selection) -> None:
        super().__init__()
        self.register_buffer("priors", priors, persistent=False)
        self.selection = selection

    def forward(self, logits: torch.Tensor, offsets: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return classes (N, D), scores (N, D) and boxes (N, D, 4), see :func:`class_wise_nms`.

        Apart, since one measure of error would not do for all three.
        """
        chosen = self.selection
        scores = logits.softmax(dim=2) if chosen.score == "softmax" else logits.sigmoid()
        rows: torch.Tensor = class_wise_nms(
            decode_boxes(offsets, self.priors),
            scores[:, :, 1:].transpose(1, 2),
            chosen.per_class,
            chosen.iou_threshold,
            chosen.score_threshold,
            chosen.detections,
        )
        return rows[:, :, 0], rows[:, :, 1], rows[:, :, 2:]
