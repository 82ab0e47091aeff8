# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

from pathlib import Path

from blobs import write_pictures
import pytest

from prune_perception.frames.part import Part
from prune_perception.frames.recording import open_recording


@pytest.mark.parametrize(('first', 'last', 'every', 'indices'), [
    (1, None, 1, [0, 1, 2, 3, 4, 5, 6]), (1, None, 3, [0, 3, 6]), (2, 6, 2, [1, 3, 5]),
    (3, 3, 5, [2]), (6, 99, 1, [5, 6]), (8, None, 1, [])])
def test_frames_keep_their_places(
        first: int, last: int | None, every: int, indices: list[int], tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / 'pictures', [[]] * 7)
    with open_recording(folder) as recording:
        part = Part(recording, first, last, every)
        for _ in range(2):
            assert [frame.index for frame in part] == indices
        assert part.expected == len(indices)
        assert part.count is None and part.path == folder and part.topic is None


@pytest.mark.parametrize('words', [(0, None, 1), (3, 2, 1), (1, None, 0)])
def test_no_such_part(words: tuple[int, int | None, int], tmp_path: Path) -> None:
    with open_recording(write_pictures(tmp_path / 'pictures', [[]])) as recording:
        with pytest.raises(ValueError, match='there is no such part'):
            Part(recording, *words)
