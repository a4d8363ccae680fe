"""Non-maximum suppression: :func:`edgetvm.models.detection.class_wise_nms` in Relay."""

from typing import Any

import numpy as np
from tvm import relay


def convert_class_wise_nms(inputs: list[Any], _input_types: list[str]) -> Any:
    """Return detections (1, D, 6) from boxes (1, A, 4) and scores (1, C, A).

    For TVM's importer from PyTorch. TVM suppresses boxes whose overlap equals the threshold too.

    Raises
    ------
    NotImplementedError
        The batch is not a single image.
    """
    boxes, scores, per_class, iou_threshold, score_threshold, detections = inputs
    typed = relay.transform.InferTypeLocal(scores)
    batch, classes, priors = (int(extent) for extent in typed.shape)
    if batch != 1:
        raise NotImplementedError(f"detections of a batch of {batch}; give a batch of 1")
    found = relay.vision.all_class_non_max_suppression(
        boxes,
        scores,
        int(per_class),
        float(np.nextafter(np.float32(iou_threshold), np.float32(2))),
        float(score_threshold),
        output_format="tensorflow",
    )
    # All classes' finds one after the other, followed by rows that mean nothing.
    kept = _up_to(relay.squeeze(found[1], [0]), found[2], classes * priors)
    best = relay.topk(kept, int(detections), axis=0, ret_type="both", dtype="int64")
    places = relay.take(relay.squeeze(found[0], [0]), best[1], axis=0)
    index = relay.cast(relay.take(places, relay.const(0), axis=1), "float32")
    corners = relay.take(
        relay.squeeze(boxes, [0]), relay.take(places, relay.const(1), axis=1), axis=0
    )
    rows = relay.concatenate(
        [relay.expand_dims(index, 1), relay.expand_dims(best[0], 1), corners], axis=1
    )
    is_kept = relay.expand_dims(relay.greater_equal(best[0], relay.const(0.0)), 1)
    return relay.expand_dims(relay.where(is_kept, rows, relay.const(-1.0)), 0)


def _up_to(scores: Any, count: Any, length: int) -> Any:
    """Replace `scores` (length,) from `count` (1,) on by -1."""
    position = relay.const(np.arange(length), "int64")
    is_found = relay.less(position, relay.cast(count, "int64"))
    return relay.where(is_found, scores, relay.const(-1.0))
