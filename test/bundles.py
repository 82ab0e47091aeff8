# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Cards that are small enough to work their figures out by hand, and bundles of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from prune_perception.bundle import (
    Bundle,
    Card,
    DecoderSpec,
    InputSpec,
    NetworkSpec,
    OutputSpec,
    Provenance,
    write_bundle,
)

COMMITTED = Path(__file__).resolve().parent.parent / 'models' / 'nanodet_g'


def small_card(**changes: Any) -> Card:
    """
    Return a card of two classes, 32 x 64 pixels, and maps of strides 8 and 16 with 3 bins.

    :param changes: other values of its fields.
    """
    card = Card(
        name='small', class_names=('person', 'dog'),
        input=InputSpec(32, 64, 'bgr', (103.5, 116.25, 123.0), (57.0, 57.5, 58.0), 'stretch'),
        outputs=(OutputSpec('fine', (1, 14, 4, 8)), OutputSpec('coarse', (1, 14, 2, 4))),
        decoder=DecoderSpec('nanodet', {'strides': [8, 16], 'bins': 3}),
        network=NetworkSpec('small', {'first': (4, 3), 'norm': (4, 4)}, {'depth': 2}),
        provenance=Provenance('a test', '0.1.0'), licence='Apache-2.0', attribution='none')
    return replace(card, **changes)


def unwritten(card: Card) -> Bundle:
    """Return a bundle for what reads no file of it."""
    return Bundle(Path('somewhere'), card, '0' * 64)


def sees_one(name: str, cell: int, work: int = 0, **changes: Any) -> tuple[Card, bytes]:
    """
    Return a card and a graph that sees one person of 16 x 16 pixels, whatever it is shown.

    :param cell: where: its centre is at x = 8 * cell + 4, y = 12, of 64 x 32 pixels.
    :param work: how often the graph multiplies two matrices of 1024 x 1024 before it answers.
    :param changes: other values of the card's fields.
    """
    import onnx
    helper, tensor = onnx.helper, onnx.numpy_helper.from_array
    card = small_card(name=name, network=None, **changes)
    nodes = [
        helper.make_node('Cast', ['image'], ['float'], to=onnx.TensorProto.FLOAT),
        helper.make_node('ReduceMean', ['float'], ['mean'], keepdims=0),
        helper.make_node('Expand', ['mean', 'size'], ['product 0'])]
    weights = [
        tensor(np.array([1024, 1024], np.int64), 'size'), tensor(np.float32(0), 'nothing'),
        tensor(np.full((1024, 1024), 1 / 1024, np.float32), 'matrix')]
    for index in range(work):
        nodes.append(helper.make_node(
            'MatMul', [f'product {index}', 'matrix'], [f'product {index + 1}']))
    nodes += [
        helper.make_node('ReduceMean', [f'product {work}'], ['result'], keepdims=0),
        helper.make_node('Mul', ['result', 'nothing'], ['zero'])]
    for output in card.outputs:
        values = np.full(output.shape, -10, np.float32)
        values[:, len(card.class_names):] = 0  # a uniform distribution: 8 pixels to each side
        if output is card.outputs[0]:
            values[0, 0, 1, cell] = 4
        weights.append(tensor(values, f'{output.name} values'))
        nodes.append(helper.make_node('Add', [f'{output.name} values', 'zero'], [output.name]))
    model = helper.make_model(
        helper.make_graph(
            nodes, 'sees one',
            [helper.make_tensor_value_info('image', onnx.TensorProto.UINT8, (1, 32, 64, 3))],
            [helper.make_tensor_value_info(output.name, onnx.TensorProto.FLOAT, output.shape)
             for output in card.outputs], weights),
        opset_imports=[helper.make_opsetid('', 18)], ir_version=9)
    return card, bytes(model.SerializeToString())


def write_sees_one(folder: Path, name: str, cell: int, work: int = 0, **changes: Any) -> Bundle:
    """Write such a bundle."""
    card, graph = sees_one(name, cell, work, **changes)
    return write_bundle(folder / name, card, {'model.onnx': graph})
