# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Measure what decoding large JPEG images at a part of their size saves, and what it costs.

The node decodes a JPEG at a half, a quarter or an eighth of its size where that is still as large
as the network's input. Here frames of a video of pedestrians (PETS 2009 S2.L1) are enlarged to the
sizes of common cameras and compressed, and each is decoded whole and in part, in turns:

- *decode* and *resize*: the median of each, milliseconds, and the median over the pairs of the
  ratio of their sums;
- AP50 of people by pycocotools with each, on the same frames.

Limits: an enlarged frame has no finer detail than the video; with a camera that has, resizing the
whole image samples it more coarsely than the part does, which is a mean over pixels. One thread.

    python benchmarks/reduced_decoding.py --data FOLDER [--model BUNDLE] [--every 8]
"""

import argparse
import json
from pathlib import Path
import statistics
import sys
import time
from typing import Any

import accuracy
import cv2
import numpy as np

from prune_perception.frames.encodings import decode_picture, Picture
from prune_perception.resources import find_model
from prune_perception.runtime.detector import Detector
from prune_perception.runtime.region import enlarged

SIZES = ((1280, 720), (1920, 1080), (2560, 1440), (3840, 2160))
QUALITY = 85


class Decoded:
    """
    A detector that is given JPEG images, decoded in one way.

    :param detector: of bundle's input size.
    :param in_part: decode as far as the network needs it.
    """

    def __init__(self, detector: Detector, in_part: bool) -> None:
        self._detector = detector
        self._least = detector.input_size if in_part else None
        self.found: list[dict[str, Any]] = []
        self.decode: list[float] = []
        self.resize: list[float] = []
        self.reduction = 1

    def take(self, frame: int, data: bytes, shrink: tuple[float, float]) -> None:
        """Look at an image; ``shrink`` takes its boxes to the pixels of the labels."""
        begin = time.perf_counter()
        picture: Picture = decode_picture(format='jpeg', data=data, least=self._least)
        self.decode.append(time.perf_counter() - begin)
        result = self._detector.detect(picture.image)
        self.resize.append(result.timing.preprocess)
        self.reduction = picture.reduction
        whole = enlarged(
            result.detections, picture.reduction, picture.width, picture.height)
        for row in accuracy._as_results(frame, whole):
            x, y, width, height = row['bbox']
            across, down = shrink
            self.found.append(
                {**row, 'bbox': [x * across, y * down, width * across, height * down]})


def measure(detector: Detector, data: Path, size: tuple[int, int], every: int) -> dict[str, Any]:
    """Return the figures of one size of image."""
    ways = {'whole': Decoded(detector, False), 'in part': Decoded(detector, True)}
    truth = accuracy.people_truth(data, every)
    for frame, pixels in accuracy.people_frames(data, every):
        shrink = pixels.shape[1] / size[0], pixels.shape[0] / size[1]
        jpeg = cv2.imencode('.jpg', cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC),
                            [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
        for way in ways.values():
            way.take(frame, jpeg, shrink)
    spent = {name: np.add(way.decode, way.resize) for name, way in ways.items()}
    return {
        'size': size, 'frames': len(spent['whole']), 'reduction': ways['in part'].reduction,
        'ratio': float(np.median(spent['whole'] / spent['in part'])),
        **{name: {
            'decode_ms': 1e3 * statistics.median(way.decode),
            'resize_ms': 1e3 * statistics.median(way.resize),
            'ap50': accuracy._judge(truth, way.found).ap50} for name, way in ways.items()}}


def main() -> int:
    """Measure each size and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').strip().partition('\n')[0])
    accuracy.add_data(parser)
    parser.add_argument('--model', default='nanodet_g_person_25')
    parser.add_argument('--every', type=int, default=8, help='judge each Nth labelled frame')
    parser.add_argument('--json', type=Path, metavar='FILE')
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    detector = accuracy.create_detector(find_model(arguments.model), 'onnxruntime', threads=1)
    detector.warm_up()
    machine = accuracy.describe_machine()
    print(json.dumps(machine))
    print('| image | in part | decode whole (ms) | in part | resize whole (ms) | in part | '
          'faster by | AP50 whole | in part |\n' + '|---' * 9 + '|')
    rows = []
    for size in SIZES:
        row = measure(detector, arguments.data, size, arguments.every)
        rows.append(row)
        whole, part = row['whole'], row['in part']
        print(f'| {size[0]} × {size[1]} | 1/{row["reduction"]} | {whole["decode_ms"]:.1f} | '
              f'{part["decode_ms"]:.1f} | {whole["resize_ms"]:.2f} | {part["resize_ms"]:.2f} | '
              f'{row["ratio"]:.2f} | {whole["ap50"]:.3f} | {part["ap50"]:.3f} |', flush=True)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({'machine': machine, 'rows': rows}, indent=1) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
