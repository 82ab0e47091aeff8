# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Which channels of a network are tied, and which layers make and take them.

The ties are found by Torch-Pruning's dependency graph (Fang et al., *DepGraph*, CVPR 2023); this
module only writes them down as plain values and names the reasons.

An example: ``y = add(conv1(x), conv2(x))`` and ``z = conv3(y)``. Channel i of ``conv1``, channel
i of ``conv2`` and input channel i of ``conv3`` stand or fall together, so there is one group with
the producers ``conv1`` and ``conv2`` and the consumer ``conv3``.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
import warnings

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.utils._pytree import tree_iter

with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    import torch_pruning

Index = NDArray[np.int64]

# What the energy, the forecast and the restoration of the other modules know to handle.
_KNOWN = (nn.Conv2d, nn.Linear, _NormBase, nn.GroupNorm, nn.LayerNorm, nn.PReLU)

_AN_OUTPUT = ' is an output of the network'


class GroupError(ValueError):
    """A network that cannot be followed forth or back; one line that says where and why."""


@dataclass(frozen=True, eq=False)
class Tied:
    """
    A layer that holds the channels of a group on one of its sides.

    :param layer: its path in the network.
    :param positions: (channels, m): the places of each of the group's channels on that side. m
        is above 1 where a channel is several inputs (after flattening).
    :param reason: what ties it to the group, in words.
    """

    layer: str
    positions: Index
    reason: str


@dataclass(frozen=True, eq=False)
class ChannelGroup:
    """
    Channels that can only be removed together in all layers that hold them.

    :param name: the path of its first producer.
    :param channels: how many there are.
    :param producers: layers with an output channel each: convolutions and linear layers, and
        what lies on their way (normalisations, depthwise convolutions).
    :param consumers: layers that mix the channels: their inputs shrink.
    :param unit: a removal takes this many channels at least: the parts of a grouped convolution
        must stay equal. Unit u is the channels u, u + channels / unit, …: in each part the one
        at the same place.
    :param fixed: why no channel may be removed; empty if they may.
    """

    name: str
    channels: int
    producers: tuple[Tied, ...]
    consumers: tuple[Tied, ...]
    unit: int = 1
    fixed: str = ''

    def describe(self) -> str:
        """Return one line for people."""
        fixed = f'; fixed: {self.fixed}' if self.fixed else ''
        return f'{self.name}: {self.channels} channels, {self.ties()}{fixed}'

    def ties(self) -> str:
        """Return which layers make and take the channels, and what ties them, for people."""
        made = ', '.join(_with_reason(tied) for tied in self.producers)
        taken = ', '.join(_with_reason(tied) for tied in self.consumers) or (
            'what is not followed' if self.fixed and not self.fixed.endswith(_AN_OUTPUT)
            else 'the output')
        together = f'{self.unit} at a time, ' if self.unit > 1 else ''
        return f'{together}made by {made}; taken by {taken}'


class ChannelGraph:
    """
    The groups of a network, and the removal of channels from it.

    :param module: traced once on ``example``; removal changes it in place. Its attribute
        ``fixed_layers``, if it has one, says why the channels of some layers must stay.
    :param example: float32 (1, 3, height, width).
    :raises GroupError: the network cannot be traced.
    """

    def __init__(self, module: nn.Module, example: torch.Tensor) -> None:
        self._module = module
        self._names = {layer: name for name, layer in module.named_modules()}
        self._said: Mapping[str, str] = getattr(module, 'fixed_layers', {})
        training = [part for part in module.modules() if part.training]
        # The tracer follows gradients, which a frozen parameter has none of.
        frozen = [parameter for parameter in module.parameters() if not parameter.requires_grad]
        module.eval()
        try:
            for parameter in frozen:
                parameter.requires_grad_(True)
            with torch.enable_grad(), warnings.catch_warnings():
                warnings.simplefilter('ignore')
                self._outputs = _output_layers(module, example)
                # In a tuple: the tracer would take a bare batch apart and feed its images.
                self._graph = torch_pruning.DependencyGraph().build_dependency(
                    module, example_inputs=(example,), verbose=False)
                self._end_at_layers()
            self.groups = tuple(self._find_groups())
        except Exception as error:  # the tracer lets through whatever the network raises
            raise GroupError(
                f'{type(module).__name__} cannot be traced: {_first_line(error)}') from error
        finally:
            for part in training:
                part.training = True
            for parameter in frozen:
                parameter.requires_grad_(False)

    def group(self, name: str) -> ChannelGroup:
        """Return a group by its name; raises KeyError."""
        for group in self.groups:
            if group.name == name:
                return group
        raise KeyError(name)

    def remove(self, removed: Mapping[str, Collection[int]]) -> None:
        """
        Take channels out of the network, in place.

        Not to be called twice: the groups describe the network as it was traced.

        :param removed: channels by the name of their group.
        :raises GroupError: a group is not there or is fixed, or would lose all its channels, one
            that it does not have, or a part of a unit. The network is then as it was.
        """
        for name, channels in removed.items():
            self._check(name, channels)
        for name, channels in removed.items():
            if channels:
                self._pruning_group(
                    self._module.get_submodule(name), sorted(set(channels))).prune(
                        record_history=False)

    def _check(self, name: str, channels: Collection[int]) -> None:
        """Raise GroupError if a group cannot lose channels."""
        try:
            group = self.group(name)
        except KeyError:
            raise GroupError(f'group {name}: the network has no such group of channels') from None
        gone = set(channels)
        if not gone:
            return
        if group.fixed:
            raise GroupError(f'group {name}: {group.fixed}; its channels must stay')
        strange = gone - set(range(group.channels))
        if strange:
            raise GroupError(f'group {name}: it has channels 0 to {group.channels - 1}, not '
                             f'{min(strange)}')
        if len(gone) == group.channels:
            raise GroupError(f'group {name}: all of its {group.channels} channels would go; leave '
                             f'at least {group.unit}')
        step = group.channels // group.unit
        if len(gone) != group.unit * len({channel % step for channel in gone}):
            raise GroupError(f'group {name}: its channels go {group.unit} at a time, every '
                             f'{step}th together')

    def _end_at_layers(self) -> None:
        """
        Follow no channels past the last layers, to where nothing takes them but an output.

        Heads are reshaped there into a row for each place of the picture, of which the tracer
        would list each number: minutes for a network of many classes. Nor any past what keeps
        them from going: through the reshapings of attention their places would fill the memory,
        and the layers behind it meet it from their own side.
        """
        nodes = self._graph.module2node
        pending = [node for module, node in nodes.items()
                   if module in self._names or isinstance(module, nn.Parameter)]
        before = set()
        while pending:
            node = pending.pop()
            if node not in before:
                before.add(node)
                pending += node.inputs
        for node in nodes.values():
            node.dependencies = [] if self._is_obstacle(node) else [
                tie for tie in node.dependencies if tie.target in before]

    def _is_obstacle(self, node: Any) -> bool:
        return node.module not in self._names and bool(_obstacle(node))

    def _pruning_group(self, layer: nn.Module, channels: list[int]) -> Any:
        pruner = self._graph.get_pruner_of_module(layer)
        return self._graph.get_pruning_group(layer, pruner.prune_out_channels, channels)

    def _find_groups(self) -> Iterable[ChannelGroup]:
        seen: set[str] = set()
        depthwise: list[str] = []
        for name, layer in self._module.named_modules():
            if name in seen or not isinstance(layer, (nn.Conv2d, nn.Linear)):
                continue
            if layer not in self._graph.module2node:
                continue  # never called
            if isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1:
                depthwise.append(name)  # it belongs to the group of what it is given
                continue
            group = self._describe(name, layer)
            seen.update(tied.layer for tied in group.producers)
            yield group
        for name in depthwise:
            if name in seen:
                continue
            # What it is given ends at an obstacle, or is the image: it keeps its channels.
            group = self._describe(name, self._module.get_submodule(name))
            seen.update(tied.layer for tied in group.producers)
            yield replace(group, fixed=group.fixed or (
                'no layer whose channels can be followed makes what it is given'))

    def _describe(self, name: str, layer: nn.Module) -> ChannelGroup:
        channels = self._graph.get_out_channels(layer)
        producers: dict[str, Tied] = {}
        consumers: dict[str, Tied] = {}
        fixed, parts, transposed = [self._said.get(name, '')], [1], False
        for item in self._pruning_group(layer, list(range(channels))).items:
            target = item.dep.target.module
            if isinstance(target, nn.Parameter):
                fixed.append('a parameter outside any layer holds them')
                continue
            path = self._names.get(target)
            if path is None:  # an operation: an addition, a concatenation, an activation
                fixed.append(_obstacle(item.dep.target))
                transposed |= any(word in str(item.dep.target.name)
                                  for word in ('Permute', 'Transpose'))
                continue
            fixed.append(_unknown(path, target))
            made = self._graph.is_out_channel_pruning_fn(item.dep.handler)
            positions = _positions(channels, item.root_idxs, item.idxs)
            if positions is None or (made and positions.size != _outputs(target)):
                fixed.append(f'{path} holds only some of them, or some more often than others')
                continue
            if made and path in self._outputs:
                fixed.append(f'{path}{_AN_OUTPUT}')
            (producers if made else consumers).setdefault(
                path, Tied(path, positions, _reason(item.dep)))
            parts.append(_parts(target))
        if transposed and any(tied.positions.shape[1] > 1 for tied in consumers.values()):
            fixed.append('they are flattened after a transposition, which hides their places')
        unit = int(np.lcm.reduce(parts))
        if channels % unit:
            fixed.append(f'{channels} channels do not divide into {unit} parts')
        elif unit == channels > 1:
            fixed.append(f'they must go {unit} at a time, and there are no more')
        else:
            for side, tied_layers in ((_outputs, producers), (_inputs, consumers)):
                for path, tied in tied_layers.items():
                    layer = self._module.get_submodule(path)
                    fixed.append(_uneven(tied, _parts(layer), side(layer), unit))
        return ChannelGroup(
            name, channels, tuple(producers.values()), tuple(consumers.values()), unit,
            next(filter(None, fixed), ''))


def _outputs(layer: Any) -> int:
    """Return how many channels come out of a layer."""
    for attribute in ('out_channels', 'out_features', 'num_features', 'num_channels'):
        if hasattr(layer, attribute):
            return int(getattr(layer, attribute))
    return len(layer.weight)  # a layer normalisation, an activation with a slope for each


def _inputs(layer: Any) -> int:
    """Return how many channels go into a layer."""
    return int(layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels)


def _unknown(path: str, layer: nn.Module) -> str:
    """Return why a layer's channels cannot go because of its kind; empty if they can."""
    if not isinstance(layer, _KNOWN):
        return f'{path} is a {type(layer).__name__}, which is not pruned here'
    if isinstance(layer, nn.Conv2d) and not _depthwise(layer) and (
            layer.groups == layer.in_channels > 1):
        return f'{path} makes several channels of each, and of no other'
    return ''


def _depthwise(layer: nn.Module) -> bool:
    """Return whether each channel of a convolution makes one channel."""
    return isinstance(layer, _ConvNd) and (
        layer.groups == layer.in_channels == layer.out_channels > 1)


def _parts(layer: nn.Module) -> int:
    """Return into how many equal parts a layer's channels are divided."""
    if isinstance(layer, nn.GroupNorm):
        return layer.num_groups
    return layer.groups if isinstance(layer, _ConvNd) and not _depthwise(layer) else 1


def _uneven(tied: Tied, parts: int, channels: int, unit: int) -> str:
    """
    Return why a layer of several parts cannot lose one unit; empty if it can.

    :param channels: of the layer, on the side of the tie.
    """
    units = tied.positions.reshape(unit, -1, tied.positions.shape[1])
    for number in range(units.shape[1] if parts > 1 else 0):
        part, place = np.divmod(np.sort(units[:, number].ravel()), channels // parts)
        if len({tuple(place[part == which]) for which in range(parts)}) > 1:
            return f'they are not spread evenly over the {parts} groups of {tied.layer}'
    return ''


def _obstacle(node: Any) -> str:
    """Return why channels that an operation holds cannot go; empty if they can."""
    kind = str(node.name) + type(node.module).__name__
    if 'Split' in kind or 'Unbind' in kind:
        return 'a split of the network divides them'
    gradient = node.grad_fn
    sizes = getattr(gradient, '_saved_self_sym_sizes', ())
    if ('Slice' in kind or 'Select' in kind) and len(sizes) in (3, 4):
        # Of a picture's rows or columns it does not matter.
        whole = 0 if len(sizes) == 3 else 1
        if getattr(gradient, '_saved_dim', whole) == whole:
            return 'a slice takes some of them'
    # Of one dimension are the slopes of an activation, which torch reshapes by itself.
    if ('Reshape' in kind or 'View' in kind) and len(sizes) not in (0, 1, 2, 4):
        return f'they pass a reshaping of {len(sizes)} dimensions'
    return ''


def _positions(channels: int, roots: list[int], places: list[int]) -> Index | None:
    found: list[list[int]] = [[] for _ in range(channels)]
    for root, place in zip(roots, places, strict=True):
        found[root].append(place)
    if len({len(row) for row in found}) != 1:
        return None
    return np.sort(np.array(found, np.int64), axis=1)


def _reason(dependency: Any) -> str:
    """Return what stands between a layer and the one that passed the tie on."""
    kind = type(dependency.source).__name__
    name = str(dependency.source.name)
    if dependency.source is dependency.target:
        return ''
    for word, reason in (('Add', 'addition'), ('Mul', 'multiplication'),
                         ('ConcatOp', 'concatenation'), ('Flatten', 'flattening'),
                         ('Reshape', 'reshaping'), ('Split', 'split')):
        if word in name or word in kind:
            return reason
    return ''


def _with_reason(tied: Tied) -> str:
    return f'{tied.layer} ({tied.reason})' if tied.reason else tied.layer


def _tensors(outputs: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_iter(outputs) if isinstance(leaf, torch.Tensor)]


def _output_layers(module: nn.Module, example: torch.Tensor) -> set[str]:
    """
    Return the layers whose channels the network's outputs show, by the way of the gradients.

    These are the first convolutions and linear layers that one comes by from an output.
    """
    makers: dict[Any, str] = {}
    handles = [
        layer.register_forward_hook(
            lambda _, given, output, name=name: makers.update({output.grad_fn: name}))
        for name, layer in module.named_modules() if isinstance(layer, (_ConvNd, nn.Linear))]
    try:
        outputs = _tensors(module(example))
    finally:
        for handle in handles:
            handle.remove()
    if not outputs or any(output.grad_fn is None for output in outputs):
        raise GroupError('not every output comes from the layers by operations with a gradient')
    found, seen = set(), set()
    pending = [output.grad_fn for output in outputs]
    while pending:
        node = pending.pop()
        if node in makers:
            found.add(makers[node])
        elif node is not None and node not in seen:
            seen.add(node)
            pending += [part for part, _ in node.next_functions]
    return found


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
