# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
From a bundle and a robot's own footage to a smaller bundle: all the steps in their order.

Nothing is written here: :func:`prune` returns what :func:`prune_perception.bundle.write_bundle`
takes, so that a job that is stopped leaves nothing behind.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
import time
from typing import Any

import numpy as np
from torch import nn

from prune_perception import __version__
from prune_perception.bundle import Bundle, Card, Provenance
from prune_perception.detections import Detections
from prune_perception.energy.account import EnergyAccount
from prune_perception.energy.hardware import HardwareProfile
from prune_perception.evaluation.intervals import draw
from prune_perception.networks.export import bundle_files
from prune_perception.networks.registry import round_weights, spec_of
from prune_perception.pruning import ALIGNMENTS
from prune_perception.pruning.agreement import (
    agreement,
    AgreementError,
    CONFIDENT,
    detections_of,
    Score,
)
from prune_perception.pruning.certificate import Certificate, CertificateError
from prune_perception.pruning.certify_bundles import certify_files
from prune_perception.pruning.distillation import distil, Point, Settings, teacher_of
from prune_perception.pruning.footage import (
    Footage,
    FootageError,
    Images,
    read_footage,
    resized,
)
from prune_perception.pruning.forecast import predict
from prune_perception.pruning.heads import HeadError
from prune_perception.pruning.input_size import reason_for_one_size, Sizes, try_sizes
from prune_perception.pruning.latency import compare, ENGINE, engine_for, Latency
from prune_perception.pruning.latency_search import plan_for_latency
from prune_perception.pruning.observe import Observation
from prune_perception.pruning.plan import Plan, PlanError, Sweep
from prune_perception.pruning.planner import FIT_IMAGES, Planner, planner_for, SELECT_IMAGES
from prune_perception.pruning.provable import Bound, bound_of
from prune_perception.pruning.restoration import kept_outputs, restore
from prune_perception.pruning.splits import split, Splits
from prune_perception.pruning.stages import Progress, Stages
from prune_perception.runtime.engines import create_engine, EngineOptions
from prune_perception.runtime.machine import machine_name
from prune_perception.runtime.memory import release_unused_memory

_LEAST_SPEEDUP = 1.03
_LATENCY_TOLERANCE = 1.05  # of the budget, when the network is measured again
_RESERVED_SECONDS = 25.0  # for export and measurement, after distillation
_MOST_TO_CERTIFY = 0.25  # of the time limit; a certificate that takes longer goes beyond it
_EXAMPLES = 4


@dataclass(frozen=True)
class Request:
    """
    What is asked for.

    :param bundle: the dense detector.
    :param data: a recording of the robot's camera.
    :param profile: the machine whose energy is saved.
    :param topic: of a bag with several image topics.
    :param frames: first and last frame of the recording to use, its first being 1; None for all.
    :param energy_budget: share of the dense bundle's modelled energy; this or the next.
    :param latency_budget: time of an inference by the engine on this machine, s.
    :param bits: of a word; None for the profile's own.
    :param classes: that the pruned detector is to know; None for all.
    :param method: see :mod:`.methods`.
    :param alignment: of widths; see :data:`prune_perception.pruning.ALIGNMENTS`.
    :param engine: that is to run the detector: times are of it.
    :param time_limit: for everything, s.
    :param steps: of distillation, instead of as many as the time limit allows; the same seed then
        gives the same network.
    :param distil: whether to train after restoration.
    :param unrelated: the recording is of pictures that have nothing to do with each other.
    :param resize: whether the plan may lower the input resolution.
    :param name: of the new detector; None for the dense one's with the share of its energy.
    :param command: that made this request, for the bundle's provenance.
    """

    bundle: Bundle
    data: Path
    profile: HardwareProfile
    topic: str | None = None
    frames: tuple[int, int] | None = None
    energy_budget: float | None = None
    latency_budget: float | None = None
    bits: int | None = None
    classes: tuple[str, ...] | None = None
    method: str = 'combined'
    alignment: int = ALIGNMENTS[0]
    engine: str = ENGINE
    time_limit: float = 600.0
    steps: int | None = None
    distil: bool = True
    unrelated: bool = False
    resize: bool = True
    seed: int = 0
    name: str | None = None
    command: str = ''


@dataclass(frozen=True, eq=False)
class Example:
    """
    A frame kept aside, as the dense and the pruned network see it.

    :param image: uint8 (height, width, 3) BGR.
    :param dense: boxes in units of the image's width and height.
    :param pruned: likewise.
    """

    image: Images
    dense: Detections
    pruned: Detections


@dataclass(frozen=True, eq=False)
class Outcome:
    """
    A pruned detector, and how it came about.

    :param card: of the new bundle.
    :param files: of the new bundle, for ``write_bundle``.
    :param dense: account of the dense bundle, with all its classes.
    :param pruned: account of the new one.
    :param sizes: that were considered; None if none but the full one.
    :param forecast: of the agreement after restoration, from before anything was removed.
    :param agreement: with the dense network on frames kept aside, by stage: ``dense at this
        size``, ``restoration``, ``distillation``.
    :param curve: of distillation; empty without.
    :param bound: what is proved of the chosen widths; None but for the provable method.
    :param certificate: measured on frames that nothing else has read.
    :param seconds: that each stage took.
    """

    card: Card
    files: Mapping[str, bytes]
    plan: Plan
    swept: Sweep
    sizes: Sizes | None
    dense: EnergyAccount
    pruned: EnergyAccount
    latency: Latency
    forecast: Score
    agreement: Mapping[str, float]
    curve: tuple[Point, ...]
    ridges: Mapping[str, float]
    certificate: Certificate
    bound: Bound | None
    examples: tuple[Example, ...]
    footage: Footage
    splits: Splits
    groups: tuple[str, ...]
    notes: tuple[str, ...]
    seconds: Mapping[str, float]
    request: Request = field(repr=False)

    @property
    def share(self) -> float:
        """Modelled energy as a share of the dense bundle's."""
        return self.pruned.total().energy_mac / self.dense.total().energy_mac

    def reason_for_one_size(self) -> str:
        """Return why no other input size than the full one was considered."""
        request = self.request
        return reason_for_one_size(request.bundle.card, request.method, request.resize) or (
            'because the dense network finds too little in the footage to compare sizes by')


def prune(request: Request, progress: Progress | None = None) -> Outcome:
    """
    Make a smaller detector.

    :raises FootageError: the recording cannot be used.
    :raises HeadError: a class is not the bundle's, or its outputs are not known or cannot be
        distilled.
    :raises GroupError: the network cannot be traced, or overwrites what its gradients need.
    :raises PlanError: the budget cannot be met, or nothing would be gained.
    :raises AgreementError: the dense network sees nothing in the footage.
    :raises BundleError: the bundle has no weights that can be pruned.
    :raises EngineError: the engine is not installed.
    """
    return _Job(request, progress).run()


class _Job:

    def __init__(self, request: Request, progress: Progress | None) -> None:
        self._request, self._stage = request, Stages(progress)
        self._begin = time.monotonic()
        self._notes: list[str] = []

    def run(self) -> Outcome:
        request = self._request
        check_budget(request)
        # Before the footage is read, which takes longer: what cannot be pruned is refused here.
        self._full = planner_for(
            request.bundle, request.profile, bits=request.bits, classes=request.classes,
            method=request.method, seed=request.seed, alignment=request.alignment)
        self._dense_engine = create_engine(request.bundle, EngineOptions(request.engine))
        if request.distil and self._full.head.undistillable:
            raise HeadError(
                f'{self._full.head.undistillable}; they cannot be distilled: add --no-distill')
        with self._stage('read the footage') as tell:
            self._footage = read_footage(
                request.data, request.bundle.card.input, request.topic,
                progress=tell, part=request.frames)
        self._notes += self._footage.notes
        images, self._splits = self._footage.images, split(
            len(self._footage.images), self._footage.frame_rate)
        self._fit_images = images[self._splits.fit.start:self._splits.fit.stop]
        self._select_images = images[self._splits.select.start:self._splits.select.stop]
        with self._stage('see what the dense network sees'):
            self._dense_seen = self._found_by(self._full.network, self._full.card)
            agreement(self._dense_seen, self._dense_seen)  # raises if it sees nothing
        sizes = self._try_sizes()
        return self._make(self._full.at(sizes.best() if sizes else self._full.size), sizes)

    def _try_sizes(self) -> Sizes | None:
        request = self._request
        if reason_for_one_size(request.bundle.card, request.method, request.resize):
            return None
        with self._stage('choose the input size') as tell:
            try:
                sizes = try_sizes(
                    self._full, self._fit_images, self._select_images, self._plan,
                    until=(request.energy_budget or 0.0) * self._full.reference, progress=tell)
            except AgreementError as error:
                self._notes.append(f'the input size was kept: {error}')
                return None
        if sizes.note():
            self._notes.append(sizes.note())
        return sizes

    def _plan(self, planner: Planner, swept: Sweep) -> Plan:
        """Return the plan for the budget; raises PlanError."""
        request = self._request
        if request.energy_budget is not None:
            return planner.plan(swept, request.energy_budget * planner.reference)
        assert request.latency_budget is not None
        return plan_for_latency(planner, swept, request.latency_budget,
                                lambda pruned: self._compare(pruned, planner.card))

    def _make(self, planner: Planner, sizes: Sizes | None) -> Outcome:
        request = self._request
        with self._stage('observe') as tell:
            words = f'{min(FIT_IMAGES, len(self._fit_images))} frames'
            fit = planner.observe(
                self._fit_images, FIT_IMAGES, lambda share: tell(share, words))
            select = planner.observe(self._select_images, SELECT_IMAGES)
        with self._stage('plan') as tell:
            swept = planner.sweep(fit, progress=tell)
            plan = self._plan(planner, swept)
        with self._stage('forecast'):
            predicted = self._predict(planner, plan, fit)
        with self._stage('restore') as tell:
            pruned = planner.remove(plan)
            ridges = restore(pruned, fit, select, kept_outputs(planner.groups, plan.removed),
                             progress=tell)
        assert planner.card.network is not None  # a bundle without one is refused
        card = replace(planner.card, network=spec_of(
            planner.card.network.name, pruned, planner.card.network.settings))
        found = {
            'dense at this size': self._agreement(self._found_by(planner.network, card)),
            'restoration': self._agreement(self._found_by(pruned, card))}
        with self._stage('measure'):
            latency = self._compare(pruned, card)
        self._check_gain(latency)
        bound = None
        if request.method == 'provable':
            with self._stage('prove') as tell:
                bound = bound_of(plan, planner.network, planner.groups, fit, progress=tell)
        del fit, select
        release_unused_memory()
        curve: tuple[Point, ...] = ()
        if request.distil:
            curve = self._distil(planner, pruned)
        round_weights(pruned)
        pruned_seen = self._found_by(pruned, card)
        if curve:
            found['distillation'] = self._agreement(pruned_seen)
            if found['distillation'] < found['restoration']:
                self._notes.append(
                    'distillation brought the network nearer to the dense one at the same input '
                    'size, and no nearer to what that sees at full size: agreement '
                    f'{found["restoration"]:.3f} before, {found["distillation"]:.3f} after')
        with self._stage('export'):
            files = bundle_files(pruned, card)
        with self._stage('certify') as tell:
            certificate = self._certify(card, files, tell)
        self._note_delay(certificate)
        account = planner.account(pruned)
        return Outcome(
            card=self._finished(card, account, latency, found, certificate),
            certificate=certificate, bound=bound, files=files, plan=plan,
            swept=swept, sizes=sizes, dense=planner.dense, pruned=account,
            latency=latency, forecast=predicted, agreement=found, curve=curve, ridges=ridges,
            examples=self._examples(pruned_seen), footage=self._footage, splits=self._splits,
            groups=tuple(group.describe() for group in planner.groups),
            notes=tuple(self._notes), seconds=self._stage.seconds, request=request)

    def _predict(self, planner: Planner, plan: Plan, fit: Observation) -> Score:
        drawn = draw(len(self._select_images), seed=self._request.seed,
                     block=1 if self._request.unrelated else None)
        return predict(planner, plan, fit, self._select_images, self._dense_seen, drawn)

    def _distil(self, planner: Planner, pruned: nn.Module) -> tuple[Point, ...]:
        request = self._request
        reserved = _RESERVED_SECONDS + min(
            self._seconds_to_certify(), _MOST_TO_CERTIFY * request.time_limit)
        left = request.time_limit - (time.monotonic() - self._begin) - reserved
        if request.steps is None and left < 10:
            self._notes.append(
                f'no time was left for distillation within {request.time_limit:.0f} s')
            return ()
        settings = Settings(
            seconds=left if request.steps is None else None, steps=request.steps,
            seed=request.seed)
        with self._stage('distil') as tell:
            return distil(
                pruned, teacher_of(planner.card, planner.network),
                resized(self._fit_images, planner.size),
                resized(self._select_images, planner.size), planner.head, planner.card.input,
                settings, tell)

    # ---- how it compares with the dense network

    def _found_by(self, module: nn.Module, card: Card) -> tuple[Detections, ...]:
        """Return what a network finds in the frames to select by."""
        return detections_of(module, card, self._select_images)

    def _agreement(self, found: Sequence[Detections]) -> float:
        return agreement(self._dense_seen, found)

    def _compare(self, pruned: nn.Module, card: Card) -> Latency:
        return compare(self._dense_engine, self._request.bundle.card,
                       engine_for(card, pruned, self._request.engine), card,
                       self._request.engine)

    def _check_gain(self, latency: Latency) -> None:
        budget = self._request.latency_budget
        if budget is not None and latency.pruned > _LATENCY_TOLERANCE * budget:
            raise PlanError(
                f'a latency of {budget * 1e3:.3g} ms is not kept: measured again, the planned '
                f'network takes {latency.pruned * 1e3:.3g} ms; let the machine be idle, or ask '
                'for more time')
        if latency.speedup < _LEAST_SPEEDUP:
            raise PlanError(
                f'would not be faster: {latency.pruned * 1e3:.3g} ms an image against '
                f'{latency.dense * 1e3:.3g} ms of the dense network by {latency.engine} on '
                f'this machine ({latency.speedup:.2f} times as fast in turns next to each other); '
                'ask for a smaller budget')

    # ---- what is said of it

    @property
    def _certified_frames(self) -> tuple[int, int]:
        """First and last frame to certify on, the recording's first being 1."""
        part, numbers = self._splits.certify, self._footage.numbers
        return numbers[part.start], numbers[part.stop - 1]

    def _seconds_to_certify(self) -> float:
        """Estimate how long the certificate takes: two looks at each frame, and reading them."""
        taken, (first, last) = self._stage.seconds, self._certified_frames
        a_look = taken['see what the dense network sees'] / len(self._select_images)
        return taken['read the footage'] + 2 * a_look * (last - first + 1)

    def _certify(
            self, card: Card, files: Mapping[str, bytes], tell: Callable[..., None],
            ) -> Certificate:
        """
        Show the frames that nothing was chosen by to what is shipped, once.

        All of them, however many of a long recording were kept to prune by: between those the
        objects have moved on and cannot be followed.
        """
        request = self._request
        try:
            return certify_files(
                request.bundle, card, files, self._footage, self._splits.certify,
                topic=request.topic, unrelated=request.unrelated, progress=tell)
        except CertificateError as error:
            raise FootageError(f'{error} (it could be read before)') from error

    def _note_delay(self, certificate: Certificate) -> None:
        limit, spent = self._request.time_limit, self._stage.seconds['certify']
        if spent > _MOST_TO_CERTIFY * limit and time.monotonic() - self._begin > limit:
            self._notes.append(
                f'the certificate took {spent:.0f} s of a time limit of {limit:.0f} s, which it '
                f'exceeds: it is by all {certificate.source.frames} frames that are kept aside')

    def _finished(self, card: Card, account: EnergyAccount, latency: Latency,
                  found: Mapping[str, float], certificate: Certificate) -> Card:
        request, footage = self._request, self._footage
        parent = request.bundle
        share = account.total().energy_mac / self._full.reference
        summary: dict[str, Any] = {**account.summary(), 'share_of_parent': share}
        measured = (
            {'figure': 'agreement_ap50', 'value': list(found.values())[-1],
             'with': parent.card.name, 'confident_score': CONFIDENT,
             'data': footage.path.name, 'frames': len(self._select_images),
             'note': 'average precision against what the dense network finds in frames kept '
                     'aside; not accuracy'},
            {'figure': 'latency', 'engine': latency.engine, 'machine': machine_name(),
             'milliseconds': latency.pruned * 1e3, 'parent_milliseconds': latency.dense * 1e3,
             'speedup': latency.speedup})
        return replace(
            card,
            name=request.name or f'{parent.card.name}_{round(100 * share)}',
            energy={request.profile.name: summary}, measured=measured,
            certificate=certificate.to_dict(),
            provenance=Provenance(
                request.command, __version__, parent=parent.digest, data=footage.digest,
                seed=request.seed, distilled='distillation' in found))

    def _examples(self, pruned_seen: Sequence[Detections]) -> tuple[Example, ...]:
        chosen = np.linspace(0, len(self._select_images) - 1, _EXAMPLES).astype(int)
        bgr = self._full.card.input.colour_order == 'bgr'
        return tuple(Example(
            self._select_images[index] if bgr else self._select_images[index][..., ::-1].copy(),
            self._dense_seen[index], pruned_seen[index]) for index in dict.fromkeys(chosen))


def check_budget(request: Request) -> None:
    """
    Refuse a budget that cannot be.

    :raises PlanError: none or two are given, or one is out of range.
    """
    energy, latency = request.energy_budget, request.latency_budget
    if (energy is None) == (latency is None):
        raise PlanError('give an energy budget or a latency budget, one of them')
    if energy is not None and not 0 < energy <= 1:
        raise PlanError(
            f'an energy budget of {energy:g} cannot be; it is a share of the dense energy, above '
            '0 and at most 1')
    if latency is not None and not 0 < latency < float('inf'):
        raise PlanError(f'a latency budget of {latency * 1e3:g} ms cannot be; it is above 0')
