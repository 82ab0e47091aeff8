# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""What pruning did, on a page and as plain values: that all of it is there, and nothing else."""

import base64
from dataclasses import replace
import importlib.metadata
import io
import json
import math
from pathlib import Path
import re
from types import MappingProxyType

import cv2
import numpy as np
from pages import Structure
import pytest

pytest.importorskip('torch')
pytest.importorskip('torch_pruning')
pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
pytest.importorskip('pycocotools')

from prunable import FRAMES, networks_in_use, write_footage, write_squares
from rich.console import Console

from prune_perception.detections import Detections
from prune_perception.energy.hardware import load_profile
from prune_perception.energy.report import number
from prune_perception.pruning.certificate import Count
from prune_perception.pruning.distillation import Point
from prune_perception.pruning.input_size import Sizes, Trial
from prune_perception.pruning.miss_bound import MissBound
from prune_perception.pruning.provable import Bound, GroupBound, LayerBound
from prune_perception.pruning.pruner import Example, Outcome, prune, Request
from prune_perception.pruning.report import html_report, summary
from prune_perception.pruning.tables import print_outcome

HOSTILE = '<script>alert("&")</script>'


@pytest.fixture(scope='module')
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Prune a small network; training and input sizes, which it has none of, are made up."""
    folder = tmp_path_factory.mktemp('report')
    with networks_in_use():
        found = prune(Request(
            write_squares(folder / 'dense'), write_footage(folder / 'walk'),
            load_profile('eyeriss_65nm'), energy_budget=0.3, distil=False,
            command='prune-perception prune dense'))
    curve = tuple(Point(step, 2.0 * step, 1 / (step + 1), {'classes': 1 / (step + 1)},
                        (step - 30) ** 2 / 1000 + 0.5) for step in range(0, 50, 10))
    return replace(
        found, curve=curve, notes=('something to know',),
        agreement={**found.agreement, 'distillation': 0.9876},
        sizes=Sizes(0.97, (
            Trial((32, 64), 1.0, 0.75), Trial((16, 32), 0.5, None, 'it sees less'))))


@pytest.fixture(scope='module')
def page(outcome: Outcome) -> str:
    return html_report(outcome, energy_measured=['dense: 0.5 J per frame'])


def part(page: str, name: str) -> str:
    """Return what a section shows."""
    found = re.search(rf'<section id="{name}">(.*?)</section>', page, re.DOTALL)
    assert found is not None
    return found[1]


def test_page_is_well_formed_and_stands_alone(page: str) -> None:
    structure = Structure(page)
    identities = structure.values('id')
    assert len(identities) == len(set(identities))
    assert {link.removeprefix('#') for link in structure.values('href')} == set(identities)
    assert not {name for name, _ in structure.attributes} & {
        'script', 'link', 'iframe', 'object', 'embed', 'base', 'form'}
    assert all(link.startswith('data:image/jpeg;base64,') for link in structure.values('src'))
    assert not re.search(r'https?:|@import|url\(|<[^>]* on\w+=', re.sub(
        r'data:image/jpeg;base64,[^"]*', '', page))


def test_the_head_is_the_promise_in_figures(outcome: Outcome, page: str) -> None:
    head = Structure(page).words.partition('Energy, layer by layer')[0]
    for said in (f'{outcome.share:.1%}', f'{outcome.latency.speedup:.2f} ×', '0.988',
                 'agreement with the dense network (AP50), after distillation',
                 'modelled for eyeriss_65nm, 16-bit words, batch 1', outcome.latency.engine,
                 outcome.latency.machine, f'{len(outcome.splits.select)} frames kept aside',
                 'not whether either is right', 'something to know'):
        assert said in head, said


def test_agreement_is_never_called_accuracy(outcome: Outcome, page: str) -> None:
    stream = io.StringIO()
    print_outcome(outcome, Console(file=stream, width=140))
    assert 'ccuracy' not in page + stream.getvalue() + json.dumps(summary(outcome))


def test_every_layer_is_there_before_and_after(outcome: Outcome, page: str) -> None:
    energy = part(page, 'energy')
    rows = dict(re.findall(r'class="layer"><span class="name">([^<]+)</span>(.*?)</div>', energy))
    largest = max(layer.total for layer in outcome.dense.layers)
    pruned = outcome.pruned.by_layer()
    assert list(rows) == list(outcome.dense.by_layer())
    for layer in outcome.dense.layers:
        name = layer.layer.name
        shown = re.findall(r'class="value">([\d.]+)<', rows[name])
        assert shown == [f'{layer.total / 1e6:.1f}', f'{pruned[name] / 1e6:.1f}']
        before, after = rows[name].split('class="bar pruned"')
        for bars, total in ((before, layer.total), (after, pruned[name])):
            width = sum(map(float, re.findall(r'width:([\d.]+)%', bars)))
            assert width == pytest.approx(100 * total / largest, abs=0.01)
    for kind in outcome.pruned.by_kind().values():
        assert number(kind) in energy


def test_widths_and_what_ties_them(outcome: Outcome, page: str) -> None:
    words = Structure(part(page, 'widths')).words
    for name, (before, after) in outcome.plan.widths.items():
        assert f'{name} {before} {after} ' in words
    assert 'taken by fine, coarse' in words
    # The group that the sweep takes from first is told by where the dense network stands.
    first = outcome.swept.steps[0].group
    row, = re.findall(rf'<th scope="row">{first}</th>.*?</tr>', page)
    share = outcome.swept.dense_energy / outcome.dense.total().energy_mac
    assert f'<td>{share:.1%}</td>' in row


@pytest.mark.parametrize(('method', 'words'), [
    ('combined', 'The growth of the distillation loss for one image is forecast'),
    ('loss', 'The growth of the distillation loss for one image is forecast'),
    ('energy', "The layers' errors, as shares of their outputs' variance, are forecast")])
def test_what_is_forecast_is_called_by_its_name(
        outcome: Outcome, method: str, words: str) -> None:
    found = replace(outcome, request=replace(outcome.request, method=method))
    assert words in Structure(part(html_report(found), 'plan')).words


def test_the_plan_is_a_point_on_the_curve(outcome: Outcome, page: str) -> None:
    plan = part(page, 'plan')
    words = Structure(plan).words
    assert 'budget 30% of the dense energy' in words and f'{outcome.plan.share:.1%}' in words
    assert '64 × 32 1.0000 0.75 taken' in words and 'agrees with itself by 0.9700' in words
    assert '32 × 16 0.5000 it sees less' in words
    line = re.findall(r'<polyline points="([^"]+)"', plan)[0].split()
    assert 2 <= len(line) <= len(outcome.swept.steps) + 1
    xs, ys = zip(*(map(float, point.split(',')) for point in line), strict=True)
    assert list(xs) == sorted(xs, reverse=True)  # energy falls
    assert list(ys) == sorted(ys, reverse=True)  # and the loss grows: down is more in SVG
    ring, = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="5"', plan)
    assert min(xs) <= float(ring[0]) <= max(xs)


def test_a_method_without_a_forecast_has_no_curve(outcome: Outcome) -> None:
    steps = tuple(replace(step, cost=math.nan) for step in outcome.swept.steps)
    other = replace(
        outcome, swept=replace(outcome.swept, steps=steps),
        plan=replace(outcome.plan, cost=math.nan),
        request=replace(outcome.request, method='random'))
    assert 'The method random forecasts no error' in part(html_report(other), 'plan')
    figures = summary(other)
    assert figures['plan']['forecast_cost'] is None
    json.dumps(figures, allow_nan=False)


def test_training_is_drawn_and_its_best_is_told(outcome: Outcome, page: str) -> None:
    training = part(page, 'training')
    assert len(re.findall('<polyline', training)) == 2
    assert '40 steps in 80 s. The weights of step 30 were kept: 0.5000' in training
    none = part(html_report(replace(outcome, curve=())), 'training')
    assert 'There was none: it was not asked for' in none and 'polyline' not in none


def test_examples_show_what_each_network_is_sure_of(outcome: Outcome) -> None:
    def found(*scores: float) -> Detections:
        return Detections(
            np.tile(np.array([0.25, 0.25, 0.75, 0.75], np.float32), (len(scores), 1)),
            np.array(scores, np.float32), np.zeros(len(scores), np.int64))

    grey = np.full((32, 64, 3), 90, np.uint8)
    page = html_report(replace(
        outcome, examples=(Example(grey, found(0.9, 0.1), found()),),
        footage=replace(outcome.footage, source_size=(64, 48))))
    frames = part(page, 'frames')
    assert 'dense: 1 detection<' in frames and 'pruned: 0 detections<' in frames
    dense, pruned = (cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), 1)
                     for data in re.findall(r'base64,([^"]+)"', frames))
    assert dense.shape == pruned.shape == (480, 640, 3)  # the camera's proportions
    assert np.ptp(pruned.astype(int)) < 8  # nothing is drawn
    changed = np.abs(dense.astype(int) - pruned).max(axis=2) > 40
    assert changed[120:361, 158:163].any(axis=1).mean() > 0.9  # the left edge at a quarter
    assert not changed[370:].any()


def test_the_footage_and_the_conditions_are_told(outcome: Outcome, page: str) -> None:
    words = Structure(page).words
    for said in (outcome.footage.digest, outcome.request.bundle.digest, outcome.request.command,
                 f'numpy {np.__version__}', f'torch {importlib.metadata.version("torch")}',
                 'dense: 0.5 J per frame'):
        assert said in words, said
    assert all(f'{stage} {spent:.1f}' in words for stage, spent in outcome.seconds.items())
    splits = Structure(part(page, 'footage')).words
    figures = summary(outcome)['footage']['splits']
    for name in ('fit', 'select', 'certify'):
        one, numbers = getattr(outcome.splits, name), outcome.footage.numbers
        first, last = numbers[one.start], numbers[one.stop - 1]
        assert f'{name} {len(one)} {first} to {last}' in splits
        assert figures[name] == {'frames': len(one), 'first_frame': first, 'last_frame': last}
    # As the certificate says it.
    source = outcome.certificate.source
    assert f'certify {source.frames} {source.first_frame} to {source.last_frame}' in splits
    assert source.last_frame == FRAMES
    assert f'{FRAMES}, of 64 × 32 pixels' in splits


def printed(outcome: Outcome) -> str:
    stream = io.StringIO()
    print_outcome(outcome, Console(file=stream, width=200))
    return stream.getvalue()


def test_what_is_proved_is_told_layer_by_layer(outcome: Outcome) -> None:
    groups = (GroupBound('first', 96, 40, 12.5, 81, 1.75, 0.875, 4321, 100),
              GroupBound('second', 96, 8, 3.25, None, 0.0, 1.0, 765, 100))
    layer = LayerBound('third', ('first', 'second'), 1.75, 0.625, 0.375, 6.5, math.inf, 2.125)
    proved = replace(outcome, bound=Bound(
        groups, (layer,), math.inf, 2.125, 0.05, 2, 50))
    section = Structure(part(html_report(proved), 'bound')).words
    for shown in (section, ' '.join(printed(proved).split())):
        for row in ('first 96 40 12.5 81 1.75 4321 0.875', 'second 96 8 3.25 all kept 0 765 1',
                    'third first, second 4321 + 765 1.75 0.625 0.375 6.5 – 2.12',
                    'draws for 0.5', 'probability of 0.05', 'vacuous'):
            assert row in shown, row


def test_of_another_method_it_is_told_that_nothing_is_proved(
        outcome: Outcome, page: str) -> None:
    assert outcome.request.method == 'combined' and outcome.bound is None
    for shown in (Structure(part(page, 'bound')).words, ' '.join(printed(outcome).split())):
        assert 'What can be proved of a plan does not cover the shipped network' in shown


def test_the_bound_of_each_class_is_told(outcome: Outcome) -> None:
    classes = {'dog': Count(5, 1, MissBound(3, 2, 1, 1, 0.9871)),
               'person': Count(900, 30, MissBound(80, 60, 1, 1, 0.07663)),
               'cat': Count(400, 90, MissBound(50, 40, 8, 7, 0.3))}
    several = replace(outcome, certificate=replace(outcome.certificate, classes=classes))
    section = Structure(part(html_report(several), 'certificate')).words
    for shown in (section, ' '.join(printed(several).split())):
        rows = ('person 7.7 % 1 of 80 60 30 of 900 certified',
                'cat 30 % 8 of 50 40 90 of 400 above 10 %',
                'dog 98.8 % 1 of 3 2 1 of 5 not enough evidence for 10 %')
        places = [shown.index(row) for row in rows]
        assert places == sorted(places)
        assert 'that all of them hold at once is less sure' in shown
    many = replace(several, certificate=replace(several.certificate, classes={
        f'class {number}': classes['dog'] for number in range(13)}))
    assert '3 more, see --json' in printed(many) and 'class 12' not in printed(many)
    assert 'class 12' in html_report(many)
    alone = replace(several, card=replace(several.card, class_names=('person',)))
    assert '1 of 80' not in printed(alone)  # the lines above the notes say it


def test_what_is_no_number_is_none_for_json(outcome: Outcome) -> None:
    lost = Point(50, 100.0, math.nan, {'classes': math.nan, 'boxes': math.inf}, math.inf)
    figures = summary(replace(outcome, curve=(*outcome.curve, lost)))
    assert figures['training'][-1] == {
        'step': 50, 'seconds': 100.0, 'train_loss': None,
        'parts': {'classes': None, 'boxes': None}, 'select_loss': None}
    json.dumps(figures, allow_nan=False)


def test_what_others_wrote_stays_text(outcome: Outcome) -> None:
    bundle = outcome.request.bundle
    hostile = replace(
        outcome, notes=(HOSTILE,), agreement={HOSTILE: 0.5},
        card=replace(outcome.card, name=HOSTILE, class_names=(HOSTILE, '[bold]b[/bold]')),
        sizes=Sizes(0.97, (Trial((16, 32), 0.5, None, HOSTILE),)), seconds={HOSTILE: 1.0},
        footage=replace(outcome.footage, path=Path('a') / HOSTILE, skipped=(HOSTILE,)),
        request=replace(outcome.request, command=HOSTILE, bundle=replace(
            bundle, card=replace(bundle.card, name=HOSTILE))))
    page = html_report(hostile, energy_measured=[HOSTILE])
    assert '<script' not in page
    assert Structure(page).words.count(HOSTILE) > 8
    stream = io.StringIO()
    print_outcome(hostile, Console(file=stream, width=200), [HOSTILE])
    assert '[bold]b[/bold]' in stream.getvalue()


def test_the_summary_holds_every_figure_as_plain_values(outcome: Outcome) -> None:
    figures = json.loads(json.dumps(summary(outcome), allow_nan=False))
    assert figures['energy']['share_of_dense'] == outcome.share
    assert figures['energy']['conditions'] == outcome.pruned.conditions
    assert sum(layer['pruned_mac'] for layer in figures['energy']['layers']) == pytest.approx(
        outcome.pruned.total().energy_mac)
    assert figures['agreement'] == {
        'figure': 'agreement_ap50', 'confident_score': 0.35,
        'frames': len(outcome.splits.select), 'by_stage': dict(outcome.agreement)}
    assert {name: tuple(width.values()) for name, width in figures['plan']['widths'].items()} \
        == dict(outcome.plan.widths)
    assert len(figures['sweep']['steps']) == len(outcome.swept.steps)
    assert [point['step'] for point in figures['training']] == [0, 10, 20, 30, 40]
    assert figures['input_sizes']['trials'][1]['reason'] == 'it sees less'
    assert figures['footage']['splits']['certify']['last_frame'] == FRAMES
    assert isinstance(outcome.plan.widths, MappingProxyType)  # a plain value in the summary


def test_the_tables_fit_and_say_the_same(outcome: Outcome) -> None:
    stream = io.StringIO()
    print_outcome(replace(outcome, notes=tuple(f'note {n}' for n in range(14))),
                  Console(file=stream, width=140), ['measured energy: unavailable'])
    shown = stream.getvalue()
    for said in (f'{outcome.share:.1%} of the dense', f'{outcome.latency.speedup:.2f} times',
                 '0.9876', 'taken', 'it sees less', 'measured energy: unavailable',
                 'note: 4 more, see --json', outcome.pruned.conditions):
        assert said in shown, said
    for name, (before, after) in outcome.plan.widths.items():
        assert re.search(rf'^{name} +{before} +{after} ', shown, re.MULTILINE)
