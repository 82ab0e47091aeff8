# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip('torch')
onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')

import cv2  # noqa: E402
import safetensors.numpy  # noqa: E402

from prune_perception.bundle import (  # noqa: E402
    Card,
    DecoderSpec,
    InputSpec,
    OutputSpec,
    Provenance,
    read_bundle,
)
from prune_perception.networks.export import (  # noqa: E402
    bundle_files,
    Deployed,
    export_graph,
)
from prune_perception.networks.nanodet import NanoDetG  # noqa: E402
from prune_perception.networks.registry import (  # noqa: E402
    load_network,
    round_weights,
    spec_of,
)
from prune_perception.runtime.engines import create_engine, EngineOptions  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
COMMITTED = ROOT / 'models' / 'nanodet_g'
# A mean and deviations that float16 does not hold exactly, and sides that differ.
FED = InputSpec(64, 96, 'bgr', (103.53, 116.28, 123.675), (57.375, 57.12, 58.395), 'stretch')
NAMES = ('head_8', 'head_16', 'head_32')


@pytest.fixture(scope='module')
def network():
    torch.manual_seed(0)
    module = NanoDetG(classes=2, bins=8).eval()
    round_weights(module)
    return module


@pytest.fixture(scope='module')
def graph(network):
    return export_graph(network, FED, NAMES)


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (1, FED.height, FED.width, 3), np.uint8)


def run(graph, image):
    session = onnxruntime.InferenceSession(graph, providers=['CPUExecutionProvider'])
    return session.run(list(NAMES), {'image': image})


def test_normalises_the_image_itself(image):
    deployed = Deployed(torch.nn.Identity(), FED)
    expected = (image[0, 10, 20].astype(np.float64) - FED.mean) / FED.std
    with torch.no_grad():
        found = deployed(torch.from_numpy(image))
    assert found.shape == (1, 3, FED.height, FED.width)
    np.testing.assert_allclose(found[0, :, 10, 20], expected, atol=1e-6)


def test_signature(graph):
    session = onnxruntime.InferenceSession(graph, providers=['CPUExecutionProvider'])
    (fed,) = session.get_inputs()
    assert (fed.name, fed.type, fed.shape) == ('image', 'tensor(uint8)', [1, 64, 96, 3])
    assert [(item.name, item.type, item.shape) for item in session.get_outputs()] == [
        (name, 'tensor(float)', [1, 34, 64 // stride, 96 // stride])
        for name, stride in zip(NAMES, (8, 16, 32), strict=True)]
    model = onnx.load_from_string(graph)
    assert [(item.domain, item.version) for item in model.opset_import] == [('', 18)]
    assert model.ir_version <= 9  # the newest that ONNX Runtime 1.17 reads


def test_graph_computes_what_the_module_does(graph, network, image):
    with torch.no_grad():
        expected = Deployed(network, FED)(torch.from_numpy(image))
    for ours, theirs in zip(run(graph, image), expected, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=0, atol=1e-5)


def test_same_network_gives_the_same_bytes(graph, network):
    assert export_graph(network, FED, NAMES) == graph


def test_tells_nothing_of_the_machine_it_was_made_on(graph):
    model = onnx.load_from_string(graph)
    for tensor in model.graph.initializer:
        tensor.ClearField('raw_data')
    text = str(model)
    for trace in ('.py', '/', 'Traceback', 'metadata_props'):
        assert trace not in text


class Permuting(torch.nn.Module):
    """The exporter calls its values ``conv2d``, ``permute``, ``cat``, and so on."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 1)

    def forward(self, x):
        x = self.conv(x)
        return torch.cat([x, x * 2]), x.permute(0, 2, 3, 1)


@pytest.mark.parametrize('names', [
    ('cat', 'permute'), ('permute', 'conv2d'), ('sub', 'output.0'), ('output.1', 'output.0')])
def test_outputs_may_be_called_as_the_exporter_calls_values_inside(names, image):
    torch.manual_seed(0)
    module = Permuting().eval()
    graph = export_graph(module, FED, names)
    session = onnxruntime.InferenceSession(graph, providers=['CPUExecutionProvider'])
    assert [output.name for output in session.get_outputs()] == list(names)
    found = session.run(list(names), {'image': image})
    with torch.no_grad():
        expected = Deployed(module, FED)(torch.from_numpy(image))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-4)


def test_halved_weights_compute_the_same_as_whole_ones(graph, image):
    model = onnx.load_from_string(graph)
    halved = {item.name: item for item in model.graph.initializer
              if item.data_type == onnx.TensorProto.FLOAT16}
    assert len(halved) > 25
    nodes = []
    for node in model.graph.node:
        if node.op_type == 'Cast' and node.input[0] in halved:
            tensor = halved[node.input[0]]
            values = onnx.numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, node.output[0]))
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    whole = model.SerializeToString()
    assert len(graph) < 0.55 * len(whole)
    for ours, theirs in zip(run(graph, image), run(whole, image), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_weights_that_float16_cannot_hold_stay_whole(image):
    torch.manual_seed(1)
    module = NanoDetG(classes=2, bins=8).eval()
    graph = export_graph(module, FED, NAMES)
    kinds = {item.data_type for item in onnx.load_from_string(graph).graph.initializer}
    assert onnx.TensorProto.FLOAT16 not in kinds
    with torch.no_grad():
        expected = Deployed(module, FED)(torch.from_numpy(image))
    for ours, theirs in zip(run(graph, image), expected, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=0, atol=1e-5)


def test_graph_and_weights_of_a_bundle_are_one_network():
    torch.manual_seed(2)
    module = NanoDetG(classes=2, bins=8)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    card = Card(
        name='small', class_names=('one', 'other'), input=FED,
        outputs=tuple(OutputSpec(name, (1, 34, 1, 1)) for name in NAMES),
        decoder=DecoderSpec('nanodet', {}), network=spec_of('nanodet_g', module),
        provenance=Provenance('a test', '0'), licence='Apache-2.0', attribution='none')
    files = bundle_files(module, card)
    stored = safetensors.numpy.load(files['weights.safetensors'])
    in_graph = {
        item.name.removeprefix('module.').removesuffix('.float16'):
        onnx.numpy_helper.to_array(item)
        for item in onnx.load_from_string(files['model.onnx']).graph.initializer}
    assert stored['stage3.last.weight'].dtype == np.float16
    for name, values in stored.items():
        np.testing.assert_array_equal(in_graph[name].astype(np.float32),
                                      values.astype(np.float32))
    assert module.training
    assert all(torch.equal(tensor, before[name])
               for name, tensor in module.state_dict().items())


@pytest.mark.parametrize('engine', ['onnxruntime', 'openvino', 'torch'])
@pytest.mark.parametrize('picture', ['noise', 'photograph'])
def test_engines_agree_with_the_torch_module(engine, picture, request):
    pytest.importorskip(engine)
    bundle = read_bundle(COMMITTED)
    fed = bundle.card.input
    if picture == 'noise':
        image = np.random.default_rng(0).integers(0, 256, (fed.height, fed.width, 3), np.uint8)
    else:
        folder = request.getfixturevalue('data') / 'coco128' / 'val'
        photograph = cv2.imread(str(sorted(folder.glob('*.jpg'))[0]))
        image = cv2.resize(photograph, (fed.width, fed.height))
    image = image[None]
    module = load_network(bundle)
    with torch.no_grad():
        normalised = (image.astype(np.float32) - np.float32(fed.mean)) / np.float32(fed.std)
        expected = module(torch.from_numpy(normalised.transpose(0, 3, 1, 2)))
    outputs = create_engine(bundle, EngineOptions(engine, threads=2)).run(image)
    for ours, theirs in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=0, atol=1e-3)
