# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Meters whose hardware counts energy: wraps, resets and counters that stand still."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
import time

from prune_perception.energy.meters.interface import Meter, MeterError, MeterInfo, Reading

_LONGEST_STANDSTILL = 2.0
"""Seconds; a powered circuit draws something, so its counter moves much more often."""


@dataclass(frozen=True)
class Counter:
    """
    One energy counter.

    :param label: file or function it is read from, for messages.
    :param read: returns the counts, raises MeterError.
    :param joules_per_count: the counter's unit.
    :param range: the value after which it starts again at 0; None if it is not known, then
        a counter that goes back is an error and not a wrap.
    """

    label: str
    read: Callable[[], int]
    joules_per_count: float
    range: int | None


class CounterMeter(Meter):
    """
    The sum of one or more energy counters.

    A failed read loses nothing, because the hardware goes on counting. A jump that no machine
    could draw is refused and counted as a break.
    """

    def __init__(
            self, info: MeterInfo, counters: Sequence[Counter], *, most_watts: float,
            clock: Callable[[], float] = time.monotonic) -> None:
        """
        Prepare the meter.

        :param most_watts: what one counter's rail can draw at the very most.
        :param clock: monotonic seconds.
        """
        super().__init__(info)
        self._counters = tuple(counters)
        self._most_watts = most_watts
        self._clock = clock
        self._counts: list[int] | None = None
        self._time = 0.0
        self._moved: list[float] = []  # when each counter was last seen to move
        self._energy = 0.0
        self._updates = 0
        self._breaks = 0
        self._power: float | None = None
        self._power_since = (0.0, 0.0)  # energy and time where the next average begins

    def read(self) -> Reading:
        """Read every counter; see :meth:`Meter.read`."""
        counts = [self._read_counter(counter) for counter in self._counters]
        now = self._clock()
        if self._counts is None:
            self._restart(counts, now)
        else:
            self._advance(self._counts, counts, now)
        return Reading(self._energy, self._power, now, self._updates, self._breaks)

    def _read_counter(self, counter: Counter) -> int:
        count = counter.read()
        if count < 0 or (counter.range is not None and count > counter.range):
            raise MeterError(
                f'{self.rail}: {counter.label} says {count}, outside its range of 0 to '
                f'{counter.range or "…"}; this read is left out')
        return count

    def _restart(self, counts: list[int], now: float) -> None:
        self._counts, self._time = counts, now
        self._moved = [now] * len(counts)
        self._power, self._power_since = None, (self._energy, now)

    def _advance(self, before: list[int], after: list[int], now: float) -> None:
        elapsed = now - self._time
        try:
            joules = sum(
                self._difference(counter, old, new, elapsed)
                for counter, old, new in zip(self._counters, before, after, strict=True))
        except MeterError:
            self._breaks += 1
            self._restart(after, now)
            raise
        self._counts, self._time = after, now
        self._energy += joules
        if before != after:
            # Between two polls the hardware may have renewed its count many times; each
            # counts, because each narrows the time that the energy belongs to.
            self._updates += max(1, int(elapsed / self.update_period))
        energy, since = self._power_since
        if now - since >= self.update_period and now > since:
            self._power = (self._energy - energy) / (now - since)
            self._power_since = (self._energy, now)
        self._check_standstill(before, after, now)

    def _difference(self, counter: Counter, old: int, new: int, elapsed: float) -> float:
        """Return the joules between two counts, across a wrap where there was one."""
        if counter.range is not None:
            wrap_seconds = counter.range * counter.joules_per_count / self._most_watts
            if elapsed > wrap_seconds:
                raise MeterError(
                    f'{self.rail}: {counter.label} was not read for {elapsed:.0f} s and may have '
                    f'wrapped more than once; read it at least every {wrap_seconds:.0f} s')
        counts = new - old
        if counts < 0:
            if counter.range is None:
                raise MeterError(
                    f'{self.rail}: {counter.label} went back from {old} to {new} (a driver '
                    'loaded again?); counting starts anew')
            counts += counter.range
        joules = counts * counter.joules_per_count
        # One update may fall between two reads that are closer together than updates are.
        watts = joules / max(elapsed, self.update_period)
        if watts > self._most_watts:
            went = 'jumped' if new > old else 'went back'
            wrapped = '' if new > old else 'with a wrap '
            raise MeterError(
                f'{self.rail}: {counter.label} {went} from {old} to {new} in {elapsed:.3g} s, '
                f'which {wrapped}would be {watts:.0f} W, more than the {self._most_watts:.0f} W '
                'that are possible; counting starts anew')
        return joules

    def _check_standstill(self, before: list[int], after: list[int], now: float) -> None:
        limit = max(_LONGEST_STANDSTILL, 10 * self.update_period)
        for index, counter in enumerate(self._counters):
            if before[index] != after[index]:
                self._moved[index] = now
            elif now - self._moved[index] > limit:
                raise MeterError(
                    f'{self.rail}: {counter.label} has stood still for '
                    f'{now - self._moved[index]:.0f} s; it is not measuring (a virtual '
                    'machine?)')
