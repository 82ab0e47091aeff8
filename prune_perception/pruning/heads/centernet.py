# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The head of CenterNet: heatmaps of centres, sizes and offsets."""

import torch
from torch.nn import functional

from prune_perception.bundle import Card, InputSpec
from prune_perception.pruning.heads.dense import DenseHead, Fields, points_mirror
from prune_perception.runtime.decoders.centernet import CenterNetDecoder


class CenterNetHead(DenseHead):
    """
    Compares heatmaps everywhere, and boxes where the teacher's heatmap has a peak.

    Around a peak the heatmap is high as well, but no size is ever read there.
    """

    def __init__(self, card: Card, decoder: CenterNetDecoder) -> None:
        self._corners = torch.from_numpy(decoder.corners)
        self._stride = decoder.stride
        self._units = torch.from_numpy(decoder.units)
        self._axes = decoder.axes
        self._offsets = decoder.offsets
        self._level, = decoder.layout.levels
        super().__init__(card, decoder)

    def _confidence(self, fields: Fields) -> torch.Tensor:
        heat = self._probabilities(self._score_logits(fields))
        maps = heat.swapaxes(1, 2).unflatten(2, (self._level.rows, self._level.columns))
        peaks = maps == functional.max_pool2d(maps, 3, 1, 1)
        return (maps * peaks).amax(1).flatten(1)

    def _edges(self, fields: Fields, anchors: torch.Tensor) -> torch.Tensor:
        offsets = fields['offsets'][..., self._axes] if self._offsets else 0.5
        centre = self._corners[anchors] + offsets * self._stride
        half = fields['sizes'][..., self._axes] * self._units / 2
        return torch.cat([centre - half, centre + half], -1)

    def _turned(self, name: str, values: torch.Tensor) -> torch.Tensor:
        if name == 'sizes':
            return values
        across = self._axes.index(0)
        turned = values.clone()
        turned[..., across] = 1 - values[..., across]
        return turned

    def _mirrors(self, fed: InputSpec) -> bool:
        return points_mirror(self._corners + self._stride / 2, self._mirror, fed)
