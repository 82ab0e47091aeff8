# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Intel and AMD processors, through the kernel's powercap class (RAPL).

A *package* zone counts the whole processor package; its sub-zones *core* and *uncore* are parts
of it and never added. *dram* is measured apart and stays a meter of its own. *psys*, where the
maker of the machine wired it, counts the whole platform, the packages included. Sources and
pitfalls: ``docs/meters.md``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
import re

from prune_perception.energy.meters.counter_meter import Counter, CounterMeter
from prune_perception.energy.meters.discovery import Discovery, Refusal
from prune_perception.energy.meters.interface import COUNTED, MeterError, MeterInfo, Scope
from prune_perception.energy.meters.sysfs import (
    is_there,
    list_folder,
    NotPermittedError,
    read_int,
    read_text,
)

FAMILY = 'rapl'
UPDATE_PERIOD = 0.001
"""Seconds, the hardware's nominal time unit of 976 microseconds."""
MOST_WATTS = 2000.0
"""Of one zone: twice and more what the largest processor package draws."""
UDEV_RULE = (
    'SUBSYSTEM=="powercap", ACTION=="add", KERNEL=="intel-rapl*:*", '
    'RUN+="/bin/sh -c \'chgrp energy /sys%p/energy_uj /sys%p/max_energy_range_uj; '
    'chmod g+r /sys%p/energy_uj /sys%p/max_energy_range_uj\'"')

_MIRRORED_JOULES = 1.0
"""Two counters of hundreds of kilojoules that agree this well are one counter read twice."""


@dataclass(frozen=True)
class _Zone:
    path: Path
    name: str

    @property
    def energy_file(self) -> Path:
        return self.path / 'energy_uj'


def find(root: Path = Path('/')) -> Discovery:
    """Look for powercap's RAPL zones below ``root``."""
    folder = root / 'sys/class/powercap'
    zones = _zones(folder)
    if not zones:
        what = 'holds no intel-rapl zone' if is_there(folder) else 'is not there'
        return _refuse(
            f'{folder} {what}: not an x86 processor, its driver is not loaded, or a virtual '
            'machine or container that hides it',
            'on x86 hardware: sudo modprobe intel_rapl_msr')
    top = [zone for zone in zones if zone.path.name.count(':') == 1]
    below = [zone for zone in zones if zone.path.name.count(':') == 2]
    found = Discovery()
    platform = [zone for zone in top if re.fullmatch(r'psys(-\d+)?', zone.name)]
    if len(platform) > 1:
        found += _refuse(
            f'{folder}: {len(platform)} psys zones; whether one holds the others is not '
            'documented, so none is used')
    elif platform:
        found += _meter(
            'rapl psys', platform, Scope.WHOLE_SYSTEM,
            'the platform as its maker wired the sensor: packages and memory, on notebooks '
            'also the screen; power supply losses are not in it')
    packages = [zone for zone in top if zone.name.startswith('package')]
    packages, mirrors = _without_mirrors(packages)
    found += mirrors
    if packages:
        found += _meter(
            'rapl package', packages, Scope.PACKAGE,
            'processor packages: cores, caches, integrated graphics, memory controller; '
            'memory modules and board are not in it')
    memory = [zone for zone in below if zone.name == 'dram']
    if memory:
        found += _meter(
            'rapl dram', memory, Scope.MEMORY, 'the memory modules of all packages')
    if not (platform or packages or memory):
        names = ', '.join(zone.name for zone in zones)
        found += _refuse(f'{folder}: no zone is a package, psys or dram (found: {names})')
    return found


def _refuse(reason: str, remedy: str = '', udev_rule: str = '') -> Discovery:
    return Discovery(refusals=(Refusal(FAMILY, reason, remedy, udev_rule),))


def _zones(folder: Path) -> list[_Zone]:
    """Return the zones, each once: registers reached by two drivers show up under both."""
    zones: dict[str, _Zone] = {}
    # Sorted, "intel-rapl:0" comes after "intel-rapl-mmio:0"; the plain driver is to win.
    for path in sorted(list_folder(folder), key=lambda path: ('mmio' in path.name, path.name)):
        if not re.fullmatch(r'intel-rapl(-mmio)?(:\d+){1,2}', path.name):
            continue
        try:
            name = read_text(path / 'name')
        except MeterError:
            continue
        # Sub-zones carry the same name under each package, so theirs includes the place.
        sub_zone = path.name.count(':') == 2
        if 'mmio' in path.name and (sub_zone or name in zones):
            continue
        zones[path.name if sub_zone else name] = _Zone(path, name)
    return list(zones.values())


def _without_mirrors(packages: Sequence[_Zone]) -> tuple[list[_Zone], Discovery]:
    """
    Leave out dies whose counter is that of another die of the same package.

    Multi-die AMD processors show one zone per die (``package-0-die-1``), all reading the one
    counter of the socket; adding them multiplies the energy by the number of dies.
    """
    kept: list[tuple[_Zone, str, int | None]] = []
    found = Discovery()
    for zone in packages:
        package = zone.name.split('-die-')[0]
        try:
            count: int | None = read_int(zone.energy_file)
        except MeterError:
            count = None
        twin = next(
            (other for other, its_package, its_count in kept
             if its_package == package and count is not None and its_count is not None
             and abs(count - its_count) * 1e-6 <= _MIRRORED_JOULES), None)
        if twin is None:
            kept.append((zone, package, count))
        else:
            found += _refuse(
                f'{zone.path}: {zone.name} mirrors the counter of {twin.name}; counted once')
    return [zone for zone, _, _ in kept], found


def _meter(name: str, zones: Sequence[_Zone], scope: Scope, includes: str) -> Discovery:
    rail = ' + '.join(zone.name for zone in zones)
    try:
        for zone in zones:
            if read_int(zone.energy_file) == 0:
                return _refuse(
                    f'{zone.energy_file}: {zone.name} stands at 0; the counter is not wired '
                    'or a virtual machine hides it')
    except NotPermittedError as error:
        return _refuse(
            f'{error} (only root may since Linux 5.10)',
            'create the group (sudo groupadd --system energy), add your user to it, put the '
            'rule into /etc/udev/rules.d/70-prune-perception-rapl.rules and restart; it opens '
            'a side channel (CVE-2020-8694) to members of the group', UDEV_RULE)
    except MeterError as error:
        return _refuse(str(error))
    info = MeterInfo(
        name, rail, scope, includes, UPDATE_PERIOD, COUNTED,
        tuple(str(zone.energy_file) for zone in zones))
    counters = [
        Counter(str(zone.energy_file), partial(read_int, zone.energy_file), 1e-6, _range(zone))
        for zone in zones]
    return Discovery(meters=(CounterMeter(info, counters, most_watts=MOST_WATTS),))


def _range(zone: _Zone) -> int | None:
    try:
        return read_int(zone.path / 'max_energy_range_uj') or None
    except MeterError:
        return None
