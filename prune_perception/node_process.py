# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Starts nodes as processes of their own, without importing ROS.

For whoever must not import rclpy itself: the command line, the replay evaluation, benchmarks.
``ros2 launch`` does the same on a robot.
"""

from collections.abc import Mapping, Sequence
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
from typing import Any

from prune_perception.resources import find_config

_SECONDS_TO_STOP = 10.0


def profile_variable() -> str:
    """
    Return the environment variable in which Fast DDS looks for its profile.

    Version 2 (Jazzy) looks at one and version 3 (Kilted and later) at another, and each ignores
    or complains of the other's. The name of the library tells which one is there.
    """
    prefixes = [*os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep), sys.prefix]
    version_2 = any((Path(prefix) / 'lib' / 'libfastrtps.so').exists()
                    for prefix in prefixes if prefix)
    return 'FASTRTPS_DEFAULT_PROFILES_FILE' if version_2 else 'FASTDDS_DEFAULT_PROFILES_FILE'


def dds_environment(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """
    Return an environment in which images get through and discovery stays on this host.

    What the caller's environment says already is kept.
    """
    environment = dict(os.environ if base is None else base)
    environment.setdefault(profile_variable(), str(find_config('fastdds.xml')))
    environment.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    return environment


def node_command(
        node: str, *, parameters: Mapping[str, Any] | None = None,
        remappings: Mapping[str, str] | None = None, log_level: str | None = None) -> list[str]:
    """
    Return the command line that runs a node of this package.

    :param node: a module of ``prune_perception.nodes``.
    """
    words = [sys.executable, '-m', f'prune_perception.nodes.{node}', '--ros-args']
    for name, value in (parameters or {}).items():
        # JSON is YAML, which rcl reads here; but not its escapes of what lies beyond 16 bits.
        words += ['-p', f'{name}:={json.dumps(value, ensure_ascii=False)}']
    for source, target in (remappings or {}).items():
        words += ['-r', f'{source}:={target}']
    if log_level is not None:
        words += ['--log-level', log_level]
    return words


def start(
        command: Sequence[str], environment: Mapping[str, str],
        **options: Any) -> 'subprocess.Popen[bytes]':
    """
    Start a node; in a session of its own, so that Ctrl-C reaches the caller alone.

    :param environment: of :func:`dds_environment`, unless images may be lost.
    :param options: of ``subprocess.Popen``.
    """
    return subprocess.Popen(
        list(command), env=dict(environment), start_new_session=True, **options)


def stop(process: 'subprocess.Popen[bytes]') -> int:
    """Ask a node to end as Ctrl-C would, insist if it does not, and return its exit status."""
    for request in (signal.SIGINT, signal.SIGTERM):
        if process.poll() is None:
            process.send_signal(request)
            try:
                process.wait(_SECONDS_TO_STOP)
            except subprocess.TimeoutExpired:
                continue
    if process.poll() is None:
        process.kill()
    return process.wait()
