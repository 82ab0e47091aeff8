# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""From a machine to a hardware profile: measure the grid, fit, and keep how it was done."""

from dataclasses import asdict, dataclass, replace
import datetime
import json
import os
from pathlib import Path
import platform
import tempfile
from typing import Any

from prune_perception import __version__
from prune_perception.calibration import CalibrationError
from prune_perception.calibration.features import features
from prune_perception.calibration.fit import EnergyFit, Errors, fit_energy, fit_time, TimeFit
from prune_perception.calibration.graphs import block_model
from prune_perception.calibration.grid import Block, grid, held_back
from prune_perception.calibration.measurement import (
    measure,
    Measurements,
    Opener,
    Progress,
    Surroundings,
)
from prune_perception.calibration.sessions import open_session, random_feeds, Session
from prune_perception.energy.hardware import (
    HardwareProfile,
    load_profile,
    Source,
    write_profile,
)
from prune_perception.energy.meters import best, Discovery, Meter, MeterError, MeterInfo, Scope
from prune_perception.runtime.engines import EngineOptions
from prune_perception.runtime.machine import machine_name

SCHEMA = 1
ROUNDS = 5
ROUNDS_METERED = 3  # a window of a meter is several bursts long
# Of the engines' arithmetic here; see sessions.open_session.
_BITS = 32


@dataclass(frozen=True)
class Calibration:
    """
    What a machine was found to cost.

    :param machine: its name.
    :param engine: description, with version, precision and threads.
    :param threads: for one inference; 0 for the engine's own choice.
    :param base: the profile whose access model and costs on the chip were kept.
    :param meter: that was read; None for none.
    :param no_energy: why there is no energy; empty where there is.
    :param date: of the measurement, ISO 8601.
    :param measurements: all that was seen.
    :param time: the fit of time.
    :param energy: the fit of energy, or None.
    """

    machine: str
    engine: str
    threads: int
    base: HardwareProfile
    meter: MeterInfo | None
    no_energy: str
    date: str
    measurements: Measurements
    time: TimeFit
    energy: EnergyFit | None

    def profile(self, name: str) -> HardwareProfile:
        """
        Return the base profile with what was fitted in it.

        Without energy it has no joules and no static power: none were measured, and those of
        another machine would be taken for this one's.
        """
        kept = tuple(replace(source, source=f'base profile {self.base.name}: {source.source}')
                     for source in self.base.sources)
        if self.energy is None:
            return replace(
                self.base, name=name, joules_per_mac=None, static_power_w=None,
                description=f'{self.machine}, no joules: costs relative to a MAC are those of '
                            f'{self.base.name}, not measured; time alone was fitted',
                sources=(self._time_source(), *kept))
        word_bytes = self.base.word_bits / 8
        dram = self.energy.joules_per_byte * word_bytes / self.energy.joules_per_mac
        return replace(
            self.base, name=name, joules_per_mac=self.energy.joules_per_mac,
            static_power_w=self.energy.static_power_w,
            costs=replace(self.base.costs, dram=dram),
            description=f'{self.machine}, fitted to {self.meter_words}',
            sources=(self._energy_source(self.energy), self._time_source(), *kept))

    @property
    def meter_words(self) -> str:
        """The meter and what it includes."""
        if self.meter is None:
            return 'no meter'
        return f'meter {self.meter.name} ({self.meter.scope.value}; {self.meter.includes})'

    @property
    def conditions(self) -> str:
        """How it was measured, in words."""
        return (f'measured with prune_perception {__version__} on {self.machine}, '
                f'{self.engine}, {self.meter_words}, rounds: {self.measurements.rounds}, '
                f'{self.date}')

    def _energy_source(self, fit: EnergyFit) -> Source:
        return Source(
            f'static power {fit.static_power_w:.4g} W (idle as measured '
            f'{fit.idle_power_w:.4g} W), {fit.joules_per_mac:.4g} J per MAC, '
            f'{fit.joules_per_byte:.4g} J per byte of DRAM; error on layers held back: '
            f'{fit.held_back}; costs on the chip and of simple operations relative to a MAC are '
            'those of the base profile', self.conditions, True)

    def _time_source(self) -> Source:
        fit = self.time
        return Source(
            f'time: {fit.seconds_per_mac:.4g} s per MAC, {fit.seconds_per_byte:.4g} s per byte '
            f'of DRAM, {fit.seconds_per_layer:.4g} s per layer; error on layers held back: '
            f'{fit.held_back}', self.conditions, True)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, ready for JSON."""
        return {
            'schema': SCHEMA, 'tool_version': __version__, 'machine': self.machine,
            'engine': self.engine, 'threads': self.threads, 'base': self.base.name,
            'meter': None if self.meter is None else asdict(self.meter),
            'no_energy': self.no_energy, 'date': self.date,
            'time': _fit_dict(self.time),
            'energy': None if self.energy is None else _fit_dict(self.energy),
            'measurements': asdict(self.measurements)}


def _fit_dict(fit: TimeFit | EnergyFit) -> dict[str, Any]:
    content = asdict(fit)
    for name, errors in (('fitted', fit.fitted), ('held_back', fit.held_back)):
        content[name] = _error_dict(errors)
    return content


def _error_dict(errors: Errors) -> dict[str, Any]:
    name, worst = errors.worst
    return {'median': errors.median, 'worst': worst, 'worst_block': name,
            'each': dict(errors.each)}


def default_base() -> str:
    """Return the name of the profile to start from on this kind of processor."""
    return 'x86_cpu' if platform.machine().lower() in ('x86_64', 'amd64') else 'cortex_a'


def choose_meter(discovery: Discovery) -> tuple[Meter | None, str]:
    """
    Return the meter to calibrate with, or None and why there is none.

    The layers run on the processor, so the rail must feed it.
    """
    meter = best(discovery)
    if meter is None:
        reasons = '; '.join(f'{refusal.family}: {refusal.reason}'
                            for refusal in discovery.refusals)
        return None, f'no meter is usable ({reasons})' if reasons else 'there is no meter'
    if meter.scope == Scope.GRAPHICS_BOARD:
        return None, f'meter {meter.name} is of a graphics board; the layers run on the processor'
    try:
        meter.read()
    except MeterError as error:
        return None, f'meter {meter.name} cannot be read now: {error}'
    return meter, ''


def calibrate(
        options: EngineOptions, *, base: HardwareProfile | None = None,
        meter: Meter | None = None, no_meter: str = 'no meter was given',
        rounds: int | None = None, time_limit: float | None = None, seed: int = 0,
        progress: Progress = lambda done, total, name: None,
        blocks: tuple[Block, ...] | None = None, open_block: Opener | None = None,
        engine: str | None = None, world: Surroundings | None = None) -> Calibration:
    """
    Measure this machine and fit a hardware profile to it.

    :param options: engine and threads.
    :param base: profile to start from; by default one for this kind of processor.
    :param meter: to read; None fits time alone.
    :param no_meter: why there is none.
    :param rounds: how often each block is run; by default 5, or 3 with a meter.
    :param time_limit: seconds after which no further block is begun.
    :param seed: of the order and of what is held back.
    :param progress: called before each block with those done, all, and the name.
    :param blocks: instead of the grid.
    :param open_block: instead of the engine; ``engine`` then describes it.
    :param world: clock and sleep.
    :raises CalibrationError: too little was measured, or the meter fails.
    :raises EngineError: the engine cannot be had.
    """
    base = load_profile(default_base()) if base is None else base
    chosen = grid() if blocks is None else blocks
    given = [(block, features(block.shapes, base, _BITS)) for block in chosen]
    descriptions: list[str] = [] if engine is None else [engine]

    def open_in_engine(block: Block) -> Session:
        model, inputs = block_model(block, seed)
        session = open_session(model, random_feeds(inputs, seed), options)
        descriptions.append(session.description)
        return session

    if rounds is None:
        rounds = ROUNDS if meter is None else ROUNDS_METERED
    seen = measure(
        given, open_block or open_in_engine, rounds=rounds, meter=meter, time_limit=time_limit,
        seed=seed, progress=progress, world=world)
    kept = held_back(chosen, seed)
    time_fit = fit_time(seen.observations, kept)
    energy_fit, reason = None, no_meter
    if meter is not None:
        try:
            energy_fit, reason = fit_energy(seen.observations, seen.quiet_watts, kept), ''
        except CalibrationError as error:
            reason = str(error)
    return Calibration(
        machine=machine_name(), engine=descriptions[0], threads=options.threads, base=base,
        meter=None if meter is None else meter.info, no_energy=reason,
        date=datetime.datetime.now(datetime.UTC).date().isoformat(), measurements=seen,
        time=time_fit, energy=energy_fit)


def check_output(path: Path) -> None:
    """
    Refuse, before anything is measured, a path that a profile could not be written to.

    :raises CalibrationError: the name does not end in ``.yaml``, or the folder is not there.
    """
    if path.suffix != '.yaml':
        raise CalibrationError(f'{path}: a hardware profile is a .yaml file; choose such a name')
    _check_folder(path)


def _check_folder(path: Path) -> None:
    if path.is_dir():
        raise CalibrationError(f'{path}: is a folder; give the name of a file')
    if not os.access(path.absolute().parent, os.W_OK | os.X_OK):
        raise CalibrationError(f'{path.absolute().parent}: no folder that can be written to')


def check_record(path: Path) -> None:
    """
    Refuse, before anything is measured, a path that a record could not be written to.

    :raises CalibrationError: it is a folder, or its folder is not there.
    """
    _check_folder(path)


def save_profile(calibration: Calibration, path: Path) -> HardwareProfile:
    """
    Write the fitted profile, complete or not at all, and return it as read back.

    It is named after the file.

    :raises CalibrationError: it cannot be written.
    """
    check_output(path)
    profile = calibration.profile(path.stem)
    with _Replacing(path) as partial:
        write_profile(profile, partial)
        return load_profile(partial)


def save_record(calibration: Calibration, path: Path) -> None:
    """
    Write all that was measured and fitted as JSON, complete or not at all.

    :raises CalibrationError: it cannot be written.
    """
    check_record(path)
    with _Replacing(path) as partial:
        partial.write_text(json.dumps(calibration.to_dict(), indent=2) + '\n', encoding='utf-8')


class _Replacing:
    """A file beside another, which takes its place if nothing went wrong."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Path:
        try:
            self._folder = tempfile.TemporaryDirectory(
                prefix=f'.{self._path.stem}-', dir=self._path.absolute().parent)
        except OSError as error:
            raise CalibrationError(f'{self._path}: cannot be written: {error}') from error
        return Path(self._folder.name, self._path.name)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 _trace: object) -> None:
        assert self._folder is not None
        try:
            if kind is None:
                Path(self._folder.name, self._path.name).replace(self._path)
            elif isinstance(error, OSError):
                raise CalibrationError(f'{self._path}: cannot be written: {error}') from error
        finally:
            self._folder.cleanup()
