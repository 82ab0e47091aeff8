# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Energy per frame, as far as a sensor can honestly say.

One inference is shorter than most sensors' update period, and a rail feeds more than the
network. So the energy of a frame is the energy of a window divided by the frames in it, for a
window of at least one second and ten updates of the sensor; the figure carries its rail, what
that rail feeds, and the power of a quiet period that was subtracted.
"""

from collections import deque
from dataclasses import dataclass
from itertools import islice

from prune_perception.energy.meters.interface import MeterInfo, Reading

LEAST_SECONDS = 1.0
LEAST_UPDATES = 10


@dataclass(frozen=True)
class Unavailable:
    """No figure, and why; never a zero in its place."""

    reason: str

    def __str__(self) -> str:
        """Return the text for people."""
        return f'unavailable: {self.reason}'


@dataclass(frozen=True)
class AveragePower:
    """
    The mean power of a window, for instance of a quiet period.

    :param watts: energy divided by time.
    :param seconds: length of the window.
    :param updates: of the sensor, within the window.
    :param meter: which sensor it was.
    """

    watts: float
    seconds: float
    updates: int
    meter: MeterInfo
    source: str = 'measured'


@dataclass(frozen=True)
class EnergyPerFrame:
    """
    The energy of a window, divided by the frames in it.

    :param joules: per frame, all that the rail drew, idle power included.
    :param joules_above_idle: per frame, what is left when idle power times the window is
        subtracted; None without a quiet period. Below 0 where the quiet period was not quiet.
    :param idle: the quiet period that was subtracted, or None.
    :param frames: in the window.
    :param watts: mean power over the window.
    :param seconds: length of the window.
    :param updates: of the sensor, within the window.
    :param meter: which sensor it was; its rail and scope belong beside the figure.
    """

    joules: float
    joules_above_idle: float | None
    idle: AveragePower | None
    frames: int
    watts: float
    seconds: float
    updates: int
    meter: MeterInfo
    source: str = 'measured'

    @property
    def rail(self) -> str:
        """Return the sensor's own name of what was measured."""
        return self.meter.rail

    @property
    def scope(self) -> str:
        """Return how much of the machine the rail feeds, such as ``package``."""
        return self.meter.scope.value

    def __str__(self) -> str:
        """Return the figure with everything it needs to be read rightly, one line."""
        text = (
            f'{self.joules:.4g} J per frame ({self.source}, {self.scope}, {self.rail}; '
            f'{self.frames} frames in {self.seconds:.1f} s, {self.updates} updates)')
        if self.idle is None or self.joules_above_idle is None:
            return f'{text}; idle power not known, so included'
        return (f'{text}; {self.joules_above_idle:.4g} J above idle ({self.idle.watts:.3g} W '
                f'over {self.idle.seconds:.1f} s)')


class EnergyWindow:
    """
    A sliding window over one meter's readings and the frames that were processed meanwhile.

    Call :meth:`add_frames` when a frame is done and :meth:`add_reading` whenever the meter was
    read; frames count up to the reading that follows them. The window keeps about ``seconds``,
    and more where the sensor is too slow to renew its figure ten times in that. A break in the
    readings empties it.
    """

    def __init__(
            self, meter: MeterInfo, *, seconds: float = 10.0,
            idle: AveragePower | None = None) -> None:
        """
        Start an empty window.

        :param meter: the meter that the readings come from.
        :param seconds: how much of the past counts, 1 s or more.
        :param idle: :meth:`average_power` of a quiet period on the same meter.
        :raises ValueError: ``seconds`` is too short, or ``idle`` is of another rail.
        """
        if seconds < LEAST_SECONDS:
            raise ValueError(
                f'a window of {seconds:g} s is too short; energy per frame needs '
                f'{LEAST_SECONDS:g} s or more')
        if idle is not None and (idle.meter.name, idle.meter.rail) != (meter.name, meter.rail):
            raise ValueError(
                f'the idle power is of {idle.meter.rail} and the meter reads {meter.rail}; '
                'one cannot be subtracted from the other')
        self._meter = meter
        self._seconds = seconds
        self._idle = idle
        self._past: deque[tuple[Reading, int]] = deque()  # with the frames counted by then
        self._frames = 0

    def add_frames(self, count: int = 1) -> None:
        """Count frames that are done."""
        self._frames += count

    def add_reading(self, reading: Reading) -> None:
        """Take a reading of the meter, newer than the ones before."""
        if self._past and reading.breaks != self._past[-1][0].breaks:
            self._past.clear()
        self._past.append((reading, self._frames))
        while len(self._past) > 2 and self._is_enough_without_oldest(reading):
            self._past.popleft()

    def clear(self) -> None:
        """Forget the past, for instance when another network starts."""
        self._past.clear()

    def average_power(self) -> AveragePower | Unavailable:
        """Return the mean power of the window."""
        short = self._too_short()
        if short is not None:
            return short
        first, last = self._past[0][0], self._past[-1][0]
        seconds = last.timestamp - first.timestamp
        return AveragePower(
            (last.energy_joules - first.energy_joules) / seconds, seconds,
            last.updates - first.updates, self._meter)

    def energy_per_frame(self) -> EnergyPerFrame | Unavailable:
        """Return the window's energy divided by its frames."""
        power = self.average_power()
        if isinstance(power, Unavailable):
            return power
        frames = self._past[-1][1] - self._past[0][1]
        if frames == 0:
            return Unavailable(f'no frame in {power.seconds:.1f} s')
        idle = self._idle
        above = None if idle is None else (power.watts - idle.watts) * power.seconds / frames
        return EnergyPerFrame(
            power.watts * power.seconds / frames, above, idle, frames, power.watts,
            power.seconds, power.updates, self._meter)

    def _too_short(self) -> Unavailable | None:
        if not self._past:
            return Unavailable(f'{self._meter.rail} was not read yet')
        first, last = self._past[0][0], self._past[-1][0]
        seconds = last.timestamp - first.timestamp
        updates = last.updates - first.updates
        if seconds < LEAST_SECONDS or updates < LEAST_UPDATES:
            return Unavailable(
                f'{self._meter.rail}: {seconds:.1f} s and {updates} sensor updates so far, '
                f'{LEAST_SECONDS:g} s and {LEAST_UPDATES} are needed')
        return None

    def _is_enough_without_oldest(self, newest: Reading) -> bool:
        second, _ = next(islice(self._past, 1, None))
        return (newest.timestamp - second.timestamp >= self._seconds
                and newest.updates - second.updates >= LEAST_UPDATES)
