# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
What the outputs of a detector mean to one who prunes it: by the decoder that a card names.

A head knows how far the outputs of a student are from those of its teacher, how that distance
curves at the teacher, and how to leave out classes.
"""

from collections.abc import Callable, Mapping, Sequence
import copy
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import nn
from torch.nn import functional

from prune_perception.bundle import BundleError, Card, NetworkSpec
from prune_perception.networks.registry import build, example_input, spec_of

Outputs = Sequence[torch.Tensor]

BOX_WEIGHT = 0.5
"""Of the boxes in the loss, beside the classes."""

_CLASS_WEIGHT = 4.0  # of a class where one of both networks is sure of it
_LEAST_CONFIDENCE = 0.05  # so much a cell counts in which neither sees anything
_LEAST_PROBABILITY = 1e-6  # of what has a logarithm
_MIRRORED_DISTANCES = [2, 1, 0, 3]  # of left, top, right and bottom


class HeadError(ValueError):
    """A head that is not known or cannot be changed; one line that names it and the reason."""


@dataclass(frozen=True)
class Loss:
    """
    How far a student is from its teacher.

    :param total: a scalar to be differentiated.
    :param parts: that the total is the sum of, by name.
    """

    total: torch.Tensor
    parts: Mapping[str, float]


class Head(Protocol):
    """A detector's outputs, for a number of classes."""

    def keep_classes(
            self, module: nn.Module, card: Card, names: Sequence[str]
            ) -> tuple[nn.Module, Card]:
        """
        Return a copy of a network without the other classes, and its card.

        What is kept answers as before. The classes stay in the card's order. What the card says
        of the network as a whole (energy, measurements, certificate) is left out.

        :raises HeadError: a class is not the card's, or the outputs cannot be reduced.
        """

    def curvature_noise(
            self, outputs: Outputs, generator: torch.Generator) -> torch.Tensor:
        """
        Return a scalar whose gradient at the outputs is random, with the loss's curvature.

        For this gradient g, the mean of g gᵀ is the Hessian of :meth:`loss`, before its division
        by the confidence, where student and teacher are these outputs. One backward pass then
        brings a sample of the Gauss-Newton matrix to any layer (Schraudolph, *Fast
        Curvature Matrix-Vector Products*, 2002; Martens, *New Insights and Perspectives on the
        Natural Gradient Method*, JMLR 2020: a Fisher matrix is sampled from the model's own
        predictions).

        :param outputs: of the teacher, attached to its graph.
        """

    def mirrored(self, outputs: Outputs) -> Outputs:
        """
        Return outputs for images as those for the same images mirrored left to right.

        :param outputs: of any floating type, which stays.
        """

    def averaged(self, outputs: Outputs, others: Outputs) -> Outputs:
        """Return the mean of two opinions of the same images."""

    def loss(self, student: Outputs, teacher: Outputs) -> Loss:
        """
        Compare a student with its teacher; 0 where they are equal.

        :param student: outputs for some images.
        :param teacher: outputs for the same images; of any floating type.
        """


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

    def __init__(self, classes: int, bins: int) -> None:
        self._classes = classes
        self._bins = bins

    def keep_classes(
            self, module: nn.Module, card: Card, names: Sequence[str]
            ) -> tuple[nn.Module, Card]:
        """Keep the rows of some classes in the convolutions that make the outputs."""
        kept = _indices(card, names)
        rows = torch.tensor(
            [*kept, *range(self._classes, self._classes + 4 * self._bins)], dtype=torch.long)
        module = copy.deepcopy(module)
        for name in _output_convolutions(module, card):
            _keep_rows(module.get_submodule(name), rows)
        outputs = tuple(
            replace(output, shape=(output.shape[0], len(rows), *output.shape[2:]))
            for output in card.outputs)
        return module, replace(
            card, class_names=tuple(card.class_names[index] for index in kept), outputs=outputs,
            network=_network_spec(card, module, len(kept)), energy={}, measured=(),
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
            variance = _class_weight(probability) * probability * (1 - probability)
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
            turned.append(torch.cat([logits, bins[:, _MIRRORED_DISTANCES].flatten(1, 2)], 1))
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
                probability.logit(eps=_LEAST_PROBABILITY),
                distribution.clamp_min(_LEAST_PROBABILITY).log().flatten(1, 2)], 1))
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
            weight = _class_weight(
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


def _class_weight(confidence: torch.Tensor) -> torch.Tensor:
    return _CLASS_WEIGHT * (confidence + _LEAST_CONFIDENCE)


def head_of(card: Card) -> Head:
    """
    Return the head of a card, for its number of classes.

    :raises HeadError: the card's decoder is none whose outputs can be distilled.
    """
    maker = _HEADS.get(card.decoder.name)
    if maker is None:
        raise HeadError(
            f'bundle {card.name}: the outputs of decoder {card.decoder.name!r} cannot be '
            f'distilled; known are {", ".join(_HEADS)}')
    return maker(card)


def _nanodet(card: Card) -> Head:
    return NanoDetHead(len(card.class_names), card.decoder.settings['bins'])


_HEADS: dict[str, Callable[[Card], Head]] = {'nanodet': _nanodet}


def _indices(card: Card, names: Sequence[str]) -> list[int]:
    """Return the places of the classes to keep, in the card's order."""
    if not names:
        raise HeadError(f'bundle {card.name}: no class is named; name at least one to keep')
    unknown = [name for name in names if name not in card.class_names]
    if unknown:
        raise HeadError(
            f'class {", ".join(map(repr, unknown))} is not in bundle {card.name}; it has '
            f'{", ".join(card.class_names)}')
    return [index for index, name in enumerate(card.class_names) if name in names]


def _output_convolutions(module: nn.Module, card: Card) -> list[str]:
    """Return the convolutions whose results are the network's outputs, each once."""
    made: list[tuple[torch.Tensor, str]] = []

    def remember(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: object, output: torch.Tensor) -> None:
            made.append((output, name))
        return hook

    hooks = [layer.register_forward_hook(remember(name))
             for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d)]
    training = module.training
    try:
        with torch.no_grad():
            outputs = module.eval()(example_input(card.input))
    finally:
        module.train(training)
        for handle in hooks:
            handle.remove()
    found = []
    for spec, output in zip(card.outputs, outputs, strict=True):
        makers = [name for tensor, name in made if tensor is output]
        if not makers:
            raise HeadError(
                f'bundle {card.name}: output {spec.name!r} is not what one convolution makes; '
                'its classes cannot be taken out')
        found.append(makers[-1])
    return list(dict.fromkeys(found))


def _keep_rows(layer: nn.Module, rows: torch.Tensor) -> None:
    assert isinstance(layer, nn.Conv2d)
    layer.weight = nn.Parameter(layer.weight.detach()[rows].clone())
    if layer.bias is not None:
        layer.bias = nn.Parameter(layer.bias.detach()[rows].clone())
    layer.out_channels = len(rows)


def _network_spec(card: Card, module: nn.Module, classes: int) -> NetworkSpec | None:
    if card.network is None:
        return None
    plain = spec_of(card.network.name, module, card.network.settings)
    counted = replace(plain, settings={**card.network.settings, 'classes': classes})
    try:
        with torch.device('meta'):
            build(counted)
    except BundleError:
        return plain  # its constructor has no such setting: the widths say it all
    return counted
