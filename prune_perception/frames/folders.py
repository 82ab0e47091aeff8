# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""A folder of pictures as a recording."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import re

from prune_perception.frames.encodings import Array, decode_compressed
from prune_perception.frames.errors import ImageError, RecordingError
from prune_perception.frames.recording import Frame, Recording

PICTURE_SUFFIXES = frozenset({'.jpg', '.jpeg', '.png', '.webp', '.bmp', '.tif', '.tiff'})


class FolderRecording(Recording):
    """
    The pictures of one folder, in the order of their names, numbers by value.

    ``frame2.jpg`` comes before ``frame10.jpg``. Folders inside the folder are not entered.
    """

    def __init__(self, path: Path, *, frame_rate: float, max_pixels: int) -> None:
        """List the pictures; raise ``RecordingError`` if there are none."""
        self._files = sorted(
            (entry for entry in path.iterdir() if entry.suffix.lower() in PICTURE_SUFFIXES),
            key=lambda entry: natural_order(entry.name),
        )
        if not self._files:
            known = ', '.join(sorted(PICTURE_SUFFIXES))
            raise RecordingError(f'{path}: the folder holds neither pictures ({known}) nor a bag')
        super().__init__(path, topic=None, count=len(self._files))
        self._frame_rate = frame_rate
        self._max_pixels = max_pixels

    def __iter__(self) -> Iterator[Frame]:
        """Yield the pictures; a file is read when its image is asked for."""
        for index, file in enumerate(self._files):

            def decode(file: Path = file) -> Array:
                try:
                    data = file.read_bytes()
                except OSError as error:
                    raise ImageError(f'the file cannot be read ({error.strerror})') from error
                return decode_compressed(
                    format=file.suffix, data=data, max_pixels=self._max_pixels
                )

            yield Frame(
                index=index,
                time_ns=round(index * 1e9 / self._frame_rate),
                stamp_ns=None,
                source=f'{file} (picture {index + 1})',
                name=file.name,
                message=None,
                decode=decode,
            )


def natural_order(name: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """Return a sort key by which numbers inside names count by their value."""
    parts = re.findall(r'\d+|\D+', name)
    return tuple((0, int(p), '') if p.isdecimal() else (1, 0, p) for p in parts), name
