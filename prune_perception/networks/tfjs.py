# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Read the convolutions of a TensorFlow.js graph model.

Such a model is a JSON file with the graph and a manifest of the weights, and binary files in
which the weights lie one after the other, little-endian. Format:
https://github.com/tensorflow/tfjs/tree/master/tfjs-converter
"""

from dataclasses import dataclass
import json
import math
from pathlib import Path
import re
import stat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_perception.networks.beside import file_beside

_TYPES = {'float32': '<f4', 'float16': '<f2', 'int32': '<i4', 'bool': '?', 'uint8': 'u1',
          'uint16': '<u2'}
_MOST_BYTES = 2 << 30  # of all weights, as of an ONNX file


class GraphModelError(ValueError):
    """A model that cannot be read; the message names the file and the reason."""


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


def read_convolutions(model: Path) -> tuple[Convolution, ...]:
    """
    Return the ordinary convolutions of a graph model, in the order of the network.

    The converter lists the nodes in an order in which they can be computed, and numbers those of
    one kind as the network was traced (``convolution``, ``convolution_1``, …): parallel branches
    can be listed in any order, so the number decides.

    :param model: the JSON file; the weights are read from its folder.
    :raises GraphModelError: the file, and what is wrong with it.
    """
    try:
        graph = json.loads(model.read_bytes())
    except OSError as error:
        raise GraphModelError(f'{model}: {(error.strerror or str(error)).lower()}') from error
    except ValueError as error:
        raise GraphModelError(f'{model}: not JSON: {error}') from error
    try:
        nodes = {node['name']: node for node in graph['modelTopology']['node']}
        manifest = graph['weightsManifest']
    except (KeyError, TypeError) as error:
        raise GraphModelError(
            f'{model}: not a TensorFlow.js graph model: {error} is missing') from error
    weights = read_weights(model, manifest)
    names = [name for name, node in nodes.items() if node['op'] == 'Conv2D']
    if not names:
        raise GraphModelError(f'{model}: has no convolution')
    return tuple(_convolution(model, nodes, weights, name)
                 for name in sorted(names, key=_number))


def _number(name: str) -> int:
    suffix = re.search(r'_(\d+)$', name)
    return int(suffix[1]) if suffix else 0


def _convolution(
        model: Path, nodes: dict[str, Any], weights: dict[str, NDArray[Any]], name: str
        ) -> Convolution:
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


def _bytes(model: Path, names: list[str], entries: list[_Entry]) -> bytes:
    """Return what the files of a group hold together, which is what its weights take."""
    try:
        files = [file_beside(model, name) for name in names]
    except ValueError as error:
        raise GraphModelError(f'{model}: weights lie in {error}') from error
    shown = model.parent / ', '.join(names)
    try:
        for file, name in zip(files, names, strict=True):
            if not stat.S_ISREG(file.stat().st_mode):
                raise GraphModelError(
                    f'{model.parent / name}: not a file, though {model.name} names it')
        sizes = [file.stat().st_size for file in files]
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


def _start(file: Path, size: int) -> bytes:
    """Return so many bytes, however long the file has become."""
    with file.open('rb') as opened:
        return opened.read(size)
