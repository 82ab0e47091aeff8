# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Cameras that send images at a steady rate, and a listener to the results, in a process of its own.

Run by other benchmarks: it takes its options as JSON and prints what it measured as JSON.
"""

from dataclasses import asdict, dataclass
import json
import subprocess
import sys
import time
from typing import Any

from bystander import Bystander, first_picture, image_message, stamp_of

SIZE = (640, 480)


@dataclass(frozen=True)
class Rig:
    """
    What to send and where to listen.

    :param cameras: the topic of the images by the topic of their results.
    :param rate: of each camera, Hz.
    :param seconds: of measuring, after the first result of each camera and ``settle``.
    :param settle: seconds that count for nothing.
    """

    cameras: dict[str, str]
    rate: float
    seconds: float
    settle: float = 3.0


@dataclass(frozen=True)
class Heard:
    """
    What one camera sent and heard while it was measured.

    :param sent: images.
    :param heard: results.
    :param ages: of these, seconds from sending the image to hearing the result.
    """

    sent: int
    heard: int
    ages: list[float]


def run(rig: Rig, environment: dict[str, str]) -> dict[str, Heard]:
    """
    Run a rig in a process of its own; return what each camera heard, by its results' topic.

    :raises RuntimeError: it failed; with what it said.
    """
    process = subprocess.run(
        [sys.executable, __file__, json.dumps(asdict(rig))], env=environment,
        capture_output=True, text=True, timeout=rig.seconds + 120)
    if process.returncode:
        raise RuntimeError(f'the cameras failed: {process.stderr}')
    return {topic: Heard(**heard)
            for topic, heard in json.loads(process.stdout.splitlines()[-1]).items()}


class _Camera:
    """One camera and whoever listens to its results."""

    def __init__(self, node: Any, image: Any, image_topic: str, result_topic: str) -> None:
        from rclpy.qos import QoSProfile
        from sensor_msgs.msg import Image
        from vision_msgs.msg import Detection2DArray

        self._node, self._image = node, image
        # Reliable, as many drivers are: both who asks for that and who does not can hear it.
        self._publisher = node.create_publisher(Image, image_topic, QoSProfile(depth=10))
        node.create_subscription(
            Detection2DArray, result_topic, self._arrived, QoSProfile(depth=1000))
        self.sent: dict[int, float] = {}
        self.heard: dict[int, float] = {}

    def send(self) -> None:
        now = self._node.get_clock().now()
        self._image.header.stamp = now.to_msg()
        self.sent[now.nanoseconds] = time.monotonic()
        self._publisher.publish(self._image)

    def _arrived(self, message: Any) -> None:
        self.heard[stamp_of(message)] = time.monotonic()

    def between(self, begin: float, end: float) -> Heard:
        """Return what became of the images that were sent within a time."""
        sent = {stamp: moment for stamp, moment in self.sent.items() if begin <= moment < end}
        ages = [self.heard[stamp] - moment for stamp, moment in sent.items()
                if stamp in self.heard]
        return Heard(len(sent), sum(begin <= moment < end for moment in self.heard.values()), ages)


def _run(rig: Rig) -> dict[str, Heard]:
    bystander = Bystander('cameras')
    image = image_message(first_picture(SIZE))
    cameras = {result: _Camera(bystander.node, image, topic, result)
               for result, topic in rig.cameras.items()}
    try:
        begin = None
        start = due = time.monotonic()
        while begin is None or time.monotonic() < begin + rig.seconds:
            for camera in cameras.values():
                camera.send()
            if begin is None and all(camera.heard for camera in cameras.values()):
                begin = time.monotonic() + rig.settle
            if begin is None and time.monotonic() > start + 60:
                raise TimeoutError(f'no result on {", ".join(cameras)}')
            due = max(due + 1 / rig.rate, time.monotonic() - 1 / rig.rate)
            time.sleep(max(due - time.monotonic(), 0))
        end = time.monotonic()
        time.sleep(2.0)  # the last results
        return {result: camera.between(begin, end) for result, camera in cameras.items()}
    finally:
        bystander.close()


if __name__ == '__main__':
    print(json.dumps({topic: asdict(heard) for topic, heard
                      in _run(Rig(**json.loads(sys.argv[1]))).items()}))
