# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
The head of CenterNet: a heatmap of centres for each class, and maps of sizes and offsets.

After Zhou, Wang, Krähenbühl, *Objects as Points* (arXiv:1904.07850): an object is where a heatmap
is as high as its eight neighbours are at most.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from prune_perception.bundle import InputSpec, OutputSpec
from prune_perception.runtime.decoders.dense import Array, CLASSES, DenseDecoder
from prune_perception.runtime.decoders.layout import centres, find_layout, levels_of
from prune_perception.runtime.decoders.scores import (
    above,
    Columns,
    Index,
    LOGITS,
    PROBABILITIES,
    probability,
    raw_threshold,
    Scores,
)
from prune_perception.runtime.decoders.settings import choice, flag, whole, words


class CenterNetDecoder(DenseDecoder):
    """
    Decodes fields ``classes`` (the heatmaps), ``sizes`` and ``offsets``.

    :param classes: number of classes of the card.
    :param fed: the input of the card.
    :param outputs: of the card.
    :param stride: network pixels a cell.
    :param scores: ``logits``, or ``probabilities`` where the network applies the sigmoid.
    :param sizes: in ``cells``, ``pixels``, or ``normalised`` by the input's size.
    :param axes: order of the numbers of a size and an offset: ``xy`` (width first) or ``yx``.
    :param offsets: whether there is such a field; without, a centre is that of its cell.
    :param order: of the fields, where it is another.
    :param channels: see :func:`.find_layout`.
    :param columns: see :class:`.Columns`.
    :param column_count: likewise.
    :param nms: whether the runtime suppresses overlapping boxes beside that.
    """

    def __init__(
            self, classes: int, fed: InputSpec, outputs: Sequence[OutputSpec], *,
            stride: Any = 4, scores: Any = LOGITS, sizes: Any = 'cells', axes: Any = 'xy',
            offsets: Any = True, order: Any = None, channels: Any = None, columns: Any = None,
            column_count: Any = None, nms: Any = False) -> None:
        self.stride = whole('stride', stride, 1)
        which = Columns(classes, columns, column_count)
        fields = {CLASSES: which.count, 'sizes': 2, 'offsets': 2}
        if not flag('offsets', offsets):
            del fields['offsets']
        layout = find_layout(fields, levels_of(fed, [self.stride]), outputs,
                             None if order is None else words('order', order), channels)
        super().__init__(layout, which, choice('scores', scores, (LOGITS, PROBABILITIES)),
                         flag('nms', nms))
        self.offsets = offsets
        self.corners = centres(layout.levels, [(self.stride, self.stride)], 0.0)
        self.axes = {'xy': [0, 1], 'yx': [1, 0]}[choice('axes', axes, ('xy', 'yx'))]
        choice('sizes', sizes, ('cells', 'pixels', 'normalised'))
        self.units = np.array({
            'cells': (self.stride, self.stride), 'pixels': (1, 1),
            'normalised': (fed.width, fed.height)}[sizes], np.float32)

    def _found(self, fields: Mapping[str, Array], score_threshold: float
               ) -> tuple[Index, Index, Scores]:
        values = fields[CLASSES]
        places, columns = above(values, raw_threshold(score_threshold, self.scores))
        # The neighbours of those that are above the threshold alone: a pooling of the whole map
        # would look at a hundred times as many.
        heat = values[places, columns]
        level, = self.layout.levels
        rows, across = np.divmod(places, level.columns)
        peak = np.ones(len(places), np.bool_)
        for down, right in ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)):
            # Beyond an edge: the edge itself, which is a neighbour or the cell.
            beside = np.clip(rows + down, 0, level.rows - 1) * level.columns \
                + np.clip(across + right, 0, level.columns - 1)
            peak &= heat >= values[beside, columns]
        return self._of_card(
            places[peak], columns[peak], probability(heat[peak], self.scores))

    def _boxes(self, fields: Mapping[str, Array], anchors: Index) -> Array:
        offsets = fields['offsets'][:, self.axes] if self.offsets else np.float32(0.5)
        centre = self.corners[anchors] + offsets * np.float32(self.stride)
        half = fields['sizes'][:, self.axes] * self.units / 2
        return np.asarray(np.concatenate([centre - half, centre + half], 1), np.float32)
