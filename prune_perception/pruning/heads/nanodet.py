# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The head of NanoDet: class logits and a distribution of each side's distance."""

from collections.abc import Sequence
import copy
from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional

from prune_perception.bundle import Card
from prune_perception.pruning.heads.classes import (
    indices_of,
    keep_rows,
    network_spec,
    output_convolutions,
)
from prune_perception.pruning.heads.interface import (
    BOX_WEIGHT,
    class_weight,
    LEAST_PROBABILITY,
    Loss,
    MIRRORED_SIDES,
    Outputs,
)


class NanoDetHead:
    """
    NanoDet's maps: class logits, then the bins of a box's four distances.

    The loss is that of knowledge distillation (Hinton, Vinyals, Dean, *Distilling the Knowledge
    in a Neural Network*, 2015) on each class as a yes or no, and of localisation distillation
    (Zheng et al., CVPR 2022) on the distances' distributions. A class counts by the confidence
    in it, the teacher's or the student's, whichever is greater: nearly all cells are background,
    whose many small errors would otherwise weigh as much as the few that miss somebody. A cell's
    box counts by the teacher's confidence in the cell, its greatest class probability; all is
    divided by the sum of the confidences, so that it does not depend on how many objects there
    are.

    :param classes: number of classes.
    :param bins: of a distance's distribution.
    """

    undistillable = ''
    mirrors = True

    def __init__(self, classes: int, bins: int) -> None:
        self._classes = classes
        self._bins = bins

    def keep_classes(
            self, module: nn.Module, card: Card, names: Sequence[str]
            ) -> tuple[nn.Module, Card]:
        """Keep the rows of some classes in the convolutions that make the outputs."""
        kept = indices_of(card, names)
        rows = torch.tensor(
            [*kept, *range(self._classes, self._classes + 4 * self._bins)], dtype=torch.long)
        module = copy.deepcopy(module)
        for name in output_convolutions(module, card):
            keep_rows(module.get_submodule(name), rows)
        outputs = tuple(
            replace(output, shape=(output.shape[0], len(rows), *output.shape[2:]))
            for output in card.outputs)
        return module, replace(
            card, class_names=tuple(card.class_names[index] for index in kept), outputs=outputs,
            network=network_spec(card, module, len(kept)), energy={}, measured=(),
            certificate=None)

    def curvature_noise(
            self, outputs: Outputs, generator: torch.Generator) -> torch.Tensor:
        """
        Draw the noise.

        The Hessian of a class is its weight times p (1 - p); that of a distribution,
        diag(q) - q qᵀ, is the covariance of a draw from it.
        """
        total = torch.zeros(())
        for output in outputs:
            logits, bins = self._parts(output)
            probability = logits.detach().sigmoid()
            normal = torch.randn(probability.shape, generator=generator)
            variance = class_weight(probability) * probability * (1 - probability)
            total = total + (variance.sqrt() * normal * logits).sum()
            confidence = probability.amax(1)[:, None, None]
            distribution = bins.detach().softmax(2)
            flat = distribution.movedim(2, -1)
            drawn = torch.multinomial(
                flat.reshape(-1, self._bins), 1, generator=generator).reshape(flat.shape[:-1])
            difference = distribution - functional.one_hot(drawn, self._bins).movedim(-1, 2)
            total = total + ((BOX_WEIGHT * confidence).sqrt() * difference * bins).sum()
        return total

    def mirrored(self, outputs: Outputs) -> Outputs:
        """Turn the maps, and left and right: what lies left of a cell's centre lies right now."""
        turned = []
        for output in outputs:
            logits, bins = self._parts(output.flip(-1))
            turned.append(torch.cat([logits, bins[:, MIRRORED_SIDES].flatten(1, 2)], 1))
        return turned

    def averaged(self, outputs: Outputs, others: Outputs) -> Outputs:
        """Average probabilities, those of classes and those of distances."""
        averages = []
        for output, other in zip(outputs, others, strict=True):
            logits, bins = self._parts(output)
            other_logits, other_bins = self._parts(other)
            probability = (logits.sigmoid() + other_logits.sigmoid()) / 2
            distribution = (bins.softmax(2) + other_bins.softmax(2)) / 2
            averages.append(torch.cat([
                probability.logit(eps=LEAST_PROBABILITY),
                distribution.clamp_min(LEAST_PROBABILITY).log().flatten(1, 2)], 1))
        return averages

    def loss(self, student: Outputs, teacher: Outputs) -> Loss:
        """
        Return the cross-entropy of the classes less the teacher's entropy, and the boxes' loss.

        The latter is the Kullback-Leibler divergence of the distances' distributions.
        """
        classes, boxes, confidences = torch.zeros(()), torch.zeros(()), torch.zeros(())
        for own, wanted in zip(student, teacher, strict=True):
            own_logits, own_bins = self._parts(own)
            logits, bins = self._parts(wanted.detach().float())
            probability = logits.sigmoid()
            weight = class_weight(
                torch.maximum(probability, own_logits.detach().sigmoid()))
            classes = classes + (
                functional.binary_cross_entropy_with_logits(
                    own_logits, probability, weight, reduction='sum')
                - functional.binary_cross_entropy_with_logits(
                    logits, probability, weight, reduction='sum'))
            confidence = probability.amax(1)
            divergence = functional.kl_div(
                own_bins.log_softmax(2), bins.log_softmax(2), reduction='none',
                log_target=True).sum((1, 2))
            boxes = boxes + (confidence * divergence).sum()
            confidences = confidences + confidence.sum()
        # Images in which the teacher is sure of nothing must not count without bound.
        confidences = confidences.clamp_min(1.0)
        classes, boxes = classes / confidences, BOX_WEIGHT * boxes / confidences
        return Loss(classes + boxes, {'classes': classes.item(), 'boxes': boxes.item()})

    def _parts(self, output: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits (n, classes, height, width) and bins (n, 4, bins, height, width)."""
        logits, bins = output.split((self._classes, 4 * self._bins), 1)
        return logits, bins.unflatten(1, (4, self._bins))
