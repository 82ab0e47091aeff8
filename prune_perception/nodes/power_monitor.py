# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The power monitor: what this machine draws, on topics and in ``/diagnostics``."""

from pathlib import Path
import platform
import re
import sys
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import InvalidTopicNameException
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data, QoSProfile
from rclpy.validate_topic_name import validate_topic_name
from sensor_msgs.msg import BatteryState
from std_msgs.msg import Float64, Header

from prune_perception.energy.meters import (
    best,
    discover,
    Discovery,
    Meter,
    MeterError,
    Reading,
    Refusal,
)
from prune_perception.nodes.health import Finding, held, OK, UNAVAILABLE, WARN
from prune_perception.nodes.interrupts import initialised
from prune_perception.nodes.meter_loss import MeterLoss
from prune_perception.nodes.parameters import declare, ParameterSpec, warn_of_strangers
from prune_perception.nodes.topic_meters import BatteryTopicMeter, reading_message
from prune_perception.runtime.hysteresis import Hold

PARAMETERS = (
    ParameterSpec(
        'sample_rate', 10.0, 'How often the meters are read, Hz. A sensor of power that is read '
        'rarely misses what happens in between.', limits=(1.0, 100.0), read_only=True),
    ParameterSpec(
        'meter', '', 'Name of the meter that ~/reading, ~/power and ~/energy are of; empty takes '
        'the one that leaves out least.', read_only=True),
    ParameterSpec(
        'battery_topic', '', 'Topic with sensor_msgs/BatteryState to take as a meter; empty means '
        'none.', read_only=True),
    ParameterSpec(
        'root', '/', 'Root of the tree with sys and proc: another than / is a recorded machine.',
        read_only=True),
    ParameterSpec(
        'hardware_id', '', 'hardware_id of the diagnostics; empty means the name of the host.',
        read_only=True),
)


class PowerMonitor(Node):
    """
    Reads every meter of this machine and publishes what it says.

    ``~/reading`` is of the chosen meter, for a detector node to take its energy per frame from;
    ``~/power`` and ``~/energy`` are the same for plotting, and ``~/<meter>/power`` of each.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__('power_monitor', **options)
        for problem in declare(self, PARAMETERS).values():
            self.get_logger().error(f'{problem}; the default is used')
        warn_of_strangers(self)
        self._hardware_id = self._value('hardware_id') or platform.node()
        discovery = discover(Path(self._value('root')))
        discovery += self._battery()
        self._refusals = discovery.refusals
        self._meters = (*discovery.meters, *discovery.standby)
        self._chosen = self._choose(discovery)
        self._newest: dict[str, Reading | MeterError] = {}
        self._loss = MeterLoss()
        self._hold = Hold()
        self._reading = self.create_publisher(DiagnosticStatus, '~/reading', QoSProfile(depth=1))
        names = ['power', 'energy', *(f'{_topic(meter)}/power' for meter in self._meters)]
        self._plots: dict[str, Any] = {
            name: self.create_publisher(Float64, f'~/{name}', QoSProfile(depth=1))
            for name in names}
        self._diagnostics = self.create_publisher(
            DiagnosticArray, '/diagnostics', QoSProfile(depth=10))
        # Sensors do not know of simulated time.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1 / self._value('sample_rate'), self._sample, clock=steady)
        self.create_timer(1.0, self._report, clock=steady)
        for meter in self._meters:
            self.get_logger().info(f'{meter.name}: {meter.rail} ({meter.scope}), {meter.includes}')
        for refusal in self._refusals:
            self.get_logger().info(f'{refusal.family} not usable: {refusal.reason}')

    def _battery(self) -> Discovery:
        """Return the battery whose topic the parameter names, as a meter."""
        name = self._value('battery_topic')
        if not name:
            return Discovery()
        try:
            validate_topic_name(name)
        except InvalidTopicNameException as error:
            reason = f'parameter battery_topic: {" ".join(str(error).split())}'
            self.get_logger().error(reason)
            return Discovery(refusals=(Refusal('battery topic', reason),))
        meter = BatteryTopicMeter(self.resolve_topic_name(name))
        self.create_subscription(
            BatteryState, name, meter.take, qos_profile_sensor_data)
        return Discovery(standby=(meter,))

    def _choose(self, discovery: Discovery) -> Meter | None:
        wanted = self._value('meter')
        if not wanted:
            return best(discovery)
        for meter in self._meters:
            if meter.name == wanted:
                return meter
        self.get_logger().error(
            f'parameter meter: there is no {wanted!r} here; there are '
            f'{", ".join(meter.name for meter in self._meters) or "none"}')
        return None

    def _sample(self) -> None:
        for meter in self._meters:
            try:
                reading = meter.read()
            except MeterError as error:
                # The same trouble ten times a second is told once.
                if str(self._newest.get(meter.name)) != str(error):
                    self.get_logger().warning(str(error))
                self._newest[meter.name] = error
                continue
            if isinstance(self._newest.get(meter.name), MeterError):
                self.get_logger().info(f'{meter.name} gives figures again')
            self._newest[meter.name] = reading
            self._loss.given(meter.info, time.monotonic())
            if meter is self._chosen:
                self._reading.publish(reading_message(meter.info, reading, self.get_name()))

    def _report(self) -> None:
        for meter in self._meters:
            reading = self._newest.get(meter.name)
            if isinstance(reading, Reading) and reading.power_watts is not None:
                self._plots[f'{_topic(meter)}/power'].publish(Float64(data=reading.power_watts))
                if meter is self._chosen:
                    self._plots['power'].publish(Float64(data=reading.power_watts))
                    self._plots['energy'].publish(Float64(data=reading.energy_joules))
        node = self.get_fully_qualified_name().lstrip('/')
        now = time.monotonic()
        finding = held(self._hold, now, self._finding(now))
        self._diagnostics.publish(DiagnosticArray(
            header=Header(stamp=self.get_clock().now().to_msg()),
            status=[finding.status(f'{node}: meters', self._hardware_id)]))

    def _finding(self, now: float) -> Finding:
        values = {'Chosen': UNAVAILABLE if self._chosen is None else self._chosen.name}
        lost = []
        for meter in self._meters:
            reading = self._newest.get(meter.name)
            watts = reading.power_watts if isinstance(reading, Reading) else None
            values[f'{meter.name} (W)'] = UNAVAILABLE if watts is None else f'{watts:.3f}'
            values[f'{meter.name} is'] = f'{meter.scope}, {meter.rail}: {meter.includes}'
            if isinstance(reading, Reading):
                values[f'{meter.name} energy (J)'] = f'{reading.energy_joules:.3f}'
            elif reading is not None:
                lost.append(self._loss.text(meter.info, reading, now))
        for refusal in self._refusals:
            mend = '; '.join(filter(None, (refusal.reason, refusal.remedy, refusal.udev_rule)))
            values[f'{refusal.family} not usable'] = mend
        if lost:
            return Finding(WARN, '; '.join(lost), values)
        if not self._meters:
            return Finding(WARN, 'this machine has no usable meter', values)
        return Finding(OK, f'{len(self._meters)} meters', values)

    def _value(self, name: str) -> Any:
        return self.get_parameter(name).value


def _topic(meter: Meter) -> str:
    """Return a meter's name as a part of a topic's."""
    name = re.sub(r'\W+', '_', meter.name, flags=re.ASCII).strip('_').lower()
    return name if name[:1].isalpha() else f'meter_{name}'


def main(arguments: list[str] | None = None) -> int:
    """Run the node until it is told to stop."""
    with initialised(arguments):
        node = PowerMonitor()
        try:
            rclpy.spin(node)
        finally:
            node.destroy_node()
    return 0


if __name__ == '__main__':
    sys.exit(main())
