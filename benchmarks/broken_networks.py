# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Networks that do their work until an image is all white, and then hang or fail for real."""

from pathlib import Path

import numpy as np

from prune_perception.bundle import Bundle, GRAPH, write_bundle

WAYS = ('loop', 'operator', 'error')


def write_broken_on_white(
        folder: Path, bundle: Bundle, how: str, *, white: float = 254.5) -> Bundle:
    """
    Write a bundle that is like another one, but for images that are all white.

    :param how: such an image puts the network into a ``loop`` of small operators without end, or
        into one ``operator`` for hours, or makes it fail with an ``error``.
    :param white: what is above this counts as white.
    """
    return write_bundle(folder / f'{bundle.card.name}_{how}', bundle.card, {
        GRAPH: broken_on_white(bundle.read_file(GRAPH), how, white)})


def broken_on_white(data: bytes, how: str, white: float) -> bytes:
    """Return the graph of such a network; its first input is an image."""
    import onnx
    helper, tensor, kinds = onnx.helper, onnx.numpy_helper.from_array, onnx.TensorProto
    model = onnx.load_from_string(data)
    graph = model.graph
    end = helper.make_tensor_value_info('end', kinds.FLOAT, [])
    if how == 'loop':
        body = helper.make_graph(
            [helper.make_node('Identity', ['go'], ['goes on']),
             helper.make_node('Add', ['before', 'one'], ['after'])], 'body',
            [helper.make_tensor_value_info('turn', kinds.INT64, []),
             helper.make_tensor_value_info('go', kinds.BOOL, []),
             helper.make_tensor_value_info('before', kinds.FLOAT, [])],
            [helper.make_tensor_value_info('goes on', kinds.BOOL, []),
             helper.make_tensor_value_info('after', kinds.FLOAT, [])],
            [tensor(np.array(1, np.float32), 'one')])
        nodes = [helper.make_node('Loop', ['turns', 'white', 'least'], ['end'], body=body)]
        weights = [tensor(np.array(2**60, np.int64), 'turns')]
    elif how == 'operator':  # 2.5 x 10^13 products, with 80 MB
        nodes = [
            helper.make_node('Expand', ['least', 'length'], ['signal']),
            helper.make_node('Expand', ['least', 'taps'], ['kernel']),
            helper.make_node('Conv', ['signal', 'kernel'], ['filtered']),
            helper.make_node('ReduceMean', ['filtered'], ['end'], keepdims=0)]
        weights = [tensor(np.array([1, 1, 10_000_000], np.int64), 'length'),
                   tensor(np.array([1, 1, 5_000_000], np.int64), 'taps')]
    elif how == 'error':
        nodes = [helper.make_node('Cast', ['least'], ['index'], to=kinds.INT64),
                 helper.make_node('Gather', ['only', 'index'], ['end'])]
        weights = [tensor(np.zeros(1, np.float32), 'only')]
    else:
        raise ValueError(f'{how!r} is none of {", ".join(WAYS)}')
    broken = helper.make_graph(nodes, 'broken', [], [end], weights)
    whole = helper.make_graph(
        [helper.make_node('Identity', ['least'], ['end'])], 'whole', [], [end])
    # What comes of it is added to the first output, as nothing.
    output = graph.output[0].name
    for node in graph.node:
        node.output[:] = ['without that' if name == output else name for name in node.output]
    graph.node.extend([
        helper.make_node('Cast', [graph.input[0].name], ['pixels'], to=kinds.FLOAT),
        helper.make_node('ReduceMin', ['pixels'], ['least'], keepdims=0),
        helper.make_node('Greater', ['least', 'nearly white'], ['white']),
        helper.make_node('If', ['white'], ['seen'], then_branch=broken, else_branch=whole),
        helper.make_node('Mul', ['seen', 'naught'], ['no difference']),
        helper.make_node('Add', ['without that', 'no difference'], [output])])
    graph.initializer.extend([
        tensor(np.array(white, np.float32), 'nearly white'),
        tensor(np.array(0, np.float32), 'naught')])
    return bytes(model.SerializeToString())
