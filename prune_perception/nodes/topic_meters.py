# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Topics as meters: what another node measured, behind the interface of a sensor."""

from dataclasses import replace
import math
import time

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from sensor_msgs.msg import BatteryState

from prune_perception.energy.meters import (
    INTEGRATED,
    Meter,
    MeterError,
    MeterInfo,
    PowerMeter,
    Reading,
    Scope,
)

# A source that was silent for longer than this is not the present any more.
SECONDS_FRESH = 3.0
_MOST_BATTERY_WATTS = 5000.0


class BatteryTopicMeter(PowerMeter):
    """
    A battery whose state comes as ``sensor_msgs/BatteryState``.

    Power is voltage times current, which is below zero while the battery discharges (as the
    message defines it). On a charger the figure is not what the robot draws, and there is none.

    :param topic: for messages to people.
    """

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._newest: tuple[float, BatteryState] | None = None
        super().__init__(
            MeterInfo(
                'battery topic', topic, Scope.BATTERY,
                'all that the battery feeds, motors included; only while it discharges', 1.0,
                INTEGRATED, (topic,)),
            self._watts, most_watts=_MOST_BATTERY_WATTS, update_on_change=True)

    def take(self, message: BatteryState) -> None:
        """Keep the newest state."""
        self._newest = (time.monotonic(), message)

    def _watts(self) -> float:
        if self._newest is None or time.monotonic() - self._newest[0] > SECONDS_FRESH:
            raise MeterError(f'{self._topic}: no battery state for {SECONDS_FRESH:.0f} s')
        state = self._newest[1]
        if state.power_supply_status in (
                BatteryState.POWER_SUPPLY_STATUS_CHARGING, BatteryState.POWER_SUPPLY_STATUS_FULL):
            raise MeterError(
                f'{self._topic}: the battery is on its charger, so its current is not what the '
                'robot draws')
        watts = -state.voltage * state.current
        if not math.isfinite(watts):
            raise MeterError(f'{self._topic}: the battery gives no voltage or no current')
        if watts < 0:
            raise MeterError(
                f'{self._topic}: the current is above 0, as of a battery that charges; by its '
                'definition it is below 0 while it discharges')
        return watts


def reading_message(info: MeterInfo, reading: Reading, node: str) -> DiagnosticStatus:
    """Return a reading with all that :class:`MonitorTopicMeter` needs to give it again."""
    values = {
        'Name': info.name, 'Rail': info.rail, 'Scope': info.scope.value,
        'Includes': info.includes, 'Update period (s)': repr(info.update_period),
        'Method': info.method, 'Energy (J)': repr(reading.energy_joules),
        'Power (W)': '' if reading.power_watts is None else repr(reading.power_watts),
        'Monotonic time (s)': repr(reading.timestamp), 'Updates': str(reading.updates),
        'Breaks': str(reading.breaks)}
    return DiagnosticStatus(
        level=DiagnosticStatus.OK, name=f'{node}: reading', message=info.includes,
        hardware_id=info.rail,
        values=[KeyValue(key=key, value=value) for key, value in values.items()])


class MonitorTopicMeter(Meter):
    """
    What a ``power_monitor`` node publishes as its reading, as a meter.

    ``info`` is that of the sensor behind the newest reading. A power monitor that was started
    again counts from zero; that is a break in the readings.

    :param topic: for messages to people.
    """

    def __init__(self, topic: str) -> None:
        super().__init__(MeterInfo(
            topic, topic, Scope.SINGLE_RAIL, 'nothing was received yet', 1.0, INTEGRATED,
            (topic,)))
        self._topic = topic
        self._newest: tuple[float, Reading] | None = None
        self._restarts = 0
        self._problem = ''

    def take(self, message: DiagnosticStatus) -> None:
        """Keep the newest reading; one that does not parse is left out and told by ``read``."""
        values = {item.key: item.value for item in message.values}
        try:
            info = MeterInfo(
                values['Name'], values['Rail'], Scope(values['Scope']), values['Includes'],
                float(values['Update period (s)']), values['Method'], (self._topic,))
            reading = Reading(
                float(values['Energy (J)']),
                float(values['Power (W)']) if values['Power (W)'] else None,
                float(values['Monotonic time (s)']), int(values['Updates']),
                int(values['Breaks']))
        except (KeyError, ValueError) as error:
            self._problem = f'{self._topic}: not a reading of a power_monitor: {error}'
            return
        if self._newest is not None and reading.updates < self._newest[1].updates:
            self._restarts += 1
        self.info = info
        self._problem = ''
        self._newest = (
            time.monotonic(), replace(reading, breaks=reading.breaks + self._restarts))

    @property
    def fresh(self) -> bool:
        """Whether a reading came lately."""
        return self._newest is not None and time.monotonic() - self._newest[0] <= SECONDS_FRESH

    def read(self) -> Reading:
        """Return the newest reading; see :meth:`Meter.read`."""
        if self._problem:
            raise MeterError(self._problem)
        if self._newest is None or not self.fresh:
            raise MeterError(f'{self._topic}: no reading for {SECONDS_FRESH:.0f} s')
        return self._newest[1]
