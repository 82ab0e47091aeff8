# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
The head of YOLOX: a box from its cell's corner, objectness, and classes given an object.

After Ge et al., *YOLOX: Exceeding YOLO Series in 2021* (arXiv:2107.08430): with the cell (i, j),
the centre is (j + dx, i + dy) strides and the size (exp(w), exp(h)) strides; the score is the
objectness times the class.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from prune_perception.bundle import InputSpec, OutputSpec
from prune_perception.runtime.decoders.boxes import LARGEST_EXPONENT
from prune_perception.runtime.decoders.dense import Array, CLASSES, DenseDecoder
from prune_perception.runtime.decoders.layout import centres, find_layout, levels_of
from prune_perception.runtime.decoders.scores import (
    Columns,
    Index,
    LOGITS,
    objectness_above,
    PROBABILITIES,
    Scores,
)
from prune_perception.runtime.decoders.settings import choice, flag, integers, words


class YoloxDecoder(DenseDecoder):
    """
    Decodes fields ``boxes`` (dx, dy, log w, log h), ``objectness`` and ``classes``.

    :param classes: number of classes of the card.
    :param fed: the input of the card.
    :param outputs: of the card.
    :param strides: network pixels a cell, for each level.
    :param scores: of objectness and classes: ``logits``, or ``probabilities`` where the network
        applies the sigmoid.
    :param order: of the fields, where it is another.
    :param channels: see :func:`.find_layout`.
    :param columns: see :class:`.Columns`.
    :param column_count: likewise.
    :param nms: whether the runtime suppresses overlapping boxes.
    """

    def __init__(
            self, classes: int, fed: InputSpec, outputs: Sequence[OutputSpec], *,
            strides: Any = (8, 16, 32), scores: Any = LOGITS, order: Any = None,
            channels: Any = None, columns: Any = None, column_count: Any = None, nms: Any = True
            ) -> None:
        strides = integers('strides', strides)
        which = Columns(classes, columns, column_count)
        layout = find_layout(
            {'boxes': 4, 'objectness': 1, CLASSES: which.count}, levels_of(fed, strides), outputs,
            None if order is None else words('order', order), channels)
        super().__init__(layout, which, choice('scores', scores, (LOGITS, PROBABILITIES)),
                         flag('nms', nms))
        self.corners = centres(layout.levels, [(stride, stride) for stride in strides], 0.0)
        self.strides = np.repeat(
            np.array(strides, np.float32), [level.size for level in layout.levels])

    def _found(self, fields: Mapping[str, Array], score_threshold: float
               ) -> tuple[Index, Index, Scores]:
        return self._of_card(*objectness_above(
            fields['objectness'], fields[CLASSES], self.scores, score_threshold))

    def _boxes(self, fields: Mapping[str, Array], anchors: Index) -> Array:
        boxes, strides = fields['boxes'], self.strides[anchors, None]
        centre = self.corners[anchors] + boxes[:, :2] * strides
        half = np.exp(np.minimum(boxes[:, 2:], LARGEST_EXPONENT)) * strides / 2
        return np.concatenate([centre - half, centre + half], 1)
