# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
What a robot's camera could have seen instead: views of a frame to distil on.

The dense network says what is in a view, so that no label has to follow it.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

_SCALES = (0.6, 1.6)  # nearer or farther
_SHIFT = 0.4  # of the width and the height, to each side
_GAINS = (0.6, 1.5)  # of the exposure
_LARGEST_GAMMA = 0.25  # natural logarithm, both ways
_BLUR, _NOISE = 0.2, 0.2  # shares of the views
_BLURS = (0.3, 1.2)  # standard deviation, pixels
_NOISES = (1.0, 8.0)  # standard deviation, pixel values


def view(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """
    Return a view of a frame: the same numbers from ``rng`` make the same view.

    It is scaled, shifted and exposed otherwise; some are blurred, some are noisy. What comes in
    from beyond the edges mirrors the image.

    :param image: uint8 (height, width, 3).
    :returns: uint8 (height, width, 3), a new array.
    """
    seen = _exposed(_moved(image, rng), rng)
    kind = rng.random()
    if kind < _BLUR:
        return np.asarray(cv2.GaussianBlur(seen, (0, 0), rng.uniform(*_BLURS)), np.uint8)
    if kind < _BLUR + _NOISE:
        noise = rng.standard_normal(seen.shape, np.float32) * np.float32(rng.uniform(*_NOISES))
        return np.clip(seen + noise + 0.5, 0, 255).astype(np.uint8)
    return seen


def _moved(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Scale about the centre and shift."""
    height, width = image.shape[:2]
    scale = math.exp(rng.uniform(math.log(_SCALES[0]), math.log(_SCALES[1])))
    shift_x, shift_y = rng.uniform(-_SHIFT, _SHIFT, 2) * (width, height)
    # Pixels are points at whole numbers here, so that the centre lies at (size - 1) / 2.
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    matrix = np.array([[scale, 0, centre_x - scale * centre_x + shift_x],
                       [0, scale, centre_y - scale * centre_y + shift_y]])
    return np.asarray(cv2.warpAffine(
        image, matrix, (width, height), flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101), np.uint8)


def _exposed(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Change gain and gamma."""
    gain = math.exp(rng.uniform(math.log(_GAINS[0]), math.log(_GAINS[1])))
    gamma = math.exp(rng.uniform(-_LARGEST_GAMMA, _LARGEST_GAMMA))
    curve = 255 * np.clip(np.arange(256) / 255 * gain, 0, 1) ** gamma
    return np.asarray(cv2.LUT(image, np.rint(curve).astype(np.uint8)), np.uint8)
