# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""What the governor reads besides latency and power: the battery's level and the heat."""

import math
from pathlib import Path
import time

from sensor_msgs.msg import BatteryState, Temperature

from prune_perception.energy.meters import MeterError
from prune_perception.energy.meters.temperature import processor_temperature

# A level changes slowly, and drivers publish it as slowly; heat does neither.
SECONDS_OF_BATTERY, SECONDS_OF_TEMPERATURE = 60.0, 10.0


class BatteryLevel:
    """
    The charge that is left, from a topic.

    :param topic: for messages to people.
    """

    def __init__(self, topic: str) -> None:
        self.source = self._topic = topic
        self._newest: tuple[float, float] | None = None

    def take(self, message: BatteryState) -> None:
        """Keep the newest level, a share from 0 to 1 as the message defines it."""
        self._newest = (time.monotonic(), message.percentage)

    def read(self) -> float:
        """
        Return the level in percent.

        :raises MeterError: it is not known; with the reason.
        """
        if self._newest is None:
            raise MeterError(f'{self._topic}: no battery state yet')
        moment, share = self._newest
        if time.monotonic() - moment > SECONDS_OF_BATTERY:
            raise MeterError(f'{self._topic}: no battery state for {SECONDS_OF_BATTERY:.0f} s')
        if not math.isfinite(share):
            raise MeterError(f'{self._topic}: the battery does not tell its level')
        if not 0 <= share <= 1:
            raise MeterError(
                f'{self._topic}: percentage is {share:g}; as the message defines it, it lies '
                'between 0 and 1')
        return share * 100


class ProcessorTemperature:
    """
    The temperature that a topic says, or the hottest of the processor's zones without one.

    :param topic: for messages to people.
    :param root: of the tree with ``sys``.
    """

    def __init__(self, topic: str, root: Path) -> None:
        self._topic = topic
        self._root = root
        self._newest: tuple[float, float] | None = None
        self.source = ''
        """Whose figure was read last."""

    def take(self, message: Temperature) -> None:
        """Keep the newest temperature, °C."""
        self._newest = (time.monotonic(), message.temperature)

    def read(self) -> float:
        """
        Return the temperature in °C.

        :raises MeterError: it is not known; with the reason. A topic that fell silent is not
            replaced by the zones: it was chosen, and may mean another place.
        """
        if self._newest is None:
            found = processor_temperature(self._root)
            self.source = f'thermal zone {found.zone}'
            return found.celsius
        moment, celsius = self._newest
        self.source = self._topic
        if time.monotonic() - moment > SECONDS_OF_TEMPERATURE:
            raise MeterError(
                f'{self._topic}: no temperature for {SECONDS_OF_TEMPERATURE:.0f} s')
        if not math.isfinite(celsius):
            raise MeterError(f'{self._topic}: the temperature is not a number')
        return celsius
