# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The verb ``forecast``: say how far a detector can be pruned, before it is."""

import argparse
import json
import shlex
import sys

from prune_perception.bundle import read_bundle
from prune_perception.cli.output import console, refuse, write_files
from prune_perception.cli.plan_words import add_footage, add_plan
from prune_perception.cli.progress import stages
from prune_perception.cli.words import number, output_file, profile_file
from prune_perception.energy.hardware import load_profile
from prune_perception.evaluation import LARGEST_LOSS
from prune_perception.evaluation.files import check_outputs
from prune_perception.resources import find_model

NAME = 'forecast'
HELP = 'say how far a detector can be pruned for one robot, before it is'

_PIPE_WIDTH = 140  # enough for all columns


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the words of this verb."""
    parser.description = (
        'Forecasts the agreement with the dense detector of the network that prune would make at '
        'several shares of the energy, restored and not distilled, and says how much can be '
        'saved within a loss. No labels are needed, and no bundle is written.')
    add_footage(parser, required=True, unrelated='the intervals draw them singly')
    parser.add_argument(
        '--largest-loss', type=number(0.001, 0.999), default=LARGEST_LOSS, metavar='LOSS',
        help='of agreement that is allowed, against what the dense detector loses to itself on '
        'mirrored images (%(default)s)')
    parser.add_argument(
        '--pruned', nargs='+', default=(), metavar='BUNDLE',
        help='bundles that were pruned from this one, to stand beside the forecast')
    parser.add_argument(
        '--check', action='store_true',
        help='also remove and restore at each share, in memory, and print how far the forecast '
        'was off; takes several times as long')
    add_plan(parser)
    parser.add_argument('--html', type=output_file, metavar='FILE', help='write a page')
    parser.add_argument('--json', type=output_file, metavar='FILE', help='write all figures')


def run(arguments: argparse.Namespace) -> int:
    """Forecast, print, write and return the exit status."""
    models = [find_model(name) for name in (arguments.bundle, *arguments.pruned)]
    check_outputs([*models, arguments.data, profile_file(arguments.hardware)],
                  [('--json', arguments.json), ('--html', arguments.html)])
    bundle, *pruned = map(read_bundle, models)
    # torch takes seconds that a mistaken word need not wait for.
    from prune_perception.evaluation.metrics import MetricsError
    from prune_perception.pruning.agreement import AgreementError
    from prune_perception.pruning.footage import FootageError
    from prune_perception.pruning.forecast import ForecastError, Request
    from prune_perception.pruning.forecast_report import html_report, print_forecast, summary
    from prune_perception.pruning.forecaster import forecast
    from prune_perception.pruning.groups import GroupError
    from prune_perception.pruning.heads import HeadError
    from prune_perception.pruning.splits import SplitError
    request = Request(
        bundle, arguments.data, load_profile(arguments.hardware), topic=arguments.topic,
        frames=arguments.frames, bits=arguments.bits, classes=arguments.classes,
        method=arguments.method, alignment=arguments.alignment, unrelated=arguments.unrelated,
        resize=not arguments.keep_input_size, seed=arguments.seed,
        largest_loss=arguments.largest_loss, pruned=tuple(pruned), check=arguments.check,
        command=shlex.join(['prune-perception', *sys.argv[1:]]))
    try:
        with stages() as progress:
            found = forecast(request, progress)
    except (AgreementError, FootageError, ForecastError, GroupError, HeadError, MetricsError,
            SplitError) as error:
        return refuse(NAME, str(error), 1)
    print_forecast(found, console(_PIPE_WIDTH))
    return write_files(NAME, (
        (arguments.json, lambda: json.dumps(summary(found), indent=1, allow_nan=False) + '\n'),
        (arguments.html, lambda: html_report(found))))
