# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Where the numbers of each anchor lie in a network's outputs, found out by their shapes.

An anchor is a place that a detection can come from: a cell of a map, or one of several boxes at
a cell. Networks give the same numbers in many forms: a map for each level of the pyramid or all
levels in rows, all fields of an anchor joined or each by itself, channels before or after the
cells. Here each form becomes *blocks*: parts of the outputs that can be looked at, without a
copy, as anchors by numbers.

Anchors are numbered level by level, in a level row by row, in a row column by column, and at a
cell one after the other.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_perception.bundle import InputSpec, OutputSpec
from prune_perception.runtime.decoders.settings import choice

MOST_ANCHORS = 1 << 22
"""A map of 2048 x 2048 cells: a card that claims more would only take the memory."""


@dataclass(frozen=True)
class Level:
    """
    A map of the pyramid.

    :param rows: cells from top to bottom.
    :param columns: cells from left to right.
    :param anchors: at each cell.
    """

    rows: int
    columns: int
    anchors: int = 1

    @property
    def size(self) -> int:
        """How many anchors there are."""
        return self.rows * self.columns * self.anchors


@dataclass(frozen=True)
class Part:
    """
    Where one field of a block's anchors lies.

    :param output: index of the output.
    :param channels: length of the output's axis of channels.
    :param first: channel of the field.
    :param size: channels of the field.
    :param last: the channels are the output's last axis, not the one after the batch.
    :param batched: the output has an axis for the batch.
    """

    output: int
    channels: int
    first: int
    size: int
    last: bool
    batched: bool = True

    def read(self, outputs: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return (anchors, size), a view of the outputs of one image."""
        array = outputs[self.output]
        end = self.first + self.size
        if self.last:
            return array.reshape(-1, self.channels)[:, self.first:end]
        return array.reshape(self.channels, -1)[self.first:end].T


@dataclass(frozen=True, eq=False)
class Block:
    """
    Some anchors whose fields can be looked at together.

    :param anchors: (n,) their numbers, rising.
    :param parts: where each field of theirs lies.
    """

    anchors: NDArray[np.int64]
    parts: Mapping[str, Part]

    def read(self, outputs: Sequence[NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Return each field of the anchors, (n, size): views of the outputs of one image."""
        return {name: part.read(outputs) for name, part in self.parts.items()}


@dataclass(frozen=True, eq=False)
class Layout:
    """
    The blocks of a network's outputs.

    :param levels: of the pyramid.
    :param blocks: which hold each anchor once.
    """

    levels: tuple[Level, ...]
    blocks: tuple[Block, ...]

    @property
    def size(self) -> int:
        """How many anchors there are."""
        return sum(level.size for level in self.levels)

    def mirror(self) -> NDArray[np.int64]:
        """Return (size,): for each anchor, the one at its place in a mirrored image."""
        places, start = [], 0
        for level in self.levels:
            numbers = np.arange(start, start + level.size).reshape(
                level.rows, level.columns, level.anchors)
            places.append(numbers[:, ::-1].reshape(-1))
            start += level.size
        return np.concatenate(places)


def levels_of(
        fed: InputSpec, strides: Sequence[float], anchors: Sequence[int] | None = None
        ) -> tuple[Level, ...]:
    """
    Return the levels that an input makes.

    :param strides: network pixels a cell; cells that the input covers in part count.
    :param anchors: at a cell, for each level; 1 without.
    """
    # A stride such as 320 / 3 must not make a fourth cell of a rounding error.
    return tuple(
        Level(math.ceil(fed.height / stride - 1e-6), math.ceil(fed.width / stride - 1e-6), number)
        for stride, number in zip(strides, anchors or [1] * len(strides), strict=True))


def centres(
        levels: Sequence[Level], strides: Sequence[tuple[float, float]], offset: float = 0.5
        ) -> NDArray[np.float32]:
    """
    Return the point of each anchor, (anchors, 2) x and y in network pixels.

    :param strides: across and down, network pixels a cell, for each level.
    :param offset: of the point in its cell, from 0 to 1.
    """
    points = []
    for level, (across, down) in zip(levels, strides, strict=True):
        y, x = np.mgrid[:level.rows, :level.columns].astype(np.float64) + offset
        cells = np.stack([x * across, y * down], -1).reshape(-1, 2)
        points.append(np.repeat(cells, level.anchors, 0))
    return np.concatenate(points).astype(np.float32)


def find_layout(
        fields: Mapping[str, int], levels: Sequence[Level], outputs: Sequence[OutputSpec],
        order: Sequence[str] | None = None, channels: Any = None) -> Layout:
    """
    Find the fields of each anchor in a network's outputs.

    :param fields: how many numbers an anchor has of each, in the order that is usual.
    :param levels: of the pyramid.
    :param outputs: of the card.
    :param order: of the fields, where it is not the usual one.
    :param channels: ``first`` or ``last``: where they stand in outputs whose shapes do not tell.
        Without it, they stand there as in the outputs that do.
    :raises ValueError: the outputs are of none of the forms, or fit in several.
    """
    if order is not None and sorted(order) != sorted(fields):
        raise ValueError(f'order is {", ".join(order)}; it must name {", ".join(fields)}, each '
                         'once')
    total = sum(level.size for level in levels)
    if total > MOST_ANCHORS:
        raise ValueError(f'there would be {total} anchors; {MOST_ANCHORS} are the most')
    if channels is not None:
        choice('channels', channels, ('first', 'last'))
    names = tuple(order or fields)
    found = list(_joined(fields, names, levels, outputs, channels))
    if not found:
        for permuted in [names] if order else permutations(fields):
            found += _separate(fields, permuted, levels, outputs, channels)
    if not found:
        raise ValueError(_misfit(fields, levels, outputs, channels))
    # By where each field lies, without and with the axis of its channels.
    places = {tuple((name, part.output, part.first) for block in blocks
                    for name, part in sorted(block.parts.items())) for blocks in found}
    ways = {tuple((name, part) for block in blocks for name, part in sorted(block.parts.items())):
            blocks for blocks in found}
    shown = ', '.join(repr(output.name) for output in outputs)
    if len(places) > 1:
        raise ValueError(f'the shapes of outputs {shown} do not tell which is which; set order '
                         f'to what they are, of {", ".join(fields)}')
    if len(ways) > 1:
        raise ValueError(f'the shapes of outputs {shown} do not tell whether their channels come '
                         'before or after the cells; set channels to first or last')
    return Layout(tuple(levels), next(iter(ways.values())))


@dataclass(frozen=True)
class _Form:
    """
    How an output can be read.

    :param lasts: whether its channels come last; both where that is open.
    :param tells: whether it could not be read in another way: one channel or one cell can.
    """

    lasts: tuple[bool, ...]
    tells: bool
    batched: bool = True


def _agreed(forms: Sequence[_Form | None], channels: str | None
            ) -> list[list[tuple[bool, bool]]]:
    """Return the ways to read outputs together: of each, whether channels come last, and batch."""
    known = [form for form in forms if form is not None]
    if len(known) < len(forms):
        return []
    told = {form.lasts[0] for form in known if form.tells}
    if channels is not None:
        wanted = channels == 'last'
        if told and wanted not in told and all(len(form.lasts) == 1 for form in known):
            return []
        told = {wanted}
    return [[(form.lasts[0] if len(form.lasts) == 1 else last, form.batched) for form in known]
            for last in (told if len(told) == 1 else (False, True))]


def _joined(fields: Mapping[str, int], names: Sequence[str], levels: Sequence[Level],
            outputs: Sequence[OutputSpec], channels: str | None
            ) -> Iterator[tuple[Block, ...]]:
    """Yield the blocks of outputs that hold all fields of an anchor together."""
    width, first, parts = sum(fields.values()), 0, dict[str, int]()
    for name in names:
        parts[name] = first
        first += fields[name]
    if len(outputs) == 1:
        rows = _rows(outputs[0], sum(level.size for level in levels), width)
        for (form,) in _agreed([rows], channels):
            yield (_row_block(levels, {
                name: Part(0, width, parts[name], fields[name], *form) for name in names}),)
    if len(outputs) != len(levels):
        return
    maps = [_map(output, level, width) for output, level in zip(outputs, levels, strict=True)]
    for forms in _agreed(maps, channels):
        blocks: list[Block] = []
        for index, (start, level) in enumerate(_starts(levels)):
            blocks += _map_blocks(start, level, {
                name: Part(index, width, parts[name], fields[name], *forms[index])
                for name in names})
        yield tuple(blocks)


def _separate(fields: Mapping[str, int], names: Sequence[str], levels: Sequence[Level],
              outputs: Sequence[OutputSpec], channels: str | None
              ) -> Iterator[tuple[Block, ...]]:
    """Yield the blocks of outputs that hold one field each."""
    if len(outputs) == len(names):
        total = sum(level.size for level in levels)
        rows = [_rows(output, total, fields[name])
                for output, name in zip(outputs, names, strict=True)]
        for forms in _agreed(rows, channels):
            yield (_row_block(levels, {
                name: Part(index, fields[name], 0, fields[name], *forms[index])
                for index, name in enumerate(names)}),)
    if len(outputs) != len(names) * len(levels):
        return
    for by_level in (False, True):
        places = {
            (name, level): level * len(names) + field if by_level else field * len(levels) + level
            for field, name in enumerate(names) for level in range(len(levels))}
        maps = [_map(outputs[index], levels[level], fields[name])
                for (name, level), index in places.items()]
        for forms in _agreed(maps, channels):
            form_of = dict(zip(places, forms, strict=True))
            blocks: list[Block] = []
            for number, (start, level) in enumerate(_starts(levels)):
                blocks += _map_blocks(start, level, {
                    name: Part(places[name, number], fields[name], 0, fields[name],
                               *form_of[name, number]) for name in names})
            yield tuple(blocks)


def _rows(output: OutputSpec, total: int, width: int) -> _Form | None:
    """Return how an output can be read as rows of anchors; None if it holds none."""
    shape = output.shape
    batched = len(shape) == 3 and shape[0] == 1
    plain = shape[1:] if batched else shape
    lasts = tuple(last for last, wanted in ((True, (total, width)), (False, (width, total)))
                  if plain == wanted)
    if lasts:
        same = min(total, width) == 1  # then it is the same numbers one after the other
        return _Form(lasts[:1] if same else lasts, len(lasts) == 1 and not same, batched)
    # One number an anchor may have no axis of its own.
    if width == 1 and shape in ((1, total), (total,)):
        return _Form((True,), False, len(shape) == 2)
    return None


def _map(output: OutputSpec, level: Level, width: int) -> _Form | None:
    """Return how an output can be read as a level's map; None if it is no such map."""
    channels = level.anchors * width
    lasts = tuple(last for last, wanted in (
        (False, (1, channels, level.rows, level.columns)),
        (True, (1, level.rows, level.columns, channels))) if output.shape == wanted)
    if not lasts:
        return None
    same = min(channels, level.rows * level.columns) == 1
    return _Form(lasts[:1] if same else lasts, len(lasts) == 1 and not same)


def _starts(levels: Sequence[Level]) -> list[tuple[int, Level]]:
    """Return each level with the number of its first anchor."""
    starts = np.cumsum([0, *(level.size for level in levels)])
    return [(int(start), level) for start, level in zip(starts, levels, strict=False)]


def _row_block(levels: Sequence[Level], parts: Mapping[str, Part]) -> Block:
    return Block(np.arange(sum(level.size for level in levels)), parts)


def _map_blocks(start: int, level: Level, parts: Mapping[str, Part]) -> list[Block]:
    """
    Return a block for each anchor at the cells of a level.

    :param start: number of the level's first anchor.
    :param parts: as they would be with one anchor at a cell.
    """
    return [
        Block(start + np.arange(anchor, level.size, level.anchors), {
            name: replace(part, channels=level.anchors * part.channels,
                          first=anchor * part.channels + part.first)
            for name, part in parts.items()})
        for anchor in range(level.anchors)]


def _misfit(fields: Mapping[str, int], levels: Sequence[Level],
            outputs: Sequence[OutputSpec], channels: str | None) -> str:
    """Return why outputs do not fit, with what would."""
    total, width = sum(level.size for level in levels), sum(fields.values())
    numbers = ', '.join(f'{size} of {name}' for name, size in fields.items())
    maps = ', '.join(str([1, level.anchors * width, level.rows, level.columns])
                     for level in levels)
    given = ', '.join(f'{output.name!r} {list(output.shape)}' for output in outputs)
    return (f'outputs {given} do not hold {numbers} for {total} anchors; that would be '
            f'{maps}, or {[1, total, width]}, or one output for each of '
            f'{", ".join(fields)}'
            + (f', with channels {channels}' if channels else ''))
