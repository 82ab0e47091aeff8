# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""What the decoders of dense heads have in common: scores and a box for each anchor."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from prune_perception.runtime.decoders.layout import Layout
from prune_perception.runtime.decoders.scores import (
    above,
    Columns,
    Index,
    joined,
    probability,
    raw_threshold,
    Scores,
    SOFTMAX,
    softmax_above,
)

Array = NDArray[np.float32]

CLASSES = 'classes'


class DenseDecoder(ABC):
    """
    Looks at the scores of all anchors, and at the boxes of the few above the threshold.

    :param layout: where the fields of each anchor lie.
    :param columns: of the field ``classes``.
    :param scores: what that field holds: ``logits``, ``probabilities`` or ``softmax`` logits.
    :param nms: whether overlapping boxes are still to be suppressed.
    """

    def __init__(self, layout: Layout, columns: Columns, scores: str, nms: bool) -> None:
        self.layout = layout
        self.columns = columns
        self.scores = scores
        self.nms = nms

    def __call__(
            self, outputs: Sequence[Array], score_threshold: float
            ) -> tuple[Array, Scores, Index]:
        """Return boxes in network pixels, scores and classes (see :class:`.Decoder`)."""
        parts = []
        for block in self.layout.blocks:
            fields = block.read(outputs)
            places, classes, scores = self._found(fields, score_threshold)
            if len(places):
                boxes = self._boxes({
                    name: values[places] for name, values in fields.items() if name != CLASSES},
                    block.anchors[places])
                parts.append((boxes, scores, classes))
        return joined(parts)

    def fields(self, outputs: Sequence[Array]) -> list[Array]:
        """Return the fields of each output (see :class:`.Decoder`)."""
        fields: dict[tuple[int, str], list[Array]] = {}
        for block in self.layout.blocks:
            for name, part in block.parts.items():
                fields.setdefault((part.output, name), []).append(part.read(outputs))
        return [np.concatenate(parts) for parts in fields.values()]

    def _found(self, fields: Mapping[str, Array], score_threshold: float
               ) -> tuple[Index, Index, Scores]:
        """
        Return the places, classes and scores above the threshold.

        :param fields: of some anchors, (n, size) each.
        """
        values = fields[CLASSES]
        if self.scores == SOFTMAX:
            return softmax_above(values, self.columns, score_threshold)
        places, columns = above(values, raw_threshold(score_threshold, self.scores))
        scores = probability(values[places, columns], self.scores)
        return self._of_card(places, columns, scores)

    def _of_card(self, places: Index, columns: Index, scores: Scores
                 ) -> tuple[Index, Index, Scores]:
        """Return what is found without the columns that are no classes of the card."""
        if self.columns.plain:
            return places, columns, scores
        classes = self.columns.class_of[columns]
        known = classes >= 0
        return places[known], classes[known], scores[known]

    @abstractmethod
    def _boxes(self, fields: Mapping[str, Array], anchors: Index) -> Array:
        """
        Return boxes (n, 4) x1, y1, x2, y2 in network pixels.

        :param fields: of some anchors, (n, size) each, without the classes.
        :param anchors: their numbers.
        """
