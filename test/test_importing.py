# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Detectors of several structures, imported: the same outputs everywhere, and channels can go."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('torch_pruning')
onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

import foreign_networks as foreign  # noqa: E402
from torch import nn  # noqa: E402

from prune_perception.bundle import (  # noqa: E402
    Bundle,
    BundleError,
    GRAPH,
    read_bundle,
    STRUCTURE,
    write_bundle,
)
from prune_perception.networks.export import bundle_files  # noqa: E402
from prune_perception.networks.imported.onnx_file import parse_onnx  # noqa: E402
from prune_perception.networks.imported.rebuild import rebuild  # noqa: E402
from prune_perception.networks.registry import (  # noqa: E402
    example_input,
    load_network,
    round_weights,
    spec_of,
)
from prune_perception.pruning import input_size  # noqa: E402
from prune_perception.pruning.groups import ChannelGraph  # noqa: E402
from prune_perception.pruning.importing.description import Wanted  # noqa: E402
from prune_perception.pruning.importing.job import import_network, Request  # noqa: E402
from prune_perception.pruning.importing.trial import find_fixed, silence  # noqa: E402
from prune_perception.pruning.input_size import reason_for_one_size  # noqa: E402
from prune_perception.runtime.engines import create_engine, EngineOptions  # noqa: E402

WANTED = Wanted(
    class_names=foreign.CLASSES, resize='stretch', colour_order='rgb',
    mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), decoder='nanodet',
    settings={'strides': [8, 16], 'bins': foreign.BINS})
ENGINES = ('onnxruntime', 'openvino', 'torch')


@pytest.fixture(scope='module', autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def imported(source: Path | str, out: Path, wanted: Wanted = WANTED, **options: Any) -> Any:
    return import_network(Request(str(source), out, wanted, 'a test', **options))


@pytest.fixture(scope='module')
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[type[nn.Module], Any]:
    """Return what came of importing each detector."""
    folder = tmp_path_factory.mktemp('imported')
    return {kind: imported(foreign.write_file(folder, kind), folder / kind.__name__)
            for kind in (*foreign.DETECTORS, foreign.Shuffled)}


def picture(seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(
        0, 256, (1, foreign.HEIGHT, foreign.WIDTH, 3), np.uint8)


def normalised(image: np.ndarray[Any, np.dtype[np.uint8]]) -> torch.Tensor:
    pixels = torch.from_numpy(image).permute(0, 3, 1, 2).float()
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (WANTED.mean, WANTED.std))
    return (pixels - mean) / std


def close(found: Any, expected: Any, share: float = 1e-4) -> None:
    """Compare outputs by the largest number in each."""
    for ours, theirs in zip(found, expected, strict=True):
        ours, theirs = np.asarray(ours), np.asarray(theirs)
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() <= share * np.abs(theirs).max()


def outputs(module: nn.Module, image: torch.Tensor) -> list[Any]:
    with torch.no_grad():
        return [output.numpy() for output in module(image)]


@pytest.mark.parametrize('kind', foreign.DETECTORS, ids=lambda kind: kind.__name__)
def test_all_engines_compute_what_the_network_did(
        kind: type[nn.Module], bundles: dict[type[nn.Module], Any]) -> None:
    bundle = read_bundle(bundles[kind].bundle.folder)
    image = picture()
    # Weights in float16, before and after folding, round to different numbers.
    close(create_engine(bundle, EngineOptions('torch')).run(image),
          outputs(foreign.made(kind), normalised(image)), 5e-3)
    expected = [np.array(output) for output in
                create_engine(bundle, EngineOptions('torch')).run(image)]
    for name in ENGINES:
        if name == 'openvino':
            pytest.importorskip('openvino')
        close(create_engine(bundle, EngineOptions(name)).run(image), expected)


@pytest.mark.parametrize('kind', foreign.DETECTORS, ids=lambda kind: kind.__name__)
def test_all_but_the_outputs_can_be_pruned(
        kind: type[nn.Module], bundles: dict[type[nn.Module], Any]) -> None:
    made = bundles[kind]
    assert made.groups >= 3 and made.difference < 1e-4
    for line in made.fixed:
        assert line.endswith('is an output of the network'), line


def test_what_cannot_be_pruned_is_said_and_stays(
        bundles: dict[type[nn.Module], Any]) -> None:
    made = bundles[foreign.Shuffled]
    reasons = {line.partition(':')[0]: line.partition('fixed: ')[2] for line in made.fixed}
    assert reasons['grouped'] == 'they pass a reshaping of 5 dimensions'
    assert 'mixed' in reasons and made.groups == 2
    graph = ChannelGraph(load_network(made.bundle), example_input(made.bundle.card.input))
    assert {group.name for group in graph.groups if group.fixed} == set(reasons)


@pytest.mark.parametrize('seed', [0, *(
    pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))])
@pytest.mark.parametrize('kind', (*foreign.DETECTORS, foreign.Shuffled),
                         ids=lambda kind: kind.__name__)
def test_random_plans(kind: type[nn.Module], seed: int, bundles: dict[type[nn.Module], Any],
                      tmp_path: Path) -> None:
    """What is left computes what all did with the others silenced; so does its bundle."""
    bundle: Bundle = bundles[kind].bundle
    dense, narrower = load_network(bundle), load_network(bundle)
    graph = ChannelGraph(narrower, example_input(bundle.card.input))
    random = np.random.default_rng(seed)
    removed = {}
    for group in graph.groups:
        step = group.channels // group.unit
        if not group.fixed and step > 1:
            units = random.choice(step, random.integers(1, step), replace=False)
            removed[group.name] = [int(one) + part * step for one in units
                                   for part in range(group.unit)]
            silence(dense, group, removed[group.name])
    assert len(removed) >= 2
    graph.remove(removed)
    image = picture(seed)
    if kind is not foreign.GroupNormHeads:  # whose norms are over fewer channels now
        close(outputs(narrower, normalised(image)), outputs(dense, normalised(image)))
    assert bundle.card.network is not None
    card = replace(bundle.card, name='narrower', network=spec_of(
        'onnx', narrower, bundle.card.network.settings))
    small = write_bundle(tmp_path / 'narrower', card, bundle_files(narrower, card))
    assert small.read_file(STRUCTURE) == bundle.read_file(STRUCTURE)
    assert len(small.read_file(GRAPH)) < len(bundle.read_file(GRAPH))
    round_weights(narrower)
    expected = outputs(narrower, normalised(image))
    close(outputs(load_network(small), normalised(image)), expected)
    for name in ('onnxruntime', 'torch'):
        close(create_engine(small, EngineOptions(name)).run(image), expected)


def test_a_group_norm_keeps_its_groups_equal(bundles: dict[type[nn.Module], Any]) -> None:
    graph = ChannelGraph(load_network(bundles[foreign.GroupNormHeads].bundle),
                         torch.zeros(1, 3, foreign.HEIGHT, foreign.WIDTH))
    assert graph.group('tower.0').unit == 4


class Competing(nn.Module):
    """Channels that share a softmax: with one less the others grow."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.free = nn.Conv2d(8, 8, 3, padding=1)
        self.shares = nn.Conv2d(8, 8, 3, padding=1)
        self.predict = nn.Conv2d(8, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.shares(torch.relu(self.free(torch.relu(self.stem(x)))))
        return self.predict(x.softmax(1))


def test_trying_finds_what_the_graph_does_not() -> None:
    module = foreign.made(Competing)
    example = torch.randn(1, 3, 16, 16)
    assert [group.name for group in ChannelGraph(module, example).groups if group.fixed] == [
        'predict']
    fixed = find_fixed(module, example)
    assert list(fixed) == ['shares'] and 'computed otherwise' in fixed['shares']
    module.fixed_layers = fixed
    group = ChannelGraph(module, example).group('shares')
    assert group.fixed == fixed['shares']


class Together(nn.Module):
    """Maps whose scale is that of the widest layer: it stays until all have lost channels."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(3, 8, 1) for _ in range(layers))
        self.free = nn.Conv2d(3, 6, 1)
        self.predict = nn.Conv2d(8 * layers + 6, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = [layer(x) for layer in self.layers]
        scale = max(part.shape[1] for part in maps) / 8
        return self.predict(torch.cat([*(part * scale for part in maps), self.free(x)], 1))


@pytest.mark.parametrize('layers', [2, 3])
def test_trying_finds_what_breaks_only_together(layers: int) -> None:
    module = Together(layers).eval()
    fixed = find_fixed(module, torch.randn(1, 3, 8, 8))
    reason, = fixed.values()
    assert reason.endswith('are computed otherwise, once other groups have lost some')
    assert list(fixed) == [f'layers.{layers - 1}']


class TogetherWithNorm(nn.Module):
    """Shows as many rows as the wider of two layers has channels; behind one is a group norm."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Conv2d(3, 8, 1)
        self.mixed = nn.Conv2d(3, 8, 1)
        self.norm = nn.GroupNorm(2, 8)
        self.predict = nn.Conv2d(16, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = [self.plain(x), self.norm(self.mixed(x))]
        rows = max(part.shape[1] for part in maps)
        return self.predict(torch.cat(maps, 1))[:, :, :rows]


def test_trying_finds_what_breaks_only_together_with_a_norm() -> None:
    fixed = find_fixed(TogetherWithNorm().eval(), torch.randn(1, 3, 8, 8))
    assert fixed == {'mixed': 'without some of them an output has another shape, once other '
                              'groups have lost some'}


@pytest.mark.parametrize('opset', [11, 13, 18])
@pytest.mark.parametrize('kind', (*foreign.DETECTORS, foreign.Shuffled),
                         ids=lambda kind: kind.__name__)
def test_other_operator_sets(kind: type[nn.Module], opset: int) -> None:
    if kind is foreign.Shuffled and opset < 13:
        pytest.skip('the exporter cannot')
    module = foreign.made(kind)
    graph = parse_onnx(foreign.exported(module, opset=opset), Path('a.onnx')).graph
    graph.image_shape = (1, 3, foreign.HEIGHT, foreign.WIDTH)
    again = rebuild(graph)
    image = normalised(picture())
    close(outputs(again, image), outputs(module, image))


def test_channels_last(tmp_path: Path, bundles: dict[type[nn.Module], Any]) -> None:
    path = foreign.write_file(tmp_path, foreign.ChannelsLast,
                              shape=(1, foreign.HEIGHT, foreign.WIDTH, 3))
    made = imported(path, tmp_path / 'out')
    image = picture()
    close(create_engine(made.bundle, EngineOptions()).run(image),
          create_engine(bundles[foreign.ResidualPyramid].bundle, EngineOptions()).run(image))
    # The transpositions of file and importer undo each other.
    assert b'Transpose' not in made.bundle.read_file(STRUCTURE)


def test_open_sizes_are_those_that_are_said(tmp_path: Path) -> None:
    path = foreign.write_file(tmp_path, foreign.ResidualPyramid, open_sizes=True)
    made = imported(path, tmp_path / 'out', replace(WANTED, size=(96, 160)))
    assert [output.shape[2:] for output in made.bundle.card.outputs] == [(12, 20), (6, 10)]
    assert reason_for_one_size(made.bundle.card, 'combined') == ''


class WithGrid(nn.Module):
    """Adds a grid of the size that it was made for."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = foreign.ResidualPyramid()
        self.register_buffer('grid', torch.rand(1, 1, foreign.HEIGHT // 8, foreign.WIDTH // 8))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        fine, coarse = self.inner(x)
        return fine + self.grid, coarse


def test_a_graph_of_one_size_is_not_tried_at_others(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The images of these tests are too small for another size on strides of 32.
    monkeypatch.setattr(input_size, '_USUAL_STRIDE', 16)
    made = imported(foreign.write_file(tmp_path, WithGrid), tmp_path / 'out')
    assert made.bundle.card.network.settings['one_size'] is True
    assert reason_for_one_size(made.bundle.card, 'combined') == (
        'because its graph holds numbers of this size alone')
    load_network(made.bundle)


def test_the_graph_can_be_cut_before_what_is_not_wanted(tmp_path: Path) -> None:
    model = onnx.load_from_string(foreign.exported(foreign.made(foreign.ResidualPyramid)))
    helper = onnx.helper
    model.graph.node.append(helper.make_node('Det', ['fine'], ['strange'], 'after'))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info('strange', 1, None))
    path = tmp_path / 'cut.onnx'
    onnx.save(model, path)
    with pytest.raises(BundleError, match=(
            r'cut.onnx: operators that cannot be converted: Det\. If .* --outputs NAME,… \(they '
            r'take fine\)$')):
        imported(path, tmp_path / 'out')
    made = imported(path, tmp_path / 'out', replace(WANTED, outputs=('fine', 'coarse')))
    assert [output.name for output in made.bundle.card.outputs] == ['fine', 'coarse']
    with pytest.raises(BundleError, match="no node makes 'nothing', which --outputs names"):
        imported(path, tmp_path / 'other', replace(WANTED, outputs=('nothing',)))


def test_an_output_may_be_called_as_a_bundles_input(tmp_path: Path) -> None:
    model = onnx.load_from_string(foreign.exported(foreign.made(foreign.ResidualPyramid)))
    called = {model.graph.input[0].name: 'fed', 'fine': 'image'}
    for node in model.graph.node:
        node.input[:] = [called.get(name, name) for name in node.input]
        node.output[:] = [called.get(name, name) for name in node.output]
    for value in (*model.graph.input, *model.graph.output):
        value.name = called.get(value.name, value.name)
    onnx.save(model, tmp_path / 'called.onnx')
    bundle = imported(tmp_path / 'called.onnx', tmp_path / 'out').bundle
    assert [output.name for output in bundle.card.outputs] == ['image.output', 'coarse']
    found = create_engine(bundle, EngineOptions(threads=1)).run(picture())
    close(found, outputs(load_network(bundle), normalised(picture())), 1e-3)


def test_half_precision_files(tmp_path: Path) -> None:
    """Weights and arithmetic in float16 become float32."""
    model = onnx.load_from_string(foreign.exported(foreign.made(foreign.ResidualPyramid)))
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            values = onnx.numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    for item in (*model.graph.input, *model.graph.output):
        item.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    path = tmp_path / 'half.onnx'
    path.write_bytes(model.SerializeToString())
    assert imported(path, tmp_path / 'out').rounding < 1e-3


def test_a_bundle_without_its_structure_is_refused(
        bundles: dict[type[nn.Module], Any], tmp_path: Path) -> None:
    bundle = bundles[foreign.ResidualPyramid].bundle
    files = {name: bundle.read_file(name) for name in bundle.card.files if name != STRUCTURE}
    with pytest.raises(BundleError, match="network 'onnx': settings do not fit: .*structure"):
        load_network(write_bundle(tmp_path / 'out', bundle.card, files))


class Quarter(nn.Module):
    """One map of a quarter of the input, to which one of a 32nd is added."""

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(3, 6, 4, 4), nn.Conv2d(6, 6, 8, 8)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        fine = self.fine(x)
        return (fine + nn.functional.interpolate(self.coarse(fine), scale_factor=8.0),)


def test_sizes_are_tried_at_which_the_maps_within_fit(tmp_path: Path) -> None:
    """The decoder knows of a stride of 4 alone; at 156 x 156 the maps do not fit."""
    path = tmp_path / 'quarter.onnx'
    path.write_bytes(foreign.exported(Quarter(), shape=(1, 3, 160, 160),
                                      names=('map',)))
    wanted = replace(WANTED, decoder='fcos', settings={'strides': [4], 'centerness': 'none'})
    made = imported(path, tmp_path / 'bundle', wanted)
    assert 'one_size' not in made.bundle.card.network.settings
