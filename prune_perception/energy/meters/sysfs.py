# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Small files of ``/sys``, read with errors that name the file."""

from pathlib import Path

from prune_perception.energy.meters.interface import MeterError


class MissingError(MeterError):
    """The file is not there, or its device is gone."""


class NotPermittedError(MeterError):
    """The file is there and this user must not read it."""


def read_text(path: Path) -> str:
    """
    Return a file's text without white space around it.

    :raises MeterError: as one of the classes above, or as it is for other failures.
    """
    try:
        return path.read_text(encoding='utf-8', errors='replace').strip('\0 \t\r\n')
    except (FileNotFoundError, NotADirectoryError):
        raise MissingError(f'{path}: is not there (any more)') from None
    except PermissionError:
        raise NotPermittedError(f'{path}: no permission to read it') from None
    except OSError as error:
        # ENODEV, ENODATA, EIO: the device behind the file has gone or is switched off.
        raise MissingError(f'{path}: {(error.strerror or str(error)).lower()}') from None


def read_int(path: Path) -> int:
    """
    Return the integer in a file.

    :raises MeterError: as :func:`read_text`; also if it holds something else.
    """
    text = read_text(path)
    try:
        return int(text)
    except ValueError:
        raise MeterError(f'{path}: {text[:40]!r} is not an integer') from None


def list_folder(path: Path) -> list[Path]:
    """Return what is in a folder, sorted; nothing if it is not there or not readable."""
    try:
        return sorted(path.iterdir())
    except OSError:
        return []


def is_there(path: Path) -> bool:
    """Return whether there is such a file or folder, as far as this user can see."""
    try:
        path.stat()
    except OSError:
        return False
    return True
