# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The governor's changes beside others, with a node, a clock and engines that the test holds."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from test_preparation import Build, Turned

from prune_perception.bundle import BundleError
from prune_perception.nodes import governing as module
from prune_perception.nodes.governing import Governing
from prune_perception.nodes.health import ERROR, Finding, OK
from prune_perception.nodes.ladder import Ladder
from prune_perception.nodes.preparation import Preparation
from prune_perception.runtime.ladder import Rung
from prune_perception.runtime.monitor import FrameTiming, Monitor, STAGES


class StandIn(Turned):
    """What the governor needs of a node."""

    def __init__(self) -> None:
        super().__init__()
        self.parameters: dict[str, Any] = {
            'pinned': '', 'root': '/nowhere', 'governor.down_after': 3.0,
            'governor.up_after': 20.0, 'budget.latency_ms': 0.0, 'budget.watts': 0.0,
            'budget.battery_percent': 0.0, 'budget.temperature_c': 0.0}
        self.said: list[str] = []

    def get_parameter(self, name: str) -> Any:
        return SimpleNamespace(value=self.parameters[name])

    def get_logger(self) -> Any:
        return SimpleNamespace(info=self.said.append, error=self.said.append)

    def resolve_topic_name(self, name: str) -> str:
        return f'/{name}'

    def create_subscription(self, *words: Any) -> None:
        pass

    def create_publisher(self, *words: Any) -> Any:
        return SimpleNamespace(publish=lambda message: None)


class File:
    """A bundle of one file that can be read, or cannot."""

    card = SimpleNamespace(files={'model.onnx': 'a digest'})
    whole = True

    def read_file(self, name: str) -> bytes:
        assert name == 'model.onnx'
        if not self.whole:
            raise BundleError('model.onnx: has changed or is incomplete')
        return b'a network'


class Stand:
    """A governor of two rungs, of which the large one runs."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.node: Any = StandIn()
        self.preparation = Preparation(self.node)
        self.monitor = Monitor()
        self.used: list[Any] = []
        self.engine = Build('small', held=True)
        self.small = File()
        bundles: Any = (File(), self.small)
        ladder = Ladder(
            bundles, (Rung('large', 2.0, 2.0), Rung('small', 1.0, 1.0)),
            ('large', 'small'))
        self.governing = Governing(
            self.node, ladder, 0, self.preparation, builder=lambda bundle: self.engine,
            use=self.used.append, monitors=lambda: [self.monitor],
            message=lambda finding: finding)  # type: ignore[arg-type, return-value]

    def pin(self, name: str) -> None:
        self.node.parameters['pinned'] = name
        self.governing.pinned_changed()

    def step(self) -> Finding:
        return self.governing.step(None, '')


class Clock:
    """The monotonic clock of the governor, as the test sets it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, 'time', SimpleNamespace(monotonic=clock))
    return clock


@pytest.fixture
def stand(clock: Clock) -> Stand:
    return Stand(clock)


@pytest.mark.parametrize('looked', [True, False])
def test_another_change_that_took_the_place_of_the_governors_is_not_given_up(
        stand: Stand, looked: bool) -> None:
    """As where threads are set amid a change, and something is pinned before they are there."""
    stand.pin('small')
    assert stand.step().values['Being made ready'] == 'small'
    done: list[Any] = []
    stand.preparation.request(Build('large with two threads'), done.append)
    if looked:
        finding = stand.step()
        assert finding.message == 'another engine is being made ready'
        assert (finding.level, finding.values['Being made ready']) == (OK, '')
    stand.pin('large')
    stand.engine.let()
    stand.node.turn()
    stand.node.turn()
    assert done == ['large with two threads'] and stand.used == []


def test_a_change_that_was_overtaken_is_made_afterwards(stand: Stand) -> None:
    stand.pin('small')
    stand.step()
    stand.preparation.request(Build('large with two threads'), lambda result: None)
    stand.engine.let()
    stand.node.turn()
    stand.node.turn()
    stand.step()
    stand.node.turn()
    assert stand.used == ['small']
    assert stand.step().values['Bundle'] == 'small'


def test_slowest_frame_is_of_the_whole_time_that_it_was_made_ready(
        stand: Stand, clock: Clock) -> None:
    """Which may be minutes, and the monitor keeps 10 s."""
    def process(seconds: float) -> None:
        stand.monitor.processed(clock.now, FrameTiming(dict.fromkeys(STAGES, seconds), None))

    process(2.0)
    clock.now += 0.5
    stand.pin('small')
    stand.step()
    for seconds in (0.05, 0.9, *[0.05] * 30):
        clock.now += 0.5
        process(seconds)
        clock.now += 0.5
        stand.step()
    clock.now += 0.2
    process(0.07)
    stand.engine.let()
    stand.node.turn()
    assert stand.step().values['Slowest frame while it was made ready (ms)'] == '900.0'


def test_no_frame_while_it_was_made_ready(stand: Stand, clock: Clock) -> None:
    stand.pin('small')
    stand.step()
    clock.now += 1
    stand.engine.let()
    stand.node.turn()
    assert stand.step().values['Slowest frame while it was made ready (ms)'] == (
        'none ended meanwhile')


@pytest.mark.parametrize('idle', [True, False])
def test_failure_is_said_until_it_is_mended_also_where_nothing_wants_the_bundle(
        stand: Stand, clock: Clock, idle: bool) -> None:
    def said() -> list[tuple[bytes, bool]]:
        found = []
        for _ in range(40):
            clock.now += 1
            finding = stand.governing.idle('inactive') if idle else stand.step()
            found.append((finding.level, 'has changed' in finding.message))
        return found

    stand.engine = Build(BundleError('model.onnx: has changed'))
    stand.small.whole = False
    stand.pin('small')
    stand.step()
    stand.node.turn()
    stand.pin('')
    assert set(said()) == {(ERROR, True)}
    stand.small.whole = True
    found = said()
    assert found[0] == (ERROR, True) and found[-1] == (OK, False)
    stand.small.whole = False
    assert set(said()) == {(OK, False)}, 'nobody looks at what has not failed'
