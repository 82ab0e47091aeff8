# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Non-maximum suppression: of boxes that overlap and name one class, the best stays."""

import cv2
import numpy as np
from numpy.typing import NDArray


def best_of(
        boxes: NDArray[np.float32], scores: NDArray[np.float32], classes: NDArray[np.int64],
        iou_threshold: float, max_detections: int, *, nms: bool) -> NDArray[np.int64]:
    """
    Return the indices of the detections to keep, best score first.

    :param nms: whether to suppress; without, all are taken for different objects.
    :param boxes: and the others: see :func:`class_aware_nms`.
    """
    if nms:
        return class_aware_nms(boxes, scores, classes, iou_threshold, max_detections)
    return np.argsort(-scores, kind='stable')[:max_detections]


def class_aware_nms(
        boxes: NDArray[np.float32], scores: NDArray[np.float32], classes: NDArray[np.int64],
        iou_threshold: float, max_detections: int) -> NDArray[np.int64]:
    """
    Suppress boxes whose intersection over union with a better one of their class is too large.

    :param boxes: (n, 4) x1, y1, x2, y2.
    :param scores: (n,).
    :param classes: (n,).
    :param iou_threshold: boxes that overlap by more than this are one object.
    :param max_detections: how many to keep at most.
    :returns: indices of the boxes kept, best score first.
    """
    if not len(scores):
        return np.zeros(0, np.int64)
    corners = boxes.astype(np.float64)
    # Each class in a place of its own, so that one call suppresses within classes alone.
    shift = (corners.max() - corners.min() + 1) * classes
    rectangles = np.empty_like(corners)
    rectangles[:, :2] = corners[:, :2] + shift[:, None]
    rectangles[:, 2:] = corners[:, 2:] - corners[:, :2]
    kept = np.asarray(
        cv2.dnn.NMSBoxes(rectangles, scores, 0.0, iou_threshold), np.int64).reshape(-1)
    return kept[:max_detections]
