# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""How far the outputs of two networks lie apart, by what the decoder reads in them."""

from collections.abc import Callable, Sequence
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_perception.runtime.decoders.layout import Part

Array = NDArray[Any]
Divide = Callable[[Sequence[Array]], list[Array]]
"""Takes the outputs of a network and returns the parts that have a scale of their own."""

TOLERANCE = 1e-3
"""Of the largest number in a field: what rounding and the order of sums make is far below."""

# Engines compute a sigmoid to some 1e-7, whatever it is: where no score reaches this, that is
# no small part of the largest.
_LEAST = 1e-2


def fields_of(decoder: object) -> Divide:
    """
    Return what divides outputs into the fields that a decoder reads in them.

    Boxes in pixels are a thousand times as large as the scores that may lie beside them in one
    output: each is measured by its own. Outputs of decoders without a layout stay whole, but
    lists of detections, whose columns are fields.
    """
    layout = getattr(decoder, 'layout', None)
    if layout is None:
        from prune_perception.runtime.decoders.listed import ListedDecoder
        return _columns if isinstance(decoder, ListedDecoder) else list
    fields: dict[tuple[int, str], list[Part]] = {}
    for block in layout.blocks:
        for name, part in block.parts.items():
            fields.setdefault((part.output, name), []).append(part)

    def divide(outputs: Sequence[Array]) -> list[Array]:
        return [np.concatenate([part.read(outputs) for part in parts])
                for parts in fields.values()]

    return divide


def _columns(outputs: Sequence[Array]) -> list[Array]:
    return [column for output in outputs
            for column in (np.moveaxis(output, -1, 0) if output.ndim == 3 else [output])]


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
