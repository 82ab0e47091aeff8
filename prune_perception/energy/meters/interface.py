# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""What a meter is, whatever sensor is behind it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum


class MeterError(Exception):
    """
    A meter that could not be read; one line naming the rail or file and what to do.

    It is the only exception that :meth:`Meter.read` raises. The next read may succeed.
    """


class Scope(StrEnum):
    """How much of the machine a rail feeds; a joule is not comparable between scopes."""

    WHOLE_SYSTEM = 'whole system'
    """The computer as a whole, as its maker wired the sensor."""
    MODULE = 'module'
    """A compute module or board: processor, memory, what is soldered beside them."""
    PACKAGE = 'package'
    """The processor package; memory, board and power supply are not in it."""
    BATTERY = 'everything on the battery'
    """The computer with all that hangs on the same battery, motors and screen included."""
    GRAPHICS_BOARD = 'graphics board'
    MEMORY = 'memory'
    SINGLE_RAIL = 'single rail'


@dataclass(frozen=True)
class MeterInfo:
    """
    What there is to know about a meter before it is read.

    :param name: short and unique on this machine, such as ``rapl package``.
    :param rail: the sensor's own name of what it measures, such as ``VDD_IN``.
    :param scope: how much of the machine that is.
    :param includes: the same in words, with what is left out.
    :param update_period: seconds between two updates of the sensor, as far as is known.
    :param method: ``energy counter`` (the hardware adds up), or ``power, integrated`` (this
        process adds up, by trapezoids between its reads).
    :param files: what it reads, for messages.
    """

    name: str
    rail: str
    scope: Scope
    includes: str
    update_period: float
    method: str
    files: tuple[str, ...]


COUNTED = 'energy counter'
INTEGRATED = 'power, integrated'


@dataclass(frozen=True)
class Reading:
    """
    One look at a meter.

    :param energy_joules: since the meter's first read, without what was lost in ``breaks``.
    :param power_watts: now, or since the previous read where the sensor counts energy; None
        when there was no previous read.
    :param timestamp: seconds of the monotonic clock.
    :param updates: how often the sensor has renewed its figure since the first read.
    :param breaks: how often energy was lost since the first read: a sensor that went away
        and came back, a counter that jumped. Energies on either side of a break must not be
        subtracted from each other.
    """

    energy_joules: float
    power_watts: float | None
    timestamp: float
    updates: int
    breaks: int


class Meter(ABC):
    """
    A sensor of power or energy. Not safe for use by several threads at once.

    Energy starts at 0 J with the first read.
    """

    def __init__(self, info: MeterInfo) -> None:
        """Describe the meter; nothing is read yet."""
        self.info = info

    @property
    def name(self) -> str:
        """Return the short name, unique on this machine."""
        return self.info.name

    @property
    def rail(self) -> str:
        """Return the sensor's own name of what it measures."""
        return self.info.rail

    @property
    def scope(self) -> Scope:
        """Return how much of the machine the rail feeds."""
        return self.info.scope

    @property
    def includes(self) -> str:
        """Return what is in the figure and what is not, in words."""
        return self.info.includes

    @property
    def update_period(self) -> float:
        """Return the seconds between two updates of the sensor."""
        return self.info.update_period

    @abstractmethod
    def read(self) -> Reading:
        """
        Read the sensor.

        :raises MeterError: it cannot be read, or says what cannot be; nothing else is raised.
        """
