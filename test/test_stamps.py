# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The ages of images by their stamps, and stamps that tell none."""

import pytest

from prune_perception.runtime.stamps import NO_CLOCK, NO_STAMP, Stamps

START = 1_700_000_000_000_000_000
SECOND = 1_000_000_000


def seconds(value: float) -> int:
    """Return a time of the node's clock in nanoseconds."""
    return START + round(value * SECOND)


def feed(stamps: Stamps, *images: tuple[float, float], simulated: bool = False
         ) -> list[float | None]:
    """Give the stamps and the clock of images, in seconds; return the ages."""
    return [stamps.age(seconds(stamp), seconds(clock), simulated=simulated)
            for stamp, clock in images]


def test_age_is_clock_minus_stamp() -> None:
    stamps = Stamps()
    assert feed(stamps, (0.0, 0.04), (0.1, 0.15)) == pytest.approx([0.04, 0.05])
    assert stamps.take_problem() is None


@pytest.mark.parametrize('stamp, clock, words', [
    (0, START, NO_STAMP), (START, 0, NO_CLOCK),
    (seconds(0.25), START, '0.250 s ahead'), (START, seconds(60), '60 s behind')])
def test_stamp_that_tells_no_age(stamp: int, clock: int, words: str) -> None:
    stamps = Stamps()
    assert stamps.age(stamp, clock, simulated=False) is None
    assert words in (stamps.take_problem() or '')
    assert stamps.take_problem() is None  # told once for each image


def test_image_of_the_present_step_of_a_simulated_clock_is_too_young_to_tell() -> None:
    stamps = Stamps()
    assert feed(stamps, (0.05, 0.0), simulated=True) == [None]
    assert stamps.take_problem() is None
    assert feed(stamps, (0.05, 0.0)) == [None]
    assert 'ahead' in (stamps.take_problem() or '')


def test_frozen_stamp() -> None:
    stamps = Stamps()
    ages = feed(stamps, *((0.0, 0.1 * index) for index in range(10)))
    assert None not in ages  # for less than a second
    assert stamps.take_problem() is None
    assert feed(stamps, (0.0, 1.0), (0.0, 1.1)) == [None, None]
    assert 'stands still: the same for 12 images over 1 s' in (stamps.take_problem() or '')
    assert feed(stamps, (1.2, 1.25)) == pytest.approx([0.05])
    assert stamps.take_problem() is None


def test_two_images_of_one_stamp_are_no_fault() -> None:
    stamps = Stamps()
    feed(stamps, (0.0, 0.1), (0.0, 5.0))
    assert stamps.take_problem() is None


def test_stamps_that_go_back() -> None:
    stamps = Stamps()
    assert feed(stamps, (1.0, 1.1), (0.5, 1.2)) == pytest.approx([0.1, 0.7])
    assert 'went back by 0.500 s' in (stamps.take_problem() or '')
    feed(stamps, (0.6, 1.3))
    assert stamps.take_problem() is None


def test_recording_that_begins_anew_with_its_clock_is_no_fault() -> None:
    stamps = Stamps()
    ages = feed(stamps, (100.0, 100.1), (0.0, 0.1), (0.5, 0.6), simulated=True)
    assert ages == pytest.approx([0.1, 0.1, 0.1])
    assert stamps.take_problem() is None
    # The clock alone was simulated back; the camera goes on as it was.
    feed(stamps, (0.4, 0.7), simulated=True)
    assert 'went back' in (stamps.take_problem() or '')


def test_run_of_one_stamp_begins_anew_where_the_clock_jumps_back() -> None:
    stamps = Stamps()
    feed(stamps, (0.0, 5.0), (0.0, 6.0), (0.0, 0.1), (0.0, 0.2), (0.0, 0.3), simulated=True)
    assert stamps.take_problem() is None
    feed(stamps, (0.0, 1.2), simulated=True)
    assert 'the same for 4 images' in (stamps.take_problem() or '')
