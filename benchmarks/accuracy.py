# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Measure how accurate a bundle is, and whether it is so by every engine.

Two measurements with pycocotools, at a score of at least 0.05 and a suppression at an
intersection over union of 0.6:

- ``coco``: AP and AP50 over all classes on photographs of COCO val2017,
- ``people``: AP50 of people in the first 400 frames of a video of pedestrians (PETS 2009 S2.L1).

Limits: the photographs are 64, so that the figure compares bundles and engines and is no COCO
AP to quote; the video is one static camera, whose frames resemble each other, and a part of them
tells less than its number says: with each 4th frame, AP50 of people varies by 0.02 with the frame
that it starts from. People are judged in all frames by default, with every labelled box counted,
those included that the labels mark as hidden. ``area`` is AP50 as the area under the interpolated
curve, which differs by some thousandths from the mean at pycocotools' 101 recalls. Nothing is
timed.

    python benchmarks/accuracy.py --data FOLDER [--model BUNDLE] [--engines onnxruntime torch]
"""

import argparse
from collections.abc import Iterator
import contextlib
from dataclasses import asdict, dataclass
import importlib.metadata
import io
import json
import os
from pathlib import Path
import platform
import sys
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from prune_perception.bundle import BundleError, read_bundle
from prune_perception.detections import Detections
from prune_perception.runtime.detector import Detector
from prune_perception.runtime.engines import EngineError, ENGINES

SCORE_THRESHOLD = 0.05
IOU_THRESHOLD = 0.6
PEOPLE = Path('pets09-s2l1')
PEOPLE_FRAMES = 400
AREA_RECALLS = 10_001  # so many that their mean is the area to four decimals
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Accuracy:
    """
    What pycocotools says.

    :param ap: average precision, mean over intersections over union of 0.50, 0.55, … 0.95.
    :param ap50: average precision at an intersection over union of 0.50.
    :param ap50_area: the same as the area under the interpolated curve, which pycocotools
        approximates by 101 recalls.
    :param images: how many were judged.
    """

    ap: float
    ap50: float
    ap50_area: float
    images: int


def create_detector(model: Path, engine: str, **options: Any) -> Detector:
    """Return a detector with the thresholds of these measurements, computing in f32."""
    return Detector(
        read_bundle(model), engine=engine, precision='f32', score_threshold=SCORE_THRESHOLD,
        iou_threshold=IOU_THRESHOLD, **options)


def measure_coco(detector: Detector, data: Path) -> Accuracy:
    """Judge a detector on ``coco128/val``, all classes."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(data / 'coco128' / 'val.json'))
    found = []
    for identity, image in truth.imgs.items():
        path = data / 'coco128' / 'val' / image['file_name']
        pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if pixels is None:
            raise OSError(f'{path}: cannot be read as an image')
        found += _as_results(identity, detector.detect(pixels).detections)
    return _judge(truth, found)


def measure_people(detector: Detector, data: Path, every: int = 1) -> Accuracy:
    """
    Judge a detector of class ``person`` alone on frames 1 to 400 of the pedestrian video.

    :param every: judge frames 1, 1 + every, 1 + 2 * every, …
    """
    truth = people_truth(data, every)
    found = []
    for frame, pixels in people_frames(data, every):
        found += _as_results(frame, detector.detect(pixels).detections)
    return _judge(truth, found)


def people_truth(data: Path, every: int = 1) -> COCO:
    """Return the people who are labelled in the frames of :func:`people_frames`."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = _people(
            data / PEOPLE / 'gt_frames_1-400.txt', range(1, PEOPLE_FRAMES + 1, every))
        truth.createIndex()
    return truth


def people_frames(data: Path, every: int = 1) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """
    Yield frames 1, 1 + every, … 400 of the pedestrian video: number and BGR image.

    :raises OSError: a frame cannot be read.
    """
    path = data / PEOPLE / 'vtest.avi'
    video = cv2.VideoCapture(str(path))
    try:
        for frame in range(1, PEOPLE_FRAMES + 1):
            there, pixels = video.read()
            if not there:
                raise OSError(f'{path}: frame {frame} cannot be read')
            if (frame - 1) % every == 0:
                yield frame, np.asarray(pixels, np.uint8)
    finally:
        video.release()


def _people(path: Path, frames: range) -> dict[str, Any]:
    """Return the boxes of a MOTChallenge file as a COCO data set: its frames are the images."""
    annotations: list[dict[str, Any]] = []
    for row in np.loadtxt(path, delimiter=','):
        if int(row[0]) in frames:
            annotations.append({
                'id': len(annotations) + 1, 'image_id': int(row[0]), 'category_id': 0,
                'bbox': row[2:6].tolist(), 'area': float(row[4] * row[5]), 'iscrowd': 0})
    return {
        'info': {}, 'images': [{'id': frame} for frame in frames], 'annotations': annotations,
        'categories': [{'id': 0, 'name': 'person'}]}


def _as_results(image: int, detections: Detections) -> list[dict[str, Any]]:
    corners = detections.boxes.astype(float)
    sizes = corners[:, 2:] - corners[:, :2]
    return [
        {'image_id': image, 'category_id': int(which), 'score': float(score),
         'bbox': [*corner[:2].tolist(), *size.tolist()]}
        for corner, size, score, which in zip(
            corners, sizes, detections.scores, detections.classes, strict=True)]


def _judge(truth: COCO, found: list[dict[str, Any]]) -> Accuracy:
    images = len(truth.imgs)
    if not found:
        return Accuracy(0.0, 0.0, 0.0, images)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, truth.loadRes(found), 'bbox')
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        ap, ap50 = evaluation.stats[:2]
        evaluation.params.recThrs = np.linspace(0, 1, AREA_RECALLS)
        evaluation.accumulate()
        evaluation.summarize()
    return Accuracy(float(ap), float(ap50), float(evaluation.stats[1]), images)


def describe_machine() -> dict[str, Any]:
    """Name the machine and the versions that a figure belongs to."""
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path('/proc/cpuinfo').read_text().splitlines():
            if line.startswith('model name'):
                cpu = line.split(':', 1)[1].strip()
                break
    versions = {}
    for package in ('numpy', 'pycocotools'):
        versions[package] = importlib.metadata.version(package)
    versions['opencv'] = cv2.__version__
    return {'cpu': cpu, 'cores': os.cpu_count(), 'system': platform.platform(),
            'python': platform.python_version(), 'versions': versions}


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add ``--data``, which is needed where the environment does not name the folder."""
    default = os.environ.get('PRUNE_PERCEPTION_DATA')
    parser.add_argument(
        '--data', type=Path, default=default, required=not default,
        help='folder with coco128/ and pets09-s2l1/; default: $PRUNE_PERCEPTION_DATA')


def main() -> int:
    """Measure, print and return the exit status."""
    parser = argparse.ArgumentParser(description='accuracy of a bundle by each engine')
    parser.add_argument('--model', type=Path, default=ROOT / 'models' / 'nanodet_g')
    add_data(parser)
    parser.add_argument('--engines', nargs='+', choices=list(ENGINES), default=list(ENGINES))
    parser.add_argument('--threads', type=int, default=0, help='0: the engine chooses')
    parser.add_argument(
        '--every', type=int, default=1, metavar='N', help='judge each Nth frame of the video')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures there too')
    arguments = parser.parse_args()
    if arguments.every < 1:
        parser.error(f'--every is {arguments.every}; it must be at least 1')
    machine = describe_machine()
    print(f'{arguments.model.name} on {machine["cpu"]}, {machine["cores"]} cores, '
          f'{machine["system"]}, Python {machine["python"]}, '
          + ', '.join(f'{name} {version}' for name, version in machine['versions'].items()))
    print(f'{"engine":58} {"coco AP":>8} {"AP50":>8} {"people AP":>10} {"AP50":>8} {"area":>8}')
    results = []
    try:
        for engine in arguments.engines:
            detector = create_detector(arguments.model, engine, threads=arguments.threads)
            coco = measure_coco(detector, arguments.data)
            people_detector = create_detector(
                arguments.model, engine, threads=arguments.threads, class_names=['person'])
            people = measure_people(people_detector, arguments.data, arguments.every)
            description = detector.engine.description
            print(f'{description:58} {coco.ap:8.4f} {coco.ap50:8.4f} {people.ap:10.4f} '
                  f'{people.ap50:8.4f} {people.ap50_area:8.4f}', flush=True)
            results.append({'engine': engine, 'description': description,
                            'coco': asdict(coco), 'people': asdict(people)})
    except (BundleError, EngineError, OSError) as error:
        print(f'accuracy: {error}', file=sys.stderr)
        return 1
    print(f'coco: {coco.images} photographs, to compare by and not to quote as COCO AP; people: '
          f'{people.images} frames of one static camera. Score >= {SCORE_THRESHOLD}, NMS IoU '
          f'{IOU_THRESHOLD}.')
    if arguments.json:
        bundle = read_bundle(arguments.model)
        arguments.json.write_text(json.dumps({
            'model': bundle.card.name, 'digest': bundle.digest, 'machine': machine,
            'score_threshold': SCORE_THRESHOLD, 'iou_threshold': IOU_THRESHOLD,
            'results': results}, indent=2) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
