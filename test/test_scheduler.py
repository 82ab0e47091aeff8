# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

from collections import Counter
from collections.abc import Mapping
import itertools
import math
import random
import threading
import time

import pytest

from prune_perception.runtime.scheduler import FairSlots

PATIENCE = 10.0  # seconds; reached only where something is broken


def test_the_newest_item_of_each_camera_wins() -> None:
    slots: FairSlots[int] = FairSlots({'front': 1, 'rear': 1})
    assert [slots.put('front', item) for item in (1, 2, 3)] == [False, True, True]
    assert slots.put('rear', 9) is False, 'another camera replaces nothing'
    assert sorted([slots.take(0), slots.take(0)]) == [('front', 3), ('rear', 9)]
    assert slots.take(0) is None
    assert slots.put('front', 4) is False
    assert slots.take(0) == ('front', 4)


def test_a_false_item_is_an_item() -> None:
    slots: FairSlots[int] = FairSlots({'': 1})
    slots.put('', 0)
    assert slots.put('', 0) is True
    assert slots.take(0) == ('', 0)


def busy(priorities: Mapping[str, float], count: int) -> str:
    """Return who is taken, where everybody always has something waiting."""
    slots: FairSlots[int] = FairSlots(priorities)
    order = []
    for name in priorities:
        slots.put(name, 0)
    for item in range(count):
        taken = slots.take(0)
        assert taken is not None
        order.append(taken[0])
        slots.put(taken[0], item)
    return ''.join(order)


def test_turns_by_hand() -> None:
    assert busy({'a': 1, 'b': 1}, 6) == 'ababab'
    assert busy({'a': 2, 'b': 1}, 8) == 'abaabaab'


@pytest.mark.parametrize('seed', range(20))
def test_shares_are_by_priority_and_nobody_waits_longer_than_promised(seed: int) -> None:
    chance = random.Random(seed)
    priorities = {name: chance.randint(1, 20) for name in 'abcde'[:chance.randint(2, 5)]}
    order = busy(priorities, 5000)
    for name, priority in priorities.items():
        share = 5000 * priority / sum(priorities.values())
        assert abs(order.count(name) - share) <= len(priorities)
        for between in order.split(name)[1:-1]:
            for other, count in Counter(between).items():
                assert count <= priorities[other] / priority + 1


class Simulation:
    """Cameras and a detector in simulated time."""

    def __init__(
            self, rates: Mapping[str, float], priorities: Mapping[str, float], seconds: float):
        """:param seconds: that the detector takes for an image."""
        self.slots: FairSlots[float] = FairSlots(priorities)
        self.rates = rates
        self.seconds = seconds
        self.sent: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.ages: dict[str, list[float]] = {name: [] for name in rates}

    def run(self, duration: float, silent: Mapping[str, tuple[float, float]] | None = None
            ) -> list[tuple[float, str]]:
        """
        Return when each image was begun with, and whose it was.

        :param silent: by camera, from when to when it sends nothing.
        """
        def speaks(name: str, moment: float) -> bool:
            first, last = (silent or {}).get(name, (math.inf, -math.inf))
            return not first <= moment < last

        arrivals = sorted(
            (index / rate, name) for name, rate in self.rates.items()
            for index in range(math.ceil(duration * rate)) if speaks(name, index / rate))
        taken_at, now = [], 0.0
        for moment, name in [*arrivals, (math.inf, '')]:
            while now < min(moment, duration):
                taken = self.slots.take(0)
                if taken is None:
                    now = moment
                    break
                taken_at.append((now, taken[0]))
                self.ages[taken[0]].append(now - taken[1])
                now += self.seconds
            if name:
                self.sent[name] += 1
                self.dropped[name] += self.slots.put(name, moment)
        return taken_at


def test_a_slow_camera_beside_a_fast_one_of_ten_times_its_priority_loses_nothing() -> None:
    simulation = Simulation({'fast': 30, 'slow': 1}, {'fast': 10, 'slow': 1}, seconds=0.05)
    taken = Counter(name for _, name in simulation.run(60))
    assert taken['slow'] == 60 and simulation.dropped['slow'] == 0
    assert max(simulation.ages['slow']) <= 0.05 + 1e-9, 'waits for the image at hand alone'
    assert taken['fast'] == pytest.approx(60 * (1 / 0.05 - 1), rel=0.01)
    # Newest only: older than one period, and one turn of the other, nothing gets.
    assert max(simulation.ages['fast']) <= 1 / 30 + 0.05 + 1e-9
    assert simulation.sent['fast'] - simulation.dropped['fast'] - taken['fast'] in (0, 1)


def test_a_camera_of_least_priority_does_not_starve_beside_three_of_highest() -> None:
    rates = {'a': 30, 'b': 30, 'c': 30, 'last': 30}
    simulation = Simulation(rates, {'a': 100, 'b': 100, 'c': 100, 'last': 1}, seconds=0.02)
    times = [moment for moment, name in simulation.run(100) if name == 'last']
    longest = max(after - before for before, after in itertools.pairwise(times))
    assert longest <= (3 * (100 + 1) + 1) * 0.02 + 1e-9
    assert max(simulation.ages['last']) <= 1 / 30, 'it is the newest that is shown then'


def test_silence_saves_up_nothing() -> None:
    simulation = Simulation({'a': 30, 'b': 30}, {'a': 1, 'b': 1}, seconds=0.05)
    taken = simulation.run(60, silent={'b': (5, 55)})
    before, during, after = (
        Counter(name for moment, name in taken if first <= moment < last)
        for first, last in ((0, 5), (5.1, 55), (55, 60)))
    assert abs(before['a'] - before['b']) <= 1
    assert during['b'] == 0
    assert abs(after['a'] - after['b']) <= 2
    order = ''.join(name for moment, name in taken if moment >= 55.1)
    assert 'bbb' not in order and 'aaa' not in order


def test_a_time_alone_is_not_held_against_a_camera() -> None:
    slots: FairSlots[int] = FairSlots({'a': 1, 'b': 1})
    for item in range(1000):
        slots.put('a', item)
        assert slots.take(0) == ('a', item)
    order = []
    for item in range(10):
        slots.put('a', item)
        slots.put('b', item)
        taken = slots.take(0)
        assert taken is not None
        order.append(taken[0])
    assert order.count('a') == 5


def test_an_image_that_replaces_another_keeps_its_turn() -> None:
    slots: FairSlots[int] = FairSlots({'a': 1, 'b': 1})
    order = []
    for item in range(10):
        slots.put('b', item)
        for _ in range(50):
            slots.put('a', item)
        taken = slots.take(0)
        assert taken is not None
        order.append(taken[0])
    assert order.count('a') == 5


def test_priority_can_be_changed() -> None:
    slots: FairSlots[int] = FairSlots({'a': 1, 'b': 1})
    counts: Counter[str] = Counter()
    for item in range(110):
        if item == 10:
            slots.set_priority('a', 9)
            counts.clear()
        slots.put('a', item)
        slots.put('b', item)
        taken = slots.take(0)
        assert taken is not None
        counts[taken[0]] += 1
    assert abs(counts['a'] - 90) <= 2


@pytest.mark.parametrize('priority', [0, -1, math.nan])
def test_priority_that_cannot_be(priority: float) -> None:
    with pytest.raises(ValueError, match='priority of rear is .* above 0'):
        FairSlots({'front': 1, 'rear': priority})


def test_clearing_names_whose_item_is_lost() -> None:
    slots: FairSlots[int] = FairSlots({'a': 1, 'b': 1, 'c': 1})
    slots.put('a', 1)
    slots.put('c', 1)
    assert slots.clear() == ['a', 'c']
    assert slots.take(0) is None
    assert slots.put('a', 2) is False
    assert slots.take(0) == ('a', 2)


def test_waiting_ends_after_the_timeout() -> None:
    start = time.monotonic()
    assert FairSlots({'': 1}).take(0.05) is None
    assert 0.04 < time.monotonic() - start < PATIENCE


@pytest.mark.parametrize('wake', ['put', 'close'])
def test_who_waits_is_woken(wake: str) -> None:
    slots: FairSlots[str] = FairSlots({'front': 1, 'rear': 1})
    taken: list[tuple[str, str] | None] = []
    thread = threading.Thread(target=lambda: taken.append(slots.take(PATIENCE)), daemon=True)
    thread.start()
    time.sleep(0.05)  # so that it waits by now; where it does not, the test holds all the same
    start = time.monotonic()
    if wake == 'put':
        slots.put('rear', 'image')
    else:
        slots.close()
    thread.join(PATIENCE)
    assert taken == [('rear', 'image') if wake == 'put' else None]
    assert slots.closed == (wake == 'close')
    assert time.monotonic() - start < PATIENCE / 2


def test_nothing_is_taken_from_closed_slots() -> None:
    slots: FairSlots[str] = FairSlots({'': 1})
    slots.put('', 'before')
    slots.close()
    assert slots.take() is None
    slots.put('', 'after')
    assert slots.take() is None


def test_items_of_many_threads_pass_in_order_and_the_last_of_each_arrives() -> None:
    names, count = 'abc', 3000
    slots: FairSlots[int] = FairSlots(dict.fromkeys(names, 1))
    replaced: Counter[str] = Counter()
    taken: dict[str, list[int]] = {name: [0] for name in names}

    def produce(name: str) -> None:
        for item in range(1, count + 1):
            replaced[name] += slots.put(name, item)

    producers = [threading.Thread(target=produce, args=(name,), daemon=True) for name in names]
    for producer in producers:
        producer.start()
    while any(items[-1] != count for items in taken.values()):
        found = slots.take(PATIENCE)
        assert found is not None, 'the last item of a camera was lost'
        taken[found[0]].append(found[1])
    for producer in producers:
        producer.join(PATIENCE)
    for name, items in taken.items():
        assert items == sorted(set(items)), 'newer items come later, none comes twice'
        assert len(items) - 1 + replaced[name] == count, 'each was taken, or told as replaced'
