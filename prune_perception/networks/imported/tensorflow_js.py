# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Read the graph of a TensorFlow.js model as if it were an ONNX file.

TensorFlow keeps the channels of maps last; here they come first, as in ONNX: convolutions get
their weights turned and axes of four are moved, so that no transposition is needed. Padding,
fused additions and activations are those of TensorFlow's kernels
(https://www.tensorflow.org/api_docs/python/tf/raw_ops).
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import numpy as np

from prune_perception.bundle import BundleError
from prune_perception.networks.imported.graph import Array, as_float32, Graph, Node
from prune_perception.networks.imported.onnx_file import Declared, OnnxFile
from prune_perception.networks.tfjs import (
    GraphModelError,
    NOT_A_GRAPH,
    read_graph,
    reason_of,
)

_PLAIN = {
    'Add': 'Add', 'AddV2': 'Add', 'BiasAdd': 'Add', 'Sub': 'Sub', 'Mul': 'Mul', 'RealDiv': 'Div',
    'Maximum': 'Max', 'Minimum': 'Min', 'Relu': 'Relu', 'Sigmoid': 'Sigmoid', 'Tanh': 'Tanh',
    'Elu': 'Elu', 'Exp': 'Exp', 'Softplus': 'Softplus', 'Identity': 'Identity', 'Sqrt': 'Sqrt',
    'Rsqrt': 'Rsqrt', 'Neg': 'Neg'}
_FIRST = {0: 0, 1: 2, 2: 3, 3: 1}  # where an axis of maps goes
_ACTIVATIONS = ('Relu', 'Relu6', 'Elu', 'LeakyRelu')


def read_graph_model(path: Path) -> OnnxFile:
    """
    Read a graph model; nothing of it is run.

    :param path: of the JSON file; the weights are read from its folder.
    :raises BundleError: one line with the file and the reason.
    """
    try:
        model = read_graph(path)
        weights = {name: as_float32(value) for name, value in model.weights.items()}
        return replace(_Reader(path, model.nodes, weights).read(model.signature),
                       digest=model.digest)
    except GraphModelError as error:
        raise BundleError(str(error)) from error
    except BundleError:
        raise
    except NOT_A_GRAPH as error:
        raise BundleError(reason_of(path, error)) from error


class _Reader:

    def __init__(self, path: Path, nodes: Mapping[str, Any], weights: Mapping[str, Array]
                 ) -> None:
        self._path, self._nodes, self._weights = path, nodes, weights
        self._made: list[Node] = []
        self._constants: dict[str, Array] = {}

    def read(self, signature: Mapping[str, Any]) -> OnnxFile:
        inputs = [name for name, node in self._nodes.items() if node['op'] == 'Placeholder']
        if not inputs:
            raise BundleError(f'{self._path}: has no input')
        for name in self._in_order():
            node = self._nodes[name]
            if node['op'] not in ('Const', 'Placeholder', 'NoOp'):
                self._read_node(name, node)
        taken = {_value(source) for node in self._nodes.values()
                 for source in node.get('input', ())}
        outputs = [item['name'].removesuffix(':0') for item in
                   (signature.get('outputs') or {}).values()]
        outputs = outputs or [name for name, node in self._nodes.items()
                              if name not in taken and node['op'] not in ('Const', 'NoOp')]
        graph = Graph(inputs[0], (), outputs, self._made, self._constants, opset=18)
        sides = [int(side['size']) for side in
                 self._nodes[inputs[0]]['attr']['shape']['shape']['dim']] if (
            'shape' in self._nodes[inputs[0]].get('attr', {})) else [-1, -1, -1, 3]
        batch, height, width, channels = (side if side > 0 else None for side in sides)
        return OnnxFile(
            self._path, graph,
            (Declared(inputs[0], (batch, channels, height, width), 'float32'),
             *(Declared(name, (), 'float32') for name in inputs[1:])),
            tuple(Declared(name, (), 'float32') for name in outputs), {})

    def _in_order(self) -> list[str]:
        """Return the nodes so that each comes after what it takes."""
        taken = {name: [_value(source).partition(':')[0] for source in node.get('input', ())]
                 for name, node in self._nodes.items()}
        try:
            return list(TopologicalSorter(taken).static_order())
        except CycleError as error:
            raise BundleError(f'{self._path}: nodes take each other in a circle: '
                              f'{", ".join(error.args[1][:4])}') from error

    def _read_node(self, name: str, node: Any) -> None:
        op, attributes = node['op'], _attributes(node.get('attr', {}))
        if attributes.get('data_format', 'NHWC') != 'NHWC':
            raise BundleError(f'{self._path}: node {name!r} works on {attributes["data_format"]}; '
                              'maps have their channels last in TensorFlow.js, NHWC')
        sources = [_value(source) for source in node.get('input', ())
                   if not source.startswith('^')]
        readers: dict[str, Callable[[str, list[str], dict[str, Any]], None]] = {
            'Mean': self._mean, 'ConcatV2': self._concatenate, 'MaxPool': self._pool,
            'AvgPool': self._pool, 'ResizeBilinear': self._resize,
            'ResizeNearestNeighbor': self._resize, 'Pad': self._pad, 'Cast': self._cast}
        if op in ('Conv2D', '_FusedConv2D', 'DepthwiseConv2dNative',
                  'FusedDepthwiseConv2dNative'):
            self._convolution(name, sources, attributes, 'Depthwise' in op)
        elif op in readers:
            attributes['op'] = op
            readers[op](name, sources, attributes)
        elif op == 'Relu6':
            self._relu6(name, sources[0])
        elif op == 'LeakyRelu':
            self._add('LeakyRelu', name, sources, {'alpha': attributes.get('alpha', 0.2)})
        else:
            self._add(_PLAIN.get(op, f'tensorflow.{op}'), name,
                      [self._plain(source) for source in sources])
            if op not in _PLAIN:  # of which nobody knows how many outputs it has
                self._made[-1].outputs += [f'{name}:{number}' for number in range(1, 4)]

    def _add(self, op: str, name: str, inputs: list[str],
             attributes: dict[str, Any] | None = None) -> None:
        self._made.append(Node(op, name, inputs, [name], attributes or {}))

    def _plain(self, source: str) -> str:
        """Return the name of a value beside maps: constants of channels stand last there."""
        value = self._weights.get(source)
        if value is None:
            return source
        if value.ndim > 4:
            raise BundleError(f'{self._path}: constant {source!r} has {value.ndim} axes; beside '
                              'maps, which have four, it can be no larger')
        if value.size > 1:  # TensorFlow puts the axes that are missing in front
            value = value.reshape(*[1] * (4 - value.ndim), *value.shape).transpose(0, 3, 1, 2)
        return self._constant(source, value)

    def _constant(self, name: str, value: Array) -> str:
        while name in self._constants and self._constants[name] is not value:
            name += '_'
        self._constants[name] = value
        return name

    def _weight(self, source: str) -> Array:
        if source not in self._weights:
            raise BundleError(f'{self._path}: {source!r} is computed; it must be a constant')
        return self._weights[source]

    def _convolution(self, name: str, sources: list[str], attributes: dict[str, Any],
                     depthwise: bool) -> None:
        kernel = self._weight(sources[1])  # height, width, inputs, outputs of each or of all
        group = 1
        if depthwise:
            height, width, channels, times = kernel.shape
            group = channels
            kernel = kernel.reshape(height, width, 1, channels * times)
        inputs = [sources[0], self._constant(
            f'{name.replace(":", "_")}/weight', np.array(kernel.transpose(3, 2, 0, 1)))]
        fused = attributes.get('fused_ops', [])
        if 'BiasAdd' in fused:
            inputs.append(self._constant(f'{name}/bias', self._weight(sources[2])))
        if set(fused) - {'BiasAdd', *_ACTIVATIONS}:
            raise BundleError(f'{self._path}: node {name!r} is fused with {fused}')
        after = next((item for item in fused if item in _ACTIVATIONS), '')
        made = f'{name}/before' if after else name
        self._add('Conv', made, inputs, {
            'group': group, 'dilations': attributes.get('dilations', [1, 1, 1, 1])[1:3],
            'kernel_shape': list(kernel.shape[:2]), **self._window(attributes)})
        if after == 'Relu6':
            self._relu6(name, made)
        elif after:
            self._add(after, name, [made], {'alpha': attributes['leakyrelu_alpha']} if (
                after == 'LeakyRelu' and 'leakyrelu_alpha' in attributes) else {})

    def _window(self, attributes: dict[str, Any]) -> dict[str, Any]:
        padding = attributes.get('padding', 'VALID')
        found: dict[str, Any] = {'strides': attributes['strides'][1:3]}
        if padding == 'EXPLICIT':
            pads = attributes['explicit_paddings']
            found['pads'] = [pads[2], pads[4], pads[3], pads[5]]
        else:
            found['auto_pad'] = 'SAME_UPPER' if padding == 'SAME' else 'VALID'
        return found

    def _relu6(self, name: str, source: str) -> None:
        least = self._constant(f'{name}/least', np.array(0, np.float32))
        most = self._constant(f'{name}/most', np.array(6, np.float32))
        self._add('Clip', name, [source, least, most])

    def _pool(self, name: str, sources: list[str], attributes: dict[str, Any]) -> None:
        self._add('MaxPool' if attributes['op'] == 'MaxPool' else 'AveragePool', name, sources, {
            'kernel_shape': attributes['ksize'][1:3], **self._window(attributes)})

    def _mean(self, name: str, sources: list[str], attributes: dict[str, Any]) -> None:
        axes = [_FIRST[int(axis) % 4] for axis in self._weight(sources[1]).reshape(-1)]
        if not attributes.get('keep_dims'):
            raise BundleError(f'{self._path}: node {name!r} takes axes away; maps are kept here')
        self._add('ReduceMean', name, [sources[0], self._constant(
            f'{name}/axes', np.array(axes, np.int64))], {'keepdims': 1})

    def _concatenate(self, name: str, sources: list[str], attributes: dict[str, Any]) -> None:
        axis = int(self._weight(sources[-1]).reshape(-1)[0]) % 4
        self._add('Concat', name, [self._plain(source) for source in sources[:-1]],
                  {'axis': _FIRST[axis]})

    def _pad(self, name: str, sources: list[str], attributes: dict[str, Any]) -> None:
        pads = self._weight(sources[1])[[0, 3, 1, 2]]
        self._add('Pad', name, [sources[0], self._constant(
            f'{name}/pads', pads.T.reshape(-1).astype(np.int64))])

    def _cast(self, name: str, sources: list[str], attributes: dict[str, Any]) -> None:
        # Images and maps are float32 throughout.
        to_float = attributes.get('DstT') == 'DT_FLOAT'
        self._add('Identity' if to_float else 'tensorflow.Cast', name, sources)

    def _factors(self, source: str, size: str) -> Array | None:
        """
        Return by how much a size is larger than that of a map: rows and columns.

        None where it is not ``shape(map)[1:3] * factors``, as Keras' UpSampling2D writes it.
        """
        product = self._nodes[size]
        if product['op'] != 'Mul':
            return None
        taken = [_value(name) for name in product['input']]
        factors = [self._weights[name] for name in taken if name in self._weights]
        sides = [self._nodes[name] for name in taken if name not in self._weights]
        if len(factors) != 1 or factors[0].size != 2 or sides[0]['op'] != 'StridedSlice':
            return None
        shape, *bounds = (_value(name) for name in sides[0]['input'])
        from_to = [int(self._weight(name).reshape(-1)[0]) for name in bounds]
        masks = _attributes(sides[0].get('attr', {}))
        masked = any(masks.get(f'{kind}_mask') for kind in (
            'begin', 'end', 'ellipsis', 'new_axis', 'shrink_axis'))
        if from_to != [1, 3, 1] or masked or self._nodes[shape]['op'] != 'Shape' \
                or _value(self._nodes[shape]['input'][0]) != source:
            return None
        return factors[0].reshape(-1).astype(np.float32)

    def _resize(self, name: str, sources: list[str], attributes: dict[str, Any]) -> None:
        nearest = attributes['op'] == 'ResizeNearestNeighbor'
        rule = 'asymmetric'
        if attributes.get('align_corners'):
            rule = 'align_corners'
        elif attributes.get('half_pixel_centers'):
            rule = 'tf_half_pixel_for_nn' if nearest else 'half_pixel'
        factors = self._factors(sources[0], sources[1])
        inputs = [sources[0], '']
        if factors is None:
            height, width = (int(side) for side in self._weight(sources[1]).reshape(-1))
            inputs += ['', self._constant(f'{name}/sizes', np.array([height, width], np.int64))]
        else:
            inputs.append(self._constant(f'{name}/scales', factors))
        self._add('Resize', name, inputs, {
            'axes': [2, 3], 'mode': 'nearest' if nearest else 'linear',
            'coordinate_transformation_mode': rule, 'nearest_mode': 'floor'})


def _value(source: str) -> str:
    return source.removeprefix('^').removesuffix(':0')


def _attributes(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes as plain values; texts are in base64."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if 'list' in value:
            items = value['list']
            found[name] = ([int(item) for item in items['i']] if 'i' in items else
                           [_text(item) for item in items.get('s', ())])
        elif 's' in value:
            found[name] = _text(value['s'])
        elif 'b' in value:
            found[name] = bool(value['b'])
        elif 'i' in value:
            found[name] = int(value['i'])
        elif 'f' in value:
            found[name] = float(value['f'])
        elif 'type' in value:
            found[name] = str(value['type'])
    return found


def _text(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return value
