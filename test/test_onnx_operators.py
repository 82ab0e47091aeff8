# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Each operator of an ONNX graph, rebuilt in torch, against ONNX Runtime."""

from collections.abc import Sequence
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import pytest

os.environ['ORT_DISABLE_TELEMETRY'] = '1'  # before it is imported, here as in the package

torch = pytest.importorskip('torch')
onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')

from onnx import helper, numpy_helper, TensorProto  # noqa: E402

from prune_perception.bundle import BundleError  # noqa: E402
from prune_perception.networks.imported.network import OnnxNetwork  # noqa: E402
from prune_perception.networks.imported.onnx_file import parse_onnx, write_onnx  # noqa: E402
from prune_perception.networks.imported.rebuild import rebuild  # noqa: E402

SHAPE = (1, 6, 8, 10)
RANDOM = np.random.default_rng(0)
Part = tuple[str, Sequence[Any], dict[str, Any]]


def array(*shape: int, low: float = -1.0, high: float = 1.0) -> NDArray[np.float32]:
    return RANDOM.uniform(low, high, shape).astype(np.float32)


def integers(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def model(parts: Sequence[Part], opset: int = 18, outputs: int = 1,
          shape: Sequence[Any] = SHAPE) -> bytes:
    """
    Return nodes in a row, each of which takes what the one before it made.

    :param parts: operator, its further inputs (arrays, None, or 'x' for the image) and attributes.
    """
    nodes, constants, value = [], [], 'x'
    for number, (op, inputs, attributes) in enumerate(parts):
        names = [value]
        for place, item in enumerate(inputs):
            if isinstance(item, np.ndarray):
                names.append(f'c{number}.{place}')
                constants.append(numpy_helper.from_array(item, names[-1]))
            else:
                names.append(item or '')
        last = number == len(parts) - 1
        made = [f'v{number}.{place}' for place in range(outputs if last else 1)]
        nodes.append(helper.make_node(op, names, made, f'n{number}', **attributes))
        value = made[0]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in made]
    fed = helper.make_tensor_value_info('x', TensorProto.FLOAT, shape)
    return bytes(helper.make_model(
        helper.make_graph(nodes, 'one', [fed], results, constants),
        opset_imports=[helper.make_opsetid('', opset)], ir_version=8).SerializeToString())


def rebuilt(data: bytes, shape: tuple[int, ...] = SHAPE) -> OnnxNetwork:
    graph = parse_onnx(data, Path('one.onnx')).graph
    graph.image_shape = shape
    return rebuild(graph)


def compare(data: bytes, shape: tuple[int, ...] = SHAPE) -> OnnxNetwork:
    """Compare with ONNX Runtime on noise; return the module."""
    image = array(*shape, low=-2, high=2)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    expected = onnxruntime.InferenceSession(
        data, options, providers=['CPUExecutionProvider']).run(None, {'x': image})
    module = rebuilt(data, shape)
    with torch.no_grad():
        found = module(torch.from_numpy(image))
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-4, atol=2e-5)
    return module


CONV = array(4, 6, 3, 3)
PLAIN: dict[str, Part] = {
    'Conv': ('Conv', [CONV, array(4)], {'pads': [1, 1, 1, 1], 'strides': [2, 1]}),
    'Conv uneven': ('Conv', [CONV], {'pads': [0, 0, 1, 2], 'strides': [2, 2]}),
    'Conv same': ('Conv', [CONV], {'auto_pad': 'SAME_UPPER', 'strides': [2, 2]}),
    'Conv same lower': ('Conv', [array(4, 6, 2, 2)], {'auto_pad': 'SAME_LOWER'}),
    'Conv dilated': ('Conv', [CONV], {'dilations': [2, 2], 'pads': [2, 2, 2, 2]}),
    'Conv grouped': ('Conv', [array(4, 3, 3, 3)], {'group': 2}),
    'ConvTranspose': ('ConvTranspose', [array(6, 4, 4, 4), array(4)],
                      {'strides': [2, 2], 'pads': [1, 1, 1, 1]}),
    'ConvTranspose more': ('ConvTranspose', [array(6, 2, 3, 3)],
                           {'strides': [2, 2], 'pads': [1, 1, 1, 1], 'output_padding': [1, 1],
                            'group': 2}),
    'ConvTranspose same': ('ConvTranspose', [array(6, 4, 4, 4)],
                           {'strides': [2, 2], 'auto_pad': 'SAME_UPPER'}),
    'BatchNormalization': ('BatchNormalization', [
        array(6), array(6), array(6), array(6, low=0.5)], {'epsilon': 1e-3}),
    'InstanceNormalization': ('InstanceNormalization', [array(6), array(6)], {}),
    'LayerNormalization': ('LayerNormalization', [array(10), array(10)], {}),
    'Relu': ('Relu', [], {}), 'LeakyRelu': ('LeakyRelu', [], {'alpha': 0.2}),
    'PRelu': ('PRelu', [array(6, 1, 1)], {}), 'PRelu one': ('PRelu', [array(1)], {}),
    'PRelu each': ('PRelu', [array(6, 8, 10)], {}),
    'Elu': ('Elu', [], {}), 'Selu': ('Selu', [], {}), 'Sigmoid': ('Sigmoid', [], {}),
    'Tanh': ('Tanh', [], {}), 'HardSigmoid': ('HardSigmoid', [], {}),
    'HardSigmoid of torch': ('HardSigmoid', [], {'alpha': 1 / 6}),
    'HardSwish': ('HardSwish', [], {}), 'Softplus': ('Softplus', [], {}),
    'Softsign': ('Softsign', [], {}), 'Mish': ('Mish', [], {}),
    'Clip': ('Clip', [np.float32(0), np.float32(1)], {}),
    'Clip below': ('Clip', [None, np.array(1, np.float32)], {}),
    'Softmax': ('Softmax', [], {'axis': 1}), 'LogSoftmax': ('LogSoftmax', [], {}),
    'MaxPool': ('MaxPool', [], {'kernel_shape': [3, 3], 'strides': [2, 2],
                                'pads': [1, 1, 1, 1]}),
    'MaxPool ceil': ('MaxPool', [], {'kernel_shape': [3, 3], 'strides': [2, 2],
                                     'ceil_mode': 1}),
    'MaxPool same': ('MaxPool', [], {'kernel_shape': [3, 3], 'strides': [2, 2],
                                     'auto_pad': 'SAME_UPPER'}),
    'AveragePool': ('AveragePool', [], {'kernel_shape': [3, 3], 'strides': [2, 2],
                                        'pads': [1, 1, 1, 1]}),
    'AveragePool counted': ('AveragePool', [], {
        'kernel_shape': [2, 2], 'pads': [0, 0, 1, 1], 'count_include_pad': 1}),
    'GlobalAveragePool': ('GlobalAveragePool', [], {}),
    'GlobalMaxPool': ('GlobalMaxPool', [], {}),
    'Pad': ('Pad', [integers(0, 0, 1, 2, 0, 0, 3, 0), np.array(0.5, np.float32)], {}),
    'Pad reflect': ('Pad', [integers(0, 0, 1, 2, 0, 0, 3, 0)], {'mode': 'reflect'}),
    'Pad edge': ('Pad', [integers(1, 2, 3, 0), None, integers(2, 3)], {'mode': 'edge'}),
    'Resize nearest': ('Resize', [None, np.array([1, 1, 2, 3], np.float32)], {
        'coordinate_transformation_mode': 'asymmetric', 'nearest_mode': 'floor'}),
    'Resize half': ('Resize', [None, np.array([1, 1, 2, 4], np.float32)], {}),
    'Resize for TensorFlow': ('Resize', [None, np.array([1, 1, 3, 3], np.float32)], {
        'coordinate_transformation_mode': 'tf_half_pixel_for_nn', 'nearest_mode': 'floor'}),
    'Resize linear': ('Resize', [None, np.array([1, 1, 2, 2], np.float32)], {'mode': 'linear'}),
    'Resize to a size': ('Resize', [None, None, integers(1, 6, 12, 13)], {
        'mode': 'linear', 'coordinate_transformation_mode': 'pytorch_half_pixel'}),
    'Resize of axes': ('Resize', [None, None, integers(16, 20)], {
        'axes': [2, 3], 'mode': 'linear'}),
    'Resize of axes by factors': ('Resize', [None, np.array([2, 2], np.float32)], {
        'axes': [2, 3]}),
    'Resize corners': ('Resize', [None, None, integers(1, 6, 16, 20)], {
        'mode': 'linear', 'coordinate_transformation_mode': 'align_corners'}),
    'Resize linear from the corner': ('Resize', [None, None, integers(1, 6, 16, 30)], {
        'mode': 'linear', 'coordinate_transformation_mode': 'asymmetric'}),
    'Resize cubic': ('Resize', [None, np.array([1, 1, 2, 2], np.float32)], {'mode': 'cubic'}),
    'DepthToSpace': ('DepthToSpace', [], {'blocksize': 1}),
    'SpaceToDepth': ('SpaceToDepth', [], {'blocksize': 2}),
    'Reshape': ('Reshape', [integers(1, 2, 3, -1, 10)], {}),
    'Reshape flat': ('Reshape', [integers(0, -1)], {}),
    'Flatten': ('Flatten', [], {'axis': 2}), 'Flatten all': ('Flatten', [], {'axis': 0}),
    'Transpose': ('Transpose', [], {'perm': [0, 2, 3, 1]}),
    'Squeeze': ('Squeeze', [integers(0)], {}),
    'Unsqueeze': ('Unsqueeze', [integers(1, -1)], {}),
    'Slice': ('Slice', [integers(1, 2), integers(-1, 10), integers(2, 3), integers(2, 3)], {}),
    'Slice backwards': ('Slice', [integers(-1), integers(-100), integers(3), integers(-1)], {}),
    'Concat': ('Concat', ['x', array(1, 2, 8, 10)], {'axis': 1}),
    'Gather': ('Gather', [integers(3, -1, 0)], {'axis': 2}),
    'Gather one': ('Gather', [np.array(2, np.int64)], {'axis': 3}),
    'Expand': ('Expand', [integers(2, 1, 1, 1, 1)], {}),
    'Tile': ('Tile', [integers(1, 2, 1, 1)], {}),
    'Cast': ('Cast', [], {'to': TensorProto.FLOAT}), 'Identity': ('Identity', [], {}),
    'Dropout': ('Dropout', [], {}),
    'Add': ('Add', ['x'], {}), 'Sub': ('Sub', [array(8, 10)], {}),
    'Mul': ('Mul', [array(6, 1, 1)], {}), 'Div': ('Div', [array(1, low=1, high=2)], {}),
    'Pow': ('Pow', [np.float32(2)], {}), 'Sum': ('Sum', ['x', array(10)], {}),
    'Mean': ('Mean', ['x', array(10)], {}), 'Max': ('Max', [array(1, 6, 1, 1), array(10)], {}),
    'Min': ('Min', [array(10)], {}), 'Neg': ('Neg', [], {}), 'Abs': ('Abs', [], {}),
    'Exp': ('Exp', [], {}), 'Erf': ('Erf', [], {}), 'Floor': ('Floor', [], {}),
    'Ceil': ('Ceil', [], {}), 'Round': ('Round', [], {}), 'Sign': ('Sign', [], {}),
    'Sin': ('Sin', [], {}), 'Cos': ('Cos', [], {}),
    'Mod': ('Mod', [np.float32(0.7)], {'fmod': 1}),
    'ReduceMean': ('ReduceMean', [integers(2, 3)], {}),
    'ReduceSum': ('ReduceSum', [integers(1)], {'keepdims': 0}),
    'ReduceMax': ('ReduceMax', [integers(-1)], {}), 'ReduceMin': ('ReduceMin', [], {}),
    'ReduceL2': ('ReduceL2', [integers(1)], {}),
    'LpNormalization': ('LpNormalization', [], {'axis': 1}),
    'MatMul': ('MatMul', [array(10, 4)], {}),
}


@pytest.mark.parametrize('name', PLAIN)
def test_computes_what_onnx_runtime_does(name: str) -> None:
    compare(model([(PLAIN[name][0], [np.array(item) if isinstance(item, np.float32) else item
                                     for item in PLAIN[name][1]], PLAIN[name][2])]))


OLD: dict[str, tuple[int, Part]] = {
    'Upsample': (9, ('Upsample', [np.array([1, 1, 2, 2], np.float32)], {'mode': 'nearest'})),
    'Upsample linear': (9, ('Upsample', [np.array([1, 1, 2, 2], np.float32)],
                            {'mode': 'linear'})),
    'Resize 10': (10, ('Resize', [np.array([1, 1, 2, 2], np.float32)], {})),
    'Clip 6': (10, ('Clip', [], {'min': 0.0, 'max': 1.0})),
    'Pad 2': (10, ('Pad', [], {'pads': [0, 0, 1, 1, 0, 0, 1, 1], 'value': 1.0})),
    'Slice 1': (9, ('Slice', [], {'starts': [1], 'ends': [4], 'axes': [2]})),
    'Squeeze 11': (11, ('Squeeze', [], {'axes': [0]})),
    'Unsqueeze 11': (11, ('Unsqueeze', [], {'axes': [0]})),
    'Softmax 11': (11, ('Softmax', [], {'axis': 1})),
    'ReduceMean 13': (13, ('ReduceMean', [], {'axes': [2, 3]})),
    'ReduceSum 11': (11, ('ReduceSum', [], {'axes': [1], 'keepdims': 0})),
}


@pytest.mark.parametrize('name', OLD)
def test_older_forms(name: str) -> None:
    opset, part = OLD[name]
    compare(model([part], opset))


@pytest.mark.parametrize(('op', 'attributes', 'size'), [
    ('DepthToSpace', {'blocksize': 2}, (1, 8, 4, 5)),
    ('DepthToSpace', {'blocksize': 2, 'mode': 'CRD'}, (1, 8, 4, 5)),
    ('Gemm', {'transB': 1, 'alpha': 0.5, 'beta': 2.0}, (1, 7)), ('Gemm', {}, (1, 7))])
def test_on_other_sizes(op: str, attributes: dict[str, Any], size: tuple[int, ...]) -> None:
    weights = [] if op == 'DepthToSpace' else [
        array(4, 7) if attributes else array(7, 4), array(4)]
    compare(model([(op, weights, attributes)], shape=size), size)


def test_split() -> None:
    compare(model([('Split', [integers(1, 2, 3)], {'axis': 1})], outputs=3))
    compare(model([('Split', [], {'axis': 3, 'num_outputs': 3})], outputs=3))
    compare(model([('Split', [], {'axis': 1, 'split': [2, 4]})], 11, outputs=2))


def test_group_normalization() -> None:
    """Of opset 21, and taken apart as older exporters write it."""
    scale, offset = array(6), array(6)
    compare(model([('GroupNormalization', [scale, offset], {'num_groups': 2})], 21))
    module = compare(model([
        ('Reshape', [integers(0, 2, -1)], {}),
        ('InstanceNormalization', [np.ones(2, np.float32), np.zeros(2, np.float32)],
         {'epsilon': 1e-3}),
        ('Reshape', [integers(*SHAPE)], {}), ('Mul', [scale.reshape(6, 1, 1)], {}),
        ('Add', [offset.reshape(1, 6, 1, 1)], {})]))
    layer, = (part for part in module.modules() if isinstance(part, torch.nn.GroupNorm))
    assert (layer.num_groups, layer.num_channels, layer.eps) == (2, 6, pytest.approx(1e-3))
    assert torch.equal(layer.bias, torch.from_numpy(offset))


def layers(module: OnnxNetwork) -> list[str]:
    return [type(part).__name__ for part in module.modules()
            if next(part.parameters(recurse=False), None) is not None]


@pytest.mark.parametrize('parts', [
    [('BatchNormalization', [array(4), array(4), array(4), array(4, low=0.5)], {})],
    [('Mul', [array(4, 1, 1)], {}), ('Add', [array(1, 4, 1, 1)], {})],
    [('Sub', [array(4, 1, 1)], {}), ('Div', [array(4, 1, 1, low=1, high=2)], {})],
    [('Mul', [array(1)], {})]], ids=['norm', 'affine', 'moved', 'factor'])
def test_what_follows_a_convolution_goes_into_it(parts: list[Part]) -> None:
    for first in (('Conv', [CONV, array(4)], {}), ('ConvTranspose', [array(6, 2, 3, 3)],
                                                   {'group': 2})):
        module = compare(model([first, *parts, ('Relu', [], {})]))
        assert len(layers(module)) == 1


def test_a_linear_layer_takes_its_addition() -> None:
    module = compare(model([('MatMul', [array(10, 4)], {}), ('Add', [array(4)], {})]))
    assert layers(module) == ['Linear']


def test_numbers_of_channels_become_a_layer() -> None:
    module = compare(model([('Sigmoid', [], {}), ('Mul', [array(6, 1, 1)], {})]))
    assert layers(module) == ['FrozenBatchNorm2d']


def test_a_network_in_training_is_the_one_of_the_file() -> None:
    """A scale of the pixels is a norm, too, and has nothing to do with a batch's statistics."""
    module = compare(model([
        ('BatchNormalization', [array(6), array(6), array(6), array(6, low=0.5)], {}),
        ('Sigmoid', [], {}), ('Mul', [array(6, 1, 1)], {})]))
    image = torch.rand(3, *SHAPE[1:])
    expected, = module.eval()(image)
    assert torch.equal(module.train()(image)[0], expected)
    assert torch.equal(module.eval()(image)[0], expected)  # and it has learned nothing of them


def test_sizes_that_the_graph_computes_are_known() -> None:
    """As exporters flatten: the first size of the image beside -1."""
    nodes = [
        helper.make_node('Shape', ['x'], ['shape']),
        helper.make_node('Gather', ['shape', 'zero'], ['batch']),
        helper.make_node('Unsqueeze', ['batch', 'first'], ['side']),
        helper.make_node('Concat', ['side', 'rest'], ['target'], axis=0),
        helper.make_node('Reshape', ['x', 'target'], ['y'])]
    constants = [numpy_helper.from_array(value, name) for name, value in (
        ('zero', np.array(0, np.int64)), ('first', integers(0)), ('rest', integers(-1)))]
    data = helper.make_model(
        helper.make_graph(nodes, 'flat', [helper.make_tensor_value_info(
            'x', TensorProto.FLOAT, SHAPE)], [helper.make_tensor_value_info(
                'y', TensorProto.FLOAT, None)], constants),
        opset_imports=[helper.make_opsetid('', 13)], ir_version=8).SerializeToString()
    module = compare(data)
    with torch.no_grad():
        assert module(torch.zeros(3, *SHAPE[1:]))[0].shape == (3, 480)


def test_images_that_a_graph_cannot_hold_side_by_side_are_run_in_turns() -> None:
    module = compare(model([('Reshape', [integers(6, 80)], {}), ('Unsqueeze', [integers(0)], {})]))
    images = torch.from_numpy(array(3, *SHAPE[1:]))
    with torch.no_grad():
        together, = module(images)
        for image, found in zip(images, together, strict=True):
            assert torch.equal(module(image[None])[0][0], found)


@pytest.mark.parametrize('parts', [
    [('Mul', [np.float32(3)], {}), ('Cast', [], {'to': 7}), ('Cast', [], {'to': 1}),
     ('Div', [np.float32(2)], {})],
    [('ArgMax', [], {'axis': 1}), ('Cast', [], {'to': 1}), ('Div', [np.float32(2)], {})],
    [('Greater', [np.float32(0)], {}), ('Cast', [], {'to': 1}), ('Add', ['v1.0'], {})]],
    ids=['integers', 'places', 'masks'])
def test_casts_of_what_is_no_float_stay(parts: list[Part]) -> None:
    """Integers divide to integers, and two masks add up to one."""
    compare(model([(op, [np.array(item) if isinstance(item, np.generic) else item
                         for item in inputs], attributes) for op, inputs, attributes in parts]))


def test_a_cast_of_floats_goes() -> None:
    assert b'Cast' not in compare(model([('Cast', [], {'to': 1}), ('Relu', [], {})])).structure


def test_long_chains_of_activations() -> None:
    """Each value of a SiLU is taken twice: followed one by one, they would never end."""
    parts: list[Part] = [('Relu', [], {})]
    for number in range(0, 120, 2):
        parts += [('Sigmoid', [], {}), ('Mul', [f'v{number}.0'], {})]
    compare(model(parts))


def test_an_output_that_is_left_out_is_no_input_that_is() -> None:
    nodes = [helper.make_node('Det', ['x'], ['strange', '']),
             helper.make_node('Clip', ['x', '', 'most'], ['y'])]
    graph = helper.make_graph(
        nodes, 'one', [helper.make_tensor_value_info('x', TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info('y', TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array(0.5, np.float32), 'most')])
    rebuilt(helper.make_model(
        graph, opset_imports=[helper.make_opsetid('', 18)]).SerializeToString())


@pytest.mark.parametrize(('parts', 'reason'), [
    ([('NonZero', [], {}), ('Det', [], {})], 'operators that cannot be converted: Det, NonZero'),
    ([('Resize', [None, np.array([1, 1, 2, 2], np.float32)], {
        'mode': 'linear', 'coordinate_transformation_mode': 'tf_crop_and_resize'})],
     'Resize linear, tf_crop_and_resize'),
    ([('Conv', [array(4, 5, 3, 3)], {})], r'Conv with weights \[4, 5, 3, 3\] in 1 groups for 6'),
    ([('Reshape', [integers(1, 7, -1)], {})], r'Reshape of \[1, 6, 8, 10\] to \[1, 7, -1\]'),
    ([('Conv', [CONV], {'pads': [-1, 0, 0, 0]})], r'Conv with pads \[-1, 0, 0, 0\]'),
    ([('MatMul', [array(9, 4)], {})], r"node 'n0' \(MatMul\) cannot be computed"),
    ([('BatchNormalization', [array(5)] * 4, {})], 'BatchNormalization'),
    ([('Gather', [integers(6)], {'axis': 1})], 'Gather of places that are not there')])
def test_what_cannot_be_is_named(parts: list[Part], reason: str) -> None:
    with pytest.raises(BundleError, match=reason) as caught:
        rebuilt(model(parts))
    assert '\n' not in str(caught.value)


def test_the_structure_holds_no_weights_and_comes_back_the_same() -> None:
    graph = parse_onnx(model([('Conv', [array(64, 6, 3, 3), array(64)], {}), ('Relu', [], {}),
                              ('Sub', [array(6, 8)], {})]), Path('one.onnx')).graph
    graph.image_shape = SHAPE
    module = rebuild(graph)
    assert len(module.structure) < 1000 < 4 * 64 * 6 * 9
    again = OnnxNetwork(module.structure)
    assert all(parameter.is_meta for parameter in again.parameters())
    again.load_state_dict(module.state_dict(), assign=True)
    image = torch.from_numpy(array(*SHAPE))
    with torch.no_grad():
        assert torch.equal(again(image)[0], module(image)[0])
    assert write_onnx(parse_onnx(module.structure, Path('s')).graph)
