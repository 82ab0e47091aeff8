# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
What pruning did, for people and for programs: a page that stands alone, and plain values.

Every figure says whether it is modelled or measured, and under which conditions. What the pruned
network is worth is told by its agreement with the dense one, which is not accuracy: the footage
has no labels.
"""

import base64
from collections.abc import Sequence
import importlib.metadata
from itertools import accumulate
import math
import platform
from typing import Any

import cv2
import numpy as np

from prune_perception import __version__
from prune_perception.bundle import Card
from prune_perception.detections import Detections
from prune_perception.energy.account import LayerAccount
from prune_perception.energy.report import joules, number
from prune_perception.evaluation.intervals import Interval
from prune_perception.evaluation.report.charts import axis, legend, Line, lines
from prune_perception.page import COLOURS, Markup, page, pairs, table, tag, text, tiles
from prune_perception.pruning.agreement import CONFIDENT
from prune_perception.pruning.bound_tables import (
    group_table,
    groups_title,
    layer_table,
    layers_title,
    UNPROVED,
)
from prune_perception.pruning.finite import finite
from prune_perception.pruning.footage import Images
from prune_perception.pruning.methods import FORECASTING
from prune_perception.pruning.pruner import Outcome
from prune_perception.runtime.drawing import draw

_KINDS = {'compute': ('compute', '#4d4d4d'), 'weights': ('weights', '#0072b2'),
          'input_maps': ('input maps', '#56b4e9'), 'output_maps': ('output maps', '#e69f00'),
          'partial_sums': ('partial sums', '#d55e00')}
_WIDEST = 640  # pixels of an example; two stand side by side
_QUALITY = 82  # of JPEG
_CHART = 660.0  # units of a chart's width: its words stay readable on a telephone
_PACKAGES = ('numpy', 'onnxruntime', 'openvino', 'torch', 'torch-pruning')
_LARGEST_COST = 5.0  # times that of the plan: beyond, the curve would flatten all before it


def html_report(outcome: Outcome, *, energy_measured: Sequence[str] = ()) -> str:
    """
    Return the page, which stands alone.

    :param energy_measured: lines on what a meter said, or why there is none.
    """
    sections: list[tuple[str, str, Markup]] = [
        ('energy', 'Energy, layer by layer', text(_kinds(outcome), _layers(outcome))),
        ('plan', 'Why this plan', text(_sizes(outcome), _sweep(outcome))),
        ('widths', 'Widths', _widths(outcome)),
        ('agreement', 'Agreement with the dense network', _agreement(outcome)),
        ('certificate', 'Certificate', _certificate(outcome)),
        ('bound', 'What can be proved', _bound(outcome)),
        ('training', 'Distillation', _training(outcome)),
        ('frames', 'Frames kept aside', _examples(outcome)),
        ('footage', 'Footage', _footage(outcome)),
        ('conditions', 'Machine, versions, command', _conditions(outcome, energy_measured))]
    title = f'{outcome.request.bundle.card.name}, pruned for one robot'
    return page(title, text(
        tag('h1', title), _opening(outcome),
        tag('nav', (tag('a', heading, href=f'#{name}') for name, heading, _ in sections),
            aria_label='Sections'),
        *(tag('section', tag('h2', heading), content, id=name)
          for name, heading, content in sections)), _STYLE)


def summary(outcome: Outcome) -> dict[str, Any]:
    """Return the outcome as plain values, ready for JSON; what is not known is None."""
    known: dict[str, Any] = finite(_values(outcome))
    return known


def _values(outcome: Outcome) -> dict[str, Any]:
    request, splits, latency = outcome.request, outcome.splits, outcome.latency
    return {
        'name': outcome.card.name,
        'parent': {'name': request.bundle.card.name, 'digest': request.bundle.digest},
        'class_names': list(outcome.card.class_names),
        'input': {'height': outcome.card.input.height, 'width': outcome.card.input.width},
        'request': {
            'energy_budget': request.energy_budget, 'latency_budget_s': request.latency_budget,
            'hardware': request.profile.name, 'bits': request.bits,
            'classes': None if request.classes is None else list(request.classes),
            'method': request.method, 'alignment': request.alignment,
            'engine': request.engine, 'time_limit_s': request.time_limit,
            'steps': request.steps, 'distil': request.distil, 'resize': request.resize,
            'topic': request.topic, 'frames': request.frames, 'unrelated': request.unrelated,
            'seed': request.seed, 'command': request.command},
        'certificate': outcome.certificate.to_dict(),
        'bound': outcome.bound.to_dict() if outcome.bound else None,
        'energy': {
            'conditions': outcome.pruned.conditions, 'share_of_dense': outcome.share,
            'dense': outcome.dense.summary(), 'pruned': outcome.pruned.summary(),
            'layers': [{'name': name, 'dense_mac': _total(dense), 'pruned_mac': _total(pruned)}
                       for name, dense, pruned in paired_layers(outcome)]},
        'latency': {
            'dense_s': latency.dense, 'pruned_s': latency.pruned, 'speedup': latency.speedup,
            'engine': latency.engine, 'machine': latency.machine},
        'agreement': {'figure': 'agreement_ap50', 'confident_score': CONFIDENT,
                      'frames': len(splits.select), 'by_stage': dict(outcome.agreement)},
        'forecast': {
            'figure': 'agreement_ap50', 'of': 'restoration', 'value': outcome.forecast.value,
            **_ends(outcome.forecast.interval)},
        'plan': {
            'share': outcome.plan.share, 'forecast_cost': outcome.plan.cost,
            'widths': {name: {'before': before, 'after': after}
                       for name, (before, after) in outcome.plan.widths.items()},
            'removed': {name: list(channels) for name, channels in outcome.plan.removed.items()}},
        'sweep': {
            'dense_mac': outcome.swept.dense_energy,
            'steps': [{'group': step.group, 'channels': list(step.channels),
                       'cost': step.cost, 'energy_mac': step.energy}
                      for step in outcome.swept.steps]},
        'input_sizes': None if outcome.sizes is None else {
            'consistency': outcome.sizes.consistency,
            'trials': [{'height': trial.size[0], 'width': trial.size[1], 'dense': trial.dense,
                        'forecast': trial.forecast, 'reason': trial.reason}
                       for trial in outcome.sizes.trials]},
        'ridges': dict(outcome.ridges),
        'training': [{'step': point.step, 'seconds': point.seconds,
                      'train_loss': point.train_loss, 'parts': dict(point.parts),
                      'select_loss': point.select_loss} for point in outcome.curve],
        'footage': {
            'path': str(outcome.footage.path), 'digest': outcome.footage.digest,
            'frames': len(outcome.footage.images),
            'source_size': list(outcome.footage.source_size),
            'skipped': list(outcome.footage.skipped),
            'splits': {name: {'frames': frames, 'first_frame': first, 'last_frame': last}
                       for name, frames, first, last in _parts(outcome)},
            'gap': splits.gap},
        'groups': list(outcome.groups), 'notes': list(outcome.notes),
        'seconds': dict(outcome.seconds), 'versions': versions()}


def paired_layers(
        outcome: Outcome) -> list[tuple[str, LayerAccount | None, LayerAccount | None]]:
    """Return the layers of both accounts by name, in the order of execution."""
    dense = {layer.layer.name: layer for layer in outcome.dense.layers}
    pruned = {layer.layer.name: layer for layer in outcome.pruned.layers}
    return [(name, dense.get(name), pruned.get(name)) for name in dict.fromkeys([*dense, *pruned])]


def versions() -> dict[str, str]:
    """Return the versions of what took part, by package."""
    found = {'prune_perception': __version__, 'python': platform.python_version(),
             'opencv': cv2.__version__}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def described(card: Card) -> str:
    """Return what a network sees and how large its input is."""
    classes = card.class_names
    what = ', '.join(classes) if len(classes) <= 3 else f'{len(classes)} classes'
    return f'{what}, at {card.input.width} × {card.input.height}'


def measured_sentence(outcome: Outcome) -> str:
    """Return which figures are modelled and which are measured."""
    latency = outcome.latency
    return (
        f'Energy is {outcome.pruned.conditions}, from the shapes of the layers: no reading of a '
        f'meter. Time is measured: inference of one image by {latency.engine} on '
        f'{latency.machine}, dense and pruned in turns. Agreement is measured on '
        f'{len(outcome.splits.select)} frames kept aside: how far the pruned network sees what '
        f'the dense one sees with a score of {CONFIDENT:g} or more, not whether either is right.')


def _opening(outcome: Outcome) -> Markup:
    stage, agreement = last_agreement(outcome)
    dense, pruned = outcome.dense.total(), outcome.pruned.total()
    dense_card = outcome.request.bundle.card
    figures = [
        (f'{outcome.share:.1%}', 'of the modelled energy of the dense network'),
        (f'{outcome.latency.speedup:.2f} ×', f'faster, measured: {outcome.latency.dense * 1e3:.3g}'
         f' to {outcome.latency.pruned * 1e3:.3g} ms an image'),
        (f'{agreement:.3f}', f'agreement with the dense network (AP50), after {stage}'),
        (f'{number(dense.parameters)} → {number(pruned.parameters)}', 'parameters'),
        (f'{number(dense.macs)} → {number(pruned.macs)}', 'multiply-accumulates an image')]
    if dense.energy_uj is not None and pruned.energy_uj is not None:
        figures.append((f'{joules(dense.energy_uj)} → {joules(pruned.energy_uj)}',
                        'modelled for an image'))
    return text(
        tag('p', f'From {dense_card.name} ({described(dense_card)}) to {outcome.card.name} '
            f'({described(outcome.card)}), with {len(outcome.footage.images)} frames of '
            f'{outcome.footage.path.name} and no labels.', class_='soft'),
        tiles(figures),
        tag('p', measured_sentence(outcome)),
        tag('div', tag('b', 'To know'), _list(outcome.notes), class_='warning')
        if outcome.notes else '')


def _ends(interval: Interval | None) -> dict[str, float | None]:
    return {end: None if interval is None else getattr(interval, end) for end in ('low', 'high')}


def agreement_by_stage(outcome: Outcome) -> list[tuple[str, float]]:
    """Return what was forecast of restoration, and the agreement after each stage."""
    value, interval = outcome.forecast.value, outcome.forecast.interval
    between = '' if interval is None else f' ({interval.low:.3f} to {interval.high:.3f})'
    return [(f'restoration, as forecast{between}', value), *outcome.agreement.items()]


def last_agreement(outcome: Outcome) -> tuple[str, float]:
    """Return the last stage that was judged, and the agreement after it."""
    return list(outcome.agreement.items())[-1]


# ---- energy

def _kinds(outcome: Outcome) -> Markup:
    dense, pruned = outcome.dense.by_kind(), outcome.pruned.by_kind()
    rows = [[_KINDS[kind][0], number(energy), number(pruned[kind]), _share(pruned[kind], energy)]
            for kind, energy in dense.items()]
    whole, left = outcome.dense.total().energy_mac, outcome.pruned.total().energy_mac
    rows.append(['total', number(whole), number(left), _share(left, whole)])
    return table(['', 'dense', 'pruned', 'left'], rows,
                 caption=f'MAC energies for one image, {outcome.pruned.conditions}')


def _layers(outcome: Outcome) -> Markup:
    layers = paired_layers(outcome)
    largest = max((_total(each) or 0.0 for _, *both in layers for each in both), default=0) or 1.0
    rows = []
    for name, dense, pruned in layers:
        bars = [_bar(label, layer, largest)
                for label, layer in (('dense', dense), ('pruned', pruned))]
        rows.append(tag('div', tag('span', name, class_='name'), tag('span', bars),
                        class_='layer'))
    return text(
        tag('h3', 'In the order of execution'),
        tag('p', 'For each layer the dense network above and the pruned one below; 10⁶ MAC '
            'energies for one image. One unit is the energy of a multiply-accumulate (MAC).',
            class_='soft'),
        tag('div', (tag('span', tag('i', style=f'background:{colour}'), title)
                    for title, colour in _KINDS.values()), class_='legend'), *rows)


def _bar(label: str, layer: LayerAccount | None, largest: float) -> Markup:
    if layer is None:
        return tag('span', tag('span', '–', class_='value'), tag('span'), class_='measure')
    parts = [tag('i', style=f'width:{energy / largest:.3%};background:{_KINDS[kind][1]}',
                 title=f'{label}, {_KINDS[kind][0]}: {number(energy)} MAC energies')
             for kind, energy in layer.by_kind().items() if energy > 0]
    return tag('span', tag('span', f'{layer.total / 1e6:.1f}', class_='value'),
               tag('span', parts, class_=f'bar {label}'), class_='measure')


# ---- plan

def _sizes(outcome: Outcome) -> Markup:
    sizes = outcome.sizes
    if sizes is None:
        return text(tag('h3', 'Input size'), tag(
            'p', f'{outcome.card.input.width} × {outcome.card.input.height} was kept, '
            f'{outcome.reason_for_one_size()}.'))
    chosen = (outcome.card.input.height, outcome.card.input.width)
    head = ['pixels', 'agreement of the dense network', 'forecast loss', '']
    rows = [[f'{trial.size[1]} × {trial.size[0]}', _figure(trial.dense),
             '' if trial.forecast is None else f'{trial.forecast:.3g}',
             'taken' if trial.size == chosen else trial.reason] for trial in sizes.trials]
    return text(
        tag('h3', 'Input size'),
        tag('p', 'On mirrored frames the dense network agrees with itself by '
            f'{sizes.consistency:.4f}; neither answer is better. A smaller input at which it '
            'agrees about as well has lost nothing that this footage could show. Among these '
            'sizes the one was taken at which a network within the budget loses least by the '
            'forecast (growth of the distillation loss before training, for one image of the '
            'full area).', class_='soft'),
        table(head, rows, caption='The dense network (AP50 against itself at full size) and the '
              'forecast at each input size', class_='sizes'))


def _sweep(outcome: Outcome) -> Markup:
    swept, plan, request = outcome.swept, outcome.plan, outcome.request
    reference = outcome.dense.total().energy_mac
    target = f'{request.energy_budget:.0%} of the dense energy' if request.energy_budget \
        is not None else f'{(request.latency_budget or 0) * 1e3:g} ms an image on this machine'
    words = tag(
        'p', f'Method {request.method}, budget {target}. From the dense network at this input '
        f'size ({swept.dense_energy / reference:.1%} of the dense energy) {len(swept.steps)} '
        'steps lead to the narrowest, each taking a few channels where the method finds it best. '
        f'The plan takes those that reach the budget: {plan.share:.1%}.')
    energies = [swept.dense_energy / reference,
                *(step.energy / reference for step in swept.steps)]
    costs = [0.0, *accumulate(step.cost for step in swept.steps)]
    heading = tag('h3', 'Order of the sweep')
    if not all(map(math.isfinite, costs)):
        return text(heading, words, tag(
            'p', f'The method {request.method} forecasts no error, so there is no curve of it.',
            class_='soft'))
    shown = [place for place, cost in enumerate(costs)
             if cost <= _LARGEST_COST * max(plan.cost, 1e-9) or energies[place] >= plan.share]
    left_out = len(costs) - len(shown)
    xs, ys = [100 * energies[place] for place in shown], [costs[place] for place in shown]
    if len(xs) < 2:
        return text(heading, words)
    if request.method in FORECASTING:
        forecast, verb = 'forecast growth of the loss', 'is'
        meaning = 'The growth of the distillation loss for one image'
    else:
        forecast, verb = "forecast error, shares of the layers' variance", 'are'
        meaning = "The layers' errors, as shares of their outputs' variance,"
    drawing = lines(
        f'{forecast.capitalize()} against modelled energy',
        [Line('sweep', xs, ys, COLOURS[0], mark=(100 * plan.share, plan.cost))],
        axis('modelled energy, % of the dense network', xs, from_zero=True),
        axis(forecast, ys, from_zero=True), width=_CHART)
    cut = f' {left_out} steps beyond are left out.' if left_out else ''
    return text(heading, words, tag('figure', drawing, tag(
        'figcaption', f'Right to left: channels go. {meaning} {verb} forecast before anything is '
        f'removed. The ring is the plan.{cut}')))


def _widths(outcome: Outcome) -> Markup:
    reference = outcome.dense.total().energy_mac
    first: dict[str, float] = {}
    for before, step in zip([outcome.swept.dense_energy,
                             *(step.energy for step in outcome.swept.steps)],
                            outcome.swept.steps, strict=False):
        first.setdefault(step.group, before / reference)
    rows = []
    for group in outcome.swept.groups:
        before, after = outcome.plan.widths[group.name]
        rows.append([
            group.name, f'{before}', f'{after}', _bar_of(after / before),
            f'{first[group.name]:.1%}' if group.name in first else 'never',
            tag('span', group.ties(), class_='ties')])
    return text(
        tag('p', 'Channels of one group stay or go together, because an addition, a '
            'concatenation or a depthwise convolution ties them. The sweep begins to take '
            'channels from a group when the network is at the energy in the fifth column.',
            class_='soft'),
        table(['group', 'before', 'after', '', 'first goes at', 'what ties it'], rows,
              caption='Channels', class_='widths'))


# ---- what became of it

def _agreement(outcome: Outcome) -> Markup:
    rows = [[stage, f'{value:.4f}'] for stage, value in agreement_by_stage(outcome)]
    return text(
        table(['stage', 'AP50'], rows,
              caption=f'On {len(outcome.splits.select)} frames kept aside'),
        tag('p', f'What the dense network finds with a score of {CONFIDENT:g} or more counts as '
            'there. These frames chose the ridge, the input size and which weights of the '
            'training were kept, so that the figures are a little favourable; labelled footage '
            'of another time, with prune-perception evaluate, is not.', class_='soft'))


def _certificate(outcome: Outcome) -> Markup:
    certificate = outcome.certificate
    head, rows = certificate.class_table()
    return text(_lines(certificate.text()), table(
        head, rows, caption=certificate.classes_title(), class_='classes') if rows else '')


def _bound(outcome: Outcome) -> Markup:
    bound = outcome.bound
    if bound is None:
        return _lines(UNPROVED)
    return text(_lines(bound.text()), *(
        table(head, rows, caption=title, class_='proved') for title, (head, rows) in (
            (groups_title(bound), group_table(bound)), (layers_title(bound), layer_table(bound)))
        if rows))


def _lines(words: str) -> Markup:
    return text(*(tag('p', line) for line in words.splitlines() if line))


def _training(outcome: Outcome) -> Markup:
    if not outcome.curve:
        why = 'it was not asked for' if not outcome.request.distil else 'no time was left for it'
        return tag('p', f'There was none: {why}. The network is as restoration left it.')
    points = outcome.curve
    steps = [float(point.step) for point in points]
    series = [Line('views that it is trained on', steps, [point.train_loss for point in points],
                   COLOURS[0], '7 3'),
              Line('frames kept aside', steps, [point.select_loss for point in points],
                   COLOURS[1])]
    values = [value for line in series for value in line.ys]
    if len(points) < 2 or not all(map(math.isfinite, values)):
        return tag('p', f'{points[-1].step} steps; the loss left the numbers that can be drawn.')
    best = min(points, key=lambda point: point.select_loss)
    drawing = lines('Loss against steps', series, axis('step', steps, from_zero=True),
                    axis('distillation loss', values, from_zero=True), width=_CHART)
    return text(
        legend([(line.name, line.colour, line.dash) for line in series]),
        tag('figure', drawing, tag(
            'figcaption', f'{points[-1].step} steps in {points[-1].seconds:.0f} s. The weights '
            f'of step {best.step} were kept: {best.select_loss:.4f} on the frames kept aside, '
            f'{points[0].select_loss:.4f} before training.')))


def _examples(outcome: Outcome) -> Markup:
    names = outcome.card.class_names
    rows = []
    for example in outcome.examples:
        image = _shaped(example.image, outcome)
        rows.append(tag('div', (
            tag('figure', tag('img', src=_data(image, found, names), alt=title),
                tag('figcaption', title))
            for title, found in (
                (f'dense: {_counted(example.dense)}', example.dense),
                (f'pruned: {_counted(example.pruned)}', example.pruned))), class_='beside'))
    return text(tag('p', f'Detections with a score of {CONFIDENT:g} or more. Neither network was '
                    'fitted or trained on these frames.', class_='soft'), *rows)


def _counted(found: Detections) -> str:
    count = int((found.scores >= CONFIDENT).sum())
    return f'{count} detection{"" if count == 1 else "s"}'


def _shaped(image: Images, outcome: Outcome) -> Images:
    """Return a frame in the camera's proportions, where the network's input is stretched."""
    height, width = image.shape[:2]
    if outcome.card.input.resize == 'stretch':
        width, height = outcome.footage.source_size
    scale = _WIDEST / width
    size = (_WIDEST, max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _data(image: Images, found: Detections, names: Sequence[str]) -> str:
    """Return a frame with its detections as a JPEG within an address."""
    sure = found.scores >= CONFIDENT
    height, width = image.shape[:2]
    drawn = draw(image, Detections(
        found.boxes[sure] * np.array([width, height] * 2, np.float32), found.scores[sure],
        found.classes[sure]), names)
    good, data = cv2.imencode('.jpg', drawn, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    assert good  # any image of three channels can be a JPEG
    return f'data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}'


# ---- conditions

def _footage(outcome: Outcome) -> Markup:
    footage, splits = outcome.footage, outcome.splits
    frames = len(footage.images)
    use = {'fit': 'statistics, restoration, distillation',
           'select': 'ridge, input size, which weights of the training are kept, the agreement '
                     'above',
           'certify': 'the certificate, which reads them once, when nothing is chosen any more'}
    rows = [[name, f'{count}', f'{first} to {last}', use[name]]
            for name, count, first, last in _parts(outcome)]
    stripe = [tag('i', style=f'width:{width / frames:.3%};background:{colour}', title=name)
              for name, width, colour in (
                  ('fit', len(splits.fit), COLOURS[0]), ('gap', splits.gap, '#fff'),
                  ('select', len(splits.select), COLOURS[1]), ('gap', splits.gap, '#fff'),
                  ('certify', len(splits.certify), COLOURS[2]))]
    skipped = text(tag('h3', f'{len(footage.skipped)} frames could not be read'),
                   _list(footage.skipped)) if footage.skipped else text('')
    return text(
        pairs([('recording', str(footage.path)), ('SHA-256', tag('code', footage.digest)),
               ('frames used', f'{frames}, of {footage.source_size[0]} × '
                f'{footage.source_size[1]} pixels')]),
        tag('div', stripe, class_='bar'),
        table(['part', 'frames', 'of the recording', 'used for'], rows,
              caption=f'Parts in the order of time, {splits.gap} frames left out between two',
              class_='parts'), skipped)


def _conditions(outcome: Outcome, energy_measured: Sequence[str]) -> Markup:
    request, latency = outcome.request, outcome.latency
    seconds = outcome.seconds
    return text(
        pairs([
            ('machine', latency.machine),
            ('versions', ', '.join(f'{name} {version}' for name, version in versions().items())),
            ('dense bundle', text(request.bundle.card.name, tag('br'),
                                  tag('code', f'SHA-256 {request.bundle.digest}'))),
            ('seed', f'{request.seed}'),
            ('meter', _list(energy_measured) if energy_measured else 'was not asked'),
            ('hardware profile', f'{request.profile.name}: {request.profile.description}')]),
        table(['stage', 'seconds'], [
            *([stage, f'{spent:.1f}'] for stage, spent in seconds.items()),
            ['all', f'{sum(seconds.values()):.1f}']], caption='Time that each stage took'),
        tag('h3', 'Command'),
        tag('pre', request.command or 'none: made by a program, not by the command line',
            tabindex='0'))


def _parts(outcome: Outcome) -> Sequence[tuple[str, int, int, int]]:
    """
    Return the parts of the recording: name, frames read, and the first and the last of them.

    The recording's first frame is 1. Of a long one the certificate reads all frames of its part,
    the others a choice of theirs.
    """
    numbers, source = outcome.footage.numbers, outcome.certificate.source
    return (*((name, len(part), numbers[part.start], numbers[part.stop - 1])
              for name, part in (('fit', outcome.splits.fit), ('select', outcome.splits.select))),
            ('certify', source.frames, source.first_frame, source.last_frame))


def _bar_of(share: float) -> Markup:
    return tag('span', tag('i', style=f'width:{share:.1%};background:{COLOURS[0]}'),
               class_='bar width', title=f'{share:.0%} left')


def _list(entries: Sequence[str]) -> Markup:
    return tag('ul', (tag('li', entry) for entry in entries))


def _total(layer: LayerAccount | None) -> float | None:
    return None if layer is None else layer.total


def _share(part: float, whole: float) -> str:
    return f'{part / whole:.1%}' if whole else '–'


def _figure(value: float | None) -> str:
    return '–' if value is None else f'{value:.4f}'


_STYLE = """
nav { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; font-size: .9rem; margin: 1rem 0; }
figure { margin: .6rem 0; min-width: 0; }
figure svg { display: block; width: 100%; max-width: 56rem; height: auto; }
figure img { display: block; width: 100%; height: auto; border-radius: .3rem; }
figcaption { color: var(--soft); font-size: .88rem; margin: .2rem 0; overflow-wrap: anywhere; }
.beside { display: grid; gap: .3rem 1rem; max-width: 80rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 18rem), 1fr)); break-inside: avoid; }
.layer { display: grid; grid-template-columns: 15rem 1fr; gap: .6rem; align-items: center;
  padding: .15rem 0; break-inside: avoid; }
.name { overflow-wrap: anywhere; line-height: 1.2; font-size: .88rem; }
.measure { display: grid; grid-template-columns: 3.4rem 1fr; gap: .6rem; align-items: center; }
.measure .bar { height: .7rem; }
.value { text-align: right; font-variant-numeric: tabular-nums; font-size: .82rem; }
.bar.width { width: 7rem; height: .8rem; background: var(--panel); margin-top: .25rem; }
.ties { display: block; text-align: left; min-width: 18rem; max-width: 38rem; }
.widths th:last-child, .parts th:last-child, .classes th:last-child { text-align: left; }
.sizes td:last-child, .parts td:last-child, .classes td:last-child {
  text-align: left; min-width: 14rem; }
.warning ul { margin: .2rem 0; }
@media (max-width: 640px) {
  .layer { grid-template-columns: 1fr; gap: 0; padding: .3rem 0; }
  .layer .name { color: var(--soft); }
}
"""
