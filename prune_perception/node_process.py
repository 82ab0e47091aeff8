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
import socket
import subprocess
import sys
from typing import Any

from prune_perception.resources import find_config

_SECONDS_TO_STOP = 10.0
_LARGEST_DOMAIN = 101  # above, Linux may give the ports away


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


def free_domain() -> int:
    """
    Return a ROS domain that is not the caller's and that nobody on this machine is on.

    :raises RuntimeError: there is none.
    """
    mine = os.environ.get('ROS_DOMAIN_ID', '0')
    for number in range(os.getpid(), os.getpid() + _LARGEST_DOMAIN):
        domain = number % _LARGEST_DOMAIN + 1
        if str(domain) != mine and _is_free(domain):
            return domain
    raise RuntimeError('every ROS domain of this machine is in use; end some nodes')


def _is_free(domain: int) -> bool:
    """
    Return whether the ports of a domain's first participants are free.

    Participant p has the UDP port 7410 + 250 x domain + 2 x p (DDSI-RTPS 9.6).
    """
    for participant in range(10):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
            try:
                port.bind(('', 7410 + 250 * domain + 2 * participant))
            except OSError:
                return False
    return True


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
