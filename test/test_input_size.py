# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Which input size is taken, by what a network is said to see and to lose at each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('torch')
pytest.importorskip('torch_pruning')

from bundles import small_card

from prune_perception.bundle import Card, DecoderSpec
from prune_perception.detections import Detections
from prune_perception.pruning import input_size
from prune_perception.pruning.agreement import AgreementError
from prune_perception.pruning.footage import Images
from prune_perception.pruning.input_size import (
    reason_for_one_size,
    Sizes,
    sizes_of,
    Trial,
    try_sizes,
)
from prune_perception.pruning.plan import PlanError

SIZES = [(320, 320), (288, 288), (256, 256), (224, 224), (192, 192)]
AREA = 320 * 320


def card_of(height: int, width: int) -> Card:
    card = small_card()
    return replace(
        card, input=replace(card.input, height=height, width=width),
        decoder=DecoderSpec('nanodet', {'strides': [8, 16, 32], 'bins': 11}))


@pytest.mark.parametrize(('height', 'width', 'wanted'), [
    (416, 416, [(416, 416), (384, 384), (352, 352), (320, 320), (288, 288), (256, 256)]),
    (320, 640, [(320, 640), (288, 576), (256, 512), (224, 448), (192, 384)]),
    (300, 400, [(300, 400), (288, 384), (256, 352), (224, 288), (192, 256)]),
    (32, 32, [(32, 32)])])
def test_input_sizes_are_the_own_one_and_smaller_ones_on_whole_strides(height, width, wanted):
    assert sizes_of(card_of(height, width)) == wanted


@pytest.mark.parametrize(('decoder', 'wanted'), [
    (DecoderSpec('fcos', {'strides': [4]}), [512, 480, 448, 416, 384, 352, 320]),
    (DecoderSpec('centernet', {'stride': 4}), [512, 480, 448, 416, 384, 352, 320]),
    (DecoderSpec('centernet', {'stride': 64}), [512, 448, 384, 320]),
    (DecoderSpec('fcos', {'strides': [8, 16, 32, 64, 128]}), [512, 384]),
    (DecoderSpec('decoded', {'boxes': 'xyxy', 'strides': None}),
     [512, 480, 448, 416, 384, 352, 320])])
def test_a_stride_is_no_smaller_than_that_of_usual_backbones(decoder, wanted):
    card = replace(card_of(512, 512), decoder=decoder)
    assert sizes_of(card) == [(side, side) for side in wanted]


@pytest.mark.parametrize(('side', 'method', 'resize', 'reason'), [
    (320, 'combined', True, ''),
    (320, 'loss', True, ''),
    (320, 'combined', False, 'because that was asked for'),
    (320, 'energy', True, 'because method energy forecasts no loss to compare sizes by'),
    (32, 'combined', True, 'because no other fits the network')])
def test_the_reason_for_one_size(side, method, resize, reason):
    assert reason_for_one_size(card_of(side, side), method, resize) == reason


@dataclass
class Told:
    """
    A planner of which it is told what the network sees and loses at each size.

    :param agrees: of the dense network with itself, by size; None for the mirrored frames.
    :param costs: of the plan, by size; a text is why there is none.
    :param least: height below which the network fails.
    :param fed: what is said of its input besides.
    """

    size: tuple[int, int]
    agrees: dict[tuple[int, int] | None, float]
    costs: dict[tuple[int, int], float | str]
    network: str = 'dense'
    least: int = 0
    fed: Mapping[str, str] = field(default_factory=dict)

    @property
    def card(self) -> Card:
        card = card_of(*self.size)
        return replace(card, input=replace(card.input, **self.fed))

    def at(self, size: tuple[int, int]) -> 'Told':
        if size[0] < self.least:
            raise RuntimeError('a view of 10 is not 9\nand so on')
        return replace(self, size=size)

    def observe(self, images: Images, most: int) -> int:
        return len(images[:most])

    def sweep(self, seen: int, until: float) -> tuple[tuple[int, int], int, float]:
        return self.size, seen, until


def plan(planner: Told, swept: tuple[tuple[int, int], int, float]) -> SimpleNamespace:
    assert swept == (planner.size, 8, 1e6)
    cost = planner.costs[planner.size]
    if isinstance(cost, str):
        raise PlanError(cost)
    return SimpleNamespace(cost=cost)


@pytest.fixture
def trying(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Sizes]:
    """Return a function that tries the sizes of a network of which everything is told."""
    def detections_of(network: str, card: Card, images: Images) -> tuple[Detections, ...]:
        # Where the box lies tells the size that it was found at, and mirrored images are known by
        # their brighter left half.
        mirrored = images[0, 0, 0, 0] > images[0, 0, -1, 0]
        box = [0.0, 0.0, 0.25, card.input.height / 1000]
        if mirrored:
            box[0], box[2] = 1 - box[2], 1 - box[0]
        return (Detections(np.array([box], np.float32), np.ones(1, np.float32),
                           np.array([mirrored], np.int64)),) * len(images)

    def run(consistency: float, dense: list[float], costs: list[float | str],
            least: int = 0) -> Sizes:
        agrees: dict[tuple[int, int] | None, float] = dict(zip(SIZES, dense, strict=False))
        agrees[None] = consistency

        def agreement(wanted: tuple[Detections, ...], found: tuple[Detections, ...]) -> float:
            assert wanted[0].boxes[0].tolist() == pytest.approx([0, 0, 0.25, 0.32])
            assert found[0].boxes[0, [0, 2]].tolist() == pytest.approx([0, 0.25])  # put back
            side = round(1000 * float(found[0].boxes[0, 3]))
            return agrees[None if found[0].classes[0] else (side, side)]

        monkeypatch.setattr(input_size, 'agreement', agreement)
        planner = Told(SIZES[0], agrees, dict(zip(SIZES, costs, strict=False)),
                       least=least)
        images = np.zeros((8, 4, 4, 3), np.uint8)
        images[:, :, 2:] = 200
        return try_sizes(planner, images, images[:3], plan, until=1e6)

    monkeypatch.setattr(input_size, 'detections_of', detections_of)
    return run


def test_the_least_loss_for_the_area_is_taken(trying):
    found = trying(0.97, [1, 0.99, 0.98, 0.97, 0.97], [4.0, 3.0, 2.0, 1.5, 1.3])
    assert [trial.size for trial in found.trials] == SIZES
    assert [trial.forecast for trial in found.trials] == pytest.approx([
        cost * AREA / (height * width)
        for cost, (height, width) in zip([4.0, 3.0, 2.0, 1.5, 1.3], SIZES, strict=True)])
    assert found.best() == (224, 224)  # 1.3 is less than 1.5, but of a smaller area
    assert found.consistency == 0.97 and found.note() == ''


def test_a_size_at_which_less_is_seen_ends_it(trying):
    found = trying(0.97, [1, 0.965, 0.95], [4.0, 3.0])
    assert [trial.size for trial in found.trials] == SIZES[:3]
    assert found.trials[2] == Trial(
        (256, 256), 0.95, None, 'the dense network sees less at this size')
    assert found.best() == (288, 288) and not found.note()


def test_a_size_that_cannot_meet_the_budget_is_not_taken(trying):
    found = trying(0.9, [1, 1, 1, 1, 1], ['too dear', 'still', 3.0, 9.0, 9.0])
    assert found.trials[0] == Trial((320, 320), 1.0, None, 'too dear')
    assert found.best() == (256, 256) and not found.note()


def test_the_budget_may_force_a_size_at_which_less_is_seen(trying):
    found = trying(0.97, [1, 0.9, 0.8, 0.7], ['too dear', 'still', 3.0])
    assert [trial.size for trial in found.trials] == SIZES[:4]
    assert found.best() == (256, 256)
    assert found.note() == (
        'the budget forced the input down to 256 x 256 pixels, where the dense network agrees '
        'with itself by 0.800 only')


def test_a_network_that_was_made_for_one_size_keeps_it(trying):
    found = trying(0.97, [1, 1, 1], [4.0, 1.0, 1.0], least=300)
    assert [trial.size for trial in found.trials] == SIZES[:1]
    assert found.best() == SIZES[0]
    assert found.note() == ('the network cannot be fed at 288 x 288 pixels, so that no smaller '
                            'input was tried: a view of 10 is not 9')


def test_a_budget_that_no_size_meets_is_refused_with_the_last_reason(trying):
    found = trying(0.97, [1, 1, 0.5, 0.5, 0.5], ['a', 'b', 'c', 'd', 'the narrowest needs more'])
    with pytest.raises(PlanError, match='^the narrowest needs more$'):
        found.best()


def test_of_equal_losses_the_larger_size_is_taken():
    assert Sizes(1.0, (Trial((64, 64), 1, 2.0), Trial((32, 32), 1, 2.0))).best() == (64, 64)


def test_a_picture_at_the_top_left_is_mirrored_in_its_place(
        monkeypatch: pytest.MonkeyPatch) -> None:
    shown, judged = [], []

    def detections_of(network: str, card: Card, images: Images) -> tuple[Detections, ...]:
        shown.append(images[0, 0, :, 0].tolist())
        return (Detections(np.array([[0, 0, 0.125, 1]], np.float32), np.ones(1, np.float32),
                           np.zeros(1, np.int64)),) * len(images)

    def agreement(wanted: tuple[Detections, ...], found: tuple[Detections, ...]) -> float:
        judged.append(found[0].boxes[0, [0, 2]].tolist())
        return 1.0

    monkeypatch.setattr(input_size, 'detections_of', detections_of)
    monkeypatch.setattr(input_size, 'agreement', agreement)
    images = np.full((8, 4, 4, 3), 114, np.uint8)
    images[:, :, 0], images[:, :, 1] = 0, 200
    try_sizes(Told(SIZES[0], {}, dict.fromkeys(SIZES, 1.0), fed={
        'resize': 'letterbox', 'placement': 'top_left'}), images, images[:3], plan, until=1e6)
    assert shown[:2] == [[0, 200, 114, 114], [200, 0, 114, 114]]
    assert judged[0] == [0.375, 0.5]


def test_footage_in_which_nothing_is_seen_is_refused(monkeypatch):
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32),
                         np.zeros(0, np.int64))
    monkeypatch.setattr(input_size, 'detections_of', lambda *given: (nothing,) * len(given[2]))
    images = np.zeros((2, 4, 4, 3), np.uint8)
    with pytest.raises(AgreementError, match='finds nothing'):
        try_sizes(Told(SIZES[0], {}, {}), images, images, plan)
