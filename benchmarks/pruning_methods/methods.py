# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The rows of the comparison: every way to a network, under its name."""

from collections.abc import Callable, Mapping
import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from prune_perception.bundle import Bundle
from pruning_methods import plain, torch_pruning_methods
from pruning_methods.energy import Share
from pruning_methods.networks import Network, read_network
from pruning_methods.ours import gradually, ours
from pruning_methods.quantised import BITS, quantised
from pruning_methods.scenes import Scene
from pruning_methods.training import in_rounds, Trainer

_ROUNDS = 2  # of removing, restoring and training, where ours is gradual


@dataclass(frozen=True, eq=False)
class Work:
    """
    What a method is given.

    :param scene: footage to prune by.
    :param bundle: the dense network's, with all classes.
    :param recording: returns the footage as a folder, for who reads it himself.
    :param dense: the dense network with the scene's classes, at its own size.
    :param share: measures energy.
    :param trainer: the training that all share.
    :param budget: share of the dense energy; 1 for methods that have none.
    :param seed: of what is random.
    :param folder: for a bundle that a method writes itself.
    :param bundle_of: returns what another method made for the same budget and seed.
    """

    scene: Scene
    bundle: Bundle
    recording: Callable[[], Path]
    dense: Network
    share: Share
    trainer: Trainer
    budget: float
    seed: int
    folder: Path
    bundle_of: Callable[[str], Bundle]

    def train(self, network: Network, steps: int | None = None) -> None:
        """Train a network in place, with all the steps by default."""
        self.trainer.train(
            network, self.trainer.recipe.steps if steps is None else steps, self.seed)


@dataclass(frozen=True, eq=False)
class Made:
    """
    What a method leaves.

    :param network: the one to be measured; of a quantised one, that before.
    :param before: the same before all training, where there was some and it can be told apart.
    :param bundle: where the method wrote one itself.
    :param bits: of a word in the energy model; None for the profile's own.
    :param told: what else is to be kept, as plain values.
    """

    network: Network
    before: Network | None = None
    bundle: Bundle | None = None
    bits: int | None = None
    told: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """
    A row of the comparison.

    :param label: for people.
    :param make: does it.
    :param at_budgets: whether it is done for each budget, or once.
    :param trained: whether it trains, and so depends on the seed.
    :param matched: whether its energy can be brought to a budget's.
    """

    label: str
    make: Callable[[Work], Made]
    at_budgets: bool = True
    trained: bool = True
    matched: bool = True


def _dense(work: Work) -> Made:
    return Made(work.dense)


def _int8(work: Work) -> Made:
    bundle = work.bundle_of('dense')
    return Made(work.dense, bundle=quantised(bundle, work.scene.fit, work.folder), bits=BITS)


def _ours_int8(work: Work) -> Made:
    bundle = work.bundle_of('ours')
    return Made(read_network(bundle), bits=BITS,
                bundle=quantised(bundle, work.scene.fit, work.folder))


def _ours(*, full_size: bool = False, method: str = 'combined') -> Callable[[Work], Made]:
    def make(work: Work) -> Made:
        network, told = ours(
            work.bundle, work.recording(), work.scene.class_names, work.budget,
            work.share.profile, work.seed, full_size=full_size, method=method)
        return replace(_trained(work, network), told=told)
    return make


def _ours_gradual(work: Work) -> Made:
    size = read_network(work.bundle_of('ours')).size
    recipe = work.trainer.recipe
    steps = in_rounds(recipe.steps, _ROUNDS)

    def train(network: Network, number: int) -> None:
        work.train(network, steps[number])

    return Made(gradually(
        work.bundle, work.scene, size,
        [work.budget ** ((number + 1) / _ROUNDS) for number in range(_ROUNDS)],
        work.share.profile, work.seed, train))


def _torch_pruning(criterion: str, iterative: bool) -> Callable[[Work], Made]:
    def make(work: Work) -> Made:
        def pruned(network: Network, budget: float) -> Network:
            return torch_pruning_methods.prune(
                network, work.dense, criterion, budget, work.share, work.scene.fit)

        if not iterative:
            return _trained(work, pruned(work.dense, work.budget))
        recipe, network = work.trainer.recipe, work.dense
        first = work.share(network.module, network.size)
        for number, steps in enumerate(in_rounds(recipe.steps, recipe.rounds), 1):
            # The same part of what is left goes in each round.
            network = pruned(
                network, first * (work.budget / first) ** (number / recipe.rounds))
            work.train(network, steps)
        return Made(network)
    return make


def _uniform(work: Work) -> Made:
    return _trained(work, plain.uniform(work.dense, work.budget, work.share))


def _random(work: Work) -> Made:
    return _trained(work, plain.random(work.dense, work.budget, work.share, work.seed))


def _narrow(work: Work) -> Made:
    network = read_network(work.bundle_of('ours-full-size'))
    with torch.random.fork_rng():
        torch.manual_seed(work.seed)
        plain.from_scratch(network)
    return _trained(work, network)


def _low_resolution(work: Work) -> Made:
    return Made(plain.low_resolution(work.dense, work.budget, work.share))


def _trained(work: Work, network: Network) -> Made:
    before = Network(copy.deepcopy(network.module), network.card)
    work.train(network)
    return Made(network, before)


METHODS = {
    'dense': Method('dense', _dense, at_budgets=False, trained=False),
    'ours': Method('ours', _ours()),
    'tp-taylor-iterative': Method(
        'Torch-Pruning, Taylor, iterative', _torch_pruning('taylor', True)),
    'ours-full-size': Method('ours, full resolution', _ours(full_size=True)),
    'ours-loss': Method('ours, without the sensitivities', _ours(method='loss')),
    'ours-gradual': Method('ours, in two rounds', _ours_gradual),
    'tp-taylor': Method('Torch-Pruning, Taylor', _torch_pruning('taylor', False)),
    'tp-magnitude-iterative': Method(
        'Torch-Pruning, magnitude, iterative', _torch_pruning('magnitude', True)),
    'tp-magnitude': Method('Torch-Pruning, magnitude', _torch_pruning('magnitude', False)),
    'tp-group-norm-iterative': Method(
        'Torch-Pruning, group norm, iterative', _torch_pruning('group norm', True)),
    'tp-group-norm': Method('Torch-Pruning, group norm', _torch_pruning('group norm', False)),
    'uniform': Method('uniform', _uniform),
    'random': Method('random', _random),
    'narrow': Method('narrow, from scratch', _narrow),
    'low-resolution': Method('dense, low resolution', _low_resolution, trained=False),
    'int8': Method('dense, int8', _int8, at_budgets=False, trained=False),
    'ours-int8': Method('ours, int8', _ours_int8, matched=False),
}
"""By name; those that tell most come first, in case the time does not suffice for all."""

TORCH_PRUNING = tuple(name for name in METHODS if name.startswith('tp-'))
