# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Scores: from what a network gives for classes, the few that are worth a box."""

from collections.abc import Sequence
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_perception.runtime.decoders.settings import choice, integers, whole

LOGITS, PROBABILITIES, SOFTMAX = 'logits', 'probabilities', 'softmax'
BACKGROUNDS = ('none', 'first', 'last')

Index = NDArray[np.int64]
Scores = NDArray[np.float32]

_LEAST, _MOST = 1e-6, 1 - 1e-6
_MOST_COLUMNS = 1 << 16


class Columns:
    """
    Which of a network's columns of class scores are the classes of the card.

    :param classes: number of classes of the card.
    :param columns: that of each class, counting from 0; None for all in order.
    :param column_count: of the network; needed with ``columns``.
    :param background: the column of what is no object: ``none``, ``first`` or ``last``. It counts
        as a column.
    :raises ValueError: a column is not there, named twice, or the background's.
    """

    def __init__(self, classes: int, columns: Any = None, column_count: Any = None,
                 background: str = 'none') -> None:
        choice('background', background, BACKGROUNDS)
        if (columns is None) != (column_count is None):
            raise ValueError('columns and column_count belong together: set both or none')
        self.count = classes + (background != 'none') if column_count is None \
            else whole('column_count', column_count, 1)
        if self.count > _MOST_COLUMNS:
            raise ValueError(f'column_count is {self.count}; {_MOST_COLUMNS} are the most')
        self.background = {'none': None, 'first': 0, 'last': self.count - 1}[background]
        if columns is None:
            self.columns = np.delete(np.arange(self.count), self.background or 0) \
                if background == 'first' else np.arange(classes)
        else:
            self.columns = np.array(integers('columns', columns, 0), np.int64)
        if len(self.columns) != classes or len(set(self.columns.tolist())) != classes:
            raise ValueError(
                f'columns must name {classes} columns, one for each class, each once')
        if self.columns.max() >= self.count or self.background in self.columns:
            raise ValueError(
                f'columns must lie between 0 and {self.count - 1} and leave out the background')
        self.class_of = np.full(self.count, -1, np.int64)
        self.class_of[self.columns] = np.arange(classes)
        self.plain = self.count == classes and bool((self.columns == np.arange(classes)).all())


def raw_threshold(score_threshold: float, kind: str) -> np.float32:
    """Return what a raw value must exceed for its probability to exceed a score."""
    if kind == LOGITS:
        # Compared before the sigmoid: few of all logits are worth an exponential.
        score = min(max(score_threshold, _LEAST), _MOST)
        return np.float32(math.log(score / (1 - score)))
    return np.float32(score_threshold)


def probability(raw: Scores, kind: str) -> Scores:
    """Return the probabilities of raw values that are logits, or probabilities already."""
    if kind == LOGITS:
        # Below -80 the exponential overflows, and there is certainly nothing.
        return np.asarray(1 / (1 + np.exp(-np.maximum(raw, -80))), np.float32)
    return raw


def softmax(logits: Scores) -> Scores:
    """Return the softmax of each row, (n, columns)."""
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def above(values: Scores, threshold: float | np.float32) -> tuple[Index, Index]:
    """
    Return the places and columns of the values above a threshold.

    :param values: (n, columns), in memory by rows or by columns.
    """
    # In the order of the memory and on a flat array, for which NumPy is many times faster.
    if values.strides[0] < values.strides[1]:
        columns, places = np.divmod(
            np.flatnonzero((values.T > threshold).reshape(-1)), max(len(values), 1))
    else:
        places, columns = np.divmod(
            np.flatnonzero((values > threshold).reshape(-1)), max(values.shape[1], 1))
    return places, columns


def softmax_above(
        logits: Scores, columns: Columns, score_threshold: float
        ) -> tuple[Index, Index, Scores]:
    """
    Return the places, classes and scores of classes above a threshold, by softmax.

    :param logits: (n, columns).
    """
    rows = np.arange(len(logits))
    if columns.background is not None:
        # A class has more than p only if its odds against the background alone are above
        # p / (1 - p): most rows are told from the difference.
        foreground = logits[:, columns.columns].max(axis=1)
        difference = foreground - logits[:, columns.background]
        rows = np.flatnonzero(difference >= raw_threshold(score_threshold, LOGITS) - 1e-4)
    scores = softmax(logits[rows])
    places, which = above(scores, np.float32(score_threshold))
    found = scores[places, which]
    classes = columns.class_of[which]
    known = classes >= 0
    return rows[places[known]], classes[known], found[known]


def objectness_above(
        objectness: Scores, classes: Scores, kind: str, score_threshold: float
        ) -> tuple[Index, Index, Scores]:
    """
    Return the places, columns and scores of objectness times class above a threshold.

    :param objectness: (n, 1).
    :param classes: (n, columns).
    :param kind: of both.
    """
    # The product is never above the objectness, which few anchors have much of.
    rows = np.flatnonzero(objectness[:, 0] > raw_threshold(score_threshold, kind))
    scores = probability(classes[rows], kind) * probability(objectness[rows], kind)
    places, columns = above(scores, np.float32(score_threshold))
    return rows[places], columns, scores[places, columns]


def joined(parts: Sequence[tuple[NDArray[np.float32], Scores, Index]]
           ) -> tuple[NDArray[np.float32], Scores, Index]:
    """Return boxes, scores and classes of all parts, without boxes that have no area."""
    if not parts:
        return np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
    boxes = np.concatenate([part[0] for part in parts]).astype(np.float32, copy=False)
    scores = np.concatenate([part[1] for part in parts]).astype(np.float32, copy=False)
    classes = np.concatenate([part[2] for part in parts]).astype(np.int64, copy=False)
    # Suppression would take what is not a number, or inside out, for the whole image.
    good = (boxes[:, 2:] > boxes[:, :2]).all(axis=1) & np.isfinite(boxes).all(axis=1)
    if good.all():
        return boxes, scores, classes
    return boxes[good], scores[good], classes[good]
