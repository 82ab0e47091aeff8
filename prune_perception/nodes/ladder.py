# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The ladder of a node: what its parameters name, found fit and run once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node

from prune_perception.bundle import Bundle, read_bundle
from prune_perception.energy.modelled import common_profile, modelled_joules
from prune_perception.nodes.parameters import texts
from prune_perception.nodes.preparation import Prepared
from prune_perception.resources import find_model
from prune_perception.runtime.budgets import QUANTITIES
from prune_perception.runtime.ladder import check_ladder, largest_first, Rung

BUDGETS = tuple(f'budget.{name}' for name in QUANTITIES)


@dataclass(frozen=True)
class Ladder:
    """
    Bundles that can stand in for each other, the largest first.

    :param rungs: what is known of each, in the same order.
    :param written: how the parameter ``ladder`` names each.
    """

    bundles: tuple[Bundle, ...]
    rungs: tuple[Rung, ...]
    written: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the bundles, the largest first."""
        return tuple(rung.name for rung in self.rungs)

    def index(self, name: str) -> int:
        """
        Return the rung of a bundle, by its card's name or as the parameter names it.

        :raises ValueError: it is none of the ladder's.
        """
        for names in (self.names, self.written):
            if name in names:
                return names.index(name)
        raise ValueError(
            f'parameter pinned: {name!r} is not in the ladder, which has {", ".join(self.names)}')


def ladder_bundles(node: Node) -> tuple[Bundle, ...]:
    """
    Return the bundles that the parameter ``ladder`` names, in its order; none without a ladder.

    :raises ValueError: they are no ladder, or other parameters would need one.
    :raises FileNotFoundError: there is no such bundle.
    """
    names = texts(node, 'ladder')
    if names:
        bundles = tuple(read_bundle(find_model(name)) for name in names)
        check_ladder(bundles)
        return bundles
    problem = needs_ladder({name: node.get_parameter(name).value for name in (*BUDGETS, 'pinned')})
    if problem is not None:
        raise ValueError(problem)
    return ()


def needs_ladder(values: Mapping[str, Any]) -> str | None:
    """Say which of these parameters would do nothing without a ladder, None where none would."""
    for name, value in values.items():
        if value and name in (*BUDGETS, 'pinned'):
            return (f'parameter {name}: there is no ladder; the parameter ladder names the '
                    'bundles to choose from')
    return None


def load_ladder(
        node: Node, bundles: Sequence[Bundle], builder: Callable[[Bundle], Callable[[], Prepared]]
        ) -> Ladder:
    """
    Run each bundle once, and put them in order.

    What cannot be loaded is to be known now and not when it is needed, and so are the times on
    this machine. One engine at a time is held.

    :param builder: returns what makes a bundle's detector ready.
    :raises EngineError: one cannot be run; BundleError likewise.
    """
    profile = node.get_parameter('hardware_profile').value or common_profile(
        [bundle.card.energy for bundle in bundles])
    rungs = []
    for bundle in bundles:
        milliseconds = builder(bundle)().seconds * 1e3
        energy = modelled_joules(bundle.card.energy, profile) if profile else None
        rungs.append(Rung(bundle.card.name, milliseconds, energy[0] if energy else None))
    order = largest_first(rungs)
    written = texts(node, 'ladder')
    ladder = Ladder(
        tuple(bundles[index] for index in order), tuple(rungs[index] for index in order),
        tuple(written[index] for index in order))
    for larger, smaller in zip(ladder.rungs, ladder.rungs[1:], strict=False):
        if smaller.milliseconds >= larger.milliseconds:
            node.get_logger().warning(
                f'ladder: {smaller.name} is below {larger.name}, but no faster here: '
                f'{smaller.milliseconds:.1f} and {larger.milliseconds:.1f} ms an inference')
    return ladder
