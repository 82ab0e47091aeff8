# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Time per layer by the engines' own profilers, and how it is put down to the layers."""

from collections.abc import Sequence
import json
from pathlib import Path
import tempfile
from typing import Any

from bundles import COMMITTED, small_card
import numpy as np
import pytest

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

import onnx

from prune_perception.bundle import Bundle, OutputSpec, read_bundle, write_bundle
from prune_perception.calibration import CalibrationError
from prune_perception.calibration.layer_times import attribute, measure_layer_times
from prune_perception.calibration.node_names import number_graph
from prune_perception.calibration.sessions import open_session, parse_onnxruntime_profile
from prune_perception.energy.layer_times import LayerTimes
from prune_perception.energy.time_report import duration
from prune_perception.runtime.engines import EngineError, EngineOptions

ENGINES = ('onnxruntime', 'openvino')
WIDE = 96


def graph(prefix: str = 'module.', halved: bool = True) -> bytes:
    """
    Return a network like an exported one: narrow, then wide, then a second use of wide.

    Layer ``body.wide`` has 3 * 3 * 96 * 96 weights and runs twice, ``stem`` has 3 * 96; the
    activation after the stem is fused to it, the one before the output is read twice.
    """
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    generator = np.random.default_rng(0)
    weights = {
        'stem': generator.standard_normal((WIDE, 3, 1, 1)),
        'body.wide': generator.standard_normal((WIDE, WIDE, 3, 3)) / 30,
        'head': generator.standard_normal((14, WIDE, 1, 1)) / 10}
    stored, nodes = [], []
    for name, values in weights.items():
        full = f'{prefix}{name}.weight'
        kind = np.float16 if halved else np.float32
        stored.append(onnx.numpy_helper.from_array(
            values.astype(kind), f'{full}.float16' if halved else full))
        if halved:
            nodes.append(helper.make_node('Cast', [f'{full}.float16'], [full], to=float32))

    def convolve(name: str, given: str, left: str, pad: int = 0) -> None:
        nodes.append(helper.make_node(
            'Conv', [given, f'{prefix}{name}.weight'], [left], pads=[pad] * 4))
    nodes += [helper.make_node('Cast', ['image'], ['float'], to=float32),
              helper.make_node('Transpose', ['float'], ['planes'], perm=[0, 3, 1, 2])]
    convolve('stem', 'planes', 'a')
    nodes.append(helper.make_node('LeakyRelu', ['a'], ['b'], alpha=0.1))
    convolve('body.wide', 'b', 'c', 1)
    nodes.append(helper.make_node('Relu', ['c'], ['d']))
    convolve('body.wide', 'd', 'e', 1)
    nodes.append(helper.make_node('MaxPool', ['e'], ['f'], kernel_shape=[8, 8], strides=[8, 8]))
    convolve('head', 'f', 'fine')
    nodes.append(helper.make_node(
        'AveragePool', ['fine'], ['coarse'], kernel_shape=[2, 2], strides=[2, 2]))
    fed = helper.make_tensor_value_info('image', onnx.TensorProto.UINT8, [1, 32, 64, 3])
    outputs = [helper.make_tensor_value_info('fine', float32, [1, 14, 4, 8]),
               helper.make_tensor_value_info('coarse', float32, [1, 14, 2, 4])]
    model = helper.make_model(
        helper.make_graph(nodes, 'small', [fed], outputs, stored),
        opset_imports=[helper.make_opsetid('', 18)], ir_version=8)
    return bytes(model.SerializeToString())


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_bundle(tmp_path / 'model', small_card(network=None), {'model.onnx': graph()})


@pytest.mark.parametrize('prefix', ['module.', ''])
@pytest.mark.parametrize('halved', [True, False])
def test_nodes_belong_to_the_layer_of_their_weight(prefix: str, halved: bool):
    numbered = number_graph(graph(prefix, halved))
    owners = [(operator, layer) for operator, layer in
              zip(numbered.operators, numbered.layers, strict=True) if operator != 'Cast']
    assert owners == [
        ('Transpose', None), ('Conv', 'stem'), ('LeakyRelu', 'stem'), ('Conv', 'body.wide'),
        ('Relu', 'body.wide'), ('Conv', 'body.wide'), ('MaxPool', None), ('Conv', 'head'),
        ('AveragePool', None)]
    assert numbered.order() == ['stem', 'body.wide', 'head']
    place = numbered.operators.index('LeakyRelu')
    for name in (f'pp.{place}._nchwc', f'fused pp.{place}.', f'pp.{place}./WithoutBiases'):
        assert numbered.owner(name) == 'stem'
    assert numbered.owner('ReorderOutput_token_3') is None


def test_an_activation_that_others_see_too_is_not_the_layers():
    model = onnx.load_model_from_string(graph())
    activation = next(node for node in model.graph.node if node.op_type == 'Relu')
    model.graph.node.append(onnx.helper.make_node('Sigmoid', [activation.input[0]], ['more']))
    numbered = number_graph(model.SerializeToString())
    assert numbered.layers[numbered.operators.index('Relu')] is None


def test_numbering_changes_nothing_but_names(bundle: Bundle):
    import onnxruntime
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 64, 3), np.uint8)
    for before, after in zip(
            *(onnxruntime.InferenceSession(data, providers=['CPUExecutionProvider']).run(
                None, {'image': image})
              for data in (graph(), number_graph(graph()).model)), strict=True):
        np.testing.assert_array_equal(before, after)


def event(name: str, operator: str, microseconds: int) -> dict[str, Any]:
    return {'cat': 'Node', 'name': f'{name}_kernel_time', 'dur': microseconds,
            'args': {'op_name': operator}}


def test_the_profile_is_cut_into_runs():
    end = {'cat': 'Session', 'name': 'model_run', 'dur': 99}
    load = {'cat': 'Session', 'name': 'model_loading_array', 'dur': 9}
    runs = parse_onnxruntime_profile([
        load, event('pp.1.', 'Conv', 10), {'cat': 'Node', 'name': 'pp.1._fence_before', 'dur': 1},
        end, event('pp.1.', 'Conv', 20), event('x', 'ReorderInput', 5), end])
    assert [[(name, operator, round(seconds * 1e6)) for name, operator, seconds in run]
            for run in runs] == [
                [('pp.1.', 'Conv', 10)], [('pp.1.', 'Conv', 20), ('x', 'ReorderInput', 5)]]
    with pytest.raises(EngineError, match='holds no operator'):
        parse_onnxruntime_profile([load, end])


def test_times_are_put_down_by_hand():
    numbered = number_graph(graph(halved=False))
    names: Sequence[str] = [f'pp.{index}.' for index in range(len(numbered.layers))]
    stem, wide, again, pool = (names[index] for index in (2, 4, 6, 7))
    layers, other = attribute([
        [(stem, 'Conv', 1.0), (wide, 'Conv', 2.0), (again, 'Conv', 3.0), (pool, 'MaxPool', 4.0),
         (f'{wide}reorder', 'Reorder', 5.0)],
        [(stem, 'Conv', 10.0)]], numbered)
    assert layers == {'stem': [1.0, 10.0], 'body.wide': [5.0, 0.0]}
    assert other == {'MaxPool': [4.0, 0.0], 'change of layout': [5.0, 0.0]}


@pytest.mark.parametrize('engine', ENGINES)
def test_the_heavy_layer_takes_longest(
        engine: str, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip(engine)
    temporary = tmp_path / 'temporary'
    temporary.mkdir()
    monkeypatch.setattr(tempfile, 'tempdir', str(temporary))
    seen: list[tuple[int, int]] = []
    times = measure_layer_times(bundle, EngineOptions(engine, 1), runs=10,
                                progress=lambda done, total: seen.append((done, total)))
    assert list(times.layers) == ['stem', 'body.wide', 'head']
    # 576 times the MACs of the stem.
    assert times.layers['body.wide'] > 5 * times.layers['stem'] > 0
    assert times.layers['body.wide'] > 5 * times.layers['head'] > 0
    assert times.layers['body.wide'] > times.other_seconds
    assert 0.2 < times.covered < 5
    assert (times.threads, times.runs, times.network) == (1, 10, 'small')
    assert seen[-1] == (15, 15)
    assert list(temporary.iterdir()) == [], 'the profile is removed'


@pytest.mark.parametrize('engine', ENGINES)
def test_every_convolution_of_the_shipped_detector_is_found(engine: str):
    pytest.importorskip(engine)
    bundle = read_bundle(COMMITTED)
    times = measure_layer_times(bundle, EngineOptions(engine, 1), runs=3)
    assert bundle.card.network is not None
    assert list(times.layers) and set(times.layers) == set(bundle.card.network.widths)
    assert min(times.layers.values()) > 0
    assert 'Conv' not in times.other and 'Convolution' not in times.other
    assert times.other_seconds < times.layer_seconds


def test_a_network_whose_weights_have_other_names_is_refused(tmp_path: Path):
    data = graph(halved=False).replace(b'.weight', b'.kernel')
    bundle = write_bundle(tmp_path / 'model', small_card(network=None), {'model.onnx': data})
    with pytest.raises(CalibrationError, match='no operator could be put down to a layer'):
        measure_layer_times(bundle, EngineOptions(threads=1), runs=1)


def test_an_engine_without_a_profile_is_refused(bundle: Bundle):
    with pytest.raises(EngineError, match='engine torch is not measured layer by layer'):
        measure_layer_times(bundle, EngineOptions('torch'), runs=1)
    with open_session(graph(), {}, EngineOptions()) as session, pytest.raises(
            EngineError, match='without its profiler'):
        session.profile()
    with pytest.raises(CalibrationError, match='0 runs'):
        measure_layer_times(bundle, EngineOptions(), runs=0)


def test_sums_by_hand():
    times = LayerTimes('n', 'an engine', 1, 'a machine', 3, {'a': 1.0, 'b': 2.0},
                       {'a': 0.1, 'b': 0.2}, {'Concat': 0.5}, 4.5, 4.0)
    assert (times.layer_seconds, times.other_seconds, times.covered) == (3.0, 0.5, 0.875)
    assert times.conditions == 'measured with an engine on a machine, median of 3 runs'
    content = json.loads(json.dumps(times.to_dict()))
    assert content['layers'] == {'a': 1.0, 'b': 2.0}
    assert content['covered'] == 0.875


@pytest.mark.parametrize(('seconds', 'text'), [
    (2.5, '2.5 s'), (0.0123, '12.3 ms'), (0.0009997, '1 ms'), (45.6e-6, '45.6 µs')])
def test_duration(seconds: float, text: str):
    assert duration(seconds) == text


def test_the_verb_shows_time_beside_energy(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip('torch')
    from prune_perception.cli.main import main
    account, page = tmp_path / 'account.json', tmp_path / 'page.html'
    assert main(['profile', 'nanodet_g', '--measure', '--threads', '1', '--json', str(account),
                 '--html', str(page)]) == 0
    shown = capsys.readouterr().out
    assert 'Time of one inference: ' in shown
    assert 'Time of each layer; measured with ONNX Runtime' in shown
    assert 'energy modelled for eyeriss_65nm, 16-bit words, batch 1' in shown
    line = next(line for line in shown[shown.index('Time of each'):].splitlines()
                if line.startswith('head8.conv '))
    assert line.count('%') == 3 and ('ms' in line or 'µs' in line)
    content = json.loads(account.read_text())
    times = content['layer_times']
    modules = [layer['module'] for layer in content['layers'] if layer['macs']]
    assert list(times['layers']) == sorted(times['layers'], key=modules.index)
    assert set(times['layers']) == set(modules)
    assert times['measured'] is True and content['modelled'] is True
    text = page.read_text()
    assert '<h2>Time of each layer</h2>' in text and 'other: Concat' in text


def test_without_measure_nothing_is_added(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip('torch')
    from prune_perception.cli.main import main
    account = tmp_path / 'account.json'
    assert main(['profile', 'nanodet_g', '--json', str(account)]) == 0
    assert 'Time of' not in capsys.readouterr().out
    assert 'layer_times' not in json.loads(account.read_text())


def test_the_output_is_declared() -> None:
    # The graph above and the card agree, or every test here would fail for another reason.
    assert small_card().outputs[0] == OutputSpec('fine', (1, 14, 4, 8))
