# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""A detector node in a process of its own, and what stands around it on a robot: over real DDS."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import itertools
import os
from pathlib import Path
import socket
import subprocess
import tempfile
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
import numpy as np
from rcl_interfaces.srv import GetParameters, SetParameters
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.qos import DurabilityPolicy, qos_profile_sensor_data, QoSProfile
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from std_srvs.srv import SetBool
from vision_msgs.msg import Detection2DArray, LabelInfo

from prune_perception.node_process import dds_environment, node_command, start, stop

SECONDS = 20.0  # after which a test gives up waiting; nothing takes this long

# Before the first participant of this process: the camera's end needs the profile, too.
os.environ.update(dds_environment())
_domains = itertools.count(os.getpid())
# Test processes beside each other: between the question whether a domain is free and the first
# participant on it another could be given the same one, so each has domains of its own.
_PROCESSES = int(os.environ.get('PYTEST_XDIST_WORKER_COUNT', '1'))
_PROCESS = int(os.environ.get('PYTEST_XDIST_WORKER', 'gw0').removeprefix('gw'))


def free_domain() -> int:
    """
    Return a ROS domain on which nobody is: other tests may run on this machine, or a robot.

    A participant has the UDP port 7410 + 250 x domain + 2 x participant (DDSI-RTPS 9.6.2).
    """
    for number in itertools.islice(_domains, 100):
        domain = number % (100 // _PROCESSES) * _PROCESSES + _PROCESS + 1
        try:
            for participant in range(10):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
                    port.bind(('', 7410 + 250 * domain + 2 * participant))
            return domain
        except OSError:
            continue
    raise AssertionError('somebody is on every ROS domain of this machine')


class Robot(Node):
    """Publishes images and keeps what the detector answers."""

    def __init__(self, context: rclpy.Context, process: 'subprocess.Popen[bytes]', log: Path):
        super().__init__('robot', context=context)
        self.process = process
        self._log = log
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self)
        self.detections: list[Detection2DArray] = []
        self.labels: list[LabelInfo] = []
        self.statuses: dict[str, DiagnosticStatus] = {}
        self.heard: Callable[[DiagnosticStatus], None] = lambda status: None
        self._publishers_by_topic: dict[str, Any] = {}
        self.create_subscription(
            Detection2DArray, '/detector/detections', self.detections.append,
            QoSProfile(depth=100))
        self.create_subscription(
            LabelInfo, '/detector/label_info', self.labels.append,
            QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
        self.create_subscription(
            DiagnosticArray, '/diagnostics', self._diagnosed, QoSProfile(depth=10))

    def _diagnosed(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self.statuses[status.name.removeprefix('detector: ')] = status
            self.heard(status)

    def log(self) -> str:
        """Return what the node has printed."""
        return self._log.read_text()

    def wait_for(self, condition: Callable[[], Any], what: str, seconds: float = SECONDS) -> Any:
        """Spin until a condition holds, and return its value."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < deadline, f'no {what} within {seconds} s\n{self.log()}'
            assert self.process.poll() is None, f'the node ended\n{self.log()}'
            self._executor.spin_once(0.02)
        return value

    def spin(self, seconds: float) -> None:
        """Spin for some time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._executor.spin_once(0.02)

    def status(self, name: str, level: bytes, containing: str = '') -> DiagnosticStatus:
        """Wait for a fresh diagnostic status of a level, with a text in its message."""
        self.statuses.pop(name, None)

        def fits() -> DiagnosticStatus | None:
            status = self.statuses.get(name)
            return status if status and status.level == level and containing in status.message \
                else None
        return self.wait_for(fits, f'{name} at level {level!r} saying {containing!r}, last was '
                                   f'{self.statuses.get(name)}')

    def trouble(self, name: str, containing: str) -> DiagnosticStatus:
        """Wait for a fresh diagnostic status at any level but OK, with a text in its message."""
        self.statuses.pop(name, None)

        def fits() -> DiagnosticStatus | None:
            status = self.statuses.get(name)
            return status if status and status.level != DiagnosticStatus.OK \
                and containing in status.message else None
        return self.wait_for(
            fits, f'{name} saying {containing!r}, last was {self.statuses.get(name)}')

    def values(self, name: str) -> dict[str, str]:
        """Return the figures of a fresh diagnostic status."""
        self.statuses.pop(name, None)
        status = self.wait_for(lambda: self.statuses.get(name), f'diagnostics of {name}')
        return {item.key: item.value for item in status.values}

    def publisher(self, kind: type, topic: str) -> Any:
        """Return a publisher whose messages the detector receives."""
        if topic not in self._publishers_by_topic:
            self._publishers_by_topic[topic] = self.create_publisher(
                kind, topic, qos_profile_sensor_data)
        publisher = self._publishers_by_topic[topic]
        self.wait_for(publisher.get_subscription_count, f'subscription to {topic}')
        return publisher

    def send(self, message: Image | CompressedImage, topic: str = '/camera/image_raw') -> int:
        """Publish an image under the present time; return its stamp in nanoseconds."""
        publisher = self.publisher(type(message), topic)
        now = self.get_clock().now()
        message.header = Header(
            stamp=now.to_msg(), frame_id=message.header.frame_id or 'camera_optical_frame')
        publisher.publish(message)
        return now.nanoseconds

    def listen(self, topic: str) -> list[Detection2DArray]:
        """Return a list that gets the detections which come on a topic."""
        found: list[Detection2DArray] = []
        self.create_subscription(Detection2DArray, topic, found.append, QoSProfile(depth=100))
        return found

    def answer(self, message: Image | CompressedImage, topic: str = '/camera/image_raw',
               found: list[Detection2DArray] | None = None) -> Detection2DArray:
        """
        Publish an image and return its detections.

        :param found: what gets them, of :meth:`listen`; those of the only camera by default.

        It is sent again now and then: the first images after two processes have found each
        other may be lost, as best-effort messages may.
        """
        stamps: set[int] = set()
        next_try = 0.0

        def answered() -> Detection2DArray | None:
            nonlocal next_try
            if time.monotonic() >= next_try:
                stamps.add(self.send(message, topic))
                next_try = time.monotonic() + 0.5
            answers = self.detections if found is None else found
            return next((each for each in answers if stamp_of(each) in stamps), None)
        return self.wait_for(answered, 'detections of an image that was sent')

    def fail(self, message: Image | CompressedImage, topic: str = '/camera/image_raw'
             ) -> DiagnosticStatus:
        """
        Publish an image until the detector says that it could not be processed.

        :returns: the first status of the input that says so. A later one may say that no image
            comes any more.
        """
        before = int(self.values('input')['Images failed'])
        next_try = 0.0

        def told() -> DiagnosticStatus | None:
            nonlocal next_try
            if time.monotonic() >= next_try:
                self.send(message, topic)
                next_try = time.monotonic() + 1.5  # diagnostics come once a second
            status = self.statuses['input']
            values = {item.key: item.value for item in status.values}
            return status if int(values['Images failed']) > before else None
        return self.wait_for(told, 'failure of an image that was sent')

    def transition(self, name: str) -> bool:
        """Ask the detector for a lifecycle transition; return whether it succeeded."""
        identifier = getattr(Transition, f'TRANSITION_{name.upper()}')
        request = ChangeState.Request(transition=Transition(id=identifier))
        return self._call(ChangeState, '/detector/change_state', request).success

    def set_parameter(self, name: str, value: Any) -> Any:
        """Set a parameter of the detector; return the result with its reason."""
        request = SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()])
        return self._call(SetParameters, '/detector/set_parameters', request).results[0]

    def parameter(self, name: str) -> Any:
        """Return the value of a parameter of the detector."""
        answer = self._call(
            GetParameters, '/detector/get_parameters', GetParameters.Request(names=[name]))
        return parameter_value_to_python(answer.values[0])

    def enable(self, wanted: bool) -> str:
        """Ask the detector to go on, or to stop for now; return what it answers."""
        answer = self._call(SetBool, '/detector/enable', SetBool.Request(data=wanted))
        assert answer.success
        return answer.message

    def _call(self, kind: type, name: str, request: Any) -> Any:
        client = self.create_client(kind, name)
        self.wait_for(client.service_is_ready, f'service {name}')
        future = client.call_async(request)
        self.wait_for(future.done, f'answer of {name}')
        self.destroy_client(client)
        return future.result()


@contextmanager
def detector(
        *, parameters: dict[str, Any] | None = None, environment: dict[str, str] | None = None,
        beside: dict[str, dict[str, Any]] | None = None,
        remappings: dict[str, str] | None = None, **words: Any) -> Iterator[Robot]:
    """
    Start a detector on a domain of its own, and end it.

    :param remappings: by default of ``image``, to the topic that images are sent to by default.
    :param beside: further nodes to start there, by module, with their parameters.
    """
    domain = free_domain()
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'log'
        variables = {**os.environ, 'ROS_DOMAIN_ID': str(domain), **(environment or {})}
        with path.open('wb') as log:
            process = start(
                node_command(
                    'detector_node', parameters=parameters,
                    remappings=remappings or {'image': '/camera/image_raw'}, **words),
                variables, stdout=log, stderr=subprocess.STDOUT)
            others = [
                start(node_command(node, parameters=given), variables, stdout=log,
                      stderr=subprocess.STDOUT) for node, given in (beside or {}).items()]
            robot = Robot(context, process, path)
            try:
                yield robot
            finally:
                for each in (process, *others):
                    stop(each)
                robot.destroy_node()
                rclpy.shutdown(context=context)


def stamp_of(message: Any) -> int:
    """Return the stamp of a message in nanoseconds."""
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


def raw(image: np.ndarray, encoding: str = 'bgr8', step: int | None = None) -> Image:
    """Return an array as an image message."""
    message = Image(
        height=image.shape[0], width=image.shape[1], encoding=encoding,
        step=image.strides[0] if step is None else step)
    message.data.frombytes(image.tobytes())
    return message


def people(message: Detection2DArray) -> list[tuple[float, float, float, float]]:
    """Return x1, y1, x2, y2 of the people in a message."""
    boxes = []
    for detection in message.detections:
        if detection.results[0].hypothesis.class_id == 'person':
            centre, box = detection.bbox.center.position, detection.bbox
            boxes.append((centre.x - box.size_x / 2, centre.y - box.size_y / 2,
                          centre.x + box.size_x / 2, centre.y + box.size_y / 2))
    return boxes
