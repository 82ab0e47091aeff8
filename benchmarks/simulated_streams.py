# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Videos of objects that a pruned detector misses at a known rate, and not independently.

What is missed is decided for each track, so that the share of tracks that are missed has a known
expectation. Tracks share it through the time in which the middle of theirs lies:

- *drift*: a hidden state of the scene wanders (an Ornstein-Uhlenbeck process), and a track is
  missed when the state and something of its own together are too high: a Gaussian copula;
- *spells*: now and then there is a bad time, in which most is missed.

Within a track misses come in one run of frames: over half of them where the track is missed, and
less elsewhere.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from prune_perception.detections import Detections

FRAME_RATE = 10.0
_LANES = 24
_SHORTEST = 1  # frames


@dataclass(frozen=True)
class Weather:
    """
    How misses hang together.

    :param kind: ``drift`` or ``spells``.
    :param strength: from 0 (tracks are independent) to 1 (nothing but the scene decides).
    :param seconds: over which the scene changes: the time constant of the drift, or the mean
        length of a bad spell.
    """

    kind: str
    strength: float
    seconds: float


@dataclass(frozen=True, eq=False)
class Stream:
    """
    Tracks, in the order of the middle of their time.

    :param first: (n,) frame in which each begins.
    :param length: (n,) frames.
    :param missed: (n,) whether more than half of its frames are.
    :param frames: of the video.
    """

    first: NDArray[np.int64]
    length: NDArray[np.int64]
    missed: NDArray[np.bool_]
    frames: int


def stream(
        random: np.random.Generator, weather: Weather, share: float, *, seconds: float = 300.0,
        arrivals: float = 1.0, mean_length: float = 2.0) -> Stream:
    """
    Draw a stream.

    :param share: of tracks that are missed, in expectation.
    :param arrivals: tracks that appear in a second.
    :param mean_length: of a track, s; lengths are exponential.
    """
    count = random.poisson(seconds * arrivals)
    middle = np.sort(random.uniform(0, seconds, count))
    length = np.maximum(
        _SHORTEST, np.rint(random.exponential(mean_length, count) * FRAME_RATE)).astype(np.int64)
    first = np.rint(middle * FRAME_RATE).astype(np.int64) - length // 2
    missed = {'drift': _drift, 'spells': _spells}[weather.kind](random, weather, share, middle)
    # Cut off what lies outside the video, as a camera would.
    frames = round(seconds * FRAME_RATE)
    last = np.clip(first + length, 1, frames)
    first = np.clip(first, 0, frames - 1)
    return Stream(first, np.maximum(1, last - first), missed, frames)


def _drift(random: np.random.Generator, weather: Weather, share: float,
           middle: NDArray[np.float64]) -> NDArray[np.bool_]:
    own, shared = random.standard_normal((2, len(middle)))
    for index in range(1, len(middle)):
        kept = np.exp(-(middle[index] - middle[index - 1]) / weather.seconds)
        shared[index] = kept * shared[index - 1] + np.sqrt(1 - kept ** 2) * shared[index]
    hidden = np.sqrt(weather.strength) * shared + np.sqrt(1 - weather.strength) * own
    return hidden > ndtri(1 - share)


def _spells(random: np.random.Generator, weather: Weather, share: float,
            middle: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Bad spells take ``share`` of the time; the two rates of missing then average to it."""
    bad_rate = share + (1 - share) * weather.strength
    good_rate = share * (1 - weather.strength)
    bad_now = random.uniform() < share
    rate = np.full(len(middle), good_rate)
    time, end = 0.0, middle[-1] if len(middle) else 0.0
    while time <= end:
        mean = weather.seconds if bad_now else weather.seconds * (1 - share) / share
        until = time + random.exponential(mean)
        if bad_now:
            rate[(middle >= time) & (middle < until)] = bad_rate
        time, bad_now = until, not bad_now
    return random.uniform(size=len(middle)) < rate


def render(
        drawn: Stream, random: np.random.Generator
        ) -> tuple[tuple[Detections, ...], tuple[Detections, ...]]:
    """
    Return what the dense and the pruned detector see of a stream, frame by frame.

    Each track moves through a lane of its own, so that tracks do not touch.
    """
    rows: tuple[list[list[list[float]]], ...] = tuple(
        [[] for _ in range(drawn.frames)] for _ in range(2))
    free = np.zeros(_LANES, np.int64)  # frame from which a lane is
    for first, length, missed in sorted(zip(
            drawn.first.tolist(), drawn.length.tolist(), drawn.missed.tolist(), strict=True)):
        lane = int(free.argmin())
        assert free[lane] <= first, 'more tracks at once than lanes'
        free[lane] = first + length + 8  # longer than a gap that is linked through
        run = random.integers(length // 2 + 1, length + 1) if missed \
            else random.integers(0, length // 2 + 1)
        begin = random.integers(0, length - run + 1)
        start, step = random.uniform(0.1, 0.8), random.uniform(-0.001, 0.001)
        for age in range(length):
            left = min(0.9, max(0.0, start + step * age))
            box = [left, lane / _LANES, left + 0.05, (lane + 0.9) / _LANES]
            rows[0][first + age].append([*box, random.uniform(0.4, 0.9)])
            if not begin <= age < begin + run:
                rows[1][first + age].append([*box, random.uniform(0.4, 0.9)])
    return tuple(map(_detections, rows[0])), tuple(map(_detections, rows[1]))


def _detections(rows: list[list[float]]) -> Detections:
    values = np.array(sorted(rows, key=lambda row: -row[4]), np.float32).reshape(-1, 5)
    return Detections(values[:, :4], values[:, 4], np.zeros(len(values), np.int64))
