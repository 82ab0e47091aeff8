# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The verb ``potential``: how much of what pruning saves survives bad weather."""

import argparse
import json
from pathlib import Path
import shlex
import sys

from prune_perception.cli.output import console, refuse, write_files
from prune_perception.cli.progress import stages
from prune_perception.cli.words import (
    frame_range,
    number,
    output_file,
    profile_file,
    profile_name,
    whole,
)
from prune_perception.evaluation import LARGEST_LOSS, POTENTIAL_SEVERITIES, POTENTIAL_UP_TO
from prune_perception.evaluation.files import check_outputs
from prune_perception.resources import find_model
from prune_perception.runtime.engines import EngineOptions, ENGINES

NAME = 'potential'
HELP = 'show how much of what a ladder of pruned detectors saves survives bad weather'

_SHOWN = 10  # lines of what is wrong with a recording; the JSON has all
_PIPE_WIDTH = 200  # enough for all columns


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the words of this verb."""
    parser.description = (
        'Shows a recording to a ladder of pruned detectors and to the dense one under the '
        'corruptions of evaluate, and says which rung loses no more than is allowed, in fair '
        'weather and in bad. No labels are needed.')
    parser.add_argument(
        'ladder', nargs='+', metavar='BUNDLE',
        help='pruned bundles, in any order: folders or shipped names')
    parser.add_argument(
        '--data', type=Path, required=True, metavar='RECORDING',
        help='bag, video or folder of pictures that the bundles have not been pruned on')
    parser.add_argument(
        '--reference', required=True, metavar='BUNDLE', help='the dense detector')
    parser.add_argument('--topic', help='of the images, where the bag has several')
    parser.add_argument(
        '--corruptions', nargs='+', metavar='NAME',
        help='these alone (all that change the images)')
    parser.add_argument(
        '--severity', type=int, nargs='+', choices=range(1, 6), default=POTENTIAL_SEVERITIES,
        metavar='1-5', help=f'({" ".join(map(str, POTENTIAL_SEVERITIES))})')
    parser.add_argument(
        '--up-to', type=whole(1, 5), default=POTENTIAL_UP_TO, metavar='1-5',
        help='severity up to which the recommended rung has to survive (%(default)s)')
    parser.add_argument(
        '--largest-loss', type=number(0.001, 0.999), default=LARGEST_LOSS, metavar='SHARE',
        help='of agreement that a rung may lose, against what the dense detector loses to itself '
        'on mirrored images (%(default)s)')
    parser.add_argument(
        '--frames', type=frame_range, metavar='FIRST-LAST',
        help='this part of the recording alone; its first frame is 1')
    parser.add_argument(
        '--every', type=whole(1), default=1, metavar='N', help='look at each N-th frame of it')
    parser.add_argument(
        '--ground-truth', metavar='LABELS',
        help='also the excess error by labels, as evaluate takes them')
    parser.add_argument(
        '--truth-class', metavar='NAME', help='what a MOTChallenge file is about (person)')
    parser.add_argument(
        '--engine', default='onnxruntime', choices=tuple(ENGINES), help='%(default)s')
    parser.add_argument(
        '--threads', type=whole(0), default=0, help='for one inference; 0 leaves it to the engine')
    parser.add_argument(
        '--hardware', type=profile_name, default='eyeriss_65nm', metavar='PROFILE',
        help='whose energy is saved (%(default)s)')
    parser.add_argument(
        '--bootstrap', type=whole(1), default=1000, metavar='DRAWS',
        help='for the intervals (%(default)s)')
    parser.add_argument(
        '--block', type=whole(1), metavar='FRAMES',
        help='of the bootstrap (default: the square root of their number)')
    parser.add_argument(
        '--seed', type=whole(0), default=0,
        help='of the bootstrap and the corruptions (%(default)s)')
    parser.add_argument('--json', type=output_file, metavar='FILE', help='write the figures there')
    parser.add_argument('--html', type=output_file, metavar='FILE', help='write them as a page')


def run(arguments: argparse.Namespace) -> int:
    """Survey, print, write and return the exit status."""
    # OpenCV and the engines take a second that a mistaken word need not wait for.
    from prune_perception.evaluation.figures import Settings
    from prune_perception.evaluation.ground_truth import GroundTruthError
    from prune_perception.evaluation.job_error import JobError
    from prune_perception.evaluation.metrics import MetricsError
    from prune_perception.evaluation.potential import PotentialError
    from prune_perception.evaluation.potential_report import html_report, print_survey
    from prune_perception.evaluation.potential_survey import survey, WEATHER
    try:
        if arguments.truth_class is not None and arguments.ground_truth is None:
            raise JobError('--truth-class: is for --ground-truth; give that too, or leave it out')
        ladder = [find_model(name) for name in arguments.ladder]
        dense = find_model(arguments.reference)
        labels = None if arguments.ground_truth is None else Path(arguments.ground_truth)
        check_outputs(
            [arguments.data, labels, dense, *ladder, profile_file(arguments.hardware)],
            [('--json', arguments.json), ('--html', arguments.html)])
        with stages() as show:
            found = survey(
                arguments.data, ladder, dense, topic=arguments.topic,
                corruptions=arguments.corruptions or WEATHER, severities=arguments.severity,
                up_to=arguments.up_to, largest_loss=arguments.largest_loss,
                part=arguments.frames, every=arguments.every,
                ground_truth=arguments.ground_truth,
                truth_class=arguments.truth_class or 'person',
                engine=EngineOptions(arguments.engine, arguments.threads),
                settings=Settings(
                    draws=arguments.bootstrap, seed=arguments.seed, block=arguments.block,
                    hardware=arguments.hardware),
                progress=lambda name, share: show('show the frames', share, name),
                command=shlex.join(['prune-perception', *sys.argv[1:]]))
    except JobError as error:
        return refuse(NAME, str(error), 2)
    except (GroundTruthError, MetricsError, PotentialError) as error:
        return refuse(NAME, str(error), 1)
    print_survey(found, console(_PIPE_WIDTH))
    for line in found.wrong[:_SHOWN]:
        print(f'wrong with the recording: {line}', file=sys.stderr)
    written = write_files(NAME, (
        (arguments.json, lambda: json.dumps(
            found.to_json(), indent=2, allow_nan=False) + '\n'),
        (arguments.html, lambda: html_report(found))))
    return 1 if found.wrong else written
