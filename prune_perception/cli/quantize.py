# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The verb ``quantize``: make a detector compute in integers of 8 bits."""

import argparse
import json
from pathlib import Path
import shlex
import sys

from prune_perception.bundle import check_place, read_bundle, write_bundle
from prune_perception.cli.measured import measured_lines
from prune_perception.cli.output import console, refuse, write_files
from prune_perception.cli.plan_words import add_footage
from prune_perception.cli.progress import stages
from prune_perception.cli.words import output_file, profile_file, profile_name
from prune_perception.energy.hardware import load_profile
from prune_perception.evaluation.files import check_outputs
from prune_perception.pruning import LAST_LAYERS, QUANTISERS
from prune_perception.resources import find_model

NAME = 'quantize'
HELP = 'make a detector compute in integers of 8 bits, by its own footage, without labels'

_PIPE_WIDTH = 140  # enough for all columns


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the words of this verb."""
    parser.description = (
        'Turns the network of a bundle, pruned or not, into one with weights and maps of 8 bits, '
        'by the ranges that the footage shows. No labels are needed. The new bundle runs by '
        'onnxruntime and openvino and cannot be pruned further: prune first.')
    add_footage(parser, required=True, unrelated='each is a unit of the certificate')
    parser.add_argument(
        '--hardware', type=profile_name, default='eyeriss_65nm', metavar='PROFILE',
        help='whose energy is modelled: a shipped name or the path of a .yaml (%(default)s)')
    parser.add_argument(
        '--reference', metavar='BUNDLE',
        help='the detector that the certificate holds it against, as the dense one that BUNDLE '
        'was pruned from (BUNDLE itself)')
    parser.add_argument(
        '--last-layers', choices=LAST_LAYERS, default=LAST_LAYERS[0],
        help='what they compute in; auto keeps them in float where that brings agreement '
        '(%(default)s)')
    parser.add_argument(
        '--quantiser', choices=QUANTISERS, default=QUANTISERS[0],
        help="who makes the graph; nncf, OpenVINO's own, is for robots that run OpenVINO and has "
        "to be installed: pip install 'prune_perception[nncf]' (%(default)s)")
    parser.add_argument(
        '--reduce-range', action='store_true',
        help='weights of 7 bits: for x86 processors without VNNI, on which 8 can overflow')
    parser.add_argument('--json', type=output_file, metavar='FILE', help='write all figures')
    parser.add_argument(
        '-o', '--output', type=Path, metavar='OUT', required=True,
        help='folder of the bundle to write')
    parser.add_argument(
        '--overwrite', action='store_true', help='replace the bundle if there is one')


def run(arguments: argparse.Namespace) -> int:
    """Quantise, write, print and return the exit status."""
    model = find_model(arguments.bundle)
    other = find_model(arguments.reference) if arguments.reference else None
    check_outputs([model, other, arguments.data, profile_file(arguments.hardware)], [
        ('-o', arguments.output), ('--json', arguments.json)])
    bundle, reference = read_bundle(model), read_bundle(other) if other else None
    check_place(arguments.output, overwrite=arguments.overwrite)  # before work of a minute
    # torch takes seconds that a mistaken word need not wait for.
    from prune_perception.pruning.agreement import AgreementError
    from prune_perception.pruning.certificate import CertificateError
    from prune_perception.pruning.footage import FootageError
    from prune_perception.pruning.int8_graph import QuantisationError
    from prune_perception.pruning.quantisation_report import print_outcome, summary
    from prune_perception.pruning.quantiser import quantise, Request
    from prune_perception.pruning.splits import SplitError
    request = Request(
        bundle, arguments.data, load_profile(arguments.hardware), reference=reference,
        topic=arguments.topic, frames=arguments.frames, last_layers=arguments.last_layers,
        quantiser=arguments.quantiser, reduced_range=arguments.reduce_range,
        unrelated=arguments.unrelated,
        name=arguments.output.name, command=shlex.join(['prune-perception', *sys.argv[1:]]))
    try:
        with stages() as progress:
            outcome = quantise(request, progress)
    except (AgreementError, CertificateError, FootageError, QuantisationError,
            SplitError) as error:
        return refuse(NAME, str(error), 1)
    written = write_bundle(
        arguments.output, outcome.card, outcome.files, overwrite=arguments.overwrite)
    try:
        measured = measured_lines({'float': bundle, 'int8': written}, outcome.examples)
        print_outcome(outcome, console(_PIPE_WIDTH), measured)
        print(f'wrote {arguments.output}: {written.card.name}, digest {written.digest}')
        print('next, on another recording of the same camera:')
        print(f'  prune-perception evaluate ANOTHER_RECORDING --model '
              f'{shlex.quote(str(arguments.output))} --reference {shlex.quote(arguments.bundle)}')
        return write_files(NAME, ((arguments.json, lambda: json.dumps(
            {**summary(outcome), 'energy_measured': measured}, indent=1, allow_nan=False)
            + '\n'),))
    except KeyboardInterrupt:
        return refuse(
            NAME, f'stopped; the bundle {arguments.output} was written before and is complete', 1)
