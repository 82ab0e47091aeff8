# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Networks that decode themselves, and give a score of each class at fixed places.

Such are the exports of Ultralytics (four numbers and the classes), of YOLOX and YOLOv5 (with
objectness), and the queries of DETR (softmax with the background last).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from prune_perception.bundle import InputSpec, OutputSpec
from prune_perception.runtime.decoders.boxes import corners_of
from prune_perception.runtime.decoders.dense import Array, CLASSES, DenseDecoder
from prune_perception.runtime.decoders.layout import find_layout, Level, levels_of
from prune_perception.runtime.decoders.scores import (
    Columns,
    Index,
    LOGITS,
    objectness_above,
    PROBABILITIES,
    Scores,
    SOFTMAX,
)
from prune_perception.runtime.decoders.settings import choice, flag, integers, words


class DecodedDecoder(DenseDecoder):
    """
    Reads fields ``boxes``, ``objectness`` if there is one, and ``classes``.

    :param classes: number of classes of the card.
    :param fed: the input of the card.
    :param outputs: of the card.
    :param boxes: ``xyxy``, ``cxcywh``, ``xywh`` or ``yxyx``.
    :param units: of the boxes: ``pixels``, or ``normalised`` by the input's size.
    :param scores: ``probabilities``; or ``logits`` (sigmoid) or ``softmax`` still to be applied.
    :param objectness: whether there is such a field; the score is its product with the class.
    :param background: column of the background: ``none``, ``first`` or ``last``.
    :param strides: where there is a place at each cell of these, so that what the network says
        of a mirrored image can be turned back.
    :param order: of the fields, where it is another.
    :param channels: see :func:`.find_layout`.
    :param columns: see :class:`.Columns`.
    :param column_count: likewise.
    :param nms: whether the runtime suppresses overlapping boxes.
    """

    def __init__(
            self, classes: int, fed: InputSpec, outputs: Sequence[OutputSpec], *, boxes: Any,
            units: Any = 'pixels', scores: Any = PROBABILITIES, objectness: Any = False,
            background: Any = 'none', strides: Any = None, order: Any = None, channels: Any = None,
            columns: Any = None, column_count: Any = None, nms: Any = True) -> None:
        which = Columns(classes, columns, column_count, background)
        fields = {'boxes': 4, 'objectness': 1, CLASSES: which.count}
        if not flag('objectness', objectness):
            del fields['objectness']
        choice('scores', scores, (PROBABILITIES, LOGITS, SOFTMAX))
        if objectness and scores == SOFTMAX:
            raise ValueError('objectness and softmax do not go together')
        self.grid = strides is not None
        levels = levels_of(fed, integers('strides', strides)) if self.grid \
            else (Level(1, _places(fields, outputs)),)
        layout = find_layout(fields, levels, outputs,
                             None if order is None else words('order', order), channels)
        super().__init__(layout, which, scores, flag('nms', nms))
        self.objectness = objectness
        self.form, self.units = boxes, units
        self._corners = corners_of(boxes, units, fed)

    def _found(self, fields: Mapping[str, Array], score_threshold: float
               ) -> tuple[Index, Index, Scores]:
        if not self.objectness:
            return super()._found(fields, score_threshold)
        return self._of_card(*objectness_above(
            fields['objectness'], fields[CLASSES], self.scores, score_threshold))

    def _boxes(self, fields: Mapping[str, Array], anchors: Index) -> Array:
        return self._corners(fields['boxes'])


def _places(fields: Mapping[str, int], outputs: Sequence[OutputSpec]) -> int:
    """Return how many places the outputs have, which nothing else tells."""
    shape = outputs[0].shape
    axes = shape[1:] if len(shape) == 3 and shape[0] == 1 else shape
    widths = {sum(fields.values())} if len(outputs) == 1 else set(fields.values())
    for width, places in ((axes[-1], axes[0]), (axes[0], axes[-1])):
        if width in widths:
            return places
    return max(axes)
