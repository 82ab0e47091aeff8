# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Accesses of a convolution on an array of processing elements, by the row-stationary dataflow.

The dataflow and its parameters are those of Chen, Krishna, Emer, Sze, *Eyeriss* (JSSC 2017),
section IV-A and table II: an element convolves rows of q channels with rows of p filters; a set
of R by e elements makes e rows of the output; r sets on different channels and t sets on
different filters share the array; the buffer holds q * r channels of the input strip and the
partial sums of m filters, of n images each. ``docs/energy.md`` derives the counts. With the
mapping that the paper gives for AlexNet they equal the buffer accesses measured on the chip.

How to choose the mapping is the chip's compiler's affair and is not published in full. Here all
sensible mappings are counted and the one of least energy is taken.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prune_perception.energy import accesses
from prune_perception.energy.accesses import (
    ARRAY,
    BUFFER,
    DRAM,
    INPUT_MAPS,
    OUTPUT_MAPS,
    PARTIAL_SUMS,
    REGISTER_FILE,
    Table,
    WEIGHTS,
)
from prune_perception.energy.hardware import Array, HardwareProfile
from prune_perception.energy.shapes import ConvolutionShape

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# Candidate splits of the array between channels, and of a batch between passes. Between these
# the counts change by little: only the rounded-up number of passes enters.
_STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)


@dataclass(frozen=True)
class Mapping:
    """
    The parameters of the dataflow, under their names in the paper.

    Each is an array, or a number where one mapping is meant.

    :param e: output rows that the array makes at a time.
    :param n: images that a pass processes.
    :param p: filters interleaved in an element.
    :param q: channels interleaved in an element.
    :param r: sets of elements on different channels.
    :param t: sets of elements on different filters.
    :param m: filters whose partial sums the buffer holds.
    :param columns: output columns processed at a time; all of them but for very wide maps.
    """

    e: Ints
    n: Ints
    p: Ints
    q: Ints
    r: Ints
    t: Ints
    m: Ints
    columns: int

    def as_dict(self) -> dict[str, int]:
        """Return one mapping's parameters by name."""
        return {name: int(getattr(self, name))
                for name in ('e', 'n', 'p', 'q', 'r', 't', 'm', 'columns')}


@dataclass(frozen=True)
class _Layer:
    """A layer as the array sees it: one group, a kernel cut to what an element can hold."""

    slices: Ints  # channels, times the parts that the kernel was cut into
    filters: Ints
    rows: int  # of the kernel, after cutting
    taps: int  # columns of the kernel, after cutting
    shape: ConvolutionShape

    def strip_rows(self, e: Ints) -> Ints:
        """Return the input rows that e output rows need."""
        reach = (self.rows - 1) * self.shape.dilation[0] + 1
        # A stride beyond the kernel leaves rows that nobody reads.
        return np.minimum((e - 1) * self.shape.stride[0] + reach, e * self.rows)

    def strip_columns(self, columns: int) -> int:
        """Return the input columns that so many output columns need."""
        reach = (self.taps - 1) * self.shape.dilation[1] + 1
        return (columns - 1) * self.shape.stride[1] + reach


def count(shape: ConvolutionShape, in_channels: Ints, out_channels: Ints, groups: Ints,
          profile: HardwareProfile, batch: int, bits: int, costs: Floats
          ) -> tuple[Table, Mapping]:
    """
    Count the accesses of a layer for many widths, each with its mapping of least energy.

    :param shape: everything of the layer but its widths.
    :param in_channels: (k,) widths to count.
    :param out_channels: (k,) likewise.
    :param groups: (k,) likewise; they divide both widths.
    :param batch: images processed together.
    :param bits: of a word.
    :param costs: (4, 4) cost of an access by kind and level, which the search minimises.
    :return: the accesses for the whole batch, (4, 4, k), and the mapping chosen, fields (k,).
    :raises ValueError: if not even one row of one map fits in the buffer.
    """
    array = profile.array
    assert array is not None  # a row-stationary profile is checked to have one
    layer = _cut(shape, in_channels[:, None] // groups[:, None],
                 out_channels[:, None] // groups[:, None], array, profile, bits)
    room = profile.room(profile.buffer_words, bits)
    candidates, feasible = _candidates(layer, array, profile, room, batch, bits)
    table = count_mapping(layer, candidates, profile, batch, bits)
    energy = np.einsum('kl,klab->ab', costs, table)
    best = np.where(feasible, energy, np.inf).argmin(axis=1)
    if not feasible.any(axis=1).all():
        raise ValueError(f'a row of {shape} does not fit in the buffer of {profile.name}')
    pick = np.arange(len(best)), best
    chosen = Mapping(**{
        name: np.broadcast_to(getattr(candidates, name), energy.shape)[pick]
        for name in ('e', 'n', 'p', 'q', 'r', 't', 'm')}, columns=candidates.columns)
    return table[:, :, pick[0], pick[1]] * groups, chosen


def count_one(shape: ConvolutionShape, mapping: Mapping, profile: HardwareProfile, batch: int,
              bits: int) -> Table:
    """Count the accesses of a layer under a given mapping, for the whole batch, (4, 4)."""
    assert profile.array is not None
    one = np.ones((1, 1), dtype=np.int64)
    layer = _cut(shape, one * (shape.in_channels // shape.groups),
                 one * (shape.out_channels // shape.groups), profile.array, profile, bits)
    return count_mapping(layer, mapping, profile, batch, bits)[:, :, 0, 0] * shape.groups


def _cut(shape: ConvolutionShape, channels: Ints, filters: Ints, array: Array,
         profile: HardwareProfile, bits: int) -> _Layer:
    """
    Cut a kernel that is too tall for the array or too wide for an element.

    The parts are accumulated like further channels.
    """
    row_parts = _ceil(shape.kernel[0], array.rows)
    widest = min(profile.room(array.input_words, bits), profile.room(array.weight_words, bits))
    column_parts = _ceil(shape.kernel[1], max(widest, 1))
    return _Layer(channels * row_parts * column_parts, filters,
                  _ceil(shape.kernel[0], row_parts), _ceil(shape.kernel[1], column_parts), shape)


def _candidates(layer: _Layer, array: Array, profile: HardwareProfile, room: int, batch: int,
                bits: int) -> tuple[Mapping, NDArray[np.bool_]]:
    """Return the mappings to try, fields (k, j), and which of them fit."""
    height, width = layer.shape.output
    bands = array.rows // layer.rows
    tallest = min(height, bands * array.columns)
    first = _ceil(height, tallest)
    heights = {_ceil(height, min(strips, height)) for strips in
               (first, first + 1, first + 2, 2 * first, 3 * first, 4 * first, 8 * first, height)}
    most_channels = max(profile.room(array.input_words, bits) // layer.taps, 1)

    # Columns are divided only if one row of one map is too wide for the buffer.
    parts = 1
    while (layer.rows * layer.strip_columns(_ceil(width, parts)) + _ceil(width, parts) > room
           and parts < width):
        parts += 1
    columns = _ceil(width, parts)

    grid = []
    for e in sorted(heights):
        if e <= array.columns:
            sets = bands * (array.columns // e)
        else:
            sets = bands // _ceil(e, array.columns)
        shares = {min(step, sets) for step in _STEPS}
        images = {min(step, batch) for step in (*_STEPS, batch)}
        grid += [(e, n, q, r, sets // r)
                 for n in images for q in range(1, most_channels + 1) for r in shares]
    e, n, q, r, t = np.array(grid, dtype=np.int64).T[:, None, :]

    q = np.minimum(q, layer.slices)
    r = np.minimum(r, _ceil(layer.slices, q))
    strip = layer.strip_rows(e) * layer.strip_columns(columns)
    held = (room - n * q * r * strip) // (n * e * columns)
    feasible = held >= 1
    held = np.maximum(held, 1)
    # Filters in even groups, as few as the buffer allows; each in even passes, as few as the
    # elements allow. For the layers of AlexNet this gives the paper's p and m.
    m = _ceil(layer.filters, _ceil(layer.filters, np.minimum(held, layer.filters)))
    t = np.minimum(t, m)
    most = np.minimum(profile.room(array.partial_sum_words, bits),
                      profile.room(array.weight_words, bits) // (q * layer.taps))
    feasible = feasible & (most >= 1)
    p = _ceil(m, t * _ceil(m, t * np.maximum(most, 1)))
    return Mapping(e, n, p, q, r, t, m, columns), np.broadcast_to(
        feasible, np.broadcast_shapes(feasible.shape, layer.slices.shape))


def count_mapping(layer: _Layer, mapping: Mapping, profile: HardwareProfile, batch: int,
                  bits: int) -> Table:
    """Count one group's accesses under mappings (k, j), for the whole batch, (4, 4, k, j)."""
    shape = layer.shape
    height, width = shape.output
    e, n, p, q, r, t, m = (mapping.e, mapping.n, mapping.p, mapping.q, mapping.r, mapping.t,
                           mapping.m)
    strips = _ceil(height, e)
    tiles = _ceil(width, mapping.columns)
    image_groups = _ceil(batch, n)
    filter_passes = _in_groups(layer.filters, m, p * t)
    channel_passes = _ceil(layer.slices, q * r)

    # Over all strips: neighbouring ones share input rows, which are read for each.
    reach = (layer.rows - 1) * shape.dilation[0] + 1
    input_rows = np.minimum(height * shape.stride[0] + strips * (reach - shape.stride[0]),
                            height * layer.rows)
    rows_once = (height - 1) * shape.stride[0] + reach
    overlap = (layer.taps - 1) * shape.dilation[1] + 1 - shape.stride[1]
    input_columns = width * shape.stride[1] + tiles * overlap
    columns_once = width * shape.stride[1] + overlap

    taps = shape.kernel[0] * shape.kernel[1] * shape.tap_share
    cuts = _ceil(shape.kernel[0], layer.rows) * _ceil(shape.kernel[1], layer.taps)
    channels = layer.slices // cuts
    weights = channels * layer.filters * taps
    outputs = batch * layer.filters * height * width
    macs = batch * weights * height * width
    done = shape.input_density if profile.skip_zero_inputs else 1.0

    axes = np.broadcast_shapes(layer.slices.shape, np.shape(e), np.shape(filter_passes))
    table = accesses.empty(axes)

    # Filters that fill one pass stay in the elements from strip to strip and image to image.
    stay = (filter_passes == 1) & (channel_passes == 1)
    loads = np.where(stay, 1, strips * tiles * image_groups)
    biases = layer.filters if shape.bias else 0
    table[WEIGHTS, DRAM] = weights * loads + biases
    table[WEIGHTS, BUFFER] = table[WEIGHTS, DRAM]
    table[WEIGHTS, ARRAY] = weights * np.where(stay, e, height * tiles * image_groups)
    table[WEIGHTS, REGISTER_FILE] = macs * done

    words = channels * shape.input[0] * shape.input[1]
    again = input_rows / rows_once * (input_columns / columns_once) * _ceil(layer.filters, m)
    table[INPUT_MAPS, DRAM] = batch * words * again * _coded(profile, shape.input_density, bits)
    table[INPUT_MAPS, BUFFER] = (batch * layer.slices * input_rows * input_columns
                                 * filter_passes)
    table[INPUT_MAPS, ARRAY] = (batch * layer.slices * layer.rows * height * input_columns
                                * _in_groups(layer.filters, m, p))
    table[INPUT_MAPS, REGISTER_FILE] = macs

    inside = q * layer.taps
    table[PARTIAL_SUMS, REGISTER_FILE] = 2 * macs * done * (inside - 1) / inside
    table[PARTIAL_SUMS, ARRAY] = outputs * (layer.rows * _ceil(layer.slices, q) - channel_passes)
    table[PARTIAL_SUMS, BUFFER] = 2 * outputs * (channel_passes - 1)

    table[OUTPUT_MAPS, BUFFER] = 2 * outputs
    table[OUTPUT_MAPS, DRAM] = outputs * _coded(profile, shape.output_density, bits)
    return table


def _coded(profile: HardwareProfile, density: float, bits: int) -> float:
    if profile.map_coding == 'run_length':
        return accesses.run_length_share(density, bits)
    return 1.0


def _in_groups(filters: Ints, m: Ints, size: Ints) -> Ints:
    """Return how many parts of ``size`` the filters make, when no part spans groups of m."""
    return filters // m * _ceil(m, size) + _ceil(filters % m, size)


def _ceil(a, b):  # type: ignore[no-untyped-def]  # int or array in, the same out
    return -(-a // b)
