# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Bringing a graph into a form that can be pruned takes no more than the graph is worth."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip('torch')
onnx = pytest.importorskip('onnx')

from onnx import helper  # noqa: E402

from prune_perception.networks.imported.graph import Graph, Node  # noqa: E402
from prune_perception.networks.imported.onnx_file import parse_onnx  # noqa: E402
from prune_perception.networks.imported.rebuild import rebuild  # noqa: E402

HEIGHT, WIDTH = 4, 6


class Counting(dict[str, Node]):
    """Fails where it is asked more often than a graph of this size is worth."""

    asked = 0

    def get(self, *given: Any) -> Any:
        Counting.asked += 1
        if Counting.asked > 10_000:
            pytest.fail('followed without end')
        return super().get(*given)


def rebuilt(nodes: list[Any], constants: dict[str, Any]) -> Any:
    """Return the module of nodes from x, three channels, to y."""
    model = helper.make_model(helper.make_graph(
        nodes, 'small', [helper.make_tensor_value_info('x', 1, [1, 3, HEIGHT, WIDTH])],
        [helper.make_tensor_value_info('y', 1, None)],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]),
        opset_imports=[helper.make_opsetid('', 17)])
    data = model.SerializeToString()
    assert len(data) < 100_000
    graph = parse_onnx(data, Path('small.onnx')).graph
    graph.image_shape = (1, 3, HEIGHT, WIDTH)
    return rebuild(graph)


def normed(channels: int) -> dict[str, Any]:
    return {name: np.full(channels, value, np.float32) for name, value in (
        ('scale', 2), ('offset', 1), ('mean', 0), ('variance', 1))}


NORM = helper.make_node(
    'BatchNormalization', ['last', 'scale', 'offset', 'mean', 'variance'], ['normed'], epsilon=0.0)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Graph.makers
    Counting.asked = 0
    monkeypatch.setattr(Graph, 'makers', lambda graph: Counting(whole(graph)))


def test_a_concatenation_of_more_parts_than_are_worth_following(counting: None) -> None:
    """Sixteen nodes, each of which takes the one before it twice; 26 would fill any memory."""
    nodes = [helper.make_node('ReduceMax', ['x'], ['c0'], axes=[1])]
    nodes += [helper.make_node('Concat', [f'c{number}'] * 2, [f'c{number + 1}'], axis=1)
              for number in range(16)]
    nodes[-1].output[0] = 'last'
    filled = [helper.make_node('ConstantOfShape', ['channels'], [name], value=helper.make_tensor(
        '', 1, [1], value)) for name, value in normed(1).items()]
    module = rebuilt(
        [*filled, *nodes, NORM, helper.make_node('ReduceMin', ['normed'], ['y'], axes=[1])],
        {'channels': np.array([1 << 16])})
    image = torch.rand(1, 3, HEIGHT, WIDTH)
    torch.testing.assert_close(module(image)[0], 2 * image.amax(1, keepdim=True) + 1)


def test_concatenations_within_each_other_as_deep_as_a_file_has_nodes(counting: None) -> None:
    nodes = [helper.make_node('Concat', ['x'], ['c0'], axis=1)]
    nodes += [helper.make_node('Concat', [f'c{number}'], [f'c{number + 1}'], axis=1)
              for number in range(1200)]
    nodes[-1].output[0] = 'last'
    module = rebuilt([*nodes, NORM, helper.make_node('Identity', ['normed'], ['y'])], normed(3))
    image = torch.rand(1, 3, HEIGHT, WIDTH)
    torch.testing.assert_close(module(image)[0], 2 * image + 1)


def test_parts_within_parts_are_normalised_by_themselves() -> None:
    """What bounds the parts does not keep those of a real network together."""
    convolutions = [helper.make_node('Conv', ['x', f'w{number}'], [f'a{number}'])
                    for number in range(3)]
    nodes = [*convolutions, helper.make_node('Concat', ['a0', 'a1'], ['inner'], axis=1),
             helper.make_node('Concat', ['inner', 'a2'], ['last'], axis=1), NORM,
             helper.make_node('Identity', ['normed'], ['y'])]
    random = np.random.default_rng(0)
    kernels = {f'w{number}': random.normal(size=(2, 3, 1, 1)).astype(np.float32)
               for number in range(3)}
    module = rebuilt(nodes, {**kernels, **normed(6)})
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in module.modules())
    image = torch.rand(1, 3, HEIGHT, WIDTH)
    expected = torch.cat([torch.nn.functional.conv2d(image, torch.from_numpy(kernel))
                          for kernel in kernels.values()], 1)
    torch.testing.assert_close(module(image)[0], 2 * expected + 1)
