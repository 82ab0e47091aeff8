# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Average precision and its kin, and how far they would move with other frames.

``pycocotools`` matches detections to objects. It keeps kilobytes for each detection, so that it
is given a few frames at a time, and of its matches only the bits are kept. Average precision is
then summed here, over frames that may have weights: drawing blocks of frames anew a thousand
times needs that. With every frame counted once it is what ``pycocotools`` says for all of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
import io
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
_CHUNK = 250_000  # weights of detections at once; bounds the memory of the bootstrap

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

    :param frames: (n,) place of each detection's frame among those that are judged.
    :param ranks: (n,) place of each detection among those of its class in its frame.
    :param right: (10, n) whether it is matched to an object, at each of ``THRESHOLDS``.
    :param counts: (10, n) whether it counts at all; on what is ignored it does not.
    :param objects: (frames,) how many objects each frame has.
    """

    frames: NDArray[np.int32]
    ranks: NDArray[np.int16]
    right: NDArray[np.bool_]
    counts: NDArray[np.bool_]
    objects: NDArray[np.int32]


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
        found = result.detections
        own = run_index[found.classes]
        frames.append((
            result.index, Truth(known.boxes[kept], classes[kept], crowd[kept]),
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
    gathered = {size: [_Gathered(len(judged.frames)) for _ in judged.class_names]
                for size in SIZES}
    for start in range(0, len(judged.frames), _FRAMES_AT_ONCE):
        part = Judged(judged.class_names, judged.frames[start:start + _FRAMES_AT_ONCE])
        outcomes = iter(_matched_by_pycocotools(part))
        for place in range(len(judged.class_names)):
            for size in SIZES:
                of_class = gathered[size][place]
                for frame in range(start, start + len(part.frames)):
                    of_class.add(frame, next(outcomes))
                of_class.pack()
    return {size: [of_class.matches() for of_class in of_size]
            for size, of_size in gathered.items()}


@dataclass
class _Gathered:
    """The matches of one class and size, frame by frame."""

    number: int  # of frames
    frames: list[NDArray[np.int32]] = field(default_factory=list)
    ranks: list[NDArray[np.int16]] = field(default_factory=list)
    scores: list[NDArray[np.float64]] = field(default_factory=list)
    right: list[NDArray[np.bool_]] = field(default_factory=list)
    counts: list[NDArray[np.bool_]] = field(default_factory=list)

    packed: int = 0  # how many of each list are of several frames already

    def __post_init__(self) -> None:
        self.objects = np.zeros(self.number, np.int32)

    def pack(self) -> None:
        """Make one array of what came since last time: a small one is mostly its own overhead."""
        if len(self.scores) > self.packed:
            for arrays in (self.frames, self.ranks, self.scores, self.right, self.counts):
                arrays[self.packed:] = [np.concatenate(arrays[self.packed:], axis=-1)]
            self.packed += 1

    def add(self, frame: int, outcome: Mapping[str, Any] | None) -> None:
        """Take what pycocotools says of one frame; nothing where there is neither side."""
        if outcome is None:
            return
        self.objects[frame] = np.count_nonzero(np.asarray(outcome['gtIgnore']) == 0)
        number = len(outcome['dtScores'])
        if number:
            ignored = np.asarray(outcome['dtIgnore'], np.bool_)
            self.frames.append(np.full(number, frame, np.int32))
            self.ranks.append(np.arange(number, dtype=np.int16))
            self.scores.append(np.array(outcome['dtScores'], np.float64))
            self.right.append((np.asarray(outcome['dtMatches']) > 0) & ~ignored)
            self.counts.append(~ignored)

    def matches(self) -> Matches:
        """Return everything, best score first; of equals, the earlier frame first, as COCO."""
        if not self.scores:
            nothing = np.zeros((len(THRESHOLDS), 0), np.bool_)
            return Matches(np.zeros(0, np.int32), np.zeros(0, np.int16), nothing, nothing,
                           self.objects)
        order = np.argsort(-np.concatenate(self.scores), kind='stable')
        return Matches(
            np.concatenate(self.frames)[order], np.concatenate(self.ranks)[order],
            np.concatenate(self.right, axis=1)[:, order],
            np.concatenate(self.counts, axis=1)[:, order], self.objects)


def _matched_by_pycocotools(judged: Judged) -> Sequence[Mapping[str, Any] | None]:
    """Return its outcome for each class, within it for each size, within it for each frame."""
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise MetricsError(
            f"average precision needs the Python package pycocotools ({error}); install it with "
            "'pip install prune_perception[evaluation]'") from error
    with redirect_stdout(io.StringIO()):  # it tells of every step
        truth, found = COCO(), COCO()
        truth.dataset = coco_truth(judged)
        found.dataset = {**truth.dataset, 'annotations': coco_results(judged)}
        truth.createIndex()
        found.createIndex()
        evaluation = COCOeval(truth, found, 'bbox')
        evaluation.evaluate()
    return evaluation.evalImgs


def average_precision(matches: Sequence[Matches], weights: Floats) -> Floats:
    """
    Return average precision for weighted frames.

    A class without objects in a draw is left out of the mean, as COCO leaves out one that the
    data set has no objects of.

    :param weights: (draws, frames) how often each frame counts.
    :returns: (draws, 10) mean over the classes at each of ``THRESHOLDS``; not a number where no
        class has objects.
    """
    total = np.zeros((len(weights), len(THRESHOLDS)))
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
            for column in range(len(THRESHOLDS)):
                total[part, column] += _weighted_average_precision(
                    drawn, objects[part], of_class.right[column], of_class.counts[column])
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
    recalls = [of_class.right[:, of_class.ranks < number].sum(axis=1) / of_class.objects.sum()
               for of_class in matches if of_class.objects.any()]
    return float(np.mean(recalls))


def _curve(matches: Matches) -> Floats:
    """Return (101,) precision at ``RECALLS``, for the first of ``THRESHOLDS``."""
    right = matches.right[0][matches.counts[0]]
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
        for corner, size, kind, crowd in zip(
                boxes[:, :2].tolist(), sizes.tolist(), truth.classes.tolist(),
                truth.crowd.tolist(), strict=True):
            for category in everything if kind < 0 else (kind,):
                yield {'image_id': index, 'category_id': category, 'bbox': [*corner, *size],
                       'area': size[0] * size[1], 'iscrowd': int(crowd)}


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
