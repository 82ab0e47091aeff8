# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Plays a recording into camera topics, at its own pace and with new stamps."""

from collections.abc import Iterator
from dataclasses import dataclass
import time
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from prune_perception.frames.recording import (
    CompressedFrame,
    Frame,
    ImageError,
    RawFrame,
    Recording,
    transport_of,
)
from prune_perception.nodes.messages import bgr_message

DEFAULT_FRAME_ID = 'camera_optical_frame'


@dataclass(frozen=True)
class Sent:
    """
    A frame that was published.

    :param stamp: in its header, nanoseconds of the node's clock.
    :param time: when it was handed to the middleware, by the monotonic clock, seconds.
    """

    index: int
    stamp: int
    time: float


class Player:
    """
    Publishes the images of a recording, each with a ``CameraInfo`` beside it.

    :param node: to publish from.
    :param image_topic: the base topic; compressed images go to ``<image_topic>/compressed``.
    :param rate: how many times faster than it was recorded.
    """

    def __init__(
            self, node: Node, recording: Recording, image_topic: str, *,
            rate: float = 1.0) -> None:
        self._node = node
        self._recording = recording
        self._rate = rate
        compressed = transport_of(recording) == 'compressed'
        self.topic = f'{image_topic}/compressed' if compressed else image_topic
        self.failures: list[str] = []
        self._images = node.create_publisher(
            CompressedImage if compressed else Image, self.topic, qos_profile_sensor_data)
        self._infos = node.create_publisher(
            CameraInfo, f'{image_topic.rpartition("/")[0]}/camera_info', qos_profile_sensor_data)

    def play(self) -> Iterator[Sent]:
        """
        Publish frame by frame, sleeping in between; an image that is damaged is left out.

        :raises RecordingError: the recording cannot be read further.
        """
        start = time.monotonic()
        first: int | None = None
        for frame in self._recording:
            first = frame.time_ns if first is None else first
            due = start + (frame.time_ns - first) * 1e-9 / self._rate
            try:
                message = _message_of(frame)
            except ImageError as error:
                self.failures.append(str(error))
                continue
            time.sleep(max(due - time.monotonic(), 0))
            stamp = self._node.get_clock().now()
            message.header.stamp = stamp.to_msg()
            sent = Sent(frame.index, stamp.nanoseconds, time.monotonic())
            self._images.publish(message)
            self._infos.publish(CameraInfo(header=message.header))
            yield sent


def _message_of(frame: Frame) -> Image | CompressedImage:
    """Return a frame as it was recorded, or as bgr8 where it comes from a video or a folder."""
    recorded = frame.message
    if isinstance(recorded, CompressedFrame):
        compressed = CompressedImage(
            header=Header(frame_id=recorded.frame_id), format=recorded.format)
        _fill(compressed, recorded.data)
        return compressed
    if isinstance(recorded, RawFrame):
        raw = Image(
            header=Header(frame_id=recorded.frame_id), encoding=recorded.encoding,
            height=recorded.height, width=recorded.width, step=recorded.step,
            is_bigendian=int(recorded.is_bigendian))
        _fill(raw, recorded.data)
        return raw
    return bgr_message(frame.image(), Header(frame_id=DEFAULT_FRAME_ID))


def _fill(message: Any, data: np.ndarray[Any, Any]) -> None:
    message.data.frombytes(np.ascontiguousarray(data).data.cast('B'))
