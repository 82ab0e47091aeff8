# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The verb ``evaluate``: judge detectors on a recording."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
import shlex
import sys
from typing import TYPE_CHECKING

from prune_perception.cli.words import number, output_file, profile_name, whole
from prune_perception.resources import find_model
from prune_perception.runtime.engines import EngineOptions, ENGINES

if TYPE_CHECKING:
    from prune_perception.evaluation.evaluation import Evaluation
    from prune_perception.evaluation.job import Outcome
    from prune_perception.evaluation.requirements import Requirement

NAME = 'evaluate'
HELP = 'judge detectors on a recording: accuracy, latency, energy'

# Lines of one kind; the JSON has all of them.
_SHOWN = 10
# The rows of the table: the name of a figure, decimal places and what a reader would call it.
_ROWS = (
    ('ap', 4, 'AP'), ('ap50', 4, 'AP50'), ('ap75', 4, 'AP75'), ('ar_100', 4, 'AR'),
    ('precision', 4, 'precision'), ('recall', 4, 'recall'),
    ('latency_p50_ms', 2, 'latency p50 (ms)'), ('latency_p99_ms', 2, 'latency p99 (ms)'),
    ('realtime_published', 0, 'frames published'), ('realtime_processed', 0, 'frames processed'),
    ('realtime_dropped', 0, 'frames dropped'), ('streaming_ap50', 4, 'streaming AP50'),
    ('realtime_age_p99_ms', 1, 'age p99 (ms)'),
    ('throughput_hz', 1, 'throughput (Hz)'), ('memory_mb', 1, 'memory (MB)'),
    ('energy_mac', 0, 'modelled energy (MAC)'), ('energy_j', 3, 'measured energy (J)'))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the words of this verb."""
    parser.add_argument(
        'recordings', type=Path, nargs='+', metavar='RECORDING',
        help='bag, video or folder of pictures; several, or a folder of them, are spread over '
        'workers')
    parser.add_argument(
        '--model', action='append', required=True, metavar='BUNDLE', dest='models',
        help='bundle folder or shipped name; give it again to compare')
    truth = parser.add_mutually_exclusive_group()
    truth.add_argument(
        '--ground-truth', metavar='LABELS', help='COCO or MOTChallenge file, folder of YOLO '
        'labels, or Detection2DArray topic of the bag')
    truth.add_argument(
        '--reference', metavar='BUNDLE', help='judge by agreement with this model instead')
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        '--workers', type=whole(1), metavar='N',
        help='processes for several recordings (default: one a core)')
    place.add_argument(
        '--dask', metavar='ADDRESS', help='spread several recordings over this Dask cluster')
    parser.add_argument('--topic', help='of the images, where the bag has several')
    parser.add_argument(
        '--truth-class', metavar='NAME', help='what a MOTChallenge file is about (person)')
    parser.add_argument(
        '--engine', default='onnxruntime', choices=tuple(ENGINES), help='%(default)s')
    parser.add_argument(
        '--threads', type=whole(0), default=0, help='for one inference; 0 leaves it to the engine')
    parser.add_argument(
        '--precision', default='f32', choices=('f32', 'f16', 'bf16'), help='%(default)s')
    parser.add_argument(
        '--score-threshold', type=number(0.001, 0.999), default=0.05, metavar='SCORE',
        help='from which detections count for AP (%(default)s)')
    parser.add_argument(
        '--operating-point', type=number(0.001, 0.999), default=0.35, metavar='SCORE',
        help='from which a robot would believe a detection, for the kinds of errors (%(default)s)')
    parser.add_argument(
        '--bootstrap', type=whole(0), default=1000, metavar='DRAWS',
        help='for the intervals; 0 leaves them out (%(default)s)')
    parser.add_argument(
        '--block', type=whole(1), metavar='FRAMES',
        help='of the bootstrap (default: the square root of their number)')
    parser.add_argument('--seed', type=whole(0), default=0, help='of the bootstrap (%(default)s)')
    parser.add_argument(
        '--hardware', type=profile_name, default='eyeriss_65nm', metavar='PROFILE',
        help='for the modelled energy (%(default)s)')
    parser.add_argument(
        '--no-timing', action='store_true', help='leave out latency, memory and measured energy')
    parser.add_argument(
        '--require', type=_requirement, action='append', default=[], metavar='BOUND',
        help='such as "ap50>=0.9", or "model:latency_p99_ms<=40"; a figure that does not meet '
        'it makes the exit status 1')
    real = parser.add_mutually_exclusive_group()
    real.add_argument(
        '--realtime', action='store_true', help='also play the recording to the node itself, over '
        'DDS, and report what a robot would have had')
    real.add_argument(
        '--attach', nargs='?', const='/detector', metavar='NODE', help='the same of a detector '
        'node that runs already (/detector), while somebody else plays the recording; begins with '
        'that, and says when to start the player')
    parser.add_argument(
        '--rate', type=number(0.01, 100), metavar='TIMES',
        help='for --realtime: faster than recorded (1)')
    parser.add_argument(
        '--corruptions', nargs='*', default=None, metavar='NAME', help='also under bad weather, '
        'bad light and bad cameras: these, or all without a NAME')
    parser.add_argument(
        '--severity', type=int, nargs='+', choices=range(1, 6), default=(),
        metavar='1-5', help='for --corruptions (all five)')
    parser.add_argument('--json', type=output_file, metavar='FILE', help='write the figures there')
    parser.add_argument('--html', type=output_file, metavar='FILE', help='write them as a page')
    parser.add_argument(
        '--bag-out', type=Path, metavar='FOLDER',
        help='write detections and annotated images as a bag')


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, print, write and return the exit status."""
    # OpenCV and the engines take a second that a mistaken word need not wait for.
    from prune_perception.evaluation.corruptions import CORRUPTIONS
    from prune_perception.evaluation.figures import Settings
    from prune_perception.evaluation.job import do, in_a_line, Job
    from prune_perception.evaluation.job_error import JobError
    try:
        models = [find_model(name) for name in arguments.models]
        reference = None if arguments.reference is None else find_model(arguments.reference)
        corruptions = arguments.corruptions
        if corruptions is not None and not corruptions:
            corruptions = list(CORRUPTIONS)
        job = Job(
            arguments.recordings, models, topic=arguments.topic, workers=arguments.workers,
            dask=arguments.dask, ground_truth=arguments.ground_truth,
            truth_class=arguments.truth_class, reference=reference, engine=EngineOptions(
                arguments.engine, arguments.threads, arguments.precision),
            settings=Settings(
                arguments.score_threshold, arguments.operating_point, arguments.bootstrap,
                arguments.seed, arguments.block, arguments.hardware),
            timing=not arguments.no_timing, realtime=arguments.realtime, rate=arguments.rate,
            attach=arguments.attach, corruptions=corruptions or (),
            severities=sorted(arguments.severity), requirements=arguments.require,
            bag_out=arguments.bag_out, html=arguments.html, json=arguments.json,
            command=shlex.join(['prune-perception', *sys.argv[1:]]))
        with _progress() as progress:
            outcome = do(job, progress, say=lambda line: print(line, flush=True))
    except JobError as error:
        print(f'prune-perception {NAME}: {error}', file=sys.stderr)
        return 2
    except ModuleNotFoundError:
        raise  # of what to install the command tells
    except Exception as error:
        print(f'prune-perception {NAME}: {in_a_line(error)}', file=sys.stderr)
        return 1
    _print(outcome.evaluation)
    _print_falls(outcome)
    for path in outcome.written:
        print(f'wrote {path}')
    for kind, lines in (
            ('not evaluated', [trouble.reason for trouble in outcome.evaluation.troubles]),
            ('not played', outcome.not_played),
            ('warning', outcome.evaluation.warnings),
            ('failed', outcome.failures),
            ('requirement not met', [str(failure) for failure in outcome.unmet])):
        for line in lines[:_SHOWN]:
            print(f'{kind}: {line}', file=sys.stderr)
        if len(lines) > _SHOWN:
            print(f'{kind}: {len(lines) - _SHOWN} more, see --json', file=sys.stderr)
    return outcome.exit_status


def _print_falls(outcome: 'Outcome') -> None:
    truth = outcome.evaluation.truth
    key = 'agreement_ap50' if truth is not None and truth.agreement else 'ap50'
    for corruption, by_severity in (outcome.corrupted or {}).items():
        for model in outcome.evaluation.figures:
            falls = {severity: figures[model].get(key)
                     for severity, figures in by_severity.items()}
            print(f'{corruption}, {model}: {key} ' + ', '.join(
                f'{"unavailable" if value is None else format(value, ".4f")} at {severity}'
                for severity, value in falls.items()))


def _print(evaluation: 'Evaluation') -> None:
    where = f' {evaluation.topic}' if evaluation.topic else ''
    print(f'{evaluation.source}{where}: {evaluation.frames} frames evaluated, '
          f'{evaluation.labelled} judged, {evaluation.not_evaluated} not evaluated')
    if evaluation.recordings_failed:
        print(f'{len(evaluation.recordings_failed)} recordings failed whole; their frames are in '
              'none of these counts')
    truth = evaluation.truth
    if truth is not None:
        kind = 'agreement with' if truth.agreement else 'ground truth'
        print(f'{kind} {truth.source}: {_listed(evaluation.class_names)}')
    names = list(evaluation.figures)
    width = max(18, *(len(name) + 2 for name in names))
    print(f'\n{"":24}' + ''.join(f'{name:>{width}}' for name in names))
    prefix = 'agreement_' if truth is not None and truth.agreement else ''
    for key, places, title in _ROWS:
        values = [figures.get(key) for figures in evaluation.figures.values()]
        if all(value is None for value in values) and prefix:
            values = [figures.get(prefix + key) for figures in evaluation.figures.values()]
            title = f'{title} (agreement)' if any(v is not None for v in values) else title
        if all(value is None for value in values) and not any(
                key in figures.unavailable for figures in evaluation.figures.values()):
            continue  # it was not asked for
        cells = ('unavailable' if value is None else f'{value:.{places}f}' for value in values)
        print(f'{title:24}' + ''.join(f'{cell:>{width}}' for cell in cells))
    for name, figures in evaluation.figures.items():
        if figures.errors is not None:
            counts = figures.errors
            print(f'{name}: of {counts.objects} objects {counts.correct} found, {counts.missed} '
                  f'missed; {counts.false} false, {counts.poorly_placed} poorly placed, '
                  f'{counts.wrong_class} of wrong class, {counts.double} double')
    for difference in evaluation.differences:
        interval = difference.interval
        key = difference.key.removeprefix('agreement_')
        if key == 'streaming_ap50' or (
                interval is not None and key in ('ap', 'ap50', 'latency_p50_ms')):
            between = '' if interval is None else (
                f' (95 %: {interval.low:+.4g} to {interval.high:+.4g})')
            print(f'{difference.second} - {difference.first}: {difference.key} '
                  f'{difference.value:+.4g}{between}')
    for note in evaluation.notes:
        print(f'note: {note}')


def _listed(names: tuple[str, ...]) -> str:
    return ', '.join(names) if len(names) <= 5 else f'{len(names)} classes'


@contextmanager
def _progress() -> Iterator[Callable[[int, int | None], None]]:
    """Show a bar on a terminal; what reads a pipe gets none."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    console = Console(stderr=True)
    columns = (BarColumn(), TextColumn('{task.completed}/{task.total}'), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True,
                  disable=not console.is_terminal) as bar:
        task = bar.add_task('', total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _requirement(text: str) -> 'Requirement':
    from prune_perception.evaluation.requirements import parse_requirement, RequirementError
    try:
        return parse_requirement(text)
    except RequirementError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
