# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Hardware profiles: what a MAC and an access cost, and how much fits where.

A profile is a YAML file under ``config/hardware/``. Costs are relative to one MAC on words of
``word_bits``; joules enter in one place only, ``joules_per_mac``. For another width of words
the cost of an access is linear in the bits, the cost of a MAC goes with the bits to the power
of ``mac_width_exponent``, and the words that fit in a memory are in inverse proportion.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from prune_perception.resources import find_resource

SCHEMA = 1
DATAFLOWS = ('row_stationary', 'blocked')
MAP_CODINGS = ('none', 'run_length')


class ProfileError(ValueError):
    """A hardware profile that cannot be read; the message names the file and the field."""


@dataclass(frozen=True)
class Costs:
    """
    Energy relative to one MAC on words of the profile's own width.

    :param mac: of a multiply-accumulate; 1 unless a profile has a reason.
    :param simple_operation: of an addition or a comparison.
    :param register_file: of one access to the memory beside an arithmetic unit.
    :param array: of handing a word to a neighbouring unit.
    :param buffer: of one access to the shared memory on the chip.
    :param dram: of one access to the memory outside.
    """

    mac: float
    simple_operation: float
    register_file: float
    array: float
    buffer: float
    dram: float


@dataclass(frozen=True)
class Array:
    """
    A rectangle of processing elements, each with three small memories.

    :param rows: of elements.
    :param columns: of elements.
    :param weight_words: room for weights in an element.
    :param input_words: room for input values in an element.
    :param partial_sum_words: room for partial sums in an element.
    """

    rows: int
    columns: int
    weight_words: int
    input_words: int
    partial_sum_words: int


@dataclass(frozen=True)
class Tile:
    """
    The block of a matrix product that a kernel holds in registers.

    :param outputs: positions of the output map.
    :param filters: output channels.
    """

    outputs: int
    filters: int


@dataclass(frozen=True)
class Source:
    """Where a figure comes from, and whether it was checked there or recalled."""

    figure: str
    source: str
    checked: bool


@dataclass(frozen=True)
class HardwareProfile:
    """
    A machine, as far as the energy model knows it.

    :param name: printed beside every figure.
    :param description: one sentence.
    :param dataflow: ``row_stationary`` (needs ``array``) or ``blocked`` (needs ``tile``).
    :param word_bits: the width that the costs and the capacities in words are given for.
    :param costs: relative to one MAC.
    :param mac_width_exponent: the cost of a MAC goes with the width to this power.
    :param joules_per_mac: of one MAC on words of ``word_bits``; None if no source gives it.
    :param static_power_w: what the machine draws however little it does, watts; multiplied
        by a measured time it is a term of its own. None if unknown.
    :param buffer_words: room for maps and partial sums on the chip.
    :param array: of a row-stationary machine.
    :param tile: of a blocked machine.
    :param skip_zero_inputs: whether a MAC with an input of zero is not done.
    :param map_coding: how maps are kept in DRAM: ``none`` or ``run_length``.
    :param sources: of the figures above.
    """

    name: str
    description: str
    dataflow: str
    word_bits: int
    costs: Costs
    mac_width_exponent: float
    joules_per_mac: float | None
    static_power_w: float | None
    buffer_words: int
    array: Array | None
    tile: Tile | None
    skip_zero_inputs: bool
    map_coding: str
    sources: tuple[Source, ...]

    def mac_cost(self, bits: int) -> float:
        """Return the cost of a MAC on words of ``bits``, in MACs of ``word_bits``."""
        return self.costs.mac * (bits / self.word_bits) ** self.mac_width_exponent

    def access_scale(self, bits: int) -> float:
        """Return by what the cost of each access is multiplied for words of ``bits``."""
        return bits / self.word_bits

    def room(self, words: int, bits: int) -> int:
        """Return how many words of ``bits`` fit where ``words`` of ``word_bits`` do."""
        return words * self.word_bits // bits


def profile_folder() -> Path:
    """
    Return the folder of the profiles that come with the package.

    :raises ProfileError: if it did not come with this copy.
    """
    try:
        return find_resource('config', 'hardware')
    except FileNotFoundError as error:
        raise ProfileError(f'{error}; or give the path of a profile') from error


def profile_names() -> list[str]:
    """Return the names of the profiles that come with the package."""
    return sorted(path.stem for path in profile_folder().glob('*.yaml'))


def load_profile(name_or_path: str | Path) -> HardwareProfile:
    """
    Read a profile by name, or by the path of its file.

    :raises ProfileError: if there is none, or it is not as it should be.
    """
    path = Path(name_or_path)
    if path.suffix != '.yaml':
        path = profile_folder() / f'{name_or_path}.yaml'
        if not path.is_file():
            raise ProfileError(f'no hardware profile {name_or_path!r}; there are '
                               f'{", ".join(profile_names())}, or give the path of a .yaml')
    try:
        text = path.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(f'{path}: cannot be read ({error})') from error
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ProfileError(f'{path}: not YAML ({str(error).splitlines()[0]})') from error
    return parse_profile(content, str(path))


def parse_profile(content: Any, where: str) -> HardwareProfile:
    """
    Check the content of a profile and return it.

    :param content: as read from YAML.
    :param where: the file, for messages.
    :raises ProfileError: naming the field that is missing, unknown or out of range.
    """
    reader = _Reader(content, where)
    schema = reader.integer('schema')
    if schema > SCHEMA:
        raise ProfileError(f'{where}: schema {schema} is newer than this version reads '
                           f'({SCHEMA}); update prune_perception')
    dataflow = reader.choice('dataflow', DATAFLOWS)
    array = tile = None
    if dataflow == 'row_stationary':
        part = reader.part('array')
        array = Array(*(part.integer(field.name) for field in fields(Array)))
        part.finish()
    else:
        part = reader.part('tile')
        tile = Tile(*(part.integer(field.name) for field in fields(Tile)))
        part.finish()
    part = reader.part('costs')
    costs = Costs(*(part.number(field.name) for field in fields(Costs)))
    part.finish()
    if costs.mac == 0:
        raise ProfileError(f'{where}: costs.mac is 0; the other costs are relative to it')
    profile = HardwareProfile(
        name=reader.text('name'),
        description=reader.text('description'),
        dataflow=dataflow,
        word_bits=reader.integer('word_bits'),
        costs=costs,
        mac_width_exponent=reader.number('mac_width_exponent'),
        joules_per_mac=reader.optional_number('joules_per_mac'),
        static_power_w=reader.optional_number('static_power_w'),
        buffer_words=reader.integer('buffer_words'),
        array=array,
        tile=tile,
        skip_zero_inputs=reader.flag('skip_zero_inputs'),
        map_coding=reader.choice('map_coding', MAP_CODINGS),
        sources=reader.sources('sources'))
    reader.finish()
    return profile


def write_profile(profile: HardwareProfile, path: Path) -> None:
    """Write a profile as YAML that :func:`load_profile` reads back to the same."""
    content = {'schema': SCHEMA, **asdict(profile)}
    content['sources'] = [asdict(source) for source in profile.sources]
    for absent in ('array', 'tile'):
        if content[absent] is None:
            del content[absent]
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True),
                    encoding='utf-8')


class _Reader:
    """Takes fields out of a mapping, and complains by name of what is wrong or left over."""

    def __init__(self, content: Any, where: str, prefix: str = '') -> None:
        if not isinstance(content, Mapping):
            raise ProfileError(f'{where}: {prefix.rstrip(".") or "the file"} is not a mapping '
                               'of fields')
        self._left = dict(content)
        self._where = where
        self._prefix = prefix

    def _take(self, name: str) -> Any:
        if name not in self._left:
            raise ProfileError(f'{self._where}: {self._prefix}{name} is missing')
        return self._left.pop(name)

    def _wrong(self, name: str, value: object, wanted: str) -> ProfileError:
        return ProfileError(f'{self._where}: {self._prefix}{name} is {value!r}, not {wanted}')

    def integer(self, name: str) -> int:
        value = self._take(name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self._wrong(name, value, 'a whole number above 0')
        return value

    def number(self, name: str) -> float:
        value = self._take(name)
        # YAML 1.1 reads 1e-12 as text; only with a point is it a number.
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                pass
        if (isinstance(value, bool) or not isinstance(value, int | float)
                or not 0 <= value < float('inf')):
            raise self._wrong(name, value, 'a number of at least 0')
        return float(value)

    def optional_number(self, name: str) -> float | None:
        if self._left.get(name, '') is None:
            del self._left[name]
            return None
        return self.number(name)

    def text(self, name: str) -> str:
        value = self._take(name)
        if not isinstance(value, str) or not value.strip():
            raise self._wrong(name, value, 'text')
        return value.strip()

    def choice(self, name: str, allowed: Sequence[str]) -> str:
        value = self._take(name)
        if value not in allowed:
            raise self._wrong(name, value, f'one of {", ".join(allowed)}')
        return str(value)

    def flag(self, name: str) -> bool:
        value = self._take(name)
        if not isinstance(value, bool):
            raise self._wrong(name, value, 'true or false')
        return value

    def part(self, name: str) -> '_Reader':
        return _Reader(self._take(name), self._where, f'{self._prefix}{name}.')

    def sources(self, name: str) -> tuple[Source, ...]:
        value = self._take(name)
        if not isinstance(value, list) or not value:
            raise self._wrong(name, value, 'a list of sources; a figure without one is a guess')
        result = []
        for index, entry in enumerate(value):
            part = _Reader(entry, self._where, f'{self._prefix}{name}[{index}].')
            result.append(Source(part.text('figure'), part.text('source'), part.flag('checked')))
            part.finish()
        return tuple(result)

    def finish(self) -> None:
        if self._left:
            raise ProfileError(f'{self._where}: unknown field '
                               f'{self._prefix}{sorted(map(str, self._left))[0]}')
