# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""What an image costs a detector in energy, modelled and measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
import importlib.util
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_perception.bundle import Bundle, BundleError
from prune_perception.energy.hardware import load_profile
from prune_perception.energy.meters import best, discover, Meter, MeterError
from prune_perception.energy.window import (
    AveragePower,
    EnergyPerFrame,
    EnergyWindow,
    LEAST_SECONDS,
    LEAST_UPDATES,
    Unavailable,
)
from prune_perception.runtime.detector import Detector

QUIET_SECONDS = 2.0
BUSY_SECONDS = 3.0
_LONGEST_SECONDS = 120.0  # a sensor that renews its figure too seldom is not waited for

MODELLED_KEYS = ('energy_mac', 'energy_uj', 'macs', 'parameters')


@dataclass(frozen=True)
class ModelledEnergy:
    """
    The modelled energy of an image.

    :param values: ``energy_mac`` and, where the account has them, ``energy_uj``, ``macs``,
        ``parameters``.
    :param reason: why there is none; empty where there is.
    :param source: what it was modelled for, and whether the card says it or it was counted here.
    :param account: all of it, for a report; None where there is none.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    reason: str = ''
    source: str = ''
    account: Mapping[str, Any] | None = None


def modelled_energy(
        bundle: Bundle, hardware: str, *, by_layer: bool = False) -> ModelledEnergy:
    """
    Return the modelled energy of a bundle: its card's account, or one that is made now.

    Making one needs torch and the bundle's weights.

    :param hardware: name of the profile.
    :param by_layer: a card's account, which has no layers, does not do if one can be made.
    """
    account = bundle.card.energy.get(hardware)
    origin = "the bundle's card"
    has_torch = importlib.util.find_spec('torch') is not None
    # What was quantised cannot be counted anew; its card alone knows which layers compute in what.
    countable = has_torch and bundle.card.quantisation is None
    if account is None or (by_layer and countable):
        origin = 'counted for this evaluation'
        if not has_torch:
            return ModelledEnergy(reason=(
                f'the card has no account for {hardware}, and torch, which would count it, is '
                'not installed'))
        # These load torch, which takes seconds and memory that a card's account saves.
        from prune_perception.energy.counting import profile_module
        from prune_perception.networks.registry import example_input, load_network
        try:
            account = profile_module(
                load_network(bundle), example_input(bundle.card.input),
                profile=load_profile(hardware), network=bundle.card.name).to_dict()
        except (BundleError, ValueError) as error:
            return ModelledEnergy(
                reason=f'the card has no account for {hardware}, and none can be made: {error}')
    total = account.get('total') if isinstance(account, Mapping) else None
    if not isinstance(total, Mapping) or not _is_number(total.get('energy_mac')):
        return ModelledEnergy(reason=f"the card's account for {hardware} has no total.energy_mac")
    values = {key: float(total[key]) for key in MODELLED_KEYS if _is_number(total.get(key))}
    words = f'{account["word_bits"]}-bit words, ' if 'word_bits' in account else ''
    return ModelledEnergy(values, source=f'modelled for {hardware}, {words}{origin}',
                          account=account)


def measured_energy(
        detectors: Mapping[str, Detector], images: Sequence[NDArray[np.uint8]],
        meter: Meter | None = None) -> dict[str, EnergyPerFrame | Unavailable]:
    """
    Measure the energy of a frame of each detector, one detector after the other.

    First a quiet period, then each detector shows what it draws on the same few images, over and
    over. Several seconds for each, if there is a meter at all.

    :param images: (height, width, 3) BGR.
    :param meter: which one; None takes the one that leaves out least.
    """
    if meter is None:
        meter = best(discover())
    if meter is None:
        reason = Unavailable(
            'this machine has no meter that can be read; `prune-perception meter` says why')
        return dict.fromkeys(detectors, reason)
    idle = _watch(meter, None, QUIET_SECONDS)
    quiet = idle.average_power()
    results: dict[str, EnergyPerFrame | Unavailable] = {}
    for name, detector in detectors.items():
        window = _watch(
            meter, (detector, images), BUSY_SECONDS,
            quiet if isinstance(quiet, AveragePower) else None)
        results[name] = window.energy_per_frame()
    return results


def _watch(
        meter: Meter, work: tuple[Detector, Sequence[NDArray[np.uint8]]] | None, seconds: float,
        idle: AveragePower | None = None) -> EnergyWindow:
    """Return a window of at least ``seconds`` and of the updates that a figure needs."""
    least = max(seconds, LEAST_SECONDS, meter.update_period * (LEAST_UPDATES + 2))
    window = EnergyWindow(meter.info, seconds=2 * _LONGEST_SECONDS, idle=idle)
    end = time.monotonic() + min(least, _LONGEST_SECONDS)
    turn = 0
    _read(meter, window)
    while time.monotonic() < end:
        if work is None:
            time.sleep(min(0.05, max(meter.update_period, 0.001)))
        else:
            detector, images = work
            detector.detect(images[turn % len(images)])
            window.add_frames()
            turn += 1
        _read(meter, window)
    return window


def _read(meter: Meter, window: EnergyWindow) -> None:
    try:
        window.add_reading(meter.read())
    except MeterError:
        pass  # the next read may succeed; if none does, the window says that it was not read


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
