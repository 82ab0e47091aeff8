# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Restoration: the layers of a pruned network are fitted to what the dense one's did.

In the order of execution each layer that mixes channels gets the weights and the bias that, on
the pruned network's own activations, come closest to the dense network's outputs in least
squares. A layer thereby also makes up for what the layers before it could not. No training.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from prune_perception.pruning.groups import ChannelGroup
from prune_perception.pruning.observe import inputs_at, mixing_layers, Observation

# Ridges that are tried, as a share of the mean variance of a layer's inputs.
RIDGES = (1e-3, 1e-2, 3e-2, 1e-1)
DEFAULT_RIDGE = 1e-3


class _Enough(Exception):
    """Ends a run of the network where the rest of it is of no interest."""


def kept_outputs(groups: Sequence[ChannelGroup], removed: Mapping[str, Sequence[int]]
                 ) -> dict[str, torch.Tensor]:
    """Return, for each layer that lost outputs, the dense numbers of those it still has."""
    kept = {}
    for group in groups:
        gone = np.asarray(sorted(removed.get(group.name, ())), np.int64)
        if not len(gone):
            continue
        for tied in group.producers:
            everything = np.arange(tied.positions.size)
            kept[tied.layer] = torch.from_numpy(
                np.setdiff1d(everything, tied.positions[gone].ravel()))
    return kept


def restore(
        pruned: nn.Module, fit: Observation, select: Observation | None,
        kept: Mapping[str, torch.Tensor], *,
        progress: Callable[[float], None] | None = None) -> dict[str, float]:
    """
    Fit the layers of a pruned network in place.

    :param fit: what the dense network did on the images to fit to.
    :param select: the same on images kept aside, by which each layer's ridge is chosen; None for
        :data:`DEFAULT_RIDGE`.
    :param kept: see :func:`kept_outputs`.
    :param progress: called with the share that is done.
    :return: the ridge of each layer.
    """
    layers = mixing_layers(pruned)
    order = sorted((name for name in layers if name in fit.layers),
                   key=lambda name: fit.layers[name].order)
    pruned.eval()
    ridges = {}
    with torch.no_grad():
        for number, name in enumerate(order):
            layer, rows = layers[name], kept.get(name)
            moments = _moments(pruned, name, layer, fit, rows)
            aside = _moments(pruned, name, layer, select, rows) if select else None
            ridges[name] = _fit(layer, moments, aside)
            if progress:
                progress((number + 1) / len(order))
    return ridges


@dataclass(frozen=True, eq=False)
class _Moments:
    """
    Second moments of a layer's inputs and of the outputs that it should have, by its groups.

    :param gram: (groups, inputs + 1, inputs + 1) mean of (x, 1)(x, 1)^T, float64.
    :param cross: (groups, inputs + 1, outputs of a group) mean of (x, 1) y^T, float64.
    """

    gram: torch.Tensor
    cross: torch.Tensor


def _moments(pruned: nn.Module, name: str, layer: nn.Conv2d | nn.Linear, seen: Observation,
             kept: torch.Tensor | None) -> _Moments:
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    inputs, outputs = layer.weight[0].numel(), layer.weight.shape[0] // groups
    gram = torch.zeros(groups, inputs + 1, inputs + 1, dtype=torch.float64)
    cross = torch.zeros(groups, inputs + 1, outputs, dtype=torch.float64)
    statistics, samples = seen.layers[name], 0
    for number, image in enumerate(seen.images):
        for call, given in enumerate(_inputs_of(pruned, layer, image, statistics.calls)):
            which = number * statistics.calls + call
            x = inputs_at(layer, given, statistics.places[which])
            y = statistics.outputs[which]
            if kept is not None:
                y = y[:, kept]
            samples += len(x)
            for part in range(groups):
                own = torch.cat([
                    x[:, part * inputs:(part + 1) * inputs], x.new_ones(len(x), 1)], 1)
                gram[part] += own.T @ own
                cross[part] += own.T @ y[:, part * outputs:(part + 1) * outputs]
    return _Moments(gram / samples, cross / samples)


def _fit(layer: nn.Conv2d | nn.Linear, fit: _Moments, select: _Moments | None) -> float:
    """Give a layer the weights of least squares; return the ridge that did best on select."""
    with_bias = layer.bias is not None
    outputs = fit.cross.shape[2]
    best, chosen = float('inf'), DEFAULT_RIDGE
    solutions: list[torch.Tensor] = []
    for ridge in RIDGES if select else (DEFAULT_RIDGE,):
        tried, error = [], 0.0
        for part in range(len(fit.gram)):
            rows = slice(part * outputs, (part + 1) * outputs)
            weight = layer.weight[rows].flatten(1).double().T
            solved = least_squares(fit.gram[part], fit.cross[part], weight, ridge, with_bias)
            tried.append(solved)
            if select:
                # E|y - x W|^2 without E|y|^2, which is the same for all.
                error += float((solved * (select.gram[part] @ solved)).sum()
                               - 2 * (solved * select.cross[part]).sum())
        if error < best or not solutions:
            best, chosen, solutions = error, ridge, tried
    weight = torch.cat([solved[:-1].T for solved in solutions])
    layer.weight.copy_(weight.reshape(layer.weight.shape))
    if layer.bias is not None:
        layer.bias.copy_(torch.cat([solved[-1] for solved in solutions]))
    return chosen


def least_squares(gram: torch.Tensor, cross: torch.Tensor, weight: torch.Tensor, ridge: float,
                  with_bias: bool) -> torch.Tensor:
    """
    Return weights and bias of least squares, (inputs + 1, outputs).

    Minimises E|x W + b - y|^2 + r |W - W0|^2 with r = ridge times the mean variance of x.

    :param gram: (inputs + 1, inputs + 1) mean of (x, 1)(x, 1)^T.
    :param cross: (inputs + 1, outputs) mean of (x, 1) y^T.
    :param weight: W0, (inputs, outputs), the weights that the layer has.
    """
    mean, target = gram[-1, :-1], cross[-1]
    covariance, cross = gram[:-1, :-1], cross[:-1]
    if with_bias:
        covariance = covariance - torch.outer(mean, mean)
        cross = cross - torch.outer(mean, target)
    strength = (ridge * covariance.diagonal().mean()).clamp_min(1e-12)
    damped = covariance + strength * torch.eye(len(mean), dtype=torch.float64)
    solved = weight + torch.linalg.solve(damped, cross - covariance @ weight)
    bias = target - mean @ solved if with_bias else torch.zeros_like(target)
    return torch.cat([solved, bias[None]])


def _inputs_of(pruned: nn.Module, layer: nn.Module, image: torch.Tensor, calls: int
               ) -> list[torch.Tensor]:
    """Return what a layer is given for an image; the rest of the network is not run."""
    found: list[torch.Tensor] = []

    def hook(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        # A copy: what comes after may work in place.
        found.append(inputs[0].clone())
        if len(found) == calls:
            raise _Enough

    handle = layer.register_forward_pre_hook(hook)
    try:
        pruned(image)
    except _Enough:
        pass
    finally:
        handle.remove()
    return found
