# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
A recording of camera images, whatever it was recorded with.

``open_recording`` returns the same thing for a rosbag2, a ROS 1 bag, a video file and a folder
of pictures: something that is iterated over, frame by frame, as often as wanted. One frame is in
memory at a time, so a long recording takes no more of it than a short one.

    with open_recording('walk.mcap') as recording:
        for frame in recording:
            detector.detect(frame.image())
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from prune_perception.frames.encodings import decode_compressed, decode_image, MAX_PIXELS
from prune_perception.frames.errors import ImageError, RecordingError

__all__ = [
    'CompressedFrame',
    'Frame',
    'ImageError',
    'RawFrame',
    'Recording',
    'RecordingError',
    'open_recording',
]

DEFAULT_FRAME_RATE = 10.0
"""Frames per second of a folder of pictures, which has no times of its own."""

_BAG_SUFFIXES = ('.bag', '.mcap', '.db3')
_STORAGE_SUFFIXES = ('.mcap', '.db3', '.zstd')

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, eq=False)
class CompressedFrame:
    """The fields of a ``sensor_msgs/CompressedImage`` apart from its stamp."""

    format: str
    data: Array
    """Shape (bytes,), uint8."""
    frame_id: str

    def decode(self, max_pixels: int = MAX_PIXELS) -> Array:
        """Decode to BGR, shape (height, width, 3), uint8; raises ``ImageError``."""
        return decode_compressed(format=self.format, data=self.data, max_pixels=max_pixels)


@dataclass(frozen=True, slots=True, eq=False)
class RawFrame:
    """The fields of a ``sensor_msgs/Image`` apart from its stamp."""

    encoding: str
    height: int
    width: int
    step: int
    is_bigendian: bool
    data: Array
    """Shape (bytes,), uint8."""
    frame_id: str

    def decode(self, max_pixels: int = MAX_PIXELS) -> Array:
        """Decode to BGR, shape (height, width, 3), uint8; raises ``ImageError``."""
        return decode_image(
            encoding=self.encoding,
            height=self.height,
            width=self.width,
            step=self.step,
            is_bigendian=self.is_bigendian,
            data=self.data,
            max_pixels=max_pixels,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One image of a recording."""

    index: int
    """Position among the images of the recording, from 0."""
    time_ns: int
    """When the recorder received it; for videos and folders, index over frame rate. In ns."""
    stamp_ns: int | None
    """Stamp in the message's header, ns; None where there is no such thing."""
    source: str
    """File, topic and position, for error messages."""
    name: str
    """File name of a picture in a folder; empty otherwise."""
    message: CompressedFrame | RawFrame | None
    """What is needed to publish the frame as it was recorded; None for videos and folders."""
    decode: Callable[[], Array] = field(repr=False)
    """Decodes the image; called by ``image``."""

    def image(self) -> Array:
        """
        Decode the image; every call decodes anew.

        :returns: BGR, shape (height, width, 3), uint8, C-contiguous, possibly read-only.
        :raises ImageError: this image is bad; names file, topic and position. The frames after it
            can be read.
        """
        try:
            return self.decode()
        except ImageError as error:
            raise ImageError(f'{self.source}: {error}') from error


class Recording(abc.ABC):
    """
    Images of one camera, in the order of recording.

    Iterating starts at the first frame each time and raises ``RecordingError`` where the
    recording cannot be read further; the frames before that are good. Not for several threads.
    """

    def __init__(self, path: Path, *, topic: str | None, count: int | None) -> None:
        """Take the path, the image topic (None if there are no topics) and the frame count."""
        self.path = path
        self.topic = topic
        self.count = count
        """Number of images, as the recording states it; None if it does not."""
        self.transport = 'raw'
        """How the images go over a topic: ``raw`` or ``compressed``."""
        self.warnings: list[str] = []
        """What was wrong with the recording but did not prevent reading it; one line each."""

    @abc.abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames, from the first."""

    def close(self) -> None:  # noqa: B027 - most kinds open a file only while they iterate
        """Close files."""

    def __enter__(self) -> Self:
        """Return the recording itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close files."""
        self.close()


def open_recording(
    path: Path | str,
    topic: str | None = None,
    *,
    frame_rate: float | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Recording:
    """
    Open a recording, whatever kind it is.

    - a folder with ``metadata.yaml`` or with MCAP or SQLite files: rosbag2;
    - a file ``.mcap`` or ``.db3``: one file of a rosbag2;
    - a file ``.bag``: ROS 1;
    - any other folder: pictures, in the order of their names;
    - any other file: a video.

    :param path: the recording.
    :param topic: the image topic; may be left out when the bag has just one.
    :param frame_rate: frames per second, for folders (otherwise 10) and for videos that give none
        or the wrong one.
    :param max_pixels: larger images are refused.
    :raises RecordingError: one line that says what is wrong and what to do.
    """
    path = Path(path)
    if not path.exists():
        raise RecordingError(f'{path}: there is no such file or folder')
    if frame_rate is not None and not frame_rate > 0:
        raise RecordingError(f'{path}: the frame rate must be above 0, not {frame_rate:g}')
    # Each kind is imported when it is met: videos and folders need no bag library.
    if _is_bag(path):
        try:
            from prune_perception.frames.bags import BagRecording
        except ModuleNotFoundError as error:
            raise RecordingError(
                f'{path}: reading bags needs the Python package {error.name!r}, which is not '
                'installed (pip install rosbags mcap)'
            ) from error
        return BagRecording(path, topic, max_pixels=max_pixels)
    if topic is not None:
        kind = 'a folder of pictures' if path.is_dir() else 'a video'
        raise RecordingError(f'{path}: is {kind} and has no topics; leave out topic {topic!r}')
    if path.is_dir():
        from prune_perception.frames.folders import FolderRecording

        return FolderRecording(
            path, frame_rate=frame_rate or DEFAULT_FRAME_RATE, max_pixels=max_pixels
        )
    from prune_perception.frames.videos import VideoRecording

    return VideoRecording(path, frame_rate=frame_rate, max_pixels=max_pixels)


def _is_bag(path: Path) -> bool:
    if path.is_dir():
        return (path / 'metadata.yaml').exists() or any(
            entry.suffix in _STORAGE_SUFFIXES for entry in path.iterdir()
        )
    return path.suffix in _BAG_SUFFIXES
