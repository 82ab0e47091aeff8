# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
The power management chip of the Raspberry Pi 5, through ``vcgencmd pmic_read_adc``.

It measures volts and amperes of the rails that it makes. It does not measure its own input
current, so what the 5 V side draws directly (USB, fan, the pin header) is not seen.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
import re
import subprocess

from prune_perception.energy.meters.discovery import Discovery, Refusal
from prune_perception.energy.meters.interface import INTEGRATED, MeterError, MeterInfo, Scope
from prune_perception.energy.meters.power_meter import PowerMeter
from prune_perception.energy.meters.sysfs import NotPermittedError, read_text

FAMILY = 'raspberry_pi_pmic'
COMMAND = ('vcgencmd', 'pmic_read_adc')
UPDATE_PERIOD = 0.1
"""Seconds, assumed: each call has the chip convert, which takes a few milliseconds."""
MOST_WATTS = 60.0
"""The board's supply gives 27 W."""
UDEV_RULE = 'KERNEL=="vcio", GROUP="video", MODE="0660"'

_LINE = re.compile(r'\s*(?P<rail>\w+)_(?P<unit>[AV])\s+\w+\(\d+\)=(?P<value>-?[\d.]+)[AV]\s*')

Runner = Callable[[Sequence[str]], str]
"""Runs a command and returns what it prints; raises MeterError."""


def find(root: Path = Path('/'), run: Runner | None = None) -> Discovery:
    """
    Look for the chip.

    :param root: of the tree that says which board this is.
    :param run: stands in for the command, for tests.
    """
    try:
        board = read_text(root / 'proc/device-tree/model')
    except MeterError:
        board = ''
    if 'Raspberry Pi' not in board:
        return _refuse(f'not a Raspberry Pi ({root / "proc/device-tree/model"} says '
                       f'{board or "nothing"})')
    sample = partial(_sample, run or _run)
    try:
        sample()
    except NotPermittedError as error:
        return _refuse(
            str(error), 'add your user to the group video; if /dev/vcio is not in it, put the '
            'rule into /etc/udev/rules.d/70-prune-perception-vcio.rules and restart', UDEV_RULE)
    except MeterError as error:
        return _refuse(f'{board}: {error}', 'a Raspberry Pi 5 or Compute Module 5 with the '
                       'package raspi-utils or libraspberrypi-bin is needed')
    info = MeterInfo(
        'raspberry pi pmic', 'sum of the PMIC rails', Scope.MODULE,
        'the rails that the power chip makes: processor, memory, wireless, HDMI; USB devices, '
        'fan, the 5 V pins and conversion losses are not in it',
        UPDATE_PERIOD, INTEGRATED, (' '.join(COMMAND),))
    return Discovery(meters=(PowerMeter(info, sample, most_watts=MOST_WATTS),))


def parse(text: str) -> dict[str, float]:
    """
    Return the watts of each rail that has both a voltage and a current.

    :param text: what ``vcgencmd pmic_read_adc`` prints: lines such as
        ``VDD_CORE_A current(7)=0.92871990A`` and ``VDD_CORE_V volt(15)=0.72097620V``; the
        numbers in brackets are not the same for the two, the names are.
    :raises MeterError: there is no rail, or one has a current without a voltage.
    """
    values: dict[tuple[str, str], float] = {}
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match:
            try:
                values[match['rail'], match['unit']] = float(match['value'])
            except ValueError:
                raise MeterError(f'pmic_read_adc: {line.strip()!r} is not a number') from None
    watts = {}
    for (rail, unit), amperes in values.items():
        if unit == 'A':
            if (rail, 'V') not in values:
                raise MeterError(f'pmic_read_adc: {rail} has a current and no voltage')
            watts[rail] = amperes * values[rail, 'V']
    if not watts:
        raise MeterError(f'pmic_read_adc: no rail in {text.strip()[:60]!r}')
    return watts


def _sample(run: Runner) -> float:
    return sum(parse(run(COMMAND)).values())


def _run(command: Sequence[str]) -> str:
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=2, check=False)
    except FileNotFoundError:
        raise MeterError(f'{command[0]}: not installed') from None
    except (OSError, subprocess.SubprocessError) as error:
        raise MeterError(f'{" ".join(command)}: {" ".join(str(error).split())}') from None
    said = ' '.join((result.stderr + result.stdout).split())
    if re.search('permission|vchi|/dev/vcio', said, re.IGNORECASE):
        raise NotPermittedError(f'{" ".join(command)}: {said[:120]}')
    if result.returncode != 0:
        raise MeterError(f'{" ".join(command)}: {said[:120] or "failed"}')
    return result.stdout


def _refuse(reason: str, remedy: str = '', udev_rule: str = '') -> Discovery:
    return Discovery(refusals=(Refusal(FAMILY, reason, remedy, udev_rule),))
