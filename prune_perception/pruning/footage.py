# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The frames of a recording, as the network is fed with them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
import math
import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
import torch

from prune_perception.bundle import InputSpec
from prune_perception.evaluation.replay import digest_of
from prune_perception.frames.folders import FolderRecording
from prune_perception.frames.rate import frame_rate
from prune_perception.frames.recording import (
    Frame,
    ImageError,
    open_recording,
    Recording,
    RecordingError,
)
from prune_perception.pruning.splits import FEWEST
from prune_perception.runtime.preprocess import padding_of, Preprocessor

Images = NDArray[np.uint8]
Progress = Callable[[float, str], None]

_MOST_BYTES = 1 << 29  # 512 MiB: 1000 images of 416 x 416


class FootageError(ValueError):
    """Footage that nothing can be fitted to; one line with the path, the reason and a remedy."""


@dataclass(frozen=True, eq=False)
class Footage:
    """
    Frames of one recording, in the order of time.

    :param images: uint8 (n, height, width, 3), fitted to the network's input, in its colour
        order.
    :param source_size: width and height of the first frame in the recording, pixels. Pictures of
        a folder may be of other sizes; the frames of a video or a bag are not.
    :param digest: SHA-256 of the recording, as an evaluation states it.
    :param path: of the recording.
    :param skipped: the frames that could not be read, and why, one line each.
    :param numbers: of the images among the frames of the recording, whose first is 1.
    :param frame_rate: of the images, 1/s; None for a folder, which has no times.
    """

    images: Images
    source_size: tuple[int, int]
    digest: str
    path: Path
    skipped: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()
    frame_rate: float | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What whoever uses it should know, one line each."""
        if not self.skipped:
            return ()
        return (f'{len(self.skipped)} frames could not be read, the first: {self.skipped[0]}',)


def read_footage(
        path: str | os.PathLike[str], fed: InputSpec, topic: str | None = None,
        most: int = 1000, progress: Progress | None = None,
        part: tuple[int, int] | None = None) -> Footage:
    """
    Read a recording; one frame is decoded at a time.

    :param fed: the network's input.
    :param topic: the image topic of a bag; None where there is but one.
    :param most: of a longer recording, this many frames at most are kept, evenly spread; fewer
        where the network's input is so large that they would take more than 512 MiB.
    :param progress: called with the share done, from 0 to 1, and a word on what is being done.
    :param part: first and last frame to read, the recording's first being 1; None for all.
    :raises FootageError: the recording cannot be read, its frames are of several sizes, or there
        are too few.
    """
    path = Path(path)
    try:
        with open_recording(path, topic) as recording:
            room = max(FEWEST, _MOST_BYTES // (3 * fed.height * fed.width))
            reader = _Reader(recording, fed, min(most, room), part)
            reader.read(progress)
        digest = digest_of(path)
    except RecordingError as error:
        raise FootageError(str(error)) from error
    except OSError as error:
        raise FootageError(f'{path}: cannot be read: {error.strerror or error}') from error
    if len(reader.images) < FEWEST:
        raise FootageError(_too_few(path, len(reader.images), reader.skipped, part))
    assert reader.source_size is not None
    return Footage(
        reader.images, reader.source_size, digest, path, tuple(reader.skipped), reader.numbers,
        reader.frame_rate)


def resized(images: Images, size: int | tuple[int, int]) -> Images:
    """
    Return images at another size, without keeping the ratio.

    :param images: uint8 (n, height, width, 3).
    :param size: height and width, pixels, or one number for both.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if images.shape[1:3] == (height, width):
        return images
    result = np.empty((len(images), height, width, 3), np.uint8)
    for image, target in zip(images, result, strict=True):
        cv2.resize(image, (width, height), dst=target)
    return result


def mirror(images: Images, fed: InputSpec) -> tuple[Images, NDArray[np.float32]]:
    """
    Return images whose pictures are mirrored left to right, each in its place.

    Where a letterbox has the picture at the left, the padding stays at the right. It is known by
    its colour: a column of the picture that is taken for it stays where it is, which a picture
    that ends there would show as well.

    :param images: uint8 (n, height, width, 3), fitted to the network's input.
    :param fed: that input.
    :returns: the images, and for each the share of its width that was mirrored, float32 (n,).
    """
    shares = np.ones(len(images), np.float32)
    if fed.placement != 'top_left':
        return images[:, :, ::-1], shares
    result, width = images.copy(), images.shape[2]
    for number, image in enumerate(images):
        seen = np.flatnonzero((image != padding_of(fed)).any(axis=(0, 2)))
        end = seen[-1] + 1 if len(seen) else width
        result[number, :, :end] = image[:, :end][:, ::-1]
        shares[number] = end / width
    return result, shares


def tensor_of(images: Images, fed: InputSpec) -> torch.Tensor:
    """
    Return images as the network takes them: ``(pixel - mean) / std``.

    :param images: uint8 (n, height, width, 3) in the network's colour order, of any size.
    :returns: float32 (n, 3, height, width).
    """
    # A copy: torch warns of arrays that cannot be written to, such as mapped files.
    pixels = torch.from_numpy(np.array(images, order='C')).permute(0, 3, 1, 2).float()
    return (pixels - torch.tensor(fed.mean).view(1, 3, 1, 1)) \
        / torch.tensor(fed.std).view(1, 3, 1, 1)


class _Reader:
    """
    Fits the frames of a recording to the network, and keeps as many as are wanted.

    Where the number of frames is known the wanted ones are known too. Elsewhere every frame is
    taken until the space is full; then every other is dropped, and from there on half as many
    are taken.
    """

    def __init__(self, recording: Recording, fed: InputSpec, most: int,
                 part: tuple[int, int] | None = None) -> None:
        self._first = part[0] - 1 if part else 0
        self._last = part[1] - 1 if part else math.inf
        self.skipped: list[str] = []
        self.source_size: tuple[int, int] | None = None
        self._recording = recording
        self._fit = Preprocessor(fed)
        # Pages that are never written to take no memory.
        self._space = np.empty((most, fed.height, fed.width, 3), np.uint8)
        self._number = 0
        self._frames: list[tuple[int, int]] = []  # number and time of each image, ns
        # Folders of photographs are meant to be of many sizes; a camera changes its own only by
        # mistake: two recordings joined, or a setting changed half-way.
        self._any_size = isinstance(recording, FolderRecording)

    @property
    def images(self) -> Images:
        return self._space[:self._number]

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(number for number, _ in self._frames)

    @property
    def frame_rate(self) -> float | None:
        return None if self._any_size else frame_rate([time for _, time in self._frames])

    def read(self, progress: Progress | None) -> None:
        count = self._count()
        try:
            for frame in self._wanted():
                if progress is not None:
                    share = min(1.0, (frame.index - self._first) / count) if count else 0.0
                    progress(share, f'reading frame {frame.index + 1}')
                try:
                    image = frame.image()
                except ImageError as error:
                    self.skipped.append(str(error))
                    continue
                self._check_size(frame, image)
                self._space[self._number] = self._fit(image)[0][0]
                self._frames.append((frame.index + 1, frame.time_ns))
                self._number += 1
        except RecordingError as error:
            if not self._number:
                raise
            self.skipped.append(str(error))  # the frames before it are good

    def _count(self) -> int | None:
        """Return how many frames there are in the part to read, if that is known."""
        if self._recording.count is None:
            return None
        return int(max(0, min(self._recording.count, self._last + 1) - self._first))

    def _part(self) -> Iterator[Frame]:
        for frame in self._recording:
            if frame.index > self._last:
                return
            if frame.index >= self._first:
                yield frame

    def _wanted(self) -> Iterator[Frame]:
        count, most = self._count(), len(self._space)
        if count is not None:
            wanted = {position * count // most for position in range(most)} \
                if count > most else set(range(count))
            yield from (frame for frame in self._part() if frame.index - self._first in wanted)
            return
        step = 1
        for number, frame in enumerate(self._part()):
            if number % step:
                continue
            if self._number == most:
                self._halve()
                step *= 2
                if number % step:
                    continue
            yield frame

    def _halve(self) -> None:
        self._number = -(-self._number // 2)
        for position in range(1, self._number):
            self._space[position] = self._space[2 * position]
        self._frames = self._frames[::2]

    def _check_size(self, frame: Frame, image: Images) -> None:
        size = (image.shape[1], image.shape[0])
        if self.source_size is None:
            self.source_size = size
        elif size != self.source_size and not self._any_size:
            raise FootageError(
                f'{frame.source}: is {size[0]} x {size[1]} pixels, the first frame is '
                f'{self.source_size[0]} x {self.source_size[1]}; give footage of one camera in '
                'one size')


def _too_few(path: Path, found: int, skipped: list[str], part: tuple[int, int] | None) -> str:
    bad = ''
    if skipped:
        bad = f' ({len(skipped)} more cannot be decoded, the first: {skipped[0]})'
    frames = 'no frame' if not found else '1 frame' if found == 1 else f'{found} frames'
    where = f' from {part[0]} to {part[1]}' if part else ''
    return f'{path}: has {frames}{where} that can be used{bad}; give at least {FEWEST}, better ' \
           'some hundreds'
