# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Batteries that the kernel knows (``/sys/class/power_supply``).

Only a battery that discharges, with no other supply connected, says what the machine draws: on
a charger the figure is what goes into the battery. The sign of ``power_now`` and
``current_now`` differs between drivers, so ``status`` decides and the sign is dropped.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from prune_perception.energy.meters.discovery import Discovery, Refusal
from prune_perception.energy.meters.interface import INTEGRATED, MeterError, MeterInfo, Scope
from prune_perception.energy.meters.power_meter import PowerMeter
from prune_perception.energy.meters.sysfs import list_folder, MissingError, read_int, read_text

FAMILY = 'battery'
UPDATE_PERIOD = 1.0
"""Seconds at the least; many fuel gauges take longer, so updates are counted by changes."""
MOST_WATTS = 5000.0


class NotDischargingError(MeterError):
    """The battery is there and its figure is not what the machine draws."""


@dataclass(frozen=True)
class _Supplies:
    batteries: tuple[Path, ...]
    external: tuple[Path, ...]


def find(root: Path = Path('/')) -> Discovery:
    """Look for batteries that feed the machine below ``root``."""
    folder = root / 'sys/class/power_supply'
    supplies = _supplies(folder)
    if not supplies.batteries:
        return _refuse(f'{folder}: no battery that feeds the machine')
    names = ' + '.join(path.name for path in supplies.batteries)
    info = MeterInfo(
        'battery', names, Scope.BATTERY,
        'all that the battery feeds: computer, screen, and motors where they share it; '
        'only while it discharges',
        UPDATE_PERIOD, INTEGRATED, tuple(str(path) for path in supplies.batteries))
    sample = partial(_sample, supplies)
    meter = PowerMeter(info, sample, most_watts=MOST_WATTS, update_on_change=True)
    try:
        sample()
    except NotDischargingError as error:
        return Discovery(standby=(meter,)) + _refuse(
            str(error), 'disconnect the charger; the meter starts by itself then')
    except MeterError as error:
        return _refuse(str(error))
    return Discovery(meters=(meter,))


def _refuse(reason: str, remedy: str = '') -> Discovery:
    return Discovery(refusals=(Refusal(FAMILY, reason, remedy),))


def _supplies(folder: Path) -> _Supplies:
    batteries, external = [], []
    for path in list_folder(folder):
        kind = _text_or(path / 'type', '')
        # "Device" is a mouse or a headset, whose battery feeds nothing of this machine.
        if kind == 'Battery' and _text_or(path / 'scope', 'System') != 'Device':
            if _text_or(path / 'present', '1') != '0':
                batteries.append(path)
        elif kind in ('Mains', 'USB', 'Wireless'):
            external.append(path)
    return _Supplies(tuple(batteries), tuple(external))


def _text_or(path: Path, default: str) -> str:
    try:
        return read_text(path)
    except MeterError:
        return default


def _sample(supplies: _Supplies) -> float:
    """Return the watts that the batteries give together."""
    for path in supplies.external:
        if _text_or(path / 'online', '0') not in ('', '0'):
            raise NotDischargingError(
                f'{path.name}: external power is connected, so the battery does not say what '
                'the machine draws')
    watts = 0.0
    status = {path: read_text(path / 'status') for path in supplies.batteries}
    if 'Discharging' not in status.values() or 'Charging' in status.values():
        said = ', '.join(f'{path.name} is {text}' for path, text in status.items())
        raise NotDischargingError(f'{said}: its figure is not what the machine draws')
    for path, text in status.items():
        if text == 'Discharging':
            watts += _watts(path)
    return watts


def _watts(path: Path) -> float:
    """Return watts from microwatts, or from microamperes and microvolts."""
    try:
        return abs(read_int(path / 'power_now')) * 1e-6
    except MissingError:
        try:
            return abs(read_int(path / 'current_now')) * read_int(path / 'voltage_now') * 1e-12
        except MissingError:
            raise MissingError(
                f'{path}: gives neither power_now nor current_now and voltage_now') from None
