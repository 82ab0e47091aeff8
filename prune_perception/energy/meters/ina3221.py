# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
The INA3221 power monitors of NVIDIA Jetson modules.

Two kernel drivers show them: ``ina3221`` as hwmon (JetPack 5 and later, mainline Linux) with
millivolts and milliamperes per channel, ``ina3221x`` as iio (JetPack 4) with milliwatts. Which
rail feeds which is known for the boards below only, from the sources in ``docs/meters.md``;
rails of a board that is not listed are never added up.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from prune_perception.energy.meters.discovery import Discovery, Refusal
from prune_perception.energy.meters.interface import INTEGRATED, MeterError, MeterInfo, Scope
from prune_perception.energy.meters.power_meter import PowerMeter
from prune_perception.energy.meters.sysfs import (
    is_there,
    list_folder,
    MissingError,
    NotPermittedError,
    read_int,
    read_text,
)

FAMILY = 'ina3221'
TOTAL_RAILS = ('VDD_IN', 'POM_5V_IN', '5V_IN')
"""The input of the whole module; other rails are behind it (the carrier board is not)."""
SUMMED_RAILS = {
    'Jetson AGX Xavier': ('GPU', 'CPU', 'SOC', 'CV', 'VDDRQ', 'SYS5V'),
    # VDDQ_VDD2_1V8AO is fed by VIN_SYS_5V0, so adding it would count it twice.
    'Jetson AGX Orin': ('VDD_GPU_SOC', 'VDD_CPU_CV', 'VIN_SYS_5V0'),
}
"""For boards without a total: rails side by side, none behind another."""
MOST_WATTS = 500.0
LEAST_WATTS = -1.0
"""Rails at rest read a few tenths of a watt below zero, the offset of the shunt amplifier."""
ASSUMED_PERIOD = 0.1
"""Seconds, where the driver does not say how often it converts."""
UDEV_RULE = (
    'SUBSYSTEM=="hwmon", ACTION=="add", ATTR{name}=="ina3221", '
    'RUN+="/bin/sh -c \'cd /sys%p; chgrp energy in?_* curr?_* update_interval; '
    'chmod g+r in?_* curr?_* update_interval\'"')


@dataclass(frozen=True)
class _Rail:
    label: str
    watts: Callable[[], float]
    files: tuple[Path, ...]
    period: float


def find(root: Path = Path('/')) -> Discovery:
    """Look for INA3221 channels below ``root``."""
    rails: dict[str, _Rail] = {}
    for rail in [*_hwmon_rails(root), *_iio_rails(root)]:
        if rail.label in rails:
            rail = replace(rail, label=f'{rail.label} ({rail.files[0].parent.name})')
        rails[rail.label] = rail
    if not rails:
        return _refuse(f'no ina3221 below {root / "sys/class/hwmon"} or '
                       f'{root / "sys/bus/i2c/drivers/ina3221x"}: not a Jetson with power '
                       'monitors')
    found = Discovery()
    working: dict[str, _Rail] = {}
    forbidden: list[NotPermittedError] = []
    for rail in rails.values():
        try:
            rail.watts()
        except NotPermittedError as error:
            forbidden.append(error)
        except MeterError as error:
            found += _refuse(f'{rail.label}: {error}')
        else:
            working[rail.label] = rail
    if forbidden:
        others = f' (and {len(forbidden) - 1} more rails)' if len(forbidden) > 1 else ''
        found += _refuse(
            f'{forbidden[0]}{others}',
            'create the group (sudo groupadd --system energy), add your user to it, put the '
            'rule into /etc/udev/rules.d/70-prune-perception-ina3221.rules and restart; it '
            'opens a side channel to members of the group', UDEV_RULE)
    if not working:
        return found
    return found + _totals(rails, working) + Discovery(meters=tuple(
        _meter([rail], Scope.SINGLE_RAIL, f'the rail {rail.label} alone')
        for rail in working.values() if rail.label not in TOTAL_RAILS))


def _totals(rails: dict[str, _Rail], working: dict[str, _Rail]) -> Discovery:
    for total in TOTAL_RAILS:
        if total in working:
            return Discovery(meters=(_meter(
                [working[total]], Scope.MODULE,
                'input of the whole module: processor, graphics, memory; the carrier board is '
                'not in it'),))
    for board, labels in SUMMED_RAILS.items():
        if all(label in working for label in labels):
            return Discovery(meters=(_meter(
                [working[label] for label in labels], Scope.MODULE,
                f'sum of the rails side by side of a {board}, which has no sensor of its '
                'total; losses before the rails and the carrier board are not in it'),))
    known = [labels for labels in SUMMED_RAILS.values() if set(labels) <= set(rails)]
    if known or set(TOTAL_RAILS) & set(rails):
        return Discovery()  # the rail that cannot be read has been named already
    return _refuse(
        f'no total: which of the rails {", ".join(rails)} feeds which is not known for this '
        'board, so they are not added up')


def _refuse(reason: str, remedy: str = '', udev_rule: str = '') -> Discovery:
    return Discovery(refusals=(Refusal(FAMILY, reason, remedy, udev_rule),))


def _meter(rails: Sequence[_Rail], scope: Scope, includes: str) -> PowerMeter:
    label = ' + '.join(rail.label for rail in rails)
    info = MeterInfo(
        f'ina3221 {label}', label, scope, includes, max(rail.period for rail in rails),
        INTEGRATED, tuple(str(path) for rail in rails for path in rail.files))
    return PowerMeter(
        info, partial(_sum, label, rails), most_watts=MOST_WATTS, least_watts=LEAST_WATTS)


def _sum(label: str, rails: Sequence[_Rail]) -> float:
    total = 0.0
    for rail in rails:
        try:
            total += rail.watts()
        except MeterError as error:
            raise type(error)(f'{label}: {error}') from None
    return total


def _hwmon_rails(root: Path) -> list[_Rail]:
    rails = []
    for folder in list_folder(root / 'sys/class/hwmon'):
        try:
            if read_text(folder / 'name') != 'ina3221':
                continue
        except MeterError:
            continue
        period = _conversion_period(folder)
        # Channels 4 to 7 are shunt voltages and the sum that the chip makes of them.
        for channel in (1, 2, 3):
            files = (folder / f'in{channel}_input', folder / f'curr{channel}_input')
            try:
                label = read_text(folder / f'in{channel}_label')
            except MeterError:
                label = f'{folder.name} channel {channel}' if is_there(files[0]) else ''
            if label in ('', 'NC') or _is_off(folder, channel):
                continue
            rails.append(_Rail(label, partial(_volts_times_amperes, *files), files, period))
    return rails


def _is_off(folder: Path, channel: int) -> bool:
    try:
        return read_int(folder / f'in{channel}_enable') == 0
    except MeterError:
        return False


def _conversion_period(folder: Path) -> float:
    try:
        return max(read_int(folder / 'update_interval'), 1) / 1000
    except MeterError:
        return ASSUMED_PERIOD


def _iio_rails(root: Path) -> list[_Rail]:
    drivers = list_folder(root / 'sys/bus/i2c/drivers/ina3221x')
    rails = []
    for device in drivers:
        for folder in list_folder(device):
            if not folder.name.startswith('iio:device'):
                continue
            for channel in (0, 1, 2):
                try:
                    label = read_text(folder / f'rail_name_{channel}')
                except MeterError:
                    continue
                if label in ('', 'NC'):
                    continue
                power = folder / f'in_power{channel}_input'
                files = (folder / f'in_voltage{channel}_input',
                         folder / f'in_current{channel}_input')
                if is_there(power):
                    rails.append(_Rail(label, partial(_power, power), (power,), ASSUMED_PERIOD))
                else:
                    rails.append(_Rail(
                        label, partial(_volts_times_amperes, *files), files, ASSUMED_PERIOD))
    return rails


def _volts_times_amperes(voltage: Path, current: Path) -> float:
    """Return watts from millivolts and milliamperes."""
    return read_int(voltage) * read_int(current) * 1e-6


def _power(power: Path) -> float:
    """Return watts from milliwatts; the iio driver may append the unit."""
    words = read_text(power).split()
    if not words:
        raise MissingError(f'{power}: empty')
    try:
        return int(words[0]) * 1e-3
    except ValueError:
        raise MeterError(f'{power}: {words[0][:40]!r} is not an integer') from None
