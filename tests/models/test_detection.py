"""Prior boxes, decoding and non-maximum suppression, against slow definitions of each."""

import math

import pytest
import torch
from torch import nn

from edgetvm.errors import UsageError
from edgetvm.models.detection import (
    Detector,
    Selection,
    class_wise_nms,
    decode_boxes,
    linear_scales,
    prior_boxes,
    prior_shapes,
)

FILL = [-1.0] * 6


def slow_nms(
    boxes: torch.Tensor, scores: torch.Tensor, per_class: int, iou: float, least: float, rows: int
) -> list[list[float]]:
    """Greedy suppression, box by box, of one image."""
    kept = []
    for number, values in enumerate(scores.tolist()):
        chosen: list[int] = []
        for index in sorted(range(len(values)), key=lambda box: (-values[box], box)):
            clear = all(overlap(boxes[index], boxes[other]) <= iou for other in chosen)
            if values[index] > least and clear and len(chosen) < per_class:
                chosen.append(index)
        kept += [(-values[index], number, index) for index in chosen]
    best = [[number, -score, *boxes[index].tolist()] for score, number, index in sorted(kept)]
    return (best + [FILL] * rows)[:rows]


def overlap(one: torch.Tensor, other: torch.Tensor) -> float:
    width, height = (torch.minimum(one[2:], other[2:]) - torch.maximum(one[:2], other[:2])).tolist()
    common = max(width, 0.0) * max(height, 0.0)
    areas = [float((box[2] - box[0]) * (box[3] - box[1])) for box in (one, other)]
    return common / (sum(areas) - common)


def random_boxes(*shape: int) -> torch.Tensor:
    corners = torch.rand(*shape, 2)
    return torch.cat([corners, corners + 0.05 + 0.4 * torch.rand(*shape, 2)], dim=-1)


@pytest.mark.parametrize(
    ("per_class", "iou", "least", "rows"),
    [(100, 0.5, 0.2, 20), (3, 0.3, 0.0, 50), (100, 0.5, 0.95, 40), (2, 0.9, 0.5, 5)],
)
def test_suppression_keeps_what_the_definition_keeps(
    per_class: int, iou: float, least: float, rows: int
) -> None:
    torch.manual_seed(0)
    boxes = random_boxes(2, 60)
    # Two decimals, so that there are ties within classes and between them.
    scores = (100 * torch.rand(2, 7, 60)).round() / 100
    found = class_wise_nms(boxes, scores, per_class, iou, least, rows)
    for image in range(2):
        expected = slow_nms(boxes[image], scores[image], per_class, iou, least, rows)
        torch.testing.assert_close(found[image], torch.tensor(expected))


def test_suppression_is_within_a_class_and_strict_about_both_thresholds() -> None:
    # The second overlaps the first by exactly a half, the third by two thirds.
    boxes = torch.tensor([[[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.5], [0.25, 0.0, 1.0, 1.0]]])
    scores = torch.tensor([[[0.9, 0.8, 0.7], [0.25, 0.5, 0.0]]])
    found = class_wise_nms(boxes, scores, 10, 0.5, 0.25, 5)
    assert found[0, :, 0].tolist() == [0, 0, 1, -1, -1]
    torch.testing.assert_close(found[0, :, 1], torch.tensor([0.9, 0.8, 0.5, -1, -1]))
    torch.testing.assert_close(found[0, 2, 2:], boxes[0, 1])
    assert found[0, 3:].tolist() == [FILL, FILL]


def test_equal_scores_go_to_the_lower_class_and_then_the_lower_box() -> None:
    boxes = torch.tensor([[[0.5, 0.5, 0.6, 0.6], [0.1, 0.1, 0.2, 0.2], [0.1, 0.1, 0.2, 0.2]]])
    found = class_wise_nms(boxes, torch.full((1, 2, 3), 0.5), 10, 0.5, 0.0, 3)
    assert found[0, :, 0].tolist() == [0, 0, 1]
    torch.testing.assert_close(found[0, :, 2], torch.tensor([0.5, 0.1, 0.5]))


def test_boxes_without_area_suppress_nothing() -> None:
    boxes = torch.full((1, 3, 4), 0.5)
    found = class_wise_nms(boxes, torch.tensor([[[0.3, 0.2, 0.1]]]), 10, 0.5, 0.0, 3)
    torch.testing.assert_close(found[0, :, 1], torch.tensor([0.3, 0.2, 0.1]))


def test_linear_scales_end_with_the_whole_image() -> None:
    assert linear_scales(6) == pytest.approx([0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0])
    assert linear_scales(2, 0.1, 0.4) == pytest.approx([0.1, 0.4, 1.0])


def test_prior_shapes_are_two_squares_and_pairs_of_equal_area() -> None:
    square, middle, lying, standing = prior_shapes(0.2, 0.8, [4])
    assert square == (0.2, 0.2)
    assert middle == pytest.approx((0.4, 0.4))
    assert lying == pytest.approx((0.4, 0.1))
    assert standing == pytest.approx((0.1, 0.4))


def test_priors_run_over_maps_rows_columns_and_shapes() -> None:
    boxes = prior_boxes([(2, 3), (1, 1)], [[(0.2, 0.1), (0.3, 1.5)], [(0.5, 0.5)]])
    assert boxes.shape == (13, 4)
    expected = {
        0: [1 / 6, 0.25, 0.2, 0.1],
        1: [1 / 6, 0.25, 0.3, 1.0],
        2: [0.5, 0.25, 0.2, 0.1],
        6: [1 / 6, 0.75, 0.2, 0.1],
        12: [0.5, 0.5, 0.5, 0.5],
    }
    torch.testing.assert_close(boxes[list(expected)], torch.tensor(list(expected.values())))
    assert prior_boxes([(1, 1)], [[(0.3, 1.5)]], clip=False)[0, 3] == 1.5


def test_priors_need_shapes_for_each_map() -> None:
    with pytest.raises(UsageError, match="2 feature maps need as many lists of shapes, not 1"):
        prior_boxes([(2, 2), (1, 1)], [[(0.5, 0.5)]])


def test_offsets_move_and_scale_the_priors() -> None:
    priors = torch.tensor([[0.5, 0.4, 0.2, 0.1]])
    still = decode_boxes(torch.zeros(1, 1, 4), priors)
    torch.testing.assert_close(still, torch.tensor([[[0.4, 0.35, 0.6, 0.45]]]))
    offsets = torch.tensor([[[1.0, -2.0, 5 * math.log(2.0), 5 * math.log(3.0)]]])
    moved = decode_boxes(offsets, priors)
    torch.testing.assert_close(moved, torch.tensor([[[0.32, 0.23, 0.72, 0.53]]]))
    unweighted = decode_boxes(offsets / torch.tensor([10, 10, 5, 5]), priors, (1, 1, 1, 1))
    torch.testing.assert_close(unweighted, moved)


def test_decoded_boxes_end_at_the_border_and_grow_to_a_bound() -> None:
    boxes = decode_boxes(torch.full((2, 1, 4), 1e3), torch.tensor([[0.5, 0.5, 0.01, 0.01]]))
    # The centre is at 1.5; the size is 62.5 times that of the prior, not infinite.
    torch.testing.assert_close(boxes, torch.full((2, 1, 4), 1.0))
    small = decode_boxes(torch.full((1, 1, 4), -1e3), torch.tensor([[0.5, 0.5, 0.01, 0.01]]))
    torch.testing.assert_close(small, torch.zeros(1, 1, 4))
    wide = decode_boxes(torch.tensor([[[0, 0, 1e3, 1e3]]]), torch.tensor([[0.5, 0.5, 0.01, 0.01]]))
    torch.testing.assert_close(wide, torch.tensor([[[0.1875, 0.1875, 0.8125, 0.8125]]]))


@pytest.mark.parametrize("score", ["softmax", "sigmoid"])
def test_a_detector_drops_the_background(score: str) -> None:
    logits = torch.tensor([[[9.0, 1.0, 0.0], [0.0, 2.0, 3.0]]])
    priors = torch.tensor([[0.2, 0.2, 0.1, 0.1], [0.7, 0.7, 0.2, 0.2]])
    selection = Selection("softmax" if score == "softmax" else "sigmoid", detections=1)
    classes, scores, boxes = Detector(priors, selection)(logits, torch.zeros(1, 2, 4))
    best = logits.softmax(2) if score == "softmax" else logits.sigmoid()
    assert classes.tolist() == [[1.0]]
    torch.testing.assert_close(scores, best[:, 1, 2:])
    torch.testing.assert_close(boxes, torch.tensor([[[0.6, 0.6, 0.8, 0.8]]]))


class Detections(nn.Module):
    """Cuts logits of three classes and offsets out of an image (N, A, 7), and selects."""

    def __init__(self, priors: torch.Tensor) -> None:
        super().__init__()
        self.detector = Detector(priors, Selection(detections=8))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.detector(images[:, :, :3], images[:, :, 3:])


def test_a_trace_keeps_the_suppression_as_one_node() -> None:
    torch.manual_seed(0)
    network = Detections(random_boxes(5)).eval()
    images = torch.randn(1, 5, 7)
    with torch.no_grad():
        traced = torch.jit.trace(network, images, check_trace=False)
    nodes = [node.kind() for node in traced.inlined_graph.nodes()]
    assert nodes.count("edgetvm::class_wise_nms") == 1
    other = torch.randn(1, 5, 7)
    for found, expected in zip(traced(other), network(other), strict=True):
        torch.testing.assert_close(found, expected)
    assert [found.shape for found in network(other)] == [(1, 8), (1, 8), (1, 8, 4)]
    assert not network.state_dict()


def test_a_network_with_suppression_runs_without_data() -> None:
    network = Detections(torch.zeros(5, 4)).to("meta")
    assert network(torch.empty(2, 5, 7, device="meta"))[2].shape == (2, 8, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"score": "tanh"}, "softmax or sigmoid, not 'tanh'"),
        ({"iou_threshold": 1.5}, r"iou_threshold 1\.5 must be in 0\.\.1"),
        ({"score_threshold": -0.1}, r"score_threshold -0\.1 must be in 0\.\.1"),
        ({"per_class": 0}, "per_class 0 must be positive"),
        ({"detections": 0}, "detections 0 must be positive"),
    ],
)
def test_a_selection_that_cannot_be_is_rejected(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Selection(**options)
