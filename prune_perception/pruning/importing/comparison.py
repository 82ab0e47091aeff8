# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""How far the outputs of two networks lie apart, by what the decoder reads in them."""

from collections.abc import Callable, Sequence
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Divide = Callable[[Sequence[Array]], list[Array]]
"""Returns what outputs hold that has a scale of its own: a decoder's ``fields``."""

TOLERANCE = 1e-3
"""Of the largest number in a field: what rounding and the order of sums make is far below."""

# Engines compute a sigmoid to some 1e-7, whatever it is: where no score reaches this, that is
# no small part of the largest.
_LEAST = 1e-2


def difference(found: Sequence[Array], expected: Sequence[Array], fields: Divide) -> float:
    """
    Return the greatest difference of a field's numbers, as a share of its largest number.

    :param found: outputs for one image.
    :returns: infinity where shapes differ or a number is none.
    """
    if [one.shape for one in found] != [other.shape for other in expected]:
        return math.inf
    greatest = 0.0
    for one, other in zip(fields(found), fields(expected), strict=True):
        largest = max(float(np.abs(other).max(initial=0)), _LEAST)
        share = float(np.abs(one - other).max(initial=0)) / largest
        if not math.isfinite(share):
            return math.inf
        greatest = max(greatest, share)
    return greatest


def greatest_difference(found: Sequence[Sequence[Array]], expected: Sequence[Sequence[Array]],
                        fields: Divide) -> float:
    """Return the greatest difference of all images (see :func:`difference`)."""
    return max(difference(ours, theirs, fields)
               for ours, theirs in zip(found, expected, strict=True))
