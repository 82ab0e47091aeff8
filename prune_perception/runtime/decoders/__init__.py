# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Decoders: what the outputs of a kind of detector head mean, as boxes."""

from collections.abc import Callable, Mapping, Sequence
import inspect
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from prune_perception.bundle import Bundle, BundleError, CARD, Card
from prune_perception.runtime.decoders.centernet import CenterNetDecoder
from prune_perception.runtime.decoders.decoded import DecodedDecoder
from prune_perception.runtime.decoders.fcos import FcosDecoder
from prune_perception.runtime.decoders.listed import ListedDecoder
from prune_perception.runtime.decoders.nanodet import NanoDetDecoder
from prune_perception.runtime.decoders.ssd import SsdDecoder
from prune_perception.runtime.decoders.yolo_dfl import YoloDflDecoder
from prune_perception.runtime.decoders.yolox import YoloxDecoder


class DecoderError(ValueError):
    """A card whose decoder and outputs do not fit; one line that names the field of the card."""


class Decoder(Protocol):
    """
    Turns the raw outputs of one image into scored boxes, before any suppression.

    ``nms`` says whether boxes of one object are still to be suppressed but for the best.
    """

    nms: bool

    def __call__(
            self, outputs: Sequence[NDArray[np.float32]], score_threshold: float
            ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
        """
        Decode the outputs of one image.

        :param outputs: in the order of the card.
        :param score_threshold: boxes at or below it are left out.
        :returns: boxes (n, 4) x1, y1, x2, y2 in network pixels, scores (n,), classes (n,).
        """

    def fields(self, outputs: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """
        Return what the outputs of one image hold that has a scale of its own.

        Boxes in pixels are a thousand times as large as the scores that may lie beside them in
        one output: what compares outputs measures each by its own.

        :returns: arrays of any shapes, always in the same order.
        """


DECODERS: Mapping[str, Callable[..., Decoder]] = {
    'nanodet': NanoDetDecoder,
    'yolo_dfl': YoloDflDecoder,
    'yolox': YoloxDecoder,
    'ssd': SsdDecoder,
    'fcos': FcosDecoder,
    'centernet': CenterNetDecoder,
    'decoded': DecodedDecoder,
    'listed': ListedDecoder,
}
_NO_SETTINGS = 3  # parameters that every decoder takes: classes, input, outputs


def decoder_of(card: Card) -> Decoder:
    """
    Return the decoder that a card names.

    :raises DecoderError: there is no such decoder, or its settings or the outputs do not fit.
    """
    spec = card.decoder
    if spec.name not in DECODERS:
        raise DecoderError(f'decoder.name is {spec.name!r}; known are {", ".join(DECODERS)}')
    maker = DECODERS[spec.name]
    try:
        _check_names(spec.settings, maker)
        return maker(len(card.class_names), card.input, card.outputs, **spec.settings)
    except (TypeError, ValueError, OverflowError, MemoryError) as error:
        text = ' '.join(str(error).split())
        raise DecoderError(f'decoder.settings do not fit {spec.name!r}: {text}') from None


def create_decoder(bundle: Bundle) -> Decoder:
    """
    Return the decoder that a bundle's card names.

    :raises BundleError: there is no such decoder, or its settings do not fit.
    """
    try:
        return decoder_of(bundle.card)
    except DecoderError as error:
        raise BundleError(f'{bundle.folder / CARD}: {error}') from None


def _check_names(settings: Mapping[str, object], maker: Callable[..., Decoder]) -> None:
    """Refuse settings that the decoder has not, or that it needs and are not there."""
    known = list(inspect.signature(maker).parameters.values())[_NO_SETTINGS:]
    names = [parameter.name for parameter in known]
    for name in settings:
        if name not in names:
            raise ValueError(f'{name} is no setting of it; known are {", ".join(names)}')
    for parameter in known:
        if parameter.default is parameter.empty and parameter.name not in settings:
            raise ValueError(f'{parameter.name} is missing')
