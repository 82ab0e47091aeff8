# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
How hot the processor is, by the kernel's thermal zones (``/sys/class/thermal``).

A board has zones for much more: its battery, its radio, its power supply. Those of the processor
are told by their type, of which the kernel has no list; where none is known to be the
processor's, there is no figure rather than that of something else.

Source of the files: ``Documentation/driver-api/thermal/sysfs-api.rst`` of the kernel (``type``;
``temp`` in thousandths of a degree Celsius). The types are those of Intel's drivers
(``x86_pkg_temp``, ``TCPU``), of device trees (``cpu-thermal``, ``soc-thermal``,
``bigcore0-thermal``) and of NVIDIA's Jetson Linux (``CPU-therm``, ``tj-thermal``).
"""

from dataclasses import dataclass
from pathlib import Path
import re

from prune_perception.energy.meters.interface import MeterError
from prune_perception.energy.meters.sysfs import list_folder, read_int, read_text

_PROCESSOR = re.compile(
    r'x86_pkg_temp|TCPU|((big|little)?core|cpu|gpu|soc|tj)([-_]?\d+)*([-_]therm(al)?)?',
    re.IGNORECASE)
# What a zone says whose sensor is switched off, or has never been calibrated.
_LEAST, _MOST = -40.0, 150.0


@dataclass(frozen=True)
class Temperature:
    """
    The hottest of the processor's zones.

    :param celsius: °C.
    :param zone: its type, as the kernel names it.
    """

    celsius: float
    zone: str


def processor_temperature(root: Path = Path('/')) -> Temperature:
    """
    Read the processor's zones and return the hottest.

    :param root: of the tree with ``sys``; another than ``/`` is a recorded machine.
    :raises MeterError: there is none, or none could be read; with the reason.
    """
    folder = root / 'sys/class/thermal'
    others, problems, found = [], [], []
    for path in list_folder(folder):
        if not path.name.startswith('thermal_zone'):
            continue  # fans and the like
        try:
            kind = read_text(path / 'type')
            if not _PROCESSOR.fullmatch(kind):
                others.append(kind)
                continue
            celsius = read_int(path / 'temp') / 1000
        except MeterError as error:
            problems.append(str(error))
            continue
        if _LEAST < celsius < _MOST:
            found.append(Temperature(celsius, kind))
        else:
            problems.append(f'{path / "temp"}: {celsius:.0f} °C cannot be')
    if found:
        return max(found, key=lambda each: each.celsius)
    if problems:
        raise MeterError('; '.join(problems))
    if others:
        raise MeterError(
            f'{folder}: no zone is known to be the processor\'s, there are {", ".join(others)}')
    raise MeterError(f'{folder}: no thermal zone')
