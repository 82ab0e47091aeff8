# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The words that say what is pruned, by what and how: those of ``forecast`` and ``prune``."""

import argparse
from pathlib import Path

from prune_perception.cli.words import frame_range, names, profile_name, whole
from prune_perception.pruning import ALIGNMENTS, METHODS


def add_footage(parser: argparse.ArgumentParser, *, required: bool, unrelated: str) -> None:
    """
    Add the bundle and the footage.

    :param required: whether the verb cannot do without footage.
    :param unrelated: what it does with pictures that have nothing to do with each other.
    """
    parser.add_argument('bundle', help='bundle folder or shipped name, for example nanodet_g')
    parser.add_argument(
        '--data', type=Path, metavar='RECORDING', required=required,
        help="bag, video or folder of pictures of the robot's camera")
    parser.add_argument('--topic', help='of the images, where the bag has several')
    parser.add_argument(
        '--frames', type=frame_range, metavar='FIRST-LAST',
        help='use this part of the recording alone; its first frame is 1')
    parser.add_argument(
        '--unrelated', action='store_true',
        help=f'the pictures have nothing to do with each other: {unrelated}')


def add_plan(parser: argparse.ArgumentParser) -> None:
    """Add what a plan goes by."""
    parser.add_argument(
        '--hardware', type=profile_name, default='eyeriss_65nm', metavar='PROFILE',
        help='whose energy is saved: a shipped name or the path of a .yaml (%(default)s)')
    parser.add_argument(
        '--bits', type=whole(1, 64),
        help="of a word (default: the profile's own, 16 for eyeriss_65nm)")
    parser.add_argument(
        '--classes', type=names, metavar='NAME,…', help='keep these classes alone (all)')
    parser.add_argument(
        '--method', choices=METHODS, default='combined',
        help='how channels are chosen (%(default)s)')
    parser.add_argument(
        '--alignment', type=int, choices=ALIGNMENTS, default=ALIGNMENTS[0],
        help='of widths: multiples of 32 run faster where layers are wide (%(default)s)')
    parser.add_argument(
        '--keep-input-size', action='store_true',
        help='do not look for a lower input resolution')
    parser.add_argument(
        '--seed', type=whole(0, 2**32 - 1), default=0, metavar='N', help='(%(default)s)')
