# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The head of FCOS: classes, distances of a box's sides, and centerness."""

from collections.abc import Sequence

import torch

from prune_perception.bundle import Card, InputSpec
from prune_perception.pruning.heads.dense import (
    DenseHead,
    Fields,
    log_probability,
    logit_of,
    points_mirror,
)
from prune_perception.pruning.heads.interface import MIRRORED_SIDES
from prune_perception.runtime.decoders.boxes import LARGEST_EXPONENT
from prune_perception.runtime.decoders.dense import CLASSES
from prune_perception.runtime.decoders.fcos import (
    FcosDecoder,
    NONE,
    SQUARE_ROOT,
)


class FcosHead(DenseHead):
    """Compares the scores that class and centerness make together, and the boxes."""

    def __init__(self, card: Card, decoder: FcosDecoder) -> None:
        self._points = torch.from_numpy(decoder.points)
        self._units = torch.from_numpy(decoder.units)
        self._activation = decoder.activation
        self._centerness = decoder.centerness
        super().__init__(card, decoder)

    def _score_fields(self) -> Sequence[str]:
        return (CLASSES, 'centerness')

    def _score_logits(self, fields: Fields) -> torch.Tensor:
        if self._centerness == NONE:
            return super()._score_logits(fields)
        logarithm = log_probability(fields[CLASSES][..., self._columns], self._decoder.scores) \
            + log_probability(fields['centerness'], self._decoder.scores)
        return logit_of(logarithm / 2 if self._centerness == SQUARE_ROOT else logarithm)

    def _edges(self, fields: Fields, anchors: torch.Tensor) -> torch.Tensor:
        distances = fields['boxes']
        if self._activation == 'relu':
            distances = distances.relu()
        elif self._activation == 'exp':
            distances = distances.clamp_max(LARGEST_EXPONENT).exp()
        distances = distances * self._units[anchors]
        points = self._points[anchors]
        return torch.cat([points - distances[..., :2], points + distances[..., 2:]], -1)

    def _turned(self, name: str, values: torch.Tensor) -> torch.Tensor:
        return values[..., MIRRORED_SIDES]

    def _mirrors(self, fed: InputSpec) -> bool:
        return points_mirror(self._points, self._mirror, fed)
