# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Several cameras at one detector node, and what can be changed while it works, over real DDS."""

from collections.abc import Iterator
from pathlib import Path
import shutil
from typing import Any

import cv2
from diagnostic_msgs.msg import DiagnosticStatus
import numpy as np
import pytest
from rclpy.qos import QoSProfile
from robot import detector, people, raw, Robot, stamp_of
from sensor_msgs.msg import Image
from std_msgs.msg import Float64
from test_detector_node import iou, LAST_IMAGE_PEOPLE
from vision_msgs.msg import Detection2DArray
import yaml

from prune_perception.frames.recording import open_recording
from prune_perception.nodes.camera_settings import CAMERA_PARAMETERS, PRIORITY
from prune_perception.resources import find_config, find_model, find_resource

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
FRONT, REAR = '/front/image', '/rear/image'
WIDTH = 768  # of the recording's images
IN_THE_RIGHT_HALF = [person for person in LAST_IMAGE_PEOPLE if person[0] > WIDTH / 2]
SETTLE = 1.5  # seconds in which, were something to come that must not, it would


@pytest.fixture(scope='module')
def last_image() -> np.ndarray:
    with open_recording(find_resource('demo', 'pedestrians')) as recording:
        return list(recording)[-1].image()


@pytest.fixture(scope='module')
def robot() -> Iterator[Robot]:
    """Two cameras."""
    with detector(parameters={
            'autostart': True, 'cameras': ['front', 'rear'], 'front.priority': 10}) as robot:
        yield robot


@pytest.fixture(scope='module')
def front(robot: Robot) -> list[Detection2DArray]:
    return robot.listen('/detector/front/detections')


@pytest.fixture(scope='module')
def rear(robot: Robot) -> list[Detection2DArray]:
    return robot.listen('/detector/rear/detections')


def image_of(picture: np.ndarray, frame: str, encoding: str = 'bgr8') -> Image:
    message = raw(picture, encoding)
    message.header.frame_id = frame
    return message


def best(person: tuple[float, ...], message: Detection2DArray) -> float:
    return max((iou(person, box) for box in people(message)), default=0.0)


def test_each_camera_gets_its_own_detections_under_its_own_header(
        robot: Robot, front: list[Detection2DArray], rear: list[Detection2DArray],
        last_image: np.ndarray) -> None:
    """Another size, another encoding, and mirrored, so that no box fits the other's image."""
    small = np.ascontiguousarray(cv2.resize(last_image, None, fx=0.75, fy=0.75)[:, ::-1])
    messages = {
        FRONT: image_of(last_image, 'front_optical'),
        REAR: image_of(cv2.cvtColor(small, cv2.COLOR_BGR2RGB), 'rear_optical', 'rgb8')}
    found = {FRONT: front, REAR: rear}
    sent: dict[str, set[int]] = {FRONT: set(), REAR: set()}
    for _ in range(5):
        for topic in messages:  # both are on their way at once
            sent[topic].add(robot.send(messages[topic], topic))
        robot.spin(0.1)
    answers = {topic: robot.answer(messages[topic], topic, found[topic]) for topic in messages}
    for person in LAST_IMAGE_PEOPLE:
        x1, y1, x2, y2 = person
        mirrored = (0.75 * (WIDTH - x2), 0.75 * y1, 0.75 * (WIDTH - x1), 0.75 * y2)
        assert best(person, answers[FRONT]) > 0.6
        if x2 - x1 > 23:  # the smallest are not found at three quarters of their size
            assert best(mirrored, answers[REAR]) > 0.5
    for topic, frame in ((FRONT, 'front_optical'), (REAR, 'rear_optical')):
        other = sent[REAR if topic == FRONT else FRONT]
        assert found[topic]
        for message in found[topic]:
            assert message.header.frame_id == frame
            assert stamp_of(message) not in other


def test_the_topics_of_a_single_camera_are_not_there(robot: Robot) -> None:
    assert robot.count_publishers('/detector/detections') == 0
    assert robot.count_subscribers('/image') == 0
    assert robot.count_publishers('/detector/label_info') == 1


def test_diagnostics_and_plots_are_of_each_camera(
        robot: Robot, front: list[Detection2DArray], last_image: np.ndarray) -> None:
    rates: list[Float64] = []
    robot.create_subscription(
        Float64, '/detector/front/output_rate', rates.append, QoSProfile(depth=1))
    for _ in range(3):
        robot.answer(image_of(last_image, 'front'), FRONT, front)
    values = robot.values('front: input')
    assert values['Topic'] == FRONT
    assert int(values['Images received']) >= 3
    robot.status('front: latency', OK, 'ms a frame')
    assert robot.values('rear: input')['Topic'] == REAR
    robot.trouble('rear: input', REAR)
    robot.wait_for(lambda: rates, 'output rate of the camera in front')
    assert {'detector', 'power', 'front: input', 'front: latency', 'rear: input',
            'rear: latency'} == set(robot.statuses)


def test_region_of_interest_takes_effect_at_once_and_boxes_are_in_the_whole_image(
        robot: Robot, front: list[Detection2DArray], last_image: np.ndarray) -> None:
    message = image_of(last_image, 'front')
    assert robot.set_parameter('front.region_of_interest', [0.5, 0.0, 0.5, 1.0]).successful
    try:
        answer = robot.answer(message, FRONT, front)
    finally:
        assert robot.set_parameter('front.region_of_interest', [0.0, 0.0, 1.0, 1.0]).successful
    assert people(answer)
    assert all(box[0] >= WIDTH / 2 - 0.01 and box[2] <= WIDTH + 0.01 for box in people(answer))
    for person in IN_THE_RIGHT_HALF:
        assert best(person, answer) > 0.6
    assert min(box[0] for box in people(robot.answer(message, FRONT, front))) < WIDTH / 2


def test_classes_are_of_each_camera(
        robot: Robot, front: list[Detection2DArray], rear: list[Detection2DArray],
        last_image: np.ndarray) -> None:
    message = image_of(last_image, 'both')
    assert robot.set_parameter('front.classes', ['dog', 'bicycle']).successful
    assert not people(robot.answer(message, FRONT, front))
    assert people(robot.answer(message, REAR, rear))
    refused = robot.set_parameter('front.classes', ['person', 'unicorn'])
    assert not refused.successful
    assert refused.reason.startswith("parameter front.classes: class 'unicorn' is not in bundle")
    assert robot.parameter('front.classes') == ['dog', 'bicycle']
    assert robot.set_parameter('front.classes', ['']).successful
    assert people(robot.answer(message, FRONT, front))


@pytest.mark.parametrize('name, value, words', [
    ('front.region_of_interest', [0.5, 0.0, 0.6, 1.0], 'front.region_of_interest: [0.5, 0.0'),
    ('rear.region_of_interest', [0.0, 0.0, 1.0], 'rear.region_of_interest: [0.0, 0.0, 1.0] has 3'),
    ('front.priority', 0, 'front.priority'),
    ('front.max_rate', -1.0, 'front.max_rate'),
    ('rear.expected_rate', 'often', 'parameter type'),
    ('max_rate', 5.0, 'max_rate is what the cameras start with; set front.max_rate or rear.max'),
    ('cameras', ['front'], 'cameras'),
    ('score_threshold', 1.5, 'score_threshold')])
def test_refused_value_says_why_and_leaves_the_old_one(
        robot: Robot, name: str, value: Any, words: str) -> None:
    before = robot.parameter(name)
    refused = robot.set_parameter(name, value)
    assert not refused.successful
    assert words in refused.reason
    assert robot.parameter(name) == before


def test_max_rate_takes_effect_at_once(
        robot: Robot, rear: list[Detection2DArray], last_image: np.ndarray) -> None:
    message = image_of(np.ascontiguousarray(last_image[:120, :160]), 'rear')
    robot.answer(message, REAR, rear)
    key = 'Images left out, above max_rate'
    assert key not in robot.values('rear: input')
    assert robot.set_parameter('rear.max_rate', 0.1).successful
    received = int(robot.values('rear: input')['Images received'])
    for _ in range(30):
        robot.send(message, REAR)
        robot.spin(0.02)
    robot.wait_for(lambda: key in robot.values('rear: input'), 'images left out')
    values = robot.values('rear: input')
    # At most one that was due and one more.
    assert int(values[key]) >= int(values['Images received']) - received - 2
    assert robot.set_parameter('rear.max_rate', 0.0).successful
    robot.answer(message, REAR, rear)


def test_disabled_and_enabled_again(
        robot: Robot, front: list[Detection2DArray], rear: list[Detection2DArray],
        last_image: np.ndarray) -> None:
    message = image_of(last_image, 'front')
    robot.answer(message, FRONT, front)
    assert robot.enable(False) == 'disabled'
    assert robot.enable(False) == 'was disabled already'
    robot.spin(0.5)  # what was published before has arrived by now
    front.clear()
    rear.clear()
    for _ in range(10):
        robot.send(message, FRONT)
        robot.send(message, REAR)
        robot.spin(SETTLE / 10)
    assert front == rear == []
    status = robot.status('detector', OK, 'active, disabled')
    assert {item.key: item.value for item in status.values}['Enabled'] == 'false'
    robot.wait_for(
        lambda: int(robot.values('front: input').get('Images left out, disabled', 0)) >= 5,
        'images that are left out')
    # Again and again: a silence would be told, and for a while after it.
    timer = robot.create_timer(0.2, lambda: robot.send(message, FRONT))
    robot.status('front: input', OK, 'disabled')
    robot.destroy_timer(timer)
    assert robot.enable(True) == 'enabled'
    assert people(robot.answer(message, FRONT, front))
    assert robot.status('detector', OK).message == 'active'


def test_overload_starves_nobody(
        robot: Robot, front: list[Detection2DArray], rear: list[Detection2DArray],
        last_image: np.ndarray) -> None:
    """In front, of ten times the priority, come more images than can be processed."""
    picture = cv2.resize(last_image, (320, 240))
    flood, rare = image_of(picture, 'front'), image_of(picture, 'rear')
    robot.answer(flood, FRONT, front)
    robot.answer(rare, REAR, rear)
    before = {name: robot.values(f'{name}: input') for name in ('front', 'rear')}
    front.clear()
    waited, lost = [], 0
    for _ in range(6):
        stamps, since = {robot.send(rare, REAR)}, len(front)
        while not any(stamp_of(message) in stamps for message in rear):
            robot.send(flood, FRONT)
            robot.spin(0.003)
            if len(front) > since + 40:  # a best-effort message may be lost
                lost += 1
                assert lost <= 1, f'no result of the camera behind\n{robot.log()}'
                stamps, since = {robot.send(rare, REAR)}, len(front)
        waited.append(len(front) - since)
    # Ten turns of the camera in front, and the images at hand and on the way.
    assert max(waited) <= 13, waited
    after = {name: robot.values(f'{name}: input') for name in ('front', 'rear')}
    key = 'Images dropped, newer came first'
    assert int(after['front'][key]) > int(before['front'][key]), 'it was no overload'
    assert int(after['rear'][key]) == int(before['rear'][key])


def test_threads_change_without_a_pause_and_stay_where_they_cannot(
        tmp_path: Path, last_image: np.ndarray) -> None:
    folder = tmp_path / 'mine'
    shutil.copytree(find_model('nanodet_g_person_25'), folder)
    parameters = {'autostart': True, 'model': str(folder), 'threads': 2}
    with detector(parameters=parameters) as robot:
        robot.answer(raw(last_image))
        assert '2 threads' in robot.values('detector')['Engine']
        # Set while an engine is made ready, it must not be lost.
        assert robot.set_parameter('threads', 1).successful
        assert robot.set_parameter('score_threshold', 0.9).successful
        robot.wait_for(lambda: 'changed over to' in robot.log(), 'change')
        assert '1 threads' in robot.values('detector')['Engine']
        assert len(robot.answer(raw(last_image)).detections) == 0
        assert robot.set_parameter('score_threshold', 0.35).successful
        assert people(robot.answer(raw(last_image)))

        (folder / 'model.onnx').unlink()
        assert robot.set_parameter('threads', 2).successful
        robot.wait_for(lambda: 'parameter threads: stays 1' in robot.log(), 'refusal')
        assert 'model.onnx' in robot.log()
        robot.wait_for(lambda: robot.parameter('threads') == 1, 'the old value')
        assert people(robot.answer(raw(last_image)))
        assert '1 threads' in robot.values('detector')['Engine']


def test_a_single_camera_is_controlled_by_parameters_without_a_name(
        last_image: np.ndarray) -> None:
    with detector(parameters={
            'autostart': True, 'region_of_interest': [0.5, 0.0, 0.5, 1.0]}) as robot:
        answer = robot.answer(raw(last_image))
        assert people(answer) and all(box[0] >= WIDTH / 2 - 0.01 for box in people(answer))
        assert robot.set_parameter('classes', ['dog']).successful
        assert not people(robot.answer(raw(last_image)))
        refused = robot.set_parameter('region_of_interest', [0.0, 0.0, 0.0, 1.0])
        assert not refused.successful and 'no part of the image' in refused.reason
        # It stays disabled through the transitions, as long as nobody enables it.
        robot.enable(False)
        assert robot.transition('deactivate')
        assert robot.status('detector', OK).message == 'inactive, disabled'
        assert robot.transition('activate')
        robot.spin(0.5)
        robot.detections.clear()
        for _ in range(5):
            robot.send(raw(last_image))
            robot.spin(SETTLE / 5)
        assert robot.detections == []
        robot.enable(True)
        robot.answer(raw(last_image))


def test_two_cameras_on_one_topic_look_at_two_parts_of_it(last_image: np.ndarray) -> None:
    parameters = {
        'autostart': True, 'cameras': ['left', 'right'],
        'left.region_of_interest': [0.0, 0.0, 0.5, 1.0],
        'right.region_of_interest': [0.5, 0.0, 0.5, 1.0]}
    remappings = dict.fromkeys(('left/image', 'right/image'), '/wide/image')
    with detector(parameters=parameters, remappings=remappings) as robot:
        left, right = (
            robot.listen(f'/detector/{name}/detections') for name in ('left', 'right'))
        message = raw(last_image)
        assert all(box[2] <= WIDTH / 2 + 0.01 for box in people(
            robot.answer(message, '/wide/image', left)))
        answer = robot.answer(message, '/wide/image', right)
        assert all(best(person, answer) > 0.6 for person in IN_THE_RIGHT_HALF)


@pytest.mark.parametrize('given, words', [
    ({'cameras': ['front camera']}, "parameter cameras: 'front camera' cannot be a part of"),
    ({'cameras': ['front', 'front']}, "parameter cameras: 'front' is there twice"),
    ({'cameras': ['front'], 'front.classes': ['unicorn']}, "front.classes: class 'unicorn'"),
    ({'cameras': ['front'], 'front.priority': 0}, 'parameter front.priority')])
def test_start_value_that_cannot_be_is_told(given: dict[str, Any], words: str) -> None:
    with detector(parameters={'autostart': True, **given}) as robot:
        robot.status('detector', ERROR, words)
        assert 'Traceback' not in robot.log()


def test_start_value_that_cannot_be_can_be_mended_and_a_stranger_is_told() -> None:
    with detector(parameters={
            'autostart': True, 'cameras': ['front'], 'front.region_of_interest': [0.5, 0.0, 0.6],
            'fornt.priority': 2, 'front.prio': 2, 'max_rate': 7.0}) as robot:
        robot.status('detector', ERROR, 'parameter front.region_of_interest: [0.5, 0.0, 0.6]')
        assert "parameter fornt.priority: is ignored; there is no camera 'fornt'" in robot.log()
        assert 'did you mean front.priority?' in robot.log()
        assert 'parameter front.prio: is ignored; there is none of that name' in robot.log()
        assert robot.set_parameter('front.region_of_interest', [0.0, 0.0, 0.6, 1.0]).successful
        assert robot.transition('configure')
        assert robot.parameter('front.max_rate') == 7.0, 'as of the node, for it has none'
        assert robot.parameter('front.priority') == 1


def test_example_file_names_parameters_that_there_are() -> None:
    text = find_config('cameras.yaml').read_text()
    given = yaml.safe_load(text)['/**']['ros__parameters']
    known = {spec.name: spec for spec in (PRIORITY, *CAMERA_PARAMETERS)}
    used = set()
    for camera in given['cameras']:
        for name, value in given[camera].items():
            assert isinstance(value, type(known[name].default)), name
            used.add(name)
    assert used | {'classes'} == set(known)
