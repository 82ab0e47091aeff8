# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Ask what widths each engine runs well: multiples of how many channels.

The same network is planned with widths that are multiples of 8, 16 and 32 (what is no wider, of
halves of that, down to 8), at the same shares of the modelled energy and without another input
size. Each engine runs what comes out in turns with the dense network: times as fast, the median
over the turns. A coarser plan has less of a choice; what that costs tells its agreement with the
dense network on frames kept aside, and AP50 of labelled people, restored and not trained.

Limits: one network, one video; kernels differ from one processor to the next.

    python benchmarks/alignment.py --data FOLDER [--alignments 8 16 32] [--shares 0.25 …]
"""

import argparse
from dataclasses import replace
import json
from pathlib import Path
import sys
import tempfile
from typing import Any

import accuracy
from pruning_methods.networks import described, written
from pruning_methods.timing import pace

from prune_perception.bundle import read_bundle
from prune_perception.energy.hardware import load_profile
from prune_perception.pruning import ALIGNMENTS
from prune_perception.pruning.agreement import agreement, detections_of
from prune_perception.pruning.footage import read_footage
from prune_perception.pruning.planner import planner_for, SELECT_IMAGES
from prune_perception.pruning.restoration import kept_outputs, restore
from prune_perception.pruning.splits import split
from prune_perception.resources import find_model
from prune_perception.runtime.engines import ENGINES


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row for each alignment and share."""
    bundle = read_bundle(find_model(arguments.model))
    footage = read_footage(
        arguments.data / 'pets09-s2l1' / 'vtest.avi', bundle.card.input, part=(401, 795))
    parts = split(len(footage.images), footage.frame_rate)
    fit = footage.images[parts.fit.start:parts.fit.stop]
    select = footage.images[parts.select.start:parts.select.stop]
    full = planner_for(bundle, load_profile('eyeriss_65nm'), classes=('person',))
    wanted = detections_of(full.network, full.card, select)
    seen, aside = full.observe(fit), full.observe(select, SELECT_IMAGES)
    rows = []
    for alignment in arguments.alignments:
        planner = replace(full, alignment=alignment)
        swept = planner.sweep(seen, min(arguments.shares) * planner.reference)
        for share in arguments.shares:
            plan = planner.plan(swept, share * planner.reference)
            pruned = planner.remove(plan)
            restore(pruned, seen, aside, kept_outputs(planner.groups, plan.removed))
            network = described(pruned, planner.card)
            found = agreement(wanted, detections_of(pruned, network.card, select))
            with tempfile.TemporaryDirectory() as folder:
                made = written(network, Path(folder) / 'pruned')
                people = accuracy.measure_people(
                    accuracy.create_detector(made.folder, 'onnxruntime'), arguments.data,
                    arguments.every)
                fast = {engine: pace(bundle, made, engine, arguments.pairs, 1).ratio
                        for engine in ENGINES}
            rows.append({'alignment': alignment, 'share': plan.share, 'agreement': found,
                         'ap50': people.ap50, 'times_as_fast': fast})
            print(f'{alignment:9} {plan.share:8.1%} {found:10.3f} {people.ap50:8.3f} ' + ' '.join(
                f'{ratio:11.2f}' for ratio in fast.values()), flush=True)
    return rows


def main() -> int:
    """Measure, print and return the exit status."""
    parser = argparse.ArgumentParser(description='widths that engines run well')
    accuracy.add_data(parser)
    parser.add_argument('--model', default='nanodet_g')
    parser.add_argument('--alignments', nargs='+', type=int, choices=ALIGNMENTS,
                        default=list(ALIGNMENTS))
    parser.add_argument('--shares', nargs='+', type=float, default=[0.5, 0.25, 0.1])
    parser.add_argument('--every', type=int, default=4, help='judge each Nth labelled frame')
    parser.add_argument('--pairs', type=int, default=30, help='turns with the dense network')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures there too')
    arguments = parser.parse_args()
    print(accuracy.describe_machine())
    print(f'{"alignment":>9} {"energy":>8} {"agreement":>10} {"AP50":>8} ' + ' '.join(
        f'{engine:>11}' for engine in ENGINES))
    rows = measure(arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(
            {'machine': accuracy.describe_machine(), 'rows': rows}, indent=2) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
