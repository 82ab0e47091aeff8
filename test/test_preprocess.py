# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

import numpy as np
from numpy.typing import NDArray
import pytest

from prune_perception.bundle import InputSpec
from prune_perception.runtime.preprocess import Placement, Preprocessor

RULES = ('stretch', 'letterbox', 'top_left', 'centre_crop')  # top_left is a letterbox too
BLUE, RED = (250, 20, 10), (10, 20, 250)  # BGR


def preprocessor(
        height: int, width: int, resize: str = 'stretch', colour_order: str = 'bgr',
        padding: tuple[int, int, int] | None = None) -> Preprocessor:
    rule, placement = ('letterbox', resize) if resize in ('centre', 'top_left') else (resize, None)
    return Preprocessor(InputSpec(
        height, width, colour_order, (0., 0., 0.), (1., 1., 1.), rule, placement, padding))


def plain(height: int, width: int, colour: tuple[int, int, int] = BLUE) -> NDArray[np.uint8]:
    return np.full((height, width, 3), colour, np.uint8)


def boxes(*values: tuple[float, float, float, float]) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def test_stretch_by_hand() -> None:
    # 40 x 40 into 20 wide and 10 high: 1/2 across, 1/4 down.
    tensor, placement = preprocessor(10, 20)(plain(40, 40))
    assert tensor.shape == (1, 10, 20, 3)
    assert tensor.dtype == np.uint8
    assert (tensor == BLUE).all()
    assert placement == Placement(0.5, 0.25, 0, 0, 40, 40)
    assert placement.to_source(boxes((5, 2.5, 10, 5))).tolist() == [[10, 10, 20, 20]]


def test_letterbox_by_hand() -> None:
    # 200 wide and 50 high into 100 x 100: 1/2, so 25 rows, with 37 above and 38 below.
    tensor, placement = preprocessor(100, 100, 'letterbox')(plain(50, 200))
    assert placement == Placement(0.5, 0.5, 0, 37, 200, 50)
    assert (tensor[0, 37:62] == BLUE).all()
    assert (tensor[0, :37] == 114).all()
    assert (tensor[0, 62:] == 114).all()
    found = placement.to_source(boxes((0, 37, 100, 62), (10, 47, 20, 52)))
    assert found.tolist() == [[0, 0, 200, 50], [20, 20, 40, 30]]


def test_letterbox_of_a_size_that_does_not_divide() -> None:
    # 100 high and 33 wide into 50 x 50: 16.5, rounded to 16 columns from 17 on.
    tensor, placement = preprocessor(50, 50, 'letterbox')(plain(100, 33))
    assert placement == Placement(16 / 33, 0.5, 17, 0, 33, 100)
    assert (tensor[0, :, 17:33] == BLUE).all()
    assert (tensor[0, :, 16] == 114).all()
    assert (tensor[0, :, 33] == 114).all()
    np.testing.assert_allclose(
        placement.to_source(boxes((17, 0, 33, 50))), [[0, 0, 33, 100]], atol=1e-4)


def test_letterbox_at_the_top_left_by_hand() -> None:
    # 100 wide and 50 high into 64 x 64: 0.64, so 64 columns and the upper 32 rows.
    image = plain(50, 100)
    image[25:, 50:75] = RED
    tensor, placement = preprocessor(64, 64, 'top_left')(image)
    assert placement == Placement(0.64, 0.64, 0, 0, 100, 50)
    assert (tensor[0, :15] == BLUE).all() and (tensor[0, :32, :31] == BLUE).all()
    # From (50, 25) to (75, 50), which is from (32, 16) to (48, 32); at edges colours mix.
    assert (tensor[0, 17:32, 33:47] == RED).all()
    assert (tensor[0, :32, 49:] == BLUE).all()
    assert (tensor[0, 32:] == 114).all()
    found = placement.to_source(boxes((32, 16, 48, 32), (6.4, 12.8, 32, 25.6), (0, 30, 70, 60)))
    np.testing.assert_allclose(
        found, [[50, 25, 75, 50], [10, 20, 50, 40], [0, 46.875, 100, 50]], rtol=1e-6)
    # 50 wide and 100 high: the left 32 columns.
    tensor, placement = preprocessor(64, 64, 'top_left')(plain(100, 50))
    assert placement == Placement(0.64, 0.64, 0, 0, 50, 100)
    assert (tensor[0, :, :32] == BLUE).all() and (tensor[0, :, 32:] == 114).all()


@pytest.mark.parametrize('placement', ['letterbox', 'centre'])
def test_a_letterbox_is_in_the_centre_where_nothing_else_is_said(placement: str) -> None:
    tensor, found = preprocessor(64, 64, placement)(plain(50, 100))
    assert found == Placement(0.64, 0.64, 0, 16, 100, 50)
    assert (tensor[0, 16:48] == BLUE).all()


@pytest.mark.parametrize('placement', ['centre', 'top_left'])
@pytest.mark.parametrize('order', ['bgr', 'rgb'])
def test_padding_is_in_the_colour_order_of_the_network(placement: str, order: str) -> None:
    prepare = preprocessor(64, 64, placement, order, (124, 116, 0))
    for _ in range(2):
        tensor, _ = prepare(plain(50, 100))
        assert (tensor[0, 60:] == (124, 116, 0)).all()
        assert (tensor[0, 20] == (BLUE if order == 'bgr' else BLUE[::-1])).all()


def test_centre_crop_by_hand() -> None:
    # 200 wide and 50 high into 100 x 100: doubled, from the 50 columns that begin at 75.
    image = plain(50, 200, RED)
    image[:, 75:125] = BLUE
    tensor, placement = preprocessor(100, 100, 'centre_crop')(image)
    assert (tensor == BLUE).all()
    assert placement == Placement(2, 2, -150, 0, 200, 50)
    found = placement.to_source(boxes((0, 0, 100, 100), (10, 20, 30, 40)))
    assert found.tolist() == [[75, 0, 125, 50], [80, 10, 90, 20]]


def test_boxes_are_clipped_to_the_image() -> None:
    _, placement = preprocessor(100, 100, 'letterbox')(plain(50, 200))
    found = placement.to_source(boxes((-10, 0, 50, 100), (90, 50, 500, 500), (10, 5, 20, 30)))
    assert found.tolist() == [[0, 0, 100, 50], [180, 26, 200, 50], [20, 0, 40, 0]]
    assert placement.to_source(np.zeros((0, 4), np.float32)).shape == (0, 4)


@pytest.mark.parametrize('rule', RULES)
@pytest.mark.parametrize('size', [(120, 160), (480, 640), (300, 200), (97, 131)])
def test_what_is_seen_is_where_it_is(rule: str, size: tuple[int, int]) -> None:
    height, width = size
    # Around the centre, so that no rule leaves it out.
    expected = (round(width * 0.4), round(height * 0.45), round(width * 0.7), round(height * 0.6))
    image = np.zeros((height, width, 3), np.uint8)
    image[expected[1]:expected[3], expected[0]:expected[2]] = 255
    tensor, placement = preprocessor(208, 256, rule)(image)
    rows, columns = np.nonzero(tensor[0, :, :, 0] > 180)
    seen = boxes((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
    # Within one pixel, of the image or of the network's input, whichever is larger.
    tolerance = max(1, 1 / placement.scale_x, 1 / placement.scale_y)
    np.testing.assert_allclose(placement.to_source(seen), [expected], atol=tolerance)


@pytest.mark.parametrize('rule', RULES)
@pytest.mark.parametrize(('order', 'expected'), [('bgr', BLUE), ('rgb', BLUE[::-1])])
def test_colour_order(rule: str, order: str, expected: tuple[int, int, int]) -> None:
    prepare = preprocessor(40, 60, rule, order)
    for _ in range(2):  # the buffer is used again; nothing may be swapped back
        tensor, _ = prepare(plain(40, 30))
        assert tuple(tensor[0, 20, 20]) == expected


@pytest.mark.parametrize('rule', RULES)
@pytest.mark.parametrize('order', ['bgr', 'rgb'])
def test_nothing_of_one_image_is_left_in_the_next(rule: str, order: str) -> None:
    used = preprocessor(64, 96, rule, order)
    first = used(plain(10, 100, RED))[0]
    for index, size in enumerate([(100, 10), (64, 96), (33, 32), (1, 1), (10, 100), (100, 11)]):
        image = np.random.default_rng(index).integers(0, 256, (*size, 3), np.uint8)
        tensor, placement = used(image)
        fresh, expected = preprocessor(64, 96, rule, order)(image)
        assert tensor is first, 'the buffer is used again'
        np.testing.assert_array_equal(tensor, fresh)
        assert placement == expected


@pytest.mark.parametrize('rule', RULES)
@pytest.mark.parametrize('size', [(1, 1), (1, 5000), (5000, 1), (3, 2000)])
def test_extreme_sizes(rule: str, size: tuple[int, int]) -> None:
    height, width = size
    tensor, placement = preprocessor(32, 48, rule)(plain(height, width))
    rows = slice(0, 2) if rule == 'top_left' else slice(15, 17)
    assert (tensor[0] == BLUE).all(axis=2)[rows].any()
    found = placement.to_source(boxes((-1e9, -1e9, 1e9, 1e9)))
    assert found.tolist() == [[0, 0, width, height]]


@pytest.mark.parametrize('rule', RULES)
def test_views_and_images_that_cannot_be_written(rule: str) -> None:
    original = np.random.default_rng(0).integers(0, 256, (80, 120, 3), np.uint8)
    frozen = original.copy()
    frozen.flags.writeable = False
    for view in (frozen, original[::-1, ::-1], original[10:50:2, 5:100], original[..., ::-1]):
        before = view.copy()
        tensor, _ = preprocessor(40, 40, rule)(view)
        expected, _ = preprocessor(40, 40, rule)(before)
        np.testing.assert_array_equal(tensor, expected)
        np.testing.assert_array_equal(view, before)


@pytest.mark.parametrize('rule', RULES)
@pytest.mark.parametrize(('shape', 'kind'), [
    ((40, 40), np.uint8), ((40, 40, 1), np.uint8), ((40, 40, 4), np.uint8),
    ((40, 40, 3), np.uint16), ((40, 40, 3), np.float32), ((0, 40, 3), np.uint8),
    ((40, 0, 3), np.uint8), ((1, 40, 40, 3), np.uint8)])
def test_other_arrays_are_refused(rule: str, shape: tuple[int, ...], kind: type) -> None:
    with pytest.raises(ValueError, match='must be uint8') as caught:
        preprocessor(20, 20, rule)(np.zeros(shape, kind))  # type: ignore[arg-type]
    assert f'image is {np.dtype(kind)} {list(shape)};' in str(caught.value)
