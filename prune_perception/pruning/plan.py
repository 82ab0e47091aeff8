# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
The plan: how many channels each group keeps, and which.

All groups are pruned in one sweep from the dense network down to the narrowest, a few channels at
a time, always where a method finds it best. The sweep is one line of nested networks, so that a
plan for any budget is a place on it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
import math
from types import MappingProxyType

import numpy as np
from torch import nn

from prune_perception.pruning import ALIGNMENTS
from prune_perception.pruning.groups import ChannelGroup
from prune_perception.pruning.methods import Method
from prune_perception.pruning.width_energy import WidthEnergy


class PlanError(ValueError):
    """A budget that cannot be met; one line that says why and what could be."""


@dataclass(frozen=True)
class Step:
    """
    Some channels of one group that go together.

    :param group: its name.
    :param channels: of the dense network.
    :param cost: forecast growth of the distillation loss for one image; NaN where the method
        does not forecast.
    :param energy: of the network after it, MACs.
    """

    group: str
    channels: tuple[int, ...]
    cost: float
    energy: float


@dataclass(frozen=True)
class Sweep:
    """
    The way from the dense network to the narrowest.

    :param groups: that may lose channels.
    :param dense_energy: of the network before the first step, MACs.
    """

    groups: tuple[ChannelGroup, ...]
    steps: tuple[Step, ...]
    dense_energy: float

    def removed(self, steps: Sequence[int] | None = None) -> dict[str, tuple[int, ...]]:
        """Return the channels that are away after some steps (all), by group."""
        gone: dict[str, list[int]] = {}
        for number in range(len(self.steps)) if steps is None else steps:
            gone.setdefault(self.steps[number].group, []).extend(self.steps[number].channels)
        return {name: tuple(sorted(channels)) for name, channels in gone.items()}


@dataclass(frozen=True)
class Plan:
    """
    A network to be made.

    :param removed: channels that go, by group.
    :param widths: (before, after) of each group.
    :param energy: modelled, MACs.
    :param share: of the energy that the budget is a share of.
    :param cost: forecast growth of the distillation loss for one image, before training.
    """

    removed: Mapping[str, tuple[int, ...]]
    widths: Mapping[str, tuple[int, int]]
    energy: float
    share: float
    cost: float = field(default=float('nan'))


def sweep(module: nn.Module, groups: Sequence[ChannelGroup], energy: WidthEnergy,
          method: Method, *, alignment: int = ALIGNMENTS[0], until: float = 0.0,
          progress: Callable[[float], None] | None = None) -> Sweep:
    """
    Return the order in which a method removes channels.

    :param module: the dense network; it is not changed.
    :param energy: of the network at its full widths; it is used up.
    :param until: the sweep ends at the first network that needs no more than this, MACs.
    """
    groups = tuple(group for group in groups if not group.fixed)
    left = {group.name: np.arange(group.channels) for group in groups}
    sizes = {group.name: chunk_size(group, group.channels, alignment) for group in groups}
    dense = energy.total()
    steps: list[Step] = []
    to_go = sum(group.channels - narrowest(group, alignment) for group in groups)
    gone = 0
    while True:
        choices = [group for group in groups if sizes[group.name]]
        if not choices or energy.total() <= until:
            return Sweep(groups, tuple(steps), dense)
        group, channels = method.choose(choices, left, sizes, energy)
        cost = method.remove(group, channels)
        energy.remove(group.name, len(channels))
        left[group.name] = np.setdiff1d(left[group.name], channels)
        sizes[group.name] = chunk_size(group, len(left[group.name]), alignment)
        steps.append(Step(group.name, tuple(channels.tolist()), cost, energy.total()))
        gone += len(channels)
        if progress:
            progress(gone / to_go)


def chunk_size(group: ChannelGroup, left: int, alignment: int) -> int:
    """
    Return how many channels of a group go next; 0 if it cannot lose any more.

    The next width is a multiple of the alignment and of the group's unit. What is no wider than
    that goes by halves of the alignment, down to the least of ``ALIGNMENTS``. A group that was
    never a multiple of this, or is narrower, goes by its unit.

    :param left: its channels by now.
    :param alignment: one of ``ALIGNMENTS``.
    """
    blocks = [block for block in _blocks(group, alignment) if block < left]
    return left % blocks[0] or blocks[0] if blocks else 0


def narrowest(group: ChannelGroup, alignment: int) -> int:
    """Return the width at which a group cannot lose any more channels."""
    return _blocks(group, alignment)[-1]


def _blocks(group: ChannelGroup, alignment: int) -> list[int]:
    """Return what widths are multiples of, the largest first."""
    if group.channels % ALIGNMENTS[0]:
        return [group.unit]  # rounded first, CenterNet's odd widths lost more than they gained
    blocks = [int(np.lcm(size, group.unit)) for size in ALIGNMENTS[::-1] if size <= alignment]
    return [block for block in blocks if block <= group.channels] or [group.unit]


def plan_for(swept: Sweep, energy: WidthEnergy, budget: float, reference: float) -> Plan:
    """
    Return the network on a sweep that a budget allows.

    The first steps that reach the budget are taken, and then those undone, the costliest first,
    that the budget has room for.

    :param energy: of the network at its full widths; it is used up.
    :param budget: MACs.
    :param reference: energy that the plan's share is of, MACs.
    :raises PlanError: the narrowest network of the sweep costs more.
    """
    least = min((step.energy for step in swept.steps), default=swept.dense_energy)
    if swept.dense_energy <= budget:
        taken: list[int] = []
    elif least > budget:
        raise PlanError(
            f'a budget of {budget / reference:.1%} of the dense energy cannot be met: with each '
            'group at its narrowest the network still needs '
            f'{least / reference:.1%} at this input size; ask for at least '
            f'{math.ceil(least / reference * 1000) / 1000:.3f}')
    else:
        last = next(n for n, step in enumerate(swept.steps) if step.energy <= budget)
        taken = list(range(last + 1))
    for number in taken:
        energy.remove(swept.steps[number].group, len(swept.steps[number].channels))
    _give_back(swept, taken, energy, budget)
    removed = swept.removed(taken)
    return Plan(
        MappingProxyType(removed),
        MappingProxyType({group.name: (
            group.channels, group.channels - len(removed.get(group.name, ())))
            for group in swept.groups}),
        energy.total(), energy.total() / reference,
        float(sum(swept.steps[number].cost for number in taken)))


def _give_back(swept: Sweep, taken: list[int], energy: WidthEnergy, budget: float) -> None:
    """Undo steps, as long as the network stays within the budget."""
    refused: set[int] = set()
    while True:
        # Of each group only its last step: what is kept stays a place on the group's own way.
        last = {swept.steps[number].group: number for number in taken}
        choices = [number for number in last.values() if number not in refused]
        if not choices:
            return
        number = max(choices, key=lambda choice: (_known(swept.steps[choice].cost), choice))
        step = swept.steps[number]
        energy.remove(step.group, -len(step.channels))
        if energy.total() <= budget:
            taken.remove(number)
            refused.clear()  # a layer's energy need not grow in step with its neighbour's width
        else:
            energy.remove(step.group, len(step.channels))
            refused.add(number)


def _known(cost: float) -> float:
    return 0.0 if math.isnan(cost) else cost
