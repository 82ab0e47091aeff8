# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""What the detector says of itself, from what it counted."""

from typing import Any

import pytest

from prune_perception.nodes.health import detector_finding, ERROR, latency_finding, OK, WARN
from prune_perception.nodes.input_health import InputHealth
from prune_perception.runtime.monitor import FrameTiming, Monitor, Snapshot, STAGES


def busy(*, images: int = 100, rate: float = 10.0, camera_rate: float | None = None,
         age: float | None = 0.03, failures: int = 0) -> Snapshot:
    """Return what a monitor says after images came at a rate, and were all processed."""
    monitor = Monitor(window=10.0)
    end = 1000.0
    for index in range(images):
        now = end - (images - 1 - index) / rate
        monitor.received(now, replaced=False)
        monitor.processed(now + 0.02, FrameTiming(dict.fromkeys(STAGES, 0.01), age))
    for index in range(round((camera_rate or 0) * 9)):
        monitor.camera_said(end - 9 + index / (camera_rate or 1))
    for _ in range(failures):
        monitor.failed(end)
    return monitor.snapshot(end + 0.03)


def judge(snapshot: Snapshot, now: float = 0.0, health: InputHealth | None = None,
          **changes: Any) -> Any:
    return (health or InputHealth()).finding(now, snapshot, **{
        'topic': '/camera/image_raw', 'publishers': 1, 'obstacle': lambda: None,
        'expected_rate': 0.0, 'seconds_active': 60.0, 'last_failure': None, 'enabled': True,
        **changes})


def test_images_that_come_are_fine() -> None:
    finding = judge(busy(camera_rate=10.0))
    assert finding.level == OK
    assert finding.values['Input rate (Hz)'] == '10.00'
    assert finding.values['Camera rate (Hz)'] == '10.00'


def test_images_lost_on_the_way_are_told_with_the_remedy() -> None:
    finding = judge(busy(images=20, rate=2.0, camera_rate=30.0))
    assert finding.level == WARN
    assert '2.0 of 30.0 images' in finding.message
    assert 'fastdds.xml' in finding.message


def test_expected_rate_goes_before_the_announced_one() -> None:
    assert judge(busy(camera_rate=10.0), expected_rate=30.0).level == WARN
    assert judge(busy(camera_rate=30.0), expected_rate=10.0).level == OK


def test_nothing_is_lost_where_the_camera_rate_is_unknown() -> None:
    finding = judge(busy())
    assert finding.level == OK
    assert finding.values['Camera rate (Hz)'] == 'unavailable'


def test_rate_at_its_limit_does_not_flicker() -> None:
    """Below 0.7 of what is expected it warns; above 0.8, for five seconds, it does not."""
    health, levels = InputHealth(), []
    for now, rate in enumerate([7.5, 6.9, 7.1, 6.9, 7.5, 7.9, *[8.2] * 10]):
        levels.append(judge(busy(rate=rate), now, health, expected_rate=10.0).level)
    assert levels == [OK] + [WARN] * 9 + [OK] * 6


def test_what_was_wrong_is_said_while_the_level_is_kept_and_the_figures_are_of_now() -> None:
    health = InputHealth()
    judge(busy(images=20, rate=2.0), 0.0, health, expected_rate=10.0)
    finding = judge(busy(rate=10.0), 3.0, health, expected_rate=10.0)
    assert finding.level == WARN
    assert finding.message.startswith('until 3 s ago: 2.0 of 10.0 images a second arrive')
    assert finding.values['Input rate (Hz)'] == '10.00'


def test_few_images_are_blamed_on_whoever_loses_them() -> None:
    dark = judge(busy(rate=5.0, camera_rate=5.0), expected_rate=30.0)
    assert 'the camera announces no more' in dark.message and 'exposure' in dark.message
    lost = judge(busy(rate=5.0, camera_rate=30.0), expected_rate=30.0)
    assert '; the transport loses the others' in lost.message
    unknown = judge(busy(rate=5.0), expected_rate=30.0)
    assert 'if the camera takes as many' in unknown.message


@pytest.mark.parametrize(
    'rate, warn, error', [(0.0, 2.0, 10.0), (30.0, 2.0, 10.0), (0.5, 6.0, 30.0)])
def test_silence_is_told_after_a_while_and_is_an_error_after_five_times_that(
        rate: float, warn: float, error: float) -> None:
    fresh = Monitor().snapshot(0.0)
    for seconds, level in ((warn - 0.1, OK), (warn + 0.1, WARN), (error - 0.1, WARN),
                           (error + 0.1, ERROR)):
        finding = judge(fresh, seconds_active=seconds, expected_rate=rate)
        assert finding.level == level, seconds
        assert ('no image on /camera/image_raw' in finding.message) == (level != OK)


def test_silence_is_told_with_its_cause() -> None:
    fresh = Monitor().snapshot(0.0)
    assert 'whether the driver' in judge(fresh, seconds_active=5.0).message
    assert judge(fresh, obstacle=lambda: 'nobody publishes it').message == 'nobody publishes it'
    monitor = Monitor()
    for index in range(30):
        monitor.camera_said(index / 10)
    finding = judge(monitor.snapshot(3.0), seconds_active=5.0)
    assert 'though the camera announces 10.0 a second' in finding.message
    assert 'fastdds.xml' in finding.message


def test_cause_is_not_looked_for_while_images_come() -> None:
    asked: list[bool] = []
    judge(busy(), obstacle=lambda: asked.append(True))
    assert not asked


def test_failed_images_are_told_with_the_reason() -> None:
    finding = judge(busy(failures=3), last_failure='broken JPEG')
    assert finding.level == WARN
    assert '3 images' in finding.message and 'broken JPEG' in finding.message


def test_age_that_cannot_be_is_unavailable() -> None:
    finding = latency_finding(busy(age=None), 'the images have no stamp')
    assert finding.level == WARN
    assert finding.values['Result age (ms)'] == 'unavailable'
    assert 'no stamp' in finding.message
    assert latency_finding(busy(age=0.03), None).values['Result age p50 (ms)'] == '30.00'


def test_failure_and_problems_are_errors() -> None:
    words: dict[str, Any] = {'state': 'active', 'model': {}, 'enabled': True, 'snapshots': []}
    assert detector_finding(failure=None, problems=(), **words).level == OK
    assert detector_finding(failure='no', problems=(), **words).level == ERROR
    assert detector_finding(failure=None, problems=('CUDA',), **words).message == 'CUDA'
