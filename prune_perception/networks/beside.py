# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Where the other files of a model may lie, whose maker nobody vouches for."""

from pathlib import Path


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
