# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""A network that computes something else in torch than its file does is not imported."""

from dataclasses import replace
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('torch_pruning')
pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

import foreign_networks as foreign  # noqa: E402
from torch import nn  # noqa: E402

from prune_perception.bundle import BundleError  # noqa: E402
from prune_perception.networks.imported.operators import OPERATORS  # noqa: E402
from prune_perception.pruning.importing.comparison import (  # noqa: E402
    difference,
    fields_of,
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


def test_columns_of_a_list_are_its_fields() -> None:
    from prune_perception.bundle import InputSpec, OutputSpec
    decoder = ListedDecoder(
        2, InputSpec(64, 96, 'rgb', (0, 0, 0), (1, 1, 1), 'stretch'),
        [OutputSpec('list', (1, 5, 6))], boxes='xyxy')
    one = np.full((1, 5, 6), 500.0)
    one[..., 4] = 0.5
    other = one.copy()
    other[..., 4] = 0.6
    assert difference([one], [other], fields_of(decoder)) > 0.1
