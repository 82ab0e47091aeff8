# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Ask how loud the sensitivities of provable pruning should be in the plan of ``combined``.

The plan takes the channels with the least forecast growth of the loss for the energy saved, times
a power of their sensitivity. For each exponent, 0 being a plan that does not hear them, networks
are restored, not trained, and judged:

- *people*: pruned for people on frames 401 to 795 of a video without labels; AP50 of the people
  labelled in its frames 1 to 400.
- *photographs*: all 80 classes on 128 photographs of COCO train2017; AP on 64 of val2017.

*Agreement* is that with the dense network on frames kept aside. The input size stays the same.

Limits: one static scene, few photographs; no training, which makes up for much of the difference.

    python benchmarks/voice.py --data FOLDER [--scene people] [--exponents 0 0.5 …]
"""

import argparse
from dataclasses import dataclass
import json
from pathlib import Path
import sys
import tempfile
from typing import Any

import accuracy
from pruning_methods.networks import described, written

from prune_perception.bundle import read_bundle
from prune_perception.energy.hardware import load_profile
from prune_perception.pruning import methods
from prune_perception.pruning.agreement import agreement, detections_of
from prune_perception.pruning.footage import read_footage
from prune_perception.pruning.planner import planner_for, SELECT_IMAGES
from prune_perception.pruning.restoration import kept_outputs, restore
from prune_perception.pruning.splits import split
from prune_perception.resources import find_model

Size = tuple[int, int]


@dataclass(frozen=True)
class Scene:
    """
    What to prune for.

    :param recording: in the folder of the data.
    :param frames: first and last of it; None for all.
    :param class_names: that are kept; None for all.
    :param size: (height, width) of the input, pixels.
    :param shares: of the dense energy.
    """

    recording: Path
    frames: tuple[int, int] | None
    class_names: tuple[str, ...] | None
    size: Size
    shares: tuple[float, ...]


SCENES = {
    'people': Scene(Path('pets09-s2l1') / 'vtest.avi', (401, 795), ('person',), (352, 352),
                    (0.5, 0.25, 0.1)),
    'photographs': Scene(
        Path('coco128') / 'calibration', None, None, (416, 416), (0.85, 0.75, 0.5))}


def judge(name: str, bundle: Path, arguments: argparse.Namespace) -> accuracy.Accuracy:
    """Judge a pruned network by the labels of its scene."""
    detector = accuracy.create_detector(bundle, 'onnxruntime')
    if name == 'people':
        return accuracy.measure_people(detector, arguments.data, arguments.every)
    return accuracy.measure_coco(detector, arguments.data)


def measure(name: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row for each exponent and share."""
    scene, bundle = SCENES[name], read_bundle(find_model('nanodet_g'))
    footage = read_footage(
        arguments.data / scene.recording, bundle.card.input, part=scene.frames)
    parts = split(len(footage.images), footage.frame_rate)
    fit = footage.images[parts.fit.start:parts.fit.stop]
    select = footage.images[parts.select.start:parts.select.stop]
    full = planner_for(bundle, load_profile('eyeriss_65nm'), classes=scene.class_names)
    wanted = detections_of(full.network, full.card, select)
    planner = full.at(scene.size)
    seen, aside = planner.observe(fit), planner.observe(select, SELECT_IMAGES)
    rows = []
    for exponent in arguments.exponents:
        methods.VOICE = exponent
        swept = planner.sweep(seen, min(scene.shares) * planner.reference)
        for share in scene.shares:
            plan = planner.plan(swept, share * planner.reference)
            pruned = planner.remove(plan)
            restore(pruned, seen, aside, kept_outputs(planner.groups, plan.removed))
            network = described(pruned, planner.card)
            with tempfile.TemporaryDirectory() as folder:
                found = judge(name, written(network, Path(folder) / 'pruned').folder, arguments)
            rows.append({
                'scene': name, 'exponent': exponent, 'share': plan.share, 'ap': found.ap,
                'ap50': found.ap50,
                'agreement': agreement(wanted, detections_of(pruned, network.card, select))})
            print(f'{name:12} {exponent:8g} {plan.share:8.1%} {found.ap:8.3f} {found.ap50:8.3f} '
                  f'{rows[-1]["agreement"]:10.3f}', flush=True)
    return rows


def main() -> int:
    """Measure, print and return the exit status."""
    parser = argparse.ArgumentParser(description='sensitivities as a voice in the plan')
    accuracy.add_data(parser)
    parser.add_argument('--exponents', nargs='+', type=float, default=[0, 0.25, 0.5, 1])
    parser.add_argument('--scene', nargs='+', choices=list(SCENES), default=list(SCENES))
    parser.add_argument('--every', type=int, default=4, help='judge each Nth labelled frame')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures there too')
    arguments = parser.parse_args()
    print(f'{"scene":12} {"exponent":>8} {"energy":>8} {"AP":>8} {"AP50":>8} {"agreement":>10}')
    rows = [row for name in arguments.scene for row in measure(name, arguments)]
    if arguments.json:
        arguments.json.write_text(json.dumps(
            {'machine': accuracy.describe_machine(), 'rows': rows}, indent=2) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
