# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The watchdog, with runs that the test holds in its hand."""

from collections.abc import Callable, Iterator
import threading
import time
from typing import Any

import pytest

from prune_perception.nodes import watchdog as module
from prune_perception.nodes.watchdog import STATUS_HUNG, Watchdog

PATIENCE = 10.0  # seconds; reached only where something is broken


class Stand:
    """A watchdog whose process is the test's, and does not end."""

    def __init__(self, limit: float, *, speaks: Callable[[], None] = lambda: None) -> None:
        self.limit = limit
        self.looks = 0
        self.ending = False
        self.said: list[str] = []
        self.left = threading.Event()
        self.cancelled = threading.Event()
        self._speaks = speaks
        self.watchdog = Watchdog(
            limit=self._limit, ending=lambda: self.ending, last_words=self._say,
            leave=self._leave)

    def _limit(self) -> float:
        self.looks += 1
        return self.limit

    def _say(self, line: str) -> None:
        self._speaks()
        self.said.append(line)

    def _leave(self, status: int) -> None:
        assert status == STATUS_HUNG
        self.left.set()
        self.watchdog._stopped.set()


@pytest.fixture
def watch() -> Iterator[Callable[..., Stand]]:
    stands: list[Stand] = []

    def start(*words: Any, **named: Any) -> Stand:
        stands.append(Stand(*words, **named))
        return stands[-1]
    yield start
    for stand in stands:
        stand.watchdog.stop()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, '_LONGEST_SLEEP', 0.05)
    monkeypatch.setattr(module, 'GRACE', 0.1)


def test_run_that_gives_up_fails_with_the_reason(watch: Callable[..., Stand]) -> None:
    stand = watch(0.1)
    with pytest.raises(TimeoutError, match='more than 0.1 s'), \
            stand.watchdog.watch('front', stand.cancelled.set):
        assert stand.cancelled.wait(PATIENCE)
        raise RuntimeError('cancelled')
    with stand.watchdog.watch('front', stand.cancelled.set):
        pass
    with pytest.raises(ValueError, match='its own'), \
            stand.watchdog.watch('front', stand.cancelled.set):
        raise ValueError('its own')
    assert not stand.left.is_set() and not stand.said


def test_run_that_does_not_give_up_ends_the_process(watch: Callable[..., Stand]) -> None:
    stand = watch(0.1)
    with stand.watchdog.watch('front', stand.cancelled.set):
        assert stand.left.wait(PATIENCE)
    assert stand.cancelled.is_set()
    assert len(stand.said) == 1
    assert stand.said[0].startswith('front: the engine has been at an image for 0.')
    assert f'status {STATUS_HUNG}' in stand.said[0]


def test_what_hangs_while_it_is_ended_holds_nothing_up(watch: Callable[..., Stand]) -> None:
    hung = threading.Event()
    stand = watch(0.1, speaks=lambda: hung.wait(2 * PATIENCE) and None)
    with stand.watchdog.watch('front', lambda: hung.wait(2 * PATIENCE) and None):
        assert stand.left.wait(PATIENCE)
        assert stand.said == []
        hung.set()


def test_limit_is_looked_at_anew(watch: Callable[..., Stand]) -> None:
    stand = watch(0.0)
    with stand.watchdog.watch('front', stand.cancelled.set):
        before = stand.looks
        while stand.looks < before + 5:
            time.sleep(0.01)
        assert not stand.cancelled.is_set()
        stand.limit = 0.1
        assert stand.cancelled.wait(PATIENCE)


def test_run_has_the_limit_that_it_began_with_or_the_present_one_if_that_is_longer(
        watch: Callable[..., Stand]) -> None:
    stand = watch(0.05)
    with stand.watchdog.watch('front', stand.cancelled.set, at_least=100.0):
        before = stand.looks
        while stand.looks < before + 5:
            time.sleep(0.01)
        assert not stand.cancelled.is_set()
    with stand.watchdog.watch('front', stand.cancelled.set, at_least=0.01):
        assert stand.cancelled.wait(PATIENCE)


def test_run_has_its_grace_also_where_the_limit_was_lowered_to_long_before(
        watch: Callable[..., Stand], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, 'GRACE', PATIENCE)
    stand = watch(100.0)
    with stand.watchdog.watch('front', stand.cancelled.set):
        stand.watchdog._watched.since -= 50.0  # type: ignore[union-attr]  # it began long ago
        stand.limit = 0.1
        assert stand.cancelled.wait(PATIENCE)
        assert not stand.left.wait(0.3)  # a look at it is due each 0.05 s
        monkeypatch.setattr(module, 'GRACE', 0.1)
        assert stand.left.wait(PATIENCE), 'and no longer than that'


def test_time_that_the_whole_process_stood_still_is_not_counted(
        watch: Callable[..., Stand], monkeypatch: pytest.MonkeyPatch) -> None:
    stand = watch(100.0)
    begin = time.monotonic
    with stand.watchdog.watch('front', stand.cancelled.set):
        monkeypatch.setattr(module.time, 'monotonic', lambda begin=begin: begin() + 1000)
        before = stand.looks
        deadline = begin() + PATIENCE
        while stand.looks < before + 10:
            assert begin() < deadline
            threading.Event().wait(0.01)
        assert not stand.cancelled.is_set()


def test_process_that_was_told_to_end_ends(
        watch: Callable[..., Stand], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, 'SECONDS_TO_END', 0.1)
    stand = watch(0.0)
    assert not stand.left.wait(0.3)
    stand.ending = True
    assert stand.left.wait(PATIENCE)
    assert 'told to end' in stand.said[0]
