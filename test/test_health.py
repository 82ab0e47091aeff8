# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""What the detector says of itself, from what it counted."""

from typing import Any

from prune_perception.nodes.health import (
    detector_finding,
    ERROR,
    input_finding,
    latency_finding,
    OK,
    WARN,
)
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


def judge(snapshot: Snapshot, **changes: Any) -> Any:
    return input_finding(snapshot, **{
        'topic': '/camera/image_raw', 'publishers': 1, 'expected_rate': 0.0,
        'seconds_active': 60.0, 'last_failure': None, 'enabled': True, **changes})


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


def test_silence_is_told_only_after_a_while() -> None:
    fresh = Monitor().snapshot(0.0)
    assert judge(fresh, seconds_active=1.0).level == OK
    assert 'no image' in judge(fresh, seconds_active=5.0).message
    assert 'nobody publishes' in judge(fresh, seconds_active=5.0, publishers=0).message


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
