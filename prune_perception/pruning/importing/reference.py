# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
What ONNX Runtime computes of a file: what a network that was rebuilt of it is held against.

The file itself is run, not what this package read in it, so that a mistake of reading shows. Of
the file's model nothing is changed but where it ends: what comes after the outputs that were
chosen is left out, for ONNX Runtime may not know it, and weights of other files are in it as they
were read and checked: ONNX Runtime opens no file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, helper, ModelProto, shape_inference, TensorProto, ValueInfoProto

from prune_perception.bundle import BundleError
from prune_perception.networks.imported.graph import Array
from prune_perception.networks.imported.onnx_file import OnnxFile
from prune_perception.pruning.importing.comparison import (
    Divide,
    greatest_difference,
    TOLERANCE,
)

_ROUNDED = 5e-2  # of a field's largest number, by arithmetic in float16; more is no rounding
_MOST_BYTES = 2 << 30  # of a model in one piece, by protobuf
_HALVES = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
_READ = (AttributeProto.FLOAT, AttributeProto.INT, AttributeProto.STRING, AttributeProto.TENSOR,
         AttributeProto.FLOATS, AttributeProto.INTS, AttributeProto.STRINGS)


class NotRunError(ValueError):
    """ONNX Runtime cannot run a model; the message is its reason, in one line."""


@dataclass(frozen=True)
class Compared:
    """
    How far a network lies from what ONNX Runtime computes.

    :param difference: the greatest, as a share of a field's largest number.
    :param as_read: that it is to the graph as this package read it, not to the file itself.
    :param note: what there is to say of it, or empty.
    """

    difference: float
    as_read: bool = False
    note: str = ''


def compare(found: Sequence[Sequence[Array]], file: OnnxFile, layout: str,
            outputs: Sequence[str], read: bytes, images: Sequence[Array], fields: Divide
            ) -> Compared:
    """
    Hold the outputs of a network against what ONNX Runtime computes of its file.

    Files that compute in 16 bits do so less exactly than the network, which is in float32: it
    must be near to the file, and must compute what the graph as it was read does, in float32.
    Weights that are merely stored in 16 bits make no difference.

    :param found: outputs for each image.
    :param layout: of the file's input: ``nchw`` or ``nhwc``.
    :param outputs: names of these outputs in the file, where they may be any values.
    :param read: the graph as it was read, as an ONNX model of an input of float32, channels first.
    :param images: float32 (1, 3, height, width), as the network is fed with them; of an input of
        ``uint8`` they are whole numbers.
    :raises BundleError: it computes something else, or cannot be run; one line.
    """
    note, rounded = '', None
    try:
        expected, half = run_file(file, layout, outputs, images)
    except NotRunError as error:
        note = (f'ONNX Runtime does not run the file itself ({error}); compared with the graph as '
                'it was read, a mistake of reading would not show')
    else:
        difference = greatest_difference(found, expected, fields)
        if difference <= TOLERANCE:
            return Compared(difference)
        if not half or not difference <= _ROUNDED:
            raise BundleError(_refusal(file.path, difference, 'the file') + (
                '. The file computes in 16 bits: export it in float32' if half else ''))
        rounded = difference
    try:
        expected = run_model(read, None, outputs, images)
    except NotRunError as error:
        raise BundleError(f'{file.path}: ONNX Runtime cannot run it: {error}') from error
    difference = greatest_difference(found, expected, fields)
    if difference > TOLERANCE:
        raise BundleError(_refusal(file.path, difference, 'the graph as it was read'))
    if rounded is None:
        return Compared(difference, True, note)
    return Compared(rounded, False, (
        f'the file computes in 16 bits, the bundle in float32; from the same graph in float32 '
        f'outputs differ by {difference:.1e}'))


def _refusal(path: Path, difference: float, what: str) -> str:
    return (f'{path}: rebuilt in torch it computes something else: outputs differ from those of '
            f'ONNX Runtime on {what} by {difference:.3g} of the largest number; it is not '
            'imported')


def run_file(file: OnnxFile, layout: str, outputs: Sequence[str], images: Sequence[Array]
             ) -> tuple[list[list[Array]], bool]:
    """
    Return what ONNX Runtime makes of images by the file's own model.

    The parameters are those of :func:`compare`.

    :returns: the outputs in float32 for each image, and whether a value that hangs on the image
        is of 16 bits, so that the file computes less exactly than in float32.
    :raises NotRunError: it cannot run the file, or the file is not ONNX.
    """
    if file.model is None:
        raise NotRunError('it reads ONNX alone')
    model = ModelProto(ir_version=file.model.ir_version, opset_import=file.model.opset_import,
                       graph=file.model.graph)
    _end_at(model.graph, outputs)
    _check_plain(model.graph)
    image = file.inputs[0]
    if layout == 'nhwc':
        images = [one.transpose(0, 2, 3, 1) for one in images]
    try:
        fed = [np.array(one, np.dtype(image.kind), order='C') for one in images]
        data = _serialised(model)
    except NotRunError:
        raise
    except Exception as error:  # a type that NumPy has not, a message that is too large
        raise NotRunError(_line(error)) from error
    found = run_model(data, image.name, outputs, fed)
    return ([[np.asarray(output, np.float32) for output in each] for each in found],
            computes_in_halves(model, image.name))


def run_model(model: bytes, image: str | None, outputs: Sequence[str], images: Sequence[Array]
              ) -> list[list[Array]]:
    """
    Return what ONNX Runtime makes of images.

    :param image: name of the input; None for the only one.
    :raises NotRunError: it cannot run the model.
    """
    # From there, for what it sets before ONNX Runtime is imported.
    from prune_perception.runtime.engines.onnxruntime_engine import onnxruntime
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            model, options, providers=['CPUExecutionProvider'])
        image = session.get_inputs()[0].name if image is None else image
        return [session.run(list(outputs), {image: one}) for one in images]
    except Exception as error:  # its exception classes share no public base
        raise NotRunError(
            f'version {onnxruntime.__version__}: {_line(error)}') from error


def _end_at(graph: onnx.GraphProto, outputs: Sequence[str]) -> None:
    """Let a graph end at some of its values, without the nodes that they do not need."""
    declared = {output.name: output for output in graph.output}
    ends = [declared.get(name, ValueInfoProto(name=name)) for name in outputs]
    wanted, kept = set(outputs), []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            # An output left out has the name of an input left out.
            wanted.update(filter(None, node.input))
            kept.append(node)
    # Copies: what the lists hold goes when the fields are cleared.
    nodes, ends = [_copy(node) for node in kept[::-1]], [_copy(end) for end in ends]
    del graph.node[:], graph.output[:]
    graph.node.extend(nodes)
    graph.output.extend(ends)


def _check_plain(graph: onnx.GraphProto) -> None:
    """
    Refuse what an attribute may hold that was not read: it could name files in turn.

    :raises NotRunError: a node has an attribute of another kind than numbers, texts and a tensor.
    """
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type not in _READ:
                raise NotRunError(f'{node.op_type} {node.name!r} has an attribute that is not '
                                  f'read, {attribute.name!r}')


def _serialised(model: ModelProto) -> bytes:
    weights = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    if weights < _MOST_BYTES:
        data: bytes = model.SerializeToString()
        if len(data) < _MOST_BYTES:
            return data
    raise NotRunError(f'with the weights of other files it is larger than {_MOST_BYTES:.3g} bytes')


def _copy(message: Any) -> Any:
    copied = type(message)()
    copied.CopyFrom(message)
    return copied


def computes_in_halves(model: ModelProto, image: str) -> bool:
    """
    Return whether a value that hangs on the image is of 16 bits, by ONNX's own inference of types.

    Weights that are stored in 16 bits and cast before they are used are none, and neither is what
    nothing takes. Where the inference fails, nothing is taken to be.

    :param image: name of the input.
    """
    graph = model.graph
    # Without the weights, for their types suffice; and without what the file says of its inner
    # values, for it need not be true.
    weights = {tensor.name: tensor.data_type for tensor in graph.initializer}
    declared = [item for item in graph.input if item.name not in weights]
    bare = helper.make_graph(
        graph.node, 'types',
        [*declared, *(helper.make_tensor_value_info(name, kind, None)
                      for name, kind in weights.items())],
        [ValueInfoProto(name=item.name) for item in graph.output])
    try:
        typed = shape_inference.infer_shapes(helper.make_model(
            bare, opset_imports=model.opset_import, ir_version=model.ir_version)).graph
    except Exception:  # its own kinds, and those of protobuf
        return False
    halves = {item.name for item in (*typed.input, *typed.output, *typed.value_info)
              if item.type.tensor_type.elem_type in _HALVES}
    shown = {image}
    for node in graph.node:
        # The size of an image is none of its values.
        if node.op_type not in ('Shape', 'Size') and shown.intersection(node.input):
            shown.update(filter(None, node.output))
    return bool(shown & halves)


def _line(error: Exception) -> str:
    return ' '.join(str(error).split())[:300] or type(error).__name__
