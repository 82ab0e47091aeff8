# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Which layer of the network each node of an exported graph belongs to.

Engines fuse nodes and make up names for the result: from the first node's, from the last node's,
or from the tensor that comes out. So a copy of the graph is made in which every node and every
tensor carries the node's number; whatever name the engine builds of them, the number is found.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
import re

import onnx

# With weights of their own, and in which input these are.
_WEIGHTED = {'Conv': 1, 'ConvTranspose': 1, 'ConvInteger': 1, 'Gemm': 1, 'MatMul': 1,
             'QLinearConv': 3}
# Between a stored weight and the node that uses it; an engine folds them when it loads the graph.
_ON_THE_WAY = frozenset((
    'Cast', 'Identity', 'Transpose', 'Reshape', 'Squeeze', 'Unsqueeze', 'DequantizeLinear'))
# What an engine applies on the way out of the layer before.
_FOLLOWERS = frozenset((
    'Add', 'BatchNormalization', 'Celu', 'Clip', 'Elu', 'Gelu', 'HardSigmoid', 'HardSwish',
    'LeakyRelu', 'Mish', 'Mul', 'PRelu', 'Relu', 'Selu', 'Sigmoid', 'Softplus', 'Sub', 'Tanh'))

_MARK = re.compile(r'pp\.(\d+)\.')
# `module.` is the wrapper that networks are exported in.
_WEIGHT = re.compile(r'(?:module\.)?(.+?)\.weight(?:\W.*|_.*)?')


@dataclass(frozen=True)
class NumberedGraph:
    """
    A graph whose names carry the number of their node.

    :param model: in ONNX's own format.
    :param layers: module path of each node, None for a node that belongs to no layer.
    :param operators: of each node.
    """

    model: bytes
    layers: tuple[str | None, ...]
    operators: tuple[str, ...]

    def owner(self, name: str) -> str | None:
        """Return the layer that an engine's name of a node belongs to, or None."""
        mark = _MARK.search(name)
        return None if mark is None else self.layers[int(mark[1])]

    def order(self) -> list[str]:
        """Return the layers in the order of the graph, each once."""
        return list(dict.fromkeys(layer for layer in self.layers if layer is not None))


def number_graph(model: bytes) -> NumberedGraph:
    """
    Return a graph with numbered names, and whose layer each node is.

    :param model: an ONNX model in one piece.
    """
    proto = onnx.load_model_from_string(model)
    layers = _owners(proto.graph)
    operators = tuple(node.op_type for node in proto.graph.node)
    _rename(proto.graph)
    return NumberedGraph(proto.SerializeToString(), tuple(layers), operators)


def _owners(graph: 'onnx.GraphProto') -> list[str | None]:
    makers = {name: index for index, node in enumerate(graph.node) for name in node.output}
    stored = {tensor.name for tensor in graph.initializer}
    readers = Counter(name for node in graph.node for name in node.input)
    readers.update(output.name for output in graph.output)

    def source(name: str) -> str | None:
        """Return the stored tensor that a value is made of, or None for a map."""
        while name not in stored:
            maker = graph.node[makers[name]] if name in makers else None
            if maker is None or maker.op_type not in _ON_THE_WAY:
                return None
            name = maker.input[0]
        return name

    owners: list[str | None] = []
    for node in graph.node:
        owner = None
        if node.op_type in _WEIGHTED and len(node.input) > _WEIGHTED[node.op_type]:
            owner = _layer_of(source(node.input[_WEIGHTED[node.op_type]]))
        elif node.op_type in _FOLLOWERS:
            maps = [name for name in node.input if name and source(name) is None]
            if len(maps) == 1 and readers[maps[0]] == 1 and maps[0] in makers:
                owner = owners[makers[maps[0]]]
        owners.append(owner)
    return owners


def _layer_of(weight: str | None) -> str | None:
    found = None if weight is None else _WEIGHT.fullmatch(weight)
    return None if found is None else found[1]


def _rename(graph: 'onnx.GraphProto') -> None:
    names: dict[str, str] = {}
    for index, node in enumerate(graph.node):
        node.name = f'pp.{index}.'
        # A body of a loop sees outer values by their names; those of such graphs are left alone.
        if not _has_bodies(graph.node):
            for place, name in enumerate(node.output):
                if name:
                    names[name] = f'pp.{index}.{place or ""}'
    for node in graph.node:
        _replace(node.input, names)
        _replace(node.output, names)
    for value in (*graph.output, *graph.value_info):
        value.name = names.get(value.name, value.name)


def _has_bodies(nodes: Iterable['onnx.NodeProto']) -> bool:
    return any(attribute.HasField('g') or attribute.graphs
               for node in nodes for attribute in node.attribute)


def _replace(fields: list[str], names: dict[str, str]) -> None:
    for place, name in enumerate(fields):
        fields[place] = names.get(name, name)
