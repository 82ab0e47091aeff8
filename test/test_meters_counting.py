# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Counters that wrap, jump or stand still, and power that is added up."""

from collections.abc import Iterator
import math

import pytest

from prune_perception.energy.meters import (
    COUNTED,
    Counter,
    CounterMeter,
    INTEGRATED,
    MeterError,
    MeterInfo,
    PowerMeter,
    Scope,
)

MICROJOULE = 1e-6
RANGE = 262_143_328_850  # microjoules, about 262 kJ


def info(period: float = 0.001, method: str = COUNTED) -> MeterInfo:
    return MeterInfo('m', 'RAIL', Scope.PACKAGE, 'the package', period, method, ('a/file',))


class Script:
    """Plays back (time, value) pairs; a value may be an error."""

    def __init__(self, steps: list[tuple[float, object]]) -> None:
        self._steps: Iterator[tuple[float, object]] = iter(steps)
        self._time = 0.0

    def value(self) -> int:
        self._time, value = next(self._steps)
        if isinstance(value, Exception):
            raise value
        return value  # type: ignore[return-value]

    def clock(self) -> float:
        return self._time


def counted(steps: list[tuple[float, object]], *, range: int | None = RANGE,
            period: float = 0.001, most: float = 2000.0) -> CounterMeter:
    script = Script(steps)
    counter = Counter('x/energy_uj', script.value, MICROJOULE, range)
    return CounterMeter(info(period), [counter], most_watts=most, clock=script.clock)


def integrated(steps: list[tuple[float, object]], **settings: object) -> PowerMeter:
    script = Script(steps)
    settings = {'most_watts': 100.0, **settings}
    return PowerMeter(info(0.1, INTEGRATED), script.value, clock=script.clock,
                      **settings)  # type: ignore[arg-type]


def test_energy_counts_from_the_first_read() -> None:
    meter = counted([(10.0, 5_000_000), (11.0, 17_000_000), (13.0, 23_000_000)])
    first, second, third = meter.read(), meter.read(), meter.read()
    assert (first.energy_joules, first.power_watts, first.updates) == (0.0, None, 0)
    assert (second.energy_joules, second.power_watts) == (pytest.approx(12), pytest.approx(12))
    assert (third.energy_joules, third.power_watts) == (pytest.approx(18), pytest.approx(3))
    assert third.timestamp == 13.0
    assert third.updates == 3000  # three seconds of a sensor that renews every millisecond
    assert third.breaks == 0


def test_a_wrap_between_two_reads_is_bridged() -> None:
    meter = counted([(0.0, RANGE - 4_000_000), (1.0, 6_000_000)])
    meter.read()
    reading = meter.read()
    assert reading.energy_joules == pytest.approx(10.0)
    assert reading.power_watts == pytest.approx(10.0)
    assert reading.breaks == 0


def test_a_step_back_that_no_wrap_explains_is_named_and_counting_goes_on() -> None:
    meter = counted([(0.0, 90_000_000_000), (1.0, 1_000_000), (2.0, 6_000_000)])
    meter.read()
    with pytest.raises(MeterError, match='RAIL.*x/energy_uj went back from 90000000000'):
        meter.read()
    reading = meter.read()
    assert reading.energy_joules == pytest.approx(5.0)
    assert reading.breaks == 1


def test_a_step_back_of_a_counter_that_cannot_wrap_is_named() -> None:
    meter = counted([(0.0, 9_000_000), (1.0, 8_999_999)], range=None)
    meter.read()
    with pytest.raises(MeterError, match='went back from 9000000 to 8999999'):
        meter.read()


def test_a_jump_of_absurd_power_is_named_and_adds_nothing() -> None:
    meter = counted([(0.0, 0), (1.0, 50_000_000_000), (2.0, 50_030_000_000)])
    meter.read()
    with pytest.raises(MeterError, match='would be 50000 W, more than the 2000 W'):
        meter.read()
    reading = meter.read()
    assert reading.energy_joules == pytest.approx(30.0)
    assert reading.breaks == 1


def test_one_update_between_two_quick_reads_is_not_absurd() -> None:
    # 1 W for 0.1 s falls between two reads 10 microseconds apart: 10 kW if it were believed.
    meter = counted([(0.0, 0), (0.00001, 100_000), (0.2, 200_000)], period=0.1)
    meter.read()
    assert meter.read().power_watts is None
    assert meter.read().power_watts == pytest.approx(1.0)


def test_a_count_outside_its_range_is_left_out() -> None:
    meter = counted([(0.0, 10_000_000), (1.0, RANGE + 1), (2.0, 30_000_000)])
    meter.read()
    with pytest.raises(MeterError, match='outside its range'):
        meter.read()
    assert meter.read().energy_joules == pytest.approx(20.0)


def test_a_counter_that_was_not_read_for_long_may_have_wrapped_twice() -> None:
    meter = counted([(0.0, 0), (200.0, 1_000_000), (201.0, 2_000_000)])
    meter.read()
    with pytest.raises(MeterError, match='not read for 200 s.*read it at least every 131 s'):
        meter.read()
    assert meter.read().breaks == 1


def test_a_failed_read_of_a_counter_loses_no_energy() -> None:
    meter = counted([
        (0.0, 0), (1.0, MeterError('RAIL: gone')), (2.0, 24_000_000)])
    meter.read()
    with pytest.raises(MeterError, match='gone'):
        meter.read()
    reading = meter.read()
    assert (reading.energy_joules, reading.breaks) == (pytest.approx(24.0), 0)


def test_a_counter_that_stands_still_is_not_zero_watts() -> None:
    meter = counted([(0.0, 7), (1.0, 7), (2.5, 7), (3.0, 1_000_007)])
    meter.read()
    meter.read()  # one second without a change may happen
    with pytest.raises(MeterError, match='stood still for 2 s'):
        meter.read()
    assert meter.read().energy_joules == pytest.approx(1.0)


def test_several_counters_are_added_and_each_wraps_by_itself() -> None:
    first = Script([(0.0, RANGE - 1_000_000), (1.0, 1_000_000)])
    second = Script([(0.0, 0), (1.0, 5_000_000)])
    meter = CounterMeter(info(), [
        Counter('one', first.value, MICROJOULE, RANGE),
        Counter('two', second.value, MICROJOULE, 60_000_000_000)],
        most_watts=100.0, clock=second.clock)
    meter.read()
    assert meter.read().energy_joules == pytest.approx(2.0 + 5.0)


def test_power_is_integrated_by_trapezoids() -> None:
    meter = integrated([(0.0, 10.0), (1.0, 20.0), (3.0, 0.0)])
    assert meter.read().energy_joules == 0.0
    assert meter.read().energy_joules == pytest.approx(15.0)
    reading = meter.read()
    assert reading.energy_joules == pytest.approx(15.0 + 20.0)
    assert (reading.power_watts, reading.updates, reading.breaks) == (0.0, 2, 0)


def test_reads_closer_together_than_updates_are_no_updates() -> None:
    meter = integrated([(0.00, 1.0), (0.05, 1.0), (0.101, 1.0), (0.15, 1.0)])
    assert [meter.read().updates for _ in range(4)] == [0, 0, 1, 1]


def test_a_sensor_that_repeats_itself_updates_only_when_its_figure_changes() -> None:
    meter = integrated(
        [(0.0, 9.0), (1.0, 9.0), (2.0, 9.0), (3.0, 8.5)], update_on_change=True)
    assert [meter.read().updates for _ in range(4)] == [0, 0, 0, 1]


def test_a_rail_that_vanishes_leaves_a_gap_that_is_not_guessed() -> None:
    meter = integrated([
        (0.0, 10.0), (1.0, 10.0), (2.0, MeterError('RAIL: in1_input gone')), (3.0, 10.0),
        (4.0, 10.0)])
    meter.read()
    meter.read()
    with pytest.raises(MeterError, match='RAIL: in1_input gone'):
        meter.read()
    back = meter.read()
    assert (back.energy_joules, back.breaks) == (pytest.approx(10.0), 1)
    assert meter.read().energy_joules == pytest.approx(20.0)


def test_a_first_read_that_fails_is_no_break() -> None:
    meter = integrated([(0.0, MeterError('not yet')), (1.0, 10.0)])
    with pytest.raises(MeterError):
        meter.read()
    assert meter.read().breaks == 0


def test_a_pause_between_reads_is_not_bridged() -> None:
    meter = integrated([(0.0, 10.0), (60.0, 10.0)])
    meter.read()
    reading = meter.read()
    assert (reading.energy_joules, reading.breaks) == (0.0, 1)


@pytest.mark.parametrize('watts', [-0.1, 100.1, math.nan, math.inf])
def test_power_that_cannot_be_is_named_with_rail_and_file(watts: float) -> None:
    meter = integrated([(0.0, watts), (1.0, 5.0)])
    with pytest.raises(MeterError, match='RAIL: a/file says .* outside the 0 to 100 W'):
        meter.read()
    assert meter.read().power_watts == 5.0


def test_an_offset_below_zero_is_kept_where_the_sensor_has_one() -> None:
    meter = integrated([(0.0, -0.4), (1.0, -0.4)], least_watts=-1.0)
    meter.read()
    assert meter.read().energy_joules == pytest.approx(-0.4)
