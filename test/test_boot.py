# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The systemd unit: that systemd takes it, and that the node bears what it forbids."""

import configparser
import os
from pathlib import Path
import shlex
import shutil
import signal
import subprocess

import numpy as np
import pytest
from robot import people, raw
import test_launch
from test_launch import needs_launch, needs_ros2, node_processes, running

from prune_perception.frames.recording import open_recording
from prune_perception.node_process import node_command
from prune_perception.resources import find_config, find_resource

UNIT = find_config('prune_perception.service')

installed = test_launch.installed  # a fixture, which pytest finds by its name

# Of what the unit forbids, what can be forbidden without systemd: writing, and all privileges.
# Launch needs some folder for temporary files, which PrivateTmp leaves.
SANDBOX = """
set -e
umask "$1"
mount --bind "$2" "$2"
mount -t tmpfs tmpfs /var/tmp
mount -o remount,bind,ro /
test ! -w /
shift 2
exec setpriv --no-new-privs --inh-caps=-all --bounding-set=-all -- "$@"
"""


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[method-assign, assignment]
    parser.read(UNIT)
    return parser


def command_of_the_unit() -> list[str]:
    text = unit()['Service']['ExecStart'].replace('\\\n', ' ')
    return [word.replace('$$', '$') for word in shlex.split(text)]


def sandboxed(folder: Path, command: list[str]) -> list[str]:
    return ['unshare', '--mount', '--map-root-user', 'bash', '-c', SANDBOX, 'sandbox',
            unit()['Service']['UMask'], str(folder), *command]


def sandbox_works(folder: Path) -> bool:
    if not all(shutil.which(name) for name in ('unshare', 'setpriv', 'mount')):
        return False
    return subprocess.run(
        sandboxed(folder, ['true']), capture_output=True, check=False).returncode == 0


needs_sandbox = pytest.mark.skipif(
    not sandbox_works(Path(__file__).parent),
    reason='mount namespaces are not permitted to this user here (unshare --mount '
           '--map-root-user), or util-linux is not all there')


@pytest.fixture(scope='module')
def image() -> np.ndarray:
    with open_recording(find_resource('demo', 'pedestrians')) as recording:
        return next(iter(recording)).image()


@pytest.mark.skipif(not shutil.which('systemd-analyze'), reason="needs the tool 'systemd-analyze'")
def test_systemd_takes_the_unit() -> None:
    result = subprocess.run(
        ['systemd-analyze', 'verify', '--recursive-errors=no', UNIT], capture_output=True,
        text=True, check=False)
    assert (result.returncode, result.stderr) == (0, '')


def test_it_is_started_again_whatever_happens() -> None:
    service = unit()['Service']
    assert (service['Restart'], service['RestartSec']) == ('always', '1')
    assert unit()['Unit']['StartLimitIntervalSec'] == '0'
    # What Ctrl-C does, to launch alone: it hands it on.
    assert (service['KillSignal'], service['KillMode']) == ('SIGINT', 'mixed')


def test_other_hosts_are_out_of_reach() -> None:
    service = unit()['Service']
    assert (service['IPAddressDeny'], service['IPAddressAllow']) == ('any', 'localhost')


@needs_sandbox
def test_node_needs_no_privilege_and_writes_nothing_but_its_log(
        tmp_path: Path, image: np.ndarray) -> None:
    command = node_command(
        'detector_node', parameters={'autostart': True, 'model': 'nanodet_g_person_25'},
        remappings={'image': '/camera/image_raw'})
    with running(
            sandboxed(tmp_path, command), tmp_path,
            ROS_AUTOMATIC_DISCOVERY_RANGE='LOCALHOST') as robot:
        assert people(robot.answer(raw(image)))
        status = Path(f'/proc/{robot.process.pid}/status').read_text()
        assert 'CapEff:\t0000000000000000' in status and 'NoNewPrivs:\t1' in status


@needs_sandbox
@needs_launch
@needs_ros2
def test_command_of_the_unit(installed: Path, tmp_path: Path, image: np.ndarray) -> None:
    command = sandboxed(tmp_path, command_of_the_unit())
    with running(
            command, tmp_path, ROS_SETUP='/dev/null', WORKSPACE=str(installed.parent.parent),
            ARGUMENTS='model:=nanodet_g_person_25 threads:=1') as robot:
        assert people(robot.answer(raw(image)))
        os.kill(node_processes(robot)[0], signal.SIGKILL)
        robot.wait_for(lambda: len(node_processes(robot)) == 2, 'second process')
        assert people(robot.answer(raw(image)))

        robot.process.send_signal(signal.SIGINT)
        assert robot.process.wait(int(unit()['Service']['TimeoutStopSec'])) == 0, robot.log()
        assert 'process has finished cleanly' in robot.log()
