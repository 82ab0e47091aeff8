# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Which files of a model may be opened, whose maker nobody vouches for."""

from collections.abc import Iterator
from contextlib import contextmanager
import errno
import os
from pathlib import Path
import stat
from typing import BinaryIO


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


@contextmanager
def opened(file: Path) -> Iterator[tuple[BinaryIO, int]]:
    """
    Open an ordinary file to read it, and give how many bytes it has.

    Anything else is not read: a pipe waits for somebody to write, and a device may never end.
    What was opened is asked, not its path, which may name something else by then; to open it does
    not wait.

    :raises OSError: there is none, or it is none, with links followed.
    """
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, 'not an ordinary file', str(file))
        with open(descriptor, 'rb', closefd=False) as content:
            yield content, status.st_size
    finally:
        os.close(descriptor)
