# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

import cv2
import numpy as np
import pytest

from prune_perception.pruning.views import view


def views_of(image, number=200):
    rng = np.random.default_rng(3)
    return [view(image, rng) for _ in range(number)]


@pytest.fixture
def ramp():
    """Return a picture that is brighter to the right, grey and 48 x 64 pixels."""
    return np.repeat(np.tile(np.linspace(60, 180, 64), (48, 1))[..., None], 3, 2).astype(np.uint8)


def test_the_same_seed_makes_the_same_view(ramp):
    first, again = (view(ramp, np.random.default_rng(5)) for _ in range(2))
    other = view(ramp, np.random.default_rng(6))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_view_is_a_new_picture_of_the_same_kind(ramp):
    before = ramp.copy()
    for seen in views_of(ramp, 30):
        assert seen.shape == ramp.shape and seen.dtype == np.uint8
        assert not np.shares_memory(seen, ramp)
    np.testing.assert_array_equal(ramp, before)


def test_things_are_elsewhere_after_a_move():
    dot = np.zeros((65, 65, 3), np.uint8)
    dot[30:35, 30:35] = 255
    places = np.array([np.unravel_index(seen[..., 0].argmax(), (65, 65))
                       for seen in views_of(dot)])
    assert places.min() < 12 and places.max() > 52


def test_the_exposure_varies_both_ways():
    grey = np.full((32, 32, 3), 120, np.uint8)
    means = np.array([seen.mean() for seen in views_of(grey)])
    # Gain 0.6 and gamma e^0.25, and gain 1.5 and gamma e^-0.25, are the furthest there is.
    darkest = 255 * (120 / 255 * 0.6) ** np.exp(0.25)
    brightest = 255 * (120 / 255 * 1.5) ** np.exp(-0.25)
    assert darkest - 1 <= means.min() < 85
    assert 170 < means.max() <= brightest + 1


def test_a_fifth_is_noisy_and_the_noise_has_no_bias():
    grey = np.full((64, 64, 3), 120, np.uint8)
    noisy = [seen for seen in views_of(grey) if seen.std() > 0]
    assert 20 < len(noisy) < 60
    for seen in noisy:
        middle = np.median(seen)
        assert 0.5 < seen.std() < 9
        assert abs(seen.mean() - middle) < 0.5


def test_some_views_are_blurred():
    checks = (np.indices((64, 64)).sum(0) % 2 * 100 + 60).astype(np.uint8)
    picture = np.repeat(checks[..., None], 3, 2)
    sharpness = sorted(
        cv2.Laplacian(seen, cv2.CV_32F).var() for seen in views_of(picture, 60))
    assert sharpness[0] < 0.01 * sharpness[-1]


def test_things_come_nearer_and_go_farther():
    disc = np.zeros((256, 256, 3), np.uint8)
    cv2.circle(disc, (128, 128), 14, (200, 200, 200), -1)  # however far it moves, it stays inside
    areas = np.array([(seen[..., 0] > seen.max() / 2).sum() for seen in views_of(disc, 60)])
    relative = areas / (disc[..., 0] > 100).sum()
    assert 0.6 ** 2 * 0.95 < relative.min() < 0.5
    assert 2.2 < relative.max() < 1.6 ** 2 * 1.05
