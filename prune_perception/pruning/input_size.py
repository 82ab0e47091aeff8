# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
At which input size to prune: that with the least forecast loss at the budget.

A smaller input saves energy in every layer, and costs what the network can no longer see. Without
labels the second is judged by the dense network itself: on mirrored frames it answers a little
differently, and neither answer is better; a size at which it agrees with itself as well as that
has lost nothing that the footage could show. Among these sizes a few images forecast the loss of
a network within the budget.
"""

from collections.abc import Callable
from dataclasses import dataclass
import math

import numpy as np

from prune_perception.bundle import Card
from prune_perception.pruning.agreement import agreement, detections_of, mirrored
from prune_perception.pruning.footage import Images, mirror
from prune_perception.pruning.methods import FORECASTING
from prune_perception.pruning.plan import Plan, PlanError, Sweep
from prune_perception.pruning.planner import Planner
from prune_perception.runtime.memory import release_unused_memory

_USUAL_STRIDE = 32  # of the smallest map of a detector's backbone
_SMALLEST_SIDE = 0.6  # of the dense input's: detectors see little below
_TOLERANCE = 0.01  # of agreement, below the dense network's consistency with itself
_AGREEMENT_IMAGES = 64  # by which the dense network is compared with itself
_FORECAST_IMAGES = 32


@dataclass(frozen=True)
class Trial:
    """
    An input size that was considered.

    :param size: (height, width), pixels.
    :param dense: agreement of the dense network at this size with itself at full size.
    :param forecast: growth of the distillation loss at the budget, before training, for one image
        of the full size's area; None where it was not forecast.
    :param reason: what speaks against the size; empty if nothing does.
    """

    size: tuple[int, int]
    dense: float
    forecast: float | None = None
    reason: str = ''


@dataclass(frozen=True)
class Sizes:
    """
    The input sizes that were considered, and what the dense network's own consistency is.

    :param consistency: agreement of the dense network on mirrored frames with itself. Neither
        answer is better than the other: what agrees as well as this has lost nothing that the
        footage could show.
    :param untried: why no further size was tried; empty if nothing stood against one.
    """

    consistency: float
    trials: tuple[Trial, ...]
    untried: str = ''

    def best(self) -> tuple[int, int]:
        """
        Return the size with the least forecast loss.

        :raises PlanError: at none the budget can be met.
        """
        forecasts = {trial.size: trial.forecast for trial in self.trials
                     if trial.forecast is not None}
        if not forecasts:
            raise PlanError(self.trials[-1].reason)
        return min(forecasts, key=forecasts.__getitem__)

    def note(self) -> str:
        """Return what there is to know of the sizes, one line; empty if nothing."""
        for trial in self.trials:
            if trial.forecast is not None and sees_less(trial.dense, self.consistency):
                return (f'the budget forced the input down to {trial.size[1]} x {trial.size[0]} '
                        'pixels, where the dense network agrees with itself by '
                        f'{trial.dense:.3f} only')
        return self.untried


def sizes_of(card: Card) -> list[tuple[int, int]]:
    """
    Return the input sizes to consider: the card's own, then smaller ones on whole strides.

    A network may have larger strides than its decoder knows of: one that reads a single map of a
    quarter of the input has it made from maps of a 32nd, which must fit each other.
    """
    height, width = card.input.height, card.input.width
    settings = card.decoder.settings
    strides = settings.get('strides') or (settings.get('stride') or _USUAL_STRIDE,)
    stride = math.lcm(max(int(one) for one in strides) or 1, _USUAL_STRIDE)
    sizes = [(height, width)]
    for side in range((height - 1) // stride * stride, 0, -stride):
        other = round(width * side / height / stride) * stride
        if side < _SMALLEST_SIDE * height or not other:
            break
        sizes.append((side, other))
    return sizes


def reason_for_one_size(card: Card, method: str, resize: bool = True) -> str:
    """
    Return why no other input size than the card's own is considered; empty if others are.

    :param method: that plans are made by.
    :param resize: whether another size is wanted.
    """
    if not resize:
        return 'because that was asked for'
    if method not in FORECASTING:
        return f'because method {method} forecasts no loss to compare sizes by'
    if card.network is not None and card.network.settings.get('one_size'):
        return 'because its graph holds numbers of this size alone'
    return '' if len(sizes_of(card)) > 1 else 'because no other fits the network'


def try_sizes(
        planner: Planner, fit: Images, select: Images,
        plan: Callable[[Planner, Sweep], Plan], *, until: float = 0.0,
        progress: Callable[[float, str], None] | None = None) -> Sizes:
    """
    Compare the input sizes of a network, without making anything.

    :param planner: at the full input size.
    :param fit: uint8 (n, height, width, 3), which the loss is forecast from.
    :param select: likewise; the dense network is compared with itself on these and those to fit.
    :param plan: returns the plan that the budget allows on a sweep, or raises PlanError.
    :param until: where sweeps may end, MACs; see :meth:`.Planner.sweep`.
    :param progress: called with the share that is done and the size that is considered.
    :raises AgreementError: the dense network sees nothing in the images.
    """
    images = _of_both(fit, select, _AGREEMENT_IMAGES)
    seen = detections_of(planner.network, planner.card, images)
    turned, shares = mirror(images, planner.card.input)
    consistency = agreement(seen, mirrored(
        detections_of(planner.network, planner.card, turned), shares))
    sizes = sizes_of(planner.card)
    trials: list[Trial] = []
    untried = ''
    for number, size in enumerate(sizes):
        if progress:
            progress(number / len(sizes), f'{size[1]} x {size[0]} pixels')
        try:
            smaller = planner if size == planner.size else planner.at(size)
        except Exception as error:  # whatever a network raises that was made for one size
            reason = (str(error) or type(error).__name__).splitlines()[0]
            untried = (f'the network cannot be fed at {size[1]} x {size[0]} pixels, so that '
                       f'no smaller input was tried: {reason}')
            break
        dense = 1.0 if size == planner.size else agreement(
            seen, detections_of(planner.network, smaller.card, images))
        if sees_less(dense, consistency) and any(
                trial.forecast is not None for trial in trials):
            trials.append(Trial(size, dense, None, 'the dense network sees less at this size'))
            break
        # If no larger size meets the budget: better a network that sees less than none.
        trials.append(_forecast(smaller, planner.size, dense, fit, plan, until))
    return Sizes(consistency, tuple(trials), untried)


def _forecast(
        planner: Planner, full: tuple[int, int], dense: float, fit: Images,
        plan: Callable[[Planner, Sweep], Plan], until: float) -> Trial:
    release_unused_memory()
    swept = planner.sweep(planner.observe(fit, _FORECAST_IMAGES), until)
    try:
        cost = plan(planner, swept).cost
    except PlanError as error:
        return Trial(planner.size, dense, None, str(error))
    # An object covers cells in proportion to the area, and each has its part in the loss.
    return Trial(planner.size, dense,
                 cost * full[0] * full[1] / (planner.size[0] * planner.size[1]))


def sees_less(dense: float, consistency: float) -> bool:
    """Return whether the dense network agrees with itself less than its answers are worth."""
    return dense < consistency - _TOLERANCE


def _of_both(fit: Images, select: Images, most: int) -> Images:
    """Return images of fit and select, evenly spread."""
    both = len(fit) + len(select)
    index = np.linspace(0, both - 1, min(most, both)).astype(int)
    return np.stack([fit[at] if at < len(fit) else select[at - len(fit)] for at in index])
