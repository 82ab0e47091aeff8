# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
The ways to choose the next channels to go.

==============  ==============================================================================
``combined``    least forecast growth of the distillation loss for the energy saved. The error
                is that after the best linear restoration of each consumer, weighted by what the
                detections make of it; times the fourth root of the channels' sensitivity,
                as in ``provable``, so that what seldom matters, and then decides, is heard
``loss``        the same without the sensitivities
``energy``      after Yang, Chen and Sze, *Designing Energy-Efficient CNNs using Energy-Aware
                Pruning* (CVPR 2017): the same restoration and the same energy, each consumer's
                error as a share of its own output's variance
``provable``    channels by their sensitivity, groups by the number that the same relative error
                lets them keep (Liebenwein et al., *Provable Filter Pruning*, ICLR 2020)
``magnitude``   smallest filters first, each layer's norms relative to their mean
``random``      at random
==============  ==============================================================================
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from prune_perception.pruning.elimination import Consumer, Floats
from prune_perception.pruning.groups import ChannelGroup
from prune_perception.pruning.observe import mixing_layers, Observation
from prune_perception.pruning.sensitivity import channel_sensitivities
from prune_perception.pruning.width_energy import WidthEnergy

Channels = NDArray[np.int64]

FORECASTING = ('combined', 'loss')
"""Methods that forecast the growth of the distillation loss, and so can compare input sizes."""


VOICE = 0.25
"""Exponent of the sensitivities in ``combined``; see ``docs/trust.md`` for others."""

_VOICE_IMAGES = 32
_LEAST_SENSITIVITY = 1e-6  # of a channel that is always 0: it costs nothing either way


class Method(Protocol):
    """Chooses channels; see :func:`create`."""

    def choose(self, groups: Sequence[ChannelGroup], left: Mapping[str, Channels],
               sizes: Mapping[str, int], energy: WidthEnergy) -> tuple[ChannelGroup, Channels]:
        """
        Return the next group and channels of it to go.

        :param groups: those that can lose channels.
        :param left: the channels that each group still has.
        :param sizes: how many go at a time.
        """
        ...

    def remove(self, group: ChannelGroup, channels: Channels) -> float:
        """Take note that channels are gone; return the forecast growth of the loss, or NaN."""
        ...


def create(name: str, module: nn.Module, groups: Sequence[ChannelGroup], seen: Observation,
           seed: int = 0) -> Method:
    """Return a method by its name; raises KeyError."""
    if name == 'combined':
        sensitivities = channel_sensitivities(module, groups, seen, most=_VOICE_IMAGES)
        return Restored(module, groups, seen, weighted=True, voices={
            group: np.maximum(values, _LEAST_SENSITIVITY) ** VOICE
            for group, values in sensitivities.items()})
    if name == 'loss':
        return Restored(module, groups, seen, weighted=True)
    if name == 'energy':
        return Restored(module, groups, seen, weighted=False)
    if name == 'provable':
        return Scored(channel_sensitivities(module, groups, seen), share_of_group=True)
    if name == 'magnitude':
        return Scored({group.name: _magnitudes(module, group) for group in groups})
    if name == 'random':
        generator = np.random.default_rng(seed)
        return Scored({group.name: generator.random(group.channels) for group in groups})
    raise KeyError(name)


class Restored:
    """
    Least error after restoration for the energy saved.

    :param weighted: see :class:`.elimination.Consumer`.
    :param voices: factors on the errors of channels by which the next ones to go are chosen, by
        group; what is forecast is without them.
    """

    def __init__(self, module: nn.Module, groups: Sequence[ChannelGroup], seen: Observation, *,
                 weighted: bool, voices: Mapping[str, Floats] | None = None) -> None:
        self._voices = voices or {}
        layers = mixing_layers(module)
        self._consumers = {name: Consumer(layers[name], statistics, weighted=weighted)
                           for name, statistics in seen.layers.items()}
        self._users: dict[str, set[str]] = {}  # groups whose costs depend on a layer
        for group in groups:
            for tied in group.consumers:
                self._users.setdefault(tied.layer, set()).add(group.name)
        self._scores: dict[str, Floats] = {}

    def choose(self, groups: Sequence[ChannelGroup], left: Mapping[str, Channels],
               sizes: Mapping[str, int], energy: WidthEnergy) -> tuple[ChannelGroup, Channels]:
        """Return the group and channels with the least error for the energy saved."""
        best: tuple[float, ChannelGroup, Channels] | None = None
        for group in groups:
            units = units_of(group, left[group.name])
            if group.name not in self._scores:
                self._scores[group.name] = self._costs(group, units)
            scores = self._scores[group.name]
            order = np.argsort(scores, kind='stable')[:sizes[group.name] // group.unit]
            saved = energy.saving(group.name, sizes[group.name])
            # A removal that saves nothing is the last resort.
            value = float(scores[order].sum()) / max(saved, 1e-9)
            if best is None or value < best[0]:
                best = value, group, np.sort(units[order].ravel())
        assert best is not None
        return best[1], best[2]

    def remove(self, group: ChannelGroup, channels: Channels) -> float:
        """Refit the consumers without the channels."""
        cost = 0.0
        changed = set()
        # Outputs first: of a layer that both makes and takes the channels, they cost nothing.
        for tied in group.producers:
            if tied.layer in self._consumers:
                self._consumers[tied.layer].remove_outputs(tied.positions[channels].ravel())
                changed.add(tied.layer)
        for tied in group.consumers:
            if tied.layer in self._consumers:
                cost += self._consumers[tied.layer].remove_inputs(tied.positions[channels].ravel())
                changed.add(tied.layer)
        for layer in changed:
            for name in self._users.get(layer, ()):
                self._scores.pop(name, None)
        return cost

    def _costs(self, group: ChannelGroup, units: Channels) -> Floats:
        total = np.zeros(len(units))
        for tied in group.consumers:
            if tied.layer in self._consumers:
                total += self._consumers[tied.layer].costs(
                    tied.positions[units].reshape(len(units), -1))
        if group.name in self._voices:
            total *= self._voices[group.name][units].max(1)
        return total


class Scored:
    """
    Smallest score first, whatever the energy.

    :param scores: one for each channel, by group.
    :param share_of_group: choose the group that has most channels left for the sum of all its
        scores, and not the one with the smallest score.
    """

    def __init__(self, scores: Mapping[str, Floats], *, share_of_group: bool = False) -> None:
        self._scores = scores
        self._share = share_of_group

    def choose(self, groups: Sequence[ChannelGroup], left: Mapping[str, Channels],
               sizes: Mapping[str, int], energy: WidthEnergy) -> tuple[ChannelGroup, Channels]:
        """Return the group and channels with the smallest scores."""
        best: tuple[float, ChannelGroup, Channels] | None = None
        for group in groups:
            units = units_of(group, left[group.name])
            scores = self._scores[group.name][units].mean(1)
            order = np.argsort(scores, kind='stable')[:sizes[group.name] // group.unit]
            value = float(scores[order].mean())
            if self._share:
                total = max(float(self._scores[group.name].sum()), 1e-12)
                value = -len(left[group.name]) / total
            if best is None or value < best[0]:
                best = value, group, np.sort(units[order].ravel())
        assert best is not None
        return best[1], best[2]

    def remove(self, group: ChannelGroup, channels: Channels) -> float:
        """Do nothing: the scores are of the dense network."""
        return float('nan')


def units_of(group: ChannelGroup, left: Channels) -> Channels:
    """Return the channels that can only go together, (units, channels of a unit)."""
    if group.unit == 1:
        return left[:, None]
    step = group.channels // group.unit
    there = np.unique(left % step)
    return there[:, None] + step * np.arange(group.unit)


def _magnitudes(module: nn.Module, group: ChannelGroup) -> Floats:
    """Return the mean of the producers' filter norms, each relative to its layer's mean."""
    norms = []
    for tied in group.producers:
        layer = module.get_submodule(tied.layer)
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            norm = layer.weight.detach().flatten(1).norm(dim=1).double()
            norms.append((norm / norm.mean().clamp_min(1e-30)).numpy()[tied.positions].mean(1))
    result: Floats = np.mean(norms, axis=0)
    return result
