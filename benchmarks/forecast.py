# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Hold forecasts of agreement against networks that were really pruned and restored.

For each share of the dense energy the input size and the plan are those that ``prune`` makes, and
agreement is forecast from projected activations. Then the channels are removed and the network is
restored, as ``prune`` does it, and seen on

- *aside*: the frames kept aside on which the forecast was scored, as ``prune`` reports them;
- *later*: frames that neither the forecast nor the restoration has read (those that ``prune``
  certifies on). The forecast knows nothing of them but that they are like the others; its interval
  is about such frames.

*Alone* is the same forecast with each layer projected on the dense network's activations, as
though no layer before it had lost anything: what would be saved is one run of the images, and
what is lost is that nothing makes up for earlier errors.

Settings: NanoDet-g on a video of pedestrians, frames 401 to 795 (*people*), and on these frames
through the moving window of ``pruning.py`` (*panning*); a small detector of another build
(``small_detector.py``), trained on frames 1 to 400 of that video, on frames 401 to 795 (*small*);
NanoDet-g on unrelated photographs of COCO, 15 of which are kept aside, people alone
(*strangers*) and all 80 classes (*photographs*).

Limits: two networks, one scene and a few photographs, where average precision of rare classes
hangs on single objects. *aside* also chose the ridges of restoration. The number of images and the
ridge of the projection were chosen while looking at *people* and *small*.

    python benchmarks/forecast.py --data FOLDER [--setting NAME …] [--shares …] [--json FILE]

With ``--json`` what is in the file already is not measured again.
"""

import argparse
from collections.abc import Mapping, Sequence
import contextlib
import copy
from dataclasses import dataclass
import json
from pathlib import Path
import sys
import tempfile
import time
from typing import Any

import accuracy
import numpy as np
from numpy.typing import NDArray
from pruning_methods import scenes
import small_detector
import torch
from torch import nn

from prune_perception.bundle import Bundle, read_bundle
from prune_perception.energy.hardware import load_profile
from prune_perception.evaluation.intervals import draw, Interval
from prune_perception.evaluation.potential import Figure
from prune_perception.pruning.agreement import detections_of, score
from prune_perception.pruning.footage import read_footage
from prune_perception.pruning.forecast import errors_of, predict
from prune_perception.pruning.forecast_report import error_sentence
from prune_perception.pruning.forecaster import sizes_for
from prune_perception.pruning.groups import ChannelGroup
from prune_perception.pruning.observe import mixing_layers, Observation
from prune_perception.pruning.plan import Plan, PlanError
from prune_perception.pruning.planner import Planner, planner_for, SELECT_IMAGES
from prune_perception.pruning.restoration import kept_outputs, least_squares, restore
from prune_perception.pruning.splits import split
from prune_perception.resources import find_model
from prune_perception.runtime.memory import release_unused_memory

SHARES = (0.75, 0.5, 0.35, 0.25, 0.15, 0.1)
DENSE = 'nanodet_g'
PROFILE = 'eyeriss_65nm'
TRAINED_ON, FRAMES = (1, 400), (401, 795)
VIDEO = Path('pets09-s2l1') / 'vtest.avi'
_RIDGE = 1e-2


@dataclass(frozen=True)
class Setting:
    """
    A network and footage.

    :param network: ``nanodet_g`` or ``small_detector``.
    :param data: path below the data folder.
    :param window: through which the frames are seen.
    """

    name: str
    network: str
    data: Path
    frames: tuple[int, int] | None = None
    classes: tuple[str, ...] | None = None
    unrelated: bool = False
    window: bool = False


SETTINGS = (
    Setting('people', DENSE, VIDEO, FRAMES, ('person',)),
    Setting('panning', DENSE, VIDEO, FRAMES, ('person',), window=True),
    Setting('small', small_detector.NAME, VIDEO, FRAMES),
    Setting('strangers', DENSE, Path('coco128') / 'calibration', None, ('person',), True),
    Setting('photographs', DENSE, Path('coco128') / 'calibration', unrelated=True))


def measure(setting: Setting, bundle: Bundle, data: Path, shares: Sequence[float],
            known: Sequence[Mapping[str, Any]], keep: Any) -> list[dict[str, Any]]:
    """
    Measure one setting.

    :param known: points of this setting that were measured before.
    :param keep: called with all points after each.
    """
    planner = planner_for(bundle, load_profile(PROFILE), classes=setting.classes)
    images = _images(setting, bundle, data)
    parts = split(len(images))
    fit, select, later = (images[part.start:part.stop]
                          for part in (parts.fit, parts.select, parts.certify))
    block = 1 if setting.unrelated else None
    seen = {name: (images, detections_of(planner.network, planner.card, images),
                   draw(len(images), block=block))
            for name, images in (('aside', select), ('later', later))}
    points = [dict(point) for point in known]
    missing = [share for share in shares if share not in [point['asked'] for point in points]]
    if not missing:
        return points
    chosen = sizes_for(planner, fit, select, missing)
    for size in dict.fromkeys(chosen.values()):
        release_unused_memory()
        at = planner.at(size)
        observed = at.observe(fit)
        aside = at.observe(select, SELECT_IMAGES)
        of_size = [share for share in missing if chosen.get(share) == size]
        swept = at.sweep(observed, min(of_size) * at.reference)
        for share in of_size:
            try:
                plan = at.plan(swept, share * at.reference)
            except PlanError:
                continue
            point = _point(at, plan, observed, aside, seen)
            points.append({'asked': share, 'share': plan.share, 'size': size, **point})
            keep(points)
            print(f'{setting.name}: {_row(points[-1])}', file=sys.stderr, flush=True)
    return sorted(points, key=lambda one: -one['asked'])


def _images(setting: Setting, bundle: Bundle, data: Path) -> NDArray[np.uint8]:
    if setting.window:
        return scenes.fed_with(scenes.panning(data, 1).footage, bundle.card.input)
    return read_footage(data / setting.data, bundle.card.input, part=setting.frames).images


def _point(at: Planner, plan: Plan, fit: Observation, aside: Observation,
           seen: Mapping[str, Any]) -> dict[str, Any]:
    images, dense_seen, drawn = seen['aside']
    begin = time.monotonic()
    predicted = predict(at, plan, fit, images, dense_seen, drawn)
    middle = time.monotonic()
    restored = at.remove(plan)
    restore(restored, fit, aside, kept_outputs(at.groups, plan.removed))
    end = time.monotonic()
    alone = score(dense_seen, detections_of(
        projected_alone(at.network, at.groups, plan, fit), at.card, images), drawn)
    interval = predicted.interval
    return {
        'predicted': predicted.value,
        'interval': [interval.low, interval.high] if interval else None, 'alone': alone.value,
        **{name: score(wanted, detections_of(restored, at.card, frames), blocks).value
           for name, (frames, wanted, blocks) in seen.items()},
        'dense': score(dense_seen, detections_of(at.network, at.card, images), drawn).value,
        'forecast_s': middle - begin, 'restoration_s': end - middle}


def projected_alone(network: nn.Module, groups: Sequence[ChannelGroup], plan: Plan,
                    fit: Observation) -> nn.Module:
    """
    Return a dense network whose layers see the reconstruction of their inputs from those kept.

    Each layer's is the best for the dense network's own activations. It has the shape of the
    dense network: what goes has the weight 0. Grouped convolutions are left as they are.
    """
    projected = copy.deepcopy(network)
    layers = mixing_layers(projected)
    gone: dict[str, list[int]] = {}
    for group in groups:
        channels = list(plan.removed.get(group.name, ()))
        for tied in group.consumers if channels else ():
            gone.setdefault(tied.layer, []).extend(tied.positions[channels].ravel().tolist())
    with torch.no_grad():
        for name, channels in gone.items():
            layer, seen = layers[name], fit.layers.get(name)
            if seen is None or getattr(layer, 'groups', 1) > 1:
                continue
            taps = layer.weight[0, 0].numel()
            stays = torch.ones(layer.weight[0].numel(), dtype=torch.bool)
            for channel in channels:
                stays[channel * taps:(channel + 1) * taps] = False
            weight = layer.weight.flatten(1).double().T  # (inputs, outputs)
            # Moments of what is kept with what the layer makes of all.
            gram, mean = seen.gram.double(), seen.mean.double()
            with_one = torch.cat([
                torch.cat([gram[stays][:, stays], mean[stays][:, None]], 1),
                torch.cat([mean[stays], mean.new_ones(1)])[None]])
            cross = torch.cat([gram[stays] @ weight, (mean @ weight)[None]])
            solved = least_squares(
                with_one, cross, weight[stays], _RIDGE, layer.bias is not None)
            weight[stays], weight[~stays] = solved[:-1], 0
            layer.weight.copy_(weight.T.reshape(layer.weight.shape))
            if layer.bias is not None:
                layer.bias += solved[-1]
    return projected


def report(name: str, points: Sequence[Mapping[str, Any]]) -> str:
    """Return a setting's table and what it comes to."""
    lines = [
        '', f'**{name}**', '',
        '| energy | pixels | forecast (95 %) | restored, aside | off | restored, later | off | '
        'alone | off |', '|---|---|---|---|---|---|---|---|---|', *map(_row, points), '']
    for what, predicted, real in (('aside', 'predicted', 'aside'), ('later', 'predicted', 'later'),
                                  ('alone, aside', 'alone', 'aside')):
        errors = errors_of([
            (Figure(point[predicted], Interval(*point['interval'])
                    if predicted == 'predicted' and point['interval'] else None), point[real])
            for point in points])
        if errors is not None:
            lines.append(f'- {what}: {error_sentence(errors)}; bias {errors.bias:+.4f}')
    lines.append(
        f'- seconds for a point: {np.median([point["forecast_s"] for point in points]):.1f} of '
        f'the forecast, {np.median([point["restoration_s"] for point in points]):.1f} of removal '
        'and restoration')
    return '\n'.join(lines)


def _row(point: Mapping[str, Any]) -> str:
    between = '' if point['interval'] is None else \
        f' ({point["interval"][0]:.3f} to {point["interval"][1]:.3f})'
    off = {name: f'{point["predicted"] - point[name]:+.3f}' for name in ('aside', 'later')}
    off['alone'] = f'{point["alone"] - point["aside"]:+.3f}'
    return (f'| {point["share"]:.1%} | {point["size"][1]} × {point["size"][0]} | '
            f'{point["predicted"]:.3f}{between} | {point["aside"]:.3f} | {off["aside"]} | '
            f'{point["later"]:.3f} | {off["later"]} | {point["alone"]:.3f} | {off["alone"]} |')


def main() -> int:
    """Measure the settings that are asked for and print their tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').strip().partition('\n')[0])
    accuracy.add_data(parser)
    parser.add_argument('--setting', nargs='+', choices=[one.name for one in SETTINGS],
                        default=[one.name for one in SETTINGS])
    parser.add_argument('--shares', nargs='+', type=float, default=SHARES)
    parser.add_argument('--steps', type=int, default=small_detector.STEPS,
                        help="of the small detector's training (%(default)s)")
    parser.add_argument('--network', type=Path, metavar='FOLDER',
                        help='where the small detector is kept, once trained')
    parser.add_argument('--json', type=Path, metavar='FILE')
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {'machine': accuracy.describe_machine(), 'settings': {}}
    if arguments.json is not None and arguments.json.exists():
        found = json.loads(arguments.json.read_text())
    dense = read_bundle(find_model(DENSE))
    print(json.dumps(found['machine']))
    with contextlib.ExitStack() as stack:
        for setting in SETTINGS:
            if setting.name not in arguments.setting:
                continue
            bundle = dense
            if setting.network != DENSE:
                folder = arguments.network or Path(stack.enter_context(
                    tempfile.TemporaryDirectory())) / small_detector.NAME
                bundle = small_detector.trained(
                    folder, dense, arguments.data / VIDEO, TRAINED_ON, steps=arguments.steps)

            def keep(points: list[dict[str, Any]], name: str = setting.name) -> None:
                found['settings'][name] = points
                if arguments.json is not None:
                    arguments.json.write_text(json.dumps(found, indent=1) + '\n')

            points = measure(setting, bundle, arguments.data, arguments.shares,
                             found['settings'].get(setting.name, ()), keep)
            keep(points)
            print(report(setting.name, points), flush=True)
    return 0


if __name__ == '__main__':
    sys.exit(main())
