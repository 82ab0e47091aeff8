# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""What goes wrong between the lens and the cable: blur, noise, exposure, compression."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from prune_perception.evaluation.corruptions.interface import Corruption
from prune_perception.evaluation.corruptions.light import to_image, to_light
from prune_perception.evaluation.corruptions.travel import blur

READ_NOISE = 4.0
"""Electrons, RMS: within the 2 to 10 that data sheets of machine-vision sensors give."""
FULL_WELL = 10_000.0
"""Electrons that white is in good light: a small pixel's."""


class MotionBlur(Corruption):
    """
    The camera moves while its shutter is open.

    Uniform motion along a line of the stated length, as of a robot that turns: the direction
    stays within 25 degrees of the horizontal and changes slowly from frame to frame.
    """

    name = 'motion_blur'
    figure = "length of the blur, % of the image's width"
    levels = (0.5, 1.0, 1.5, 2.2, 3.0)

    def image(self, image: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
        """Return the image, blurred."""
        length = self.level / 100 * image.shape[1]
        phase = self.random().uniform(0, 2 * math.pi)
        angle = math.radians(25) * math.sin(2 * math.pi * index / 40 + phase)
        return to_image(blur(to_light(image), length * math.cos(angle), length * math.sin(angle)))


class Noise(Corruption):
    """
    Few photons: shot noise and read noise.

    The variance, in electrons, is that of the photons (their number, by Poisson's law) and the
    square of the read noise, 4 electrons (after EMVA 1288, without dark current). Both are drawn
    as one normal distribution, which the sum comes close to but for the very darkest. Each value
    of each pixel has its own; a camera that interpolates its colours spreads the noise over
    neighbours.
    """

    name = 'noise'
    figure = 'electrons that white is, falling'
    levels = (1000.0, 300.0, 100.0, 40.0, 15.0)

    def image(self, image: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
        """Return the image, noisy."""
        return to_image(_expose(to_light(image), self.level, self.random(index)))


class LowLight(Corruption):
    """
    Too little light, of which the camera makes up half the stops by gain.

    In good light white is 10 000 electrons. Each missing stop halves that, so that the noise
    grows against the signal; the other half of the stops stays as darkness.
    """

    name = 'low_light'
    figure = 'stops of light that are missing'
    levels = (3.0, 4.5, 6.0, 7.0, 8.0)

    def image(self, image: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
        """Return the image, dark and noisy."""
        electrons = FULL_WELL / 2 ** self.level
        light = _expose(to_light(image), electrons, self.random(index))
        return to_image(light / np.float32(2 ** (self.level / 2)))


class Overexposure(Corruption):
    """Too much light: what is brighter than white is white, channel by channel."""

    name = 'overexposure'
    figure = 'stops of light too many'
    levels = (0.7, 1.4, 2.0, 3.0, 4.0)

    def image(self, image: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
        """Return the image, overexposed."""
        return to_image(to_light(image) * np.float32(2 ** self.level))


class Jpeg(Corruption):
    """
    A thin cable: compressed as JPEG and decompressed.

    The qualities are those of Hendrycks and Dietterich (arXiv 1903.12261).
    """

    name = 'jpeg'
    figure = 'JPEG quality, falling'
    levels = (25.0, 18.0, 15.0, 10.0, 7.0)

    def image(self, image: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
        """Return the image as it comes back from compression."""
        good, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, int(self.level)])
        if not good:
            raise ValueError(f'image of shape {image.shape} cannot be compressed as JPEG')
        return cv2.imdecode(data, cv2.IMREAD_COLOR)


def _expose(
        light: NDArray[np.float32], white: float, random: np.random.Generator
        ) -> NDArray[np.float32]:
    """
    Return light as a sensor measures it.

    :param white: electrons that light of 1 sets free.
    """
    draws = random.standard_normal(light.shape, np.float32)
    # In units of white: variance / white^2 = light / white + (read noise / white)^2.
    variance = light / np.float32(white) + np.float32((READ_NOISE / white) ** 2)
    return light + draws * np.sqrt(variance)
