# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Make a model bundle of weights that others have published."""

import argparse
from pathlib import Path

from prune_perception.evaluation.files import check_outputs
from prune_perception.networks import CONVERTIBLE

NAME = 'convert'
HELP = 'make a model bundle of published weights'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument('network', choices=CONVERTIBLE, help='whose weights they are')
    parser.add_argument(
        'source', type=Path, metavar='FOLDER',
        help='with the published files; for nanodet_g nanodet.json and nanodet.bin')
    parser.add_argument(
        '-o', '--output', type=Path, required=True, metavar='BUNDLE',
        help='folder to write; its name becomes the name of the model')
    parser.add_argument(
        '--overwrite', action='store_true', help='replace the bundle if there is one')


def run(arguments: argparse.Namespace) -> int:
    """Run the verb and return the exit status."""
    check_outputs([arguments.source], [('-o', arguments.output)])
    # torch, which this imports, takes seconds that other verbs need not wait.
    from prune_perception.networks.convert import convert
    bundle = convert(
        arguments.network, arguments.source, arguments.output, overwrite=arguments.overwrite)
    size = sum(path.stat().st_size for path in bundle.folder.iterdir())
    print(f'{bundle.folder}: {bundle.card.name}, {size / 1e6:.1f} MB, digest {bundle.digest}')
    return 0
