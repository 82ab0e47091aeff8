# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
MOTChallenge: one line of text for each object in each frame.

``frame, id, x, y, w, h, flag, …``: frame n is the n-th image, from 1; a flag of 0 means that the
object is not considered. Of ten columns (2D MOT 2015) the last three are a position in the
world; of eight or nine (MOT16 and later) the eighth is a class. After Milan et al., *MOT16: A
Benchmark for Multi-Object Tracking* (2016), pedestrians (1) are judged; a person on a vehicle
(2), a static person (7), a distractor (8), a reflection (12) and a crowd (13) are neither right
nor wrong to be found; the other classes are things that are no people, of which nothing is said.
"""

import math
from pathlib import Path

from prune_perception.evaluation.ground_truth.labels import GroundTruthError, Labels, Row, truth_of
from prune_perception.evaluation.truth import Truth
from prune_perception.frames.recording import Frame

PEDESTRIAN = 1
IGNORED = frozenset({2, 7, 8, 12, 13})
OTHERS = frozenset({3, 4, 5, 6, 9, 10, 11})


class MotLabels(Labels):
    """
    The objects of a MOTChallenge file.

    Frames from the first to the last in the file are labelled, those between without a line as
    empty; nothing is known of the others.
    """

    def __init__(self, path: Path, truth_class: str) -> None:
        """
        Read the file.

        :param path: of the text.
        :param truth_class: name of the one class that it is about.
        :raises GroundTruthError: a line cannot be understood.
        :raises OSError: the file cannot be read.
        """
        self._frames: dict[int, list[Row]] = {}
        with path.open(encoding='utf-8-sig', errors='replace') as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    self._take(f'{path}: line {number}', line)
        if not self._frames:
            raise GroundTruthError(f'{path}: has no lines')
        self._first, self._last = min(self._frames), max(self._frames)
        super().__init__(
            str(path), (truth_class,), self._last - self._first + 1,
            f'frames {self._first} to {self._last}')

    def of(self, frame: Frame, size: tuple[int, int]) -> Truth | None:
        """Return the objects of the frame with this number."""
        number = frame.index + 1
        if not self._first <= number <= self._last:
            return None
        return truth_of(self._frames.get(number, ()))

    def name_of(self, frame: Frame) -> str:
        """Return the number of the frame, from 1."""
        return f'frames from {frame.index + 1}'

    def _take(self, place: str, line: str) -> None:
        try:
            columns = [float(text) for text in line.split(',')]
        except ValueError:
            columns = []
        if len(columns) < 6 or not all(map(math.isfinite, columns[:6])):
            raise GroundTruthError(
                f'{place}: must be frame, id, x, y, w, h, flag, ... in numbers, not '
                f'{line.strip()[:60]!r}')
        frame, x, y, width, height = int(columns[0]), *columns[2:6]
        if frame != columns[0] or frame < 1 or width < 0 or height < 0:
            raise GroundTruthError(
                f'{place}: frames count from 1, and a box has a width and a height')
        rows = self._frames.setdefault(frame, [])
        kind = columns[7] if len(columns) in (8, 9) else -1
        if kind in OTHERS:
            return
        if kind not in {-1, PEDESTRIAN, *IGNORED}:
            raise GroundTruthError(f'{place}: class {kind:g} is none of MOTChallenge, 1 to 13')
        ignored = kind in IGNORED or (len(columns) > 6 and columns[6] == 0)
        rows.append((x, y, x + width, y + height, 0, ignored))
