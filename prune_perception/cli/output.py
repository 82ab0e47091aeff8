# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""What a verb leaves: tables in a terminal or a pipe, lines on what was refused, files."""

from collections.abc import Callable, Iterable
from pathlib import Path
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def console(pipe_width: int) -> 'Console':
    """
    Return where tables are printed.

    :param pipe_width: columns where nobody's terminal says how many there are: what reads a pipe
        wraps nothing.
    """
    from rich.console import Console
    return Console(width=None if sys.stdout.isatty() else pipe_width)


def refuse(verb: str, reason: str, status: int) -> int:
    """Say why a verb ends, in a line, and return its exit status."""
    print(f'prune-perception {verb}: {reason}', file=sys.stderr)
    return status


def write_files(verb: str, files: Iterable[tuple[Path | None, Callable[[], str]]]) -> int:
    """
    Write those of a verb's files that were asked for, and return the exit status.

    One that cannot be written is said, and does not keep the others from being written.

    :param files: each with the path (None: not asked for) and what returns its text.
    """
    from prune_perception.evaluation.files import write_whole
    status = 0
    for path, text in files:
        if path is None:
            continue
        try:
            write_whole(path, text())
            print(f'wrote {path}')
        except OSError as error:
            status = refuse(
                verb, f'{path}: cannot be written: {(error.strerror or str(error)).lower()}', 1)
    return status
