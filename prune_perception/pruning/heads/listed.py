# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Heads that give a list of detections, which cannot be compared place by place.

An entry is another object in each image, and in each network. What is left is how each score and
box depends on the network, which is all that choosing its channels needs.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from prune_perception.bundle import Card, DecoderSpec
from prune_perception.pruning.heads.boxes import corners_of
from prune_perception.pruning.heads.classes import indices_of
from prune_perception.pruning.heads.dense import uncertainty
from prune_perception.pruning.heads.interface import (
    BOX_WEIGHT,
    class_weight,
    HeadError,
    LEAST_PROBABILITY,
    Loss,
    Outputs,
)
from prune_perception.runtime.decoders.listed import BOXES, ListedDecoder, SCORES
from prune_perception.runtime.decoders.scores import LOGITS


class ListedHead:
    """
    Knows what an entry's score and box cost to be off, and nothing to compare them with.

    :param card: of the network.
    :param decoder: of the card.
    """

    mirrors = False

    def __init__(self, card: Card, decoder: ListedDecoder) -> None:
        self._decoder = decoder
        self.undistillable = (
            f'the outputs of bundle {card.name} are a list whose entries are other objects in '
            'each image')
        self._units = torch.tensor(
            [card.input.width, card.input.height] * 2 if decoder.units == 'normalised'
            else [1] * 4, dtype=torch.float32)

    def keep_classes(
            self, module: nn.Module, card: Card, names: Sequence[str]
            ) -> tuple[nn.Module, Card]:
        """Leave the network as it is, and the numbers of the other labels out of the card."""
        kept = indices_of(card, names)
        settings = {name: value for name, value in card.decoder.settings.items()
                    if name != 'first_label'}
        settings['labels'] = [self._decoder.labels[index] for index in kept]
        return module, replace(
            card, class_names=tuple(card.class_names[index] for index in kept),
            decoder=DecoderSpec(card.decoder.name, settings), energy={}, measured=(),
            certificate=None)

    def curvature_noise(
            self, outputs: Outputs, generator: torch.Generator) -> torch.Tensor:
        """Draw the noise: for scores as a yes or no, for the edges of boxes by their sides."""
        scores, boxes = self._entries(outputs)
        logits = scores if self._decoder.scores == LOGITS else scores.logit(eps=LEAST_PROBABILITY)
        chance = logits.detach().sigmoid()
        normal = torch.randn(chance.shape, generator=generator)
        noise = (class_weight(chance) * chance * (1 - chance)).sqrt() * normal
        edges = corners_of(boxes, self._decoder.form) * self._units
        normal = torch.randn(edges.shape, generator=generator)
        weight = (BOX_WEIGHT * chance).sqrt()[:, None] / uncertainty(edges.detach())
        return (noise * logits).sum() + (weight * normal * edges).sum()

    def mirrored(self, outputs: Outputs) -> Outputs:
        """Refuse."""
        raise HeadError(self.undistillable)

    def averaged(self, outputs: Outputs, others: Outputs) -> Outputs:
        """Refuse."""
        raise HeadError(self.undistillable)

    def loss(self, student: Outputs, teacher: Outputs) -> Loss:
        """Refuse."""
        raise HeadError(self.undistillable)

    def _entries(self, outputs: Outputs) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the scores (n,) and boxes (n, 4) of one image."""
        columns = self._decoder.columns
        if columns is None:
            places = self._decoder.places
            return outputs[places[SCORES]].reshape(-1), outputs[places[BOXES]].reshape(-1, 4)
        rows = outputs[0].reshape(-1, outputs[0].shape[-1])
        return rows[:, columns[SCORES]].reshape(-1), rows[:, columns[BOXES]]
