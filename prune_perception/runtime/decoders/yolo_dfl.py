# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
The head of YOLOv8 and its successors: a distribution of the distance of each side, and classes.

The distance is the distribution's mean, after Li et al., *Generalized Focal Loss* (NeurIPS 2020).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from prune_perception.bundle import InputSpec, OutputSpec
from prune_perception.runtime.decoders.dense import Array, CLASSES, DenseDecoder
from prune_perception.runtime.decoders.layout import centres, find_layout, levels_of
from prune_perception.runtime.decoders.scores import (
    Columns,
    Index,
    LOGITS,
    PROBABILITIES,
    softmax,
)
from prune_perception.runtime.decoders.settings import choice, flag, integers, whole, words


class YoloDflDecoder(DenseDecoder):
    """
    Decodes fields ``boxes`` (4 x bins) and ``classes``.

    :param classes: number of classes of the card.
    :param fed: the input of the card.
    :param outputs: of the card.
    :param strides: network pixels a cell, for each level.
    :param bins: of a distance's distribution: it reaches bins - 1 strides. With 1 the number is
        the distance itself, in strides.
    :param scores: ``logits``, or ``probabilities`` where the network applies the sigmoid.
    :param order: of the fields, where it is another.
    :param channels: see :func:`.find_layout`.
    :param columns: see :class:`.Columns`.
    :param column_count: likewise.
    :param nms: whether the runtime suppresses overlapping boxes.
    """

    def __init__(
            self, classes: int, fed: InputSpec, outputs: Sequence[OutputSpec], *,
            strides: Any = (8, 16, 32), bins: Any = 16, scores: Any = LOGITS, order: Any = None,
            channels: Any = None, columns: Any = None, column_count: Any = None, nms: Any = True
            ) -> None:
        self.bins = whole('bins', bins, 1)
        strides = integers('strides', strides)
        which = Columns(classes, columns, column_count)
        layout = find_layout(
            {'boxes': 4 * self.bins, CLASSES: which.count}, levels_of(fed, strides), outputs,
            None if order is None else words('order', order), channels)
        super().__init__(layout, which, choice('scores', scores, (LOGITS, PROBABILITIES)),
                         flag('nms', nms))
        self.points = centres(layout.levels, [(stride, stride) for stride in strides])
        self.strides = np.repeat(
            np.array(strides, np.float32), [level.size for level in layout.levels])

    def _boxes(self, fields: Mapping[str, Array], anchors: Index) -> Array:
        distances = fields['boxes']
        if self.bins > 1:
            shares = softmax(distances.reshape(-1, self.bins))
            means = np.matmul(shares, np.arange(self.bins, dtype=np.float32), dtype=np.float32)
            distances = means.reshape(-1, 4)
        distances = distances * self.strides[anchors, None]
        points = self.points[anchors]
        return np.concatenate([points - distances[:, :2], points + distances[:, 2:]], 1)
