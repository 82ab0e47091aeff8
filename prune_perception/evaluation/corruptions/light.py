# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Between grey values and light: the transfer function of sRGB (IEC 61966-2-1)."""

import cv2
import numpy as np
from numpy.typing import NDArray

_STEPS = 4095  # in light; fine enough that the darkest grey values stay apart


def _light_of(grey: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(grey <= 0.04045, grey / 12.92, ((grey + 0.055) / 1.055) ** 2.4)


def _grey_of(light: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


_TO_LIGHT = _light_of(np.arange(256) / 255).astype(np.float32).reshape(1, 256)
_TO_GREY = np.rint(255 * _grey_of(np.arange(_STEPS + 1) / _STEPS)).astype(np.uint8)


def to_light(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the light of an image, of its shape; white is 1."""
    return cv2.LUT(image, _TO_LIGHT)


def to_image(light: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the image that a camera makes of light; above 1 it is white, below 0 black."""
    steps = np.clip(light * _STEPS + 0.5, 0, _STEPS).astype(np.uint16)
    return _TO_GREY[steps]
