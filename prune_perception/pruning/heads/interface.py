# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""What the outputs of a detector mean to one who prunes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from prune_perception.bundle import Card

Outputs = Sequence[torch.Tensor]

BOX_WEIGHT = 0.5
"""Of the boxes in the loss, beside the classes."""

LEAST_PROBABILITY = 1e-6
"""Of what has a logarithm."""

MIRRORED_SIDES = [2, 1, 0, 3]
"""Of left, top, right and bottom."""

_CLASS_WEIGHT = 4.0  # of a class where one of both networks is sure of it
_LEAST_CONFIDENCE = 0.05  # so much a cell counts in which neither sees anything


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
    """
    A detector's outputs, for a number of classes.

    ``undistillable`` says why they cannot be distilled, and is empty if they can; ``mirrors``
    whether what is said of a mirrored image can be turned back.
    """

    undistillable: str
    mirrors: bool

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
        by what boxes count, where student and teacher are these outputs. One backward pass then
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


def class_weight(confidence: torch.Tensor) -> torch.Tensor:
    """Return how much a class at a place counts, by the greater confidence in it."""
    return _CLASS_WEIGHT * (confidence + _LEAST_CONFIDENCE)
