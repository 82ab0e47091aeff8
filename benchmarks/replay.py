# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Measure whether a recording ten times longer takes ten times the time, and no more memory.

The shipped recording is written into a bag once and ten times over, with its detections by the
model as labels, and each bag is evaluated in a process of its own, in turns. From each process:
seconds for the evaluation, peak resident memory, and memory per frame that the longer one takes
more, beside what the detections themselves take. The time that does not depend on the length
(loading, warming up) is told apart by a straight line through both.

Limits: one recording, repeated, in one place on disk, so that it is in the cache of the operating
system; 120 frames are 10 s. Latency and memory of the models are left out (`--no-timing`), as
they do not depend on the recording.

    python benchmarks/replay.py [--model BUNDLE] [--times 10] [--rounds 3] [--json FILE]
"""

import argparse
import json
import os
from pathlib import Path
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from rosbags.rosbag2 import Reader, StoragePlugin, Writer

from prune_perception import __version__
from prune_perception.evaluation.evaluation import evaluate, Settings
from prune_perception.resources import find_model, find_resource
from prune_perception.runtime.engines import EngineOptions


def repeat(recording: Path, times: int, target: Path) -> int:
    """Write the image messages of a bag so many times over, and return how many there are."""
    count = 0
    with Reader(recording) as reader, Writer(
            target, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {}
        for connection in reader.connections:
            connections[connection.id] = writer.add_connection(
                connection.topic, connection.msgtype, msgdef=connection.msgdef.data,
                rihs01=connection.digest)
        length = reader.duration
        for turn in range(times):
            for connection, time_ns, data in reader.messages():
                writer.write(connections[connection.id], time_ns + turn * length, data)
                count += 1
    return count


def label(bag: Path, labels: Path, model: Path) -> None:
    """Write a MOTChallenge file with a model's people, so that there is something to judge."""
    evaluation = evaluate(bag, [model], timing=False, engine=EngineOptions(threads=1))
    person = evaluation.runs[0].class_names.index('person')
    with labels.open('w', encoding='utf-8') as file:
        for result in evaluation.runs[0].results:
            found = result.detections
            for box, score, kind in zip(found.boxes.tolist(), found.scores.tolist(),
                                        found.classes.tolist(), strict=True):
                if kind == person and score > 0.35:
                    x1, y1, x2, y2 = box
                    file.write(f'{result.index + 1},1,{x1},{y1},{x2 - x1},{y2 - y1},1\n')


def measure_here(bag: Path, labels: Path, model: Path) -> dict[str, Any]:
    """Evaluate in this process and say what that took."""
    start = time.monotonic()
    evaluation = evaluate(
        bag, [model], ground_truth=labels, timing=False, engine=EngineOptions(threads=1),
        settings=Settings())
    seconds = time.monotonic() - start
    peak = next(int(line.split()[1]) * 1024
                for line in Path('/proc/self/status').read_text().splitlines()
                if line.startswith('VmHWM:'))
    (run,) = evaluation.runs
    arrays = sum(result.detections.boxes.nbytes + result.detections.scores.nbytes
                 + result.detections.classes.nbytes for result in run.results)
    return {'frames': evaluation.frames, 'seconds': seconds, 'peak_bytes': peak,
            'detections': sum(len(result.detections) for result in run.results),
            'detection_bytes': arrays,
            'recall': next(iter(evaluation.figures.values())).values['recall']}


def measure(bag: Path, labels: Path, model: Path) -> dict[str, Any]:
    """Evaluate in a process of its own."""
    result = subprocess.run(
        [sys.executable, __file__, '--here', str(bag), str(labels), '--model', str(model)],
        capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(result.stderr.strip() or f'exit status {result.returncode}')
    figures: dict[str, Any] = json.loads(result.stdout)
    return figures


def compare(model: Path, times: int, rounds: int) -> dict[str, Any]:
    """Measure both lengths in turns and return the medians."""
    with tempfile.TemporaryDirectory() as folder:
        bags = {turns: Path(folder) / f'times_{turns}' for turns in (1, times)}
        labels = {turns: Path(folder) / f'times_{turns}.txt' for turns in bags}
        for turns, bag in bags.items():
            repeat(find_resource('demo', 'pedestrians'), turns, bag)
            label(bag, labels[turns], model)
        results: dict[int, list[dict[str, Any]]] = {turns: [] for turns in bags}
        for _ in range(rounds):
            for turns, bag in bags.items():
                results[turns].append(measure(bag, labels[turns], model))
    short, long = (
        {key: statistics.median(result[key] for result in rows) for key in rows[0]}
        for rows in results.values())
    more = long['frames'] - short['frames']
    per_frame = (long['seconds'] - short['seconds']) / more
    return {
        'short': short, 'long': long, 'frames_ratio': long['frames'] / short['frames'],
        'seconds_per_frame': per_frame,
        'fixed_seconds': short['seconds'] - per_frame * short['frames'],
        'peak_bytes_per_frame': (long['peak_bytes'] - short['peak_bytes']) / more,
        'detection_bytes_per_frame': (long['detection_bytes'] - short['detection_bytes']) / more,
        'image_bytes': 768 * 576 * 3}


def main() -> int:
    """Measure, print and return the exit status."""
    parser = argparse.ArgumentParser(description='an evaluation of a recording ten times longer')
    parser.add_argument('--model', default='nanodet_g', help='bundle folder or shipped name')
    parser.add_argument('--times', type=int, default=10, help='longer (%(default)s)')
    parser.add_argument('--rounds', type=int, default=3, help='medians are of so many')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures there too')
    parser.add_argument('--here', nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    model = find_model(arguments.model)
    if arguments.here:
        bag, labels = arguments.here
        print(json.dumps(measure_here(bag, labels, model)))
        return 0
    if arguments.times < 2 or arguments.rounds < 1:
        parser.error('--times is 2 or more, --rounds 1 or more')
    machine = (f'{platform.processor() or platform.machine()}, {os.cpu_count()} cores, '
               f'{platform.system()} {platform.release()}')
    print(f'prune_perception {__version__}, Python {platform.python_version()} on {machine}')
    figures = compare(model, arguments.times, arguments.rounds)
    print(f'{"":22}{"frames":>10}{"seconds":>10}{"peak MB":>10}{"detections":>12}')
    for name in ('short', 'long'):
        row = figures[name]
        print(f'{name:22}{row["frames"]:10.0f}{row["seconds"]:10.2f}'
              f'{row["peak_bytes"] / 1e6:10.1f}{row["detections"]:12.0f}')
    print(f'{"ratio":22}{figures["frames_ratio"]:10.2f}'
          f'{figures["long"]["seconds"] / figures["short"]["seconds"]:10.2f}'
          f'{figures["long"]["peak_bytes"] / figures["short"]["peak_bytes"]:10.2f}')
    print(f'{1000 * figures["seconds_per_frame"]:.2f} ms a frame and '
          f'{figures["fixed_seconds"]:.2f} s besides; {figures["peak_bytes_per_frame"]:.0f} bytes '
          f'a frame, of which detections are {figures["detection_bytes_per_frame"]:.0f}; one '
          f'decoded image has {figures["image_bytes"]}')
    if arguments.json:
        arguments.json.write_text(json.dumps(
            {'version': __version__, 'machine': machine, **figures}, indent=2) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
