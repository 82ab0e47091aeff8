# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Ask how often the certificate's bound holds, and how far above the truth it lies.

Videos are drawn in which tracks are missed at a known rate, and together: the scene drifts, or
has bad spells, in which all that is in view is missed (``simulated_streams``). For each kind of
scene and each rate there are as many videos as asked for, and of each the bound is computed as
``certify`` does.

- *Coverage*: in how many videos the bound is at or above the true rate. It should be 95 % or more;
  ``p`` is the chance of so few if it were 95 % (exact binomial test).
- *Slack*: the bound less the true rate, the median over videos. Beside it, the slack of
  Clopper and Pearson's bound with every track taken for independent, which is the least that
  an honest bound could have if they were; and its coverage, where they are not.

With ``--recordings`` it asks instead how long a recording it takes to get a certificate, where
``prune`` keeps its share of it aside and tracks are missed independently. With a recording and two
bundles it prints their certificate.

Limits: a bound is as good as what it supposes. The last scenes break it on purpose: they stay as
they are for longer than the blocks of time that are taken for independent.
"""

import argparse
import json
from pathlib import Path
import platform
from typing import Any

import numpy as np
import scipy
from scipy.stats import binomtest
from simulated_streams import FRAME_RATE, stream, Weather  # a neighbour

from prune_perception import __version__
from prune_perception.bundle import read_bundle
from prune_perception.pruning.certificate import Demand
from prune_perception.pruning.certify import blocks_of, SHORTEST_BLOCK
from prune_perception.pruning.certify_bundles import certify_bundles
from prune_perception.pruning.miss_bound import bound_independent, bound_misses
from prune_perception.pruning.splits import CERTIFY
from prune_perception.resources import find_model

CONFIDENCE = 0.95
SHARES = (0.01, 0.05, 0.1, 0.2)
SCENES = (
    Weather('drift', 0.0, 1.0),
    Weather('drift', 0.3, 2.0),
    Weather('drift', 0.7, 2.0),
    Weather('drift', 0.95, 5.0),
    Weather('spells', 0.5, 2.0),
    Weather('spells', 1.0, 2.0),
    Weather('spells', 1.0, 5.0),
)
BEYOND = (Weather('drift', 0.95, 60.0), Weather('spells', 1.0, 60.0))


def measure(weather: Weather, share: float, streams: int, seconds: float, seed: int = 0
            ) -> dict[str, Any]:
    """Return how the bound does on videos of a scene."""
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(streams):
        drawn = stream(random, weather, share, seconds=seconds)
        blocks, _ = blocks_of(
            drawn.first + (drawn.length - 1) / 2, drawn.length.astype(np.float64),
            round(SHORTEST_BLOCK * FRAME_RATE))
        found = bound_misses(blocks, drawn.missed, CONFIDENCE)
        plain = bound_independent(drawn.missed, CONFIDENCE)
        rows.append((found.bound, plain.bound, found.units, found.effective,
                     len(np.unique(blocks))))
    bounds, plain_bounds, units, effective, blocks_seen = np.array(rows).T
    covered = int((bounds >= share).sum())
    return {
        'kind': weather.kind, 'strength': weather.strength, 'scene_seconds': weather.seconds,
        'share': share, 'seconds': seconds, 'streams': streams, 'coverage': covered / streams,
        'p': float(binomtest(covered, streams, CONFIDENCE, alternative='less').pvalue),
        'median_slack': float(np.median(bounds - share)),
        'median_units': float(np.median(units)), 'median_effective': float(np.median(effective)),
        'median_blocks': float(np.median(blocks_seen)),
        'independent_coverage': float((plain_bounds >= share).mean()),
        'independent_slack': float(np.median(plain_bounds - share))}


def certified(minutes: float, share: float, streams: int, seed: int = 0) -> dict[str, float]:
    """
    Return how often recordings of a length get a certificate, and the median bound.

    :param share: of tracks that are missed, each by itself.
    """
    random, demand = np.random.default_rng(seed), Demand()
    bounds = []
    for _ in range(streams):
        # At a share of 0 the simulator has no quantile.
        drawn = stream(random, SCENES[0], max(share, 1e-12), seconds=60 * minutes * CERTIFY)
        long = drawn.length >= demand.fewest_frames
        blocks, _ = blocks_of(
            (drawn.first + (drawn.length - 1) / 2)[long], drawn.length[long].astype(np.float64),
            round(SHORTEST_BLOCK * FRAME_RATE))
        bounds.append(bound_misses(blocks, drawn.missed[long], CONFIDENCE).bound)
    return {'minutes': minutes, 'share': share, 'median_bound': float(np.median(bounds)),
            'certified': float((np.array(bounds) <= demand.bound).mean())}


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').strip().splitlines()[0])
    parser.add_argument('--streams', type=int, default=1000, help='(%(default)s)')
    parser.add_argument(
        '--seconds', type=float, nargs='+', default=(60.0, 300.0, 1200.0), metavar='S',
        help='lengths of the videos (%(default)s)')
    parser.add_argument('--json', type=Path, metavar='FILE')
    parser.add_argument(
        '--recordings', type=float, nargs='+', metavar='MINUTES',
        help='ask how many recordings of such lengths get a certificate, and end')
    parser.add_argument(
        '--recording', type=Path, metavar='FILE', help='certify --pruned on it, and end')
    parser.add_argument('--part', type=int, nargs=2, metavar=('FIRST', 'LAST'), help='frames')
    parser.add_argument('--dense', default='nanodet_g', metavar='BUNDLE', help='(%(default)s)')
    parser.add_argument('--pruned', metavar='BUNDLE')
    arguments = parser.parse_args()
    if arguments.recording:
        if not arguments.pruned:
            parser.error('--recording needs --pruned')
        certificate = certify_bundles(
            read_bundle(find_model(arguments.dense)), read_bundle(find_model(arguments.pruned)),
            arguments.recording, part=arguments.part and tuple(arguments.part), threads=1)
        print(certificate.text())
        if arguments.json:
            arguments.json.write_text(json.dumps(certificate.to_dict(), indent=2) + '\n')
        return
    if arguments.recordings:
        lengths = [certified(minutes, share, arguments.streams)
                   for share in (0.0, 0.01, 0.02, 0.05, 0.15) for minutes in arguments.recordings]
        for length in lengths:
            print(f'{length["share"]:4.0%} missed, {length["minutes"]:4g} minutes: bound '
                  f'{length["median_bound"]:6.1%}, certified {length["certified"]:6.1%}')
        if arguments.json:
            arguments.json.write_text(json.dumps(lengths, indent=2) + '\n')
        return
    print(f'{arguments.streams} videos a row; 1 track/s of 2 s in the mean, {FRAME_RATE:g} '
          f'frames/s; confidence {CONFIDENCE:.0%}\n')
    print(f'{"scene":24} {"length":>7} {"true":>6} | {"coverage":>8} {"p":>6} {"slack":>7} '
          f'{"tracks":>6} {"effective":>9} {"blocks":>6} | if independent: coverage  slack')
    rows = []
    for weather in (*SCENES, *BEYOND):
        if weather == BEYOND[0]:
            print('scenes that last longer than is supposed:')
        for seconds in arguments.seconds:
            for share in SHARES:
                row = measure(weather, share, arguments.streams, seconds)
                row['within_supposition'] = weather in SCENES
                rows.append(row)
                name = f'{weather.kind} {weather.strength:g}, {weather.seconds:g} s'
                print(f'{name:24} {seconds:5.0f} s {share:6.0%} | {row["coverage"]:8.1%} '
                      f'{row["p"]:6.3f} {row["median_slack"]:7.1%} {row["median_units"]:6.0f} '
                      f'{row["median_effective"]:9.0f} {row["median_blocks"]:6.0f} | '
                      f'{row["independent_coverage"]:24.1%} {row["independent_slack"]:6.1%}',
                      flush=True)
    within = [row for row in rows if row['within_supposition']]
    lowest = min(within, key=lambda row: row['coverage'])
    print(f'\nlowest coverage of {len(within)} rows within what is supposed: '
          f'{lowest["coverage"]:.1%} (p = {lowest["p"]:.3f})')
    if arguments.json:
        arguments.json.write_text(json.dumps({
            'prune_perception': __version__, 'numpy': np.__version__, 'scipy': scipy.__version__,
            'python': platform.python_version(), 'machine': platform.machine(),
            'confidence': CONFIDENCE, 'rows': rows}, indent=2) + '\n')


if __name__ == '__main__':
    main()
