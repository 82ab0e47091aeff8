# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The detector node in its own process, over real DDS."""

from collections.abc import Iterator
import csv
import json
import os
from pathlib import Path
import shutil
import signal
import subprocess
import threading
import time

import cv2
from diagnostic_msgs.msg import DiagnosticStatus
import numpy as np
import pytest
from rclpy.qos import QoSProfile
from robot import detector, people, raw, Robot, stamp_of
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Float64, UInt64
from test_meters import grow
from vision_msgs.msg import Detection2DArray

from prune_perception.frames.recording import Frame, open_recording
from prune_perception.node_process import node_command, start, stop
from prune_perception.resources import find_model, find_resource

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR

# Frame of the video that is the recording's first, as demo/README.md says.
FIRST_FRAME = 131
# People in the recording's last image, marked by eye: x1, y1, x2, y2.
LAST_IMAGE_PEOPLE = [
    (39, 176, 63, 244), (203, 154, 228, 224), (398, 234, 428, 328), (558, 190, 582, 264),
    (604, 260, 655, 358), (634, 123, 657, 182), (663, 131, 683, 181)]


def iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0) * max(height, 0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


@pytest.fixture(scope='module')
def frames() -> list[Frame]:
    with open_recording(find_resource('demo', 'pedestrians')) as recording:
        return list(recording)


@pytest.fixture(scope='module')
def last_image(frames: list[Frame]) -> np.ndarray:
    return frames[-1].image()


@pytest.fixture(scope='module')
def robot() -> Iterator[Robot]:
    """Raw images, the model that is shipped, started by itself."""
    with detector(parameters={'autostart': True, 'annotated_image': True}) as robot:
        yield robot


def compressed(frame: Frame) -> CompressedImage:
    message = CompressedImage(format=frame.message.format)
    message.data.frombytes(bytes(frame.message.data))
    return message


def test_people_marked_by_eye_are_found(robot: Robot, last_image: np.ndarray) -> None:
    found = people(robot.answer(raw(last_image)))
    for person in LAST_IMAGE_PEOPLE:
        assert max(iou(person, box) for box in found) > 0.6, person


def test_result_is_under_the_header_of_its_image(robot: Robot, last_image: np.ndarray) -> None:
    message = raw(last_image)
    answer = robot.answer(message)
    assert answer.header.frame_id == 'camera_optical_frame'
    assert all(detection.header == answer.header for detection in answer.detections)
    for detection in answer.detections:
        assert len(detection.results) == 1
        assert 0.35 < detection.results[0].hypothesis.score <= 1
        centre, box = detection.bbox.center.position, detection.bbox
        assert 0 <= centre.x - box.size_x / 2 + 1e-3
        assert centre.x + box.size_x / 2 <= last_image.shape[1] + 1e-3


def test_a_large_jpeg_gives_the_boxes_of_the_whole_image(last_image: np.ndarray) -> None:
    height, width = (3 * size for size in last_image.shape[:2])
    message = CompressedImage(format='jpeg')
    message.data.frombytes(cv2.imencode(
        '.jpg', cv2.resize(last_image, (width, height), interpolation=cv2.INTER_CUBIC),
        [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes())
    with detector(parameters={'autostart': True, 'image_transport': 'compressed'}) as robot:
        found = people(robot.answer(message, '/camera/image_raw/compressed'))
    for person in LAST_IMAGE_PEOPLE:
        assert max(iou(tuple(3 * edge for edge in person), box) for box in found) > 0.6, person


@pytest.mark.slow
def test_recording_against_the_hand_labelled_people(data: Path, frames: list[Frame]) -> None:
    """Nine of ten people who are labelled are found, and nearly nobody who is not."""
    labels: dict[int, list[tuple[float, ...]]] = {}
    with (data / 'pets09-s2l1' / 'gt_frames_1-400.txt').open() as file:
        for row in csv.reader(file):
            x, y, width, height = (float(value) for value in row[2:6])
            labels.setdefault(int(row[0]), []).append((x, y, x + width, y + height))
    labelled = matched = found = strangers = 0
    with detector(parameters={'autostart': True, 'image_transport': 'compressed'}) as robot:
        for frame in frames[::6]:
            answer = robot.answer(compressed(frame), '/camera/image_raw/compressed')
            boxes = people(answer)
            truth = labels[FIRST_FRAME + frame.index]
            labelled += len(truth)
            found += len(boxes)
            matched += sum(any(iou(person, box) >= 0.5 for box in boxes) for person in truth)
            strangers += sum(all(iou(person, box) < 0.3 for person in truth) for box in boxes)
    assert labelled > 100
    assert matched / labelled >= 0.85
    assert strangers / found <= 0.2


@pytest.mark.parametrize('encoding, convert', [
    ('rgb8', cv2.COLOR_BGR2RGB), ('bgra8', cv2.COLOR_BGR2BGRA), ('mono8', cv2.COLOR_BGR2GRAY)])
def test_encodings(robot: Robot, last_image: np.ndarray, encoding: str, convert: int) -> None:
    found = people(robot.answer(raw(cv2.cvtColor(last_image, convert), encoding)))
    assert max(iou(LAST_IMAGE_PEOPLE[4], box) for box in found) > 0.6


def test_padded_rows(robot: Robot, last_image: np.ndarray) -> None:
    height, width, _ = last_image.shape
    padded = np.zeros((height, width * 3 + 40), np.uint8)
    padded[:, :width * 3] = last_image.reshape(height, -1)
    message = raw(padded, 'bgr8')
    message.width = width
    found = people(robot.answer(message))
    assert max(iou(LAST_IMAGE_PEOPLE[4], box) for box in found) > 0.6


def test_empty_image_has_an_empty_answer(robot: Robot) -> None:
    assert robot.answer(raw(np.full((480, 640, 3), 127, np.uint8))).detections == []


def test_class_names_are_latched(robot: Robot) -> None:
    label = robot.wait_for(lambda: robot.labels, 'label_info')[0]
    assert [(item.class_id, item.class_name) for item in label.class_map[:2]] == [
        (0, 'person'), (1, 'bicycle')]
    assert len(label.class_map) == 80
    assert label.threshold == pytest.approx(0.35)


def test_annotated_image_while_somebody_subscribes(
        robot: Robot, last_image: np.ndarray) -> None:
    images: list[Image] = []
    subscription = robot.create_subscription(
        Image, '/detector/annotated_image', images.append, QoSProfile(depth=5))
    robot.wait_for(lambda: robot.count_publishers('/detector/annotated_image'), 'publisher')
    stamps = set()

    def drawn() -> bool:
        stamps.add(stamp_of(robot.answer(raw(last_image))))
        return bool(images)
    robot.wait_for(drawn, 'annotated image')
    robot.destroy_subscription(subscription)
    assert stamp_of(images[0]) in stamps
    picture = np.frombuffer(images[0].data, np.uint8).reshape(last_image.shape)
    x1, y1, x2, y2 = LAST_IMAGE_PEOPLE[4]
    changed = (picture != last_image).any(axis=2)
    assert changed[y1 - 20:y2 + 10, x1 - 10:x2 + 10].any()
    assert not changed[-60:, :100].any()  # grass, with nobody in it


def test_figures_say_what_a_frame_costs(robot: Robot, last_image: np.ndarray) -> None:
    for _ in range(3):
        robot.answer(raw(last_image))
    robot.status('latency', OK)
    values = robot.values('latency')
    stages = [float(values[f'{stage} p50 (ms)'])
              for stage in ('Wait', 'Decode', 'Preprocess', 'Inference', 'Postprocess')]
    assert all(value >= 0 for value in stages)
    assert 0 < sum(stages) < 1.5 * float(values['Total p50 (ms)'])
    assert 0 < float(values['Result age p50 (ms)']) < 5000
    assert int(robot.values('detector')['Frames processed']) >= 3
    power = robot.values('power')
    assert power['Source'].startswith(('measured by ', 'unavailable'))
    assert power['Power (W)'] != '0.000'
    # What `prune-perception profile nanodet_g` says, from the card.
    assert power['Modelled energy per frame (J)'] == '0.02129'
    assert power['Modelled for'] == 'eyeriss_65nm, 16-bit words, batch 1'


def good(image: np.ndarray) -> Image:
    return raw(np.ascontiguousarray(image[:120, :160]))


def with_(image: Image, **fields: object) -> Image:
    for name, value in fields.items():
        setattr(image, name, value)
    return image


BAD_IMAGES = {
    'unknown encoding': (lambda image: with_(good(image), encoding='rgb565'), 'rgb565'),
    'height that does not fit': (lambda image: with_(good(image), height=1000), 'bytes'),
    'step that does not fit': (lambda image: with_(good(image), step=10), 'step'),
    'zero size': (lambda image: with_(good(image), width=0, height=0), 'no pixels'),
    'a hundred megapixels': (
        lambda image: with_(good(image), width=10000, height=10000, step=30000), 'pixels'),
}


@pytest.mark.parametrize('name', BAD_IMAGES)
def test_bad_image_is_told_and_survived(
        robot: Robot, last_image: np.ndarray, name: str) -> None:
    make, word = BAD_IMAGES[name]
    robot.answer(raw(last_image))
    status = robot.fail(make(last_image))
    assert status.level == WARN
    assert word in status.message and '/camera/image_raw' in status.message
    assert word in robot.log()
    assert people(robot.answer(raw(last_image)))


def test_broken_jpeg_is_told_and_survived(frames: list[Frame]) -> None:
    topic = '/camera/image_raw/compressed'
    with detector(parameters={'autostart': True, 'image_transport': 'compressed'}) as robot:
        assert people(robot.answer(compressed(frames[0]), topic))
        for data, word in ((b'\xff\xd8 not a picture', 'JPEG'),
                           (bytes(frames[0].message.data[:9000]), ''), (b'', '')):
            message = CompressedImage(format='jpeg')
            message.data.frombytes(data)
            status = robot.fail(message, topic)
            assert status.level == WARN and word in status.message
        assert people(robot.answer(compressed(frames[0]), topic))


def test_every_image_broken_in_its_own_way_does_not_flood_the_log() -> None:
    topic = '/camera/image_raw/compressed'
    with detector(parameters={'autostart': True, 'image_transport': 'compressed'}) as robot:
        robot.publisher(CompressedImage, topic)
        for length in range(40):
            message = CompressedImage(format='jpeg')
            message.data.frombytes(b'\xff\xd8' + bytes(length))
            robot.send(message, topic)
            robot.spin(0.02)
        robot.wait_for(lambda: int(robot.values('input')['Images failed']) > 20, 'failures')
        assert 1 <= robot.log().count('[WARN]') <= 4
        assert robot.values('input')['Last failure']


def test_refused_parameters_say_why(robot: Robot) -> None:
    refusal = robot.set_parameter('score_threshold', 2.0)
    assert not refusal.successful
    refusal = robot.set_parameter('engine', 'openvino')
    assert not refusal.successful
    assert 'configured' in refusal.reason


def test_threshold_takes_effect_at_once(robot: Robot, last_image: np.ndarray) -> None:
    before = len(robot.answer(raw(last_image)).detections)
    assert robot.set_parameter('score_threshold', 0.75).successful
    robot.wait_for(
        lambda: robot.labels[-1].threshold == pytest.approx(0.75), 'label_info of the threshold')
    after = len(robot.answer(raw(last_image)).detections)
    assert robot.set_parameter('score_threshold', 0.35).successful
    assert 0 < after < before


def test_lifecycle_on_request(last_image: np.ndarray) -> None:
    with detector() as robot:
        assert robot.status('detector', OK).message == 'unconfigured'
        assert not robot.transition('activate')
        assert robot.transition('configure')
        assert robot.status('detector', OK).message == 'inactive'
        assert robot.transition('activate')
        assert people(robot.answer(raw(last_image)))
        assert robot.transition('deactivate')
        assert robot.count_subscribers('/camera/image_raw') == 0 or robot.wait_for(
            lambda: robot.count_subscribers('/camera/image_raw') == 0, 'end of subscription')
        assert robot.transition('activate')
        assert people(robot.answer(raw(last_image)))
        assert robot.transition('deactivate')
        assert robot.transition('cleanup')
        assert robot.status('detector', OK).message == 'unconfigured'


def test_refused_bundle_leaves_the_node_alive(tmp_path: Path) -> None:
    broken = tmp_path / 'broken'
    shutil.copytree(find_model('nanodet_g'), broken)
    graph = broken / 'model.onnx'
    graph.write_bytes(graph.read_bytes()[:-1000])
    with detector(parameters={'autostart': True, 'model': str(broken)}) as robot:
        status = robot.status('detector', ERROR, 'model.onnx')
        assert 'incomplete' in status.message
        assert status.message in robot.log()
        assert robot.set_parameter('model', 'nanodet_g').successful
        assert robot.transition('configure')
        assert robot.status('detector', OK).message == 'inactive'


def test_provider_that_is_not_there_is_an_error() -> None:
    with detector(parameters={'autostart': True, 'providers': ['CUDA', 'CPU']}) as robot:
        status = robot.status('detector', ERROR, 'CUDAExecutionProvider')
        assert {item.key: item.value for item in status.values}['State'] == 'active'
        assert 'CUDAExecutionProvider' in robot.log()
    with detector(parameters={'autostart': True, 'providers': ['CUDA']}) as robot:
        status = robot.status('detector', ERROR, 'CUDAExecutionProvider')
        assert {item.key: item.value for item in status.values}['State'] == 'unconfigured'


def test_parameter_of_the_wrong_type_is_told() -> None:
    with detector(parameters={'autostart': True, 'threads': 'two'}) as robot:
        robot.status('detector', ERROR, 'threads')
        assert robot.set_parameter('threads', 1).successful
        assert robot.transition('configure')


def test_autostart_that_is_not_understood_is_told() -> None:
    with detector(parameters={'autostart': 1}) as robot:
        robot.status('detector', ERROR, 'parameter autostart')


def test_parameters_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / 'mine.yaml'
    path.write_text("/**:\n  ros__parameters:\n    classes: ['person', 1]\n")
    result = subprocess.run(
        [*node_command('detector_node'), '--params-file', path], text=True, timeout=30,
        stderr=subprocess.PIPE, check=False)
    assert result.returncode == 1
    assert 'Traceback' not in result.stderr
    reason = result.stderr.splitlines()[-1]
    assert 'mine.yaml' in reason and 'line_num 3' in reason


def test_empty_lists_mean_the_defaults() -> None:
    with detector(parameters={'autostart': True, 'providers': [], 'classes': []}) as robot:
        assert robot.status('detector', OK).message == 'active'


def test_age_of_recorded_stamps_is_unavailable(last_image: np.ndarray) -> None:
    with detector(parameters={'autostart': True}) as robot:
        message = raw(last_image)
        publisher = robot.publisher(Image, '/camera/image_raw')
        message.header.stamp.sec = 1_700_000_000

        def answered() -> bool:
            publisher.publish(message)
            robot.spin(0.2)
            return bool(robot.detections)
        robot.wait_for(answered, 'detections')
        robot.status('latency', WARN, 'unavailable')
        assert robot.values('latency')['Result age (ms)'] == 'unavailable'


def test_stamps_that_stand_still_or_go_back_are_told(last_image: np.ndarray) -> None:
    with detector(parameters={'autostart': True}) as robot:
        message = raw(cv2.resize(last_image, (320, 240)))
        robot.answer(message)
        publisher = robot.publisher(Image, '/camera/image_raw')
        timer = robot.create_timer(0.1, lambda: publisher.publish(message))
        robot.status('latency', WARN, 'the stamp stands still: the same for ')
        robot.destroy_timer(timer)

        def back_and_forth() -> bool:
            now = robot.send(message)
            message.header.stamp.sec = now // 1_000_000_000 - 2
            publisher.publish(message)
            robot.spin(0.2)
            return 'went back by ' in robot.statuses['latency'].message
        robot.wait_for(back_and_forth, 'word of stamps that go back')
        assert robot.statuses['latency'].level == WARN
        robot.create_timer(0.2, lambda: robot.send(message))
        robot.status('latency', WARN, 'until ')  # for a while
        robot.status('latency', OK, 'ms a frame')


def test_slow_detector_drops_images_and_shows_the_newest(last_image: np.ndarray) -> None:
    with detector(parameters={'autostart': True, 'threads': 1}) as robot:
        robot.answer(raw(last_image))
        robot.detections.clear()
        message = raw(cv2.resize(last_image, (320, 240)))
        sent = []
        for _ in range(150):
            sent.append(robot.send(message))
            robot.spin(0.003)
        # One or two of the last may be lost, as best-effort messages may.
        robot.wait_for(
            lambda: robot.detections and stamp_of(robot.detections[-1]) in sent[-5:],
            'newest result')
        stamps = [stamp_of(found) for found in robot.detections]
        assert stamps == sorted(set(stamps))
        assert set(stamps) <= set(sent)
        values = robot.values('input')
        assert int(values['Images dropped, newer came first']) > 0


def test_images_that_the_transport_loses_are_told(last_image: np.ndarray) -> None:
    """The camera announces fifty images a second beside the images; five arrive."""
    message = raw(cv2.resize(last_image, (320, 240)))
    with detector(parameters={'autostart': True}) as robot:
        announcer = robot.publisher(CameraInfo, '/camera/camera_info')
        for index in range(250):
            announcer.publish(CameraInfo())
            if index % 10 == 0:
                robot.send(message)
            robot.spin(0.02)
        status = robot.status('input', WARN, 'the transport loses')
        assert 'fastdds.xml' in status.message


def test_figures_are_published_for_plotting(robot: Robot, last_image: np.ndarray) -> None:
    figures: dict[str, float] = {}
    stages = [f'latency/{stage}' for stage in (
        'decode', 'preprocess', 'inference', 'postprocess', 'total')]
    kinds = {**dict.fromkeys([*stages, 'result_age', 'input_rate', 'output_rate'], Float64),
             'dropped_images': UInt64}
    subscriptions = [
        robot.create_subscription(
            kind, f'/detector/{name}',
            lambda message, name=name: figures.update({name: message.data}), QoSProfile(depth=1))
        for name, kind in kinds.items()]
    for _ in range(15):
        robot.answer(raw(last_image))
        robot.spin(0.1)
    robot.wait_for(lambda: figures.keys() == kinds.keys(), f'all figures of {list(kinds)}')
    for subscription in subscriptions:
        robot.destroy_subscription(subscription)
    # Medians of each, so that they add up nearly; in seconds.
    assert sum(figures[stage] for stage in stages[:-1]) < 1.5 * figures['latency/total'] < 7.5
    assert 0 < figures['latency/inference'] < figures['latency/total']
    assert figures['latency/total'] < figures['result_age'] < 5
    assert 0 < figures['output_rate'] < 50 and 0 < figures['input_rate'] < 50


def test_two_cameras_and_one_power_monitor(tmp_path: Path, last_image: np.ndarray) -> None:
    """Each detector in a namespace of its own, one of them remapped to the monitor."""
    root = grow(tmp_path, 'jetson_orin_nx')
    to_monitor = {'power_monitor/reading': '/power_monitor/reading'}
    with detector(beside={'power_monitor': {'root': str(root)}}) as robot:
        environment = {**os.environ, 'ROS_DOMAIN_ID': str(robot.context.get_domain_id())}
        cameras = [
            start(node_command('detector_node', parameters={'autostart': True}, remappings={
                '__ns': f'/{name}', 'image': 'image_raw', **remapped}), environment)
            for name, remapped in (('front', {}), ('rear', to_monitor))]
        try:
            found: list[Detection2DArray] = []
            robot.create_subscription(
                Detection2DArray, '/front/detector/detections', found.append, 10)

            def answered() -> bool:
                robot.send(raw(last_image), '/front/image_raw')
                robot.spin(0.2)
                return bool(found)
            robot.wait_for(answered, 'detections of the camera in front')
            assert people(found[0])
            robot.status('front/detector: detector', OK)
            robot.trouble('rear/detector: input', 'nobody publishes /rear/image_raw')
            robot.status('rear/detector: power', OK, '6.00 W')
            assert 'VDD_IN' not in robot.status('front/detector: power', OK).message
        finally:
            for camera in cameras:
                stop(camera)


def test_engine_that_is_throttled_is_told(last_image: np.ndarray) -> None:
    """The process is stopped for most of the time, as a hot processor is by its hardware."""
    with detector(parameters={'autostart': True, 'threads': 1}) as robot:
        message = raw(cv2.resize(last_image, (320, 240)))
        robot.answer(message)
        robot.create_timer(0.2, lambda: robot.send(message))
        key = 'Inference, lately over at warm-up'
        robot.wait_for(lambda: key in robot.values('detector'), 'pace of the engine')
        ended = threading.Event()

        def throttle() -> None:
            begin = time.monotonic()
            while not ended.wait(0.003):
                robot.process.send_signal(signal.SIGSTOP)
                # Ever longer: on a busy machine the warm-up was slow, too.
                ended.wait(min(0.03 * 2 ** ((time.monotonic() - begin) / 8), 0.3))
                robot.process.send_signal(signal.SIGCONT)
        thread = threading.Thread(target=throttle)
        thread.start()
        try:
            status = robot.wait_for(
                lambda: (found := robot.statuses['detector']).level == WARN and found,
                'word of the pace', seconds=90.0)
        finally:
            ended.set()
            thread.join()
        assert 'times the' in status.message and 'ms at warm-up; see whether' in status.message
        values = {item.key: item.value for item in status.values}
        assert float(values[key]) > 1.5


def test_silent_camera_is_told(last_image: np.ndarray) -> None:
    with detector(parameters={'autostart': True}) as robot:
        robot.trouble('input', 'nobody publishes /camera/image_raw; start the driver')
        robot.answer(raw(last_image))
        robot.trouble('input', 'no image on /camera/image_raw')
        robot.status('input', ERROR, 'no image on /camera/image_raw for 1')
        robot.answer(raw(last_image))
        robot.status('input', ERROR, 'until ')  # for a while


@pytest.mark.parametrize('request_to_end', [signal.SIGTERM, signal.SIGINT])
def test_request_to_end_amid_an_inference(
        last_image: np.ndarray, request_to_end: signal.Signals) -> None:
    with detector(parameters={'autostart': True, 'threads': 1}) as robot:
        robot.answer(raw(last_image))
        for _ in range(10):  # 50 ms, in which some are received and one is worked on
            robot.send(raw(last_image))
            robot.spin(0.005)
        robot.process.send_signal(request_to_end)
        assert robot.process.wait(10) == 0
        for word in ('Traceback', 'WARN', 'ERROR', 'Failed'):
            assert word not in robot.log()


def test_request_to_end_while_starting() -> None:
    """At whatever moment between the import and the first image, there is no traceback."""
    for seconds in (0.0, 0.05, 0.1, 0.2):
        with detector(parameters={'autostart': True}) as robot:
            # The node ignores interrupts by itself as soon as rclpy is initialised.
            robot.wait_for(lambda process=robot.process: _heeds_signals(process.pid), 'start')
            robot.spin(seconds)
            robot.process.send_signal(signal.SIGINT)
            assert robot.process.wait(10) == 0, robot.log()
            assert 'Traceback' not in robot.log()


def _heeds_signals(process: int) -> bool:
    """Whether a process catches terminations, as rclpy does and Python alone does not."""
    status = Path(f'/proc/{process}/status').read_text()
    caught = next(line for line in status.splitlines() if line.startswith('SigCgt:'))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize('engine', ['openvino', 'torch'])
def test_other_engines(engine: str, last_image: np.ndarray) -> None:
    with detector(parameters={'autostart': True, 'engine': engine}) as robot:
        found = people(robot.answer(raw(last_image)))
        assert max(iou(LAST_IMAGE_PEOPLE[4], box) for box in found) > 0.6
        assert engine in robot.values('detector')['Engine'].lower()


def test_configuration_file_holds_the_defaults() -> None:
    import yaml

    from prune_perception.nodes.detector_parameters import PARAMETERS
    from prune_perception.resources import find_config
    text = find_config('perception.yaml').read_text()
    given = yaml.safe_load(text)['/**']['ros__parameters']
    defaults = {spec.name: spec.default for spec in PARAMETERS}
    # A launched node starts by itself; one that is run by hand waits for its first transition.
    assert given.pop('autostart') is True
    assert defaults.pop('autostart') is False
    assert json.dumps(given, sort_keys=True) == json.dumps(defaults, sort_keys=True)
