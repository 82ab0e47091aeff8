# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""How a job of several stages shows what it is at."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import sys
import time


@contextmanager
def stages() -> Iterator[Callable[[str, float, str], None]]:
    """
    Show a bar for each stage on a terminal; what reads a pipe gets a line for each.

    It gives what a job calls with a stage, the share of it that is done, and a word on that.
    """
    from rich.console import Console
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain()
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Column
    columns = (
        TextColumn('{task.description}', markup=False), BarColumn(bar_width=24),
        TextColumn('{task.percentage:>3.0f} %'), TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn('{task.fields[doing]}', markup=False,
                   table_column=Column(no_wrap=True, overflow='ellipsis')))
    tasks = {}
    with Progress(*columns, console=console) as bar:
        def show(stage: str, share: float, text: str) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=1.0, doing='')
            bar.update(tasks[stage], completed=share, doing='' if share >= 1 else text)
        yield show


def _plain() -> Callable[[str, float, str], None]:
    begin, seen = time.monotonic(), set[str]()

    def show(stage: str, share: float, text: str) -> None:
        if stage not in seen:
            seen.add(stage)
            print(f'{time.monotonic() - begin:6.0f} s  {stage}', file=sys.stderr, flush=True)
    return show
