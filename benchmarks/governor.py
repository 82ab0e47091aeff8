# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Measure how the governor keeps a detector node within its budgets while the world changes.

Starts the node with the shipped ladder, stands beside it as a camera, over real DDS, and steps one
thing at a time up and down again:

- *Load*: other processes, which want all cores, come and go; the budget is one of latency.
- *Power*: something else on the rail is switched on and off. The meter is simulated, with noise of
  3 %: it says 4 W, and for each rung the watts that its modelled energy is to that of the largest,
  which has 6 W.
- *Battery*: its level falls below the budget, and it is charged again; simulated.
- *Temperature*: it rises above the budget, and stays there until the smallest bundle runs; then it
  cools. Simulated: it says nothing of how soon a processor cools with a smaller detector.

For each step: the time until the governor decided and until the other bundle ran; how long that
took to be made ready beside the running one, and what this cost the running one: the slowest frame
and the longest gap between two results meanwhile, beside those before; changes that were taken
back although nothing had changed (oscillations); and the account of the images: each that arrived
was published, or replaced by a newer one before it was its turn, and nothing else.

Limits: camera, detector and load share the machine, and so does whatever else runs there. Images
that the transport loses never arrive, and are in no account here. The power is not real, so that
it says nothing of what the ladder saves.
"""

import argparse
from collections.abc import Callable
import json
import os
from pathlib import Path
import platform
import random
import subprocess
import sys
import time
from typing import Any

from bystander import Bystander, first_picture, image_message
import numpy as np

from prune_perception import __version__
from prune_perception.node_process import (
    dds_environment,
    free_domain,
    node_command,
    start,
    stop,
)
from prune_perception.runtime.machine import machine_name

LADDER = ['nanodet_g_person_50', 'nanodet_g_person_25', 'nanodet_g_person_10']
WATTS_IDLE, WATTS = 4.0, dict(zip(LADDER, (6.0, 3.0, 1.2), strict=True))
DOWN_AFTER, UP_AFTER = 3.0, 20.0  # the defaults
# Of the latency budget above what the largest takes in quiet.
_ROOM = 1.6


class Robot(Bystander):
    """A camera, meters and a battery, and whoever listens to the detector."""

    def __init__(self, rate: float, domain: int) -> None:
        from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
        from rcl_interfaces.srv import SetParameters
        from rclpy.qos import DurabilityPolicy, qos_profile_sensor_data, QoSProfile
        from sensor_msgs.msg import BatteryState, Image, Temperature
        from vision_msgs.msg import Detection2DArray

        super().__init__('robot', domain)
        self.results: list[float] = []
        self.decisions: list[tuple[float, str]] = []
        self.statuses: dict[str, dict[str, str]] = {}
        self.battery, self.watts_of_others, self.updates = 0.8, 0.0, 0
        self.celsius = 60.0
        self.noise = random.Random(1)
        self.image = image_message(first_picture((640, 480)))
        latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.images: Any = self.node.create_publisher(
            Image, '/camera/image_raw', qos_profile_sensor_data)
        self.levels: Any = self.node.create_publisher(
            BatteryState, '/battery', QoSProfile(depth=1))
        self.heat: Any = self.node.create_publisher(
            Temperature, '/temperature', QoSProfile(depth=1))
        self.readings: Any = self.node.create_publisher(
            DiagnosticStatus, '/power_monitor/reading', QoSProfile(depth=1))
        self.node.create_subscription(
            Detection2DArray, '/detector/detections',
            lambda _: self.results.append(time.monotonic()), QoSProfile(depth=1000))
        self.node.create_subscription(
            DiagnosticStatus, '/detector/governor',
            lambda message: self.decisions.append((time.monotonic(), message.message)), latched)
        self.node.create_subscription(
            DiagnosticArray, '/diagnostics', self._diagnosed, QoSProfile(depth=10))
        self.node.create_timer(0.2, self._say)
        self.parameters: Any = self.node.create_client(SetParameters, '/detector/set_parameters')
        self.send_at(rate, self._send)

    def _send(self) -> None:
        self.image.header.stamp = self.node.get_clock().now().to_msg()
        self.images.publish(self.image)

    def _diagnosed(self, message: Any) -> None:
        for status in message.status:
            values = {item.key: item.value for item in status.values}
            self.statuses[status.name.partition(': ')[2]] = {**values, 'message': status.message}

    def _say(self) -> None:
        from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
        from sensor_msgs.msg import BatteryState, Temperature

        self.levels.publish(BatteryState(percentage=self.battery))
        self.heat.publish(Temperature(temperature=self.celsius))
        self.updates += 1
        watts = WATTS_IDLE + WATTS[self.bundle()] + self.watts_of_others
        values = {
            'Name': 'simulated', 'Rail': 'simulated', 'Scope': 'module',
            'Includes': 'nothing real', 'Update period (s)': '0.2', 'Method': 'power, integrated',
            'Energy (J)': '0.0', 'Power (W)': repr(watts * self.noise.gauss(1, 0.03)),
            'Monotonic time (s)': repr(time.monotonic()), 'Updates': str(self.updates),
            'Breaks': '0'}
        self.readings.publish(DiagnosticStatus(
            values=[KeyValue(key=key, value=value) for key, value in values.items()]))

    def bundle(self) -> str:
        """Return what runs."""
        return self.statuses.get('governor', {}).get('Bundle', LADDER[0])

    def set(self, **values: Any) -> None:
        """Set parameters of the detector; two underlines stand for a point."""
        from rcl_interfaces.srv import SetParameters
        from rclpy.parameter import Parameter

        future = self.parameters.call_async(SetParameters.Request(parameters=[
            Parameter(name.replace('__', '.'), value=value).to_parameter_msg()
            for name, value in values.items()]))
        if not self.wait(future.done, 30.0):
            raise TimeoutError('the detector does not answer')
        for result in future.result().results:
            if not result.successful:
                raise RuntimeError(result.reason)

    def pin(self, bundle: str) -> None:
        """Have a bundle run."""
        self.set(pinned=bundle)
        if not self.wait(lambda: self.bundle() == bundle, 60.0):
            raise TimeoutError(f'{bundle} does not come to run: {self.statuses}')

    def latency(self) -> float | None:
        """Return the governor's figure, ms."""
        text = self.statuses.get('governor', {}).get('Latency (ms)', 'unavailable')
        return None if text == 'unavailable' else float(text)


def watch(robot: Robot, begin: float, seconds: float, until: str | None) -> dict[str, Any]:
    """Watch what follows a step: for some seconds, or until a bundle runs and 5 s more."""
    if until is None:
        time.sleep(max(begin + seconds - time.monotonic(), 0))
    else:
        robot.wait(lambda: robot.bundle() == until, seconds)
        time.sleep(5.0)
    events = [(moment, text) for moment, text in list(robot.decisions) if moment >= begin]
    changes: list[dict[str, Any]] = []
    decided: tuple[float, str] | None = None
    for moment, text in events:
        name, runs, _ = text.partition(' runs, after ')
        if '(it is made ready beside' in text:
            decided = (moment, text)
        elif runs and decided is not None:
            results = [each for each in list(robot.results) if begin - 5 <= each]
            changes.append({
                'to': name, 'decided_s': decided[0] - begin, 'runs_s': moment - begin,
                'reason': decided[1], 'made_ready_s': moment - decided[0],
                'longest_gap_ms': gap(results, decided[0] - 0.5, moment + 0.5),
                'longest_gap_before_ms': gap(results, decided[0] - 5.0, decided[0])})
            decided = None
    ways = [LADDER.index(change['to']) for change in changes]
    steps = np.sign(np.diff(ways)) if len(ways) > 1 else np.zeros(0)
    return {'changes': changes, 'oscillations': int((np.diff(steps) != 0).sum()),
            'ends_with': robot.bundle(), 'latency_ms': robot.latency()}


def gap(moments: list[float], begin: float, end: float) -> float | None:
    """Return the longest time between two results within a time, ms."""
    within = [moment for moment in moments if begin <= moment <= end]
    return max(np.diff(within), default=0.0) * 1e3 if len(within) > 1 else None


def account(robot: Robot) -> dict[str, int]:
    """Stop the camera, and return what became of the images."""
    robot.sending = False
    time.sleep(3.0)  # the last results, and diagnostics that know of them
    seen, detector = robot.statuses['input'], robot.statuses['detector']
    counts = {
        'received': int(seen['Images received']), 'published': int(detector['Frames processed']),
        'replaced': int(seen['Images dropped, newer came first']),
        'failed': int(seen['Images failed'])}
    counts['lost'] = counts['received'] - counts['published'] - counts['replaced']
    counts['results_heard'] = len(robot.results)
    return counts


def steps(robot: Robot, burners: int, report: dict[str, Any]) -> None:
    """Step everything up and down; print and keep what happened."""
    if not robot.wait(lambda: robot.latency() is not None, 60.0):
        raise TimeoutError(f'no frame was processed: {robot.statuses}')
    print('without budgets, ms from the arrival of an image to its result, 95 of 100')
    quiet = {}
    for bundle in reversed(LADDER):
        robot.pin(bundle)
        time.sleep(12.0)  # all that it looks at is of this bundle
        quiet[bundle] = robot.latency()
        print(f'{bundle:22} {quiet[bundle] or 0:7.1f}', flush=True)
    budget = _ROOM * (quiet[LADDER[0]] or 0.0)
    report['quiet_latency_ms'], report['latency_budget_ms'] = quiet, budget
    robot.set(pinned='')
    print(f'\nbudgets: latency {budget:.0f} ms ({_ROOM} times that of the largest), power 13 W, '
          f'battery 30 %, temperature 80 °C; each alone. down_after {DOWN_AFTER:.0f} s, '
          f'up_after {UP_AFTER:.0f} s')
    print(f'{"step":28} {"to":22} decided    runs  ready in  longest gap (before)')

    def step(name: str, act: Callable[[], Any], seconds: float, until: str | None) -> None:
        begin = time.monotonic()
        act()
        row = {'step': name, **watch(robot, begin, seconds, until)}
        report['steps'].append(row)
        for change in row['changes']:
            print(f'{name:28} {change["to"]:22} {change["decided_s"]:6.1f} '
                  f'{change["runs_s"]:5.1f} s {change["made_ready_s"]:6.2f} s '
                  f'{change["longest_gap_ms"] or 0:9.0f} ms '
                  f'({change["longest_gap_before_ms"] or 0:.0f})')
        if not row['changes']:
            print(f'{name:28} no change')
        print(f'{"":28} ends with {row["ends_with"]}, latency {row["latency_ms"] or 0:.0f} ms, '
              f'{row["oscillations"]} oscillations', flush=True)

    processes: list[subprocess.Popen[bytes]] = []

    def come() -> None:
        for _ in range(burners):
            # In sessions of their own, as programs of different people: Linux shares the
            # processor out by sessions first.
            processes.append(subprocess.Popen(
                [sys.executable, '-c', 'while True: pass'], start_new_session=True))

    def go() -> None:
        for process in processes:
            process.kill()
            process.wait()
        processes.clear()
    robot.set(budget__latency_ms=budget)
    try:
        step(f'load: {burners} processes come', come, 40.0, None)
        step('load: they go', go, 150.0, LADDER[0])
    finally:
        go()
    robot.set(budget__latency_ms=0.0)
    robot.pin(LADDER[0])
    robot.set(pinned='', budget__watts=13.0)

    def others(watts: float) -> None:
        robot.watts_of_others = watts
    step('power: 10 W, 5 W more', lambda: others(5.0), 60.0, None)
    step('power: 5 W less', lambda: others(0.0), 150.0, LADDER[0])
    robot.set(budget__watts=0.0)
    robot.pin(LADDER[0])
    robot.set(pinned='', budget__battery_percent=30.0)

    def charge(level: float) -> None:
        robot.battery = level
    step('battery: 80 to 25 %', lambda: charge(0.25), 60.0, LADDER[2])
    step('battery: 25 to 60 %', lambda: charge(0.6), 150.0, LADDER[0])
    robot.set(budget__battery_percent=0.0)
    robot.pin(LADDER[0])
    robot.set(pinned='', budget__temperature_c=80.0)

    def heat(celsius: float) -> None:
        robot.celsius = celsius
    step('temperature: 60 to 90 °C', lambda: heat(90.0), 120.0, LADDER[2])
    step('temperature: 90 to 60 °C', lambda: heat(60.0), 240.0, LADDER[0])


def main() -> int:
    """Measure, print a table, and write JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n\n')[0])
    parser.add_argument('--json', type=Path, metavar='FILE')
    parser.add_argument('--rate', type=float, default=15.0, help='of the camera, Hz (%(default)s)')
    parser.add_argument(
        '--burners', type=int, default=2 * (os.cpu_count() or 1),
        help='processes of the load (%(default)s)')
    arguments = parser.parse_args()
    os.environ.update(dds_environment())
    load = os.getloadavg()[0]
    report: dict[str, Any] = {
        'machine': machine_name(), 'system': platform.platform(), 'load_before': load,
        'python': platform.python_version(), 'prune_perception': __version__,
        'rate': arguments.rate, 'burners': arguments.burners, 'steps': []}
    print(f'{report["machine"]}, {report["system"]}, Python {report["python"]}; load {load:.1f} '
          f'before; a camera of {arguments.rate:.0f} Hz\n')
    domain = free_domain()
    detector = start(
        node_command('detector_node', log_level='error',
                     remappings={'image': '/camera/image_raw'},
                     parameters={'autostart': True, 'ladder': LADDER, 'threads': 1}),
        {**os.environ, 'ROS_DOMAIN_ID': str(domain)}, stdout=subprocess.DEVNULL)
    robot = Robot(arguments.rate, domain)
    try:
        steps(robot, arguments.burners, report)
        report['images'] = counts = account(robot)
        report['engine'] = robot.statuses['detector']['Engine']
    finally:
        robot.close()
        stop(detector)
    print(f'\n{report["engine"]}\nimages: {counts["received"]} arrived, {counts["published"]} '
          f'published, {counts["replaced"]} replaced by newer ones, {counts["failed"]} failed; '
          f'lost: {counts["lost"]}. Of those published {counts["results_heard"]} were heard')
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
