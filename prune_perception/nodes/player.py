# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Plays a recording into camera topics, at its own pace."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
import time
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from prune_perception.frames.recording import (
    CompressedFrame,
    Frame,
    ImageError,
    RawFrame,
    Recording,
    RecordingError,
)
from prune_perception.nodes.camera_info import CameraInfos
from prune_perception.nodes.messages import bgr_message
from prune_perception.nodes.pace import Pace
from prune_perception.nodes.playing_clock import PlayingClock

DEFAULT_FRAME_ID = 'camera_optical_frame'
# As a camera's driver offers it, so that whoever asks for reliability gets the images, too.
_CAMERA = QoSProfile(depth=5)


@dataclass(frozen=True)
class Sent:
    """
    A frame that was published.

    :param stamp: in its header, nanoseconds.
    :param time: when it was handed to the middleware, by the monotonic clock, seconds.
    :param late: by how much that was after it was due, seconds.
    """

    index: int
    stamp: int
    time: float
    late: float = 0.0


def recorded_stamp(frame: Frame, moment: int) -> int:
    """Return the stamp that was recorded; the moment itself for what has none, like a video."""
    return moment if frame.stamp_ns is None else frame.stamp_ns


class Player:
    """
    Publishes the images of a recording, each with a ``CameraInfo`` beside it.

    An image goes out as it was recorded, also when it cannot be decoded: the camera sent it, too.
    Only a message that cannot be read at all is left out, and reported.

    :param node: to publish from.
    :param image_topic: the base topic; compressed images go to ``<image_topic>/compressed``.
    :param rate: how many times faster than it was recorded.
    :param pace: instead of one of that rate, for whoever wants to pause.
    :param start_offset: seconds of the recording to leave out.
    :param stamp: returns the stamp, ns, of a frame and the recorded time, ns, at which it is due;
        None stamps by the clock of the node.
    :param clock: publish the recorded time on ``/clock``.
    :param failed: is told ``Frame.index`` and the reason of each image that is left out; None
        keeps the reasons in ``failures``.
    """

    def __init__(
            self, node: Node, recording: Recording, image_topic: str, *,
            rate: float = 1.0, pace: Pace | None = None, start_offset: float = 0.0,
            stamp: Callable[[Frame, int], int] | None = None, clock: bool = False,
            failed: Callable[[int, str], None] | None = None) -> None:
        self._node = node
        self._recording = recording
        self._offset = round(start_offset * 1e9)
        self._stamp = stamp or (lambda frame, moment: node.get_clock().now().nanoseconds)
        self._failed = failed or (lambda index, reason: self.failures.append(reason))
        self._kind = CompressedImage if recording.transport == 'compressed' else Image
        # The times of videos and folders begin at 0, which in ROS 2 is no time at all.
        self._base = 0 if recording.topic is not None else time.time_ns()
        self._period = 0  # of a frame, ns, once it has been played
        self.pace = pace or Pace(rate)
        self.topic = f'{image_topic}/compressed' if self._kind is CompressedImage else image_topic
        self.failures: list[str] = []
        self.newest: tuple[int, str] | None = None
        """Index of the newest frame, and why it was left out or an empty text."""
        overrides = QoSOverridingOptions.with_default_policies()
        self.images = node.create_publisher(
            self._kind, self.topic, _CAMERA, qos_overriding_options=overrides)
        self._infos = node.create_publisher(
            CameraInfo, f'{image_topic.rpartition("/")[0]}/camera_info', _CAMERA)
        self._clock = PlayingClock(node, self.pace) if clock else None

    def play(self) -> Iterator[Sent]:
        """
        Publish frame by frame, waiting in between.

        Played again, it begins one frame period after the last frame.

        :raises RecordingError: the recording cannot be read further, or ends before
            ``start_offset``. What was good has been played.
        """
        infos = CameraInfos(self._recording)
        times: list[int] = []  # first and last
        played = 0
        try:
            for frame in self._recording:
                moment = self._base + frame.time_ns
                times = [*times[:1], moment]
                if moment - times[0] < self._offset:
                    continue
                if not played:
                    self.pace.begin(moment - self._period)
                    begin = moment
                played += 1
                message = self._message(frame)
                if not self.pace.wait_until(moment):
                    return
                try:
                    sent = self._show(frame, moment, message, infos)
                finally:
                    self.pace.done()
                if sent is not None:
                    yield sent
        finally:
            if played > 1:
                self._period = max(times[-1] - begin, 0) // (played - 1)
            for warning in infos.warnings:
                self._node.get_logger().warning(warning)
            infos.close()
        if not played:
            raise RecordingError(
                f'{self._recording.path}: there is nothing to play after {self._offset * 1e-9:g} '
                f's; the images span {(times[-1] - times[0]) * 1e-9 if times else 0:.1f} s')

    def _message(self, frame: Frame) -> Image | CompressedImage | str:
        """Return what to publish, or why it cannot be."""
        try:
            message = message_of(frame)
        except ImageError as error:
            return str(error)
        if not isinstance(message, self._kind):  # as when the first message was damaged
            return f'{frame.source}: is no {self._kind.__name__} like the first'
        return message

    def _show(
            self, frame: Frame, moment: int, message: Image | CompressedImage | str,
            infos: CameraInfos) -> Sent | None:
        stamp = self._stamp(frame, moment)
        if stamp < 0 and not isinstance(message, str):
            message = f'{frame.source}: its stamp is before 1970'
        if isinstance(message, str):
            self.newest = frame.index, message
            self._failed(frame.index, message)
            return None
        message.header.stamp = Time(nanoseconds=stamp).to_msg()
        if self._clock is not None:
            self._clock.publish()  # no image comes from the future
        sent = Sent(frame.index, stamp, time.monotonic(), self.pace.late(moment))
        self.images.publish(message)
        self._infos.publish(infos.of(frame, message))
        self.newest = frame.index, ''
        return sent


def message_of(frame: Frame) -> Image | CompressedImage:
    """
    Return a frame as it was recorded, or as bgr8 where it comes from a video or a folder.

    :raises ImageError: there is nothing to return.
    """
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
