# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

import numpy as np
from numpy.typing import NDArray
import pytest

from prune_perception.detections import Detections
from prune_perception.runtime.drawing import draw

NAMES = ('person', 'dog', 'cat')


def detections(*objects: tuple[tuple[float, ...], float, int]) -> Detections:
    return Detections(
        np.array([box for box, _, _ in objects], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in objects], np.float32),
        np.array([index for _, _, index in objects], np.int64))


@pytest.fixture
def image() -> NDArray[np.uint8]:
    """Return a grey image that cannot be written: what is drawn goes into a copy."""
    image = np.full((240, 320, 3), 90, np.uint8)
    image.flags.writeable = False
    return image


def colour_at(canvas: NDArray[np.uint8], x: int, y: int) -> tuple[int, ...]:
    return tuple(int(value) for value in canvas[y, x])


def test_a_box_is_drawn_along_its_edges(image: NDArray[np.uint8]) -> None:
    canvas = draw(image, detections(((50, 100, 150, 200), 0.9, 0)), NAMES)
    edge = colour_at(canvas, 150, 150)
    assert edge != (90, 90, 90)
    for x, y in ((50, 150), (100, 200), (50, 200), (150, 200)):
        assert colour_at(canvas, x, y) == edge
    assert colour_at(canvas, 100, 150) == (90, 90, 90), 'inside it nothing is covered'
    assert colour_at(canvas, 200, 220) == (90, 90, 90)
    assert (image == 90).all()


def test_a_label_stands_above_its_box(image: NDArray[np.uint8]) -> None:
    canvas = draw(image, detections(((50, 100, 150, 200), 0.9, 0)), NAMES)
    above = canvas[85:100, 50:100].reshape(-1, 3).astype(int)
    assert (above != 90).any(axis=1).sum() > 300
    assert (above.max(axis=1) < 60).any(), 'dark letters'


def test_the_label_of_a_box_at_the_top_stays_in_the_image(image: NDArray[np.uint8]) -> None:
    canvas = draw(image, detections(((50, 0, 150, 200), 0.9, 0)), NAMES)
    assert (canvas[2:10, 55:90].reshape(-1, 3).astype(int).max(axis=1) < 60).any()


def test_classes_differ_in_colour(image: NDArray[np.uint8]) -> None:
    canvas = draw(image, detections(
        *(((20 + 100 * index, 60, 80 + 100 * index, 120), 0.5, index) for index in range(3))),
        NAMES)
    colours = [np.array(colour_at(canvas, 50 + 100 * index, 120)) for index in range(3)]
    for one, other in ((0, 1), (1, 2), (0, 2)):
        assert np.abs(colours[one] - colours[other]).max() > 60


def test_the_best_label_is_on_top(image: NDArray[np.uint8]) -> None:
    best, worst = ((50, 100, 150, 200), 0.9, 0), ((52, 100, 152, 200), 0.4, 1)
    both = draw(image, detections(best, worst), NAMES)
    alone = draw(image, detections(best), NAMES)
    np.testing.assert_array_equal(both[84:99, 50:100], alone[84:99, 50:100])


def test_nothing_found_is_an_unchanged_copy(image: NDArray[np.uint8]) -> None:
    canvas = draw(image, Detections.none(), NAMES)
    np.testing.assert_array_equal(canvas, image)
    assert canvas.flags.writeable


@pytest.mark.parametrize('size', [(1, 1), (48, 64), (2160, 3840)])
def test_images_of_any_size(size: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), np.uint8)
    canvas = draw(image, detections(((0, 0, size[1], size[0]), 1.0, 2)), NAMES)
    assert canvas.shape == image.shape
    assert canvas.any()
