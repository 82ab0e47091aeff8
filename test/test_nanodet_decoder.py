# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

import math

from bundles import COMMITTED, small_card, unwritten
import numpy as np
from numpy.typing import NDArray
import pytest

from prune_perception.bundle import BundleError, DecoderSpec, OutputSpec, read_bundle
from prune_perception.runtime.decoders import create_decoder
from prune_perception.runtime.decoders.nanodet import NanoDetDecoder

CERTAIN = 100.0  # as a logit beside zeros: a distribution with one bin alone


@pytest.fixture
def maps() -> list[NDArray[np.float32]]:
    """Return the maps of an image without objects: 2 classes, then 4 x 3 bins."""
    maps = [np.zeros((1, 14, 4, 8), np.float32), np.zeros((1, 14, 2, 4), np.float32)]
    for level in maps:
        level[:, :2] = -12
    return maps


@pytest.fixture
def decode() -> NanoDetDecoder:
    card = small_card()
    return NanoDetDecoder(2, card.input, card.outputs, (8, 16), 3)


def put(
        level: NDArray[np.float32], row: int, column: int, *, of: int, logit: float,
        bins: tuple[int, int, int, int]) -> None:
    """Write an object into a map: its class, and how many strides away each side is."""
    level[0, of, row, column] = logit
    for side, number in enumerate(bins):
        level[0, 2 + 3 * side + number, row, column] = CERTAIN


def test_a_box_by_hand(decode: NanoDetDecoder, maps: list[NDArray[np.float32]]) -> None:
    # Stride 8: the centre of cell (1, 2) is at x = 2.5 * 8 = 20, y = 1.5 * 8 = 12; the sides are
    # 1, 2, 0 and 1 strides to the left, top, right and bottom.
    put(maps[0], 1, 2, of=1, logit=2.0, bins=(1, 2, 0, 1))
    boxes, scores, classes = decode(maps, 0.5)
    np.testing.assert_allclose(boxes, [[12, -4, 20, 20]], atol=1e-4)
    np.testing.assert_allclose(scores, [1 / (1 + math.exp(-2))], rtol=1e-6)
    assert classes.tolist() == [1]
    assert (boxes.dtype, scores.dtype, classes.dtype) == (np.float32, np.float32, np.int64)


def test_each_level_has_its_stride(
        decode: NanoDetDecoder, maps: list[NDArray[np.float32]]) -> None:
    # The last cells: (3, 7) of stride 8 at (60, 28), (1, 3) of stride 16 at (56, 24).
    put(maps[0], 3, 7, of=0, logit=3.0, bins=(1, 1, 1, 1))
    put(maps[1], 1, 3, of=0, logit=1.0, bins=(2, 1, 0, 2))
    boxes, scores, classes = decode(maps, 0.5)
    np.testing.assert_allclose(
        boxes, [[52, 20, 68, 36], [24, 8, 56, 56]], atol=1e-4)
    np.testing.assert_allclose(scores, [0.95257413, 0.73105858], rtol=1e-6)
    assert classes.tolist() == [0, 0]


def test_a_distance_is_the_mean_of_its_distribution(
        decode: NanoDetDecoder, maps: list[NDArray[np.float32]]) -> None:
    maps[0][0, 0, 0, 0] = 5.0
    # Left: all bins alike, mean 1. Top: 1/4 and 3/4 in bins 0 and 1. Right: halves in 1 and 2.
    # Bottom: huge logits must not overflow; mean 2.
    maps[0][0, 5:8, 0, 0] = (0, math.log(3), -200)
    maps[0][0, 8:11, 0, 0] = (-300, -100, -100)
    maps[0][0, 11:14, 0, 0] = (-1000, 0, 1000)
    boxes, _, _ = decode(maps, 0.5)
    np.testing.assert_allclose(boxes, [[4 - 8, 4 - 6, 4 + 12, 4 + 16]], atol=1e-4)


def test_one_cell_may_hold_two_classes(
        decode: NanoDetDecoder, maps: list[NDArray[np.float32]]) -> None:
    put(maps[1], 0, 1, of=0, logit=2.0, bins=(1, 0, 1, 2))
    put(maps[1], 0, 1, of=1, logit=1.0, bins=(1, 0, 1, 2))
    boxes, _, classes = decode(maps, 0.3)
    np.testing.assert_allclose(boxes, [[8, 8, 40, 40]] * 2, atol=1e-4)
    assert classes.tolist() == [0, 1]


@pytest.mark.parametrize(('threshold', 'count'), [
    (0.0, 48 + 32), (0.49, 2), (0.5, 1), (0.73, 1), (0.74, 0), (1.0, 0)])
def test_scores_at_or_below_the_threshold_are_left_out(
        decode: NanoDetDecoder, maps: list[NDArray[np.float32]], threshold: float,
        count: int) -> None:
    put(maps[0], 0, 0, of=0, logit=0.0, bins=(1, 1, 1, 1))  # score 0.5
    put(maps[0], 2, 5, of=1, logit=1.0, bins=(1, 1, 1, 1))  # score 0.731
    assert len(decode(maps, threshold)[1]) == count


def test_nothing_found(decode: NanoDetDecoder, maps: list[NDArray[np.float32]]) -> None:
    boxes, scores, classes = decode(maps, 0.5)
    assert (boxes.shape, scores.shape, classes.shape) == ((0, 4), (0,), (0,))
    assert (boxes.dtype, scores.dtype, classes.dtype) == (np.float32, np.float32, np.int64)


def test_the_maps_are_not_changed(
        decode: NanoDetDecoder, maps: list[NDArray[np.float32]]) -> None:
    put(maps[0], 1, 2, of=1, logit=2.0, bins=(1, 2, 0, 1))
    before = [level.copy() for level in maps]
    for level in maps:
        level.flags.writeable = False
    decode(maps, 0.5)
    for ours, theirs in zip(maps, before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_card_that_fits() -> None:
    assert isinstance(create_decoder(unwritten(small_card())), NanoDetDecoder)
    assert isinstance(create_decoder(read_bundle(COMMITTED)), NanoDetDecoder)


@pytest.mark.parametrize(('name', 'settings', 'reason'), [
    ('yolo', {}, "decoder.name is 'yolo'; known are nanodet"),
    ('nanodet', {'strides': [8, 16]}, 'bins'),
    ('nanodet', {'strides': [8, 16], 'bins': 3, 'anchors': 9}, 'anchors'),
    ('nanodet', {'strides': [8, 16], 'bins': 3, 'two\nlines': 9}, 'two lines'),
    ('nanodet', {'strides': [8], 'bins': 3}, '1 strides for 2 outputs'),
    ('nanodet', {'strides': 8, 'bins': 3}, "decoder.settings do not fit 'nanodet'"),
    ('nanodet', {'strides': ['8', '16'], 'bins': 3}, 'must be integers above 0'),
    ('nanodet', {'strides': [8, -16], 'bins': 3}, 'must be integers above 0'),
    ('nanodet', {'strides': [8, 16], 'bins': '3'}, 'must be integers above 0'),
    ('nanodet', {'strides': [8, 16], 'bins': 0}, 'must be integers above 0'),
    ('nanodet', {'strides': [8, 16], 'bins': 4},
     "output 'fine' of shape [1, 14, 4, 8] is not a map of 2 classes and 4 x 4 bins"),
    ('nanodet', {'strides': [16, 8], 'bins': 3},
     "output 'fine' has 4 x 8 cells; an input of 32 x 64 at stride 16 makes 2 x 4"),
    ('nanodet', {1: 2}, "decoder.settings do not fit 'nanodet'"),
])
def test_settings_that_do_not_fit_are_refused(
        name: str, settings: dict[str, object], reason: str) -> None:
    card = small_card(decoder=DecoderSpec(name, settings))
    with pytest.raises(BundleError) as caught:
        create_decoder(unwritten(card))
    message = str(caught.value)
    assert message.startswith('somewhere/model.yaml: decoder.')
    assert reason in message
    assert '\n' not in message


def test_outputs_that_are_no_maps_are_refused() -> None:
    card = small_card(outputs=(OutputSpec('fine', (1, 14, 32)), OutputSpec('coarse', (1, 14, 8))))
    with pytest.raises(BundleError, match="output 'fine' of shape .* is not a map"):
        create_decoder(unwritten(card))
