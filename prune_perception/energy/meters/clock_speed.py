# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
How fast the processor's clock runs, by the kernel's ``cpufreq``.

Source of the files: ``Documentation/admin-guide/pm/cpufreq.rst`` of the kernel
(``scaling_cur_freq`` and ``cpuinfo_max_freq``, both in kHz).
"""

from dataclasses import dataclass
from pathlib import Path

from prune_perception.energy.meters.interface import MeterError
from prune_perception.energy.meters.sysfs import list_folder, read_int


@dataclass(frozen=True)
class ClockSpeed:
    """
    The clock of one group of cores.

    :param hertz: now.
    :param most_hertz: that it can run at.
    """

    hertz: float
    most_hertz: float


def clock_speed(root: Path = Path('/')) -> ClockSpeed:
    """
    Return the clock of the cores that run nearest to their limit; others may rest.

    :param root: of the tree with ``sys``; another than ``/`` is a recorded machine.
    :raises MeterError: the kernel says nothing of it, as in most virtual machines.
    """
    folder = root / 'sys/devices/system/cpu/cpufreq'
    found = []
    for policy in list_folder(folder):
        try:
            found.append(ClockSpeed(
                read_int(policy / 'scaling_cur_freq') * 1e3,
                read_int(policy / 'cpuinfo_max_freq') * 1e3))
        except MeterError:
            continue  # not a policy, or its cores are switched off
    found = [each for each in found if each.most_hertz > 0]
    if not found:
        raise MeterError(f'{folder}: no clock of the processor')
    return max(found, key=lambda each: each.hertz / each.most_hertz)
