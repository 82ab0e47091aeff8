# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
The network as it is deployed: from the bytes of an image to its raw outputs, and as ONNX.

Weights that float16 holds exactly are stored as float16, each followed by a cast to float32. The
engines fold the cast when they load the graph, so that the file is half as large and the
arithmetic the same.
"""

from collections.abc import Iterator, Sequence
import contextlib
import copy
import logging
from typing import TYPE_CHECKING
import warnings

import numpy as np
import torch
from torch import nn

from prune_perception.bundle import Card, GRAPH, InputSpec, STRUCTURE, WEIGHTS
from prune_perception.networks.registry import round_weights, structure_of, weights_of

if TYPE_CHECKING:
    import onnx

INPUT_NAME = 'image'
# The newest that torch's exporter, OpenVINO, TensorRT 8.6 and ONNX Runtime 1.17 all know, and
# the file format of its time.
OPSET = 18
IR_VERSION = 8
# Small tensors stay float32: they save nothing, and engines want the factors of a Resize plain.
_SMALLEST_HALVED = 1024


class Deployed(nn.Module):
    """
    A network with its normalisation in front.

    :param module: takes normalised float32 (n, 3, height, width).
    :param fed: mean and standard deviation, in the colour order that the image comes in.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, module: nn.Module, fed: InputSpec) -> None:
        super().__init__()
        self.module = module
        self.register_buffer('mean', torch.tensor(fed.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(fed.std).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """
        Run the network.

        :param image: uint8 (n, height, width, 3).
        """
        # Transposed as bytes, not as floats four times their size: an eighth of NanoDet-g's time.
        pixels = image.permute(0, 3, 1, 2).to(torch.float32)
        outputs: tuple[torch.Tensor, ...] = self.module((pixels - self.mean) / self.std)
        return outputs


def bundle_files(module: nn.Module, card: Card) -> dict[str, bytes]:
    """
    Return the files of a bundle that hold a network: the graph, the weights, maybe the structure.

    All are of the network rounded to float16, so that every engine runs the same one.

    :raises BundleError: the weights cannot be stored as float16.
    """
    module = copy.deepcopy(module).cpu().float().eval()
    round_weights(module)
    files = {
        GRAPH: export_graph(module, card.input, [output.name for output in card.outputs]),
        WEIGHTS: weights_of(module)}
    structure = structure_of(module)
    return files if structure is None else {**files, STRUCTURE: structure}


def export_graph(module: nn.Module, fed: InputSpec, output_names: Sequence[str]) -> bytes:
    """
    Return a network as an ONNX model in one piece: the same bytes for the same network.

    Its input ``image`` is uint8 (1, height, width, 3).

    :param module: in evaluation mode, on the CPU.
    :param output_names: in the order of the module's outputs.
    """
    import onnx
    image = torch.zeros((1, fed.height, fed.width, 3), dtype=torch.uint8)
    with _quiet_exporter():
        program = torch.onnx.export(
            Deployed(module, fed).eval(), (image,), dynamo=True, opset_version=OPSET,
            input_names=[INPUT_NAME], external_data=False, verbose=False,
            output_names=[f'output.{number}' for number in range(len(output_names))])
    assert program is not None  # it is None for the exporter that is not asked for here
    model = program.model_proto
    _strip(model)
    _name_outputs(model.graph, output_names)
    _halve_weights(model.graph)
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def export_plain(module: nn.Module, size: tuple[int, int]) -> bytes:
    """
    Return a network as it is as an ONNX model: no normalisation in front, float32.

    Raises whatever the exporter and the network raise.

    :param size: height and width of its input, pixels.
    """
    with _quiet_exporter():
        program = torch.onnx.export(
            module, (torch.zeros(1, 3, *size),), dynamo=True, opset_version=OPSET,
            external_data=False, verbose=False)
    assert program is not None
    data: bytes = program.model_proto.SerializeToString()
    return data


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep back what the exporter tells its developers: deprecations, absent torchvision."""
    logger = logging.getLogger('torch.onnx')
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', FutureWarning)
            warnings.simplefilter('ignore', DeprecationWarning)
            yield
    finally:
        logger.setLevel(level)


def _strip(model: 'onnx.ModelProto') -> None:
    """Take out what the exporter notes for debugging: paths and lines of the machine it ran on."""
    graph = model.graph
    model.doc_string = graph.doc_string = ''
    del model.metadata_props[:]
    del graph.metadata_props[:]
    del graph.value_info[:]
    for item in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        item.doc_string = ''
        del item.metadata_props[:]


def _name_outputs(graph: 'onnx.GraphProto', names: Sequence[str]) -> None:
    """
    Name the outputs; a value inside that has such a name already gets another.

    The exporter gives them names without looking, and an imported network's outputs often have
    those that it chose itself when the network was exported first: ``permute``, ``cat_1``.
    """
    new = {output.name: name for output, name in zip(graph.output, names, strict=True)}
    inside = {name for node in graph.node for name in node.output}.union(
        tensor.name for tensor in graph.initializer).difference(new)
    for name in inside.intersection(names):
        other = f'{name}.inside'
        while other in inside or other in names:
            other += '_'
        new[name] = other
    for node in graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
    for value in (*graph.output, *graph.initializer):
        value.name = new.get(value.name, value.name)


def _halve_weights(graph: 'onnx.GraphProto') -> None:
    from onnx import helper, numpy_helper, TensorProto
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        if values.size < _SMALLEST_HALVED:
            continue
        with np.errstate(over='ignore'):
            halved = values.astype(np.float16)
        if not np.array_equal(halved.astype(np.float32), values):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(halved, f'{name}.float16'))
        casts.append(helper.make_node(
            'Cast', [tensor.name], [name], f'{name}.cast', to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
