# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The detector under a clock that is published, as by a bag that is played with its clock."""

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus
import numpy as np
from rclpy.clock import Clock, ClockType
from robot import detector, raw, Robot, stamp_of
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import Image
from std_msgs.msg import Header

RECORDED = 1_700_000_000_000_000_000  # ns: when the recording began
SPEED = 0.5  # half as fast as it was recorded
CAMERA_DELAY = 50_000_000  # ns: what a driver took from the exposure to the message


def time_message(nanoseconds: int) -> Time:
    """Return a time as a message."""
    return Time(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)


class Playing:
    """Publishes /clock in steps of 10 ms, and the recorded time's images."""

    def __init__(self, robot: Robot) -> None:
        self._robot = robot
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._begin = self._steady.now().nanoseconds
        self._clock = robot.create_publisher(ClockMessage, '/clock', 10)
        robot.create_timer(0.01, self._tick, clock=self._steady)

    def _now(self) -> int:
        return RECORDED + int((self._steady.now().nanoseconds - self._begin) * SPEED)

    def _tick(self) -> None:
        self._clock.publish(ClockMessage(clock=time_message(self._now())))

    def show(self, message: Image) -> None:
        """Publish an image that was exposed a little before."""
        message.header = Header(stamp=time_message(self._now() - CAMERA_DELAY))
        self._robot.publisher(Image, '/camera/image_raw').publish(message)


def test_ages_are_in_the_recordings_time() -> None:
    image = raw(np.full((240, 320, 3), 127, np.uint8))
    with detector(parameters={'autostart': True, 'use_sim_time': True}) as robot:
        robot.answer(image)  # under the present time
        status = robot.status('latency', DiagnosticStatus.WARN, 'unavailable')
        assert 'nobody publishes /clock' in status.message

        playing = Playing(robot)
        assert robot.transition('deactivate')
        assert robot.transition('activate')  # forgets what it has measured
        robot.detections.clear()

        def enough() -> bool:
            playing.show(image)
            robot.spin(0.05)
            return len(robot.detections) > 20
        robot.wait_for(enough, 'detections')
        assert all(-CAMERA_DELAY < stamp_of(found) - RECORDED < 60e9
                   for found in robot.detections)
        robot.status('latency', DiagnosticStatus.OK)
        values = robot.values('latency')
        age = float(values['Result age p50 (ms)']) - CAMERA_DELAY * 1e-6
        # A second here is half a second of the recording. The clock comes in steps of 5 ms of it,
        # and late where the machine is busy.
        assert abs(age - SPEED * float(values['Total p50 (ms)'])) < 40
