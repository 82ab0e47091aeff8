# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Detections drawn into an image, for people to look at."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from prune_perception.detections import Detections


def draw(
        image: NDArray[np.uint8], detections: Detections, class_names: Sequence[str]
        ) -> NDArray[np.uint8]:
    """
    Return a copy of an image with a box and a label for each detection.

    :param image: (height, width, 3) BGR.
    """
    canvas = image.copy()
    scale = max(image.shape[0] / 720, 0.5)
    thickness = max(round(1.5 * scale), 1)
    # Worst first: where labels overlap, the best one is on top.
    for box, score, index in zip(
            detections.boxes[::-1], detections.scores[::-1], detections.classes[::-1],
            strict=True):
        x1, y1, x2, y2 = (int(round(float(value))) for value in box)
        colour = _colour(int(index))
        cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, thickness)
        label = f'{class_names[index]} {score:.2f}'
        (width, height), baseline = cv2.getTextSize(
            label, cv2.FONT_HERSHEY_SIMPLEX, 0.5 * scale, thickness)
        bottom = max(y1, height + baseline)  # keep the label inside the image
        cv2.rectangle(
            canvas, (x1, bottom - height - baseline), (x1 + width, bottom), colour, cv2.FILLED)
        cv2.putText(
            canvas, label, (x1, bottom - baseline // 2), cv2.FONT_HERSHEY_SIMPLEX, 0.5 * scale,
            (0, 0, 0), thickness, cv2.LINE_AA)
    return canvas


def _colour(index: int) -> tuple[int, int, int]:
    """Return a light BGR colour for a class; neighbours in the list differ clearly."""
    hue = index * 67 % 180  # OpenCV's hues end at 180; 67 shares no factor with it
    pixel = cv2.cvtColor(np.array([[[hue, 160, 255]]], np.uint8), cv2.COLOR_HSV2BGR)[0, 0]
    return int(pixel[0]), int(pixel[1]), int(pixel[2])
