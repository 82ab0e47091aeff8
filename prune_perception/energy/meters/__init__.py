# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
What the machine really draws: one interface over the sensors of common robot computers.

:func:`discover` tries each family of sensors and says what it found; :func:`best` chooses. What
each figure includes, the permissions and the sources are in ``docs/meters.md``.
"""

from pathlib import Path
from typing import Any

from prune_perception.energy.meters import battery, ina3221, nvml, rapl, raspberry_pi_pmic
from prune_perception.energy.meters.counter_meter import Counter, CounterMeter
from prune_perception.energy.meters.discovery import best, Discovery, Refusal
from prune_perception.energy.meters.interface import (
    COUNTED,
    INTEGRATED,
    Meter,
    MeterError,
    MeterInfo,
    Reading,
    Scope,
)
from prune_perception.energy.meters.power_meter import PowerMeter

__all__ = [
    'COUNTED', 'INTEGRATED', 'Counter', 'CounterMeter', 'Discovery', 'Meter', 'MeterError',
    'MeterInfo', 'PowerMeter', 'Reading', 'Refusal', 'Scope', 'best', 'discover']


def discover(
        root: Path = Path('/'), *, nvml_module: Any = None,
        run: raspberry_pi_pmic.Runner | None = None) -> Discovery:
    """
    Try every family of sensors, each with a real read; takes milliseconds and never raises.

    :param root: of the tree with ``sys`` and ``proc``; another than ``/`` is a recorded
        machine, for which this machine's NVML and ``vcgencmd`` are not asked.
    :param nvml_module: stands in for ``pynvml``.
    :param run: stands in for the runner of ``vcgencmd``.
    """
    recorded = root != Path('/')
    if recorded and nvml_module is None:
        boards = Discovery(refusals=(Refusal(
            nvml.FAMILY, f'{root} is a recorded tree, NVML speaks for this machine only'),))
    else:
        boards = nvml.find(nvml_module)
    return (rapl.find(root) + ina3221.find(root) + boards
            + raspberry_pi_pmic.find(root, run or (_refuse_to_run if recorded else None))
            + battery.find(root))


def _refuse_to_run(command: Any) -> str:
    raise MeterError(f'{command[0]} speaks for this machine only, and this is a recorded tree')
