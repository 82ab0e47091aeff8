# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
NVIDIA graphics boards, through ``nvidia-ml-py`` (imported as ``pynvml``).

A real read decides: on Jetson modules NVML starts and lists a device, and then supports no
query of power or energy.
"""

from collections.abc import Callable
from functools import partial
import importlib
from typing import Any

from prune_perception.energy.meters.counter_meter import Counter, CounterMeter
from prune_perception.energy.meters.discovery import Discovery, Refusal
from prune_perception.energy.meters.interface import (
    COUNTED,
    INTEGRATED,
    Meter,
    MeterError,
    MeterInfo,
    Scope,
)
from prune_perception.energy.meters.power_meter import PowerMeter

FAMILY = 'nvml'
UPDATE_PERIOD = 0.1
"""Seconds, common among boards; it is not documented and differs from board to board."""
AVERAGING_PERIOD = 1.0
"""Seconds over which newer boards average the power that they give."""
MOST_WATTS = 3000.0
_INCLUDES = 'the graphics board with its memory; processor and board are not in it'


def find(module: Any = None) -> Discovery:
    """
    Look for boards.

    :param module: stands in for ``pynvml``, for tests.
    """
    if module is None:
        try:
            module = importlib.import_module('pynvml')
        except ImportError:
            return _refuse(
                'the Python package nvidia-ml-py is not installed',
                'with an NVIDIA graphics board: pip install nvidia-ml-py')
    try:
        _call(module, 'nvmlInit', module.nvmlInit)
        count = _call(module, 'nvmlDeviceGetCount', module.nvmlDeviceGetCount)
    except MeterError as error:
        return _refuse(str(error), 'with an NVIDIA graphics board: install its driver')
    found = Discovery()
    for index in range(count):
        found += _board(module, index)
    return found if count else _refuse('NVML lists no board')


def _refuse(reason: str, remedy: str = '') -> Discovery:
    return Discovery(refusals=(Refusal(FAMILY, reason, remedy),))


def _call(module: Any, what: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call NVML; whatever it raises becomes a MeterError that names the function."""
    try:
        return function(*arguments)
    except (module.NVMLError, OSError, AttributeError, ValueError) as error:
        raise MeterError(f'{what}: {" ".join(str(error).split()) or "failed"}') from None


def _board(module: Any, index: int) -> Discovery:
    try:
        handle = _call(
            module, f'nvmlDeviceGetHandleByIndex({index})', module.nvmlDeviceGetHandleByIndex,
            index)
        name = _call(module, 'nvmlDeviceGetName', module.nvmlDeviceGetName, handle)
    except MeterError as error:
        return _refuse(str(error))
    board = f'{name.decode() if isinstance(name, bytes) else name} ({index})'
    energy = partial(
        _number, module, f'nvmlDeviceGetTotalEnergyConsumption of {board}',
        'nvmlDeviceGetTotalEnergyConsumption', handle)
    power = partial(
        _number, module, f'nvmlDeviceGetPowerUsage of {board}', 'nvmlDeviceGetPowerUsage',
        handle)
    try:
        energy()
    except MeterError as no_energy:
        try:
            power()
        except MeterError as no_power:
            return _refuse(
                f'{no_energy}; {no_power}',
                'on a Jetson the ina3221 meters take its place')
        info = MeterInfo(
            f'nvml {index}', board, Scope.GRAPHICS_BOARD, _INCLUDES, AVERAGING_PERIOD,
            INTEGRATED, ('nvmlDeviceGetPowerUsage',))
        meter: Meter = PowerMeter(
            info, lambda: power() * 1e-3, most_watts=MOST_WATTS, update_on_change=True)
        return Discovery(meters=(meter,))
    info = MeterInfo(
        f'nvml {index}', board, Scope.GRAPHICS_BOARD, _INCLUDES, UPDATE_PERIOD, COUNTED,
        ('nvmlDeviceGetTotalEnergyConsumption',))
    # The count starts anew when the driver is loaded again, and is too wide to wrap.
    counter = Counter('nvmlDeviceGetTotalEnergyConsumption', energy, 1e-3, None)
    return Discovery(meters=(CounterMeter(info, [counter], most_watts=MOST_WATTS),))


def _number(module: Any, what: str, function: str, handle: Any) -> int:
    """Return millijoules or milliwatts."""
    value = _call(module, what, lambda: getattr(module, function)(handle))
    if not isinstance(value, int):
        raise MeterError(f'{what}: {value!r} is not an integer')
    return value
