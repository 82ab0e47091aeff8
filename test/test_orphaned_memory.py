# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Shared memory of real participants that live, and that were killed."""

from collections.abc import Callable, Iterator
import fcntl
import os
from pathlib import Path
import subprocess
import sys
import time

import pytest
from robot import free_domain

from prune_perception.node_process import dds_environment
from prune_perception.nodes import orphaned_memory
from prune_perception.nodes.orphaned_memory import remove_orphans

MEMORY = Path('/dev/shm')
PARTICIPANT = """
import rclpy
rclpy.init()
node = rclpy.create_node('participant')
print('ready', flush=True)
input()
"""


@pytest.fixture
def participant() -> Iterator[Callable[[], 'subprocess.Popen[bytes]']]:
    """Start participants on a domain of their own, with the profile."""
    processes: list[subprocess.Popen[bytes]] = []
    environment = dds_environment() | {'ROS_DOMAIN_ID': str(free_domain())}

    def start() -> 'subprocess.Popen[bytes]':
        process = subprocess.Popen(
            [sys.executable, '-c', PARTICIPANT], env=environment, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE)
        processes.append(process)
        assert process.stdout and process.stdout.readline() == b'ready\n'
        return process
    yield start
    for process in processes:
        process.kill()
        process.communicate()


def segments(process: 'subprocess.Popen[bytes]') -> set[Path]:
    """Return the segments that a process has of its own, and not of one that lives beside it."""
    lines = Path(f'/proc/{process.pid}/maps').read_text().splitlines()
    names = {line.split('/dev/shm/')[1].split()[0] for line in lines if '/dev/shm/' in line}
    return {MEMORY / name for name in names if orphaned_memory._LOCK.fullmatch(f'{name}_el')}


def test_segments_of_a_killed_process_are_removed_and_no_others(
        participant: Callable[[], 'subprocess.Popen[bytes]'],
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphaned_memory, '_SECONDS_TO_LOCK', 0.0)
    first = participant()
    own = segments(first)
    if not own:
        pytest.skip('this middleware has no shared memory of these names')
    remove_orphans()
    assert all(path.exists() for path in own), 'of one that lives'
    first.kill()
    first.wait()
    assert all(path.exists() for path in own), 'nobody else removes them'
    second = participant()
    living = segments(second) - own
    assert living
    remove_orphans()
    assert not any(path.exists() for path in own)
    assert not any(path.with_name(f'{path.name}_el').exists() for path in own)
    assert all(path.exists() for path in living)


@pytest.fixture
def segment(tmp_path: Path) -> Path:
    """Write an orphan of 4 kB that is an hour old."""
    for name in ('fastrtps_0123456789abcdef', 'fastrtps_0123456789abcdef_el'):
        (tmp_path / name).write_bytes(b'' if name.endswith('_el') else b'x' * 4096)
        os.utime(tmp_path / name, (time.time() - 3600,) * 2)
    return tmp_path / 'fastrtps_0123456789abcdef'


def test_orphan(segment: Path) -> None:
    assert remove_orphans(segment.parent) == 4096
    assert list(segment.parent.iterdir()) == []
    assert remove_orphans(segment.parent) == 0
    assert remove_orphans(segment.parent / 'nowhere') == 0


def test_locked_by_whoever(segment: Path) -> None:
    with segment.with_name(f'{segment.name}_el').open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        assert remove_orphans(segment.parent) == 0
    assert segment.exists()


def test_what_has_just_been_made_may_not_be_locked_yet(segment: Path) -> None:
    lock = segment.with_name(f'{segment.name}_el')
    os.utime(lock)
    assert remove_orphans(segment.parent) == 0 and lock.exists() and segment.exists()
    os.utime(lock, (time.time() + 3600,) * 2)  # the clock was set back
    assert remove_orphans(segment.parent) == 0 and segment.exists()


def test_of_another_user(segment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphaned_memory.os, 'getuid', lambda: -1)
    assert remove_orphans(segment.parent) == 0 and segment.exists()


@pytest.mark.parametrize('name', [
    'fastdds_port7410', 'fast_datasharing_0123456789abcdef', 'fastdds_0123456789abcde',
    'fastdds_0123456789abcdef0', 'fasting_0123456789abcdef'])
def test_other_names_are_left_alone(segment: Path, name: str) -> None:
    lock = segment.with_name(f'{segment.name}_el')
    other = segment.rename(segment.with_name(name))
    lock = lock.rename(other.with_name(f'{name}_el'))
    assert remove_orphans(other.parent) == 0 and other.exists() and lock.exists()
