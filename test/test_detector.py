# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
import time
from typing import Any

from bundles import COMMITTED, small_card, unwritten
import numpy as np
from numpy.typing import NDArray
import pytest

from prune_perception.bundle import Bundle, BundleError, DecoderSpec, read_bundle
from prune_perception.frames.recording import open_recording
from prune_perception.runtime import detector as module
from prune_perception.runtime.detector import Detector
from prune_perception.runtime.engines import EngineError

RECORDING = Path(__file__).resolve().parent.parent / 'demo' / 'pedestrians'
FIRST_IN_VIDEO = 131  # of the recording, counting the video's frames from 1
PERSON, DOG = 0, 1


class FakeEngine:
    """In place of a network: its outputs are given."""

    description, problems = 'fake', ()

    def __init__(self) -> None:
        self.maps = [np.zeros((1, 14, 4, 8), np.float32), np.zeros((1, 14, 2, 4), np.float32)]
        for level in self.maps:
            level[:, :2] = -12
        self.seen: list[NDArray[np.uint8]] = []

    def put(self, row: int, column: int, of: int, logit: float, bins: Sequence[int]) -> None:
        """Write an object into the map of stride 8."""
        self.maps[0][0, of, row, column] = logit
        for side, number in enumerate(bins):
            self.maps[0][0, 2 + 3 * side:5 + 3 * side, row, column] = 0
            self.maps[0][0, 2 + 3 * side + number, row, column] = 100

    def run(self, image: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        self.seen.append(image.copy())
        time.sleep(0.002)
        return self.maps


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    engine = FakeEngine()
    monkeypatch.setattr(module, 'create_engine', lambda *_: engine)
    # Two people who overlap, a dog in the place of the first, and another without width.
    engine.put(1, 2, PERSON, 3.0, (1, 1, 1, 1))
    engine.put(2, 2, PERSON, 1.0, (1, 1, 1, 1))
    engine.put(1, 2, DOG, 2.0, (1, 1, 1, 1))
    engine.put(3, 7, DOG, 0.5, (0, 1, 0, 0))
    return engine


@pytest.fixture
def create(engine: FakeEngine) -> Callable[..., Detector]:
    def create(rule: str = 'stretch', **options: Any) -> Detector:
        card = small_card()
        card = replace(card, input=replace(card.input, resize=rule))
        return Detector(unwritten(card), **options)
    return create


@pytest.fixture(scope='module')
def committed() -> Bundle:
    return read_bundle(COMMITTED)


@pytest.fixture(scope='module')
def first_image() -> NDArray[np.uint8]:
    pytest.importorskip('rosbags')
    with open_recording(RECORDING) as recording:
        return next(iter(recording)).image()


def blank(height: int = 64, width: int = 256) -> NDArray[np.uint8]:
    return np.zeros((height, width, 3), np.uint8)


def test_detections_by_hand(create: Callable[..., Detector]) -> None:
    # 256 x 64 is shown to the network as 64 x 32: 4 times across, twice down.
    found = create(score_threshold=0.6).detect(blank()).detections
    # (12, 4, 28, 20), (12, 4, 28, 20), (12, 12, 28, 28), and (60, 20, 60, 28), which is empty.
    assert found.classes.tolist() == [PERSON, DOG, PERSON]
    np.testing.assert_allclose(
        found.boxes, [[48, 8, 112, 40], [48, 8, 112, 40], [48, 24, 112, 56]], atol=1e-3)
    np.testing.assert_allclose(found.scores, [0.95257, 0.88080, 0.73106], atol=1e-5)


def test_overlapping_objects_of_one_class(create: Callable[..., Detector]) -> None:
    detector = create(score_threshold=0.6, iou_threshold=0.34)  # they share 128 of 384
    assert detector.detect(blank()).detections.classes.tolist() == [PERSON, DOG, PERSON]
    detector.iou_threshold = 0.33
    assert detector.detect(blank()).detections.classes.tolist() == [PERSON, DOG]


def test_thresholds_may_change_while_it_runs(create: Callable[..., Detector]) -> None:
    detector = create(score_threshold=0.9)
    assert len(detector.detect(blank()).detections) == 1
    detector.score_threshold = 0.5
    assert detector.detect(blank()).detections.classes.tolist() == [PERSON, DOG, PERSON]
    detector.max_detections = 2
    found = detector.detect(blank()).detections
    np.testing.assert_allclose(found.scores, [0.95257, 0.88080], atol=1e-5)


@pytest.mark.parametrize(('wanted', 'expected'), [
    (None, [PERSON, DOG, PERSON]), (['dog'], [DOG]), (['person'], [PERSON, PERSON]),
    (['dog', 'person'], [PERSON, DOG, PERSON]), ([], [])])
def test_classes_that_are_not_wanted_are_left_out(
        wanted: list[str] | None, expected: list[int], create: Callable[..., Detector]) -> None:
    detector = create(score_threshold=0.5, class_names=wanted)
    assert detector.detect(blank()).detections.classes.tolist() == expected


def test_unknown_classes_are_refused_with_the_known_ones(
        create: Callable[..., Detector]) -> None:
    with pytest.raises(EngineError) as caught:
        create(class_names=['dog', 'unicorn', 'Person'])
    assert str(caught.value) == (
        "class 'unicorn', 'Person' is not in bundle small; it has person, dog")


def test_settings_of_the_decoder_are_checked(engine: FakeEngine) -> None:
    with pytest.raises(BundleError, match='decoder.settings do not fit'):
        Detector(unwritten(small_card(decoder=DecoderSpec('nanodet', {}))))


def test_what_is_seen_beside_the_image_is_left_out(
        engine: FakeEngine, create: Callable[..., Detector]) -> None:
    # A square lies in the middle of the network's input, from 16 to 48. (0, 0, 12, 8) is beside.
    detector = create('letterbox', score_threshold=0.6)
    engine.put(0, 0, PERSON, 4.0, (1, 1, 1, 0))
    found = detector.detect(blank(32, 32)).detections
    assert found.classes.tolist() == [PERSON, DOG, PERSON]
    np.testing.assert_allclose(
        found.boxes, [[0, 4, 12, 20], [0, 4, 12, 20], [0, 12, 12, 28]], atol=1e-4)


def test_the_best_candidates_are_suppressed_where_there_are_too_many(
        engine: FakeEngine, create: Callable[..., Detector],
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, 'MAX_CANDIDATES', 6)
    random = np.random.default_rng(0)
    engine.maps[0][0, :2] = random.permutation(np.linspace(-3, 3, 64)).reshape(2, 4, 8)
    detector = create(score_threshold=0.01, iou_threshold=1.0)
    found = detector.detect(blank()).detections
    best = 1 / (1 + np.exp(-np.linspace(-3, 3, 64)[-6:]))
    assert set(found.scores.round(5)) <= set(best.astype(np.float32).round(5))
    assert found.scores[0] == pytest.approx(best[-1], abs=1e-6)
    assert np.all(np.diff(found.scores) <= 0)


def test_durations(create: Callable[..., Detector]) -> None:
    detector = create()
    start = time.monotonic()
    timing = detector.detect(blank()).timing
    passed = time.monotonic() - start
    assert timing.inference >= 0.002
    assert min(timing.preprocess, timing.postprocess) > 0
    assert timing.preprocess + timing.inference + timing.postprocess <= passed


def test_warming_up_runs_on_grey(engine: FakeEngine, create: Callable[..., Detector]) -> None:
    assert create().warm_up(runs=2) >= 0.002
    assert len(engine.seen) == 3
    assert all((image == 127).all() for image in engine.seen)


def test_other_arrays_than_images_are_refused(create: Callable[..., Detector]) -> None:
    with pytest.raises(ValueError, match='image is uint8 .480, 640.; it must be'):
        create().detect(np.zeros((480, 640), np.uint8))


# With the network that comes with the package


def test_nothing_is_found_on_grey(committed: Bundle) -> None:
    result = Detector(committed, threads=2).detect(np.full((576, 768, 3), 127, np.uint8))
    assert len(result.detections) == 0
    assert result.detections.boxes.shape == (0, 4)


def test_people_are_found_where_they_are(
        committed: Bundle, first_image: NDArray[np.uint8]) -> None:
    detector = Detector(committed, threads=2, class_names=['person'])
    found = detector.detect(first_image).detections
    # Looked at: a point of the body of each who stands clear of others and of the lamp post.
    people = [(391, 225), (603, 150), (627, 155), (693, 155), (613, 270), (142, 95)]
    for x, y in people:
        around = [
            box for box in found.boxes if box[0] < x < box[2] and box[1] < y < box[3]]
        assert around, f'nobody is found at {x}, {y}'
        sides = around[0][2:] - around[0][:2]
        assert 1.5 < sides[1] / sides[0] < 4, 'people are upright'
    assert len(found) <= 11
    # The lawn at the lower left is empty but for clothes and a tripod.
    assert not [box for box in found.boxes if box[0] < 450 and box[3] > 320]
    again = detector.detect(first_image).detections
    np.testing.assert_array_equal(again.boxes, found.boxes)


def test_people_are_found_where_others_marked_them(
        committed: Bundle, first_image: NDArray[np.uint8], data: Path) -> None:
    lines = (data / 'pets09-s2l1' / 'gt_frames_1-400.txt').read_text().splitlines()
    rows = [[float(field) for field in line.split(',')[:6]] for line in lines]
    marked = np.array([row[2:] for row in rows if row[0] == FIRST_IN_VIDEO])
    marked[:, 2:] += marked[:, :2]
    assert len(marked) == 7
    detector = Detector(committed, threads=2, class_names=['person'])
    found = detector.detect(first_image).detections.boxes
    sides = (np.minimum(marked[:, None, 2:], found[None, :, 2:])
             - np.maximum(marked[:, None, :2], found[None, :, :2])).clip(0)
    shared = sides.prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (marked, found)]
    overlap = shared / (areas[0][:, None] + areas[1][None] - shared)
    # One of them is half behind another, and one behind the sign.
    assert (overlap.max(axis=1) > 0.5).sum() >= 5


def test_an_image_leaves_no_trace_in_the_next(
        committed: Bundle, first_image: NDArray[np.uint8]) -> None:
    detector = Detector(committed, threads=2)
    expected = detector.detect(first_image).detections
    detector.detect(np.ascontiguousarray(first_image[:100, :700]))
    found = detector.detect(first_image).detections
    np.testing.assert_array_equal(found.boxes, expected.boxes)
    np.testing.assert_array_equal(found.scores, expected.scores)
