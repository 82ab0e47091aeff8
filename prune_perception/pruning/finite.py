# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Figures as JSON can hold them: it has no word for what is infinite or no number."""

from collections.abc import Mapping
import math
from typing import Any


def finite(value: Any) -> Any:
    """
    Return plain values in which no float is infinite or NaN: those are None.

    :param value: of mappings, sequences and plain values; mappings become dicts, tuples lists.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(part) for part in value]
    return value
