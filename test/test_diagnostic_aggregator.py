# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The analyzers of config/diagnostic_aggregator.yaml, with what the nodes really publish."""

from collections.abc import Iterator
import os
from pathlib import Path
import re
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
import pytest
from robot import detector
import yaml

from prune_perception.node_process import node_command, start, stop
from prune_perception.resources import find_config

DOCUMENT = Path(__file__).resolve().parent.parent / 'docs/diagnostics.md'
GENERIC, GROUP = 'diagnostic_aggregator/GenericAnalyzer', 'diagnostic_aggregator/AnalyzerGroup'
# What each kind of analyzer reads, with the type that its parameter must have; the aggregator
# ends with an exception where it is another.
WORDS: dict[str, dict[str, type]] = {
    GENERIC: {'type': str, 'path': str, 'startswith': list, 'contains': list, 'regex': list,
              'expected': list, 'remove_prefix': list, 'find_and_remove_prefix': list,
              'timeout': float, 'num_items': int, 'discard_stale': bool},
    GROUP: {'type': str, 'path': str, 'analyzers': dict}}


def analyzers() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the path and the parameters of each analyzer that matches statuses."""
    given = yaml.safe_load(find_config('diagnostic_aggregator.yaml').read_text())
    parameters = dict(given['analyzers']['ros__parameters'])
    root = parameters.pop('path')
    assert isinstance(parameters.pop('pub_rate'), float)
    yield from _members(f'/{root}', parameters)


def _members(path: str, members: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for words in members.values():
        kinds = WORDS[words['type']]
        for name, value in words.items():
            assert isinstance(value, kinds[name]), name
        if words['type'] == GROUP:
            yield from _members(f'{path}/{words["path"]}', words['analyzers'])
        else:
            yield f'{path}/{words["path"]}', words


def matches(words: dict[str, Any], status: str) -> bool:
    """
    Return whether an analyzer takes a status, as GenericAnalyzer::match does.

    Names under ``expected`` are not among what it looks at: it only waits for them.
    """
    return (any(re.fullmatch(regex, status) for regex in words.get('regex', ()))
            or status.startswith(tuple(words.get('startswith', ())))
            or any(part in status for part in words.get('contains', ())))


def takers(status: str) -> list[str]:
    return [path.rpartition('/')[2] for path, words in analyzers() if matches(words, status)]


@pytest.fixture(scope='module')
def statuses() -> set[str]:
    """Names from a power monitor and two detectors, in states in which no model is needed."""
    several = {'cameras': ['front', 'rear'], 'ladder': ['large', 'small']}
    names: set[str] = set()
    with detector(parameters=several, beside={'power_monitor': {'root': '/nowhere'}}) as robot:
        robot.create_subscription(
            DiagnosticArray, '/diagnostics',
            lambda message: names.update(status.name for status in message.status), 10)
        other = start(
            node_command('detector_node', remappings={'__ns': '/arm/left'}),
            {**os.environ, 'ROS_DOMAIN_ID': str(robot.context.get_domain_id())})
        try:
            robot.wait_for(
                lambda: {'detector: detector', 'arm/left/detector: detector',
                         'power_monitor: meters'} <= names, 'statuses of three nodes')
        finally:
            stop(other)
    return names


def test_every_status_falls_under_one_analyzer(statuses: set[str]) -> None:
    assert {name: takers(name) for name in statuses} == {
        'detector: detector': ['Detector'],
        'detector: governor': ['Detector'],
        'detector: front: input': ['Cameras'],
        'detector: front: latency': ['Cameras'],
        'detector: rear: input': ['Cameras'],
        'detector: rear: latency': ['Cameras'],
        'detector: power': ['Power'],
        'arm/left/detector: detector': ['Detector'],
        'arm/left/detector: input': ['Cameras'],
        'arm/left/detector: latency': ['Cameras'],
        'arm/left/detector: power': ['Power'],
        'power_monitor: meters': ['Power']}


@pytest.mark.parametrize('status', [
    'detector: detector: input', 'detector: governor: latency', 'detector: power: input'])
def test_camera_that_is_called_as_a_status_is_a_camera(status: str) -> None:
    assert takers(status) == ['Cameras']


@pytest.mark.parametrize('status', [
    'lidar_detector: input', 'detector', 'joystick: detector', 'motors: power'])
def test_statuses_of_others_are_left_to_others(status: str) -> None:
    assert takers(status) == []


def test_what_is_expected_is_published_and_falls_under_the_analyzer_that_waits_for_it(
        statuses: set[str]) -> None:
    expected = [(path.rpartition('/')[2], name) for path, words in analyzers()
                for name in words.get('expected', ())]
    assert expected == [('Detector', 'detector: detector')]
    for path, name in expected:
        assert name in statuses
        assert takers(name) == [path]


def test_every_status_is_documented(statuses: set[str]) -> None:
    text = DOCUMENT.read_text()
    for name in statuses:
        node, _, kind = name.replace('arm/left/', '').partition(': ')
        assert f'`{node}: {kind.rpartition(": ")[2]}`' in text, name
