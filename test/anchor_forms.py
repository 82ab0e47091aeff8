# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The forms in which networks give what they say of anchors, on an input of 32 x 64 pixels."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

# Strides 16 and 32 make 2 x 4 and 1 x 2 cells of 32 x 64 pixels.
CELLS = ((2, 4), (1, 2))
STRIDES = [16, 32]
ANCHORS = 10


def fields(**values: tuple[int, float]) -> dict[str, Array]:
    """Return (anchors, size) of each field, all one value."""
    return {name: np.full((ANCHORS, size), value, np.float32)
            for name, (size, value) in values.items()}


def forms(anchors: Mapping[str, Array]) -> dict[str, list[Array]]:
    """Return the same fields in every form in which networks give them."""
    together = np.concatenate(list(anchors.values()), 1)

    def maps(values: Array) -> list[Array]:
        first, start = [], 0
        for rows, columns in CELLS:
            level = values[start:start + rows * columns]
            first.append(level.T.reshape(1, -1, rows, columns))
            start += rows * columns
        return first

    def last(channels_first: list[Array]) -> list[Array]:
        return [np.ascontiguousarray(level.transpose(0, 2, 3, 1)) for level in channels_first]

    apart = [maps(values) for values in anchors.values()]
    by_field = [level for field in apart for level in field]
    by_level = [field[level] for level in range(2) for field in apart]
    return {
        'maps': maps(together), 'maps, channels last': last(maps(together)),
        'maps by field': by_field, 'maps by level': by_level,
        'maps by level, channels last': last(by_level),
        'rows': [together[None]], 'columns': [np.ascontiguousarray(together.T)[None]],
        'rows apart': [values[None] for values in anchors.values()],
        'columns apart': [np.ascontiguousarray(values.T)[None] for values in anchors.values()]}


FORMS = tuple(forms(fields(one=(1, 0.0))))
