# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Channel sensitivities of provable filter pruning (Liebenwein et al., ICLR 2020).

With x_j a patch of channel j at a layer's input, and the sums over all channels k:

    s_j = max over outputs i, images and places of  (w_ij . x_j) / (sum_k w_ik . x_k)

where products are split into their positive and their negative part, each with its own sum, and
the larger quotient counts (Baykal et al., *SiPPing Neural Networks*, 2019). Both papers' own code
(https://github.com/lucaslie/torchprune) splits weights and inputs by their signs before they are
multiplied and takes the largest quotient of a single weight; here a channel's products are summed
over the kernel first, since a channel goes as a whole.

The sum S of the sensitivities bounds how many channels a relative error of epsilon takes: in
proportion to S / epsilon^2, so that the same epsilon everywhere lets each layer keep a number in
proportion to its S. The theorem and its proof are in :mod:`.provable_sampling`; it needs the same
sensitivities from every place of the maps and of channels that can only go together as one, which
:mod:`.provable_observation` takes. Here some places are enough to choose by.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import nn

from prune_perception.pruning.elimination import Floats
from prune_perception.pruning.groups import ChannelGroup
from prune_perception.pruning.observe import inputs_at, mixing_layers, Observation

_PLACES = 48  # of those drawn in a map: the maximum over them is what costs time
_OUTPUTS_AT_ONCE = 32


def channel_sensitivities(
        module: nn.Module, groups: Sequence[ChannelGroup], seen: Observation,
        progress: Callable[[float], None] | None = None, *, most: int | None = None
        ) -> dict[str, Floats]:
    """
    Return the sensitivity of each channel, by group: the largest over the group's consumers.

    :param module: the dense network.
    :param seen: on what images, and at which places of the maps.
    :param most: of more images, this many are looked at, evenly spread; None for all.
    """
    layers = mixing_layers(module)
    wanted = {tied.layer for group in groups for tied in group.consumers}
    found = {name: torch.zeros(layers[name].weight.shape[1] * _groups(layers[name]))
             for name in wanted if name in seen.layers}
    places_left: dict[str, Iterator[torch.Tensor]] = {}  # of an image

    def hook(name: str) -> Callable[..., None]:
        def call(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            places = _spread(next(places_left[name]))
            x = inputs_at(layers[name], inputs[0], places)
            found[name] = torch.maximum(found[name], layer_sensitivities(layers[name], x))
        return call

    handles = [layers[name].register_forward_pre_hook(hook(name)) for name in found]
    try:
        with torch.no_grad():
            chosen = _spread(torch.arange(len(seen.images)), most or len(seen.images)).tolist()
            for done, number in enumerate(chosen):
                for name in found:
                    calls = seen.layers[name].calls
                    places_left[name] = iter(
                        seen.layers[name].places[number * calls:(number + 1) * calls])
                module(seen.images[number])
                if progress:
                    progress((done + 1) / len(chosen))
    finally:
        for handle in handles:
            handle.remove()
    result = {}
    for group in groups:
        scores: Floats = np.zeros(group.channels)
        for tied in group.consumers:
            if tied.layer in found:
                own = found[tied.layer].double().numpy()[tied.positions].max(axis=1)
                scores = np.maximum(scores, own)
        result[group.name] = scores
    return result


def layer_sensitivities(layer: nn.Conv2d | nn.Linear, x: torch.Tensor) -> torch.Tensor:
    """
    Return the sensitivity of each input channel of a layer on some patches.

    :param x: (patches, inputs), see :func:`.observe.inputs_at`.
    :return: (input channels,), from 0 to 1.
    """
    groups = _groups(layer)
    weight = layer.weight.detach().flatten(2) if layer.weight.ndim > 2 \
        else layer.weight.detach()[:, :, None]  # (outputs, channels, taps)
    outputs, channels, taps = weight.shape
    patches = x.reshape(len(x), groups, channels, taps)
    result = torch.zeros(groups, channels)
    for part in range(groups):
        rows = weight[part * outputs // groups:(part + 1) * outputs // groups]
        for start in range(0, len(rows), _OUTPUTS_AT_ONCE):
            products = torch.einsum(
                'ict,pct->ipc', rows[start:start + _OUTPUTS_AT_ONCE], patches[:, part])
            for sign in (1, -1):
                share = (sign * products).clamp_min(0)
                total = share.sum(2, keepdim=True).clamp_min(torch.finfo(share.dtype).tiny)
                share = share / total
                result[part] = torch.maximum(result[part], share.amax((0, 1)))
    return result.flatten()


def _spread(values: torch.Tensor, most: int = _PLACES) -> torch.Tensor:
    """Return no more than so many of some values, from the first to the last of them."""
    # Of a small map all places are there, row by row: the first ones would be its top rows.
    count = min(most, len(values))
    return values[torch.linspace(0, len(values) - 1, count, dtype=torch.float64).long()]


def _groups(layer: nn.Conv2d | nn.Linear) -> int:
    return layer.groups if isinstance(layer, nn.Conv2d) else 1
