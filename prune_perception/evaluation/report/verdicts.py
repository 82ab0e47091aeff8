# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Which detection is which mistake: what ``errors.count_errors`` counts, one by one.

The kinds and the rules are those of ``errors``; a picture needs to know which box is meant.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prune_perception.detections import Detections
from prune_perception.evaluation.errors import BACKGROUND, FOREGROUND, intersections_over_union
from prune_perception.evaluation.truth import Truth

KINDS = ('missed', 'false', 'poorly_placed', 'wrong_class', 'double')
"""Of mistakes, by the names of the fields of ``ErrorCounts``."""


@dataclass(frozen=True, eq=False)
class Verdict:
    """
    What is right and wrong about one frame.

    :param kinds: of each detection: ``correct``, one of ``KINDS`` or ``ignored``.
    :param missed: (objects,) bool, objects about which nothing was said.
    """

    kinds: tuple[str, ...]
    missed: NDArray[np.bool_]


def verdict(found: Detections, truth: Truth) -> Verdict:
    """
    Judge each detection of a frame.

    :param found: above the operating point, best score first, of the classes of ``truth``.
    """
    overlaps = intersections_over_union(found.boxes, truth.boxes, truth.crowd)
    same = (found.classes[:, None] == truth.classes[None]) | (truth.classes[None] < 0)
    real = ~truth.crowd
    taken = np.zeros(len(real), np.bool_)
    spoken_of = np.zeros(len(real), np.bool_)  # by a mistake that mending would make right
    kinds = [''] * len(found)
    for index, row in enumerate(overlaps):
        free = np.where(same[index] & real & ~taken, row, 0)
        if free.max(initial=0) >= FOREGROUND:
            taken[free.argmax()] = True
            kinds[index] = 'correct'
    for index, row in enumerate(overlaps):
        if kinds[index]:
            continue
        own = np.where(same[index] & real, row, 0)
        other = np.where(~same[index] & real, row, 0)
        if (same[index] & ~real & (row >= FOREGROUND)).any():
            kinds[index] = 'ignored'
        elif own.max(initial=0) >= FOREGROUND:
            kinds[index] = 'double'
        elif other.max(initial=0) >= FOREGROUND:
            kinds[index] = 'wrong_class'
            spoken_of[other.argmax()] = True
        elif own.max(initial=0) >= BACKGROUND:
            kinds[index] = 'poorly_placed'
            spoken_of[own.argmax()] = True
        else:
            kinds[index] = 'false'
    return Verdict(tuple(kinds), real & ~taken & ~spoken_of)
