# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The head of YOLOX: boxes from their cells' corners, objectness and classes."""

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
from prune_perception.runtime.decoders.boxes import LARGEST_EXPONENT
from prune_perception.runtime.decoders.dense import CLASSES
from prune_perception.runtime.decoders.yolox import YoloxDecoder


class YoloxHead(DenseHead):
    """Compares the products of objectness and class, which are the scores, and the boxes."""

    def __init__(self, card: Card, decoder: YoloxDecoder) -> None:
        self._corners = torch.from_numpy(decoder.corners)
        self._strides = torch.from_numpy(decoder.strides)
        super().__init__(card, decoder)

    def _score_fields(self) -> Sequence[str]:
        return (CLASSES, 'objectness')

    def _score_logits(self, fields: Fields) -> torch.Tensor:
        return product_logits(fields, self._columns, self._decoder.scores)

    def _edges(self, fields: Fields, anchors: torch.Tensor) -> torch.Tensor:
        boxes, strides = fields['boxes'], self._strides[anchors, None]
        centre = self._corners[anchors] + boxes[..., :2] * strides
        half = boxes[..., 2:].clamp_max(LARGEST_EXPONENT).exp() * strides / 2
        return torch.cat([centre - half, centre + half], -1)

    def _turned(self, name: str, values: torch.Tensor) -> torch.Tensor:
        # As far from the cell's right corner as it was from its left.
        return torch.cat([1 - values[..., :1], values[..., 1:]], -1)

    def _mirrors(self, fed: InputSpec) -> bool:
        centres = self._corners + self._strides[:, None] / 2
        return points_mirror(centres, self._mirror, fed)


def product_logits(fields: Fields, columns: torch.Tensor, kind: str) -> torch.Tensor:
    """Return objectness times class as logits, (n, anchors, classes)."""
    return logit_of(log_probability(fields['objectness'], kind)
                    + log_probability(fields[CLASSES][..., columns], kind))
