# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Meters whose sensor gives power only: the energy is added up here, between reads."""

from collections.abc import Callable
import math
import time

from prune_perception.energy.meters.interface import Meter, MeterError, MeterInfo, Reading


class PowerMeter(Meter):
    """
    Integrates power by trapezoids between one read and the next.

    What happens between two reads is not seen, so the energy is as good as the polling is
    frequent. A gap, after a failed read or longer than ``longest_gap``, is not bridged by
    guessing: it adds no energy and counts as a break.
    """

    def __init__(
            self, info: MeterInfo, sample: Callable[[], float], *, most_watts: float,
            least_watts: float = 0.0, update_on_change: bool = False,
            longest_gap: float | None = None,
            clock: Callable[[], float] = time.monotonic) -> None:
        """
        Prepare the meter.

        :param sample: returns watts, raises MeterError.
        :param most_watts: what the rail can draw at the very most.
        :param least_watts: below 0 for a sensor whose offset can push it there.
        :param update_on_change: count an update of the sensor only when its figure changed,
            for sensors that repeat an old figure for an unknown time.
        :param longest_gap: seconds between reads that are still bridged; by default 5 s or ten
            update periods, whichever is longer.
        :param clock: monotonic seconds.
        """
        super().__init__(info)
        self._sample = sample
        self._least_watts, self._most_watts = least_watts, most_watts
        self._update_on_change = update_on_change
        self._longest_gap = (
            max(5.0, 10 * info.update_period) if longest_gap is None else longest_gap)
        self._clock = clock
        self._last: tuple[float, float] | None = None  # watts, time
        self._updated: tuple[float, float] | None = None  # watts, time of the last update
        self._started = False
        self._energy = 0.0
        self._updates = 0
        self._breaks = 0

    def read(self) -> Reading:
        """Read the power and add it up; see :meth:`Meter.read`."""
        try:
            watts = self._sample()
            self._check(watts)
        except MeterError:
            self._last = None
            raise
        now = self._clock()
        self._integrate(watts, now)
        self._count_update(watts, now)
        self._last, self._started = (watts, now), True
        return Reading(self._energy, watts, now, self._updates, self._breaks)

    def _integrate(self, watts: float, now: float) -> None:
        if self._last is None:
            self._breaks += self._started
            return
        before, since = self._last
        if now - since > self._longest_gap:
            self._breaks += 1
        else:
            self._energy += (before + watts) / 2 * (now - since)

    def _count_update(self, watts: float, now: float) -> None:
        if self._updated is None:
            self._updated = (watts, now)
            return
        before, since = self._updated
        if now - since >= self.update_period or self._update_on_change:
            if watts != before or not self._update_on_change:
                self._updates += 1
                self._updated = (watts, now)

    def _check(self, watts: float) -> None:
        if not math.isfinite(watts) or not self._least_watts <= watts <= self._most_watts:
            raise MeterError(
                f'{self.rail}: {", ".join(self.info.files)} says {watts:.6g} W, outside the '
                f'{self._least_watts:g} to {self._most_watts:g} W that are possible; this read '
                'is left out')
