# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Detectors that are made ready beside the running one, with an executor that the test turns."""

from collections.abc import Callable
import queue
import threading
import time
from typing import Any

import pytest

from prune_perception.nodes.health import ERROR, Finding, OK, WARN
from prune_perception.nodes.preparation import Preparation

PATIENCE = 10.0  # seconds; reached only where something is broken


class Turned:
    """A node and its executor in one; tasks are run when the test says so."""

    def __init__(self) -> None:
        self.executor = self.context = self
        self._tasks: queue.Queue[tuple[Callable[..., None], tuple[Any, ...]]] = queue.Queue()

    def ok(self) -> bool:
        return True

    def create_task(self, task: Callable[..., None], *arguments: Any) -> None:
        self._tasks.put((task, arguments))

    def turn(self) -> None:
        task, arguments = self._tasks.get(timeout=PATIENCE)
        task(*arguments)

    def idle(self) -> bool:
        return self._tasks.empty()


class Build:
    """Something that is built as soon as it is let, and notes in which thread."""

    def __init__(self, result: Any, *, held: bool = False) -> None:
        self._result = result
        self._go = threading.Event()
        if not held:
            self._go.set()
        self.thread: threading.Thread | None = None

    def let(self) -> None:
        self._go.set()

    def __call__(self) -> Any:
        self.thread = threading.current_thread()
        assert self._go.wait(PATIENCE)
        if isinstance(self._result, Exception):
            raise self._result
        return self._result


@pytest.fixture
def node() -> Turned:
    return Turned()


@pytest.fixture
def preparation(node: Turned) -> Preparation:
    return Preparation(node)  # type: ignore[arg-type]


def test_it_is_built_elsewhere_and_handed_over_here(
        node: Turned, preparation: Preparation) -> None:
    done: list[Any] = []
    build = Build('detector')
    preparation.request(build, done.append)
    assert preparation.busy and done == []
    node.turn()
    assert done == ['detector'] and not preparation.busy
    assert build.thread not in (None, threading.current_thread())


def test_what_fails_is_handed_over_too(node: Turned, preparation: Preparation) -> None:
    done: list[Any] = []
    error = ValueError('no such engine')
    preparation.request(Build(error), done.append)
    node.turn()
    assert done == [error]


def test_the_newest_request_wins_and_those_between_are_never_built(
        node: Turned, preparation: Preparation) -> None:
    done: list[Any] = []
    first, second, third = Build(1, held=True), Build(2), Build(3)
    for build in (first, second, third):
        preparation.request(build, done.append)
    first.let()
    node.turn()
    node.turn()
    assert done == [3]
    assert second.thread is None
    assert node.idle() and not preparation.busy


def test_what_is_cancelled_is_not_handed_over(node: Turned, preparation: Preparation) -> None:
    done: list[Any] = []
    build = Build(1, held=True)
    preparation.cancel(preparation.request(build, done.append))
    assert not preparation.busy
    build.let()
    node.turn()
    assert done == []
    preparation.request(Build(2), done.append)
    node.turn()
    assert done == [2]


def test_a_request_after_a_cancelled_one_that_is_still_under_way(
        node: Turned, preparation: Preparation) -> None:
    done: list[Any] = []
    build = Build(1, held=True)
    preparation.cancel(preparation.request(build, done.append))
    preparation.request(Build(2), done.append)
    assert preparation.busy
    build.let()
    node.turn()
    node.turn()
    assert done == [2]


def test_only_the_own_request_is_cancelled(node: Turned, preparation: Preparation) -> None:
    done: list[Any] = []
    build = Build(1, held=True)
    first = preparation.request(build, done.append)
    assert preparation.pending(first)
    second = preparation.request(Build(2), done.append)
    assert preparation.pending(second) and not preparation.pending(first)
    preparation.cancel(first)
    preparation.cancel(None)
    assert preparation.pending(second)
    build.let()
    node.turn()
    node.turn()
    assert done == [2]
    assert not preparation.pending(second) and not preparation.pending(None)


def test_stopping_waits_until_nothing_is_under_way(
        node: Turned, preparation: Preparation) -> None:
    done: list[Any] = []
    build = Build(1, held=True)
    preparation.request(build, done.append)
    threading.Timer(0.1, build.let).start()
    preparation.stop()
    assert build.thread is not None and not build.thread.is_alive()
    node.turn()
    assert done == []


def test_a_callback_may_ask_again(node: Turned, preparation: Preparation) -> None:
    done: list[Any] = []

    def again(result: Any) -> None:
        done.append(result)
        if result == 1:
            preparation.request(Build(2), again)
    preparation.request(Build(1), again)
    node.turn()
    node.turn()
    assert done == [1, 2]


def test_one_that_takes_far_too_long_is_told(node: Turned, preparation: Preparation) -> None:
    active = Finding(OK, 'active', {'State': 'active'})
    now = time.monotonic()
    assert preparation.judged(now + 1e6, active) == active
    build = Build(1, held=True)
    request = preparation.request(build, lambda result: None)
    said = [preparation.judged(now + seconds, active) for seconds in (50, 70, 310)]
    assert [each.level for each in said] == [OK, WARN, ERROR]
    assert said[1].message.startswith('an engine has been made ready for ')
    assert said[1].message.endswith('start the node again; active')
    assert said[1].values == active.values
    worse = Finding(ERROR, 'something else', {})
    assert preparation.judged(now + 70, worse).level == ERROR
    # It blocks all others, also where nobody waits for it any more.
    preparation.cancel(request)
    assert preparation.judged(now + 70, active).level == WARN
    # An engine that took minutes at configuration may do so again.
    preparation.usual = 100.0
    assert [preparation.judged(now + seconds, active).level for seconds in (190, 210, 1010)] == [
        OK, WARN, ERROR]
    build.let()
    node.turn()
    assert preparation.judged(now + 1e6, active) == active
