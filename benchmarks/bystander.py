# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""What stands beside a detector node in a benchmark: a ROS node of its own, and its images."""

from collections.abc import Callable
import threading
import time
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from prune_perception.frames.recording import open_recording
from prune_perception.resources import find_resource


class Bystander:
    """
    A ROS node that is spun in a thread of its own, from the start to :meth:`close`.

    :param domain: of ROS; None takes that of the environment.
    """

    def __init__(self, name: str, domain: int | None = None) -> None:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.signals import SignalHandlerOptions

        # So that Ctrl-C ends whoever uses this, and with it what was started.
        rclpy.init(domain_id=domain, signal_handler_options=SignalHandlerOptions.NO)
        self.node = rclpy.create_node(name)
        self.sending = True
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._spinning = threading.Thread(target=self._executor.spin)
        self._threads: list[threading.Thread] = []
        self._spinning.start()

    def send_at(self, rate: float, send: Callable[[], None]) -> None:
        """Call something at a steady rate, Hz, in a thread of its own, while ``sending``."""
        def go_on() -> None:
            due = time.monotonic()
            while self.sending:
                send()
                due = max(due + 1 / rate, time.monotonic() - 1 / rate)
                time.sleep(max(due - time.monotonic(), 0))
        self._threads.append(threading.Thread(target=go_on))
        self._threads[-1].start()

    def wait(self, condition: Callable[[], Any], seconds: float) -> Any:
        """Wait until a condition holds; return its value, which is false if it never does."""
        deadline = time.monotonic() + seconds
        while not (value := condition()) and time.monotonic() < deadline:
            time.sleep(0.005)
        return value

    def close(self) -> None:
        """End; a thread that still spins would take the process down with an error."""
        import rclpy

        self.sending = False
        for thread in self._threads:
            thread.join()
        self._executor.shutdown()
        self._spinning.join()
        self.node.destroy_node()
        rclpy.shutdown()


def first_picture(size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the first image of the recording that is shipped, BGR, in a width and a height."""
    with open_recording(find_resource('demo', 'pedestrians')) as recording:
        return np.asarray(cv2.resize(next(iter(recording)).image(), size), np.uint8)


def image_message(pixels: NDArray[np.uint8], **fields: Any) -> Any:
    """Return a BGR image as ``sensor_msgs/Image``; what is given of its fields is set so."""
    from sensor_msgs.msg import Image

    message = Image(**{'height': pixels.shape[0], 'width': pixels.shape[1], 'encoding': 'bgr8',
                       'step': pixels.strides[0], **fields})
    message.data.frombytes(pixels.tobytes())
    return message


def jpeg_message(data: bytes) -> Any:
    """Return a JPEG as ``sensor_msgs/CompressedImage``."""
    from sensor_msgs.msg import CompressedImage

    message = CompressedImage(format='jpeg')
    message.data.frombytes(data)
    return message


def stamp_of(message: Any) -> int:
    """Return the stamp of a message in nanoseconds."""
    stamp = message.header.stamp
    return int(stamp.sec * 1_000_000_000 + stamp.nanosec)
