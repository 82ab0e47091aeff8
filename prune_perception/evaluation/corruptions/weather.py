# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Bad weather in front of the lens."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from prune_perception.evaluation.corruptions.interface import Corruption
from prune_perception.evaluation.corruptions.light import to_image, to_light
from prune_perception.evaluation.corruptions.travel import travel_kernel


class Fog(Corruption):
    """
    Fog, for which the image is taken to be one of level ground.

    Koschmieder's law: of what is d away a share exp(-d / scale) of the light arrives, and the
    rest is filled with the light of the fog. Nothing here knows distances; instead they follow
    from the height in the image, as on a plane whose horizon is the upper edge: the inverse of
    the height below it, at most 6 times that at the lower edge. At an optical depth of 3 contrast
    is down to 5 %, where meteorologists end the visibility: at severity 4 that is the far end of
    the view. The density varies by up to a third, smoothly, and drifts.

    Where the camera looks down, or there is a wall behind the objects, real fog would be more
    even than this.
    """

    name = 'fog'
    figure = 'optical depth at the far end of the view'
    levels = (0.6, 1.2, 2.0, 3.0, 4.5)

    AIRLIGHT = 0.7
    """Light of the fog itself, of white: a grey value of 218."""
    FARTHEST = 6.0

    def image(self, image: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
        """Return the image, in fog."""
        height, width = image.shape[:2]
        below = (np.arange(height, dtype=np.float32)[:, None] + 0.5) / height
        distance = np.minimum(1 / below, self.FARTHEST) / self.FARTHEST
        depth = self.level * distance * self._density(index, width, height)
        return to_image(_veil(to_light(image), depth, self.AIRLIGHT))

    def _density(self, index: int, width: int, height: int) -> NDArray[np.float32]:
        """Return the density of the fog, (height, width), about 1."""
        random = self.random()
        count = 8
        across, down = random.uniform(-2.5, 2.5, count), random.uniform(-2.5, 2.5, count)
        phase, drift = random.uniform(0, 1, count), random.uniform(-0.02, 0.02, count)
        # Coarse is enough: the shortest wave is two fifths of the image.
        x, y = np.linspace(0, 1, 48)[None, :, None], np.linspace(0, 1, 36)[:, None, None]
        waves = np.cos(2 * np.pi * (across * x + down * y + phase + drift * index))
        density = (1 + waves.sum(axis=2) / (3 * math.sqrt(count))).astype(np.float32)
        smooth: NDArray[np.float32] = cv2.resize(
            np.clip(density, 2 / 3, 4 / 3), (width, height), interpolation=cv2.INTER_LINEAR)
        return smooth


class Rain(Corruption):
    """
    Rain: bright streaks that are new in each frame, and a veil.

    Falling drops are smeared to thin, bright, translucent streaks while the shutter is open (Garg
    and Nayar, *Vision and Rain*, IJCV 2007). Three layers: many short, thin ones far away, fewer
    farther to the front, and a few long and wide ones. All lean as the wind has it. The veil of
    the drops that are too far away to be seen is an optical depth of 0.1 for each 1000 streaks
    per million pixels.
    """

    name = 'rain'
    figure = 'streaks per million pixels'
    levels = (300.0, 700.0, 1400.0, 2500.0, 4000.0)

    LIGHT = 0.75
    """Of a streak, which sends on that of the sky; white is 1."""
    LAYERS = ((0.70, 0.03, 1.0, 0.5), (0.25, 0.06, 1.4, 0.5), (0.05, 0.13, 2.4, 0.3))
    """Share of the streaks; length, of the image's height; width in pixels of an image of 576
    rows; opacity."""

    def image(self, image: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
        """Return the image, in rain."""
        light = _veil(to_light(image), np.float32(self.level * 1e-4), self.LIGHT)
        opacity = self._streaks(index, image.shape[1], image.shape[0])[:, :, None]
        return to_image(light + opacity * (np.float32(self.LIGHT) - light))

    def _streaks(self, index: int, width: int, height: int) -> NDArray[np.float32]:
        """Return how much streaks cover, (height, width), 0 to 1."""
        lean = math.radians(self.random().uniform(-15, 15))
        random = self.random(index)
        covered = np.zeros((height, width), np.float32)
        for share, length, thickness, opacity in self.LAYERS:
            most = round(share * self.levels[-1] * width * height / 1e6)
            count = round(share * self.level * width * height / 1e6)
            # All severities draw as many, so that a lower one is a part of a higher one.
            draws = random.uniform(size=(most, 3))[:count]
            centre = draws[:, :2] * (width, height)
            travel = height * length * np.array([math.sin(lean), math.cos(lean)])
            half = (0.25 + 0.25 * draws[:, 2:]) * travel
            ends = np.stack([centre - half, centre + half], axis=1)
            # cv2 takes whole numbers, of sixteenths of a pixel here.
            layer = np.zeros((height, width), np.uint8)
            cv2.polylines(
                layer, list(np.rint(ends * 16).astype(np.int32)), False, round(255 * opacity),
                max(round(thickness * height / 576), 1), cv2.LINE_AA, 4)
            # A drop comes and goes: its streak has no hard ends.
            soft = cv2.filter2D(
                layer.astype(np.float32), -1, travel_kernel(*(travel / 3)))
            covered = np.maximum(covered, soft)
        return covered / np.float32(255)


def _veil(
        light: NDArray[np.float32], depth: NDArray[np.float32] | np.float32, airlight: float
        ) -> NDArray[np.float32]:
    """
    Return light through a scattering medium, by Koschmieder's law.

    :param depth: optical depth, (height, width) or one for all.
    :param airlight: light of the medium itself.
    """
    arrives = np.exp(-np.atleast_2d(depth))[:, :, None].astype(np.float32)
    return light * arrives + np.float32(airlight) * (1 - arrives)
