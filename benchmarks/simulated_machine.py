# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
A machine whose costs are known, with sensors as real ones are, in simulated time.

The package's own meters read it: only their raw figure and the clock are the simulation's. What
is not ideal: runs jitter by 3 %, each block of layers is faster or slower than the model of time
says by 15 %, static power wanders by 2 %, reading a sensor takes time and power.
"""

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
import math

import numpy as np

from prune_perception.calibration.features import Features, features
from prune_perception.calibration.grid import Block
from prune_perception.calibration.measurement import Surroundings
from prune_perception.energy.hardware import HardwareProfile
from prune_perception.energy.meters import (
    COUNTED,
    Counter,
    CounterMeter,
    INTEGRATED,
    Meter,
    MeterInfo,
    PowerMeter,
    Scope,
)

_JITTER, _EFFICIENCY, _WANDERING = 0.03, 0.15, 0.02
_READ_SECONDS = 50e-6
_KEPT = 4096  # points of the past that a sensor can look back at


@dataclass(frozen=True)
class Truth:
    """What a fit should find: watts, joules and seconds, per MAC, per byte and per layer."""

    static_power_w: float
    joules_per_mac: float
    joules_per_byte: float
    seconds_per_mac: float
    seconds_per_byte: float
    seconds_per_layer: float


# The package of a PC's processor: 12 W at rest and about 11 W more for convolutions.
PC = Truth(12.0, 100e-12, 60e-12, 9e-12, 21e-12, 5e-6)
# A small board with its memory: 3 W at rest and about 2.7 W more.
BOARD = Truth(3.0, 120e-12, 300e-12, 45e-12, 180e-12, 20e-6)
# A board on which all that convolutions add is a sixth of what it draws at rest.
MOSTLY_STATIC = Truth(3.0, 25e-12, 300e-12, 45e-12, 180e-12, 20e-6)


class SimulatedMachine:
    """
    Runs blocks by adding up time and energy.

    :param truth: its costs.
    :param base: the profile that says what a block asks of a machine.
    :param seed: of all noise.
    """

    def __init__(self, truth: Truth, base: HardwareProfile, seed: int = 0) -> None:
        self.truth = truth
        self.world = Surroundings(lambda: self._times[-1], self._wait)
        self._base = base
        self._generator = np.random.default_rng(seed)
        self._times, self._joules = [1000.0], [0.0]
        self._wander = 0.0
        self._efficiency: dict[str, float] = {}

    @contextmanager
    def open_block(self, block: Block) -> Iterator['_Runner']:
        """Load a block."""
        if block.name not in self._efficiency:
            self._efficiency[block.name] = math.exp(self._generator.normal(0, _EFFICIENCY))
        yield _Runner(self, features(block.shapes, self._base), self._efficiency[block.name])

    def run(self, given: Features, efficiency: float) -> None:
        """Let the time of a run pass, and draw its energy."""
        truth = self.truth
        seconds = (given.work * truth.seconds_per_mac + given.dram_bytes * truth.seconds_per_byte
                   + given.layers * truth.seconds_per_layer)
        self._pass(seconds * efficiency * math.exp(self._generator.normal(0, _JITTER)),
                   given.on_chip * truth.joules_per_mac
                   + given.dram_bytes * truth.joules_per_byte)

    def rapl(self) -> Meter:
        """Return a counter of 61 uJ that is renewed each millisecond and soon wraps."""
        unit, period, span = 61.035e-6, 1e-3, 2 ** 32
        info = MeterInfo('rapl package', 'package-0', Scope.PACKAGE, 'simulated', period, COUNTED,
                         ('energy_uj',))

        def read() -> int:
            self._wait(_READ_SECONDS)
            renewed = math.floor(self._times[-1] / period) * period
            return (int(self._energy_at(renewed) / unit) + span - 1_000_000) % span
        return CounterMeter(
            info, [Counter('energy_uj', read, unit, span)], most_watts=2000.0,
            clock=self.world.clock)

    def ina3221(self) -> Meter:
        """Return a power sensor of 20 ms, 2 % of noise and steps of 40 mW."""
        period, step, noise = 0.02, 0.04, 0.02
        info = MeterInfo('ina3221 VDD_IN', 'VDD_IN', Scope.MODULE, 'simulated', period,
                         INTEGRATED, ('in1_input', 'curr1_input'))
        renewed: tuple[int, float] = (-1, 0.0)

        def sample() -> float:
            nonlocal renewed
            self._wait(_READ_SECONDS)
            tick = math.floor(self._times[-1] / period)
            if tick != renewed[0]:
                watts = (self._energy_at(tick * period)
                         - self._energy_at((tick - 1) * period)) / period
                watts *= 1 + self._generator.normal(0, noise)
                renewed = tick, round(watts / step) * step
            return renewed[1]
        return PowerMeter(info, sample, most_watts=500.0, least_watts=-1.0,
                          clock=self.world.clock)

    def _wait(self, seconds: float) -> None:
        self._pass(seconds, 0.0)

    def _pass(self, seconds: float, joules: float) -> None:
        # Static power wanders with a memory of about a second.
        kept = math.exp(-seconds)
        self._wander = kept * self._wander + self._generator.normal(
            0, _WANDERING * math.sqrt(1 - kept * kept))
        joules += self.truth.static_power_w * (1 + self._wander) * seconds
        self._times.append(self._times[-1] + seconds)
        self._joules.append(self._joules[-1] + joules)
        if len(self._times) > 2 * _KEPT:
            del self._times[:_KEPT], self._joules[:_KEPT]

    def _energy_at(self, time: float) -> float:
        """Return the energy drawn until then, as if each run drew it evenly."""
        if time <= self._times[0]:
            return self._joules[0]
        place = min(bisect_right(self._times, time), len(self._times) - 1)
        (before, after), (low, high) = (
            next(pairwise(values[place - 1:place + 1]))
            for values in (self._times, self._joules))
        return low + (high - low) * (time - before) / (after - before)


class _Runner:
    def __init__(self, machine: SimulatedMachine, given: Features, efficiency: float) -> None:
        self._machine, self._given, self._efficiency = machine, given, efficiency

    def run(self) -> None:
        """Run once."""
        self._machine.run(self._given, self._efficiency)
