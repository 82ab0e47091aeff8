# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""From a bundle and footage to a forecast: all the steps in their order. Nothing is written."""

from collections.abc import Callable, Mapping, Sequence
import contextlib
from types import MappingProxyType

from prune_perception.bundle import Bundle
from prune_perception.evaluation.intervals import draw
from prune_perception.evaluation.potential import why_unjudged
from prune_perception.networks.registry import load_network
from prune_perception.pruning.agreement import (
    AgreementError,
    detections_of,
    mirrored,
    objects,
    Score,
    score,
)
from prune_perception.pruning.footage import Footage, Images, mirror, read_footage
from prune_perception.pruning.forecast import (
    Forecast,
    ForecastError,
    Point,
    predict,
    Pruned,
    Request,
    Size,
)
from prune_perception.pruning.input_size import reason_for_one_size, sees_less, try_sizes
from prune_perception.pruning.observe import Observation
from prune_perception.pruning.plan import Plan, PlanError, Sweep
from prune_perception.pruning.planner import FIT_IMAGES, Planner, planner_for, SELECT_IMAGES
from prune_perception.pruning.provable import bound_of
from prune_perception.pruning.restoration import kept_outputs, restore
from prune_perception.pruning.splits import split
from prune_perception.pruning.stages import Progress, Stages
from prune_perception.runtime.memory import release_unused_memory


def forecast(request: Request, progress: Progress | None = None) -> Forecast:
    """
    Forecast how far a bundle can be pruned. Nothing is written.

    :raises ForecastError: a pruned bundle is not of this one, or no share can be met.
    :raises FootageError: the recording cannot be used.
    :raises SplitError: it has too few frames.
    :raises HeadError: a class is not the bundle's, or its outputs are not known.
    :raises GroupError: the network cannot be traced.
    :raises AgreementError: the dense network sees nothing in the footage.
    :raises BundleError: the bundle has no weights that can be pruned.
    """
    return _Job(request, progress).run()


class _Job:

    def __init__(self, request: Request, progress: Progress | None) -> None:
        self._request, self._stage = request, Stages(progress)
        self._notes: list[str] = []

    def run(self) -> Forecast:
        request = self._request
        for share in request.shares:
            if not 0 < share <= 1:
                raise ForecastError(
                    f'a share of {share:g} cannot be; it is of the dense energy, above 0 and at '
                    'most 1')
        self._full = planner_for(
            request.bundle, request.profile, bits=request.bits, classes=request.classes,
            method=request.method, seed=request.seed, alignment=request.alignment)
        shares_of_pruned = [self._share_of(bundle) for bundle in request.pruned]
        with self._stage('read the footage') as tell:
            footage = read_footage(
                request.data, request.bundle.card.input, request.topic, progress=tell,
                part=request.frames)
        self._notes += footage.notes
        splits = split(len(footage.images), footage.frame_rate)
        self._fit = footage.images[splits.fit.start:splits.fit.stop]
        self._select = footage.images[splits.select.start:splits.select.stop]
        self._drawn = draw(
            len(self._select), seed=request.seed, block=1 if request.unrelated else None)
        with self._stage('see what the dense network sees'):
            network, card = self._full.network, self._full.card
            self._seen = detections_of(network, card, self._select)
            turned, shares = mirror(self._select, card.input)
            consistency = score(self._seen, mirrored(
                detections_of(network, card, turned), shares), self._drawn)
        self._note_doubts(consistency)
        asked = sorted({*request.shares, *map(_just_above, shares_of_pruned)}, reverse=True)
        sizes = self._sizes(asked)
        found = self._points(sizes)
        return Forecast(
            request, self._full.card.class_names, self._full.size, consistency,
            self._swept(found), self._beside(shares_of_pruned, found, footage), footage, splits,
            objects(self._seen), self._drawn.length,
            reason_for_one_size(self._full.card, request.method, request.resize),
            tuple(self._notes), MappingProxyType(self._stage.seconds))

    def _note_doubts(self, consistency: Score) -> None:
        doubt = why_unjudged(objects(self._seen), consistency.value)
        if doubt:
            self._notes.append(f'the loss says little here: {doubt}')
        if not self._drawn.usable:
            self._notes.append(
                f'{len(self._select)} frames kept aside are too few for intervals; a longer '
                'recording has them')

    # ---- what was pruned already

    def _share_of(self, bundle: Bundle) -> float:
        """Return the energy of a pruned bundle as a share of the dense one's."""
        dense = self._request.bundle
        if bundle.card.provenance.parent != dense.digest:
            raise ForecastError(
                f'{bundle.folder}: was not pruned from {dense.folder} as it is; give bundles '
                'whose card names its digest as the parent')
        if bundle.card.class_names != self._full.card.class_names:
            raise ForecastError(
                f'{bundle.folder}: has the classes {_named(bundle.card.class_names)}, the '
                f'forecast is for {_named(self._full.card.class_names)}; give --classes '
                f'{",".join(bundle.card.class_names)}, or leave the bundle out')
        planner = self._full.at((bundle.card.input.height, bundle.card.input.width))
        return planner.account(load_network(bundle)).total().energy_mac / self._full.reference

    def _beside(self, shares: Sequence[float], found: Mapping[float, Point], footage: Footage
                ) -> tuple[Pruned, ...]:
        beside = []
        for bundle, share in zip(self._request.pruned, shares, strict=True):
            card = bundle.card
            if card.provenance.data not in (None, footage.digest):
                self._notes.append(
                    f'{card.name} was pruned on another recording than this one: it is judged '
                    'here by frames of a kind that it need not know')
            point = found.get(_just_above(share))
            size = (card.input.height, card.input.width)
            if point is not None and point.size != size:
                self._notes.append(
                    f'{card.name} takes {size[1]} x {size[0]} pixels, and the forecast at its '
                    f'share is for {point.size[1]} x {point.size[0]}')
            if card.provenance.distilled is None:
                self._notes.append(
                    f'{card.name} does not say whether it was distilled; it is shown, and not '
                    'counted to the errors of the forecast')
            beside.append(Pruned(
                bundle, share, size, card.provenance.distilled,
                score(self._seen, detections_of(load_network(bundle), card, self._select),
                      self._drawn),
                point.predicted if point else None, point.size if point else None))
        return tuple(sorted(beside, key=lambda one: -one.share))

    # ---- the sweep

    def _sizes(self, shares: Sequence[float]) -> dict[Size, list[float]]:
        """Return the shares by the input size that ``prune`` would choose for each."""
        full = self._full
        if reason_for_one_size(full.card, self._request.method, self._request.resize):
            return {full.size: list(shares)}
        with self._stage('choose the input sizes') as tell:
            try:
                chosen = sizes_for(full, self._fit, self._select, shares, tell)
            except AgreementError as error:
                self._notes.append(f'the input size was kept: {error}')
                return {full.size: list(shares)}
        of_size: dict[Size, list[float]] = {}
        for share, size in chosen.items():
            of_size.setdefault(size, []).append(share)
        return of_size

    def _points(self, sizes: Mapping[Size, Sequence[float]]) -> dict[float, Point]:
        """Return the points by the share that was asked for, where it can be met."""
        found: dict[float, Point] = {}
        for size, shares in sizes.items():
            release_unused_memory()
            planner = self._full.at(size)
            words = f'{size[1]} x {size[0]} pixels'
            with self._stage('observe') as tell:
                fit = planner.observe(self._fit, FIT_IMAGES, _with(words, tell))
                select = planner.observe(self._select, SELECT_IMAGES) \
                    if self._request.check else None
            with self._stage('plan') as tell:
                swept = planner.sweep(
                    fit, min(shares) * planner.reference,
                    progress=_with(words, tell))
            known: dict[tuple[tuple[str, tuple[int, ...]], ...], Point] = {}
            with self._stage('forecast') as tell:
                for number, share in enumerate(shares):
                    tell(number / len(shares), f'{share:.0%} of the energy, {words}')
                    try:
                        plan = planner.plan(swept, share * planner.reference)
                    except PlanError:
                        continue
                    key = tuple(sorted(plan.removed.items()))
                    if key not in known:  # the dense network at this size may need still less
                        known[key] = self._point(planner, plan, fit, select)
                    found[share] = known[key]
        missed = [share for share in self._request.shares if share not in found]
        if missed:
            self._notes.append(
                f'{", ".join(f"{share:.0%}" for share in missed)} of the dense energy cannot be '
                'met: with each group at its narrowest the network still needs more')
        if not found:
            raise ForecastError(
                f'none of the shares {", ".join(f"{share:g}" for share in self._request.shares)} '
                'of the dense energy can be met; ask for larger ones')
        return found

    def _point(self, planner: Planner, plan: Plan, fit: Observation,
               select: Observation | None) -> Point:
        predicted = predict(planner, plan, fit, self._select, self._seen, self._drawn)
        restored = bound = None
        if select is not None:
            pruned = planner.remove(plan)
            restore(pruned, fit, select, kept_outputs(planner.groups, plan.removed))
            restored = score(
                self._seen, detections_of(pruned, planner.card, self._select), self._drawn)
        if planner.method == 'provable' and plan.removed:
            bound = bound_of(plan, planner.network, planner.groups, fit)
        return Point(plan, planner.size, predicted, restored, bound)

    def _swept(self, found: Mapping[float, Point]) -> tuple[Point, ...]:
        """Return the points of the shares that were asked for, each once."""
        points = {id(found[share]): found[share] for share in self._request.shares
                  if share in found}
        return tuple(sorted(points.values(), key=lambda point: -point.share))


def sizes_for(
        planner: Planner, fit: Images, select: Images, shares: Sequence[float],
        progress: Callable[[float, str], None] | None = None) -> dict[float, Size]:
    """
    Return, for each share of the dense energy, the input size that ``prune`` would choose.

    :param planner: at the full input size.
    :param shares: those that no size can meet are left out of what is returned.
    :raises AgreementError: the dense network sees nothing in the images.
    """
    costs: dict[Size, dict[float, float]] = {}
    least = min(shares)

    def plans(at: Planner, swept: Sweep) -> Plan:
        """Note what each share costs at a size; return the plan for the smallest."""
        costs[at.size] = {}
        for share in shares:
            with contextlib.suppress(PlanError):
                # An object covers cells in proportion to the area.
                costs[at.size][share] = at.plan(swept, share * at.reference).cost / (
                    at.size[0] * at.size[1])
        return at.plan(swept, least * at.reference)

    sizes = try_sizes(planner, fit, select, plans, until=least * planner.reference,
                      progress=progress)
    chosen: dict[float, Size] = {}
    for share in shares:
        possible: dict[Size, float] = {}
        for trial in sizes.trials:
            if possible and sees_less(trial.dense, sizes.consistency):
                break
            if share in costs.get(trial.size, {}):
                possible[trial.size] = costs[trial.size][share]
        if possible:
            chosen[share] = min(possible, key=possible.__getitem__)
    return chosen


def _with(words: str, tell: Callable[[float, str], None]) -> Callable[[float], None]:
    return lambda share: tell(share, words)


def _just_above(share: float) -> float:
    """Return the budget for a share that a network has: rounding must not miss it."""
    return share * (1 + 1e-9)


def _named(names: Sequence[str]) -> str:
    return ', '.join(names) if len(names) <= 3 else f'{names[0]} and {len(names) - 1} more'
