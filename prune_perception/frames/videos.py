# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""A video file as a recording."""

from __future__ import annotations

from collections.abc import Iterator
import math
from pathlib import Path

import cv2

from prune_perception.frames.encodings import Array
from prune_perception.frames.errors import RecordingError
from prune_perception.frames.recording import Frame, Recording


class VideoRecording(Recording):
    """The frames of a video, decoded in order by OpenCV, a rotation in its metadata applied."""

    def __init__(self, path: Path, *, frame_rate: float | None, max_pixels: int) -> None:
        """Look at the video; raise ``RecordingError`` if it is none or is too large."""
        self.path = path
        capture = self._open()
        try:
            width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
            height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
            announced = capture.get(cv2.CAP_PROP_FRAME_COUNT)
            stated_rate = capture.get(cv2.CAP_PROP_FPS)
        finally:
            capture.release()
        if width * height > max_pixels:
            raise RecordingError(
                f'{path}: video of {width} x {height} pixels is larger than the limit of '
                f'{max_pixels / 1e6:g} megapixels'
            )
        rate = frame_rate or stated_rate
        if not (math.isfinite(rate) and rate > 0):
            raise RecordingError(f'{path}: the video states no frame rate; give one')
        # Containers without an index announce nothing, or nonsense below zero.
        super().__init__(path, topic=None, count=int(announced) if announced > 0 else None)
        self._frame_rate = rate

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self.path))
        if not capture.isOpened():
            raise RecordingError(
                f'{self.path}: OpenCV cannot open this as a video (nor is it a bag: .mcap, .db3, '
                '.bag, or a folder)'
            )
        return capture

    def __iter__(self) -> Iterator[Frame]:
        """
        Yield the frames.

        They are decoded as they are read, since each builds on the one before. OpenCV does not
        tell a damaged frame from the end, so an early end is noted in ``warnings``, and is an
        error only when there was no frame at all.
        """
        capture = self._open()
        index = 0
        try:
            while True:
                good, image = capture.read()
                if not good:
                    break

                def decode(image: Array = image) -> Array:
                    return image

                yield Frame(
                    index=index,
                    time_ns=round(index * 1e9 / self._frame_rate),
                    stamp_ns=None,
                    source=f'{self.path}: frame {index + 1}',
                    name='',
                    message=None,
                    decode=decode,
                )
                index += 1
        finally:
            capture.release()
        if index == 0:
            raise RecordingError(f'{self.path}: the video has no frame that can be decoded')
        if self.count is not None and index < self.count:
            warning = (
                f'{self.path}: the video announces {self.count} frames, but ends after frame '
                f'{index}'
            )
            if warning not in self.warnings:
                self.warnings.append(warning)
