# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

import random

import pytest

from prune_perception.runtime.rate_limit import RateLimit


def passed(times: list[float], rate: float) -> list[float]:
    limit = RateLimit()
    return [time for time in times if limit.allows(time, rate)]


def test_without_a_limit_all_pass() -> None:
    times = [0.0, 0.0, 0.001]
    assert passed(times, 0) == times


def test_half_of_them() -> None:
    assert passed([0, 1, 2, 3, 4, 5], 0.5) == [0, 2, 4]


@pytest.mark.parametrize('limit', [1, 7, 10, 20, 29, 30])
@pytest.mark.parametrize('jitter', [0.0, 0.01])
def test_the_limit_is_met_on_average_whatever_the_rate_of_the_camera(
        limit: float, jitter: float) -> None:
    chance = random.Random(1)
    times = [100 + index / 30 + chance.uniform(0, jitter) for index in range(3000)]
    assert len(passed(times, limit)) == pytest.approx(100 * limit, rel=0.01, abs=2)


def test_no_window_has_more_than_the_limit_and_one_that_was_due() -> None:
    chance = random.Random(2)
    times, now = [], 0.0
    for _ in range(3000):
        now += chance.choice([0.001, 0.02, 0.5])
        times.append(now)
    kept = passed(times, 10)
    for first, time in enumerate(kept):
        for count, later in enumerate(kept[first:], start=1):
            assert count <= (later - time) * 10 + 2 + 1e-6


def test_a_pause_is_not_made_up_for() -> None:
    limit = RateLimit()
    assert limit.allows(0, 1)
    burst = [limit.allows(1000 + index / 100, 1) for index in range(50)]
    assert burst.count(True) <= 2


def test_a_limit_that_is_raised_takes_effect_at_once() -> None:
    limit = RateLimit()
    assert limit.allows(0, 0.001)
    assert not limit.allows(1, 0.001)
    assert limit.allows(1.05, 10)


def test_a_limit_that_is_lifted_takes_effect_at_once() -> None:
    limit = RateLimit()
    assert limit.allows(0, 0.001)
    assert limit.allows(0.1, 0)
