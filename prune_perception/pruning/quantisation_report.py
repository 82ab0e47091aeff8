# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""What quantisation did, as tables in a terminal and as plain values."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from prune_perception.energy.report import joules, number
from prune_perception.pruning.agreement import CONFIDENT
from prune_perception.pruning.quantiser import CALIBRATION_FRAMES, Outcome, WORTH
from prune_perception.pruning.report import described, versions

_WORDS = {'int8': 'in integers everywhere', 'float': 'with the last layers in float'}


def print_outcome(outcome: Outcome, console: Console, energy_measured: Sequence[str] = ()) -> None:
    """
    Print what became of a network, the conditions beside every figure.

    :param energy_measured: lines on what a meter said, or why there is none.
    """
    def say(line: str, style: str = '') -> None:
        console.print(Text(line, style=style), soft_wrap=True)

    say(f'{outcome.card.name}: {described(outcome.card)}; int8 by '
        f'{outcome.request.quantiser}, from {outcome.request.bundle.card.name}')
    console.print()
    console.print(_figures(outcome))
    console.print()
    say(f'Agreement with the detector in float on {len(outcome.splits.select)} frames kept aside',
        'italic')
    console.print(_agreement(outcome))
    console.print()
    for line in outcome.certificate.text().splitlines():
        say(line)
    say(_choice(outcome))
    modelled = f'Energy is {outcome.account.conditions}: no reading of a meter. ' \
        if outcome.account else ''
    say(f'{modelled}Time is measured on {outcome.latencies[0].machine}, inference of one image, '
        'both in turns; another processor has other integers.')
    for line in energy_measured:
        say(line)
    for note in outcome.notes:
        say(f'note: {note}')


def summary(outcome: Outcome) -> dict[str, Any]:
    """Return the outcome as plain values, ready for JSON; what is not known is None."""
    request, splits, account = outcome.request, outcome.splits, outcome.account
    quantisation = outcome.card.quantisation
    assert quantisation is not None  # every outcome's card has it
    return {
        'name': outcome.card.name,
        'parent': {'name': request.bundle.card.name, 'digest': request.bundle.digest},
        'quantisation': {
            'bits': quantisation.bits, 'float_layers': list(quantisation.float_layers),
            'reduced_range': quantisation.reduced_range, 'quantiser': quantisation.quantiser,
            'calibration_frames': min(CALIBRATION_FRAMES, len(splits.fit))},
        'request': {
            'hardware': request.profile.name, 'last_layers': request.last_layers,
            'topic': request.topic, 'frames': request.frames, 'unrelated': request.unrelated,
            'command': request.command},
        'certificate': outcome.certificate.to_dict(),
        'energy': None if account is None else {
            'conditions': account.conditions, 'share_of_parent': account.share,
            'before': account.before.summary(), 'after': account.summary()},
        'latency': [{
            'engine': latency.engine, 'machine': latency.machine, 'before_s': latency.dense,
            'after_s': latency.pruned, 'speedup': latency.speedup}
            for latency in outcome.latencies],
        'graph_bytes': {'before': outcome.sizes[0], 'after': outcome.sizes[1]},
        'agreement': {
            'figure': 'agreement_ap50', 'confident_score': CONFIDENT,
            'frames': len(splits.select), 'by_last_layers': dict(outcome.agreement),
            'chosen': outcome.chosen, 'in_openvino': outcome.in_openvino},
        'footage': {
            'path': str(outcome.footage.path), 'digest': outcome.footage.digest,
            'frames': len(outcome.footage.images), 'skipped': list(outcome.footage.skipped),
            'splits': {name: len(getattr(splits, name)) for name in ('fit', 'select', 'certify')}},
        'notes': list(outcome.notes), 'seconds': dict(outcome.seconds), 'versions': versions()}


def _figures(outcome: Outcome) -> Table:
    table = _plain('', 'float', 'int8', '')
    account = outcome.account
    if account is not None:
        before, after = account.before.total(), account.after.total()
        table.add_row('energy of an image (MAC energies), modelled', number(before.energy_mac),
                      number(after.energy_mac), f'{account.share:.1%}')
        if before.energy_uj is not None and after.energy_uj is not None:
            table.add_row('  in joules, modelled', joules(before.energy_uj),
                          joules(after.energy_uj), '')
    for latency in outcome.latencies:
        table.add_row(
            f'time of an image, {latency.engine}, measured', f'{latency.dense * 1e3:.3g} ms',
            f'{latency.pruned * 1e3:.3g} ms', f'{latency.speedup:.2f} times as fast')
    first, second = outcome.sizes
    table.add_row('size of the graph', f'{first / 1e6:.2f} MB', f'{second / 1e6:.2f} MB',
                  f'{second / first:.1%}')
    return table


def _agreement(outcome: Outcome) -> Table:
    table = _plain('', 'AP50')
    for last, value in outcome.agreement.items():
        taken = ', taken' if last == outcome.chosen and len(outcome.agreement) > 1 else ''
        table.add_row(f'{_WORDS[last]}{taken}', f'{value:.4f}')
    if outcome.in_openvino is not None:
        table.add_row('the one taken, by OpenVINO', f'{outcome.in_openvino:.4f}')
    return table


def _choice(outcome: Outcome) -> str:
    last = ', '.join(outcome.card.quantisation.float_layers) if outcome.card.quantisation else ''
    if len(outcome.agreement) < 2:
        why = 'as there are no others' if outcome.request.last_layers == 'auto' else 'as asked for'
        return f'Last layers: {outcome.chosen}, {why}'
    if outcome.chosen == 'float':
        return f'Last layers: kept in float, which brings over {WORTH:g} of agreement: {last}'
    return f'Last layers: in integers, since float would not bring over {WORTH:g} of agreement'


def _plain(*columns: str) -> Table:
    """Return a table whose first column is text and whose others are numbers."""
    table = Table(box=None, pad_edge=False)
    for place, name in enumerate(columns):
        table.add_column(name, justify='right' if place else 'left', no_wrap=True)
    return table
