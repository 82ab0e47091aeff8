# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

from collections.abc import Iterator
from contextlib import contextmanager
import threading
import time

import pytest

from prune_perception.nodes.pace import Pace

SECOND = 1_000_000_000
BEGIN = 1_700_000_000 * SECOND


class Clock:
    """A monotonic clock that moves when it is told to."""

    def __init__(self) -> None:
        self.time = 50.0

    def __call__(self) -> float:
        return self.time


@pytest.mark.parametrize('rate', [0.5, 1.0, 4.0])
def test_recorded_time_passes_at_the_rate(rate: float) -> None:
    clock = Clock()
    pace = Pace(rate, clock=clock)
    assert pace.now() is None
    pace.begin(BEGIN)
    assert pace.now() == BEGIN
    clock.time += 3
    assert pace.now() == BEGIN + round(3 * rate * SECOND)
    assert pace.late(BEGIN) == pytest.approx(3)
    assert pace.late(BEGIN + 100 * SECOND) == 0


def test_pause_takes_no_recorded_time() -> None:
    clock = Clock()
    pace = Pace(clock=clock)
    pace.begin(BEGIN)
    clock.time += 2
    assert pace.pause() and not pace.pause()
    clock.time += 60
    assert pace.now() == BEGIN + 2 * SECOND
    assert pace.resume() and not pace.resume()
    clock.time += 1
    assert pace.now() == BEGIN + 3 * SECOND
    assert pace.late(BEGIN + 3 * SECOND) == 0


@contextmanager
def shown(pace: Pace, moments: list[int]) -> Iterator[list[int]]:
    """Show moments in a thread, as a player does; end it afterwards."""
    seen: list[int] = []

    def show() -> None:
        for moment in moments:
            if not pace.wait_until(moment):
                return
            seen.append(moment)
            pace.done()

    thread = threading.Thread(target=show)
    thread.start()
    try:
        yield seen
    finally:
        pace.end()
        thread.join(5)
        assert not thread.is_alive()


def test_steps_let_one_through_each_and_move_the_time() -> None:
    pace = Pace(paused=True)
    pace.begin(BEGIN)
    moments = [BEGIN + index * 10 * SECOND for index in range(4)]
    with shown(pace, moments) as seen:
        for index in range(3):
            assert pace.step()
            assert seen == moments[:index + 1]
            assert pace.now() == moments[index]
        # After that the fourth is due ten seconds from now, not at once.
        pace.resume()
        time.sleep(0.1)
        assert len(seen) == 3
        assert not pace.step(), 'it is playing'


def test_step_that_nobody_takes_is_not_taken_later() -> None:
    pace = Pace(paused=True)
    pace.begin(BEGIN)
    assert not pace.step(seconds=0.05)
    with shown(pace, [BEGIN, BEGIN + 1]) as seen:
        time.sleep(0.1)
        assert seen == []
        assert pace.step()
        assert seen == [BEGIN]


def test_pause_is_over_when_what_was_shown_has_been() -> None:
    pace = Pace()
    pace.begin(BEGIN)
    assert pace.wait_until(BEGIN)
    threading.Timer(0.1, pace.done).start()
    begin = time.monotonic()
    pace.pause()
    assert 0.08 < time.monotonic() - begin < 3


def test_waiting_ends_when_it_is_ended() -> None:
    for paused in (False, True):
        pace = Pace(paused=paused)
        pace.begin(BEGIN)
        threading.Timer(0.05, pace.end).start()
        assert not pace.wait_until(BEGIN + 1000 * SECOND)
        assert pace.ended
        assert not pace.step()


def test_frames_keep_their_distance_in_time() -> None:
    pace = Pace(2.0)
    pace.begin(BEGIN)
    times = []
    for index in range(5):
        assert pace.wait_until(BEGIN + index * SECOND // 10)
        times.append(time.monotonic())
        pace.done()
    # Never early, which a busy machine cannot change.
    assert all(moment - times[0] >= index * 0.05 - 0.002 for index, moment in enumerate(times))
