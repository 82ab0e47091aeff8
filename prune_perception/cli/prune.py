# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The verb ``prune``: make a detector smaller for one robot, from its own footage."""

import argparse
import json
from pathlib import Path
import shlex
import sys
from typing import TYPE_CHECKING

from prune_perception.bundle import Bundle, check_place, read_bundle, write_bundle
from prune_perception.cli.measured import measured_lines
from prune_perception.cli.output import console, refuse, write_files
from prune_perception.cli.plan_words import add_footage, add_plan
from prune_perception.cli.progress import stages
from prune_perception.cli.words import duration, output_file, profile_file, whole
from prune_perception.energy.hardware import load_profile
from prune_perception.evaluation.files import check_outputs
from prune_perception.resources import find_model
from prune_perception.runtime.engines import ENGINES

if TYPE_CHECKING:
    from prune_perception.pruning.pruner import Outcome

NAME = 'prune'
HELP = 'make a detector smaller for one robot, from its own footage, without labels'

_ENERGY_BUDGET = 0.25
_PIPE_WIDTH = 140  # enough for all columns


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the words of this verb."""
    parser.description = (
        'Takes channels out of a detector where they cost most energy for what they contribute, '
        'fits the others to make up for them, and lets the result learn from the dense detector '
        'on the same footage. No labels are needed. The new bundle is complete or absent.')
    add_footage(parser, required=False, unrelated='each is a unit of the certificate')
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument(
        '--energy-budget', type=float, metavar='SHARE',
        help='of the modelled energy of the dense detector at batch 1, above 0 and at most 1 '
        f'({_ENERGY_BUDGET:g})')
    budget.add_argument(
        '--latency-budget', type=float, metavar='MS',
        help='instead: time of an inference by the engine on this machine')
    parser.add_argument(
        '--engine', choices=tuple(ENGINES), default='onnxruntime',
        help='that the robot will run: times are of it (%(default)s)')
    add_plan(parser)
    parser.add_argument(
        '--time-limit', type=duration, default='10m', metavar='TIME',
        help='for everything, as 90s, 10m or 1h; distillation gets what the rest leaves '
        '(%(default)s)')
    parser.add_argument(
        '--no-distill', action='store_true', help='end after restoration, without training')
    parser.add_argument(
        '--steps', type=whole(1), metavar='N', help='of distillation, instead of as many as the '
        'time allows; the same seed then gives the same network')
    parser.add_argument(
        '--groups', action='store_true',
        help='print which channels are tied and why, and end; needs BUNDLE, and takes --classes')
    parser.add_argument('--html', type=output_file, metavar='FILE', help='write a report')
    parser.add_argument('--json', type=output_file, metavar='FILE', help='write all figures')
    parser.add_argument(
        '-o', '--output', type=Path, metavar='OUT', help='folder of the bundle to write')
    parser.add_argument(
        '--overwrite', action='store_true', help='replace the bundle if there is one')


def run(arguments: argparse.Namespace) -> int:
    """Prune, write, print and return the exit status."""
    if not arguments.groups and (arguments.data is None or arguments.output is None):
        return refuse(NAME, '--data and -o are needed (all but --groups need them)', 2)
    model = find_model(arguments.bundle)
    if not arguments.groups:
        check_outputs([model, arguments.data, profile_file(arguments.hardware)], [
            ('-o', arguments.output), ('--json', arguments.json), ('--html', arguments.html)])
    bundle = read_bundle(model)
    if not arguments.groups:
        check_place(arguments.output, overwrite=arguments.overwrite)  # before work of minutes
    # torch takes seconds that a mistaken word need not wait for.
    from prune_perception.pruning.agreement import AgreementError
    from prune_perception.pruning.footage import FootageError
    from prune_perception.pruning.groups import GroupError
    from prune_perception.pruning.heads import HeadError
    from prune_perception.pruning.plan import PlanError
    from prune_perception.pruning.pruner import check_budget, prune, Request
    from prune_perception.pruning.splits import SplitError
    try:
        if arguments.groups:
            return _print_groups(bundle, arguments.classes)
        request = Request(
            bundle, arguments.data, load_profile(arguments.hardware), topic=arguments.topic,
            frames=arguments.frames, name=arguments.output.name,
            energy_budget=_energy_budget(arguments),
            latency_budget=None if arguments.latency_budget is None
            else arguments.latency_budget / 1e3,
            bits=arguments.bits, classes=arguments.classes, method=arguments.method,
            alignment=arguments.alignment, engine=arguments.engine,
            time_limit=arguments.time_limit, steps=arguments.steps,
            unrelated=arguments.unrelated, distil=not arguments.no_distill,
            resize=not arguments.keep_input_size, seed=arguments.seed,
            command=shlex.join(['prune-perception', *sys.argv[1:]]))
        try:
            check_budget(request)
        except PlanError as error:
            return refuse(NAME, str(error), 2)
        with stages() as progress:
            outcome = prune(request, progress)
    except (AgreementError, FootageError, GroupError, HeadError, PlanError, SplitError) as error:
        return refuse(NAME, str(error), 1)
    written = write_bundle(
        arguments.output, outcome.card, outcome.files, overwrite=arguments.overwrite)
    try:
        measured = measured_lines(
            {'dense': bundle, 'pruned': written}, [example.image for example in outcome.examples],
            arguments.engine)
        _print(outcome, written, arguments, measured)
        return _write_reports(outcome, arguments, measured)
    except KeyboardInterrupt:
        return refuse(
            NAME, f'stopped; the bundle {arguments.output} was written before and is complete', 1)


def _energy_budget(arguments: argparse.Namespace) -> float | None:
    if arguments.energy_budget is None and arguments.latency_budget is None:
        return _ENERGY_BUDGET
    return float(arguments.energy_budget) if arguments.energy_budget is not None else None


def _print_groups(bundle: Bundle, classes: tuple[str, ...] | None) -> int:
    from prune_perception.networks.registry import example_input, load_network
    from prune_perception.pruning.groups import ChannelGraph
    from prune_perception.pruning.heads import head_of
    network, card = load_network(bundle), bundle.card
    if classes is not None:
        network, card = head_of(card).keep_classes(network, card, classes)
    graph = ChannelGraph(network, example_input(card.input))
    for group in graph.groups:
        print(group.describe())
    return 0


def _print(outcome: 'Outcome', written: Bundle, arguments: argparse.Namespace,
           measured: list[str]) -> None:
    from prune_perception.pruning.tables import print_outcome
    print_outcome(outcome, console(_PIPE_WIDTH), measured)
    place, data = shlex.quote(str(arguments.output)), shlex.quote(str(arguments.data))
    topic = f' --topic {shlex.quote(arguments.topic)}' if arguments.topic else ''
    engine = '' if arguments.engine == 'onnxruntime' else f' --engine {arguments.engine}'
    print(f'wrote {arguments.output}: {written.card.name}, digest {written.digest}')
    print('next, on another recording of the same camera, and to see it at work:')
    print(f'  prune-perception evaluate ANOTHER_RECORDING --model {place} '
          f'--reference {shlex.quote(arguments.bundle)}{engine}')
    print(f'  prune-perception demo --bag {data}{topic} --model {place}{engine}')


def _write_reports(outcome: 'Outcome', arguments: argparse.Namespace,
                   measured: list[str]) -> int:
    """Write what was asked for beside the bundle, which is there already."""
    from prune_perception.pruning.report import html_report, summary
    return write_files(NAME, (
        (arguments.json, lambda: json.dumps(
            {**summary(outcome), 'energy_measured': measured}, indent=1, allow_nan=False)
            + '\n'),
        (arguments.html, lambda: html_report(outcome, energy_measured=measured))))
