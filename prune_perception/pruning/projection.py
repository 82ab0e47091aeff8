# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Projected activations: what a pruned network will make of images, in one run of a few of them.

A layer that loses inputs can at best see their linear reconstruction from those that are kept:
it projects the dense network's activations on what the kept channels span. For a layer
y = W x + b, of which the pruned network brings k instead of x, the reconstruction

    x' = A k + c,     A = E[x k^T] E[k k^T]^-1  (centred, with a ridge)

gives W x' + b = (W A) k + (W c + b), which are the weights of least squares against y itself.

The k of a layer are what all the projections before it leave. Were each layer projected on the
dense network's activations alone, the errors of the layers before it would come to it unforeseen
and multiply; here each projection makes up for them as far as it can, as restoration does
(:mod:`.restoration`). Where that runs the network anew for each layer and tries several ridges,
this runs it once: a layer is fitted in the moment in which it is first given its inputs.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from prune_perception.pruning.observe import (
    inputs_at,
    LayerStatistics,
    mixing_layers,
    Observation,
)
from prune_perception.pruning.restoration import least_squares

IMAGES = 96
"""Of those that were observed, this many are run; of large ones fewer, see ``_MOST_PIXELS``."""

RIDGE = 1e-2
"""As a share of the mean variance of a layer's inputs: in the middle of restoration's."""

_MOST_PIXELS = 64 * 416 * 416  # of all images together: their maps then take some 2 GB
_FEWEST_IMAGES = 8


class ProjectionError(ValueError):
    """A network that cannot be run on several images at once; one line that names the layer."""


def project(pruned: nn.Module, seen: Observation, kept: Mapping[str, torch.Tensor], *,
            images: int = IMAGES, ridge: float = RIDGE) -> None:
    """
    Give the layers of a pruned network, in place, the weights that project best.

    :param pruned: with the dense network's weights, without the channels that go.
    :param seen: what the dense network did on the images to fit to.
    :param kept: see :func:`.restoration.kept_outputs`.
    :param images: how many of these to run, evenly spread.
    :param ridge: as a share of the mean variance of a layer's inputs.
    :raises ProjectionError: a layer mixes images, or puts them elsewhere than first.
    """
    pixels = seen.images[0].shape[-1] * seen.images[0].shape[-2]
    number = min(len(seen.images), images, max(_FEWEST_IMAGES, _MOST_PIXELS // pixels))
    chosen = np.linspace(0, len(seen.images) - 1, number).astype(int).tolist()
    batch = torch.cat([seen.images[index] for index in chosen])
    layers = {name: layer for name, layer in mixing_layers(pruned).items() if name in seen.layers}
    handles = [
        layer.register_forward_pre_hook(
            _Projection(name, layer, seen.layers[name], kept.get(name), chosen, ridge))
        for name, layer in layers.items()]
    # A layer that is passed several times is fitted to all its calls together, in the last of
    # them; what it gave before is right in the run after that.
    shared = sum(seen.layers[name].calls > 1 for name in layers)
    pruned.eval()
    try:
        with torch.no_grad():
            for _ in range(shared + 1):
                pruned(batch)
    finally:
        for handle in handles:
            handle.remove()


class _Projection:
    """Fits one layer, as soon as it is given its inputs."""

    def __init__(self, name: str, layer: nn.Conv2d | nn.Linear, statistics: LayerStatistics,
                 kept: torch.Tensor | None, images: list[int], ridge: float) -> None:
        self._name, self._statistics, self._kept = name, statistics, kept
        self._images, self._ridge = images, ridge
        self._groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
        self._weight = layer.weight.detach().flatten(1).double().T.clone()  # (inputs, outputs)
        self._begin()

    def __call__(self, layer: nn.Conv2d | nn.Linear, given: tuple[torch.Tensor, ...]) -> None:
        x = given[0]
        if len(x) != len(self._images):
            raise ProjectionError(
                f'layer {self._name}: is given {tuple(x.shape)} for {len(self._images)} images, '
                'so that it cannot be told what belongs to which; nothing can be forecast of '
                'this network')
        for number, image in enumerate(self._images):
            self._add(layer, x[number:number + 1], image * self._statistics.calls + self._call)
        self._call += 1
        if self._call == self._statistics.calls:
            self._fit(layer)
            self._begin()

    def _begin(self) -> None:
        self._call = self._samples = 0
        inputs, outputs = self._weight.shape[0], self._weight.shape[1] // self._groups
        self._gram = torch.zeros(self._groups, inputs + 1, inputs + 1, dtype=torch.float64)
        self._cross = torch.zeros(self._groups, inputs + 1, outputs, dtype=torch.float64)

    def _add(self, layer: nn.Conv2d | nn.Linear, x: torch.Tensor, which: int) -> None:
        """Add an image's second moments of inputs and of what the dense network made there."""
        inputs, outputs = self._weight.shape[0], self._cross.shape[2]
        x = inputs_at(layer, x, self._statistics.places[which])
        y = self._statistics.outputs[which]
        if self._kept is not None:
            y = y[:, self._kept]
        self._samples += len(x)
        for part in range(self._groups):
            own = torch.cat([x[:, part * inputs:(part + 1) * inputs], x.new_ones(len(x), 1)], 1)
            self._gram[part] += own.T @ own
            self._cross[part] += own.T @ y[:, part * outputs:(part + 1) * outputs]

    def _fit(self, layer: nn.Conv2d | nn.Linear) -> None:
        outputs = self._cross.shape[2]
        solved = torch.cat([least_squares(
            self._gram[part] / self._samples, self._cross[part] / self._samples,
            self._weight[:, part * outputs:(part + 1) * outputs], self._ridge,
            layer.bias is not None) for part in range(self._groups)], 1)
        layer.weight.copy_(solved[:-1].T.reshape(layer.weight.shape))
        if layer.bias is not None:
            layer.bias.copy_(solved[-1])
