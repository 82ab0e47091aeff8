# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
What the outputs of a detector mean to one who prunes it: by the decoder that a card names.

A head knows how far the outputs of a student are from those of its teacher, how that distance
curves at the teacher, and how to leave out classes.
"""

from collections.abc import Callable, Mapping
from typing import Any

from prune_perception.bundle import Card
from prune_perception.pruning.heads.centernet import CenterNetHead
from prune_perception.pruning.heads.decoded import DecodedHead
from prune_perception.pruning.heads.fcos import FcosHead
from prune_perception.pruning.heads.interface import (
    BOX_WEIGHT,
    Head,
    HeadError,
    Loss,
    Outputs,
)
from prune_perception.pruning.heads.listed import ListedHead
from prune_perception.pruning.heads.nanodet import NanoDetHead
from prune_perception.pruning.heads.ssd import SsdHead
from prune_perception.pruning.heads.yolo_dfl import YoloDflHead
from prune_perception.pruning.heads.yolox import YoloxHead
from prune_perception.runtime.decoders import Decoder, decoder_of, DecoderError

__all__ = [
    'BOX_WEIGHT', 'Head', 'HeadError', 'Loss', 'NanoDetHead', 'Outputs', 'head_of']


def head_of(card: Card) -> Head:
    """
    Return the head of a card, for its classes and its input size.

    :raises HeadError: the card's decoder is none that a head is known of, or does not fit.
    """
    maker = _HEADS.get(card.decoder.name)
    if maker is None:
        raise HeadError(
            f'bundle {card.name}: the outputs of decoder {card.decoder.name!r} cannot be '
            f'distilled; known are {", ".join(_HEADS)}')
    try:
        return maker(card, decoder_of(card))
    except DecoderError as error:
        raise HeadError(f'bundle {card.name}: {error}') from None


def _nanodet(card: Card, _: Decoder) -> Head:
    return NanoDetHead(len(card.class_names), card.decoder.settings['bins'])


# Each takes the decoder of its own kind.
_HEADS: Mapping[str, Callable[[Card, Any], Head]] = {
    'nanodet': _nanodet,
    'yolo_dfl': YoloDflHead,
    'yolox': YoloxHead,
    'ssd': SsdHead,
    'fcos': FcosHead,
    'centernet': CenterNetHead,
    'decoded': DecodedHead,
    'listed': ListedHead,
}
