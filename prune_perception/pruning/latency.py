# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""How long two networks take for an image in the same engine, measured in turns."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
import statistics
import tempfile
import time

import numpy as np
from numpy.typing import NDArray
from torch import nn

from prune_perception.bundle import Card, GRAPH, write_bundle
from prune_perception.networks.export import bundle_files
from prune_perception.networks.registry import spec_of
from prune_perception.runtime.engines import create_engine, Engine, EngineOptions
from prune_perception.runtime.machine import machine_name

ENGINE = 'onnxruntime'
_ROUNDS = 15
_RUNS = 3  # of one network before the other's turn


@dataclass(frozen=True)
class Latency:
    """
    Times for one image, inference alone, s.

    Machines are noisy: the ratio, which comes from pairs, says more than either time.

    :param dense: median.
    :param pruned: median.
    :param speedup: median of the ratios of neighbouring turns, dense over pruned.
    :param engine: that ran both.
    :param machine: that it ran on.
    """

    dense: float
    pruned: float
    speedup: float
    engine: str
    machine: str


def engine_of(card: Card, files: Mapping[str, bytes], name: str = ENGINE) -> Engine:
    """
    Return an engine that runs a network that is not written yet.

    :param name: of the engine.
    """
    with tempfile.TemporaryDirectory() as folder:
        bundle = write_bundle(Path(folder) / 'network', card, files)
        return create_engine(bundle, EngineOptions(name))


def engine_for(card: Card, module: nn.Module, name: str = ENGINE) -> Engine:
    """
    Return an engine that runs a torch network; the card need not know its widths.

    :param name: of the engine.
    """
    files = bundle_files(module, card)
    if name != 'torch':
        return engine_of(replace(card, network=None), {GRAPH: files[GRAPH]}, name)
    assert card.network is not None  # what is pruned has a card that names it
    spec = spec_of(card.network.name, module, card.network.settings)
    return engine_of(replace(card, network=spec), files, name)


def compare(dense: Engine, dense_card: Card, pruned: Engine, pruned_card: Card,
            engine: str = ENGINE, rounds: int = _ROUNDS) -> Latency:
    """
    Measure two networks in turns, so that what else the machine does falls on both.

    :param engine: name of the one that runs both.
    """
    images = [np.full((1, card.input.height, card.input.width, 3), 127, np.uint8)
              for card in (dense_card, pruned_card)]
    for network, image in zip((dense, pruned), images, strict=True):
        _seconds(network, image, 2)
    times: list[tuple[float, float]] = []
    for _ in range(rounds):
        times.append((_seconds(dense, images[0], _RUNS), _seconds(pruned, images[1], _RUNS)))
    return Latency(
        statistics.median(first for first, _ in times),
        statistics.median(second for _, second in times),
        statistics.median(first / second for first, second in times), engine, machine_name())


def _seconds(engine: Engine, image: NDArray[np.uint8], runs: int) -> float:
    durations = []
    for _ in range(runs):
        start = time.monotonic()
        engine.run(image)
        durations.append(time.monotonic() - start)
    return min(durations)
