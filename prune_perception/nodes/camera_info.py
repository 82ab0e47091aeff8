# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The calibration beside the images of a recording: the recorded one, where there is one."""

from collections.abc import Iterator
from typing import Any

from sensor_msgs.msg import CameraInfo, Image, RegionOfInterest
from std_msgs.msg import Header

from prune_perception.frames.recording import Frame, open_recording, Recording, RecordingError

TYPE = 'sensor_msgs/msg/CameraInfo'
_MATRICES = ('d', 'k', 'r', 'p')


class CameraInfos:
    """
    Finds the ``CameraInfo`` of each frame, in one pass beside the images.

    Of a bag with a topic ``camera_info`` beside the image topic it is the newest that was stamped
    no later than the image; before the first one, the first. Of any other recording it is one
    without calibration, which ``CameraInfo`` says by zeros.

    :param recording: opened by :func:`open_recording`. A bag is opened once more, since it
        cannot be read in two places at once.
    """

    def __init__(self, recording: Recording) -> None:
        self.warnings: list[str] = []
        self._bag: Any = None
        self._messages: Iterator[tuple[int, Any]] = iter(())
        self._current: Any = None
        topic = _info_topic(recording)
        if topic is not None:
            self._bag = open_recording(recording.path, recording.topic)
            self._messages = self._bag.messages(topic)
        self._next = self._read()

    def of(self, frame: Frame, image: Any) -> CameraInfo:
        """
        Return the calibration of a frame, under the header of its image.

        :param image: the message that is published.
        """
        while self._next is not None and (
                self._current is None or _stamp(self._next) <= (frame.stamp_ns or 0)):
            self._current, self._next = self._next, self._read()
        if self._current is not None:
            return _message(self._current, image.header)
        if isinstance(image, Image):
            return CameraInfo(header=image.header, height=image.height, width=image.width)
        return CameraInfo(header=image.header)

    def close(self) -> None:
        """Close files."""
        if self._bag is not None:
            self._bag.close()

    def _read(self) -> Any:
        try:
            found = next(self._messages, None)
        except RecordingError as error:
            self.warnings.append(f'{error}; the calibration before that is used')
            return None
        return None if found is None else found[1]


def _info_topic(recording: Recording) -> str | None:
    if recording.topic is None:
        return None
    topics = {topic.name: topic for topic in getattr(recording, 'topics', ())}
    image_topic = recording.topic
    if 'Compressed' in topics[image_topic].type:
        image_topic = image_topic.removesuffix('/compressed')
    name = f'{image_topic.rpartition("/")[0]}/camera_info'
    found = topics.get(name)
    return name if found is not None and found.type == TYPE and found.count else None


def _stamp(fields: Any) -> int:
    return fields.header.stamp.sec * 1_000_000_000 + fields.header.stamp.nanosec


def _message(fields: Any, header: Header) -> CameraInfo:
    """Return a recorded calibration as a message; ROS 1 writes its matrices in capitals."""
    region = fields.roi
    return CameraInfo(
        header=header, height=fields.height, width=fields.width,
        distortion_model=fields.distortion_model,
        binning_x=fields.binning_x, binning_y=fields.binning_y,
        roi=RegionOfInterest(
            x_offset=region.x_offset, y_offset=region.y_offset, height=region.height,
            width=region.width, do_rectify=bool(region.do_rectify)),
        **{name: [float(value) for value in getattr(
            fields, name if hasattr(fields, name) else name.upper())] for name in _MATRICES})
