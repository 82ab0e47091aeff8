# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""An evaluation with all that was asked for beside it: real time, corruptions, a bag, a page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prune_perception.evaluation.corruptions import SEVERITIES
from prune_perception.evaluation.evaluation import evaluate
from prune_perception.evaluation.figures import AGREEMENT, Evaluation, Settings
from prune_perception.evaluation.realtime import RealtimeRun, run_realtime
from prune_perception.evaluation.robustness import Corrupted, under_corruptions
from prune_perception.runtime.engines import EngineOptions

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Job:
    """
    What is asked for. See :func:`.evaluation.evaluate` for what is not said here.

    :param recordings: one, or several; a folder of recordings is several.
    :param workers: processes for several recordings; None takes one a core.
    :param dask: address of a Dask cluster to spread them over instead.
    :param realtime: also play the recording to the node itself.
    :param rate: how many times faster than recorded.
    :param attach: full name of a detector node that runs already, with the model, while somebody
        else plays the recording; it is listened to in place of playing.
    :param corruptions: names; none are left out.
    :param severities: of the corruptions.
    :param bag_out: folder for a bag with what was found.
    :param html: file for the page.
    """

    recordings: Sequence[Path]
    models: Sequence[Path]
    topic: str | None = None
    ground_truth: str | Path | None = None
    truth_class: str = 'person'
    reference: Path | None = None
    engine: EngineOptions = EngineOptions()
    settings: Settings = Settings()
    timing: bool = True
    workers: int | None = None
    dask: str | None = None
    realtime: bool = False
    rate: float = 1.0
    attach: str | None = None
    corruptions: Sequence[str] = ()
    severities: Sequence[int] = tuple(SEVERITIES)
    bag_out: Path | None = None
    html: Path | None = None
    command: str = ''


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a job: the evaluation, and what was asked for beside it."""

    evaluation: Evaluation
    realtime: tuple[RealtimeRun, ...] = ()
    corrupted: Corrupted | None = None


def do(job: Job, progress: Progress | None = None) -> Outcome:
    """
    Do a job and write its files.

    :raises ValueError: what takes one recording was asked for several.
    :raises WorkersError: the workers or the cluster cannot be had.
    :raises RealtimeError: the node did not start or no result came.
    :raises DetectionsBagError: the bag cannot be written.
    :raises Exception: what :func:`.evaluation.evaluate` raises.
    """
    found = _recordings(job.recordings)
    if len(found) > 1 or job.workers or job.dask:
        return _do_several(job, progress)
    if job.attach is not None and len(job.models) > 1:
        raise ValueError('a node that runs already has one model; give that one')
    (path,) = found
    words: dict[str, Any] = {
        'topic': job.topic, 'ground_truth': job.ground_truth, 'truth_class': job.truth_class,
        'reference': job.reference, 'engine': job.engine}
    if job.bag_out is not None:
        # Found out now, and not after the work of an hour.
        from prune_perception.evaluation.detections_bag import refuse_existing, write_evaluation
        refuse_existing(job.bag_out)
    evaluation = evaluate(
        path, job.models, settings=job.settings, timing=job.timing,
        by_layer=job.html is not None, progress=progress, command=job.command, **words)
    runs = []
    if job.attach is not None:
        (offline,) = evaluation.runs
        run = run_realtime(
            path, job.topic, None, truth=evaluation.truth, attach=True, detector=job.attach,
            judged_classes=evaluation.class_names or None, name=offline.name)
        runs.append(run)
        evaluation = evaluation.with_values(offline.name, _figures(run, evaluation))
    elif job.realtime:
        for folder, offline in zip(job.models, evaluation.runs, strict=True):
            run = run_realtime(
                path, job.topic, folder, rate=job.rate, engine=job.engine.name,
                threads=job.engine.threads, precision=job.engine.precision, truth=evaluation.truth,
                score_threshold=job.settings.score_threshold,
                judged_classes=evaluation.class_names or None, name=offline.name)
            runs.append(run)
            evaluation = evaluation.with_values(offline.name, _figures(run, evaluation))
    corrupted = None
    if job.corruptions:
        corrupted = under_corruptions(
            evaluation, job.models, names=job.corruptions, severities=job.severities,
            progress=progress, **words)
    outcome = Outcome(evaluation, tuple(runs), corrupted)
    if job.bag_out is not None:
        write_evaluation(evaluation, job.bag_out)
    if job.html is not None:
        from prune_perception.evaluation.report import write_report
        write_report(evaluation, job.html, realtime=runs or None, corruptions=corrupted)
    return outcome


def _recordings(given: Sequence[Path]) -> Sequence[Path]:
    from prune_perception.evaluation.spread import find_recordings
    return find_recordings(given[0]) if len(given) == 1 and given[0].is_dir() else given


def _do_several(job: Job, progress: Progress | None) -> Outcome:
    # Dask and the processes are for those alone who have several recordings.
    from prune_perception.evaluation.spread import recorded_images, spread
    if job.realtime or job.attach or job.corruptions or job.bag_out is not None:
        raise ValueError(
            'real time, corruptions and a bag of detections take one recording, without workers')
    recordings = job.recordings[0] if len(job.recordings) == 1 else job.recordings
    evaluation = spread(
        recordings, job.models, topic=job.topic, ground_truth=job.ground_truth,
        truth_class=job.truth_class, reference=job.reference, engine=job.engine,
        settings=job.settings, timing=job.timing, by_layer=job.html is not None,
        workers=job.workers, dask=job.dask, progress=progress, command=job.command)
    if job.html is not None:
        from prune_perception.evaluation.report import write_report
        write_report(evaluation, job.html, images=recorded_images(evaluation))
    return Outcome(evaluation)


def _figures(run: RealtimeRun, evaluation: Evaluation) -> dict[str, float | None]:
    agreement = evaluation.truth is not None and evaluation.truth.agreement
    return {f'{AGREEMENT}{key}' if agreement and key.startswith('streaming_') else key: value
            for key, value in run.figures().items()}
