# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""An evaluation with all that was asked for beside it: real time, corruptions, a bag, a page."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
import json
from pathlib import Path
import traceback
from typing import Any

from prune_perception.evaluation.corruptions import create_corruption, SEVERITIES
from prune_perception.evaluation.evaluation import evaluate, model_names
from prune_perception.evaluation.figures import AGREEMENT, Evaluation, Settings, STREAMING_KEYS
from prune_perception.evaluation.files import check_outputs, OutputError, write_whole
from prune_perception.evaluation.ground_truth import open_labels
from prune_perception.evaluation.job_error import JobError
from prune_perception.evaluation.realtime import judged_by, RealtimeRun, run_realtime
from prune_perception.evaluation.requirements import (
    check_asked,
    check_models,
    Failure,
    failures,
    Requirement,
)
from prune_perception.evaluation.robustness import as_plain, Corrupted, under_corruptions
from prune_perception.frames.recording import open_recording
from prune_perception.runtime.engines import EngineOptions

Progress = Callable[[int, int | None], None]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """
    What is asked for. See :func:`.evaluation.evaluate` for what is not said here.

    :param recordings: one, or several; a folder of recordings is several.
    :param truth_class: None is a person.
    :param workers: processes for several recordings; None takes one a core.
    :param dask: address of a Dask cluster to spread them over instead.
    :param realtime: also play the recording to the node itself.
    :param rate: with ``realtime``, how many times faster than recorded; None is 1.
    :param attach: full name of a detector node that runs already, with the model, while somebody
        else plays the recording; it is listened to in place of playing.
    :param corruptions: names; none are left out.
    :param severities: of the corruptions; none are all of them.
    :param requirements: figures that must be reached.
    :param bag_out: folder for a bag with what was found.
    :param html: file for the page.
    :param json: file for the figures.
    """

    recordings: Sequence[Path]
    models: Sequence[Path]
    topic: str | None = None
    ground_truth: str | Path | None = None
    truth_class: str | None = None
    reference: Path | None = None
    engine: EngineOptions = EngineOptions()
    settings: Settings = Settings()
    timing: bool = True
    workers: int | None = None
    dask: str | None = None
    realtime: bool = False
    rate: float | None = None
    attach: str | None = None
    corruptions: Sequence[str] = ()
    severities: Sequence[int] = ()
    requirements: Sequence[Requirement] = ()
    bag_out: Path | None = None
    html: Path | None = None
    json: Path | None = None
    command: str = ''


@dataclass(frozen=True, eq=False)
class Outcome:
    """
    What came of a job: the evaluation, and what was asked for beside it.

    :param realtime: of the models that could be run.
    :param corrupted: None where it was not asked for.
    :param requirements: that were made.
    :param unmet: those that a model does not meet.
    :param failures: what could not be done beside the evaluation, one line each.
    :param written: files and folders, as they were given.
    """

    evaluation: Evaluation
    realtime: tuple[RealtimeRun, ...] = ()
    corrupted: Corrupted | None = None
    requirements: tuple[Requirement, ...] = ()
    unmet: tuple[Failure, ...] = ()
    failures: tuple[str, ...] = ()
    written: tuple[Path, ...] = ()

    @property
    def not_played(self) -> tuple[str, ...]:
        """Return what of the recording could not be played, one line each."""
        return tuple(trouble.reason for run in self.realtime for trouble in run.troubles)

    @property
    def exit_status(self) -> int:
        """Return 0 where all was done, nothing was wrong and every requirement is met, else 1."""
        if self.failures or self.unmet or self.not_played:
            return 1
        return self.evaluation.exit_status

    def to_json(self) -> dict[str, Any]:
        """Return everything but the single detections as plain values, ready for JSON."""
        content = self.evaluation.to_json()
        if self.corrupted is not None:
            content['corruptions'] = as_plain(self.corrupted)
        return {
            **content,
            'requirements': [requirement.text for requirement in self.requirements],
            'requirements_not_met': [str(failure) for failure in self.unmet],
            'realtime_troubles': list(self.not_played),
            'failures': list(self.failures)}


def check(job: Job) -> None:
    """
    Find out whether what is asked for goes together, before any work is done.

    :raises JobError: it does not; one line with what to change.
    :raises BundleError: a model cannot be read.
    :raises RecordingError: a folder of recordings holds none, or cannot be read.
    """
    for name in job.corruptions:
        for severity in job.severities or SEVERITIES:
            try:
                create_corruption(name, severity)
            except ValueError as error:
                raise JobError(str(error)) from error
    judged = job.ground_truth is not None or job.reference is not None
    real = job.realtime or job.attach is not None
    for wrong, reason in (
            (not job.models, 'an evaluation takes one model or more'),
            (job.ground_truth is not None and job.reference is not None,
             'ground truth and reference: one of them says what is right, not both'),
            (job.realtime and job.attach is not None,
             '--realtime and --attach: either play to a node, or listen to one, not both'),
            (job.rate is not None and not job.realtime,
             '--rate: is for --realtime; give that too, or leave it out'),
            (job.truth_class is not None and job.ground_truth is None,
             '--truth-class: is for --ground-truth; give that too, or leave it out'),
            (job.severities and not job.corruptions,
             '--severity: is for --corruptions; give that too, or leave it out'),
            (job.corruptions and not judged,
             '--corruptions: without --ground-truth or --reference there is nothing to judge by'),
            (job.settings.block is not None and not job.settings.draws,
             '--block: with --bootstrap 0 nothing is drawn; leave one of them out'),
            (job.workers is not None and job.dask is not None,
             '--workers and --dask: either processes of this machine, or a cluster, not both'),
            (job.attach is not None and len(job.models) > 1,
             '--attach: a node that runs already has one model; give that one'),
            ((real or job.corruptions or job.bag_out is not None) and _are_several(job),
             'real time, corruptions and a bag of detections take one recording, without '
             'workers')):
        if wrong:
            raise JobError(reason)
    _check_outputs(job)
    names = model_names(job.models)
    check_models(job.requirements, names)
    check_asked(
        job.requirements, ground_truth=job.ground_truth is not None,
        reference=job.reference is not None, timing=job.timing, realtime=job.realtime,
        attach=job.attach is not None)
    if job.bag_out is not None:
        from prune_perception.evaluation.detections_bag import DetectionsBagError, refuse_clashes
        try:
            refuse_clashes(job.bag_out, names)
        except DetectionsBagError as error:
            raise JobError(str(error)) from error


def do(job: Job, progress: Progress | None = None, say: Say | None = None) -> Outcome:
    """
    Do a job and write its files.

    Once the recording is evaluated nothing is lost: what fails after that is told in
    ``Outcome.failures``, and everything else is done.

    :param say: is told what somebody has to do now, one line each.
    :raises JobError: what is asked for does not go together.
    :raises WorkersError: the workers or the cluster cannot be had.
    :raises RealtimeError: with ``attach``, no image came.
    :raises DetectionsBagError: the folder for the bag is there already.
    :raises Exception: what :func:`.evaluation.evaluate` raises.
    """
    check(job)
    if job.bag_out is not None:
        from prune_perception.evaluation.detections_bag import refuse_existing
        refuse_existing(job.bag_out)
    heard = None if job.attach is None else _listen(job, job.attach, say or (lambda _: None))
    evaluation = _evaluate(job, progress)
    failed: list[str] = []
    runs: list[RealtimeRun] = []
    if job.realtime or heard is not None:
        for folder, offline in zip(job.models, evaluation.runs, strict=True):
            try:
                run = _play(job, folder, evaluation, offline.name) if heard is None else \
                    _judged(heard, evaluation, offline.name)
                evaluation = _with_run(evaluation, run)
                runs.append(run)
            except Exception as error:
                failed.append(f'real time, {offline.name}: {in_a_line(error)}')
                evaluation = _without_run(evaluation, offline.name, failed[-1])
    corrupted: dict[str, dict[int, Any]] | None = None
    if job.corruptions:
        corrupted = {}
        try:
            for corruption, figures in under_corruptions(
                    evaluation, job.models, names=job.corruptions,
                    severities=job.severities or SEVERITIES, progress=progress, **_words(job)):
                corrupted.setdefault(corruption.name, {})[corruption.severity] = figures
        except Exception as error:
            failed.append(f'corruptions: {in_a_line(error)}')
    return _write(job, Outcome(
        evaluation, tuple(runs), corrupted, tuple(job.requirements),
        tuple(failures(job.requirements, evaluation.figures)), tuple(failed)))


def in_a_line(error: Exception) -> str:
    """Return what an error says in one line; of a fault of the program also where it is."""
    line = ' '.join(str(error).split())
    if isinstance(error, OSError) or type(error).__module__.startswith('prune_perception.'):
        return line  # these are written for people
    where = traceback.extract_tb(error.__traceback__)[-1]
    return (f'{type(error).__name__}: {line} (a fault of the program, at '
            f'{Path(where.filename).name} line {where.lineno})')


def _words(job: Job) -> dict[str, Any]:
    """Return what says how every frame is looked at, and judged."""
    return {'topic': job.topic, 'ground_truth': job.ground_truth,
            'truth_class': job.truth_class or 'person', 'reference': job.reference,
            'engine': job.engine}


def _recordings(job: Job) -> Sequence[Path]:
    # Dask and the processes are for those alone who have several recordings.
    from prune_perception.evaluation.spread import find_recordings
    given = job.recordings
    return find_recordings(given[0]) if len(given) == 1 and given[0].is_dir() else given


def _are_several(job: Job) -> bool:
    return len(_recordings(job)) > 1 or bool(job.workers or job.dask)


def _check_outputs(job: Job) -> None:
    """Refuse to write two things to one place, or over what is read."""
    hardware = job.settings.hardware
    try:
        check_outputs(
            [*job.recordings, *job.models, job.reference,
             None if job.ground_truth is None else Path(job.ground_truth),
             Path(hardware) if hardware.endswith('.yaml') else None],
            [('--json', job.json), ('--html', job.html), ('--bag-out', job.bag_out)])
    except OutputError as error:
        raise JobError(str(error)) from error


def _listen(job: Job, node: str, say: Say) -> RealtimeRun:
    """Listen to a node that runs already; before, find out whether it can be judged."""
    (path,) = _recordings(job)
    with open_recording(path, job.topic) as recording:
        if job.ground_truth is not None:
            open_labels(job.ground_truth, recording, truth_class=job.truth_class or 'person')
    return run_realtime(
        path, job.topic, None, attach=True, detector=node,
        ready=lambda topic: say(f'listening on {topic} and to {node}: start the player now'))


def _evaluate(job: Job, progress: Progress | None) -> Evaluation:
    words = {
        **_words(job), 'settings': job.settings, 'timing': job.timing,
        'by_layer': job.html is not None, 'progress': progress, 'command': job.command}
    if not _are_several(job):
        (path,) = _recordings(job)
        return evaluate(path, job.models, **words)
    from prune_perception.evaluation.spread import spread
    recordings = job.recordings[0] if len(job.recordings) == 1 else job.recordings
    return spread(recordings, job.models, workers=job.workers, dask=job.dask, **words)


def _play(job: Job, model: Path, evaluation: Evaluation, name: str) -> RealtimeRun:
    return run_realtime(
        Path(evaluation.source), job.topic, model, rate=1.0 if job.rate is None else job.rate,
        engine=job.engine.name, threads=job.engine.threads, precision=job.engine.precision,
        truth=evaluation.truth, score_threshold=job.settings.score_threshold,
        judged_classes=evaluation.class_names or None, name=name)


def _judged(run: RealtimeRun, evaluation: Evaluation, name: str) -> RealtimeRun:
    run = replace(run, model=name)
    return run if evaluation.truth is None else judged_by(
        run, evaluation.truth, evaluation.class_names)


def _with_run(evaluation: Evaluation, run: RealtimeRun) -> Evaluation:
    """Return the evaluation with what a robot would have had of a model."""
    known = {key: value for key, value in run.figures().items() if value is not None}
    unavailable = run.unavailable(evaluation.truth is not None)
    return evaluation.with_values(
        run.model, {_named(key, evaluation): value for key, value in known.items()},
        {_named(key, evaluation): reason for key, reason in unavailable.items()})


def _without_run(evaluation: Evaluation, model: str, reason: str) -> Evaluation:
    keys = RealtimeRun(model, '', (), None, (), None).figures()
    return evaluation.with_values(
        model, {}, {_named(key, evaluation): reason for key in keys})


def _named(key: str, evaluation: Evaluation) -> str:
    """Return what a figure is called here: agreement is never called accuracy."""
    agreement = evaluation.truth is not None and evaluation.truth.agreement
    return f'{AGREEMENT}{key}' if agreement and key in STREAMING_KEYS else key


def _write(job: Job, outcome: Outcome) -> Outcome:
    """Write what was asked for: first the figures, which cost most and are written fastest."""
    def attempt(option: str, path: Path | None, write: Callable[[], None]) -> None:
        nonlocal outcome
        if path is None:
            return
        try:
            write()
        except Exception as error:
            line = in_a_line(error)
            line = line if str(path) in line else f'{path}: {line}'
            outcome = replace(outcome, failures=(*outcome.failures, f'{option} {line}'))
        else:
            outcome = replace(outcome, written=(*outcome.written, path))

    attempt('--json', job.json, lambda: _write_figures(job, outcome))
    before = outcome.failures
    attempt('--html', job.html, lambda: _write_page(job, outcome))
    attempt('--bag-out', job.bag_out, lambda: _write_bag(job, outcome))
    if outcome.failures != before and job.json in outcome.written:
        with suppress(OSError):  # what was written is as good but for what has failed since
            _write_figures(job, outcome)
    return outcome


def _write_figures(job: Job, outcome: Outcome) -> None:
    assert job.json is not None
    write_whole(job.json, json.dumps(outcome.to_json(), indent=2, allow_nan=False) + '\n')


def _write_page(job: Job, outcome: Outcome) -> None:
    from prune_perception.evaluation.report import write_report
    from prune_perception.evaluation.spread import recorded_images, SpreadEvaluation
    assert job.html is not None
    evaluation = outcome.evaluation
    write_report(
        evaluation, job.html, realtime=outcome.realtime or None, corruptions=outcome.corrupted,
        images=recorded_images(evaluation) if isinstance(evaluation, SpreadEvaluation) else None,
        failures=outcome.failures)


def _write_bag(job: Job, outcome: Outcome) -> None:
    from prune_perception.evaluation.detections_bag import write_evaluation
    assert job.bag_out is not None
    write_evaluation(outcome.evaluation, job.bag_out)
