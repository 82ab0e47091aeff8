# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Find the way to a small detector that keeps most of its accuracy at the same modelled energy.

The same frames, the same class, the same number of training steps, and energies within 1 % of
each budget (a share of the dense network's with all its classes, modelled for eyeriss_65nm at
batch 1; a row that could not be matched has a ``!``):

- *ours*: planned by energy and error, restored by least squares, distilled. Its plan may lower
  the input size; *full resolution* tells what it reaches without that, *without the
  sensitivities* what it does by ``--method loss``, and *in two rounds* what it does
  when half of the training comes before the second half of the removal.
- *Torch-Pruning*, its own pruners: magnitude, group norm and Taylor, channels ranked over all
  layers; in one shot, and in rounds of removing and training.
- *uniform* and *random* removal; a *narrow* network of ours' widths trained from scratch; the
  dense network at a *low resolution*; *int8* by ONNX Runtime, alone and on top of ours.

All are trained by this project's own distillation, from the dense network, on frames 401 to 795
of a video without labels, and judged by the people in its frames 1 to 400. *untrained* is the
figure before training: for ours, restoration alone. Intervals are over blocks of consecutive
frames; those of differences on the same frames for both. Times are of inference alone, in turns
with the dense network; the ratio is the median over the pairs.

``--panning`` takes the same video through a window that moves, and ``--all-classes`` photographs
of COCO and all 80 classes (AP), instead.

Limits: one static scene of one camera, of which the dense network's own answers are the only
teacher; the panning window is cut from it. Intervals tell how far the figure scatters with frames
of this scene, not with scenes. Energy is modelled, not measured. The dense network at a low
resolution is not trained: at its own resolution it would be its own teacher. A method's settings
are its library's defaults, and all are trained by the recipe that this project uses. Group norm
comes without the sparse training of its paper. Times depend on widths: ours are multiples of 8,
those of the others are not. 64 photographs are too few for a COCO AP; they compare.

Each cell (a method at a budget with a seed) is kept in ``--cells`` under a digest of its settings
and data, and not run again: after Ctrl-C or ``--time-limit``, the same command goes on. A digest
knows nothing of the code: remove cells after changing it.

    python benchmarks/pruning.py --quick --data FOLDER [--plot FILE] [--json FILE]
    python benchmarks/pruning.py --data FOLDER [--seeds 3] [--only ours tp-taylor] [--budgets 0.25]
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
import importlib.metadata
import json
import os
from pathlib import Path
import sys
import time
from typing import Any

import accuracy
from pruning_methods.cells import Cell, cell_for, CellError, Cells, Settings
from pruning_methods.methods import METHODS
from pruning_methods.pictures import draw, print_goals, print_rows
from pruning_methods.scenes import Scene, SCENES
from pruning_methods.summary import as_json, goals_of, rows_of
from pruning_methods.training import Recipe
from rich.console import Console
import torch

from prune_perception.bundle import BundleError, read_bundle
from prune_perception.energy.hardware import load_profile
from prune_perception.runtime.engines import EngineError

ROOT = Path(__file__).resolve().parent.parent
PROFILE = 'eyeriss_65nm'

FULL = Settings(Recipe(steps=1500), every=1, pairs=100, threads=0)
QUICK = Settings(
    Recipe(steps=150, views=600, rounds=3, select=12), every=4, pairs=30, threads=0)
QUICK_MINUTES = 29.0

# 25 % first: if the time does not suffice, it is the budget that says most.
BUDGETS = {'pedestrians': (0.25, 0.10, 0.50), 'panning': (0.25, 0.10, 0.50),
           'photographs': (0.75, 0.50)}
_FEW = ('dense', 'ours', 'ours-full-size', 'tp-taylor-iterative')
METHODS_OF = {'pedestrians': tuple(METHODS), 'panning': _FEW, 'photographs': _FEW[:3]}


def plan(scenes: Sequence[str], only: Sequence[str], budgets: Sequence[float], seeds: int
         ) -> list[Cell]:
    """
    Return the cells to measure, in their order.

    :param only: methods by name; empty for those that a scene has by default.
    :param budgets: empty for those that a scene has by default.
    """
    cells = [
        cell_for(scene, method, budget, seed)
        for scene in scenes for seed in range(seeds) for budget in budgets or BUDGETS[scene]
        for method in ('dense', *(only or METHODS_OF[scene]))]
    return list(dict.fromkeys(cells))


class Deadline:
    """
    Says whether there is time for another cell.

    It is judged by the longest so far: one that has begun is not cut short.

    :param seconds: None for no limit.
    """

    def __init__(self, seconds: float | None) -> None:
        self._start = self._last = time.monotonic()
        self._seconds = seconds
        self._longest = 0.0

    def note(self) -> None:
        """Take note that a cell is done."""
        now = time.monotonic()
        self._longest, self._last = max(self._longest, now - self._last), now

    def passed(self) -> bool:
        """Tell whether another cell would end too late."""
        used = time.monotonic() - self._start
        return self._seconds is not None and used + self._longest > self._seconds


def measure(cells: Sequence[Cell], open_cells: dict[str, Any], deadline: Deadline,
            console: Console) -> list[dict[str, Any]]:
    """
    Return what was measured, now or before; fewer cells where the time did not suffice.

    :param open_cells: functions that return the ``Cells`` of a scene, by its name.
    """
    found: dict[Cell, dict[str, Any]] = {}
    scene, of_scene = '', None
    try:
        for cell in cells:
            if cell.scene != scene or of_scene is None:
                scene, of_scene = cell.scene, open_cells[cell.scene]()
            there = of_scene.read(cell)
            if there is None:
                if deadline.passed():
                    continue
                try:
                    there = of_scene.run(cell)
                # A method that fails on this network, in a library as well, has no row; the
                # others are still measured.
                except (ArithmeticError, AttributeError, LookupError, RuntimeError,
                        ValueError) as error:
                    console.print(f'{cell}: cannot be had: {error} ({type(error).__name__})',
                                  highlight=False)
                    continue
                finally:
                    deadline.note()
            found[cell] = there
    except KeyboardInterrupt:
        console.print('stopped; what is done is kept')
    left = len(cells) - len(found)
    if left:
        console.print(f'{left} of {len(cells)} cells are not measured: '
                      'the same command goes on with them', highlight=False)
    return list(found.values())


def describe_machine(threads: int) -> dict[str, Any]:
    """Name the machine and the versions that the figures belong to."""
    machine = accuracy.describe_machine()
    for package in ('torch', 'torch-pruning', 'onnxruntime', 'openvino'):
        machine['versions'][package] = importlib.metadata.version(package)
    return {**machine, 'threads': threads}


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the arguments, checked."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or '').strip().partition('\n')[0],
        epilog=f'methods: {", ".join(METHODS)}')
    parser.add_argument('--model', type=Path, default=ROOT / 'models' / 'nanodet_g')
    accuracy.add_data(parser)
    parser.add_argument('--cells', type=Path, metavar='DIR',
                        default=ROOT / 'demo_output' / 'pruning_cells',
                        help='where measured cells are kept (%(default)s)')
    parser.add_argument('--quick', action='store_true',
                        help=f'few steps, each {QUICK.every}th frame, and no new cell that would '
                             f'end after {QUICK_MINUTES:g} minutes')
    parser.add_argument('--all-classes', action='store_true', help='measure on photographs')
    parser.add_argument('--panning', action='store_true', help='measure on a moving window')
    parser.add_argument('--seeds', type=int, default=1, metavar='N')
    parser.add_argument('--only', nargs='+', choices=list(METHODS), default=[], metavar='NAME')
    parser.add_argument('--budgets', nargs='+', type=float, default=[], metavar='SHARE')
    parser.add_argument('--steps', type=int, metavar='N', help='of training')
    parser.add_argument('--every', type=int, metavar='N', help='judge each Nth labelled frame')
    parser.add_argument('--threads', type=int, default=os.cpu_count() or 1, metavar='N',
                        help='of training and of inference (%(default)s)')
    parser.add_argument('--time-limit', type=float, metavar='MINUTES')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures there too')
    parser.add_argument('--plot', type=Path, metavar='FILE', help='draw them')
    arguments = parser.parse_args(words)
    for name in ('seeds', 'threads', 'steps', 'every'):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            parser.error(f'--{name} is {value}; it must be at least 1')
    for budget in arguments.budgets:
        if not 0 < budget < 1:
            parser.error(f'--budgets has {budget:g}; a budget lies between 0 and 1')
    return arguments


def settings_of(arguments: argparse.Namespace) -> Settings:
    """Return how cells are measured."""
    settings = QUICK if arguments.quick else FULL
    if arguments.steps is not None:
        settings = replace(settings, recipe=replace(settings.recipe, steps=arguments.steps))
    return replace(settings, every=arguments.every or settings.every, threads=arguments.threads)


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print, draw and return the exit status."""
    arguments = parse(words)
    settings = settings_of(arguments)
    torch.set_num_threads(arguments.threads)
    console = Console(soft_wrap=True)
    scenes = [name for name, asked in (
        ('panning', arguments.panning), ('photographs', arguments.all_classes)) if asked]
    wanted = plan(scenes or ['pedestrians'], arguments.only, arguments.budgets, arguments.seeds)
    minutes = arguments.time_limit or (QUICK_MINUTES if arguments.quick else None)
    deadline = Deadline(None if minutes is None else 60 * minutes)
    machine = describe_machine(arguments.threads)
    console.print(f'{machine["cpu"]}, {machine["threads"]} threads of {machine["cores"]}, '
                  f'{machine["system"]}, Python {machine["python"]}, '
                  + ', '.join(f'{name} {version}' for name, version
                              in machine['versions'].items()), highlight=False)
    console.print(f'{settings.recipe.steps} steps of {settings.recipe.batch} views, '
                  f'each {settings.every}. labelled frame', highlight=False)
    try:
        dense, profile = read_bundle(arguments.model), load_profile(PROFILE)

        def opened(name: str) -> Cells:
            scene: Scene = SCENES[name](arguments.data, settings.every)
            return Cells(arguments.cells, dense, scene, settings, profile,
                         lambda line: console.print(line, highlight=False))

        cells = measure(wanted, {name: lambda name=name: opened(name) for name in SCENES},
                        deadline, console)
    except (BundleError, CellError, EngineError, OSError) as error:
        print(f'pruning: {error}', file=sys.stderr)
        return 1
    rows = rows_of(cells)
    for scene in dict.fromkeys(row.scene for row in rows):
        print_rows(console, scene, rows)
    goals = goals_of(rows)
    print_goals(console, goals)
    if arguments.plot and rows:
        draw(rows, arguments.plot)
    if arguments.json:
        arguments.json.write_text(json.dumps({
            'model': dense.card.name, 'digest': dense.digest, 'machine': machine,
            'profile': profile.name, 'settings': asdict(settings), 'rows': as_json(rows),
            'goals': [{**asdict(goal), 'met': goal.met} for goal in goals]}, indent=2) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
