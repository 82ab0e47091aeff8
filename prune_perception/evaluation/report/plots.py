# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The charts of an evaluation: what accuracy costs, latency, precision and recall."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from prune_perception.evaluation.figures import Evaluation, STAGES
from prune_perception.evaluation.intervals import Interval
from prune_perception.evaluation.metrics import RECALLS
from prune_perception.evaluation.report.charts import (
    Axis,
    axis,
    DASHES,
    legend,
    Line,
    lines,
    Point,
    scatter,
    steps,
    WIDE,
)
from prune_perception.evaluation.report.tables import unavailable
from prune_perception.evaluation.report.wording import prefixed, quality, wording
from prune_perception.evaluation.runs import ModelRun
from prune_perception.page import COLOURS, Markup, scrolling, table, tag, text

Floats = NDArray[np.float64]

_COSTS = ('energy_mac', 'energy_j', 'latency_p50_ms', 'memory_mb')
_BINS = 40
_MOMENTS = 300  # of a time line; more than the page has room for are put together
_CLASSES = 6


def colour(place: int) -> str:
    """Return the colour of the model at a place; they repeat, the dashes at another time."""
    return COLOURS[place % len(COLOURS)]


def dash(place: int) -> str:
    """Return the dashes of the model at a place."""
    return DASHES[(place + place // len(COLOURS)) % len(DASHES)]


def model_legend(names: Sequence[str]) -> Markup:
    """Return which line is which model."""
    return legend([(name, colour(place), dash(place)) for place, name in enumerate(names)])


def course(
        name: str, times: Sequence[float], values: Sequence[float], place: int,
        ) -> tuple[Line, int]:
    """
    Return values over time as a line, and how many are put together in one of its points.

    A long recording has more of them than the page has room for: the line is then of medians, with
    a band from the least to the greatest.

    :param place: of the model.
    """
    parts = np.array_split(np.arange(len(values)), min(len(values), _MOMENTS))
    together = max(map(len, parts))
    moments, heights = np.asarray(times), np.asarray(values)
    band = ([float(heights[part].min()) for part in parts],
            [float(heights[part].max()) for part in parts])
    return Line(
        name, [float(moments[part].mean()) for part in parts],
        [float(np.median(heights[part])) for part in parts], colour(place), dash(place),
        band=band if together > 1 else None), together


def figure(drawing: Markup, caption: str) -> Markup:
    """Return a chart with what it shows."""
    return tag('figure', drawing, tag('figcaption', caption))


def trade_offs(evaluation: Evaluation) -> Markup:
    """Return accuracy against each cost that is known."""
    quality_key = next((key for key in (prefixed(evaluation, 'ap50'), prefixed(evaluation, 'ap'))
                        if any(key in figures.values for figures in evaluation.figures.values())),
                       None)
    if quality_key is None:
        return unavailable('nothing says what is in the frames: neither ground truth nor a '
                           'reference')
    charts = []
    notes = []
    for cost in _COSTS:
        points = [
            Point(name, figures.values[cost] * wording(cost).scale, figures.values[quality_key],
                  colour(place), place, _scaled(figures.intervals.get(cost), wording(cost).scale),
                  figures.intervals.get(quality_key))
            for place, (name, figures) in enumerate(evaluation.figures.items())
            if cost in figures.values and quality_key in figures.values]
        words = wording(cost)
        if not points:
            reason = next((figures.unavailable[cost] for figures in evaluation.figures.values()
                           if cost in figures.unavailable), 'it was not measured')
            notes.append(tag('p', f'{words.heading}: unavailable: {reason}', class_='soft'))
            continue
        across = [value for point in points for value in _extent(point.x, point.x_interval)]
        heights = [value for point in points for value in _extent(point.y, point.y_interval)]
        title = f'{quality(evaluation)} against {words.title}'
        charts.append(figure(
            scatter(title, points,
                    axis(words.heading, across, from_zero=True),
                    axis(wording(quality_key).title, [min(max(value, 0), 1) for value in heights],
                         limits=(0.0, 1.0))),
            f'{title}. Up and to the left is better.'))
    return text(tag('div', charts, class_='charts'), *notes)


def curves(evaluation: Evaluation) -> Markup:
    """Return precision against recall, over all classes and for the most frequent ones."""
    with_curves = [name for name, figures in evaluation.figures.items() if figures.curves]
    if not with_curves:
        return unavailable('there are no objects of a judged class to find')
    objects: dict[str, float] = {}
    for figures in evaluation.figures.values():
        objects |= {name: values['objects'] for name, values in figures.per_class.items()}
    single = len(objects) == 1
    names = [''] if single else ['', *sorted(objects, key=lambda n: -objects[n])[:_CLASSES]]
    share = axis('', [0.0, 1.0])
    drawn = []
    for class_name in names:
        series = []
        for place, (name, figures) in enumerate(evaluation.figures.items()):
            if class_name not in figures.curves:
                continue
            mark = None
            values = [figures.get(prefixed(evaluation, key)) for key in ('recall', 'precision')]
            if single and values[0] is not None and values[1] is not None:
                mark = (values[0], values[1])
            series.append(Line(name, RECALLS.tolist(), figures.curves[class_name].tolist(),
                               colour(place), dash(place), mark=mark))
        what = class_name or (next(iter(objects)) if single else 'mean of the classes')
        drawn.append(figure(
            lines(f'Precision and recall: {what}', series,
                  Axis('recall', 0.0, 1.0, share.ticks), Axis('precision', 0.0, 1.0, share.ticks)),
            f'{what[:1].upper()}{what[1:]}, at an IoU of 0.50.' + (
                f' The ring is the operating point, a score of '
                f'{evaluation.settings.operating_point:g}.' if single else '')))
    return text(model_legend(list(evaluation.figures)), tag('div', drawn, class_='charts'))


def latency(evaluation: Evaluation) -> Markup:
    """Return how long detections took: spread, course over time, and by stage."""
    durations = {run.name: _durations(run) for run in evaluation.runs}
    durations = {name: values for name, values in durations.items() if len(values)}
    if not durations:
        reason = next((figures.unavailable['latency_p50_ms']
                       for figures in evaluation.figures.values()
                       if 'latency_p50_ms' in figures.unavailable), 'it was not measured')
        return unavailable(reason)
    return text(
        model_legend([run.name for run in evaluation.runs]),
        tag('div', _histogram(evaluation, durations), _time_line(evaluation, durations),
            class_='charts latency'),
        _stages(evaluation))


def _extent(value: float, interval: Interval | None) -> tuple[float, ...]:
    return (value,) if interval is None else (value, interval.low, interval.high)


def _scaled(interval: Interval | None, scale: float) -> Interval | None:
    return None if interval is None else Interval(interval.low * scale, interval.high * scale)


def _histogram(evaluation: Evaluation, durations: Mapping[str, Floats]) -> Markup:
    every = np.concatenate(list(durations.values()))
    longest = float(np.percentile(every, 97))  # a few stragglers would flatten all the others
    x = axis('latency of a detection (ms)', [float(every.min()), longest])
    edges = np.linspace(x.low, x.high, _BINS + 1)
    series = []
    for place, run in enumerate(evaluation.runs):
        if run.name in durations:
            values = durations[run.name]
            counts, _ = np.histogram(values, edges)
            xs, ys = steps(edges.tolist(), (counts / len(values) * 100).tolist())
            series.append(Line(run.name, xs, ys, colour(place), dash(place), filled=True))
    beyond = int((every > x.high).sum())
    note = f' Beyond the right edge: {beyond} of {len(every)} detections.' if beyond else ''
    return figure(
        lines('Latency histogram', series, x, axis(
            'share of the frames (%)', [value for line in series for value in line.ys],
            from_zero=True)),
        f'How long a detection took, in steps of {edges[1] - edges[0]:.3g} ms.{note}')


def _time_line(evaluation: Evaluation, durations: Mapping[str, Floats]) -> Markup:
    series = []
    together = 1
    start = min(run.results[0].time_ns for run in evaluation.runs if run.results)
    for place, run in enumerate(evaluation.runs):
        if run.name not in durations:
            continue
        times = [(result.time_ns - start) / 1e9 for result in run.results
                 if result.timing is not None]
        line, most = course(run.name, times, durations[run.name].tolist(), place)
        together = max(together, most)
        series.append(line)
    every = [value for line in series for value in line.ys] + [
        value for line in series if line.band for value in line.band[1]]
    xs = [value for line in series for value in line.xs]
    drawing = lines('Latency over time', series, _tight('time in the recording (s)', xs),
                    axis('latency of a detection (ms)', every, from_zero=True), width=WIDE)
    how = ('Each frame.' if together == 1 else
           f'Medians of up to {together} frames; the band is from the shortest to the longest.')
    return tag('figure', scrolling(drawing, 'Latency over time'),
               tag('figcaption', f'Latency over the recording. {how}'), class_='wide')


def _tight(label: str, values: Sequence[float]) -> Axis:
    """Return an axis that ends where the values do: a recording has no time after its end."""
    whole = axis(label, values, from_zero=True, about=10)
    high = max(values) or 1.0
    return Axis(label, 0.0, high, tuple(tick for tick in whole.ticks if 0 <= tick <= high))


def _stages(evaluation: Evaluation) -> Markup:
    shares = ('p50', 'p95', 'p99')
    rows = []
    for stage in ('', *STAGES):
        for name, figures in evaluation.figures.items():
            values = [figures.get(f'latency_{stage}{"_" if stage else ""}{share}_ms')
                      for share in shares]
            rows.append([f'{stage or "whole"}, {name}', *(
                'unavailable' if value is None else f'{value:.1f}' for value in values)])
    read = ''
    if len(evaluation.read_ms):
        low, high = np.percentile(evaluation.read_ms, [50, 99])
        read = (f' Reading and decoding a frame, once for all models and not in these figures: '
                f'p50 {low:.1f} ms, p99 {high:.1f} ms.')
    return text(
        table(['stage, model', *shares], rows, caption='Latency by stage (ms)'),
        tag('p', 'The detectors took turns on each frame, one after the other, on the machine '
            f'that is named below.{read}', class_='soft'))


def _durations(run: ModelRun) -> Floats:
    return np.array([1000 * sum(getattr(result.timing, stage) for stage in STAGES)
                     for result in run.results if result.timing is not None])
