# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Motion while the shutter is open."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray


def travel_kernel(across: float, down: float) -> NDArray[np.float32]:
    """
    Return the kernel of a uniform motion along a line.

    It is symmetric about its centre, so that what it blurs stays in its place.

    :param across: length of the travel in pixels to the right; ``down`` likewise.
    :returns: (n, n) with n odd, of sum 1.
    """
    radius = math.ceil(max(abs(across), abs(down)) / 2) + 1
    count = 4 * math.ceil(math.hypot(across, down)) + 1
    time = (np.arange(count) + 0.5) / count - 0.5
    x, y = radius + across * time, radius + down * time
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1))
    # Each point of the line is shared between the four pixels around it.
    for column, row in ((0, 0), (1, 0), (0, 1), (1, 1)):
        weight = (1 - np.abs(x - left - column)) * (1 - np.abs(y - top - row))
        np.add.at(kernel, (np.minimum(top + row, 2 * radius),
                           np.minimum(left + column, 2 * radius)), weight)
    return (kernel / count).astype(np.float32)


def blur(light: NDArray[np.float32], across: float, down: float) -> NDArray[np.float32]:
    """Return light, (height, width, 3), smeared along a line; lengths in pixels."""
    return cv2.filter2D(
        light, -1, travel_kernel(across, down), borderType=cv2.BORDER_REPLICATE)
