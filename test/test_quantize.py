# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Quantisation: a graph that really computes in integers, and the verb that makes a bundle."""

from collections.abc import Iterator
from dataclasses import replace
import json
from pathlib import Path
import sys

import numpy as np
import pytest

pytest.importorskip('torch')
pytest.importorskip('torch_pruning')
pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
pytest.importorskip('pycocotools')

from blobs import write_blobs, write_pictures
from bundles import write_sees_one
import onnx
from prunable import FRAMES, networks_in_use, write_footage, write_squares
import yaml

from prune_perception.bundle import (
    Bundle,
    BundleError,
    CARD,
    GRAPH,
    Quantisation,
    read_bundle,
    replace_card,
    write_bundle,
)
from prune_perception.cli.main import main
from prune_perception.energy.counting import profile_module
from prune_perception.energy.hardware import load_profile
from prune_perception.evaluation.cost import modelled_energy
from prune_perception.evaluation.job_error import JobError
from prune_perception.evaluation.potential_survey import _ladder
from prune_perception.frames.recording import open_recording
from prune_perception.networks.registry import example_input, load_network
from prune_perception.pruning import quantiser
from prune_perception.pruning.int8_graph import (
    FloatGraph,
    layers_in_float,
    prepare,
    QuantisationError,
    quantised_graph,
)
from prune_perception.pruning.quantiser import CALIBRATION_FRAMES, Outcome
from prune_perception.runtime.detector import Detector
from prune_perception.runtime.engines import create_engine, EngineOptions
from prune_perception.runtime.ladder import check_ladder, largest_first, Rung


@pytest.fixture(scope='module', autouse=True)
def networks() -> Iterator[None]:
    with networks_in_use():
        yield


@pytest.fixture(scope='module')
def place(networks: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a bundle in float and footage."""
    folder = tmp_path_factory.mktemp('quantize')
    write_squares(folder / 'dense')
    write_footage(folder / 'footage')
    return folder


@pytest.fixture(scope='module')
def done(place: Path) -> Outcome:
    """Quantise once by the command, and keep what came of it."""
    outcomes = []

    def keep(*arguments: object) -> Outcome:
        outcomes.append(whole(*arguments))
        return outcomes[0]

    whole = quantiser.quantise
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantiser, 'quantise', keep)
        assert main(words(place, '--json', str(place / 'figures.json'), out='int8')) == 0
    return outcomes[0]


@pytest.fixture
def small(place: Path, done: Outcome) -> Bundle:
    return read_bundle(place / 'int8')


def words(place: Path, *others: str, bundle: str = 'dense', data: str = 'footage',
          out: str = 'out') -> list[str]:
    return ['quantize', str(place / bundle), '--data', str(place / data),
            '-o', str(place / out), *others]


def refused(capsys: pytest.CaptureFixture[str], place: Path, command: list[str],
            status: int = 1) -> str:
    """Run a command that has to fail; return its one line without what comes before the reason."""
    before = sorted(place.rglob('*'))
    assert main(command) == status
    printed = capsys.readouterr()
    assert printed.out == ''
    lines = [line for line in printed.err.splitlines() if ' s  ' not in line]
    assert len(lines) == 1, printed.err
    assert sorted(place.rglob('*')) == before, 'something was left'
    return lines[0].removeprefix(f'prune-perception {command[0]}: ')


def images_of(footage: Path) -> np.ndarray:
    with open_recording(footage) as recording:
        return np.stack([frame.image() for frame in recording])


def float_graph(bundle: Bundle) -> FloatGraph:
    return prepare(bundle.read_file(GRAPH))


# ---- the graph

def test_weights_are_integers_by_channel_and_what_is_kept_is_not(place: Path) -> None:
    graph, images = float_graph(read_bundle(place / 'dense')), images_of(place / 'footage')
    assert sorted(graph.last_layers) == ['coarse', 'fine']
    assert len(graph.last) == 2
    for keep, in_float in (((), 0), (graph.last, 2)):
        model = onnx.load_from_string(quantised_graph(graph, images[:4], keep=keep))
        stored = {tensor.name: tensor for tensor in model.graph.initializer}
        makers = {node.output[0]: node for node in model.graph.node}
        convolutions = [node for node in model.graph.node if node.op_type == 'Conv']
        plain = [node for node in convolutions if node.input[1] in stored]
        assert len(convolutions) == 5 and len(plain) == in_float
        assert all(node.output[0] in ('fine', 'coarse') or not keep for node in plain)
        for node in convolutions:
            if node in plain:
                continue
            maker = makers[node.input[1]]
            assert maker.op_type == 'DequantizeLinear'
            weight, scale = (stored[name] for name in maker.input[:2])
            assert weight.data_type == onnx.TensorProto.INT8
            assert list(scale.dims) == [weight.dims[0]]  # one for each output channel
        assert [domain.domain for domain in model.opset_import] == ['']


def test_seven_bits_are_fewer(place: Path) -> None:
    graph, images = float_graph(read_bundle(place / 'dense')), images_of(place / 'footage')
    largest = []
    for reduced in (False, True):
        model = onnx.load_from_string(
            quantised_graph(graph, images[:4], reduced_range=reduced))
        largest.append(max(
            int(np.abs(onnx.numpy_helper.to_array(tensor).astype(int)).max())
            for tensor in model.graph.initializer
            if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 4))
    assert largest[0] in (127, 128) and largest[1] in (63, 64)


def test_the_same_bytes_for_the_same_images(place: Path) -> None:
    bundle, images = read_bundle(place / 'dense'), images_of(place / 'footage')
    first, second = (quantised_graph(float_graph(bundle), images[:4]) for _ in range(2))
    assert first == second
    assert quantised_graph(float_graph(bundle), images[:4] // 2) != first  # other ranges


def test_what_comes_behind_the_last_weights_is_kept_with_them(tmp_path: Path) -> None:
    bundle = write_blobs(tmp_path / 'blobs')
    model = onnx.load_from_string(bundle.read_file(GRAPH))
    for node in model.graph.node:  # the maps go through a sigmoid and a multiplication
        if node.op_type == 'Conv':
            node.output[0] += '.raw'
    for name in ('fine', 'coarse'):
        model.graph.node.append(onnx.helper.make_node(
            'Sigmoid', [f'{name}.raw'], [f'{name}.share'], f'{name}_sigmoid'))
        model.graph.node.append(onnx.helper.make_node(
            'Mul', [f'{name}.share', f'{name}.raw'], [name], f'{name}_mul'))
    last = prepare(model.SerializeToString()).last
    operators = [name.rpartition('_')[2] for name in last]
    assert len(last) == 6 and operators.count('sigmoid') == operators.count('mul') == 2


def test_layers_in_float_are_those_of_the_graph_in_its_order(place: Path) -> None:
    graph, images = float_graph(read_bundle(place / 'dense')), images_of(place / 'footage')
    first = next(node.name for node in onnx.load_from_string(graph.model).graph.node
                 if node.op_type == 'Conv')
    for keep, layers in (((), ()), (graph.last, graph.last_layers), ((first,), ('first',))):
        assert layers_in_float(graph, quantised_graph(graph, images[:4], keep=keep)) == layers


def test_what_the_quantiser_cannot_do_is_a_line(place: Path) -> None:
    graph = float_graph(read_bundle(place / 'dense'))
    with pytest.raises(QuantisationError, match='^ONNX Runtime [0-9.]+ cannot quantise it: .+'):
        quantised_graph(graph, np.zeros((1, 5, 5, 3), np.uint8))
    with pytest.raises(QuantisationError, match='^ONNX Runtime [0-9.]+ cannot read it: .+'):
        prepare(b'no graph')


def test_a_graph_with_nothing_to_quantise(tmp_path: Path) -> None:
    bundle = write_sees_one(tmp_path, 'one', 3)
    graph = float_graph(bundle)
    assert graph.last_layers == ()
    with pytest.raises(QuantisationError, match='^has no layer that can compute in integers$'):
        quantised_graph(graph, np.zeros((1, 32, 64, 3), np.uint8), keep=graph.last)


# ---- the bundle

@pytest.mark.parametrize('engine', ['onnxruntime', 'openvino'])
def test_it_finds_the_same_in_both_engines(place: Path, small: Bundle, engine: str) -> None:
    pytest.importorskip(engine)
    first, second = Detector(read_bundle(place / 'dense')), Detector(small, engine=engine)
    assert ', int8 as the bundle is, otherwise f32, ' in second.engine.description
    assert 'int8' not in first.engine.description
    different = False
    for image in images_of(place / 'footage'):
        wanted, found = (each.detect(image).detections for each in (first, second))
        assert wanted.classes.tolist() == found.classes.tolist()
        assert np.abs(wanted.boxes - found.boxes).max() < 2  # pixels
        different |= not np.array_equal(wanted.scores, found.scores)
    assert different


def test_openvino_computes_in_integers(small: Bundle) -> None:
    openvino = pytest.importorskip('openvino')
    engine = create_engine(small, EngineOptions('openvino', 1))
    found = [node.get_rt_info()['runtimePrecision'].astype(str)
             for node in engine._request.get_compiled_model().get_runtime_model().get_ops()
             if node.get_rt_info()['layerType'].astype(str) == 'Convolution']
    assert openvino.__version__
    # 5 layers; what a processor has no integers for it may compute in float.
    assert len(found) == 5
    assert set(found) <= {'u8', 'i8', 'f32'} and set(found) & {'u8', 'i8'}


def test_the_card_says_what_it_is(place: Path, small: Bundle, done: Outcome) -> None:
    dense, card = read_bundle(place / 'dense'), small.card
    assert card.name == 'int8' and card.network is None
    assert card.quantisation == Quantisation(8) and list(card.files) == [GRAPH]
    assert card.provenance.parent == dense.digest
    assert card.provenance.data == done.footage.digest
    figures = {entry['figure']: entry for entry in card.measured
               if entry['engine'] == 'onnxruntime'}
    assert figures['agreement_ap50']['value'] == done.agreement[done.chosen] > 0.95
    assert figures['agreement_ap50']['frames'] == len(done.splits.select)
    assert {entry['engine'] for entry in card.measured if entry['figure'] == 'latency'} == {
        latency.engine for latency in done.latencies}
    assert card.certificate is not None
    measured_on = card.certificate['measured_on']
    assert measured_on['dense_digest'] == dense.digest
    assert measured_on['last_frame'] == FRAMES
    assert measured_on['first_frame'] == FRAMES - len(done.splits.certify) + 1


def test_its_energy_is_that_of_eight_bits(place: Path, small: Bundle, done: Outcome) -> None:
    dense, account = read_bundle(place / 'dense'), small.card.energy['eyeriss_65nm']
    module, fed = load_network(dense), example_input(dense.card.input)
    before, after = (profile_module(
        module, fed, profile=done.request.profile, bits=bits).total().energy_mac
        for bits in (None, 8))
    assert account['total']['energy_mac'] == pytest.approx(after)
    assert account['share_of_parent'] == pytest.approx(after / before)
    assert 0.2 < account['share_of_parent'] < 0.6
    assert (account['word_bits'], account['batch']) == (8, 1)


def test_layers_in_float_cost_what_they_did(place: Path) -> None:
    assert main(words(place, '--last-layers', 'float', '--json', str(place / 'mixed.json'),
                      out='mixed')) == 0
    figures = json.loads((place / 'mixed.json').read_text())
    bundle = read_bundle(place / 'mixed')
    assert bundle.card.quantisation is not None
    layers = bundle.card.quantisation.float_layers
    assert sorted(layers) == ['coarse', 'fine']
    account = bundle.card.energy['eyeriss_65nm']
    assert sorted(account['float_layers']) == ['coarse', 'fine']
    dense = read_bundle(place / 'dense')
    module, fed = load_network(dense), example_input(dense.card.input)
    before, after = (profile_module(module, fed, profile=load_profile('eyeriss_65nm'), bits=bits)
                     .by_layer() for bits in (16, 8))
    assert account['total']['energy_mac'] == pytest.approx(sum(
        before[name] if name in layers else energy for name, energy in after.items()))
    assert account['float_word_bits'] == 16
    assert figures['energy']['conditions'].endswith('; 16-bit words before and in coarse, fine')


def test_an_engine_that_makes_something_else_of_it_is_named(
        place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip('openvino')
    agreed = iter([1.0, 0.99, 0.99, 0.96])  # with itself, both ways, by OpenVINO
    monkeypatch.setattr(quantiser, 'agreement', lambda *_: next(agreed))
    outcome = quantiser.quantise(quantiser.Request(
        read_bundle(place / 'dense'), place / 'footage', load_profile('eyeriss_65nm')))
    assert outcome.in_openvino == 0.96
    assert ('do not run it in OpenVINO, which makes something else of it: agreement 0.960, 0.990 '
            'by ONNX Runtime') in outcome.notes


@pytest.mark.parametrize(('gain', 'chosen'), [(0.004, 'int8'), (0.006, 'float')])
def test_the_last_layers_stay_in_float_where_that_is_worth_it(
        place: Path, monkeypatch: pytest.MonkeyPatch, gain: float, chosen: str) -> None:
    # With itself, in integers, with the last in float, by OpenVINO.
    agreed = iter([1.0, 0.9, 0.9 + gain, 0.9])
    monkeypatch.setattr(quantiser, 'agreement', lambda *_: next(agreed))
    outcome = quantiser.quantise(quantiser.Request(
        read_bundle(place / 'dense'), place / 'footage', load_profile('eyeriss_65nm')))
    assert outcome.chosen == chosen
    assert outcome.card.quantisation is not None
    assert bool(outcome.card.quantisation.float_layers) == (chosen == 'float')
    kept = [node for node in onnx.load_from_string(outcome.files[GRAPH]).graph.node
            if node.op_type == 'Conv' and node.input[1].endswith('.weight')]
    assert len(kept) == (2 if chosen == 'float' else 0)


def test_ranges_choice_and_certificate_are_of_different_frames(
        place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts: dict[str, list[np.ndarray]] = {'fit': [], 'select': []}
    ranges, looks = quantiser.quantised_graph, quantiser.detections_by

    def of_ranges(graph: FloatGraph, images: np.ndarray, **others: bool) -> bytes:
        parts['fit'].append(images)
        return ranges(graph, images, **others)

    def of_looks(engine: object, card: object, images: np.ndarray) -> object:
        parts['select'].append(images)
        return looks(engine, card, images)

    monkeypatch.setattr(quantiser, 'quantised_graph', of_ranges)
    monkeypatch.setattr(quantiser, 'detections_by', of_looks)
    # Each frame is as bright as its number, so that it can be known again.
    pictures = write_pictures(place / 'numbered', [
        [(1, 2, 0, 255), (0, 0, 2, number)] for number in range(100)])
    outcome = quantiser.quantise(quantiser.Request(
        read_bundle(place / 'dense'), pictures, load_profile('eyeriss_65nm')))
    seen = {name: {int(image[0, 0, 2]) for images in found for image in images}
            for name, found in parts.items()}
    assert seen['fit'] <= set(outcome.splits.fit) and len(seen['fit']) == CALIBRATION_FRAMES
    assert seen['select'] == set(outcome.splits.select)
    source = outcome.certificate.source
    assert (source.first_frame, source.last_frame) == (outcome.splits.certify.start + 1, 100)


def test_the_certificate_is_of_what_is_shipped(
        place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blind = write_blobs(place / 'blind', shyness=100).read_file(GRAPH)
    chosen = quantiser._Job._choose

    def choose(*arguments: object) -> tuple[str, bytes, dict[str, float]]:
        last, _, agreed = chosen(*arguments)  # type: ignore[arg-type]
        return last, blind, agreed

    monkeypatch.setattr(quantiser._Job, '_choose', choose)
    outcome = quantiser.quantise(quantiser.Request(
        read_bundle(place / 'dense'), place / 'footage', load_profile('eyeriss_65nm')))
    overall = outcome.certificate.overall
    assert overall.objects_missed == overall.objects > 0


def test_it_says_what_it_did(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(place, out='said')) == 0
    printed = capsys.readouterr()
    for said in ('said: person, dog, at 64 × 32; int8 by onnxruntime, from dense',
                 'in integers everywhere', 'with the last layers in float',
                 'time of an image, onnxruntime, measured',
                 'modelled for eyeriss_65nm, 8-bit words, batch 1; 16-bit words before',
                 'measured energy', f'wrote {place / "said"}: said, digest '):
        assert said in printed.out, said
    assert 'accuracy' not in printed.out


def test_the_figures_are_written(place: Path, done: Outcome) -> None:
    figures = json.loads((place / 'figures.json').read_text())
    assert figures['agreement']['by_last_layers'] == dict(done.agreement)
    assert figures['energy']['share_of_parent'] == done.account.share if done.account else False
    assert figures['graph_bytes']['after'] < figures['graph_bytes']['before']
    assert figures['quantisation']['calibration_frames'] == len(done.splits.fit)
    assert figures['certificate'] == done.certificate.to_dict()


def test_the_reference_is_whom_the_certificate_is_about(place: Path) -> None:
    write_squares(place / 'larger')
    assert main(words(place, '--reference', str(place / 'larger'), out='beside')) == 0
    card = read_bundle(place / 'beside').card
    assert card.certificate is not None
    assert card.certificate['measured_on']['dense'] == 'larger'
    assert card.provenance.parent == read_bundle(place / 'dense').digest


def test_a_bundle_without_weights_has_no_account(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_blobs(tmp_path / 'dense')
    write_footage(tmp_path / 'footage', 20)
    assert main(words(tmp_path)) == 0
    assert 'no energy account: the bundle has no weights to count' in capsys.readouterr().out
    assert read_bundle(tmp_path / 'out').card.energy == {}


# ---- what it is refused

def test_it_is_not_quantised_twice(
        place: Path, small: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, place, words(place, bundle='int8')) == (
        f'{place / "int8" / GRAPH}: is quantised already; give the bundle that it was made from, '
        'which computes in float')


@pytest.mark.parametrize('verb', [
    ('profile',), ('prune', '--data', 'FOOTAGE', '-o', 'OUT'), ('prune', '--groups'),
    ('forecast', '--data', 'FOOTAGE')])
def test_what_takes_weights_says_that_there_are_none(
        place: Path, small: Bundle, capsys: pytest.CaptureFixture[str], verb: tuple[str, ...],
        ) -> None:
    places = {'FOOTAGE': str(place / 'footage'), 'OUT': str(place / 'out')}
    command = [verb[0], str(place / 'int8'), *(places.get(word, word) for word in verb[1:])]
    assert refused(capsys, place, command) == without_weights(place)


def test_the_torch_engine_says_so_too(place: Path, small: Bundle) -> None:
    with pytest.raises(BundleError) as refusal:
        create_engine(small, EngineOptions('torch'))
    assert str(refusal.value) == without_weights(place)


def test_forecast_does_not_take_it_for_pruned(
        place: Path, small: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, place, [
        'forecast', str(place / 'dense'), '--data', str(place / 'footage'),
        '--pruned', str(place / 'int8')]) == without_weights(place)


def without_weights(place: Path) -> str:
    parent = read_bundle(place / 'dense').digest
    return (
        f'{place / "int8" / CARD}: is quantised to 8 bits and has no weights that torch could '
        'run, count or prune; it runs by onnxruntime and openvino; for all else give the bundle '
        f'that it was made from (digest {parent[:12]}…)')


def test_mistaken_words(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(place / 'dense')
    assert refused(capsys, place, words(place, out='dense'), 2).startswith(
        f'-o {out}: ')
    assert refused(capsys, place, words(place, data='nowhere')).startswith(
        f'{place / "nowhere"}: ')
    write_footage(place / 'brief', 10)
    assert 'has 10 frames' in refused(capsys, place, words(place, data='brief'))
    write_footage(place / 'empty', 20, draw=lambda _: [])
    assert 'finds nothing' in refused(capsys, place, words(place, data='empty'))
    other = write_squares(place / 'cats')
    replace_card(other, replace(other.card, class_names=('cat', 'dog')))
    assert refused(capsys, place, words(place, '--reference', str(place / 'cats'))) == (
        f'{place / "cats"}: has no class person, which {out} has; give the bundle that it was '
        'pruned from')


def test_a_quantiser_that_is_not_installed(
        place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, 'prune_perception.pruning.nncf_graph', raising=False)
    monkeypatch.delattr('prune_perception.pruning.nncf_graph', raising=False)
    monkeypatch.setitem(sys.modules, 'nncf', None)
    said = refused(capsys, place, words(place, '--quantiser', 'nncf'))
    assert said.startswith('quantiser nncf is not installed (')
    assert said.endswith("): pip install 'prune_perception[nncf]'")


@pytest.mark.parametrize(('value', 'said'), [
    ({'bits': 0}, 'quantisation.bits is 0; it must lie between 1 and 16'),
    ({}, 'quantisation.bits is missing'),
    (8, 'quantisation must be a mapping'),
    ({'bits': 8, 'float_layers': [3]}, 'quantisation.float_layers must be a list of names'),
    ({'bits': 8, 'reduced_range': 'yes'}, 'quantisation.reduced_range must be bool'),
    ({'bits': 8, 'quantiser': 3}, 'quantisation.quantiser must be a text, not an integer')])
def test_cards_that_are_none(small: Bundle, tmp_path: Path, value: object, said: str) -> None:
    copy = write_bundle(tmp_path / 'copy', small.card, {GRAPH: small.read_file(GRAPH)})
    assert copy.card == replace(small.card, files=copy.card.files)
    card = yaml.safe_load((copy.folder / CARD).read_text())
    card['quantisation'] = value
    (copy.folder / CARD).write_text(yaml.safe_dump(card))
    with pytest.raises(BundleError, match=said):
        read_bundle(copy.folder)


# ---- beside others

def test_int8_stands_beside_float_in_a_ladder(place: Path, small: Bundle) -> None:
    dense = read_bundle(place / 'dense')
    check_ladder([dense, small])
    share = small.card.energy['eyeriss_65nm']['total']['energy_uj']
    assert largest_first([Rung('int8', 9.0, share), Rung('dense', 5.0, 3 * share)]) == [1, 0]


def test_its_own_account_counts_and_is_not_made_anew(place: Path, small: Bundle) -> None:
    account = small.card.energy['eyeriss_65nm']
    found = modelled_energy(small, 'eyeriss_65nm', by_layer=True)
    assert found.values['energy_mac'] == account['total']['energy_mac']
    assert '8-bit words' in found.source
    assert 'is quantised to 8 bits' in modelled_energy(small, 'jetson').reason


def test_shorter_words_are_its_saving(place: Path, small: Bundle) -> None:
    dense = read_bundle(place / 'dense')
    rung, = _ladder({'int8': small}, dense, 'eyeriss_65nm')
    assert rung.share == pytest.approx(small.card.energy['eyeriss_65nm']['share_of_parent'])
    unmarked = read_bundle(write_bundle(
        place / 'unmarked', replace(small.card, quantisation=None),
        {GRAPH: small.read_file(GRAPH)}).folder)
    with pytest.raises(JobError, match='do not compare'):
        _ladder({'unmarked': unmarked}, dense, 'eyeriss_65nm')
