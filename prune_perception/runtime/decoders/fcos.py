# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
The head of FCOS: classes, the distances of a box's sides from the cell's point, and centerness.

After Tian et al., *FCOS: Fully Convolutional One-Stage Object Detection* (ICCV 2019) and its
journal version (TPAMI 2022), which takes the square root of class times centerness.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from prune_perception.bundle import InputSpec, OutputSpec
from prune_perception.runtime.decoders.boxes import LARGEST_EXPONENT
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
from prune_perception.runtime.decoders.settings import choice, flag, integers, number, words

SQUARE_ROOT, PRODUCT, NONE = 'sqrt', 'product', 'none'


class FcosDecoder(DenseDecoder):
    """
    Decodes fields ``classes``, ``boxes`` (left, top, right, bottom) and ``centerness``.

    :param classes: number of classes of the card.
    :param fed: the input of the card.
    :param outputs: of the card.
    :param strides: network pixels a cell, for each level.
    :param offset: of a cell's point in it: 0.5 in the paper, 0 in torchvision.
    :param distances: in ``strides``, ``pixels``, or ``normalised`` by the input's size.
    :param activation: that is still to be applied to them: ``none``, ``relu`` or ``exp``.
    :param centerness: the score is the ``sqrt`` of class times centerness, their ``product``, or
        the class alone where there is ``none``.
    :param scores: of classes and centerness: ``logits``, or ``probabilities`` where the network
        applies the sigmoid.
    :param order: of the fields, where it is another.
    :param channels: see :func:`.find_layout`.
    :param columns: see :class:`.Columns`.
    :param column_count: likewise.
    :param nms: whether the runtime suppresses overlapping boxes.
    """

    def __init__(
            self, classes: int, fed: InputSpec, outputs: Sequence[OutputSpec], *,
            strides: Any = (8, 16, 32, 64, 128), offset: Any = 0.5, distances: Any = 'strides',
            activation: Any = 'none', centerness: Any = SQUARE_ROOT, scores: Any = LOGITS,
            order: Any = None, channels: Any = None, columns: Any = None,
            column_count: Any = None, nms: Any = True
            ) -> None:
        strides = integers('strides', strides)
        which = Columns(classes, columns, column_count)
        self.centerness = choice('centerness', centerness, (SQUARE_ROOT, PRODUCT, NONE))
        fields = {CLASSES: which.count, 'boxes': 4, 'centerness': 1}
        if self.centerness == NONE:
            del fields['centerness']
        layout = find_layout(fields, levels_of(fed, strides), outputs,
                             None if order is None else words('order', order), channels)
        super().__init__(layout, which, choice('scores', scores, (LOGITS, PROBABILITIES)),
                         flag('nms', nms))
        self.offset = number('offset', offset)
        self.activation = choice('activation', activation, ('none', 'relu', 'exp'))
        self.points = centres(
            layout.levels, [(stride, stride) for stride in strides], self.offset)
        choice('distances', distances, ('strides', 'pixels', 'normalised'))
        self.units = np.ones((layout.size, 4), np.float32)
        if distances == 'strides':
            self.units *= np.repeat(
                np.array(strides, np.float32), [level.size for level in layout.levels])[:, None]
        elif distances == 'normalised':
            self.units *= np.array([fed.width, fed.height] * 2, np.float32)

    def _found(self, fields: Mapping[str, Array], score_threshold: float
               ) -> tuple[Index, Index, Scores]:
        if self.centerness == NONE:
            return super()._found(fields, score_threshold)
        root = self.centerness == SQUARE_ROOT
        product = score_threshold ** 2 if root else score_threshold
        # The class alone must have as much as it has times the centerness.
        places, columns = above(fields[CLASSES], raw_threshold(product, self.scores))
        scores = probability(fields[CLASSES][places, columns], self.scores) * \
            probability(fields['centerness'][places, 0], self.scores)
        scores = np.sqrt(scores) if root else scores
        good = scores > score_threshold
        return self._of_card(places[good], columns[good], scores[good])

    def _boxes(self, fields: Mapping[str, Array], anchors: Index) -> Array:
        distances = fields['boxes']
        if self.activation == 'relu':
            distances = np.maximum(distances, 0)
        elif self.activation == 'exp':
            distances = np.exp(np.minimum(distances, LARGEST_EXPONENT))
        distances = distances * self.units[anchors]
        points = self.points[anchors]
        return np.concatenate([points - distances[:, :2], points + distances[:, 2:]], 1)
