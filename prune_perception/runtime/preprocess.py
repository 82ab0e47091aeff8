# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Fit an image to the network's input, and take the boxes back to the image."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from prune_perception.bundle import InputSpec

# What the YOLO family pads with in training; nothing in an image says "not part of it" better.
_LETTERBOX_GREY = (114, 114, 114)


@dataclass(frozen=True)
class Placement:
    """
    Where the source image lies in the network's input: ``network = source * scale + offset``.

    Scales are in network pixels per source pixel, offsets in network pixels.
    """

    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float
    source_width: int
    source_height: int

    def to_source(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (n, 4) boxes x1, y1, x2, y2 in source pixels, clipped to the source image."""
        offset = np.array([self.offset_x, self.offset_y] * 2, np.float32)
        scale = np.array([self.scale_x, self.scale_y] * 2, np.float32)
        edge = np.array([self.source_width, self.source_height] * 2, np.float32)
        return np.clip((boxes - offset) / scale, 0, edge)


def padding_of(spec: InputSpec) -> tuple[int, int, int]:
    """Return what a letterbox is filled with beside the image, in the spec's colour order."""
    return _LETTERBOX_GREY if spec.padding is None else spec.padding


class Preprocessor:
    """Resizes images to the network's input, into one buffer that it uses again."""

    def __init__(self, spec: InputSpec) -> None:
        self._spec = spec
        self._padding = padding_of(spec)
        self._buffer = np.empty((1, spec.height, spec.width, 3), np.uint8)
        self._padded_for: tuple[int, ...] = ()

    def __call__(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Placement]:
        """
        Fit an image to the network.

        :param image: (height, width, 3) BGR.
        :returns: the network's input, uint8 (1, height, width, 3) in its colour order, valid
            until the next call, and where the image lies in it.
        :raises ValueError: the array is no such image.
        """
        # OpenCV would resize another kind into an array of its own and leave the buffer alone.
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ValueError(
                f'image is {image.dtype} {list(image.shape)}; it must be uint8 '
                '[height, width, 3], neither of them 0')
        height, width = image.shape[:2]
        spec, target = self._spec, self._buffer[0]
        if spec.resize == 'stretch':
            cv2.resize(image, (spec.width, spec.height), dst=target)
            placement = Placement(spec.width / width, spec.height / height, 0, 0, width, height)
        elif spec.resize == 'letterbox':
            target, placement = self._letterbox(image)
        else:
            placement = self._centre_crop(image)
        if spec.colour_order == 'rgb':
            cv2.cvtColor(target, cv2.COLOR_BGR2RGB, dst=target)
        return self._buffer, placement

    def _letterbox(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Placement]:
        """Keep the ratio, and leave bars of the padding's colour where the image ends."""
        height, width = image.shape[:2]
        spec = self._spec
        scale = min(spec.width / width, spec.height / height)
        new_width = min(max(round(width * scale), 1), spec.width)
        new_height = min(max(round(height * scale), 1), spec.height)
        left, top = (0, 0) if spec.placement == 'top_left' else (
            (spec.width - new_width) // 2, (spec.height - new_height) // 2)
        if self._padded_for != (new_width, new_height):
            self._buffer[:] = self._padding
            self._padded_for = (new_width, new_height)
        target = self._buffer[0, top:top + new_height, left:left + new_width]
        target[:] = cv2.resize(image, (new_width, new_height))
        return target, Placement(
            new_width / width, new_height / height, left, top, width, height)

    def _centre_crop(self, image: NDArray[np.uint8]) -> Placement:
        """Keep the ratio, fill the input, and leave out what does not fit at two sides."""
        height, width = image.shape[:2]
        spec = self._spec
        scale = max(spec.width / width, spec.height / height)
        crop_width = min(max(round(spec.width / scale), 1), width)
        crop_height = min(max(round(spec.height / scale), 1), height)
        left, top = (width - crop_width) // 2, (height - crop_height) // 2
        cropped = image[top:top + crop_height, left:left + crop_width]
        cv2.resize(cropped, (spec.width, spec.height), dst=self._buffer[0])
        scale_x, scale_y = spec.width / crop_width, spec.height / crop_height
        return Placement(scale_x, scale_y, -left * scale_x, -top * scale_y, width, height)
