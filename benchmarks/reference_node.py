# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
A detector node written the usual way, to hold ours against; not for a robot.

Every image goes through a generic conversion into an array of its own; the subscription has a
queue of 10; and the network runs in the subscription's callback. Detector, engine, thresholds and
messages are those of the package, so that what differs is the way alone.
"""

import sys
from typing import Any

import cv2
import numpy as np
import rclpy
from rclpy.node import Node
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

from prune_perception.bundle import read_bundle
from prune_perception.nodes.interrupts import initialised
from prune_perception.nodes.messages import detections_message
from prune_perception.resources import find_model
from prune_perception.runtime.detector import Detector

QUEUE = 10
_CONVERSIONS = {'rgb8': cv2.COLOR_RGB2BGR, 'bgra8': cv2.COLOR_BGRA2BGR,
                'rgba8': cv2.COLOR_RGBA2BGR, 'mono8': cv2.COLOR_GRAY2BGR}


def converted(message: Image) -> Any:
    """Return the image of a message as BGR in an array of its own."""
    channels = {'mono8': 1, 'bgra8': 4, 'rgba8': 4}.get(message.encoding, 3)
    rows = np.ndarray((message.height, message.step // channels, channels), np.uint8,
                      bytes(message.data))
    image = np.ascontiguousarray(rows[:, :message.width])
    conversion = _CONVERSIONS.get(message.encoding)
    return image.copy() if conversion is None else cv2.cvtColor(image, conversion)


class ReferenceNode(Node):
    """Detects in the callback."""

    def __init__(self) -> None:
        super().__init__('detector')
        model: str = self.declare_parameter('model', 'nanodet_g_person_25').value
        threads: int = self.declare_parameter('threads', 0).value
        self._detector = Detector(read_bundle(find_model(model)), threads=threads)
        self._detector.warm_up()
        self._names = self._detector.bundle.card.class_names
        self._publisher = self.create_publisher(Detection2DArray, '~/detections', QUEUE)
        self.create_subscription(Image, 'image', self._detect, QUEUE)

    def _detect(self, message: Image) -> None:
        found = self._detector.detect(converted(message)).detections
        self._publisher.publish(detections_message(found, message.header, self._names))


def main() -> int:
    """Run until it is told to stop."""
    with initialised():
        node = ReferenceNode()
        try:
            rclpy.spin(node)
        finally:
            node.destroy_node()
    return 0


if __name__ == '__main__':
    sys.exit(main())
