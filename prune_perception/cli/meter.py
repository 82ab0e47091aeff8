# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Show what this machine can measure of its power and energy, live."""

import argparse
from collections.abc import Iterator, Sequence
import json
from pathlib import Path
import platform
import sys
import time
from typing import Any

from prune_perception.cli.words import above_zero
from prune_perception.energy.meters import best, discover, Discovery, Meter, MeterError, Reading

NAME = 'meter'
HELP = 'show what this machine can measure of its power and energy'

_COLUMNS = ('meter', 'scope', 'power', 'energy', 'updates', 'rail')
_Results = dict[str, Reading | MeterError]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.description = (
        'Tries every kind of power sensor, says which work and why the others do not, and '
        'shows the figures live. Exit status 1 if nothing can be measured.')
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        '--once', action='store_true', help='measure for one interval, print and end')
    length.add_argument(
        '--seconds', type=above_zero, metavar='N', help='end after N seconds (else at Ctrl-C)')
    parser.add_argument(
        '--interval', type=above_zero, default=1.0, metavar='S',
        help='seconds between reads (default: %(default)s)')
    parser.add_argument(
        '--json', type=Path, metavar='FILE', help='also write meters, reasons and readings')
    parser.add_argument(
        '--root', type=Path, default=Path('/'), metavar='FOLDER',
        help='look at a recorded tree with sys/ and proc/ instead of this machine')


def run(arguments: argparse.Namespace) -> int:
    """Run the verb and return the exit status."""
    discovery = discover(arguments.root)
    _print_discovery(discovery)
    meters = discovery.meters + discovery.standby
    samples: list[dict[str, Any]] = []
    seconds = arguments.interval if arguments.once else arguments.seconds
    if meters:
        try:
            _show(_watch(meters, arguments.interval, seconds), meters, samples,
                  once=arguments.once)
        except KeyboardInterrupt:
            print()
    measured = any(
        'error' not in reading for sample in samples for reading in sample['readings'].values())
    if arguments.json is not None:
        try:
            arguments.json.write_text(
                json.dumps(_record(discovery, samples), indent=1) + '\n', encoding='utf-8')
        except OSError as error:
            print(f'prune-perception {NAME}: {arguments.json}: cannot be written: '
                  f'{(error.strerror or str(error)).lower()}', file=sys.stderr)
            return 1
    if not measured:
        print(f'prune-perception {NAME}: nothing can be measured here now; the reasons are '
              'above', file=sys.stderr)
    return 0 if measured else 1


def _print_discovery(discovery: Discovery) -> None:
    for meter in discovery.meters:
        print(f'found   {meter.name}: {meter.scope.value}; {meter.includes} '
              f'({meter.info.method})')
    for meter in discovery.standby:
        print(f'waits   {meter.name}: {meter.scope.value}; {meter.includes}')
    for refusal in discovery.refusals:
        print(f'no      {refusal.family}: {refusal.reason}')
        if refusal.remedy:
            print(f'        remedy: {refusal.remedy}')
        if refusal.udev_rule:
            print(f'        rule:   {refusal.udev_rule}')
    chosen = best(discovery)
    if chosen is not None:
        print(f'the energy of a frame would come from {chosen.name} ({chosen.rail})')


def _watch(
        meters: Sequence[Meter], interval: float, seconds: float | None) -> Iterator[_Results]:
    """Read all meters once an interval; the first results have no power where it is counted."""
    start = time.monotonic()
    beat = 0
    while True:
        results: _Results = {}
        for meter in meters:
            try:
                results[meter.name] = meter.read()
            except MeterError as error:
                results[meter.name] = error
        yield results
        # Small numbers that do not add up exactly must not cost the last read.
        if seconds is not None and (beat + 1) * interval > seconds * (1 + 1e-9):
            return
        beat += 1
        time.sleep(max(0.0, start + beat * interval - time.monotonic()))


def _show(
        rounds: Iterator[_Results], meters: Sequence[Meter], samples: list[dict[str, Any]], *,
        once: bool) -> None:
    """Print the rounds as they come: a live table on a terminal, else lines."""
    if once:
        *_, last = (_keep(results, samples) for results in rounds)
        _print_rows(last, meters)
    elif sys.stdout.isatty() and _show_live(rounds, meters, samples):
        return
    else:
        for results in rounds:
            _keep(results, samples)
            _print_rows(results, meters)


def _show_live(
        rounds: Iterator[_Results], meters: Sequence[Meter],
        samples: list[dict[str, Any]]) -> bool:
    """Draw the table in place; return whether rich is there to draw it."""
    try:
        from rich.live import Live
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return False
    with Live(auto_refresh=False) as live:
        for results in rounds:
            _keep(results, samples)
            table = Table(*_COLUMNS)
            for row in _rows(results, meters):
                table.add_row(*map(Text, row))  # no markup: rails may hold brackets
            live.update(table, refresh=True)
    return True


def _keep(results: _Results, samples: list[dict[str, Any]]) -> _Results:
    readings = {
        name: {'error': str(result)} if isinstance(result, MeterError) else {
            'energy_joules': result.energy_joules, 'power_watts': result.power_watts,
            'timestamp': result.timestamp, 'updates': result.updates, 'breaks': result.breaks}
        for name, result in results.items()}
    samples.append({'readings': readings})
    return results


def _rows(results: _Results, meters: Sequence[Meter]) -> Iterator[tuple[str, ...]]:
    for meter in meters:
        result = results[meter.name]
        if isinstance(result, MeterError):
            yield (meter.name, meter.scope.value, 'unavailable', '', '', str(result))
            continue
        power = '…' if result.power_watts is None else f'{result.power_watts:.3f} W'
        yield (meter.name, meter.scope.value, power, f'{result.energy_joules:.2f} J',
               str(result.updates), meter.rail)


def _print_rows(results: _Results, meters: Sequence[Meter]) -> None:
    for name, scope, power, energy, updates, rail in _rows(results, meters):
        print(f'{name:<24} {scope:<14} {power:>12} {energy:>14} {updates:>8}  {rail}',
              flush=True)


def _record(discovery: Discovery, samples: list[dict[str, Any]]) -> dict[str, Any]:
    chosen = best(discovery)
    return {
        'machine': {'processor': platform.machine(), 'system': platform.platform()},
        'best': None if chosen is None else chosen.name,
        'meters': [_describe(meter) for meter in discovery.meters],
        'standby': [_describe(meter) for meter in discovery.standby],
        'refusals': [
            {'family': refusal.family, 'reason': refusal.reason, 'remedy': refusal.remedy,
             'udev_rule': refusal.udev_rule} for refusal in discovery.refusals],
        'samples': samples}


def _describe(meter: Meter) -> dict[str, Any]:
    info = meter.info
    return {
        'name': info.name, 'rail': info.rail, 'scope': info.scope.value,
        'includes': info.includes, 'update_period_seconds': info.update_period,
        'method': info.method, 'files': list(info.files)}
