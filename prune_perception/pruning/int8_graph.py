# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
A graph that computes in integers of 8 bits: ONNX Runtime's static quantisation.

A weight *w* of output channel *c* becomes ``round(w / s[c])``, a value *x* of a map
``round(x / s) + z``: one scale for each channel of the weights, one scale and zero point for each
map (Jacob et al., *Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference*, CVPR 2018; Krishnamoorthi, 2018, for weights by channel). The
range of a map is that which is seen on some images. In the graph this is written as pairs of
``QuantizeLinear`` and ``DequantizeLinear``, operators of ONNX itself, which ONNX Runtime and
OpenVINO both turn into arithmetic on integers.
"""

from collections.abc import Iterator, Sequence
import contextlib
from dataclasses import dataclass
import io
import logging
import os
from pathlib import Path
import tempfile
import warnings

import numpy as np
from numpy.typing import NDArray
import onnx

from prune_perception.calibration.node_names import number_graph

# ONNX Runtime reads this once, when it is imported: it must not report its use.
os.environ['ORT_DISABLE_TELEMETRY'] = '1'

import onnxruntime
from onnxruntime.quantization import (
    CalibrationMethod,
    QuantFormat,
    quantize_static,
    QuantType,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

Images = NDArray[np.uint8]

BITS = 8
_WEIGHTED = frozenset(('Conv', 'ConvTranspose', 'Gemm', 'MatMul'))
_MOST_MESSAGE = 300  # characters of the quantiser's own words


class QuantisationError(ValueError):
    """A graph that cannot be quantised; one line that says why."""


@dataclass(frozen=True, eq=False)
class FloatGraph:
    """
    A graph that is ready to be quantised: weights in float32, constants folded.

    :param model: in ONNX's own format.
    :param last: names of its last nodes: the last ones with weights on each way to an output,
        and all behind them.
    :param last_layers: the layers of the network that the last nodes with weights belong to.
    :param others: whether any node with weights comes before the last.
    """

    model: bytes
    last: tuple[str, ...]
    last_layers: tuple[str, ...]
    others: bool


def prepare(graph: bytes) -> FloatGraph:
    """
    Return a bundle's graph as the quantiser takes it.

    :raises QuantisationError: it is quantised already, or cannot be prepared.
    """
    with in_words('read'):
        nodes = onnx.load_model_from_string(graph).graph.node
    if any(node.op_type in ('QuantizeLinear', 'DynamicQuantizeLinear', 'DequantizeLinear')
           for node in nodes):
        raise QuantisationError(
            'is quantised already; give the bundle that it was made from, which computes in float')
    with in_words('prepare'), tempfile.TemporaryDirectory() as scratch, quiet():
        plain, ready = Path(scratch) / 'plain.onnx', Path(scratch) / 'ready.onnx'
        plain.write_bytes(graph)
        # Its own inference of shapes is for sizes that are not known; here all are.
        quant_pre_process(str(plain), str(ready), skip_symbolic_shape=True)
        model = onnx.load(str(ready))
    for place, node in enumerate(model.graph.node):
        node.name = node.name or f'unnamed_{place}'
    last = _last_nodes(model.graph)
    data: bytes = model.SerializeToString(deterministic=True)
    layers = number_graph(data).layers
    return FloatGraph(
        data, tuple(model.graph.node[place].name for place in last),
        tuple(dict.fromkeys(
            layer for place in last if (layer := layers[place]) is not None)),
        any(node.op_type in _WEIGHTED and place not in last
            for place, node in enumerate(model.graph.node)))


def quantised_graph(
        graph: FloatGraph, images: Images, *, keep: Sequence[str] = (),
        reduced_range: bool = False) -> bytes:
    """
    Return a graph that computes in integers: the same bytes for the same input.

    :param images: uint8 (n, height, width, 3), as the graph is fed, that show which values occur.
    :param keep: names of the nodes that go on computing in float.
    :param reduced_range: weights of 7 bits, for processors whose sums of 16 bits overflow.
    :raises QuantisationError: the quantiser cannot do it.
    """
    with in_words('quantise'), tempfile.TemporaryDirectory() as scratch, quiet():
        plain, result = Path(scratch) / 'plain.onnx', Path(scratch) / 'quantised.onnx'
        plain.write_bytes(graph.model)
        name = onnx.load_model_from_string(graph.model).graph.input[0].name
        quantize_static(
            str(plain), str(result), _Reader(name, images), quant_format=QuantFormat.QDQ,
            per_channel=True, reduce_range=reduced_range, activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8, nodes_to_exclude=list(keep),
            calibrate_method=CalibrationMethod.MinMax)
        model = onnx.load(str(result))
    return finished(model)


def finished(model: 'onnx.ModelProto') -> bytes:
    """
    Return a quantiser's graph as a bundle keeps it.

    :raises QuantisationError: nothing of it computes in integers.
    """
    if not any(node.op_type == 'QuantizeLinear' for node in model.graph.node):
        raise QuantisationError('has no layer that can compute in integers')
    del model.metadata_props[:]
    del model.graph.value_info[:]
    # The tools name every domain that they know, and not every engine knows them.
    used = {node.domain for node in model.graph.node}
    kept = [domain for domain in model.opset_import if domain.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def layers_in_float(graph: FloatGraph, quantised: bytes) -> tuple[str, ...]:
    """Return the layers whose weights are in float in a quantised graph, in the graph's order."""
    after = onnx.load_model_from_string(quantised).graph
    stored = {tensor.name for tensor in after.initializer}
    plain = {node.name for node in after.node
             if node.op_type in _WEIGHTED and len(node.input) > 1 and node.input[1] in stored}
    before = onnx.load_model_from_string(graph.model).graph
    layers = number_graph(graph.model).layers
    return tuple(dict.fromkeys(
        layer for node, layer in zip(before.node, layers, strict=True)
        if layer is not None and node.name in plain))


def spread(images: Images, count: int) -> Images:
    """Return some of the images, evenly spread, or all if there are no more."""
    if len(images) <= count:
        return images
    return images[np.linspace(0, len(images) - 1, count).astype(int)]


class _Reader:
    """Gives the calibration one image after the other, as ONNX Runtime asks for them."""

    def __init__(self, name: str, images: Images) -> None:
        self._name = name
        self._images = iter(images)

    def get_next(self) -> dict[str, Images] | None:
        """Return the next input, or None at the end."""
        image = next(self._images, None)
        return None if image is None else {self._name: np.ascontiguousarray(image[None])}


def _last_nodes(graph: 'onnx.GraphProto') -> list[int]:
    """Return the places of the last nodes, against the order of execution from each output."""
    makers = {name: place for place, node in enumerate(graph.node) for name in node.output}
    found: set[int] = set()
    ahead = [output.name for output in graph.output]
    while ahead:
        place = makers.get(ahead.pop())
        if place is None or place in found:
            continue
        found.add(place)
        if graph.node[place].op_type not in _WEIGHTED:
            ahead += graph.node[place].input
    return sorted(found)


@contextlib.contextmanager
def in_words(verb: str, tool: str = f'ONNX Runtime {onnxruntime.__version__}') -> Iterator[None]:
    """Turn whatever ONNX and its tools raise, which share no class, into a line."""
    try:
        yield
    except Exception as error:
        words = ' '.join(str(error).split())[:_MOST_MESSAGE]
        raise QuantisationError(
            f'{tool} cannot {verb} it: {words}') from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep back what the quantiser tells of its ways."""
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.getLogger().setLevel(level)
