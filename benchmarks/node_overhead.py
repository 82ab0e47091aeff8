# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Measure what the detector node adds to the network's own time, and whether it ever falls behind.

Starts the node as a process and stands beside it as a camera, over real DDS.

- *Overhead*: from the entry of the image callback to the detections published, less the engine's
  own time, as the node itself measures it; median and 95th percentile over the last 10 s.
- *Transport*: from the stamp of an image to the entry of its callback, by the medians of the age
  of results and of the time that they took.
- *Delivery*: images that arrived of those sent, with Fast DDS's defaults and with the profile
  that is shipped, in turn in one run.
- *Overload*: a camera four times faster than the detector. The age of a result, from sending to
  arrival, must stay within two inferences, one frame period and the transport.
- *Message*: what it takes to make the message of a frame's detections, by how many there are.
- *Start and memory*: from the start of the process to its first result, and its peak memory.

Limits: camera and detector share the machine's cores, so the camera's work is in every figure;
the age is seen by the camera's process and includes a result's way back.
"""

import argparse
import json
import os
from pathlib import Path
import platform
import statistics
import subprocess
import sys
import time
from typing import Any

from bystander import Bystander, first_picture, image_message, jpeg_message, stamp_of
import cv2
import numpy as np

from prune_perception import __version__
from prune_perception.detections import Detections
from prune_perception.node_process import (
    dds_environment,
    free_domain,
    node_command,
    profile_variable,
    start,
    stop,
)
from prune_perception.runtime.machine import machine_name

SIZES = {'640x480': (640, 480), '1920x1080': (1920, 1080)}
GOALS_MS = {'640x480': 3.0, '1920x1080': 8.0}  # for raw images


class Camera(Bystander):
    """A node that sends images and collects what comes back."""

    def __init__(self, topic: str, compressed: bool) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.qos import qos_profile_sensor_data, QoSProfile
        from sensor_msgs.msg import CompressedImage, Image
        from vision_msgs.msg import Detection2DArray

        super().__init__('camera')
        self.compressed = compressed
        self.publisher = self.node.create_publisher(
            CompressedImage if compressed else Image, topic, qos_profile_sensor_data)
        self.arrivals: dict[int, float] = {}
        self.statuses: dict[str, dict[str, str]] = {}
        self.node.create_subscription(
            Detection2DArray, '/detector/detections', self._arrived, QoSProfile(depth=100))
        self.node.create_subscription(
            DiagnosticArray, '/diagnostics', self._diagnosed, QoSProfile(depth=10))

    def _arrived(self, message: Any) -> None:
        self.arrivals[stamp_of(message)] = time.monotonic()

    def _diagnosed(self, message: Any) -> None:
        for status in message.status:
            self.statuses[status.name.partition(': ')[2]] = {
                item.key: item.value for item in status.values}

    def run(self, image: np.ndarray, count: int, rate: float) -> dict[int, float]:
        """Send one image many times; return when each stamp was sent."""
        if self.compressed:
            quality = [cv2.IMWRITE_JPEG_QUALITY, 85]
            message = jpeg_message(cv2.imencode('.jpg', image, quality)[1].tobytes())
        else:
            message = image_message(image)
        sent = {}
        begin = time.monotonic()
        for index in range(count):
            time.sleep(max(begin + index / rate - time.monotonic(), 0))
            now = self.node.get_clock().now()
            message.header.stamp = now.to_msg()
            sent[now.nanoseconds] = time.monotonic()
            self.publisher.publish(message)
        return sent


def measure(options: dict[str, Any]) -> dict[str, Any]:
    """Send images to the detector that runs, and return the figures; in the camera's process."""
    camera = Camera(options['topic'], options['compressed'])
    try:
        return _measure(camera, options)
    finally:
        camera.close()


def _measure(camera: Camera, options: dict[str, Any]) -> dict[str, Any]:
    width, height = options['size']
    image = first_picture((width, height))
    if not camera.wait(camera.publisher.get_subscription_count, 30.0):
        raise TimeoutError('the detector did not answer')
    first_by = time.monotonic() + 30
    while not camera.arrivals and time.monotonic() < first_by:  # the first may be lost
        camera.run(image, 1, 1000)
        time.sleep(0.05)
    first_result = min(camera.arrivals.values(), default=None)
    time.sleep(1.0)
    sent = camera.run(image, options['count'], options['rate'])
    time.sleep(2.2)  # the last results, and diagnostics that know of them
    ages = [camera.arrivals[stamp] - moment for stamp, moment in sent.items()
            if stamp in camera.arrivals]
    return {
        'sent': len(sent), 'answered': len(ages), 'first_result': first_result,
        'seconds': max(sent.values()) - min(sent.values()),
        'age_p50_ms': _percentile(ages, 50), 'age_p99_ms': _percentile(ages, 99),
        'engine': camera.statuses.get('detector', {}).get('Engine'),
        'input': camera.statuses.get('input', {}), 'latency': camera.statuses.get('latency', {})}


def scenario(
        *, size: str, compressed: bool, count: int, rate: float, profile: bool = True,
        engine: str = 'onnxruntime', threads: int = 0) -> dict[str, Any]:
    """Start a detector and a camera for it, and return what the camera measured."""
    environment = dds_environment({**os.environ, 'ROS_DOMAIN_ID': str(free_domain())})
    if not profile:
        del environment[profile_variable()]
    started = time.monotonic()
    detector = start(
        node_command(
            'detector_node', log_level='error', remappings={'image': '/camera/image_raw'},
            parameters={'autostart': True, 'engine': engine, 'threads': threads,
                        'image_transport': 'compressed' if compressed else 'raw'}),
        environment)
    options = {
        'topic': '/camera/image_raw' + ('/compressed' if compressed else ''),
        'compressed': compressed, 'size': SIZES[size], 'count': count, 'rate': rate}
    try:
        camera = subprocess.run(
            [sys.executable, __file__, '--camera', json.dumps(options)], env=environment,
            capture_output=True, text=True, timeout=300)
        if camera.returncode:
            raise RuntimeError(f'the camera failed: {camera.stderr}')
        result: dict[str, Any] = json.loads(camera.stdout.splitlines()[-1])
        memory = Path(f'/proc/{detector.pid}/status').read_text()
        result['peak_memory_mb'] = next(
            int(line.split()[1]) / 1024 for line in memory.splitlines()
            if line.startswith('VmHWM'))
        if result['first_result'] is not None:
            result['first_result_s'] = result.pop('first_result') - started
    finally:
        stop(detector)
    return result


def message_cost(objects: int, times: int = 200) -> float:
    """Return the seconds that making a message of so many detections takes, the median."""
    from std_msgs.msg import Header

    from prune_perception.nodes.messages import detections_message
    rng = np.random.default_rng(1)
    corners = rng.uniform(0, 300, (objects, 2))
    found = Detections(
        np.hstack([corners, corners + 50]).astype(np.float32),
        rng.uniform(size=objects).astype(np.float32), np.zeros(objects, np.int64))
    header = Header(frame_id='camera_optical_frame')
    seconds = []
    for _ in range(times):
        begin = time.perf_counter()
        detections_message(found, header, ('person',))
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def _percentile(values: list[float], which: float) -> float | None:
    return float(np.percentile(values, which)) * 1e3 if values else None


def _figure(value: float | None, form: str = '8.2f') -> str:
    return 'n/a'.rjust(8) if value is None else format(value, form)


def main() -> int:
    """Measure, print a table, and write JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n\n')[0])
    parser.add_argument('--json', type=Path, metavar='FILE')
    parser.add_argument('--count', type=int, default=150, help='images a row (%(default)s)')
    parser.add_argument('--camera', help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.camera:
        print(json.dumps(measure(json.loads(arguments.camera))))
        return 0
    report: dict[str, Any] = {
        'machine': machine_name(), 'system': platform.platform(),
        'python': platform.python_version(), 'prune_perception': __version__,
        'opencv': cv2.__version__, 'numpy': np.__version__, 'rows': []}
    print(f'{report["machine"]}, {report["system"]}, Python {report["python"]}, OpenCV '
          f'{cv2.__version__}, NumPy {np.__version__}\n')

    print('overhead of the node, ms (10 images a second)')
    print('image               overhead p50      p95  inference  transport  answered  goal')
    for size in SIZES:
        for compressed in (False, True):
            row = scenario(size=size, compressed=compressed, count=arguments.count, rate=10)
            latency = {key: float(value) for key, value in row['latency'].items()}
            overhead = latency['Overhead p50 (ms)']
            transport = latency['Result age p50 (ms)'] - latency['Total p50 (ms)']
            goal = None if compressed else GOALS_MS[size]
            report['rows'].append({
                'size': size, 'compressed': compressed, 'goal_ms': goal,
                'transport_ms': transport, **row})
            verdict = '' if goal is None else (
                f'<= {goal:.0f} {"met" if overhead <= goal else "MISSED"}')
            print(f'{size:>9} {"JPEG" if compressed else "raw ":>5}    {overhead:12.2f} '
                  f'{latency["Overhead p95 (ms)"]:8.2f} {latency["Inference p50 (ms)"]:10.2f} '
                  f'{transport:10.2f} {row["answered"]:5}/{row["sent"]}  {verdict}', flush=True)

    report['message_ms'] = {
        objects: message_cost(objects) * 1e3 for objects in (0, 1, 10, 100)}
    print('\nmaking the message of a frame, ms, by objects: ' + ', '.join(
        f'{objects}: {cost:.3f}' for objects, cost in report['message_ms'].items()))

    print('\ndelivery of raw images at 10 Hz: arrived of those sent')
    for size in SIZES:
        for profile in (False, True):
            row = scenario(size=size, compressed=False, count=120, rate=10, profile=profile)
            report['rows'].append({'size': size, 'delivery': True, 'profile': profile, **row})
            name = 'config/fastdds.xml' if profile else 'Fast DDS defaults'
            print(f'{size:>9} {name:20} {row["answered"]:5}/{row["sent"]}', flush=True)

    row = scenario(size='640x480', compressed=False, count=40, rate=10, threads=1)
    inference = float(row['latency']['Inference p50 (ms)'])
    # There and back, since the age is that of results on arrival.
    transport = row['age_p50_ms'] - float(row['latency']['Total p50 (ms)'])
    rate = 4 * 1e3 / float(row['latency']['Total p50 (ms)'])
    row = scenario(
        size='640x480', compressed=False, count=int(rate * 15), rate=rate, threads=1)
    loaded = float(row['latency']['Inference p50 (ms)'])
    limit = 2 * loaded + 1e3 / rate + transport
    met = row['age_p99_ms'] <= limit
    report['overload'] = {'rate': rate, 'limit_ms': limit, 'idle_inference_ms': inference, **row}
    print(f'\noverload: a camera at {rate:.0f} Hz (reached {row["sent"] / row["seconds"]:.0f}), '
          f'inference {loaded:.1f} ms under load: {row["answered"]} of {row["sent"]} images '
          f'answered\nage p50 {row["age_p50_ms"]:.1f} ms, p99 {row["age_p99_ms"]:.1f} ms; limit '
          f'{limit:.1f} ms (2 x inference + period + transport): {"met" if met else "MISSED"}')

    rows = [row for row in report['rows'] if row.get('goal_ms')]
    memory = max(row['peak_memory_mb'] for row in rows)
    first = statistics.median(row['first_result_s'] for row in rows)
    report['peak_memory_mb'], report['first_result_s'] = memory, first
    print(f'\n{rows[0]["engine"]}:\npeak memory of the node {memory:.0f} MB (goal <= 250); first '
          f'result {first:.2f} s after its process was started (goal <= 3)')
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
