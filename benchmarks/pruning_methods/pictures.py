# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The table and the plot, for people."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from prune_perception.evaluation.intervals import Interval
from pruning_methods.methods import METHODS
from pruning_methods.summary import dense_row, difference, Goal, Row

_WIDTH = 170  # that the table needs, whatever the terminal has: no figure is cut off

_ASIDE = 0.0012  # of the energy, between neighbouring methods: or one would hide the other
_WORDS = ('method', '95 %', 'less dense')  # columns that begin at the left

_COLOURS = {
    'ours': '#c1121f', 'ours-full-size': '#e76f51', 'ours-loss': '#f4a261',
    'ours-gradual': '#9d0208', 'narrow': '#8338ec', 'low-resolution': '#6c757d',
    'uniform': '#adb5bd', 'random': '#ced4da', 'int8': '#2a9d8f', 'ours-int8': '#264653',
    'tp-magnitude': '#0077b6', 'tp-magnitude-iterative': '#0077b6',
    'tp-group-norm': '#00b4d8', 'tp-group-norm-iterative': '#00b4d8', 'tp-taylor': '#023e8a',
    'tp-taylor-iterative': '#023e8a'}


def print_rows(console: Console, scene: str, rows: Sequence[Row]) -> None:
    """Print the table of a scene."""
    own = [row for row in rows if row.scene == scene]
    if not own:
        return
    dense, metric = dense_row(rows, scene), own[0].metric.upper()
    table = Table(title=f'{scene}: {metric}', title_justify='left', box=box.SIMPLE_HEAD,
                  padding=(0, 1, 0, 0))
    for name in ('method', 'input', 'energy', 'untrained', metric, '95 %', 'seeds', 'less dense',
                 'ONNX Runtime', 'OpenVINO'):
        table.add_column(name, justify='left' if name in _WORDS else 'right', no_wrap=True)
    order = list(METHODS)
    budget = None
    for row in sorted(own, key=lambda row: (-row.budget, order.index(row.method))):
        if budget is not None and row.budget != budget:
            table.add_section()
        budget = row.budget
        table.add_row(*_cells(row, dense), style='bold' if row.method == 'ours' else None)
    Console(file=console.file, width=max(console.width, _WIDTH)).print(table)


def print_goals(console: Console, goals: Sequence[Goal]) -> None:
    """Print what was hoped for."""
    for goal in goals:
        console.print(f'{"met   " if goal.met else "MISSED"} {goal.text}: {goal.found:+.3f}, '
                      f'wanted {goal.wanted:+.3f}', highlight=False, soft_wrap=True)


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw the metric against modelled energy, one panel a scene; solid after training."""
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot

    scenes = list(dict.fromkeys(row.scene for row in rows))
    figure, panels = pyplot.subplots(
        1, len(scenes), figsize=(11 * len(scenes), 6.5), squeeze=False, layout='constrained')
    for panel, scene in zip(panels[0], scenes, strict=True):
        _draw_scene(panel, scene, rows)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _cells(row: Row, dense: Row | None) -> list[str]:
    less = ''
    if dense is not None and dense is not row:
        found = difference(row, dense)
        less = f'{found.value:+.3f} {_interval(found.interval, signed=True)}'
    seeds = f'{row.seeds}' if row.seeds == 1 else \
        f'{row.seeds}: {row.least:.3f}…{row.most:.3f}'
    return [
        row.label, f'{row.size[1]}x{row.size[0]}',
        f'{row.share:.1%}{"" if row.matched else " !"}',
        '' if row.before is None else f'{row.before:.3f}', f'{row.after:.3f}',
        _interval(row.interval), seeds, less,
        *(f'{row.ms[engine]:.1f} ms {row.ratio[engine]:4.2f}x'
          for engine in ('onnxruntime', 'openvino'))]


def _interval(interval: Interval | None, signed: bool = False) -> str:
    if interval is None:
        return ''
    form = '+.3f' if signed else '.3f'
    return f'{interval.low:{form}}…{interval.high:{form}}'


def _draw_scene(axes: Any, scene: str, rows: Sequence[Row]) -> None:
    own = [row for row in rows if row.scene == scene]
    dense = dense_row(rows, scene)
    if dense is not None:
        axes.axhline(dense.after, color='black', linewidth=1, label=f'dense, {dense.after:.3f}')
        if dense.interval is not None:
            axes.axhspan(dense.interval.low, dense.interval.high, color='black', alpha=0.06)
    for method in METHODS:
        points = sorted((row for row in own if row.method == method != 'dense'),
                        key=lambda row: row.share)
        if not points:
            continue
        colour, line = _COLOURS[method], '--' if method.endswith('-iterative') else '-'
        aside = _ASIDE * (list(METHODS).index(method) - len(METHODS) / 2)
        energies, values = [row.share + aside for row in points], [row.after for row in points]
        errors = [[max(0.0, row.after - row.interval.low) if row.interval else 0.0
                   for row in points],
                  [max(0.0, row.interval.high - row.after) if row.interval else 0.0
                   for row in points]]
        axes.errorbar(energies, values, yerr=errors, color=colour, linestyle=line, marker='o',
                      markersize=5, capsize=3, linewidth=2.5 if method == 'ours' else 1.2,
                      label=METHODS[method].label)
        untrained = [row for row in points if row.before is not None]
        if method.startswith('ours') and untrained:
            axes.plot([row.share + aside for row in untrained], [row.before for row in untrained],
                      color=colour, linestyle=':', marker='o', markerfacecolor='white',
                      label=f'{METHODS[method].label}, without training')
    axes.set_xlabel('modelled energy of a frame, share of the dense network with all classes\n'
                    '(points of one energy stand side by side)')
    axes.set_ylabel(own[0].metric.upper())
    axes.set_title(scene)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc='center left', bbox_to_anchor=(1.0, 0.5))
