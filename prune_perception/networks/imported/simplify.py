# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Bring a graph into a form in which channels can be followed and taken out.

Exporters write one layer in several nodes and one idea in several ways. What is known beforehand
is computed; batch normalisations, factors and additions of a channel go into the convolution
before them; group normalisations and linear layers that were taken apart are put together. The
graph computes what it did, up to rounding.
"""

import re

import numpy as np
from torch import nn

from prune_perception.networks.imported.graph import Array, Graph, Node
from prune_perception.networks.imported.network import OnnxNetwork, trace, Traced
from prune_perception.networks.imported.operators import OPERATORS

# Channels that are taken apart in this way can be put into two convolutions instead.
_ELEMENTWISE = ('Relu', 'LeakyRelu', 'Sigmoid', 'HardSwish', 'HardSigmoid', 'Clip', 'Tanh', 'Elu',
                'Mish', 'Gelu', 'Softplus')
_EPSILON = 1e-5  # torch's norms want some
_MOST_PARTS = 16  # of a concatenation that is normalised part by part
_MOST_JOINED = 4 * _MOST_PARTS  # those, and the concatenations that they are within
_PARAMETERS = {
    'Conv': ('weight', 'bias'), 'ConvTranspose': ('weight', 'bias'), 'Linear': ('weight', 'bias'),
    'PReLU': ('weight',), 'BatchNormalization': ('weight', 'bias', 'running_mean', 'running_var'),
    'InstanceNormalization': ('weight', 'bias'), 'GroupNormalization': ('weight', 'bias'),
    'LayerNormalization': ('weight', 'bias')}

_TAKEN = {*dir(nn.Module()), *dir(OnnxNetwork), 'fixed_layers', 'one_size', 'structure'}


def simplify(graph: Graph) -> tuple[Graph, dict[str, Array]]:
    """
    Return the structure of a network, and the weights of its layers by their names in torch.

    :param graph: of fixed sizes; it is used up.
    :raises BundleError: it cannot be followed (see :func:`.network.trace`).
    """
    traced = trace(graph)
    _compute_what_is_known(graph, traced)
    _shorten(graph, traced)
    shapes = _shapes(graph)
    for change in (_join_linear, _join_group_norm, _join_prelu):
        change(graph, shapes)
        graph.sweep()
    while _fold(graph, shapes):
        graph.sweep()
    _part_concatenations(graph, shapes)
    graph.sweep()
    _join_slices(graph, shapes)
    _divide_before_splits(graph, shapes)
    graph.sweep()
    _normalise_channels(graph, shapes)
    graph.sweep()
    return graph, _name_weights(graph)


def _shapes(graph: Graph) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in trace(graph).values.items()}


def _compute_what_is_known(graph: Graph, traced: Traced) -> None:
    graph.constants = {name: value.numpy() for name, value in traced.values.items()
                       if not value.is_meta}
    graph.nodes = [node for node, _ in traced.steps]
    graph.sweep()


def _shorten(graph: Graph, traced: Traced) -> None:
    """Take out nodes that change nothing, and transpositions that undo each other."""
    kept: list[Node] = []
    makers: dict[str, Node] = {}
    for node in graph.nodes:
        source = node.inputs[0] if node.inputs else ''
        before = makers.get(source)
        if node.op in ('Identity', 'Dropout') or (
                node.op == 'Cast' and traced.values[source].dtype
                == traced.values[node.outputs[0]].dtype):
            graph.rename(node.outputs[0], source)
            continue
        if node.op == 'Transpose' and before is not None and before.op == 'Transpose':
            first, second = before.attributes['perm'], node.attributes['perm']
            node.inputs[0] = before.inputs[0]
            node.attributes['perm'] = [first[place] for place in second]
        if node.op == 'Transpose' and node.attributes['perm'] == sorted(node.attributes['perm']):
            graph.rename(node.outputs[0], node.inputs[0])
            continue
        kept.append(node)
        makers.update(dict.fromkeys(node.outputs, node))
    graph.nodes = kept
    graph.sweep()


def _insert(graph: Graph, name: str, value: Array) -> str:
    """Give a constant a name of its own."""
    name = graph.fresh(name)
    graph.constants[name] = np.array(value, order='C')
    return name


def _only_use(graph: Graph, name: str) -> Node | None:
    """Return the node that takes a value, if one does and the value is no output."""
    users = [node for node in graph.nodes if name in node.inputs]
    return users[0] if len(users) == 1 and graph.uses()[name] == 1 else None


def _other(node: Node, name: str) -> str:
    """Return the second input of a node, whichever way around."""
    return node.inputs[1] if node.inputs[0] == name else node.inputs[0]


# ---- layers that were taken apart


def _join_linear(graph: Graph, shapes: dict[str, tuple[int, ...]]) -> None:
    """Make a linear layer of a product with a known matrix, and of the addition behind it."""
    for node in list(graph.nodes):
        if node.op == 'Gemm' and not node.attributes.get('transA'):
            weight, bias = graph.constants.get(node.inputs[1]), None
            if len(node.inputs) > 2 and node.inputs[2]:
                bias = graph.constants.get(node.inputs[2])
                if bias is None:
                    continue
            if weight is None or weight.ndim != 2:
                continue
            if not node.attributes.get('transB'):
                weight = weight.T
            weight = weight * np.float32(node.attributes.get('alpha', 1.0))
            if bias is not None:
                bias = bias * np.float32(node.attributes.get('beta', 1.0))
        elif node.op == 'MatMul' and node.inputs[1] in graph.constants:
            weight, bias = graph.constants[node.inputs[1]], None
            if weight.ndim != 2 or len(shapes[node.inputs[0]]) < 2:
                continue
            weight = weight.T
            after = _only_use(graph, node.outputs[0])
            if after is not None and after.op == 'Add':
                added = graph.constants.get(_other(after, node.outputs[0]))
                if added is not None and added.size == weight.shape[0] == added.shape[-1]:
                    bias = added
                    graph.nodes.remove(after)
                    node.outputs = list(after.outputs)
        else:
            continue
        node.op, node.attributes = 'Linear', {}
        if bias is None:
            node.inputs = [node.inputs[0], _insert(graph, node.inputs[1], weight)]
        else:
            full = np.broadcast_to(bias.reshape(-1), weight.shape[:1]).astype(np.float32)
            stem = node.inputs[1]
            node.inputs = [node.inputs[0], _insert(graph, stem, weight),
                           _insert(graph, f'{stem}.bias', full)]


def _join_group_norm(graph: Graph, shapes: dict[str, tuple[int, ...]]) -> None:
    """Make a group norm of a reshaping, an instance norm over the groups, and a reshaping."""
    makers = graph.makers()
    for node in list(graph.nodes):
        if node.op != 'InstanceNormalization':
            continue
        before, after = makers.get(node.inputs[0]), _only_use(graph, node.outputs[0])
        if before is None or after is None or before.op != 'Reshape' or after.op != 'Reshape':
            continue
        source, grouped = shapes[before.inputs[0]], shapes[node.inputs[0]]
        if (len(source) != 4 or shapes[after.outputs[0]] != source or len(grouped) != 3
                or source[1] % grouped[1]):
            continue
        channels, groups = source[1], grouped[1]
        parameters = []
        for place in (1, 2):
            value = graph.constants.get(node.inputs[place])
            if value is None or value.shape != (groups,):
                break
            parameters.append(np.repeat(value, channels // groups))
        if len(parameters) < 2:
            continue
        last = after
        factor = _affine_after(graph, last.outputs[0], channels, 'Mul')
        if factor is not None:
            last, values = factor
            parameters = [parameters[0] * values, parameters[1] * values]
        offset = _affine_after(graph, last.outputs[0], channels, 'Add')
        names = [node.name, f'{node.name}.bias']
        if offset is not None:
            last, values = offset
            parameters[1] = parameters[1] + values
        position = graph.nodes.index(node)
        joined = Node(
            'GroupNormalization', node.name,
            [before.inputs[0], *(_insert(graph, name, value.astype(np.float32))
                                 for name, value in zip(names, parameters, strict=True))],
            list(last.outputs),
            {'num_groups': groups, 'epsilon': node.attributes.get('epsilon', 1e-5)})
        gone = [node, after, *(found[0] for found in (factor, offset) if found)]
        graph.nodes[position] = joined
        graph.nodes = [item for item in graph.nodes if item not in gone]


def _affine_after(graph: Graph, name: str, channels: int, op: str) -> tuple[Node, Array] | None:
    """Return the node behind a value that multiplies or adds a number of each channel."""
    after = _only_use(graph, name)
    if after is None or after.op != op:
        return None
    values = _of_channels(graph.constants.get(_other(after, name)), channels)
    return None if values is None else (after, values)


def _of_channels(value: Array | None, channels: int) -> Array | None:
    """Return a constant's number for each channel of maps, if it has no more than that."""
    if value is None or value.dtype != np.float32 or value.ndim > 4:
        return None
    if value.size == 1:
        return np.broadcast_to(value.reshape(-1), (channels,))
    sides = (1,) * (4 - value.ndim) + value.shape
    return value.reshape(-1) if sides == (1, channels, 1, 1) else None


def _join_prelu(graph: Graph, shapes: dict[str, tuple[int, ...]]) -> None:
    """Make a layer of slopes that each channel has one of."""
    for node in graph.nodes:
        if node.op != 'PRelu' or len(shapes[node.inputs[0]]) != 4:
            continue
        slopes = graph.constants.get(node.inputs[1])
        values = _of_channels(slopes, shapes[node.inputs[0]][1])
        if slopes is not None and values is not None:
            node.op = 'PReLU'
            node.inputs[1] = _insert(
                graph, node.inputs[1], values if slopes.size > 1 else slopes.reshape(-1))


# ---- what follows a convolution and goes into it


def _fold(graph: Graph, shapes: dict[str, tuple[int, ...]]) -> bool:
    """
    Put one node behind a convolution or linear layer into its weights; return whether one was.

    :returns: False once there is none.
    """
    uses = graph.uses()
    makers = graph.makers()
    for node in graph.nodes:
        for source in node.inputs[:2]:
            layer = makers.get(source)
            if (layer is None or layer.op not in ('Conv', 'Linear', 'ConvTranspose')
                    or uses[source] != 1 or uses[layer.inputs[1]] != 1):
                continue
            channels = shapes[layer.outputs[0]][1 if layer.op != 'Linear' else -1]
            change = _change(graph, node, source, channels, layer.op == 'Linear')
            if change is None:
                continue
            _scale(graph, layer, *change)
            graph.nodes.remove(node)
            graph.rename(node.outputs[0], source)
            return True
    return False


def _change(graph: Graph, node: Node, source: str, channels: int, last: bool
            ) -> tuple[Array, Array] | None:
    """
    Return the factors and offsets that a node applies to each channel of its input.

    :param last: whether the channels are the last axis.
    """
    ones, zeros = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    if node.op == 'BatchNormalization' and source == node.inputs[0] and not last:
        parts = [graph.constants.get(name) for name in node.inputs[1:5]]
        if any(part is None for part in parts):
            return None
        scale, offset, mean, variance = (np.asarray(part, np.float64) for part in parts)
        factor = scale / np.sqrt(variance + node.attributes.get('epsilon', 1e-5))
        return factor, offset - factor * mean
    if node.op not in ('Add', 'Sub', 'Mul', 'Div') or len(node.inputs) != 2:
        return None
    value = graph.constants.get(_other(node, source))
    if last and value is not None and value.size > 1:
        values = value.reshape(-1) if value.shape[-1] == value.size == channels else None
    else:
        values = _of_channels(value, channels)
    if values is None or source not in node.inputs or node.inputs[0] == node.inputs[1]:
        return None
    if node.op == 'Add':
        return ones, values
    if node.op == 'Mul':
        return values, zeros
    if source != node.inputs[0]:
        return (-ones, values) if node.op == 'Sub' else None
    return (ones, -values) if node.op == 'Sub' else (1 / values, zeros)


def _scale(graph: Graph, layer: Node, factor: Array, offset: Array) -> None:
    """Let a layer multiply what it makes, and add to it."""
    weight = graph.constants[layer.inputs[1]].astype(np.float64)
    bias = np.zeros(len(factor))
    if len(layer.inputs) > 2 and layer.inputs[2]:
        bias = graph.constants[layer.inputs[2]].astype(np.float64)
    if layer.op == 'ConvTranspose':  # inputs, outputs of a group, height, width
        groups = layer.attributes.get('group', 1)
        weight = (weight.reshape(groups, -1, *weight.shape[1:])
                  * factor.reshape(groups, 1, -1, 1, 1)).reshape(weight.shape)
    else:
        weight = weight * factor.reshape(-1, *(1,) * (weight.ndim - 1))
    layer.inputs = [
        layer.inputs[0], _insert(graph, _base(layer.inputs[1]), weight.astype(np.float32)),
        _insert(graph, f'{_base(layer.inputs[1])}.bias',
                (bias * factor + offset).astype(np.float32))]


def _base(name: str) -> str:
    """Return the name of a weight without the number that this module gave it."""
    return re.sub(r'(\.\d+)+$', '', name)


def _part_concatenations(graph: Graph, shapes: dict[str, tuple[int, ...]]) -> None:
    """
    Let what works on each channel by itself work on the parts of a concatenation.

    A norm or a depthwise convolution over the channels of several layers would tie them to their
    places in it; with one for each part it is tied to one layer.
    """
    changed = True
    while changed:
        changed = False
        makers = graph.makers()
        useful = _useful(graph, shapes)
        for node in list(graph.nodes):
            if id(node) not in useful:
                continue
            sides = [_parts_of(graph, name, makers)
                     for name in node.inputs[:2 if node.op == 'Mul' else 1]
                     if name not in graph.constants]
            sides.sort(key=len, reverse=True)  # what is a concatenation first, its gate after it
            sizes = [shapes[part][1] for part in sides[0]]
            if len(sides[0]) > 1:
                changed = _part(graph, node, sides, sizes, shapes)
            if changed:
                break
        while changed and _fold(graph, shapes):
            pass


def _is_single(node: Node, shapes: dict[str, tuple[int, ...]]) -> bool:
    """Return whether a node has weights for each channel, and none between channels."""
    shape = shapes.get(node.inputs[0], ()) if node.inputs else ()
    if node.op == 'Conv':
        return len(shape) == 4 and node.attributes.get('group', 1) == shape[1] > 1 and (
            shapes[node.outputs[0]][1] == shape[1])
    return node.op == 'BatchNormalization' and len(shape) == 4


def _useful(graph: Graph, shapes: dict[str, tuple[int, ...]]) -> set[int]:
    """Return the identities of the nodes that are such layers, or on the way to one."""
    useful: set[int] = set()
    wanted: set[str] = set()  # values that a useful node takes
    for node in reversed(graph.nodes):
        if _is_single(node, shapes):
            if not all(name in graph.constants for name in node.inputs[1:] if name):
                continue
        elif node.op not in (*_ELEMENTWISE, 'Mul') or node.outputs[0] not in wanted or (
                node.outputs[0] in graph.outputs) or len(
                shapes.get(node.outputs[0], ())) != 4 or (
                any(graph.constants[name].size > 1 for name in node.inputs if name in
                    graph.constants)):
            continue
        useful.add(id(node))
        wanted.update(node.inputs)
    return useful


def _part(graph: Graph, node: Node, sides: list[list[str]], sizes: list[int],
          shapes: dict[str, tuple[int, ...]]) -> bool:
    """Put a node for each part in the place of one; return whether that could be done."""
    made: list[Node] = []
    ends = np.cumsum(sizes)
    if len(sides) > 1:
        other = sides[1][0]
        if len(sides[1]) == 1:  # a gate: each part takes its own channels of it
            if len(shapes[other]) != 4 or shapes[other][1] != ends[-1]:
                return False
            gates = [graph.fresh(f'{other}.part{number}') for number in range(len(sizes))]
            made.append(Node('Split', f'{node.name}.gates', [
                other, _insert(graph, 'sizes', np.array(sizes, np.int64))], gates, {'axis': 1}))
            for gate, size in zip(gates, sizes, strict=True):
                shapes[gate] = (1, size, *shapes[other][2:])
            sides = [sides[0], gates]
        elif [shapes[part][1] for part in sides[1]] != sizes:
            return False
    joined = []
    for number, (parts, end) in enumerate(zip(zip(*sides, strict=True), ends, strict=True)):
        own = slice(int(end) - sizes[number], int(end))
        values: list[str] = []
        if _is_single(node, shapes):
            stem = f'{_path(node.inputs[1], node)}.part{number}'
            values = [_insert(graph, f'{stem}.{kind}', graph.constants[name][own])
                      for kind, name in zip(_PARAMETERS[node.op], node.inputs[1:], strict=False)
                      if name]
        else:  # single numbers: a factor, a bound
            values = [name for name in node.inputs if not name or name in graph.constants]
        attributes = dict(node.attributes)
        if node.op == 'Conv':
            attributes['group'] = sizes[number]
        joined.append(graph.fresh(f'{node.outputs[0]}.part{number}'))
        shapes[joined[-1]] = (1, sizes[number], *shapes[node.outputs[0]][2:])
        made.append(Node(node.op, f'{node.name}.part{number}', [*parts, *values], [joined[-1]],
                         attributes))
    position = graph.nodes.index(node)
    graph.nodes[position:position + 1] = [*made, Node(
        'Concat', f'{node.name}.joined', joined, list(node.outputs), {'axis': 1})]
    graph.sweep()
    return True


def _parts_of(graph: Graph, name: str, makers: dict[str, Node]) -> list[str]:
    """
    Return the values that a value is the concatenation of, by their channels.

    A value that is of too many parts, or behind too many concatenations, stays whole: where each
    takes the one before it twice, a file of a kilobyte is of more parts than any memory holds.
    """
    parts: list[str] = []
    left = [name]
    for _ in range(_MOST_JOINED):
        if not left:
            return parts if len(parts) <= _MOST_PARTS else [name]
        source = left.pop()
        maker = makers.get(source)
        if maker is None or maker.op != 'Concat' or maker.attributes.get('axis') not in (1, -3):
            parts.append(source)
        else:
            left.extend(reversed(maker.inputs))
    return [name]


def _join_slices(graph: Graph, shapes: dict[str, tuple[int, ...]]) -> None:
    """Make a split of slices that between them take each channel once."""
    for name in {node.inputs[0] for node in graph.nodes if node.op == 'Slice'}:
        users = [node for node in graph.nodes if name in node.inputs]
        parts = sorted(
            (part, number) for number, part in enumerate(
                _channels_of(graph, node, shapes[name]) for node in users) if part is not None)
        ends = [0, *(end for (_, end), _ in parts)]
        if (len(parts) < 2 or len(parts) != len(users) or ends[-1] != shapes[name][1]
                or [start for (start, _), _ in parts] != ends[:-1] or name in graph.outputs):
            continue
        slices = [users[number] for _, number in parts]
        sizes = np.array([end - start for (start, end), _ in parts], np.int64)
        split = Node('Split', slices[0].name, [name, _insert(graph, 'sizes', sizes)],
                     [node.outputs[0] for node in slices], {'axis': 1})
        position = min(graph.nodes.index(node) for node in slices)
        graph.nodes[position] = split
        graph.nodes = [node for node in graph.nodes if node not in slices]


def _channels_of(graph: Graph, node: Node, shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Return the first and last channel but one that a slice of maps takes, if it is one."""
    attributes = [node.attributes.get(name) for name in ('starts', 'ends', 'axes')]
    lists = [list(value) if value is not None
             else list(map(int, graph.constants.get(source, np.zeros(0)).reshape(-1)))
             for value, source in zip(attributes, [*node.inputs[1:4], '', '', ''], strict=False)]
    steps = graph.constants.get(node.inputs[4]) if len(node.inputs) > 4 else None
    if (node.op != 'Slice' or len(shape) != 4 or lists[2] != [1] or len(lists[0]) != 1
            or len(lists[1]) != 1 or steps is not None and list(steps.reshape(-1)) != [1]):
        return None
    first, last, _ = slice(lists[0][0], lists[1][0]).indices(shape[1])
    return first, last


def _divide_before_splits(graph: Graph, shapes: dict[str, tuple[int, ...]]) -> None:
    """
    Put two convolutions in the place of one whose channels are then divided.

    Channels on either side of a split could otherwise not be taken out. Between convolution and
    split there may be activations, which each part then has its own of.
    """
    for node in list(graph.nodes):
        if node.op != 'Split' or len(shapes[node.inputs[0]]) != 4:
            continue
        axis = node.attributes.get('axis', 0) % 4
        chain = _chain_to_convolution(graph, node.inputs[0])
        if axis != 1 or chain is None:
            continue
        convolution, *between = chain
        sizes = [shapes[name][1] for name in node.outputs]
        position, made = graph.nodes.index(node), []
        ends = np.cumsum(sizes)
        for part, (output, end) in enumerate(zip(node.outputs, ends, strict=True)):
            rows = slice(int(end) - sizes[part], int(end))
            stem = f'{_path(convolution.inputs[1], convolution)}.part{part}'
            weights = [_insert(graph, f'{stem}.{kind}', graph.constants[name][rows])
                       for kind, name in zip(('weight', 'bias'), convolution.inputs[1:],
                                             strict=False) if name]
            renamed = {name: graph.fresh(f'{name}.part{part}')
                       for item in chain for name in item.outputs}
            renamed[node.inputs[0]] = output
            made.append(Node('Conv', f'{convolution.name}.part{part}',
                             [convolution.inputs[0], *weights],
                             [renamed[convolution.outputs[0]]], dict(convolution.attributes)))
            for item in between:
                made.append(Node(
                    item.op, f'{item.name}.part{part}',
                    [renamed.get(name, name) for name in item.inputs],
                    [renamed[name] for name in item.outputs], dict(item.attributes)))
        gone = [node, *chain]
        graph.nodes[position:position] = made
        graph.nodes = [item for item in graph.nodes if item not in gone]


def _chain_to_convolution(graph: Graph, name: str) -> list[Node] | None:
    """Return the convolution that makes a value, and the activations between, if nothing else."""
    makers, uses = graph.makers(), graph.uses()
    found: list[Node] = []
    wanted = [name]
    while wanted:
        maker = makers.get(wanted.pop())
        if maker is None:
            return None
        if maker in found:
            continue
        found.append(maker)
        if maker.op == 'Conv':
            continue
        if maker.op == 'Mul':  # by its own sigmoid
            wanted += maker.inputs
        elif maker.op in _ELEMENTWISE:
            wanted.append(maker.inputs[0])
        else:
            return None
    chain = [node for node in graph.nodes if node in found]
    layers = [node for node in chain if node.op == 'Conv']
    if len(layers) != 1 or layers[0].attributes.get('group', 1) != 1:
        return None
    own = {output for node in chain for output in node.outputs}
    taken = sum(item in own for node in chain for item in node.inputs)
    # All that takes a value of the chain is in the chain, but for the split itself.
    if sum(uses[output] for output in own) != taken + 1 or uses[layers[0].inputs[1]] != 1:
        return None
    return [layers[0], *(node for node in chain if node is not layers[0])]


def _normalise_channels(graph: Graph, shapes: dict[str, tuple[int, ...]]) -> None:
    """
    Make a normalisation of what still multiplies or adds a number of each channel.

    A constant of as many numbers as there are channels would stay behind when channels go; a
    normalisation of mean 0 and variance 1 is a layer that goes with them.
    """
    for node in graph.nodes:
        if node.op not in ('Add', 'Sub', 'Mul', 'Div') or len(node.inputs) != 2:
            continue
        constants = [name for name in node.inputs if name in graph.constants]
        if len(constants) != 1 or graph.constants[constants[0]].size == 1:
            continue
        source = _other(node, constants[0])
        shape = shapes.get(node.outputs[0], ())
        if len(shape) != 4 or shapes.get(source) != shape:
            continue
        change = _change(graph, node, source, shape[1], False)
        if change is None:
            continue
        base = _base(constants[0])
        zeros, ones = np.zeros(shape[1], np.float32), np.ones(shape[1], np.float32)
        factor, offset = change
        node.op, node.attributes = 'BatchNormalization', {'epsilon': _EPSILON}
        node.inputs = [source, *(
            _insert(graph, f'{base}.{name}', value.astype(np.float32)) for name, value in zip(
                _PARAMETERS['BatchNormalization'],
                (factor * np.sqrt(1 + _EPSILON), offset, zeros, ones), strict=True))]


# ---- names


def _name_weights(graph: Graph) -> dict[str, Array]:
    """
    Make weights of the constants that are a layer's, and return them by their names in torch.

    Nodes that share their constants and are alike share a layer; those that are not get one each.
    All other values are numbered, so that none has the name of a weight.
    """
    weights: dict[str, Array] = {}
    constants: dict[str, Array] = {}
    shared: dict[tuple[str, ...], str] = {}
    numbered: dict[str, str] = {}

    def number(name: str) -> str:
        new = numbered.setdefault(name, f'{len(numbered)}') if name else ''
        if name in graph.constants:
            constants[new] = graph.constants[name]
        return new

    graph.image = number(graph.image)
    for node in graph.nodes:
        parameters = _PARAMETERS.get(node.op)
        first, own = number(node.inputs[0]) if node.inputs else '', node.inputs[1:]
        if parameters and own and all(name in graph.constants for name in own if name):
            alike = (node.op, *own, repr(sorted(node.attributes.items())))
            path = shared.get(alike)
            if path is None:
                path = shared[alike] = _free(_path(own[0], node), set(shared.values()))
                weights |= {f'{path}.{parameter}': graph.constants[name]
                            for parameter, name in zip(parameters, own, strict=False) if name}
            own = [f'{path}.{parameter}' if name else ''
                   for parameter, name in zip(parameters, own, strict=False)]
        else:
            own = [number(name) for name in own]
        node.inputs = [first, *own] if node.inputs else []
        node.outputs = [number(name) for name in node.outputs]
    graph.outputs = [number(name) for name in graph.outputs]
    graph.constants = constants
    graph.weights = {name: value.shape for name, value in weights.items()}
    return weights


def _path(weight: str, node: Node) -> str:
    """Return where a layer stands in the module, by the name of its weight or of its node."""
    name = re.sub(r'(\.\d+)*$', '', weight)
    if re.search(r'[.:/](weight|kernel|gamma|scale)(:0)?$', name):
        name = re.sub(r'[.:/](weight|kernel|gamma|scale)(:0)?$', '', name)
    elif '::' in name or not re.search('[A-Za-z]', name):
        *path, last = node.name.split('/')
        # torch's older exporter says layer1/layer1.0/layer1.0.conv/Conv of layer1.0.conv.
        path = [part for part, after in zip(path, [*path[1:], ''], strict=True)
                if not after.startswith(f'{part}.')]
        name = '/'.join(path) if path and re.sub(r'_\d+$', '', last) in OPERATORS else node.name
    name = re.sub(r'[^\w./]', '_', name).replace('/', '.')
    parts = [part for part in name.split('.') if part]
    # A path must not be mistaken for what a module has by itself.
    return '.'.join(f'{part}_' if part in _TAKEN or part.startswith('constant_') else part
                    for part in parts) or 'layer'


def _free(path: str, taken: set[str]) -> str:
    """Return a path that is neither taken nor above or below one that is."""
    def clashes(name: str) -> bool:
        return any(name == other or other.startswith(f'{name}.') or name.startswith(f'{other}.')
                   for other in taken)

    number, found = 1, path
    while clashes(found):
        number += 1
        found = f'{path}_{number}'
        if any(path.startswith(f'{other}.') for other in taken):
            path = path.replace('.', '_')
            found = path
    return found
