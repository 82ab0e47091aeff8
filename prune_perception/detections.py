# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The value type that everything speaks: the objects found in one image."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)  # arrays have no single truth
class Detections:
    """
    The objects found in one image, best score first.

    :param boxes: float32 of shape (n, 4): x1, y1, x2, y2 in pixels of the source image, the
        origin at the outer corner of the top left pixel.
    :param scores: float32 of shape (n,), from 0 to 1.
    :param classes: int64 of shape (n,): indices into the class names of the model bundle.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]

    def __post_init__(self) -> None:
        """Refuse arrays whose lengths differ: each row is one object."""
        count = len(self.scores)
        if (self.boxes.shape, self.scores.shape, self.classes.shape) != (
                (count, 4), (count,), (count,)):
            raise ValueError(
                f'boxes {self.boxes.shape}, scores {self.scores.shape} and classes '
                f'{self.classes.shape} do not describe the same objects')

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self.scores)

    @staticmethod
    def none() -> 'Detections':
        """Return the detections of an image in which nothing was found."""
        return Detections(
            np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
