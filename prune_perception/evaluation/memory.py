# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Peak memory of a process that does nothing but run one detector.

Several detectors in one process share its memory, so that none of them can be given its part.
Run as ``python -m prune_perception.evaluation.memory BUNDLE OPTIONS`` it prints bytes; OPTIONS
are those of the engine, as JSON.
"""

from dataclasses import asdict
import json
import os
from pathlib import Path
import subprocess
import sys

from prune_perception.bundle import read_bundle
from prune_perception.energy.window import Unavailable
from prune_perception.runtime.detector import Detector
from prune_perception.runtime.engines import EngineOptions

STATUS = Path('/proc/self/status')
LONGEST_SECONDS = 300


def measure_memory(bundle: Path, engine: EngineOptions) -> float | Unavailable:
    """
    Return the peak resident memory of a detector's own process, bytes.

    It holds Python, the engine, the network and one inference; no ROS and no recording.

    :param bundle: its folder.
    """
    if not STATUS.exists():
        return Unavailable('this operating system has no /proc to read it from')
    command = [sys.executable, '-m', __name__, str(bundle.resolve()), json.dumps(asdict(engine))]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=LONGEST_SECONDS,
            env={**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, sys.path))})
        return float(result.stdout.split()[-1])
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or ['no reason given']
        return Unavailable(f'the process that was to be measured failed: {lines[-1]}')
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError) as error:
        return Unavailable(f'the process that was to be measured failed: {error}')


def _peak() -> int:
    # Not getrusage: that remembers the size of the process which started this one.
    for line in STATUS.read_text().splitlines():
        if line.startswith('VmHWM:'):
            return int(line.split()[1]) * 1024
    raise OSError(f'{STATUS}: has no VmHWM')


def main() -> None:
    """Run a detector a few times and print the peak."""
    bundle, options = sys.argv[1], json.loads(sys.argv[2])
    options['providers'] = tuple(options['providers'])
    engine = options.pop('name')
    Detector(read_bundle(bundle), engine=engine, **options).warm_up()
    print(_peak())


if __name__ == '__main__':
    main()
