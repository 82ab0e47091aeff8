# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Average precision and its kin, and how far they would move with other frames.

``pycocotools`` matches detections to objects. It keeps kilobytes for each detection, so that it
is given a few frames at a time, and of its matches only the bits are kept. Average precision is
then summed here, over frames that may have weights: drawing blocks of frames anew a thousand
times needs that. With every frame counted once it is what ``pycocotools`` says for all of them.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
import io
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_perception.detections import Detections
from prune_perception.evaluation.errors import count_errors, ErrorCounts
from prune_perception.evaluation.intervals import Draws
from prune_perception.evaluation.runs import ModelRun
from prune_perception.evaluation.truth import GroundTruth, Truth

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Intersections over union at which COCO matches."""
RECALLS = np.linspace(0, 1, 101)
"""Recalls at which COCO reads the precision."""
LARGEST_NUMBER = 100
"""Detections of an image and class that COCO looks at."""

SIZES = ('all', 'small', 'medium', 'large')
"""Ranges of the area of objects, in COCO's order: borders at 32² and 96² pixels."""

_FRAMES_AT_ONCE = 100  # given to pycocotools; bounds its memory
_CHUNK = 100_000  # weights of detections at once; bounds the memory of the bootstrap

Floats = NDArray[np.float64]


class MetricsError(RuntimeError):
    """Metrics that cannot be had; the message says what would mend it."""


@dataclass(frozen=True, eq=False)
class Judged:
    """
    A run beside the truth: the frames that both have, in order, with the classes of both joined.

    :param class_names: that are judged; the classes of truth and detections index them.
    :param frames: index of the frame, its truth and its detections, of judged classes alone. A
        class of -1 in the truth is a region that is ignored for every class.
    """

    class_names: tuple[str, ...]
    frames: tuple[tuple[int, Truth, Detections], ...]


@dataclass(frozen=True, eq=False)
class Accuracy:
    """
    What COCO's metrics say.

    :param values: by the names in ``figures.ACCURACY_KEYS``, but ``precision`` and ``recall``;
        without those that have no objects to judge by.
    :param per_class: by name: ``ap``, ``ap50`` and the number of ``objects``, for the classes
        that have any.
    :param curves: by name, precision (101,) at the recalls 0, 0.01, … 1 and an intersection over
        union of 0.5; under ``''`` the mean over the classes.
    """

    values: Mapping[str, float]
    per_class: Mapping[str, Mapping[str, float]]
    curves: Mapping[str, Floats]


@dataclass(frozen=True, eq=False)
class Matches:
    """
    The detections of one class in all frames, best score first, for objects of one size.

    There is a row for each detection of a recording, so that it is kept in few bytes: what is
    said at each of ``THRESHOLDS`` is a bit, the lowest for the first.

    :param frames: (n,) place of each detection's frame among those that are judged.
    :param ranks: (n,) place of each detection among those of its class in its frame.
    :param right: (n,) bits: whether it is matched to an object.
    :param counts: (n,) bits: whether it counts at all; on what is ignored it does not.
    :param objects: (frames,) how many objects each frame has.
    """

    frames: NDArray[np.int32]
    ranks: NDArray[np.uint8]
    right: NDArray[np.uint16]
    counts: NDArray[np.uint16]
    objects: NDArray[np.int32]

    def right_at(self, threshold: int) -> NDArray[np.bool_]:
        """Return (n,) whether each is matched, at the threshold in this place."""
        return (self.right >> threshold & 1).astype(np.bool_)

    def counts_at(self, threshold: int) -> NDArray[np.bool_]:
        """Return (n,) whether each counts, at the threshold in this place."""
        return (self.counts >> threshold & 1).astype(np.bool_)


def check_installed() -> None:
    """
    Find out whether detections can be matched here.

    :raises MetricsError: ``pycocotools`` is not installed.
    """
    _pycocotools()


def judge(truth: GroundTruth, run: ModelRun, class_names: Sequence[str]) -> Judged:
    """
    Put a run beside the truth, by the names of the classes.

    :param class_names: to be judged; truth and run have all of them.
    """
    truth_index = _renumbering(truth.class_names, class_names)
    run_index = _renumbering(run.class_names, class_names)
    frames = []
    for result in sorted(run.results, key=lambda result: result.index):
        known = truth.frames.get(result.index)
        if known is None:
            continue
        classes = np.where(known.classes < 0, -1, truth_index[known.classes])
        # What has no class can only be a region to ignore: no detection could be right there.
        crowd = known.crowd | (known.classes < 0)
        kept = (classes >= 0) | (known.classes < 0)
        areas = None if known.areas is None else known.areas[kept]
        found = result.detections
        own = run_index[found.classes]
        frames.append((
            result.index, Truth(known.boxes[kept], classes[kept], crowd[kept], areas),
            Detections(found.boxes[own >= 0], found.scores[own >= 0], own[own >= 0])))
    return Judged(tuple(class_names), tuple(frames))


def accuracy(judged: Judged, matches: Mapping[str, Sequence[Matches]] | None = None) -> Accuracy:
    """
    Compute COCO's metrics.

    :param matches: of :func:`match`; None makes them.
    :raises MetricsError: ``pycocotools`` is not installed.
    """
    if matches is None:
        matches = match(judged)
    once = np.ones((1, len(judged.frames)))
    values: dict[str, float] = {}
    for size, of_size in matches.items():
        table = average_precision(of_size, once)[0]
        if np.isnan(table).any():  # there are no such objects
            continue
        if size == 'all':
            values |= {'ap': float(table.mean()), 'ap50': float(table[0]),
                       'ap75': float(table[5])}
            values |= {f'ar_{number}': _average_recall(of_size, number)
                       for number in (1, 10, LARGEST_NUMBER)}
        else:
            values[f'ap_{size}'] = float(table.mean())
            values[f'ar_{size}'] = _average_recall(of_size, LARGEST_NUMBER)
    per_class: dict[str, Mapping[str, float]] = {}
    curves: dict[str, Floats] = {}
    for name, of_class in zip(judged.class_names, matches['all'], strict=True):
        if of_class.objects.any():
            table = average_precision([of_class], once)[0]
            per_class[name] = {'ap': float(table.mean()), 'ap50': float(table[0]),
                               'objects': float(of_class.objects.sum())}
            curves[name] = _curve(of_class)
    if curves:
        curves = {'': np.mean(list(curves.values()), axis=0), **curves}
    return Accuracy(values, per_class, curves)


def errors_by_frame(judged: Judged, operating_point: float) -> dict[int, ErrorCounts]:
    """
    Count each frame's mistakes.

    :param operating_point: detections above this score count.
    :returns: by ``Frame.index``.
    """
    counts = {}
    for index, truth, found in judged.frames:
        kept = found.scores > operating_point
        counts[index] = count_errors(
            found.boxes[kept], found.classes[kept], truth.boxes, truth.classes, truth.crowd)
    return counts


def match(judged: Judged) -> dict[str, list[Matches]]:
    """
    Match the detections of each class by COCO's rule.

    :returns: by ``SIZES``, one for each class.
    :raises MetricsError: ``pycocotools`` is not installed.
    """
    gathered = [_Gathered(len(judged.frames)) for _ in judged.class_names]
    for start in range(0, len(judged.frames), _FRAMES_AT_ONCE):
        part = Judged(judged.class_names, judged.frames[start:start + _FRAMES_AT_ONCE])
        outcomes = iter(_matched_by_pycocotools(part))
        for of_class in gathered:
            of_class.add(start, {size: list(islice(outcomes, len(part.frames)))
                                 for size in SIZES})
    matches: dict[str, list[Matches]] = {size: [] for size in SIZES}
    while gathered:
        for size, found in gathered.pop(0).matches().items():
            matches[size].append(found)
    return matches


class _Gathered:
    """
    The matches of one class, some frames after the others.

    Every size has the same detections in the same order; what it says of them differs.
    """

    def __init__(self, frames: int) -> None:
        self._objects = {size: np.zeros(frames, np.int32) for size in SIZES}
        self._columns: dict[str, list[NDArray[Any]]] = defaultdict(list)

    def add(self, start: int, outcomes: Mapping[str, Sequence[Mapping[str, Any] | None]]) -> None:
        """
        Take what pycocotools says of some frames.

        :param start: place of the first of them.
        :param outcomes: by size, for each frame; None where there is neither side.
        """
        for size, of_size in outcomes.items():
            for frame, outcome in enumerate(of_size, start):
                if outcome is not None:
                    self._objects[size][frame] = np.count_nonzero(
                        np.asarray(outcome['gtIgnore']) == 0)
        scores = {place: outcome['dtScores'] for place, outcome in enumerate(outcomes['all'])
                  if outcome is not None and len(outcome['dtScores'])}
        if not scores:
            return
        numbers = [len(of_frame) for of_frame in scores.values()]
        self._columns['frame'].append(
            np.repeat(np.array(list(scores), np.int32) + np.int32(start), numbers))
        self._columns['rank'].append(
            np.concatenate([np.arange(number, dtype=np.uint8) for number in numbers]))
        self._columns['score'].append(np.concatenate(list(scores.values())).astype(np.float32))
        for size, of_size in outcomes.items():
            found = [outcome for place in scores if (outcome := of_size[place]) is not None]
            counts = np.concatenate([outcome['dtIgnore'] for outcome in found], axis=1) == 0
            matched = np.concatenate([outcome['dtMatches'] for outcome in found], axis=1) > 0
            self._columns[f'right {size}'].append(_bits(matched & counts))
            self._columns[f'counts {size}'].append(_bits(counts))

    def matches(self) -> dict[str, Matches]:
        """Return everything, best score first; of equals, the earlier frame first, as COCO."""
        order = np.argsort(-self._column('score', np.float32), kind='stable')
        frames = self._column('frame', np.int32)[order]
        ranks = self._column('rank', np.uint8)[order]
        return {size: Matches(
            frames, ranks, self._column(f'right {size}', np.uint16)[order],
            self._column(f'counts {size}', np.uint16)[order], objects)
            for size, objects in self._objects.items()}

    def _column(self, name: str, kind: type[np.generic]) -> NDArray[Any]:
        """Give a column away: it is not kept beside its sorted copy."""
        return np.concatenate([np.zeros(0, kind), *self._columns.pop(name, ())])


def _bits(table: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """Return the column of a table (10, n) as the bits of a number, the first row the lowest."""
    values = np.uint16(1) << np.arange(len(table), dtype=np.uint16)
    return np.asarray((table * values[:, None]).sum(axis=0, dtype=np.uint16))


def _matched_by_pycocotools(judged: Judged) -> Sequence[Mapping[str, Any] | None]:
    """Return its outcome for each class, within it for each size, within it for each frame."""
    COCO, COCOeval = _pycocotools()
    with redirect_stdout(io.StringIO()):  # it tells of every step
        truth, found = COCO(), COCO()
        truth.dataset = coco_truth(judged)
        found.dataset = {**truth.dataset, 'annotations': coco_results(judged)}
        truth.createIndex()
        found.createIndex()
        evaluation = COCOeval(truth, found, 'bbox')
        evaluation.evaluate()
    return evaluation.evalImgs


def _pycocotools() -> tuple[Any, Any]:
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise MetricsError(
            f'average precision needs the Python package pycocotools ({error}); install it with '
            "'pip install prune_perception[evaluation]'") from error
    return COCO, COCOeval


def ap50(judged: Judged, drawn: Draws) -> tuple[float, Floats]:
    """
    Return average precision at an overlap of 0.5, and that of each draw of frames.

    :param drawn: blocks of the frames that were judged.
    :returns: not a number where there is no object.
    """
    matches = match(judged)['all']
    once = np.ones((1, len(drawn.blocks)))
    value = float(average_precision(matches, once, places=(0,))[0, 0])
    return value, average_precision(matches, drawn.weights[:, drawn.blocks], places=(0,))[:, 0]


def average_precision(
        matches: Sequence[Matches], weights: Floats,
        places: Sequence[int] = range(len(THRESHOLDS))) -> Floats:
    """
    Return average precision for weighted frames.

    A class without objects in a draw is left out of the mean, as COCO leaves out one that the
    data set has no objects of.

    :param weights: (draws, frames) how often each frame counts.
    :param places: of the ``THRESHOLDS`` to look at.
    :returns: (draws, places) mean over the classes at each of these; not a number where no class
        has objects.
    """
    total = np.zeros((len(weights), len(places)))
    classes = np.zeros((len(weights), 1))
    for of_class in matches:
        objects = weights @ of_class.objects.astype(np.float64)
        known = objects > 0
        classes[known] += 1
        size = max(1, _CHUNK // max(1, len(of_class.frames)))
        rows = np.flatnonzero(known)
        for start in range(0, len(rows), size):
            part = rows[start:start + size]
            drawn = weights[part][:, of_class.frames]
            for column, place in enumerate(places):
                total[part, column] += _weighted_average_precision(
                    drawn, objects[part], of_class.right_at(place), of_class.counts_at(place))
    return np.divide(total, classes, out=np.full_like(total, np.nan), where=classes > 0)


def _weighted_average_precision(
        weights: Floats, objects: Floats, right: NDArray[np.bool_], counts: NDArray[np.bool_],
        ) -> Floats:
    """Return (draws,) the precision at each recall, averaged, for weights (draws, n)."""
    places = np.flatnonzero((right & counts)[counts])
    if not len(places):
        return np.zeros(len(weights))
    weights = weights[:, counts]
    # Only where a detection is right does recall rise or precision peak.
    found = np.cumsum(weights[:, places], axis=1)
    claimed = np.cumsum(weights, axis=1)[:, places]
    precision = np.divide(found, claimed, out=np.zeros_like(found), where=claimed > 0)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    # How many of the recalls are reached by then: COCO reads each at the first that reaches it.
    # Before anything is found, not even that of 0 is: a detection that was not drawn is not there.
    reached = np.searchsorted(RECALLS, found / objects[:, None], side='right')
    steps = np.diff(np.where(found > 0, reached, 0), axis=1, prepend=0)
    return (best * steps).sum(axis=1) / len(RECALLS)


def _average_recall(matches: Sequence[Matches], number: int) -> float:
    """Return the mean over thresholds and classes, with the best ``number`` of each frame."""
    recalls = [np.count_nonzero(of_class.right_at(threshold) & (of_class.ranks < number))
               / of_class.objects.sum()
               for of_class in matches if of_class.objects.any()
               for threshold in range(len(THRESHOLDS))]
    return float(np.mean(recalls))


def _curve(matches: Matches) -> Floats:
    """Return (101,) precision at ``RECALLS``, for the first of ``THRESHOLDS``."""
    right = matches.right_at(0)[matches.counts_at(0)]
    found = np.cumsum(right)
    precision = found / (np.arange(len(right)) + 1)
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return best[np.searchsorted(found / matches.objects.sum(), RECALLS, side='left')]


def _renumbering(names: Sequence[str], wanted: Sequence[str]) -> NDArray[np.int64]:
    """Return for each name its place among the wanted ones, or -1."""
    places = {name: place for place, name in enumerate(wanted)}
    return np.array([places.get(name, -1) for name in names], np.int64)


def coco_truth(judged: Judged) -> dict[str, Any]:
    """Return the truth as COCO's ground truth; the frames are its images."""
    annotations = [
        {'id': number, **annotation} for number, annotation in enumerate(_annotations(judged), 1)]
    return {
        'info': {}, 'images': [{'id': index} for index, _, _ in judged.frames],
        'annotations': annotations,
        'categories': [{'id': number, 'name': name}
                       for number, name in enumerate(judged.class_names)]}


def _annotations(judged: Judged) -> Iterator[dict[str, Any]]:
    everything = range(len(judged.class_names))
    for index, truth, _ in judged.frames:
        boxes = truth.boxes.astype(np.float64)
        sizes = boxes[:, 2:] - boxes[:, :2]
        areas = sizes.prod(axis=1) if truth.areas is None else truth.areas
        for corner, size, area, kind, crowd in zip(
                boxes[:, :2].tolist(), sizes.tolist(), areas.tolist(), truth.classes.tolist(),
                truth.crowd.tolist(), strict=True):
            for category in everything if kind < 0 else (kind,):
                yield {'image_id': index, 'category_id': category, 'bbox': [*corner, *size],
                       'area': area, 'iscrowd': int(crowd)}


def coco_results(judged: Judged) -> list[dict[str, Any]]:
    """Return the detections as COCO's results, with what its API adds to them."""
    results: list[dict[str, Any]] = []
    for index, _, found in judged.frames:
        boxes = found.boxes.astype(np.float64)
        sizes = boxes[:, 2:] - boxes[:, :2]
        for corner, size, score, kind in zip(
                boxes[:, :2].tolist(), sizes.tolist(), found.scores.tolist(),
                found.classes.tolist(), strict=True):
            results.append({
                'id': len(results) + 1, 'image_id': index, 'category_id': kind,
                'bbox': [*corner, *size], 'area': size[0] * size[1], 'iscrowd': 0,
                'score': score})
    return results


def draws_of_ap(matches: Sequence[Matches], draws: Draws) -> dict[str, Floats]:
    """
    Return ``ap``, ``ap50`` and ``ap75`` for each draw of frames, (draws,) each.

    :param matches: of each class, for objects of all sizes.
    """
    size = max(1, _CHUNK // len(draws.blocks))
    table = np.vstack([
        average_precision(matches, draws.weights[start:start + size][:, draws.blocks])
        for start in range(0, len(draws.weights), size)])
    return {'ap': table.mean(axis=1), 'ap50': table[:, 0], 'ap75': table[:, 5]}
