# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""What a step up the ladder costs: expected at first, and learnt whenever it is made."""

from collections.abc import Sequence
from dataclasses import dataclass

from prune_perception.runtime.ladder import Rung

# What a step cost is true of a load that may be another one by then.
_KEEP_FOR = 600.0


@dataclass(frozen=True)
class _Cost:
    until: float
    value: float


class StepCosts:
    """
    Foretells figures of the next larger rung from those of the present one.

    Latency and power grow by a factor. Before anything was learnt it is that of the warm-up's
    times, or of the modelled energies, as though everything that is measured were the network: too
    much rather than too little, since the rest of the rail and of the frame's time does not grow.
    A temperature rises by degrees, known only from having had to leave the larger rung; the
    charge of a battery does not depend on the rung.

    :param rungs: of the ladder, the largest first.
    """

    def __init__(self, rungs: Sequence[Rung]) -> None:
        self._rungs = tuple(rungs)
        self._costs: dict[tuple[int, str], _Cost] = {}

    def foretell(self, now: float, name: str, value: float, rung: int) -> float:
        """Return what a figure would be on a rung, from its value on the one below."""
        cost = self._costs.get((rung, name))
        known = cost is not None and now < cost.until
        if name in ('latency_ms', 'watts'):
            expected = self._expected(name, rung)
            if cost is None:
                return value * expected
            # What is out of date may have been too much; then the smaller of the two is tried.
            return value * (cost.value if known else min(cost.value, expected))
        if name == 'temperature_c' and cost is not None and known:
            return value + cost.value
        return value

    def learn(self, now: float, name: str, rung: int, larger: float, smaller: float) -> None:
        """
        Take in what a step seems to cost: no more than was expected.

        A load that went just when the step was made must not be taken for the step's cost, and
        keep the larger rung away.

        :param rung: the larger one of the step.
        :param larger: the figure there.
        :param smaller: the figure on the rung below.
        """
        if smaller > 0:
            factor = max(min(larger / smaller, self._expected(name, rung)), 1.0)
            self._costs[rung, name] = _Cost(now + _KEEP_FOR, factor)

    def mistaken(
            self, now: float, name: str, rung: int, larger: float, smaller: float, keep: float
            ) -> None:
        """
        Take in what a step cost that had to be taken back, however much that is.

        :param keep: seconds for which this is to be believed.
        """
        if name == 'temperature_c':
            self._costs[rung, name] = _Cost(now + keep, max(larger - smaller, 0.0))
        elif name in ('latency_ms', 'watts') and smaller > 0:
            self._costs[rung, name] = _Cost(now + keep, max(larger / smaller, 1.0))

    def _expected(self, name: str, rung: int) -> float:
        upper, lower = self._rungs[rung], self._rungs[rung + 1]
        if name == 'watts' and upper.joules is not None and lower.joules:
            return upper.joules / lower.joules
        return max(upper.milliseconds / max(lower.milliseconds, 1e-9), 1.0)
