# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The verb ``import``: make a bundle of your own detector."""

import argparse
import itertools
from pathlib import Path
import shlex
import sys
from typing import Any, TYPE_CHECKING

import yaml

from prune_perception.bundle import COLOUR_ORDERS, PLACEMENTS, RESIZE_RULES
from prune_perception.cli.words import names
from prune_perception.evaluation.files import check_outputs
from prune_perception.frames.recording import open_recording
from prune_perception.resources import find_resource
from prune_perception.runtime.decoders import DECODERS

if TYPE_CHECKING:
    from prune_perception.pruning.importing.job import Imported

NAME = 'import'
HELP = 'make a model bundle of your own detector: an ONNX file or a torch network'

_PICTURES = 4
_MOST_LINES = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the words of this verb."""
    parser.description = (
        'Makes a dense bundle that the other verbs take like a shipped one. The network is '
        'rebuilt in torch, compared with ONNX Runtime on the file itself, and tried for what can '
        'be pruned. Sizes, classes and the like are taken from the file where it says them. '
        'Nothing of an ONNX file or a checkpoint is run as code.')
    parser.add_argument(
        'source', metavar='SOURCE',
        help='an ONNX file, the .json of a TensorFlow.js graph, or module:function, which takes '
        'nothing and returns a torch module')
    parser.add_argument(
        '--checkpoint', type=Path, metavar='FILE',
        help='of module:function: its state dict, as safetensors or as torch saves it')
    parser.add_argument(
        '--allow-code', action='store_true', help='run module:function, which is code')
    parser.add_argument(
        '--classes', metavar='FILE',
        help="file with a class name a line, a .yaml with 'names', or coco for its 80")
    parser.add_argument(
        '--input', type=_size, metavar='WxH', help='width and height of the input, pixels')
    parser.add_argument(
        '--resize', choices=RESIZE_RULES, help='how an image is fitted to the input')
    parser.add_argument(
        '--placement', choices=PLACEMENTS, help='where a letterbox has the image (in the centre)')
    parser.add_argument(
        '--padding', type=_colour, metavar='A,B,C',
        help='what a letterbox fills the rest with, pixel values of 0 to 255 in the order of the '
        'colours; one number for all (114)')
    parser.add_argument('--colour', choices=COLOUR_ORDERS, help='order of the colours')
    parser.add_argument(
        '--mean', type=_triple, metavar='A,B,C',
        help='taken off pixel values of 0 to 255, in the order of the colours; one number for all')
    parser.add_argument('--std', type=_triple, metavar='A,B,C', help='that they are divided by')
    parser.add_argument(
        '--layout', choices=('nchw', 'nhwc'), help='of the input, where its sizes do not tell')
    parser.add_argument('--decoder', choices=DECODERS, help='how the outputs are read')
    parser.add_argument(
        '--decoder-setting', type=_setting, action='append', default=[], metavar='KEY=VALUE',
        help='of the decoder, in YAML, such as strides=[8,16,32]; may be given several times')
    parser.add_argument(
        '--outputs', type=names, default=(), metavar='NAME,…',
        help="end at these values of the graph, in the decoder's order (the file's own outputs)")
    parser.add_argument('--licence', metavar='TEXT', help='of the weights, for the card')
    parser.add_argument('--attribution', metavar='TEXT', help='who made them, for the card')
    parser.add_argument(
        '--data', type=Path, metavar='RECORDING',
        help="compare on pictures of this bag, video or folder (the demo's)")
    parser.add_argument(
        '-o', '--output', type=Path, required=True, metavar='BUNDLE',
        help='folder to write; its name becomes the name of the model')
    parser.add_argument(
        '--overwrite', action='store_true', help='replace the bundle if there is one')


def run(arguments: argparse.Namespace) -> int:
    """Import, print and return the exit status."""
    # Some of these may be no path: module:function, coco.
    read = (arguments.source, arguments.checkpoint, arguments.data, arguments.classes)
    check_outputs([Path(each) for each in read if each is not None and Path(each).exists()],
                  [('-o', arguments.output)])
    # torch, which these import, takes seconds that other verbs need not wait.
    from prune_perception.pruning.importing.description import read_class_names, Wanted
    from prune_perception.pruning.importing.job import import_network, Request
    wanted = Wanted(
        class_names=None if arguments.classes is None else read_class_names(arguments.classes),
        size=arguments.input, resize=arguments.resize, colour_order=arguments.colour,
        mean=arguments.mean, std=arguments.std, layout=arguments.layout,
        decoder=arguments.decoder, settings=dict(arguments.decoder_setting),
        outputs=arguments.outputs, licence=arguments.licence, attribution=arguments.attribution,
        placement=arguments.placement, padding=arguments.padding)
    imported = import_network(
        Request(arguments.source, arguments.output, wanted,
                shlex.join(['prune-perception', *sys.argv[1:]]), arguments.checkpoint,
                _pictures(arguments.data), arguments.allow_code, arguments.overwrite),
        lambda stage: print(f'  {stage}', file=sys.stderr))
    _print(imported)
    return 0


def _pictures(data: Path | None) -> list[Any]:
    """Return a few pictures of a recording."""
    with open_recording(data or find_resource('demo', 'pedestrians')) as recording:
        return [frame.image() for frame in itertools.islice(recording, _PICTURES)]


def _print(imported: 'Imported') -> None:
    compared = 'the graph as it was read' if imported.as_read else 'the file itself'
    bundle, (noises, pictures) = imported.bundle, imported.compared
    fed = bundle.card.input
    print(f'{bundle.folder}: {bundle.card.name}, {len(bundle.card.class_names)} classes, '
          f'{fed.width} x {fed.height}, {imported.layers} layers with '
          f'{imported.parameters / 1e6:.2f} M weights, digest {bundle.digest}')
    print(f'outputs differ from ONNX Runtime on {compared} by {imported.difference:.1e} of the '
          f'largest ({noises} images of noise, {pictures} pictures); {imported.rounding:.1e} '
          'once weights are float16')
    print(f'{imported.groups} groups of channels can be pruned; {len(imported.fixed)} stay:')
    for line in imported.fixed[:_MOST_LINES]:
        print(f'  {line}')
    if len(imported.fixed) > _MOST_LINES:
        print(f'  and {len(imported.fixed) - _MOST_LINES} more; see prune-perception prune '
              f'{bundle.folder} --groups')
    for note in imported.notes:
        print(f'note: {note}')


def _size(text: str) -> tuple[int, int]:
    """Return height and width, given as WIDTHxHEIGHT or one number for both."""
    sides = text.lower().split('x')
    if len(sides) == 1:
        sides *= 2
    if len(sides) != 2 or not all(
            side.isascii() and side.isdecimal() and 1 <= int(side) <= 16384 for side in sides):
        raise argparse.ArgumentTypeError(f'{text!r} is not a size such as 640x480')
    return int(sides[1]), int(sides[0])


def _triple(text: str) -> tuple[float, float, float]:
    try:
        numbers = [float(part) for part in text.split(',')]
    except ValueError:
        numbers = []
    if len(numbers) == 1:
        numbers *= 3
    if len(numbers) != 3 or not all(abs(number) < 1e6 for number in numbers):
        raise argparse.ArgumentTypeError(
            f'{text!r} is not three numbers such as 123.675,116.28,103.53')
    return numbers[0], numbers[1], numbers[2]


def _colour(text: str) -> tuple[int, int, int]:
    parts = text.split(',') if ',' in text else [text] * 3
    if len(parts) != 3 or not all(
            part.isascii() and part.isdecimal() and int(part) <= 255 for part in parts):
        raise argparse.ArgumentTypeError(
            f'{text!r} is not three integers from 0 to 255 such as 124,116,104')
    return int(parts[0]), int(parts[1]), int(parts[2])


def _setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition('=')
    try:
        read = yaml.safe_load(value)
    except Exception as error:  # whatever YAML's constructors meet
        raise argparse.ArgumentTypeError(f'{text!r}: {error}') from error
    if not equals or not key.isidentifier():
        raise argparse.ArgumentTypeError(f'{text!r} is not KEY=VALUE, such as bins=16')
    return key, read
