# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""An ONNX graph as plain values: nodes in an order in which they can be computed."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(eq=False)
class Node:
    """
    One operation.

    :param op: name of the operator; those that ONNX does not have are this package's own.
    :param name: of the node, for people.
    :param inputs: names of values; an empty one stands for an optional input that is left out.
    :param attributes: numbers, texts, lists of them, and arrays.
    """

    op: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class Graph:
    """
    A network with one input, the image.

    :param image: name of the input.
    :param image_shape: its sizes; batch 1.
    :param outputs: names of the values that come out.
    :param nodes: in an order in which they can be computed.
    :param constants: values that are known.
    :param weights: shapes of values that a weights file holds: constants left out.
    :param opset: version of ONNX's operators.
    """

    image: str
    image_shape: tuple[int, ...]
    outputs: list[str]
    nodes: list[Node]
    constants: dict[str, Array]
    weights: dict[str, tuple[int, ...]] = field(default_factory=dict)
    opset: int = 18

    def uses(self) -> Counter[str]:
        """Return how often each value is taken, by a node or as an output."""
        uses = Counter(self.outputs)
        for node in self.nodes:
            uses.update(filter(None, node.inputs))
        return uses

    def makers(self) -> dict[str, Node]:
        """Return the node that makes each value."""
        return {name: node for node in self.nodes for name in node.outputs}

    def rename(self, old: str, new: str) -> None:
        """Let all that take one value take another."""
        for node in self.nodes:
            node.inputs = [new if name == old else name for name in node.inputs]
        self.outputs = [new if name == old else name for name in self.outputs]

    def sweep(self) -> None:
        """Take out what no output needs."""
        needed = set(self.outputs)
        kept = []
        for node in reversed(self.nodes):
            if needed.intersection(node.outputs):
                needed.update(filter(None, node.inputs))
                kept.append(node)
        self.nodes = kept[::-1]
        self.constants = {name: value for name, value in self.constants.items()
                          if name in needed}
        self.weights = {name: shape for name, shape in self.weights.items() if name in needed}

    def fresh(self, name: str) -> str:
        """Return a name that no value has, like the one that is given."""
        taken = {self.image, *self.constants, *self.weights, *self.outputs}
        for node in self.nodes:
            taken.update(node.inputs, node.outputs)
        number, found = 0, name
        while found in taken:
            number += 1
            found = f'{name}.{number}'
        return found


def count_operators(nodes: Collection[Node], known: Mapping[str, object]) -> str:
    """Return the operators that are not known, and how often each occurs, for people."""
    strange = Counter(node.op for node in nodes if node.op not in known)
    return ', '.join(op if count == 1 else f'{op} ({count} times)'
                     for op, count in sorted(strange.items()))


def as_float32(value: Array) -> Array:
    """Return floating point numbers as float32, and all else as it is."""
    if value.dtype.kind in 'fV':  # V: bfloat16, which NumPy does not know by itself
        return value.astype(np.float32, copy=False)
    return value
