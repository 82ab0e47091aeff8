# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""What words on the command line can be: one line each for those that cannot."""

import argparse
from collections.abc import Callable
import math
from pathlib import Path
import re

from prune_perception.energy.hardware import HardwareProfile, load_profile, ProfileError


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return a type for argparse: a whole number of at least ``least``, and at most ``most``."""
    def convert(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or not (
                least <= int(text) <= (math.inf if most is None else most)):
            what = f'of at least {least}' if most is None else f'from {least} to {most}'
            raise argparse.ArgumentTypeError(f'{text!r} is not a whole number {what}')
        return int(text)
    return convert


def number(least: float, most: float) -> Callable[[str], float]:
    """Return a type for argparse: a number from ``least`` to ``most``."""
    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(
                f'{text!r} is not a number from {least:g} to {most:g}')
        return value
    return convert


def above_zero(text: str) -> float:
    """Return a number above 0, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f'{text!r} is not a number above 0')
    return value


def duration(text: str) -> float:
    """Return a time in seconds, given as 90s, 10m or 1h, for argparse."""
    found = re.fullmatch(r'(\d+(?:\.\d+)?)([smh])', text, re.ASCII)
    seconds = float(found[1]) * {'s': 1, 'm': 60, 'h': 3600}[found[2]] if found else 0.0
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f'{text!r} is not a time above 0, such as 90s, 10m or 1h')
    return seconds


def names(text: str) -> tuple[str, ...]:
    """Return names that are separated by commas, for argparse."""
    found = tuple(name.strip() for name in text.split(','))
    if not all(found):
        raise argparse.ArgumentTypeError(
            f'{text!r} has an empty name; names are separated by commas, as in person,dog')
    return found


def output_file(text: str) -> Path:
    """Return the path of a file that can be written as far as its folder says, for argparse."""
    # A folder that is not there must not cost the work of an hour.
    path = Path(text)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f'{text}: cannot be written; the folder must exist')
    return path


def profile(text: str) -> HardwareProfile:
    """Return a hardware profile by its name or file, for argparse."""
    try:
        return load_profile(text)
    except ProfileError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def profile_name(text: str) -> str:
    """Return the name or file of a hardware profile that can be read, for argparse."""
    profile(text)
    return text


def profile_file(name: str) -> Path | None:
    """Return the file that a word for a hardware profile names; None for a shipped one."""
    return Path(name) if name.endswith('.yaml') else None


def frame_range(text: str) -> tuple[int, int]:
    """Return the first and the last frame of a part, from 1, for argparse."""
    first, dash, last = text.partition('-')
    if not dash or not all(part.isascii() and part.isdecimal() for part in (first, last)) or not (
            1 <= int(first) <= int(last)):
        raise argparse.ArgumentTypeError(
            f'{text!r} is not a part of a recording such as 401-795; the first frame is 1')
    return int(first), int(last)
