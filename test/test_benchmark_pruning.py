# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The benchmark of pruning: its table, its resuming, its matching of energies, its judging."""

from dataclasses import replace
import importlib.util
import io
import json
from pathlib import Path
import sys

from bundles import small_card
import numpy as np
import pytest

pytest.importorskip('matplotlib')
pytest.importorskip('onnxruntime')
pytest.importorskip('pycocotools')
pytest.importorskip('rich')
pytest.importorskip('torch_pruning')
pytest.importorskip('torch')

import torch
from torch import nn

from prune_perception.bundle import InputSpec
from prune_perception.detections import Detections
from prune_perception.energy.hardware import load_profile
from prune_perception.evaluation.truth import Truth

ROOT = Path(__file__).resolve().parent.parent
CLASSES, BINS = 2, 3
# So many that a channel is less than a hundredth of the energy.
WIDTHS = {'first': 160, 'second': 192, 'down': 144}


@pytest.fixture(scope='module')
def benchmark():
    """The benchmark's script, with its own modules beside it."""
    sys.path.insert(0, str(ROOT / 'benchmarks'))
    spec = importlib.util.spec_from_file_location(
        'pruning_benchmark', ROOT / 'benchmarks' / 'pruning.py')
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(ROOT / 'benchmarks'))
    for name in [name for name in sys.modules
                 if name in (spec.name, 'accuracy') or name.startswith('pruning_methods')]:
        del sys.modules[name]


def part(name):
    return importlib.import_module(f'pruning_methods.{name}')


class Small(nn.Module):
    """Two maps of a detector of two classes, after a residual addition."""

    def __init__(self):
        super().__init__()
        first, second, down = WIDTHS.values()
        self.first = nn.Conv2d(3, first, 3, stride=4, padding=1)
        self.second = nn.Conv2d(first, second, 3, stride=2, padding=1)
        self.third = nn.Conv2d(second, second, 3, padding=1)
        self.fine = nn.Conv2d(second, CLASSES + 4 * BINS, 1)
        self.down = nn.Conv2d(second, down, 3, stride=2, padding=1)
        self.coarse = nn.Conv2d(down, CLASSES + 4 * BINS, 1)
        self.activation = nn.LeakyReLU(0.1)

    def forward(self, x):
        x = self.activation(self.second(self.activation(self.first(x))))
        x = x + self.activation(self.third(x))
        return self.fine(x), self.coarse(self.activation(self.down(x)))


@pytest.fixture
def network(benchmark):
    torch.manual_seed(0)
    card = replace(small_card(), input=InputSpec(
        64, 64, 'bgr', (100.0, 100.0, 100.0), (50.0, 50.0, 50.0), 'stretch'))
    return part('networks').described(Small().eval(), card)


@pytest.fixture
def share(network):
    return part('energy').Share.of_dense(
        network.module, network.size, load_profile('eyeriss_65nm'))


def images_of(count, size=(64, 64)):
    return list(np.random.default_rng(0).integers(0, 256, (count, *size, 3), dtype=np.uint8))


# ---- cells

def test_a_plan_has_every_cell_once(benchmark):
    cells = benchmark.plan(['pedestrians'], ['uniform', 'int8', 'low-resolution'], [0.5, 0.1], 2)
    assert [(cell.method, cell.budget, cell.seed) for cell in cells] == [
        ('dense', 1.0, 0), ('uniform', 0.5, 0), ('int8', 1.0, 0), ('low-resolution', 0.5, 0),
        ('uniform', 0.1, 0), ('low-resolution', 0.1, 0), ('uniform', 0.5, 1), ('uniform', 0.1, 1)]


def test_every_method_is_in_the_plan_by_default(benchmark):
    cells = benchmark.plan(['pedestrians'], [], [], 1)
    assert {cell.method for cell in cells} == set(benchmark.METHODS)
    assert {cell.budget for cell in cells} == {1.0, 0.5, 0.25, 0.1}


@pytest.fixture
def cells_in(benchmark, tmp_path, monkeypatch):
    """Return a function that opens cells whose measurement is a count."""
    module = part('cells')
    measured = []

    def opened(**changes):
        cells = object.__new__(module.Cells)
        cells._folder = tmp_path
        cells._settings = replace(benchmark.QUICK, **changes)
        cells._inputs = {'model': 'a', 'data': 'b', 'profile': 'c'}
        return cells

    def measure(self, cell):
        measured.append(cell)
        return result(cell.method, cell.budget, 0.5, seed=cell.seed)

    monkeypatch.setattr(module.Cells, '_measure', measure)
    return opened, measured


def test_a_cell_that_is_there_is_not_run_again(benchmark, cells_in):
    opened, measured = cells_in
    cell = part('cells').cell_for('pedestrians', 'uniform', 0.25, 0)
    first = opened().run(cell)
    assert measured == [cell]
    assert opened().run(cell) == first == opened().read(cell)
    assert measured == [cell]


def test_other_settings_make_other_cells(benchmark, cells_in):
    opened, _ = cells_in
    cell_for = part('cells').cell_for
    trained = cell_for('pedestrians', 'uniform', 0.25, 0)
    untrained = cell_for('pedestrians', 'low-resolution', 0.25, 0)
    longer = {'recipe': replace(benchmark.QUICK.recipe, steps=999)}
    assert opened().path(trained) != opened(**longer).path(trained)
    assert opened().path(untrained) == opened(**longer).path(untrained)
    assert opened().path(untrained) != opened(every=1).path(untrained)
    assert opened().path(trained) != opened().path(replace(trained, seed=1))


def test_a_broken_cell_is_named(benchmark, cells_in):
    opened, _ = cells_in
    module = part('cells')
    cell = module.cell_for('pedestrians', 'uniform', 0.25, 0)
    path = opened().path(cell)
    path.write_text('{"scene":')
    with pytest.raises(module.CellError, match=f'{path.name}.*remove it'):
        opened().run(cell)


def test_no_cell_begins_that_would_end_too_late(benchmark, cells_in, monkeypatch):
    opened, measured = cells_in
    now = 0.0
    monkeypatch.setattr(benchmark.time, 'monotonic', lambda: now)
    module = part('cells')
    run = module.Cells.run

    def slow(self, cell):
        nonlocal now
        now += 10.0
        return run(self, cell)

    monkeypatch.setattr(module.Cells, 'run', slow)
    wanted = benchmark.plan(['pedestrians'], ['uniform'], [0.5, 0.25, 0.1], 1)
    text = io.StringIO()
    console = benchmark.Console(file=text)
    where = {'pedestrians': opened}
    found = benchmark.measure(wanted, where, benchmark.Deadline(35.0), console)
    assert [cell['budget'] for cell in found] == [1.0, 0.5, 0.25]
    assert '1 of 4 cells' in text.getvalue()
    found = benchmark.measure(wanted, where, benchmark.Deadline(None), console)
    assert [cell['budget'] for cell in found] == [1.0, 0.5, 0.25, 0.1]
    assert measured == wanted


def test_a_plan_that_is_refused_stops_no_other_cell(benchmark, cells_in, monkeypatch):
    opened, _ = cells_in
    module = part('cells')
    measure = module.Cells._measure

    def refuse(self, cell):
        if cell.budget == 0.5:
            raise ValueError('would not be faster')
        return measure(self, cell)

    monkeypatch.setattr(module.Cells, '_measure', refuse)
    text = io.StringIO()
    found = benchmark.measure(
        benchmark.plan(['pedestrians'], ['ours'], [0.5, 0.25], 1), {'pedestrians': opened},
        benchmark.Deadline(None), benchmark.Console(file=text, width=200))
    assert [cell['budget'] for cell in found] == [1.0, 0.25]
    assert 'ours at 50%, seed 0: cannot be had: would not be faster' in text.getvalue()


@pytest.mark.parametrize(('words', 'text'), [
    (['--budgets', '1.5'], '--budgets has 1.5'), (['--seeds', '0'], '--seeds is 0'),
    (['--only', 'theirs'], 'theirs')])
def test_bad_words_are_refused(benchmark, capsys, words, text):
    with pytest.raises(SystemExit) as stopped:
        benchmark.parse(['--data', 'somewhere', *words])
    assert stopped.value.code == 2
    assert text in capsys.readouterr().err


def test_data_that_is_not_there_is_one_line(benchmark, tmp_path, capsys):
    assert benchmark.main(['--data', str(tmp_path), '--cells', str(tmp_path), '--only',
                           'low-resolution']) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert 'gt_frames_1-400.txt: cannot be read' in line


# ---- energy

def test_the_dense_network_is_the_whole(network, share):
    assert share(network.module, network.size) == pytest.approx(1.0)
    assert share(network.module, network.size, 8) < 0.6


def test_bisection_finds_what_can_be_had(benchmark):
    module = nn.Identity()

    def make(strength):
        module.strength = strength
        return module

    energy = part('energy')
    energy.match_energy(make, lambda made: 1 - made.strength ** 2, 0.36)
    assert module.strength == pytest.approx(0.8, abs=0.01)
    # In steps of a tenth, 0.3 is the nearest to 0.33.
    _, strength = energy.match_energy(
        make, lambda made: 1 - int(made.strength * 10) / 10, 0.33)
    assert 0.7 <= strength < 0.8


@pytest.mark.parametrize('criterion', ['magnitude', 'group norm', 'taylor'])
def test_torch_pruning_meets_the_energy(network, share, criterion):
    pruned = part('torch_pruning_methods').prune(
        network, network, criterion, 0.5, share, images_of(2))
    assert part('energy').matches(share(pruned.module, pruned.size), 0.5)
    assert pruned.card.outputs == network.card.outputs
    assert network.module.first.out_channels == WIDTHS['first']  # left as it is


def test_torch_pruning_removes_what_is_weak(network, share):
    weak = 20
    with torch.no_grad():
        network.module.down.weight[:weak] *= 1e-3
    pruned = part('torch_pruning_methods').prune(
        network, network, 'magnitude', 0.95, share, [])
    left = pruned.module.down.weight.abs().sum((1, 2, 3))
    assert pruned.module.down.out_channels < WIDTHS['down']
    removed = WIDTHS['down'] - pruned.module.down.out_channels
    weakest = int((left < left.median() / 100).sum())
    assert weakest == max(0, weak - removed)


def test_taylor_has_a_gradient_where_distillation_has_none(network):
    module = part('torch_pruning_methods')
    gradients = module._gradients(network, network, images_of(2))
    assert set(gradients) == {name for name, _ in network.module.named_parameters()}
    assert all(float(gradient.abs().sum()) > 0 for gradient in gradients.values())


@pytest.mark.parametrize('budget', [0.5, 0.2])
@pytest.mark.parametrize('name', ['uniform', 'random'])
def test_even_removal_meets_the_energy(network, share, name, budget):
    plain = part('plain')
    pruned = plain.uniform(network, budget, share) if name == 'uniform' \
        else plain.random(network, budget, share, seed=3)
    assert part('energy').matches(share(pruned.module, pruned.size), budget)
    kept = [pruned.module.get_submodule(name).out_channels / width
            for name, width in WIDTHS.items()]
    assert max(kept) - min(kept) < 0.02
    assert pruned.card.outputs == network.card.outputs


def test_uniform_keeps_the_strongest_and_random_the_drawn(network, share):
    with torch.no_grad():
        network.module.down.bias[:] = torch.arange(WIDTHS['down'])  # so that each is known
        network.module.down.weight[:100] *= 0.01
    plain = part('plain')
    strongest = plain.uniform(network, 0.5, share).module.down.bias
    assert set(range(100, WIDTHS['down'])) <= set(strongest.int().tolist())
    first, again, other = (
        plain.random(network, 0.5, share, seed).module.down.bias.int().tolist()
        for seed in (1, 1, 2))
    assert first == again != other


def test_a_low_resolution_is_a_multiple_of_the_stride(network, share):
    smaller = part('plain').low_resolution(network, 0.8, share)
    sizes = [(height, width) for height in (16, 32, 48, 64) for width in (16, 32, 48, 64)
             if height / width in (1, 3 / 4, 4 / 3)]
    nearest = min(sizes, key=lambda size: abs(share(network.module, size) - 0.8))
    assert smaller.size == nearest != (64, 64)
    assert smaller.card.outputs[0].shape == (
        1, CLASSES + 4 * BINS, nearest[0] // 8, nearest[1] // 8)
    assert smaller.module.first.out_channels == WIDTHS['first']


def test_a_network_from_scratch_knows_how_rare_objects_are(network):
    before = {name: parameter.detach().clone()
              for name, parameter in network.module.named_parameters()}
    part('plain').from_scratch(network)
    kept = {name for name, parameter in network.module.named_parameters()
            if torch.equal(parameter, before[name])}
    assert kept == {'fine.bias', 'coarse.bias'}


# ---- training

@pytest.mark.parametrize(('steps', 'rounds', 'expected'), [
    (100, 1, [100]), (100, 3, [25, 25, 50]), (7, 4, [1, 1, 1, 4])])
def test_all_rounds_together_are_all_steps(benchmark, steps, rounds, expected):
    assert part('training').in_rounds(steps, rounds) == expected


def test_a_teacher_looks_once_at_each_image(benchmark):
    looks = []

    def counting(image):
        looks.append(image)
        seen = torch.from_numpy(image).float()
        return seen * 2, seen + 1

    teacher = part('training').Remembering(counting)
    one, other = np.ones((1, 2, 2, 3), np.uint8), np.zeros((1, 2, 2, 3), np.uint8)
    for image in (one, other, one, one):
        double, more = teacher(image)
        assert torch.equal(double, torch.from_numpy(image).float() * 2)
        assert torch.equal(more, torch.from_numpy(image).float() + 1)
    assert len(looks) == 2


def test_training_brings_the_student_nearer(network):
    training = part('training')
    scene = part('scenes').Scene('made up', (), 'ap50', tuple(images_of(20)), (), 1, '')
    trainer = training.Trainer(
        network, scene, training.Recipe(steps=8, batch=2, views=8, select=4))
    student = part('networks').described(Small().eval(), network.card)
    image = torch.from_numpy(np.stack(scene.select)).permute(0, 3, 1, 2).float() / 50 - 2

    def distance():
        with torch.no_grad():
            return sum(float((own - wanted).square().mean()) for own, wanted in zip(
                student.module(image), network.module(image), strict=True))

    before = distance()
    trainer.train(student, 8, seed=0)
    assert distance() < 0.9 * before


# ---- scenes and judging

def test_the_window_moves_smoothly_within_the_frame(benchmark):
    scenes = part('scenes')
    corners = np.array([scenes.window_at(index, (768, 576)) for index in range(795)])
    assert corners.min() == 0
    assert corners.max(axis=0).tolist() == [768 - 576, 576 - 432]
    assert 1 < np.abs(np.diff(corners, axis=0)).max() <= 8


def test_labels_move_with_the_window(benchmark):
    truth = Truth(
        np.array([[20, 20, 40, 60], [0, 0, 12, 30], [0, 0, 30, 30], [0, 0, 9, 9]], np.float32),
        np.zeros(4, np.int64), np.zeros(4, np.bool_))
    seen = part('scenes').seen_through(truth, (10, 10), (100, 40))
    assert seen.boxes.tolist() == [[10, 10, 30, 40], [0, 0, 2, 20], [0, 0, 20, 20]]
    # Seen to 30/40, to (2 * 20)/(12 * 30) and to 400/900; the last is not seen at all.
    assert seen.crowd.tolist() == [False, True, True]


class Drawn:
    """In place of a detector: what it finds is given."""

    def __init__(self, found):
        self._found = iter(found)
        self.bundle = self
        self.card = self
        self.class_names = ('person',)

    def detect(self, image):
        self.detections = next(self._found)
        return self


def test_a_scene_is_judged_as_pycocotools_does(benchmark):
    scenes, rng = part('scenes'), np.random.default_rng(4)
    accuracy = sys.modules['accuracy']
    judged, found, annotations = [], [], []
    for index in range(12):
        corner = rng.uniform(0, 300, (6, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(30, 90, (6, 2))], 1)
        for box in boxes:
            annotations.append({
                'id': len(annotations) + 1, 'image_id': index, 'category_id': 0, 'iscrowd': 0,
                'bbox': [*box[:2], *(box[2:] - box[:2])],
                'area': float(np.prod(box[2:] - box[:2]))})
        truth = scenes._truths([row for row in annotations if row['image_id'] == index])[index]
        judged.append(scenes.Labelled(index, np.zeros((1, 1, 3), np.uint8), truth))
        moved = boxes[rng.random(6) < 0.8] + rng.normal(0, 9, 4)
        scores = np.sort(rng.uniform(0.05, 1, len(moved)))[::-1].astype(np.float32)
        found.append(Detections(
            moved.astype(np.float32), scores, np.zeros(len(moved), np.int64)))
    scene = scenes.Scene('made up', ('person',), 'ap50', (), tuple(judged), 2, '')
    judgement = part('judging').judge(Drawn(found), scene, draws=200)
    truth = accuracy.COCO()
    truth.dataset = {'info': {}, 'images': [{'id': index} for index in range(12)],
                     'annotations': annotations, 'categories': [{'id': 0, 'name': 'person'}]}
    truth.createIndex()
    expected = accuracy._judge(truth, [
        row for index, detections in enumerate(found)
        for row in accuracy._as_results(index, detections)])
    assert judgement.ap50 == pytest.approx(expected.ap50, abs=1e-6)
    assert judgement.ap == pytest.approx(expected.ap, abs=1e-6)
    assert 0.05 < judgement.ap50 < 0.95
    assert len(judgement.draws) == 200
    assert np.std(judgement.draws) > 0.01


def test_the_video_is_split_where_it_must_be(benchmark, data):
    scene = part('scenes').pedestrians(data, 100)
    assert [frame.index for frame in scene.judged] == [1, 101, 201, 301]
    assert [len(frame.truth.boxes) > 0 for frame in scene.judged] == [True] * 4
    assert len(scene.footage) == 395
    assert len(scene.fit) + len(scene.select) < 395
    assert scene.block == 1


# ---- integers

def test_a_quantised_bundle_runs_in_both_engines(network, tmp_path):
    pytest.importorskip('openvino')
    networks, quantised = part('networks'), part('quantised').quantised
    dense = networks.written(network, tmp_path / 'dense')
    images = images_of(8, (80, 70))
    smaller = quantised(dense, images, tmp_path / 'int8')
    timing = part('timing')
    fed = part('scenes').fed_with(images[:1], dense.card.input)
    for engine in timing.ENGINES:
        outputs = [timing.create_engine(bundle, timing.EngineOptions(engine, 1)).run(fed)
                   for bundle in (dense, smaller)]
        for wanted, found in zip(*outputs, strict=True):
            error = np.abs(found - wanted)
            assert 0 < error.max()
            assert np.sqrt(np.mean(error ** 2)) < 0.1 * wanted.std()
    pace = timing.pace(dense, smaller, 'onnxruntime', 3, 1)
    assert pace.ratio > 0
    assert pace.dense_ms > 0


# ---- rows

def result(method, budget, value, *, seed=0, share=None, before=None, ratio=2.0):
    """Return a cell as it is kept."""
    draws = [round(value + step, 5) for step in np.linspace(-0.02, 0.02, 41)]
    return {
        'scene': 'pedestrians', 'method': method, 'budget': budget, 'seed': seed,
        'metric': 'ap50', 'share': budget if share is None else share, 'size': [320, 352],
        'bits': None, 'parameters': 1, 'widths': {}, 'seconds': 1.0,
        'before': None if before is None else {'ap': 0.1, 'ap50': before, 'draws': draws},
        'after': {'ap': 0.2, 'ap50': value, 'draws': draws},
        'pace': {engine: {'dense_ms': 40.0, 'ms': 40 / ratio, 'ratio': ratio}
                 for engine in ('onnxruntime', 'openvino')}}


CELLS = [
    result('dense', 1.0, 0.92, share=0.985, ratio=1.0),
    result('ours', 0.25, 0.915, before=0.83, ratio=3.1),
    result('ours', 0.25, 0.905, seed=1, before=0.85, ratio=2.9),
    result('tp-taylor', 0.25, 0.86, before=0.0), result('tp-magnitude', 0.25, 0.89, before=0.0),
    result('low-resolution', 0.25, 0.6, share=0.26)]


def test_rows_are_means_of_seeds(benchmark):
    summary = part('summary')
    rows = summary.rows_of(CELLS)
    own = rows[1]
    assert [row.method for row in rows] == [
        'dense', 'ours', 'tp-taylor', 'tp-magnitude', 'low-resolution']
    assert (own.seeds, own.least, own.most) == (2, 0.905, 0.915)
    assert own.after == pytest.approx(0.91)
    assert own.before == pytest.approx(0.84)
    assert own.ratio['openvino'] == pytest.approx(3.0)
    assert own.interval.low == pytest.approx(0.91 - 0.019)
    # Both scatter alike, frame by frame: their difference does not.
    less = summary.difference(own, rows[0])
    assert less.value == pytest.approx(-0.01)
    assert less.interval.high - less.interval.low < 1e-4
    assert [row.matched for row in rows] == [True, True, True, True, False]


def test_goals_are_told_as_they_are(benchmark):
    summary = part('summary')
    goals = {goal.text: goal for goal in summary.goals_of(summary.rows_of(CELLS))}
    assert goals['ours at 25%: AP50 less dense'].found == pytest.approx(-0.01)
    best = goals['ours at 25%: AP50 less Torch-Pruning, magnitude']
    assert best.found == pytest.approx(0.02)
    assert goals['ours at 25%: AP50 without training'].met
    assert goals['ours at 25%: times faster, onnxruntime'].met
    worse = summary.rows_of([*CELLS[:1], result('ours', 0.25, 0.88, before=0.5, ratio=2.0)])
    assert [goal.met for goal in summary.goals_of(worse)] == [False] * 4


def test_the_table_says_all_of_it(benchmark, tmp_path):
    pictures, summary = part('pictures'), part('summary')
    rows = summary.rows_of(CELLS)
    text = io.StringIO()
    pictures.print_rows(benchmark.Console(file=text), 'pedestrians', rows)
    (own,) = [line for line in text.getvalue().splitlines() if line.strip().startswith('ours')]
    for figure in ('352x320', '25.0%', '0.840', '0.910', '0.905…0.915', '-0.010', '3.00x'):
        assert figure in own
    (low,) = [line for line in text.getvalue().splitlines() if 'low resolution' in line]
    assert '26.0% !' in low
    pictures.print_goals(benchmark.Console(file=text), summary.goals_of(rows))
    assert 'met    ours at 25%: times faster, onnxruntime: +3.000' in text.getvalue()
    assert set(pictures._COLOURS) == set(benchmark.METHODS) - {'dense'}
    pictures.draw(rows, tmp_path / 'plot.png')
    assert (tmp_path / 'plot.png').read_bytes().startswith(b'\x89PNG')
    written = json.loads(json.dumps(summary.as_json(rows)))
    assert written[1]['less_best_torch_pruning']['value'] == pytest.approx(0.02)
    assert written[0]['value'] == 0.92
