# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Accesses of a convolution on a processor with caches, done as a blocked product of matrices.

A kernel keeps a tile of the output in registers through the whole reduction. For each step of
it, it loads one weight for each of the tile's filters and one input for each of its positions:
so a weight loaded serves ``tile.outputs`` MACs and an input ``tile.filters``. Outside, either
weights or maps stay in the cache by blocks of half of it, and the other is streamed past once
per block: whichever moves less.
"""

import numpy as np
from numpy.typing import NDArray

from prune_perception.energy import accesses
from prune_perception.energy.accesses import (
    BUFFER,
    DRAM,
    INPUT_MAPS,
    OUTPUT_MAPS,
    PARTIAL_SUMS,
    REGISTER_FILE,
    Table,
    WEIGHTS,
)
from prune_perception.energy.hardware import HardwareProfile
from prune_perception.energy.shapes import ConvolutionShape

Ints = NDArray[np.int64]


def count(shape: ConvolutionShape, in_channels: Ints, out_channels: Ints, groups: Ints,
          profile: HardwareProfile, batch: int, bits: int) -> Table:
    """
    Count the accesses of a layer for many widths, for the whole batch.

    :param shape: everything of the layer but its widths.
    :param in_channels: (k,) widths to count.
    :param out_channels: (k,) likewise.
    :param groups: (k,) likewise; they divide both widths.
    :return: (4, 4, k).
    """
    tile = profile.tile
    assert tile is not None  # a blocked profile is checked to have one
    height, width = shape.output
    taps = shape.kernel[0] * shape.kernel[1] * shape.tap_share
    weights = out_channels * (in_channels // groups) * taps
    positions = batch * height * width
    macs = positions * weights
    # A stride beyond the kernel leaves input that nobody reads.
    used = min(1.0, shape.kernel[0] / shape.stride[0]) * min(1.0, shape.kernel[1]
                                                             / shape.stride[1])
    inputs = batch * in_channels * shape.input[0] * shape.input[1] * used
    outputs = positions * out_channels
    filters = out_channels // groups
    done = shape.input_density if profile.skip_zero_inputs else 1.0

    table = accesses.empty(np.shape(macs))
    table[WEIGHTS, REGISTER_FILE] = macs * done
    table[INPUT_MAPS, REGISTER_FILE] = macs
    table[PARTIAL_SUMS, REGISTER_FILE] = 2 * macs * done

    # A tile that the layer does not fill serves fewer MACs for what it loads.
    table[WEIGHTS, BUFFER] = macs / min(tile.outputs, positions)
    table[INPUT_MAPS, BUFFER] = macs / np.minimum(tile.filters, filters)
    table[OUTPUT_MAPS, BUFFER] = outputs

    half = profile.room(profile.buffer_words, bits) / 2
    together = weights + inputs + outputs <= 2 * half
    weight_blocks = np.where(together, 1, np.ceil(weights / half))
    input_blocks = np.where(together, 1, np.ceil(inputs / half))
    keep_weights = weights + inputs * weight_blocks <= weights * input_blocks + inputs
    table[WEIGHTS, DRAM] = (np.where(keep_weights, weights, weights * input_blocks)
                            + (out_channels if shape.bias else 0))
    input_share, output_share = 1.0, 1.0
    if profile.map_coding == 'run_length':
        input_share = accesses.run_length_share(shape.input_density, bits)
        output_share = accesses.run_length_share(shape.output_density, bits)
    table[INPUT_MAPS, DRAM] = (np.where(keep_weights, inputs * weight_blocks, inputs)
                               * input_share)
    table[OUTPUT_MAPS, DRAM] = outputs * output_share
    return table
