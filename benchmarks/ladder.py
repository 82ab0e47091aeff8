# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Measure the bundles that are shipped: what each sees, what it costs, and how fast it is.

AP50 of people in frames 1 to 400 of a video of pedestrians, and AP on photographs of COCO for
bundles with all classes, as ``accuracy.py`` measures them with ONNX Runtime; the modelled energy
of the cards; and the time of an inference beside the dense bundle, in turns. It prints the table
of ``models/README.md``.

Limits: one static scene, which the pruned bundles were fitted to at a later time; 64 photographs.
The ratio of times is the median over neighbouring turns and survives a noisy machine better than
a time does; it is of this machine and this engine.

    python benchmarks/ladder.py --data FOLDER [--json FILE]
"""

import argparse
from dataclasses import asdict, dataclass
import json
from pathlib import Path
import sys

import accuracy

from prune_perception.bundle import Bundle, read_bundle
from prune_perception.pruning.latency import compare
from prune_perception.runtime.engines import create_engine, EngineOptions

ROOT = Path(__file__).resolve().parent.parent
DENSE = 'nanodet_g'
PROFILE = 'eyeriss_65nm'
ENGINE = 'onnxruntime'
ROUNDS = 100


@dataclass(frozen=True)
class Rung:
    """
    One bundle.

    :param share: of the dense bundle's modelled energy.
    :param people_ap50: of people in the video.
    :param coco_ap: on the photographs; None for a bundle without all classes.
    :param speedup: against the dense bundle.
    """

    name: str
    classes: str
    size: tuple[int, int]
    share: float
    people_ap50: float
    coco_ap: float | None
    speedup: float


def measure(bundle: Bundle, dense: Bundle, data: Path) -> Rung:
    """Measure a bundle beside the dense one."""
    card, everything = bundle.card, bundle.card.class_names == dense.card.class_names
    people = accuracy.measure_people(accuracy.create_detector(
        bundle.folder, ENGINE, class_names=['person']), data)
    coco = accuracy.measure_coco(accuracy.create_detector(bundle.folder, ENGINE), data) \
        if everything else None
    engines = [create_engine(one, EngineOptions(ENGINE)) for one in (dense, bundle)]
    latency = compare(engines[0], dense.card, engines[1], card, ENGINE, ROUNDS)
    energies = [one.card.energy[PROFILE]['total']['energy_mac'] for one in (bundle, dense)]
    return Rung(
        card.name, str(len(card.class_names)) if everything else ', '.join(card.class_names),
        (card.input.width, card.input.height), energies[0] / energies[1], people.ap50,
        coco.ap if coco else None, latency.speedup)


def row(rung: Rung) -> str:
    """Return a line of the table."""
    coco = '' if rung.coco_ap is None else f'{rung.coco_ap:.3f}'
    return (f'| `{rung.name}` | {rung.classes} | {rung.size[0]} × {rung.size[1]} | '
            f'{100 * rung.share:.1f} % | {rung.people_ap50:.3f} | {coco} | {rung.speedup:.1f} |')


def main() -> int:
    """Measure all bundles in ``models/`` and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').strip().partition('\n')[0])
    accuracy.add_data(parser)
    parser.add_argument('--json', type=Path, metavar='FILE')
    arguments = parser.parse_args()
    machine = accuracy.describe_machine()
    dense = read_bundle(ROOT / 'models' / DENSE)
    bundles = [read_bundle(path.parent) for path in (ROOT / 'models').glob('*/model.yaml')]
    bundles.sort(key=lambda one: -one.card.energy[PROFILE]['total']['energy_mac'])
    print(json.dumps(machine))
    print('| bundle | classes | input | modelled energy | people: AP50 | COCO: AP | '
          'times faster |')
    print('|---|---|---|---|---|---|---|')
    rungs = []
    for bundle in bundles:
        rungs.append(measure(bundle, dense, arguments.data))
        print(row(rungs[-1]), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(
            {'machine': machine, 'rungs': [asdict(rung) for rung in rungs]}, indent=2) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
