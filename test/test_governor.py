# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The governor under a simulated clock: hours of a machine in a moment."""

from collections.abc import Callable
from dataclasses import dataclass, field
import random

import pytest

from prune_perception.runtime.budgets import Figures, Rules
from prune_perception.runtime.governor import Governor
from prune_perception.runtime.ladder import Rung

LADDER = (Rung('large', 40.0, 0.4), Rung('medium', 20.0, 0.2), Rung('small', 10.0, 0.1))
HOUR = 3600


def constant(_: float) -> float:
    return 1.0


@dataclass
class Machine:
    """
    A simulated machine, whose figures need not be what the ladder leads one to expect.

    :param latency: ms of each rung.
    :param load: factor of latencies at a time.
    :param period: ms between images: one that is slower than the camera waits a period more.
    :param idle: W of the rail without the network.
    :param watts: W of the network of each rung.
    :param warmth: °C above the surroundings for each W, in the end.
    :param inertia: s after which two thirds of that are reached.
    :param noise: relative spread of what is read.
    """

    latency: tuple[float, ...] = (45.0, 25.0, 15.0)
    load: Callable[[float], float] = constant
    period: float = 1000.0
    idle: float = 4.0
    watts: tuple[float, ...] = (8.0, 4.0, 2.0)
    surroundings: float = 30.0
    warmth: float = 5.0
    inertia: float = 120.0
    noise: float = 0.0
    battery: Callable[[float], float] = lambda _: 80.0
    seed: int = 1
    seconds_to_load: int = 1
    governor: Governor = field(default_factory=lambda: Governor(LADDER))
    changes: list[tuple[float, int, str]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.heat = 0.0
        self.loading: tuple[float, int] | None = None

    def true(self, rung: int) -> Figures:
        busy = self.latency[rung] * self.load(self.now)
        watts = self.idle + self.watts[rung]
        return Figures(
            busy + (self.period if busy > self.period else 0.0), watts, self.battery(self.now),
            self.surroundings + self.heat)

    def read(self) -> Figures:
        true = self.true(self.governor.rung)

        def noisy(value: float | None) -> float | None:
            return value if value is None else value * self.random.gauss(1, self.noise)
        return Figures(noisy(true.latency_ms), noisy(true.watts), true.battery_percent,
                       (true.temperature_c or 0) + self.random.gauss(0, 20 * self.noise))

    def run(self, seconds: float, rules: Rules, until: float | None = None) -> 'Machine':
        end = self.now + seconds
        while self.now < end:
            self.now += 1.0
            watts = self.true(self.governor.rung).watts or 0.0
            self.heat += (watts * self.warmth - self.heat) / self.inertia
            if self.loading is not None:
                if self.now >= self.loading[0]:
                    self.governor.changed(self.now, self.loading[1])
                    self.loading = None
                continue
            decision = self.governor.decide(self.now, self.read(), rules)
            self.reasons.append(decision.reason)
            if decision.rung != self.governor.rung:
                self.loading = (self.now + self.seconds_to_load, decision.rung)
                self.changes.append((self.now, decision.rung, decision.reason))
        return self

    @property
    def rungs(self) -> list[int]:
        return [rung for _, rung, _ in self.changes]


def budgets(**figures: float) -> Rules:
    return Rules(Figures(**figures))


def test_all_kept_stays_on_the_largest() -> None:
    machine = Machine().run(600, budgets(latency_ms=60, watts=15, battery_percent=20,
                                         temperature_c=95))
    assert machine.changes == []
    assert machine.reasons[-1] == (
        'latency 45.0 of 60.0 ms, power 12.00 of 15.00 W, battery 80 at least 20 %, temperature '
        f'{machine.read().temperature_c:.1f} of 95.0 °C; large is the largest')


def test_overload_is_answered_in_time_and_taken_back() -> None:
    """Between seconds 100 and 200 everything takes twice as long."""
    machine = Machine(load=lambda now: 2.0 if 100 <= now < 200 else 1.0)
    machine.run(400, budgets(latency_ms=60))
    (down, rung, reason), (up, back, why) = machine.changes
    assert (rung, back) == (1, 0)
    assert 102 <= down <= 104
    assert reason == 'latency 90.0 ms is above 60.0 ms, for 3 s: down to medium'
    assert 219 <= up <= 222
    assert why.startswith('room for 20 s: up to large, expected: latency 45.0 of 60.0 ms')


def test_one_rung_after_the_other_while_it_does_not_help() -> None:
    machine = Machine(load=lambda now: 5.0 if now >= 100 else 1.0)
    machine.run(300, budgets(latency_ms=80))
    assert machine.rungs == [1, 2]
    # A second to load, two to settle, three of patience, and what falls between two readings.
    assert machine.changes[1][0] - machine.changes[0][0] <= 7


def test_the_smallest_says_that_it_is_helpless() -> None:
    machine = Machine(load=lambda _: 20.0).run(60, budgets(latency_ms=80))
    assert machine.rungs == [1, 2]
    decision = machine.governor.decide(61.0, machine.read(), budgets(latency_ms=80))
    assert decision.helpless
    assert decision.reason == 'latency 300.0 ms is above 80.0 ms, and small is the smallest'


def test_a_load_that_leaves_amid_the_change_does_not_hold_the_larger_one_back() -> None:
    machine = Machine(load=lambda now: 10.0 if 100 <= now < 106 else 1.0)
    machine.run(160, budgets(latency_ms=60))
    assert machine.rungs == [1, 0]


def test_what_comes_long_after_going_up_is_not_the_fault_of_that() -> None:
    """Something on the rail is switched on a minute after, and off again two minutes later."""
    machine = Machine(governor=Governor(LADDER, rung=1))
    machine.run(30, budgets(watts=18))
    assert machine.rungs == [0]
    machine.run(60, budgets(watts=18))
    machine.idle = 12.0
    machine.run(120, budgets(watts=18))
    assert machine.rungs == [0, 1]
    machine.idle = 4.0
    machine.run(30, budgets(watts=18))
    assert machine.rungs == [0, 1, 0]


def test_a_hiccup_moves_nothing() -> None:
    machine = Machine(load=lambda now: 10.0 if now % 30 < 2 else 1.0)
    assert machine.run(HOUR, budgets(latency_ms=60)).changes == []


def test_broken_two_times_of_three_is_not_forgiven() -> None:
    machine = Machine(load=lambda now: 1.0 if now % 3 == 0 else 2.0)
    assert machine.run(20, budgets(latency_ms=60)).rungs[0] == 1


def test_a_second_without_room_takes_back_five() -> None:
    """Every tenth is too slow for going up, though not for staying: 20 s take 20 + 2 * 6."""
    load = [1.0]
    machine = Machine(governor=Governor(LADDER, rung=1), load=lambda _: load[0])
    for now in range(1, 60):
        load[0] = 1.2 if now % 10 == 0 else 1.0
        machine.run(1, budgets(latency_ms=60))  # 50 and 60 ms are expected of the large one
        if machine.changes:
            break
    assert 36 <= now <= 47


def test_patience_is_as_it_was_asked_for() -> None:
    machine = Machine(load=lambda now: 2.0 if 100 <= now < 200 else 1.0)
    machine.run(600, Rules(Figures(latency_ms=60), down_after=10.0, up_after=100.0))
    assert 109 <= machine.changes[0][0] <= 111
    assert 299 <= machine.changes[1][0] <= 302


def test_a_camera_that_the_large_one_cannot_follow() -> None:
    """
    Slower than the camera, images wait; the warm-up's times do not show it, a try does.

    Twice 25 ms would be 50 ms by the warm-up, well within 60 ms.
    """
    machine = Machine(period=33.0).run(HOUR, budgets(latency_ms=60))
    assert machine.rungs[:3] == [1, 0, 1]
    assert len(machine.changes) <= 1 + 2 * 6
    # What was seen in the try is believed for ten minutes.
    assert machine.changes[3][0] - machine.changes[2][0] >= 600
    tries = len(machine.changes)
    machine.run(9 * HOUR, budgets(latency_ms=60))
    assert len(machine.changes) - tries <= 2 * 9


def test_a_rail_that_mostly_feeds_something_else() -> None:
    """
    Down for power, and up again when something else on the rail is switched off.

    By the modelled energies alone, 14 W would become 28 W and never be allowed.
    """
    machine = Machine(idle=12.0).run(HOUR / 2, budgets(watts=18))
    assert machine.rungs == [1]
    machine.idle = 7.0
    machine.run(60, budgets(watts=18))
    assert machine.rungs == [1, 0]
    assert machine.run(HOUR, budgets(watts=18)).rungs == [1, 0]


def test_a_figure_that_is_lost_does_not_keep_from_learning_another() -> None:
    governor, rules = Governor(LADDER), budgets(watts=10)
    reason = ''
    for now in range(20):
        decision = governor.decide(now, Figures(
            watts=12.0 if governor.rung == 0 else 8.0,
            temperature_c=50.0 if now < 7 else None), rules)
        reason = decision.reason
        if decision.rung != governor.rung:
            governor.changed(now, decision.rung)
    assert reason == (
        'power 8.00 of 10.00 W; not so with large: power about 12.00 W, 9.00 W are allowed')


def test_before_a_step_was_made_the_modelled_energies_say_what_it_costs() -> None:
    machine = Machine(governor=Governor(LADDER, rung=2))
    machine.run(600, budgets(watts=10))  # 6 W there, so 12 W are expected of medium
    assert machine.changes == []
    assert machine.reasons[-1] == (
        'power 6.00 of 10.00 W; not so with medium: power about 12.00 W, 9.00 W are allowed')
    machine.run(60, budgets(watts=14))
    assert machine.rungs == [1]


def test_battery_below_its_level_leads_to_the_smallest_and_charging_back() -> None:
    machine = Machine(battery=lambda now: abs(60 - now / 60))
    machine.run(HOUR, budgets(battery_percent=30))
    assert machine.rungs == [1, 2]
    assert machine.changes[0][0] == pytest.approx(30 * 60, abs=6)
    machine.run(34 * 60, budgets(battery_percent=30))
    assert machine.rungs == [1, 2]
    machine.run(5 * 60, budgets(battery_percent=30))
    assert machine.rungs == [1, 2, 1, 0]
    assert machine.changes[2][0] == pytest.approx((60 + 35) * 60 + 20, abs=4)


def test_metal_is_given_time_to_cool() -> None:
    """90 °C in the end with the large one, 70 °C with the next: one step is enough."""
    machine = Machine(surroundings=30.0).run(30 * 60, budgets(temperature_c=80))
    assert machine.rungs[0] == 1
    assert 2 not in machine.rungs


@pytest.mark.parametrize('temperature', [72.0, 75.0, 80.0, 85.0])
def test_heat_does_not_oscillate(temperature: float) -> None:
    machine = Machine(noise=0.02).run(10 * HOUR, budgets(temperature_c=temperature))
    assert 1 <= len(machine.changes) <= 30
    last = [now for now, _, _ in machine.changes if HOUR < now <= 10 * HOUR]
    assert len(last) <= 2 * 9, last  # a try an hour, when what was learnt is out of date


def flips(machine: Machine) -> int:
    """Count the changes of direction."""
    steps = [b - a for a, b in zip([0, *machine.rungs], machine.rungs, strict=False)]
    return sum(a * b < 0 for a, b in zip(steps, steps[1:], strict=False))


def a_machine(seed: int) -> tuple[Machine, Rules]:
    """Return a machine that differs from its ladder, and budgets that it may or may not keep."""
    chance = random.Random(seed)

    def falling(low: float, high: float) -> tuple[float, ...]:
        return tuple(sorted((chance.uniform(low, high) for _ in LADDER), reverse=True))
    machine = Machine(
        latency=falling(5, 100), watts=falling(0, 10), idle=chance.uniform(0, 10),
        period=chance.choice([1000.0, 66.0, 33.0]), warmth=chance.uniform(1, 5),
        inertia=chance.uniform(5, 600), noise=chance.choice([0.0, 0.02, 0.1]), seed=seed)
    return machine, budgets(
        latency_ms=chance.uniform(30, 200), watts=chance.uniform(8, 25),
        temperature_c=chance.uniform(50, 120))


@pytest.mark.parametrize('seed', [
    *range(6), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(6, 60))])
def test_any_machine_comes_to_rest(seed: int) -> None:
    """Six hours in which nothing changes but noise: after some tries, no more than one an hour."""
    machine, rules = a_machine(seed)
    machine.run(HOUR, rules)
    first = flips(machine)
    machine.run(5 * HOUR, rules)
    assert first <= 8
    assert flips(machine) - first <= 2 * 5


@pytest.mark.parametrize('seed', [
    *range(6), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(6, 60))])
def test_no_machine_stays_small_once_there_is_room(seed: int) -> None:
    """After an hour of overload, budgets twice as wide as the largest needs."""
    machine, _ = a_machine(seed)
    machine.load = lambda now: 3.0 if now < HOUR else 1.0
    largest = machine.latency[0] + (machine.period if machine.latency[0] > machine.period else 0)
    machine.run(HOUR, budgets(latency_ms=largest))
    assert machine.governor.rung > 0
    machine.run(2.5 * HOUR, budgets(latency_ms=2 * largest))
    assert machine.governor.rung == 0


def test_unknown_counts_neither_as_kept_nor_as_broken() -> None:
    governor, rules = Governor(LADDER, rung=1), budgets(latency_ms=60, watts=10)
    for now in range(200):
        decision = governor.decide(now, Figures(latency_ms=10.0), rules)
        assert decision.rung == 1
    assert decision.reason == (
        'latency 10.0 of 60.0 ms; no larger one while a figure is not known; power not known, '
        'which counts neither as kept nor as broken')
    for now in range(200, 300):
        decision = governor.decide(now, Figures(), rules)
        assert decision.rung == 1
    assert decision.reason.startswith('nothing is known; ')
    # What is known and broken still counts.
    for now in range(300, 304):
        decision = governor.decide(now, Figures(watts=11.0), rules)
    assert decision.rung == 2


def test_a_rung_that_does_not_load_is_passed_over_and_let_alone_for_a_while() -> None:
    governor, rules = Governor(LADDER), budgets(latency_ms=60)
    tries = []
    for now in range(100):
        decision = governor.decide(now, Figures(latency_ms=70.0), rules)
        if decision.rung != governor.rung:
            tries.append((now, decision.rung))
            assert governor.failed(now, decision.rung) == 30.0
        elif tries and tries[-1][1] == 2:
            assert decision.helpless
            assert 'no smaller one could be loaded; it is tried again in' in decision.reason
    assert tries == [(3, 1), (4, 2), (33, 1), (34, 2), (63, 1), (64, 2), (93, 1), (94, 2)]


def test_a_larger_rung_that_does_not_load_is_tried_again() -> None:
    governor, rules = Governor(LADDER, rung=2), budgets(latency_ms=60)
    tries = []
    for now in range(100):
        decision = governor.decide(now, Figures(latency_ms=10.0), rules)
        if decision.rung != governor.rung:
            tries.append((now, decision.rung))
            governor.failed(now, decision.rung)
    assert tries == [(20, 1), (50, 1), (80, 1)]
    assert 'medium could not be loaded; it is tried again in 11 s' in decision.reason


def test_a_pinned_rung_teaches_nothing_and_holds_nothing_back() -> None:
    governor, rules = Governor(LADDER), budgets(latency_ms=60)
    governor.decide(0.0, Figures(latency_ms=10.0), rules)
    governor.changed(1.0, 2)  # a person chose it
    ups = []
    for now in range(2, 100):
        decision = governor.decide(now, Figures(latency_ms=10.0), rules)
        if decision.rung != governor.rung:
            ups.append(now)
            governor.changed(now, decision.rung)
    assert governor.rung == 0
    assert ups[0] <= 24 and ups[1] - ups[0] <= 23


def test_a_person_who_decides_anew_is_not_made_to_wait() -> None:
    machine = Machine(period=33.0).run(20 * 60, budgets(latency_ms=60))
    assert 'not so with large' in machine.reasons[-1] or 'held back' in machine.reasons[-1]
    machine.run(21, budgets(latency_ms=150))
    assert machine.governor.rung == 0


def test_time_that_passed_unseen_is_no_evidence() -> None:
    governor, rules = Governor(LADDER), budgets(latency_ms=60)
    assert governor.decide(0.0, Figures(latency_ms=70.0), rules).rung == 0
    assert governor.decide(5000.0, Figures(latency_ms=70.0), rules).rung == 0


def test_budgets_that_are_taken_away_lead_back_to_the_largest() -> None:
    machine = Machine(load=lambda _: 2.0).run(30, budgets(latency_ms=60))
    assert machine.rungs == [1]
    machine.run(60, Rules())
    assert machine.rungs == [1, 0]
    assert machine.reasons[-1] == 'no budget is set; large is the largest'


def test_a_cycle_of_work_is_followed() -> None:
    """Ten minutes of load, ten without, for six hours: two changes a cycle, no more."""
    machine = Machine(load=lambda now: 2.0 if now % 1200 < 600 else 1.0, noise=0.03)
    machine.run(6 * HOUR, budgets(latency_ms=60))
    assert 30 <= len(machine.changes) <= 36
    assert set(machine.rungs) == {0, 1}
