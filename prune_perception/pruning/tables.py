# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""What pruning did, as tables in a terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from prune_perception.energy.report import joules, number
from prune_perception.pruning.bound_tables import (
    group_table,
    groups_title,
    layer_table,
    layers_title,
    UNPROVED,
)
from prune_perception.pruning.pruner import Outcome
from prune_perception.pruning.report import (
    agreement_by_stage,
    described,
    measured_sentence,
    paired_layers,
)

_LAYERS = 10
_NOTES = 10
_CLASSES = 10


def print_outcome(outcome: Outcome, console: Console, energy_measured: Sequence[str] = ()) -> None:
    """
    Print what became of a network, the conditions beside every figure.

    :param energy_measured: lines on what a meter said, or why there is none.
    """
    def say(line: str, style: str = '') -> None:
        console.print(Text(line, style=style), soft_wrap=True)

    dense_card = outcome.request.bundle.card
    say(f'{dense_card.name}: {described(dense_card)}')
    say(f'{outcome.card.name}: {described(outcome.card)}')
    for title, table in (
            ('', _figures(outcome)),
            (f'Energy by kind, MAC energies for one image; {outcome.pruned.conditions}',
             _kinds(outcome)),
            (f'The {_LAYERS} layers that cost the dense network most; '
             f'{outcome.pruned.conditions}', _layers(outcome)),
            (f'Agreement with the dense network on {len(outcome.splits.select)} frames kept '
             'aside', _agreement(outcome)),
            ('Input sizes: agreement of the dense network with itself at full size (on mirrored '
             f'frames: {outcome.sizes.consistency:.4f}), and the forecast loss of a network '
             'within the budget' if outcome.sizes else '', _sizes(outcome)),
            ('Channels', _widths(outcome)),
            *(((groups_title(outcome.bound), _texts(*group_table(outcome.bound))),
               (layers_title(outcome.bound), _texts(*layer_table(outcome.bound))))
              if outcome.bound else ()),
            ('Time of each stage', _seconds(outcome)),
            (outcome.certificate.classes_title(), _classes(outcome))):
        if table.row_count:
            console.print()
            if title:
                say(title, 'italic')
            console.print(table)
    console.print()
    said = outcome.bound.text() if outcome.bound else UNPROVED
    for line in (*outcome.certificate.text().splitlines(), *said.splitlines()):
        say(line)
    if outcome.sizes is None:
        say(f'Input size: kept, {outcome.reason_for_one_size()}')
    say(measured_sentence(outcome))
    for line in energy_measured:
        say(line)
    for note in outcome.notes[:_NOTES]:
        say(f'note: {note}')
    if len(outcome.notes) > _NOTES:
        say(f'note: {len(outcome.notes) - _NOTES} more, see --json')


def _plain(*columns: str) -> Table:
    """Return a table whose first column is text and whose others are numbers."""
    table = Table(box=None, pad_edge=False)
    for place, name in enumerate(columns):
        table.add_column(name, justify='right' if place else 'left', no_wrap=True)
    return table


def _texts(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = _plain(*head)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _classes(outcome: Outcome) -> Table:
    """Return the certificate by class; of a network of one class it says nothing new."""
    head, rows = outcome.certificate.class_table()
    if len(outcome.card.class_names) == 1:
        return _plain(*head)
    more = [f'{len(rows) - _CLASSES} more, see --json', *[''] * (len(head) - 1)]
    return _texts(head, rows if len(rows) <= _CLASSES else [*rows[:_CLASSES], more])


def _figures(outcome: Outcome) -> Table:
    table = _plain('', 'dense', 'pruned', '')
    dense, pruned, latency = outcome.dense.total(), outcome.pruned.total(), outcome.latency
    table.add_row('energy of an image (MAC energies), modelled', number(dense.energy_mac),
                  number(pruned.energy_mac), f'{outcome.share:.1%} of the dense')
    if dense.energy_uj is not None and pruned.energy_uj is not None:
        table.add_row('  in joules, modelled', joules(dense.energy_uj), joules(pruned.energy_uj),
                      '')
    table.add_row(f'time of an image, {latency.engine}, measured', f'{latency.dense * 1e3:.3g} ms',
                  f'{latency.pruned * 1e3:.3g} ms', f'{latency.speedup:.2f} times faster')
    table.add_row('multiply-accumulates of an image', number(dense.macs), number(pruned.macs),
                  f'{pruned.macs / dense.macs:.1%}')
    table.add_row('parameters', number(dense.parameters), number(pruned.parameters),
                  f'{pruned.parameters / dense.parameters:.1%}')
    return table


def _kinds(outcome: Outcome) -> Table:
    table = _plain('', 'dense', 'pruned', 'left')
    pruned = outcome.pruned.by_kind()
    for kind, energy in outcome.dense.by_kind().items():
        table.add_row(kind.replace('_', ' '), number(energy), number(pruned[kind]),
                      f'{pruned[kind] / energy:.1%}' if energy else '')
    return table


def _layers(outcome: Outcome) -> Table:
    table = _plain('', 'dense', 'pruned', 'left')
    both = [(name, dense.total, pruned.total if pruned else 0.0)
            for name, dense, pruned in paired_layers(outcome) if dense is not None]
    for name, dense, pruned in sorted(both, key=lambda row: -row[1])[:_LAYERS]:
        table.add_row(Text(name), number(dense), number(pruned),
                      f'{pruned / dense:.1%}' if dense else '')
    return table


def _agreement(outcome: Outcome) -> Table:
    table = _plain('after', 'AP50')
    for stage, value in agreement_by_stage(outcome):
        table.add_row(stage, f'{value:.4f}')
    return table


def _sizes(outcome: Outcome) -> Table:
    table = _plain('', 'agreement', 'forecast loss')
    table.add_column('')
    chosen = (outcome.card.input.height, outcome.card.input.width)
    for trial in outcome.sizes.trials if outcome.sizes else ():
        words = 'taken' if trial.size == chosen else trial.reason
        table.add_row(
            f'{trial.size[1]} × {trial.size[0]}', f'{trial.dense:.4f}',
            '' if trial.forecast is None else f'{trial.forecast:.3g}', Text(words))
    return table


def _widths(outcome: Outcome) -> Table:
    table = _plain('group', 'before', 'after', 'left')
    for name, (before, after) in outcome.plan.widths.items():
        table.add_row(Text(name), f'{before}', f'{after}', f'{after / before:.0%}')
    return table


def _seconds(outcome: Outcome) -> Table:
    table = _plain('', 'seconds')
    for stage, seconds in outcome.seconds.items():
        table.add_row(stage, f'{seconds:.1f}')
    table.add_row('all', f'{sum(outcome.seconds.values()):.1f}')
    return table
