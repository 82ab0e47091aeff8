# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

import math

import numpy as np
import pytest

from prune_perception.detections import Detections
from prune_perception.runtime.region import enlarged, moved, Region


def image(height: int, width: int) -> np.ndarray:
    """Return an image each of whose pixels says where it is."""
    rows, columns = np.indices((height, width), np.uint8)
    return np.stack([rows, columns, np.zeros_like(rows)], axis=2)


def test_lower_right_quarter_by_hand() -> None:
    part, corner = Region(0.5, 0.5, 0.5, 0.5).cut(image(100, 200))
    assert part.shape == (50, 100, 3)
    assert corner == (100, 50)
    assert part[0, 0].tolist() == [50, 100, 0]
    assert part[-1, -1].tolist() == [99, 199, 0]


def test_the_whole_image_is_not_copied() -> None:
    whole = image(48, 64)
    part, corner = Region().cut(whole)
    assert corner == (0, 0) and part.shape == whole.shape
    assert np.shares_memory(part, whole)


def test_neighbouring_regions_share_no_pixel_and_leave_none_out() -> None:
    whole = image(7, 101)
    thirds = [Region(start, 0, 1 / 3, 1).cut(whole)[0] for start in (0, 1 / 3, 2 / 3)]
    assert np.array_equal(np.hstack(thirds), whole)


@pytest.mark.parametrize('values', [
    (0.999, 0.999, 0.001, 0.001), (0, 0, 1e-9, 1e-9), (0.5, 0.5, 0.5, 0.5),
    (1 - 1e-7, 0, 1e-7, 1)])
@pytest.mark.parametrize('size', [(1, 1), (3, 2), (100, 60)])
def test_there_is_always_a_pixel_and_always_of_the_image(
        values: tuple[float, ...], size: tuple[int, int]) -> None:
    part, (left, top) = Region.of(values).cut(image(*size))
    assert part.size > 0
    assert 0 <= top <= top + part.shape[0] <= size[0]
    assert 0 <= left <= left + part.shape[1] <= size[1]


@pytest.mark.parametrize('values', [
    (-0.1, 0, 0.5, 0.5), (0, 0, 0, 1), (0, 0, 1, -1), (0.5, 0, 0.6, 1), (0, 0.2, 1, 0.9),
    (math.nan, 0, 1, 1), (0, 0, math.inf, 1)])
def test_what_is_no_part_of_an_image_is_refused(values: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match='is no part of the image'):
        Region.of(values)


def test_a_number_that_is_missing_is_told() -> None:
    with pytest.raises(ValueError, match='has 3 numbers; it must have four'):
        Region.of([0, 0, 1])


def test_written_with_six_digits_it_may_end_at_the_edge() -> None:
    Region.of([0.333333, 0, 0.666667, 1])


def test_boxes_are_moved_to_where_they_are_in_the_whole() -> None:
    found = Detections(
        np.array([[1, 2, 3, 4]], np.float32), np.array([0.5], np.float32), np.array([7]))
    there = moved(found, (100, 50))
    assert there.boxes.tolist() == [[101, 52, 103, 54]]
    assert there.boxes.dtype == np.float32
    assert there.scores is found.scores and there.classes is found.classes
    assert moved(Detections.none(), (3, 4)).boxes.shape == (0, 4)


def test_boxes_of_a_part_of_the_size_are_enlarged_and_stay_in_the_image() -> None:
    found = Detections(
        np.array([[1, 2, 3, 4], [10, 20, 17, 26]], np.float32), np.array([0.5, 0.4], np.float32),
        np.array([7, 1]))
    whole = enlarged(found, 4, 67, 103)
    assert whole.boxes.tolist() == [[4, 8, 12, 16], [40, 80, 67, 103]]
    assert whole.boxes.dtype == np.float32
    assert whole.scores is found.scores and whole.classes is found.classes
    assert enlarged(found, 1, 5, 5) is found


def test_least_size_of_an_image_whose_region_feeds_a_network() -> None:
    assert Region().least(416, 320) == (416, 320)
    assert Region(0.5, 0, 0.5, 1 / 3).least(416, 320) == (832, 960)
