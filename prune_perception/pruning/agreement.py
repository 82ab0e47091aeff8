# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
How far a network sees what the dense one sees: agreement, which is not accuracy.

What the dense network is confident of is taken for the truth, and the other is judged by it.
Boxes are in units of the network's input, from 0 to 1, so that networks that are fed at
different sizes compare.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn

from prune_perception.bundle import Card
from prune_perception.detections import Detections
from prune_perception.evaluation.intervals import draw, Draws, Interval, interval_of
from prune_perception.evaluation.metrics import ap50, judge, Judged
from prune_perception.evaluation.runs import FrameResult, ModelRun
from prune_perception.evaluation.truth import GroundTruth, Truth
from prune_perception.pruning.footage import Images, resized, tensor_of
from prune_perception.runtime.decoders import decoder_of
from prune_perception.runtime.detector import MAX_CANDIDATES
from prune_perception.runtime.engines import Engine
from prune_perception.runtime.nms import best_of

CONFIDENT = 0.35
"""Score from which on a detection of the dense network counts as an object."""

_SCORE_THRESHOLD = 0.05  # of detections that are judged
_IOU_THRESHOLD = 0.6  # of the suppression
_MOST = 100  # detections of an image


class AgreementError(ValueError):
    """There is nothing to agree on; one line that says so."""


def detections_of(
        module: nn.Module, card: Card, images: Images) -> tuple[Detections, ...]:
    """
    Return what a network finds in images.

    :param module: takes normalised float32 (1, 3, height, width).
    :param card: of the network: its input, decoder and outputs.
    :param images: uint8 (n, height, width, 3) in the card's colour order; those of another size
        than the card's are resized.
    :returns: for each image, boxes in units of its width and height.
    """
    def run(fitted: Images) -> list[NDArray[np.float32]]:
        with torch.no_grad():
            return [output.numpy() for output in module(tensor_of(fitted, card.input))]

    module.eval()
    return _detections(run, card, images)


def detections_by(engine: Engine, card: Card, images: Images) -> tuple[Detections, ...]:
    """
    Return what an engine finds in images; see :func:`detections_of`.

    :param engine: that has loaded the network of the card.
    """
    return _detections(engine.run, card, images)


def _detections(
        run: Callable[[Images], Sequence[NDArray[np.float32]]], card: Card, images: Images,
        ) -> tuple[Detections, ...]:
    decode = decoder_of(card)
    edge = np.array([card.input.width, card.input.height] * 2, np.float32)
    found = []
    for image in images:
        outputs = run(resized(image[None], (card.input.height, card.input.width)))
        boxes, scores, classes = decode(outputs, _SCORE_THRESHOLD)
        best = np.argsort(-scores, kind='stable')[:MAX_CANDIDATES]
        boxes, scores, classes = boxes[best], scores[best], classes[best]
        kept = best_of(boxes, scores, classes, _IOU_THRESHOLD, _MOST, nms=decode.nms)
        found.append(Detections(np.clip(boxes[kept] / edge, 0, 1), scores[kept], classes[kept]))
    return tuple(found)


def mirrored(found: Sequence[Detections], shares: NDArray[np.float32]) -> tuple[Detections, ...]:
    """
    Return detections of mirrored images where they lie in the images themselves.

    :param shares: (n,) of each image's width, that was mirrored; see :func:`.footage.mirror`.
    """
    return tuple(Detections(
        np.stack([share - one.boxes[:, 2], one.boxes[:, 1], share - one.boxes[:, 0],
                  one.boxes[:, 3]], 1),
        one.scores, one.classes) for one, share in zip(found, shares, strict=True))


def agreement(dense: Sequence[Detections], other: Sequence[Detections]) -> float:
    """
    Return the average precision of a network against the dense one, at an overlap of 0.5.

    Over several classes it is the mean of those of which the dense network is confident anywhere.

    :param dense: detections of each image.
    :param other: of the same images, with the same classes.
    :raises AgreementError: the dense network is confident of nothing.
    """
    return score(dense, other, draw(len(dense), draws=0)).value


@dataclass(frozen=True, eq=False)
class Score:
    """
    An agreement, and what it would be with other frames like these.

    :param draws: (draws,) the agreement of each draw of blocks of frames.
    """

    value: float
    draws: NDArray[np.float64] = field(repr=False)

    @property
    def interval(self) -> Interval | None:
        """The 95 % interval; None where there were too few blocks to draw from."""
        return interval_of(self.value, self.draws, (0.0, 1.0)) if len(self.draws) else None


def score(dense: Sequence[Detections], other: Sequence[Detections], drawn: Draws) -> Score:
    """
    Return the agreement with its draws; see :func:`agreement`.

    :param drawn: blocks of the frames; the same for all networks that are compared.
    :raises AgreementError: the dense network is confident of nothing.
    """
    value, draws = ap50(_judged(dense, other), drawn)
    if np.isnan(value):
        raise AgreementError(
            f'the dense network finds nothing with a score of {CONFIDENT} or more in '
            f'{len(dense)} frames, so that there is nothing to agree on; give footage in which '
            'its classes appear')
    return Score(value, draws if drawn.usable else np.zeros(0))


def objects(dense: Sequence[Detections]) -> int:
    """Return how many objects the dense network is confident of."""
    return sum(int((found.scores >= CONFIDENT).sum()) for found in dense)


def _judged(dense: Sequence[Detections], other: Sequence[Detections]) -> Judged:
    truth, results = {}, []
    for index, (wanted, found) in enumerate(zip(dense, other, strict=True)):
        sure = wanted.scores >= CONFIDENT
        truth[index] = Truth(
            wanted.boxes[sure], wanted.classes[sure], np.zeros(sure.sum(), np.bool_))
        results.append(FrameResult(index, index, None, found))
    classes = {int(number) for detections in (*dense, *other) for number in detections.classes}
    names = tuple(str(number) for number in range(max(classes, default=0) + 1))
    return judge(
        GroundTruth(names, truth, 'the dense network', agreement=True),
        ModelRun('other', '', names, '', tuple(results)), names)
