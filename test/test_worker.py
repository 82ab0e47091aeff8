# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The worker with cameras and detectors that the test holds in its hand: no waiting for luck."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import gc
import threading
import time
from typing import Any
import weakref

import cv2
import numpy as np
import pytest
from robot import raw
from sensor_msgs.msg import CompressedImage, Image

from prune_perception.detections import Detections
from prune_perception.nodes.camera_settings import CameraSettings
from prune_perception.nodes.preparation import Prepared
from prune_perception.nodes.watchdog import Watchdog
from prune_perception.nodes.worker import Worker
from prune_perception.runtime.detector import Result, Timing
from prune_perception.runtime.monitor import ABOVE_MAX_RATE, DISABLED, Monitor
from prune_perception.runtime.region import Region

PATIENCE = 10.0  # seconds; reached only where something is broken


class Gate:
    """A detector that says when it has begun with an image, and ends with it when it is let."""

    input_size = (16, 8)

    def __init__(self, index: int = 0, *, closed: bool = False) -> None:
        self.index = index
        self.wanted: Any = None
        self.seen: list[tuple[tuple[int, ...], Any]] = []
        self.begun = threading.Semaphore(0)
        self._open = threading.Semaphore(0)
        self._closed = closed

    def detect(self, image: np.ndarray) -> Result:
        self.seen.append((image.shape, self.wanted))
        self.begun.release()
        if self._closed:
            assert self._open.acquire(timeout=PATIENCE)
        if image.shape[0] == 13:
            raise ValueError('thirteen rows')
        return Result(
            Detections(np.array([[0, 0, 2, 2]], np.float32), np.ones(1, np.float32),
                       np.array([self.index])), Timing(0.0, 0.001, 0.0))

    def cancel(self) -> None:
        raise AssertionError('nothing hangs here')

    def begins(self) -> None:
        assert self.begun.acquire(timeout=PATIENCE)

    def let(self) -> None:
        self._open.release()


class Stand:
    """A camera that keeps what it is told."""

    name = ''
    watched = False

    def __init__(self, **settings: Any) -> None:
        self.settings = CameraSettings(**settings)
        self.monitor = Monitor()
        self.published: list[tuple[str, int]] = []
        self.boxes: list[list[float]] = []
        self.shown: list[tuple[int, ...]] = []
        self.failures: list[str] = []

    def publish(self, detections: Detections, header: Any) -> None:
        self.published.append((header.frame_id, int(detections.classes[0])))
        self.boxes.append(detections.boxes[0].tolist())

    def annotated(self, image: np.ndarray, detections: Detections, header: Any) -> Any:
        return image.shape

    def show(self, message: Any) -> None:
        self.shown.append(message)

    def age_of(self, header: Any) -> float | None:
        return None

    def failed(self, error: Exception) -> None:
        self.failures.append(str(error))

    def counts(self) -> dict[str, int]:
        snapshot = self.monitor.snapshot(time.monotonic())
        return {'received': snapshot.received, 'processed': snapshot.processed,
                'dropped': snapshot.dropped, 'failed': snapshot.failed, **snapshot.left_out}


@pytest.fixture
def work() -> Iterator[Callable[..., Worker]]:
    """Start workers, and end them."""
    workers: list[Worker] = []
    watchdog = Watchdog(limit=lambda: 0.0, ending=lambda: False, last_words=print)

    def start(detector: Any, cameras: dict[str, Any], **words: Any) -> Worker:
        workers.append(Worker(
            Prepared(detector, 0.0), cameras, max_pixels=10_000, watchdog=watchdog, **words))
        return workers[-1]
    yield start
    for worker in workers:
        worker.stop()
    watchdog.stop()


def image(name: str, height: int = 10, width: int = 20) -> Image:
    message = raw(np.zeros((height, width, 3), np.uint8))
    message.header.frame_id = name
    return message


def wait(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_each_camera_gets_its_own_results(work: Callable[..., Worker]) -> None:
    front = Stand(region=Region(0.5, 0.5, 0.5, 0.5), classes=np.array([3]))
    rear = Stand()
    detector = Gate()
    worker = work(detector, {'front': front, 'rear': rear})
    worker.offer('front', image('f'))
    wait(lambda: front.published)
    worker.offer('rear', image('r', 40, 30))
    wait(lambda: rear.shown)
    assert [(name) for name, _ in front.published] == ['f']
    assert [(name) for name, _ in rear.published] == ['r']
    assert [shape for shape, _ in detector.seen] == [(5, 10, 3), (40, 30, 3)]
    assert detector.seen[0][1].tolist() == [3] and detector.seen[1][1] is None
    assert front.boxes == [[10, 5, 12, 7]], 'in pixels of the whole image'
    assert front.shown == [(10, 20, 3)], 'the whole image is drawn on'


def jpeg(height: int, width: int) -> CompressedImage:
    message = CompressedImage(format='jpeg')
    message.data.frombytes(
        cv2.imencode('.jpg', np.zeros((height, width, 3), np.uint8))[1].tobytes())
    return message


def test_a_large_jpeg_is_decoded_at_a_part_of_its_size(work: Callable[..., Worker]) -> None:
    camera, detector = Stand(), Gate()
    worker = work(detector, {'': camera})
    worker.offer('', jpeg(33, 64))
    wait(lambda: camera.published)
    assert detector.seen[0][0] == (9, 16, 3), 'a quarter is as large as the input, 16 x 8'
    assert camera.boxes == [[0, 0, 8, 8]], 'in pixels of the whole'
    assert camera.shown == [], 'only a part of it could be drawn on'
    camera.settings = CameraSettings(region=Region(0.5, 0, 0.5, 1))
    worker.offer('', jpeg(33, 64))
    wait(lambda: len(camera.published) == 2)
    assert detector.seen[1][0] == (17, 16, 3), 'the region of a half is as large as the input'
    assert camera.boxes[1] == [32, 0, 36, 4]
    camera.settings, camera.watched = CameraSettings(), True
    worker.offer('', jpeg(33, 64))
    wait(lambda: camera.shown)
    assert detector.seen[2][0] == camera.shown[0] == (33, 64, 3), 'who watches sees it whole'


def test_another_detector_takes_over_between_two_images(work: Callable[..., Worker]) -> None:
    camera, old, new = Stand(), Gate(1, closed=True), Gate(2)
    worker = work(old, {'': camera})
    worker.offer('', image('first'))
    old.begins()
    worker.swap(Prepared(new, 0.0))
    worker.offer('', image('second'))
    assert camera.published == [] and new.seen == []
    old.let()
    wait(lambda: len(camera.published) == 2)
    assert camera.published == [('first', 1), ('second', 2)]


def test_a_faster_detector_shortens_no_run_that_is_under_way(
        work: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch) -> None:
    camera, old = Stand(), Gate(1, closed=True)
    limits: list[float] = []

    @contextmanager
    def watch(what: str, cancel: Any, *, at_least: float) -> Iterator[None]:
        limits.append(at_least)
        yield
    monkeypatch.setattr(Watchdog, 'watch', staticmethod(watch))
    worker = work(old, {'': camera})
    worker.swap(Prepared(old, 0.3))
    worker.offer('', image('first'))
    old.begins()
    worker.swap(Prepared(Gate(2), 0.05))
    worker.offer('', image('second'))
    old.let()
    wait(lambda: len(camera.published) == 2)
    assert limits == pytest.approx([6.0, 1.0])


def test_the_detector_before_is_let_go_of(work: Callable[..., Worker]) -> None:
    camera, old = Stand(), Gate(1)
    gone = weakref.ref(old)
    worker = work(old, {'': camera})
    worker.offer('', image('first'))
    wait(lambda: camera.shown)
    worker.swap(Prepared(Gate(2), 0.0))
    del old
    worker.offer('', image('second'))
    wait(lambda: len(camera.shown) == 2)
    gc.collect()
    assert gone() is None


def test_no_image_is_lost_by_many_swaps(work: Callable[..., Worker]) -> None:
    camera = Stand()
    worker = work(Gate(0), {'': camera})
    for number in range(200):
        worker.offer('', image(str(number)))
        worker.swap(Prepared(Gate(number + 1), 0.0))
        wait(lambda number=number: len(camera.published) == number + 1)
    assert [name for name, _ in camera.published] == [str(number) for number in range(200)]
    # By the detector before or after the swap, never by another.
    assert all(index - int(name) in (0, 1) for name, index in camera.published)
    assert camera.counts() == {'received': 200, 'processed': 200, 'dropped': 0, 'failed': 0}


def test_disabled_means_that_nothing_is_published_any_more(work: Callable[..., Worker]) -> None:
    front, rear, detector = Stand(), Stand(), Gate(closed=True)
    worker = work(detector, {'front': front, 'rear': rear})
    worker.offer('front', image('at hand'))
    detector.begins()
    worker.offer('rear', image('waiting'))
    worker.set_enabled(False)
    worker.offer('front', image('later'))
    detector.let()
    wait(lambda: front.counts().get(DISABLED) == 2)
    assert front.published == rear.published == []
    assert rear.counts() == {
        'received': 1, 'processed': 0, 'dropped': 0, 'failed': 0, DISABLED: 1}
    worker.set_enabled(True)
    worker.offer('rear', image('again'))
    detector.let()
    wait(lambda: rear.published)
    assert [name for name, _ in rear.published] == ['again']
    assert len(detector.seen) == 2


def test_disabled_means_that_no_image_is_shown_any_more(work: Callable[..., Worker]) -> None:
    class Drawing(Stand):
        begun, go = threading.Event(), threading.Event()

        def annotated(self, image: np.ndarray, detections: Detections, header: Any) -> Any:
            self.begun.set()
            assert self.go.wait(PATIENCE)
            return image.shape

    camera = Drawing()
    worker = work(Gate(), {'': camera})
    worker.offer('', image('one'))
    assert camera.begun.wait(PATIENCE)
    worker.set_enabled(False)
    camera.go.set()
    worker.stop()
    assert [name for name, _ in camera.published] == ['one'] and camera.shown == []


def test_what_fails_after_an_image_was_published_does_not_count_it_twice(
        work: Callable[..., Worker]) -> None:
    class Failing(Stand):
        def age_of(self, header: Any) -> float | None:
            raise ValueError('no clock')

        def annotated(self, image: np.ndarray, detections: Detections, header: Any) -> Any:
            raise ValueError('no font')

    camera = Failing()
    worker = work(Gate(), {'': camera})
    worker.offer('', image('one'))
    wait(lambda: len(camera.failures) == 2)
    worker.offer('', image('two'))
    wait(lambda: len(camera.failures) == 4)
    assert camera.failures[:2] == ['no clock', 'no font']
    assert camera.counts() == {'received': 2, 'processed': 2, 'dropped': 0, 'failed': 0}


def test_started_disabled(work: Callable[..., Worker]) -> None:
    camera, detector = Stand(), Gate()
    worker = work(detector, {'': camera}, enabled=False)
    worker.offer('', image('one'))
    assert camera.counts()[DISABLED] == 1
    worker.set_enabled(True)
    worker.offer('', image('two'))
    wait(lambda: camera.published)
    assert camera.published == [('two', 0)]


def test_images_above_the_rate_are_left_out_and_counted(work: Callable[..., Worker]) -> None:
    camera = Stand(max_rate=0.001)
    worker = work(Gate(), {'': camera})
    for number in range(5):
        worker.offer('', image(str(number)))
    wait(lambda: camera.published)
    assert camera.counts() == {
        'received': 5, 'processed': 1, 'dropped': 0, 'failed': 0, ABOVE_MAX_RATE: 4}
    camera.settings = CameraSettings(max_rate=0.0)
    worker.offer('', image('no limit'))
    wait(lambda: len(camera.published) == 2)


def test_overload_is_shared_by_priority_and_priority_is_live(work: Callable[..., Worker]) -> None:
    cameras = {'front': Stand(priority=10), 'rear': Stand(priority=1)}
    detector = Gate(closed=True)
    worker = work(detector, cameras)
    worker.offer('front', image('first'))
    detector.begins()

    def share(images: int) -> dict[str, int]:
        before = {name: len(camera.published) for name, camera in cameras.items()}
        for _ in range(images):
            for name in cameras:  # both have something waiting when the detector is free
                worker.offer(name, image(name))
            detector.let()
            detector.begins()
        return {name: len(camera.published) - before[name] for name, camera in cameras.items()}

    assert share(110)['rear'] == pytest.approx(10, abs=1)
    cameras['rear'].settings = CameraSettings(priority=10)
    worker.settings_changed('rear')
    assert share(110)['rear'] == pytest.approx(55, abs=2)
    detector.let()
    detector.let()
    for camera in cameras.values():
        counts = camera.counts()
        waiting = counts['received'] - counts['processed'] - counts['dropped']
        assert 0 <= waiting <= 2


def test_a_bad_image_of_one_camera_is_its_own_affair(work: Callable[..., Worker]) -> None:
    front, rear = Stand(), Stand()
    worker = work(Gate(), {'front': front, 'rear': rear})
    worker.offer('front', image('bad', height=13))
    wait(lambda: front.failures)
    too_large = image('large', 200, 200)
    worker.offer('front', too_large)
    wait(lambda: len(front.failures) == 2)
    worker.offer('rear', image('good'))
    wait(lambda: rear.published)
    assert front.failures[0] == 'thirteen rows' and 'pixels' in front.failures[1]
    assert front.counts()['failed'] == 2 and rear.counts()['failed'] == 0
