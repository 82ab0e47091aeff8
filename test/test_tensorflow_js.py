# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Graphs of TensorFlow.js: what they compute, and those that are refused."""

import base64
from collections.abc import Sequence
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('onnx')

from torch.nn import functional  # noqa: E402

from prune_perception.bundle import BundleError  # noqa: E402
from prune_perception.networks import tfjs  # noqa: E402
from prune_perception.networks.imported.rebuild import rebuild  # noqa: E402
from prune_perception.networks.imported.tensorflow_js import read_graph_model  # noqa: E402

HEIGHT, WIDTH = 8, 6
RANDOM = np.random.default_rng(0)
KERNEL = RANDOM.normal(size=(3, 3, 3, 4)).astype(np.float16)
BIAS = RANDOM.normal(size=4).astype(np.float32)
DEPTHWISE = RANDOM.normal(size=(3, 3, 4, 1)).astype(np.float32)
FACTORS = RANDOM.normal(size=4).astype(np.float32)


def text(value: str) -> dict[str, Any]:
    return {'s': base64.b64encode(value.encode()).decode()}


def listed(*values: int) -> dict[str, Any]:
    return {'list': {'i': [str(value) for value in values]}}


def node(name: str, op: str, inputs: Sequence[str] = (), **attributes: Any) -> dict[str, Any]:
    return {'name': name, 'op': op, 'input': list(inputs), 'attr': attributes}


def write(folder: Path, nodes: Sequence[dict[str, Any]], weights: dict[str, NDArray[Any]],
          paths: Sequence[str] = ('model.bin',), height: int = HEIGHT, width: int = WIDTH
          ) -> Path:
    """Write a model; nodes for its constants are added."""
    entries, data = [], b''
    for name, value in weights.items():
        entry: dict[str, Any] = {'name': name, 'shape': list(value.shape), 'dtype': 'float32'}
        if value.dtype == np.float16:
            entry['quantization'] = {'dtype': 'float16'}
        elif value.dtype == np.int32:
            entry['dtype'] = 'int32'
        entries.append(entry)
        data += value.tobytes()
    (folder / 'model.bin').write_bytes(data)
    shape = {'shape': {'dim': [{'size': str(side)} for side in (1, height, width, 3)]}}
    path = folder / 'model.json'
    path.write_text(json.dumps({
        'modelTopology': {'node': [
            *nodes, node('image', 'Placeholder', shape=shape),
            *(node(name, 'Const') for name in weights)]},
        'weightsManifest': [{'paths': list(paths), 'weights': entries}]}))
    return path


def integers(*values: int) -> NDArray[np.int32]:
    return np.array(values, np.int32)


NODES = [
    # Not in the order of computing.
    node('joined', 'ConcatV2', ['scaled', 'gated', 'axis']),
    node('conv', '_FusedConv2D', ['image', 'kernel', 'bias'], strides=listed(1, 2, 2, 1),
         padding=text('SAME'), dilations=listed(1, 1, 1, 1),
         fused_ops={'list': {'s': [text('BiasAdd')['s'], text('Relu6')['s']]}}),
    node('depthwise', 'DepthwiseConv2dNative', ['conv', 'depth kernel'],
         strides=listed(1, 1, 1, 1), padding=text('VALID'), dilations=listed(1, 1, 1, 1)),
    node('scaled', 'Mul', ['conv', 'factors']),
    node('mean', 'Mean', ['depthwise', 'axes'], keep_dims={'b': True}),
    node('gated', 'Mul', ['conv', 'mean:0']),
    node('larger', 'ResizeBilinear', ['joined', 'size'], align_corners={'b': False},
         half_pixel_centers={'b': False}),
    node('result', 'Sigmoid', ['larger'])]
WEIGHTS: dict[str, NDArray[Any]] = {
    'kernel': KERNEL, 'bias': BIAS, 'depth kernel': DEPTHWISE, 'factors': FACTORS,
    'axes': integers(1, 2), 'axis': np.array(3, np.int32), 'size': integers(8, 6)}


def test_computes_what_tensorflow_does(tmp_path: Path) -> None:
    file = read_graph_model(write(tmp_path, NODES, WEIGHTS))
    assert [output.name for output in file.outputs] == ['result']
    assert file.inputs[0].sizes == (1, 3, HEIGHT, WIDTH)
    file.graph.image_shape = (1, 3, HEIGHT, WIDTH)
    module = rebuild(file.graph)
    image = torch.from_numpy(RANDOM.normal(size=(1, 3, HEIGHT, WIDTH)).astype(np.float32))
    with torch.no_grad():
        found, = module(image)

    # SAME with stride 2: what is missing is at the bottom and at the right.
    conv = functional.conv2d(
        functional.pad(image, (0, 1, 0, 1)), torch.from_numpy(
            KERNEL.astype(np.float32).transpose(3, 2, 0, 1).copy()),
        torch.from_numpy(BIAS), 2).clamp(0, 6)
    depthwise = functional.conv2d(conv, torch.from_numpy(
        DEPTHWISE.transpose(2, 3, 0, 1).copy()), groups=4)
    joined = torch.cat((conv * torch.from_numpy(FACTORS).view(1, 4, 1, 1),
                        conv * depthwise.mean((2, 3), True)), 1).numpy()
    # Place i of the larger map is place i / 2 of the smaller; where there is none, the last.
    down, across = np.minimum(np.arange(8) / 2, 3), np.minimum(np.arange(6) / 2, 2)
    rows, columns = np.floor(down).astype(int), np.floor(across).astype(int)
    below, right = np.minimum(rows + 1, 3), np.minimum(columns + 1, 2)
    v, u = (down - rows)[:, None], (across - columns)[None]

    def at(row: NDArray[np.int64], column: NDArray[np.int64]) -> NDArray[np.float32]:
        return joined[:, :, row][:, :, :, column]

    larger = ((1 - v) * ((1 - u) * at(rows, columns) + u * at(rows, right))
              + v * ((1 - u) * at(below, columns) + u * at(below, right)))
    np.testing.assert_allclose(found.numpy(), 1 / (1 + np.exp(-larger)), atol=1e-5)


def upsampled(**masks: Any) -> list[dict[str, Any]]:
    """Return what Keras' UpSampling2D becomes, behind a cast of whole numbers."""
    return [
        node('numbers', 'Cast', ['image'], DstT={'type': 'DT_FLOAT'}),
        node('shape', 'Shape', ['numbers']),
        node('sides', 'StridedSlice', ['shape', 'first', 'end', 'by'], **masks),
        node('size', 'Mul', ['sides', 'twice']),
        node('larger', 'ResizeBilinear', ['numbers', 'size'],
             half_pixel_centers={'b': True})]


UPSAMPLED = {'first': integers(1), 'end': integers(3), 'by': integers(1),
             'twice': integers(2, 3)}


def test_a_size_that_is_a_multiple_of_the_map(tmp_path: Path) -> None:
    file = read_graph_model(write(tmp_path, upsampled(), UPSAMPLED))
    file.graph.image_shape = (1, 3, HEIGHT, WIDTH)
    image = torch.from_numpy(RANDOM.normal(size=(1, 3, HEIGHT, WIDTH)).astype(np.float32))
    found, = rebuild(file.graph)(image)
    torch.testing.assert_close(found, functional.interpolate(
        image, (2 * HEIGHT, 3 * WIDTH), mode='bilinear', align_corners=False))


@pytest.mark.parametrize(('first', 'masks'), [
    (0, {}), (1, {'begin_mask': {'i': '1'}}), (1, {'shrink_axis_mask': {'i': '1'}})])
def test_another_part_of_the_shape_is_no_such_multiple(
        first: int, masks: dict[str, Any], tmp_path: Path) -> None:
    weights = {**UPSAMPLED, 'first': integers(first)}
    with pytest.raises(BundleError, match="'size' is computed; it must be a constant"):
        read_graph_model(write(tmp_path, upsampled(**masks), weights))


@pytest.mark.parametrize(('nodes', 'reason'), [
    ([node('a', 'Relu', ['b']), node('b', 'Relu', ['a'])], 'nodes take each other in a circle: '),
    ([node('a', 'Relu', ['nothing'])], 'not a TensorFlow.js graph model: KeyError'),
    ([node('a', 'Conv2D', ['image', 'image'], strides=listed(1, 1, 1, 1))],
     "'image' is computed; it must be a constant"),
    ([node('a', 'Add', ['image', 'five axes'])], "constant 'five axes' has 5 axes"),
    ([node('a', 'Mean', ['image', 'axes'])], "node 'a' takes axes away")])
def test_graphs_that_are_refused(nodes: list[dict[str, Any]], reason: str, tmp_path: Path
                                 ) -> None:
    path = write(tmp_path, nodes, {**WEIGHTS, 'five axes': np.ones((1,) * 5, np.float32)})
    with pytest.raises(BundleError, match=reason) as caught:
        read_graph_model(path)
    assert str(path) in str(caught.value) and '\n' not in str(caught.value)


@pytest.mark.parametrize('shape', [
    (4,), (1, 4), (1, 1, 4), (1, 1, 1, 4), (3, 4), (WIDTH, 1), (HEIGHT, 1, 1), (1, WIDTH, 4), (1,),
    (1, 1)])
def test_a_constant_is_broadcast_as_tensorflow_does(
        shape: tuple[int, ...], tmp_path: Path) -> None:
    """Maps are as high and wide as they have channels: no shape but the right one tells."""
    sides = [4 if side in (HEIGHT, WIDTH, 3) else side for side in shape]
    constant = RANDOM.normal(size=sides).astype(np.float32)
    nodes = [
        node('conv', 'Conv2D', ['image', 'kernel'], strides=listed(1, 2, 2, 1),
             padding=text('SAME')),
        node('result', 'Mul', ['conv', 'constant'])]
    file = read_graph_model(write(tmp_path, nodes, {'kernel': KERNEL, 'constant': constant}))
    file.graph.image_shape = (1, 3, 8, 8)
    image = torch.from_numpy(RANDOM.normal(size=(1, 3, 8, 8)).astype(np.float32))
    found, = rebuild(file.graph)(image)
    conv = functional.conv2d(
        functional.pad(image, (0, 1, 0, 1)),
        torch.from_numpy(KERNEL.astype(np.float32).transpose(3, 2, 0, 1).copy()), stride=2)
    expected = conv.permute(0, 2, 3, 1) * torch.from_numpy(constant)
    torch.testing.assert_close(found.permute(0, 2, 3, 1), expected)


@pytest.mark.parametrize(('op', 'weight'), [
    ('Conv2D', 'kernel'), ('BiasAdd', 'bias'), ('MaxPool', None)])
def test_channels_first_are_refused_by_name(op: str, weight: str | None, tmp_path: Path) -> None:
    sources = ['image'] + ([weight] if weight else [])
    nodes = [node('first', op, sources, strides=listed(1, 1, 1, 1), ksize=listed(1, 1, 2, 2),
                  data_format=text('NCHW'))]
    with pytest.raises(BundleError, match="node 'first' works on NCHW"):
        read_graph_model(write(tmp_path, nodes, WEIGHTS))


def test_a_convolution_in_groups_is_refused(tmp_path: Path) -> None:
    """TensorFlow knows them by a kernel with fewer inputs; TensorFlow.js has none."""
    nodes = [node('conv', 'Conv2D', ['image', 'kernel'], strides=listed(1, 1, 1, 1)),
             node('grouped', 'Conv2D', ['conv', 'halves'], strides=listed(1, 1, 1, 1))]
    file = read_graph_model(write(tmp_path, nodes, {'kernel': KERNEL, 'halves': KERNEL[:, :, :2]}))
    file.graph.image_shape = (1, 3, HEIGHT, WIDTH)
    with pytest.raises(BundleError, match="'grouped'"):
        rebuild(file.graph)


@pytest.mark.parametrize('name', ['../model.bin', '/etc/hostname'])
def test_weights_elsewhere_are_not_read(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, NODES, WEIGHTS, [name])
    with pytest.raises(BundleError, match='outside the folder of the model'):
        read_graph_model(path)


@pytest.mark.parametrize(('target', 'reason'), [
    ('elsewhere/model.bin', "weights lie in 'link.bin', outside the folder of the model"),
    ('/dev/zero', 'outside the folder of the model'), ('link.bin', 'link.bin'),
    ('folder/pipe', 'not an ordinary file, though model.json names it'),
    ('folder', 'not an ordinary file, though model.json names it')])
def test_links_to_what_is_no_weight_are_not_followed(
        target: str, reason: str, tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / 'folder', tmp_path / 'elsewhere'
    folder.mkdir()
    elsewhere.mkdir()
    path = write(folder, NODES, WEIGHTS, ['link.bin'])
    (folder / 'model.bin').rename(elsewhere / 'model.bin')  # as many bytes as are declared
    os.mkfifo(folder / 'pipe')  # nobody writes to it: opened, it would wait for ever
    (folder / 'link.bin').symlink_to(target if target == 'link.bin' else tmp_path / target)
    with pytest.raises(BundleError, match=reason) as caught:
        read_graph_model(path)
    assert '\n' not in str(caught.value)


def test_a_link_within_the_folder_is_followed(tmp_path: Path) -> None:
    path = write(tmp_path, NODES, WEIGHTS, ['link.bin'])
    (tmp_path / 'link.bin').symlink_to('model.bin')
    assert read_graph_model(path).inputs[0].sizes == (1, 3, HEIGHT, WIDTH)


@pytest.mark.parametrize(('paths', 'more', 'reason'), [
    (['model.bin'], 1, 'they do not belong together'),
    (['model.bin'], 1 << 40, 'they do not belong together'),
    (['model.bin'] * 1000, 0, 'they do not belong together'),
    (['model.bin'], -1, 'ends within size, after')])
def test_files_of_another_size_are_not_read(
        paths: list[str], more: int, reason: str, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, NODES, WEIGHTS, paths)
    os.truncate(tmp_path / 'model.bin', (tmp_path / 'model.bin').stat().st_size + more)
    monkeypatch.setattr(tfjs, '_start', lambda *_: pytest.fail('was read'))
    with pytest.raises(BundleError, match=reason):
        read_graph_model(path)


@pytest.mark.parametrize(('shape', 'reason'), [
    ([-1], r'weight kernel has a side that is no number of elements: \[-1\]'),
    ([3, 3, 3, 4.0], r'no number of elements: \[3, 3, 3, 4.0\]'),
    ([1 << 31], 'declares weights of [0-9]+ bytes; at most 2147483648 are read')])
def test_shapes_that_are_none(shape: list[float], reason: str, tmp_path: Path) -> None:
    path = write(tmp_path, NODES, WEIGHTS)
    content = json.loads(path.read_text())
    content['weightsManifest'][0]['weights'][0]['shape'] = shape
    path.write_text(json.dumps(content))
    with pytest.raises(BundleError, match=reason):
        read_graph_model(path)


def test_a_graph_that_is_no_file(tmp_path: Path) -> None:
    (tmp_path / 'model.json').symlink_to('/dev/zero')
    with pytest.raises(BundleError, match='model.json: not an ordinary file'):
        read_graph_model(tmp_path / 'model.json')


@pytest.mark.parametrize('content', ['', '5', '{}', '[' * 100_000, '{"modelTopology": 5}'])
def test_no_graph_models(content: str, tmp_path: Path) -> None:
    path = tmp_path / 'model.json'
    path.write_text(content)
    with pytest.raises(BundleError, match=str(path)):
        read_graph_model(path)


def test_an_operator_that_is_unknown_is_named(tmp_path: Path) -> None:
    nodes = [*NODES, node('best', 'TopKV2', ['result', 'axis']),
             node('places', 'Relu', ['best:1'])]
    file = read_graph_model(write(tmp_path, nodes, WEIGHTS))
    file.graph.image_shape = (1, 3, HEIGHT, WIDTH)
    with pytest.raises(BundleError, match='cannot be converted: tensorflow.TopKV2'):
        rebuild(file.graph)


def test_a_detector_is_imported_end_to_end(
        tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
        ) -> None:
    """Against TensorFlow's own arithmetic, on maps as wide as they have channels."""
    pytest.importorskip('torch_pruning')
    pytest.importorskip('onnxruntime')
    from prune_perception.bundle import read_bundle
    from prune_perception.cli import import_network
    from prune_perception.cli.main import main
    from prune_perception.runtime.engines import create_engine, EngineOptions
    monkeypatch.setattr(import_network, '_pictures', lambda _: [])
    random = np.random.default_rng(1)

    def numbers(*shape: int) -> NDArray[np.float32]:
        return random.normal(size=shape).astype(np.float32)

    weights: dict[str, NDArray[Any]] = {
        'patches': numbers(8, 8, 3, 8).astype(np.float16), 'factors': numbers(1, 1, 8),
        'each': numbers(3, 3, 8, 1), 'added': numbers(8), 'last': numbers(1, 1, 8, 6),
        'bias': numbers(6)}
    nodes = [
        node('stem', 'Conv2D', ['image', 'patches'], strides=listed(1, 8, 8, 1),
             padding=text('SAME')),
        node('scaled', 'Mul', ['stem', 'factors']),
        node('around', 'DepthwiseConv2dNative', ['scaled', 'each'], strides=listed(1, 1, 1, 1),
             padding=text('SAME')),
        node('moved', 'AddV2', ['around', 'added']), node('active', 'Relu', ['moved']),
        node('result', '_FusedConv2D', ['active', 'last', 'bias'], strides=listed(1, 1, 1, 1),
             padding=text('VALID'), fused_ops={'list': {'s': [text('BiasAdd')['s']]}})]
    source = write(tmp_path, nodes, weights, height=64, width=64)
    (tmp_path / 'names.txt').write_text('person\ndog')
    assert main([
        'import', str(source), '--classes', str(tmp_path / 'names.txt'), '--resize', 'stretch',
        '--colour', 'rgb', '--mean', '0', '--std', '255', '--decoder', 'fcos',
        '--decoder-setting', 'strides=[8]', '--decoder-setting', 'centerness=none',
        '-o', str(tmp_path / 'bundle')]) == 0
    assert 'ONNX Runtime on the graph as it was read by' in capsys.readouterr().out

    image = random.integers(0, 256, (1, 64, 64, 3), np.uint8)
    found, = create_engine(
        read_bundle(tmp_path / 'bundle'), EngineOptions('onnxruntime')).run(image)

    # Patches that do not overlap, and the window of 3 x 3, by sums over NumPy's axes alone.
    pixels = (image[0] / 255).reshape(8, 8, 8, 8, 3)  # row, within it, column, within it, colour
    stem = np.einsum('yixjc,ijco->yxo', pixels, weights['patches'].astype(np.float32))
    padded = np.pad(stem * weights['factors'], ((1, 1), (1, 1), (0, 0)))
    around = sum(padded[row:row + 8, column:column + 8] * weights['each'][row, column, :, 0]
                 for row in range(3) for column in range(3))
    expected = np.maximum(around + weights['added'], 0) @ weights['last'][0, 0] + weights['bias']
    # The bundle's weights are float16.
    assert np.abs(found[0].transpose(1, 2, 0) - expected).max() <= 5e-3 * np.abs(expected).max()
