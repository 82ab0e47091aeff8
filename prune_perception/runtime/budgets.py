# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""What a detector may cost: latency, power, what the battery must keep, heat."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Quantity:
    """
    What a budget can be about.

    :param least: the budget is a least value, not a largest one.
    :param share: of the budget that a larger bundle may come up to, lest noise break it.
    :param distance: from the budget that it must keep instead, in the quantity's unit.
    """

    name: str
    unit: str
    decimals: int
    least: bool = False
    share: float = 1.0
    distance: float = 0.0

    def text(self, value: float) -> str:
        """Return a figure with its unit."""
        return f'{value:.{self.decimals}f} {self.unit}'

    def broken(self, value: float, budget: float) -> bool:
        """Return whether a figure is beyond its budget."""
        return value < budget if self.least else value > budget

    def goal(self, budget: float) -> float:
        """Return what a figure must keep to before more is tried."""
        if self.least:
            return min(budget + self.distance, 100.0)
        return budget * self.share - self.distance


QUANTITIES: Mapping[str, Quantity] = {
    'latency_ms': Quantity('latency', 'ms', 1, share=0.9),
    'watts': Quantity('power', 'W', 2, share=0.9),
    'battery_percent': Quantity('battery', '%', 0, least=True, distance=5.0),
    'temperature_c': Quantity('temperature', '°C', 1, distance=5.0),
}


@dataclass(frozen=True)
class Figures:
    """
    Either what was read or the budgets for it; None is not known, or no budget.

    :param latency_ms: from the arrival of an image to its published result, as 95 of 100 keep to.
    :param watts: of the rail that is measured.
    :param battery_percent: charge that is left, 0 to 100; its budget is a least value.
    :param temperature_c: of the processor, °C.
    """

    latency_ms: float | None = None
    watts: float | None = None
    battery_percent: float | None = None
    temperature_c: float | None = None

    def known(self) -> dict[str, float]:
        """Return those that are not None, by name, in the order of ``QUANTITIES``."""
        return {name: value for name in QUANTITIES
                if (value := getattr(self, name)) is not None}


@dataclass(frozen=True)
class Rules:
    """
    What to keep to, and how patiently.

    :param budgets: None where there is none.
    :param down_after: seconds for which a budget is broken before a smaller bundle is taken.
    :param up_after: seconds for which there must be room before a larger one is taken.
    """

    budgets: Figures = field(default_factory=Figures)
    down_after: float = 3.0
    up_after: float = 20.0
