# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Measure how long decoders take for one image, on outputs of the usual shapes.

The outputs are noise far below the threshold, with 60 objects above it, 80 classes and the score
threshold of the node. Beside each time stands that of copying the same outputs, which no decoder
that looks at all of them can be much below.

Limits: made-up outputs, of one density of objects; suppression is not part of it; times are of
this machine as busy as it was, medians of runs in turns.

    python benchmarks/decoders.py [--json FILE]
"""

import argparse
from dataclasses import asdict, dataclass
import json
from pathlib import Path
import statistics
import time
from typing import Any

import accuracy
import numpy as np
from numpy.typing import NDArray

from prune_perception.bundle import Card, DecoderSpec, InputSpec, OutputSpec, Provenance
from prune_perception.runtime.decoders import decoder_of

CLASSES, OBJECTS, ROUNDS, THRESHOLD = 80, 60, 200, 0.35
YOLO = 8400  # anchors of strides 8, 16 and 32 on 640 x 640 pixels
SSD_SIZES = [[[60.0, 60.0]] * 6] * 6
SSD_CELLS = [[20, 20], [10, 10], [5, 5], [3, 3], [2, 2], [1, 1]]

# Name: side of the input, settings, and for each output its shape and its channels' axis.
CASES: dict[str, tuple[int, dict[str, Any], list[tuple[int, ...]]]] = {
    'yolo_dfl': (640, {}, [(1, 144, 80, 80), (1, 144, 40, 40), (1, 144, 20, 20)]),
    'yolox': (640, {}, [(1, YOLO, 85)]),
    'ssd': (320, {'anchors': SSD_SIZES, 'cells': SSD_CELLS}, [(1, 3234, 4), (1, 3234, 81)]),
    'fcos': (640, {'order': ['classes', 'boxes', 'centerness']},
             [(1, 8525, 80), (1, 8525, 4), (1, 8525, 1)]),
    'centernet': (512, {}, [(1, 84, 128, 128)]),
    'decoded': (640, {'boxes': 'cxcywh', 'scores': 'logits'}, [(1, 84, YOLO)]),
    'listed': (640, {'boxes': 'xyxy'}, [(1, 300, 6)]),
}


@dataclass(frozen=True)
class Time:
    """Median milliseconds of decoding one image, and of copying its outputs."""

    decoder: str
    outputs: str
    found: int
    decode_ms: float
    copy_ms: float


def outputs_of(name: str, card: Card) -> list[NDArray[np.float32]]:
    """Return noise far below the threshold, with objects in it."""
    rng = np.random.default_rng(0)
    outputs = [rng.normal(-8, 0.5, spec.shape).astype(np.float32) for spec in card.outputs]
    if name == 'listed':
        outputs[0][..., 4] = 0.01
        outputs[0][0, :OBJECTS] = (10, 10, 50, 50, 0.9, 1)
        return outputs
    layout = decoder_of(card).layout  # type: ignore[attr-defined]
    for block in layout.blocks:
        fields = block.read(outputs)
        share = max(1, OBJECTS * len(block.anchors) // layout.size)
        chosen = rng.choice(len(block.anchors), share, replace=False)
        for field, values in fields.items():
            if field == 'classes':
                if name == 'ssd':
                    values[:, 0] = 8  # background
                values[chosen, rng.integers(1, CLASSES, share)] = 12
            elif field in ('objectness', 'centerness'):
                values[chosen] = 4
            else:
                values[:] = 1
    return outputs


def measure(name: str) -> Time:
    """Decode and copy in turns."""
    side, settings, shapes = CASES[name]
    card = Card(
        name=name, class_names=tuple(map(str, range(CLASSES))),
        input=InputSpec(side, side, 'rgb', (0., 0., 0.), (255., 255., 255.), 'letterbox'),
        outputs=tuple(OutputSpec(str(number), shape) for number, shape in enumerate(shapes)),
        decoder=DecoderSpec(name, settings), network=None,
        provenance=Provenance('benchmarks/decoders.py', ''), licence='none', attribution='none')
    decode, outputs = decoder_of(card), outputs_of(name, card)
    decoding, copying, found = [], [], 0
    for _ in range(ROUNDS):
        start = time.perf_counter()
        found = len(decode(outputs, THRESHOLD)[1])
        between = time.perf_counter()
        for output in outputs:
            output.copy()
        copying.append(time.perf_counter() - between)
        decoding.append(between - start)
    return Time(name, ', '.join(' x '.join(map(str, shape)) for shape in shapes), found,
                1e3 * statistics.median(decoding), 1e3 * statistics.median(copying))


def main() -> None:
    """Measure all decoders and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').strip().partition('\n')[0])
    parser.add_argument('--json', type=Path, metavar='FILE')
    arguments = parser.parse_args()
    times = [measure(name) for name in CASES]
    machine = accuracy.describe_machine()
    print(json.dumps(machine))
    print('| decoder | outputs | found | decode, ms | copy, ms |\n|---|---|---|---|---|')
    for one in times:
        print(f'| `{one.decoder}` | {one.outputs} | {one.found} | {one.decode_ms:.2f} | '
              f'{one.copy_ms:.2f} |')
    if arguments.json:
        arguments.json.write_text(json.dumps(
            {'machine': machine, 'times': [asdict(one) for one in times]}, indent=1) + '\n')


if __name__ == '__main__':
    main()
