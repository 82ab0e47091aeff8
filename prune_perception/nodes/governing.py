# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The governor on a node: reads the figures, exchanges the detector, says what it does and why."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, qos_profile_sensor_data, QoSProfile
from sensor_msgs.msg import BatteryState, Temperature

from prune_perception.bundle import Bundle, BundleError
from prune_perception.energy.meters import MeterError
from prune_perception.nodes.governor_inputs import BatteryLevel, ProcessorTemperature
from prune_perception.nodes.health import ERROR, Finding, held, OK, UNAVAILABLE, WARN
from prune_perception.nodes.ladder import Ladder
from prune_perception.nodes.preparation import Preparation, Prepared, Request
from prune_perception.runtime.budgets import Figures, QUANTITIES, Rules
from prune_perception.runtime.governor import Governor
from prune_perception.runtime.hysteresis import Hold
from prune_perception.runtime.monitor import Monitor

# A slow moment must not be seen twice, or it would count for more than it lasted. The longer times
# are for where a frame takes longer than the shorter.
_SECONDS_OF_LATENCY = (1.0, 3.0, 10.0)
# Of an image that waited while the detector before was at work, the wait is not the new one's.
_SECONDS_OF_THE_ONE_BEFORE = 1.0
# After which the files of a bundle that could not be made ready are looked at again.
_LOOK_AGAIN_AFTER = 30.0
_LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Governing:
    """
    Asks a governor once a second, and changes the detector when it says so.

    All methods are called on the executor's thread.

    :param node: with the parameters ``budget.*``, ``governor.*`` and ``pinned``.
    :param rung: of the ladder that runs.
    :param preparation: where detectors are made ready, beside the one that runs.
    :param builder: returns what makes a bundle's detector ready.
    :param use: runs a detector from the next image on.
    :param monitors: count the frames of each camera.
    :param message: makes a message of a finding.
    """

    def __init__(
            self, node: Node, ladder: Ladder, rung: int, preparation: Preparation, *,
            builder: Callable[[Bundle], Callable[[], Prepared]],
            use: Callable[[Prepared], None], monitors: Callable[[], Iterable[Monitor]],
            message: Callable[[Finding], DiagnosticStatus]) -> None:
        self.ladder = ladder
        self._node = node
        self._logger = node.get_logger()
        self._preparation = preparation
        self._builder = builder
        self._use = use
        self._monitors = monitors
        self._message = message
        self._governor = Governor(ladder.rungs, rung)
        self._hold = Hold()
        self._changing: _Changing | None = None
        self._changed_at = time.monotonic()
        self._retry_at = 0.0
        self._failures: dict[int, _Failure] = {}
        self._changes = 0
        self._last_change: dict[str, str] = {}
        battery = node.resolve_topic_name('battery')
        temperature = node.resolve_topic_name('temperature')
        self._battery = BatteryLevel(battery)
        self._temperature = ProcessorTemperature(temperature, Path(self._value('root')))
        self._inputs: list[Any] = [
            node.create_subscription(
                BatteryState, battery, self._battery.take, qos_profile_sensor_data),
            node.create_subscription(
                Temperature, temperature, self._temperature.take, qos_profile_sensor_data)]
        self._publisher: Any = node.create_publisher(DiagnosticStatus, '~/governor', _LATCHED)
        self._tell(OK, f'begins with {self._name(rung)}'
                   + (', which is pinned' if self._value('pinned') else ''))

    def destroy(self) -> None:
        """Let the topics go."""
        for subscription in self._inputs:
            self._node.destroy_subscription(subscription)
        self._node.destroy_publisher(self._publisher)

    def activate(self) -> None:
        """Begin anew: what was read before may be of another time of day."""
        self._governor = Governor(self.ladder.rungs, self._governor.rung)
        self._hold = Hold()
        self._changed_at = time.monotonic()

    def pinned_changed(self) -> None:
        """Take over a bundle that was pinned, or let go."""
        pinned = self._value('pinned')
        self._retry_at = 0.0
        self._hold = Hold()
        self._governor.changed(time.monotonic(), self._governor.rung)
        if self._changing is not None:
            self._preparation.cancel(self._changing.request)
            self._changing = None
        self._tell(OK, f'{self._name(self.ladder.index(pinned))} is pinned' if pinned
                   else 'nothing is pinned any more: the governor chooses')

    # Once a second.

    def step(self, watts: float | None, power_source: str) -> Finding:
        """
        Look at the figures, change the detector if need be, and say how things stand.

        :param watts: measured now; None where that is not known.
        :param power_source: which sensor says so, or why there is none.
        """
        now = time.monotonic()
        rules = self._rules()
        figures, sources = self._figures(now, watts, power_source)
        changing = self._changing
        if changing is not None:
            changing.look(now, self._monitors())
        if changing is not None and not self._preparation.pending(changing.request):
            # Another change of the engine, as of its threads, took its place.
            self._changing = changing = None
        level, reason = OK, ''
        if changing is not None:
            reason = f'{self._name(changing.rung)} is being made ready: {changing.reason}'
        elif self._preparation.busy:
            reason = 'another engine is being made ready'
        elif self._value('pinned'):
            wanted = self.ladder.index(self._value('pinned'))
            reason = f'{self._name(wanted)} is pinned; the budgets are not looked at'
            if wanted != self._governor.rung and now >= self._retry_at:
                self._change(now, wanted, 'pinned by parameter')
        else:
            decision = self._governor.decide(now, figures, rules)
            reason = decision.reason
            missing = [name for name in rules.budgets.known()
                       if name not in figures.known() and name != 'latency_ms']
            level = WARN if decision.helpless or missing else OK
            if decision.rung != self._governor.rung:
                self._change(now, decision.rung, decision.reason)
        failures = self._present_failures(now)
        if failures:
            level, reason = ERROR, '; '.join([*failures, reason])
        return held(self._hold, now, Finding(
            level, reason, self._values(figures, sources, rules)))

    def idle(self, state: str) -> Finding:
        """Say how things stand while no image is taken."""
        failures = self._present_failures(time.monotonic())
        return Finding(
            ERROR if failures else OK, '; '.join(failures) or state,
            self._values(Figures(), {}, self._rules()))

    def _present_failures(self, now: float) -> list[str]:
        """
        Return what could not be made ready, without what somebody has mended since.

        Nothing may want that bundle for long, so to wait until it is loaded would be to report it
        for ever. One that fails for another reason than its files does so again when it is tried.
        """
        for rung, failure in list(self._failures.items()):
            if now - failure.looked < _LOOK_AGAIN_AFTER:
                continue
            failure.looked = now
            bundle = self.ladder.bundles[rung]
            try:
                for name in bundle.card.files:
                    bundle.read_file(name)
            except BundleError:
                continue
            del self._failures[rung]
        return [failure.text for failure in self._failures.values()]

    def _figures(
            self, now: float, watts: float | None, power_source: str
            ) -> tuple[Figures, dict[str, str]]:
        """Return what is known now, and for each whose figure it is or why there is none."""
        sources = {'watts': power_source}
        read: dict[str, float | None] = {}
        for name, meter in (('battery_percent', self._battery),
                            ('temperature_c', self._temperature)):
            try:
                read[name] = meter.read()
                sources[name] = meter.source
            except MeterError as error:
                read[name] = None
                sources[name] = str(error)
        return Figures(self._latency(now), watts, **read), sources

    def _latency(self, now: float) -> float | None:
        """Return within how many ms of their arrival 95 of 100 images are done, lately."""
        begin = self._changed_at + _SECONDS_OF_THE_ONE_BEFORE
        for seconds in _SECONDS_OF_LATENCY:
            spreads = [monitor.spread_since('total', max(now - seconds, begin))
                       for monitor in self._monitors()]
            known = [spread.p95 for spread in spreads if spread is not None]
            if known:
                return max(known) * 1e3  # of the camera that fares worst
        return None

    # Changes.

    def _change(self, now: float, rung: int, reason: str) -> None:
        changing = _Changing(rung, reason, now, self._latency(now))
        self._changing = changing
        self._tell(OK, f'{reason} (it is made ready beside {self._name(self._governor.rung)})')
        changing.request = self._preparation.request(
            self._builder(self.ladder.bundles[rung]),
            lambda result: self._made_ready(changing, result))

    def _made_ready(self, changing: '_Changing', result: Prepared | Exception) -> None:
        if self._changing is not changing:
            return
        self._changing = None
        now = time.monotonic()
        name = self._name(changing.rung)
        if isinstance(result, Exception):
            wait = self._governor.failed(now, changing.rung)
            self._retry_at = now + wait
            failure = (f'{name} could not be made ready: '
                       f'{" ".join(str(result).split()) or type(result).__name__}')
            self._failures[changing.rung] = _Failure(failure, now)
            self._tell(ERROR, f'{failure}; {self._name(self._governor.rung)} stays, and it is '
                       f'tried again in {wait:.0f} s at the earliest')
            return
        before = self._name(self._governor.rung)
        changing.look(now, self._monitors())
        self._use(result)
        self._governor.changed(now, changing.rung)
        self._changed_at = now
        self._failures.pop(changing.rung, None)
        self._changes += 1
        self._last_change = {
            'Last change': changing.reason,
            'Made ready in (s)': f'{now - changing.time:.2f}',
            'Latency p95 before (ms)': _number(changing.latency_ms, 1),
            'Slowest frame while it was made ready (ms)': (
                'none ended meanwhile' if changing.slowest is None
                else f'{changing.slowest * 1e3:.1f}')}
        self._tell(OK, f'{name} runs, after {before}: {changing.reason}')

    def _tell(self, level: bytes, text: str) -> None:
        if level == OK:
            self._logger.info(f'governor: {text}')
        else:
            self._logger.error(f'governor: {text}')
        self._publisher.publish(self._message(Finding(
            level, text, {**self._standing(), **self._last_change})))

    # What is said.

    def _standing(self) -> dict[str, str]:
        return {
            'Bundle': self._name(self._governor.rung),
            'Being made ready': self._name(self._changing.rung) if self._changing else '',
            'Ladder': ', '.join(self.ladder.names),
            'Pinned': self._value('pinned'),
            'Changes': str(self._changes)}

    def _values(self, figures: Figures, sources: dict[str, str], rules: Rules) -> dict[str, str]:
        values = self._standing()
        budgets, known = rules.budgets.known(), figures.known()
        for name, quantity in QUANTITIES.items():
            title = f'{quantity.name.capitalize()} ({quantity.unit})'
            values[title] = _number(known.get(name), quantity.decimals)
            values[f'{title}, {"at least" if quantity.least else "budget"}'] = (
                _number(budgets[name], quantity.decimals) if name in budgets else 'none')
            if sources.get(name):
                values[f'{quantity.name.capitalize()}, source'] = sources[name]
        return values | self._last_change

    def _rules(self) -> Rules:
        budgets = {name: self._value(f'budget.{name}') or None for name in QUANTITIES}
        return Rules(
            Figures(**budgets), self._value('governor.down_after'),
            self._value('governor.up_after'))

    def _name(self, rung: int) -> str:
        return self.ladder.rungs[rung].name

    def _value(self, name: str) -> Any:
        return self._node.get_parameter(name).value


@dataclass(eq=False)
class _Changing:
    """
    A change under way.

    :param time: when it was begun, by the monotonic clock.
    :param latency_ms: the figure of the governor at that time.
    :param slowest: the longest time of a frame until it was looked at last, seconds.
    """

    rung: int
    reason: str
    time: float
    latency_ms: float | None
    request: Request | None = None
    slowest: float | None = None
    _looked: float | None = None

    def look(self, now: float, monitors: Iterable[Monitor]) -> None:
        """Look at the frames since the last time: a monitor forgets them sooner than this ends."""
        since = self.time if self._looked is None else self._looked
        for monitor in monitors:
            spread = monitor.spread_since('total', since)
            if spread is not None:
                self.slowest = max(spread.largest, self.slowest or 0.0)
        self._looked = now


@dataclass(eq=False)
class _Failure:
    """Why a bundle could not be made ready, and when its files were looked at last."""

    text: str
    looked: float


def _number(value: float | None, decimals: int) -> str:
    return UNAVAILABLE if value is None else f'{value:.{decimals}f}'
