# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Measured time beside modelled energy, layer by layer, for the reports."""

from dataclasses import dataclass
from html import escape

from rich.table import Table

from prune_perception.energy.account import EnergyAccount
from prune_perception.energy.layer_times import LayerTimes


@dataclass(frozen=True)
class TimeRow:
    """
    One line of the table.

    :param name: of the layer, or of an operator that belongs to none.
    :param energy_share: modelled, of the whole energy; None for what the account has no line for.
    :param seconds: measured; None where the engine's time is under another line.
    :param time_share: of layers and others together.
    :param spread: interquartile range by median.
    """

    name: str
    energy_share: float | None
    seconds: float | None
    time_share: float | None
    spread: float | None


def time_rows(account: EnergyAccount, times: LayerTimes) -> list[TimeRow]:
    """
    Return a line for each layer of the account, then one for each time that is in none of them.

    An engine's time of a module that runs twice is one figure; it stands in the first line.
    """
    whole = times.layer_seconds + times.other_seconds
    left = dict(times.layers)
    rows = []
    for layer, (share, _) in zip(account.layers, account.shares(), strict=True):
        module = layer.layer.module
        seconds = left.pop(module, None) if layer.layer.convolution is not None else None
        rows.append(TimeRow(
            layer.layer.name, share, seconds, None if seconds is None else seconds / whole,
            None if seconds is None else times.spread[module]))
    rows += [TimeRow(name, None, seconds, seconds / whole, times.spread[name])
             for name, seconds in left.items()]
    rows += [TimeRow(f'other: {name}', None, seconds, seconds / whole, None)
             for name, seconds in times.other.items()]
    return rows


def time_lines(times: LayerTimes) -> list[str]:
    """Return the totals of the time in words."""
    return [
        f'Time of one inference: {duration(times.seconds)}, {times.conditions}',
        f'Layers {duration(times.layer_seconds)} and others {duration(times.other_seconds)} '
        f'are together {times.covered:.1%} of it, seen with the profiler on, when an inference '
        f'took {duration(times.profiled_seconds)}']


def time_table(account: EnergyAccount, times: LayerTimes) -> Table:
    """Return the table for a terminal."""
    table = Table(box=None, pad_edge=False)
    table.add_column('layer', no_wrap=True, overflow='ellipsis', max_width=34)
    for name in ('energy share', 'time', 'time share', 'spread'):
        table.add_column(name, justify='right', no_wrap=True)
    table.add_column('', no_wrap=True)
    rows = time_rows(account, times)
    largest = max((row.time_share or 0.0 for row in rows), default=0.0) or 1.0
    for row in rows:
        table.add_row(*_cells(row), '█' * round((row.time_share or 0.0) / largest * 14))
    table.add_section()
    table.add_row('total', '100.0%', duration(times.layer_seconds + times.other_seconds),
                  '100.0%', '', '')
    return table


def time_html(account: EnergyAccount, times: LayerTimes) -> str:
    """Return the section of the page."""
    head = ''.join(f'<th>{name}</th>'
                   for name in ('layer', 'energy share', 'time', 'time share', 'spread'))
    body = ''.join('<tr>' + ''.join(f'<td>{escape(cell)}</td>' for cell in _cells(row)) + '</tr>'
                   for row in time_rows(account, times))
    lines = ''.join(f'<p>{escape(line)}.</p>' for line in time_lines(times))
    total = duration(times.layer_seconds + times.other_seconds)
    return (
        f'<h2>Time of each layer</h2>{lines}<p class="soft">Time is <b>'
        f'{escape(times.conditions)}</b>; spread is the interquartile range divided by the '
        'median. A dash: the time stands in one of the lines "other", by operator.</p>'
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}'
        f'<tr class="sum"><td>total</td><td>100.0%</td><td>{total}</td><td>100.0%</td><td></td>'
        '</tr></tbody></table></div>')


def duration(seconds: float) -> str:
    """Return a time with three digits and a prefix: 21.5 ms."""
    for size, unit in ((1.0, 's'), (1e-3, 'ms')):
        if seconds >= size * 0.9995:
            return f'{seconds / size:.3g} {unit}'
    return f'{seconds * 1e6:.3g} µs'


def _cells(row: TimeRow) -> tuple[str, ...]:
    def share(value: float | None) -> str:
        return '–' if value is None else f'{value:.1%}'
    return (row.name, share(row.energy_share),
            '–' if row.seconds is None else duration(row.seconds), share(row.time_share),
            '' if row.spread is None else f'{row.spread:.0%}')
