# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Whether the engine keeps the pace that it had at warm-up, and what to look at if not."""

from collections.abc import Iterable
import os
from pathlib import Path

from prune_perception.energy.meters import MeterError
from prune_perception.energy.meters.clock_speed import clock_speed
from prune_perception.energy.meters.sysfs import read_text
from prune_perception.energy.meters.temperature import processor_temperature
from prune_perception.nodes.health import Finding, held, OK, WARN
from prune_perception.runtime.hysteresis import Hold
from prune_perception.runtime.monitor import Monitor
from prune_perception.runtime.slowness import Slowness


class EngineHealth:
    """
    Adds the pace of the engine to what is said of the detector.

    :param root: of the tree with ``sys`` and ``proc``.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._slowness = Slowness()
        self._hold = Hold()

    def begin(self, now: float, at_warm_up: float) -> None:
        """Begin with another engine; what was wrong with the one before does not count."""
        self._slowness.begin(now, at_warm_up)
        self._hold = Hold()

    def judged(
            self, now: float, finding: Finding, monitors: Iterable[Monitor], *, disturbed: bool
            ) -> Finding:
        """
        Return a finding of the detector with the pace of its engine.

        :param finding: goes before where something is wrong.
        :param monitors: of the cameras, which all have their images processed by one engine.
        :param disturbed: another engine is being made ready beside it.
        """
        if disturbed:
            self._slowness.disturbed(now)
        pace = self._slowness.judge(now, sorted(
            pair for monitor in monitors for pair in monitor.durations('inference', now)))
        values = dict(finding.values)
        if pace is not None:
            values |= {'Inference lately (ms)': f'{pace.lately * 1e3:.2f}',
                       'Inference, lately over at warm-up': f'{pace.ratio:.2f}'}
        text = ''
        if pace is not None and pace.slow:
            conditions = machine_conditions(self._root)
            values |= conditions
            text = (f'an inference takes {pace.lately * 1e3:.1f} ms, {pace.ratio:.1f} times the '
                    f'{pace.at_warm_up * 1e3:.1f} ms at warm-up; see whether the processor is '
                    'throttled (cooling, power mode) or other programs load it: '
                    + (', '.join(f'{name} {value}' for name, value in conditions.items())
                       or 'this machine tells neither its clock nor its load'))
        pace_finding = held(self._hold, now, Finding(WARN if text else OK, text, values))
        if finding.level == OK and pace_finding.level != OK:
            return pace_finding
        return Finding(finding.level, finding.message, values)


def machine_conditions(root: Path) -> dict[str, str]:
    """Return what may slow an inference, as far as this machine tells it."""
    conditions = {}
    try:
        speed = clock_speed(root)
        conditions['Processor clock (GHz)'] = (
            f'{speed.hertz / 1e9:.2f} of {speed.most_hertz / 1e9:.2f}')
    except MeterError:
        pass  # that it is not known is not a fault
    try:
        temperature = processor_temperature(root)
        conditions['Processor temperature (°C)'] = f'{temperature.celsius:.0f}'
    except MeterError:
        pass
    try:
        load = read_text(root / 'proc/loadavg').split()[:1]
        conditions['Load over 1 min'] = f'{float(load[0]):.1f} on {os.cpu_count()} cores'
    except (MeterError, IndexError, ValueError):
        pass
    return conditions
