# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

import os
from pathlib import Path
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import pytest
import yaml

from prune_perception import node_process
from prune_perception.node_process import (
    dds_environment,
    free_domain,
    node_command,
    profile_variable,
    start,
    stop,
)
from prune_perception.resources import find_config

VERSION_2, VERSION_3 = 'FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'


@pytest.fixture
def prefixes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let there be two prefixes and an environment of Python, all of them empty."""
    for name in ('one', 'two', 'python'):
        (tmp_path / name / 'lib').mkdir(parents=True)
    monkeypatch.setenv('AMENT_PREFIX_PATH', f'{tmp_path}/one{os.pathsep}{tmp_path}/two')
    monkeypatch.setattr(sys, 'prefix', str(tmp_path / 'python'))
    return tmp_path


@pytest.mark.parametrize('where', ['one', 'two', 'python'])
def test_version_2_of_the_transport_is_told_by_its_library(prefixes: Path, where: str) -> None:
    assert profile_variable() == VERSION_3
    (prefixes / where / 'lib' / 'libfastrtps.so').touch()
    assert profile_variable() == VERSION_2


def test_without_prefixes_the_newer_version_is_assumed(
        prefixes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv('AMENT_PREFIX_PATH')
    monkeypatch.chdir(prefixes / 'one')
    (prefixes / 'one' / 'lib' / 'libfastrtps.so').touch()
    assert profile_variable() == VERSION_3, 'the current folder is no prefix'


@pytest.mark.usefixtures('prefixes')
def test_images_get_through_and_discovery_stays_here() -> None:
    base = {'HOME': '/home/robot'}
    assert dds_environment(base) == {
        'HOME': '/home/robot', VERSION_3: str(find_config('fastdds.xml')),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
    assert base == {'HOME': '/home/robot'}


@pytest.mark.usefixtures('prefixes')
def test_what_the_caller_says_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VERSION_3, '/etc/mine.xml')
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'SUBNET')
    environment = dds_environment()
    assert environment[VERSION_3] == '/etc/mine.xml'
    assert environment['ROS_AUTOMATIC_DISCOVERY_RANGE'] == 'SUBNET'
    assert environment['PATH'] == os.environ['PATH']


def test_command_of_a_node() -> None:
    assert node_command('detector_node') == [
        sys.executable, '-m', 'prune_perception.nodes.detector_node', '--ros-args']
    assert node_command(
        'detector_node', parameters={'model': 'a', 'threads': 2, 'autostart': True},
        remappings={'image': '/camera/image_raw'}, log_level='debug')[4:] == [
            '-p', 'model:="a"', '-p', 'threads:=2', '-p', 'autostart:=true',
            '-r', 'image:=/camera/image_raw', '--log-level', 'debug']


@pytest.mark.parametrize('value', [
    '', 'yes', '12', '1e3', 'null', '~', 'a: b # c', "it's", 'two\nlines', 'back\\slash "quoted"',
    '/data/été/人/\N{ROBOT FACE}', True, False, 0, -3, 0.5, 1.0, 1e-06, ['person', 'no'],
    [1, 2], [0.5, 1.0], []])
def test_parameters_keep_value_and_type(value: Any) -> None:
    _, rule = node_command('detector_node', parameters={'name': value})[-2:]
    name, _, text = rule.partition(':=')
    assert name == 'name'
    assert '\n' not in text
    # The parser of ROS 2 takes no pair of surrogates, which PyYAML would.
    assert '\\ud83e' not in text
    if value == 1e-06:
        assert float(text) == value  # a number for ROS 2, though not for PyYAML
    else:
        read = yaml.safe_load(text)
        assert read == value
        assert type(read) is type(value)


STUBBORN = """
import signal, sys, time
for name in sys.argv[2:]:
    signal.signal(getattr(signal, name), lambda *_: None)
if sys.argv[1] != '-':
    signal.signal(getattr(signal, sys.argv[1]), lambda *_: sys.exit(7))
print('ready', flush=True)
deadline = time.monotonic() + 60
while time.monotonic() < deadline:
    time.sleep(0.05)
"""


def started(*words: str) -> 'subprocess.Popen[bytes]':
    process = start(
        [sys.executable, '-c', STUBBORN, *words], os.environ, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b'ready\n'
    return process


def test_a_node_is_asked_as_by_ctrl_c() -> None:
    process = started('SIGINT')
    assert os.getsid(process.pid) == process.pid, 'Ctrl-C at the terminal does not reach it'
    assert stop(process) == 7


def test_a_node_that_does_not_hear_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_process, '_SECONDS_TO_STOP', 0.3)
    assert stop(started('SIGTERM', 'SIGINT')) == 7


def test_a_node_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_process, '_SECONDS_TO_STOP', 0.2)
    begin = time.monotonic()
    assert stop(started('-', 'SIGINT', 'SIGTERM')) == -signal.SIGKILL
    assert time.monotonic() - begin < 10


def test_a_node_that_ended_by_itself_gives_its_status() -> None:
    process = start([sys.executable, '-c', 'raise SystemExit(3)'], os.environ)
    process.wait(10)
    assert stop(process) == 3
    assert stop(process) == 3


def test_the_environment_reaches_the_node() -> None:
    process = start(
        [sys.executable, '-c', "import os; print(os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'])"],
        dds_environment({'PATH': os.environ['PATH']}), stdout=subprocess.PIPE)
    assert process.communicate(timeout=10)[0] == b'LOCALHOST\n'


def test_domain_is_not_the_robots(monkeypatch: pytest.MonkeyPatch) -> None:
    for pid in range(120):
        monkeypatch.setattr(os, 'getpid', lambda pid=pid: pid)
        for mine in ('0', '1', '57', '101'):
            monkeypatch.setenv('ROS_DOMAIN_ID', mine)
            assert 1 <= free_domain() <= 101
            assert str(free_domain()) != mine
    taken = free_domain()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
        port.bind(('', 7410 + 250 * taken + 2))
        assert free_domain() != taken
    monkeypatch.setattr(node_process, '_is_free', lambda domain: False)
    with pytest.raises(RuntimeError, match='every ROS domain of this machine is in use'):
        free_domain()
