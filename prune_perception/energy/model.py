# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
The energy model: from a layer's shape, a profile, a width of words and a batch to energy.

Pure functions without torch. Energy is in MACs: one is the energy of a multiply-accumulate on
words of the profile's own width. All of it is modelled, nothing measured.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prune_perception.energy import accesses, blocked, row_stationary
from prune_perception.energy.accesses import (
    BUFFER,
    DRAM,
    INPUT_MAPS,
    KINDS,
    LEVELS,
    OUTPUT_MAPS,
    REGISTER_FILE,
    Table,
    WEIGHTS,
)
from prune_perception.energy.hardware import HardwareProfile
from prune_perception.energy.shapes import ConvolutionShape, MovementShape, Shape

Floats = NDArray[np.float64]

# Widths counted at once; bounds the memory of a long sweep.
_CHUNK = 64


@dataclass(frozen=True)
class LayerCost:
    """
    What one layer costs for one image of a batch.

    :param accesses: (4, 4) words by kind and level, see :mod:`.accesses`.
    :param energy: (4, 4) their energy, MACs.
    :param compute: energy of the arithmetic, MACs.
    :param mapping: how the layer lies on an array; empty where that means nothing.
    """

    accesses: Table
    energy: Table
    compute: float
    mapping: tuple[tuple[str, int], ...] = ()

    @property
    def total(self) -> float:
        """Energy of the layer for one image, MACs."""
        return self.compute + float(self.energy.sum())

    def by_kind(self) -> dict[str, float]:
        """Return the energy of the arithmetic and of each kind of data, MACs."""
        return {'compute': self.compute,
                **dict(zip(KINDS, self.energy.sum(axis=1).tolist(), strict=True))}

    def by_level(self) -> dict[str, float]:
        """Return the energy of the arithmetic and of each level of the memory, MACs."""
        return {'compute': self.compute,
                **dict(zip(LEVELS, self.energy.sum(axis=0).tolist(), strict=True))}


@lru_cache(maxsize=65536)
def layer_cost(shape: Shape, profile: HardwareProfile, batch: int = 1, bits: int | None = None
               ) -> LayerCost:
    """
    Return what a layer costs for one image, when ``batch`` are processed together.

    :param bits: of a word; None for the profile's own width.
    :raises ValueError: for a batch or a width below 1, or a map too wide for the buffer.
    """
    bits = _checked(profile, batch, bits)
    if isinstance(shape, MovementShape):
        return _movement_cost(shape, profile, batch, bits)
    table, mapping = _count(shape, np.array([shape.in_channels]), np.array([shape.out_channels]),
                            np.array([shape.groups]), profile, batch, bits)
    costs = _access_costs(profile, bits)
    per_image = table[:, :, 0] / batch
    if shape.second_operand_is_map:
        per_image[INPUT_MAPS] += per_image[WEIGHTS]
        per_image[WEIGHTS] = 0
    return LayerCost(per_image, per_image * costs,
                     shape.macs * _done(shape, profile) * profile.mac_cost(bits),
                     tuple(sorted(mapping.items())))


def energy_over_widths(shape: ConvolutionShape, in_channels: ArrayLike, out_channels: ArrayLike,
                       profile: HardwareProfile, batch: int = 1, bits: int | None = None
                       ) -> Floats:
    """
    Return the energy of a layer for many widths at once, for one image, MACs.

    This is what a plan of widths asks for thousands of times. A depthwise layer (as many groups
    as channels) stays one: its ``in_channels`` give the groups.

    :param shape: everything of the layer but its widths.
    :param in_channels: (k,) or a number.
    :param out_channels: (k,) or a number.
    :return: (k,) energies, each equal to ``layer_cost(...).total`` of that width.
    :raises ValueError: where widths do not divide into the groups.
    """
    bits = _checked(profile, batch, bits)
    inputs, outputs = np.broadcast_arrays(np.atleast_1d(in_channels), np.atleast_1d(out_channels))
    inputs, outputs = inputs.astype(np.int64), outputs.astype(np.int64)
    depthwise = shape.groups > 1 and shape.groups == shape.in_channels
    groups = inputs if depthwise else np.full_like(inputs, shape.groups)
    if (inputs < 1).any() or (outputs < 1).any() or (inputs % groups).any() or (
            outputs % groups).any():
        raise ValueError(f'widths below 1, or that do not divide into the groups of {shape}')
    costs = _access_costs(profile, bits)
    result = np.empty(inputs.shape)
    for start in range(0, len(inputs), _CHUNK):
        part = slice(start, start + _CHUNK)
        table, _ = _count(shape, inputs[part], outputs[part], groups[part], profile, batch, bits)
        result[part] = np.einsum('kl,kla->a', costs, table) / batch
    taps = shape.kernel[0] * shape.kernel[1] * shape.tap_share
    macs = outputs * (inputs // groups) * taps * shape.output[0] * shape.output[1]
    return result + macs * _done(shape, profile) * profile.mac_cost(bits)


def floor_energy(shapes: Iterable[Shape], weight_words: int, input_words: int,
                 output_words: int, profile: HardwareProfile, batch: int = 1,
                 bits: int | None = None) -> float:
    """
    Return what no schedule can go below on this hardware for this network, one image, MACs.

    Every weight and the network's input and output cross the DRAM's boundary once (weights once
    for the batch), every MAC is done once; no map goes out, nothing is read twice.

    :param shapes: of all layers.
    :param weight_words: of the network, shared ones once.
    :param input_words: of the network's input for one image.
    :param output_words: of the network's output for one image.
    """
    bits = _checked(profile, batch, bits)
    macs = sum(shape.macs * _done(shape, profile)
               for shape in shapes if isinstance(shape, ConvolutionShape))
    words = weight_words / batch + input_words + output_words
    return (macs * profile.mac_cost(bits)
            + words * profile.costs.dram * profile.access_scale(bits))


def _checked(profile: HardwareProfile, batch: int, bits: int | None) -> int:
    if batch < 1:
        raise ValueError(f'a batch of {batch}; it is at least 1')
    bits = profile.word_bits if bits is None else bits
    if not 1 <= bits <= 64:
        raise ValueError(f'words of {bits} bits; they have 1 to 64')
    return bits


def _done(shape: ConvolutionShape, profile: HardwareProfile) -> float:
    return shape.input_density if profile.skip_zero_inputs else 1.0


@lru_cache(maxsize=256)
def _access_costs(profile: HardwareProfile, bits: int) -> Floats:
    """Return the cost of an access by kind and level, (4, 4), MACs."""
    levels = [getattr(profile.costs, level) for level in LEVELS]
    return np.tile(np.array(levels) * profile.access_scale(bits), (len(KINDS), 1))


def _count(shape: ConvolutionShape, in_channels: NDArray[np.int64],
           out_channels: NDArray[np.int64], groups: NDArray[np.int64], profile: HardwareProfile,
           batch: int, bits: int) -> tuple[Table, dict[str, int]]:
    """Return accesses for the whole batch, (4, 4, k), and the first width's mapping."""
    if shape.second_operand_is_map and batch > 1:
        # Each image brings its own second operand: images are further groups.
        table, mapping = _count(shape, in_channels, out_channels, groups, profile, 1, bits)
        return table * batch, mapping
    if profile.dataflow == 'blocked':
        return blocked.count(shape, in_channels, out_channels, groups, profile, batch, bits), {}
    table, chosen = row_stationary.count(shape, in_channels, out_channels, groups, profile,
                                         batch, bits, _access_costs(profile, bits))
    first = row_stationary.Mapping(
        **{name: getattr(chosen, name)[0] for name in ('e', 'n', 'p', 'q', 'r', 't', 'm')},
        columns=chosen.columns)
    return table, first.as_dict()


def _movement_cost(shape: MovementShape, profile: HardwareProfile, batch: int, bits: int
                   ) -> LayerCost:
    """
    Return what moving data costs: in from DRAM through the buffer, and out again.

    Each operation reads one word beside the arithmetic, and each result is written there once.
    """
    table = accesses.empty()
    table[INPUT_MAPS, [BUFFER, DRAM]] = shape.input_words
    table[OUTPUT_MAPS, [BUFFER, DRAM]] = shape.output_words
    table[WEIGHTS, [BUFFER, DRAM]] = shape.weights / batch
    if shape.operations:
        table[INPUT_MAPS, REGISTER_FILE] = shape.operations
        table[OUTPUT_MAPS, REGISTER_FILE] = shape.output_words
    # Additions are linear in the width, as accesses are; only a product goes with its square.
    compute = shape.operations * profile.costs.simple_operation * profile.access_scale(bits)
    return LayerCost(table, table * _access_costs(profile, bits), compute)
