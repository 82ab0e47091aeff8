# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Energy and time of layers as sums of non-negative parts, by least squares of relative errors.

See ``docs/calibration.md`` for why the parts are these.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import statistics

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from prune_perception.calibration import CalibrationError
from prune_perception.calibration.features import Features

LEAST_LAYERS = 12
"""Blocks to fit three coefficients to, so that noise of single ones averages out."""


@dataclass(frozen=True)
class Observation:
    """
    What was measured of one block.

    :param name: of the block.
    :param features: what it asks of the machine.
    :param seconds: of one run, median.
    :param spread: of ``seconds``, the largest difference between rounds, relative.
    :param wall_seconds: of one run within the meter's windows, with all between two runs.
    :param joules: of one run, all that the rail drew in the windows; None without a meter.
    """

    name: str
    features: Features
    seconds: float
    spread: float
    wall_seconds: float | None = None
    joules: float | None = None


@dataclass(frozen=True)
class Errors:
    """
    Relative errors of a fit, |fitted - measured| / measured.

    :param each: by block.
    """

    each: Mapping[str, float]

    @property
    def median(self) -> float:
        """The median; NaN for none."""
        return statistics.median(self.each.values()) if self.each else float('nan')

    @property
    def worst(self) -> tuple[str, float]:
        """The block with the largest error, and the error."""
        return max(self.each.items(), key=lambda item: item[1], default=('', float('nan')))

    def __str__(self) -> str:
        """Return the figures for people."""
        name, worst = self.worst
        return f'median {self.median:.1%}, worst {worst:.1%} ({name}) of {len(self.each)}'


@dataclass(frozen=True)
class TimeFit:
    """
    Time of a layer: work * per MAC + bytes of DRAM * per byte + per layer.

    :param seconds_per_mac: of arithmetic.
    :param seconds_per_byte: of DRAM, by the access model.
    :param seconds_per_layer: whatever its size.
    :param fitted: errors on the blocks that were fitted.
    :param held_back: errors on the blocks that were not.
    """

    seconds_per_mac: float
    seconds_per_byte: float
    seconds_per_layer: float
    fitted: Errors
    held_back: Errors

    def seconds(self, features: Features) -> float:
        """Return the time of one run."""
        return (features.work * self.seconds_per_mac
                + features.dram_bytes * self.seconds_per_byte
                + features.layers * self.seconds_per_layer)


@dataclass(frozen=True)
class EnergyFit:
    """
    Energy of a layer: static power * time + on-chip work * per MAC + bytes of DRAM * per byte.

    :param static_power_w: drawn however little is done.
    :param joules_per_mac: of a MAC of the profile's own word width.
    :param joules_per_byte: of DRAM, by the access model.
    :param idle_power_w: mean of the quiet periods, as measured; they are rows of the fit.
    :param fitted: errors on the blocks that were fitted.
    :param held_back: errors on the blocks that were not.
    """

    static_power_w: float
    joules_per_mac: float
    joules_per_byte: float
    idle_power_w: float
    fitted: Errors
    held_back: Errors

    def joules(self, features: Features, seconds: float) -> float:
        """Return the energy of one run that takes so long."""
        return (self.static_power_w * seconds + features.on_chip * self.joules_per_mac
                + features.dram_bytes * self.joules_per_byte)


def fit_time(observations: Sequence[Observation], held_back: frozenset[str]) -> TimeFit:
    """
    Fit the time of a layer.

    :param held_back: names that the fit must not see.
    :raises CalibrationError: there are too few, or nothing can be told from them.
    """
    known, kept = _split(observations, held_back)
    rows = [(item.features.work, item.features.dram_bytes, item.features.layers)
            for item in known]
    coefficients = _relative_nnls(rows, [item.seconds for item in known])
    fit = TimeFit(*coefficients, Errors({}), Errors({}))
    return TimeFit(*coefficients, *(
        Errors({item.name: abs(fit.seconds(item.features) / item.seconds - 1) for item in part})
        for part in (known, kept)))


def fit_energy(observations: Sequence[Observation], quiet_watts: Sequence[float],
               held_back: frozenset[str]) -> EnergyFit:
    """
    Fit the energy of a layer.

    A quiet period is a row without work: it tells static power from the time that work takes.

    :param quiet_watts: mean power of each quiet period.
    :param held_back: names that the fit must not see.
    :raises CalibrationError: there are too few, or no energy of a MAC or no quiet period.
    """
    metered = [item for item in observations if item.joules is not None]
    known, kept = _split(metered, held_back)
    if not quiet_watts or min(quiet_watts) <= 0:
        raise CalibrationError('no quiet period was measured, so static power is not known; '
                               'give more time')
    rows = [(item.wall_seconds or 0.0, item.features.on_chip, item.features.dram_bytes)
            for item in known]
    targets = [item.joules or 0.0 for item in known]
    rows += [(1.0, 0.0, 0.0)] * len(quiet_watts)
    targets += list(quiet_watts)
    static, per_mac, per_byte = _relative_nnls(rows, targets)
    if per_mac == 0:
        raise CalibrationError(
            'the meter shows no energy that grows with the MACs, so no profile can be made; is '
            'its rail the one that feeds the processor, and was the machine otherwise quiet?')
    fit = EnergyFit(static, per_mac, per_byte, statistics.fmean(quiet_watts), Errors({}),
                    Errors({}))
    return EnergyFit(static, per_mac, per_byte, fit.idle_power_w, *(
        Errors({item.name: abs(fit.joules(item.features, item.wall_seconds or 0.0)
                               / (item.joules or 1.0) - 1) for item in part})
        for part in (known, kept)))


def _split(observations: Sequence[Observation], held_back: frozenset[str]
           ) -> tuple[list[Observation], list[Observation]]:
    known = [item for item in observations if item.name not in held_back]
    kept = [item for item in observations if item.name in held_back]
    if len(known) < LEAST_LAYERS or not kept:
        raise CalibrationError(
            f'{len(known)} blocks of layers were measured to fit and {len(kept)} to check it; '
            f'{LEAST_LAYERS} and 1 are needed: give a longer time limit')
    return known, kept


def _relative_nnls(rows: Sequence[Sequence[float]], targets: Sequence[float]
                   ) -> tuple[float, float, float]:
    """
    Return non-negative coefficients that make the relative errors least in squares.

    Each row is divided by its target. Columns are brought to unit length: the sizes of a MAC and
    of a second are 12 decades apart, and the solver's tolerance is absolute.
    """
    wanted = np.asarray(targets, np.float64)
    if not (wanted > 0).all():
        raise CalibrationError('a block took no time or no energy by its figures; the clock or '
                               'the meter is not fine enough')
    matrix: NDArray[np.float64] = np.asarray(rows, np.float64) / wanted[:, None]
    lengths = np.linalg.norm(matrix, axis=0)
    lengths[lengths == 0] = 1.0
    scaled, _ = nnls(matrix / lengths, np.ones(len(wanted)))
    first, second, third = (scaled / lengths).tolist()
    return first, second, third
