# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Show a recording to a ladder of bundles under corruptions, beside the dense one.

All see the same corrupted images: the dense detector once as they are, which is what the rungs
are judged by, and once mirrored, which tells how sure it is of that. The recording is read once
for each condition, and the detections of one condition are in memory at a time.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, UTC
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_perception.bundle import Bundle, read_bundle
from prune_perception.evaluation import (
    LARGEST_LOSS,
    metrics,
    POTENTIAL_SEVERITIES,
    POTENTIAL_UP_TO,
)
from prune_perception.evaluation.corruptions import (
    Corruption,
    CORRUPTIONS,
    create_corruption,
)
from prune_perception.evaluation.cost import modelled_energy
from prune_perception.evaluation.evaluation import (
    model_names,
    package_versions,
    shared_classes,
)
from prune_perception.evaluation.figures import Settings
from prune_perception.evaluation.ground_truth import Labels, open_labels
from prune_perception.evaluation.intervals import draw, Draws, interval_of, LEAST_BLOCKS
from prune_perception.evaluation.job_error import JobError
from prune_perception.evaluation.potential import (
    AS_RECORDED,
    Condition,
    Figure,
    LEAST_OBJECTS,
    PotentialError,
    Rung,
    Survey,
    why_unjudged,
)
from prune_perception.evaluation.replay import digest_of, Replay, replay
from prune_perception.evaluation.runs import ModelRun
from prune_perception.evaluation.truth import GroundTruth, Truth
from prune_perception.frames.part import Part
from prune_perception.frames.recording import open_recording
from prune_perception.runtime.detector import Detector, Result
from prune_perception.runtime.engines import EngineOptions
from prune_perception.runtime.machine import machine_name

WEATHER = tuple(name for name, kind in CORRUPTIONS.items() if kind.changes_images)
"""The corruptions under which a pruned detector may fare otherwise than the dense one."""

_MIRRORED = 'the dense detector, mirrored'

Progress = Callable[[str, float], None]
"""Called with the name of a condition, and the share of all the work that is done, from 0 to 1."""

Floats = NDArray[np.float64]


class MirroredDetector(Detector):
    """A detector that is shown each image mirrored; its boxes are those of the image itself."""

    def detect(self, image: NDArray[np.uint8]) -> Result:
        """Find the objects in an image's mirror image."""
        result = super().detect(np.ascontiguousarray(image[:, ::-1]))
        boxes = result.detections.boxes.copy()
        boxes[:, [0, 2]] = image.shape[1] - boxes[:, [2, 0]]
        return replace(result, detections=replace(result.detections, boxes=boxes))


def survey(
        recording_path: Path, rungs: Sequence[Path], dense: Path, *, topic: str | None = None,
        corruptions: Sequence[str] = WEATHER, severities: Sequence[int] = POTENTIAL_SEVERITIES,
        up_to: int = POTENTIAL_UP_TO, largest_loss: float = LARGEST_LOSS,
        part: tuple[int, int] | None = None, every: int = 1,
        ground_truth: str | Path | None = None, truth_class: str = 'person',
        engine: EngineOptions | None = None, settings: Settings | None = None,
        progress: Progress | None = None, command: str = '') -> Survey:
    """
    Find out how much of a ladder's saving survives corruptions.

    :param recording_path: a bag, a video or a folder of pictures.
    :param rungs: folders of bundles, in any order.
    :param dense: folder of the bundle that they are held against.
    :param topic: of the images, where a bag has several.
    :param corruptions: names from ``WEATHER``; the images as they were recorded come before them.
    :param severities: from 1 to 5.
    :param up_to: severity up to which the recommended rung has to survive.
    :param largest_loss: of agreement, that is allowed; above 0 and below 1.
    :param part: first and last frame to look at, the recording's first being 1; None for all.
    :param every: look at each frame of the part, at each second, …
    :param ground_truth: labels, for the excess error beside; see ``ground_truth``.
    :param truth_class: name of what a MOTChallenge file is about.
    :raises JobError: what is asked for does not go together; before the work.
    :raises BundleError: a bundle cannot be read.
    :raises EngineError: the engine cannot be had.
    :raises RecordingError: the recording cannot be opened, or no frame of it could be read.
    :raises GroundTruthError: the labels cannot be read or match no frame, or there is no class
        that all know.
    :raises MetricsError: ``pycocotools`` is not installed.
    :raises PotentialError: there are too few frames, or the dense detector sees nothing in them.
    """
    settings = settings or Settings()
    kinds = _corruptions(corruptions, severities, up_to, settings.seed)
    reference, bundles = read_bundle(dense), _bundles(rungs, dense)
    ladder = _ladder(bundles, reference, settings.hardware)
    class_names = shared_classes(reference.card.class_names, reference.card.name, bundles)
    metrics.check_installed()
    detectors = _detectors(reference, bundles, class_names, engine or EngineOptions(), settings)
    first, last = part or (1, None)
    conditions: list[Condition] = []
    with open_recording(recording_path, topic) as recording:
        labels = None if ground_truth is None else open_labels(
            ground_truth, recording, truth_class=truth_class)
        labelled = () if labels is None else shared_classes(
            labels.class_names, labels.source,
            {f'{reference.card.name} (the reference)': reference, **bundles})
        if recording.count is not None and recording.count < first:
            raise PotentialError(
                f'{recording.path}: has no frame {first}, the recording ends with '
                f'{recording.count}; give a part that it has')
        frames = Part(recording, first, last, every)
        clean: Replay | None = None
        for number, corruption in enumerate([None, *kinds]):
            result = _shown(frames, detectors, labels, corruption, None if progress is None
                            else _tell(progress, corruption, number, len(kinds) + 1,
                                       frames.expected))
            conditions.append(_judged(result, corruption, class_names, labelled, settings))
            if clean is None:
                clean = result
                _check(conditions[0], reference, len(result.read_seconds), settings)
    assert clean is not None
    digest = digest_of(recording_path)
    return Survey(
        reference.card.name, reference.digest, ladder, tuple(conditions), largest_loss, up_to,
        class_names, str(recording_path), digest, len(clean.read_seconds),
        (first, last, every), None if labels is None else labels.source,
        _draws(len(clean.read_seconds), settings).length, settings,
        (*_provenance(reference, {rung.name: bundles[rung.name] for rung in ladder}, digest),
         *clean.notes),
        (*(trouble.reason for trouble in clean.troubles), *clean.warnings),
        machine_name(), package_versions(), command,
        datetime.now(UTC).isoformat(timespec='seconds'))


# ---- what was asked for

def _corruptions(
        names: Sequence[str], severities: Sequence[int], up_to: int, seed: int,
        ) -> list[Corruption]:
    try:
        kinds = [create_corruption(name, severity, seed) for name in dict.fromkeys(names)
                 for severity in sorted(dict.fromkeys(severities))]
    except ValueError as error:
        raise JobError(str(error)) from error
    for kind in kinds:
        if not kind.changes_images:
            raise JobError(
                f'corruption {kind.name!r}: leaves the images as they are, so that it is no '
                'harder for a pruned detector than for the dense one; leave it out')
    if kinds and min(severities) > up_to:
        raise JobError(
            f'no severity of {", ".join(map(str, sorted(severities)))} is at most {up_to}, up to '
            'which a rung has to survive; look at milder ones, or ask for more')
    return kinds


def _bundles(rungs: Sequence[Path], dense: Path) -> dict[str, Bundle]:
    if not rungs:
        raise JobError('a ladder has one bundle or more')
    for rung in rungs:
        if rung.resolve() == dense.resolve():
            raise JobError(f'{rung}: is the reference; a ladder is of what was pruned from it')
    return dict(zip(model_names(rungs), map(read_bundle, rungs), strict=True))


def _provenance(dense: Bundle, rungs: Mapping[str, Bundle], data: str) -> tuple[str, ...]:
    """
    Return what the cards say that makes a ladder's figures mean less, one line each.

    :param data: digest of the recording.
    """
    notes = []
    by_digest = {bundle.digest: bundle for bundle in rungs.values()}
    for name, bundle in rungs.items():
        made, (done, _) = bundle.card.provenance, _participles(bundle)
        if made.data == data:
            notes.append(
                f'{name} was {done} on this very recording, and fares better on frames that it '
                'was fitted to: look at others of it (--frames), or at another recording; it was '
                f'made by: {made.command}')
        # What is quantised of a rung was pruned as that one was.
        source = by_digest.get(made.parent or '', bundle) if done == 'quantised' else bundle
        source_done, doing = _participles(source)
        parent = source.card.provenance.parent
        if parent != dense.digest:
            made_of = '' if source is bundle else (
                f'was quantised from {source.card.name}, which ')
            whose = f'does not say what it was {source_done} from' if parent is None else \
                f'was {source_done} from another bundle'
            notes.append(
                f'{name} {made_of}{whose}, and not from {dense.card.name} as it is: a loss is '
                f'what it sees otherwise than this one, and what {doing} cost it is '
                'not told apart')
    return tuple(notes)


def _participles(bundle: Bundle) -> tuple[str, str]:
    """Return what was done to make a rung, and the doing of it."""
    if bundle.card.quantisation is None:
        return 'pruned', 'pruning'
    return 'quantised', 'quantising'


def _ladder(bundles: Mapping[str, Bundle], dense: Bundle, hardware: str) -> tuple[Rung, ...]:
    """Return the rungs with what they cost, the dearest first."""
    energy, words, batch = _energy_of(dense, hardware)
    terms = f'{words}-bit words and batch {batch}'
    rungs = []
    for name, bundle in bundles.items():
        own, own_words, own_batch = _energy_of(bundle, hardware)
        own_terms = f'{own_words}-bit words and batch {own_batch}'
        # Of what is quantised the shorter words are the saving.
        if own_batch != batch or (own_words != words and bundle.card.quantisation is None):
            raise JobError(
                f'{bundle.folder}: its energy is of {own_terms}, that of {dense.folder} of '
                f'{terms}, so that they do not compare; make one anew with '
                '`prune-perception profile --bits … --save`')
        rungs.append(Rung(name, bundle.digest, own / energy))
    return tuple(sorted(rungs, key=lambda rung: -rung.share))


def _energy_of(bundle: Bundle, hardware: str) -> tuple[float, Any, Any]:
    """Return the modelled energy of an image, MACs, and for which bits of a word and batch."""
    modelled = modelled_energy(bundle, hardware)
    energy = modelled.values.get('energy_mac', 0.0)
    if not energy > 0 or modelled.account is None:
        raise JobError(
            f'{bundle.folder}: what it costs is not known, so that there is no saving to speak '
            f'of: {modelled.reason or "its energy is 0"}; `prune-perception profile '
            f'{bundle.folder} --hardware {hardware} --save` puts it into the card')
    account = modelled.account
    return energy, account.get('word_bits'), account.get('batch')


def _detectors(
        dense: Bundle, rungs: Mapping[str, Bundle], class_names: Sequence[str],
        engine: EngineOptions, settings: Settings) -> dict[str, Detector]:
    """Return the dense detector, the same for mirrored images, and the rungs."""
    def make(kind: type[Detector], bundle: Bundle) -> Detector:
        return kind(
            bundle, engine=engine.name, threads=engine.threads, precision=engine.precision,
            providers=engine.providers, score_threshold=settings.score_threshold,
            max_detections=metrics.LARGEST_NUMBER, class_names=class_names)

    # The names of the rungs are those that people see; no bundle is called by these two.
    return {'': make(Detector, dense), _MIRRORED: make(MirroredDetector, dense),
            **{name: make(Detector, bundle) for name, bundle in rungs.items()}}


# ---- what was seen

def _shown(
        frames: Part, detectors: Mapping[str, Detector], labels: Labels | None,
        corruption: Corruption | None, tell: Callable[[], None] | None) -> Replay:
    return replay(
        frames, detectors, labels=labels, corruption=corruption, timing=False,
        progress=None if tell is None else lambda done, total: tell())


def _judged(
        result: Replay, corruption: Corruption | None, class_names: Sequence[str],
        labelled: Sequence[str], settings: Settings) -> Condition:
    """
    Return what became of the rungs under a condition.

    :param labelled: classes that are judged by labels as well.
    """
    dense, mirrored, *rungs = result.runs
    truth = _truth_of(dense, class_names, settings.operating_point)
    objects = sum(len(frame.classes) for frame in truth.frames.values())
    drawn = _draws(len(truth.frames), settings)
    consistency, own_draws = _ap50(truth, mirrored, class_names, drawn)
    reason = why_unjudged(objects, consistency)
    agreements, losses = {}, {}
    if consistency is not None and not reason:
        for run in rungs:
            value, draws = _ap50(truth, run, class_names, drawn)
            assert value is not None  # there are objects
            agreements[run.name] = Figure(value, interval_of(value, draws, (0.0, 1.0)))
            loss = consistency - value
            losses[run.name] = Figure(loss, interval_of(loss, own_draws - draws))
    dense_ap50, excesses = _by_labels(result.truth, dense, rungs, labelled, settings)
    return Condition(
        '' if corruption is None else corruption.name,
        0 if corruption is None else corruption.severity, objects, consistency, reason,
        agreements, losses, dense_ap50, excesses)


def _by_labels(
        truth: GroundTruth | None, dense: ModelRun, rungs: Sequence[ModelRun],
        class_names: Sequence[str], settings: Settings,
        ) -> tuple[float | None, dict[str, Figure]]:
    """Return AP50 of the dense detector by labels, and the excess error of each rung."""
    if truth is None:
        return None, {}
    drawn = _draws(len(truth.frames), settings)
    best, dense_draws = _ap50(truth, dense, class_names, drawn)
    excesses = {}
    for run in rungs:
        value, draws = _ap50(truth, run, class_names, drawn)
        if best is not None and value is not None:
            excess = best - value
            excesses[run.name] = Figure(excess, interval_of(excess, dense_draws - draws))
    return best, excesses


def _truth_of(run: ModelRun, class_names: Sequence[str], operating_point: float) -> GroundTruth:
    """Return what a detector is confident of as the truth of the frames it saw."""
    judged = [name in class_names for name in run.class_names]
    frames = {}
    for result in run.results:
        found = result.detections
        sure = (found.scores >= operating_point) & np.array(judged)[found.classes]
        frames[result.index] = Truth(
            found.boxes[sure], found.classes[sure], np.zeros(int(sure.sum()), np.bool_))
    return GroundTruth(run.class_names, frames, run.digest, agreement=True)


def _ap50(
        truth: GroundTruth, run: ModelRun, class_names: Sequence[str], drawn: Draws,
        ) -> tuple[float | None, Floats]:
    """Return average precision at an overlap of 0.5, and for each draw; None without objects."""
    value, draws = metrics.ap50(metrics.judge(truth, run, class_names), drawn)
    return None if np.isnan(value) else value, draws


def _draws(frames: int, settings: Settings) -> Draws:
    return draw(frames, draws=settings.draws, seed=settings.seed, block=settings.block)


def _check(clean: Condition, dense: Bundle, frames: int, settings: Settings) -> None:
    """
    Refuse footage by which nothing can be told, after the first look at it.

    :raises PotentialError: it is such.
    """
    drawn = _draws(frames, settings)
    if not drawn.usable:
        raise PotentialError(
            f'{frames} frame{" is" if frames == 1 else "s are"} too few to say how sure a figure '
            f'is, by {LEAST_BLOCKS} blocks or more of {drawn.length} each; give 20 or more, '
            'better a hundred')
    if clean.reason:
        raise PotentialError(
            f'in {frames} frames as recorded {dense.card.name} is confident of {clean.objects} '
            f'objects and agrees with itself by {clean.consistency or 0:.2f}; it takes '
            f'{LEAST_OBJECTS} objects to speak of a loss: give footage in which its classes '
            'appear')


def _tell(
        progress: Progress, corruption: Corruption | None, number: int, parts: int,
        frames: int | None) -> Callable[[], None]:
    """Return what counts the frames of a condition and tells how far the whole is."""
    name = AS_RECORDED if corruption is None else f'{corruption.name} {corruption.severity}'
    seen = 0
    progress(name, number / parts)

    def tell() -> None:
        nonlocal seen
        seen += 1
        progress(name, (number + (min(1.0, seen / frames) if frames else 0.0)) / parts)
    return tell
