# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Measure the detector node as a robot would have it: many cameras, overload, hours, another's way.

Starts the node as a process and stands beside it as its cameras, over real DDS, with the shipped
bundle of a quarter of the dense energy:

- *cameras*: one to four cameras of 30 Hz VGA. Results heard a second, the age of a result from
  sending the image to hearing it, and the node's processor time and memory.
- *reference*: beside a node written the usual way (``reference_node.py``: generic conversion,
  queue of 10, inference in the callback), in turns, under one load: a camera one and a half times
  faster than the reference. Our goal is at most a third of its age at the 99th percentile.
- *soak*: two cameras for ``--minutes``; memory, threads and open files over time, and the memory's
  slope over the later two thirds.

Limits: cameras and detector share the machine's cores, so that the cameras' work (a message of
0.9 MB each time) is in every figure, and the more so the more cameras there are. The age includes
a result's way back.

    python benchmarks/node.py [--parts cameras reference soak] [--minutes 10] [--json FILE]
"""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
import json
import os
from pathlib import Path
import platform
import subprocess
import sys
import threading
import time
from typing import Any

from camera_rig import Rig, run
import numpy as np

from prune_perception import __version__
from prune_perception.node_process import (
    dds_environment,
    free_domain,
    node_command,
    start,
    stop,
)
from prune_perception.runtime.machine import machine_name

MODEL = 'nanodet_g_person_25'
RATE = 30.0
NAMES = ('front', 'rear', 'left', 'right')
PARTS = ('cameras', 'reference', 'soak')
OVERLOAD = 1.5
GOAL = 3.0  # times the reference's age at the 99th percentile, under load
_TICKS = os.sysconf('SC_CLK_TCK')


@dataclass(frozen=True)
class Sample:
    """
    What a process has used.

    :param moment: monotonic time, seconds.
    :param cpu: processor time, seconds.
    :param memory: resident, MB.
    """

    moment: float
    cpu: float
    memory: float
    threads: int
    files: int


def sample(process: 'subprocess.Popen[bytes]') -> Sample:
    """Return what a process has used until now."""
    folder = Path(f'/proc/{process.pid}')
    times = (folder / 'stat').read_text().rpartition(')')[2].split()
    status = dict(line.split(':', 1) for line in (folder / 'status').read_text().splitlines())
    return Sample(
        time.monotonic(), (int(times[11]) + int(times[12])) / _TICKS,
        int(status['VmRSS'].split()[0]) / 1024, int(status['Threads']),
        len(list((folder / 'fd').iterdir())))


class Watch:
    """Samples a process every so many seconds, in a thread."""

    def __init__(self, process: 'subprocess.Popen[bytes]', period: float) -> None:
        self.samples: list[Sample] = []
        self._process, self._period, self._end = process, period, threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> list[Sample]:
        """End, and return the samples."""
        self._end.set()
        self._thread.join()
        return self.samples

    def _run(self) -> None:
        while not self._end.is_set():
            self.samples.append(sample(self._process))
            self._end.wait(self._period)


def topics(cameras: int) -> dict[str, str]:
    """Return the topics of the images by those of the results, as the node has them."""
    if cameras == 1:
        return {'/detector/detections': '/image'}
    return {f'/detector/{name}/detections': f'/{name}/image' for name in NAMES[:cameras]}


@contextmanager
def node(cameras: int, threads: int, model: str = MODEL) -> Iterator['subprocess.Popen[bytes]']:
    """Run our node."""
    with _running(node_command('detector_node', log_level='error', parameters={
            'autostart': True, 'model': model, 'threads': threads,
            'cameras': list(NAMES[:cameras]) if cameras > 1 else ['']})) as process:
        yield process


@contextmanager
def reference(threads: int, model: str = MODEL) -> Iterator['subprocess.Popen[bytes]']:
    """Run the reference node."""
    with _running([
            sys.executable, str(Path(__file__).with_name('reference_node.py')), '--ros-args',
            '-p', f'model:={model}', '-p', f'threads:={threads}',
            '--log-level', 'error']) as process:
        yield process


@contextmanager
def _running(command: Sequence[str]) -> Iterator['subprocess.Popen[bytes]']:
    process = start(command, dds_environment(), stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        stop(process)


def measured(process: 'subprocess.Popen[bytes]', rig: Rig, period: float = 1.0
             ) -> tuple[dict[str, Any], list[Sample]]:
    """Return what was heard and used beside a node that runs, and the samples of it."""
    watch = Watch(process, period)
    try:
        heard = run(rig, dds_environment())
    finally:
        samples = watch.stop()
    # From the first result on: what starting takes is no part of the figure.
    end = samples[-1].moment - 2.0
    within = [each for each in samples if end - rig.seconds <= each.moment <= end]
    first, last = within[0], within[-1]
    ages = [age for each in heard.values() for age in each.ages]
    return {
        'sent_hz': sum(each.sent for each in heard.values()) / rig.seconds,
        'heard_hz': {topic: each.heard / rig.seconds for topic, each in heard.items()},
        **ages_of(ages),
        'cpu_percent': 100 * (last.cpu - first.cpu) / (last.moment - first.moment),
        'memory_mb': max(each.memory for each in samples)}, samples


def ages_of(ages: Sequence[float]) -> dict[str, float]:
    """Return percentiles of ages, ms."""
    return {f'age_p{which}_ms': 1e3 * float(np.percentile(ages, which)) for which in (50, 95, 99)}


def cameras_part(seconds: float, threads: int) -> list[dict[str, Any]]:
    """Measure one to four cameras."""
    rows = []
    print(f'one to four cameras of {RATE:.0f} Hz VGA')
    print('cameras  sent  results a second (each)             age p50    p95    p99 ms   '
          'CPU %  memory MB')
    for cameras in range(1, len(NAMES) + 1):
        with node(cameras, threads) as process:
            row, _ = measured(process, Rig(topics(cameras), RATE, seconds))
        rows.append({'cameras': cameras, **row})
        each = ', '.join(f'{rate:.1f}' for rate in row['heard_hz'].values())
        print(f'{cameras:7} {row["sent_hz"]:5.0f} {sum(row["heard_hz"].values()):6.1f} '
              f'({each:28}) {row["age_p50_ms"]:7.0f} {row["age_p95_ms"]:6.0f} '
              f'{row["age_p99_ms"]:6.0f} {row["cpu_percent"]:10.0f} {row["memory_mb"]:10.0f}',
              flush=True)
    return rows


def reference_part(seconds: float, threads: int, rounds: int, model: str) -> dict[str, Any]:
    """Measure ours and the reference in turns, under one load."""
    with reference(threads, model) as process:
        fastest, _ = measured(process, Rig(topics(1), 200.0, 5.0))
    rate = OVERLOAD * sum(fastest['heard_hz'].values())
    print(f'\nbeside a node written the usual way, one camera of {rate:.0f} Hz '
          f'({OVERLOAD} times what that one manages), {model}')
    print('node       sent  results a second  age p50    p95    p99 ms   CPU %  memory MB')
    rows = []
    for _ in range(rounds):
        for name, running in (
                ('ours', node(1, threads, model)), ('reference', reference(threads, model))):
            with running as process:
                row, _ = measured(process, Rig(topics(1), rate, seconds))
            rows.append({'node': name, **row})
            print(f'{name:10} {row["sent_hz"]:4.0f} {sum(row["heard_hz"].values()):17.1f} '
                  f'{row["age_p50_ms"]:8.0f} {row["age_p95_ms"]:6.0f} {row["age_p99_ms"]:6.0f} '
                  f'{row["cpu_percent"]:10.0f} {row["memory_mb"]:10.0f}', flush=True)
    ratios = [theirs['age_p99_ms'] / ours['age_p99_ms']
              for ours, theirs in zip(rows[::2], rows[1::2], strict=True)]
    ratio = float(np.median(ratios))
    print(f'the age at the 99th percentile is {ratio:.1f} times less (median of {rounds}; goal '
          f'{GOAL:.0f}): {"met" if ratio >= GOAL else "MISSED"}')
    return {'model': model, 'rate_hz': rate, 'rows': rows, 'ratio': ratio}


def soak_part(minutes: float, threads: int) -> dict[str, Any]:
    """Run two cameras for long, and look for what grows."""
    with node(2, threads) as process:
        row, samples = measured(process, Rig(topics(2), RATE, 60 * minutes), period=5.0)
    settled = [each for each in samples[:-1]
               if each.moment - samples[0].moment > 60 * minutes / 3]
    moments = np.array([each.moment for each in settled])
    slope, _ = np.polyfit((moments - moments[0]) / 60, [each.memory for each in settled], 1)
    first, last = settled[0], settled[-1]
    print(f'\nsoak: two cameras of {RATE:.0f} Hz VGA for {minutes:g} min: '
          f'{sum(row["heard_hz"].values()):.1f} results a second, age p99 '
          f'{row["age_p99_ms"]:.0f} ms\nmemory {first.memory:.1f} MB after a third of the time, '
          f'{last.memory:.1f} MB at the end, slope {slope * 1024:+.0f} kB a minute; threads '
          f'{first.threads} and {last.threads}, open files {first.files} and {last.files}')
    return {**row, 'minutes': minutes, 'slope_kb_per_min': slope * 1024,
            'samples': [each.__dict__ for each in samples]}


def main() -> int:
    """Measure, print tables, and write JSON if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').strip().partition('\n')[0])
    parser.add_argument('--parts', nargs='+', choices=PARTS, default=PARTS)
    parser.add_argument('--seconds', type=float, default=20.0, help='of a row (%(default)s)')
    parser.add_argument('--minutes', type=float, default=10.0, help='of the soak (%(default)s)')
    parser.add_argument('--rounds', type=int, default=3, help='of the reference (%(default)s)')
    parser.add_argument('--reference-model', default=MODEL, metavar='BUNDLE',
                        help='of both nodes in that part (%(default)s)')
    parser.add_argument('--threads', type=int, default=0,
                        help='of an inference; 0 is automatic (%(default)s)')
    parser.add_argument('--json', type=Path, metavar='FILE')
    arguments = parser.parse_args()
    os.environ['ROS_DOMAIN_ID'] = str(free_domain())
    load = os.getloadavg()[0]
    report: dict[str, Any] = {
        'machine': machine_name(), 'system': platform.platform(),
        'python': platform.python_version(), 'prune_perception': __version__, 'model': MODEL,
        'load_before': load, 'threads': arguments.threads}
    print(f'{report["machine"]}, {report["system"]}, Python '
          f'{report["python"]}; load {load:.1f} before; {MODEL}\n')
    if 'cameras' in arguments.parts:
        report['cameras'] = cameras_part(arguments.seconds, arguments.threads)
    if 'reference' in arguments.parts:
        report['reference'] = reference_part(
            arguments.seconds, arguments.threads, arguments.rounds, arguments.reference_model)
    if 'soak' in arguments.parts:
        report['soak'] = soak_part(arguments.minutes, arguments.threads)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
