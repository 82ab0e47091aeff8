# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Whole evaluations of recordings whose every figure is known, and of such as are broken."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
import errno
import hashlib
import json
from pathlib import Path
import re
import shutil
import subprocess
import time
from typing import Any
import weakref

import pytest

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
pytest.importorskip('pycocotools')
pytest.importorskip('rosbags')

from blobs import (
    Blob,
    box_of,
    DOG,
    draw_blobs,
    PERSON,
    score_of,
    write_blobs,
    write_pictures,
)
from bundles import COMMITTED
from labelled_bags import Labelled, rechunk, write_labelled_bag
import numpy as np

from prune_perception.cli.main import main
from prune_perception.detections import Detections
from prune_perception.energy.meters import COUNTED, Meter, MeterInfo, Reading, Scope
from prune_perception.energy.window import EnergyPerFrame, Unavailable
from prune_perception.evaluation import cost, job, robustness
from prune_perception.evaluation import evaluation as module
from prune_perception.evaluation.corruptions import Corruption, create_corruption
from prune_perception.evaluation.cost import measured_energy, modelled_energy
from prune_perception.evaluation.errors import ErrorCounts
from prune_perception.evaluation.evaluation import evaluate, GroundTruthError, Settings
from prune_perception.evaluation.figures import AGREEMENT, Evaluation, KEYS
from prune_perception.evaluation.intervals import Interval, interval_of
from prune_perception.evaluation.memory import measure_memory
from prune_perception.evaluation.realtime import (
    judged_by,
    RealtimeError,
    RealtimeFrame,
    RealtimeRun,
)
from prune_perception.evaluation.replay import digest_of, replay
from prune_perception.evaluation.robustness import under_corruptions
from prune_perception.frames.errors import RecordingError
from prune_perception.frames.recording import open_recording
from prune_perception.runtime.detector import Detector
from prune_perception.runtime.engines import EngineOptions

ROOT = Path(__file__).resolve().parent.parent
ENGINE = EngineOptions(threads=1)
BRIGHT, DIM = 200, 140  # scores of 0.99 and 0.68; 0.02 less two for who is shy

# Of each frame what is drawn, and which of it is there: two people and a dog in six frames, one
# dim person, and in the last a bright square that is nothing.
FRAMES: list[list[Blob]] = [
    *([(1, 1, PERSON, BRIGHT), (1, 6, DOG, BRIGHT)] for _ in range(4)),
    [(1, 1, PERSON, DIM)], [(1, 1, PERSON, BRIGHT), (1, 5, PERSON, BRIGHT)]]
STAMPS = [10**9 * (number + 1) for number in range(len(FRAMES))]


def labelled(blobs: list[Blob]) -> list[Labelled]:
    rows = []
    for row, column, kind, _ in blobs:
        x1, y1, x2, y2 = box_of(row, column)
        box = ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)
        rows.append((('person', 'dog')[kind], box, 0.0))
    return rows


LABELS = {stamp: labelled(blobs[:1] if number == 5 else blobs)
          for number, (stamp, blobs) in enumerate(zip(STAMPS, FRAMES, strict=True))}
PICTURES = dict(zip(STAMPS, FRAMES, strict=True))


@pytest.fixture(scope='module')
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write a detector that sees everything, and one that misses what is dim."""
    folder = tmp_path_factory.mktemp('models')
    write_blobs(folder / 'keen')
    write_blobs(folder / 'shy', shyness=4.0)
    return {name: folder / name for name in ('keen', 'shy')}


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    return write_labelled_bag(tmp_path / 'bag', STAMPS, LABELS, pictures=PICTURES)


def run(recording: Path, models: list[Path], **options: Any) -> Evaluation:
    options = {'engine': ENGINE, 'timing': False, **options}
    return evaluate(recording, models, **options)


# Figures that are known


def test_what_is_drawn_is_what_is_said(bag: Path, models: dict[str, Path]) -> None:
    evaluation = run(bag, list(models.values()), ground_truth='/truth')
    assert (evaluation.frames, evaluation.labelled, evaluation.exit_status) == (6, 6, 0)
    assert evaluation.topic == '/camera/image'
    assert evaluation.class_names == ('person', 'dog')
    keen, shy = evaluation.figures['keen'], evaluation.figures['shy']
    # Six people found and one seen where there is none, with the score of five that are right:
    # it comes in the last frame, after those. Precision is 1 for the first five, 6/7 for the dim.
    person = (84 + 17 * 6 / 7) / 101
    assert keen.per_class['person']['ap50'] == pytest.approx(person)
    assert keen.per_class['dog'] == {'ap': 1, 'ap50': 1, 'objects': 4}
    assert keen.values['ap50'] == pytest.approx((person + 1) / 2)
    assert keen.errors == ErrorCounts(objects=10, detections=11, correct=10, false=1)
    assert keen.values['precision'] == pytest.approx(10 / 11)
    assert keen.values['recall'] == 1
    assert keen.frame_errors[5].false == 1 and keen.frame_errors[0].mistakes == 0
    # The dim one is below the threshold: 5 of 6 found, at the recalls up to 0.83.
    assert shy.per_class['person']['ap50'] == pytest.approx(84 / 101)
    assert shy.errors == ErrorCounts(objects=10, detections=10, correct=9, missed=1, false=1)
    dim = evaluation.runs[0].results[4].detections
    assert dim.scores[0] == pytest.approx(score_of(DIM), abs=1e-4)
    difference, = (one for one in evaluation.differences if one.key == 'recall')
    assert (difference.first, difference.second) == ('keen', 'shy')
    assert difference.value == pytest.approx(-0.1)


def test_order_and_repetition_do_not_matter(bag: Path, models: dict[str, Path]) -> None:
    keen, shy = models.values()
    first = run(bag, [keen, shy], ground_truth='/truth').to_json()
    again = run(bag, [keen, shy], ground_truth='/truth').to_json()
    turned = run(bag, [shy, keen], ground_truth='/truth').to_json()
    alone = run(bag, [shy], ground_truth='/truth').to_json()
    for one in (first, again, turned):
        del one['recording']['read_ms']
        assert datetime.fromisoformat(one.pop('date')).utcoffset() == timedelta(0)
    assert first == again
    assert first['models'] == turned['models']
    assert list(turned['models']) == ['shy', 'keen']
    assert alone['models']['shy'] == first['models']['shy']


def test_every_kind_of_recording_and_of_labels_gives_the_same(
        bag: Path, models: dict[str, Path], tmp_path: Path) -> None:
    keen = models['keen']
    expected = run(bag, [keen], ground_truth='/truth').figures['keen'].values
    folder = write_pictures(tmp_path / 'pictures', FRAMES)
    names = sorted(path.name for path in folder.iterdir())
    boxes = [[(name, *box) for name, box, _ in LABELS[stamp]] for stamp in STAMPS]
    annotations = [
        {'image_id': place, 'category_id': ('person', 'dog').index(name),
         'bbox': [x - w / 2, y - h / 2, w, h]}
        for place, rows in enumerate(boxes) for name, x, y, w, h in rows]
    (tmp_path / 'coco.json').write_text(json.dumps({
        'images': [{'id': place, 'file_name': name} for place, name in enumerate(names)],
        'categories': [{'id': 0, 'name': 'person'}, {'id': 1, 'name': 'dog'}],
        'annotations': annotations}))
    (tmp_path / 'yolo').mkdir()
    (tmp_path / 'yolo' / 'classes.txt').write_text('person\ndog\n')
    for name, rows in zip(names, boxes, strict=True):
        (tmp_path / 'yolo' / name).with_suffix('.txt').write_text(''.join(
            f'{("person", "dog").index(kind)} {x / 64} {y / 32} {w / 64} {h / 32}\n'
            for kind, x, y, w, h in rows))
    (tmp_path / 'gt.txt').write_text(''.join(
        f'{number},{identity},{x - w / 2},{y - h / 2},{w},{h},1,0,0,0\n'
        for number, rows in enumerate(boxes, 1)
        for identity, (kind, x, y, w, h) in enumerate(rows) if kind == 'person'))
    for recording, truth in ((folder, 'coco.json'), (folder, 'yolo'), (bag, 'yolo')):
        result = run(recording, [keen], ground_truth=tmp_path / truth)
        assert result.figures['keen'].values == pytest.approx(expected), truth
    for recording in (folder, bag):
        result = run(recording, [keen], ground_truth=tmp_path / 'gt.txt')
        assert result.class_names == ('person',)
        assert result.figures['keen'].values['ap50'] == pytest.approx((84 + 17 * 6 / 7) / 101)
        assert any('keen knows 1 classes more, which are not judged: dog' in note
                   for note in result.notes)


def test_frames_without_labels_are_not_judged(models: dict[str, Path], tmp_path: Path) -> None:
    labels = {stamp: LABELS[stamp] for stamp in STAMPS[:2]}
    path = write_labelled_bag(tmp_path / 'bag', STAMPS, labels, pictures=PICTURES)
    result = run(path, [models['keen']], ground_truth='/truth')
    assert (result.frames, result.labelled) == (6, 2)
    assert result.figures['keen'].errors == ErrorCounts(objects=4, detections=4, correct=4)
    assert result.exit_status == 0


def test_reference_is_agreement_and_never_accuracy(bag: Path, models: dict[str, Path]) -> None:
    result = run(bag, list(models.values()), reference=models['keen'])
    assert result.truth is not None and result.truth.agreement
    assert result.truth.source.startswith('keen (')
    keen, shy = result.figures['keen'].values, result.figures['shy'].values
    assert keen[f'{AGREEMENT}ap'] == 1
    assert shy[f'{AGREEMENT}recall'] == pytest.approx(10 / 11)
    written = result.to_json()['models']['keen']
    assert written['ap'] is None and 'reference' in written['unavailable']['ap']
    assert written['per_class']['dog'] == {
        f'{AGREEMENT}ap': 1.0, f'{AGREEMENT}ap50': 1.0, 'objects': 4.0}


def test_without_truth_there_is_no_accuracy(bag: Path, models: dict[str, Path]) -> None:
    result = run(bag, [models['keen']])
    figures = result.figures['keen']
    assert result.truth is None and result.labelled == 0 and figures.errors is None
    assert 'ap' not in figures.values
    assert figures.unavailable['ap'] == 'there is neither ground truth nor a reference'


def test_models_are_judged_on_the_classes_that_all_have(bag: Path, tmp_path: Path) -> None:
    write_blobs(tmp_path / 'both')
    write_blobs(tmp_path / 'people', class_names=('person', 'cat'))
    write_blobs(tmp_path / 'other', class_names=('cat', 'bird'))
    result = run(bag, [tmp_path / 'both', tmp_path / 'people'], ground_truth='/truth')
    assert result.class_names == ('person',)
    assert result.figures['both'].values['ap'] == result.figures['people'].values['ap']
    assert any('not judged, since not every model has them: dog' in note for note in result.notes)
    with pytest.raises(GroundTruthError, match='shares no class with every model; it has person, '
                       'dog, the models have other: cat, bird'):
        run(bag, [tmp_path / 'other'], ground_truth='/truth')


def test_names_of_models_are_their_own(models: dict[str, Path], tmp_path: Path) -> None:
    for place, shyness in (('a', 0.0), ('b', 1.0)):
        write_blobs(tmp_path / place / 'same', shyness=shyness)
    names = module.model_names([tmp_path / 'a' / 'same', models['shy'], tmp_path / 'b' / 'same'])
    assert names[1] == 'shy'
    assert len(set(names)) == 3 and all(name.startswith('same@') for name in names[::2])
    with pytest.raises(ValueError, match='given twice'):
        module.model_names([models['shy'], models['shy']])


def test_corruption_is_what_the_models_see_and_not_the_reference(
        bag: Path, models: dict[str, Path]) -> None:
    seen = []

    class Darken(Corruption):
        def image(self, image: np.ndarray, index: int) -> np.ndarray:
            seen.append(index)
            return np.zeros_like(image) if index == 0 else image

    result = run(bag, [models['keen']], reference=models['keen'], corruption=Darken(1))
    assert seen == list(range(6))
    assert result.figures['keen'].frame_errors[0] == ErrorCounts(objects=2, missed=2)
    assert result.figures['keen'].frame_errors[1].mistakes == 0


def test_frames_that_freeze_or_are_lost_are_judged_by_what_the_robot_still_has(
        bag: Path, models: dict[str, Path]) -> None:
    class Frozen(Corruption):
        def frame(self, index: int) -> int:
            return min(index, 2)

    class Lost(Corruption):
        def frame(self, index: int) -> int | None:
            return None if index in (0, 3, 4, 5) else index

    clean, frozen, lost = (
        run(bag, [models['keen']], corruption=corruption).runs[0].results
        for corruption in (None, Frozen(1), Lost(1)))
    assert len(clean) == len(frozen) == len(lost) == 6
    for index in (3, 4, 5):
        assert np.array_equal(frozen[index].detections.boxes, clean[2].detections.boxes)
        assert np.array_equal(lost[index].detections.boxes, clean[2].detections.boxes)
    assert len(lost[0].detections) == 0


def test_truth_moves_with_the_camera(bag: Path, models: dict[str, Path]) -> None:
    class Shifted(Corruption):
        def view(self, index: int, width: int, height: int) -> np.ndarray:
            return np.array([[1.0, 0, 3], [0, 1, 0]])

    clean = run(bag, [models['keen']], reference=models['keen']).truth
    moved = run(bag, [models['keen']], reference=models['keen'], corruption=Shifted(1)).truth
    assert np.allclose(moved.frames[0].boxes[:, 1], clean.frames[0].boxes[:, 1])
    assert np.allclose(moved.frames[0].boxes[:, 0], clean.frames[0].boxes[:, 0] + 3)


def test_intervals_and_differences(models: dict[str, Path], tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    frames = [[(1, 1, PERSON, int(random.choice([BRIGHT, DIM])))] for _ in range(60)]
    folder = write_pictures(tmp_path / 'pictures', frames)
    truth = tmp_path / 'gt.txt'
    x1, y1, x2, y2 = box_of(1, 1)
    truth.write_text(''.join(
        f'{number},1,{x1},{y1},{x2 - x1},{y2 - y1},1\n' for number in range(1, 61)))
    result = run(folder, list(models.values()), ground_truth=truth,
                 settings=Settings(block=1, seed=3))
    found = sum(blobs[0][3] == BRIGHT for blobs in frames) / 60
    shy = result.figures['shy']
    assert shy.values['recall'] == pytest.approx(found)
    interval = shy.intervals['recall']
    error = 1.96 * np.sqrt(found * (1 - found) / 60)
    assert interval.low == pytest.approx(found - error, abs=0.02)
    assert interval.high == pytest.approx(found + error, abs=0.02)
    differences = {one.key: one for one in result.differences}
    assert differences['recall'].value == pytest.approx(found - 1)
    between = differences['recall'].interval
    assert between is not None and between.high < 0  # keen finds all, in every draw
    assert between.high - between.low == pytest.approx(interval.high - interval.low)
    ap = differences['ap50'].interval
    assert ap is not None and ap.low < differences['ap50'].value < ap.high < 0
    plain = run(folder, [models['shy']], ground_truth=truth, settings=Settings(draws=0))
    assert not plain.figures['shy'].intervals


# Latency, memory, energy


def test_timing(bag: Path, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, 'measured_energy', lambda *_: {})
    values = run(bag, list(models.values()), timing=True).figures['keen'].values
    mean = values['latency_mean_ms']
    assert 0 < values['latency_p50_ms'] <= values['latency_p95_ms'] <= values['latency_p99_ms']
    assert values['latency_p99_ms'] <= values['latency_max_ms']
    assert values['throughput_hz'] == pytest.approx(1000 / mean)
    for stage in ('preprocess', 'inference', 'postprocess'):
        assert 0 < values[f'latency_{stage}_p50_ms'] < values['latency_max_ms']
    assert values['memory_mb'] > 20


def test_memory_is_of_a_process_of_its_own(models: dict[str, Path], tmp_path: Path) -> None:
    ballast = np.ones(60_000_000)  # of this process, and not to be counted
    small = measure_memory(models['keen'], ENGINE)
    assert isinstance(small, float)
    assert 20e6 < small < ballast.nbytes
    failed = measure_memory(tmp_path, ENGINE)
    assert isinstance(failed, Unavailable)
    assert 'is not a model bundle' in failed.reason


class Counter(Meter):
    """A meter that counts 12 W while busy and 4 W while quiet."""

    def __init__(self) -> None:
        super().__init__(MeterInfo('fake', 'VIN', Scope.MODULE, 'all', 0.001, COUNTED, ()))
        self.watts = 4.0
        self._last = time.monotonic()
        self._energy = 0.0
        self._updates = 0

    def read(self) -> Reading:
        now = time.monotonic()
        self._energy += self.watts * (now - self._last)
        self._last = now
        self._updates += 1
        return Reading(self._energy, self.watts, now, self._updates, 0)


def test_energy_is_measured_one_model_after_the_other(
        models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, 'QUIET_SECONDS', 1.1)
    monkeypatch.setattr(cost, 'BUSY_SECONDS', 1.1)
    meter = Counter()
    order = []

    class Watched(Detector):
        def detect(self, image: Any) -> Any:
            order.append(self.bundle.card.name)
            meter.watts = 12.0
            time.sleep(0.02)
            return super().detect(image)

    detectors = {name: Watched(module.read_bundle(folder), threads=1)
                 for name, folder in models.items()}
    results = measured_energy(detectors, [draw_blobs([])], meter)
    for result in results.values():
        assert isinstance(result, EnergyPerFrame)
        assert result.joules == pytest.approx(12 * result.seconds / result.frames, rel=0.05)
        assert result.idle is not None and result.idle.watts == pytest.approx(4, rel=0.02)
        assert result.joules_above_idle == pytest.approx(result.joules * 8 / 12, rel=0.05)
    assert sorted(order) == order  # keen before shy, never in turns


def test_without_a_meter_energy_is_unavailable(
        models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, 'best', lambda _: None)
    result = measured_energy({'keen': Detector(module.read_bundle(models['keen']))}, [])
    assert 'no meter' in str(result['keen'])


def test_modelled_energy_comes_from_the_card_or_is_counted(
        models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = module.read_bundle(models['keen'])
    nothing = modelled_energy(bundle, 'eyeriss_65nm')
    assert not nothing.values and nothing.reason.startswith('the card has no account for eyeriss')
    account = {'total': {'energy_mac': 1e9, 'energy_uj': None, 'macs': 5}, 'word_bits': 16}
    stated = replace(bundle, card=replace(bundle.card, energy={'eyeriss_65nm': account}))
    energy = modelled_energy(stated, 'eyeriss_65nm')
    assert energy.values == {'energy_mac': 1e9, 'macs': 5.0}
    assert energy.source == "modelled for eyeriss_65nm, 16-bit words, the bundle's card"
    assert 'no account for jetson' in modelled_energy(stated, 'jetson').reason
    monkeypatch.setattr(cost.importlib.util, 'find_spec', lambda _: None)
    assert 'torch, which would count it, is not installed' in modelled_energy(
        bundle, 'eyeriss_65nm').reason
    broken = replace(bundle, card=replace(bundle.card, energy={'eyeriss_65nm': {'total': 3}}))
    assert 'no total.energy_mac' in modelled_energy(broken, 'eyeriss_65nm').reason


def test_what_is_counted_is_what_the_card_of_the_shipped_model_says() -> None:
    pytest.importorskip('torch')
    bundle = module.read_bundle(COMMITTED)
    stated = modelled_energy(bundle, 'eyeriss_65nm')
    counted = modelled_energy(
        replace(bundle, card=replace(bundle.card, energy={})), 'eyeriss_65nm')
    assert stated.source.endswith("the bundle's card")
    assert counted.source.endswith('counted for this evaluation')
    assert counted.values == pytest.approx(stated.values)
    assert counted.values['macs'] == 2_090_083_840
    assert counted.values['energy_mac'] > counted.values['macs']
    assert counted.account is not None and counted.account['layers']


# Bad input


def test_an_image_in_the_middle_that_does_not_decode(
        models: dict[str, Path], tmp_path: Path) -> None:
    path = write_labelled_bag(
        tmp_path / 'bag', STAMPS, LABELS, pictures=PICTURES, raw={STAMPS[2]: b'no picture'})
    result = run(path, [models['keen']], ground_truth='/truth')
    assert (result.frames, result.labelled, result.not_evaluated) == (5, 5, 1)
    trouble, = result.troubles
    assert trouble.index == 2
    assert trouble.reason.startswith(f'{path}: /camera/image: image 3: ')
    assert result.exit_status == 1
    assert result.figures['keen'].errors == ErrorCounts(
        objects=8, detections=9, correct=8, false=1)
    written = result.to_json()
    assert written['recording']['not_evaluated'] == 1 and not written['complete']
    assert written['troubles'] == [{'index': 2, 'reason': trouble.reason}]


def test_stamps_that_go_back(models: dict[str, Path], tmp_path: Path) -> None:
    stamps = [STAMPS[place] for place in (0, 2, 1, 3, 5, 4)]
    path = write_labelled_bag(tmp_path / 'bag', stamps, LABELS, pictures=PICTURES)
    result = run(path, [models['keen']], ground_truth='/truth')
    assert result.labelled == 6 and result.exit_status == 1 and not result.troubles
    warning, = result.warnings
    assert warning == (
        f'{path}: /camera/image: image 3: its stamp is older than that of the image before; so '
        'are the stamps of 2 images in all')
    assert result.figures['keen'].values['recall'] == 1


def test_a_bag_that_was_cut(models: dict[str, Path], tmp_path: Path) -> None:
    stamps = list(range(100, 8100, 100))
    path = write_labelled_bag(
        tmp_path / 'bag', stamps, {stamp: LABELS[STAMPS[0]] for stamp in stamps},
        pictures=dict.fromkeys(stamps, FRAMES[0]))
    file = rechunk(path / 'bag.mcap', 4000)
    file.write_bytes(file.read_bytes()[:file.stat().st_size // 2])
    result = run(path, [models['keen']], ground_truth='/truth')
    assert 0 < result.frames < 80
    assert result.labelled in (result.frames, result.frames - 1)
    assert result.exit_status == 1
    trouble, = result.troubles
    assert trouble.index == result.frames
    assert f'cannot be read after message {result.frames}' in trouble.reason
    assert any(str(file) in warning for warning in result.warnings)
    assert result.figures['keen'].values['ap50'] == 1


def test_metadata_that_is_missing(bag: Path, models: dict[str, Path]) -> None:
    (bag / 'metadata.yaml').unlink()
    result = run(bag, [models['keen']], ground_truth='/truth')
    assert result.labelled == 6 and result.exit_status == 1
    assert any('metadata.yaml is missing' in warning for warning in result.warnings)


def test_truth_that_matches_no_frame(models: dict[str, Path], tmp_path: Path) -> None:
    path = write_labelled_bag(tmp_path / 'bag', STAMPS, {}, pictures=PICTURES)
    pictures = write_pictures(tmp_path / 'pictures', FRAMES)
    coco = tmp_path / 'coco.json'
    coco.write_text(json.dumps({
        'images': [{'id': 1, 'file_name': 'other.jpg'}], 'annotations': [],
        'categories': [{'id': 1, 'name': 'person'}]}))
    with pytest.raises(GroundTruthError) as caught:
        run(pictures, [models['keen']], ground_truth=coco)
    assert str(caught.value) == (
        f"{coco}: matches no frame of {pictures}; it labels file names such as 'other.jpg', the "
        "recording has file names such as 'frame001.png'")
    (tmp_path / 'gt.txt').write_text('100,1,0,0,5,5,1\n')
    with pytest.raises(GroundTruthError, match='it labels frames 100 to 100, the recording has '
                       'frames from 1'):
        run(path, [models['keen']], ground_truth=tmp_path / 'gt.txt')
    # A topic whose stamps are those of another camera.
    later = write_labelled_bag(
        tmp_path / 'later', [7], {7: LABELS[STAMPS[0]]}, truth_delay=1)
    with pytest.raises(GroundTruthError, match=r'/truth: matches no frame of .*later; it labels '
                       r'stamps such as 0.000000008 s, the recording has stamps such as '
                       r'0.000000007 s'):
        run(later, [models['keen']], ground_truth='/truth')


def test_labels_of_frames_that_are_not_there_are_counted(
        bag: Path, models: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / 'gt.txt').write_text('5,1,0,0,5,5,1\n9,1,0,0,5,5,1\n')
    result = run(bag, [models['keen']], ground_truth=tmp_path / 'gt.txt')
    assert result.labelled == 2
    assert any('3 of 5 labelled frames are not among' in note for note in result.notes)


def test_a_recording_without_one_good_image(models: dict[str, Path], tmp_path: Path) -> None:
    path = write_labelled_bag(tmp_path / 'bag', [1, 2], {}, raw={1: b'x', 2: b'y'})
    with pytest.raises(RecordingError, match='bag: not one image could be evaluated; .*image 1'):
        run(path, [models['keen']])


# How it is done


def test_a_frame_is_decoded_once_and_not_kept(
        models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_pictures(tmp_path / 'pictures', FRAMES * 8)
    alive: list[weakref.ref[Any]] = []
    most = 0

    class Watch(Corruption):
        def image(self, image: np.ndarray, index: int) -> np.ndarray:
            nonlocal most
            copy = image.copy()
            alive.append(weakref.ref(copy))
            most = max(most, sum(one() is not None for one in alive))
            return copy

    progress: list[tuple[int, int | None]] = []
    result = run(folder, list(models.values()), corruption=Watch(1),
                 progress=lambda done, total: progress.append((done, total)))
    assert result.frames == 48 == len(alive)
    assert most <= 2  # this one, and the one before until its name is given away
    assert progress == [(number, 48) for number in range(1, 49)]


def test_digest_is_that_of_sha256sum(bag: Path, tmp_path: Path) -> None:
    file = bag / 'bag.mcap'
    assert digest_of(file) == hashlib.sha256(file.read_bytes()).hexdigest()
    printed = subprocess.run(
        'LC_ALL=C sha256sum * | sha256sum', shell=True, cwd=bag, check=True, capture_output=True,
        text=True).stdout
    assert digest_of(bag) == printed.split()[0]
    before = digest_of(bag)
    file.write_bytes(file.read_bytes() + b' ')
    assert digest_of(bag) != before


def test_settings_that_cannot_be() -> None:
    for wrong in ({'score_threshold': 0.5}, {'score_threshold': 0.0}, {'operating_point': 1.0},
                  {'draws': -1}, {'block': 0}):
        with pytest.raises(ValueError):
            Settings(**wrong)  # type: ignore[arg-type]


def test_words_that_contradict(bag: Path, models: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match='one model or more'):
        run(bag, [])
    with pytest.raises(ValueError, match='not both'):
        run(bag, [models['keen']], ground_truth='/truth', reference=models['keen'])


# The command


@pytest.fixture
def command(bag: Path, models: dict[str, Path], tmp_path: Path) -> Callable[..., int]:
    def run(*words: str, recording: Path = bag) -> int:
        return main(['evaluate', str(recording), '--model', str(models['keen']), '--no-timing',
                     '--json', str(tmp_path / 'out.json'), *words])
    return run


def test_command(
        command: Callable[..., int], models: dict[str, Path], tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    assert command('--ground-truth', '/truth', '--model', str(models['shy']),
                   '--require', 'recall>=0.9', '--require', 'keen:recall>=1') == 0
    out, err = capsys.readouterr()
    assert 'bag /camera/image: 6 frames evaluated, 6 judged, 0 not evaluated' in out
    assert 'keen: of 10 objects 10 found, 0 missed; 1 false' in out
    assert not err
    written = json.loads((tmp_path / 'out.json').read_text())
    assert list(written['models']) == ['keen', 'shy']
    assert written['models']['shy']['recall'] == pytest.approx(0.9)
    assert written['requirements'] == ['recall>=0.9', 'keen:recall>=1']
    assert written['requirements_not_met'] == []
    assert len(written['recording']['digest']) == 64
    assert len(written['models']['keen']['precision_recall']['person']) == 101


def test_a_requirement_that_is_not_met(
        command: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert command('--ground-truth', '/truth', '--require', 'precision>=0.95',
                   '--require', 'recall>=0.5', '--require', 'ap_large>=0') == 1
    assert capsys.readouterr().err.splitlines() == [
        'requirement not met: precision>=0.95: keen has precision 0.909091',
        'requirement not met: ap_large>=0: keen has ap_large unavailable (the frames that were '
        'judged hold no large objects of the judged classes)']


@pytest.mark.parametrize(('words', 'reason'), [
    (['--require', 'map>=1'], "there is no figure 'map'; there are ap, ap50"),
    (['--require', 'ap50=1'], 'must be like ap50>=0.9'),
    (['--json', '/absent/out.json'], 'cannot be written'),
    (['--hardware', 'abacus'], "no hardware profile 'abacus'"),
    (['--ground-truth', 'x', '--reference', 'y'], 'not allowed with argument'),
    (['--realtime', '--attach'], 'not allowed with argument'),
    (['--block', '0'], 'of at least 1'), (['--score-threshold', '2'], 'from 0.001 to 0.999')])
def test_wrong_words(
        words: list[str], reason: str, command: Callable[..., int],
        capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command(*words)
    assert caught.value.code == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(('words', 'reason'), [
    (['--require', 'other:ap>=1'], "there is no model 'other'; there are keen"),
    (['--score-threshold', '0.5'], 'must be above 0 and at most the operating point'),
    (['--rate', '2'], '--rate: is for --realtime'),
    (['--attach', '--rate', '2'], '--rate: is for --realtime'),
    (['--severity', '2'], '--severity: is for --corruptions'),
    (['--truth-class', 'car'], '--truth-class: is for --ground-truth'),
    (['--corruptions', 'fog'], '--corruptions: without --ground-truth or --reference'),
    (['--bootstrap', '0', '--block', '3'], '--block: with --bootstrap 0 nothing is drawn'),
    (['--require', 'streaming_ap50>=1', '--ground-truth', '/truth'], '--realtime or --attach'),
    (['--require', 'latency_p99_ms<=9'], 'with --no-timing there is no latency_p99_ms'),
    (['--require', 'ap>=0'], 'ap was not asked for; it needs --ground-truth')])
def test_words_that_are_wrong_together(
        words: list[str], reason: str, command: Callable[..., int], tmp_path: Path,
        capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, 'evaluate', forbidden)
    assert command(*words) == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / 'out.json').exists()


def forbidden(*_: Any, **__: Any) -> None:
    raise AssertionError('the work began before the words were looked at')


def test_outputs_do_not_write_over_each_other_or_what_is_read(
        command: Callable[..., int], bag: Path, tmp_path: Path,
        capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, 'evaluate', forbidden)
    labels = tmp_path / 'labels.json'
    labels.write_text('{}')
    (tmp_path / 'new').mkdir()
    (tmp_path / 'link.html').symlink_to(tmp_path / 'out.json')
    for words in (
            ['--html', str(tmp_path / 'out.json')], ['--html', str(tmp_path / 'link.html')],
            ['--html', str(labels), '--ground-truth', str(labels)], ['--bag-out', str(bag)],
            ['--bag-out', str(tmp_path / 'new'), '--json', str(tmp_path / 'new/x.json')]):
        assert command(*words) == 2
        assert 'written besides' in capsys.readouterr().err
    assert labels.read_text() == '{}'


def test_models_that_are_one_topic_are_refused_before_the_work(
        command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, 'evaluate', forbidden)
    words = []
    for name in ('a-b', 'a_b'):
        write_blobs(tmp_path / name)
        words += ['--model', str(tmp_path / name)]
    assert command(*words, '--bag-out', str(tmp_path / 'found')) == 2
    assert "models 'a-b' and 'a_b' would both write to /a_b" in capsys.readouterr().err


def test_what_goes_wrong_inside_is_not_taken_for_wrong_words(
        command: Callable[..., int], capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError('shapes do not fit')

    monkeypatch.setattr(module, 'replay', fail)
    assert command() == 1
    err = capsys.readouterr().err
    assert 'evaluate: ValueError: shapes do not fit (a fault of the program, at ' in err
    assert 'test_evaluation.py line' in err and len(err.splitlines()) == 1


# What fails when the figures are there


def test_figures_outlive_a_page_and_a_bag_that_cannot_be_written(
        command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr('rosbags.rosbag2.Writer.write', full)
    # What is written there finds the disk full.
    assert command('--ground-truth', '/truth', '--html', '/dev/full',
                   '--bag-out', str(tmp_path / 'found')) == 1
    out, err = capsys.readouterr()
    assert 'keen: of 10 objects 10 found' in out
    lines = err.splitlines()
    assert lines == [
        'failed: --html /dev/full: [Errno 28] No space left on device',
        f'failed: --bag-out {tmp_path / "found"}: cannot be written: No space left on device']
    assert not (tmp_path / 'found').exists()
    written = json.loads((tmp_path / 'out.json').read_text())
    assert written['models']['keen']['recall'] == 1
    assert [f'failed: {line}' for line in written['failures']] == lines
    assert f'wrote {tmp_path / "out.json"}' in out and 'wrote /dev/full' not in out


def test_figures_that_cannot_be_written_are_printed(
        command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / 'page.html'
    assert command('--ground-truth', '/truth', '--json', '/dev/full', '--html', str(page)) == 1
    out, err = capsys.readouterr()
    assert 'keen: of 10 objects 10 found' in out
    assert err == 'failed: --json /dev/full: [Errno 28] No space left on device\n'
    assert '--json /dev/full: [Errno 28]' in page.read_text()


def test_figures_outlive_a_fault_in_the_page(
        command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise KeyError('layer')

    monkeypatch.setattr('prune_perception.evaluation.report.html_report', fail)
    assert command('--html', str(tmp_path / 'page.html')) == 1
    assert "page.html: KeyError: 'layer' (a fault of the program, at" in capsys.readouterr().err
    assert json.loads((tmp_path / 'out.json').read_text())['recording']['frames'] == 6


def test_figures_outlive_corruptions_that_break_off(
        command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch) -> None:
    done = []

    def fail(*arguments: Any, **words: Any) -> Any:
        if done:
            raise RecordingError('bag: the disk is gone')
        done.append(words['corruption'].name)
        return replay(*arguments, **words)

    monkeypatch.setattr(robustness, 'replay', fail)
    assert command('--ground-truth', '/truth', '--corruptions', 'jpeg', 'fog',
                   '--severity', '1') == 1
    out, err = capsys.readouterr()
    assert err == 'failed: corruptions: bag: the disk is gone\n'
    assert 'jpeg, keen: ap50 0.' in out
    written = json.loads((tmp_path / 'out.json').read_text())
    assert list(written['corruptions']) == ['jpeg'] and written['models']['keen']['recall'] == 1


def played(name: str, answered: int = 6, **others: Any) -> RealtimeRun:
    """Return a run in which each of the first frames had its result, empty, after 10 ms."""
    return RealtimeRun(
        name, '', ('person', 'dog'), 1.0, tuple(
            RealtimeFrame(index, 1.0 + index, *(
                (1.01 + index, Detections.none()) if index < answered else ()))
            for index in range(6)), 0.002, **others)


def test_figures_outlive_a_node_that_does_not_start(
        command: Callable[..., int], models: dict[str, Path], tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def play(path: Path, topic: str | None, model: Path, **words: Any) -> RealtimeRun:
        if model == models['shy']:
            raise RealtimeError('the detector does not start')
        return judged_by(played(words['name']), words['truth'], words['judged_classes'])

    monkeypatch.setattr(job, 'run_realtime', play)
    page = tmp_path / 'page.html'
    assert command(
        '--model', str(models['shy']), '--ground-truth', '/truth', '--realtime', '--require',
        'streaming_ap50>=0', '--html', str(page)) == 1
    out, err = capsys.readouterr()
    reason = 'real time, shy: the detector does not start'
    assert err.splitlines() == [
        f'failed: {reason}', 'requirement not met: streaming_ap50>=0: shy has streaming_ap50 '
        f'unavailable ({reason})']
    assert re.search(r'frames processed +6 +unavailable', out)
    written = json.loads((tmp_path / 'out.json').read_text())
    keen, shy = written['models']['keen'], written['models']['shy']
    assert keen['realtime_processed'] == 6 and shy['recall'] == pytest.approx(0.9)
    assert shy['streaming_ap'] is None and shy['realtime_processed'] is None
    assert shy['unavailable']['streaming_ap'] == shy['unavailable']['realtime_processed'] == reason
    assert written['failures'] == [reason]
    assert reason in page.read_text()


def test_figures_of_real_time_that_could_not_be_had_say_why(
        command: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    def play(*_: Any, **words: Any) -> RealtimeRun:
        return replace(played(words['name'], answered=0), attached=True, late=None)

    monkeypatch.setattr(job, 'run_realtime', play)
    assert command('--realtime') == 0
    keen = json.loads((tmp_path / 'out.json').read_text())['models']['keen']
    assert keen['realtime_published'] == keen['realtime_dropped'] == 6
    for key, reason in (
            ('realtime_age_p50_ms', 'no result came back'), ('realtime_late_ms', 'somebody else'),
            ('streaming_ap50', 'neither ground truth nor a reference')):
        assert keen[key] is None and reason in keen['unavailable'][key]
    out = capsys.readouterr().out
    for title, number in (('published', 6), ('processed', 0), ('dropped', 6)):
        assert re.search(rf'frames {title} +{number}\n', out)
    unknown = replace(played('a'), frames=tuple(
        replace(frame, index=None) for frame in played('a').frames))
    assert 'by its stamp' in unknown.unavailable(True)['streaming_ap']
    assert 'no objects' in replace(unknown, judged=3).unavailable(True)['streaming_ap50']


@pytest.mark.parametrize('truth', ['--ground-truth', '--reference'])
def test_models_are_compared_in_real_time_too(
        truth: str, command: Callable[..., int], models: dict[str, Path], tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def play(path: Path, topic: str | None, model: Path, **words: Any) -> RealtimeRun:
        better = model == models['keen']
        return replace(played(words['name'], 6 if better else 4), judged=6,
                       streaming_ap=0.5, streaming_ap50=0.75 if better else 0.5)

    monkeypatch.setattr(job, 'run_realtime', play)
    page = tmp_path / 'page.html'
    given = '/truth' if truth == '--ground-truth' else str(models['keen'])
    key = 'streaming_ap50' if truth == '--ground-truth' else 'agreement_streaming_ap50'
    assert command('--model', str(models['shy']), truth, given, '--realtime',
                   '--html', str(page)) == 0
    written = json.loads((tmp_path / 'out.json').read_text())
    assert written['models']['keen'][key] == 0.75
    differences = {entry['key']: entry for entry in written['differences']}
    assert len(differences) == len(written['differences'])
    assert differences[key] == {
        'key': key, 'first': 'keen', 'second': 'shy', 'value': -0.25, 'interval': None}
    assert differences['realtime_dropped']['value'] == 2
    assert f'shy - keen: {key} -0.25\n' in capsys.readouterr().out
    assert re.search(r'streaming AP50</th><td>−0.250</td>', page.read_text())
    assert 'frames dropped in real time</th><td>+2</td>' in page.read_text()


def test_jobs_that_fail_say_why(
        command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command('--ground-truth', '/turth') == 1
    assert 'topics of vision_msgs/msg/Detection2DArray: /truth' in capsys.readouterr().err
    assert command(recording=tmp_path / 'absent.mcap') == 1
    assert 'absent.mcap: there is no such file' in capsys.readouterr().err
    assert not (tmp_path / 'out.json').exists()


def test_a_bad_recording_is_evaluated_and_told(
        command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_labelled_bag(
        tmp_path / 'bad', STAMPS, LABELS, pictures=PICTURES,
        raw=dict.fromkeys(STAMPS[1:3], b'no picture'))
    assert command('--ground-truth', '/truth', recording=path) == 1
    out, err = capsys.readouterr()
    assert '4 frames evaluated, 4 judged, 2 not evaluated' in out
    lines = err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f'not evaluated: {path}: /camera/image: image 2: ')
    written = json.loads((tmp_path / 'out.json').read_text())
    assert written['recording']['not_evaluated'] == 2 and written['models']['keen']['recall'] == 1


def test_command_with_all_that_goes_beside_it(
        command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, found = tmp_path / 'page.html', tmp_path / 'found'
    assert command(
        '--ground-truth', '/truth', '--corruptions', 'dropped_frames', 'low_light', '--severity',
        '5', '1', '--html', str(page), '--bag-out', str(found)) == 0
    written = json.loads((tmp_path / 'out.json').read_text())
    clean = written['models']['keen']['recall']
    assert set(written['corruptions']) == {'dropped_frames', 'low_light'}
    assert set(written['corruptions']['low_light']) == {'1', '5'}
    dark = written['corruptions']['low_light']['5']['keen']
    assert dark['ap_large'] is None and 'large objects' in dark['unavailable']['ap_large']
    assert written['failures'] == []
    assert f', evaluated {written["date"]} (UTC). ' in page.read_text()
    # Eight stops less light leave nothing that is bright.
    assert written['corruptions']['low_light']['5']['keen']['recall'] < clean == 1
    assert 'low light' in page.read_text().lower()
    assert f'wrote {found}' in capsys.readouterr().out
    with open_recording(found, '/camera/image/compressed') as recording:
        assert recording.count == 6
    (arrays,) = [topic for topic in recording.topics if topic.name == '/keen/detections']
    assert arrays.count == 6
    assert command('--bag-out', str(found)) == 1
    assert str(found) in capsys.readouterr().err
    assert command('--corruptions', 'plague') == 2
    assert "'plague'" in capsys.readouterr().err


def test_corruptions_open_and_read_nothing_twice(
        bag: Path, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    words: dict[str, Any] = {'ground_truth': '/truth', 'engine': ENGINE}
    clean = run(bag, [models['keen']], **words)
    opened: list[str] = []

    class Watched(Detector):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            opened.append('engine')

    def count(what: str) -> Callable[..., Any]:
        return lambda *_, **__: opened.append(what)

    progress: list[tuple[int, int | None]] = []
    with monkeypatch.context() as patch:
        patch.setattr(module, 'Detector', Watched)
        patch.setattr(module, 'digest_of', count('digest'))
        patch.setattr(module, 'modelled_energy', count('energy'))
        found = [(corruption.name, corruption.severity, figures['keen'])
                 for corruption, figures in under_corruptions(
                     clean, [models['keen']], names=['jpeg', 'frozen_frames', 'jpeg'],
                     severities=[1, 5, 1], progress=lambda *both: progress.append(both), **words)]
    assert [(name, severity) for name, severity, _ in found] == [
        ('jpeg', 1), ('jpeg', 5), ('frozen_frames', 1), ('frozen_frames', 5)]
    assert opened == ['engine']
    assert progress == [(number, 24) for number in range(1, 25)]
    # The same as one by one.
    alone = run(bag, [models['keen']], corruption=create_corruption('frozen_frames', 5), **words)
    for key, value in found[-1][2].values.items():
        assert value == alone.figures['keen'].values[key]
    assert found[-1][2].errors == alone.figures['keen'].errors


def test_progress_of_corruptions_counts_bad_images_too(
        models: dict[str, Path], tmp_path: Path) -> None:
    path = write_labelled_bag(
        tmp_path / 'bad', STAMPS, LABELS, pictures=PICTURES, raw={STAMPS[2]: b'no picture'})
    words: dict[str, Any] = {'ground_truth': '/truth', 'engine': ENGINE}
    progress: list[tuple[int, int | None]] = []
    clean = run(path, [models['keen']], **words)
    assert clean.frames == 5
    list(under_corruptions(clean, [models['keen']], names=['jpeg'], severities=[1, 2],
                           progress=lambda *both: progress.append(both), **words))
    assert progress[-1] == (12, 12)
    assert [done for done, _ in progress] == [1, 2, 4, 5, 6, 7, 8, 10, 11, 12]


def test_command_with_several_recordings(
        bag: Path, models: dict[str, Path], tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / 'all'
    for name in ('one', 'two'):
        shutil.copytree(bag, folder / name)
    words = ['--model', str(models['keen']), '--ground-truth', '/truth', '--no-timing']
    page = tmp_path / 'page.html'
    assert main(['evaluate', str(folder), *words, '--workers', '2', '--html', str(page)]) == 0
    assert '12 frames evaluated, 12 judged' in capsys.readouterr().out
    assert str(folder / 'one') in page.read_text()
    assert main(['evaluate', str(folder / 'one'), str(folder / 'two'), *words]) == 0
    assert '12 frames evaluated, 12 judged' in capsys.readouterr().out
    assert main(['evaluate', str(folder), *words, '--realtime']) == 2
    assert 'take one recording' in capsys.readouterr().err
    assert main(['evaluate', str(folder / 'one'), str(tmp_path / 'none'), *words]) == 1
    out, err = capsys.readouterr()
    assert '6 frames evaluated, 6 judged, 0 not evaluated\n1 recordings failed whole' in out
    assert err == f'not evaluated: {tmp_path / "none"}: there is no such file or folder\n'


@pytest.mark.slow
def test_command_in_real_time(
        command: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command('--ground-truth', '/truth', '--realtime', '--rate', '0.5',
                   '--require', 'realtime_processed>=1', '--require', 'streaming_ap50>=1.1') == 1
    written = json.loads((tmp_path / 'out.json').read_text())
    assert written['models']['keen']['realtime_published'] == 6
    assert written['models']['keen']['streaming_ap50'] is not None
    assert len(written['requirements_not_met']) == 1


def test_command_beside_a_node_that_runs_already(
        command: Callable[..., int], models: dict[str, Path], tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: dict[str, Any] = {}
    order: list[str] = []

    def listen(path: Path, topic: str | None, model: Path | None, **words: Any) -> RealtimeRun:
        asked.update(words, model=model)
        words['ready']('/camera/image/compressed')
        order.append('listened')
        # Of the four frames with a person and a dog, what is known is that of the frame before.
        seen = Detections(
            np.array([box_of(1, 1)], np.float32), np.array([0.9], np.float32), np.array([0]))
        return RealtimeRun(
            words['detector'], '', ('person', 'dog'), None, tuple(
                RealtimeFrame(index, 1.0 + index, 1.5 + index, seen) for index in range(6)),
            None, attached=True)

    def evaluated(*arguments: Any, **words: Any) -> Evaluation:
        order.append('evaluated')
        return evaluate(*arguments, **words)

    monkeypatch.setattr(job, 'run_realtime', listen)
    monkeypatch.setattr(job, 'evaluate', evaluated)
    assert command('--ground-truth', '/truth', '--attach', '/front/eye') == 0
    # Who plays must not wait for an evaluation of which nothing tells.
    assert order == ['listened', 'evaluated']
    assert capsys.readouterr().out.startswith(
        'listening on /camera/image/compressed and to /front/eye: start the player now\n')
    assert (asked['attach'], asked['detector'], asked['model']) == (True, '/front/eye', None)
    written = json.loads((tmp_path / 'out.json').read_text())['models']['keen']
    # Five of six people are found, and no dog.
    assert written['streaming_ap50'] == pytest.approx(84 / 101 / 2)
    assert written['realtime_age_p50_ms'] == pytest.approx(500)
    assert written['realtime_late_ms'] is None
    order.clear()
    assert command('--attach', '--model', str(models['shy'])) == 2
    assert 'one model' in capsys.readouterr().err
    # What would make the play useless is told before anybody plays.
    assert command('--attach', '--ground-truth', '/turth') == 1
    assert '/turth' in capsys.readouterr().err
    assert not order


def test_an_interval_ends_where_the_figure_can(bag: Path) -> None:
    drawn = np.array([0.0, 0.0, 0.0, 100.0] * 25)
    assert interval_of(1.0, drawn) != interval_of(1.0, drawn, (0.0, 50.0))
    assert interval_of(1.0, drawn, (0.0, 50.0)) == Interval(0.0, 50.0)


def test_every_key_is_in_the_documentation(bag: Path, models: dict[str, Path]) -> None:
    text = (ROOT / 'docs' / 'evaluation.md').read_text()
    for key in KEYS:
        if not key.startswith(AGREEMENT):
            assert f'`{key}`' in text, key
    written = run(bag, [models['keen']], ground_truth='/truth').to_json()
    for key in {*written, *written['models']['keen'], *written['recording']} - set(KEYS):
        assert f'`{key}`' in text, key
