# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

import threading
import time

from prune_perception.runtime.slot import NewestSlot

PATIENCE = 10.0  # seconds; reached only where something is broken


def test_the_newest_item_wins() -> None:
    slot: NewestSlot[int] = NewestSlot()
    assert [slot.put(item) for item in (1, 2, 3)] == [False, True, True]
    assert slot.take(0) == 3
    assert slot.take(0) is None
    assert slot.put(4) is False
    assert slot.take(0) == 4


def test_a_false_item_is_an_item() -> None:
    slot: NewestSlot[int] = NewestSlot()
    slot.put(0)
    assert slot.put(0) is True
    assert slot.take(0) == 0


def test_waiting_ends_after_the_timeout() -> None:
    start = time.monotonic()
    assert NewestSlot[int]().take(0.05) is None
    assert 0.04 < time.monotonic() - start < PATIENCE


def waiting(slot: NewestSlot[str]) -> tuple[threading.Thread, list[str | None]]:
    taken: list[str | None] = []
    thread = threading.Thread(target=lambda: taken.append(slot.take(PATIENCE)), daemon=True)
    thread.start()
    time.sleep(0.05)  # so that it waits by now; where it does not, the test holds all the same
    return thread, taken


def test_an_item_wakes_who_waits() -> None:
    slot: NewestSlot[str] = NewestSlot()
    thread, taken = waiting(slot)
    start = time.monotonic()
    slot.put('image')
    thread.join(PATIENCE)
    assert taken == ['image']
    assert time.monotonic() - start < PATIENCE / 2


def test_closing_wakes_who_waits() -> None:
    slot: NewestSlot[str] = NewestSlot()
    thread, taken = waiting(slot)
    start = time.monotonic()
    assert not slot.closed
    slot.close()
    thread.join(PATIENCE)
    assert taken == [None]
    assert slot.closed
    assert time.monotonic() - start < PATIENCE / 2


def test_nothing_is_taken_from_a_closed_slot() -> None:
    slot: NewestSlot[str] = NewestSlot()
    slot.put('before')
    slot.close()
    assert slot.take() is None
    slot.put('after')
    assert slot.take() is None


def test_items_pass_between_threads_in_order_and_the_last_arrives() -> None:
    slot: NewestSlot[int] = NewestSlot()
    count, taken, replaced = 5000, [0], [0]

    def produce() -> None:
        for item in range(1, count + 1):
            replaced[0] += slot.put(item)

    producer = threading.Thread(target=produce, daemon=True)
    producer.start()
    while taken[-1] != count:
        item = slot.take(PATIENCE)
        assert item is not None, 'the last item was lost'
        taken.append(item)
    producer.join(PATIENCE)
    assert taken == sorted(set(taken)), 'newer items come later, none comes twice'
    assert len(taken) - 1 + replaced[0] == count, 'each item was taken or counted as replaced'
