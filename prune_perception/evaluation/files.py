# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Files that are whole or not there, and that nothing else is lost for."""

from collections.abc import Iterable
from pathlib import Path

# A report is nowhere read as one of a folder's files; pictures, labels, bags and cards are.
_REPORTS = ('.json', '.html')


class OutputError(ValueError):
    """Something would be written over what is read or written besides; one line with a remedy."""


def check_outputs(
        reads: Iterable[Path | None], writes: Iterable[tuple[str, Path | None]]) -> None:
    """
    Refuse, before any work, to write over what is read, or two things to one place.

    :param reads: files and folders; None for what was not given.
    :param writes: each with the option that names it. A folder among them is one that replaces
        what was there.
    :raises OutputError: a path is read, or written twice; it is a file that is there already, and
        no report, in a folder that is read; a folder would be replaced with what is read in it; or
        of two that are written one lies in the other.
    """
    read = [path.resolve() for path in reads if path is not None]
    written: list[Path] = []
    for option, path in writes:
        if path is None:
            continue
        place = path.resolve()
        if place in (*read, *written):
            raise OutputError(
                f'{option} {path}: is read, or written besides; give it a name of its own')
        for folder in read:
            if folder in place.parents and place.suffix.lower() not in _REPORTS \
                    and place.exists():
                raise OutputError(
                    f'{option} {path}: is there already, in {folder}, which is read; give it a '
                    'name of its own')
            if place in folder.parents:
                raise OutputError(
                    f'{option} {path}: would be replaced with {folder} in it, which is read; '
                    'choose another folder')
        for other in written:
            if other in place.parents or place in other.parents:
                raise OutputError(
                    f'{option} {path}: one of it and {other}, which is written besides, lies in '
                    'the other; choose another folder')
        written.append(place)


def write_whole(path: Path, text: str) -> None:
    """
    Write a text so that the file is complete, or is what it was before.

    :raises OSError: it cannot be written.
    """
    if path.exists() and not path.is_file():
        path.write_text(text, encoding='utf-8')  # a pipe, or the terminal
        return
    # A full disk must not take what was written before.
    part = path.with_name(f'{path.name}.part')
    try:
        part.write_text(text, encoding='utf-8')
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
