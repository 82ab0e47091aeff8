# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The blocks of the grid as ONNX models, in memory."""

from itertools import pairwise
from math import prod

import numpy as np
from onnx import helper, numpy_helper, TensorProto

from prune_perception.calibration.grid import ADDITION, Block, LINEAR, POOLING
from prune_perception.energy.shapes import ConvolutionShape

# As networks are exported.
_OPSET = 18
_IR_VERSION = 8


def block_model(block: Block, seed: int = 0) -> tuple[bytes, dict[str, tuple[int, ...]]]:
    """
    Return a model that runs a block, and the shapes of its inputs by name.

    Weights are normal and scaled so that maps keep their size from layer to layer: values that
    shrink to denormal numbers would be slow, and none is skipped as a zero.

    :param seed: of the weights.
    """
    if block.operator == ADDITION:
        return _addition(block)
    if block.operator == POOLING:
        return _pooling(block)
    return _weighted(block, np.random.default_rng(seed))


def _weighted(block: Block, generator: np.random.Generator
              ) -> tuple[bytes, dict[str, tuple[int, ...]]]:
    shapes = [shape for shape in block.shapes if isinstance(shape, ConvolutionShape)]
    assert len(shapes) == len(block.shapes)
    for before, after in pairwise(shapes):
        assert (before.out_channels, before.output) == (after.in_channels, after.input), block.name
    nodes, stored = [], []
    for index, shape in enumerate(shapes):
        linear = block.operator == LINEAR
        sizes = [shape.out_channels, shape.in_channels // shape.groups]
        sizes += [] if linear else list(shape.kernel)
        weight = generator.standard_normal(sizes, np.float32) / np.float32(
            np.sqrt(prod(sizes[1:])))
        stored += [
            numpy_helper.from_array(weight, f'{index}.weight'),
            numpy_helper.from_array(np.zeros(shape.out_channels, np.float32), f'{index}.bias')]
        inputs = [f'map{index}', f'{index}.weight', f'{index}.bias']
        if linear:
            nodes.append(helper.make_node('Gemm', inputs, [f'map{index + 1}'], transB=1))
            continue
        nodes.append(helper.make_node(
            'Conv', inputs, [f'map{index + 1}'], kernel_shape=list(shape.kernel),
            strides=list(shape.stride), group=shape.groups,
            pads=[*(side // 2 for side in shape.kernel)] * 2))
    first, last = shapes[0], shapes[-1]
    given: tuple[int, ...] = (1, first.in_channels)
    left: tuple[int, ...] = (1, last.out_channels)
    if block.operator != LINEAR:
        given, left = (*given, *first.input), (*left, *last.output)
    return _model(nodes, {'map0': given}, {f'map{len(shapes)}': left}, stored), {'map0': given}


def _addition(block: Block) -> tuple[bytes, dict[str, tuple[int, ...]]]:
    given: tuple[int, ...] = (1, *block.map)
    inputs = {'first': given, 'second': given}
    node = helper.make_node('Add', ['first', 'second'], ['sum'])
    return _model([node], inputs, {'sum': given}, []), inputs


def _pooling(block: Block) -> tuple[bytes, dict[str, tuple[int, ...]]]:
    channels, rows, columns = block.map
    given: tuple[int, ...] = (1, *block.map)
    left: tuple[int, ...] = (1, channels, -(-rows // 2), -(-columns // 2))
    node = helper.make_node('MaxPool', ['map'], ['most'], kernel_shape=[3, 3], strides=[2, 2],
                            pads=[1, 1, 1, 1])
    return _model([node], {'map': given}, {'most': left}, []), {'map': given}


def _model(nodes: list, inputs: dict[str, tuple[int, ...]], outputs: dict[str, tuple[int, ...]],
           stored: list) -> bytes:
    def declared(values: dict[str, tuple[int, ...]]) -> list:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes)
                for name, sizes in values.items()]
    graph = helper.make_graph(nodes, 'block', declared(inputs), declared(outputs), stored)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid('', _OPSET)], ir_version=_IR_VERSION)
    data: bytes = model.SerializeToString()
    return data
