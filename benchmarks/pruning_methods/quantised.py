# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Integers of 8 bits, calibrated on frames without labels: as ``prune-perception quantize``."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from prune_perception.bundle import Bundle, GRAPH, Quantisation, write_bundle
from prune_perception.pruning.int8_graph import BITS, prepare, quantised_graph
from prune_perception.pruning.quantiser import CALIBRATION_FRAMES
from pruning_methods.scenes import fed_with, Image
from pruning_methods.training import spread


def quantised(bundle: Bundle, images: Sequence[Image], folder: Path) -> Bundle:
    """
    Write a bundle whose graph computes in integers everywhere.

    :param images: to calibrate on.
    :param folder: of the new bundle.
    """
    fed = fed_with(spread(images, CALIBRATION_FRAMES), bundle.card.input)
    graph = quantised_graph(prepare(bundle.read_file(GRAPH)), fed)
    card = replace(bundle.card, name=f'{bundle.card.name}_int8', network=None, energy={},
                   quantisation=Quantisation(BITS))
    return write_bundle(folder, card, {GRAPH: graph}, overwrite=True)
