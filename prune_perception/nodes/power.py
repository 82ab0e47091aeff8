# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The power and energy that the detector node reports, each with its source."""

from typing import Any

from prune_perception.energy.meters import best, discover, Discovery, MeterError
from prune_perception.energy.window import EnergyPerFrame, EnergyWindow
from prune_perception.nodes.health import Finding, OK, UNAVAILABLE, WARN


class PowerReporter:
    """
    Reads the best meter of this machine once a second.

    ``watts`` and ``joules_per_frame`` are None whenever they are not known; unknown is never
    zero.

    :param discovery: what was found; None looks now.
    """

    def __init__(self, logger: Any, discovery: Discovery | None = None) -> None:
        self._logger = logger
        discovery = discover() if discovery is None else discovery
        self._meter = best(discovery)
        self._window = None if self._meter is None else EnergyWindow(self._meter.info)
        self._refusals = tuple(
            f'{refusal.family}: {refusal.reason}' for refusal in discovery.refusals)
        self._frames = 0
        self._lost: str | None = None
        self.watts: float | None = None
        self.joules_per_frame: float | None = None
        if self._meter is not None:
            logger.info(f'power from {self._meter.name} ({self._meter.scope}, '
                        f'{self._meter.rail}): {self._meter.includes}')

    def finding(self, processed: int) -> Finding:
        """
        Read the meter and say what it says.

        :param processed: frames since activation; a smaller number than before is a new start.
        """
        self.watts = self.joules_per_frame = None
        values = {'Power (W)': UNAVAILABLE, 'Energy per frame (J)': UNAVAILABLE}
        if self._meter is None or self._window is None:
            values |= {'Source': f'{UNAVAILABLE}: no usable meter',
                       'Not usable': '; '.join(self._refusals)}
            return Finding(OK, f'power {UNAVAILABLE}: this machine has no usable meter', values)
        info = self._meter.info
        values |= {'Source': f'measured by {info.name} ({info.method})',
                   'Scope': f'{info.scope}: {info.includes}', 'Rail': info.rail}
        self._window.add_frames(max(processed - self._frames, 0))
        self._frames = processed
        try:
            reading = self._meter.read()
        except MeterError as error:
            if str(error) != self._lost:
                self._logger.warning(str(error))
            self._lost = str(error)
            return Finding(WARN, self._lost, values)
        self._lost = None
        self._window.add_reading(reading)
        self.watts = reading.power_watts
        if self.watts is not None:
            values['Power (W)'] = f'{self.watts:.3f}'
        energy = self._window.energy_per_frame()
        values['Energy per frame (J)'] = str(energy)
        if isinstance(energy, EnergyPerFrame):
            self.joules_per_frame = energy.joules
            values['Energy per frame (J)'] = f'{energy.joules:.4f}'
            values['Energy per frame, in full'] = str(energy)
        return Finding(OK, f'{info.scope} on {info.rail}' if self.watts is None else
                       f'{self.watts:.2f} W, {info.scope} on {info.rail}', values)
