# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
A camera that does not hold still.

What is shown is a part of the source image, enlarged to its size, that moves: so nothing has to be
invented at the edges, and ground truth moves with it. Everything is a little larger than in the
source, and what is at the edges may be out of view: compare severities with each other, and
with the clean images only with that in mind.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from prune_perception.evaluation.corruptions.interface import Corruption
from prune_perception.evaluation.corruptions.light import to_image, to_light
from prune_perception.evaluation.corruptions.travel import blur

SHUTTER = 0.5
"""Share of the time between two frames for which the shutter is open: a 180-degree shutter."""


class ShakingCamera(Corruption):
    """
    A camera that shakes, on a rough floor or a worn bearing.

    Each frame is displaced by a normal draw of the stated size, across in shares of the width and
    down in shares of the height, of at most twice that size; and blurred along a line by another
    draw of half that size, for shaking that is faster than the frames. For a camera that sees 60
    degrees, 1 % of the width is 0.6 degrees.
    """

    name = 'shaking_camera'
    figure = "RMS displacement, % of the image's side"
    levels = (0.3, 0.6, 1.0, 1.6, 2.5)

    def view(self, index: int, width: int, height: int) -> NDArray[np.float64]:
        """Return a displaced view of what is at least twice the RMS inside the edges."""
        margin = 2 * self.level / 100
        shift = np.clip(self._draws(index)[:2], -2, 2) / 2  # -1 to 1: of the margin
        return _view_of(1 - 2 * margin, (1 + shift) / 2, width, height)

    def image(self, image: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
        """Return the image as the shaking camera sees it."""
        height, width = image.shape[:2]
        across, down = SHUTTER * self.level / 100 * self._draws(index)[2:] * (width, height)
        light = _warp(to_light(image), self.view(index, width, height))
        return to_image(blur(light, float(across), float(down)))

    def _draws(self, index: int) -> NDArray[np.float64]:
        return self.random(index).standard_normal(4)


class PanningCamera(Corruption):
    """
    A camera that turns to and fro, with the blur that comes of it.

    It sees two thirds of the width and of the height of the source, enlarged 1.5 times, and moves
    evenly from edge to edge and back. For a camera that sees 60 degrees at 10 frames/s, 1 % of
    the width per frame is 6 degrees/s. The shutter is open half the time.
    """

    name = 'panning_camera'
    figure = "speed, % of the image's width per frame"
    levels = (1.0, 2.0, 3.0, 4.5, 6.0)

    SEEN = 2 / 3

    def view(self, index: int, width: int, height: int) -> NDArray[np.float64]:
        """Return the view that the camera has turned to."""
        # In shares of the way from edge to edge, which is half of the width that is seen.
        way = self.random().uniform(0, 2) + self.level / 100 * index * self.SEEN / (1 - self.SEEN)
        across = 1 - abs(way % 2 - 1)
        return _view_of(self.SEEN, np.array([across, 0.5]), width, height)

    def image(self, image: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
        """Return the image as the turning camera sees it."""
        height, width = image.shape[:2]
        light = _warp(to_light(image), self.view(index, width, height))
        return to_image(blur(light, SHUTTER * self.level / 100 * width, 0.0))


def _view_of(
        share: float, place: NDArray[np.float64], width: int, height: int
        ) -> NDArray[np.float64]:
    """
    Return the view of a part of the image; see ``Corruption.view``.

    :param share: of the width and of the height that is seen.
    :param place: where across and down, 0 at the left or upper edge, 1 at the other.
    """
    corner = (1 - share) * place * (width, height)
    return np.column_stack([np.eye(2) / share, -corner / share])


def _warp(light: NDArray[np.float32], view: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return light as seen by a view; see ``Corruption.view``."""
    # OpenCV's origin is the centre of the first pixel and not its corner.
    matrix = view.copy()
    matrix[:, 2] += (np.diag(view) - 1) / 2
    return cv2.warpAffine(
        light, matrix, (light.shape[1], light.shape[0]), flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE)
