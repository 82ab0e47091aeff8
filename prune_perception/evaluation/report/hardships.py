# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""What becomes of the figures in real time, and in bad weather."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from prune_perception.evaluation.figures import Evaluation
from prune_perception.evaluation.report.charts import axis, legend, Line, lines
from prune_perception.evaluation.report.plots import (
    colour,
    course,
    dash,
    figure,
    model_legend,
)
from prune_perception.evaluation.report.wording import prefixed, quality, wording
from prune_perception.evaluation.robustness import Corrupted
from prune_perception.page import Markup, table, tag, text

if TYPE_CHECKING:
    from prune_perception.evaluation.realtime import RealtimeRun


def realtime_runs(evaluation: Evaluation, runs: Sequence['RealtimeRun']) -> Markup:
    """Return what the robot would have had of each detector."""
    what = quality(evaluation).lower()
    names = [run.model for run in runs]
    rows: list[list[str]] = [
        ['played, times as fast as recorded', *(
            'by somebody else' if run.rate is None else f'{run.rate:g}' for run in runs)],
        ['frames published', *(f'{run.published}' for run in runs)],
        ['processed', *(f'{run.processed}' for run in runs)],
        ['dropped', *(f'{run.dropped} ({run.dropped / run.published:.1%})' if run.published
                      else f'{run.dropped}' for run in runs)]]
    for percent in (50, 95, 99):
        rows.append([f'age of a result on arrival, p{percent} (ms)',
                     *(_milliseconds(run.age(percent)) for run in runs)])
    rows.append(['sent late at most (ms)', *(_milliseconds(run.late) for run in runs)])
    for key in ('ap', 'ap50'):
        title = wording(prefixed(evaluation, key)).title
        streaming = [run.streaming_ap if key == 'ap' else run.streaming_ap50 for run in runs]
        offline = [evaluation.figures[run.model].get(prefixed(evaluation, key))
                   if run.model in evaluation.figures else None for run in runs]
        rows.append([f'streaming {title}', *map(_share, streaming)])
        rows.append([f'offline {title}', *map(_share, offline)])
        rows.append([f'what latency costs, {title}', *(
            _share(None if one is None or other is None else one - other, sign=True)
            for one, other in zip(streaming, offline, strict=True))])
    troubles = [f'{run.model}: {trouble.reason}' for run in runs for trouble in run.troubles]
    return text(
        tag('p', 'The recording played at its pace to the node itself, over DDS. Streaming '
            f'{what} judges, at the time of each frame, the newest result that there is by then.',
            class_='soft'),
        table(['', *names], rows, caption='What the robot would have seen', class_='figures'),
        _ages(evaluation, runs),
        tag('ul', (tag('li', trouble) for trouble in troubles)) if troubles else '')


def corruptions(evaluation: Evaluation, corrupted: Corrupted) -> Markup:
    """Return how the figures fall with the severity of each corruption."""
    names = list(evaluation.figures)
    key = prefixed(evaluation, 'ap50')
    title = wording(key).title
    charts: list[str] = []
    rows = []
    severities = sorted({severity for of in corrupted.values() for severity in of})
    for corruption, by_severity in corrupted.items():
        series = []
        for place, name in enumerate(names):
            values = {0: evaluation.figures[name].get(key), **{
                severity: by_severity[severity][name].get(key)
                for severity in sorted(by_severity) if name in by_severity[severity]}}
            known = {severity: value for severity, value in values.items() if value is not None}
            if known:
                series.append(Line(name, list(known), list(known.values()), colour(place),
                                   dash(place)))
            rows.append([f'{_spoken(corruption)}, {name}', *(
                _share(values.get(severity)) for severity in (0, *severities))])
        if series:
            charts.append(figure(
                lines(f'{title} under {_spoken(corruption)}', series,
                      axis('severity (0: as recorded)', [0, max(severities)], from_zero=True),
                      axis(title, [0.0, 1.0])),
                f'{_spoken(corruption).capitalize()}.'))
    return text(
        model_legend(names), tag('div', charts, class_='charts'),
        table(['corruption, model', 'as recorded', *(f'severity {each}' for each in severities)],
              rows, caption=f'{title} under corruptions'))


def _ages(evaluation: Evaluation, runs: Sequence['RealtimeRun']) -> Markup:
    series = []
    together = 1
    for run in runs:
        sent = [frame.sent for frame in run.frames if frame.sent is not None]
        points = [(frame.sent - sent[0], frame.age * 1e3) for frame in run.frames
                  if frame.sent is not None and frame.age is not None]
        if points:
            times, ages = zip(*points, strict=True)
            line, most = course(run.model, times, ages, _place(evaluation, run.model))
            series.append(line)
            together = max(together, most)
    if not series:
        return text('')
    heights = [value for line in series
               for value in (line.band[1] if line.band is not None else line.ys)]
    how = '' if together == 1 else (f' Medians of up to {together} results; the band is from the '
                                    'youngest to the oldest.')
    return text(
        legend([(line.name, line.colour, line.dash) for line in series]),
        tag('div', figure(
            lines('Age of results over time', series,
                  axis('time since the first frame (s)', [x for line in series for x in line.xs],
                       from_zero=True),
                  axis('age on arrival (ms)', heights, from_zero=True)),
            f'Age of each result when it arrived, from the sending of its frame.{how}'),
            class_='charts'))


def _place(evaluation: Evaluation, model: str) -> int:
    """Return the place of a model; of a node that is none of them, the one after the last."""
    names = list(evaluation.figures)
    return names.index(model) if model in names else len(names)


def _milliseconds(seconds: float | None) -> str:
    return 'unavailable' if seconds is None else f'{seconds * 1e3:.1f}'


def _share(value: float | None, sign: bool = False) -> str:
    return 'unavailable' if value is None else wording('ap').number(value, sign)


def _spoken(name: str) -> str:
    return name.replace('_', ' ')
