# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Heads of networks that decode themselves: boxes and scores at fixed places."""

from collections.abc import Sequence

import torch

from prune_perception.bundle import Card, InputSpec
from prune_perception.pruning.heads.boxes import corners_of
from prune_perception.pruning.heads.dense import DenseHead, Fields
from prune_perception.pruning.heads.yolox import product_logits
from prune_perception.runtime.decoders.decoded import DecodedDecoder
from prune_perception.runtime.decoders.dense import CLASSES


class DecodedHead(DenseHead):
    """Compares scores and boxes place by place."""

    def __init__(self, card: Card, decoder: DecodedDecoder) -> None:
        self._form = decoder.form
        self._width = 1.0 if decoder.units == 'normalised' else float(card.input.width)
        self._objectness = decoder.objectness
        self._levels = decoder.layout.levels if decoder.grid else ()
        self._units = torch.tensor(
            [card.input.width, card.input.height] * 2 if decoder.units == 'normalised'
            else [1] * 4, dtype=torch.float32)
        super().__init__(card, decoder)

    def _score_fields(self) -> Sequence[str]:
        return (CLASSES, 'objectness')

    def _score_logits(self, fields: Fields) -> torch.Tensor:
        if not self._objectness:
            return super()._score_logits(fields)
        return product_logits(fields, self._columns, self._decoder.scores)

    def _edges(self, fields: Fields, anchors: torch.Tensor) -> torch.Tensor:
        return corners_of(fields['boxes'], self._form) * self._units

    def _turned(self, name: str, values: torch.Tensor) -> torch.Tensor:
        first, second, third, fourth = values.unbind(-1)
        if self._form == 'xyxy':
            turned = (self._width - third, second, self._width - first, fourth)
        elif self._form == 'yxyx':
            turned = (first, self._width - fourth, third, self._width - second)
        elif self._form == 'cxcywh':
            turned = (self._width - first, second, third, fourth)
        else:
            turned = (self._width - first - third, second, third, fourth)
        return torch.stack(turned, -1)

    def _mirrors(self, fed: InputSpec) -> bool:
        # Where the places lie is not known but for those of whole cells.
        return bool(self._levels) and all(
            fed.width % level.columns == 0 for level in self._levels)
