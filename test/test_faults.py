# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The detector node, when what it stands on breaks: over real DDS, with real hangs."""

from collections.abc import Callable
from pathlib import Path
import shutil
import signal
import subprocess
import sys
import time
from typing import Any

from bundles import write_sees_one
import cv2
from diagnostic_msgs.msg import DiagnosticStatus
import numpy as np
import pytest
import robot as robot_module
from robot import detector, people, raw, Robot, stamp_of
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from test_use_sim_time import time_message

from prune_perception.node_process import node_command
from prune_perception.nodes.watchdog import STATUS_HUNG

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'benchmarks'))

from broken_networks import write_broken_on_white

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
TOPIC = '/camera/image_raw'


def grey() -> Image:
    return raw(np.full((32, 64, 3), 127, np.uint8))


def white() -> Image:
    return raw(np.full((32, 64, 3), 255, np.uint8))


def parameters(folder: Path, how: str, **more: Any) -> dict[str, Any]:
    """Return those of a node that breaks on white, and need not wait long for a hang."""
    bundle = write_broken_on_white(folder, write_sees_one(folder, 'one', 3), how)
    return {'autostart': True, 'model': str(bundle.folder), 'threads': 1,
            'inference_timeout': 0.5, **more}


def hang(robot: Robot) -> None:
    """Show the node what its engine hangs on; more than once, since an image may be lost."""
    assert people(robot.answer(grey()))
    for _ in range(5):
        robot.send(white())
        robot.spin(0.1)


def end_of(robot: Robot, seconds: float = 20.0, act: Callable[[], Any] = lambda: None) -> int:
    """Wait until the node has ended, and return its exit status."""
    deadline = time.monotonic() + seconds
    while robot.process.poll() is None:
        assert time.monotonic() < deadline, f'the node did not end\n{robot.log()}'
        act()
        robot.spin(0.1)
    assert 'Traceback' not in robot.log()
    return robot.process.returncode


# The engine.


def test_run_that_can_be_ended_costs_its_image_alone(tmp_path: Path) -> None:
    with detector(parameters=parameters(tmp_path, 'loop')) as robot:
        assert people(robot.answer(grey()))
        status = robot.fail(white())
        assert status.level == WARN
        assert 'more than 0.5 s, and was made to give it up' in status.message
        assert 'onnxruntime' not in robot.log(), 'the engine prints nothing of its own'
        assert people(robot.answer(grey()))
        assert robot.status('detector', OK).message == 'active'


def test_run_that_cannot_be_ended_ends_the_process(tmp_path: Path) -> None:
    with detector(parameters=parameters(tmp_path, 'operator')) as robot:
        assert people(robot.answer(grey()))
        publisher = robot.publisher(Image, TOPIC)
        said: list[DiagnosticStatus] = []
        robot.heard = said.append
        assert end_of(robot, act=lambda: publisher.publish(white())) == STATUS_HUNG
        robot.spin(0.5)
        last = next(status for status in reversed(said) if status.name == 'detector: detector')
        assert last.level == ERROR
        assert 'could not be made to give it up' in last.message
        assert last.message in robot.log()


@pytest.mark.parametrize('transition', ['deactivate', 'active_shutdown'])
def test_transition_amid_a_hang_ends(tmp_path: Path, transition: str) -> None:
    """It waits for the image at hand, and nothing that the executor runs could end that."""
    with detector(parameters=parameters(
            tmp_path, 'operator', inference_timeout=3.0)) as robot:
        hang(robot)
        with pytest.raises(AssertionError, match='the node ended'):
            robot.transition(transition)
        assert end_of(robot) == STATUS_HUNG


def test_request_to_end_amid_a_hang_without_a_time_limit(tmp_path: Path) -> None:
    with detector(parameters=parameters(
            tmp_path, 'operator', inference_timeout=0.0)) as robot:
        hang(robot)
        robot.process.send_signal(signal.SIGTERM)
        assert end_of(robot) == STATUS_HUNG
        assert 'told to end' in robot.log()


def test_request_to_end_amid_a_hang_of_the_warm_up(tmp_path: Path) -> None:
    bundle = write_broken_on_white(
        tmp_path, write_sees_one(tmp_path, 'one', 3), 'operator', white=0.0)
    with detector(parameters={'autostart': True, 'model': str(bundle.folder)}) as robot:
        robot.wait_for(lambda: 'detector' in robot.get_node_names(), 'node')
        robot.process.send_signal(signal.SIGTERM)
        assert end_of(robot) == STATUS_HUNG


@pytest.mark.slow
def test_no_second_engine_starts_beside_one_that_hangs(tmp_path: Path) -> None:
    with detector(parameters=parameters(
            tmp_path, 'loop', inference_timeout=0.0)) as robot:
        hang(robot)
        for _ in range(2):
            assert not robot.transition('deactivate')
            robot.status('detector', ERROR, 'deactivate failed: the engine did not finish')
            robot.status('input', ERROR, 'takes no images any more; deactivate again once')
            assert not robot.transition('activate')
        threads = Path(f'/proc/{robot.process.pid}/task').glob('*/comm')
        assert sum('inference' in thread.read_text() for thread in threads) <= 1
        assert robot.set_parameter('inference_timeout', 0.5).successful
        robot.wait_for(lambda: robot.transition('deactivate'), 'deactivation')
        robot.status('input', OK, 'inactive')
        assert robot.transition('activate')
        assert people(robot.answer(grey()))


def test_engine_that_raises_costs_its_image_alone(tmp_path: Path) -> None:
    with detector(parameters=parameters(tmp_path, 'error')) as robot:
        assert people(robot.answer(grey()))
        status = robot.fail(white())
        assert status.level == WARN and 'out of data bounds' in status.message
        assert people(robot.answer(grey()))


# Images and clocks.


def test_size_and_encoding_change_in_mid_stream(tmp_path: Path) -> None:
    picture = np.full((480, 640, 3), 100, np.uint8)
    bundle = write_sees_one(tmp_path, 'one', 3)
    with detector(parameters={'autostart': True, 'model': str(bundle.folder)}) as robot:
        for width, height in ((640, 480), (1920, 1080), (33, 17), (640, 480)):
            for encoding, convert in (
                    ('bgr8', None), ('mono8', cv2.COLOR_BGR2GRAY), ('rgb8', cv2.COLOR_BGR2RGB),
                    ('bgra8', cv2.COLOR_BGR2BGRA), ('yuv422_yuy2', cv2.COLOR_BGR2YUV_YUY2)):
                if encoding == 'yuv422_yuy2' and width % 2:
                    continue
                image = cv2.resize(picture, (width, height))
                answer = robot.answer(raw(
                    image if convert is None else cv2.cvtColor(image, convert), encoding))
                # Where the network sees it, in pixels of this image.
                x1, _, x2, _ = people(answer)[0]
                assert (x1 + x2) / 2 == pytest.approx(28 / 64 * width, abs=1)
        assert robot.values('input')['Images failed'] == '0'


def test_clock_that_jumps_both_ways(tmp_path: Path) -> None:
    bundle = write_sees_one(tmp_path, 'one', 3)
    with detector(parameters={
            'autostart': True, 'use_sim_time': True, 'model': str(bundle.folder)}) as robot:
        clock = robot.create_publisher(ClockMessage, '/clock', 10)
        publisher = robot.publisher(Image, TOPIC)
        # Seconds: as at the start of a simulator, of a recording, of that again, and far ahead.
        for seconds in (5, 1_700_000_000, 1_700_000_060, 1_700_000_000, 2, 1_800_000_000):
            ticks = 0

            def answered(seconds: int = seconds) -> bool:
                nonlocal ticks
                ticks += 1
                now = seconds * 1_000_000_000 + ticks * 50_000_000
                clock.publish(ClockMessage(clock=time_message(now)))
                image = grey()
                image.header = Header(stamp=time_message(now - 20_000_000))
                publisher.publish(image)
                robot.spin(0.05)
                return sum(abs(stamp_of(each) / 1e9 - seconds) < 30
                           for each in robot.detections) > 5
            robot.wait_for(answered, f'detections at {seconds} s')
            robot.detections.clear()
        assert robot.status('detector', OK).message == 'active'
        age = robot.values('latency')['Result age p50 (ms)']
        assert 0 <= float(age) < 10_000


def test_publisher_that_dies_and_returns(tmp_path: Path) -> None:
    bundle = write_sees_one(tmp_path, 'one', 3)
    with detector(parameters={'autostart': True, 'model': str(bundle.folder)}) as robot:
        assert people(robot.answer(grey()))
        robot.destroy_publisher(robot._publishers_by_topic.pop(TOPIC))
        robot.status('input', WARN, f'nobody publishes {TOPIC}')
        assert people(robot.answer(grey()))

        def well() -> bool:
            robot.send(grey())
            robot.spin(0.2)
            return robot.statuses['input'].level == OK
        robot.wait_for(well, 'input at level OK')


# The disk.


def test_bundle_replaced_while_it_runs(tmp_path: Path) -> None:
    folder = write_sees_one(tmp_path, 'one', 3).folder
    other = write_sees_one(tmp_path, 'other', 5).folder
    with detector(parameters={'autostart': True, 'model': str(folder)}) as robot:
        before = people(robot.answer(grey()))
        graph = (other / 'model.onnx').read_bytes()
        (folder / 'model.onnx').write_bytes(graph[:len(graph) // 2])  # over the very file
        assert people(robot.answer(grey())) == before
        assert robot.transition('deactivate') and robot.transition('activate')
        assert people(robot.answer(grey())) == before, 'what was loaded goes on'

        assert robot.transition('deactivate') and robot.transition('cleanup')
        assert not robot.transition('configure')
        robot.status('detector', ERROR, f'{folder / "model.onnx"}')
        (folder / 'model.onnx').write_bytes(graph)
        assert not robot.transition('configure'), 'the card is of another graph'
        shutil.copy(other / 'model.yaml', folder)
        assert robot.transition('configure') and robot.transition('activate')
        assert people(robot.answer(grey())) != before
        shutil.rmtree(folder)
        assert people(robot.answer(grey())) != before


@pytest.mark.parametrize('variable, more', [('ROS_LOG_DIR', {}), ('HOME', {'ROS_LOG_DIR': ''})])
def test_log_folder_that_cannot_be_written_is_told_in_one_line(
        tmp_path: Path, variable: str, more: dict[str, str]) -> None:
    (tmp_path / 'file').touch()
    bundle = write_sees_one(tmp_path, 'one', 3)
    with detector(
            parameters={'autostart': True, 'model': str(bundle.folder)},
            environment={variable: str(tmp_path / 'file'), **more}) as robot:
        assert people(robot.answer(grey()))
        lines = [line for line in robot.log().splitlines() if str(tmp_path / 'file') in line]
        assert len(lines) == 1
        assert 'no log file' in lines[0] and 'set ROS_LOG_DIR' in lines[0]
        robot.process.send_signal(signal.SIGTERM)
        assert end_of(robot) == 0


# A disk of 64 kB that is full, and seen by what is started from here alone.
FULL_DISK = """
mount -t tmpfs -o size=64k tmpfs "$1" || exit 77
dd if=/dev/zero of="$1/fill" bs=1k count=100 2>/dev/null
shift
exec "$@"
"""


def on_a_full_disk(folder: Path, command: list[str]) -> list[str]:
    return ['unshare', '-Urm', 'sh', '-c', FULL_DISK, 'sh', str(folder), *command]


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = tmp_path / 'disk'
    disk.mkdir()
    if not shutil.which('unshare') or subprocess.run(
            on_a_full_disk(disk, ['true']), capture_output=True, check=False).returncode:
        pytest.skip('needs a kernel that lets everybody mount in a namespace of their own')
    bundle = write_sees_one(tmp_path, 'one', 3)
    monkeypatch.setattr(robot_module, 'node_command', lambda *words, **named: on_a_full_disk(
        disk, node_command(*words, **named)))
    with detector(
            parameters={'autostart': True, 'model': str(bundle.folder)},
            environment={'ROS_LOG_DIR': str(disk / 'log'), 'TMPDIR': str(disk)}) as robot:
        for _ in range(20):
            assert people(robot.answer(grey()))
        assert robot.status('detector', OK).message == 'active'
        robot.process.send_signal(signal.SIGTERM)
        assert end_of(robot) == 0
