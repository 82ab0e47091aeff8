# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
How far a figure would move with other frames like these: the bootstrap, over blocks of frames.

Neighbouring frames of a recording show much the same, so that drawing them one by one would
promise more than there is. Blocks of contiguous frames are drawn instead, with replacement, as
many as there are (Künsch, *The Jackknife and the Bootstrap for General Stationary
Observations*, Annals of Statistics 1989; here blocks do not overlap). A draw is a row of
weights: how often each frame was drawn. With one seed every model gets the same draws, so that
the difference between two models is taken on the same frames each time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray

LEAST_BLOCKS = 5
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A 95 % interval, see :func:`interval_of`."""

    low: float
    high: float


@dataclass(frozen=True)
class Draws:
    """
    What was drawn, for a number of frames in their order.

    :param weights: (draws, blocks) how often each block was drawn.
    :param blocks: (frames,) the block of each frame.
    :param length: frames in a block, at most.
    """

    weights: NDArray[np.float64]
    blocks: NDArray[np.int64]
    length: int

    @property
    def usable(self) -> bool:
        """Whether there are draws, and blocks enough to say anything."""
        return len(self.weights) > 0 and self.weights.shape[1] >= LEAST_BLOCKS


def draw(
        frames: int, *, draws: int = 1000, seed: int = 0, block: int | None = None,
        starts: Sequence[int] = ()) -> Draws:
    """
    Draw blocks of frames.

    :param frames: how many there are.
    :param draws: how often.
    :param seed: the same seed gives the same draws.
    :param block: frames in a block; None takes the square root of ``frames``, so that there are
        about as many blocks as frames in one.
    :param starts: places of frames that come from another recording than the one before them. A
        block begins there, since what is in it must belong together; the one before may be short.
    :raises ValueError: a number below 0, or a block below 1.
    """
    if frames < 0 or draws < 0:
        raise ValueError(f'{draws} draws of {frames} frames; neither can be below 0')
    length = max(1, round(math.sqrt(frames))) if block is None else block
    if length < 1:
        raise ValueError(f'a block of {length} frames; it has 1 or more')
    borders = np.array([0, *starts], np.int64)
    places = np.arange(frames, dtype=np.int64)
    since = places - borders[np.searchsorted(borders, places, side='right') - 1]
    blocks = np.cumsum(since % length == 0, dtype=np.int64) - 1
    count = int(blocks[-1]) + 1 if frames else 0
    chance = np.full(count, 1 / count) if count else np.zeros(0)
    random = np.random.default_rng(seed)
    weights = (random.multinomial(count, chance, size=draws) if count
               else np.zeros((draws, 0)))
    return Draws(weights.astype(np.float64), blocks, length)


def interval_of(
        value: float, drawn: NDArray[np.float64],
        limits: tuple[float, float] = (-np.inf, np.inf)) -> Interval | None:
    """
    Return the 95 % interval of a figure; None where most draws have no figure.

    It is the middle 95 % of the draws about their mean, laid about the figure itself. A draw
    repeats frames, which moves some figures one way (average precision of rare classes rises);
    the interval tells how far a figure scatters and leaves that out.

    :param value: the figure with every frame once.
    :param drawn: (draws,) the figure of each draw.
    :param limits: between what the figure lies by its nature: few frames with a long tail would
        put an end of the interval beyond.
    """
    known = drawn[np.isfinite(drawn)]
    if len(known) < len(drawn) / 2 or not len(known):
        return None
    edge = (1 - CONFIDENCE) / 2
    low, high = np.quantile(known, [edge, 1 - edge]) - known.mean() + value
    least, most = limits
    return Interval(float(max(low, least)), float(min(high, most)))


def ratio_draws(
        draws: Draws, above: NDArray[np.float64], below: NDArray[np.float64],
        ) -> NDArray[np.float64]:
    """
    Return a ratio of two sums over frames for each draw.

    :param above: (frames,) what is summed above the line.
    :param below: (frames,) what is summed below it.
    :returns: (draws,), not a number where the sum below is 0.
    """
    count = draws.weights.shape[1]
    top = draws.weights @ np.bincount(draws.blocks, above, count)
    bottom = draws.weights @ np.bincount(draws.blocks, below, count)
    return np.divide(top, bottom, out=np.full(len(top), np.nan), where=bottom > 0)


def quantile_draws(
        draws: Draws, values: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """
    Return a quantile over frames for each draw: the least value that ``share`` do not exceed.

    :param values: (frames,).
    :returns: (draws,).
    """
    order = np.argsort(values, kind='stable')
    ordered, blocks = values[order], draws.blocks[order]
    result = np.empty(len(draws.weights))
    for row, weights in enumerate(draws.weights):
        running = np.cumsum(weights[blocks])
        place = int(np.searchsorted(running, share * running[-1], side='left'))
        result[row] = ordered[min(place, len(ordered) - 1)]
    return result
