# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Measure the certificate of a pruned detector, once, when nothing is chosen any more.

An object is a detection of which the dense detector is confident. The pruned one has found it if
a detection of its own, above the score at which it works on the robot, has the same class and
overlaps it; each detection finds one object, the best score first. A *unit* is missed when more
than a stated share of its objects is:

- in a video a unit is a *track*: one object, followed. Its frames are no units: who is missed in
  one frame is missed in the next. Of an object the dense detector has to be confident in a few
  frames; a score that touches the threshold once is a flicker, which is counted aside;
- where frames follow too slowly to follow objects, it is a *block of time*, with all in it;
- in pictures that have nothing to do with each other, it is a *picture*.

Which units are independent? Pictures are, if they are what is claimed. Tracks in view at one time
are not: one lorry hides them, one sun blinds the camera, and where the dense detector loses a
person and finds him again, one person is two tracks. Tracks far apart in time share a camera and
a day, which the certificate is bound to anyhow, and little else. So tracks are put into blocks of
time, as long as ``RENEWAL`` times what a track in view at a random moment lasts, and no shorter
than ``SHORTEST_BLOCK``; :mod:`.miss_bound` supposes nothing of tracks within a block and next to
it, and independence beyond. Whether misses further apart are independent cannot be seen from a
short recording: it is a supposition, and a drift of light over minutes breaks it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray

from prune_perception.detections import Detections
from prune_perception.evaluation.errors import intersections_over_union
from prune_perception.pruning.certificate import (
    BLOCK,
    Certificate,
    Count,
    Demand,
    PICTURE,
    Source,
    TRACK,
)
from prune_perception.pruning.miss_bound import bound_independent, bound_misses
from prune_perception.pruning.tracks import link, Track

RENEWAL = 2.0
"""Length of a block, in lengths of the track that is in view at a random moment."""

SHORTEST_BLOCK = 5.0
"""s; a judgement: a robot that walks has another view by then, and a pedestrian has moved on."""

SLOWEST_RATE = 4.0
"""Frames/s below which the boxes of somebody who walks no longer overlap."""

_ROUNDING = 1e-3  # of a frame: clocks differ a little
_SUPPOSED_RATE = 30.0  # frames/s, where it is not known: the fastest usual camera, so that a
# block has more frames than it needs, and not fewer


@dataclass(frozen=True, eq=False)
class _Objects:
    """
    The objects of all frames, one a row.

    :param unit: (n,) number of the unit that each belongs to; -1 for none.
    :param block: (units,) block of time of each unit.
    """

    kind: NDArray[np.int64]
    missed: NDArray[np.bool_]
    unit: NDArray[np.int64]
    block: NDArray[np.int64]


def certify(
        dense: Sequence[Detections], pruned: Sequence[Detections], class_names: Sequence[str],
        source: Source, *, unrelated: bool = False, demand: Demand | None = None) -> Certificate:
    """
    Return the certificate of a pruned detector.

    :param dense: detections of each frame, in the order of time; boxes in units that suit both,
        such as shares of the image's sides.
    :param pruned: of the same frames, with the same classes and in the same units; also below
        the score of ``demand``, if there are any.
    :param class_names: by class number.
    :param source: what the frames are of.
    :param unrelated: pictures that have nothing to do with each other. The frames of a video,
        stored as pictures, are not unrelated.
    :param demand: what is asked for.
    """
    demand = demand or Demand()
    sure = [_above(found, found.scores >= demand.confident_score) for found in dense]
    found = [_found(wanted, _above(seen, seen.scores > demand.score), demand.overlap)
             for wanted, seen in zip(sure, pruned, strict=True)]
    frame = np.repeat(np.arange(len(sure)), [len(objects) for objects in sure])
    kinds = np.concatenate([np.zeros(0, np.int64), *(objects.classes for objects in sure)])
    missed = ~np.concatenate([np.zeros(0, np.bool_), *found])
    unit, block_frames, brief = TRACK, None, np.zeros(0, np.bool_)
    if unrelated:
        unit, number, block = PICTURE, frame, np.arange(len(sure))
    else:
        rate = source.frame_rate or _SUPPOSED_RATE
        shortest = math.ceil(SHORTEST_BLOCK * rate - _ROUNDING)
        if rate < SLOWEST_RATE:
            unit, block_frames = BLOCK, shortest
            number = frame // shortest
            block = np.arange(len(sure) // shortest + 1)
        else:
            tracks = link(sure)
            number, block, block_frames = _units(sure, tracks, shortest, demand.fewest_frames)
            brief = _missed_units(_numbers(sure, tracks)[number < 0], missed[number < 0], demand)
    objects = _Objects(kinds, missed, number, block)
    at_first = len(np.unique(number[(frame == 0) & (number >= 0)])) if unit != PICTURE else 0
    return Certificate(
        demand, source, unit, block_frames, at_first, len(brief), int(brief.sum()),
        _count(objects, np.ones(len(kinds), np.bool_), demand, unrelated),
        {class_names[kind]: _count(objects, kinds == kind, demand, unrelated)
         for kind in np.unique(kinds)})


def blocks_of(
        middles: NDArray[np.float64], durations: NDArray[np.float64], shortest: int
        ) -> tuple[NDArray[np.int64], int]:
    """
    Put tracks into blocks of time.

    :param middles: (n,) frame in the middle of each track's time.
    :param durations: (n,) frames.
    :param shortest: frames that a block has at least.
    :returns: (n,) the block of each track, and the frames that a block has.
    """
    # The chance to be in view at a random moment is in proportion to the duration.
    usual = (durations ** 2).sum() / durations.sum() if len(durations) else 0.0
    length = max(shortest, int(np.ceil(RENEWAL * usual)))
    return (middles // length).astype(np.int64), length


def _above(found: Detections, chosen: NDArray[np.bool_]) -> Detections:
    return Detections(found.boxes[chosen], found.scores[chosen], found.classes[chosen])


def _found(objects: Detections, seen: Detections, overlap: float) -> NDArray[np.bool_]:
    """Return which objects of a frame a detection was found for, the best score first."""
    found = np.zeros(len(objects), np.bool_)
    overlaps = intersections_over_union(
        seen.boxes, objects.boxes, np.zeros(len(objects), np.bool_))
    overlaps[seen.classes[:, None] != objects.classes[None]] = 0
    for index in np.argsort(-seen.scores, kind='stable'):
        free = np.where(found, 0, overlaps[index])
        if free.max(initial=0) >= overlap:
            found[free.argmax()] = True
    return found


def _units(
        sure: Sequence[Detections], tracks: Sequence[Track], shortest: int, fewest: int
        ) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Return the unit of each object, the block of each unit, and the length of a block."""
    kept = np.array([len(track.frames) >= fewest for track in tracks], np.bool_)
    unit = np.where(kept, np.cumsum(kept) - 1, -1)
    long = [track for track, is_kept in zip(tracks, kept, strict=True) if is_kept]
    block, length = blocks_of(
        np.array([track.middle for track in long]),
        np.array([track.duration for track in long], np.float64), shortest)
    return unit[_numbers(sure, tracks)], block, length


def _numbers(sure: Sequence[Detections], tracks: Sequence[Track]) -> NDArray[np.int64]:
    """Return the number of the track of each object, the objects being frame by frame."""
    begin = np.cumsum([0, *(len(objects) for objects in sure)])
    number = np.zeros(begin[-1], np.int64)
    for index, track in enumerate(tracks):
        number[begin[list(track.frames)] + track.rows] = index
    return number


def _missed_units(
        unit: NDArray[np.int64], missed: NDArray[np.bool_], demand: Demand) -> NDArray[np.bool_]:
    """Return for each unit, in the order of their numbers, whether it is missed."""
    units, place = np.unique(unit, return_inverse=True)
    share = np.bincount(place, missed, len(units)) / np.bincount(place, minlength=len(units))
    return np.asarray(share > demand.stated_rate)


def _count(objects: _Objects, chosen: NDArray[np.bool_], demand: Demand, independent: bool
           ) -> Count:
    counted = chosen & (objects.unit >= 0)
    unit = objects.unit[counted]
    missed = _missed_units(unit, objects.missed[counted], demand)
    bound = bound_independent(missed, demand.confidence) if independent else bound_misses(
        objects.block[np.unique(unit)], missed, demand.confidence)
    return Count(int(chosen.sum()), int(objects.missed[chosen].sum()), bound)
