# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The recorded time on ``/clock``, for nodes that are told to use simulated time."""

import threading

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.time import Time
from rosgraph_msgs.msg import Clock as ClockMessage

from prune_perception.nodes.pace import Pace

RATE = 100.0
"""Messages a second. A simulated age is this coarse, times the rate of the play."""


class PlayingClock:
    """
    Publishes the recorded time, also while it stands still.

    :param node: to publish from; its executor must spin.
    """

    def __init__(self, node: Node, pace: Pace) -> None:
        self._pace = pace
        self._lock = threading.Lock()  # two threads must not overtake each other
        self._publisher = node.create_publisher(ClockMessage, '/clock', QoSProfile(depth=1))
        # Steady: a node whose own time is simulated has no other.
        node.create_timer(1 / RATE, self.publish, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def publish(self) -> None:
        """Publish it now, as before an image, which must not come from the future."""
        with self._lock:
            now = self._pace.now()
            if now is not None:
                self._publisher.publish(ClockMessage(clock=Time(nanoseconds=now).to_msg()))
