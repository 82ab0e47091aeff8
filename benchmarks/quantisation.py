# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Measure what integers of 8 bits do to a detector: accuracy, size and time, by each engine.

Each bundle is quantised by frames 401 to 795 of the pedestrian video, without labels, by each
quantiser that is installed (ONNX Runtime's own, NNCF), once with its last layers in integers and
once with them in float, and judged by the people who are labelled in frames 1 to 400 (and, if it
knows all classes, on the photographs), as ``accuracy.py`` does. ``agreement`` is with the bundle
in float on the frames that ``quantize`` keeps aside to choose by; ``*`` marks what it would choose
with that quantiser. Time is of an inference, one thread, in turns with the bundle in float: the
ratio is the median over pairs. What the two quantisers make is timed in turns, too.

Limits: one static camera; the photographs are 64, and unlike anything that the ranges were seen
on. A ratio is of this processor: its instructions for integers decide it. A busy machine makes
times long and ratios wide, which is why the quartiles of the ratios stand beside.

    python benchmarks/quantisation.py --data FOLDER [--models BUNDLE …]
        [--quantisers NAME …] [--pairs N] [--json FILE]
"""

import argparse
from dataclasses import asdict
import importlib.metadata
import importlib.util
import json
from pathlib import Path
import statistics
import sys
import tempfile
from typing import Any

import accuracy  # a neighbour
import numpy as np

from prune_perception.bundle import Bundle, read_bundle, write_bundle
from prune_perception.energy.hardware import load_profile
from prune_perception.pruning import QUANTISERS
from prune_perception.pruning.agreement import agreement, detections_by
from prune_perception.pruning.footage import read_footage
from prune_perception.pruning.latency import compare
from prune_perception.pruning.quantiser import Outcome, quantise, Request, WORTH
from prune_perception.pruning.splits import split
from prune_perception.resources import find_model
from prune_perception.runtime.engines import create_engine, EngineOptions

ENGINES = ('onnxruntime', 'openvino')
FOOTAGE = (401, 795)
ALL_CLASSES = 80


def judged(bundle: Bundle, engine: str, data: Path, every: int) -> dict[str, Any]:
    """Return the accuracy of a bundle by an engine."""
    people = accuracy.measure_people(
        accuracy.create_detector(bundle.folder, engine, threads=1, class_names=['person']),
        data, every)
    photographs = None
    if len(bundle.card.class_names) == ALL_CLASSES:
        photographs = asdict(accuracy.measure_coco(
            accuracy.create_detector(bundle.folder, engine, threads=1), data))
    return {'people': asdict(people), 'photographs': photographs}


def paced(plain: Bundle, other: Bundle, engine: str, pairs: int) -> dict[str, float]:
    """Return the times of two bundles in turns, ms, and the ratios of pairs."""
    options = EngineOptions(engine, threads=1)
    engines = create_engine(plain, options), create_engine(other, options)
    found = [compare(engines[0], plain.card, engines[1], other.card, engine, rounds=1)
             for _ in range(pairs)]
    low, ratio, high = np.percentile([one.speedup for one in found], [25, 50, 75]).tolist()
    return {
        'float_ms': 1e3 * statistics.median(one.dense for one in found),
        'ms': 1e3 * statistics.median(one.pruned for one in found),
        'ratio': ratio, 'low': low, 'high': high}


def made(bundle: Bundle, quantiser: str, last_layers: str, data: Path, folder: Path,
         ) -> tuple[Bundle, Outcome]:
    """Quantise a bundle."""
    outcome = quantise(Request(
        bundle, data / accuracy.PEOPLE / 'vtest.avi', load_profile('eyeriss_65nm'),
        frames=FOOTAGE, last_layers=last_layers, quantiser=quantiser,
        command='benchmarks/quantisation.py',
        name=f'{bundle.card.name}_{quantiser}_last_{last_layers}'))
    return write_bundle(folder / outcome.card.name, outcome.card, outcome.files), outcome


def agreement_by(engine: str, plain: Bundle, other: Bundle, data: Path) -> float:
    """Return the agreement of a bundle with that in float on the frames to select by."""
    footage = read_footage(data / accuracy.PEOPLE / 'vtest.avi', plain.card.input, part=FOOTAGE)
    part = split(len(footage.images), footage.frame_rate).select
    select = footage.images[part.start:part.stop]
    return agreement(*(
        detections_by(create_engine(bundle, EngineOptions(name, threads=1)), bundle.card, select)
        for name, bundle in (('onnxruntime', plain), (engine, other))))


def row(name: str, figures: dict[str, Any]) -> str:
    """Return a line of the table."""
    agreed, pace = figures.get('agreement'), figures.get('pace')
    photographs = figures['photographs']
    return (
        f'{name:26} {figures["engine"]:12} {figures["people"]["ap50"]:7.4f} '
        f'{photographs["ap50"] if photographs else float("nan"):7.4f} '
        f'{agreed if agreed is not None else float("nan"):7.4f} '
        f'{figures["bytes"] / 1e6:6.2f} '
        + (f'{pace["float_ms"]:7.1f} {pace["ms"]:7.1f} {pace["ratio"]:6.2f} '
           f'({pace["low"]:.2f} to {pace["high"]:.2f})' if pace else ''))


def main() -> int:
    """Measure, print and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').strip().splitlines()[0])
    parser.add_argument(
        '--models', nargs='+', default=['nanodet_g_person_25', 'nanodet_g'], metavar='BUNDLE')
    accuracy.add_data(parser)
    parser.add_argument(
        '--quantisers', nargs='+', choices=QUANTISERS, metavar='NAME', help='of '
        f'{", ".join(QUANTISERS)} (those that are installed)',
        default=[name for name in QUANTISERS if importlib.util.find_spec(name)])
    parser.add_argument('--pairs', type=int, default=25, help='of times (%(default)s)')
    parser.add_argument(
        '--every', type=int, default=1, metavar='N', help='judge each Nth frame of the video')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures there too')
    arguments = parser.parse_args()
    machine = accuracy.describe_machine()
    machine['versions'].update({name: importlib.metadata.version(name) for name in (
        *ENGINES, *QUANTISERS) if importlib.util.find_spec(name)})
    print(f'{machine["cpu"]}, {machine["cores"]} cores, {machine["system"]}, '
          + ', '.join(f'{name} {version}' for name, version in machine['versions'].items()))
    print(f'{"":26} {"engine":12} {"people":>7} {"photos":>7} {"agree":>7} {"MB":>6} '
          f'{"float":>7} {"int8 ms":>7} {"times as fast (quartiles)"}')
    results: list[dict[str, Any]] = []
    between: list[dict[str, Any]] = []
    for name in arguments.models:
        plain = read_bundle(find_model(name))
        with tempfile.TemporaryDirectory() as folder:
            bundles: list[tuple[str, Bundle, Outcome | None]] = [(name, plain, None)]
            for quantiser in arguments.quantisers:
                for last in ('int8', 'float'):
                    bundle, outcome = made(plain, quantiser, last, arguments.data, Path(folder))
                    bundles.append((f'  {quantiser}, last {last}', bundle, outcome))
            agreed = {(outcome.request.quantiser, outcome.chosen):
                      outcome.agreement[outcome.chosen] for _, _, outcome in bundles if outcome}
            best = {name: 'float' if agreed[name, 'float'] > agreed[name, 'int8'] + WORTH
                    else 'int8' for name in arguments.quantisers}
            for label, bundle, how in bundles:
                for engine in ENGINES:
                    figures: dict[str, Any] = {
                        'model': name, 'quantiser': how.request.quantiser if how else None,
                        'last_layers': how.chosen if how else None,
                        'engine': engine, 'bytes': (bundle.folder / 'model.onnx').stat().st_size,
                        **judged(bundle, engine, arguments.data, arguments.every)}
                    if how:
                        figures.update(
                            taken=how.chosen == best[how.request.quantiser],
                            energy_share=how.account.share if how.account else None,
                            agreement=agreement_by(engine, plain, bundle, arguments.data),
                            pace=paced(plain, bundle, engine, arguments.pairs))
                    mark = ' *' if figures.get('taken') else ''
                    print(row(f'{label}{mark}', figures), flush=True)
                    results.append(figures)
            everywhere = {how.request.quantiser: bundle for _, bundle, how in bundles
                          if how and how.chosen == 'int8'}
            for engine in ENGINES if len(everywhere) > 1 else ():
                pace = paced(everywhere['onnxruntime'], everywhere['nncf'], engine,
                             arguments.pairs)
                print(f'  {engine}: int8 everywhere by nncf {pace["ratio"]:.2f} '
                      f'({pace["low"]:.2f} to {pace["high"]:.2f}) times as fast as by onnxruntime',
                      flush=True)
                between.append({'model': name, 'engine': engine, **{
                    figure: pace[figure] for figure in ('ratio', 'low', 'high')}})
    print('people, photos: AP50; agree: agreement with the bundle in float (AP50)')
    if arguments.json:
        arguments.json.write_text(json.dumps(
            {'machine': machine, 'footage': FOOTAGE, 'results': results,
             'nncf_against_onnxruntime': between}, indent=2) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
