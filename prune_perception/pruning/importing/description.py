# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""What a detector's card has to say: from words, or from what the file says of itself."""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
import json
from pathlib import Path
from typing import Any

import yaml

from prune_perception.bundle import BundleError, COLOUR_ORDERS, RESIZE_RULES
from prune_perception.networks.coco import CLASS_NAMES
from prune_perception.networks.imported.onnx_file import Declared, OnnxFile
from prune_perception.runtime.decoders import DECODERS

LAYOUTS = ('nchw', 'nhwc')
_MOST_TEXT = 1 << 20  # bytes of a list of names
_MOST_NAMES = 1 << 15  # LVIS has 1,203, ImageNet-21k 21,841
_LONGEST_NAME = 200  # characters
_CLASS_KEYS = ('names', 'class_names', 'classes', 'labels')
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Wanted:
    """
    What was said of a detector; None and empty where nothing was.

    :param size: height and width of the input, pixels.
    :param placement: of the image in a letterbox; see :class:`.InputSpec`, also for ``padding``.
    :param mean: in units of pixel values, 0 to 255; so is ``std``.
    :param layout: of the input: ``nchw`` or ``nhwc``.
    :param outputs: names of values to end at, in the order of the decoder.
    """

    class_names: tuple[str, ...] | None = None
    size: tuple[int, int] | None = None
    resize: str | None = None
    colour_order: str | None = None
    mean: Triple | None = None
    std: Triple | None = None
    layout: str | None = None
    decoder: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    licence: str | None = None
    attribution: str | None = None
    placement: str | None = None
    padding: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Description:
    """What a card needs, complete."""

    class_names: tuple[str, ...]
    size: tuple[int, int]
    resize: str
    colour_order: str
    mean: Triple
    std: Triple
    layout: str
    decoder: str
    settings: Mapping[str, Any]
    licence: str
    attribution: str
    placement: str | None
    padding: tuple[int, int, int] | None


def describe(file: OnnxFile, wanted: Wanted) -> Description:
    """
    Complete what was said by what the file says of itself.

    Ultralytics' exporter writes class names and sizes beside the graph, and its networks are all
    fed alike.

    :raises BundleError: one line with all that is missing and the words that say it, or with
        what contradicts itself.
    """
    if len(file.inputs) != 1:
        inputs = ', '.join(declared.name for declared in file.inputs)
        raise BundleError(f'{file.path}: has {len(file.inputs)} inputs ({inputs or "none"}); a '
                          'detector has one, the image')
    image, said = file.inputs[0], file.metadata
    if image.kind not in ('float32', 'float16', 'float64', 'bfloat16', 'uint8'):
        raise BundleError(f'{file.path}: input {image.name!r} takes {image.kind}; an image is '
                          'float32 or uint8')
    layout, size = _layout_and_size(file, image, wanted)
    like_ultralytics = said.get('author') == 'Ultralytics'
    resize = wanted.resize or ('letterbox' if like_ultralytics else None)
    colour = wanted.colour_order or ('rgb' if like_ultralytics else None)
    mean = wanted.mean or ((0., 0., 0.) if like_ultralytics else None)
    std = wanted.std or ((255., 255., 255.) if like_ultralytics else None)
    names = wanted.class_names or _class_names(said)
    values = {
        'layout': (layout, '--layout nchw|nhwc'),
        'input size': (size, '--input WIDTHxHEIGHT'),
        'class names': (names, '--classes FILE'),
        'resize rule': (resize, f'--resize {"|".join(RESIZE_RULES)}'),
        'colour order': (colour, f'--colour {"|".join(COLOUR_ORDERS)}'),
        'mean': (mean, '--mean R,G,B (or B,G,R, as the colours come)'),
        'standard deviation': (std, '--std R,G,B'),
        'decoder': (wanted.decoder, f'--decoder {"|".join(DECODERS)}')}
    missing = [f'{what} ({flag})' for what, (value, flag) in values.items() if value is None]
    if missing:
        raise BundleError(f'{file.path}: does not say, and nobody else did: {"; ".join(missing)}')
    assert layout and size and names and resize and colour and mean and std and wanted.decoder
    if wanted.decoder not in DECODERS:
        raise BundleError(
            f'decoder {wanted.decoder!r} is unknown; known are {", ".join(DECODERS)}')
    _check_units(mean, std)
    for flag, value in (('--placement', wanted.placement), ('--padding', wanted.padding)):
        if value is not None and resize != 'letterbox':
            raise BundleError(f'{flag} is of a letterbox, and the resize rule is {resize}; leave '
                              'it out, or say --resize letterbox')
    if image.kind == 'uint8' and (any(mean) or set(std) != {1}):
        raise BundleError(
            f'{file.path}: input {image.name!r} takes uint8, the pixels as they are, and '
            'normalises them itself: say --mean 0 --std 1')
    return Description(
        names, size, resize, colour, mean, std, layout, wanted.decoder, wanted.settings,
        wanted.licence or said.get('license') or 'not stated',
        wanted.attribution or _attribution(file), wanted.placement, wanted.padding)


def read_class_names(text: str) -> tuple[str, ...]:
    """
    Return class names: of a file with one a line, of a YAML file with ``names``, or ``coco``.

    :raises BundleError: there is no such file, or it holds no names.
    """
    if text == 'coco':
        return CLASS_NAMES
    path = Path(text)
    try:
        if path.stat().st_size > _MOST_TEXT:
            raise BundleError(f'{path}: larger than a list of names')
        content = path.read_text()
    except UnicodeDecodeError as error:
        raise BundleError(f'{path}: not text: {error}') from error
    except OSError as error:
        raise BundleError(f'{path}: {(error.strerror or str(error)).lower()}; class names come '
                          'from a file with one a line') from error
    if path.suffix in ('.yaml', '.yml'):
        try:
            value = yaml.safe_load(content)
        except Exception as error:  # whatever YAML's constructors meet
            raise BundleError(f'{path}: not YAML: {error}') from error
        value = value.get('names') if isinstance(value, dict) else value
    else:
        value = content.splitlines()
    try:
        names = _listed(value)
    except ValueError as error:
        raise BundleError(f'{path}: {error}') from error
    if not names:
        raise BundleError(f'{path}: holds no class names')
    return names


def _layout_and_size(file: OnnxFile, image: Declared, wanted: Wanted
                     ) -> tuple[str | None, tuple[int, int] | None]:
    sides = image.sizes
    if len(sides) not in (0, 4):
        raise BundleError(f'{file.path}: input {image.name!r} has {len(sides)} axes; an image '
                          'has four')
    sides = sides or (None,) * 4
    layout = wanted.layout
    if layout is None and (sides[1] == 3) != (sides[3] == 3):
        layout = 'nchw' if sides[1] == 3 else 'nhwc'
    if layout is not None:
        channels = sides[1] if layout == 'nchw' else sides[3]
        if isinstance(channels, int) and channels != 3:
            raise BundleError(
                f'{file.path}: input {image.name!r} is {list(sides)}; with layout {layout} it '
                f'has {channels} colours, and three are fed')
    if isinstance(sides[0], int) and sides[0] != 1:
        raise BundleError(f'{file.path}: takes {sides[0]} images at once; export it for one, or '
                          'with the number left open')
    size = wanted.size or _size_said(file.metadata)
    if layout is None:
        return None, size
    fixed = sides[2:4] if layout == 'nchw' else sides[1:3]
    height, width = fixed
    if isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0:
        if wanted.size not in (None, (height, width)):
            raise BundleError(
                f'{file.path}: its input is fixed at {width} x {height} pixels; leave --input '
                'out, or export it for the other size')
        return layout, (height, width)
    return layout, size


def _size_said(said: Mapping[str, str]) -> tuple[int, int] | None:
    value = _literal(said.get('imgsz', ''))
    if isinstance(value, int):
        value = [value, value]
    if isinstance(value, (list, tuple)) and len(value) == 2 and all(
            type(side) is int and side > 0 for side in value):
        return value[0], value[1]
    return None


def _class_names(said: Mapping[str, str]) -> tuple[str, ...] | None:
    for key in _CLASS_KEYS:
        text = said.get(key, '')
        value = _literal(text)
        if value is None and text and text[0] not in '[{(':
            value = text.replace('\n', ',').split(',')
        try:
            names = _listed(value)
        except ValueError:
            continue  # it is no list of names, or none that could be shown
        if names:
            return names
    return None


def _listed(value: Any) -> tuple[str, ...]:
    """
    Return names, of a list or of a mapping from 0, 1, … to them; empty if it is neither.

    :raises ValueError: what it lists are no names: a few lines of YAML, whose aliases repeat each
        other, can make texts of gigabytes.
    """
    if isinstance(value, (Mapping, Sequence)) and len(value) > _MOST_NAMES:
        raise ValueError(f'lists {len(value)} class names; at most {_MOST_NAMES} are read')
    if isinstance(value, Mapping):
        try:
            numbered = {int(number): name for number, name in value.items()}
        except (TypeError, ValueError):
            return ()
        if sorted(numbered) != list(range(len(numbered))):
            return ()
        value = [numbered[number] for number in range(len(numbered))]
    if not isinstance(value, Sequence) or isinstance(value, str):
        return ()
    for place, name in enumerate(value):
        if type(name) not in (str, int):
            raise ValueError(f'class {place} is a {type(name).__name__}, not a name; put it in '
                             'quotes if it is one')
        # The length first: to write a long number down takes long itself.
        if (len(name) if isinstance(name, str) else name.bit_length()) > _LONGEST_NAME:
            raise ValueError(f'the name of class {place} is longer than {_LONGEST_NAME} '
                             'characters')
    return tuple(text for name in value if (text := str(name).strip()))


def _literal(text: str) -> Any:
    """Return what a text says in JSON or as a literal of Python; None if neither."""
    if len(text) > _MOST_TEXT:
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return None


def _attribution(file: OnnxFile) -> str:
    said = [file.metadata[key] for key in ('description', 'author', 'docs') if
            file.metadata.get(key)]
    return ', '.join(said) or f'imported from {file.path.name}; its maker is not stated'


def _check_units(mean: Triple, std: Triple) -> None:
    # No network is fed with more than 255 standard deviations of one colour.
    if min(std) < 1:
        raise BundleError(
            f'mean {list(mean)} and std {list(std)} are not for pixel values from 0 to 255; '
            'multiply those for colours from 0 to 1 by 255, and turn factors over')
