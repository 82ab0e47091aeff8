# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

import threading

import pytest

from prune_perception.runtime.monitor import FrameTiming, Monitor, Spread, STAGES


def frame(seconds: float, age: float | None = None) -> FrameTiming:
    """Return a frame each of whose stages took this long."""
    return FrameTiming(dict.fromkeys(STAGES, seconds), age)


def receive(monitor: Monitor, *times: float, replaced: bool = False) -> None:
    for time in times:
        monitor.received(time, replaced=replaced)


def test_nothing_yet() -> None:
    snapshot = Monitor().snapshot(100.0)
    assert (snapshot.received, snapshot.processed, snapshot.dropped, snapshot.failed) == (
        0, 0, 0, 0)
    assert (snapshot.input_rate, snapshot.output_rate, snapshot.camera_rate) == (None, None, None)
    assert (snapshot.seconds_since_input, snapshot.age) == (None, None)
    assert snapshot.latencies == {}
    assert (snapshot.failed_lately, snapshot.ages_unavailable) == (0, 0)


def test_rate_by_hand() -> None:
    monitor = Monitor()
    receive(monitor, 5.0)
    assert monitor.snapshot(5.1).input_rate is None
    receive(monitor, 5.25, 5.5, 5.75, 6.0)
    # Four gaps of a quarter of a second; the quarter that is under way does not count.
    assert monitor.snapshot(6.2).input_rate == pytest.approx(4.0)
    assert monitor.snapshot(6.2).seconds_since_input == pytest.approx(0.2)


def test_a_silence_lowers_the_rate_at_once() -> None:
    monitor = Monitor(window=10)
    receive(monitor, 5.0, 5.25, 5.5, 5.75, 6.0)
    assert monitor.snapshot(6.5).input_rate == pytest.approx(4.0)  # two gaps, not more
    assert monitor.snapshot(7.0).input_rate == pytest.approx(4 / 2)
    assert monitor.snapshot(13.0).input_rate == pytest.approx(4 / 8)
    # From here on the first images are older than the window.
    assert monitor.snapshot(15.6).input_rate == pytest.approx(1 / (15.6 - 5.75))
    after = monitor.snapshot(16.1)
    assert after.input_rate is None
    assert after.seconds_since_input == pytest.approx(10.1)
    assert after.received == 5


def test_a_rate_follows_the_source() -> None:
    monitor = Monitor(window=2)
    receive(monitor, *(index / 10 for index in range(100)))
    assert monitor.snapshot(9.9).input_rate == pytest.approx(10)
    receive(monitor, *(10 + index / 40 for index in range(120)))
    assert monitor.snapshot(13.0).input_rate == pytest.approx(40)


def test_images_at_one_moment_have_no_rate() -> None:
    monitor = Monitor()
    receive(monitor, 5.0, 5.0)
    assert monitor.snapshot(5.0).input_rate is None


def test_drops_and_failures_are_counted() -> None:
    monitor = Monitor(window=10)
    receive(monitor, 1.0, 3.0)
    receive(monitor, 2.0, 4.0, 5.0, replaced=True)
    monitor.failed(1.5)
    monitor.failed(11.0)
    snapshot = monitor.snapshot(12.0)
    assert (snapshot.received, snapshot.dropped, snapshot.failed) == (5, 3, 2)
    assert snapshot.failed_lately == 1
    assert monitor.snapshot(30.0).failed_lately == 0
    assert monitor.snapshot(30.0).failed == 2


def test_the_camera_has_a_rate_of_its_own() -> None:
    monitor = Monitor()
    for index in range(11):
        monitor.camera_said(index / 10)
    receive(monitor, 0.0, 0.5, 1.0)
    snapshot = monitor.snapshot(1.0)
    assert snapshot.camera_rate == pytest.approx(10)
    assert snapshot.input_rate == pytest.approx(2)
    assert snapshot.received == 3


def test_percentiles_by_hand() -> None:
    monitor = Monitor()
    for index in range(101):  # 0 to 100 ms, so that each percentile is one of them
        monitor.processed(index / 100, frame(index / 1000))
    snapshot = monitor.snapshot(1.0)
    assert tuple(snapshot.latencies) == STAGES
    for spread in snapshot.latencies.values():
        assert (spread.p50, spread.p95, spread.p99, spread.largest) == pytest.approx(
            (0.050, 0.095, 0.099, 0.100))
    assert snapshot.output_rate == pytest.approx(100)
    assert snapshot.processed == 101


def test_stages_are_kept_apart() -> None:
    monitor = Monitor()
    stages = {stage: float(index) for index, stage in enumerate(STAGES)}
    monitor.processed(1.0, FrameTiming(stages, None))
    latencies = monitor.snapshot(1.0).latencies
    assert {stage: spread.p50 for stage, spread in latencies.items()} == stages


def test_old_frames_leave_the_window() -> None:
    monitor = Monitor(window=10)
    monitor.processed(0.0, frame(5.0, age=50.0))
    monitor.processed(9.0, frame(0.1, age=1.0))
    assert monitor.snapshot(10.0).latencies['total'].largest == 5.0
    for time in (10.5, 100.0):
        snapshot = monitor.snapshot(time)
        assert snapshot.processed == 2
        if time == 10.5:
            assert snapshot.latencies['total'].largest == pytest.approx(0.1)
            assert snapshot.age == Spread(1.0, 1.0, 1.0, 1.0)
        else:
            assert (snapshot.latencies, snapshot.age) == ({}, None)


def test_ages_that_are_unknown_are_counted_and_not_averaged() -> None:
    monitor = Monitor()
    for index, age in enumerate((0.1, None, 0.3, None, None)):
        monitor.processed(float(index), frame(0.01, age))
    snapshot = monitor.snapshot(5.0)
    assert snapshot.ages_unavailable == 3
    assert snapshot.age is not None
    assert (snapshot.age.p50, snapshot.age.largest) == pytest.approx((0.2, 0.3))


def test_memory_does_not_grow_without_a_reporter() -> None:
    monitor = Monitor(window=1)
    for index in range(10000):
        now = index / 100
        monitor.received(now, replaced=False)
        monitor.camera_said(now)
        monitor.failed(now)
        monitor.processed(now, frame(0.01))
    for kept in (monitor._received, monitor._camera, monitor._failed, monitor._frames):
        assert 100 <= len(kept) <= 102


def test_callers_in_several_threads_lose_nothing() -> None:
    monitor = Monitor()

    def act() -> None:
        for index in range(1000):
            monitor.received(index / 1000, replaced=True)
            monitor.processed(index / 1000, frame(0.01))
            if not index % 100:
                monitor.snapshot(index / 1000)

    threads = [threading.Thread(target=act) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    snapshot = monitor.snapshot(1.0)
    assert (snapshot.received, snapshot.dropped, snapshot.processed) == (4000, 4000, 4000)


def test_spread_since_a_time() -> None:
    monitor = Monitor()
    for index in range(10):
        monitor.processed(index, frame(index / 1000))
    spread = monitor.spread_since('total', 5.0)
    assert spread is not None
    assert (spread.p50, spread.largest) == pytest.approx((0.007, 0.009))
    assert monitor.spread_since('total', 9.5) is None
