# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The verb ``calibrate``: fit a hardware profile to this machine."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
import sys
from typing import TYPE_CHECKING

from prune_perception.cli.words import above_zero, profile, whole
from prune_perception.energy.hardware import ProfileError
from prune_perception.energy.meters import discover
from prune_perception.evaluation.files import check_outputs
from prune_perception.runtime.engines import EngineOptions

if TYPE_CHECKING:
    from prune_perception.calibration.calibration import Calibration

NAME = 'calibrate'
HELP = 'fit a hardware profile to this machine, from layers that are run while reading its meter'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the words of this verb."""
    parser.description = (
        'Runs a grid of layers in an engine, reads the clock and the meter, and fits what a MAC '
        'and a byte of DRAM cost. Without a meter it fits time alone. Leave the machine to '
        'itself meanwhile.')
    parser.add_argument(
        '--engine', choices=('onnxruntime', 'openvino'), default='onnxruntime',
        help='what runs the layers (%(default)s)')
    parser.add_argument(
        '--threads', type=whole(0), default=0, metavar='N',
        help='for one inference; 0 leaves it to the engine (%(default)s)')
    parser.add_argument(
        '--base', type=profile, metavar='PROFILE',
        help='profile whose access model is kept (default: x86_cpu or cortex_a, by processor)')
    parser.add_argument(
        '--rounds', type=whole(1), metavar='N',
        help='how often each block of layers is run (default: 5, or 3 with a meter)')
    parser.add_argument(
        '--time-limit', type=above_zero, metavar='SECONDS',
        help='begin no further block after that; too short a time is refused at the end')
    parser.add_argument(
        '--no-meter', action='store_true', help='fit time alone, even where there is a meter')
    parser.add_argument(
        '-o', '--output', type=Path, metavar='FILE',
        help='write the profile; `profile --hardware FILE` reads it')
    parser.add_argument(
        '--json', type=Path, metavar='FILE', help='write all that was measured and fitted')


def run(arguments: argparse.Namespace) -> int:
    """Measure, fit, print and write, and return the exit status."""
    try:
        from prune_perception.calibration import CalibrationError
        from prune_perception.calibration.calibration import (
            calibrate,
            check_output,
            check_record,
            choose_meter,
            save_profile,
            save_record,
        )
    except ImportError as error:
        print(f"prune-perception {NAME}: {error}; install it with 'pip install "
              "prune_perception[offline]'", file=sys.stderr)
        return 1
    check_outputs([], [('-o', arguments.output), ('--json', arguments.json)])
    try:
        if arguments.output:
            check_output(arguments.output)
        if arguments.json:
            check_record(arguments.json)
        meter, reason = ((None, '--no-meter was given') if arguments.no_meter
                         else choose_meter(discover()))
        if meter is None:
            print(f'no energy, time alone: {reason}')
        else:
            print(f'meter {meter.name}: {meter.scope.value}; {meter.includes}')
        with _progress() as progress:
            calibration = calibrate(
                EngineOptions(arguments.engine, arguments.threads), base=arguments.base,
                meter=meter, no_meter=reason, rounds=arguments.rounds,
                time_limit=arguments.time_limit, progress=progress)
        _print(calibration)
        if arguments.output:
            save_profile(calibration, arguments.output)
            print(f'wrote {arguments.output}')
        if arguments.json:
            save_record(calibration, arguments.json)
            print(f'wrote {arguments.json}')
    except (CalibrationError, ProfileError) as error:
        print(f'prune-perception {NAME}: {error}', file=sys.stderr)
        return 1
    return 0


@contextmanager
def _progress() -> Iterator[Callable[[int, int, str], None]]:
    """Show a bar on a terminal; what reads a pipe gets none."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    columns = (BarColumn(), TextColumn('{task.completed}/{task.total}'), TimeRemainingColumn(),
               TextColumn('{task.description}', markup=False))
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True,
                  disable=not console.is_terminal) as bar:
        task = bar.add_task('', total=None)
        yield lambda done, total, name: bar.update(
            task, completed=done, total=total, description=name)


def _print(calibration: 'Calibration') -> None:
    seen, times, energy = calibration.measurements, calibration.time, calibration.energy
    print(calibration.conditions)
    print(f'{len(seen.observations)} blocks of layers in {seen.seconds:.0f} s'
          + ('' if seen.complete else ', ended by the time limit'))
    print(f'time    {times.seconds_per_mac * 1e12:10.4g} ps per MAC')
    print(f'        {times.seconds_per_byte * 1e12:10.4g} ps per byte of DRAM')
    print(f'        {times.seconds_per_layer * 1e6:10.4g} us per layer')
    print(f'        error, fitted layers: {times.fitted}')
    print(f'        error, held back:     {times.held_back}')
    if energy is None:
        print('energy  not fitted: '
              + ('see above' if calibration.meter is None else calibration.no_energy))
        print('        a profile written now holds no joules and no watts')
        return
    print(f'energy  {energy.joules_per_mac * 1e12:10.4g} pJ per MAC')
    print(f'        {energy.joules_per_byte * 1e12:10.4g} pJ per byte of DRAM')
    print(f'        {energy.static_power_w:10.4g} W static '
          f'({energy.idle_power_w:.4g} W measured in quiet)')
    print(f'        error, fitted layers: {energy.fitted}')
    print(f'        error, held back:     {energy.held_back}')
