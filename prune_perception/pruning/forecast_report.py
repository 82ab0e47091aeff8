# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""What a forecast says to people and to programs: sentences, a table, a page, plain values."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from prune_perception.evaluation.intervals import Interval
from prune_perception.evaluation.potential import Figure, Verdict
from prune_perception.evaluation.potential_report import MARKS
from prune_perception.evaluation.report.charts import axis, DASHES, legend, Line, lines
from prune_perception.page import COLOURS, Markup, page, pairs, table, tag, text, tiles
from prune_perception.pruning.agreement import CONFIDENT, Score
from prune_perception.pruning.forecast import Errors, Forecast, Point, Pruned
from prune_perception.pruning.report import versions

SCHEMA = 1

_KINDS = {True: 'distilled', False: 'restored', None: 'not said'}
_CHART = 660.0  # units of a chart's width: its words stay readable on a telephone


def sentences(forecast: Forecast) -> tuple[str, ...]:
    """Return what the forecast comes to."""
    allowed = f'{forecast.request.largest_loss:g}'
    furthest, sure = forecast.furthest(), forecast.furthest(surely=True)
    said = [f'no saving is forecast to lose {allowed} or less' if furthest is None else
            f'within a loss of {allowed}, by the forecast: {_place(forecast, furthest)}']
    if furthest is not None and sure is not furthest:
        said.append('of no saving is that sure' if sure is None else
                    f"also at the upper end of the loss's interval: {_place(forecast, sure)}")
    after = [point for point in forecast.points
             if furthest is None or point.share < furthest.share]
    if after:
        said.append(f'the next would not be: {_place(forecast, after[0])}')
    errors = forecast.errors()
    if errors is not None:
        said.append(error_sentence(errors))
    said += [f'distillation: {one.bundle.card.name} agrees by {_interval(one.score)} at '
             f'{one.share:.1%}; {_interval(one.predicted)} is forecast there without it'
             for one in forecast.pruned if one.distilled and one.predicted is not None]
    bounds = [point.bound for point in forecast.points if point.bound is not None]
    if bounds:
        informative = sum(bound.informative for bound in bounds)
        said.append(f'what can be proved: informative at {informative} of {len(bounds)} points, '
                    'vacuous at the others; it does not cover a restored network')
    return tuple(said)


def error_sentence(errors: Errors) -> str:
    """Return how far the forecast was off, for people."""
    networks = f'{errors.number} restored network{"" if errors.number == 1 else "s"}'
    order = ''
    if errors.number > 1:
        order = '; their order is as forecast' if not errors.swapped else (
            f'; {len(errors.swapped)} pair{"s" if len(errors.swapped) > 1 else ""} in the wrong '
            f'order, up to {errors.swapped[0]:.4f} apart')
    within = '' if errors.within is None else \
        f'; {errors.within} of {errors.number} within the interval'
    return (f'the forecast was off by {errors.mean_absolute:.4f} in the mean and '
            f'{errors.largest:.4f} at most for {networks}{order}{within}')


def print_forecast(forecast: Forecast, console: Console) -> None:
    """Print the table and what it comes to."""
    def say(line: str, style: str = '') -> None:
        console.print(Text(line, style=style), soft_wrap=True)

    say(_headline(forecast))
    for title, (head, rows) in (
            (_TITLE, _rows(forecast)), (_TITLE_PRUNED, _rows_of_pruned(forecast))):
        if not rows:
            continue
        shown = Table(box=None, pad_edge=False)
        for place, name in enumerate(head):
            shown.add_column(Text(name), justify='right' if place else 'left', no_wrap=True)
        for row in rows:
            shown.add_row(*map(Text, row))
        console.print()
        say(title, 'italic')
        console.print(shown)
    console.print()
    say(_LEGEND)
    console.print()
    for sentence in sentences(forecast):
        say(sentence)
    if forecast.reason_for_one_size:
        say(f'input size: kept, {forecast.reason_for_one_size}')
    for note in forecast.notes:
        say(f'note: {note}')


def html_report(forecast: Forecast) -> str:
    """Return the page, which stands alone."""
    dense = forecast.request.bundle.card.name
    title = f'How far {dense} can be pruned: a forecast'
    furthest, sure = forecast.furthest(), forecast.furthest(surely=True)
    allowed = f'{forecast.request.largest_loss:g}'
    head, rows = _rows(forecast)
    parts: list[Markup] = [
        tag('h1', title), tag('p', _headline(forecast), class_='soft'),
        tiles([
            (f'{1 - furthest.share if furthest else 0.0:.1%}',
             f'of the modelled energy saved within a loss of {allowed}, by the forecast'),
            (f'{1 - sure.share if sure else 0.0:.1%}',
             "the same, also at the upper end of the loss's interval"),
            (f'{forecast.consistency.value:.3f}',
             'agreement of the dense network with itself, mirrored'),
            (f'{forecast.objects}', f'objects in {len(forecast.splits.select)} frames')]),
        _list(sentences(forecast)),
        tag('h2', 'Agreement against energy'), _chart(forecast),
        table(head, rows, caption=_TITLE), tag('p', _LEGEND, class_='soft')]
    if forecast.pruned:
        head, rows = _rows_of_pruned(forecast)
        parts += [tag('h2', 'What was pruned'), table(head, rows, caption=_TITLE_PRUNED)]
    bounds = [point for point in forecast.points if point.bound is not None]
    if bounds:
        parts += [tag('h2', 'What can be proved'), *(
            text(tag('h3', f'at {point.share:.1%}'),
                 *(tag('p', line) for line in point.bound.text().splitlines() if line))
            for point in bounds if point.bound is not None)]
    parts += [tag('h2', 'What this is, and what not'), *(tag('p', line) for line in _MEANING),
              tag('h2', 'Recording, versions, command'), _circumstances(forecast)]
    return page(title, text(*parts), _STYLE)


def summary(forecast: Forecast) -> dict[str, Any]:
    """Return the forecast as plain values, ready for JSON; what is not known is None."""
    request, splits, footage = forecast.request, forecast.splits, forecast.footage
    furthest, sure, errors = (
        forecast.furthest(), forecast.furthest(surely=True), forecast.errors())
    return {
        'schema': SCHEMA,
        'dense': {'name': request.bundle.card.name, 'digest': request.bundle.digest,
                  'height': forecast.full_size[0], 'width': forecast.full_size[1]},
        'class_names': list(forecast.class_names),
        'figure': 'agreement_ap50', 'confident_score': CONFIDENT, 'objects': forecast.objects,
        'consistency': _plain(forecast.consistency),
        'largest_loss': request.largest_loss,
        'largest_saving': 1 - furthest.share if furthest else 0.0,
        'largest_sure_saving': 1 - sure.share if sure else 0.0,
        'points': [{
            'energy_share': point.share, 'energy_mac': point.plan.energy,
            'height': point.size[0], 'width': point.size[1],
            'predicted': _plain(point.predicted), **_loss(forecast.loss(point.predicted)),
            'within': _verdict(forecast, point) is not Verdict.FAILS,
            'surely_within': _verdict(forecast, point) is Verdict.SURE,
            'restored': _plain(point.restored) if point.restored else None,
            'bound': point.bound.to_dict() if point.bound else None,
            'widths': {name: after for name, (_, after) in point.plan.widths.items()}}
            for point in forecast.points],
        'pruned': [{
            'name': one.bundle.card.name, 'digest': one.bundle.digest,
            'energy_share': one.share, 'height': one.size[0], 'width': one.size[1],
            'distilled': one.distilled, 'agreement': _plain(one.score),
            'predicted': _plain(one.predicted) if one.predicted else None}
            for one in forecast.pruned],
        'errors': None if errors is None else {
            'mean_absolute': errors.mean_absolute, 'bias': errors.bias,
            'largest': errors.largest, 'networks': errors.number,
            'within_interval': errors.within, 'swapped': list(errors.swapped)},
        'request': {
            'hardware': request.profile.name, 'bits': request.bits,
            'classes': None if request.classes is None else list(request.classes),
            'method': request.method, 'alignment': request.alignment,
            'resize': request.resize, 'topic': request.topic, 'frames': request.frames,
            'unrelated': request.unrelated, 'seed': request.seed, 'check': request.check,
            'shares': list(request.shares), 'command': request.command},
        'footage': {
            'path': str(footage.path), 'digest': footage.digest, 'frames': len(footage.images),
            'skipped': list(footage.skipped), 'block': forecast.block,
            'splits': {'fit': [splits.fit.start, splits.fit.stop],
                       'select': [splits.select.start, splits.select.stop]}},
        'notes': list(forecast.notes), 'seconds': dict(forecast.seconds), 'versions': versions()}


def _headline(forecast: Forecast) -> str:
    request, names = forecast.request, forecast.class_names
    classes = ', '.join(names) if len(names) <= 5 else f'{len(names)} classes'
    return (
        f'{request.bundle.card.name} on {forecast.footage.path.name}: {classes}; forecast from '
        f'{len(forecast.splits.fit)} frames and scored on {len(forecast.splits.select)} kept '
        f'aside, in which the dense network is confident of {forecast.objects} objects; method '
        f'{request.method}; energy modelled for {request.profile.name}; the dense network agrees '
        f'with itself, mirrored, by {_interval(forecast.consistency)}')


def _place(forecast: Forecast, point: Point) -> str:
    loss = forecast.loss(point.predicted)
    return (f'{point.share:.1%} of the energy ({1 - point.share:.1%} saved) at {_size(point)}, '
            f'agreement {_interval(point.predicted)}, loss {_interval(loss)}')


def _rows(forecast: Forecast) -> tuple[list[str], list[list[str]]]:
    checked = any(point.restored is not None for point in forecast.points)
    proved = any(point.bound is not None for point in forecast.points)
    head = ['energy', 'pixels', 'forecast', '95 %', 'loss', *(['restored', 'off'] * checked),
            *(['proved'] * proved)]
    rows = []
    for point in forecast.points:
        loss = forecast.loss(point.predicted)
        mark = MARKS[_verdict(forecast, point)]
        row = [f'{point.share:.1%}', _size(point), f'{point.predicted.value:.3f}',
               _between(point.predicted.interval), _number(loss.value) + mark]
        if checked:
            row += ['', ''] if point.restored is None else [
                f'{point.restored.value:.3f}', _off(point.predicted, point.restored)]
        if proved:
            row.append('–' if point.bound is None else
                       'informative' if point.bound.informative else 'vacuous')
        rows.append(row)
    return head, rows


def _rows_of_pruned(forecast: Forecast) -> tuple[list[str], list[list[str]]]:
    head = ['bundle', 'energy', 'pixels', 'made by', 'agreement', '95 %', 'forecast, restored']
    return head, [[
        one.bundle.card.name, f'{one.share:.1%}', _size(one), _KINDS[one.distilled],
        f'{one.score.value:.3f}', _between(one.score.interval),
        '–' if one.predicted is None else f'{one.predicted.value:.3f}'] for one in forecast.pruned]


def _chart(forecast: Forecast) -> Markup:
    series = list(_lines(forecast))
    every = [each for line in series for each in line.xs]
    drawn = lines(
        'Agreement against modelled energy', series,
        axis('modelled energy, % of the dense network', [*every, 100.0], from_zero=True),
        axis('agreement', [0.0, 1.0]), width=_CHART)
    return text(
        legend([(line.name, line.colour, line.dash) for line in series]),
        tag('figure', drawn, tag(
            'figcaption', 'Right to left: channels go. The band holds 95 % of what other frames '
            'like these would give. Restored networks were removed and fitted in truth, and not '
            'trained; what distillation adds is a line of its own.')))


def _lines(forecast: Forecast) -> Iterator[Line]:
    points = forecast.points
    xs = [100 * point.share for point in points]
    intervals = [point.predicted.interval for point in points]
    band = None
    if all(interval is not None for interval in intervals):
        band = ([interval.low for interval in intervals if interval is not None],
                [interval.high for interval in intervals if interval is not None])
    yield Line('forecast, restored and not distilled', xs,
               [point.predicted.value for point in points], COLOURS[0], band=band)
    made = [(100 * point.share, point.restored.value) for point in points
            if point.restored is not None]
    of_kind = {kind: [(100 * one.share, one.score.value) for one in forecast.pruned
                      if one.distilled is kind] for kind in _KINDS}
    for place, (name, found) in enumerate((
            ('restored', made + of_kind[False]), ('distilled', of_kind[True]),
            ('pruned, not said how', of_kind[None])), 1):
        if found:
            found.sort(reverse=True)
            yield Line(name, [x for x, _ in found], [y for _, y in found], COLOURS[place],
                       DASHES[place])
    least = forecast.consistency.value - forecast.request.largest_loss
    if 0 <= least <= 1:
        yield Line(f'loss of {forecast.request.largest_loss:g}', [min(xs), 100.0],
                   [least, least], COLOURS[6], DASHES[2])


def _circumstances(forecast: Forecast) -> Markup:
    request, footage = forecast.request, forecast.footage
    return text(
        pairs([
            ('recording', text(str(footage.path), tag('br'), _digest(footage.digest))),
            ('intervals', f'blocks of {forecast.block} frames, seed {request.seed}'),
            (request.bundle.card.name, _digest(request.bundle.digest)),
            *((one.bundle.card.name, _digest(one.bundle.digest)) for one in forecast.pruned),
            ('versions', ', '.join(f'{name} {each}' for name, each in versions().items())),
            ('seconds', ', '.join(f'{stage} {spent:.0f}'
                                  for stage, spent in forecast.seconds.items())),
            *(('to know', note) for note in forecast.notes)]),
        tag('h3', 'Command'), tag('pre', request.command or 'made by a program', tabindex='0'))


def _plain(score: Score) -> dict[str, Any]:
    interval = score.interval
    return {'value': score.value,
            'interval': [interval.low, interval.high] if interval else None}


def _loss(loss: Figure) -> dict[str, Any]:
    interval = loss.interval
    return {'loss': loss.value,
            'loss_interval': [interval.low, interval.high] if interval else None}


def _verdict(forecast: Forecast, point: Point) -> Verdict:
    return forecast.loss(point.predicted).verdict(forecast.request.largest_loss)


def _size(of: Point | Pruned) -> str:
    return f'{of.size[1]} × {of.size[0]}'


def _off(predicted: Score, real: Score) -> str:
    return f'{predicted.value - real.value:+.3f}'.replace('-', '−')


def _number(value: float) -> str:
    return f'{value:.3f}'.replace('-', '−')


def _between(interval: Interval | None) -> str:
    return '–' if interval is None else f'{_number(interval.low)} to {_number(interval.high)}'


def _interval(of: Score | Figure) -> str:
    between = '' if of.interval is None else f' ({_between(of.interval)})'
    return f'{_number(of.value)}{between}'


def _digest(digest: str) -> Markup:
    return tag('code', f'SHA-256 {digest}')


def _list(entries: Sequence[str]) -> Markup:
    return tag('ul', (tag('li', entry) for entry in entries))


_TITLE = 'Agreement with the dense network (AP50) of the network restored and not distilled'
_TITLE_PRUNED = 'Bundles that were pruned, on the same frames'
_LEGEND = ('×: loses more than is allowed. ?: the loss is within, the upper end of its 95 % '
           'interval is not. The loss is the agreement of the dense network with itself on '
           'mirrored frames, less that which is forecast.')
_MEANING = (
    'The channels of each plan were left out, and each layer in turn was given the best linear '
    'reconstruction of what it had, from what is left, in one run of some frames to fit to. '
    'Nothing was fitted on the frames that are scored, and no network was kept.',
    'The interval is of frames drawn in blocks from those kept aside: it tells how far the '
    'figure would move with other frames of the same minutes. It does not hold other places, '
    'other light, nor how far the forecast is off restoration itself.',
    'Agreement is with what the dense network is confident of. Where both are blind, nothing is '
    'lost. Distillation comes on top, and is not forecast.')
_STYLE = """
figure { margin: .6rem 0; min-width: 0; }
figure svg { display: block; width: 100%; max-width: 56rem; height: auto; }
figcaption { color: var(--soft); font-size: .88rem; margin: .2rem 0; }
td { white-space: nowrap; }
"""
