# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""A card that is small enough to work its figures out by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from prune_perception.bundle import (
    Bundle,
    Card,
    DecoderSpec,
    InputSpec,
    NetworkSpec,
    OutputSpec,
    Provenance,
)

COMMITTED = Path(__file__).resolve().parent.parent / 'models' / 'nanodet_g'


def small_card(**changes: Any) -> Card:
    """
    Return a card of two classes, 32 x 64 pixels, and maps of strides 8 and 16 with 3 bins.

    :param changes: other values of its fields.
    """
    card = Card(
        name='small', class_names=('person', 'dog'),
        input=InputSpec(32, 64, 'bgr', (103.5, 116.25, 123.0), (57.0, 57.5, 58.0), 'stretch'),
        outputs=(OutputSpec('fine', (1, 14, 4, 8)), OutputSpec('coarse', (1, 14, 2, 4))),
        decoder=DecoderSpec('nanodet', {'strides': [8, 16], 'bins': 3}),
        network=NetworkSpec('small', {'first': (4, 3), 'norm': (4, 4)}, {'depth': 2}),
        provenance=Provenance('a test', '0.1.0'), licence='Apache-2.0', attribution='none')
    return replace(card, **changes)


def unwritten(card: Card) -> Bundle:
    """Return a bundle for what reads no file of it."""
    return Bundle(Path('somewhere'), card, '0' * 64)
