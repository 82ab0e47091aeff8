# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Files that are whole or not there."""

from pathlib import Path


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
