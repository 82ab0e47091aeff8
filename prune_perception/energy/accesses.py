# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Accesses of a layer: how many words of each kind of data move at each level of the memory.

A table of 4 by 4 numbers, with further axes behind when many candidates are counted at once.
The count of a level is what leaves that level towards the arithmetic, and what comes back to
it: handing a word on is charged to the level it comes from, storing it below is not charged
again (as in the analysis of Eyeriss, ISCA 2016).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

KINDS = ('weights', 'input_maps', 'output_maps', 'partial_sums')
LEVELS = ('register_file', 'array', 'buffer', 'dram')
WEIGHTS, INPUT_MAPS, OUTPUT_MAPS, PARTIAL_SUMS = range(4)
REGISTER_FILE, ARRAY, BUFFER, DRAM = range(4)

Table = NDArray[np.float64]

# The run-length code of Eyeriss (JSSC 2017, section IV-B): a run of up to 31 zeros in 5 bits
# and then a value, three such pairs in 64 bits.
_RUN_BITS = 5
_LONGEST_RUN = 31


def empty(shape: Sequence[int] = ()) -> Table:
    """Return a table of zeros, with axes of ``shape`` behind the first two."""
    return np.zeros((len(KINDS), len(LEVELS), *shape))


def run_length_share(density: float, bits: int) -> float:
    """
    Return the size of a run-length coded map relative to the plain one, at most 1.

    Zeros are taken to be independent. A worked example: of 16-bit values, 22.4 % not zero, each
    takes 64 / 3 bits, and (1 - 0.224)**32 of the runs need a further pair: 0.224 * 64 / 3 / 16
    / (1 - 0.0003) = 0.299.

    :param density: the part of the values that are not zero.
    :param bits: of a value.
    """
    if density <= 0:
        return min(1.0, (_RUN_BITS + bits) * 64 / 63 / bits / (_LONGEST_RUN + 1))
    pairs = density / (1 - (1 - density) ** (_LONGEST_RUN + 1))
    return min(1.0, pairs * (_RUN_BITS + bits) * 64 / 63 / bits)
