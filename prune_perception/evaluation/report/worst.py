# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
The frames with the most mistakes, as the ground truth and as each model has them.

A picture is in the page once and every panel shows it again, with boxes drawn over it: they stay
sharp on paper, and the page stays small.
"""

import base64
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from prune_perception.detections import Detections
from prune_perception.evaluation.figures import Evaluation
from prune_perception.evaluation.metrics import judge
from prune_perception.evaluation.report.tables import KIND_COLOURS, kind_name, unavailable
from prune_perception.evaluation.report.verdicts import KINDS, Verdict, verdict
from prune_perception.evaluation.report.wording import is_agreement
from prune_perception.evaluation.truth import Truth
from prune_perception.frames.errors import ImageError, RecordingError
from prune_perception.frames.recording import open_recording
from prune_perception.page import Content, Markup, tag, text

Image = NDArray[np.uint8]
Images = Callable[[Collection[int]], Mapping[int, Image]]
"""Returns frames by ``Frame.index``, (height, width, 3) BGR; those that it has of those asked."""

LARGEST_NUMBER = 24
"""Of frames in a page, which keeps it at a few megabytes."""

_WIDEST = 720  # pixels of an embedded picture; a panel is narrower on most screens
_QUALITY = 72
_LINES = 34  # of text that are as high as a picture is wide
_COLOURS = {'correct': '#009e73', 'ignored': '#8c8c8c', 'truth': '#0072b2', **KIND_COLOURS}
_DASHES = {'missed': '6 4', 'ignored': '2 3', 'poorly_placed': '10 3'}


def recorded_images(evaluation: Evaluation) -> Images:
    """
    Return where the frames of an evaluation come from: its recording, decoded again.

    Frames that do not decode are left out.
    """
    def images(indices: Collection[int]) -> dict[int, Image]:
        found: dict[int, Image] = {}
        last = max(indices, default=-1)
        with open_recording(evaluation.source, evaluation.topic) as recording:
            for frame in recording:
                if frame.index in indices:
                    with suppress(ImageError):
                        found[frame.index] = frame.image().copy()
                if frame.index >= last:
                    break
        return found
    return images


def worst_indices(evaluation: Evaluation, count: int) -> list[int]:
    """
    Return the frames with the most mistakes of all models together, worst first.

    Neighbours show the same mistakes, so that the frames keep a distance: that of ``2 · count``
    equal parts of the recording.
    """
    mistakes: Counter[int] = Counter()
    for figures in evaluation.figures.values():
        for index, errors in figures.frame_errors.items():
            mistakes[index] += errors.mistakes
    if not mistakes or not count:
        return []
    distance = max(1, (max(mistakes) - min(mistakes) + 1) // (2 * count))
    chosen: list[int] = []
    for index in sorted(mistakes, key=lambda index: (-mistakes[index], index)):
        if len(chosen) == count or not mistakes[index]:
            break
        if all(abs(index - other) >= distance for other in chosen):
            chosen.append(index)
    return chosen


def worst_frames(evaluation: Evaluation, count: int, images: Images) -> Markup:
    """Return the worst frames side by side."""
    if evaluation.truth is None:
        return unavailable('without ground truth or a reference no frame is worse than another')
    chosen = worst_indices(evaluation, count)
    if not chosen:
        return tag('p', 'No frames were asked for.' if not count else
                   'No model made a mistake in any frame.')
    try:
        pictures = images(chosen)
    except (RecordingError, OSError) as error:
        return unavailable(f'the frames cannot be read again: {error}')
    known = _scenes(evaluation, chosen)
    parts: list[Content] = [
        tag('p', 'Frames with the most mistakes of all models together at a score of '
            f'{evaluation.settings.operating_point:g}, apart from each other in time. Only '
            'mistakes are written out; hold the pointer over a box for its class and score.',
            class_='soft'), _legend()]
    for index in chosen:
        picture = pictures.get(index)
        if picture is None:
            parts.append(text(tag('h3', f'Frame {index}'),
                              unavailable('the frame could not be read again')))
            continue
        parts.append(_frame(evaluation, index, picture, known))
    return text(*parts)


@dataclass(frozen=True, eq=False)
class _Scene:
    """What a model made of a frame, and what is right about it."""

    truth: Truth
    found: Detections
    verdict: Verdict


@dataclass(frozen=True)
class _Box:
    """A box to draw: x1, y1, x2, y2; its kind; what the pointer shows; what is written."""

    corners: list[float]
    kind: str
    hint: str
    label: str = ''


def _scenes(evaluation: Evaluation, indices: Collection[int]) -> dict[tuple[str, int], _Scene]:
    assert evaluation.truth is not None
    scenes = {}
    for run in evaluation.runs:
        chosen = replace(run, results=tuple(
            result for result in run.results if result.index in indices))
        for index, truth, found in judge(evaluation.truth, chosen, evaluation.class_names).frames:
            kept = found.scores > evaluation.settings.operating_point
            believed = Detections(found.boxes[kept], found.scores[kept], found.classes[kept])
            scenes[run.name, index] = _Scene(truth, believed, verdict(believed, truth))
    return scenes


def _frame(
        evaluation: Evaluation, index: int, picture: Image,
        scenes: Mapping[tuple[str, int], _Scene]) -> Markup:
    height, width = picture.shape[:2]
    size = (width, height)
    runs = [run for run in evaluation.runs if (run.name, index) in scenes]
    scene = scenes[runs[0].name, index]
    names = evaluation.class_names
    identity = f'frame-{index}'
    objects = int((~scene.truth.crowd).sum())
    title = 'Reference' if is_agreement(evaluation) else 'Ground truth'
    truth_boxes = [
        _Box(box, 'ignored' if crowd else 'truth', 'ignored region' if crowd else names[kind],
             '' if crowd or len(names) == 1 else names[kind])
        for box, kind, crowd in zip(scene.truth.boxes.tolist(), scene.truth.classes.tolist(),
                                    scene.truth.crowd.tolist(), strict=True)]
    panels = [_panel(
        f'{title}: {objects} object{"" if objects == 1 else "s"}',
        tag('image', id=identity, width=width, height=height, href=_data(picture)),
        truth_boxes, size)]
    for run in runs:
        scene = scenes[run.name, index]
        panels.append(_panel(
            f'{run.name}: {_counted(scene)}', tag('use', href=f'#{identity}'),
            _model_boxes(scene, names), size))
    recording, place = evaluation.place_of(index)
    result = next(result for result in runs[0].results if result.index == index)
    begin = next(other for other in runs[0].results if other.index >= index - place)
    seconds = (result.time_ns - begin.time_ns) / 1e9
    since = f', {seconds:.2f} s after the first' if result is not begin else ''
    where = f' of {recording}' if recording != evaluation.source else ''
    return tag('section', tag('h3', f'Frame {place}{where}{since}'),
               tag('div', panels, class_='panels'), class_='frame')


def _panel(caption: str, picture: Markup, boxes: list[_Box], size: tuple[int, int]) -> Markup:
    width, height = size
    drawn = [_outline(box) for box in boxes]
    return tag('figure', tag(
        'svg', tag('title', caption), picture, *drawn, *_labels(boxes, size),
        viewBox=f'0 0 {width} {height}', role='img', font_size=width / _LINES),
        tag('figcaption', caption))


def _model_boxes(scene: _Scene, names: tuple[str, ...]) -> list[_Box]:
    boxes = []
    missed = scene.verdict.missed
    for corners, kind in zip(scene.truth.boxes[missed].tolist(),
                             scene.truth.classes[missed].tolist(), strict=True):
        boxes.append(_Box(corners, 'missed', f'missed {names[kind]}', 'missed'))
    for place, verdict_kind in enumerate(scene.verdict.kinds):
        what = f'{names[int(scene.found.classes[place])]} {float(scene.found.scores[place]):.2f}'
        label = ''
        if verdict_kind == 'wrong_class':
            label = what
        elif verdict_kind in KINDS:
            label = f'{kind_name(verdict_kind)} {float(scene.found.scores[place]):.2f}'
        boxes.append(_Box(scene.found.boxes[place].tolist(), verdict_kind,
                          f'{kind_name(verdict_kind)}: {what}', label))
    # What is right first, so that the mistakes lie on top.
    return sorted(boxes, key=lambda box: box.kind != 'correct')


def _outline(box: _Box) -> Markup:
    """Return a box in the colour of its kind, on white so that it shows on any picture."""
    x1, y1, x2, y2 = box.corners
    place = {'x': x1, 'y': y1, 'width': x2 - x1, 'height': y2 - y1, 'fill': 'none',
             'vector_effect': 'non-scaling-stroke'}
    return tag('g', tag('title', box.hint),
               tag('rect', **place, stroke='#fff', stroke_width='4', opacity='.75'),
               tag('rect', **place, stroke=_COLOURS[box.kind], stroke_width='2',
                   stroke_dasharray=_DASHES.get(box.kind)))


def _labels(boxes: list[_Box], size: tuple[int, int]) -> list[Markup]:
    """Return the words, within the picture and off each other as far as there is room."""
    width, height = size
    line = width / _LINES
    taken: list[tuple[float, float, float]] = []  # left, right and baseline
    labels = []
    for box in boxes:
        if not box.label:
            continue
        x1, y1, _, y2 = box.corners
        length = len(box.label) * line * 0.62
        left = min(max(x1, 2.0), max(2.0, width - length))
        above = [y1 - line * (0.25 + step) for step in range(4)]
        below = [y2 + line * (1 + step) for step in range(4)]
        # What is there is named above and what is not below: the two often go together.
        wanted = [*below, *above] if box.kind == 'missed' else [*above, *below]
        inside = [down for down in wanted if line <= down <= height - 2] or [line]
        down = next((down for down in inside if not any(
            left < other[1] and other[0] < left + length and abs(down - other[2]) < line
            for other in taken)), inside[0])
        taken.append((left, left + length, down))
        labels.append(tag(
            'text', box.label, x=left, y=down, fill=_COLOURS['missed'], stroke='#fff',
            stroke_width=line / 4, paint_order='stroke', font_weight='600'))
    return labels


def _counted(scene: _Scene) -> str:
    kinds = Counter(scene.verdict.kinds)
    counts = {'found': kinds['correct'], 'missed': int(scene.verdict.missed.sum()),
              **{kind_name(kind): kinds[kind] for kind in KINDS if kind != 'missed'}}
    return ', '.join(f'{count} {name}' for name, count in counts.items()
                     if count or name == 'found')


def _legend() -> Markup:
    entries = ['correct', *KINDS]
    return tag('div', (tag('span', tag('svg', tag(
        'rect', x='2', y='2', width='16', height='10', fill='none', stroke=_COLOURS[kind],
        stroke_width='2', stroke_dasharray=_DASHES.get(kind)), width='20', height='14',
        aria_hidden='true'), kind_name(kind)) for kind in entries), class_='legend')


def _data(picture: Image) -> str:
    """Return a picture as a JPEG within an address."""
    height, width = picture.shape[:2]
    if width > _WIDEST:
        picture = cv2.resize(picture, (_WIDEST, max(1, round(height * _WIDEST / width))),
                             interpolation=cv2.INTER_AREA)
    good, data = cv2.imencode('.jpg', picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    assert good  # any image of three channels can be a JPEG
    return f'data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}'
