# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""What words on the command line can be: one line each for those that cannot."""

import argparse
from collections.abc import Callable
import math

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


def profile(text: str) -> HardwareProfile:
    """Return a hardware profile by its name or file, for argparse."""
    try:
        return load_profile(text)
    except ProfileError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
