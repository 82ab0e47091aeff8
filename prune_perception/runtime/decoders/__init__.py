# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Decoders: what the outputs of a kind of detector head mean, as boxes."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from prune_perception.bundle import Bundle, BundleError, CARD
from prune_perception.runtime.decoders.nanodet import NanoDetDecoder


class Decoder(Protocol):
    """Turns the raw outputs of one image into scored boxes, before any suppression."""

    def __call__(
            self, outputs: Sequence[NDArray[np.float32]], score_threshold: float
            ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
        """
        Decode the outputs of one image.

        :param outputs: in the order of the card.
        :param score_threshold: boxes at or below it are left out.
        :returns: boxes (n, 4) x1, y1, x2, y2 in network pixels, scores (n,), classes (n,).
        """


DECODERS = {'nanodet': NanoDetDecoder}


def create_decoder(bundle: Bundle) -> Decoder:
    """
    Return the decoder that a bundle's card names.

    :raises BundleError: there is no such decoder, or its settings do not fit.
    """
    spec = bundle.card.decoder
    path = bundle.folder / CARD
    if spec.name not in DECODERS:
        raise BundleError(
            f'{path}: decoder.name is {spec.name!r}; known are {", ".join(DECODERS)}')
    try:
        return DECODERS[spec.name](
            len(bundle.card.class_names), bundle.card.input, bundle.card.outputs,
            **spec.settings)
    except (TypeError, ValueError) as error:
        raise BundleError(f'{path}: decoder.settings do not fit {spec.name!r}: {error}') from None
