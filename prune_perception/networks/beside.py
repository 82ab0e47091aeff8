# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Which files of a model may be opened, whose maker nobody vouches for."""

import errno
from pathlib import Path
import stat


def file_beside(model: Path, name: str) -> Path:
    """
    Return the place of a file that a model names, with all links followed.

    :param model: the file that names it.
    :param name: as it stands there, from the folder of the model.
    :raises ValueError: it lies elsewhere, or nowhere; the message is to follow "… lies in".
    """
    folder = model.parent.resolve()
    try:
        file = (folder / name).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(f'{name!r}, which is no place') from error
    if not name or not file.is_relative_to(folder):
        raise ValueError(
            f'{name!r}, outside the folder of the model; nothing is read from there')
    return file


def ordinary_size(file: Path) -> int:
    """
    Return how many bytes an ordinary file has.

    Anything else is not to be opened: a pipe waits for somebody to write, and a device may never
    end.

    :raises OSError: there is none, or it is none, with links followed.
    """
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, 'not an ordinary file', str(file))
    return status.st_size


def read_start(file: Path, size: int) -> bytes:
    """Return so many bytes, however long the file has become."""
    with file.open('rb') as opened:
        return opened.read(size)
