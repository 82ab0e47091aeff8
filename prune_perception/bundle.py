# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
The model bundle: a folder with a detector, and what is known of it.

========================  ===================================================================
``model.yaml``            the card: how to feed the network, how to read its outputs, where it
                          comes from, what it costs, how far to trust it, and the SHA-256 of
                          each other file
``model.onnx``            the network for running; takes the resized image as uint8 NHWC and
                          normalises it itself
``weights.safetensors``   the network for pruning further (may be absent)
``structure.onnx``        for an imported network: its dense graph without weights, which the
                          torch module is rebuilt of (absent for the others)
========================  ===================================================================

Nothing in a bundle is code and nothing is unpickled. Reading checks every digest and refuses,
by file and reason, what does not fit; writing leaves a complete bundle or none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
import hashlib
import json
import os
from pathlib import Path
import re
import shutil
import tempfile
from typing import Any

import yaml

SCHEMA = 1
CARD = 'model.yaml'
GRAPH = 'model.onnx'
WEIGHTS = 'weights.safetensors'
STRUCTURE = 'structure.onnx'

COLOUR_ORDERS = ('bgr', 'rgb')
RESIZE_RULES = ('stretch', 'letterbox', 'centre_crop')
PLACEMENTS = ('centre', 'top_left')

_LARGEST_CARD = 4 << 20  # bytes; a card is read whole, a mistaken file should not be
_LARGEST_SIDE = 16384  # pixels
_MOST_BITS = 16  # of an integer that stands in for a float
_LARGEST_HEADER = 100 << 20  # bytes; the limit that the safetensors format sets itself


_PLAIN_NAME = re.compile(r'[A-Za-z0-9_][\w.-]*')


class BundleError(ValueError):
    """
    A bundle that cannot be read or written; the message names the file and the reason.

    It is one line in any log, also where a card's names or a library's message have several.
    """

    def __init__(self, message: str) -> None:
        super().__init__(' '.join(line.strip() for line in message.splitlines()))


@dataclass(frozen=True)
class InputSpec:
    """
    What the network is fed.

    The network sees ``(pixel - mean) / std`` for pixels from 0 to 255 in ``colour_order``.

    :param height: of the network's input, pixels.
    :param width: of the network's input, pixels.
    :param colour_order: ``bgr`` or ``rgb``; ``mean`` and ``std`` are in this order.
    :param mean: three numbers, in units of pixel values.
    :param std: three numbers above 0, in units of pixel values.
    :param resize: ``stretch`` (ratio not kept), ``letterbox`` or ``centre_crop``.
    :param placement: where a letterbox has the image: in the ``centre``, as where None is said,
        or ``top_left``, with all of the padding at the right and below.
    :param padding: three integers from 0 to 255 in ``colour_order``, which a letterbox fills the
        rest with; None for the grey of the YOLO family, 114.
    """

    height: int
    width: int
    colour_order: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize: str
    placement: str | None = None
    padding: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class OutputSpec:
    """One output of ``model.onnx``: its name and its shape for a batch of one."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class DecoderSpec:
    """How the outputs become boxes: a decoder of the runtime and its settings."""

    name: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class NetworkSpec:
    """
    Enough to rebuild the torch module that ``weights.safetensors`` belongs to.

    :param name: in the registry of ``prune_perception.networks``.
    :param widths: for each layer with weights, (output channels, input channels).
    :param settings: further arguments of the network's constructor.
    """

    name: str
    widths: Mapping[str, tuple[int, int]]
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Provenance:
    """
    Where a bundle comes from.

    :param command: the command line that made it.
    :param tool_version: of prune_perception.
    :param parent: digest of the bundle that it was made from.
    :param data: digest of the data that it was made with.
    :param seed: of the pseudo-random numbers.
    :param distilled: whether a pruned network was trained after its restoration; None where that
        is not known, or nothing was pruned.
    """

    command: str
    tool_version: str
    parent: str | None = None
    data: str | None = None
    seed: int | None = None
    distilled: bool | None = None


@dataclass(frozen=True)
class Quantisation:
    """
    How a graph was made to compute in integers.

    :param bits: of weights and maps.
    :param float_layers: that go on computing in float.
    :param reduced_range: whether the weights use 7 of the bits.
    :param quantiser: that made it.
    """

    bits: int
    float_layers: tuple[str, ...] = ()
    reduced_range: bool = False
    quantiser: str = 'onnxruntime'


@dataclass(frozen=True)
class Card:
    """
    What ``model.yaml`` holds.

    :param network: of ``weights.safetensors``; None where there are no weights.
    :param quantisation: None for a graph that computes in float.
    :param energy: for each hardware profile, the modelled account.
    :param measured: accuracy and latency, each entry with the machine it was measured on.
    :param certificate: how far the bundle can be trusted, and on what that was measured.
    :param files: SHA-256 of each other file, filled in by :func:`write_bundle`.
    """

    name: str
    class_names: tuple[str, ...]
    input: InputSpec
    outputs: tuple[OutputSpec, ...]
    decoder: DecoderSpec
    network: NetworkSpec | None
    provenance: Provenance
    licence: str
    attribution: str
    task: str = 'detection'
    energy: Mapping[str, Any] = field(default_factory=dict)
    measured: Sequence[Mapping[str, Any]] = ()
    certificate: Mapping[str, Any] | None = None
    quantisation: Quantisation | None = None
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Bundle:
    """
    A bundle on disk whose every file was found to be what its card says.

    :param digest: SHA-256 of ``model.yaml``, which holds the digests of the other files: it
        names the bundle as a whole.
    """

    folder: Path
    card: Card
    digest: str

    def read_file(self, name: str) -> bytes:
        """
        Return the bytes of a file, checked once more against its digest.

        A bundle can be replaced on disk between its check and its use; the engine must not run
        what nobody checked.

        :raises BundleError: the file is not in the card, cannot be read, or has changed.
        """
        path = self.folder / name
        if name not in self.card.files:
            raise BundleError(f'{path}: not in this bundle ({CARD} does not list it)')
        try:
            data = path.read_bytes()
        except OSError as error:
            raise BundleError(f'{path}: {_reason(error)}') from error
        _check_digest(path, hashlib.sha256(data).hexdigest(), self.card.files[name])
        return data


def read_bundle(folder: str | os.PathLike[str]) -> Bundle:
    """
    Read a bundle and verify it.

    The shapes of ``weights.safetensors`` are checked here; those of ``model.onnx`` by the
    engine that parses it (:func:`check_signature`).

    :raises BundleError: one line with the file and what is wrong with it.
    """
    folder = Path(folder)
    path = folder / CARD
    if not folder.is_dir():
        raise BundleError(f'{folder}: no such folder; a model bundle is a folder with {CARD}')
    try:
        if path.stat().st_size > _LARGEST_CARD:
            raise BundleError(f'{path}: larger than {_LARGEST_CARD >> 20} MiB, not a card')
        text = path.read_bytes()
    except FileNotFoundError:
        raise BundleError(f'{path}: missing; {folder} is not a model bundle') from None
    except OSError as error:
        raise BundleError(f'{path}: {_reason(error)}') from error
    card = _parse_card(path, text)
    for name, expected in card.files.items():
        _check_digest(folder / name, _digest_of(folder / name), expected)
    if WEIGHTS in card.files:
        _check_weights(folder / WEIGHTS, card)
    return Bundle(folder, card, hashlib.sha256(text).hexdigest())


def write_bundle(
        folder: str | os.PathLike[str], card: Card, files: Mapping[str, bytes], *,
        overwrite: bool = False) -> Bundle:
    """
    Write a bundle, complete or not at all, and return it as read back.

    It is made beside its place under another name, read back and verified, and then renamed.

    :param files: the contents of ``model.onnx`` and, if there are any, the other files.
    :param overwrite: replace a folder that exists; without it such a folder is refused.
    :raises BundleError: what is wrong, or why it could not be written; nothing is left behind.
    """
    folder = Path(folder)
    check_place(folder, overwrite=overwrite)
    for name in files:
        if not _PLAIN_NAME.fullmatch(name):
            raise BundleError(f'{folder}: {name!r} is not a plain file name')
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}
    text = _card_text(folder / CARD, replace(card, files=digests))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f'.{folder.name}-', dir=folder.parent))
    except OSError as error:
        raise BundleError(f'{folder}: cannot be written: {_reason(error)}') from error
    try:
        for name, data in {**files, CARD: text}.items():
            with (partial / name).open('wb') as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        partial.chmod(0o755)  # mkdtemp keeps the folder to its owner; a bundle is for reading
        try:
            read_bundle(partial)
        except BundleError as error:
            raise BundleError(str(error).replace(str(partial), str(folder))) from error
        if folder.exists():
            # A full folder cannot be replaced in one step; between these two renames the
            # bundle is absent, which a reader can tell from half a bundle.
            old = partial.with_name(f'{partial.name}-old')
            folder.rename(old)
            try:
                partial.rename(folder)
            except BaseException:  # Ctrl-C must not cost the old bundle either
                old.rename(folder)
                raise
            shutil.rmtree(old, ignore_errors=True)
        else:
            partial.rename(folder)
    except OSError as error:
        raise BundleError(f'{folder}: cannot be written: {_reason(error)}') from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return read_bundle(folder)


def check_place(folder: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """
    Check that a bundle may be written to a folder, as far as that can be known beforehand.

    :param overwrite: a bundle that is there may be replaced.
    :raises BundleError: something is there that must stay, or the place cannot be written to.
    """
    folder = Path(folder)
    if folder.exists() and not overwrite:
        raise BundleError(f'{folder}: exists already; choose another name or remove it first')
    if folder.exists() and not folder.is_dir():
        raise BundleError(f'{folder}: is a file; it is not replaced')
    if folder.exists() and any(folder.iterdir()) and not (folder / CARD).exists():
        raise BundleError(f'{folder}: holds files but no bundle; it is not replaced')
    parent = folder.absolute().parent
    while not parent.exists():
        parent = parent.parent
    try:  # of root's rights, and of some file systems, nothing else tells
        Path(tempfile.mkdtemp(prefix=f'.{folder.name}-', dir=parent)).rmdir()
    except OSError as error:
        raise BundleError(
            f'{folder}: cannot be written: {parent} is no folder that can be written to '
            f'({_reason(error)})') from error


def replace_card(bundle: Bundle, card: Card) -> Bundle:
    """
    Write another card into a bundle, whose files stay as they are, and return it as read back.

    :raises BundleError: see :func:`write_bundle`.
    """
    files = {name: bundle.read_file(name) for name in bundle.card.files}
    return write_bundle(bundle.folder, card, files, overwrite=True)


def check_signature(
        path: Path, card: Card, inputs: Mapping[str, Sequence[Any]],
        outputs: Mapping[str, Sequence[Any]], *, takes_uint8: bool) -> None:
    """
    Check what a parsed ``model.onnx`` declares against its card.

    :param path: of the graph, for the message.
    :param inputs: shape by name; a dimension that is not a number (a batch) fits anything.
    :param outputs: the same for the outputs.
    :param takes_uint8: whether all inputs are of this type.
    :raises BundleError: naming the first input or output that does not fit.
    """
    expected_input = (1, card.input.height, card.input.width, 3)
    if len(inputs) != 1:
        raise BundleError(f'{path}: has {len(inputs)} inputs; a bundle has one, the image')
    for name, shape in inputs.items():
        if not _shape_fits(shape, expected_input):
            raise BundleError(
                f'{path}: input {name!r} is {list(shape)}, {CARD} says {list(expected_input)} '
                '(uint8, NHWC)')
        if not takes_uint8:
            raise BundleError(
                f'{path}: input {name!r} is not uint8; the graph of a bundle takes the image as '
                'it is and normalises it itself')
    for output in card.outputs:
        if output.name not in outputs:
            raise BundleError(
                f'{path}: has no output {output.name!r}, which {CARD} names; it has '
                f'{", ".join(outputs) or "none"}')
        if not _shape_fits(outputs[output.name], output.shape):
            raise BundleError(
                f'{path}: output {output.name!r} is {list(outputs[output.name])}, {CARD} says '
                f'{list(output.shape)}')


def _shape_fits(declared: Sequence[Any], expected: Sequence[int]) -> bool:
    return len(declared) == len(expected) and all(
        not isinstance(size, int) or size < 0 or size == wanted
        for size, wanted in zip(declared, expected, strict=True))


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _card_text(path: Path, card: Card) -> bytes:
    """Return a card as YAML; fields of it that are None are left out."""
    fields = asdict(card, dict_factory=lambda items: {
        name: value for name, value in items if value is not None})
    try:
        return yaml.safe_dump(
            {'schema': SCHEMA, **_plain(fields)}, sort_keys=False, allow_unicode=True, width=100,
            default_flow_style=None).encode()
    except yaml.YAMLError as error:  # a number of NumPy's, most often
        raise BundleError(f'{path}: cannot be written as plain YAML: {error}') from error


def _plain(value: Any) -> Any:
    """Turn tuples and mappings into what YAML's safe subset holds."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _digest_of(path: Path) -> str:
    try:
        with path.open('rb') as file:
            return hashlib.file_digest(file, 'sha256').hexdigest()
    except FileNotFoundError:
        raise BundleError(f'{path}: missing, though {CARD} lists it') from None
    except OSError as error:
        raise BundleError(f'{path}: {_reason(error)}') from error


def _check_digest(path: Path, found: str, expected: str) -> None:
    if found != expected:
        raise BundleError(
            f'{path}: has changed or is incomplete (SHA-256 is {found[:12]}…, {CARD} says '
            f'{expected[:12]}…)')


def _check_weights(path: Path, card: Card) -> None:
    """Compare the shapes in the safetensors header with the widths of the card."""
    shapes = _shapes_of(path)
    if card.network is None:
        raise BundleError(f'{path}: present, but {CARD} does not say which network it is for')
    for layer, widths in card.network.widths.items():
        shape = shapes.get(f'{layer}.weight')
        if shape is None:
            raise BundleError(f'{path}: has no {layer}.weight, which {CARD} lists')
        # The weight of a normalisation has one size, which its widths count twice.
        if (*shape[:2], *shape[:2])[:2] != widths:
            raise BundleError(
                f'{path}: {layer}.weight is {list(shape)}, {CARD} says {list(widths)} channels '
                'out and in')


def _shapes_of(path: Path) -> dict[str, tuple[int, ...]]:
    """
    Return the shape of each tensor, from the header of a safetensors file.

    The header is a number of bytes (64 bits, little-endian) and that much JSON, after the
    format's description (https://github.com/huggingface/safetensors). It is read here, so that
    a robot, which runs ``model.onnx`` alone, needs no library for the weights.
    """
    try:
        with path.open('rb') as file:
            size = int.from_bytes(file.read(8), 'little')
            if size > _LARGEST_HEADER:
                raise ValueError(f'its header would have {size} bytes')
            header = json.loads(file.read(size))
        return {name: tuple(int(side) for side in entry['shape'])
                for name, entry in header.items() if name != '__metadata__'}
    except OSError as error:
        raise BundleError(f'{path}: {_reason(error)}') from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BundleError(f'{path}: not a safetensors file: {error}') from error


class _Fields:
    """A mapping of the card, read field by field with the type each must have."""

    def __init__(self, path: Path, where: str, value: Any) -> None:
        if not isinstance(value, dict):
            raise BundleError(f'{path}: {where or "the card"} must be a mapping, not '
                              f'{_kind(value)}')
        self._path, self._where, self._value = path, where, value

    def refuse(self, name: str, problem: str) -> BundleError:
        where = f'{self._where}.{name}' if self._where else name
        return BundleError(f'{self._path}: {where} {problem}')

    def get(self, name: str, kind: type, default: Any = ...) -> Any:
        """Return a field; int is taken for float, and bool for neither."""
        value = self._value.get(name)
        if value is None:
            if default is ...:
                raise self.refuse(name, 'is missing')
            return default
        if kind is float and type(value) is int:
            value = float(value)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.refuse(name, f'must be {_KINDS[kind]}, not {_kind(value)}')
        return value

    def fields(self, name: str) -> '_Fields':
        return _Fields(self._path, f'{self._where}.{name}' if self._where else name,
                       self.get(name, dict))

    def text(self, name: str) -> str:
        value = self.get(name, str)
        if not value.strip():
            raise self.refuse(name, 'is empty')
        return value

    def choice(self, name: str, choices: Sequence[str], default: Any = ...) -> Any:
        value = self.get(name, str, default)
        if value not in (*choices, default):
            raise self.refuse(name, f'is {value!r}; known are {", ".join(choices)}')
        return value

    def side(self, name: str) -> int:
        value = self.get(name, int)
        if not 1 <= value <= _LARGEST_SIDE:
            raise self.refuse(name, f'is {value}; it must lie between 1 and {_LARGEST_SIDE}')
        return value

    def triple(self, name: str) -> tuple[float, float, float]:
        value = self.get(name, list)
        # A bound that no sensible number reaches, and that infinity and NaN do not keep either.
        if len(value) != 3 or not all(
                type(item) in (int, float) and abs(item) < 1e6 for item in value):
            raise self.refuse(name, f'must be three numbers, not {_short(value)}')
        return (float(value[0]), float(value[1]), float(value[2]))

    def colour(self, name: str) -> tuple[int, int, int] | None:
        value = self.get(name, list, None)
        if value is None:
            return None
        if len(value) != 3 or not all(type(item) is int and 0 <= item <= 255 for item in value):
            raise self.refuse(
                name, f'must be three integers from 0 to 255, not {_short(value)}')
        return (value[0], value[1], value[2])

    def integers(self, name: str, value: Any) -> tuple[int, ...]:
        if (not isinstance(value, list) or not value
                or not all(type(item) is int and item > 0 for item in value)):
            raise self.refuse(name, f'must be a list of integers above 0, not {_short(value)}')
        return tuple(value)

    def pair(self, name: str, value: Any) -> tuple[int, int]:
        integers = self.integers(name, value)
        if len(integers) != 2:
            raise self.refuse(name, f'must be two integers, not {_short(value)}')
        return integers[0], integers[1]


_KINDS = {str: 'a text', bool: 'bool', int: 'an integer', float: 'a number', dict: 'a mapping',
          list: 'a list'}


def _kind(value: Any) -> str:
    return 'nothing' if value is None else _KINDS.get(type(value), type(value).__name__)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f'{text[:60]}…'


def _parse_card(path: Path, text: bytes) -> Card:
    try:
        value = yaml.safe_load(text)
    # Beside its own errors PyYAML lets out whatever its constructors meet: a date that does not
    # exist is a ValueError, a bool that is none a KeyError, deep nesting a RecursionError.
    except Exception as error:
        raise BundleError(f'{path}: not YAML: {error}') from error
    card = _Fields(path, '', value)
    schema = card.get('schema', int)
    if schema != SCHEMA:
        advice = ('is newer than this version of prune_perception reads; update it'
                  if schema > SCHEMA else 'is unknown')
        raise card.refuse('schema', f'{schema} {advice} (this one reads {SCHEMA})')
    card.choice('task', ('detection',))

    network = None if value.get('network') is None else card.fields('network')
    decoder = card.fields('decoder')
    provenance = card.fields('provenance')
    return Card(
        name=card.text('name'),
        class_names=_class_names(card),
        input=_input(card.fields('input')),
        outputs=_outputs(path, card),
        decoder=DecoderSpec(decoder.text('name'), decoder.get('settings', dict, {})),
        network=None if network is None else NetworkSpec(
            name=network.text('name'),
            widths={str(layer): network.pair(f'widths.{layer}', widths)
                    for layer, widths in network.get('widths', dict).items()},
            settings=network.get('settings', dict, {})),
        provenance=Provenance(
            command=provenance.text('command'), tool_version=provenance.text('tool_version'),
            parent=provenance.get('parent', str, None), data=provenance.get('data', str, None),
            seed=provenance.get('seed', int, None),
            distilled=provenance.get('distilled', bool, None)),
        licence=card.text('licence'),
        attribution=card.text('attribution'),
        energy=_energy(path, card),
        measured=_measured(card),
        certificate=card.get('certificate', dict, None),
        quantisation=_quantisation(card),
        files=_files(card))


def _input(fed: _Fields) -> InputSpec:
    spec = InputSpec(
        height=fed.side('height'), width=fed.side('width'),
        colour_order=fed.choice('colour_order', COLOUR_ORDERS),
        mean=fed.triple('mean'), std=fed.triple('std'),
        resize=fed.choice('resize', RESIZE_RULES),
        placement=fed.choice('placement', PLACEMENTS, None), padding=fed.colour('padding'))
    if min(spec.std) <= 0:
        raise fed.refuse('std', f'must be above 0, not {list(spec.std)}')
    for name, value in (('placement', spec.placement), ('padding', spec.padding)):
        if value is not None and spec.resize != 'letterbox':
            raise fed.refuse(
                name, f'is of a letterbox, and input.resize is {spec.resize!r}; leave it out')
    return spec


def _class_names(card: _Fields) -> tuple[str, ...]:
    names = card.get('class_names', list)
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise card.refuse('class_names', 'must be a list of names, at least one')
    if len(set(names)) != len(names):
        raise card.refuse('class_names', 'has a name twice')
    return tuple(names)


def _outputs(path: Path, card: _Fields) -> tuple[OutputSpec, ...]:
    outputs = []
    for index, value in enumerate(card.get('outputs', list)):
        output = _Fields(path, f'outputs[{index}]', value)
        outputs.append(OutputSpec(
            output.text('name'), output.integers('shape', output.get('shape', list))))
    if not outputs:
        raise card.refuse('outputs', 'is empty')
    return tuple(outputs)


def _measured(card: _Fields) -> tuple[dict[str, Any], ...]:
    entries = card.get('measured', list, [])
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise card.refuse(f'measured[{index}]', f'must be a mapping, not {_kind(entry)}')
    return tuple(entries)


def _energy(path: Path, card: _Fields) -> dict[str, Any]:
    """Check what readers of an account rely on; ``energy.account`` describes the rest."""
    accounts = card.get('energy', dict, {})
    for profile in accounts:
        account = _Fields(path, f'energy.{profile}', accounts[profile])
        account.get('word_bits', int)
        account.get('batch', int)
        total = account.fields('total')
        for name in ('energy_mac', 'energy_uj', 'static_uj'):
            total.get(name, float, None)
    return dict(accounts)


def _quantisation(card: _Fields) -> Quantisation | None:
    if card.get('quantisation', dict, None) is None:
        return None
    fields = card.fields('quantisation')
    bits, layers = fields.get('bits', int), fields.get('float_layers', list, [])
    if not 1 <= bits <= _MOST_BITS:
        raise fields.refuse('bits', f'is {bits}; it must lie between 1 and {_MOST_BITS}')
    if not all(isinstance(name, str) for name in layers):
        raise fields.refuse('float_layers', f'must be a list of names, not {_short(layers)}')
    return Quantisation(
        bits, tuple(layers), fields.get('reduced_range', bool, False),
        fields.get('quantiser', str, 'onnxruntime'))


def _files(card: _Fields) -> dict[str, str]:
    files = card.get('files', dict)
    for name, digest in files.items():
        # A name that leaves the folder would let a card vouch for any file of the machine.
        if not isinstance(name, str) or not _PLAIN_NAME.fullmatch(name):
            raise card.refuse('files', f'names {name!r}, which is not a plain file name')
        if not isinstance(digest, str) or not re.fullmatch('[0-9a-f]{64}', digest):
            raise card.refuse(f'files.{name}', 'is not a SHA-256 in hexadecimal')
    if GRAPH not in files:
        raise card.refuse('files', f'does not list {GRAPH}')
    return dict(files)
