# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""No network is needed and none is used: the whole job in network namespaces of its own."""

import ast
import json
import os
from pathlib import Path
import re
import shutil
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip('pyroute2')

ROOT = Path(__file__).resolve().parent.parent
UNSHARE = ['unshare', '--net', '--mount', '--map-root-user']
SECONDS = 300.0
LAUNCH_FILES = sorted((ROOT / 'launch').glob('*.launch.py'))
# Layers are timed by two of the engines; for pruning there is torch alone.
JOBS = [('onnxruntime', 'evaluate,profile,onboard'), ('openvino', 'evaluate,profile,onboard'),
        ('torch', 'evaluate,onboard')]


def namespaces_are_permitted() -> bool:
    """Tell whether this user may make network namespaces, and pairs of interfaces in them."""
    if not shutil.which('unshare'):
        return False
    code = ('from pyroute2 import IPRoute; '
            "IPRoute().link('add', ifname='one', kind='veth', peer='other')")
    return subprocess.run(
        [*UNSHARE, sys.executable, '-c', code], capture_output=True, check=False).returncode == 0


needs_namespaces = pytest.mark.skipif(
    not namespaces_are_permitted(),
    reason='network namespaces are not permitted to this user here (unshare --net '
           '--map-root-user), or the kernel has no veth')


def isolated(
        folder: Path, jobs: str, engine: str = '', *, outside: bool, **variables: str
        ) -> dict[str, Any]:
    """Run jobs of ``isolated.py`` in a namespace; return what it saw."""
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', **variables}
    environment.pop('ORT_DISABLE_TELEMETRY', None)  # of conftest; the package has to do it itself
    environment['PYTHONPATH'] = os.pathsep.join(
        filter(None, (str(ROOT), environment.get('PYTHONPATH'))))
    result = subprocess.run(
        [*UNSHARE, sys.executable, Path(__file__).with_name('isolated.py'), jobs, engine, folder,
         *(['--outside'] if outside else [])],
        env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def needs(*modules: str) -> None:
    for module in modules:
        pytest.importorskip(module)


@needs_namespaces
@pytest.mark.slow
@pytest.mark.parametrize('engine, jobs', JOBS)
def test_job_with_loopback_alone(tmp_path: Path, engine: str, jobs: str) -> None:
    needs(engine, 'pycocotools')
    seen = isolated(tmp_path, jobs, engine, outside=False)
    assert seen['interfaces'] == ['lo']
    assert seen['tcp'] == {'sockets': [], 'connections': 0}


@needs_namespaces
@pytest.mark.slow
@pytest.mark.parametrize('engine, jobs', [
    *JOBS, ('torch', 'prune'), ('nncf', 'quantize')])
def test_nothing_leaves_the_host(tmp_path: Path, engine: str, jobs: str) -> None:
    """Nothing outside ever answers either: a job that needs it would fail."""
    needs(engine, 'pycocotools')
    if jobs in ('prune', 'quantize'):
        needs('torch', 'torch_pruning', 'onnx', 'onnxscript', 'openvino')
    seen = isolated(
        tmp_path, jobs, engine, outside=True, ROS_AUTOMATIC_DISCOVERY_RANGE='LOCALHOST')
    assert seen['packets'] == {}
    assert seen['tcp'] == {'sockets': [], 'connections': 0}
    # The address of the interface is not used within the host either.
    assert set(seen['within']) == ({'127.0.0.1 to 127.0.0.1'} if 'onboard' in jobs else set())
    # And no engine leaves an identifier to report under.
    assert [name for name in seen['home'] if not name.startswith('.ros/log/')] == []


@needs_namespaces
@pytest.mark.slow
@pytest.mark.parametrize('engine', ['onnxruntime', 'openvino', 'nncf'])
def test_report_of_an_engine_would_be_seen(tmp_path: Path, engine: str) -> None:
    needs(engine)
    seen = isolated(tmp_path, 'engine_alone', engine, outside=True)
    if not seen['packets']:
        pytest.skip(f'this version of {engine} reports nothing by itself within 30 s')
    assert set(seen['packets']) == {'UDP 198.51.100.53:53'}
    assert seen['home']


@needs_namespaces
def test_whatever_leaves_is_seen(tmp_path: Path) -> None:
    seen = isolated(tmp_path, 'control', outside=True)
    packets = seen['packets']
    assert packets.pop('ARP') >= 1  # the search for a neighbour, 192.0.2.1
    assert packets.pop('UDP 198.51.100.53:53') >= 1  # the look-up of a name
    assert packets.pop('TCP 198.51.100.53:443') >= 1
    assert packets == {'UDP 198.51.100.7:9': 1, 'UDP 2001:db8:1::7:9': 1}
    # Two that connect and one that is connected to.
    assert seen['tcp']['connections'] == 3
    assert any(socket.endswith(' 356433C6:01BB') for socket in seen['tcp']['sockets'])


@needs_namespaces
def test_discovery_in_the_subnet_is_seen_and_is_all_that_leaves(tmp_path: Path) -> None:
    needs('openvino')  # any engine will do; this one does not take the longest
    packets = isolated(
        tmp_path, 'onboard', 'openvino', outside=True,
        ROS_AUTOMATIC_DISCOVERY_RANGE='SUBNET')['packets']
    # The multicast group of DDS (DDSI-RTPS 9.6.2), and the kernel's joining it.
    found = [words for words in packets if re.fullmatch(r'UDP 239\.255\.0\.1:\d+ RTPS', words)]
    assert found
    assert set(packets) - set(found) <= {'IGMP 224.0.0.22'}


@pytest.mark.parametrize('path', LAUNCH_FILES, ids=lambda path: path.stem)
def test_launch_keeps_discovery_on_this_host(path: Path) -> None:
    """Each node gets the variable, from an argument whose default is that of the package."""
    tree = ast.parse(path.read_text())
    nodes = [call for call in ast.walk(tree)
             if isinstance(call, ast.Call) and ast.unparse(call.func) == 'Node']
    assert nodes
    for node in nodes:
        given = next(word.value for word in node.keywords if word.arg == 'additional_env')
        assert isinstance(given, ast.Dict)
        variables = {ast.unparse(name): ast.unparse(value) for name, value
                     in zip(given.keys, given.values, strict=True) if name}
        assert variables["'ROS_AUTOMATIC_DISCOVERY_RANGE'"] in (
            "value('discovery_range')", "LaunchConfiguration('discovery_range')")
    arguments = [call for call in ast.walk(tree) if isinstance(call, ast.Call) and call.args
                 and ast.unparse(call.args[0]) == "'discovery_range'"
                 and ast.unparse(call.func) in ('argument', 'DeclareLaunchArgument')]
    assert len(arguments) == 1
    default = arguments[0].args[1] if len(arguments[0].args) > 1 else next(
        word.value for word in arguments[0].keywords if word.arg == 'default_value')
    assert ast.unparse(default) in (
        "dds['ROS_AUTOMATIC_DISCOVERY_RANGE']",
        "dds_environment()['ROS_AUTOMATIC_DISCOVERY_RANGE']")
