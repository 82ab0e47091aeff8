# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

import pytest

from prune_perception.pruning.splits import FEWEST, split, SplitError


@pytest.mark.parametrize('frames', [FEWEST, 17, 40, 128, 199, 200, 395, 1000, 12345])
def test_parts_follow_each_other_with_gaps(frames):
    parts = split(frames)
    assert parts.fit.start == 0
    assert parts.select.start - parts.fit.stop == parts.gap
    assert parts.certify.start - parts.select.stop == parts.gap
    assert parts.certify.stop == frames
    assert len(parts.fit) >= 8 and len(parts.select) >= 2 and len(parts.certify) >= 2


@pytest.mark.parametrize('frames', [100, 395, 1000])
def test_most_frames_are_for_fitting(frames):
    parts = split(frames)
    usable = frames - 2 * parts.gap
    for part, share in ((parts.fit, 0.73), (parts.select, 0.12), (parts.certify, 0.15)):
        assert len(part) == pytest.approx(share * usable, abs=1)


@pytest.mark.parametrize(('frames', 'rate', 'gap'), [
    (16, None, 1), (100, None, 2), (199, None, 4), (200, None, 10), (9000, None, 10),
    (199, 30.0, 4), (200, 30.0, 10), (599, 30.0, 30), (9000, 30.0, 30), (9000, 29.97, 30),
    (1000, 4.2, 4), (1000, 2.5, 2), (1000, 0.28, 1), (100, 1.0, 1)])
def test_a_gap_is_a_second_where_the_recording_is_long_enough(frames, rate, gap):
    parts = split(frames, rate)
    assert parts.gap == gap
    if rate and frames >= 599:
        assert (parts.certify.start - parts.select[-1]) / rate > 1  # s
        assert (parts.select.start - parts.fit[-1]) / rate > 1


@pytest.mark.parametrize(('frames', 'said'), [(0, '0 frames'), (1, '1 frame '), (15, '15 frames')])
def test_too_few_frames_are_told_with_how_many_are_needed(frames, said):
    with pytest.raises(SplitError, match=f'^{said}.*at least 16 are needed$'):
        split(frames)
