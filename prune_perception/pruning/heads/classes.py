# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Leaving classes out of a network: the rows of the layers that make them."""

from collections.abc import Callable, Iterator, Sequence
import copy
from dataclasses import replace
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn

from prune_perception.bundle import BundleError, Card, DecoderSpec, NetworkSpec
from prune_perception.networks.registry import build, example_input, spec_of
from prune_perception.pruning.heads.interface import HeadError
from prune_perception.runtime.decoders import decoder_of
from prune_perception.runtime.decoders.dense import CLASSES, DenseDecoder
from prune_perception.runtime.decoders.scores import PROBABILITIES, SOFTMAX

_SAME = 1e-4  # of logits and probabilities: a number that was only passed on


def indices_of(card: Card, names: Sequence[str]) -> list[int]:
    """Return the places of the classes to keep, in the card's order."""
    if not names:
        raise HeadError(f'bundle {card.name}: no class is named; name at least one to keep')
    unknown = [name for name in names if name not in card.class_names]
    if unknown:
        raise HeadError(
            f'class {", ".join(map(repr, unknown))} is not in bundle {card.name}; it has '
            f'{", ".join(card.class_names)}')
    return [index for index, name in enumerate(card.class_names) if name in names]


def without_classes(
        module: nn.Module, card: Card, decoder: DenseDecoder, names: Sequence[str]
        ) -> tuple[nn.Module, Card]:
    """
    Return a network and a card with some of its classes alone.

    Where each number of a class is what one row of a convolution or linear layer makes, the rows
    of the others are taken out of a copy, which is then held against the network. Elsewhere the
    network is returned as it is, and the card with the columns of its outputs that are left.
    What is kept answers as before either way: classes that compete in a softmax stay in it.

    :param decoder: of the card.
    :raises HeadError: a class is not the card's.
    """
    kept = indices_of(card, names)
    smaller = replace(
        card, class_names=tuple(card.class_names[index] for index in kept), energy={},
        measured=(), certificate=None)
    columns = decoder.columns.columns[kept]
    if decoder.scores != SOFTMAX and decoder.columns.background is None:
        ranks = np.argsort(np.argsort(columns))
        reduced = replace(smaller, decoder=_with_columns(card.decoder, ranks, len(kept)))
        found = _without_rows(module, card, decoder, columns, reduced)
        if found is not None:
            return found
    return module, replace(
        smaller, decoder=_with_columns(card.decoder, columns, decoder.columns.count))


def _with_columns(decoder: DecoderSpec, columns: NDArray[np.int64], count: int) -> DecoderSpec:
    settings = {name: value for name, value in decoder.settings.items()
                if name not in ('columns', 'column_count')}
    if columns.tolist() != list(range(count)):
        settings |= {'columns': columns.tolist(), 'column_count': count}
    return DecoderSpec(decoder.name, settings)


def _without_rows(
        module: nn.Module, card: Card, decoder: DenseDecoder, columns: NDArray[np.int64],
        smaller: Card) -> tuple[nn.Module, Card] | None:
    """Return a network without the rows of all other columns; None if it cannot be."""
    image = torch.randn(
        example_input(card.input).shape, generator=torch.Generator().manual_seed(0))
    outputs, made = _run(module, image, decoder.columns.count)
    kept = np.isin(np.arange(decoder.columns.count), columns)
    dropped: dict[str, set[int]] = {}
    needed: dict[str, set[int]] = {}
    for values in _class_maps(decoder, outputs):
        makers = _makers(values, made, decoder.scores)
        if makers is None:
            return None
        for column, (name, row) in enumerate(makers):
            (needed if kept[column] else dropped).setdefault(name, set()).add(row)
    if any(rows & needed.get(name, set()) for name, rows in dropped.items()):
        return None
    reduced = copy.deepcopy(module)
    for name, rows in dropped.items():
        layer = reduced.get_submodule(name)
        left = set(range(len(layer.get_parameter('weight')))) - rows
        keep_rows(layer, torch.tensor(sorted(left), dtype=torch.long))
    try:
        again, _ = _run(reduced, image, 1 << 30)
        smaller = replace(
            smaller, network=network_spec(card, reduced, len(smaller.class_names)),
            outputs=tuple(replace(spec, shape=tuple(output.shape))
                          for spec, output in zip(card.outputs, again, strict=True)))
        same = _same(decoder, outputs, decoder_of(smaller), again, columns)
    except (RuntimeError, ValueError, IndexError, BundleError):
        return None  # its forward pass counts on the number of classes
    return (reduced, smaller) if same else None


def _run(module: nn.Module, image: torch.Tensor, least: int
         ) -> tuple[list[torch.Tensor], list[tuple[str, torch.Tensor]]]:
    """
    Run a network.

    :param least: rows that a layer must have to be remembered.
    :returns: its outputs, and the rows (rows, places) that each layer made, in its order.
    """
    made: list[tuple[str, torch.Tensor]] = []

    def remember(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, inputs: object, output: torch.Tensor) -> None:
            # Copies: what comes after may work in place.
            rows = output[0].flatten(1) if isinstance(layer, nn.Conv2d) \
                else output.reshape(-1, output.shape[-1]).T
            made.append((name, rows.clone()))
        return hook

    hooks = [layer.register_forward_hook(remember(name))
             for name, layer in module.named_modules()
             if isinstance(layer, nn.Linear) and layer.out_features >= least
             or isinstance(layer, nn.Conv2d) and layer.groups == 1
             and layer.out_channels >= least]
    training = module.training
    try:
        with torch.no_grad():
            outputs = [output.clone() for output in module.eval()(image)]
    finally:
        module.train(training)
        for handle in hooks:
            handle.remove()
    return outputs, made


def _class_maps(decoder: DenseDecoder, outputs: Sequence[torch.Tensor]
                ) -> Iterator[torch.Tensor]:
    """Yield the classes of each anchor of each level, (columns, cells)."""
    values = np.empty((decoder.layout.size, decoder.columns.count), np.float32)
    arrays = [output.numpy() for output in outputs]
    for block in decoder.layout.blocks:
        values[block.anchors] = block.parts[CLASSES].read(arrays)
    start = 0
    for level in decoder.layout.levels:
        for anchor in range(level.anchors):
            yield torch.from_numpy(values[start + anchor:start + level.size:level.anchors].T)
        start += level.size


def _makers(values: torch.Tensor, made: Sequence[tuple[str, torch.Tensor]], scores: str
            ) -> list[tuple[str, int]] | None:
    """Return the layer and the row that makes each of some maps, None if one is made by none."""
    for name, rows in made:
        if rows.shape[1] != values.shape[1]:
            continue
        if scores == PROBABILITIES:
            rows = rows.sigmoid()
        distance = torch.cdist(values[None], rows[None], p=math.inf)[0]
        nearest, row = distance.min(1)
        if bool((nearest < _SAME).all()):
            return [(name, int(number)) for number in row]
    return None


def _same(decoder: DenseDecoder, outputs: Sequence[torch.Tensor], smaller: Any,
          again: Sequence[torch.Tensor], columns: NDArray[np.int64]) -> bool:
    """Return whether a reduced network says of its classes and boxes what the whole one does."""
    ordered = np.sort(columns)
    before, after = [output.numpy() for output in outputs], [output.numpy() for output in again]
    for block, other in zip(decoder.layout.blocks, smaller.layout.blocks, strict=True):
        fields, found = block.read(before), other.read(after)
        fields[CLASSES] = fields[CLASSES][:, ordered]
        if not all(np.allclose(fields[name], found[name], rtol=1e-3, atol=_SAME)
                   for name in fields):
            return False
    return True


def output_convolutions(module: nn.Module, card: Card) -> list[str]:
    """Return the convolutions whose results are the network's outputs, each once."""
    made: list[tuple[torch.Tensor, str]] = []

    def remember(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: object, output: torch.Tensor) -> None:
            made.append((output, name))
        return hook

    hooks = [layer.register_forward_hook(remember(name))
             for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d)]
    training = module.training
    try:
        with torch.no_grad():
            outputs = module.eval()(example_input(card.input))
    finally:
        module.train(training)
        for handle in hooks:
            handle.remove()
    found = []
    for spec, output in zip(card.outputs, outputs, strict=True):
        makers = [name for tensor, name in made if tensor is output]
        if not makers:
            raise HeadError(
                f'bundle {card.name}: output {spec.name!r} is not what one convolution makes; '
                'its classes cannot be taken out')
        found.append(makers[-1])
    return list(dict.fromkeys(found))


def keep_rows(layer: nn.Module, rows: torch.Tensor) -> None:
    """Take all other rows out of a convolution or a linear layer."""
    assert isinstance(layer, (nn.Conv2d, nn.Linear))
    layer.weight = nn.Parameter(layer.weight.detach()[rows].clone())
    if layer.bias is not None:
        layer.bias = nn.Parameter(layer.bias.detach()[rows].clone())
    if isinstance(layer, nn.Conv2d):
        layer.out_channels = len(rows)
    else:
        layer.out_features = len(rows)


def network_spec(card: Card, module: nn.Module, classes: int) -> NetworkSpec | None:
    """Return what a card says of a network with another number of classes."""
    if card.network is None:
        return None
    plain = spec_of(card.network.name, module, card.network.settings)
    counted = replace(plain, settings={**card.network.settings, 'classes': classes})
    try:
        with torch.device('meta'):
            build(counted)
    except BundleError:
        return plain  # its constructor has no such setting: the widths say it all
    return counted
