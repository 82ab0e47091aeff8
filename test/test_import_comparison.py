# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""A network that computes something else in torch than its file does is not imported."""

from dataclasses import replace
import hashlib
import math
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

from prune_perception.bundle import BundleError  # noqa: E402
from prune_perception.networks.imported import onnx_file  # noqa: E402
from prune_perception.networks.imported.operators import OPERATORS  # noqa: E402
from prune_perception.pruning.importing import reference  # noqa: E402
from prune_perception.pruning.importing.comparison import (  # noqa: E402
    difference,
    TOLERANCE,
)
from prune_perception.pruning.importing.description import Wanted  # noqa: E402
from prune_perception.pruning.importing.job import import_network, Request  # noqa: E402
from prune_perception.pruning.importing.trial import find_fixed  # noqa: E402
from prune_perception.runtime.decoders.listed import ListedDecoder  # noqa: E402

MAPS = Wanted(
    class_names=foreign.CLASSES, resize='stretch', colour_order='rgb',
    mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), decoder='nanodet',
    settings={'strides': [8, 16], 'bins': foreign.BINS})
ROWS = replace(MAPS, decoder='decoded', settings={
    'boxes': 'xyxy', 'units': 'pixels', 'scores': 'probabilities'})


class Marked(nn.Module):
    """Two maps, of which one goes through an operator that nothing else uses."""

    def __init__(self, place: int) -> None:
        super().__init__()
        self.inner, self.place = foreign.ResidualPyramid(), place

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs = list(self.inner(x))
        outputs[self.place] = torch.tanh(outputs[self.place])
        return tuple(outputs)


class Mixing(Marked):
    """Computes something else for an image beside another."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        fine, coarse = self.inner(x)
        return fine, coarse + coarse.mean(0, keepdim=True)


class PixelsBesideScores(nn.Module):
    """Boxes in pixels and probabilities in one output, (1, 6, anchors)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 8, 1)
        self.middle = nn.Conv2d(8, 8, 1)
        self.boxes = nn.Conv2d(8, 4, 1)
        self.scores = nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.middle(torch.relu(self.stem(x))))
        return torch.cat((640 * torch.relu(self.boxes(x) + 1), torch.sigmoid(
            3 * self.scores(x))), 1).flatten(2)


def write(folder: Path, module: nn.Module) -> Path:
    path = folder / 'model.onnx'
    one = isinstance(module, PixelsBesideScores)
    path.write_bytes(foreign.exported(
        module.eval(), names=['rows'] if one else ['fine', 'coarse']))
    return path


def imported(folder: Path, module: nn.Module, wanted: Wanted = MAPS) -> Any:
    torch.manual_seed(0)
    return import_network(Request(
        str(write(folder, module)), folder / 'out', wanted, 'a test'))


@pytest.mark.parametrize('wrong', [lambda x: torch.tanh(x) + 0.02, lambda x: x * math.nan],
                         ids=['other numbers', 'no numbers'])
@pytest.mark.parametrize('place', [0, 1])
def test_each_output_is_compared(place: int, wrong: Any, monkeypatch: pytest.MonkeyPatch,
                                 tmp_path: Path) -> None:
    monkeypatch.setitem(OPERATORS, 'Tanh', lambda given: given.call(wrong))
    with pytest.raises(BundleError, match='rebuilt in torch it computes something else'):
        imported(tmp_path, Marked(place))
    assert not (tmp_path / 'out').exists()


def test_scores_beside_pixels_are_compared(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(
        OPERATORS, 'Sigmoid', lambda given: given.call(lambda x: torch.sigmoid(x / 2)))
    with pytest.raises(BundleError, match='rebuilt in torch it computes something else'):
        imported(tmp_path, PixelsBesideScores(), ROWS)
    monkeypatch.undo()
    assert imported(tmp_path, PixelsBesideScores(), ROWS).difference < 1e-4


def test_images_that_touch_each_other(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match='something else for an image when it is given two'):
        imported(tmp_path, Mixing(0))


class Shared(nn.Module):
    """The scores, not the boxes in pixels beside them, see a softmax over the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 8, 1)
        self.scores = nn.Conv2d(8, 8, 1)
        self.boxes = nn.Conv2d(3, 4, 8, 8)
        self.predict = nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        scores = self.predict(self.scores(self.stem(x)).softmax(1))
        return torch.cat((1e4 * self.boxes(x), scores), 1).flatten(2),


def test_scores_beside_pixels_are_tried() -> None:
    torch.manual_seed(0)
    module, image = Shared().eval(), torch.randn(1, 3, 64, 64)
    assert list(find_fixed(module, image, lambda outputs: [
        outputs[0][:, :4], outputs[0][:, 4:]])) == ['scores']


def test_what_is_no_number_is_not_forgotten() -> None:
    ones, none = np.ones((1, 3)), np.array([[math.nan]])
    assert difference([none, ones], [ones[:, :1], ones], list) == math.inf
    assert difference([ones, none], [ones, ones[:, :1]], list) == math.inf
    assert difference([ones], [none], list) == math.inf
    assert difference([ones, ones * 1.01], [ones, ones], list) == pytest.approx(0.01)


def test_tiny_scores_are_not_their_own_measure() -> None:
    """Where no score is above a ten thousandth, the engines' rounding is not told from them."""
    assert difference([np.array([3e-7])], [np.array([1e-7])], list) < TOLERANCE


@pytest.mark.parametrize('shape', [(1, 5, 6), (5, 6)])
def test_columns_of_a_list_are_its_fields(shape: tuple[int, ...]) -> None:
    from prune_perception.bundle import InputSpec, OutputSpec
    decoder = ListedDecoder(
        2, InputSpec(64, 96, 'rgb', (0, 0, 0), (1, 1, 1), 'stretch'),
        [OutputSpec('list', shape)], boxes='xyxy')
    one = np.full(shape, 500.0)
    one[..., 4] = 0.5
    other = one.copy()
    other[..., 4] = 0.6
    assert difference([one], [other], decoder.fields) > 0.1


def read_wrongly(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    """Let the parser take kernels of more than one place for larger than they are."""
    whole = onnx_file._array

    def wrong(*given: Any) -> Any:
        value = whole(*given)
        return value * np.float32(1 + share) if value.shape[2:] > (1, 1) else value

    monkeypatch.setattr(onnx_file, '_array', wrong)


def as_file(folder: Path, kind: str) -> tuple[Path, Wanted]:
    """Write a network of two maps in one of the ways in which files differ."""
    if kind == 'channels last':
        path = foreign.write_file(
            folder, foreign.ChannelsLast, shape=(1, foreign.HEIGHT, foreign.WIDTH, 3))
        return path, MAPS
    path = foreign.write_file(folder, foreign.ResidualPyramid, open_sizes=kind == 'open sizes')
    model = onnx.load(path)
    wanted, helper = MAPS, onnx.helper
    if kind == 'inner values':  # behind them comes what ONNX Runtime does not know either
        model.graph.node.append(helper.make_node('Strange', ['fine'], ['strange'], 'after'))
        del model.graph.output[:]
        model.graph.output.append(helper.make_tensor_value_info('strange', 1, None))
        wanted = replace(MAPS, outputs=('fine', 'coarse'))
    elif kind == 'open sizes':
        wanted = replace(MAPS, size=(96, 160))
    elif kind == 'whole numbers':
        model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
        name = model.graph.input[0].name
        for node in model.graph.node:
            node.input[:] = ['numbers' if each == name else each for each in node.input]
        model.graph.node.insert(0, helper.make_node('Cast', [name], ['numbers'], to=1))
        wanted = replace(MAPS, mean=(0., 0., 0.), std=(1., 1., 1.))
    elif kind == 'float16':
        computing_in(model, np.float16)
    elif kind == 'an unused weight in float16':
        model.graph.initializer.append(onnx.numpy_helper.from_array(
            np.zeros(1, np.float16), 'unused'))
    elif kind.startswith('weights in '):
        casts = []
        for tensor in model.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT:
                tensor.CopyFrom(shortened(tensor, kind.removeprefix('weights in ')))
                casts.append(helper.make_node(
                    'Cast', [tensor.name], [tensor.name.removesuffix('.short')], to=1))
        nodes = [*casts, *model.graph.node]
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del model.graph.node[:]
        model.graph.node.extend(copies)
    if kind == 'weights beside it':
        onnx.save(model, path, save_as_external_data=True, location='weights.bin',
                  size_threshold=0, convert_attribute=True)
    else:
        onnx.save(model, path)
    return path, wanted


def shortened(tensor: Any, kind: str) -> Any:
    """Return a tensor in numbers of 16 bits."""
    values = onnx.numpy_helper.to_array(tensor)
    if kind == 'float16':
        return onnx.numpy_helper.from_array(values.astype(np.float16), f'{tensor.name}.short')
    return onnx.helper.make_tensor(
        f'{tensor.name}.short', onnx.TensorProto.BFLOAT16, tensor.dims,
        (values.reshape(-1).view(np.uint32) >> 16).astype('<u2').tobytes(), raw=True)


def computing_in(model: Any, kind: type) -> None:
    """Give weights, inputs and outputs another kind of numbers."""
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            values = onnx.numpy_helper.to_array(tensor).astype(kind)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    for item in (*model.graph.input, *model.graph.output):
        item.type.tensor_type.elem_type = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(kind))


KINDS = ('plain', 'channels last', 'inner values', 'open sizes', 'whole numbers', 'float16',
         'weights in float16', 'weights in bfloat16', 'an unused weight in float16',
         'weights beside it')


@pytest.mark.parametrize('kind', KINDS)
def test_a_mistake_of_reading_shows(
        kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The file itself is run: what was read wrongly is not on both sides."""
    path, wanted = as_file(tmp_path, kind)
    right = import_network(Request(str(path), tmp_path / 'right', wanted, 'a test'))
    assert not right.as_read and right.difference < (1e-3 if kind == 'float16' else 1e-4)
    # What computes in 16 bits may lie as far off as its rounding can.
    read_wrongly(monkeypatch, 0.3 if kind == 'float16' else 0.01)
    with pytest.raises(BundleError, match='else: outputs differ from those of ONNX Runtime on the '
                                          'file by'):
        import_network(Request(str(path), tmp_path / 'out', wanted, 'a test'))
    assert not (tmp_path / 'out').exists()


def test_files_are_read_once(tmp_path: Path) -> None:
    """ONNX Runtime is given the bytes that were checked, whatever the folder holds by then."""
    path, wanted = as_file(tmp_path, 'weights beside it')
    other = np.full((tmp_path / 'weights.bin').stat().st_size // 4, 0.01, np.float32)

    digest = hashlib.sha256(path.read_bytes()).hexdigest()

    def exchange(stage: str) -> None:
        if stage == 'convert':
            other.tofile(tmp_path / 'weights.bin')
            path.write_bytes(b'another')

    made = import_network(Request(str(path), tmp_path / 'out', wanted, 'a test'), exchange)
    assert not made.as_read and made.difference < 1e-4
    assert made.bundle.card.provenance.data == digest


def test_an_attribute_that_was_not_read_is_not_run(tmp_path: Path) -> None:
    """A graph within it could name files."""
    path, wanted = as_file(tmp_path, 'plain')
    model = onnx.load(path)
    node = next(node for node in model.graph.node if node.op_type == 'Conv')
    node.attribute.append(onnx.helper.make_attribute('body', onnx.GraphProto(name='inner')))
    onnx.save(model, path)
    made = import_network(Request(str(path), tmp_path / 'out', wanted, 'a test'))
    assert made.as_read and "has an attribute that is not read, 'body'" in made.notes[0]


def test_more_than_protobuf_holds_is_compared_as_read(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path, wanted = as_file(tmp_path, 'weights beside it')
    # As many bytes as the weights beside it are: too many in one piece.
    monkeypatch.setattr(reference, '_MOST_BYTES', (tmp_path / 'weights.bin').stat().st_size)
    made = import_network(Request(str(path), tmp_path / 'out', wanted, 'a test'))
    assert made.as_read and 'with the weights of other files it is larger than' in made.notes[0]


class Rounding(Marked):
    """Rounds what it computes to 16 bits, beside a number that leaves few of them."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        fine, coarse = self.inner(x)
        return (torch.relu(fine) + 16).half().float() - 16, coarse


def test_a_file_of_16_bits_is_near_and_its_graph_the_same(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = write(tmp_path, Rounding(0))
    made = import_network(Request(str(path), tmp_path / 'right', MAPS, 'a test'))
    assert not made.as_read and TOLERANCE < made.difference < 0.05
    note, = made.notes
    assert note.startswith('the file computes in 16 bits, the bundle in float32')
    # Near enough to the file, and yet not what its graph computes.
    monkeypatch.setitem(
        OPERATORS, 'Relu', lambda given: given.call(lambda x: 1.001 * torch.relu(x)))
    with pytest.raises(BundleError, match='on the graph as it was read by 0.0'):
        import_network(Request(str(path), tmp_path / 'out', MAPS, 'a test'))


def test_what_onnx_runtime_does_not_run_is_compared_as_read(tmp_path: Path) -> None:
    """It has no convolution in float64."""
    path, wanted = as_file(tmp_path, 'plain')
    model = onnx.load(path)
    computing_in(model, np.float64)
    onnx.save(model, path)
    made = import_network(Request(str(path), tmp_path / 'out', wanted, 'a test'))
    assert made.as_read and made.difference < 1e-4
    note, = made.notes
    assert note.startswith('ONNX Runtime does not run the file itself (version ')
    assert note.endswith('a mistake of reading would not show') and '\n' not in note


def test_whole_numbers_are_not_normalised_twice(tmp_path: Path) -> None:
    path, _ = as_file(tmp_path, 'whole numbers')
    with pytest.raises(BundleError, match='takes uint8, .* say --mean 0 --std 1'):
        import_network(Request(str(path), tmp_path / 'out', MAPS, 'a test'))


class Balanced(Marked):
    """Large weights of two equal channels that all but cancel: too large for float16."""

    def __init__(self) -> None:
        super().__init__(0)
        tower, predict = self.inner.tower, self.inner.predict
        with torch.no_grad():
            tower.weight[1::2], tower.bias[1::2] = tower.weight[::2], tower.bias[::2]
            predict.weight[:, ::2] += 64
            predict.weight[:, 1::2] -= 64


def test_what_rounding_does_is_said(tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = imported(tmp_path, Balanced())
    assert made.rounding > 0.05 and made.difference < TOLERANCE
    note, = made.notes
    assert note == (f'with weights rounded to float16, outputs differ by {made.rounding:.2g} of '
                    'the largest; compare both on labelled pictures')


class Decided(Marked):
    """Tells on which side of zero a map is, through which no gradient comes."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        fine, coarse = self.inner(x)
        return (fine > 0).float(), coarse


def test_what_cannot_be_followed_is_imported_and_not_pruned(tmp_path: Path) -> None:
    made = imported(tmp_path, Decided(0))
    note, = made.notes
    assert note.startswith('cannot be pruned: ') and 'not every output comes from the layers' in (
        note) and '\n' not in note
    assert made.groups == 0 and made.bundle.card.network.widths
