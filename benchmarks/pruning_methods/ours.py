# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""This project's method, as its command does it, and in rounds."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
import tempfile
from typing import Any

from prune_perception.bundle import Bundle, write_bundle
from prune_perception.energy.hardware import HardwareProfile
from prune_perception.pruning.planner import Planner, planner_for, SELECT_IMAGES
from prune_perception.pruning.pruner import prune, Request
from prune_perception.pruning.restoration import kept_outputs, restore
from pruning_methods.networks import described, Network, read_network
from pruning_methods.scenes import fed_with, Image, Scene


def ours(bundle: Bundle, recording: Path, class_names: Sequence[str], budget: float,
         profile: HardwareProfile, seed: int, *, full_size: bool = False, method: str = 'combined'
         ) -> tuple[Network, dict[str, Any]]:
    """
    Return the planned and restored network, before any training, and what is told of it.

    :param bundle: the dense detector.
    :param recording: footage without labels, which is split as any other.
    :param class_names: to keep; empty for all.
    :param budget: share of the dense bundle's energy.
    :param full_size: keep the input size, which the plan may otherwise lower.
    :param method: that channels are chosen by.
    """
    outcome = prune(Request(
        bundle, recording, profile, energy_budget=budget, classes=tuple(class_names) or None,
        method=method, distil=False, resize=not full_size, seed=seed,
        command='benchmarks/pruning.py'))
    with tempfile.TemporaryDirectory() as folder:
        network = read_network(
            write_bundle(Path(folder) / 'network', outcome.card, outcome.files))
    return network, {
        'seconds_of_stages': dict(outcome.seconds), 'agreement': dict(outcome.agreement),
        'sizes': None if outcome.sizes is None else asdict(outcome.sizes),
        'notes': list(outcome.notes)}


def gradually(bundle: Bundle, scene: Scene, size: tuple[int, int], budgets: Sequence[float],
              profile: HardwareProfile, seed: int, train: Callable[[Network, int], None]
              ) -> Network:
    """
    Return a network that was pruned, restored and trained in rounds.

    Each round observes, plans and restores the network that the round before left.

    :param size: height and width of the input.
    :param budgets: shares of the dense energy, in turn.
    :param train: called with the network of each round and the round's number, from 0.
    """
    planner = planner_for(
        bundle, profile, classes=scene.class_names or None, seed=seed).at(size)
    fit, select = (fed_with(images, bundle.card.input) for images in (scene.fit, scene.select))
    for number, budget in enumerate(budgets):
        network = _narrower(planner, budget, fit, select)
        train(network, number)
        planner = replace(planner, network=network.module, card=network.card, _energies={})
    return network


def _narrower(planner: Planner, budget: float, fit: Image, select: Image) -> Network:
    seen, aside = planner.observe(fit), planner.observe(select, SELECT_IMAGES)
    least = budget * planner.reference
    plan = planner.plan(planner.sweep(seen, until=least), least)
    narrower = planner.remove(plan)
    restore(narrower, seen, aside, kept_outputs(planner.groups, plan.removed))
    return described(narrower, planner.card)
