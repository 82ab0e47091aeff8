# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The part of an image that the detector looks at."""

from collections.abc import Sequence
from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray

from prune_perception.detections import Detections

_ROUNDING = 1e-6  # of texts such as 0.333333


@dataclass(frozen=True)
class Region:
    """
    A rectangle in shares of the image, from 0 to 1, whatever its size in pixels.

    Of an image 640 wide and 480 high, ``Region(0, 0.5, 1, 0.5)`` is the lower half: 240 rows from
    row 240 on.

    :raises ValueError: it is empty or reaches out of the image.
    """

    x: float = 0.0
    y: float = 0.0
    width: float = 1.0
    height: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what is no part of an image."""
        values = (self.x, self.y, self.width, self.height)
        if not all(math.isfinite(value) for value in values) or (
                min(self.x, self.y) < 0 or min(self.width, self.height) <= 0
                or max(self.x + self.width, self.y + self.height) > 1 + _ROUNDING):
            raise ValueError(
                f'{list(values)} is no part of the image; it must be x, y, width, height as '
                'shares of it, with x + width and y + height at most 1')

    @classmethod
    def of(cls, values: Sequence[float]) -> 'Region':
        """
        Return the region that four numbers name.

        :raises ValueError: they name none.
        """
        if len(values) != 4:
            raise ValueError(
                f'{list(values)} has {len(values)} numbers; it must have four: x, y, width, '
                'height as shares of the image')
        return cls(*values)

    def least(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height in pixels of an image whose region has this size."""
        return math.ceil(width / self.width), math.ceil(height / self.height)

    def cut(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        """
        Return the region of an image, without copying it, and its left and upper edge in pixels.

        :param image: (height, width, 3).
        :returns: at least one pixel of it.
        """
        height, width = image.shape[:2]
        left, right = _pixels(self.x, self.width, width)
        top, bottom = _pixels(self.y, self.height, height)
        return image[top:bottom, left:right], (left, top)


def moved(detections: Detections, corner: tuple[int, int]) -> Detections:
    """Return detections of a part of an image as of the whole; ``corner`` is that of the part."""
    if corner == (0, 0):
        return detections
    return Detections(
        detections.boxes + np.array(corner * 2, np.float32), detections.scores,
        detections.classes)


def enlarged(detections: Detections, factor: int, width: int, height: int) -> Detections:
    """
    Return detections of an image decoded at a part of its size as of the whole.

    :param factor: pixels of the whole, along a side, that made one of the part.
    :param width: of the whole, pixels: the last pixel of a part may reach beyond it.
    :param height: of the whole, pixels.
    """
    if factor == 1:
        return detections
    edge = np.array((width, height) * 2, np.float32)
    return Detections(
        np.minimum(detections.boxes * factor, edge), detections.scores, detections.classes)


def _pixels(start: float, length: float, size: int) -> tuple[int, int]:
    first = min(round(start * size), size - 1)
    return first, min(max(round((start + length) * size), first + 1), size)
