# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Networks that decode and select themselves, and give a list of boxes, scores and labels.

Such are torchvision's and TensorFlow's exports, and heads that need no suppression (YOLOv10:
1 x 300 x 6).
"""

from collections.abc import Mapping, Sequence
import math
from typing import Any

import numpy as np

from prune_perception.bundle import InputSpec, OutputSpec
from prune_perception.runtime.decoders.boxes import Array, corners_of
from prune_perception.runtime.decoders.scores import (
    Index,
    joined,
    LOGITS,
    PROBABILITIES,
    probability,
    raw_threshold,
    Scores,
)
from prune_perception.runtime.decoders.settings import choice, flag, integers, whole, words

BOXES, SCORES, LABELS, COUNT, SKIP = 'boxes', 'scores', 'labels', 'count', 'skip'
_USUAL = (BOXES, SCORES, LABELS)
_LARGEST_LABEL = 1 << 20


class ListedDecoder:
    """
    Reads a list of detections; how many there are may differ from image to image.

    :param classes: number of classes of the card.
    :param fed: the input of the card.
    :param outputs: of the card: one for each name of ``order``, or one whose columns they are.
    :param boxes: ``xyxy``, ``cxcywh``, ``xywh`` or ``yxyx``.
    :param units: of the boxes: ``pixels``, or ``normalised`` by the input's size.
    :param scores: ``probabilities``, or ``logits`` to which the sigmoid is still to be applied.
    :param order: ``boxes``, ``scores``, ``labels`` in the network's order, with ``count`` (how
        many are valid; an output alone) and ``skip`` for what else there is.
    :param labels: the network's number of each class of the card.
    :param first_label: instead, that of the first class, from which the others follow.
    :param nms: whether the runtime suppresses overlapping boxes.
    """

    def __init__(
            self, classes: int, fed: InputSpec, outputs: Sequence[OutputSpec], *, boxes: Any,
            units: Any = 'pixels', scores: Any = PROBABILITIES, order: Any = None,
            labels: Any = None, first_label: Any = 0, nms: Any = False) -> None:
        names = _USUAL if order is None else words('order', order)
        self._corners = corners_of(boxes, units, fed)
        self.form, self.units = boxes, units
        self.scores = choice('scores', scores, (PROBABILITIES, LOGITS))
        self.nms = flag('nms', nms)
        self.columns = _columns(names) if len(outputs) == 1 else None
        self.places = {name: index for index, name in enumerate(names) if name != SKIP}
        _check_names(names, joined=self.columns is not None)
        if self.columns is not None:
            width = sum(4 if name == BOXES else 1 for name in names)
            shape = outputs[0].shape
            if shape[-1] != width or len(shape) not in (2, 3) or len(shape) == 3 and shape[0] != 1:
                raise ValueError(
                    f'output {outputs[0].name!r} {list(shape)} is no list of {width} columns '
                    f'({", ".join(names)}); set order to what its columns are')
        else:
            _check_outputs(names, outputs)
        numbers = integers('labels', labels, 0) if labels is not None else \
            tuple(range(whole('first_label', first_label), first_label + classes))
        if len(numbers) != classes or len(set(numbers)) != classes:
            raise ValueError(f'labels must be {classes} numbers, one for each class, each once')
        if max(numbers) > _LARGEST_LABEL:
            raise ValueError(f'labels reach {max(numbers)}; {_LARGEST_LABEL} is the largest')
        self.labels = numbers
        self._class_of = np.full(max(numbers) + 1, -1, np.int64)
        self._class_of[list(numbers)] = np.arange(classes)

    def __call__(
            self, outputs: Sequence[Array], score_threshold: float
            ) -> tuple[Array, Scores, Index]:
        """Return boxes in network pixels, scores and classes (see :class:`.Decoder`)."""
        fields = self.read(outputs)
        scores = fields[SCORES].reshape(-1)
        if COUNT in fields:
            scores = scores[:max(0, int(fields[COUNT].reshape(-1)[0]))]
        found = np.flatnonzero(scores > raw_threshold(score_threshold, self.scores))
        # Labels come as numbers of any kind; one that is none of the card's is left out.
        labels = np.asarray(fields[LABELS]).reshape(-1)[found]
        labels = np.rint(np.nan_to_num(labels.astype(np.float64), nan=-1.0))
        known = (labels >= 0) & (labels < len(self._class_of))
        found, classes = found[known], self._class_of[labels[known].astype(np.int64)]
        found, classes = found[classes >= 0], classes[classes >= 0]
        boxes = self._corners(fields[BOXES].reshape(-1, 4)[found])
        return joined([(boxes, probability(scores[found], self.scores), classes)])

    def fields(self, outputs: Sequence[Array]) -> list[Array]:
        """Return the outputs, or the columns of the only one, those that are not read, too."""
        return list(outputs) if self.columns is None else list(np.moveaxis(outputs[0], -1, 0))

    def read(self, outputs: Sequence[Array]) -> Mapping[str, Array]:
        """Return the outputs by name, or the columns of the only one."""
        if self.columns is None:
            return {name: outputs[place] for name, place in self.places.items()}
        rows = outputs[0].reshape(-1, outputs[0].shape[-1])
        return {name: rows[:, column] for name, column in self.columns.items()}


def _columns(names: Sequence[str]) -> dict[str, slice]:
    """Return the columns of each name in one array."""
    first, columns = 0, {}
    for name in names:
        width = 4 if name == BOXES else 1
        if name != SKIP:
            columns[name] = slice(first, first + width)
        first += width
    return columns


def _check_names(names: Sequence[str], *, joined: bool) -> None:
    known = (*_USUAL, SKIP) if joined else (*_USUAL, COUNT, SKIP)
    for name in names:
        if name not in known:
            raise ValueError(f'order has {name!r}; known are {", ".join(known)}')
    for name in known[:-1]:
        if names.count(name) > 1 or name in _USUAL and name not in names:
            raise ValueError(f'order must name {", ".join(_USUAL)}, each once')


def _check_outputs(names: Sequence[str], outputs: Sequence[OutputSpec]) -> None:
    if len(outputs) != len(names):
        raise ValueError(
            f'{len(outputs)} outputs for {", ".join(names)}; set order to what they are')
    number = None
    for name, output in zip(names, outputs, strict=True):
        shape = output.shape
        if name in (SKIP, COUNT):
            continue
        width = 4 if name == BOXES else 1
        entries = math.prod(shape) // width
        fits = shape in ((1, entries, width), (entries, width)) or \
            name != BOXES and shape in ((1, entries), (entries,))
        if not fits or number not in (None, entries):
            raise ValueError(f'output {output.name!r} {list(shape)} is no list of {name}'
                             + (f' for {number} detections' if number else ''))
        number = entries
