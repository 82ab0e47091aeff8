# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Read a TensorFlow.js graph model: its nodes, its weights, its convolutions.

Such a model is a JSON file with the graph and a manifest of the weights, and binary files in
which the weights lie one after the other, little-endian. Format:
https://github.com/tensorflow/tfjs/tree/master/tfjs-converter
"""

from collections.abc import Mapping
from dataclasses import dataclass
import hashlib
import json
import math
from pathlib import Path
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_perception.networks.beside import file_beside, opened

_TYPES = {'float32': '<f4', 'float16': '<f2', 'int32': '<i4', 'bool': '?', 'uint8': 'u1',
          'uint16': '<u2'}
_MOST_BYTES = 2 << 30  # of all weights, as of an ONNX file
_LARGEST = 64 << 20  # bytes of the JSON


# What reading raises where a value is missing or of another kind than it should be.
NOT_A_GRAPH = (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError)


class GraphModelError(ValueError):
    """A model that cannot be read; the message names the file and the reason."""


@dataclass(frozen=True)
class GraphModel:
    """
    What a model's files hold.

    :param nodes: by their names, as they stand in the JSON.
    :param weights: by their names, in the types that the files store.
    :param signature: what the model's maker called its inputs and outputs; may be empty.
    :param digest: SHA-256 of the JSON file.
    """

    nodes: Mapping[str, Any]
    weights: Mapping[str, NDArray[Any]]
    signature: Mapping[str, Any]
    digest: str


@dataclass(frozen=True)
class Convolution:
    """
    A convolution of the graph.

    :param name: in the graph.
    :param weight: (out, in, height, width), in the type that the file stores.
    :param bias: (out,).
    """

    name: str
    weight: NDArray[Any]
    bias: NDArray[Any]


def read_graph(model: Path) -> GraphModel:
    """
    Read a graph model; nothing of it is run.

    :param model: the JSON file; the weights are read from its folder.
    :raises GraphModelError: the file, and what is wrong with it.
    """
    try:
        with opened(model) as (file, size):
            if size > _LARGEST:
                raise GraphModelError(f'{model}: larger than {_LARGEST >> 20} MiB, not a graph')
            data = file.read(size)
        content = _json(model, data)
        nodes = {str(node['name']): node for node in content['modelTopology']['node']}
        weights = read_weights(model, content['weightsManifest'])
        return GraphModel(nodes, weights, content.get('signature') or {},
                          hashlib.sha256(data).hexdigest())
    except OSError as error:
        raise GraphModelError(f'{model}: {(error.strerror or str(error)).lower()}') from error
    except GraphModelError:
        raise
    except NOT_A_GRAPH as error:
        raise GraphModelError(reason_of(model, error)) from error


def _json(model: Path, text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise GraphModelError(f'{model}: not JSON: {error}') from error


def reason_of(model: Path, error: Exception) -> str:
    """Return the line on content that a reader stumbled over."""
    return f'{model}: not a TensorFlow.js graph model: {type(error).__name__}: {error}'


def read_convolutions(model: Path) -> tuple[Convolution, ...]:
    """
    Return the ordinary convolutions of a graph model, in the order of the network.

    The converter lists the nodes in an order in which they can be computed, and numbers those of
    one kind as the network was traced (``convolution``, ``convolution_1``, …): parallel branches
    can be listed in any order, so the number decides.

    :param model: the JSON file; the weights are read from its folder.
    :raises GraphModelError: the file, and what is wrong with it.
    """
    graph = read_graph(model)
    try:
        return _convolutions(model, graph)
    except GraphModelError:
        raise
    except NOT_A_GRAPH as error:
        raise GraphModelError(reason_of(model, error)) from error


def _convolutions(model: Path, graph: GraphModel) -> tuple[Convolution, ...]:
    names = [name for name, node in graph.nodes.items() if node['op'] == 'Conv2D']
    if not names:
        raise GraphModelError(f'{model}: has no convolution')
    return tuple(_convolution(model, graph, name)
                 for name in sorted(names, key=_number))


def _number(name: str) -> int:
    suffix = re.search(r'_(\d+)$', name)
    return int(suffix[1]) if suffix else 0


def _convolution(model: Path, graph: GraphModel, name: str) -> Convolution:
    nodes, weights = graph.nodes, graph.weights
    kernel = weights.get(nodes[name]['input'][1])
    if kernel is None or kernel.ndim != 4:
        raise GraphModelError(f'{model}: {name} has no constant kernel of four dimensions')
    for node in nodes.values():
        if node['op'] in ('Add', 'AddV2', 'BiasAdd') and name in node['input']:
            bias = next((weights[item] for item in node['input'] if item in weights), None)
            if bias is not None and bias.shape == kernel.shape[3:]:
                return Convolution(name, kernel.transpose(3, 2, 0, 1), bias)
    raise GraphModelError(
        f'{model}: {name} is not followed by the addition of {kernel.shape[3]} biases')


def read_weights(model: Path, manifest: list[dict[str, Any]]) -> dict[str, NDArray[Any]]:
    """
    Return the weights that a manifest lists, by their names.

    A file is opened if it lies in the folder of the model, is an ordinary one, and has as many
    bytes as the manifest says.

    :param model: the JSON file, in whose folder the files of the manifest lie.
    :raises GraphModelError: the file, and what is wrong with it.
    """
    weights = {}
    declared = [_declared(model, group['weights']) for group in manifest]
    wanted = sum(one.size for group in declared for one in group)
    if wanted > _MOST_BYTES:
        raise GraphModelError(f'{model}: declares weights of {wanted} bytes; at most '
                              f'{_MOST_BYTES} are read')
    for group, entries in zip(manifest, declared, strict=True):
        data = _bytes(model, group['paths'], entries)
        offset = 0
        for entry in entries:
            weights[entry.name] = np.frombuffer(
                data, entry.dtype, math.prod(entry.shape), offset).reshape(entry.shape)
            offset += entry.size
    return weights


@dataclass(frozen=True)
class _Entry:
    """A weight as the manifest declares it."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def _declared(model: Path, entries: list[dict[str, Any]]) -> list[_Entry]:
    found = []
    for entry in entries:
        # Weights quantised to float16 need no scale; the other kinds do.
        stored = entry.get('quantization', entry)['dtype']
        if stored not in _TYPES or 'scale' in entry.get('quantization', {}):
            raise GraphModelError(
                f'{model}: weight {entry["name"]} is stored as {stored} with a scale or of '
                'an unknown kind; float16, float32 and integers are read')
        shape = tuple(entry['shape'])
        if not all(type(side) is int and side >= 0 for side in shape):
            raise GraphModelError(
                f'{model}: weight {entry["name"]} has a side that is no number of elements: '
                f'{list(shape)}')
        found.append(_Entry(entry['name'], np.dtype(_TYPES[stored]), shape))
    return found


def _size(file: Path) -> int:
    with opened(file) as (_, size):
        return size


def _start(file: Path, size: int) -> bytes:
    """Return so many bytes, however long the file has become."""
    with opened(file) as (content, _):
        return content.read(size)


def _bytes(model: Path, names: list[str], entries: list[_Entry]) -> bytes:
    """Return what the files of a group hold together, which is what its weights take."""
    try:
        files = [file_beside(model, name) for name in names]
    except ValueError as error:
        raise GraphModelError(f'{model}: weights lie in {error}') from error
    shown = model.parent / ', '.join(names)
    try:
        sizes = [_size(file) for file in files]
        given, end = sum(sizes), 0
        for entry in entries:
            end += entry.size
            if end > given:
                raise GraphModelError(
                    f'{shown}: ends within {entry.name}, after {given} bytes; it is incomplete')
        if end != given:
            raise GraphModelError(f'{shown}: has {given} bytes, {model.name} accounts for {end}; '
                                  'they do not belong together')
        return b''.join(_start(file, size) for file, size in zip(files, sizes, strict=True))
    except OSError as error:
        raise GraphModelError(
            f'{error.filename}: {(error.strerror or str(error)).lower()}, though '
            f'{model.name} names it') from error
