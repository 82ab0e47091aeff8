# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Which channels of a network can be taken out, found by doing it.

The dependency graph follows what operations it knows. Of a network that nobody here has seen, a
unit of each group is taken out: the rest must compute what it did with these channels silenced in
all layers that take them. Where it does not, the group is left dense.
"""

from collections.abc import Sequence
import copy
from typing import Any

import torch
from torch import nn

from prune_perception.pruning.groups import ChannelGraph, ChannelGroup, GroupError
from prune_perception.pruning.importing.comparison import difference, Divide, TOLERANCE


def find_fixed(module: nn.Module, image: torch.Tensor, fields: Divide = list) -> dict[str, str]:
    """
    Return why the channels of some groups must stay, by the name of the group.

    Groups that the dependency graph leaves dense by itself are not among them.

    :param image: float32 (1, 3, height, width), as the network is fed: a picture, or noise of its
        range.
    :param fields: divides the outputs into what is compared by itself.
    :raises GroupError: the network cannot be traced.
    """
    groups = [group for group in ChannelGraph(module, image).groups
              if not group.fixed and group.channels > group.unit]
    # A norm over several channels changes with them: its groups are tried by themselves, and
    # need not compute the same.
    mixed = [group for group in groups if _is_mixed(module, group)]
    plain = [group for group in groups if group not in mixed]
    fixed: dict[str, str] = {}
    together = [_search(module, image, fields, part, exact, fixed)
                for part, exact in ((plain, True), (mixed, False))]
    # Each for itself may lose a unit, and some not together.
    if not together[0]:
        _search_together(module, image, fields, plain, True, fixed)
    if mixed and (plain or not together[1]):
        _search_together(module, image, fields, groups, False, fixed)
    return fixed


def _search(module: nn.Module, image: torch.Tensor, fields: Divide,
            groups: Sequence[ChannelGroup], exact: bool, fixed: dict[str, str]) -> bool:
    """
    Note the groups that cannot lose a unit: all together first, then by halves.

    :returns: whether all could together.
    """
    if not groups:
        return True
    reason = _breaks(module, image, fields, groups, exact)
    if not reason:
        return True
    if len(groups) == 1:
        fixed[groups[0].name] = reason
        return False
    half = len(groups) // 2
    _search(module, image, fields, groups[:half], exact, fixed)
    _search(module, image, fields, groups[half:], exact, fixed)
    return False


def _search_together(module: nn.Module, image: torch.Tensor, fields: Divide,
                     groups: Sequence[ChannelGroup], exact: bool, fixed: dict[str, str]) -> None:
    """Note groups until all that are left can lose a unit together."""
    left = [group for group in groups if group.name not in fixed]
    while left and _breaks(module, image, fields, left, exact):
        # The first so many can, so many cannot: the last of these is one too many.
        most, least = 0, len(left)
        while least - most > 1:
            middle = (most + least) // 2
            if _breaks(module, image, fields, left[:middle], exact):
                least = middle
            else:
                most = middle
        reason = _breaks(module, image, fields, left[:least], exact)
        fixed[left[most].name] = f'{reason}, once other groups have lost some'
        del left[most]


def _breaks(module: nn.Module, image: torch.Tensor, fields: Divide,
            groups: Sequence[ChannelGroup], exact: bool) -> str:
    """Return what goes wrong when each of some groups loses a unit; empty if nothing does."""
    removed = {group.name: _unit(group) for group in groups}
    silent = copy.deepcopy(module)
    for group in groups:
        silence(silent, group, removed[group.name])
    narrower = copy.deepcopy(module)
    with torch.no_grad():
        expected = silent(image)
        try:
            ChannelGraph(narrower, image[:1]).remove(removed)
            found = narrower(image)
        except (GroupError, RuntimeError, IndexError, ValueError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            return f'without some of them the network does not run ({first})'
    ours, theirs = ([output.numpy() for output in outputs] for outputs in (found, expected))
    if [one.shape for one in ours] != [one.shape for one in theirs]:
        return 'without some of them an output has another shape'
    if exact and difference(ours, theirs, fields) > TOLERANCE:
        return 'without some of them others are computed otherwise'
    return ''


def _unit(group: ChannelGroup) -> list[int]:
    """Return the channels of the second unit: the first and last are where ends are met."""
    step = group.channels // group.unit
    return [part * step + min(1, step - 1) for part in range(group.unit)]


def silence(module: nn.Module, group: ChannelGroup, channels: Sequence[int]) -> None:
    """Set all weights to 0 by which some channels of a group are taken, in place."""
    for tied in group.consumers:
        layer: Any = module.get_submodule(tied.layer)
        inputs, outputs = layer.weight.shape[1], layer.weight.shape[0] // getattr(
            layer, 'groups', 1)
        with torch.no_grad():
            for place in tied.positions[list(channels)].ravel():
                part = int(place) // inputs
                layer.weight[part * outputs:(part + 1) * outputs, int(place) % inputs] = 0


def _is_mixed(module: nn.Module, group: ChannelGroup) -> bool:
    return any(isinstance(module.get_submodule(tied.layer), (nn.GroupNorm, nn.LayerNorm))
               for tied in group.producers)
