# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
From a bundle and some images to plans, without making anything.

A planner is a dense network at one input size. Its steps, each of which needs the one before::

    planner = planner_for(bundle, load_profile('eyeriss_65nm'))
    seen = planner.observe(images)
    swept = planner.sweep(seen)
    plan = planner.plan(swept, 0.25 * planner.reference)
    narrower = planner.remove(plan)

``planner.at((320, 320))`` is the same network fed at another size; the energies that its plans
are held against stay those of the bundle.
"""

from collections.abc import Callable
import copy
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import nn

from prune_perception.bundle import Bundle, Card, OutputSpec
from prune_perception.energy.account import EnergyAccount
from prune_perception.energy.counting import profile_module
from prune_perception.energy.hardware import HardwareProfile
from prune_perception.networks.registry import example_input, load_network
from prune_perception.pruning import ALIGNMENTS
from prune_perception.pruning.footage import Images, resized, tensor_of
from prune_perception.pruning.groups import ChannelGraph, ChannelGroup
from prune_perception.pruning.heads import Head, head_of
from prune_perception.pruning.methods import create
from prune_perception.pruning.observe import Observation, observe
from prune_perception.pruning.plan import Plan, plan_for, Sweep, sweep
from prune_perception.pruning.width_energy import WidthEnergy

FIT_IMAGES = 96
"""Images that a network is observed on."""

SELECT_IMAGES = 24
"""Of those kept aside, by which restoration chooses ridges."""


@dataclass(frozen=True, eq=False)
class Planner:
    """
    A dense network at one input size; see :func:`planner_for`.

    :param network: dense, with the wanted classes alone; it is never changed.
    :param card: of the network at this input size.
    :param head: what its outputs mean.
    :param dense: account of the bundle as it is, with all its classes at its own input size.
    :param profile: the machine whose energy is saved.
    :param bits: of a word; None for the profile's own.
    :param method: see :mod:`.methods`.
    :param seed: of all that is drawn.
    :param alignment: of widths; see :data:`prune_perception.pruning.ALIGNMENTS`.
    """

    network: nn.Module
    card: Card
    head: Head
    dense: EnergyAccount
    profile: HardwareProfile
    bits: int | None = None
    method: str = 'combined'
    seed: int = 0
    alignment: int = ALIGNMENTS[0]
    # By input size, and shared by the planners of one network: counting takes seconds.
    _energies: dict[tuple[int, int], WidthEnergy] = field(default_factory=dict, repr=False)

    @property
    def reference(self) -> float:
        """Energy of the dense bundle, MACs: what shares are of."""
        return self.dense.total().energy_mac

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input, pixels."""
        return self.card.input.height, self.card.input.width

    @cached_property
    def groups(self) -> tuple[ChannelGroup, ...]:
        """The groups of channels, also those that are fixed."""
        # The graph itself holds on to the maps of its trace, and is not kept.
        return ChannelGraph(self.network, example_input(self.card.input)).groups

    def at(self, size: tuple[int, int]) -> 'Planner':
        """
        Return the planner of the same network at another input size.

        :param size: height and width, pixels.
        :raises HeadError: what the card says of the outputs does not hold at this size.
        """
        fed = replace(self.card.input, height=size[0], width=size[1])
        with torch.no_grad():
            outputs = self.network(example_input(fed))
        card = replace(self.card, input=fed, outputs=tuple(
            OutputSpec(spec.name, tuple(output.shape))
            for spec, output in zip(self.card.outputs, outputs, strict=True)))
        return replace(self, card=card, head=head_of(card))

    def observe(self, images: Images, most: int = FIT_IMAGES,
                progress: Callable[[float], None] | None = None) -> Observation:
        """
        Run images through the network.

        :param images: uint8 (n, height, width, 3) in the card's colour order, of any size.
        :param most: of more images, this many are taken, evenly spread.
        :param progress: called with the share that is done.
        :raises GroupError: the network overwrites what its gradients need.
        """
        chosen = images[np.linspace(0, len(images) - 1, min(most, len(images))).astype(int)]
        return observe(
            self.network,
            [tensor_of(image[None], self.card.input) for image in resized(chosen, self.size)],
            self.head, seed=self.seed, progress=progress)

    def sweep(self, seen: Observation, until: float = 0.0,
              progress: Callable[[float], None] | None = None) -> Sweep:
        """
        Return the order in which the method removes channels.

        :param seen: at this input size.
        :param until: end at the first network that needs no more energy than this, MACs.
        :param progress: called with the share that is done.
        """
        method = create(self.method, self.network, self.groups, seen, self.seed)
        return sweep(self.network, self.groups, self.energy(), method,
                     alignment=self.alignment, until=until, progress=progress)

    def plan(self, swept: Sweep, budget: float) -> Plan:
        """
        Return the network on a sweep of this planner that a budget allows.

        :param budget: MACs: a share times the ``reference``.
        :raises PlanError: the narrowest network of the sweep costs more.
        """
        return plan_for(swept, self.energy(), budget, self.reference)

    def remove(self, plan: Plan) -> nn.Module:
        """Return a copy of the network without the plan's channels, all else as it was."""
        narrower = copy.deepcopy(self.network)
        ChannelGraph(narrower, example_input(self.card.input)).remove(plan.removed)
        return narrower

    def account(self, module: nn.Module) -> EnergyAccount:
        """Return what a narrower network needs at this input size, layer by layer."""
        return profile_module(
            module, example_input(self.card.input), profile=self.profile,
            network=self.card.name, bits=self.bits)

    def energy(self) -> WidthEnergy:
        """Return the energy of the network at its full widths, for the caller to use up."""
        if self.size not in self._energies:
            self._energies[self.size] = WidthEnergy(
                self.network, example_input(self.card.input), self.groups, self.profile,
                self.bits)
        return copy.deepcopy(self._energies[self.size])


def planner_for(
        bundle: Bundle, profile: HardwareProfile, *, bits: int | None = None,
        classes: tuple[str, ...] | None = None, method: str = 'combined', seed: int = 0,
        alignment: int = ALIGNMENTS[0]) -> Planner:
    """
    Return the planner of a bundle at its own input size.

    :param profile: the machine whose energy is saved.
    :param bits: of a word; None for the profile's own.
    :param classes: that are wanted; None for all.
    :param method: see :mod:`.methods`.
    :param seed: of all that is drawn.
    :param alignment: of widths; one of :data:`prune_perception.pruning.ALIGNMENTS`.
    :raises BundleError: the bundle has no weights that can be pruned.
    :raises GroupError: the network cannot be traced.
    :raises HeadError: a class is not the bundle's, or its outputs are not known.
    """
    network, card = load_network(bundle), bundle.card
    head = head_of(card)
    ChannelGraph(network, example_input(card.input))  # for what it refuses
    dense = profile_module(
        network, example_input(card.input), profile=profile, network=card.name, bits=bits)
    if classes is not None:
        network, card = head.keep_classes(network, card, classes)
        head = head_of(card)
    return Planner(network, card, head, dense, profile, bits, method, seed, alignment)
