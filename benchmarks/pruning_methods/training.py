# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
The training that all methods share: the project's own distillation from the dense network.

Every method gets the same number of steps in all, on the same views of the same frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass
import hashlib

import numpy as np
import torch

from prune_perception.pruning.distillation import distil, Settings, Teacher, teacher_of
from prune_perception.pruning.heads import head_of
from pruning_methods.networks import described, Network
from pruning_methods.scenes import fed_with, Image, Scene

_REMEMBERED_BYTES = 3 << 29  # of the teacher's answers, kept from one method to the next


@dataclass(frozen=True)
class Recipe:
    """
    How long and how to train; the same for all methods.

    :param steps: in all, however many rounds they are spent in.
    :param batch: views in a step.
    :param learning_rate: at its peak.
    :param views: that the teacher looks at, at most.
    :param rounds: of removing and training, for the iterative methods.
    :param select: frames kept aside, by which the best weights are chosen, at most.
    """

    steps: int
    batch: int = 8
    learning_rate: float = 2e-3
    views: int = 1500
    rounds: int = 5
    select: int = 48


class Remembering:
    """
    A teacher that answers once for each image: methods train on the same views.

    :param teacher: that is asked.
    """

    def __init__(self, teacher: Teacher) -> None:
        self._teacher = teacher
        self._answers: dict[bytes, tuple[torch.Tensor, ...]] = {}
        self._bytes = 0

    def __call__(self, image: Image) -> tuple[torch.Tensor, ...]:
        """Return the outputs, of the precision of float16."""
        key = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
        if key not in self._answers:
            if self._bytes > _REMEMBERED_BYTES:
                self._answers.clear()
                self._bytes = 0
            answer = tuple(output.half() for output in self._teacher(image))
            self._answers[key] = answer
            self._bytes += sum(2 * output.numel() for output in answer)
        return tuple(output.float() for output in self._answers[key])


class Trainer:
    """
    Trains networks on a scene.

    :param teacher: the dense network, with the scene's classes.
    """

    def __init__(self, teacher: Network, scene: Scene, recipe: Recipe) -> None:
        self.recipe = recipe
        self._head = head_of(teacher.card)
        self._dense = teacher
        self._teachers: dict[tuple[int, int], Teacher] = {}  # by input size
        self._scene = scene
        self._images: dict[tuple[int, int], tuple[Image, Image]] = {}

    def train(self, student: Network, steps: int, seed: int) -> None:
        """
        Train a network in place, beside the dense one at the network's own input size.

        :param seed: of the views and their order.
        """
        fit, select = self._fed(student)
        recipe = self.recipe
        distil(student.module, self._teacher(student.size), fit, select, self._head,
               student.card.input,
               Settings(batch=recipe.batch, learning_rate=recipe.learning_rate,
                        views=recipe.views, seconds=None, steps=steps, seed=seed))
        student.module.eval()

    def _teacher(self, size: tuple[int, int]) -> Teacher:
        if size not in self._teachers:
            fed = described(self._dense.module, self._dense.card, size)
            self._teachers[size] = Remembering(teacher_of(fed.card, fed.module))
        return self._teachers[size]

    def _fed(self, student: Network) -> tuple[Image, Image]:
        if student.size not in self._images:
            self._images = {student.size: (
                fed_with(self._scene.fit, student.card.input),
                fed_with(spread(self._scene.select, self.recipe.select), student.card.input))}
        return self._images[student.size]


def spread(images: Sequence[Image], most: int) -> list[Image]:
    """Return some images of a sequence, evenly spread."""
    places = np.unique(np.linspace(0, len(images) - 1, min(most, len(images))).astype(int))
    return [images[place] for place in places]


def in_rounds(steps: int, rounds: int) -> list[int]:
    """
    Divide steps among rounds of removing and training.

    Half of them come after the last removal, where they do most; the others are shared evenly.
    """
    if rounds == 1:
        return [steps]
    early = steps // 2 // (rounds - 1)
    return [early] * (rounds - 1) + [steps - early * (rounds - 1)]
