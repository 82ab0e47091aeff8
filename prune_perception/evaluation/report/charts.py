# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Charts as SVG within the page.

They are drawn here, and not by a plotting library, because their text is then the page's own: it
can be searched and read aloud, prints sharp, and a chart is a few kilobytes. Sizes are in units of
the drawing, which come out near a pixel each.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
import math

from prune_perception.evaluation.intervals import Interval
from prune_perception.page import Content, Markup, tag, text

WIDTH = 460.0
WIDE = 1120.0
HEIGHT = 300.0
DASHES = ('', '7 3', '2 3', '9 3 2 3', '12 4', '4 2', '1 2')
"""Of the lines, so that they can be told apart without colours."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 12.0, 10.0, 44.0
_LETTER = 6.6  # mean width of a letter of 12 units
_INK, _GRID, _SOFT = '#1a1a1a', '#e2e2e2', '#595959'


@dataclass(frozen=True)
class Axis:
    """
    A linear axis.

    :param label: with the unit.
    :param low: value at its beginning.
    :param high: value at its end.
    :param ticks: values with a number.
    """

    label: str
    low: float
    high: float
    ticks: tuple[float, ...]


@dataclass(frozen=True)
class Point:
    """One model in a scatter plot; the intervals are drawn as bars."""

    name: str
    x: float
    y: float
    colour: str
    marker: int
    x_interval: Interval | None = None
    y_interval: Interval | None = None


@dataclass(frozen=True)
class Line:
    """
    A line of a chart.

    :param band: lower and upper edge at each x, for a light band behind it.
    :param mark: a point on or beside it that is set off by a ring.
    """

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    colour: str
    dash: str = ''
    band: tuple[Sequence[float], Sequence[float]] | None = None
    mark: tuple[float, float] | None = None
    filled: bool = False


def axis(
        label: str, values: Sequence[float], *, from_zero: bool = False,
        limits: tuple[float, float] | None = None, about: int = 5) -> Axis:
    """
    Return an axis that holds values, ending at round numbers.

    :param from_zero: begin at 0, as a length or an area that stands for the value must.
    :param limits: that the axis does not go beyond.
    :param about: how many ticks.
    """
    low, high = min(values), max(values)
    if from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high <= low:
        spread = abs(low) * 0.1 or 1.0
        low, high = (low if from_zero else low - spread), high + spread
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(size * power for size in (1, 2, 2.5, 5, 10) if size * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [number * step for number in range(first, last + 1)]
    if limits is not None:
        ticks = [tick for tick in ticks
                 if limits[0] - step * 1e-6 <= tick <= limits[1] + step * 1e-6]
    return Axis(label, ticks[0], ticks[-1], tuple(ticks))


def scatter(title: str, points: Sequence[Point], x: Axis, y: Axis) -> Markup:
    """Return points with their names and intervals."""
    area = _Area(x, y)
    drawn: list[Content] = []
    for point in points:
        across, down = area.x(point.x), area.y(point.y)
        for low, high in area.bars(point):
            drawn.append(tag('line', x1=low[0], y1=low[1], x2=high[0], y2=high[1],
                             stroke=point.colour, stroke_width='1.5', opacity='.55'))
        drawn.append(text(_marker(point.marker, across, down, point.colour)))
    taken = [(area.x(point.x) - 6, area.y(point.y) - 6, area.x(point.x) + 6, area.y(point.y) + 6)
             for point in points]
    for point in points:
        place, anchor, box = _place(point.name, area.x(point.x), area.y(point.y), area, taken)
        taken.append(box)
        drawn.append(tag('text', point.name, x=place[0], y=place[1], text_anchor=anchor,
                         fill=_INK, paint_order='stroke', stroke='#fff', stroke_width='3'))
    return _svg(title, area, drawn)


def lines(
        title: str, series: Sequence[Line], x: Axis, y: Axis, *, width: float = WIDTH,
        height: float = HEIGHT) -> Markup:
    """Return lines, each with its band and its mark."""
    area = _Area(x, y, width, height)
    drawn: list[Content] = []
    for line in series:
        if line.band is not None:
            edge = [*zip(line.xs, line.band[1], strict=True),
                    *reversed([*zip(line.xs, line.band[0], strict=True)])]
            drawn.append(tag('polygon', points=area.points(edge), fill=line.colour,
                             opacity='.18'))
        if line.filled:
            edge = [(line.xs[0], y.low), *zip(line.xs, line.ys, strict=True),
                    (line.xs[-1], y.low)]
            drawn.append(tag('polygon', points=area.points(edge), fill=line.colour,
                             opacity='.12'))
    for line in series:
        drawn.append(tag(
            'polyline', points=area.points([*zip(line.xs, line.ys, strict=True)]), fill='none',
            stroke=line.colour, stroke_width='1.8', stroke_dasharray=line.dash or None,
            stroke_linejoin='round'))
        if len(line.xs) <= 8:
            drawn.extend(tag('circle', cx=area.x(each), cy=area.y(value), r='2.6',
                             fill=line.colour)
                         for each, value in zip(line.xs, line.ys, strict=True))
        if line.mark is not None:
            drawn.append(tag('circle', cx=area.x(line.mark[0]), cy=area.y(line.mark[1]), r='5',
                             fill='#fff', stroke=line.colour, stroke_width='2'))
    return _svg(title, area, drawn)


def legend(names: Sequence[tuple[str, str, str]]) -> Markup:
    """
    Return what each line is.

    :param names: name, colour and dashes.
    """
    return tag('div', (tag('span', tag(
        'svg', tag('line', x1='0', y1='5', x2='30', y2='5', stroke=colour, stroke_width='2.4',
                   stroke_dasharray=dash or None),
        width='30', height='10', aria_hidden='true'), name)
        for name, colour, dash in names), class_='legend')


def steps(edges: Sequence[float], values: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return the outline of a histogram as a line: x and y."""
    xs = [edge for pair in zip(edges[:-1], edges[1:], strict=True) for edge in pair]
    ys = [value for value in values for _ in range(2)]
    return [edges[0], *xs, edges[-1]], [0.0, *ys, 0.0]


class _Area:
    """The part of a chart that holds the values."""

    def __init__(self, x: Axis, y: Axis, width: float = WIDTH, height: float = HEIGHT) -> None:
        self.x_axis, self.y_axis = x, y
        self.width, self.height = width, height
        self.left, self.right = _LEFT, width - _RIGHT
        self.top, self.bottom = _TOP, height - _BOTTOM

    def x(self, value: float) -> float:
        axis = self.x_axis
        return self.left + (value - axis.low) / (axis.high - axis.low) * (self.right - self.left)

    def y(self, value: float) -> float:
        axis = self.y_axis
        share = (value - axis.low) / (axis.high - axis.low)
        return self.bottom - share * (self.bottom - self.top)

    def points(self, values: Sequence[tuple[float, float]]) -> str:
        return ' '.join(f'{self.x(x):.1f},{self.y(y):.1f}' for x, y in values)

    def bars(self, point: Point) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
        """Yield the ends of the intervals' bars, cut off at the frame."""
        if point.x_interval is not None:
            yield tuple((min(max(self.x(end), self.left), self.right), self.y(point.y))
                        for end in (point.x_interval.low, point.x_interval.high))  # type: ignore[misc]
        if point.y_interval is not None:
            yield tuple((self.x(point.x), min(max(self.y(end), self.top), self.bottom))
                        for end in (point.y_interval.low, point.y_interval.high))  # type: ignore[misc]


def _svg(title: str, area: _Area, drawn: Sequence[Content]) -> Markup:
    x, y = area.x_axis, area.y_axis
    frame: list[Content] = []
    for tick in y.ticks:
        frame.append(tag('line', x1=area.left, y1=area.y(tick), x2=area.right, y2=area.y(tick),
                         stroke=_GRID))
        frame.append(tag('text', _tick(tick, y), x=area.left - 7, y=area.y(tick) + 4,
                         text_anchor='end', fill=_SOFT))
    for tick in x.ticks:
        frame.append(tag('line', x1=area.x(tick), y1=area.top, x2=area.x(tick), y2=area.bottom,
                         stroke=_GRID))
        # The last number must not stick out.
        end = tick == x.ticks[-1] and area.x(tick) > area.width - 20
        frame.append(tag('text', _tick(tick, x), x=area.width - 2 if end else area.x(tick),
                         y=area.bottom + 17, text_anchor='end' if end else 'middle', fill=_SOFT))
    middle = (area.top + area.bottom) / 2
    frame += [
        tag('line', x1=area.left, y1=area.bottom, x2=area.right, y2=area.bottom, stroke=_SOFT),
        tag('text', x.label, x=(area.left + area.right) / 2, y=area.height - 7,
            text_anchor='middle', fill=_INK),
        tag('text', y.label, x='13', y=middle, text_anchor='middle', fill=_INK,
            transform=f'rotate(-90 13 {middle:.1f})')]
    return tag('svg', tag('title', title), *frame, *drawn, role='img', font_size='12',
               viewBox=f'0 0 {area.width:g} {area.height:g}')


def _tick(value: float, axis: Axis) -> str:
    step = axis.ticks[1] - axis.ticks[0] if len(axis.ticks) > 1 else abs(value) or 1.0
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    if round(step * 10 ** places, 6) % 1:  # a step of 2.5 needs a place more
        places += 1
    return f'{value + 0.0:.{places}f}'.replace('-', '−')


def _marker(kind: int, x: float, y: float, colour: str) -> Markup:
    """Return one of seven shapes."""
    if kind % 7 == 0:
        return tag('circle', cx=x, cy=y, r='5.5', fill=colour)
    corners = {1: 4, 2: 3, 3: 4, 4: 3, 5: 5, 6: 6}[kind % 7]
    turn = {1: 45, 2: -90, 3: 0, 4: 90, 5: -90, 6: 0}[kind % 7]
    angles = [math.radians(turn + 360 * corner / corners) for corner in range(corners)]
    return tag('polygon', fill=colour, points=' '.join(
        f'{x + 7 * math.cos(angle):.1f},{y + 7 * math.sin(angle):.1f}' for angle in angles))


Box = tuple[float, float, float, float]


def _place(
        name: str, x: float, y: float, area: _Area, taken: Sequence[Box],
        ) -> tuple[tuple[float, float], str, Box]:
    """Return where a point's name goes, its anchor and the box it fills: where nothing is."""
    width = len(name) * _LETTER
    places = []
    for down in (-6.0, 16.0, -20.0, 30.0, -34.0, 44.0):
        for anchor, shift, left in (
                ('start', 10.0, x + 10), ('end', -10.0, x - 10 - width),
                ('middle', 0.0, x - width / 2)):
            baseline = y + down
            places.append(((x + shift, baseline), anchor,
                           (left, baseline - 11, left + width, baseline + 3)))

    def badness(place: tuple[tuple[float, float], str, Box]) -> float:
        left, top, right, bottom = place[2]
        outside = (max(0.0, area.left - left) + max(0.0, right - area.width)
                   + max(0.0, area.top - top) + max(0.0, bottom - area.bottom))
        overlap = sum(
            max(0.0, min(right, other[2]) - max(left, other[0]))
            * max(0.0, min(bottom, other[3]) - max(top, other[1])) for other in taken)
        return outside * 20 + overlap

    return min(places, key=badness)  # the first of the best
