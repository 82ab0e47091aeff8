# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Whether an engine has become slower than it was when it was warmed up."""

from collections.abc import Sequence
from dataclasses import dataclass
import statistics

from prune_perception.runtime.hysteresis import Limit

# Times the duration at warm-up. Between images a processor rests and slows its clock, which makes
# an inference some tenths longer than at warm-up, where one follows another.
SLOW_LIMIT = (2.0, 1.5)
# A median of fewer inferences, or over less time, says little.
FEWEST_FRAMES, LEAST_SECONDS = 5, 5.0
# Over which the median is taken. An engine that is slow enough has not even so many of them in it:
# then the last ones are looked at.
WINDOW = 10.0


@dataclass(frozen=True)
class Pace:
    """
    Medians of the duration of an inference, in seconds.

    :param slow: lately it was that much longer than at warm-up.
    """

    lately: float
    at_warm_up: float
    slow: bool

    @property
    def ratio(self) -> float:
        """Return how many times longer it takes than at warm-up."""
        return self.lately / self.at_warm_up


class Slowness:
    """
    Holds the inferences lately against those at warm-up, of one engine after another.

    It has no clock: times are given, by the monotonic one.
    """

    def __init__(self) -> None:
        self._limit = Limit(*SLOW_LIMIT)
        self._at_warm_up = 0.0
        self._pace: Pace | None = None
        self.since = 0.0

    def begin(self, now: float, at_warm_up: float) -> None:
        """Begin with another engine, whose median duration at warm-up this was."""
        self._limit = Limit(*SLOW_LIMIT)
        self._at_warm_up = at_warm_up
        self._pace = None
        self.since = now

    def disturbed(self, now: float) -> None:
        """Leave out what ran until now, without forgetting what was found before."""
        self.since = now

    def judge(self, now: float, inferences: Sequence[tuple[float, float]]) -> Pace | None:
        """
        Return how fast the engine is lately; None while that is not known.

        :param inferences: the end and the duration of each that is remembered, in order.
        """
        if not inferences or now - inferences[-1][0] > max(WINDOW, 2 * inferences[-1][1]):
            self._pace = None
            self._limit.judge(None)
            return None
        inferences = [each for each in inferences if each[0] > self.since]
        recent = [each for each in inferences if each[0] >= now - WINDOW]
        inferences = recent if len(recent) >= FEWEST_FRAMES else inferences[-FEWEST_FRAMES:]
        if (len(inferences) >= FEWEST_FRAMES and self._at_warm_up > 0
                and inferences[-1][0] - inferences[0][0] >= LEAST_SECONDS):
            lately = statistics.median(duration for _, duration in inferences)
            self._pace = Pace(
                lately, self._at_warm_up, self._limit.judge(lately / self._at_warm_up))
        return self._pace
