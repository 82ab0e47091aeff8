# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The head of YOLOv8 and its successors: a distribution of each side's distance, and classes."""

import torch
from torch.nn import functional

from prune_perception.bundle import Card, InputSpec
from prune_perception.pruning.heads.dense import DenseHead, Fields, points_mirror
from prune_perception.pruning.heads.interface import LEAST_PROBABILITY, MIRRORED_SIDES
from prune_perception.runtime.decoders.yolo_dfl import YoloDflDecoder


class YoloDflHead(DenseHead):
    """
    Compares the distributions of distances by their Kullback-Leibler divergence.

    That is localisation distillation (Zheng et al., CVPR 2022). With one bin there is no
    distribution, and the edges of the boxes are compared.
    """

    def __init__(self, card: Card, decoder: YoloDflDecoder) -> None:
        self._bins = decoder.bins
        self._points = torch.from_numpy(decoder.points)
        self._strides = torch.from_numpy(decoder.strides)
        super().__init__(card, decoder)

    def _distances(self, values: torch.Tensor) -> torch.Tensor:
        """Return (n, anchors, 4, bins)."""
        return values.unflatten(-1, (4, self._bins))

    def _edges(self, fields: Fields, anchors: torch.Tensor) -> torch.Tensor:
        distances = fields['boxes']
        if self._bins > 1:
            places = torch.arange(self._bins, dtype=distances.dtype)
            distances = (self._distances(distances).softmax(-1) * places).sum(-1)
        distances = distances * self._strides[anchors, None]
        points = self._points[anchors]
        return torch.cat([points - distances[..., :2], points + distances[..., 2:]], -1)

    def _box_loss(self, own: Fields, wanted: Fields, anchors: torch.Tensor) -> torch.Tensor:
        if self._bins == 1:
            return super()._box_loss(own, wanted, anchors)
        return functional.kl_div(
            self._distances(own['boxes']).log_softmax(-1),
            self._distances(wanted['boxes']).log_softmax(-1), reduction='none',
            log_target=True).sum((-2, -1))

    def _box_noise(self, fields: Fields, anchors: torch.Tensor, generator: torch.Generator
                   ) -> torch.Tensor:
        if self._bins == 1:
            return super()._box_noise(fields, anchors, generator)
        bins = self._distances(fields['boxes'])
        shares = bins.detach().softmax(-1)
        drawn = torch.multinomial(
            shares.reshape(-1, self._bins), 1, generator=generator).reshape(shares.shape[:-1])
        difference = shares - functional.one_hot(drawn, self._bins)
        return (difference * bins).sum((-2, -1))

    def _average(self, name: str, values: torch.Tensor, others: torch.Tensor,
                 weight: torch.Tensor) -> torch.Tensor:
        if self._bins == 1:
            return super()._average(name, values, others, weight)
        weight = weight[..., None]
        mean = weight * self._distances(values).softmax(-1) \
            + (1 - weight) * self._distances(others).softmax(-1)
        return mean.clamp_min(LEAST_PROBABILITY).log().flatten(-2)

    def _turned(self, name: str, values: torch.Tensor) -> torch.Tensor:
        return self._distances(values)[..., MIRRORED_SIDES, :].flatten(-2)

    def _mirrors(self, fed: InputSpec) -> bool:
        return points_mirror(self._points, self._mirror, fed)
