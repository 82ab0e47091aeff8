# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The verb ``profile``: where a network spends its energy, modelled."""

import argparse
from dataclasses import replace
import sys

from prune_perception.bundle import Bundle, read_bundle, replace_card
from prune_perception.calibration import CalibrationError
from prune_perception.cli.output import console
from prune_perception.cli.words import output_file, profile_file, profile_name, whole
from prune_perception.energy.hardware import load_profile
from prune_perception.energy.layer_times import LayerTimes
from prune_perception.evaluation.files import check_outputs
from prune_perception.resources import find_model
from prune_perception.runtime.engines import EngineOptions

NAME = 'profile'
HELP = 'show where a network spends its energy, modelled layer by layer'

_PIPE_WIDTH = 140  # enough for all columns


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the words of this verb."""
    parser.add_argument('bundle', help='bundle folder or shipped name, for example nanodet_g')
    parser.add_argument(
        '--hardware', type=profile_name, default='eyeriss_65nm', metavar='PROFILE',
        help='hardware profile: a shipped name or the path of a .yaml (%(default)s)')
    parser.add_argument(
        '--batch', type=whole(1), default=1, help='images processed together (%(default)s)')
    parser.add_argument(
        '--bits', type=whole(1),
        help="of a word (default: the profile's own, 16 for eyeriss_65nm)")
    parser.add_argument(
        '--seconds', type=float,
        help='measured time for one image; times the static power it is a term of its own')
    parser.add_argument(
        '--measure', nargs='?', const='onnxruntime', choices=('onnxruntime', 'openvino'),
        metavar='ENGINE', help="also show the time of each layer on this machine, by the engine's "
        'own profiler: onnxruntime (without ENGINE) or openvino')
    parser.add_argument(
        '--threads', type=whole(0), default=0, metavar='N',
        help='for --measure; 0 leaves it to the engine (%(default)s)')
    parser.add_argument(
        '--save', action='store_true',
        help="write the account into the bundle's card, for the node to compare with")
    parser.add_argument(
        '--json', type=output_file, metavar='FILE', help='write the account as JSON')
    parser.add_argument('--html', type=output_file, metavar='FILE', help='write it as a page')


def run(arguments: argparse.Namespace) -> int:
    """Count, model and print, and return the exit status."""
    model = find_model(arguments.bundle)
    check_outputs([model, profile_file(arguments.hardware)],
                  [('--json', arguments.json), ('--html', arguments.html)])
    bundle = read_bundle(model)
    # torch takes seconds that a mistaken word need not wait for.
    from prune_perception.energy.counting import profile_module
    from prune_perception.energy.report import print_account, write_html, write_json
    from prune_perception.networks.registry import example_input, load_network
    try:
        account = profile_module(
            load_network(bundle), example_input(bundle.card.input),
            profile=load_profile(arguments.hardware), network=bundle.card.name,
            batch=arguments.batch, bits=arguments.bits, seconds=arguments.seconds)
        times = _measure(bundle, arguments) if arguments.measure else None
    except (ValueError, CalibrationError) as error:
        print(f'prune-perception {NAME}: {error}', file=sys.stderr)
        return 1
    print_account(account, console(_PIPE_WIDTH), times)
    if arguments.json:
        write_json(account, arguments.json, times)
    if arguments.html:
        write_html(account, arguments.html, times)
    if arguments.save:
        energy = {**bundle.card.energy, account.profile.name: account.summary()}
        replace_card(bundle, replace(bundle.card, energy=energy))
    for path in (arguments.json, arguments.html, bundle.folder if arguments.save else None):
        if path:
            print(f'wrote {path}')
    return 0


def _measure(bundle: Bundle, arguments: argparse.Namespace) -> LayerTimes:
    from prune_perception.calibration.layer_times import measure_layer_times
    return measure_layer_times(bundle, EngineOptions(arguments.measure, arguments.threads))
