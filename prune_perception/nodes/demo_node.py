# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
The demo: plays a recording to a detector in another process, and shows what comes back.

It stands where a camera and a robot's planner would stand: it sends images over DDS and knows
nothing of the detector but its topics.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
import sys
import threading
import time
from typing import Any

import cv2
from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image
from std_msgs.msg import Float64
from vision_msgs.msg import Detection2DArray

from prune_perception.frames.recording import open_recording, RecordingError
from prune_perception.nodes.messages import image_of
from prune_perception.nodes.parameters import declare, ParameterSpec
from prune_perception.nodes.player import Player, Sent

PARAMETERS = (
    ParameterSpec('recording', '', 'Bag, video or folder of images to play.'),
    ParameterSpec('topic', '', 'Image topic of the bag; empty where it has one.'),
    ParameterSpec('rate', 1.0, 'How many times faster than recorded.', limits=(0.01, 100.0)),
    ParameterSpec('detector', '/detector', 'Name of the detector node.'),
    ParameterSpec('output', 'demo_output', 'Folder for the annotated image and clip.'),
)
# Long, or said by the demo itself already.
_NOT_SHOWN = ('Not usable', 'Model folder', 'Model digest', 'State')
_PERCENTILES = ('p50', 'p95', 'p99')
_SECONDS_FOR_DETECTOR = 60.0
_SECONDS_FOR_LAST_RESULT = 2.0


class DemoError(RuntimeError):
    """The demo cannot go on; the message says why and what to do."""


@dataclass(frozen=True)
class Seen:
    """A result that came back."""

    stamp: int
    time: float
    classes: tuple[str, ...]


class DemoNode(Node):
    """Sends images, collects results, and keeps the annotated ones."""

    def __init__(self) -> None:
        super().__init__('demo')
        problems = declare(self, PARAMETERS)
        if problems:
            raise DemoError('; '.join(problems.values()))
        detector = self.value('detector')
        self.sent: dict[int, Sent] = {}
        self.results: list[Seen] = []
        self.figures: dict[str, float] = {}
        self.health: dict[str, Any] = {}
        self.clip = Clip(Path(self.value('output')))
        self.create_subscription(
            Detection2DArray, f'{detector}/detections', self._detected, QoSProfile(depth=100))
        self.create_subscription(
            # Encoding a frame takes no longer than a camera's period; none shall be missing.
            Image, f'{detector}/annotated_image', self.clip.add, QoSProfile(depth=10))
        self.create_subscription(
            Float64, f'{detector}/latency/total',
            lambda message: self.figures.update(latency=message.data), QoSProfile(depth=1))
        self.create_subscription(
            DiagnosticArray, '/diagnostics', self._diagnosed, QoSProfile(depth=10))

    def value(self, name: str) -> Any:
        """Return the value of a parameter."""
        return self.get_parameter(name).value

    def _detected(self, message: Detection2DArray) -> None:
        stamp = message.header.stamp
        self.results.append(Seen(
            stamp.sec * 1_000_000_000 + stamp.nanosec, time.monotonic(),
            tuple(detection.results[0].hypothesis.class_id
                  for detection in message.detections)))

    def _diagnosed(self, message: DiagnosticArray) -> None:
        prefix = self.value('detector').lstrip('/') + ': '
        for status in message.status:
            if status.name.startswith(prefix):
                self.health[status.name.removeprefix(prefix)] = status

    def ages(self) -> list[float]:
        """Return seconds from the sending of an image to the arrival of its result."""
        return [seen.time - self.sent[seen.stamp].time
                for seen in self.results if seen.stamp in self.sent]


class Clip:
    """
    Writes annotated images as a clip, and the newest as an image.

    :raises DemoError: there can be no such folder.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DemoError(f'{folder}: cannot be made: {error.strerror}') from error
        self.image_path = folder / 'annotated.jpg'
        self.clip_path = folder / 'annotated.mp4'
        self.frames = 0
        self.frame_rate = 10.0
        self._size = (0, 0)
        self._writer: Any = None
        self._newest: Any = None

    def add(self, message: Image) -> None:
        """Append an annotated image."""
        image = image_of(message, message.height * message.width)
        if self._writer is None:
            self._size = (message.width, message.height)
            self._writer = cv2.VideoWriter(
                str(self.clip_path), cv2.VideoWriter.fourcc(*'mp4v'), self.frame_rate,
                self._size)
        # A clip has one size, which a folder of images may not have.
        self._writer.write(cv2.resize(image, self._size))
        self.frames += 1
        self._newest = image

    def close(self) -> None:
        """Finish the files."""
        if self._writer is not None:
            self._writer.release()
            cv2.imwrite(str(self.image_path), self._newest)


def run(node: DemoNode) -> int:
    """Play, report once a second, and return the exit status."""
    with open_recording(node.value('recording'), node.value('topic') or None) as recording:
        player = Player(node, recording, '/camera/image_raw', rate=node.value('rate'))
        _wait_for_detector(node, player.topic)
        print(f'playing {recording.path} into {player.topic}\n')
        print('  time    results  latency      age    power  seen in the newest image')
        start = time.monotonic()
        try:
            _play(node, player, start)
        except KeyboardInterrupt:
            print('stopped early')
        return _summary(node, player, time.monotonic() - start)


def _play(node: DemoNode, player: Player, start: float) -> None:
    next_line = start
    shown = newest = 0
    for sent in player.play():
        newest = sent.stamp
        node.sent[newest] = sent
        if sent.time >= next_line + 1:
            print(_line(node, sent.time - start, len(node.results) - shown,
                        sent.time - next_line), flush=True)
            shown, next_line = len(node.results), sent.time
    deadline = time.monotonic() + _SECONDS_FOR_LAST_RESULT
    while time.monotonic() < deadline and all(
            seen.stamp != newest for seen in reversed(node.results)):
        time.sleep(0.05)
    # Diagnostics that know of the last result come once a second; the annotated image is sooner.
    time.sleep(1.2)


def _wait_for_detector(node: DemoNode, topic: str) -> None:
    deadline = time.monotonic() + _SECONDS_FOR_DETECTOR
    while node.count_subscribers(topic) == 0:
        status = node.health.get('detector')
        if status is not None and status.level != status.OK:
            raise DemoError(f'the detector does not start: {status.message}')
        if time.monotonic() > deadline:
            raise DemoError(
                f'nobody subscribed to {topic} within {_SECONDS_FOR_DETECTOR:.0f} s; see what '
                'the detector said above')
        time.sleep(0.02)
    # The writers of both ends have found each other; the readers need a moment more.
    time.sleep(0.3)


def _line(node: DemoNode, since_start: float, results: int, seconds: float) -> str:
    ages = node.ages()[-max(results, 1):]
    latency = node.figures.get('latency')
    counts = Counter(node.results[-1].classes) if node.results else Counter()
    seen = ', '.join(f'{count} {name}' for name, count in counts.most_common(4)) or 'nothing'
    return (
        f'{since_start:5.1f} s {results / seconds:7.1f} Hz '
        f'{_milliseconds(latency):>8} {_milliseconds(np.median(ages) if ages else None):>8} '
        f'{_power(node):>8}  {seen}')


def _milliseconds(seconds: float | None) -> str:
    return 'n/a' if seconds is None else f'{seconds * 1e3:.1f} ms'


def _power(node: DemoNode) -> str:
    status = node.health.get('power')
    values = {} if status is None else {item.key: item.value for item in status.values}
    watts = values.get('Power (W)', 'unavailable')
    return 'n/a' if watts == 'unavailable' else f'{watts} W'


def _summary(node: DemoNode, player: Player, seconds: float) -> int:
    sent, results = len(node.sent), node.results
    strangers = [seen for seen in results if seen.stamp not in node.sent]
    twice = len(results) - len({seen.stamp for seen in results})
    print(f'\n{sent} images sent in {seconds:.1f} s, {len(results)} results, each under the stamp '
          f'of its image: {"yes" if not strangers and not twice else "NO"}')
    for failure in player.failures:
        print(f'not played: {failure}')
    ages = node.ages()
    if ages:
        p50, p99 = np.percentile(ages, [50, 99])
        print(f'age of a result on arrival: median {p50 * 1e3:.1f} ms, 99th percentile '
              f'{p99 * 1e3:.1f} ms')
        objects = Counter(name for seen in results for name in seen.classes)
        print('seen in an image, on average: ' + (', '.join(
            f'{count / len(results):.1f} {name}' for name, count in objects.most_common(5))
            or 'nothing'))
    for name, status in node.health.items():
        print(f'\n{name}: {status.message}')
        values = {item.key: item.value for item in status.values if item.key not in _NOT_SHOWN}
        _print_percentiles(values)
        for key, value in values.items():
            print(f'    {key}: {value}')
    print()
    if node.clip.frames:
        print(f'annotated image: {node.clip.image_path}')
        print(f'annotated clip:  {node.clip.clip_path} ({node.clip.frames} images)')
    if not results:
        print('no result came back', file=sys.stderr)
    return 0 if results and not strangers and not twice else 1


def _print_percentiles(values: dict[str, str]) -> None:
    """Print what comes as ``Inference p50 (ms)`` as rows, and take it out of the values."""
    rows: dict[str, dict[str, str]] = {}
    for key in list(values):
        words = key.removesuffix(' (ms)').rsplit(' ', 1)
        if key.endswith(' (ms)') and words[-1] in _PERCENTILES:
            rows.setdefault(words[0], {})[words[-1]] = values.pop(key)
    if rows:
        print(f'    {"ms":14}' + ''.join(f'{which:>9}' for which in _PERCENTILES))
    for name, row in rows.items():
        print(f'    {name:14}' + ''.join(f'{row.get(which, ""):>9}' for which in _PERCENTILES))


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; 0 when every result came back under its own image's stamp."""
    # Ctrl-C is for this file to handle: the summary comes after it, and needs the node.
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    status = 1
    try:
        node = DemoNode()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        spinning = threading.Thread(target=executor.spin, daemon=True)
        spinning.start()
        try:
            status = run(node)
        finally:
            executor.shutdown()
            spinning.join()
            node.clip.close()
            node.destroy_node()
    except (DemoError, RecordingError) as error:
        print(f'demo: {error}', file=sys.stderr)
    except (KeyboardInterrupt, ExternalShutdownException):
        print('stopped')
        status = 0
    finally:
        rclpy.try_shutdown()
    return status


if __name__ == '__main__':
    sys.exit(main())
