# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The plan for a time: which network on a sweep is fast enough on this machine."""

from collections.abc import Callable

import numpy as np
from torch import nn

from prune_perception.pruning.latency import Latency
from prune_perception.pruning.plan import Plan, PlanError, Sweep
from prune_perception.pruning.planner import Planner

_NETWORKS = 32  # along a sweep, among which the one for a budget is looked for


def plan_for_latency(planner: Planner, swept: Sweep, budget: float,
                     measure: Callable[[nn.Module], Latency]) -> Plan:
    """
    Return the largest network on a sweep that is fast enough.

    :param swept: of this planner.
    :param budget: time of one image, s.
    :param measure: returns how long the dense network and another one take.
    :raises PlanError: the narrowest network takes longer.
    """
    energies = sorted({swept.dense_energy, *(step.energy for step in swept.steps)})
    chosen = np.linspace(0, len(energies) - 1, min(_NETWORKS, len(energies)))
    energies = [energies[number] for number in chosen.astype(int)]
    low, high, best, least, dense = 0, len(energies) - 1, None, float('inf'), float('inf')
    while low <= high:
        # By halves: a network with less energy is taken to be the faster one.
        middle = (low + high) // 2 if best or low else low
        plan = planner.plan(swept, energies[middle])
        latency = measure(planner.remove(plan))
        # The ratio survives what else the machine does, a time does not.
        dense = min(dense, latency.dense)
        seconds = dense / latency.speedup
        least = min(least, seconds)
        if seconds <= budget:
            best, low = plan, middle + 1
        elif middle == 0:
            break
        else:
            high = middle - 1
    if best is None:
        raise PlanError(
            f'a latency of {budget * 1e3:.3g} ms cannot be met on this machine: the narrowest '
            f'network takes {least * 1e3:.3g} ms; ask for more time or lower the input '
            'resolution')
    return best
