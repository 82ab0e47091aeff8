# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
All that is to be said of some detectors on one recording: from words to figures.

``evaluate`` plays the recording to every detector and judges what they found; ``conclude`` is
the second half alone, for results that came some other way: from many recordings, or back from
a node. The figures' names and meanings are in ``figures.py`` and, for people, in
``docs/evaluation.md``.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, UTC
import importlib.metadata
from itertools import combinations
from pathlib import Path
import platform

import cv2
import numpy as np
from numpy.typing import NDArray

from prune_perception import __version__
from prune_perception.bundle import Bundle, read_bundle
from prune_perception.energy.window import EnergyPerFrame, Unavailable
from prune_perception.evaluation import metrics
from prune_perception.evaluation.corruptions import Corruption
from prune_perception.evaluation.cost import (
    measured_energy,
    modelled_energy,
    MODELLED_KEYS,
    ModelledEnergy,
)
from prune_perception.evaluation.errors import ErrorCounts
from prune_perception.evaluation.figures import (
    ACCURACY_KEYS,
    AGREEMENT,
    Difference,
    Evaluation,
    KEYS,
    ModelFigures,
    Settings,
    STAGES,
)
from prune_perception.evaluation.ground_truth import GroundTruthError, open_labels
from prune_perception.evaluation.intervals import (
    draw,
    Draws,
    Interval,
    interval_of,
    quantile_draws,
    ratio_draws,
)
from prune_perception.evaluation.job_error import JobError
from prune_perception.evaluation.memory import measure_memory
from prune_perception.evaluation.replay import digest_of, Replay, replay
from prune_perception.evaluation.runs import ModelRun, Trouble
from prune_perception.evaluation.truth import GroundTruth
from prune_perception.frames.recording import open_recording
from prune_perception.runtime.detector import Detector
from prune_perception.runtime.engines import EngineOptions
from prune_perception.runtime.machine import machine_name

__all__ = [
    'Difference', 'Evaluation', 'GroundTruth', 'GroundTruthError', 'JobError', 'ModelFigures',
    'ModelRun', 'Replay', 'Settings', 'Trouble', 'conclude', 'evaluate', 'judge_run',
    'load_detectors', 'model_names', 'package_versions', 'shared_classes']

Image = NDArray[np.uint8]
Floats = NDArray[np.float64]
Progress = Callable[[int, int | None], None]


def evaluate(
        recording_path: Path, models: Sequence[Path], *, topic: str | None = None,
        ground_truth: str | Path | None = None, truth_class: str = 'person',
        reference: Path | None = None, engine: EngineOptions | None = None,
        settings: Settings | None = None, corruption: Corruption | None = None,
        timing: bool = True, by_layer: bool = False, progress: Progress | None = None,
        command: str = '') -> Evaluation:
    """
    Judge detectors on a recording.

    Each frame is decoded once and shown to every detector before the next one is read, so that
    memory holds one frame and the detections.

    :param recording_path: a bag, a video or a folder of pictures.
    :param models: folders of bundles.
    :param topic: of the images, where a bag has several.
    :param ground_truth: a file, a folder or, in a bag, a topic; see ``ground_truth``.
    :param truth_class: name of what a MOTChallenge file is about.
    :param reference: folder of a bundle whose detections stand in for the truth.
    :param engine: that runs every network; None means ONNX Runtime with its own choice.
    :param corruption: of the images that the detectors see, and of the truth that goes with them.
        The reference sees the images as they were recorded.
    :param timing: also measure latency, memory and energy.
    :param by_layer: have the modelled energy of each layer, for a report; needs torch.
    :param progress: is told how many frames are done, and of how many (None where the recording
        does not say).
    :raises RecordingError: the recording cannot be opened, or no frame of it could be evaluated.
    :raises GroundTruthError: the ground truth cannot be read, matches no frame, or shares no
        class with the models.
    :raises BundleError: a model cannot be read.
    :raises EngineError: the engine cannot be had.
    :raises MetricsError: there is something to judge by, and ``pycocotools`` is not installed.
    :raises JobError: no models, a model twice, or ground truth and reference both.
    """
    if not models:
        raise JobError('an evaluation takes one model or more')
    if ground_truth is not None and reference is not None:
        raise JobError('ground truth and reference: one of them says what is right, not both')
    settings = settings or Settings()
    engine = engine or EngineOptions()
    bundles = _by_name([read_bundle(folder) for folder in models])
    with open_recording(recording_path, topic) as recording:
        labels = None if ground_truth is None else open_labels(
            ground_truth, recording, truth_class=truth_class)
        # What makes all of it useless is found out now, and not after an hour.
        if labels is not None:
            shared_classes(labels.class_names, labels.source, bundles)
        if labels is not None or reference is not None:
            metrics.check_installed()
        loaded = load_detectors(bundles, reference, engine, settings)
        result = replay(
            recording, loaded.detectors, labels=labels, reference=loaded.reference,
            corruption=corruption, timing=timing, progress=progress)
        image_topic = recording.topic
    energy: Mapping[str, EnergyPerFrame | Unavailable] = {}
    memory: dict[str, float | Unavailable] = {}
    if timing:
        energy = measured_energy(loaded.detectors, result.images)
        memory = {name: measure_memory(bundle.folder, engine) for name, bundle in bundles.items()}
    return conclude(
        result, bundles, source=str(recording_path), topic=image_topic,
        data_digest=digest_of(recording_path), settings=settings, energy=energy, memory=memory,
        by_layer=by_layer, command=command)


def conclude(
        result: Replay, bundles: Mapping[str, Bundle], *, source: str, topic: str | None = None,
        data_digest: str = '', settings: Settings | None = None,
        energy: Mapping[str, EnergyPerFrame | Unavailable] | None = None,
        memory: Mapping[str, float | Unavailable] | None = None, by_layer: bool = False,
        starts: Sequence[int] = (), command: str = '') -> Evaluation:
    """
    Judge what detectors found.

    :param result: what they found. Runs without timings give no latency.
    :param bundles: of the detectors, by the names in ``result.runs``.
    :param source: path of the recording, or what several are called together.
    :param topic: of the images.
    :param data_digest: of the recording.
    :param energy: measured, by model; a model that is not in it was not measured.
    :param memory: measured in bytes, by model, likewise.
    :param starts: index of the first frame of each recording, ascending, where there are several.
    :param by_layer: have the modelled energy of each layer.
    :param command: the command line.
    :raises GroundTruthError: truth and models have no class in common.
    :raises MetricsError: there is truth, and ``pycocotools`` is not installed.
    """
    settings = settings or Settings()
    truth = result.truth
    notes = list(result.notes)
    class_names: tuple[str, ...] = ()
    if truth is not None:
        class_names = shared_classes(truth.class_names, truth.source, bundles)
        notes += _class_notes(truth, class_names, bundles)
    figures: dict[str, ModelFigures] = {}
    draws: dict[str, dict[str, Floats]] = {}
    runs = []
    for run in result.runs:
        modelled = modelled_energy(bundles[run.name], settings.hardware, by_layer=by_layer)
        figures[run.name], draws[run.name] = _figures(
            run, truth, class_names, settings, modelled,
            (energy or {}).get(run.name, Unavailable('it was not asked for')),
            (memory or {}).get(run.name, Unavailable('it was not asked for')), starts)
        if modelled.account is not None:
            run = replace(run, energy={**run.energy, settings.hardware: modelled.account})
        runs.append(run)
    return Evaluation(
        source, topic, data_digest, len(result.read_seconds),
        0 if truth is None else len(truth.frames), class_names, result.troubles,
        result.not_evaluated, result.warnings, tuple(notes), truth, tuple(runs), figures,
        _differences(figures, draws), settings, result.read_seconds * 1000, machine_name(),
        package_versions(), command, datetime.now(UTC).isoformat(timespec='seconds'))


@dataclass(frozen=True, eq=False)
class Loaded:
    """
    Detectors that are ready to run.

    :param detectors: by the names of their models.
    :param reference: whose detections stand in for the truth; None where there is none.
    """

    detectors: Mapping[str, Detector]
    reference: Detector | None


def load_detectors(
        bundles: Mapping[str, Bundle], reference: Path | None, engine: EngineOptions,
        settings: Settings) -> Loaded:
    """
    Load models into the engine and warm them up.

    :param bundles: by the names that their models have in the evaluation.
    :param reference: folder of a bundle.
    :raises BundleError: a model cannot be read.
    :raises EngineError: the engine cannot be had.
    """
    detectors = {name: _detector(bundle, engine, settings.score_threshold)
                 for name, bundle in bundles.items()}
    # What the reference is not sure of must not be held against the others.
    judge = None if reference is None else _detector(
        read_bundle(reference), engine, settings.operating_point)
    for detector in detectors.values():
        detector.warm_up()
    return Loaded(detectors, judge)


def model_names(models: Sequence[Path]) -> tuple[str, ...]:
    """
    Return the names that an evaluation will give to models, in their order.

    :raises BundleError: a model cannot be read.
    :raises JobError: a model is given twice.
    """
    return tuple(_by_name([read_bundle(folder) for folder in models]))


def _by_name(bundles: Sequence[Bundle]) -> dict[str, Bundle]:
    """Give each bundle a name of its own: the card's, with the digest where two have the same."""
    counts = Counter(bundle.card.name for bundle in bundles)
    named: dict[str, Bundle] = {}
    for bundle in bundles:
        name = bundle.card.name
        if counts[name] > 1:
            name = f'{name}@{bundle.digest[:8]}'
        if name in named:
            raise JobError(f'model {name} is given twice ({named[name].folder} and '
                           f'{bundle.folder} are the same bundle)')
        named[name] = bundle
    return named


def _detector(bundle: Bundle, engine: EngineOptions, score_threshold: float) -> Detector:
    return Detector(
        bundle, engine=engine.name, threads=engine.threads, precision=engine.precision,
        providers=engine.providers, score_threshold=score_threshold,
        max_detections=metrics.LARGEST_NUMBER)


def shared_classes(
        truth_names: Sequence[str], source: str, bundles: Mapping[str, Bundle],
        ) -> tuple[str, ...]:
    """
    Return the classes that truth and every model have, in the order of the truth.

    :param source: what the truth is called.
    :raises GroundTruthError: there are none.
    """
    shared = [name for name in truth_names if all(
        name in bundle.card.class_names for bundle in bundles.values())]
    if not shared:
        models = '; '.join(f'{name}: {_some(bundle.card.class_names)}'
                           for name, bundle in bundles.items())
        raise GroundTruthError(
            f'{source}: shares no class with every model; it has {_some(truth_names)}, the '
            f'models have {models}')
    return tuple(shared)


def _class_notes(
        truth: GroundTruth, class_names: Sequence[str], bundles: Mapping[str, Bundle],
        ) -> list[str]:
    notes = []
    unjudged = [name for name in truth.class_names if name not in class_names]
    if unjudged:
        notes.append(
            f'classes of {truth.source} that are not judged, since not every model has them: '
            f'{", ".join(unjudged)}')
    for name, bundle in bundles.items():
        others = [known for known in bundle.card.class_names if known not in class_names]
        if others:
            notes.append(
                f'{name} knows {len(others)} classes more, which are not judged: {_some(others)}')
    return notes


def _some(names: Sequence[str]) -> str:
    shown = ', '.join(names[:5])
    return f'{shown} and {len(names) - 5} more' if len(names) > 5 else shown or 'none'


def _figures(
        run: ModelRun, truth: GroundTruth | None, class_names: Sequence[str],
        settings: Settings, modelled: ModelledEnergy, energy: EnergyPerFrame | Unavailable,
        memory: float | Unavailable, starts: Sequence[int],
        ) -> tuple[ModelFigures, dict[str, Floats]]:
    """Return the figures of a model, and of each that has an interval all that was drawn."""
    judged, draws = judge_run(run, truth, class_names, settings, starts)
    values = {**modelled.values, **judged.values}
    unavailable = dict(judged.unavailable)
    unavailable |= {key: modelled.reason or f'the account has none ({modelled.source})'
                    for key in MODELLED_KEYS if key not in modelled.values}
    _add_latency(run, settings, values, unavailable, draws)
    if isinstance(memory, Unavailable):
        unavailable['memory_mb'] = memory.reason
    else:
        values['memory_mb'] = memory / 1e6
    if isinstance(energy, Unavailable):
        unavailable |= dict.fromkeys(('energy_j', 'energy_above_idle_j'), energy.reason)
    else:
        values['energy_j'] = energy.joules
        if energy.joules_above_idle is None:
            unavailable['energy_above_idle_j'] = 'the quiet period could not be measured'
        else:
            values['energy_above_idle_j'] = energy.joules_above_idle
    intervals = {key: interval for key, rows in draws.items()
                 if (interval := interval_of(values[key], rows, _limits(key))) is not None}
    return replace(judged, values=values, unavailable=unavailable, intervals=intervals,
                   energy_measured=energy, energy_source=modelled.source), draws


def judge_run(
        run: ModelRun, truth: GroundTruth | None, class_names: Sequence[str],
        settings: Settings, starts: Sequence[int] = (),
        ) -> tuple[ModelFigures, dict[str, Floats]]:
    """
    Return how good a detector is, and nothing of what it costs.

    :param class_names: to be judged; truth and run have all of them.
    :param starts: index of the first frame of each recording, where there are several.
    :returns: the figures without intervals, and of each that can have one all that was drawn.
    :raises MetricsError: there is truth, and ``pycocotools`` is not installed.
    """
    values: dict[str, float] = {}
    unavailable: dict[str, str] = {}
    draws: dict[str, Floats] = {}
    per_class: Mapping[str, Mapping[str, float]] = {}
    curves: Mapping[str, Floats] = {}
    errors: dict[int, ErrorCounts] = {}
    if truth is None:
        unavailable |= dict.fromkeys(
            ACCURACY_KEYS, 'there is neither ground truth nor a reference')
    else:
        prefix = AGREEMENT if truth.agreement else ''
        judged = metrics.judge(truth, run, class_names)
        matches = metrics.match(judged)
        accuracy = metrics.accuracy(judged, matches)
        errors = metrics.errors_by_frame(judged, settings.operating_point)
        found = {**accuracy.values, **_precision_recall(errors)}
        for key in ACCURACY_KEYS:
            if key in found:
                values[prefix + key] = found[key]
            else:
                unavailable[prefix + key] = _why_not(key)
        if truth.agreement:
            unavailable |= dict.fromkeys(
                ACCURACY_KEYS, f'the truth is a reference; see {AGREEMENT}ap and its kin')
        curves = accuracy.curves
        per_class = {
            name: {key if key == 'objects' else prefix + key: value
                   for key, value in entries.items()}
            for name, entries in accuracy.per_class.items()}
        indices = [index for index, _, _ in judged.frames]
        drawn = draw(len(indices), draws=settings.draws, seed=settings.seed,
                     block=settings.block, starts=np.searchsorted(indices, starts).tolist())
        if drawn.usable:
            draws |= {prefix + key: rows for key, rows in _accuracy_draws(
                judged, matches['all'], errors, drawn).items() if key in found}
    return ModelFigures(
        values, unavailable, per_class=per_class, curves=curves,
        errors=sum(errors.values(), ErrorCounts()) if truth is not None else None,
        frame_errors=errors), draws


def _limits(key: str) -> tuple[float, float]:
    """Return between what a figure lies by its nature."""
    return (0.0, float('inf')) if key.startswith('latency_') else (0.0, 1.0)


def _add_latency(
        run: ModelRun, settings: Settings, values: dict[str, float],
        unavailable: dict[str, str], draws: dict[str, Floats]) -> None:
    timings = [result.timing for result in run.results if result.timing is not None]
    if not timings:
        unavailable |= dict.fromkeys(
            (*(key for key in KEYS if key.startswith('latency_')), 'throughput_hz'),
            'timing was not asked for')
        return
    stages = {stage: 1000 * np.array([getattr(timing, stage) for timing in timings])
              for stage in STAGES}
    total = np.sum(list(stages.values()), axis=0)
    values['latency_mean_ms'] = float(total.mean())
    values['latency_max_ms'] = float(total.max())
    values['throughput_hz'] = 1000 / float(total.mean())
    for name, durations in {'': total, **{f'{stage}_': times for stage, times in stages.items()}
                            }.items():
        for share in (50, 95, 99):
            values[f'latency_{name}p{share}_ms'] = float(np.percentile(durations, share))
    drawn = draw(len(total), draws=settings.draws, seed=settings.seed, block=settings.block)
    if drawn.usable:
        draws['latency_mean_ms'] = ratio_draws(drawn, total, np.ones(len(total)))
        for share in (50, 95, 99):
            draws[f'latency_p{share}_ms'] = quantile_draws(drawn, total, share / 100)


def _precision_recall(errors: Mapping[int, ErrorCounts]) -> dict[str, float]:
    total = sum(errors.values(), ErrorCounts())
    values = {}
    if total.detections:
        values['precision'] = total.correct / total.detections
    if total.objects:
        values['recall'] = total.correct / total.objects
    return values


def _accuracy_draws(
        judged: metrics.Judged, matches: Sequence[metrics.Matches],
        errors: Mapping[int, ErrorCounts], drawn: Draws) -> dict[str, Floats]:
    counts = np.array(
        [(count.correct, count.detections, count.objects)
         for count in (errors[index] for index, _, _ in judged.frames)], np.float64)
    correct, detections, objects = counts.T
    return {
        **metrics.draws_of_ap(matches, drawn),
        'precision': ratio_draws(drawn, correct, detections),
        'recall': ratio_draws(drawn, correct, objects)}


def _why_not(key: str) -> str:
    if key == 'precision':
        return 'nothing was detected at the operating point'
    size = key.rpartition('_')[2]
    kind = f'{size} objects' if size in ('small', 'medium', 'large') else 'objects'
    return f'the frames that were judged hold no {kind} of the judged classes'


def _differences(
        figures: Mapping[str, ModelFigures], draws: Mapping[str, Mapping[str, Floats]],
        ) -> tuple[Difference, ...]:
    differences = []
    for first, second in combinations(figures, 2):
        shared = [key for key in figures[first].values if key in figures[second].values]
        for key in shared:
            value = figures[second].values[key] - figures[first].values[key]
            interval: Interval | None = None
            if key in draws[first] and key in draws[second]:
                interval = interval_of(value, draws[second][key] - draws[first][key])
            differences.append(Difference(key, first, second, value, interval))
    return tuple(differences)


def package_versions() -> dict[str, str]:
    """Return the versions of what takes part in an evaluation, by package."""
    versions = {
        'prune_perception': __version__, 'python': platform.python_version(),
        'opencv': cv2.__version__}
    for package in ('numpy', 'onnxruntime', 'openvino', 'torch', 'pycocotools', 'rosbags', 'mcap'):
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions
