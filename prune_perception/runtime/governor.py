# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
The governor: which bundle of a ladder to run, so that the budgets are kept.

It only decides. Whoever asks gives it the time and the figures, changes the bundle, and says when
that is done; so a test can let hours pass in a moment.

*Down* one rung, or to the next that can be loaded, when a budget was broken for ``down_after``
seconds. A second in which it is kept takes back a second in which it was broken, so that one slow
frame moves nothing and a budget that is broken most of the time is not forgiven.

*Up* one rung, after ``up_after`` seconds in which every budget would have been kept there, too,
with room to spare (see :class:`StepCosts`). A second without that room takes back five, and a
budget that is broken takes back all. A rung that had to be left soon after it was taken is held
back, twice as long each time.

A figure that is not known counts neither as kept nor as broken.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
import math
import statistics

from prune_perception.runtime.budgets import Figures, QUANTITIES, Rules
from prune_perception.runtime.ladder import Rung
from prune_perception.runtime.step_costs import StepCosts

# Seconds of room that a second without any takes back.
_PRICE_OF_NO_ROOM = 5.0
# For so long after a change the figures still have frames of the rung before in them.
_SECONDS_TO_SETTLE = 2.0
# Metal cools slowly: without this, one hot minute would lead to the end of the ladder.
_SECONDS_TO_COOL = 30.0
# What is wrong with a rung shows at once, except for its heat.
_SECONDS_TO_SHOW = 30.0
# Heat that comes later than this after a rung was taken comes from somewhere else.
_SECONDS_TO_HEAT = 1800.0
# Readings whose median is what a rung is said to cost.
_READINGS = 3
# Time that passed unseen, as while the computer slept, is no evidence.
_LONGEST_TICK = 2.0
# A rung that lasted for so many times up_after was no mistake.
_TRUSTED_AFTER = 10.0
_LONGEST_WAIT = 3600.0
# The figures of a mistake are believed for so many times the wait.
_REMEMBERED = 15.0
_RETRY_AFTER = 30.0


@dataclass(frozen=True)
class Decision:
    """
    What to run, and why.

    :param rung: index into the ladder; it may be the present one.
    :param reason: for people, with the figures.
    :param helpless: a budget is broken, and there is no smaller bundle to keep it with.
    """

    rung: int
    reason: str
    helpless: bool = False


@dataclass(frozen=True)
class _Change:
    """A change that was decided here: from where, and the figures there to learn from."""

    left: int
    figures: dict[str, float]


@dataclass(frozen=True)
class _Ascent:
    """When a rung was taken from the one below, with which figures there."""

    time: float
    figures: Mapping[str, float]


class Governor:
    """
    Decides on the rung; the module says how.

    :param rungs: of the ladder, the largest first.
    :param rung: index of the one that runs.
    """

    def __init__(self, rungs: Sequence[Rung], rung: int = 0) -> None:
        self._rungs = tuple(rungs)
        self.rung = rung
        self._costs = StepCosts(rungs)
        self._rules = Rules()
        self._now: float | None = None
        self._settled_at = -math.inf
        self._cool_at = -math.inf
        self._broken_for: dict[str, float] = {}
        self._room_for = 0.0
        self._recent: dict[str, deque[float]] = {}
        self._decided: tuple[Decision, tuple[str, ...]] | None = None
        self._made: _Change | None = None
        self._ascents: dict[int, _Ascent] = {}
        self._waits: dict[int, float] = {}
        self._held_until: dict[int, float] = {}
        self._unloadable_until: dict[int, float] = {}

    def decide(self, now: float, figures: Figures, rules: Rules) -> Decision:
        """
        Look at the figures and say what to run; to be called about once a second.

        :param now: seconds of a clock that only goes forward.
        """
        passed = 0.0 if self._now is None else min(now - self._now, _LONGEST_TICK)
        if rules.budgets != self._rules.budgets:
            self._forget_mistakes()
        self._now, self._rules, self._decided = now, rules, None
        budgets = rules.budgets.known()
        if now < self._settled_at:
            return Decision(self.rung, 'a change has just been made, and its figures settle')
        read = figures.known()
        self._read(now, read)
        known = {name: budget for name, budget in budgets.items() if name in read}
        decision = self._down(now, passed, read, known) or self._up(
            now, passed, read, known, complete=len(known) == len(budgets))
        unknown = [QUANTITIES[name].name for name in budgets if name not in read]
        if unknown:
            decision = replace(
                decision, reason=f'{decision.reason}; {" and ".join(unknown)} not known, which '
                'counts neither as kept nor as broken')
        return decision

    def changed(self, now: float, rung: int) -> None:
        """Note that a rung runs as of now, as was decided here or by a person."""
        left, decided = self.rung, self._decided
        figures = {name: statistics.median(values) for name, values in self._recent.items()}
        self.rung = rung
        self._settled_at = now + _SECONDS_TO_SETTLE
        self._broken_for, self._room_for, self._recent = {}, 0.0, {}
        self._decided = self._made = None
        if decided is None or decided[0].rung != rung:
            self._forget_mistakes()
            return
        if rung < left:
            self._ascents[rung] = _Ascent(now, figures)
        else:
            for name in self._had_to_leave(now, left, figures, decided[1]):
                del figures[name]
        self._made = _Change(left, dict(figures))

    def failed(self, now: float, rung: int) -> float:
        """Note that a rung could not be loaded; return the seconds for which it is let alone."""
        self._unloadable_until[rung] = now + _RETRY_AFTER
        self._decided = None
        return _RETRY_AFTER

    def _forget_mistakes(self) -> None:
        """Hold nothing back any more: a person has decided anew."""
        self._broken_for, self._room_for = {}, 0.0
        self._ascents, self._waits, self._held_until = {}, {}, {}

    # Down.

    def _down(
            self, now: float, passed: float, read: Mapping[str, float],
            budgets: Mapping[str, float]) -> Decision | None:
        """Return what to do about budgets that are broken; None where all are kept."""
        broken = [name for name, budget in budgets.items()
                  if QUANTITIES[name].broken(read[name], budget)]
        cooling = now < self._cool_at
        for name in budgets:
            if name == 'temperature_c' and cooling:
                continue
            seconds = self._broken_for.get(name, 0.0) + (passed if name in broken else -passed)
            self._broken_for[name] = min(max(seconds, 0.0), self._rules.down_after)
        if not broken:
            return None
        self._room_for = 0.0
        said = ', '.join(_broken(name, read[name], budgets[name]) for name in broken)
        longest = max(self._broken_for.get(name, 0.0) for name in broken)
        if longest < self._rules.down_after:
            patience = f'for {longest:.0f} of {self._rules.down_after:.0f} s'
            if cooling and broken == ['temperature_c']:
                patience = f'it has {self._cool_at - now:.0f} s more to cool down'
            return Decision(self.rung, f'{said}; {patience}')
        below = range(self.rung + 1, len(self._rungs))
        if not below:
            return Decision(
                self.rung, f'{said}, and {self._rungs[self.rung].name} is the smallest', True)
        smaller = next((rung for rung in below if self._unloadable_for(now, rung) <= 0), None)
        if smaller is None:
            wait = min(self._unloadable_for(now, rung) for rung in below)
            return Decision(
                self.rung, f'{said}, but no smaller one could be loaded; it is tried again in '
                f'{wait:.0f} s', True)
        causes = tuple(name for name in broken
                       if self._broken_for.get(name, 0.0) >= self._rules.down_after)
        return self._decide(Decision(
            smaller, f'{said}, for {longest:.0f} s: down to {self._rungs[smaller].name}'), causes)

    def _had_to_leave(
            self, now: float, rung: int, figures: Mapping[str, float], causes: tuple[str, ...]
            ) -> list[str]:
        """
        Hold a rung back, the longer the sooner it had to be left after it was taken.

        :returns: the figures of which it is known now what the step costs.
        """
        ascent = self._ascents.pop(rung, None)
        lasted = math.inf if ascent is None else now - ascent.time
        soon = lasted < (_SECONDS_TO_HEAT if 'temperature_c' in causes
                         else _TRUSTED_AFTER * self._rules.up_after)
        wait = 2 * self._waits.get(rung, 0.0) if soon else 0.0
        self._waits[rung] = min(max(wait, self._rules.up_after), _LONGEST_WAIT)
        self._held_until[rung] = now + self._waits[rung]
        if 'temperature_c' in causes:
            self._cool_at = now + _SECONDS_TO_COOL
        if ascent is None or not soon:
            return []
        # Taking it was a mistake, and these are its figures, unless something else came between.
        # Where a temperature would have ended is not known; from where it came this far is.
        taught = [
            name for name in causes if name in ascent.figures and name in figures
            and (name == 'temperature_c' or lasted < _SECONDS_TO_SHOW)]
        keep = min(_REMEMBERED * self._waits[rung], _LONGEST_WAIT)
        for name in taught:
            self._costs.mistaken(
                now, name, rung, figures[name], ascent.figures[name], keep)
        return taught

    # Up.

    def _up(
            self, now: float, passed: float, read: Mapping[str, float],
            budgets: Mapping[str, float], *, complete: bool) -> Decision:
        """Return what to do while no budget is broken; ``complete`` where all are known."""
        kept = ', '.join(_kept(name, read[name], budget) for name, budget in budgets.items())
        kept = kept or ('no budget is set' if complete else 'nothing is known')
        larger = self.rung - 1
        if larger < 0:
            return Decision(self.rung, f'{kept}; {self._rungs[0].name} is the largest')
        name = self._rungs[larger].name
        there = {each: self._costs.foretell(now, each, read[each], larger)
                 for each in budgets}
        missed = [each for each, budget in budgets.items() if QUANTITIES[each].broken(
            there[each], QUANTITIES[each].goal(budget))]
        if missed:
            self._room_for = max(self._room_for - _PRICE_OF_NO_ROOM * passed, 0.0)
            expected = ', '.join(
                _beyond(each, there[each], budgets[each]) for each in missed)
            return Decision(self.rung, f'{kept}; not so with {name}: {expected}')
        if not complete:
            return Decision(self.rung, f'{kept}; no larger one while a figure is not known')
        self._room_for = min(self._room_for + passed, self._rules.up_after)
        if (wait := self._held_until.get(larger, -math.inf) - now) > 0:
            return Decision(
                self.rung, f'{kept}; {name} had to be left, and is held back for {wait:.0f} s')
        if (wait := self._unloadable_for(now, larger)) > 0:
            return Decision(
                self.rung, f'{kept}; {name} could not be loaded; it is tried again in '
                f'{wait:.0f} s')
        if self._room_for < self._rules.up_after:
            return Decision(
                self.rung, f'{kept}; room for {name} for {self._room_for:.0f} of '
                f'{self._rules.up_after:.0f} s')
        expected = ', '.join(_kept(each, there[each], budgets[each]) for each in budgets)
        return self._decide(Decision(
            larger, f'room for {self._room_for:.0f} s: up to {name}, expected: '
            f'{expected or "no budget is set"}'), ())

    # What is known.

    def _read(self, now: float, read: Mapping[str, float]) -> None:
        """Keep the latest figures, and learn from those that follow a change."""
        for name, value in read.items():
            values = self._recent.setdefault(name, deque(maxlen=_READINGS))
            values.append(value)
        made = self._made
        if made is None or abs(made.left - self.rung) != 1:
            return  # it passed over one that could not be loaded, and shows no single step
        for name in ('latency_ms', 'watts'):
            if len(self._recent.get(name, ())) == _READINGS and name in made.figures:
                here, there = statistics.median(self._recent[name]), made.figures.pop(name)
                self._costs.learn(
                    now, name, min(self.rung, made.left),
                    *((here, there) if self.rung < made.left else (there, here)))

    def _unloadable_for(self, now: float, rung: int) -> float:
        return self._unloadable_until.get(rung, -math.inf) - now

    def _decide(self, decision: Decision, causes: tuple[str, ...]) -> Decision:
        self._decided = (decision, causes)
        return decision


def _broken(name: str, value: float, budget: float) -> str:
    quantity = QUANTITIES[name]
    word = 'below' if quantity.least else 'above'
    return f'{quantity.name} {quantity.text(value)} is {word} {quantity.text(budget)}'


def _kept(name: str, value: float, budget: float) -> str:
    quantity = QUANTITIES[name]
    word = 'at least' if quantity.least else 'of'
    return f'{quantity.name} {value:.{quantity.decimals}f} {word} {quantity.text(budget)}'


def _beyond(name: str, value: float, budget: float) -> str:
    quantity = QUANTITIES[name]
    goal = quantity.text(quantity.goal(budget))
    if quantity.least:
        return f'{quantity.name} {quantity.text(value)}, {goal} are needed'
    return f'{quantity.name} about {quantity.text(value)}, {goal} are allowed'
