# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The power and energy that the detector node reports, each with its source."""

from collections.abc import Callable
import time
from typing import Any

from prune_perception.energy.meters import best, discover, Discovery, Meter, MeterError, MeterInfo
from prune_perception.energy.window import EnergyPerFrame, EnergyWindow
from prune_perception.nodes.health import Finding, held, OK, UNAVAILABLE, WARN
from prune_perception.nodes.meter_loss import MeterLoss
from prune_perception.nodes.topic_meters import MonitorTopicMeter
from prune_perception.runtime.hysteresis import Hold


class PowerReporter:
    """
    Reads a power monitor's topic if there is one, else this machine's best meter, once a second.

    ``watts`` and ``joules_per_frame`` are None whenever they are not known; unknown is never
    zero.

    :param logger: of the node.
    :param modelled: joules of a frame as modelled, and for what.
    :param monitor: a power monitor's topic.
    :param discovery: what was found on this machine; None looks now.
    :param clock: monotonic seconds.
    """

    def __init__(
            self, logger: Any, modelled: tuple[float, str] | None, monitor: MonitorTopicMeter,
            discovery: Discovery | None = None,
            clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._modelled = modelled
        self._monitor = monitor
        discovery = discover() if discovery is None else discovery
        self._own = best(discovery)
        self._refusals = '; '.join(
            f'{refusal.family}: {refusal.reason}' for refusal in discovery.refusals)
        self._source: MeterInfo | None = None
        self._window: EnergyWindow | None = None
        self._frames = 0
        self._clock = clock
        self._loss = MeterLoss()
        self._hold = Hold()
        self._lost: str | None = None
        self.watts: float | None = None
        self.joules_per_frame: float | None = None

    def change_model(self, modelled: tuple[float, str] | None) -> None:
        """Go on with another model, whose frames are not averaged with those of the last."""
        self._modelled = modelled
        if self._window is not None and self._source is not None:
            self._window = EnergyWindow(self._source)

    def finding(self, processed: int) -> Finding:
        """
        Read the meter and say what it says.

        :param processed: frames since activation; a smaller number than before is a new start.
        """
        self.watts = self.joules_per_frame = None
        values = {'Power (W)': UNAVAILABLE, 'Energy per frame (J)': UNAVAILABLE}
        level, message = self._measure(values, processed)
        self._compare(values)
        return held(self._hold, self._clock(), Finding(level, message, values))

    def _measure(self, values: dict[str, str], processed: int) -> tuple[bytes, str]:
        # A monitor that fell silent is still the source: its loss is told, not papered over.
        meter: Meter | None = self._monitor if (
            self._monitor.fresh or self._source == self._monitor.info) else self._own
        if meter is None:
            values |= {'Source': f'{UNAVAILABLE}: no usable meter', 'Not usable': self._refusals}
            return OK, f'power {UNAVAILABLE}: this machine has no usable meter'
        window = self._window_of(meter.info)
        info = meter.info
        values |= {'Source': f'measured by {info.name} ({info.method})',
                   'Scope': f'{info.scope}: {info.includes}', 'Rail': info.rail}
        window.add_frames(max(processed - self._frames, 0))
        self._frames = processed
        try:
            reading = meter.read()
        except MeterError as error:
            if str(error) != self._lost:
                self._logger.warning(str(error))
            self._lost = str(error)
            return WARN, self._loss.text(info, error, self._clock())
        if self._lost is not None:
            self._logger.info(f'{info.name} gives figures again')
        self._lost = None
        self._loss.given(info, self._clock())
        window.add_reading(reading)
        energy = window.energy_per_frame()
        values['Energy per frame (J)'] = str(energy)
        if isinstance(energy, EnergyPerFrame):
            self.joules_per_frame = energy.joules
            values['Energy per frame (J)'] = f'{energy.joules:.4g}'
            values['Energy per frame, in full'] = str(energy)
        self.watts = reading.power_watts
        if self.watts is None:
            return OK, f'{info.scope} on {info.rail}'
        values['Power (W)'] = f'{self.watts:.3f}'
        return OK, f'{self.watts:.2f} W, {info.scope} on {info.rail}'

    def _window_of(self, info: MeterInfo) -> EnergyWindow:
        if self._window is None or info != self._source:
            self._source, self._window = info, EnergyWindow(info)
            self._logger.info(
                f'power from {info.name} ({info.scope}, {info.rail}): {info.includes}')
        return self._window

    def _compare(self, values: dict[str, str]) -> None:
        """Put the modelled energy beside the measured one, and how far they are apart."""
        if self._modelled is None:
            values['Modelled energy per frame (J)'] = UNAVAILABLE
            return
        joules, conditions = self._modelled
        values['Modelled energy per frame (J)'] = f'{joules:.4g}'
        values['Modelled for'] = conditions
        if self.joules_per_frame is not None:
            values['Measured over modelled'] = f'{self.joules_per_frame / joules:.3g}'
