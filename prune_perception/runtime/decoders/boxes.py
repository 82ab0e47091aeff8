# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Boxes in the ways in which networks that decode themselves give them, and their bound."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_perception.bundle import InputSpec
from prune_perception.runtime.decoders.settings import choice

Array = NDArray[np.float32]

FORMS = ('xyxy', 'cxcywh', 'xywh', 'yxyx')
UNITS = ('pixels', 'normalised')

LARGEST_EXPONENT = 10.0
"""Of the logarithm of a size or distance: 22,000 units; more is no box and would not be finite."""


def corners_of(form: Any, units: Any, fed: InputSpec) -> Callable[[Array], Array]:
    """
    Return what turns a network's boxes (n, 4) into x1, y1, x2, y2 in network pixels.

    :param form: ``xyxy`` and ``yxyx`` are corners, ``cxcywh`` the centre and the size, ``xywh``
        the first corner and the size.
    :param units: ``pixels``, or ``normalised`` by the input's size.
    :raises ValueError: there is no such form or unit.
    """
    choice('boxes', form, FORMS)
    choice('units', units, UNITS)
    edge = np.array([fed.width, fed.height] * 2 if units == 'normalised' else [1] * 4, np.float32)

    def convert(boxes: Array) -> Array:
        if form == 'yxyx':
            boxes = boxes[:, [1, 0, 3, 2]]
        elif form == 'cxcywh':
            half = boxes[:, 2:] / 2
            boxes = np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], 1)
        elif form == 'xywh':
            boxes = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
        return np.asarray(boxes * edge, np.float32)

    return convert
