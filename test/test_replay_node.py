# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The replay node as a process, heard over real DDS."""

import ast
from collections.abc import Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import signal
import subprocess
import time
from typing import Any

import cv2
import numpy as np
import pytest
import rclpy
from rclpy.qos import qos_profile_sensor_data, QoSProfile
from robot import free_domain, Robot, SECONDS, stamp_of
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_srvs.srv import Trigger
from test_recording import (
    COMPRESSED,
    Contents,
    contents,
    cut,
    header,
    image_message,
    PERIOD_NS,
    picture,
    RAW,
    RECEIVED_LATER_NS,
    ROS1,
    ROS2,
    stamp_ns,
    write_bag,
    write_bag1,
    write_mcap,
)

from prune_perception.frames.recording import open_recording
from prune_perception.node_process import node_command, start, stop
from prune_perception.nodes.replay_node import PARAMETERS

INFO = 'sensor_msgs/msg/CameraInfo'
ROOT = Path(__file__).resolve().parent.parent


class Audience(Robot):
    """Keeps what a replay node publishes, and asks it for things."""

    def __init__(self, context: Any, process: Any, log: Path) -> None:
        super().__init__(context, process, log)
        self.images: list[Any] = []
        self.times: list[float] = []
        self.infos: list[CameraInfo] = []
        self.clock: list[int] = []

    def listen(self, kind: type = CompressedImage, base: str = '/camera/image_raw',
               qos: QoSProfile = qos_profile_sensor_data) -> None:
        """Subscribe to images, camera_info and /clock, and wait until they would come."""
        topic = f'{base}/compressed' if kind is CompressedImage else base
        subscriptions = [
            self.create_subscription(kind, topic, self._image, qos),
            self.create_subscription(
                CameraInfo, f'{base.rpartition("/")[0]}/camera_info', self.infos.append, 100)]
        self.create_subscription(
            Clock, '/clock', lambda message: self.clock.append(
                message.clock.sec * 10**9 + message.clock.nanosec), 1)
        for subscription in subscriptions:
            self.wait_for(lambda topic=subscription.topic_name: self.count_publishers(topic),
                          f'publisher of {subscription.topic_name}')
        self.spin(0.3)

    def _image(self, message: Any) -> None:
        self.images.append(message)
        self.times.append(time.monotonic())

    def ask(self, name: str) -> tuple[bool, str]:
        """Call a service, and return its answer."""
        answer = self._call(Trigger, f'/replay/{name}', Trigger.Request())
        self.spin(0.1)  # what was published before the answer may arrive after it
        return answer.success, answer.message

    def until_the_end(self) -> int:
        """Spin until the node has ended, and return its status."""
        deadline = time.monotonic() + SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.log()
            self.spin(0.02)
        return self.process.returncode


@contextmanager
def replayed(folder: Path, played: Path, /, **parameters: Any) -> Iterator[Audience]:
    """Start a replay node, paused unless the parameters say otherwise."""
    domain = free_domain()
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    path = folder / 'log'
    with path.open('wb') as log:
        process = start(
            node_command('replay_node', parameters={
                'recording': str(played), 'start_paused': True, **parameters}),
            {**os.environ, 'ROS_DOMAIN_ID': str(domain)}, stdout=log, stderr=subprocess.STDOUT)
        audience = Audience(context, process, path)
        try:
            yield audience
        finally:
            stop(process)
            audience.destroy_node()
            rclpy.shutdown(context=context)
    assert 'Traceback' not in path.read_text(), path.read_text()


def info_message(store: Any, number: int) -> Any:
    """Return a calibration that differs from every other number's."""
    upper = store is ROS1
    matrices = {'d': [0.1] * 5, 'k': [float(number)] * 9, 'r': [1.0] * 9, 'p': [2.0] * 12}
    return store.types[INFO](
        header=header(store, number), height=24, width=32, distortion_model='plumb_bob',
        binning_x=2, binning_y=1,
        roi=store.types['sensor_msgs/msg/RegionOfInterest'](
            x_offset=1, y_offset=2, height=3, width=4, do_rectify=True),
        **{name.upper() if upper else name: np.array(values)
           for name, values in matrices.items()})


def calibrated(count: int, kind: str = COMPRESSED, store: Any = ROS2) -> Contents:
    """Return images with a calibration for every other one, recorded after its image."""
    serialize = store.serialize_ros1 if store is ROS1 else store.serialize_cdr
    rows: Contents = []
    for number, row in enumerate(contents(count, kind, store=store)[::2]):
        rows.append(row)
        if number % 2 == 0:
            rows.append(('/camera/camera_info', INFO, row[2] + 10,
                         bytes(serialize(info_message(store, number), INFO))))
    return rows


@pytest.mark.parametrize('kind', [RAW, COMPRESSED])
def test_images_and_calibration_come_as_recorded(kind: str, tmp_path: Path) -> None:
    path = write_bag(tmp_path / 'bag', calibrated(5, kind))
    message_type = Image if kind == RAW else CompressedImage
    with replayed(tmp_path, path, clock=True) as audience:
        audience.listen(message_type, qos=QoSProfile(depth=10))  # reliable, as RViz asks
        assert audience.clock and not audience.images
        assert audience.ask('resume') == (True, 'playing on before the first image')
        assert audience.until_the_end() == 0
        assert len(audience.images) == 5
        for number, message in enumerate(audience.images):
            recorded = image_message(ROS2, kind, number)
            assert stamp_of(message) == stamp_ns(number)
            assert message.header.frame_id == 'camera'
            assert bytes(message.data) == bytes(recorded.data)
            names = ('encoding', 'height', 'width', 'step') if kind == RAW else ('format',)
            assert [getattr(message, name) for name in names] == [
                getattr(recorded, name) for name in names]
        assert [stamp_of(info) for info in audience.infos] == [stamp_ns(n) for n in range(5)]
        assert [info.k[0] for info in audience.infos] == [0, 0, 2, 2, 4]
        info = audience.infos[0]
        assert (info.height, info.width, info.distortion_model) == (24, 32, 'plumb_bob')
        assert (list(info.d), info.p[11], info.binning_x) == ([0.1] * 5, 2.0, 2)
        assert (info.roi.y_offset, info.roi.width, info.roi.do_rectify) == (2, 4, True)
        begin = stamp_ns(0) + RECEIVED_LATER_NS
        assert audience.clock == sorted(audience.clock)
        assert audience.clock[0] == begin
        assert begin + 4 * PERIOD_NS <= audience.clock[-1] < begin + 20 * PERIOD_NS


def test_stamps_are_renewed_and_the_pace_is_kept(tmp_path: Path) -> None:
    path = write_bag(tmp_path / 'bag', contents(11))
    with replayed(tmp_path, path, rate=2.0, image_topic='/front/image') as audience:
        audience.listen(base='/front/image')
        audience.ask('resume')
        assert audience.until_the_end() == 0
        now = time.time_ns()
        stamps = [stamp_of(image) for image in audience.images]
        assert len(stamps) == 11
        assert now - 20e9 < stamps[0] < stamps[-1] < now
        # Ten periods of a tenth of a second, twice as fast; late at worst, as machines are.
        assert 0.49 < (stamps[-1] - stamps[0]) * 1e-9 < 1.0
        assert not audience.clock
        assert [stamp_of(info) for info in audience.infos] == stamps
        assert 'played 11 images' in audience.log()


def test_pause_and_step_answer_and_nothing_is_rushed_after(tmp_path: Path) -> None:
    path = write_bag(tmp_path / 'bag', contents(12))
    with replayed(tmp_path, path, clock=True) as audience:
        audience.listen()
        assert audience.ask('pause') == (True, 'was paused already before the first image')
        assert audience.ask('step') == (True, 'image 1 of 12 published')
        assert audience.ask('step') == (True, 'image 2 of 12 published')
        assert [stamp_of(image) for image in audience.images] == [stamp_ns(0), stamp_ns(1)]
        assert set(audience.clock[-3:]) == {stamp_ns(1) + RECEIVED_LATER_NS}

        assert audience.ask('resume') == (True, 'playing on after image 2 of 12')
        assert audience.ask('step') == (False, 'is playing; pause it first')
        assert audience.ask('resume')[1].startswith('was playing already after image ')
        audience.wait_for(lambda: len(audience.images) >= 5, 'images')
        done, words = audience.ask('pause')
        shown = len(audience.images)
        assert (done, words) == (True, f'paused after image {shown} of 12')
        audience.spin(1.0)
        assert len(audience.images) == shown < 12, 'it is paused'

        audience.ask('resume')
        assert audience.until_the_end() == 0
        assert [stamp_of(image) for image in audience.images] == [stamp_ns(n) for n in range(12)]
        rest = audience.times[shown:]
        assert rest[-1] - rest[0] > 0.9 * (11 - shown) * PERIOD_NS * 1e-9, 'it rushed'


def test_steps_lead_to_the_end(tmp_path: Path) -> None:
    path = write_bag(tmp_path / 'bag', contents(2))
    with replayed(tmp_path, path) as audience:
        audience.listen()
        assert audience.ask('step') == (True, 'image 1 of 2 published')
        assert audience.ask('step') == (True, 'image 2 of 2 published')
        assert audience.until_the_end() == 0
        assert len(audience.images) == 2


def test_loop_goes_on_in_step_until_it_is_interrupted(tmp_path: Path) -> None:
    path = write_bag(tmp_path / 'bag', contents(4))
    with replayed(
            tmp_path, path, loop=True, clock=True, start_offset=0.15, rate=2.0) as audience:
        audience.listen()
        audience.ask('resume')
        audience.wait_for(lambda: len(audience.images) >= 7, 'images')
        # Images 0 and 1 are within the offset, in every round.
        assert [stamp_of(image) for image in audience.images[:6]] == [
            stamp_ns(number) for number in (2, 3, 2, 3, 2, 3)]
        # Also from one round to the next there is a period between images.
        assert audience.times[5] - audience.times[0] > 0.9 * 5 * PERIOD_NS * 1e-9 / 2
        audience.process.send_signal(signal.SIGINT)
        assert audience.until_the_end() == 0


def test_recording_that_ends_in_the_middle_is_played_up_to_there(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / 'a.mcap', contents(40), chunk_size=1000)
    cut(path, 0.5)
    with replayed(tmp_path, path, rate=10.0) as audience:
        audience.listen()
        audience.ask('resume')
        assert audience.until_the_end() == 0
        assert 10 < len(audience.images) < 25
        assert (f'{path}: /camera/image: cannot be read after message {len(audience.images)} ('
                in audience.log())


def test_damaged_image_is_left_out_and_told(tmp_path: Path) -> None:
    rows = contents(4)[::2]
    rows[2] = (*rows[2][:3], rows[2][3][:30])
    path = write_bag(tmp_path / 'bag', rows)
    with replayed(tmp_path, path, clock=True) as audience:
        audience.listen()
        audience.ask('step')
        audience.ask('step')
        done, words = audience.ask('step')
        assert not done
        assert words.startswith(f'image 3 was left out: {path}: /camera/image: image 3: the mess')
        audience.ask('resume')
        assert audience.until_the_end() == 0
        assert [stamp_of(image) for image in audience.images] == [
            stamp_ns(number) for number in (0, 1, 3)]
        assert f'not played: {path}: /camera/image: image 3: ' in audience.log()


def test_image_that_does_not_decode_is_what_the_camera_sent(tmp_path: Path) -> None:
    broken = image_message(ROS2, COMPRESSED, 1, data=np.arange(50, dtype=np.uint8))
    rows = contents(3)[::2]
    rows[1] = (*rows[1][:3], bytes(ROS2.serialize_cdr(broken, COMPRESSED)))
    with replayed(tmp_path, write_bag(tmp_path / 'bag', rows)) as audience:
        audience.listen()
        audience.ask('resume')
        assert audience.until_the_end() == 0
        assert bytes(audience.images[1].data) == bytes(range(50))


def test_ros_1_bag(tmp_path: Path) -> None:
    path = write_bag1(tmp_path / 'a.bag', calibrated(3, RAW, ROS1))
    with replayed(tmp_path, path, clock=True) as audience:
        audience.listen(Image)
        audience.ask('resume')
        assert audience.until_the_end() == 0
        assert [stamp_of(image) for image in audience.images] == [stamp_ns(n) for n in range(3)]
        assert [info.k[0] for info in audience.infos] == [0, 0, 2]


def test_pictures_have_stamps_and_a_size_with_the_clock(tmp_path: Path) -> None:
    folder = tmp_path / 'pictures'
    folder.mkdir()
    for number in range(3):
        cv2.imwrite(str(folder / f'{number}.png'), picture(number))
    with replayed(tmp_path, folder, clock=True) as audience:
        audience.listen(Image)
        audience.ask('resume')
        assert audience.until_the_end() == 0
        stamps = [stamp_of(image) for image in audience.images]
        assert abs(stamps[0] - time.time_ns()) < 60e9
        assert np.diff(stamps).tolist() == [PERIOD_NS, PERIOD_NS]
        assert (audience.infos[0].height, audience.infos[0].width) == (24, 32)
        assert not audience.infos[0].k.any()


@pytest.mark.parametrize('parameters, words', [
    ({'recording': ''}, 'parameter recording: is empty'),
    ({'recording': '/nowhere.mcap'}, '/nowhere.mcap: there is no such file'),
    ({'topic': '/other'}, "there is no topic '/other'; image topics: /camera/image (3"),
    ({'rate': 0.0}, 'parameter rate: '),
    ({'start_offset': 30.0}, 'there is nothing to play after 30 s; the images span 0.2 s'),
    ({'clock': True, 'use_sim_time': True}, 'parameter use_sim_time: must be false here')])
def test_what_cannot_be_is_told_in_a_line(
        parameters: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = write_bag(tmp_path / 'bag', contents(3))
    with replayed(tmp_path, path, **{'start_paused': False, **parameters}) as audience:
        assert audience.process.wait(SECONDS) == 1
        line = audience.log().splitlines()[-1]
        assert line.startswith('replay: ')
        assert words in line


def test_use_sim_time_is_refused_later_too(tmp_path: Path) -> None:
    path = write_bag(tmp_path / 'bag', contents(3))
    with replayed(tmp_path, path, clock=True) as audience:
        from rcl_interfaces.srv import SetParameters
        from rclpy.parameter import Parameter
        request = SetParameters.Request(
            parameters=[Parameter('use_sim_time', value=True).to_parameter_msg()])
        result = audience._call(SetParameters, '/replay/set_parameters', request).results[0]
        assert not result.successful
        assert 'must be false here' in result.reason


def test_launch_file_has_the_nodes_parameters() -> None:
    tree = ast.parse((ROOT / 'launch' / 'replay.launch.py').read_text())
    (table,) = [node.value for node in tree.body if isinstance(node, ast.Assign)
                and ast.unparse(node.targets[0]) == 'PARAMETERS']
    assert isinstance(table, ast.Dict)
    assert {ast.literal_eval(name): ast.unparse(kind) for name, kind
            in zip(table.keys, table.values, strict=True) if name} == {
        spec.name: type(spec.default).__name__ for spec in PARAMETERS}
    declared = {
        call.args[0].value: ast.literal_eval(call.args[1]) for call in ast.walk(tree)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == 'argument'
        and isinstance(call.args[0], ast.Constant) and isinstance(call.args[1], ast.Constant)}
    for spec in PARAMETERS:
        words = str(spec.default).lower() if isinstance(spec.default, bool) else str(spec.default)
        assert declared[spec.name] == (None if spec.name == 'recording' else words)


def test_demo_recording_is_played(tmp_path: Path) -> None:
    path = ROOT / 'demo' / 'pedestrians'
    with replayed(tmp_path, path, rate=8.0) as audience:
        audience.listen()
        audience.ask('resume')
        assert audience.until_the_end() == 0
        with open_recording(path) as recording:
            frames = [bytes(frame.message.data) for frame in recording if frame.message]
        received = [bytes(image.data) for image in audience.images]
        assert set(received) <= set(frames)
        assert len(received) > 0.9 * len(frames)  # best effort
