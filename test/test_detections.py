# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

import numpy as np
import pytest

from prune_perception.detections import Detections


def test_length_is_the_number_of_objects() -> None:
    detections = Detections(
        np.zeros((3, 4), np.float32), np.ones(3, np.float32), np.zeros(3, np.int64))
    assert len(detections) == 3


def test_none_has_the_types_of_some() -> None:
    none = Detections.none()
    assert len(none) == 0
    assert (none.boxes.shape, none.boxes.dtype) == ((0, 4), np.float32)
    assert (none.scores.dtype, none.classes.dtype) == (np.float32, np.int64)


@pytest.mark.parametrize(('boxes', 'scores', 'classes'), [
    ((2, 4), (3,), (3,)), ((3, 4), (3,), (2,)), ((3, 5), (3,), (3,)), ((4,), (1,), (1,)),
    ((3, 4), (3, 1), (3,)), ((3, 4), (3,), (3, 1))])
def test_arrays_that_do_not_belong_together_are_refused(
        boxes: tuple[int, ...], scores: tuple[int, ...], classes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match='do not describe the same objects'):
        Detections(
            np.zeros(boxes, np.float32), np.zeros(scores, np.float32),
            np.zeros(classes, np.int64))


def test_two_results_can_be_compared_and_kept_in_a_set() -> None:
    one, other = Detections.none(), Detections.none()
    assert one == one
    assert one != other
    assert len({one, other}) == 2
