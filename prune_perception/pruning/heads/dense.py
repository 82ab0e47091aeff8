# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
What the heads with scores and a box at fixed places have in common.

Two networks are compared by what a decoder makes of their outputs, the scores and the edges of
the boxes, whatever the parametrisation: what no detection depends on costs nothing.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.nn import functional

from prune_perception.bundle import Card, InputSpec
from prune_perception.pruning.heads.classes import without_classes
from prune_perception.pruning.heads.interface import (
    BOX_WEIGHT,
    class_weight,
    HeadError,
    LEAST_PROBABILITY,
    Loss,
    Outputs,
)
from prune_perception.runtime.decoders.dense import CLASSES, DenseDecoder
from prune_perception.runtime.decoders.layout import Block, Part
from prune_perception.runtime.decoders.scores import LOGITS, SOFTMAX

Fields = Mapping[str, torch.Tensor]

TOLERANCE = 0.1
"""
Of a box's side: what its edges are taken to be uncertain by.

As the standard deviation of a normal distribution it makes the loss of an edge a Kullback-Leibler
divergence, as that of the classes and of distances that come as distributions.
"""

_NEAR = 3.0  # standard deviations, beyond which the loss of an edge is linear (Huber, 1964)
_LEAST_SIDE = 1.0  # pixels

LEAST_SCORE = 0.05
"""Of a box that counts; evaluation by default looks at none below."""

_NO_CONFIDENCE = 1e-6  # beside which no opinion counts


class DenseHead(ABC):
    """
    The head of a dense decoder.

    The loss is that of knowledge distillation (Hinton, Vinyals, Dean, *Distilling the Knowledge
    in a Neural Network*, 2015): the scores of each class as a yes or no, or those of all classes
    and the background as one distribution where the network applies a softmax. A class counts
    by the confidence in it, the teacher's or the student's, whichever is greater; a box by the
    teacher's confidence at its place, the greatest score there, and not at all below
    ``LEAST_SCORE``: at thousands of places with nothing in them small scores add up to more than
    those of the objects. All is divided by the sum of what boxes count, so that it does not
    depend on how many objects there are; images without any count by their classes, undivided.

    :param card: of the network.
    :param decoder: of the card.
    """

    def __init__(self, card: Card, decoder: DenseDecoder) -> None:
        self._card = card
        self._decoder = decoder
        self._blocks = decoder.layout.blocks
        self._anchors = [torch.from_numpy(block.anchors) for block in self._blocks]
        self._columns = torch.from_numpy(decoder.columns.columns)
        self._mirror = torch.from_numpy(decoder.layout.mirror())
        self.mirrors = self._mirrors(card.input)
        batched = all(part.batched for block in self._blocks for part in block.parts.values())
        self.undistillable = '' if batched else \
            f'the outputs of bundle {card.name} have no dimension for a batch of images'

    # ---- what a kind of head must say

    @abstractmethod
    def _edges(self, fields: Fields, anchors: torch.Tensor) -> torch.Tensor:
        """
        Return boxes (n, anchors, 4) x1, y1, x2, y2 in network pixels.

        :param fields: (n, anchors, size) each.
        :param anchors: their numbers.
        """

    @abstractmethod
    def _turned(self, name: str, values: torch.Tensor) -> torch.Tensor:
        """
        Return a field other than scores as it is for the anchors in a mirrored image.

        :param values: (n, anchors, size), of the anchors that were mirrored already.
        """

    @abstractmethod
    def _mirrors(self, fed: InputSpec) -> bool:
        """Return whether the mirror image of each anchor is an anchor."""

    def _score_fields(self) -> Sequence[str]:
        """Return the fields that hold scores; the others hold boxes."""
        return (CLASSES,)

    def _score_logits(self, fields: Fields) -> torch.Tensor:
        """
        Return the scores of the card's classes as logits, (n, anchors, classes).

        For softmax: the logarithms of the probabilities, with the background and all that are no
        classes of the card together as the last, (n, anchors, classes + 1).
        """
        values = fields[CLASSES]
        if self._decoder.scores == SOFTMAX:
            logarithms = values.log_softmax(-1)
            rest = torch.ones(values.shape[-1], dtype=torch.bool)
            rest[self._columns] = False
            kept = logarithms[..., self._columns]
            if not rest.any():
                return kept
            return torch.cat([kept, logarithms[..., rest].logsumexp(-1, keepdim=True)], -1)
        values = values[..., self._columns]
        if self._decoder.scores == LOGITS:
            return values
        return values.logit(eps=LEAST_PROBABILITY)

    def _probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the scores that :meth:`_score_logits` are of, (n, anchors, classes)."""
        if self._decoder.scores == SOFTMAX:
            return logits[..., :len(self._columns)].exp()
        return logits.sigmoid()

    def _confidence(self, fields: Fields) -> torch.Tensor:
        """Return how sure a network is of its boxes, (n, anchors)."""
        return self._probabilities(self._score_logits(fields)).amax(-1)

    def _box_weights(self, fields: Fields) -> torch.Tensor:
        """Return how much boxes count, (n, anchors)."""
        return functional.threshold(self._confidence(fields), LEAST_SCORE, 0.0)

    def _box_loss(self, own: Fields, wanted: Fields, anchors: torch.Tensor) -> torch.Tensor:
        """Return how far boxes are from each other, (n, anchors)."""
        target = self._edges(wanted, anchors)
        error = (self._edges(own, anchors) - target) / uncertainty(target)
        return functional.huber_loss(
            error, torch.zeros_like(error), reduction='none', delta=_NEAR).sum(-1)

    def _box_noise(self, fields: Fields, anchors: torch.Tensor, generator: torch.Generator
                   ) -> torch.Tensor:
        """Return (n, anchors) whose gradient is random with the curvature of the boxes' loss."""
        edges = self._edges(fields, anchors)
        normal = torch.randn(edges.shape, generator=generator)
        return (normal / uncertainty(edges.detach()) * edges).sum(-1)

    def _average(self, name: str, values: torch.Tensor, others: torch.Tensor,
                 weight: torch.Tensor) -> torch.Tensor:
        """
        Return the mean of two opinions of a field other than scores.

        :param weight: (n, anchors, 1) of the first opinion, from 0 to 1.
        """
        return weight * values + (1 - weight) * others

    # ---- what they have in common

    def keep_classes(
            self, module: nn.Module, card: Card, names: Sequence[str]
            ) -> tuple[nn.Module, Card]:
        """
        Keep the rows of some classes in the layers that make them, where that can be.

        Elsewhere (classes that compete in a softmax, outputs that no layer makes row by row) the
        network stays as it is, and the card says which of its columns are the classes.
        """
        return without_classes(module, card, self._decoder, names)

    def curvature_noise(
            self, outputs: Outputs, generator: torch.Generator) -> torch.Tensor:
        """
        Draw the noise.

        The Hessian of a yes or no is its weight times p (1 - p); that of a distribution, diag(q)
        - q qᵀ, is the covariance of a draw from it; that of an edge, to first order, the inverse
        of its variance.
        """
        total = torch.zeros(())
        for block, anchors in zip(self._blocks, self._anchors, strict=True):
            fields = _read(block, outputs)
            logits = self._score_logits(fields)
            seen = logits.detach()
            if self._decoder.scores == SOFTMAX:
                weight = class_weight(self._probabilities(seen).amax(-1, keepdim=True))
                shares = seen.exp()
                drawn = torch.multinomial(
                    shares.flatten(0, 1), 1, generator=generator).reshape(shares.shape[:-1])
                noise = weight.sqrt() * (
                    shares - functional.one_hot(drawn, shares.shape[-1]))
            else:
                chance = seen.sigmoid()
                normal = torch.randn(chance.shape, generator=generator)
                noise = (class_weight(chance) * chance * (1 - chance)).sqrt() * normal
            weights = self._box_weights({name: value.detach()
                                         for name, value in fields.items()})
            total = total + (noise * logits).sum() + (
                (BOX_WEIGHT * weights).sqrt()
                * self._box_noise(fields, anchors, generator)).sum()
        return total

    def mirrored(self, outputs: Outputs) -> Outputs:
        """Put each anchor's fields where it lies in the mirrored image, and turn its box."""
        if not self.mirrors:
            raise HeadError(
                f'bundle {self._card.name}: the places of its outputs do not lie on each other '
                'in a mirrored image')
        turned = _empty_like(outputs)
        for block, anchors in zip(self._blocks, self._anchors, strict=True):
            # Anchors rise in a block, and their mirror images lie in the same.
            order = torch.searchsorted(anchors, self._mirror[anchors])
            for name, values in _read(block, outputs).items():
                values = values[:, order]
                if name not in self._score_fields():
                    values = self._turned(name, values)
                _view(block.parts[name], turned)[:] = values
        return turned

    def averaged(self, outputs: Outputs, others: Outputs) -> Outputs:
        """Average scores as probabilities, and boxes by the confidence in them."""
        averages = _empty_like(outputs)
        for block in self._blocks:
            fields, further = _read(block, outputs), _read(block, others)
            first = self._confidence(fields)[..., None] + _NO_CONFIDENCE
            second = self._confidence(further)[..., None] + _NO_CONFIDENCE
            for name, values in fields.items():
                mean = self._mean_score(values, further[name]) if name in self._score_fields() \
                    else self._average(name, values, further[name], first / (first + second))
                _view(block.parts[name], averages)[:] = mean
        return averages

    def _mean_score(self, values: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        if self._decoder.scores == SOFTMAX:
            mean = (values.softmax(-1) + others.softmax(-1)) / 2
            return mean.clamp_min(LEAST_PROBABILITY).log()
        if self._decoder.scores == LOGITS:
            return ((values.sigmoid() + others.sigmoid()) / 2).logit(eps=LEAST_PROBABILITY)
        return (values + others) / 2

    def loss(self, student: Outputs, teacher: Outputs) -> Loss:
        """Return the loss of classes and boxes (see the class)."""
        classes, boxes, counted = torch.zeros(()), torch.zeros(()), torch.zeros(())
        teacher = [output.detach().float() for output in teacher]
        for block, anchors in zip(self._blocks, self._anchors, strict=True):
            own, wanted = _read(block, student), _read(block, teacher)
            classes = classes + self._class_loss(
                self._score_logits(own), self._score_logits(wanted))
            weights = self._box_weights(wanted)
            boxes = boxes + (weights * self._box_loss(own, wanted, anchors)).sum()
            counted = counted + weights.sum()
        # Images in which the teacher is sure of nothing must not count without bound.
        counted = counted.clamp_min(1.0)
        classes, boxes = classes / counted, BOX_WEIGHT * boxes / counted
        return Loss(classes + boxes, {'classes': classes.item(), 'boxes': boxes.item()})

    def _class_loss(self, own: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        confidence = torch.maximum(
            self._probabilities(wanted), self._probabilities(own.detach()))
        if self._decoder.scores == SOFTMAX:
            divergence = functional.kl_div(own, wanted, reduction='none', log_target=True).sum(-1)
            return (class_weight(confidence.amax(-1)) * divergence).sum()
        weight, probability = class_weight(confidence), wanted.sigmoid()
        return functional.binary_cross_entropy_with_logits(
            own, probability, weight, reduction='sum') \
            - functional.binary_cross_entropy_with_logits(
                wanted, probability, weight, reduction='sum')


def points_mirror(points: torch.Tensor, mirror: torch.Tensor, fed: InputSpec) -> bool:
    """
    Return whether the mirror image of each point is that of the anchor it is mirrored to.

    :param points: (anchors, 2) x and y, network pixels.
    :param mirror: (anchors,) the number of each anchor's mirror image.
    """
    return bool(((fed.width - points[:, 0]) - points[mirror, 0]).abs().max() < 1)


def log_probability(values: torch.Tensor, kind: str) -> torch.Tensor:
    """Return the logarithms of the probabilities that raw scores are of."""
    if kind == LOGITS:
        return functional.logsigmoid(values)
    return values.clamp(LEAST_PROBABILITY, 1).log()


def logit_of(logarithm: torch.Tensor) -> torch.Tensor:
    """Return the logits of probabilities that are given by their logarithms."""
    logarithm = logarithm.clamp_max(-LEAST_PROBABILITY)
    return logarithm - torch.log(-torch.expm1(logarithm))


def uncertainty(edges: torch.Tensor) -> torch.Tensor:
    """Return the standard deviation of each edge of boxes (…, 4), pixels."""
    sides = (edges[..., 2:] - edges[..., :2]).clamp_min(_LEAST_SIDE)
    return TOLERANCE * torch.cat([sides, sides], -1)


def _read(block: Block, outputs: Outputs) -> dict[str, torch.Tensor]:
    """Return the fields of a block's anchors, (n, anchors, size) each."""
    return {name: _view(part, outputs) for name, part in block.parts.items()}


def _view(part: Part, outputs: Outputs) -> torch.Tensor:
    """Return (n, anchors, size); where the output is contiguous, writing to it writes there."""
    output = outputs[part.output]
    number, end = output.shape[0] if part.batched else 1, part.first + part.size
    if part.last:
        return output.reshape(number, -1, part.channels)[:, :, part.first:end]
    return output.reshape(number, part.channels, -1)[:, part.first:end].swapaxes(1, 2)


def _empty_like(outputs: Outputs) -> list[torch.Tensor]:
    return [torch.empty_like(output, memory_format=torch.contiguous_format) for output in outputs]
