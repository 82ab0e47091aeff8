# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Measure how much of the shipped ladder's saving survives bad weather, with and without labels.

The bundles for people in ``models/`` are shown frames 1 to 400 of a video of pedestrians (PETS
2009 S2.L1), of which they were pruned on frames 401 to 795, under each corruption that changes
images; each 4th frame. It prints the tables of ``docs/trust.md``:

- the potential of each corruption at each severity;
- whether a loss without labels tells the excess error by labels: for a loss against the dense
  detector's own consistency, and for one against an agreement of 1, how far each is from it over
  all rungs and conditions, in the mean, and the rank correlation.

Limits: one static scene, by day, and corruptions that are computed. The pruned bundles were made
for this scene. Conditions are not independent of each other, so that the correlations are of this
table and no estimate. Nothing is timed, so that a busy machine changes nothing.

    python benchmarks/potential.py --data FOLDER [--every 4] [--json FILE] [--html FILE]
"""

import argparse
from dataclasses import asdict, dataclass
import json
from pathlib import Path
import sys

import accuracy
import numpy as np
from numpy.typing import NDArray

from prune_perception.evaluation import LARGEST_LOSS, POTENTIAL_SEVERITIES
from prune_perception.evaluation.potential import Survey
from prune_perception.evaluation.potential_report import html_report, MARKS, sentences
from prune_perception.evaluation.potential_survey import survey, WEATHER
from prune_perception.runtime.engines import EngineOptions

ROOT = Path(__file__).resolve().parent.parent
DENSE = 'nanodet_g'
FRAMES = (1, 400)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """
    A loss without labels, held against the excess error by labels.

    :param above: mean of the loss less the excess.
    :param apart: mean of the same without its sign.
    :param ranks: rank correlation.
    :param too_high: verdicts of failure where the excess is within what is allowed.
    :param too_low: the other way round.
    :param rows: rungs and conditions that were compared.
    """

    above: float
    apart: float
    ranks: float
    too_high: int
    too_low: int
    rows: int


def compare(losses: Floats, excesses: Floats) -> Comparison:
    """Hold losses, one for each rung and condition, against excess errors."""
    difference = losses - excesses
    ranks = np.argsort(np.argsort([losses, excesses]))
    high, allowed = losses > LARGEST_LOSS, excesses <= LARGEST_LOSS
    return Comparison(
        float(difference.mean()), float(np.abs(difference).mean()),
        float(np.asarray(np.corrcoef(ranks))[0, 1]), int((high & allowed).sum()),
        int((~high & ~allowed).sum()), len(losses))


def comparisons(found: Survey) -> dict[str, Comparison]:
    """Return both losses held against the labels."""
    rows = np.array([
        (each.losses[rung.name].value, 1 - each.agreements[rung.name].value,
         each.excesses[rung.name].value)
        for each in found.conditions if not each.reason for rung in found.rungs])
    return {'consistency − agreement': compare(rows[:, 0], rows[:, 2]),
            '1 − agreement': compare(rows[:, 1], rows[:, 2])}


def print_survey(found: Survey) -> None:
    """Print all conditions as a table of Markdown."""
    print('| | objects | consistency | ' + ' | '.join(
        f'`{rung.name}` {rung.share:.0%}' for rung in found.rungs) + ' | potential | by labels |')
    print('|---|--:|--:|' + '--:|' * len(found.rungs) + '--:|--:|')
    for each in found.conditions:
        cells = [each.name, str(each.objects),
                 '–' if each.consistency is None else f'{each.consistency:.3f}']
        cells += ['–' if each.reason else f'{each.agreements[rung.name].value:.3f}'
                  + MARKS[found.verdict(rung, each)] for rung in found.rungs]
        for saved in (found.potential(each), found.potential_by_labels(each)):
            cells.append(each.reason if saved is None else f'{saved:.0%}')
        print('| ' + ' | '.join(cells) + ' |')


def print_potentials(found: Survey) -> None:
    """Print the potential by corruption and severity, and in brackets that by labels."""
    severities = sorted({each.severity for each in found.conditions} - {0})
    cells = {(each.corruption, each.severity): ' '.join(
        'nothing is said' if saved is None else f'{saved:.0%}' if place == 0 else f'({saved:.0%})'
        for place, saved in enumerate(
            (found.potential(each), found.potential_by_labels(each))))
        for each in found.conditions}
    print('| potential (by labels) | ' + ' | '.join(
        f'severity {severity}' for severity in severities) + ' |')
    print('|---|' + '--:|' * len(severities))
    print('| as recorded | ' + ' | '.join([cells['', 0]] * len(severities)) + ' |')
    for name in dict.fromkeys(each.corruption for each in found.conditions if each.corruption):
        print(f'| `{name}` | ' + ' | '.join(
            cells[name, severity] for severity in severities) + ' |')


def print_comparisons(found: Survey) -> None:
    """Print how either loss does against the labels."""
    print('| loss without labels | above the excess by | apart from it by | rank correlation | '
          'fails wrongly | survives wrongly |')
    print('|---|--:|--:|--:|--:|--:|')
    for name, each in comparisons(found).items():
        print(f'| {name} | {each.above:+.3f} | {each.apart:.3f} | {each.ranks:.2f} | '
              f'{each.too_high} of {each.rows} | {each.too_low} of {each.rows} |')


def main() -> int:
    """Survey the shipped ladder and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').strip().partition('\n')[0])
    accuracy.add_data(parser)
    parser.add_argument('--every', type=int, default=4, help='frames (%(default)s)')
    parser.add_argument('--corruptions', nargs='+', default=WEATHER, metavar='NAME')
    parser.add_argument('--severity', type=int, nargs='+', default=POTENTIAL_SEVERITIES)
    parser.add_argument('--threads', type=int, default=1, help='of the engine (%(default)s)')
    parser.add_argument('--json', type=Path, metavar='FILE')
    parser.add_argument('--html', type=Path, metavar='FILE')
    arguments = parser.parse_args()
    folder = arguments.data / 'pets09-s2l1'
    rungs = sorted(path.parent for path in (ROOT / 'models').glob(f'{DENSE}_person_*/model.yaml'))

    def tell(name: str, share: float) -> None:
        print(f'\r{share:4.0%} {name:30}', end='', file=sys.stderr, flush=True)

    found = survey(
        folder / 'vtest.avi', rungs, ROOT / 'models' / DENSE,
        corruptions=arguments.corruptions, severities=arguments.severity, part=FRAMES,
        every=arguments.every, ground_truth=folder / 'gt_frames_1-400.txt',
        engine=EngineOptions(threads=arguments.threads), progress=tell)
    print(file=sys.stderr)
    machine = accuracy.describe_machine()
    print(json.dumps(machine))
    print(f'{found.frames} frames, loss allowed {found.largest_loss:g}\n')
    print_survey(found)
    print()
    print_potentials(found)
    print()
    print('\n'.join(sentences(found)))
    print()
    print_comparisons(found)
    if arguments.json:
        arguments.json.write_text(json.dumps({
            'machine': machine, 'survey': found.to_json(),
            'comparisons': {name: asdict(each) for name, each in comparisons(found).items()},
        }, indent=2) + '\n')
    if arguments.html:
        arguments.html.write_text(html_report(found), encoding='utf-8')
    return 0


if __name__ == '__main__':
    sys.exit(main())
