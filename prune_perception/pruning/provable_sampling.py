# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Channels drawn at random and reweighted, and what is proved of them.

A group's units (channels that go together; most often one channel) are drawn m times with
replacement, unit j with probability s_j / S, and what the group's consumers take of unit j is
scaled by ``draws of j * S / (m s_j)``. s_j is the unit's sensitivity: the greatest share that it
has in the positive or in the negative part of any output, see :mod:`.sensitivity`; S is their sum.

**Theorem.** Let P be the positive part of an output at one place: the sum, over all units, of
max(a_j, 0), where a_j is what unit j adds to the output. Let Q be the part of P which comes from
the group, and Q' the drawn estimate of Q. If a_j <= s_j P for all units of the group, then Q' has
the mean Q, and for each epsilon > 0

    Pr(|Q' - Q| > epsilon P) <= 2 exp(-(m / S) h(epsilon)),  h(t) = (1 + t) ln(1 + t) - t

and the same holds for the negative part.

*Proof.* Q' is the sum of m independent terms X_k = a_j^+ S / (m s_j), j being the k-th draw. The
mean of X_k is the sum over j of (s_j / S) a_j^+ S / (m s_j) = Q / m (units with s_j = 0 have
a_j^+ = 0), and 0 <= X_k <= B = P S / m. Chernoff's bound for independent terms from 0 to B with
the mean Q of their sum is Pr(Q' >= (1 + t) Q) <= exp(-(Q / B) h(t)), and below the mean
exp(-(Q / B) h(-t)) for t <= 1 and 0 for t > 1, where h(-t) >= h(t). With t = epsilon P / Q and
q = Q / P the exponent is (m / S) q h(epsilon / q). As h is convex with h(0) = 0, q h(epsilon / q)
falls in q, and q <= 1, so that it is at least (m / S) h(epsilon).

As h(t) >= t^2 / (2 + 2 t / 3), which is Bernstein's form, m >= S ln(2 / delta) (2 + 2 epsilon / 3)
/ epsilon^2 draws are always enough; :func:`draws_for` needs fewer.

The bound is that of Liebenwein et al. (*Provable Filter Pruning*, ICLR 2020) and of Baykal et al.
(*SiPPing Neural Networks*, 2019) with a channel's products summed before their sign is taken, and
with the constants kept. Chernoff's and Bernstein's inequalities: Boucheron, Lugosi and Massart,
*Concentration Inequalities*, 2013, chapter 2.
"""

from collections.abc import Mapping, Sequence
import copy
import math

import numpy as np
import torch
from torch import nn

from prune_perception.pruning.elimination import Floats
from prune_perception.pruning.groups import ChannelGraph, ChannelGroup
from prune_perception.pruning.methods import units_of


def rate(epsilon: float) -> float:
    """Return h(epsilon) = (1 + epsilon) ln(1 + epsilon) - epsilon, for epsilon >= 0."""
    if epsilon < 1e-4:  # where the difference would lose all digits
        return epsilon ** 2 / 2 - epsilon ** 3 / 6 + epsilon ** 4 / 12
    return (1 + epsilon) * math.log1p(epsilon) - epsilon


def inverse_rate(value: float) -> float:
    """Return the epsilon with h(epsilon) = value, rounded up; infinite if there is none."""
    if not math.isfinite(value):
        return math.inf
    # Bernstein's form lies above it; Newton's steps on a convex function come down from there.
    epsilon = value / 3 + math.sqrt(value ** 2 / 9 + 2 * value)
    for _ in range(60):
        step = (rate(epsilon) - value) / math.log1p(epsilon) if epsilon else 0.0
        if step <= 1e-13 * epsilon:
            break
        epsilon -= step
    return epsilon


def epsilon_for(draws: float, total: float, tails: int, delta: float) -> float:
    """
    Return the relative error that some draws keep to, all at once.

    :param draws: m; infinite where nothing has to be drawn.
    :param total: S, the sum of the group's sensitivities.
    :param tails: how many one-sided inequalities are to hold together.
    :param delta: the probability with which at least one may fail.
    """
    if math.isinf(draws) or total == 0:
        return 0.0
    return inverse_rate(total / draws * math.log(tails / delta))


def draws_for(epsilon: float, total: float, tails: int, delta: float) -> int:
    """Return how many draws a relative error takes: the sample complexity."""
    return max(1, math.ceil(total * math.log(tails / delta) / rate(epsilon)))


def expected_units(sensitivities: Floats, draws: float) -> float:
    """Return how many different units some draws give in expectation."""
    chances = sensitivities / max(float(sensitivities.sum()), 1e-300)
    if math.isinf(draws):
        return float((chances > 0).sum())
    with np.errstate(divide='ignore'):
        return float(-np.expm1(draws * np.log1p(-np.minimum(chances, 1.0))).sum())


def draws_of_width(sensitivities: Floats, width: int) -> float:
    """
    Return the most draws which give no more than a number of different units in expectation.

    Infinite if no more units than that have any sensitivity: they are then kept as they are.
    """
    if (sensitivities > 0).sum() <= width:
        return math.inf
    low, high = width, 2 * width  # m draws never give more than m
    while expected_units(sensitivities, high) <= width:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if expected_units(sensitivities, middle) <= width:
            low = middle
        else:
            high = middle
    return low


def draw(sensitivities: Floats, draws: float, generator: np.random.Generator) -> Floats:
    """
    Draw units and return the factor by which each is scaled; 0 for those that go.

    :param sensitivities: of a group's units.
    :param draws: m; with infinitely many, units with a sensitivity keep the factor 1.
    """
    total = float(sensitivities.sum())
    if math.isinf(draws) or total == 0:
        return (sensitivities > 0).astype(np.float64)
    counts = generator.multinomial(int(draws), sensitivities / total)
    with np.errstate(divide='ignore', invalid='ignore'):
        factors = counts * total / (draws * sensitivities)
    return np.where(sensitivities > 0, factors, 0.0)


def least_sensitive(group: ChannelGroup, sensitivities: Floats, width: int) -> tuple[int, ...]:
    """
    Return the channels to remove so that a group keeps a width: those with the least sensitivity.

    Of all choices of this size it is the one with the smallest sum of sensitivities, and so with
    the smallest deterministic bound.

    :param sensitivities: of the group's units.
    """
    units = units_of(group, np.arange(group.channels))
    going = np.argsort(sensitivities, kind='stable')[:len(units) - width // group.unit]
    return tuple(sorted(units[going].ravel().tolist()))


def reweighted(module: nn.Module, groups: Sequence[ChannelGroup], factors: Mapping[str, Floats]
               ) -> nn.Module:
    """
    Return a copy of a network whose consumers take the groups' units with some factors.

    :param factors: of the units, by group; groups that are not there stay.
    """
    result = copy.deepcopy(module)
    with torch.no_grad():
        for group in groups:
            if group.name not in factors:
                continue
            units = units_of(group, np.arange(group.channels))
            for tied in group.consumers:
                layer = result.get_submodule(tied.layer)
                assert isinstance(layer, (nn.Conv2d, nn.Linear))
                parts = layer.groups if isinstance(layer, nn.Conv2d) else 1
                scale = torch.ones(parts * layer.weight.shape[1])
                for unit, factor in zip(units, factors[group.name], strict=True):
                    scale[torch.from_numpy(tied.positions[unit].ravel())] = float(factor)
                by_part = layer.weight.view(parts, -1, *layer.weight.shape[1:])
                by_part *= scale.view(parts, 1, -1, *[1] * (layer.weight.ndim - 2))
    return result


def sampled(module: nn.Module, example: torch.Tensor, groups: Sequence[ChannelGroup],
            factors: Mapping[str, Floats]) -> nn.Module:
    """
    Return the network of some draws: reweighted, and without the units that were not drawn.

    :param example: float32 (1, 3, height, width).
    :param factors: see :func:`draw`.
    :raises GroupError: nothing of a group was drawn, or the network cannot be traced.
    """
    result = reweighted(module, groups, factors)
    gone = {group.name: units_of(group, np.arange(group.channels))[
        factors[group.name] == 0].ravel().tolist() for group in groups if group.name in factors}
    ChannelGraph(result, example).remove(gone)
    return result
