# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
What kinds of mistakes a detector makes at its operating point.

The kinds are those of Bolya, Foley, Hays and Hoffman, *TIDE: A General Toolbox for Identifying
Object Detection Errors* (ECCV 2020), as far as they can be counted: with a match at an
intersection over union of 0.5 and background below 0.1, each object is found or missed, and each
detection is

=================  ============================================================================
*correct*          matched to an object of its class (IoU of 0.5 or more, best score first)
*double*           on an object of its class that a better detection has
*wrong class*      on an object of another class (IoU of 0.5 or more)
*poorly placed*    near an object of its class (IoU from 0.1 to 0.5)
*false*            anything else; what is near an object of another class is also here
=================  ============================================================================

Like in TIDE, an object is *missed* only where no detection is wrong or poorly placed about it:
mending that one mistake would find it. Detections in ignored regions are not counted at all.
"""

from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

FOREGROUND = 0.5
"""Intersection over union from which a detection is on an object."""
BACKGROUND = 0.1
"""Intersection over union below which a detection has nothing to do with an object."""


@dataclass(frozen=True)
class ErrorCounts:
    """
    How often each kind of mistake was made.

    :param objects: that there are; ignored regions are none.
    :param detections: that count; those in ignored regions do not.
    :param correct: detections that are matched to an object.
    :param missed: objects about which nothing was said.
    """

    objects: int = 0
    detections: int = 0
    correct: int = 0
    missed: int = 0
    false: int = 0
    poorly_placed: int = 0
    wrong_class: int = 0
    double: int = 0

    def __add__(self, other: 'ErrorCounts') -> 'ErrorCounts':
        """Return the counts of both together."""
        return ErrorCounts(*(
            mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    @property
    def mistakes(self) -> int:
        """Return how many there are of all kinds, to find the worst frames by."""
        return (self.missed + self.false + self.poorly_placed + self.wrong_class + self.double)


def intersections_over_union(
        boxes: NDArray[np.floating], objects: NDArray[np.floating],
        crowd: NDArray[np.bool_]) -> NDArray[np.float64]:
    """
    Return the overlap of each box with each object.

    For a crowd it is the intersection over the area of the box, as COCO has it: a region is not
    filled by what lies in it.

    :param boxes: (n, 4), x1, y1, x2, y2.
    :param objects: (m, 4), likewise.
    :param crowd: (m,).
    :returns: (n, m), from 0 to 1.
    """
    first = boxes.astype(np.float64)[:, None]
    second = objects.astype(np.float64)[None]
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(
        first[..., :2], second[..., :2])
    shared = np.prod(np.maximum(sides, 0), axis=2)
    area = np.prod(first[..., 2:] - first[..., :2], axis=2)
    union = area + np.prod(second[..., 2:] - second[..., :2], axis=2) - shared
    whole = np.where(crowd[None], area, union)
    return np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)


def count_errors(
        boxes: NDArray[np.floating], classes: NDArray[np.int64],
        objects: NDArray[np.floating], object_classes: NDArray[np.int64],
        crowd: NDArray[np.bool_]) -> ErrorCounts:
    """
    Count the mistakes in one frame.

    :param boxes: (n, 4) detections above the operating point, best score first.
    :param classes: (n,) of the detections.
    :param objects: (m, 4) boxes of the objects and of ignored regions.
    :param object_classes: (m,) in the numbers of ``classes``; -1 for a region of any class.
    :param crowd: (m,) which of them are ignored regions.
    """
    overlaps = intersections_over_union(boxes, objects, crowd)
    same = (classes[:, None] == object_classes[None]) | (object_classes[None] < 0)
    real = ~crowd
    taken = np.zeros(len(objects), np.bool_)
    touched = np.zeros(len(objects), np.bool_)  # by a mistake that mending would make right
    counts = dict.fromkeys(('correct', 'double', 'wrong_class', 'poorly_placed', 'false'), 0)
    left: list[int] = []
    for index in range(len(boxes)):
        free = np.where(same[index] & real & ~taken, overlaps[index], 0)
        best = int(free.argmax()) if len(free) else -1
        if best >= 0 and free[best] >= FOREGROUND:
            taken[best] = True
            counts['correct'] += 1
        else:
            left.append(index)
    ignored = 0
    for index in left:
        own = np.where(same[index] & real, overlaps[index], 0)
        other = np.where(~same[index] & real, overlaps[index], 0)
        if (same[index] & crowd & (overlaps[index] >= FOREGROUND)).any():
            ignored += 1
        elif own.max(initial=0) >= FOREGROUND:
            counts['double'] += 1
        elif other.max(initial=0) >= FOREGROUND:
            counts['wrong_class'] += 1
            touched[int(other.argmax())] = True
        elif own.max(initial=0) >= BACKGROUND:
            counts['poorly_placed'] += 1
            touched[int(own.argmax())] = True
        else:
            counts['false'] += 1
    return ErrorCounts(
        objects=int(real.sum()), detections=len(boxes) - ignored,
        missed=int((real & ~taken & ~touched).sum()), **counts)
