# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Quantisation by NNCF: what both engines make of its graph, and that it reports nothing."""

from collections.abc import Iterator
import itertools
import json
import os
from pathlib import Path
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip('torch')
pytest.importorskip('torch_pruning')
pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
pytest.importorskip('openvino')
pytest.importorskip('nncf')
pytest.importorskip('pycocotools')

import onnx
from onnx import numpy_helper
from prunable import networks_in_use, write_footage, write_squares

from prune_perception.bundle import GRAPH, Quantisation, read_bundle
from prune_perception.cli.main import main
from prune_perception.frames.recording import open_recording
from prune_perception.pruning import nncf_graph
from prune_perception.pruning.int8_graph import (
    FloatGraph,
    layers_in_float,
    prepare,
    QuantisationError,
)
from prune_perception.pruning.latency import engine_of
from prune_perception.pruning.nncf_graph import quantised_graph
from prune_perception.resources import find_model, find_resource

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope='module')
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder with a bundle in float and footage."""
    folder = tmp_path_factory.mktemp('nncf')
    with networks_in_use():
        write_squares(folder / 'dense')
        write_footage(folder / 'footage')
        yield folder


@pytest.fixture(scope='module')
def graph(place: Path) -> FloatGraph:
    return prepare(read_bundle(place / 'dense').read_file(GRAPH))


@pytest.fixture(scope='module')
def images(place: Path) -> np.ndarray:
    with open_recording(place / 'footage') as recording:
        return np.stack([frame.image() for frame in itertools.islice(recording, 4)])


def words(place: Path, *others: str, out: str) -> list[str]:
    return ['quantize', str(place / 'dense'), '--data', str(place / 'footage'),
            '--quantiser', 'nncf', '-o', str(place / out), *others]


# ---- the graph

def test_weights_are_integers_by_channel_and_what_is_kept_is_not(
        graph: FloatGraph, images: np.ndarray) -> None:
    for keep, layers in (((), ()), (graph.last, graph.last_layers)):
        data = quantised_graph(graph, images, keep=keep)
        assert layers_in_float(graph, data) == layers
        model = onnx.load_from_string(data)
        stored = {tensor.name: tensor for tensor in model.graph.initializer}
        makers = {node.output[0]: node for node in model.graph.node}
        convolutions = [node for node in model.graph.node if node.op_type == 'Conv']
        assert len(convolutions) == 5
        for node in convolutions:
            if node.name in keep:
                continue
            maker = makers[node.input[1]]
            assert maker.op_type == 'DequantizeLinear'
            weight, scale = (stored[name] for name in maker.input[:2])
            assert weight.data_type == onnx.TensorProto.INT8
            assert list(scale.dims) == [weight.dims[0]]  # one for each output channel
            assert makers[node.input[0]].op_type in ('DequantizeLinear', 'AveragePool')
        assert [domain.domain for domain in model.opset_import] == ['']


def test_seven_bits_are_fewer(graph: FloatGraph, images: np.ndarray) -> None:
    largest = [max(
        int(np.abs(numpy_helper.to_array(tensor).astype(int)).max())
        for tensor in onnx.load_from_string(
            quantised_graph(graph, images, reduced_range=reduced)).graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 4)
        for reduced in (False, True)]
    assert largest[0] in (127, 128) and largest[1] in (63, 64)


def test_the_same_bytes_for_the_same_images(
        place: Path, graph: FloatGraph, images: np.ndarray) -> None:
    first = quantised_graph(graph, images)
    again = prepare(read_bundle(place / 'dense').read_file(GRAPH))
    assert quantised_graph(again, images) == first
    assert quantised_graph(again, images // 2) != first  # other ranges


def test_what_the_quantiser_cannot_do_is_a_line(graph: FloatGraph) -> None:
    with pytest.raises(QuantisationError, match='^NNCF [0-9.]+ cannot quantise it: .+'):
        quantised_graph(graph, np.zeros((1, 5, 5, 3), np.uint8))


def test_unsigned_maps_are_the_same_to_the_bit_and_openvino_gets_them_right(
        monkeypatch: pytest.MonkeyPatch) -> None:
    # One with concatenations, of which OpenVINO makes something else where they are signed.
    bundle = read_bundle(find_model('nanodet_g_person_10'))
    with open_recording(find_resource('demo', 'pedestrians')) as recording:
        side = bundle.card.input
        pictures = np.stack([frame.image()[:side.height, :side.width] for frame in
                             itertools.islice(recording, 4)])
    graph = prepare(bundle.read_file(GRAPH))
    unsigned = quantised_graph(graph, pictures)
    monkeypatch.setattr(nncf_graph, '_make_unsigned', lambda _: None)
    signed = quantised_graph(graph, pictures)

    def types(data: bytes) -> set[int]:
        found = onnx.load_from_string(data).graph
        kinds = {tensor.name: tensor.data_type for tensor in found.initializer}
        return {kinds[node.input[2]] for node in found.node if node.op_type == 'QuantizeLinear'}

    assert types(unsigned) == {onnx.TensorProto.UINT8}
    assert onnx.TensorProto.INT8 in types(signed)

    def outputs(data: bytes, engine: str) -> list[np.ndarray]:
        made = engine_of(bundle.card, {**{name: bundle.read_file(name) for name in
                                          bundle.card.files}, GRAPH: data}, engine)
        return [output.copy() for output in made.run(pictures[:1])]

    wanted = outputs(bundle.read_file(GRAPH), 'onnxruntime')
    in_onnxruntime = outputs(unsigned, 'onnxruntime')
    for one, other in zip(in_onnxruntime, outputs(signed, 'onnxruntime'), strict=True):
        np.testing.assert_array_equal(one, other)
    for found in (in_onnxruntime, outputs(unsigned, 'openvino')):
        for one, other in zip(found, wanted, strict=True):
            assert np.abs(one - other).mean() < 0.1 * np.abs(other).mean()


# ---- the bundle

def test_a_bundle_by_nncf(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(place, '--last-layers', 'float', '--reduce-range', '--json',
                      str(place / 'figures.json'), out='int8')) == 0
    printed = capsys.readouterr()
    assert 'int8 by nncf, from dense' in printed.out
    assert not [line for line in (printed.out + printed.err).splitlines()
                if 'Statistics' in line or 'nncf:' in line]
    bundle = read_bundle(place / 'int8')
    assert bundle.card.quantisation == Quantisation(8, ('coarse', 'fine'), True, 'nncf')
    figures = json.loads((place / 'figures.json').read_text())
    assert figures['quantisation']['quantiser'] == 'nncf'
    assert figures['agreement']['by_last_layers']['float'] > 0.95
    assert figures['agreement']['in_openvino'] > 0.95
    assert {latency['engine'] for latency in figures['latency']} == {'onnxruntime', 'openvino'}
    assert bundle.card.certificate is not None
    account = bundle.card.energy['eyeriss_65nm']
    assert account['word_bits'] == 8 and 0.2 < account['share_of_parent'] < 0.6


# ---- what it reports

RUN = """
import sys
calls = []
# What NNCF sends is sent by processes that it forks.
sys.addaudithook(lambda event, values: event in (
    'socket.connect', 'socket.getaddrinfo', 'socket.sendto', 'os.fork', 'subprocess.Popen')
    and calls.append((event, values)))
from pathlib import Path
import numpy as np
from prune_perception.pruning.int8_graph import prepare
from prune_perception.pruning.nncf_graph import quantised_graph
quantised_graph(prepare(Path(sys.argv[1]).read_bytes()), np.zeros((1, 32, 64, 3), np.uint8))
import time
time.sleep(0.3)  # what would be sent is sent by a thread
print(bool(sys.modules.get('openvino_telemetry')), calls)
"""


def test_nothing_is_sent(place: Path, tmp_path: Path) -> None:
    # Without the variables that keep such reports from tests, and those that move the cache.
    quiet = ('CI', 'TF_BUILD', 'JENKINS_URL', 'ORT_DISABLE_TELEMETRY', 'ORT_RUNNING_UNIT_TESTS',
             'NNCF_CI', 'NNCF_DEV', 'XDG_CACHE_HOME', 'XDG_CONFIG_HOME', 'XDG_DATA_HOME')
    environment = {key: value for key, value in os.environ.items() if key not in quiet}
    result = subprocess.run(
        [sys.executable, '-c', RUN, str(place / 'dense' / GRAPH)], capture_output=True, text=True,
        check=False, cwd=ROOT, env={**environment, 'HOME': str(tmp_path)})
    assert result.returncode == 0, result.stderr
    assert result.stdout == 'False []\n'
    # Such a report begins with an identifier of the user, kept in the home folder.
    assert not list(tmp_path.rglob('*'))
