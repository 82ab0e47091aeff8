# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
The energy account for people: tables in a terminal, and a page that stands alone.

The page needs nothing from elsewhere: no script, no font, no picture. It reads on a telephone
and prints.
"""

from collections.abc import Sequence
from html import escape
import json
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from prune_perception.energy.account import EnergyAccount, LayerAccount
from prune_perception.energy.layer_times import LayerTimes
from prune_perception.energy.time_report import time_html, time_lines, time_table

# Narrower terminals get fewer columns.
_WIDE = 110

_KIND_NAMES = {'compute': 'compute', 'weights': 'weights', 'input_maps': 'input maps',
               'output_maps': 'output maps', 'partial_sums': 'partial sums'}
_LEVEL_NAMES = {'register_file': 'register file', 'array': 'array', 'buffer': 'buffer',
                'dram': 'DRAM'}
# Told apart by people who do not see all colours, and in grey (Okabe, Ito 2008).
_COLOURS = {'compute': '#4d4d4d', 'weights': '#0072b2', 'input_maps': '#56b4e9',
            'output_maps': '#e69f00', 'partial_sums': '#d55e00'}


def number(value: float) -> str:
    """Return a count with three digits and a decimal prefix: 2.09 G, 37.4 M, 0."""
    for size, prefix in ((1e12, 'T'), (1e9, 'G'), (1e6, 'M'), (1e3, 'k')):
        # 999.6 has three digits as 1000, so the next prefix begins just below.
        if abs(value) >= size * 0.9995:
            return f'{value / size:#.3g} {prefix}'.replace('. ', ' ')
    return f'{value:.0f}' if value == int(value) else f'{value:.3g}'


def joules(microjoules: float) -> str:
    """Return an energy with three digits and a prefix: 21.5 mJ."""
    for size, unit in ((1e6, 'J'), (1e3, 'mJ')):
        if abs(microjoules) >= size * 0.9995:
            return f'{microjoules / size:.3g} {unit}'
    return f'{microjoules:.3g} µJ'


def summary_lines(account: EnergyAccount) -> list[str]:
    """Return the totals in words, each with the conditions it holds under."""
    total = account.total()
    lines = [f'{account.network}, {" x ".join(map(str, account.count.input_shape[1:]))}: '
             f'{number(total.macs)} MACs, {number(total.parameters)} parameters',
             f'Energy of one image: {number(total.energy_mac)} MAC energies'
             + (f' or {joules(total.energy_uj)}' if total.energy_uj is not None else '')
             + f', {account.conditions}',
             f'Floor (every weight and the input and output moved once, every MAC done once): '
             f'{number(total.floor_mac)} MAC energies; the network is at '
             f'{total.floor_ratio:.2f} times it']
    if total.static_uj is not None:
        lines.append(f'Beside it, static power: {account.profile.static_power_w:g} W for '
                     f'{account.seconds:.4g} s measured is {joules(total.static_uj)}')
    elif account.profile.static_power_w is not None:
        lines.append(f'Not in it, static power: {account.profile.static_power_w:g} W, times the '
                     'time of an image, which was not given')
    else:
        lines.append('Not in it, static power: unknown for this profile')
    for unknown in account.count.unknown:
        lines.append(f'NOT COUNTED: operator {unknown.operator}, {unknown.calls} '
                     f'call{"s" if unknown.calls > 1 else ""}, first in '
                     f'{unknown.module or "the network itself"}')
    return lines


def print_account(account: EnergyAccount, console: Console,
                  times: LayerTimes | None = None) -> None:
    """
    Print the account as tables that fit the console's width.

    :param times: of the same network, to stand beside the energy.
    """
    for line in summary_lines(account):
        console.print(Text(line, style='bold red' if line.startswith('NOT') else ''),
                      soft_wrap=True)
    wide = console.width >= _WIDE
    tables = [('Energy, MAC energies for one image', _energy_table(account, wide)),
              ('Where it goes', _split_table(account))]
    if wide:
        tables.insert(0, ('Sizes and accesses, words for one image', _access_table(account)))
    for title, table in tables:
        console.print()
        console.print(Text(f'{title}; {account.conditions}', style='italic'), soft_wrap=True)
        console.print(table)
    if times is not None:
        console.print()
        for line in time_lines(times):
            console.print(Text(line), soft_wrap=True)
        console.print()
        console.print(Text(f'Time of each layer; {times.conditions}; energy {account.conditions}',
                           style='italic'), soft_wrap=True)
        console.print(time_table(account, times))


def _access_table(account: EnergyAccount) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column('layer', no_wrap=True, overflow='ellipsis', max_width=34)
    for name in ('MACs', 'weights', 'input', 'output', *_LEVEL_NAMES.values()):
        table.add_column(name, justify='right', no_wrap=True)
    for layer in account.layers:
        table.add_row(layer.layer.name, *(number(value) for value in _sizes(layer)))
    count = account.count
    table.add_section()
    table.add_row('total', number(count.macs), number(count.weights), '', '',
                  *(number(value) for value in account.accesses_by_level().values()))
    return table


def _energy_table(account: EnergyAccount, wide: bool) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column('layer', no_wrap=True, overflow='ellipsis', max_width=34 if wide else 26)
    if wide:
        for name in _KIND_NAMES.values():
            table.add_column(name, justify='right', no_wrap=True)
    for name in ('energy', 'share', 'running'):
        table.add_column(name, justify='right', no_wrap=True)
    table.add_column('', no_wrap=True)
    shares = account.shares()
    largest = max((share for share, _ in shares), default=0.0) or 1.0
    for layer, (share, running) in zip(account.layers, shares, strict=True):
        kinds = [number(value) for value in layer.by_kind().values()] if wide else []
        table.add_row(layer.layer.name, *kinds, number(layer.total), f'{share:.1%}',
                      f'{running:.1%}', '█' * round(share / largest * 14))
    kinds = [number(value) for value in account.by_kind().values()] if wide else []
    table.add_section()
    table.add_row('total', *kinds, number(account.total().energy_mac), '100.0%', '', '')
    return table


def _split_table(account: EnergyAccount) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ('by kind', 'MAC energies', 'share', 'by level', 'MAC energies', 'share'):
        table.add_column(name, justify='left' if name.startswith('by') else 'right')
    whole = account.total().energy_mac or 1.0
    names = {'compute': 'compute', **_LEVEL_NAMES}
    for (kind, energy), (level, other) in zip(account.by_kind().items(),
                                              account.by_level().items(), strict=True):
        table.add_row(_KIND_NAMES[kind], number(energy), f'{energy / whole:.1%}',
                      names[level], number(other), f'{other / whole:.1%}')
    return table


def _sizes(layer: LayerAccount) -> list[float]:
    return [layer.layer.macs, layer.layer.weights, layer.layer.input_words,
            layer.layer.output_words, *layer.accesses_by_level().values()]


def write_json(account: EnergyAccount, path: Path, times: LayerTimes | None = None) -> None:
    """Write the account as JSON; measured times are under ``layer_times``."""
    content = account.to_dict()
    if times is not None:
        content['layer_times'] = times.to_dict()
    path.write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')


def write_html(account: EnergyAccount, path: Path, times: LayerTimes | None = None) -> None:
    """Write the account as a page that stands alone."""
    path.write_text(html_page(account, times), encoding='utf-8')


def html_page(account: EnergyAccount, times: LayerTimes | None = None) -> str:
    """
    Return the page.

    :param times: of the same network, to stand beside the energy.
    """
    total = account.total()
    tiles = [('MAC energies for one image', f'{number(total.energy_mac)}'),
             ('for one image', joules(total.energy_uj) if total.energy_uj is not None
              else 'no joules cited'),
             ('times the floor', f'{total.floor_ratio:.2f}'),
             ('multiply-accumulates', number(total.macs)),
             ('parameters', number(total.parameters))]
    if total.static_uj is not None:
        tiles.append(('static power beside it', joules(total.static_uj)))
    unknown = ''.join(f'<p class="warning">{escape(line)}</p>'
                      for line in summary_lines(account) if line.startswith('NOT COUNTED'))
    return _PAGE.format(
        title=escape(f'Energy of {account.network}'),
        conditions=escape(account.conditions),
        size=escape(' × '.join(map(str, account.count.input_shape[1:]))),
        tiles=''.join(f'<div><b>{escape(value)}</b><span>{escape(name)}</span></div>'
                      for name, value in tiles),
        notes=''.join(f'<p>{escape(line)}.</p>' for line in summary_lines(account)[2:4]) + unknown,
        legend=''.join(f'<span><i style="background:{_COLOURS[kind]}"></i>{name}</span>'
                       for kind, name in _KIND_NAMES.items()),
        split=_split_bars(account), bars=_layer_bars(account),
        times='' if times is None else time_html(account, times),
        accesses=_access_rows(account), energies=_energy_rows(account),
        description=escape(account.profile.description),
        sources=''.join(
            f'<li>{escape(source.figure)} — {escape(source.source)} '
            f'({"checked" if source.checked else "recalled"})</li>'
            for source in account.profile.sources))


def _stack(kinds: dict[str, float], whole: float) -> str:
    """Return a bar in pieces, each as wide as its part of ``whole``."""
    parts = []
    for kind, energy in kinds.items():
        if energy > 0:
            text = f'{_KIND_NAMES[kind]}: {number(energy)} MAC energies'
            parts.append(f'<i style="width:{energy / whole:.3%};background:{_COLOURS[kind]}" '
                         f'title="{escape(text)}"></i>')
    return ''.join(parts)


def _split_bars(account: EnergyAccount) -> str:
    whole = account.total().energy_mac or 1.0
    rows = ''.join(f'<tr><td>{name}</td><td>{number(energy)}</td><td>{energy / whole:.1%}</td>'
                   '</tr>' for name, energy in
                   ((_KIND_NAMES[kind], value) for kind, value in account.by_kind().items()))
    levels = ''.join(
        f'<tr><td>{_LEVEL_NAMES.get(level, level)}</td><td>{number(energy)}</td>'
        f'<td>{energy / whole:.1%}</td></tr>' for level, energy in account.by_level().items())
    return (f'<div class="bar whole">{_stack(account.by_kind(), whole)}</div>'
            '<div class="pair"><table><tr><th>by kind</th><th>MAC energies</th><th>share</th></tr>'
            f'{rows}</table><table><tr><th>by level</th><th>MAC energies</th><th>share</th></tr>'
            f'{levels}</table></div>')


def _layer_bars(account: EnergyAccount) -> str:
    largest = max((layer.total for layer in account.layers), default=0.0) or 1.0
    rows = []
    for layer, (share, _) in zip(account.layers, account.shares(), strict=True):
        rows.append(
            f'<div class="row"><span class="name">{escape(layer.layer.name)}</span>'
            f'<span class="bar">{_stack(layer.by_kind(), largest)}</span>'
            f'<span class="value">{number(layer.total)}</span>'
            f'<span class="value">{share:.1%}</span></div>')
    return ''.join(rows)


def _access_rows(account: EnergyAccount) -> str:
    rows = [('layer', 'operator', 'MACs', 'weights', 'input', 'output', *_LEVEL_NAMES.values())]
    for layer in account.layers:
        rows.append((layer.layer.name, ' + '.join((layer.layer.operator, *layer.layer.fused)),
                     *map(number, _sizes(layer))))
    rows.append(('total', '', number(account.count.macs), number(account.count.weights), '', '',
                 *map(number, account.accesses_by_level().values())))
    return _html_table(rows)


def _energy_rows(account: EnergyAccount) -> str:
    rows = [('layer', 'operator', *_KIND_NAMES.values(), 'energy', 'share', 'running')]
    for layer, (share, running) in zip(account.layers, account.shares(), strict=True):
        rows.append((layer.layer.name, ' + '.join((layer.layer.operator, *layer.layer.fused)),
                     *map(number, layer.by_kind().values()), number(layer.total),
                     f'{share:.1%}', f'{running:.1%}'))
    rows.append(('total', '', *map(number, account.by_kind().values()),
                 number(account.total().energy_mac), '100.0%', ''))
    return _html_table(rows)


def _html_table(rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose first row is the head and whose last is the sum."""
    def line(cells: Sequence[str], tag: str) -> str:
        return ''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)
    body = ''.join(f'<tr>{line(row, "td")}</tr>' for row in rows[1:-1])
    return (f'<thead><tr>{line(rows[0], "th")}</tr></thead><tbody>{body}'
            f'<tr class="sum">{line(rows[-1], "td")}</tr></tbody>')


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ --ink: #1a1a1a; --soft: #5c5c5c; --line: #d9d9d9; --back: #ffffff; --panel: #f5f5f5; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ink: #ececec; --soft: #a8a8a8; --line: #3c3c3c; --back: #161616; --panel: #222; }}
  i[style*="#4d4d4d"] {{ background: #9a9a9a !important; }}
}}
* {{ box-sizing: border-box; }}
body {{ margin: 0 auto; padding: 1.5rem 1.25rem 3rem; max-width: 84rem; color: var(--ink);
  background: var(--back); font: 15px/1.5 system-ui, sans-serif; }}
h1 {{ font-size: 1.6rem; line-height: 1.2; margin: 0; }}
h2 {{ font-size: 1.1rem; margin: 2.2rem 0 .6rem; }}
p {{ margin: .4rem 0; max-width: 75ch; }}
.soft {{ color: var(--soft); }}
.warning {{ color: #b00020; font-weight: 600; }}
.tiles {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr));
  gap: .6rem; margin: 1.2rem 0; }}
.tiles div {{ background: var(--panel); border-radius: .4rem; padding: .7rem .9rem; }}
.tiles b {{ display: block; font-size: 1.3rem; white-space: nowrap; }}
.tiles span {{ color: var(--soft); font-size: .85rem; }}
.legend {{ display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; margin: .5rem 0; }}
.legend i {{ display: inline-block; width: .8rem; height: .8rem; margin-right: .4rem;
  border-radius: 2px; }}
.bar {{ display: flex; height: 1rem; }}
.bar i {{ display: block; height: 100%; }}
.bar.whole {{ height: 1.6rem; border-radius: .25rem; overflow: hidden; }}
.pair {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr));
  gap: .4rem 3rem; margin-top: .8rem; max-width: 52rem; }}
.row {{ display: grid; grid-template-columns: 15rem 1fr 5rem 4rem; gap: .6rem;
  align-items: center; padding: .12rem 0; break-inside: avoid; }}
.name {{ overflow-wrap: anywhere; line-height: 1.2; font-size: .88rem; }}
.value {{ text-align: right; font-variant-numeric: tabular-nums; font-size: .88rem; }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: .84rem; font-variant-numeric: tabular-nums; }}
.pair table {{ width: 100%; align-self: start; }}
th, td {{ padding: .2rem .55rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }}
th {{ font-weight: 600; }}
th:first-child, td:first-child {{ text-align: left; }}
.scroll td:nth-child(2), .scroll th:nth-child(2) {{ text-align: left; }}
.scroll td:first-child, .scroll th:first-child {{ position: sticky; left: 0;
  background: var(--back); }}
.sum td {{ font-weight: 600; }}
li {{ margin: .25rem 0; max-width: 85ch; }}
@media (max-width: 640px) {{
  .row {{ grid-template-columns: 1fr 4.5rem 3.5rem; grid-template-areas: "n v s" "b b b";
    padding: .3rem 0; gap: .1rem .6rem; }}
  .row .name {{ grid-area: n; }}
  .row .bar {{ grid-area: b; height: .8rem; }}
}}
@media print {{
  @page {{ size: A4 landscape; margin: 12mm; }}
  :root {{ --ink: #000; --soft: #444; --line: #bbb; --back: #fff; --panel: #f5f5f5; }}
  body {{ font-size: 10px; padding: 0; max-width: none; }}
  * {{ print-color-adjust: exact; -webkit-print-color-adjust: exact; }}
  .scroll {{ overflow: visible; }}
  .scroll table {{ font-size: 8px; width: 100%; }}
  h2 {{ break-after: avoid; }}
  th, td {{ padding: 1px 3px; }}
  .row {{ padding: 0; }}
  .bar {{ height: .8rem; }}
  tr {{ break-inside: avoid; }}
}}
</style>
</head>
<body>
<h1>{title}</h1>
<p class="soft">Input {size}. All energy is <b>{conditions}</b>; one unit is the energy of a
multiply-accumulate (MAC), a <i>MAC energy</i>.</p>
<div class="tiles">{tiles}</div>
{notes}
<h2>Where it goes</h2>
<div class="legend">{legend}</div>
{split}
<h2>Energy of each layer</h2>
<p class="soft">{conditions}; in the order of execution; MAC energies and share of the whole.</p>
<div class="legend">{legend}</div>
{bars}
{times}
<h2>Sizes and accesses</h2>
<p class="soft">{conditions}; words for one image.</p>
<div class="scroll"><table>{accesses}</table></div>
<h2>Energy by kind of data</h2>
<p class="soft">{conditions}; MAC energies for one image.</p>
<div class="scroll"><table>{energies}</table></div>
<h2>The hardware profile</h2>
<p>{description}. Its figures and where they come from:</p>
<ul>{sources}</ul>
</body>
</html>
"""
