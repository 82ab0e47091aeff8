# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Energy per frame: when there is a figure, what is in it, and what it says of itself."""

import pytest

from prune_perception.energy.meters import INTEGRATED, MeterInfo, Reading, Scope
from prune_perception.energy.window import AveragePower, EnergyPerFrame, EnergyWindow, Unavailable

METER = MeterInfo(
    'ina3221 VDD_IN', 'VDD_IN', Scope.MODULE, 'the module', 0.02, INTEGRATED, ('in1_input',))
OTHER = MeterInfo('rapl package', 'package-0', Scope.PACKAGE, '', 0.001, INTEGRATED, ())


def reading(time: float, watts: float, *, updates: int | None = None, breaks: int = 0) -> Reading:
    return Reading(
        watts * time, watts, 100 + time, round(time) if updates is None else updates, breaks)


def fill(window: EnergyWindow, seconds: int, watts: float, frames_per_second: int) -> None:
    window.add_reading(reading(0, watts))
    for second in range(1, seconds + 1):
        window.add_frames(frames_per_second)
        window.add_reading(reading(second, watts))


def test_energy_is_divided_by_the_frames_of_the_window() -> None:
    window = EnergyWindow(METER)
    fill(window, 10, 12.0, 4)
    result = window.energy_per_frame()
    assert isinstance(result, EnergyPerFrame)
    assert result.joules == pytest.approx(3.0)
    assert (result.frames, result.seconds, result.updates) == (40, pytest.approx(10), 10)
    assert (result.rail, result.scope, result.source) == ('VDD_IN', 'module', 'measured')
    assert result.joules_above_idle is None
    assert 'idle power not known' in str(result)


def test_idle_power_is_subtracted_and_shown() -> None:
    quiet = EnergyWindow(METER)
    fill(quiet, 12, 8.0, 0)
    idle = quiet.average_power()
    assert isinstance(idle, AveragePower)
    assert idle.watts == pytest.approx(8.0)

    window = EnergyWindow(METER, idle=idle)
    fill(window, 10, 12.0, 4)
    result = window.energy_per_frame()
    assert isinstance(result, EnergyPerFrame)
    assert result.joules == pytest.approx(3.0)
    assert result.joules_above_idle == pytest.approx(1.0)
    assert str(result) == (
        '3 J per frame (measured, module, VDD_IN; 40 frames in 10.0 s, 10 updates); '
        '1 J above idle (8 W over 10.0 s)')


def test_a_quiet_period_that_was_not_quiet_shows_as_negative() -> None:
    window = EnergyWindow(METER, idle=AveragePower(15.0, 10.0, 10, METER))
    fill(window, 10, 12.0, 4)
    result = window.energy_per_frame()
    assert isinstance(result, EnergyPerFrame)
    assert result.joules_above_idle == pytest.approx(-0.75)


@pytest.mark.parametrize(('seconds', 'updates'), [(0.9, 900), (9.0, 9)])
def test_too_short_or_too_few_updates_gives_no_figure(seconds: float, updates: int) -> None:
    window = EnergyWindow(METER)
    window.add_reading(reading(0, 10.0))
    window.add_frames(100)
    window.add_reading(reading(seconds, 10.0, updates=updates))
    result = window.energy_per_frame()
    assert isinstance(result, Unavailable)
    assert f'{updates} sensor updates so far' in str(result)


def test_one_second_and_ten_updates_is_enough() -> None:
    window = EnergyWindow(METER, seconds=1.0)
    window.add_reading(reading(0, 10.0))
    window.add_frames(5)
    window.add_reading(reading(1.0, 10.0, updates=10))
    result = window.energy_per_frame()
    assert isinstance(result, EnergyPerFrame)
    assert result.joules == pytest.approx(2.0)


def test_before_the_first_reading_and_without_frames_there_is_a_reason() -> None:
    window = EnergyWindow(METER)
    assert str(window.energy_per_frame()) == 'unavailable: VDD_IN was not read yet'
    fill(window, 10, 12.0, 0)
    assert str(window.energy_per_frame()) == 'unavailable: no frame in 10.0 s'


def test_frames_before_the_first_and_after_the_last_reading_do_not_count() -> None:
    window = EnergyWindow(METER)
    window.add_frames(1000)
    fill(window, 10, 12.0, 4)
    window.add_frames(1000)
    result = window.energy_per_frame()
    assert isinstance(result, EnergyPerFrame)
    assert result.frames == 40


def test_the_window_slides() -> None:
    window = EnergyWindow(METER, seconds=10.0)
    window.add_reading(reading(0, 0.0))
    energy = 0.0
    for second in range(1, 61):
        watts = 50.0 if second <= 30 else 10.0
        energy += watts
        window.add_frames(5)
        window.add_reading(Reading(energy, watts, 100.0 + second, second, 0))
    result = window.energy_per_frame()
    assert isinstance(result, EnergyPerFrame)
    assert (result.seconds, result.frames) == (pytest.approx(10.0), 50)
    assert result.joules == pytest.approx(2.0)


def test_the_window_waits_for_a_slow_sensor() -> None:
    window = EnergyWindow(METER, seconds=2.0)
    for second in range(61):
        window.add_reading(reading(second, 10.0, updates=second // 5))
        window.add_frames(1)
    power = window.average_power()
    assert isinstance(power, AveragePower)
    assert power.updates == 10
    assert 46 <= power.seconds <= 55


def test_a_break_empties_the_window() -> None:
    window = EnergyWindow(METER)
    fill(window, 10, 12.0, 4)
    window.add_reading(reading(11, 12.0, breaks=1))
    assert isinstance(window.energy_per_frame(), Unavailable)
    for second in range(12, 22):
        window.add_frames(2)
        window.add_reading(reading(second, 12.0, breaks=1))
    result = window.energy_per_frame()
    assert isinstance(result, EnergyPerFrame)
    assert (result.frames, result.joules) == (20, pytest.approx(6.0))


def test_idle_power_of_another_rail_is_refused() -> None:
    with pytest.raises(ValueError, match='package-0 and the meter reads VDD_IN'):
        EnergyWindow(METER, idle=AveragePower(8.0, 10.0, 10, OTHER))


def test_a_window_below_a_second_is_refused() -> None:
    with pytest.raises(ValueError, match='0.5 s is too short'):
        EnergyWindow(METER, seconds=0.5)
