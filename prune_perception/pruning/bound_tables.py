# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
What the theorem of :mod:`.provable_sampling` gives for each group and layer, as rows of text.

The same rows stand in a terminal and on a page. A bound that could not be followed, or is beyond
floating-point numbers, is a dash.
"""

import math

from prune_perception.pruning.provable import Bound, GOAL, NOT_SHIPPED

Table = tuple[list[str], list[list[str]]]
"""The heads of the columns, and the rows; the first column is a name."""

UNPROVED = (f'What can be proved of a plan {NOT_SHIPPED}. --method provable states it for the '
            'plan that it makes.')
"""What is said of a network whose method states no bound."""


def groups_title(bound: Bound) -> str:
    """Return what the table of the groups is about."""
    return ('What the theorem gives for each group that loses channels: the relative error '
            'epsilon of as many draws as give the width of the plan, and the draws that an '
            f'epsilon of {GOAL:g} takes; all may fail together with a probability of '
            f'{bound.delta:g}')


def group_table(bound: Bound) -> Table:
    """Return the sample complexity and the error of each group."""
    head = ['group', 'units', 'left', 'sum of sensitivities', 'draws', 'epsilon',
            f'draws for {GOAL:g}', 'removed']
    return head, [[
        group.name, f'{group.before}', f'{group.after}', f'{group.total:.3g}',
        'all kept' if group.draws is None else f'{group.draws}', _figure(group.sampled),
        f'{group.draws_for_goal}', _figure(group.removed)] for group in bound.groups]


def layers_title(bound: Bound) -> str:
    """Return what the table of the layers is about."""
    return ('The layers that take them, in the order of execution. Of each its own error: '
            'epsilon of the sampled network and the share removed, relative to the sums P of '
            'the positive and N of the negative products; the share that the removed channels '
            f'had on these {bound.frames} frames; and (P + N) / y, by which the first two '
            'become relative to its output y. Compounded: with the errors of all layers before')


def layer_table(bound: Bound) -> Table:
    """Return what is proved of each layer that takes channels of pruned groups."""
    draws = {group.name: f'{group.draws_for_goal}' for group in bound.groups}
    head = ['layer', 'groups', f'draws for {GOAL:g}', 'epsilon', 'removed', 'removed, seen',
            '(P + N) / y', 'sampled, compounded', 'removed, compounded']
    return head, [[
        layer.name, ', '.join(layer.groups), ' + '.join(draws[name] for name in layer.groups),
        *map(_figure, (
            layer.sampled, layer.removed, layer.removed_seen, layer.condition,
            layer.compounded_sampled, layer.compounded_removed))] for layer in bound.layers]


def _figure(value: float) -> str:
    return f'{value:.3g}' if math.isfinite(value) else '–'
