# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""What a decoder's settings may be: each check returns a plain value, or names the setting."""

from collections.abc import Sequence
import math
from typing import Any


def choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """Return one of some words; raises ValueError."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f'{name} is {short(value)}; known are {", ".join(choices)}')
    return value


def flag(name: str, value: Any) -> bool:
    """Return true or false; raises ValueError."""
    if not isinstance(value, bool):
        raise ValueError(f'{name} must be true or false, not {short(value)}')
    return value


def whole(name: str, value: Any, least: int = 0) -> int:
    """Return an integer of at least this much; raises ValueError."""
    if type(value) is not int or value < least:
        raise ValueError(f'{name} must be an integer of at least {least}, not {short(value)}')
    return value


def number(name: str, value: Any) -> float:
    """Return a finite number; raises ValueError."""
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f'{name} must be a number, not {short(value)}')
    return float(value)


def positive(name: str, value: Any) -> float:
    """Return a finite number above 0; raises ValueError."""
    result = number(name, value)
    if result <= 0:
        raise ValueError(f'{name} must be above 0, not {short(value)}')
    return result


def items(name: str, value: Any, count: int | None = None) -> Sequence[Any]:
    """Return a list that is not empty, of so many if that is given; raises ValueError."""
    if not isinstance(value, (list, tuple)) or not value:
        raise ValueError(f'{name} must be a list, not {short(value)}')
    if count is not None and len(value) != count:
        raise ValueError(f'{name} must have {count} entries, not {len(value)}')
    return value


def positives(name: str, value: Any, count: int | None = None) -> tuple[float, ...]:
    """Return finite numbers above 0; raises ValueError."""
    return tuple(positive(name, item) for item in items(name, value, count))


def integers(name: str, value: Any, least: int = 1) -> tuple[int, ...]:
    """Return integers of at least this much; raises ValueError."""
    return tuple(whole(name, item, least) for item in items(name, value))


def words(name: str, value: Any) -> tuple[str, ...]:
    """Return texts; raises ValueError."""
    if not all(isinstance(item, str) for item in items(name, value)):
        raise ValueError(f'{name} must be a list of names, not {short(value)}')
    return tuple(value)


def short(value: Any) -> str:
    """Return a value for a message of one line."""
    text = repr(value)
    return text if len(text) <= 60 else f'{text[:60]}…'
