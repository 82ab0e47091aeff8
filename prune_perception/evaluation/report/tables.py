# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Models beside figures: the summary, the differences, the classes, and every figure there is."""

from collections.abc import Mapping

from prune_perception.evaluation.errors import ErrorCounts
from prune_perception.evaluation.figures import Difference, Evaluation, KEYS
from prune_perception.evaluation.intervals import Interval
from prune_perception.evaluation.report.verdicts import KINDS
from prune_perception.evaluation.report.wording import prefixed, SUMMARY, Wording, wording
from prune_perception.page import Markup, table, tag, text

KIND_COLOURS = {'missed': '#1a1a1a', 'false': '#d55e00', 'poorly_placed': '#e69f00',
                'wrong_class': '#cc79a7', 'double': '#56b4e9'}
BEST, TIED = '●', '○'


class Reasons:
    """Why figures are unavailable: each reason once, below the table, by a letter."""

    def __init__(self) -> None:
        self._letters: dict[str, str] = {}

    def cell(self, reason: str) -> Markup:
        """Return what stands in the place of a figure."""
        letter = self._letters.setdefault(reason, _letter(len(self._letters)))
        return text(tag('span', 'unavailable', class_='soft'), tag('sup', letter))

    def notes(self) -> Markup:
        """Return the reasons that were met."""
        return text(tag('p', tag('sup', letter), f' unavailable: {reason}', class_='soft')
                    for reason, letter in self._letters.items())


def summary(evaluation: Evaluation) -> Markup:
    """Return the figures that matter most, with the best of each marked."""
    reasons = Reasons()
    rows = []
    tied = False
    for key in _keys(evaluation):
        words = wording(key)
        marks = _marks(evaluation, key)
        tied = tied or TIED in marks.values()
        cells: list[str] = []
        for name, figures in evaluation.figures.items():
            value = figures.get(key)
            if value is None:
                cells.append(reasons.cell(figures.unavailable.get(key, 'it was not measured')))
                continue
            mark = marks.get(name, '')
            shown = tag('b', words.number(value)) if mark == BEST else words.number(value)
            cells.append(text(
                tag('span', mark, class_='mark') if mark else '', shown,
                _interval(figures.intervals.get(key), words)))
        rows.append([words.heading, *cells])
    marked = f'{BEST} best.' if len(evaluation.figures) > 1 else ''
    if tied:
        marked += (f' {TIED} cannot be told from the best: the 95 % interval of their difference '
                   'holds 0.')
    return text(
        table(['', *evaluation.figures], rows, caption='Models and figures', class_='figures'),
        tag('p', marked, class_='soft') if marked else '',
        tag('p', 'Small figures: 95 % intervals, by a bootstrap over blocks of neighbouring '
            'frames.' if _has_intervals(evaluation) else 'There are no intervals: they were not '
            'asked for, or the frames are too few for them.', class_='soft'),
        reasons.notes())


def differences(evaluation: Evaluation) -> Markup:
    """Return how far each two models are apart."""
    if not evaluation.differences:
        return tag('p', 'Differences: unavailable: the models have no figure in common',
                   class_='soft')
    by_pair: dict[tuple[str, str], dict[str, Difference]] = {}
    for difference in evaluation.differences:
        by_pair.setdefault((difference.first, difference.second), {})[difference.key] = difference
    keys = [key for key in _keys(evaluation) if any(key in found for found in by_pair.values())]
    rows = []
    for key in keys:
        words = wording(key)
        rows.append([words.heading, *(_difference(found.get(key), words)
                                      for found in by_pair.values())])
    head = ['', *(f'{second} less {first}' for first, second in by_pair)]
    return text(
        table(head, rows, caption='Differences on the same frames', class_='figures'),
        tag('p', 'Bold where the 95 % interval of the difference leaves out 0. Where there is no '
            'interval, how far the difference would move with other frames is not known.',
            class_='soft'))


def classes(evaluation: Evaluation) -> Markup:
    """Return AP by class, the most frequent class first; empty where there is one class."""
    objects: dict[str, float] = {}
    for figures in evaluation.figures.values():
        objects |= {name: values['objects'] for name, values in figures.per_class.items()}
    if len(objects) < 2:
        return text('')
    keys = [prefixed(evaluation, key) for key in ('ap', 'ap50')]
    rows = []
    for name in sorted(objects, key=lambda name: (-objects[name], name)):
        cells = [f'{objects[name]:.0f}']
        for figures in evaluation.figures.values():
            values = figures.per_class.get(name, {})
            cells += [wording(key).number(values[key]) if key in values else '–' for key in keys]
        rows.append([name, *cells])
    head = ['class', 'objects', *(f'{wording(key).title}, {name}'
                                  for name in evaluation.figures for key in keys)]
    return table(head, rows, caption='By class')


def errors(evaluation: Evaluation) -> Markup:
    """Return the kinds of mistakes of each model, as bars and in numbers."""
    counts = {name: figures.errors for name, figures in evaluation.figures.items()
              if figures.errors is not None}
    most = max((each.mistakes for each in counts.values()), default=0) or 1
    bars = []
    for name, each in counts.items():
        parts = [tag('i', style=f'width:{getattr(each, kind) / most:.3%};'
                     f'background:{KIND_COLOURS[kind]}',
                     title=f'{getattr(each, kind)} {kind_name(kind)}')
                 for kind in KINDS if getattr(each, kind)]
        bars.append(tag('div', tag('span', name, class_='name'), tag('span', parts, class_='bar'),
                        tag('span', f'{each.mistakes} mistakes', class_='value'), class_='row'))
    columns: list[tuple[str, str]] = [
        ('objects', 'objects'), ('detections', 'detections'), ('correct', 'correct'),
        *((kind, kind_name(kind)) for kind in KINDS)]
    rows = [[name, *(_count(each, field) for field, _ in columns)]
            for name, each in counts.items()]
    return text(
        tag('div', (tag('span', tag('i', style=f'background:{KIND_COLOURS[kind]}'),
                        kind_name(kind)) for kind in KINDS), class_='legend'),
        *bars, table(['model', *(title for _, title in columns)], rows,
                     caption='Counts'))


def all_figures(evaluation: Evaluation) -> Markup:
    """Return every figure under the name that it has in the JSON, with its meaning."""
    present = {key for figures in evaluation.figures.values()
               for key in (*figures.values, *figures.unavailable)}
    reasons = Reasons()
    rows = []
    for key in [*(key for key in KEYS if key in present), *sorted(present - set(KEYS))]:
        cells: list[str] = []
        for figures in evaluation.figures.values():
            value = figures.get(key)
            if value is None:
                cells.append(reasons.cell(figures.unavailable.get(key, 'it was not measured')))
            else:
                interval = figures.intervals.get(key)
                cells.append(text(f'{value:.6g}', '' if interval is None else tag(
                    'small', f'{interval.low:.4g} to {interval.high:.4g}')))
        rows.append([tag('code', key), tag('span', KEYS.get(key, ''), class_='meaning'), *cells])
    return text(table(['figure', 'what it is', *evaluation.figures], rows,
                      caption='Every figure', class_='every'), reasons.notes())


def kind_name(kind: str) -> str:
    """Return a kind of mistake in words."""
    return kind.replace('_', ' ')


def unavailable(reason: str) -> Markup:
    """Return what stands in the place of something that there is not."""
    return tag('p', f'unavailable: {reason}', class_='soft')


def _keys(evaluation: Evaluation) -> list[str]:
    """Return the figures of the summary that this evaluation knows something about."""
    known = {key for figures in evaluation.figures.values()
             for key in (*figures.values, *figures.unavailable)}
    return [key for key in (prefixed(evaluation, key) for key in SUMMARY) if key in known]


def _marks(evaluation: Evaluation, key: str) -> Mapping[str, str]:
    """Return the best models of a figure, and those that cannot be told from them."""
    words = wording(key)
    better = words.more_is_better
    # What is shown with the same digits is not marked as better.
    values = {name: round(figures.values[key] * words.scale, words.places)
              for name, figures in evaluation.figures.items() if key in figures.values}
    if better is None or len(values) < 2 or len(set(values.values())) < 2:
        return {}
    best = max(values.values()) if better else min(values.values())
    winners = {name for name, value in values.items() if value == best}
    marks = dict.fromkeys(winners, BEST)
    for difference in evaluation.differences:
        pair = {difference.first, difference.second}
        interval = difference.interval
        if (difference.key == key and interval is not None and len(pair & winners) == 1
                and interval.low <= 0 <= interval.high):
            marks[next(iter(pair - winners))] = TIED
    return marks


def _difference(difference: Difference | None, words: Wording) -> str:
    if difference is None:
        return '–'
    shown = words.number(difference.value, sign=True)
    interval = difference.interval
    if interval is not None and not interval.low <= 0 <= interval.high:
        shown = tag('b', shown)
    return text(shown, _interval(interval, words, sign=True))


def _interval(interval: Interval | None, words: Wording, sign: bool = False) -> Markup:
    if interval is None:
        return text('')
    return tag('small', f'{words.number(interval.low, sign)} to '
               f'{words.number(interval.high, sign)}')


def _has_intervals(evaluation: Evaluation) -> bool:
    return any(figures.intervals for figures in evaluation.figures.values())


def _count(counts: ErrorCounts, field: str) -> str:
    return f'{getattr(counts, field)}'


def _letter(number: int) -> str:
    """Return a, b, … z, aa, ab and so on."""
    letters = ''
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord('a') + rest) + letters
    return letters
