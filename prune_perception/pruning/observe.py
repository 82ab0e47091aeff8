# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
What a network does on a robot's own images: the statistics that pruning decides by.

For each layer that mixes channels (convolution, linear layer), with x its input at one place of
the output map (all channels under the kernel) and y its output there:

- the Gram matrix of x and its mean: how well some channels speak for the others;
- the sensitivity of each output channel, the sum over the map of (dL/dy)^2: what an error there
  costs the detections. L is the distillation loss, and its gradients are drawn so that their
  covariance is the loss's Gauss-Newton matrix (Martens, *New insights and perspectives on the
  natural gradient method*, JMLR 2020), which needs no labels;
- places of the map, drawn by the same gradients: an image is mostly background, and what matters
  is where the objects are. The outputs there are kept, for restoration to aim at.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional

from prune_perception.pruning.groups import GroupError
from prune_perception.pruning.heads import Head

# Of the places drawn in a map, this part is drawn evenly; the others by the gradients.
_EVEN_SHARE = 0.3


@dataclass(eq=False)
class LayerStatistics:
    """
    What was seen at one layer.

    :param gram: (inputs, inputs) mean of x x^T over the places drawn, float32.
    :param mean: (inputs,) mean of x over the places drawn.
    :param sensitivity: (outputs,) sum over an image's map of squared gradients, mean over images.
    :param places: for each image and call of the layer, the flat places drawn in its map.
    :param outputs: for each of these, the outputs there (places, outputs).
    :param calls: how often one image passes the layer (a shared head: more than once).
    :param order: position of its last call among all layers' last calls.
    """

    gram: torch.Tensor
    mean: torch.Tensor
    sensitivity: torch.Tensor
    samples: int = 0
    places: list[torch.Tensor] = field(default_factory=list)
    outputs: list[torch.Tensor] = field(default_factory=list)
    calls: int = 0
    order: int = 0

    def covariance(self) -> torch.Tensor:
        """Return the centred Gram matrix, float64."""
        mean = self.mean.double()
        return self.gram.double() - torch.outer(mean, mean)


@dataclass(frozen=True, eq=False)
class Observation:
    """
    What was seen on some images.

    :param images: each float32 (1, 3, height, width), normalised.
    :param layers: statistics by the path of the layer; a layer that the detections do not depend
        on is not there.
    """

    images: tuple[torch.Tensor, ...]
    layers: dict[str, LayerStatistics]


def mixing_layers(module: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """Return the layers that mix channels, by path; a depthwise convolution does not."""
    return {name: layer for name, layer in module.named_modules()
            if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and not (
                layer.groups == layer.in_channels > 1))}


def inputs_at(layer: nn.Conv2d | nn.Linear, x: torch.Tensor, places: torch.Tensor
              ) -> torch.Tensor:
    """
    Return what a layer sees at places of its output map.

    :param x: the layer's input for one image, (1, channels, height, width) or (…, features).
    :param places: (k,) flat places of the output map.
    :return: (k, inputs): for a convolution channels by kernel rows by kernel columns, in the
        order of its weight.
    """
    if isinstance(layer, nn.Linear):
        return x.reshape(-1, x.shape[-1])[places]
    if layer.kernel_size == (1, 1) and layer.stride == (1, 1) and layer.padding in ((0, 0), 0):
        return x[0].flatten(1)[:, places].T
    padding = layer._reversed_padding_repeated_twice  # what the layer itself pads by
    mode = 'constant' if layer.padding_mode == 'zeros' else layer.padding_mode
    padded = functional.pad(x, padding, mode=mode)[0]
    reach = [layer.dilation[side] * (layer.kernel_size[side] - 1) + 1 for side in (0, 1)]
    across = (padded.shape[2] - reach[1]) // layer.stride[1] + 1
    rows = (places // across * layer.stride[0])[:, None, None] + (
        torch.arange(layer.kernel_size[0]) * layer.dilation[0])[None, :, None]
    columns = (places % across * layer.stride[1])[:, None, None] + (
        torch.arange(layer.kernel_size[1]) * layer.dilation[1])[None, None, :]
    return padded[:, rows, columns].permute(1, 0, 2, 3).flatten(1)


def observe(
        module: nn.Module, images: Sequence[torch.Tensor], head: Head, *, places: int = 256,
        seed: int = 0, progress: Callable[[float], None] | None = None) -> Observation:
    """
    Run images through a network and return the statistics of its layers.

    :param images: each float32 (1, 3, height, width), normalised.
    :param places: how many are drawn in one map at most.
    :param progress: called with the share that is done.
    :raises GroupError: the network overwrites what its gradients need.
    """
    generator = torch.Generator().manual_seed(seed)
    layers = mixing_layers(module)
    found: dict[str, LayerStatistics] = {}
    seen: list[tuple[str, torch.Tensor, torch.Tensor]] = []
    taken: list[tuple[str, torch.Tensor, int]] = []  # inputs and their versions when they were

    def hook(name: str) -> Callable[..., torch.Tensor]:
        def call(_: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor
                 ) -> torch.Tensor:
            output.retain_grad()
            # Copies: what comes after may work in place, and inputs, outputs and gradients would
            # be those of its result.
            seen.append((name, inputs[0].detach().clone(), output))
            taken.append((name, inputs[0], inputs[0]._version))
            return output.clone()
        return call

    module.eval()
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in trained:  # their gradients are not asked for, and take a third of the time
        parameter.requires_grad_(False)
    handles = [layer.register_forward_hook(hook(name)) for name, layer in layers.items()]
    try:
        for number, image in enumerate(images):
            seen.clear()
            with torch.enable_grad():
                # Gradients reach every layer also where a network's weights are frozen. A copy:
                # the network may work in place on what it is given.
                outputs = module(image.clone().requires_grad_().clone())
                _backward(head.curvature_noise(outputs, generator), module, taken)
            taken.clear()
            _add_image(found, layers, seen, places, generator)
            if progress:
                progress((number + 1) / len(images))
    finally:
        for handle in handles:
            handle.remove()
        for parameter in trained:
            parameter.requires_grad_(True)
    _order(found, [name for name, _, _ in seen])
    for statistics in found.values():
        statistics.gram /= statistics.samples
        statistics.mean /= statistics.samples
        statistics.sensitivity /= len(images)
    return Observation(tuple(images), found)


def _backward(loss: torch.Tensor, module: nn.Module,
              taken: Sequence[tuple[str, torch.Tensor, int]]) -> None:
    try:
        loss.backward()
    except RuntimeError as error:
        if 'inplace operation' not in str(error):
            raise
        layers = ', '.join(dict.fromkeys(
            name for name, given, version in taken if given._version != version))
        raise GroupError(
            f'{type(module).__name__} overwrites what {layers or "one of its layers"} was given, '
            'which gradients need; let the operation that comes after return a new tensor '
            '(inplace=False)') from error


def _add_image(found: dict[str, LayerStatistics], layers: dict[str, nn.Conv2d | nn.Linear],
               seen: Sequence[tuple[str, torch.Tensor, torch.Tensor]], most: int,
               generator: torch.Generator) -> None:
    reached = {name for name, _, output in seen if output.grad is not None}
    for name, given, output in seen:
        if name not in reached:
            continue  # nothing that the head reads depends on it
        layer = layers[name]
        gradient = torch.zeros_like(output) if output.grad is None else output.grad
        if name not in found:
            inputs, outputs = layer.weight[0].numel(), layer.weight.shape[0]
            if isinstance(layer, nn.Conv2d):
                inputs *= layer.groups
            found[name] = LayerStatistics(
                torch.zeros(inputs, inputs), torch.zeros(inputs), torch.zeros(outputs))
        statistics = found[name]
        squared = _by_place(layer, gradient).square()
        statistics.sensitivity += squared.sum(0)
        drawn = _draw(squared.sum(1), most, generator)
        x = inputs_at(layer, given, drawn)
        statistics.gram.addmm_(x.T, x)
        statistics.mean += x.sum(0)
        statistics.samples += len(x)
        statistics.places.append(drawn)
        statistics.outputs.append(_by_place(layer, output.detach())[drawn].clone())


def _by_place(layer: nn.Module, output: torch.Tensor) -> torch.Tensor:
    """Return an output map of one image as (places, channels)."""
    if isinstance(layer, nn.Linear):
        return output.reshape(-1, output.shape[-1])
    return output[0].flatten(1).T


def _draw(weights: torch.Tensor, most: int, generator: torch.Generator) -> torch.Tensor:
    if len(weights) <= most:
        return torch.arange(len(weights))
    total = weights.sum()
    even = torch.full_like(weights, 1 / len(weights))
    chances = even if total <= 0 else (
        _EVEN_SHARE * even + (1 - _EVEN_SHARE) * weights / total)
    return torch.multinomial(chances, most, generator=generator)


def _order(found: dict[str, LayerStatistics], names: Sequence[str]) -> None:
    for position, name in enumerate(names):
        if name in found:
            found[name].order = position
            found[name].calls += 1
