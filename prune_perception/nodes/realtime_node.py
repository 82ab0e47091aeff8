# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Stands where a camera and a planner would stand, and writes down when each frame went and came.

Run by ``prune_perception.evaluation.realtime``, which must not import ROS. Beside a player and
a detector that run already (``attach``), it listens only.

The record is a file of JSON, a line an event, with times of the monotonic clock in seconds and
stamps in nanoseconds:

==============================================================  ================================
``{"event": "sent", "index", "stamp", "time", "late"}``         a frame was published
``{"event": "seen", "stamp", "time", "believed"}``              somebody else's image: when it
                                                                was published, or arrived where
                                                                that is not believed
``{"event": "result", "stamp", "time", "objects"}``             detections arrived; each object
                                                                x1, y1, x2, y2, score, class
``{"event": "trouble", "index", "reason"}``                     a frame could not be published;
                                                                -1 for what ends the recording
``{"event": "classes", "names"}``                               what the detector calls them
==============================================================  ================================
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
import json
from pathlib import Path
import struct
import sys
import threading
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, qos_profile_sensor_data, QoSProfile
from rclpy.time import Time
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Detection2DArray, LabelInfo

from prune_perception.frames.recording import (
    Frame,
    ImageError,
    open_recording,
    Recording,
    RecordingError,
)
from prune_perception.nodes.interrupts import initialised
from prune_perception.nodes.pace import Pace
from prune_perception.nodes.parameters import declare, ParameterSpec
from prune_perception.nodes.player import message_of, Player, recorded_stamp

PARAMETERS = (
    ParameterSpec('recording', '', 'Bag, video or folder of images to play.'),
    ParameterSpec('topic', '', 'Image topic of the bag; empty where it has one.'),
    ParameterSpec('rate', 1.0, 'How many times faster than recorded.', limits=(0.01, 100.0)),
    ParameterSpec('image_topic', '/camera/image_raw', 'Base topic of the images.'),
    ParameterSpec('detector', '/detector', 'Full name of the detector node.'),
    ParameterSpec('output', '', 'File to write the record to.'),
    ParameterSpec('attach', False, 'Listen to a player and a detector that run already.'),
    ParameterSpec(
        'transport', 'raw', 'Of the images, with attach.', choices=('raw', 'compressed')),
    ParameterSpec('patience', 60.0, 'Seconds to wait for the detector, or for the first image.',
                  limits=(0.0, 1e6)),
    ParameterSpec('silence', 5.0, 'Seconds without an image after which, with attach, the play '
                  'is over; and to wait for the last result.', limits=(0.1, 1e6)),
)
# Seconds that an image may have been on its way; a publisher that seems further away, or in the
# future, is on another machine, whose clock is another.
_LONGEST_WAY = 1.0
_GREETING_PERIOD = 0.5  # seconds between tries; the first images may be lost
_CDR_STAMP = {0: '>iI', 1: '<iI'}  # by the low bit of the representation identifier


class RealtimeError(RuntimeError):
    """The run cannot go on; the message says why and what to do."""


class UniqueStamps:
    """
    The recorded stamps, made to differ: results are told apart by nothing else.

    A stamp that came before gets the next free nanosecond, and one of 0, which says that there is
    none, the time of recording.
    """

    def __init__(self) -> None:
        self._used: set[int] = set()

    def __call__(self, frame: Frame, moment: int) -> int:
        """Return the stamp of a frame that is due at a recorded time; both in ns."""
        stamp = recorded_stamp(frame, moment) or moment
        while stamp in self._used:
            stamp += 1
        self._used.add(stamp)
        return stamp


class RealtimeNode(Node):
    """Keeps the record of what is sent and of what comes back."""

    def __init__(self) -> None:
        super().__init__('realtime')
        problems = declare(self, PARAMETERS)
        if problems:
            raise RealtimeError('; '.join(problems.values()))
        self.pace = Pace(self.value('rate'))
        self.trouble: str | None = None
        self.answered: set[int] = set()
        self.seen_at: float | None = None
        self._lock = threading.Lock()
        self._file = Path(self.value('output')).open('w')
        detector = self.value('detector')
        self._status_name = f'{detector.lstrip("/")}: detector'
        self.create_subscription(
            Detection2DArray, f'{detector}/detections', self._answer, QoSProfile(depth=100))
        self.create_subscription(
            LabelInfo, f'{detector}/label_info', self._labels,
            QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
        self.create_subscription(
            DiagnosticArray, '/diagnostics', self._diagnosed, QoSProfile(depth=10))

    def value(self, name: str) -> Any:
        """Return the value of a parameter."""
        return self.get_parameter(name).value

    def write(self, event: str, **fields: Any) -> None:
        """Append an event to the record."""
        line = json.dumps({'event': event, **fields}) + '\n'
        with self._lock:
            self._file.write(line)

    def close(self) -> None:
        """Finish the record."""
        with self._lock:
            self._file.close()

    def watch(self) -> str:
        """Write down the arrival of images that somebody else publishes; return their topic."""
        topic, kind = self.value('image_topic'), Image
        if self.value('transport') == 'compressed':
            topic, kind = f'{topic}/compressed', CompressedImage
        # Serialised: to make a message of each image would take time from the detector.
        self.create_subscription(kind, topic, self._see, qos_profile_sensor_data, raw=True)
        return topic

    def _see(self, data: bytes, info: Mapping[str, Any]) -> None:
        self.seen_at = time.monotonic()
        # The middleware writes down when an image was published, by the publisher's system clock.
        waited = (time.time_ns() - info['source_timestamp']) * 1e-9
        believed = 0 <= waited <= _LONGEST_WAY
        self.write(
            'seen', stamp=stamp_in(data), time=self.seen_at - (waited if believed else 0),
            believed=believed)

    def _answer(self, message: Detection2DArray) -> None:
        now = time.monotonic()
        stamp = Time.from_msg(message.header.stamp).nanoseconds
        self.write('result', stamp=stamp, time=now, objects=[
            _object(detection) for detection in message.detections if detection.results])
        self.answered.add(stamp)

    def _labels(self, message: LabelInfo) -> None:
        self.write('classes', names=[
            each.class_name for each in sorted(message.class_map, key=lambda one: one.class_id)])

    def _diagnosed(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == self._status_name:
                self.trouble = status.message if status.level == DiagnosticStatus.ERROR else None


def stamp_in(data: bytes) -> int:
    """
    Return the stamp of a serialised message that begins with a header, ns.

    CDR (OMG, DDSI-RTPS 10.2): four bytes that say how, then the fields in order.
    """
    seconds, nanoseconds = struct.unpack_from(_CDR_STAMP[data[1] & 1], data, 4)
    return seconds * 1_000_000_000 + nanoseconds


def _object(detection: Any) -> list[float | str]:
    centre, box = detection.bbox.center.position, detection.bbox
    hypothesis = detection.results[0].hypothesis
    return [
        centre.x - box.size_x / 2, centre.y - box.size_y / 2, centre.x + box.size_x / 2,
        centre.y + box.size_y / 2, hypothesis.score, hypothesis.class_id]


def play(node: RealtimeNode, recording: Recording) -> None:
    """Play a recording to the detector, and wait for its last result."""
    player = Player(
        node, recording, node.value('image_topic'), pace=node.pace, clock=True,
        stamp=UniqueStamps(),
        failed=lambda index, reason: node.write('trouble', index=index, reason=reason))
    _greet(node, recording, player)
    newest = None
    try:
        for sent in player.play():
            newest = sent.stamp
            node.write(
                'sent', index=sent.index, stamp=newest, time=sent.time, late=sent.late)
    except RecordingError as error:
        if newest is None:
            raise
        node.write('trouble', index=-1, reason=str(error))
    for warning in recording.warnings:
        node.write('trouble', index=-1, reason=warning)
    _wait(node, lambda: newest in node.answered, node.value('silence'))


def _greet(node: RealtimeNode, recording: Recording, player: Player) -> None:
    """
    Show the first good image until it is answered, so that no frame is lost to the start.

    Its stamps are of 1970, where no recording is; the record's reader leaves them out.
    """
    deadline = time.monotonic() + node.value('patience')

    def wait_for(condition: Callable[[], bool], what: str) -> None:
        while not _wait(node, condition, _GREETING_PERIOD):
            if node.trouble is not None:
                raise RealtimeError(f'the detector does not start: {node.trouble}')
            if time.monotonic() > deadline:
                raise RealtimeError(f'{what} within {node.value("patience"):.0f} s')

    wait_for(lambda: player.images.get_subscription_count() > 0,
             f'nobody subscribed to {player.topic}')
    image = _first_good(recording)
    stamps: list[int] = []

    def answered() -> bool:
        return any(stamp in node.answered for stamp in stamps)

    def answered_now() -> bool:
        if not answered():
            stamps.append(len(stamps) + 1)
            image.header.stamp = Time(nanoseconds=stamps[-1]).to_msg()
            player.images.publish(image)
        return _wait(node, answered, _GREETING_PERIOD)
    wait_for(answered_now, f'{node.value("detector")} answered no image')
    # A slow detector may have another one in hand.
    _wait(node, lambda: stamps[-1] in node.answered, 4 * _GREETING_PERIOD)


def _first_good(recording: Recording) -> Image | CompressedImage:
    reason = 'it has no images'
    for frame in recording:
        try:
            frame.image()
            return message_of(frame)
        except ImageError as error:
            reason = str(error)
    raise RecordingError(f'{recording.path}: not one image can be decoded ({reason})')


def listen(node: RealtimeNode) -> None:
    """Listen until no image has come for a while."""
    topic = node.watch()
    if not _wait(node, lambda: node.seen_at is not None, node.value('patience')):
        raise RealtimeError(
            f'no image on {topic} within {node.value("patience"):.0f} s; check that it is '
            'published, in this domain (ROS_DOMAIN_ID) and with config/fastdds.xml')
    while node.context.ok() and time.monotonic() < (node.seen_at or 0) + node.value('silence'):
        time.sleep(0.05)


def _wait(node: Node, condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while node.context.ok() and not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def run(node: RealtimeNode) -> None:
    """
    Play or listen, with the executor in a thread of its own.

    :raises RealtimeError: the detector or the images did not come.
    :raises RecordingError: the recording cannot be played.
    """
    executor = SingleThreadedExecutor()
    executor.add_node(node)

    def spin() -> None:
        try:
            with suppress(ExternalShutdownException):
                executor.spin()
        finally:
            node.pace.end()  # whoever plays must not wait for the next frame of a slow play
    spinning = threading.Thread(target=spin, name='executor')
    spinning.start()
    try:
        if node.value('attach'):
            listen(node)
        else:
            with open_recording(
                    node.value('recording'), node.value('topic') or None) as recording:
                play(node, recording)
    finally:
        executor.shutdown()
        spinning.join()
        node.close()


def main(arguments: list[str] | None = None) -> int:
    """Keep the record; 0 when it is complete."""
    with initialised(arguments):
        try:
            node = RealtimeNode()
            try:
                run(node)
            finally:
                node.destroy_node()
        except (RealtimeError, RecordingError) as error:
            print(f'realtime: {error}', file=sys.stderr)
            return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
