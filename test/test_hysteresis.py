# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Alarms that rise at once and fall late, by times that are given."""

import pytest

from prune_perception.runtime.hysteresis import Hold, Limit


def test_lower_limit_is_broken_at_one_value_and_kept_again_at_another() -> None:
    limit = Limit(0.7, 0.8)
    figures = (0.75, 0.71, 0.69, 0.75, 0.79, 0.81, 0.75)
    assert [limit.judge(figure) for figure in figures] == [
        False, False, True, True, True, False, False]


def test_upper_limit_is_broken_at_one_value_and_kept_again_at_another() -> None:
    limit = Limit(2.0, 1.5)
    assert [limit.judge(figure) for figure in (1.9, 2.1, 1.6, 1.4, 1.9)] == [
        False, True, True, False, False]


def test_figure_that_is_not_known_breaks_no_limit() -> None:
    limit = Limit(0.7, 0.8)
    assert limit.judge(0.1)
    assert not limit.judge(None)
    assert not limit.judge(0.75)


def test_level_rises_at_once_and_falls_after_it_was_better_for_a_while() -> None:
    hold = Hold(5.0)
    assert hold.judge(10.0, 0, 'fine') == (0, 'fine')
    assert hold.judge(11.0, 1, 'bad') == (1, 'bad')
    assert hold.judge(12.0, 2, 'worse') == (2, 'worse')
    assert hold.judge(16.9, 0, 'fine') == (2, 'until 5 s ago: worse; now: fine')
    assert hold.judge(17.0, 0, 'fine') == (0, 'fine')


def test_level_falls_step_by_step() -> None:
    hold = Hold(5.0)
    hold.judge(0.0, 2, 'dark')
    assert hold.judge(3.0, 1, 'dim') == (2, 'until 3 s ago: dark; now: dim')
    assert hold.judge(5.0, 0, 'fine') == (1, 'until 2 s ago: dim; now: fine')
    assert hold.judge(8.0, 0, 'fine') == (0, 'fine')


def test_message_at_a_level_is_the_present_one() -> None:
    hold = Hold(5.0)
    hold.judge(0.0, 1, 'slow')
    assert hold.judge(1.0, 1, 'late') == (1, 'late')
    assert hold.judge(2.0, 0, '') == (1, 'until 1 s ago: late')


@pytest.mark.parametrize('period', [2, 3, 4])
def test_what_comes_and_goes_is_one_alarm(period: int) -> None:
    """Bad for one second of each few: the level changes once up and, at the end, once down."""
    hold = Hold(5.0)
    levels = [hold.judge(float(second), int(second < 60 and second % period == 0), '')[0]
              for second in range(80)]
    assert levels[0] == 1 and levels[-1] == 0
    assert sum(a != b for a, b in zip(levels, levels[1:], strict=False)) == 1
