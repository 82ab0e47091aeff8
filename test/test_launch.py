# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The launch files: what they declare, and what real tools make of them in a colcon install."""

import ast
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib import util
import os
from pathlib import Path
import re
import shutil
import signal
import subprocess
import sys
import time
from typing import Any

from bundles import write_sees_one
import numpy as np
import pytest
import rclpy
from robot import free_domain, people, raw, Robot, SECONDS
from sensor_msgs.msg import Image

from prune_perception.frames.recording import open_recording
from prune_perception.node_process import start, stop
from prune_perception.nodes.detector_parameters import PARAMETERS
from prune_perception.nodes.watchdog import STATUS_HUNG
from prune_perception.resources import find_resource

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'benchmarks'))

from broken_networks import write_broken_on_white

ROOT = Path(__file__).resolve().parent.parent
LAUNCH_FILE = ROOT / 'launch' / 'perception.launch.py'

needs_launch = pytest.mark.skipif(
    not (util.find_spec('launch_ros') and util.find_spec('colcon_ros')),
    reason="'launch' and 'launch_ros' come with ROS 2 alone, there are no wheels of them"
    if not util.find_spec('launch_ros') else 'needs colcon with its ROS extension')

needs_ros2 = pytest.mark.skipif(
    not shutil.which('ros2'), reason="the command 'ros2' comes with ROS 2 alone")

# What `ros2 launch` does, without ros2cli: FILE NAME:=VALUE...
LAUNCH = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

service = LaunchService()
service.include_launch_description(LaunchDescription([IncludeLaunchDescription(
    PythonLaunchDescriptionSource(sys.argv[1]),
    launch_arguments=[word.split(':=', 1) for word in sys.argv[2:]])]))
sys.exit(service.run())
"""


def string_arguments(function: str) -> set[str]:
    """Return the first arguments, where they are texts, of the launch file's calls."""
    return {
        call.args[0].value for call in ast.walk(ast.parse(LAUNCH_FILE.read_text()))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
        and call.func.id == function and call.args
        and isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str)}


def overrides() -> dict[str, str]:
    """Return the launch file's parameters that are arguments, with the names of their types."""
    for statement in ast.parse(LAUNCH_FILE.read_text()).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == 'OVERRIDES':
            assert isinstance(statement.value, ast.Dict)
            return {ast.literal_eval(name): ast.unparse(kind) for name, kind
                    in zip(statement.value.keys, statement.value.values, strict=True) if name}
    raise AssertionError('the launch file has no OVERRIDES')


def test_overridden_parameters_are_the_nodes() -> None:
    types = {spec.name: type(spec.default).__name__ for spec in PARAMETERS}
    types['use_sim_time'] = 'bool'  # which every node has
    assert overrides()
    assert {name: types.get(name) for name in overrides()} == overrides()


def test_arguments_are_declared_and_explained() -> None:
    declared = string_arguments('argument')
    assert declared >= {
        'model', 'ladder', 'image_topic', 'cameras', 'image_transport', 'namespace', 'params_file',
        'engine', 'threads', 'autostart', 'use_sim_time', 'log_level', 'respawn'}
    assert declared >= string_arguments('value') | set(overrides())
    section = (ROOT / 'README.md').read_text().partition('\n## Launch\n')[2].partition('\n## ')[0]
    assert {name for name in declared if f'`{name}`' not in section} == set()


@pytest.fixture(scope='module')
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the package with colcon, and return the prefix it is installed to."""
    folder = tmp_path_factory.mktemp('workspace')
    shutil.copytree(ROOT, folder / 'src', ignore=shutil.ignore_patterns(
        '.venv*', '.git', '.*_cache', '__pycache__', '*.egg-info', 'build', 'install', 'log'))
    result = subprocess.run(
        [sys.executable, '-m', 'colcon', 'build'], cwd=folder, capture_output=True, text=True,
        check=False, env={**os.environ, 'COLCON_LOG_PATH': str(folder / 'log')})
    assert result.returncode == 0, result.stdout + result.stderr
    return folder / 'install' / 'prune_perception'


def launch_command(
        installed: Path, *arguments: str, file: str = 'perception') -> list[str]:
    """Return the command that launches the installed package, as a user who sourced it would."""
    setup = installed.parent / 'setup.bash'
    path = installed / 'share' / 'prune_perception' / 'launch' / f'{file}.launch.py'
    return ['bash', '-c', f'source {setup} && cd {installed} && exec "$@"', 'bash',
            sys.executable, '-c', LAUNCH, str(path), *arguments]


def launched_environment(folder: Path, **variables: str) -> dict[str, str]:
    """Return this environment, without what keeps discovery on this host: launch has to."""
    environment = {**os.environ, 'ROS_LOG_DIR': str(folder), **variables}
    del environment['ROS_AUTOMATIC_DISCOVERY_RANGE']
    return environment


@contextmanager
def running(command: list[str], folder: Path, **variables: str) -> Iterator[Robot]:
    """Start a command that starts the nodes, and stand a robot around it."""
    domain = free_domain()
    path = folder / 'log'
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    with path.open('wb') as log:
        process = start(
            command, launched_environment(folder, ROS_DOMAIN_ID=str(domain), **variables),
            stdout=log, stderr=subprocess.STDOUT)
        robot = Robot(context, process, path)
        try:
            yield robot
        finally:
            stop(process)
            robot.destroy_node()
            rclpy.shutdown(context=context)


def launched(installed: Path, folder: Path, *arguments: str, file: str = 'perception'
             ) -> AbstractContextManager[Robot]:
    """Launch, and stand a robot around it."""
    return running(launch_command(installed, *arguments, file=file), folder)


def node_processes(robot: Robot) -> list[int]:
    """Return the numbers of the processes that launch has started so far."""
    return [int(found) for found in re.findall(r'started with pid \[(\d+)\]', robot.log())]


@pytest.fixture(scope='module')
def last_image() -> np.ndarray:
    with open_recording(find_resource('demo', 'pedestrians')) as recording:
        return list(recording)[-1].image()


@needs_launch
def test_launched_node_answers_and_comes_back(
        installed: Path, tmp_path: Path, last_image: np.ndarray) -> None:
    parameters = tmp_path / 'mine.yaml'
    parameters.write_text('/detector:\n  ros__parameters: {score_threshold: 0.4, threads: 2}\n')
    with launched(
            installed, tmp_path, f'params_file:={parameters}', 'threads:=1',
            'image_topic:=/front/image') as robot:
        assert people(robot.answer(raw(last_image), '/front/image'))

        # The installed package it is, with the user's file, and with the argument over that.
        values = robot.values('detector')
        assert values['Model folder'] == str(
            installed / 'share' / 'prune_perception' / 'models' / 'nanodet_g')
        label = robot.wait_for(lambda: robot.labels, 'label_info')[0]
        assert label.threshold == pytest.approx(0.4)
        assert '1 threads' in values['Engine']

        os.kill(node_processes(robot)[0], signal.SIGKILL)
        robot.wait_for(lambda: len(node_processes(robot)) == 2, 'second process')
        assert people(robot.answer(raw(last_image), '/front/image'))

        # As a terminal does it: launch and node are interrupted both, and launch does it again.
        os.killpg(robot.process.pid, signal.SIGINT)
        assert robot.process.wait(20) == 0, robot.log()
        assert f'process has finished cleanly [pid {node_processes(robot)[1]}]' in robot.log()
        assert 'Traceback' not in robot.log()


@needs_launch
def test_hung_node_comes_back(installed: Path, tmp_path: Path) -> None:
    pytest.importorskip('onnx')
    bundle = write_broken_on_white(tmp_path, write_sees_one(tmp_path, 'one', 3), 'operator')
    with launched(installed, tmp_path, f'model:={bundle.folder}', 'threads:=1') as robot:
        for processes in (1, 2):
            assert people(robot.answer(raw(np.full((32, 64, 3), 127, np.uint8))))
            robot.detections.clear()
            publisher = robot.publisher(Image, '/camera/image_raw')

            def ended(processes: int = processes, publisher: Any = publisher) -> bool:
                publisher.publish(raw(np.full((32, 64, 3), 255, np.uint8)))
                robot.spin(0.1)
                return len(node_processes(robot)) > processes
            robot.wait_for(ended, 'another process')
            assert robot.log().count(f'exit code {STATUS_HUNG}') == processes


@needs_launch
def test_several_cameras(installed: Path, tmp_path: Path, last_image: np.ndarray) -> None:
    share = installed / 'share' / 'prune_perception'
    with launched(
            installed, tmp_path, 'cameras:=front=/hall/image,rear',
            f'params_file:={share / "config" / "cameras.yaml"}') as robot:
        front, rear = (
            robot.listen(f'/detector/{name}/detections') for name in ('front', 'rear'))
        answer = robot.answer(raw(last_image), '/hall/image', front)
        assert people(answer)
        # Of the file: the lowest quarter of the image is not looked at.
        assert all(box[3] <= 0.75 * len(last_image) + 0.01 for box in people(answer))
        assert people(robot.answer(raw(last_image), '/rear/image_raw', rear))
        assert robot.parameter('front.priority') == 5
        assert robot.parameter('rear.classes') == ['person']


@needs_launch
def test_ladder(installed: Path, tmp_path: Path) -> None:
    with launched(
            installed, tmp_path, 'ladder:=nanodet_g_person_25, nanodet_g_person_10') as robot:
        values = robot.values('governor')
        assert values['Ladder'] == 'nanodet_g_person_25, nanodet_g_person_10'
        assert robot.parameter('ladder') == ['nanodet_g_person_25', 'nanodet_g_person_10']


@needs_launch
@pytest.mark.parametrize('file, arguments', [
    ('perception', ['model:=nanodet_g_person_10']), ('power_monitor', []),
    ('replay', ['recording:={share}/demo/pedestrians', 'start_paused:=true'])])
@pytest.mark.parametrize('wanted', ['', 'SUBNET'])
def test_discovery_stays_on_this_host_unless_told_otherwise(
        installed: Path, tmp_path: Path, file: str, arguments: list[str], wanted: str) -> None:
    share = installed / 'share' / 'prune_perception'
    words = [word.format(share=share) for word in arguments]
    if wanted:
        words.append(f'discovery_range:={wanted}')
    with launched(installed, tmp_path, *words, file=file) as robot:
        pid = robot.wait_for(lambda: node_processes(robot), 'process')[0]

        def variables() -> list[str]:
            return Path(f'/proc/{pid}/environ').read_text().split('\0')
        # For a moment after its start the process is still a copy of launch's.
        robot.wait_for(
            lambda: f'ROS_AUTOMATIC_DISCOVERY_RANGE={wanted or "LOCALHOST"}' in variables(),
            'discovery range of the node')


def ros2(robot: Robot, *words: str) -> subprocess.Popen[str]:
    """Start the command on the robot's domain."""
    domain = str(robot.context.get_domain_id())
    return subprocess.Popen(
        ['ros2', *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, 'ROS_DOMAIN_ID': domain, 'PYTHONUNBUFFERED': '1'})


def said(robot: Robot, *words: str) -> str:
    """
    Run the command to its end, and return what it prints.

    Again, where it gave discovery too little time.
    """
    deadline = time.monotonic() + 2 * SECONDS
    while True:
        process = ros2(robot, *words)
        try:
            printed = process.communicate(timeout=2 * SECONDS)[0]
        finally:
            process.kill()
        if printed not in ('', 'Node not found\n') or time.monotonic() > deadline:
            return printed


@needs_launch
@needs_ros2
def test_command_line_of_ros2(installed: Path, tmp_path: Path, last_image: np.ndarray) -> None:
    # The daemon would outlive the test, and keep what it saw on other domains.
    directly = ('--no-daemon', '--spin-time', '2')
    with launched(installed, tmp_path, 'model:=nanodet_g_person_25', 'threads:=1') as robot:
        robot.answer(raw(last_image))
        assert said(robot, 'lifecycle', 'get', *directly, '/detector') == 'active [3]\n'
        assert said(robot, 'lifecycle', 'nodes', *directly) == '/detector\n'
        for transition, state in (('deactivate', 'inactive [2]'), ('activate', 'active [3]')):
            answer = said(robot, 'lifecycle', 'set', *directly, '/detector', transition)
            assert answer == 'Transitioning successful\n'
            assert said(
                robot, 'lifecycle', 'get', *directly, '/detector') == f'{state}\n'

        assert said(robot, 'param', 'get', *directly, '/detector', 'threads') == (
            'Integer value is: 1\n')
        assert said(robot, 'param', 'set', *directly, '/detector', 'score_threshold', '0.5') == (
            'Set parameter successful\n')
        assert robot.parameter('score_threshold') == 0.5
        refusal = said(robot, 'param', 'set', *directly, '/detector', 'engine', 'openvino')
        assert 'takes effect when the node is configured' in refusal
        described = said(robot, 'param', 'describe', *directly, '/detector', 'iou_threshold')
        assert 'Max value: 1.0' in described and 'intersection over union' in described

        answer = said(
            robot, 'service', 'call', '/detector/enable', 'std_srvs/srv/SetBool', '{data: false}')
        assert "message='disabled'" in answer
        assert robot.enable(True) == 'enabled'


@needs_launch
@needs_ros2
@pytest.mark.parametrize('verb, pattern', [
    ('hz', r'average rate: (\d+\.\d+)'), ('delay', r'average delay: (\d+\.\d+)')])
def test_rate_and_delay_by_ros2(
        installed: Path, tmp_path: Path, last_image: np.ndarray, verb: str, pattern: str) -> None:
    with launched(installed, tmp_path, 'model:=nanodet_g_person_10', 'threads:=1') as robot:
        robot.answer(raw(last_image))
        process = ros2(robot, 'topic', verb, '/detector/detections')
        assert process.stdout is not None
        output = process.stdout.fileno()
        os.set_blocking(output, False)
        printed = ''

        def figure() -> str | None:
            nonlocal printed
            robot.send(raw(last_image))
            robot.spin(0.1)
            with suppress(BlockingIOError):  # it has said nothing more
                printed += os.read(output, 65_536).decode()
            found = re.findall(pattern, printed)
            return found[-1] if len(found) >= 2 else None
        try:
            value = float(robot.wait_for(figure, f'figure of ros2 topic {verb}'))
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(20)
        # Images come every 0.1 s and something; each result is under the header of its image.
        assert 0 < value < (10.5 if verb == 'hz' else 5)


@needs_launch
@pytest.mark.parametrize('argument, words', [
    ('params_file:=nowhere.yaml', 'params_file:=nowhere.yaml: there is no such file'),
    ('fastdds_profile:=nowhere.xml', 'fastdds_profile:=nowhere.xml: there is no such file'),
    ('threads:=two', 'threads:=two'),
    ('image_topic:=/front camera', '/front camera'),
    ('cameras:=front,front=/image', "'front=/image' is no camera; write NAME=TOPIC"),
    ('cameras:=front=', "'front=' is no camera"),
    ('cameras:=front=/front camera', '/front camera'),
    ('ladder:=nanodet_g,', 'ladder:=nanodet_g,: write the names'),
    ('autostart:=maybe', '"autostart" provided value "maybe" is not valid'),
    ('log_level:=loud', '"log_level" provided value "loud" is not valid')])
def test_argument_that_cannot_be_is_told(
        installed: Path, tmp_path: Path, argument: str, words: str) -> None:
    result = subprocess.run(
        launch_command(installed, argument), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=30, check=False, env={**os.environ, 'ROS_LOG_DIR': str(tmp_path)})
    assert result.returncode == 1
    assert words in result.stdout
    assert 'process started' not in result.stdout
