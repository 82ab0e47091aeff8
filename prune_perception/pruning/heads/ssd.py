# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Heads of differences from anchors: SSD, SSDLite, RetinaNet."""

import torch

from prune_perception.bundle import Card, InputSpec
from prune_perception.pruning.heads.dense import DenseHead, Fields, points_mirror
from prune_perception.runtime.decoders.ssd import LARGEST_EXPONENT, SsdDecoder


class SsdHead(DenseHead):
    """Compares the boxes, and the distribution over classes and background if there is one."""

    def __init__(self, card: Card, decoder: SsdDecoder) -> None:
        self._boxes = torch.from_numpy(decoder.anchors)
        self._variances = torch.from_numpy(decoder.variances)
        self._places = decoder.places
        self._grid = decoder.grid
        super().__init__(card, decoder)

    def _edges(self, fields: Fields, anchors: torch.Tensor) -> torch.Tensor:
        deltas = fields['boxes'][..., self._places] * self._variances
        boxes = self._boxes[anchors]
        centre = boxes[:, :2] + deltas[..., :2] * boxes[:, 2:]
        half = deltas[..., 2:].clamp_max(LARGEST_EXPONENT).exp() * boxes[:, 2:] / 2
        return torch.cat([centre - half, centre + half], -1)

    def _turned(self, name: str, values: torch.Tensor) -> torch.Tensor:
        signs = torch.ones(4, dtype=values.dtype)
        signs[self._places.index(0)] = -1
        return values * signs

    def _mirrors(self, fed: InputSpec) -> bool:
        # Anchors that are given one by one may lie in any order.
        return self._grid and points_mirror(self._boxes[:, :2], self._mirror, fed)
