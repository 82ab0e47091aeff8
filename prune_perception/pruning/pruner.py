# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
From a bundle and a robot's own footage to a smaller bundle: all the steps in their order.

Nothing is written here: :func:`prune` returns what :func:`prune_perception.bundle.write_bundle`
takes, so that a job that is stopped leaves nothing behind.
"""

from collections.abc import Callable, Mapping, Sequence
import contextlib
import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
import time
from typing import Any

import numpy as np
import torch
from torch import nn

from prune_perception import __version__
from prune_perception.bundle import Bundle, Card, GRAPH, OutputSpec, Provenance
from prune_perception.detections import Detections
from prune_perception.energy.account import EnergyAccount
from prune_perception.energy.counting import profile_module
from prune_perception.energy.hardware import HardwareProfile
from prune_perception.networks.export import bundle_files
from prune_perception.networks.registry import example_input, load_network, round_weights, spec_of
from prune_perception.pruning.agreement import (
    agreement,
    AgreementError,
    CONFIDENT,
    detections_of,
)
from prune_perception.pruning.certificate import Certificate, Source
from prune_perception.pruning.certify import certify
from prune_perception.pruning.distillation import distil, Point, Settings, teacher_of
from prune_perception.pruning.footage import Footage, Images, read_footage, resized, tensor_of
from prune_perception.pruning.groups import ChannelGraph
from prune_perception.pruning.heads import Head, head_of
from prune_perception.pruning.latency import compare, engine_for, engine_of, Latency
from prune_perception.pruning.methods import create, FORECASTING
from prune_perception.pruning.observe import Observation, observe
from prune_perception.pruning.plan import Plan, plan_for, PlanError, Sweep, sweep
from prune_perception.pruning.provable import Bound, bound_of
from prune_perception.pruning.restoration import kept_outputs, restore
from prune_perception.pruning.splits import split, Splits
from prune_perception.pruning.width_energy import WidthEnergy
from prune_perception.runtime.machine import machine_name
from prune_perception.runtime.memory import release_unused_memory

FIT_IMAGES = 96
SELECT_IMAGES = 24
TRIAL_IMAGES = 32
"""Images that a forecast for an input size is made from."""

_SMALLEST_SIDE = 0.6  # of the dense input's: detectors see little below
_TOLERANCE = 0.01  # of agreement, below the dense network's consistency with itself
_LEAST_SPEEDUP = 1.03
_LATENCY_TOLERANCE = 1.05  # of the budget, when the network is measured again
_LATENCY_NETWORKS = 32  # along a sweep, among which that for a latency budget is looked for
_RESERVED_SECONDS = 25.0  # for export and measurement, after distillation
_EXAMPLES = 4
_SIZE_IMAGES = 64  # by which the dense network is compared with itself at another size

Progress = Callable[[str, float, str], None]
"""Called with a stage, the share of it that is done (0 to 1) and a word on how it goes."""


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
    :param latency_budget: time of an inference by ONNX Runtime on this machine, s.
    :param bits: of a word; None for the profile's own.
    :param classes: that the pruned detector is to know; None for all.
    :param method: see :mod:`.methods`.
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
    time_limit: float = 600.0
    steps: int | None = None
    distil: bool = True
    unrelated: bool = False
    resize: bool = True
    seed: int = 0
    name: str | None = None
    command: str = ''


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
    """

    consistency: float
    trials: tuple[Trial, ...]


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


def prune(request: Request, progress: Progress | None = None) -> Outcome:
    """
    Make a smaller detector.

    :raises FootageError: the recording cannot be used.
    :raises HeadError: a class is not the bundle's, or its outputs are not known.
    :raises GroupError: the network cannot be traced.
    :raises PlanError: the budget cannot be met, or nothing would be gained.
    :raises AgreementError: the dense network sees nothing in the footage.
    :raises BundleError: the bundle has no weights that can be pruned.
    """
    return _Job(request, progress or (lambda stage, share, text: None)).run()


class _Job:

    def __init__(self, request: Request, progress: Progress) -> None:
        self._request, self._progress = request, progress
        self._begin = time.monotonic()
        self._seconds: dict[str, float] = {}
        self._notes: list[str] = []
        self._energies: dict[tuple[int, int], WidthEnergy] = {}  # by input size

    def run(self) -> Outcome:
        request = self._request
        check_budget(request)
        bundle = request.bundle
        whole = load_network(bundle)
        self._card, self._network = bundle.card, whole
        self._head: Head = head_of(bundle.card)
        ChannelGraph(whole, example_input(bundle.card.input))  # before the footage is read
        if request.classes is not None:
            self._network, self._card = self._head.keep_classes(
                whole, bundle.card, request.classes)
            self._head = head_of(self._card)
        with self._stage('read the footage') as tell:
            footage = read_footage(
                request.data, bundle.card.input, request.topic,
                progress=tell, part=request.frames)
        if footage.skipped:
            self._notes.append(f'{len(footage.skipped)} frames could not be read, the first: '
                               f'{footage.skipped[0]}')
        splits = split(len(footage.images))
        self._fit_images = footage.images[splits.fit.start:splits.fit.stop]
        self._select_images = footage.images[splits.select.start:splits.select.stop]
        self._certify_frames = len(splits.certify)
        self._dense_account = self._account(whole, bundle.card)
        self._reference = self._dense_account.total().energy_mac
        self._dense_engine = engine_of(
            replace(bundle.card, network=None), {GRAPH: bundle.read_file(GRAPH)})
        with self._stage('see what the dense network sees'):
            self._dense_seen = detections_of(self._network, self._card, self._select_images)
            agreement(self._dense_seen, self._dense_seen)  # raises if it sees nothing
        size, sizes = self._choose_size()
        return self._make(size, sizes, footage, splits)

    # ---- input size

    def _choose_size(self) -> tuple[tuple[int, int], Sizes | None]:
        """
        Return the input size to prune at, and all that were considered.

        Among the sizes at which the dense network still agrees with itself it is the one with
        the least forecast loss.
        """
        sizes = sizes_of(self._card)
        full = sizes[0]
        if not self._request.resize or len(sizes) == 1 or self._request.method not in FORECASTING:
            return full, None
        with self._stage('choose the input size') as tell:
            images = self._of_both(_SIZE_IMAGES)
            seen = detections_of(self._network, self._card, images)
            try:
                consistency = agreement(seen, _mirrored(
                    detections_of(self._network, self._card, images[:, :, ::-1])))
            except AgreementError as error:
                self._notes.append(f'the input size was kept: {error}')
                return full, None
            trials: list[Trial] = []
            for number, size in enumerate(sizes):
                tell(number / len(sizes), f'{size[1]} x {size[0]} pixels')
                card = self._resized_card(size)
                dense = 1.0 if size == full else agreement(
                    seen, detections_of(self._network, card, images))
                if dense >= consistency - _TOLERANCE:
                    trials.append(self._forecast(size, card, dense))
                    continue
                trials.append(Trial(size, dense, None, 'the dense network sees less at this size'))
                if any(trial.forecast is not None for trial in trials):
                    break
                # No larger size meets the budget: better a network that sees less than none.
                trials[-1] = self._forecast(size, card, dense)
                if trials[-1].forecast is not None:
                    self._notes.append(
                        f'the budget forced the input down to {size[1]} x {size[0]} pixels, where '
                        f'the dense network agrees with itself by {dense:.3f} only')
        possible = [trial for trial in trials if trial.forecast is not None]
        if not possible:
            raise PlanError(trials[-1].reason)
        return min(possible, key=_forecast_of).size, Sizes(consistency, tuple(trials))

    def _forecast(self, size: tuple[int, int], card: Card, dense: float) -> Trial:
        """Plan for the budget from a few images, without making anything."""
        release_unused_memory()
        fit = self._observe(card, self._fit_images, TRIAL_IMAGES)
        graph = ChannelGraph(self._network, example_input(card.input))
        until = (self._request.energy_budget or 0.0) * self._reference
        try:
            plan = self._plan(card, graph, self._sweep(card, graph, fit, until=until))
        except PlanError as error:
            return Trial(size, dense, None, str(error))
        full = self._card.input
        # An object covers cells in proportion to the area, and each has its part in the loss.
        return Trial(size, dense,
                     plan.cost * full.height * full.width / (size[0] * size[1]))

    def _of_both(self, most: int) -> Images:
        """Return images of fit and select, evenly spread."""
        fit, select = self._fit_images, self._select_images
        both = len(fit) + len(select)
        index = np.linspace(0, both - 1, min(most, both)).astype(int)
        return np.stack([fit[at] if at < len(fit) else select[at - len(fit)] for at in index])

    # ---- the network

    def _make(self, size: tuple[int, int], sizes: Sizes | None, footage: Footage,
              splits: Splits) -> Outcome:
        request = self._request
        card = self._resized_card(size)
        with self._stage('observe') as tell:
            fit = self._observe(card, self._fit_images, FIT_IMAGES, tell)
            select = self._observe(card, self._select_images, SELECT_IMAGES)
        graph = ChannelGraph(self._network, example_input(card.input))
        with self._stage('plan') as tell:
            swept = self._sweep(card, graph, fit, tell)
            plan = self._plan(card, graph, swept)
        with self._stage('restore') as tell:
            pruned, ridges = self._restored(card, graph, plan, fit, select, tell)
        card = replace(card, network=spec_of(
            self._network_name(), pruned, card.network.settings if card.network else {}))
        found = {'dense at this size': agreement(
            self._dense_seen, detections_of(self._network, card, self._select_images))}
        found['restoration'] = agreement(
            self._dense_seen, detections_of(pruned, card, self._select_images))
        with self._stage('measure'):
            latency = compare(self._dense_engine, request.bundle.card,
                              engine_for(card, pruned), card)
        self._check_gain(latency)
        bound = None
        if request.method == 'provable':
            with self._stage('prove') as tell:
                bound = bound_of(plan, self._network, graph.groups, fit,
                                 progress=lambda share: tell(share, ''))
        del fit, select
        release_unused_memory()
        curve: tuple[Point, ...] = ()
        if request.distil:
            curve = self._distil(card, pruned)
        round_weights(pruned)
        pruned_seen = detections_of(pruned, card, self._select_images)
        if curve:
            found['distillation'] = agreement(self._dense_seen, pruned_seen)
            if found['distillation'] < found['restoration']:
                self._notes.append(
                    'distillation brought the network nearer to the dense one at the same input '
                    'size, and no nearer to what that sees at full size: agreement '
                    f'{found["restoration"]:.3f} before, {found["distillation"]:.3f} after')
        with self._stage('certify'):
            certificate = self._certify(card, pruned, footage, splits.certify)
        with self._stage('export'):
            files = bundle_files(pruned, card)
        account = self._account(pruned, card)
        return Outcome(
            card=self._finished(card, account, latency, found, footage, certificate),
            certificate=certificate, bound=bound, files=files, plan=plan,
            swept=swept, sizes=sizes, dense=self._dense_account, pruned=account,
            latency=latency, agreement=found, curve=curve, ridges=ridges,
            examples=self._examples(pruned_seen), footage=footage, splits=splits,
            groups=tuple(group.describe() for group in graph.groups),
            notes=tuple(self._notes), seconds=self._seconds, request=request)

    def _observe(self, card: Card, images: Images, most: int,
                 tell: Callable[[float, str], None] | None = None) -> Observation:
        chosen = images[np.linspace(0, len(images) - 1, min(most, len(images))).astype(int)]
        fitted = resized(chosen, (card.input.height, card.input.width))
        return observe(
            self._network, [tensor_of(image[None], card.input) for image in fitted], self._head,
            seed=self._request.seed, progress=None if tell is None else (
                lambda share: tell(share, f'{len(chosen)} frames')))

    def _width_energy(self, card: Card, graph: ChannelGraph) -> WidthEnergy:
        key = (card.input.height, card.input.width)
        if key not in self._energies:
            self._energies[key] = WidthEnergy(
                self._network, example_input(card.input), graph.groups, self._request.profile,
                self._request.bits)
        return copy.deepcopy(self._energies[key])

    def _sweep(self, card: Card, graph: ChannelGraph, fit: Observation,
               tell: Callable[[float, str], None] | None = None, until: float = 0.0
               ) -> Sweep:
        method = create(self._request.method, self._network, graph.groups, fit,
                        self._request.seed)
        return sweep(self._network, graph.groups, self._width_energy(card, graph), method,
                     until=until,
                     progress=None if tell is None else (lambda share: tell(share, '')))

    def _plan(self, card: Card, graph: ChannelGraph, swept: Sweep) -> Plan:
        request = self._request
        if request.energy_budget is not None:
            return plan_for(swept, self._width_energy(card, graph),
                            request.energy_budget * self._reference, self._reference)
        return self._plan_for_latency(card, graph, swept)

    def _plan_for_latency(self, card: Card, graph: ChannelGraph, swept: Sweep) -> Plan:
        """Return the largest network on a sweep that is fast enough on this machine."""
        budget = self._request.latency_budget
        assert budget is not None
        energies = sorted({swept.dense_energy, *(step.energy for step in swept.steps)})
        chosen = np.linspace(0, len(energies) - 1, min(_LATENCY_NETWORKS, len(energies)))
        energies = [energies[number] for number in chosen.astype(int)]
        low, high, best, least, dense = 0, len(energies) - 1, None, float('inf'), float('inf')
        while low <= high:
            # By halves: a network with less energy is taken to be the faster one.
            middle = (low + high) // 2 if best or low else low
            plan = plan_for(swept, self._width_energy(card, graph), energies[middle],
                            self._reference)
            pruned = copy.deepcopy(self._network)
            ChannelGraph(pruned, example_input(card.input)).remove(plan.removed)
            latency = compare(self._dense_engine, self._request.bundle.card,
                              engine_for(card, pruned), card)
            # The ratio survives what else the machine does, a time does not.
            dense = min(dense, latency.dense)
            seconds = dense / latency.speedup
            least = min(least, seconds)
            if seconds <= budget:
                best, low = plan, middle + 1
            elif middle == 0:
                break
            else:
                high = middle - 1
        if best is None:
            raise PlanError(
                f'a latency of {budget * 1e3:.3g} ms cannot be met on this machine: the narrowest '
                f'network takes {least * 1e3:.3g} ms; ask for more time or lower the input '
                'resolution')
        return best

    def _restored(self, card: Card, graph: ChannelGraph, plan: Plan, fit: Observation,
                  select: Observation, tell: Callable[[float, str], None]
                  ) -> tuple[nn.Module, dict[str, float]]:
        pruned = copy.deepcopy(self._network)
        ChannelGraph(pruned, example_input(card.input)).remove(plan.removed)
        ridges = restore(
            pruned, fit, select, kept_outputs(graph.groups, plan.removed),
            progress=lambda share: tell(share, ''))
        return pruned, ridges

    def _distil(self, card: Card, pruned: nn.Module) -> tuple[Point, ...]:
        request = self._request
        a_look = self._seconds['see what the dense network sees'] / len(self._select_images)
        reserved = _RESERVED_SECONDS + 2 * a_look * self._certify_frames
        left = request.time_limit - (time.monotonic() - self._begin) - reserved
        if request.steps is None and left < 10:
            self._notes.append(
                f'no time was left for distillation within {request.time_limit:.0f} s')
            return ()
        size = (card.input.height, card.input.width)
        settings = Settings(
            seconds=left if request.steps is None else None, steps=request.steps,
            seed=request.seed)
        with self._stage('distil') as tell:
            return distil(
                pruned, teacher_of(card, self._network), resized(self._fit_images, size),
                resized(self._select_images, size), self._head, card.input, settings, tell)

    # ---- what is said of it

    def _certify(self, card: Card, pruned: nn.Module, footage: Footage, part: range
                 ) -> Certificate:
        """Read the frames that nothing was chosen by, once."""
        images = footage.images[part.start:part.stop]
        first, last = footage.numbers[part.start], footage.numbers[part.stop - 1]
        if last - first != len(part) - 1:  # thinned: counted among the frames that were kept
            first, last = part.start + 1, part.stop
        parent = self._request.bundle
        return certify(
            detections_of(self._network, self._card, images),
            detections_of(pruned, card, images), card.class_names,
            Source(footage.path.name, footage.digest, first, last, parent.card.name,
                   parent.digest, footage.frame_rate), unrelated=self._request.unrelated)

    def _finished(self, card: Card, account: EnergyAccount, latency: Latency,
                  found: Mapping[str, float], footage: Footage, certificate: Certificate
                  ) -> Card:
        request = self._request
        parent = request.bundle
        share = account.total().energy_mac / self._reference
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
                seed=request.seed))

    def _examples(self, pruned_seen: Sequence[Detections]) -> tuple[Example, ...]:
        chosen = np.linspace(0, len(self._select_images) - 1, _EXAMPLES).astype(int)
        bgr = self._card.input.colour_order == 'bgr'
        return tuple(Example(
            self._select_images[index] if bgr else self._select_images[index][..., ::-1].copy(),
            self._dense_seen[index], pruned_seen[index]) for index in dict.fromkeys(chosen))

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
                f'{latency.dense * 1e3:.3g} ms of the dense network by ONNX Runtime on this '
                f'machine ({latency.speedup:.2f} times as fast in turns next to each other); '
                'ask for a smaller budget')

    def _account(self, module: nn.Module, card: Card) -> EnergyAccount:
        return profile_module(
            module, example_input(card.input), profile=self._request.profile,
            network=card.name, bits=self._request.bits)

    def _resized_card(self, size: tuple[int, int]) -> Card:
        return resized_card(self._network, self._card, size)

    def _network_name(self) -> str:
        assert self._request.bundle.card.network is not None  # load_network has refused it
        return self._request.bundle.card.network.name

    @contextlib.contextmanager
    def _stage(self, name: str) -> Any:
        start = time.monotonic()
        self._progress(name, 0.0, '')
        yield lambda share, text='': self._progress(name, share, text)
        self._progress(name, 1.0, '')
        self._seconds[name] = self._seconds.get(name, 0.0) + time.monotonic() - start


def _mirrored(found: Sequence[Detections]) -> tuple[Detections, ...]:
    """Return detections of mirrored images where they lie in the images themselves."""
    return tuple(Detections(
        np.stack([1 - one.boxes[:, 2], one.boxes[:, 1], 1 - one.boxes[:, 0], one.boxes[:, 3]], 1),
        one.scores, one.classes) for one in found)


def _forecast_of(trial: Trial) -> float:
    return float('inf') if trial.forecast is None else trial.forecast


def reason_for_one_size(outcome: Outcome) -> str:
    """Return why no other input size than the full one was considered."""
    if not outcome.request.resize:
        return 'because that was asked for'
    if outcome.request.method not in FORECASTING:
        return f'because method {outcome.request.method} forecasts no loss to compare sizes by'
    return 'because no other fits the network'


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


def sizes_of(card: Card) -> list[tuple[int, int]]:
    """Return the input sizes to consider: the card's own, then smaller ones on whole strides."""
    height, width = card.input.height, card.input.width
    strides = card.decoder.settings.get('strides') or (32,)
    stride = max(int(one) for one in strides)
    sizes = [(height, width)]
    for side in range((height - 1) // stride * stride, 0, -stride):
        other = round(width * side / height / stride) * stride
        if side < _SMALLEST_SIDE * height or not other:
            break
        sizes.append((side, other))
    return sizes


def resized_card(module: nn.Module, card: Card, size: tuple[int, int]) -> Card:
    """Return the card of a network that is fed at another size."""
    fed = replace(card.input, height=size[0], width=size[1])
    with torch.no_grad():
        outputs = module(example_input(fed))
    return replace(card, input=fed, outputs=tuple(
        OutputSpec(spec.name, tuple(output.shape))
        for spec, output in zip(card.outputs, outputs, strict=True)))
