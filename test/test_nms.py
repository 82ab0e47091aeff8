# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
import pytest

from prune_perception.runtime.nms import best_of, class_aware_nms


def suppress(
        boxes: Sequence[tuple[float, ...]], scores: list[float], classes: list[int],
        threshold: float = 0.5, largest: int = 100) -> list[int]:
    kept = class_aware_nms(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32),
        np.array(classes, np.int64), threshold, largest)
    assert kept.dtype == np.int64
    return kept.tolist()


# 10 x 10 pixels each; moved by 1 they share 90 of 110, by 5 they share 50 of 150.
BOX, NEAR, HALF, FAR = (0, 0, 10, 10), (1, 0, 11, 10), (5, 0, 15, 10), (20, 20, 30, 30)


def test_the_best_of_overlapping_boxes_stays() -> None:
    assert suppress([NEAR, BOX, FAR], [0.8, 0.9, 0.1], [0, 0, 0]) == [1, 2]


def test_other_classes_are_left_alone() -> None:
    assert suppress([BOX, BOX, NEAR, NEAR], [0.9, 0.8, 0.7, 0.6], [0, 5, 5, 79]) == [0, 1, 3]


def test_the_best_come_first() -> None:
    boxes = [(20 * index, 0, 20 * index + 10, 10) for index in range(5)]
    assert suppress(boxes, [0.3, 0.9, 0.1, 0.5, 0.7], [0, 1, 2, 0, 1]) == [1, 4, 3, 0, 2]
    assert suppress(boxes, [0.3, 0.9, 0.1, 0.5, 0.7], [0, 1, 2, 0, 1], largest=2) == [1, 4]


@pytest.mark.parametrize(('threshold', 'kept'), [(0.33, [0]), (0.34, [0, 1]), (1.0, [0, 1])])
def test_the_threshold_is_on_intersection_over_union(threshold: float, kept: list[int]) -> None:
    assert suppress([BOX, HALF], [0.9, 0.8], [0, 0], threshold) == kept


def test_a_suppressed_box_suppresses_no_other() -> None:
    # The second overlaps both others by 1/3, but is gone before the third is looked at.
    assert suppress([BOX, HALF, (10, 0, 20, 10)], [0.9, 0.8, 0.7], [0, 0, 0], 0.3) == [0, 2]


def test_negative_coordinates() -> None:
    left = (-10, -10, 0, 0)
    assert suppress(
        [left, (-11, -10, -1, 0), left, (100, 100, 110, 110)], [0.9, 0.8, 0.7, 0.6],
        [0, 0, 1, 0]) == [0, 2, 3]


def test_nothing() -> None:
    assert suppress([], [], []) == []


def test_one_box_without_size() -> None:
    assert suppress([(5, 5, 5, 5)], [0.9], [3]) == [0]


def by_the_book(
        boxes: NDArray[np.float32], scores: NDArray[np.float32], classes: NDArray[np.int64],
        threshold: float) -> list[int]:
    """Suppress as the definition says, one pair at a time."""
    kept: list[int] = []
    for index in np.argsort(-scores):
        for other in kept:
            sides = np.minimum(boxes[index, 2:], boxes[other, 2:]) - np.maximum(
                boxes[index, :2], boxes[other, :2])
            shared = np.prod(np.maximum(sides, 0), dtype=float)
            areas = np.prod(boxes[[index, other], 2:] - boxes[[index, other], :2], axis=1).sum()
            if classes[index] == classes[other] and shared / (areas - shared) > threshold:
                break
        else:
            kept.append(int(index))
    return kept


@pytest.mark.parametrize('seed', range(5))
def test_many_boxes_as_the_definition_says(seed: int) -> None:
    random = np.random.default_rng(seed)
    corners = random.uniform(-50, 100, (200, 2))
    boxes = np.hstack([corners, corners + random.uniform(40, 90, (200, 2))]).astype(np.float32)
    scores = random.permutation(np.linspace(0.01, 0.99, 200)).astype(np.float32)
    classes = random.integers(0, 3, 200)
    kept = class_aware_nms(boxes, scores, classes, 0.45, 1000)
    expected = by_the_book(boxes, scores, classes, 0.45)
    assert 20 < len(expected) < 150
    assert kept.tolist() == expected


def test_what_needs_no_suppression_is_only_sorted() -> None:
    boxes, scores = np.array([NEAR, BOX, BOX, FAR], np.float32), np.array([0.7, 0.9, 0.9, 0.8])
    given = boxes, scores.astype(np.float32), np.zeros(4, np.int64), 0.5
    assert best_of(*given, 3, nms=False).tolist() == [1, 2, 3]
    assert best_of(*given, 3, nms=True).tolist() == [1, 3]
