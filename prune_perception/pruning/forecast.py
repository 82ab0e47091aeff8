# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
How far a network can be pruned, before it is: agreement against energy.

For some shares of the dense energy a plan is made, as ``prune`` makes it, and what the network
then sees of frames kept aside is forecast from projected activations (:mod:`.restoration`). The
forecast is of the network *restored and not distilled*. Nothing is fitted on the frames that it
is scored on, and nothing of the forecast is fitted to networks that were really made.

The loss that is spoken of is, as in :mod:`prune_perception.evaluation.potential`, the dense
network's agreement with itself on mirrored frames less that of the narrower one: what the dense
network says otherwise of a mirrored image is its own doubt, which is not to be charged to
pruning.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np

from prune_perception.bundle import Bundle
from prune_perception.detections import Detections
from prune_perception.energy.hardware import HardwareProfile
from prune_perception.evaluation import LARGEST_LOSS
from prune_perception.evaluation.intervals import Draws, interval_of
from prune_perception.evaluation.potential import Figure, Verdict
from prune_perception.pruning import ALIGNMENTS
from prune_perception.pruning.agreement import detections_of, Score, score
from prune_perception.pruning.footage import Footage, Images
from prune_perception.pruning.observe import Observation
from prune_perception.pruning.plan import Plan
from prune_perception.pruning.planner import Planner
from prune_perception.pruning.provable import Bound
from prune_perception.pruning.restoration import kept_outputs, restore
from prune_perception.pruning.splits import Splits

SHARES = (0.9, 0.75, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1, 0.07, 0.05)
"""Of the dense energy, which are forecast."""

RIDGE = 1e-2
"""Of the projection: in the middle of those that restoration chooses of."""

Size = tuple[int, int]


class ForecastError(ValueError):
    """A forecast that cannot be made or compared; one line that names what and why."""


@dataclass(frozen=True)
class Request:
    """
    What is asked for. What is not explained here is as in :class:`.pruner.Request`.

    :param shares: of the dense energy, above 0 and at most 1.
    :param largest_loss: of agreement, that is allowed.
    :param pruned: bundles that were pruned from this one, to stand beside the forecast.
    :param check: also remove, restore and score at each share, in memory.
    """

    bundle: Bundle
    data: Path
    profile: HardwareProfile
    topic: str | None = None
    frames: tuple[int, int] | None = None
    bits: int | None = None
    classes: tuple[str, ...] | None = None
    method: str = 'combined'
    alignment: int = ALIGNMENTS[0]
    unrelated: bool = False
    resize: bool = True
    seed: int = 0
    shares: tuple[float, ...] = SHARES
    largest_loss: float = LARGEST_LOSS
    pruned: tuple[Bundle, ...] = ()
    check: bool = False
    command: str = ''


@dataclass(frozen=True, eq=False)
class Point:
    """
    A place on the sweep.

    :param plan: of the channels that would go.
    :param size: (height, width) of the input, pixels.
    :param predicted: agreement of the restored network, forecast.
    :param restored: the same of the network that was made to check; None without.
    :param bound: what is proved of the plan; None but for the provable method.
    """

    plan: Plan
    size: Size
    predicted: Score
    restored: Score | None = None
    bound: Bound | None = None

    @property
    def share(self) -> float:
        """Modelled energy, as a share of the dense bundle's."""
        return self.plan.share


@dataclass(frozen=True, eq=False)
class Pruned:
    """
    A bundle that was pruned, on the frames of the forecast.

    :param share: modelled energy, as a share of the dense bundle's.
    :param size: (height, width) of its input, pixels.
    :param distilled: whether it was trained after restoration; None where its card does not say.
    :param score: its agreement.
    :param predicted: what is forecast of the restored network at its share, and the input size
        that would be chosen there; None where no plan has this share.
    """

    bundle: Bundle
    share: float
    size: Size
    distilled: bool | None
    score: Score
    predicted: Score | None
    predicted_size: Size | None


@dataclass(frozen=True)
class Errors:
    """
    How far forecasts were off what happened.

    :param mean_absolute: of predicted less real agreement.
    :param bias: mean of predicted less real.
    :param largest: absolute.
    :param number: of networks.
    :param within: of these, how many lay in the forecast's interval; None without intervals.
    :param swapped: pairs of networks that the forecast puts in the wrong order, each with how far
        the real agreements are apart.
    """

    mean_absolute: float
    bias: float
    largest: float
    number: int
    within: int | None
    swapped: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Forecast:
    """
    The forecast.

    :param card_name: of the dense bundle.
    :param consistency: agreement of the dense network on mirrored frames with itself.
    :param points: from much energy to little.
    :param pruned: bundles beside it.
    :param objects: that the dense network is confident of in the frames kept aside.
    :param block: frames of a block that the intervals draw.
    :param reason_for_one_size: why no other input size was considered; empty if others were.
    :param seconds: that each stage took.
    """

    request: Request = field(repr=False)
    class_names: tuple[str, ...]
    full_size: Size
    consistency: Score
    points: tuple[Point, ...]
    pruned: tuple[Pruned, ...]
    footage: Footage
    splits: Splits
    objects: int
    block: int
    reason_for_one_size: str
    notes: tuple[str, ...]
    seconds: Mapping[str, float]

    def loss(self, of: Score) -> Figure:
        """Return what a network loses against the dense network's consistency with itself."""
        value = self.consistency.value - of.value
        return Figure(value, interval_of(value, self.consistency.draws - of.draws)
                      if len(of.draws) else None)

    def furthest(self, *, surely: bool = False) -> Point | None:
        """
        Return the last point to which the forecast stays within the loss; None if none does.

        :param surely: also at the upper end of the loss's interval.
        """
        found = None
        for point in self.points:
            verdict = self.loss(point.predicted).verdict(self.request.largest_loss)
            if verdict is Verdict.FAILS or (surely and verdict is not Verdict.SURE):
                return found
            found = point
        return found

    def errors(self) -> Errors | None:
        """Return how far the forecast was off restored networks; None where there are none."""
        pairs = [(point.predicted, point.restored.value) for point in self.points
                 if point.restored is not None]
        pairs += [(one.predicted, one.score.value) for one in self.pruned
                  if one.predicted is not None and one.distilled is False]
        return errors_of([
            (Figure(found.value, found.interval), real) for found, real in pairs])


def errors_of(pairs: Sequence[tuple[Figure, float]]) -> Errors | None:
    """
    Return how far forecasts were off.

    :param pairs: predicted and real agreement.
    """
    if not pairs:
        return None
    off = np.array([predicted.value - real for predicted, real in pairs])
    held = [predicted.interval.low <= real <= predicted.interval.high
            for predicted, real in pairs if predicted.interval is not None]
    swapped = [abs(one[1] - other[1]) for one, other in combinations(pairs, 2)
               if (one[0].value - other[0].value) * (one[1] - other[1]) < 0]
    return Errors(float(np.abs(off).mean()), float(off.mean()), float(np.abs(off).max()),
                  len(pairs), sum(held) if len(held) == len(pairs) else None,
                  tuple(sorted(swapped, reverse=True)))


def predict(planner: Planner, plan: Plan, fit: Observation, select: Images,
            dense_seen: Sequence[Detections], drawn: Draws) -> Score:
    """
    Forecast the agreement of a plan's network, restored and not distilled.

    :param planner: at the plan's input size.
    :param fit: what the dense network did on the frames to fit to, at this size.
    :param select: uint8 (n, height, width, 3), the frames kept aside, in the order of time.
    :param dense_seen: what the dense network, at its full size, finds in these.
    :param drawn: blocks of these frames.
    :raises AgreementError: the dense network finds nothing.
    """
    narrower = planner.remove(plan)
    restore(narrower, fit, None, kept_outputs(planner.groups, plan.removed), ridge=RIDGE)
    return score(dense_seen, detections_of(narrower, planner.card, select), drawn)
