# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""What each layer of a network takes, as measured: for a plan that is made for latency."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class LayerTimes:
    """
    Time per layer as an engine's own profiler saw it on one machine, medians over runs.

    A layer's time holds what the engine fused to it. What belongs to no layer with weights is in
    ``other``, by the engine's name of the operator: concat, pooling, a change of layout.

    :param network: its name.
    :param engine: its description, with version, device, precision and threads.
    :param threads: for one inference; 0 for the engine's own choice.
    :param machine: that it ran on.
    :param runs: that the medians are over, without the warm-up.
    :param layers: seconds by module path, in the order of execution.
    :param spread: of each layer, the interquartile range of its time divided by its median.
    :param other: seconds by operator.
    :param profiled_seconds: a whole inference while the profiler was on.
    :param seconds: a whole inference without the profiler, run in turn with the profiled ones.
    """

    network: str
    engine: str
    threads: int
    machine: str
    runs: int
    layers: Mapping[str, float]
    spread: Mapping[str, float]
    other: Mapping[str, float]
    profiled_seconds: float
    seconds: float

    @property
    def layer_seconds(self) -> float:
        """The sum over the layers, seconds."""
        return sum(self.layers.values())

    @property
    def other_seconds(self) -> float:
        """The sum over what belongs to no layer, seconds."""
        return sum(self.other.values())

    @property
    def covered(self) -> float:
        """
        Layers and others together, as a part of the whole inference without the profiler.

        Below 1 by what the engine does between operators; above 1 by what the profiler costs.
        """
        return (self.layer_seconds + self.other_seconds) / self.seconds

    @property
    def conditions(self) -> str:
        """The words that belong beside every figure."""
        return f'measured with {self.engine} on {self.machine}, median of {self.runs} runs'

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, ready for JSON."""
        return {
            'measured': True, **asdict(self), 'layer_seconds': self.layer_seconds,
            'other_seconds': self.other_seconds, 'covered': self.covered}
