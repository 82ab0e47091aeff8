# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""A detector with each kind of head is pruned, distilled, written and run again."""

from dataclasses import replace
import math
from typing import Any

from blobs import box_of, CELL, draw_blobs, HEIGHT, WIDTH
from bundles import small_card
import numpy as np
from prunable import write_footage
import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('torch_pruning')

from torch import nn  # noqa: E402

from prune_perception.bundle import DecoderSpec, OutputSpec, write_bundle  # noqa: E402
from prune_perception.energy.hardware import load_profile  # noqa: E402
from prune_perception.networks import registry  # noqa: E402
from prune_perception.networks.export import bundle_files  # noqa: E402
from prune_perception.networks.registry import spec_of  # noqa: E402
from prune_perception.pruning import pruner  # noqa: E402
from prune_perception.pruning.heads import HeadError  # noqa: E402
from prune_perception.pruning.latency import Latency  # noqa: E402
from prune_perception.pruning.pruner import prune, Request  # noqa: E402
from prune_perception.runtime.detector import Detector  # noqa: E402

CHANNELS = 24
ROWS, COLUMNS = HEIGHT // CELL, WIDTH // CELL

# Kind: settings, then for each field how many numbers and their values: a box of 16 x 16 pixels
# about the centre of each cell of 8 x 8. Classes and objectness come from the colours.
KINDS: dict[str, tuple[dict[str, Any], dict[str, list[float]]]] = {
    'yolo_dfl': ({'strides': [CELL], 'bins': 3}, {'boxes': [0, 8, 0] * 4}),
    'yolox': ({'strides': [CELL]}, {'boxes': [0.5, 0.5, math.log(2), math.log(2)],
                                    'objectness': [9]}),
    'ssd': ({'strides': [CELL], 'anchors': [[[16, 16]]]}, {'boxes': [0] * 4, 'background': [0]}),
    'fcos': ({'strides': [CELL]}, {'boxes': [1] * 4, 'centerness': [9]}),
    'centernet': ({'stride': CELL}, {'sizes': [2, 2], 'offsets': [0.5, 0.5]}),
    'decoded': ({'boxes': 'cxcywh', 'strides': [CELL]}, {'boxes': [0, 0, 16, 16]}),
    'listed': ({'boxes': 'cxcywh'}, {'boxes': [0, 0, 16, 16]}),
}


class Headed(nn.Module):
    """Three layers, of which two channels carry the colours, and the outputs of some head."""

    def __init__(self, kind: str, classes: int = 2) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, CHANNELS, CELL, stride=CELL)
        self.second = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.classes = nn.Conv2d(CHANNELS, classes, 1)
        self.fields = nn.ModuleDict({
            name: nn.Conv2d(CHANNELS, len(values), 1) for name, values in KINDS[kind][1].items()})
        self._kind = kind

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = torch.relu(self.second(torch.relu(self.first(x))))
        fields = [field(x) for field in self.fields.values()]
        classes = self.classes(x)
        if self._kind in ('fcos', 'centernet'):
            return (torch.cat([classes, *fields], 1),)
        rows = torch.cat([*fields, classes], 1).flatten(2)
        if self._kind not in ('decoded', 'listed'):
            return (rows,)
        columns = x.shape[3]
        cells = torch.arange(x.shape[2] * columns)
        corners = torch.stack([cells % columns * CELL, cells // columns * CELL]) + CELL / 2
        rows = torch.cat([rows[:, :2] + corners, rows[:, 2:4], rows[:, 4:].sigmoid()], 1)
        if self._kind == 'decoded':
            return (rows,)
        scores, labels = rows[:, 4:].max(1)
        best, places = scores.topk(6, 1)
        return (torch.cat([
            rows[:, :4].transpose(1, 2).gather(1, places[..., None].expand(-1, -1, 4)),
            best[..., None], labels.gather(1, places)[..., None].float()], 2),)


def headed(kind: str) -> nn.Module:
    """Return the network whose colours are classes; most of its channels do nothing."""
    torch.manual_seed(1)
    module = Headed(kind).eval()
    with torch.no_grad():
        module.first.weight[:2] = 0
        module.first.bias[:2] = 0
        module.second.weight[:2] = 0
        module.second.bias[:2] = 0
        for layer in (module.classes, *module.fields.values()):
            layer.weight.zero_()
        for channel in (0, 1):
            module.first.weight[channel, channel] = 1 / CELL ** 2
            module.second.weight[channel, channel, 1, 1] = 1
            module.classes.weight[channel, channel] = 16
        module.classes.bias.fill_(-8)
        for name, values in KINDS[kind][1].items():
            module.fields[name].bias[:] = torch.tensor(values, dtype=torch.float32)
        if kind == 'ssd':
            module.fields['background'].bias.fill_(0)
    return module


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the networks known, and take any network for faster."""
    monkeypatch.setattr(registry, '_constructors', {'headed': Headed})
    monkeypatch.setattr(pruner, 'compare', lambda *_: Latency(
        0.01, 0.005, 2.0, 'onnxruntime', 'a machine'))


def bundle_of(kind, folder):
    module, settings = headed(kind), KINDS[kind][0]
    with torch.no_grad():
        outputs = module(torch.zeros(1, 3, HEIGHT, WIDTH))
    card = replace(
        small_card(), name=kind,
        input=replace(small_card().input, mean=(0., 0., 0.), std=(255., 255., 255.)),
        outputs=tuple(OutputSpec(f'output {number}', tuple(output.shape))
                      for number, output in enumerate(outputs)),
        decoder=DecoderSpec(kind, settings), network=spec_of('headed', module, {'kind': kind}))
    return write_bundle(folder / kind, card, bundle_files(module, card))


def request_for(kind, folder, **changes):
    return Request(bundle_of(kind, folder), write_footage(folder / 'walk'),
                   load_profile('eyeriss_65nm'), **{
                       'energy_budget': 0.5, 'command': 'a test', 'steps': 3,
                       'resize': False, 'classes': ('person',), 'distil': kind != 'listed',
                       **changes})


# Of classes that are rows of a layer, of such that compete in a softmax, of a list; then the rest.
@pytest.mark.parametrize('kind', [
    'yolox', 'ssd', 'listed', *(pytest.param(kind, marks=pytest.mark.slow) for kind in (
        'yolo_dfl', 'fcos', 'centernet', 'decoded'))])
def test_a_detector_is_pruned_whatever_its_head(kind, known, tmp_path):
    found = prune(request_for(kind, tmp_path))
    assert found.share <= 0.5 and found.card.class_names == ('person',)
    assert list(found.agreement.values())[-1] > 0.9
    assert (len(found.curve) > 0) == (kind != 'listed')
    bundle = write_bundle(tmp_path / 'pruned', found.card, found.files)
    # One person, and a dog that is no longer a class.
    image = draw_blobs([(1, 2, 0, 255), (3, 6, 1, 255)])
    seen = Detector(bundle, score_threshold=0.3).detect(image).detections
    assert seen.classes.tolist() == [0]
    np.testing.assert_allclose(seen.boxes, [box_of(1, 2)], atol=3)


def test_what_cannot_be_distilled_is_refused_before_any_work(known, tmp_path):
    request = request_for('listed', tmp_path, distil=True)
    with pytest.raises(HeadError) as caught:
        prune(replace(request, data=tmp_path / 'nothing'))
    assert str(caught.value) == (
        'the outputs of bundle listed are a list whose entries are other objects in each image; '
        'they cannot be distilled: add --no-distill')
