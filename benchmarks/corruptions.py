# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Measure what each corruption takes for an image, and draw all of them.

Times are medians over the frames of the demo's recording, at one size, with OpenCV on one thread
so that they do not depend on the number of cores; the corruptions take turns, so that what else
the machine does falls on all of them alike. ``--sheet`` writes the picture of
docs/corruptions.md.

Limits: reading and decoding the frames is not in the times. JPEG is compressed and decompressed.

    python benchmarks/corruptions.py [--size 768 576] [--frames 40] [--json FILE] [--sheet FILE]
"""

import argparse
import json
import os
from pathlib import Path
import platform
import statistics
import sys
import time
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from prune_perception.evaluation.corruptions import (
    corrupt,
    CORRUPTIONS,
    create_corruption,
    SEVERITIES,
)
from prune_perception.frames.recording import open_recording
from prune_perception.resources import find_resource

Image = NDArray[np.uint8]

SHEET_SEVERITIES = (1, 3, 5)
SHEET_FRAME = 60
SHEET_TILE = (400, 200)  # across, down
LABEL = 18  # rows above a tile


def read_frames(count: int) -> list[Image]:
    """Return the first frames of the demo's recording."""
    with open_recording(find_resource('demo', 'pedestrians')) as recording:
        return [frame.image() for frame, _ in zip(recording, range(count), strict=False)]


def measure(images: list[Image]) -> dict[str, dict[int, list[float]]]:
    """Return the durations in ms, by corruption and severity."""
    kinds = {name: [create_corruption(name, severity) for severity in SEVERITIES]
             for name, kind in CORRUPTIONS.items() if kind.changes_images}
    durations: dict[str, dict[int, list[float]]] = {
        name: {severity: [] for severity in SEVERITIES} for name in kinds}
    for index, image in enumerate(images):
        for name, corruptions in kinds.items():
            for corruption in corruptions:
                start = time.perf_counter()
                corruption.image(image, index)
                taken = time.perf_counter() - start
                if index:  # the first warms the caches
                    durations[name][corruption.severity].append(taken * 1e3)
    return durations


def labelled(image: Image, text: str) -> Image:
    """Return the middle of an image as a tile with a line of text above it."""
    across, down = SHEET_TILE
    top, left = (image.shape[0] - down) // 4, image.shape[1] - across
    tile = cv2.copyMakeBorder(
        image[top:top + down, left:left + across], LABEL, 2, 2, 2, cv2.BORDER_CONSTANT,
        value=(255, 255, 255))
    cv2.putText(tile, text, (4, LABEL - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1,
                cv2.LINE_AA)
    return np.asarray(tile)


def draw_sheet(image: Image) -> Image:
    """Return all corruptions of an image: a row each, severities from left to right."""
    clean = labelled(image, 'clean')
    rows = [np.hstack([clean, *(np.full_like(clean, 255) for _ in SHEET_SEVERITIES[1:])])]
    for name, kind in CORRUPTIONS.items():
        if kind.changes_images:
            rows.append(np.hstack([
                labelled(corrupt(image, name, severity, index=SHEET_FRAME), f'{name} {severity}')
                for severity in SHEET_SEVERITIES]))
    return np.vstack(rows)


def main() -> int:
    """Measure, print a table, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n\n')[0])
    parser.add_argument('--size', type=int, nargs=2, default=(768, 576), metavar=('W', 'H'))
    parser.add_argument('--frames', type=int, default=40, help='(%(default)s)')
    parser.add_argument('--json', type=Path, metavar='FILE')
    parser.add_argument('--sheet', type=Path, metavar='FILE', help='write the picture and end')
    arguments = parser.parse_args()
    if arguments.sheet:
        image = read_frames(SHEET_FRAME + 1)[-1]
        options = [cv2.IMWRITE_JPEG_QUALITY, 54, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
        if not cv2.imwrite(str(arguments.sheet), draw_sheet(image), options):
            print(f'{arguments.sheet}: cannot be written', file=sys.stderr)
            return 1
        print(f'{arguments.sheet}: {arguments.sheet.stat().st_size} bytes')
        return 0
    if arguments.frames < 2:
        parser.error('--frames must be 2 or more')
    cv2.setNumThreads(1)
    images = [cv2.resize(image, tuple(arguments.size)) for image in read_frames(arguments.frames)]
    medians = {name: {severity: statistics.median(values) for severity, values in levels.items()}
               for name, levels in measure(images).items()}
    print(f'{platform.platform()}, {os.cpu_count()} cores, OpenCV {cv2.__version__} on one '
          f'thread, NumPy {np.__version__}, Python {platform.python_version()}')
    print(f'ms for an image of {arguments.size[0]} x {arguments.size[1]} pixels, median of '
          f'{len(images) - 1}\n')
    print(f'{"corruption":16}' + ''.join(f'{severity:>9}' for severity in SEVERITIES))
    for name, levels in medians.items():
        print(f'{name:16}' + ''.join(f'{levels[severity]:9.1f}' for severity in SEVERITIES))
    if arguments.json:
        report: dict[str, Any] = {
            'machine': platform.processor() or platform.machine(), 'cores': os.cpu_count(),
            'opencv': cv2.__version__, 'numpy': np.__version__,
            'python': platform.python_version(), 'size': list(arguments.size),
            'frames': len(images) - 1, 'median_ms': medians}
        arguments.json.write_text(json.dumps(report, indent=2) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
