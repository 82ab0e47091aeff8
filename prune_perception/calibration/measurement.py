# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Run the blocks of the grid and look at the clock, and at the meter where there is one.

Other work comes and goes on a machine. So all blocks are run in each of several rounds, each
round in another order: what slows one round down slows all blocks alike, and the median over
rounds leaves single disturbances out.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
import statistics
import time
from typing import Protocol

import numpy as np

from prune_perception.calibration import CalibrationError
from prune_perception.calibration.features import Features
from prune_perception.calibration.fit import Observation
from prune_perception.calibration.grid import Block
from prune_perception.energy.meters import INTEGRATED, Meter, MeterError, Reading
from prune_perception.energy.window import (
    EnergyPerFrame,
    EnergyWindow,
    LEAST_SECONDS,
    LEAST_UPDATES,
    Unavailable,
)

_BURST_SECONDS = 0.15
_BURST_RUNS = 5
_WARM_UP = 2
_MARGIN = 1.1  # on what a window needs at the least; the last update may be just missed
_PATIENCE = 6  # windows; a meter that gives no figure in that time gives none
_FAILED_READS = 3
# What a machine draws at rest wanders, and static power is most of what it draws at all.
_BLOCKS_BETWEEN_RESTS = 6


class Runner(Protocol):
    """A block in an engine."""

    def run(self) -> None:
        """Run it once."""


Opener = Callable[[Block], AbstractContextManager[Runner]]
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Surroundings:
    """What a measurement needs of the world; a test brings its own."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Measurements:
    """
    What was seen.

    :param observations: of each block that was run.
    :param quiet_watts: mean power of each quiet period; empty without a meter.
    :param rounds: that were begun.
    :param complete: whether every block was run in every round.
    :param seconds: that it took.
    """

    observations: tuple[Observation, ...]
    quiet_watts: tuple[float, ...]
    rounds: int
    complete: bool
    seconds: float


@dataclass(frozen=True)
class _Sample:
    seconds: float
    energy: EnergyPerFrame | None


def measure(
        blocks: Sequence[tuple[Block, Features]], open_block: Opener, *, rounds: int,
        meter: Meter | None = None, time_limit: float | None = None, seed: int = 0,
        progress: Progress = lambda done, total, name: None,
        world: Surroundings | None = None) -> Measurements:
    """
    Measure blocks.

    :param blocks: with what each asks of the machine.
    :param open_block: loads a block into an engine.
    :param rounds: how often each block is run, at other places of the order.
    :param meter: read meanwhile; each block is then run for a whole window of it.
    :param time_limit: seconds after which no further block is begun.
    :param seed: of the orders.
    :param progress: called before each block with those done, all, and the name.
    :param world: clock and sleep.
    :raises CalibrationError: the meter fails again and again.
    :raises EngineError: a block cannot be loaded.
    """
    if rounds < 1:
        raise CalibrationError(f'{rounds} rounds; at least 1 is needed')
    world = world or Surroundings()
    generator = np.random.default_rng(seed)
    begin = world.clock()
    samples: dict[str, list[_Sample]] = defaultdict(list)
    quiet: list[float] = []
    total, done, started = rounds * len(blocks), 0, 0

    def late() -> bool:
        return time_limit is not None and world.clock() - begin > time_limit

    def rest() -> None:
        if meter is not None:
            progress(done, total, 'quiet period')
            quiet.append(_quiet_power(meter, world))

    for _ in range(rounds):
        if late():
            break
        started += 1
        for place, index in enumerate(generator.permutation(len(blocks)).tolist()):
            if late():
                break
            if place % _BLOCKS_BETWEEN_RESTS == 0:
                rest()
            block = blocks[index][0]
            progress(done, total, block.name)
            with open_block(block) as runner:
                samples[block.name].append(
                    _timed(runner, world) if meter is None else _metered(runner, meter, world))
            done += 1
    rest()
    progress(done, total, '')
    return Measurements(
        tuple(_combine(block.name, given, samples[block.name])
              for block, given in blocks if samples[block.name]),
        tuple(quiet), started, done == total, world.clock() - begin)


def window_seconds(meter: Meter) -> float:
    """Return how long a window of a meter has to be, seconds."""
    return max(LEAST_SECONDS, LEAST_UPDATES * meter.update_period) * _MARGIN


def _timed(runner: Runner, world: Surroundings) -> _Sample:
    """Run for a burst and return the median time of a run."""
    for _ in range(_WARM_UP):
        runner.run()
    durations: list[float] = []
    begin = world.clock()
    while len(durations) < _BURST_RUNS or world.clock() - begin < _BURST_SECONDS:
        start = world.clock()
        runner.run()
        durations.append(world.clock() - start)
    return _Sample(statistics.median(durations), None)


def _metered(runner: Runner, meter: Meter, world: Surroundings) -> _Sample:
    """Run for a window of the meter and return time and energy of a run."""
    begin, runs = world.clock(), 0
    while runs < _WARM_UP or world.clock() - begin < _settling(meter):
        runner.run()
        runs += 1
    durations: list[float] = []

    def work() -> None:
        start = world.clock()
        runner.run()
        durations.append(world.clock() - start)
    window = _watch(meter, world, work)
    energy = window.energy_per_frame()
    if isinstance(energy, Unavailable):
        raise CalibrationError(f'no energy could be measured: {energy.reason}')
    return _Sample(statistics.median(durations), energy)


def _quiet_power(meter: Meter, world: Surroundings) -> float:
    """Do nothing for a window of the meter, and return the mean power, watts."""
    world.sleep(_settling(meter))
    window = _watch(meter, world, lambda: world.sleep(_cadence(meter)))
    power = window.average_power()
    if isinstance(power, Unavailable):
        raise CalibrationError(f'no quiet period could be measured: {power.reason}')
    return power.watts


def _watch(meter: Meter, world: Surroundings, work: Callable[[], None]) -> EnergyWindow:
    """Repeat some work until a window of the meter is full."""
    needed = window_seconds(meter)
    # Nothing may be dropped from the start: durations are of the whole window.
    window = EnergyWindow(meter.info, seconds=needed * _PATIENCE * 2)
    failed = 0
    begin = last = world.clock()
    _add(window, meter)
    while True:
        work()
        window.add_frames()
        now = world.clock()
        if now - last < _cadence(meter):
            continue
        last = now
        reading = _add(window, meter)
        failed = 0 if reading is not None else failed + 1
        full = now - begin >= needed and reading is not None and not isinstance(
            window.average_power(), Unavailable)
        if full:
            return window
        if failed >= _FAILED_READS or now - begin > needed * _PATIENCE:
            raise CalibrationError(_complaint(meter, window))


def _settling(meter: Meter) -> float:
    """Return the seconds after which the meter's figure is of what runs now, not of before."""
    return 2 * meter.update_period


def _cadence(meter: Meter) -> float:
    """Return the seconds between two reads: a counter needs few, power each update."""
    if meter.info.method == INTEGRATED:
        return meter.update_period
    return max(meter.update_period, window_seconds(meter) / 20)


def _add(window: EnergyWindow, meter: Meter) -> Reading | None:
    try:
        reading = meter.read()
    except MeterError:
        return None
    window.add_reading(reading)
    return reading


def _complaint(meter: Meter, window: EnergyWindow) -> str:
    try:
        meter.read()
    except MeterError as error:
        return f'the meter cannot be read: {error}'
    power = window.average_power()
    reason = power.reason if isinstance(power, Unavailable) else 'its reads fail now and then'
    return f'meter {meter.name} gives no figure: {reason}'


def _combine(name: str, given: Features, samples: Sequence[_Sample]) -> Observation:
    seconds = [sample.seconds for sample in samples]
    middle = statistics.median(seconds)
    energies = [sample.energy for sample in samples if sample.energy is not None]
    if not energies:
        return Observation(name, given, middle, (max(seconds) - min(seconds)) / middle)
    # Means here: a disturbance adds to the energy and to the time that belongs to it.
    frames = sum(energy.frames for energy in energies)
    return Observation(
        name, given, middle, (max(seconds) - min(seconds)) / middle,
        wall_seconds=sum(energy.seconds for energy in energies) / frames,
        joules=sum(energy.joules * energy.frames for energy in energies) / frames)
