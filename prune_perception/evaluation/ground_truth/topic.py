# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""A topic of ``vision_msgs/Detection2DArray`` in the bag, joined to the images by exact stamp."""

from collections.abc import Iterator
import math
from typing import Any

from prune_perception.evaluation.ground_truth.labels import GroundTruthError, Labels, Row, truth_of
from prune_perception.evaluation.truth import Truth
from prune_perception.frames.errors import RecordingError
from prune_perception.frames.recording import Frame, Recording

TYPE = 'vision_msgs/msg/Detection2DArray'


class TopicLabels(Labels):
    """
    The objects of a topic.

    A message labels the image with exactly its stamp; an image without a message is not
    labelled. An object without a class is an ignored region. Of several hypotheses the first
    counts. What comes after damage in the bag is missing, which ``recording.warnings`` says.
    """

    def __init__(self, topic: str, recording: Recording) -> None:
        """
        Read all messages of the topic.

        :raises GroundTruthError: it is not there, or has another type, or no messages.
        """
        # Only bags have topics, and this is what they are read by; importing it needs rosbags.
        from prune_perception.frames.bags import BagRecording
        assert isinstance(recording, BagRecording)
        types = {entry.name: entry.type for entry in recording.topics}
        fitting = ', '.join(name for name, kind in types.items() if kind == TYPE) or 'none'
        if topic not in types:
            raise GroundTruthError(
                f'{topic}: there is no such file, folder or topic of {recording.path}; topics of '
                f'{TYPE}: {fitting}')
        if types[topic] != TYPE:
            raise GroundTruthError(
                f'{recording.path}: topic {topic!r} carries {types[topic]}, not {TYPE}; topics '
                f'that do: {fitting}')
        self._frames: dict[int, list[Row]] = {}
        names: dict[str, int] = {}
        try:
            for _, message in recording.messages(topic):
                self._take(message, names)
        except RecordingError as error:
            recording.warnings.append(f'{error}; the ground truth ends there')
        if not self._frames:
            raise GroundTruthError(f'{recording.path}: topic {topic!r} has no messages')
        super().__init__(
            f'{recording.path}: {topic}', tuple(names), len(self._frames),
            f'stamps such as {_text(next(iter(self._frames)))}')

    def of(self, frame: Frame, size: tuple[int, int]) -> Truth | None:
        """Return the objects of the image with exactly this stamp."""
        rows = None if frame.stamp_ns is None else self._frames.get(frame.stamp_ns)
        return None if rows is None else truth_of(rows)

    def name_of(self, frame: Frame) -> str:
        """Return the stamp of the image."""
        return 'no stamps' if frame.stamp_ns is None else \
            f'stamps such as {_text(frame.stamp_ns)}'

    def _take(self, message: Any, names: dict[str, int]) -> None:
        stamp = message.header.stamp
        nanoseconds = getattr(stamp, 'nanosec', None)
        if nanoseconds is None:
            nanoseconds = stamp.nsec  # as ROS 1 has it
        self._frames[stamp.sec * 1_000_000_000 + nanoseconds] = list(_rows(message, names))


def _rows(message: Any, names: dict[str, int]) -> Iterator[Row]:
    for detection in message.detections:
        name = _class_name(detection)
        kind = -1 if name is None else names.setdefault(name, len(names))
        centre = detection.bbox.center
        # vision_msgs before 4 has x and y in the centre itself.
        position = getattr(centre, 'position', centre)
        cosine, sine = abs(math.cos(centre.theta)), abs(math.sin(centre.theta))
        width, height = detection.bbox.size_x, detection.bbox.size_y
        # Of a turned box, the upright one around it.
        across, down = (width * cosine + height * sine) / 2, (width * sine + height * cosine) / 2
        yield (position.x - across, position.y - down, position.x + across, position.y + down,
               kind, name is None)


def _class_name(detection: Any) -> str | None:
    if not len(detection.results):
        return None
    first = detection.results[0]
    # vision_msgs before 4 has the class in the result itself, before 2 as a number.
    name = first.hypothesis.class_id if hasattr(first, 'hypothesis') else first.id
    return str(name)


def _text(stamp_ns: int) -> str:
    return f'{stamp_ns // 1_000_000_000}.{stamp_ns % 1_000_000_000:09d} s'
