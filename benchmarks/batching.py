# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Measure whether images of several cameras are better run through the network together.

The network of a bundle is exported for 1, 2 and 4 images, and ONNX Runtime runs as many images one
by one and together, in turns. ``gain`` is the median over neighbouring turns of the time one by
one over the time together: above 1, images together are processed faster. What batching costs
comes on top and is not in it: the first image of a batch waits for the last.

Limits: one machine and one engine, inference alone. The ratio survives a noisy machine, the times
do not.

    python benchmarks/batching.py [--model NAME] [--rounds N] [--json FILE]
"""

import argparse
from dataclasses import asdict, dataclass
import json
import logging
from pathlib import Path
import statistics
import sys
import time
import warnings

import accuracy
import numpy as np
import torch

from prune_perception.bundle import Bundle, read_bundle
from prune_perception.networks.export import Deployed
from prune_perception.networks.registry import load_network
from prune_perception.resources import find_model

# Imported through the engine, which switches its reporting off.
from prune_perception.runtime.engines.onnxruntime_engine import onnxruntime

BATCHES = (2, 4)
THREADS = (1, 2)
_RUNS = 3  # of which the fastest counts


@dataclass(frozen=True)
class Gain:
    """
    Times of a batch, medians over the rounds.

    :param alone: seconds for all of its images one by one.
    :param together: seconds for the batch.
    :param gain: of neighbouring turns.
    :param quartiles: lower and upper, of the same.
    """

    threads: int
    batch: int
    alone: float
    together: float
    gain: float
    quartiles: tuple[float, float]


def exported(bundle: Bundle, batch: int) -> bytes:
    """Return a bundle's network for so many images, as ONNX."""
    spec = bundle.card.input
    images = torch.zeros((batch, spec.height, spec.width, 3), dtype=torch.uint8)
    logging.getLogger('torch.onnx').setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # the exporter's, about itself
        program = torch.onnx.export(
            Deployed(load_network(bundle), spec).eval(), (images,), dynamo=True,
            opset_version=18, input_names=['image'], external_data=False, verbose=False)
    assert program is not None
    data: bytes = program.model_proto.SerializeToString()
    return data


def session(graph: bytes, threads: int) -> 'onnxruntime.InferenceSession':
    """Return a session with the settings of the node's engine."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads = threads, 1
    settings.add_session_config_entry('session.intra_op.allow_spinning', '0')
    return onnxruntime.InferenceSession(graph, settings, providers=['CPUExecutionProvider'])


def seconds(run: 'onnxruntime.InferenceSession', images: np.ndarray, times: int) -> float:
    """Return how long it takes to run the same images so many times; the fastest of a few."""
    durations = []
    for _ in range(_RUNS):
        start = time.monotonic()
        for _ in range(times):
            run.run(None, {'image': images})
        durations.append(time.monotonic() - start)
    return min(durations)


def measure(graphs: dict[int, bytes], size: tuple[int, int], batch: int, threads: int, rounds: int
            ) -> Gain:
    """Measure a batch against its images one by one."""
    noise = np.random.default_rng(0)
    images = noise.integers(0, 256, (batch, *size, 3), np.uint8)
    one, many = session(graphs[1], threads), session(graphs[batch], threads)
    seconds(one, images[:1], batch)
    seconds(many, images, 1)
    pairs = [(seconds(one, images[:1], batch), seconds(many, images, 1)) for _ in range(rounds)]
    ratios = [alone / together for alone, together in pairs]
    lower, middle, upper = statistics.quantiles(ratios, n=4)
    return Gain(
        threads, batch, statistics.median(alone for alone, _ in pairs),
        statistics.median(together for _, together in pairs), middle, (lower, upper))


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').strip().partition('\n')[0])
    parser.add_argument('--model', default='nanodet_g_person_25')
    parser.add_argument('--rounds', type=int, default=60)
    parser.add_argument('--json', type=Path, metavar='FILE')
    arguments = parser.parse_args()
    bundle = read_bundle(find_model(arguments.model))
    spec = bundle.card.input
    machine = accuracy.describe_machine()
    print(json.dumps(machine))
    print(f'{bundle.card.name}, {spec.width} x {spec.height}')
    graphs = {batch: exported(bundle, batch) for batch in (1, *BATCHES)}
    print('| threads | images | one by one | together | gain, quartiles |')
    print('|--:|--:|--:|--:|--:|')
    gains = []
    for threads in THREADS:
        for batch in BATCHES:
            gain = measure(graphs, (spec.height, spec.width), batch, threads, arguments.rounds)
            print(f'| {threads} | {batch} | {gain.alone * 1e3:.1f} ms | '
                  f'{gain.together * 1e3:.1f} ms | {gain.gain:.2f} '
                  f'({gain.quartiles[0]:.2f}–{gain.quartiles[1]:.2f}) |', flush=True)
            gains.append(gain)
    if arguments.json:
        arguments.json.write_text(json.dumps(
            {'machine': machine, 'model': bundle.card.name,
             'gains': [asdict(gain) for gain in gains]}, indent=2) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
