# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Frames that repeat or are missing.

The world goes on meanwhile: the ground truth of a frame is that of its own time. A frozen frame is
judged by what it shows, which is old; for one that is lost there is nothing new to judge, and the
robot still has the newest result before it.
"""

from prune_perception.evaluation.corruptions.interface import Corruption

PERIOD = 30
"""Frames in which the camera freezes once."""


class FrozenFrames(Corruption):
    """
    A camera that hangs: it repeats its last good frame for a while, under new stamps.

    Once in every 30 frames, at a drawn place; not in the first of them.
    """

    name = 'frozen_frames'
    figure = 'frames of every 30 that repeat an older one'
    levels = (3.0, 6.0, 10.0, 15.0, 20.0)
    changes_images = False

    def frame(self, index: int) -> int:
        """Return the frame itself, or the last one before the camera hung."""
        period, place = divmod(index, PERIOD)
        # The longest must fit in as well, so that a shorter one is a part of it.
        start = int(self.random(period).integers(1, PERIOD - int(self.levels[-1]) + 1))
        if start <= place < start + self.level:
            return period * PERIOD + start - 1
        return index


class DroppedFrames(Corruption):
    """A bus or a network that loses frames, each by chance and for itself."""

    name = 'dropped_frames'
    figure = '% of the frames that never arrive'
    levels = (10.0, 20.0, 35.0, 50.0, 70.0)
    changes_images = False

    def frame(self, index: int) -> int | None:
        """Return the frame itself, or None where it is lost."""
        return None if self.random(index).uniform(0, 100) < self.level else index
