# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
From a bundle and a robot's own footage to one that computes in integers of 8 bits.

The recording is split as for pruning: the ranges of the maps are seen on *fit*, the one choice
(whether the last layers stay in float) is made on *select*, and *certify* is read once, by the
certificate. Nothing is written here: :func:`quantise` returns what
:func:`prune_perception.bundle.write_bundle` takes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
import importlib.util
from pathlib import Path
from typing import Any

from prune_perception import __version__
from prune_perception.bundle import (
    Bundle,
    BundleError,
    Card,
    GRAPH,
    Provenance,
    Quantisation,
)
from prune_perception.detections import Detections
from prune_perception.energy.account import EnergyAccount, make_account
from prune_perception.energy.counting import count
from prune_perception.energy.hardware import HardwareProfile
from prune_perception.networks.registry import example_input, load_network
from prune_perception.pruning import LAST_LAYERS, QUANTISERS
from prune_perception.pruning.agreement import agreement, CONFIDENT, detections_by
from prune_perception.pruning.certificate import Certificate, CertificateError
from prune_perception.pruning.certify_bundles import certify_files
from prune_perception.pruning.footage import Footage, Images, read_footage
from prune_perception.pruning.int8_graph import (
    BITS,
    FloatGraph,
    layers_in_float,
    prepare,
    QuantisationError,
    quantised_graph,
    spread,
)
from prune_perception.pruning.latency import compare, engine_of, Latency
from prune_perception.pruning.splits import split, Splits
from prune_perception.pruning.stages import Progress, Stages
from prune_perception.runtime.engines import create_engine, Engine, EngineError, EngineOptions
from prune_perception.runtime.machine import machine_name

CALIBRATION_FRAMES = 64
"""Frames of *fit*, evenly spread, on which the ranges of the maps are seen."""

WORTH = 0.005
"""Agreement that the last layers have to bring to be kept in float; a judgement."""

_ENGINES_DIFFER = 0.02  # agreement; they round differently, which is less
_EXAMPLES = 4


@dataclass(frozen=True)
class Request:
    """
    What is asked for.

    :param bundle: a detector that computes in float, pruned or not.
    :param data: a recording of the robot's camera.
    :param profile: the machine whose energy is modelled.
    :param reference: the detector that the certificate is about; None for the bundle itself.
    :param topic: of a bag with several image topics.
    :param frames: first and last frame of the recording to use, its first being 1; None for all.
    :param last_layers: one of ``LAST_LAYERS``.
    :param quantiser: one of ``QUANTISERS``.
    :param reduced_range: weights of 7 bits, for x86 processors without VNNI.
    :param unrelated: the recording is of pictures that have nothing to do with each other.
    :param name: of the new detector; None for the bundle's with ``_int8``.
    :param command: that made this request, for the bundle's provenance.
    """

    bundle: Bundle
    data: Path
    profile: HardwareProfile
    reference: Bundle | None = None
    topic: str | None = None
    frames: tuple[int, int] | None = None
    last_layers: str = LAST_LAYERS[0]
    quantiser: str = QUANTISERS[0]
    reduced_range: bool = False
    unrelated: bool = False
    name: str | None = None
    command: str = ''


@dataclass(frozen=True)
class Account:
    """
    The modelled energy before and after.

    :param before: in words of the profile.
    :param after: the layers that compute in integers in words of 8 bits, the others as before.
    """

    before: EnergyAccount
    after: EnergyAccount
    float_layers: tuple[str, ...]

    @property
    def share(self) -> float:
        """Energy as a share of that before."""
        return self.after.total().energy_mac / self.before.total().energy_mac

    @property
    def conditions(self) -> str:
        """The words that belong beside every figure."""
        some = f' and in {", ".join(self.float_layers)}' if self.float_layers else ''
        return f'{self.after.conditions}; {self.before.bits}-bit words before{some}'

    def summary(self) -> dict[str, Any]:
        """Return what a card keeps."""
        return {**self.after.summary(), 'share_of_parent': self.share, **(
            {'float_layers': list(self.float_layers), 'float_word_bits': self.before.bits}
            if self.float_layers else {})}


@dataclass(frozen=True, eq=False)
class Outcome:
    """
    A quantised detector, and how it came about.

    :param card: of the new bundle.
    :param files: of the new bundle, for ``write_bundle``.
    :param agreement: with the bundle in float on frames kept aside, by what the last layers
        compute in: ``int8``, ``float`` or both.
    :param chosen: which of them was taken.
    :param in_openvino: agreement of the one that was taken, by OpenVINO; None without it.
    :param latencies: in turns with the bundle in float, of each engine that is installed.
    :param account: None where the bundle has no weights to count.
    :param certificate: measured on frames that nothing else has read.
    :param sizes: of the graph before and after, bytes.
    :param examples: uint8 (height, width, 3) BGR, some of the frames to select by.
    """

    card: Card
    files: Mapping[str, bytes]
    agreement: Mapping[str, float]
    chosen: str
    in_openvino: float | None
    latencies: tuple[Latency, ...]
    account: Account | None
    certificate: Certificate
    sizes: tuple[int, int]
    examples: tuple[Images, ...]
    footage: Footage
    splits: Splits
    notes: tuple[str, ...]
    seconds: Mapping[str, float]
    request: Request = field(repr=False)


def quantise(request: Request, progress: Progress | None = None) -> Outcome:
    """
    Make a detector that computes in integers.

    :raises QuantisationError: the graph cannot be quantised, or is already; the quantiser is not
        installed.
    :raises FootageError: the recording cannot be used.
    :raises SplitError: it has too few frames.
    :raises AgreementError: the detector sees nothing in the footage.
    :raises CertificateError: the reference lacks a class of the bundle.
    :raises BundleError: the bundle cannot be run.
    """
    return _Job(request, progress).run()


def _quantised_by(name: str) -> Callable[..., bytes]:
    """Return the function that makes the graph; raise QuantisationError if it is not there."""
    if name == 'onnxruntime':
        return quantised_graph
    try:
        from prune_perception.pruning import nncf_graph
    except ImportError as error:
        raise QuantisationError(
            f"quantiser nncf is not installed ({error}): pip install 'prune_perception[nncf]'"
        ) from error
    return nncf_graph.quantised_graph


class _Job:

    def __init__(self, request: Request, progress: Progress | None) -> None:
        self._request, self._stage = request, Stages(progress)
        self._notes: list[str] = []
        self._wanted: tuple[Detections, ...] = ()  # what the detector in float sees in select
        self._in_openvino: float | None = None

    def run(self) -> Outcome:
        request = self._request
        self._check_reference()
        self._quantised = _quantised_by(request.quantiser)
        # Before the footage is read, which takes longer: what cannot be run is refused here.
        engine = create_engine(request.bundle, EngineOptions('onnxruntime'))
        before = request.bundle.read_file(GRAPH)
        try:
            with self._stage('prepare the graph'):
                graph = prepare(before)
            with self._stage('read the footage') as tell:
                self._footage = read_footage(
                    request.data, request.bundle.card.input, request.topic, progress=tell,
                    part=request.frames)
            self._notes += self._footage.notes
            self._splits = split(
                len(self._footage.images), self._footage.frame_rate)
            chosen, after, agreed = self._choose(engine, graph)
        except QuantisationError as error:
            raise QuantisationError(f'{request.bundle.folder / GRAPH}: {error}') from error
        # A quantiser may leave in float what it was not asked to.
        quantisation = Quantisation(
            BITS, layers_in_float(graph, after), request.reduced_range, request.quantiser)
        card = replace(
            request.bundle.card, network=None, quantisation=quantisation, energy={}, measured=(),
            certificate=None)
        files = {GRAPH: after}
        with self._stage('measure'):
            latencies = self._measure(card, files, engine, agreed[chosen])
        account = self._account(quantisation.float_layers)
        with self._stage('certify') as tell:
            certificate = certify_files(
                request.reference or request.bundle, card, files, self._footage,
                self._splits.certify, topic=request.topic, unrelated=request.unrelated,
                progress=tell)
        return Outcome(
            self._finished(card, account, latencies, agreed[chosen], certificate), files, agreed,
            chosen, self._in_openvino, latencies, account, certificate, (len(before), len(after)),
            self._examples(), self._footage, self._splits, tuple(self._notes),
            self._stage.seconds, request)

    def _examples(self) -> tuple[Images, ...]:
        part, bgr = self._splits.select, self._request.bundle.card.input.colour_order == 'bgr'
        images = spread(self._footage.images[part.start:part.stop], _EXAMPLES)
        return tuple(image if bgr else image[..., ::-1].copy() for image in images)

    def _check_reference(self) -> None:
        """Refuse at once what the certificate would refuse at the end."""
        request = self._request
        if request.reference is None:
            return
        known = request.reference.card.class_names
        missing = [name for name in request.bundle.card.class_names if name not in known]
        if missing:
            raise CertificateError(
                f'{request.reference.folder}: has no class {", ".join(missing)}, which '
                f'{request.bundle.folder} has; give the bundle that it was pruned from')

    def _choose(
            self, engine: Engine, graph: FloatGraph) -> tuple[str, bytes, dict[str, float]]:
        """Quantise with the last layers in integers, in float or both, and take one."""
        request, card, splits = self._request, self._request.bundle.card, self._splits
        images = self._footage.images
        seen_in = spread(images[splits.fit.start:splits.fit.stop], CALIBRATION_FRAMES)
        select = images[splits.select.start:splits.select.stop]
        with self._stage('see what the detector sees'):
            wanted = self._wanted = detections_by(engine, card, select)
            agreement(wanted, wanted)  # raises if it sees nothing
        tried: tuple[str, ...] = (request.last_layers,)
        if request.last_layers == 'auto':
            tried = ('int8', 'float') if graph.others else ('int8',)
        graphs, agreed = {}, {}
        for last in tried:
            with self._stage(f'quantise, the last layers in {last}'):
                graphs[last] = self._quantised(
                    graph, seen_in, keep=graph.last if last == 'float' else (),
                    reduced_range=request.reduced_range)
                own = engine_of(replace(card, network=None), {GRAPH: graphs[last]})
                agreed[last] = agreement(wanted, detections_by(own, card, select))
        chosen = tried[0]
        if len(tried) > 1 and agreed['float'] > agreed['int8'] + WORTH:
            chosen = 'float'
        return chosen, graphs[chosen], agreed

    def _measure(
            self, card: Card, files: Mapping[str, bytes], plain: Engine, agreed: float,
            ) -> tuple[Latency, ...]:
        """
        Return the times by each engine that is installed, in turns with the one in float.

        :param agreed: agreement by ONNX Runtime, which that by OpenVINO is held against.
        """
        bundle, part = self._request.bundle, self._splits.select
        latencies = [compare(plain, bundle.card, engine_of(card, files), card)]
        if importlib.util.find_spec('openvino') is None:
            self._notes.append('OpenVINO is not installed, so that it was not tried')
        else:
            try:
                other = engine_of(card, files, 'openvino')
                latencies.append(compare(
                    create_engine(bundle, EngineOptions('openvino')), bundle.card, other, card,
                    'openvino'))
                # Engines make different arithmetic of such a graph, and not always the one meant.
                self._in_openvino = agreement(self._wanted, detections_by(
                    other, card, self._footage.images[part.start:part.stop]))
            except (BundleError, EngineError) as error:
                self._notes.append(f'does not run in OpenVINO: {error}')
            else:
                if self._in_openvino < agreed - _ENGINES_DIFFER:
                    self._notes.append(
                        'do not run it in OpenVINO, which makes something else of it: agreement '
                        f'{self._in_openvino:.3f}, {agreed:.3f} by ONNX Runtime')
        slower = [f'{latency.engine} ({latency.speedup:.2f} times as fast)'
                  for latency in latencies if latency.speedup < 1]
        if slower:
            self._notes.append(
                f'no faster than in float on this machine by {" and ".join(slower)}')
        return tuple(latencies)

    def _account(self, float_layers: tuple[str, ...]) -> Account | None:
        request = self._request
        if request.bundle.card.network is None:
            self._notes.append('no energy account: the bundle has no weights to count')
            return None
        counted = count(load_network(request.bundle), example_input(request.bundle.card.input))
        name = request.bundle.card.name
        before = make_account(counted, request.profile, name)
        after = make_account(counted, request.profile, name, bits=min(BITS, before.bits))
        mixed = tuple(
            whole if whole.layer.name in float_layers else short
            for whole, short in zip(before.layers, after.layers, strict=True))
        return Account(before, replace(after, layers=mixed), float_layers)

    def _finished(
            self, card: Card, account: Account | None, latencies: tuple[Latency, ...],
            agreed: float, certificate: Certificate) -> Card:
        request, footage = self._request, self._footage
        parent = request.bundle
        measured: list[dict[str, Any]] = [{
            'figure': 'agreement_ap50', 'engine': engine, 'value': value, 'with': parent.card.name,
            'confident_score': CONFIDENT, 'data': footage.path.name,
            'frames': len(self._splits.select),
            'note': 'average precision against what the network in float finds in frames kept '
                    'aside; not accuracy'} for engine, value in (
                ('onnxruntime', agreed), ('openvino', self._in_openvino)) if value is not None]
        measured += [{
            'figure': 'latency', 'engine': latency.engine, 'machine': machine_name(),
            'milliseconds': latency.pruned * 1e3, 'parent_milliseconds': latency.dense * 1e3,
            'speedup': latency.speedup} for latency in latencies]
        return replace(
            card, name=request.name or f'{parent.card.name}_int8', measured=tuple(measured),
            energy={request.profile.name: account.summary()} if account else {},
            certificate=certificate.to_dict(),
            provenance=Provenance(
                request.command, __version__, parent=parent.digest, data=footage.digest,
                distilled=parent.card.provenance.distilled))
