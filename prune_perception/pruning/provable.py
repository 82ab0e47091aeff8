# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
What can be proved of a pruned network, before it is restored and distilled.

Two networks have a bound, at the widths of a plan:

- *sampled*: each group's units are drawn by their sensitivities and reweighted, see
  :mod:`.provable_sampling`. The bound holds for all outputs, places and frames together with a
  probability of 1 - delta over the draw, delta being divided evenly among the groups.
- *removed*: the plan's own channels are taken out and nothing is reweighted. At each output and
  place they take at most the sum of their sensitivities from the positive part P and from the
  negative part N, for a sensitivity is the greatest share that a unit has. No chance is involved.

Both are about the frames that the sensitivities were taken from. For other frames they hold as
far as no unit ever has a larger share there; see ``docs/trust.md`` for what may be supposed.

From layer to layer the errors are carried on by :mod:`.error_propagation`. The compounded bound is
of the error of an output map of the network, root mean square over its entries, relative to the
map itself. Below 1 it tells something: a network that answers 0 to everything has 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
import math
from typing import Any

import numpy as np
import torch
from torch import nn

from prune_perception.pruning.error_propagation import (
    carried_by_draws,
    carried_by_the_kept,
    NotFollowed,
    Pair,
    propagate,
    relative,
)
from prune_perception.pruning.finite import finite
from prune_perception.pruning.groups import ChannelGroup
from prune_perception.pruning.observe import Observation
from prune_perception.pruning.plan import Plan
from prune_perception.pruning.provable_observation import (
    observe_everywhere,
    ProvableObservation,
    units_gone,
)
from prune_perception.pruning.provable_sampling import draws_for, draws_of_width, epsilon_for

FRAMES = 2
"""How many frames are looked at, at every place of every map."""

GOAL = 0.5
"""The relative error for which the number of draws that it takes is told."""

SAMPLED = ('channels drawn by their sensitivities and reweighted, to the widths of the plan in '
           'expectation; not restored, not distilled')
REMOVED = "the plan's channels removed, nothing else changed; not restored, not distilled"
NOT_SHIPPED = ('does not cover the shipped network, whose weights are fitted anew after the '
               'removal')


@dataclass(frozen=True)
class GroupBound:
    """
    What is proved of one group.

    :param before: units before; a unit is one channel, unless they can only go together.
    :param after: units of the plan.
    :param total: S, the sum of the units' sensitivities.
    :param draws: m, the most draws that give no more units in expectation; None where all units
        with any sensitivity stay.
    :param sampled: epsilon of the draws, relative to P and to N.
    :param removed: sum of the removed units' sensitivities, at most 1.
    :param draws_for_goal: how many draws :data:`GOAL` takes.
    :param tails: for how many inequalities delta is shared out within the group.
    """

    name: str
    before: int
    after: int
    total: float
    draws: int | None
    sampled: float
    removed: float
    draws_for_goal: int
    tails: int


@dataclass(frozen=True)
class LayerBound:
    """
    What is proved of one layer which takes channels of pruned groups.

    :param groups: these groups.
    :param sampled: epsilon, relative to the positive and to the negative part: the sum of the
        groups'.
    :param removed: likewise; at most 1.
    :param removed_seen: the greatest share of a part that the removed channels really had
        together on these frames.
    :param condition: |P + N| / |y|, the greatest of the frames: how much larger the parts are
        than the output y = P - N + bias. epsilon times it bounds the layer's own relative error.
    :param compounded_sampled: bound of the relative error of the layer's output, with all errors
        of the layers before; infinite if it could not be followed.
    :param compounded_removed: likewise.
    """

    name: str
    groups: tuple[str, ...]
    sampled: float
    removed: float
    removed_seen: float
    condition: float
    compounded_sampled: float
    compounded_removed: float


@dataclass(frozen=True)
class Bound:
    """
    What is proved of a plan.

    :param groups: that lose channels.
    :param layers: that take them, in the order of execution.
    :param compounded_sampled: bound of the relative error of the network's output maps, the
        largest of maps and frames; infinite if it could not be followed, or is beyond the
        network's floating-point numbers.
    :param compounded_removed: likewise.
    :param delta: probability with which the sampled bounds may fail.
    :param frames: that were looked at.
    :param outputs: outputs at places of layers that the bounds hold for together.
    :param obstacle: why an error could not be followed to the outputs; empty if it could.
    :param covers: which networks the bounds are about, and which not.
    """

    groups: tuple[GroupBound, ...]
    layers: tuple[LayerBound, ...]
    compounded_sampled: float
    compounded_removed: float
    delta: float
    frames: int
    outputs: int
    obstacle: str = ''
    covers: tuple[str, ...] = (SAMPLED, REMOVED, NOT_SHIPPED)

    @property
    def informative_sampled(self) -> bool:
        """Whether the sampled network's compounded bound is below 1."""
        return self.compounded_sampled < 1

    @property
    def informative_removed(self) -> bool:
        """Whether the compounded bound of the plan's channels removed is below 1."""
        return self.compounded_removed < 1

    @property
    def informative(self) -> bool:
        """Whether either of the two is."""
        return self.informative_sampled or self.informative_removed

    def text(self) -> str:
        """Return it for people, some lines."""
        lines = [
            'Provable bound of the relative error of the outputs '
            f'({self.frames} frames, {self.outputs} outputs at places of layers)',
            f'  {REMOVED}:',
            f'    {_verdict(self.compounded_removed, self.obstacle)}',
            f'  {SAMPLED}:',
            f'    {_verdict(self.compounded_sampled, self.obstacle)}; may fail with a '
            f'probability of {self.delta:g}']
        if self.layers:
            lines.append('  layers whose own error is below their output: ' + ', '.join(
                f'{words} {sum(epsilon * layer.condition < 1 for layer, epsilon in pairs)} of '
                f'{len(self.layers)}' for words, pairs in (
                    ('removed', [(layer, layer.removed) for layer in self.layers]),
                    ('sampled', [(layer, layer.sampled) for layer in self.layers]))))
        hardest = max(self.groups, key=lambda group: group.draws_for_goal / group.before,
                      default=None)
        if hardest is not None:
            lines.append(
                f'  an epsilon of {GOAL:g} would take {hardest.draws_for_goal} draws for '
                f'{hardest.name}, which has {hardest.before} units')
        return '\n'.join([*lines, f'  {NOT_SHIPPED}'])

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON; what is infinite is None."""
        plain = asdict(self)
        plain.update(informative=self.informative, informative_sampled=self.informative_sampled,
                     informative_removed=self.informative_removed)
        known: dict[str, Any] = finite(plain)
        return known


def bound_of(
        plan: Plan, module: nn.Module, groups: Sequence[ChannelGroup], seen: Observation,
        delta: float = 0.05, *, frames: int = FRAMES,
        progress: Callable[[float], None] | None = None) -> Bound:
    """
    Return what can be proved of a plan.

    :param module: the dense network that the plan is for.
    :param groups: of this network.
    :param seen: whose images are the frames; evenly chosen, if there are more than ``frames``.
    :param delta: probability with which the bounds of the sampled network may fail, all together.
    :param progress: called with the share that is done.
    :raises ValueError: delta is not between 0 and 1, or there is no frame.
    """
    if not 0 < delta < 1:
        raise ValueError(f'delta {delta:g}: must be between 0 and 1')
    if not seen.images or frames < 1:
        raise ValueError('a bound needs at least one frame')
    chosen = np.linspace(0, len(seen.images) - 1, min(frames, len(seen.images))).astype(int)
    images = [seen.images[number] for number in chosen]
    found = observe_everywhere(
        module, groups, plan.removed, images,
        None if progress is None else lambda share: progress(share / 2))
    pruned = [group for group in groups if group.name in found.sensitivities]
    of_groups = tuple(_of_group(group, plan, found, delta / len(pruned)) for group in pruned)
    compounding = _Compounding(plan, pruned, of_groups, found, delta)
    compounded, obstacle = (0.0, 0.0), ''
    try:
        for number, image in enumerate(images):
            compounding.frame = number
            for values, errors in propagate(module, found.layers, image, compounding.step):
                if errors is not None:
                    compounded = (max(compounded[0], relative(values, errors[0])),
                                  max(compounded[1], relative(values, errors[1])))
            if progress:
                progress(0.5 + (number + 1) / len(images) / 2)
    except NotFollowed as error:
        compounded, obstacle = (math.inf, math.inf), str(error)
    by_name = {group.name: group for group in of_groups}
    layers = tuple(LayerBound(
        name, tuple(parts.units),
        sum(by_name[group].sampled for group in parts.units),
        min(1.0, sum(by_name[group].removed for group in parts.units)),
        parts.removed_share, parts.condition,
        *(compounding.reached.get(name, (math.inf, math.inf)) if not obstacle
          else (math.inf, math.inf))) for name, parts in found.layers.items())
    return Bound(
        of_groups, layers, *compounded, delta, len(images),
        sum(part.numel() for parts in found.layers.values() for part in parts.positive), obstacle)


def _of_group(group: ChannelGroup, plan: Plan, found: ProvableObservation, delta: float
              ) -> GroupBound:
    scores, tails = found.sensitivities[group.name], found.tails[group.name]
    gone = units_gone(group, plan.removed[group.name])
    after = len(scores) - len(gone)
    draws, total = draws_of_width(scores, after), float(scores.sum())
    return GroupBound(
        group.name, len(scores), after, total, None if math.isinf(draws) else int(draws),
        epsilon_for(draws, total, tails, delta), min(1.0, float(scores[gone].sum())),
        draws_for(GOAL, total, tails, delta), tails)


class _Compounding:
    """What each layer's pruning and the errors before it come to."""

    def __init__(self, plan: Plan, pruned: Sequence[ChannelGroup],
                 bounds: Sequence[GroupBound], found: ProvableObservation, delta: float) -> None:
        self.frame = 0
        self.reached: dict[str, tuple[float, float]] = {}
        self._found = found
        self._bounds = {bound.name: bound for bound in bounds}
        self._draws = {
            bound.name: (
                0.0 if bound.draws is None else bound.total / bound.draws,
                math.log(bound.tails * len(bounds) / delta),
                torch.from_numpy(found.sensitivities[bound.name])) for bound in bounds}
        self._gone = {}
        for name, parts in found.layers.items():
            numbers = [parts.units[group.name][0] + int(number) for group in pruned
                       if group.name in parts.units
                       for number in units_gone(group, plan.removed[group.name])]
            self._gone[name] = torch.isin(parts.unit_of, torch.tensor(numbers))

    def step(self, name: str, call: int, output: torch.Tensor, errors: Pair | None) -> Pair:
        """Return the bounds of the error of a layer's output; see :func:`.propagate`."""
        parts = self._found.layers[name]
        calls = len(parts.positive) // len(self._found.images)
        positive = parts.positive[self.frame * calls + call]
        negative = parts.negative[self.frame * calls + call]
        of_groups = [self._bounds[group] for group in parts.units]
        sampled = sum(bound.sampled for bound in of_groups) * (positive + negative)
        removed = min(1.0, sum(bound.removed for bound in of_groups)) * torch.maximum(
            positive, negative)
        if errors is not None:
            sampled = sampled + carried_by_draws(
                parts, errors[0], positive.shape[1],
                {group: self._draws[group] for group in parts.units})
            removed = removed + carried_by_the_kept(parts, errors[1], self._gone[name])
        values = output.reshape(-1, output.shape[-1]).T if isinstance(parts.layer, nn.Linear) \
            else output[0].flatten(1)
        before = self.reached.get(name, (0.0, 0.0))
        self.reached[name] = (max(before[0], relative(values, sampled)),
                              max(before[1], relative(values, removed)))
        return sampled, removed


def _verdict(compounded: float, obstacle: str) -> str:
    if obstacle:
        return f'vacuous: {obstacle} is not covered by the proof'
    if compounded < 1:
        return f'informative: at most {compounded:.3g}'
    return 'vacuous: ' + (f'at most {compounded:.3g}' if math.isfinite(compounded)
                          else 'beyond what can be computed')
