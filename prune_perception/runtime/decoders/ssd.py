# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Heads that predict differences from anchors: SSD, SSDLite, RetinaNet.

With an anchor's centre a, size s and the variances v, the box has the centre a + s v d and the
size s exp(v e), for differences d and e: Girshick et al., *Rich Feature Hierarchies* (CVPR 2014),
and for the variances Liu et al., *SSD: Single Shot MultiBox Detector* (ECCV 2016).
"""

from collections.abc import Mapping, Sequence
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_perception.bundle import InputSpec, OutputSpec
from prune_perception.runtime.decoders.anchors import grid_anchors
from prune_perception.runtime.decoders.dense import Array, CLASSES, DenseDecoder
from prune_perception.runtime.decoders.layout import find_layout, Level, levels_of
from prune_perception.runtime.decoders.scores import (
    Columns,
    Index,
    LOGITS,
    PROBABILITIES,
    SOFTMAX,
)
from prune_perception.runtime.decoders.settings import (
    choice,
    flag,
    integers,
    items,
    number,
    positives,
    words,
)

LARGEST_EXPONENT = math.log(1000 / 16)
"""Of a size, as in torchvision: what goes beyond is no box."""

_BACKGROUNDS = {SOFTMAX: 'first', LOGITS: 'none'}
_ORDERS = {'xywh': [0, 1, 2, 3], 'yxhw': [1, 0, 3, 2]}


class SsdDecoder(DenseDecoder):
    """
    Decodes fields ``boxes`` (four differences) and ``classes``.

    :param classes: number of classes of the card.
    :param fed: the input of the card.
    :param outputs: of the card.
    :param anchors: for each level, [width, height] of each anchor at a cell, network pixels.
    :param anchor_boxes: instead, all anchors as [x1, y1, x2, y2] in network pixels, in the order
        of the outputs' rows.
    :param strides: network pixels a cell, for each level; without, the input through ``cells``.
    :param cells: [rows, columns] of each level; without, the input through ``strides``.
    :param offset: of an anchor's centre in its cell.
    :param variances: of the four differences.
    :param deltas: their order, ``xywh`` or ``yxhw``.
    :param scores: ``softmax`` or ``logits`` (sigmoid) that are still to be applied, or
        ``probabilities``.
    :param background: column of the background: ``first``, ``last`` or ``none``; without,
        ``first`` for softmax and ``none`` for logits.
    :param order: of the fields, where it is another.
    :param channels: see :func:`.find_layout`.
    :param columns: see :class:`.Columns`.
    :param column_count: likewise.
    :param nms: whether the runtime suppresses overlapping boxes.
    """

    def __init__(
            self, classes: int, fed: InputSpec, outputs: Sequence[OutputSpec], *,
            anchors: Any = None, anchor_boxes: Any = None, strides: Any = None,
            cells: Any = None, offset: Any = 0.5, variances: Any = (0.1, 0.1, 0.2, 0.2),
            deltas: Any = 'xywh', scores: Any = SOFTMAX, background: Any = None,
            order: Any = None, channels: Any = None, columns: Any = None,
            column_count: Any = None, nms: Any = True
            ) -> None:
        choice('scores', scores, (SOFTMAX, LOGITS, PROBABILITIES))
        if background is None and scores not in _BACKGROUNDS:
            raise ValueError('background is missing: probabilities do not tell; set none, first '
                             'or last')
        which = Columns(classes, columns, column_count, background or _BACKGROUNDS[scores])
        if (anchors is None) == (anchor_boxes is None):
            raise ValueError('set anchors or anchor_boxes, one of them')
        self.grid = anchors is not None
        if self.grid:
            levels, across = _levels(fed, anchors, strides, cells)
        else:
            given = _given(anchor_boxes)
            levels = (Level(1, len(given)),)
        layout = find_layout({'boxes': 4, CLASSES: which.count}, levels, outputs,
                             None if order is None else words('order', order), channels)
        super().__init__(layout, which, scores, flag('nms', nms))
        # Made when it is known that the outputs have as many.
        self.anchors = grid_anchors(levels, across, anchors, number('offset', offset)) \
            if self.grid else given
        self.variances = np.array(positives('variances', variances, 4), np.float32)
        self.places = _ORDERS[choice('deltas', deltas, tuple(_ORDERS))]

    def _boxes(self, fields: Mapping[str, Array], anchors: Index) -> Array:
        deltas, anchor = fields['boxes'][:, self.places] * self.variances, self.anchors[anchors]
        centre = anchor[:, :2] + deltas[:, :2] * anchor[:, 2:]
        half = np.exp(np.minimum(deltas[:, 2:], LARGEST_EXPONENT)) * anchor[:, 2:] / 2
        return np.concatenate([centre - half, centre + half], 1)


def _levels(fed: InputSpec, anchors: Any, strides: Any, cells: Any
            ) -> tuple[tuple[Level, ...], list[tuple[float, float]]]:
    """Return the levels, and the strides across and down of each."""
    counts = [len(items('anchors', of_level)) for of_level in items('anchors', anchors)]
    for of_level in anchors:
        for size in of_level:
            positives('anchors', size, 2)
    if strides is None and cells is None:
        raise ValueError('strides and cells are missing: set one of them, or both')
    across = None if strides is None else [
        (stride, stride) for stride in positives('strides', strides, len(counts))]
    if cells is None:
        assert across is not None
        return levels_of(fed, [stride for stride, _ in across], counts), across
    sizes = [integers('cells', items('cells', size, 2))
             for size in items('cells', cells, len(counts))]
    levels = tuple(Level(rows, columns, count)
                   for (rows, columns), count in zip(sizes, counts, strict=True))
    return levels, across or [
        (fed.width / level.columns, fed.height / level.rows) for level in levels]


def _given(boxes: Any) -> NDArray[np.float32]:
    """Return anchors as centre and size."""
    items('anchor_boxes', boxes)
    try:
        corners = np.array(boxes, np.float32)
    except (TypeError, ValueError):
        corners = np.zeros(0, np.float32)
    if corners.ndim != 2 or corners.shape[1] != 4 or not np.isfinite(corners).all() \
            or not (corners[:, 2:] > corners[:, :2]).all():
        raise ValueError('anchor_boxes must be a list of [x1, y1, x2, y2] with x2 above x1 and '
                         'y2 above y1')
    return np.concatenate(
        [(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], 1)
