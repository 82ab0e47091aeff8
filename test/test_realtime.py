# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

from concurrent.futures import ThreadPoolExecutor
import os
from pathlib import Path
import struct
import sys
import time
from typing import Any

from bundles import COMMITTED
import cv2
import numpy as np
import pytest
from robot import detector, free_domain
from std_srvs.srv import Trigger
from test_recording import COMPRESSED, contents, image_message, ROS2, write_bag

from prune_perception.bundle import read_bundle
from prune_perception.detections import Detections
from prune_perception.evaluation import realtime
from prune_perception.evaluation.realtime import (
    judged_by,
    RealtimeError,
    RealtimeFrame,
    RealtimeRun,
    run_realtime,
    streaming_run,
    without_latency,
)
from prune_perception.evaluation.runs import FrameResult, ModelRun
from prune_perception.evaluation.truth import GroundTruth, Truth
from prune_perception.frames.recording import open_recording, RecordingError
from prune_perception.resources import find_resource
from prune_perception.runtime.detector import Detector

DEMO = find_resource('demo', 'pedestrians')


def found(*boxes: tuple[float, float, float, float], score: float = 0.9) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.full(len(boxes), score, np.float32),
        np.zeros(len(boxes), np.int64))


def known(*boxes: tuple[float, float, float, float]) -> Truth:
    return Truth(np.array(boxes, np.float32).reshape(-1, 4), np.zeros(len(boxes), np.int64),
                 np.zeros(len(boxes), np.bool_))


def made(*frames: RealtimeFrame) -> RealtimeRun:
    return RealtimeRun('a', '0', ('person',), 1.0, frames, 0.0)


def box(index: int) -> tuple[float, float, float, float]:
    """Return where the one object of a frame is: every time somewhere else."""
    return (100.0 * index, 0.0, 100.0 * index + 50, 80.0)


# Streaming accuracy, by hand: frames at 0, 100, 200... ms, of which every other one is processed,
# in 150 ms.
DELAYED = made(*(
    RealtimeFrame(index, 10 + index * 0.1, 10.15 + index * 0.1 if index % 2 == 0 else None,
                  found(box(index)) if index % 2 == 0 else None)
    for index in range(6)))


def test_each_moment_has_the_newest_result_that_was_there() -> None:
    results = streaming_run(DELAYED).results
    assert [result.index for result in results] == list(range(6))
    # 0 arrives at 150, 2 at 350 and 4 at 550 ms.
    expected = [None, None, 0, 0, 2, 2]
    for result, index in zip(results, expected, strict=True):
        if index is None:
            assert len(result.detections) == 0
        else:
            assert result.detections.boxes.tolist() == [list(box(index))]


def test_result_that_arrives_with_a_frame_is_there_for_it() -> None:
    run = made(RealtimeFrame(0, 1.0, 1.5, found(box(0))), RealtimeFrame(1, 1.5))
    assert len(streaming_run(run).results[1].detections) == 1


def test_what_arrived_last_counts_also_when_it_is_of_an_older_frame() -> None:
    run = made(
        RealtimeFrame(0, 0.0, 0.9, found(box(0))), RealtimeFrame(1, 0.1, 0.5, found(box(1))),
        RealtimeFrame(2, 1.0))
    assert streaming_run(run).results[2].detections.boxes.tolist() == [list(box(0))]


def test_streaming_accuracy_by_hand() -> None:
    still = GroundTruth(('person',), {index: known(box(0)) for index in range(6)}, 'drawn')
    seen = made(*(
        RealtimeFrame(frame.index, frame.sent, frame.received,
                      frame.detections and found(box(0))) for frame in DELAYED.frames))
    judged = judged_by(seen, still)
    # Where nothing moves, the objects of the first two moments are missed: a recall of 4/6 with
    # no mistakes, and so a precision of 1 at 67 of COCO's 101 recalls.
    assert judged.judged == 6
    assert judged.streaming_ap == pytest.approx(67 / 101)
    assert judged.streaming_ap50 == pytest.approx(67 / 101)
    # Where things have moved on, every result is wrong.
    moving = GroundTruth(('person',), {index: known(box(index)) for index in range(6)}, 'drawn')
    assert judged_by(DELAYED, moving).streaming_ap == 0
    # Frames without labels are no moments.
    two = GroundTruth(('person',), {4: known(box(2)), 5: known(box(2))}, 'drawn')
    assert judged_by(DELAYED, two).streaming_ap == pytest.approx(1)
    assert judged_by(DELAYED, two).judged == 2


def test_best_that_can_be_had_is_the_frame_before() -> None:
    instant = made(*(RealtimeFrame(index, index * 0.1, index * 0.1 + 0.09, found(box(index)))
                     for index in range(4)))
    offline_run = ModelRun('a', '0', ('person',), '', tuple(
        FrameResult(index, 0, None, found(box(index))) for index in (2, 0, 1, 3)))
    for result, expected in zip(
            without_latency(offline_run).results, streaming_run(instant).results, strict=True):
        assert result.index == expected.index
        assert result.detections.boxes.tolist() == expected.detections.boxes.tolist()


def test_no_class_in_common_is_no_accuracy() -> None:
    dogs = GroundTruth(('dog',), {0: known(box(0))}, 'drawn')
    assert judged_by(DELAYED, dogs).streaming_ap is None


def test_figures_by_hand() -> None:
    assert (DELAYED.published, DELAYED.processed, DELAYED.dropped) == (6, 3, 3)
    figures = DELAYED.figures()
    assert figures['realtime_dropped'] == 3
    for name in ('realtime_age_p50_ms', 'realtime_age_p95_ms', 'realtime_age_p99_ms'):
        assert figures[name] == pytest.approx(150)
    assert figures['streaming_ap'] is None
    none = made(RealtimeFrame(0, 1.0))
    assert none.age(50) is None and none.figures()['realtime_age_p99_ms'] is None


def objects(*names: str) -> list[list[Any]]:
    return [[0.0, 0.0, 10.0, 20.0, 0.5, name] for name in names]


def test_record_is_put_together_by_stamps() -> None:
    frames, names = realtime._frames([
        {'event': 'result', 'stamp': 1, 'time': 0.5, 'objects': []},  # of the greeting
        {'event': 'sent', 'index': 0, 'stamp': 100, 'time': 1.0, 'late': 0.0},
        {'event': 'sent', 'index': 1, 'stamp': 200, 'time': 2.0, 'late': 0.0},
        {'event': 'result', 'stamp': 100, 'time': 2.5, 'objects': objects('cat', 'dog')},
        {'event': 'result', 'stamp': 100, 'time': 2.6, 'objects': []},  # twice
        {'event': 'trouble', 'index': 2, 'reason': 'broken'},
    ], None, ('dog', 'cat'))
    assert names == ('dog', 'cat')
    assert [(frame.index, frame.sent, frame.received) for frame in frames] == [
        (0, 1.0, 2.5), (1, 2.0, None)]
    assert frames[0].age == pytest.approx(1.5)
    assert frames[0].detections is not None
    assert frames[0].detections.classes.tolist() == [1, 0]


def test_record_of_somebody_elses_play() -> None:
    frames, names = realtime._frames([
        {'event': 'classes', 'names': ['person']},
        {'event': 'result', 'stamp': 50, 'time': 0.5, 'objects': []},  # before the listener came
        {'event': 'seen', 'stamp': 100, 'time': 1.0},
        {'event': 'result', 'stamp': 100, 'time': 1.2, 'objects': objects('person', 'tram')},
        {'event': 'result', 'stamp': 200, 'time': 2.0, 'objects': []},  # image lost on its way
        {'event': 'seen', 'stamp': 300, 'time': 3.0},                   # not in the recording
        {'event': 'seen', 'stamp': 100, 'time': 4.0},                   # a second round
        {'event': 'result', 'stamp': 100, 'time': 4.3, 'objects': []},
    ], {100: 0, 200: 1}, None)
    assert names == ('person', 'tram')
    assert [(frame.index, frame.sent, frame.received) for frame in frames] == [
        (0, 1.0, 1.2), (1, None, 2.0), (None, 3.0, None), (0, 4.0, 4.3)]
    run = RealtimeRun('a', '', names, None, frames, None, attached=True)
    assert (run.published, run.processed, run.unidentified) == (4, 3, 1)
    assert [run.age(percent) for percent in (0, 100)] == pytest.approx([0.2, 0.3])
    # The second round is no moment of its own.
    assert [result.index for result in streaming_run(run).results] == [0]


def test_detector_that_dies_ends_the_run() -> None:
    begin = time.monotonic()
    with pytest.raises(RealtimeError, match='the detector ended with status 3: out of luck'):
        realtime._attend(
            [sys.executable, '-c', 'import time; time.sleep(60)'], os.environ,
            [sys.executable, '-c', 'import sys; print("out of luck"); sys.exit(3)'])
    assert time.monotonic() - begin < 30


@pytest.mark.parametrize('order, flag', [('<', 1), ('>', 0)])
def test_stamp_is_read_from_either_order_of_bytes(order: str, flag: int) -> None:
    from prune_perception.nodes.realtime_node import stamp_in

    data = bytes([0, flag, 0, 0]) + struct.pack(f'{order}iI', 1_700_000_000, 25) + b'rest'
    assert stamp_in(data) == 1_700_000_000_000_000_025


# Over DDS

@pytest.fixture(scope='module')
def offline() -> dict[int, Detections]:
    """Return what the dense detector finds in the frames of the demo, without a hurry."""
    dense = Detector(read_bundle(COMMITTED), score_threshold=0.35)
    with open_recording(DEMO) as recording:
        return {frame.index: dense.detect(frame.image()).detections for frame in recording}


def agreement(offline: dict[int, Detections]) -> GroundTruth:
    return GroundTruth(
        read_bundle(COMMITTED).card.class_names, {
            index: Truth(each.boxes, each.classes, np.zeros(len(each), np.bool_))
            for index, each in offline.items()}, 'dense', agreement=True)


def check_detections(run: RealtimeRun, offline: dict[int, Detections]) -> None:
    for frame in run.frames:
        if frame.detections is not None and frame.index is not None:
            np.testing.assert_allclose(
                frame.detections.boxes, offline[frame.index].boxes, atol=1e-2)
            assert frame.detections.classes.tolist() == offline[frame.index].classes.tolist()


@pytest.mark.slow
def test_recording_at_its_pace(offline: dict[int, Detections]) -> None:
    run = run_realtime(
        DEMO, None, COMMITTED, rate=2.0, truth=agreement(offline), score_threshold=0.35)
    assert run.troubles == ()
    assert [frame.index for frame in run.frames] == list(range(120))
    assert run.processed > 60
    check_detections(run, offline)
    sent = [frame.sent for frame in run.frames if frame.sent is not None]
    assert sent[-1] - sent[0] == pytest.approx(119 * 0.1 / 2, rel=0.1)
    assert run.late is not None and run.late < 1
    ages = [frame.age for frame in run.frames if frame.age is not None]
    assert min(ages) > 0.005, 'no network is so fast'
    assert run.age(50) == pytest.approx(np.median(ages))
    # People walk: what was seen is not what is, but nearly.
    assert run.judged == 120
    assert run.streaming_ap is not None and run.streaming_ap50 is not None
    assert 0.1 < run.streaming_ap < 0.98
    assert run.streaming_ap < run.streaming_ap50


@pytest.mark.slow
def test_too_fast_a_play_costs_frames_and_accuracy(offline: dict[int, Detections]) -> None:
    truth = agreement(offline)
    fast = run_realtime(DEMO, None, COMMITTED, rate=40.0, truth=truth, score_threshold=0.35)
    assert fast.published == 120
    assert fast.dropped > 40
    check_detections(fast, offline)
    slow = run_realtime(
        DEMO, None, COMMITTED, rate=3.0, truth=truth, score_threshold=0.35, threads=1)
    assert slow.streaming_ap50 is not None and fast.streaming_ap50 is not None
    assert fast.streaming_ap50 < slow.streaming_ap50


@pytest.mark.slow
def test_equal_stamps_and_damage_are_borne(tmp_path: Path) -> None:
    rows = contents(5)[::2]
    same = bytes(ROS2.serialize_cdr(image_message(ROS2, COMPRESSED, 1), COMPRESSED))
    rows[2] = (*rows[2][:3], same)
    rows[3] = (*rows[3][:3], rows[3][3][:30])
    run = run_realtime(write_bag(tmp_path / 'bag', rows), None, COMMITTED)
    assert [frame.index for frame in run.frames] == [0, 1, 2, 4]
    assert run.processed >= 3
    (trouble,) = run.troubles
    assert trouble.index == 3
    assert '/camera/image: image 4: the message is damaged' in trouble.reason


@pytest.mark.slow
def test_detector_that_does_not_start_is_told() -> None:
    with pytest.raises(RealtimeError, match='the detector does not start: .*parameter engine'):
        run_realtime(DEMO, None, COMMITTED, engine='steam')


def test_recording_without_a_good_image_is_told(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / '1.png'), np.zeros((20, 20, 3), np.uint8))
    (tmp_path / '1.png').write_bytes((tmp_path / '1.png').read_bytes()[:40])
    with pytest.raises(RealtimeError, match='not one image can be decoded'):
        run_realtime(tmp_path, None, COMMITTED)


def test_what_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match='no such file'):
        run_realtime(tmp_path / 'none.mcap', None, COMMITTED)
    with pytest.raises(RealtimeError, match='no model'):
        run_realtime(DEMO, None, None)


def test_nothing_to_listen_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('ROS_DOMAIN_ID', str(free_domain()))
    told: list[str] = []
    with pytest.raises(RealtimeError, match='no image on /front/compressed within 1 s'):
        run_realtime(DEMO, None, None, attach=True, image_topic='/front', patience=1.0,
                     ready=told.append)
    assert told == ['/front/compressed']


@pytest.mark.slow
@pytest.mark.parametrize('recorded_stamps', [True, False])
def test_beside_a_node_and_a_player_that_run_already(
        recorded_stamps: bool, offline: dict[int, Detections],
        monkeypatch: pytest.MonkeyPatch) -> None:
    player = {
        'recording': str(DEMO), 'rate': 4.0, 'clock': recorded_stamps, 'start_paused': True}
    told: list[str] = []
    with detector(
            parameters={'autostart': True, 'image_transport': 'compressed'},
            beside={'replay_node': player}) as robot, ThreadPoolExecutor(1) as pool:
        monkeypatch.setenv('ROS_DOMAIN_ID', str(robot.context.get_domain_id()))
        running = pool.submit(
            run_realtime, DEMO, None, None, attach=True, image_topic='/camera/image_raw',
            truth=agreement(offline), silence=1.5, ready=told.append)
        robot.wait_for(lambda: bool(told), 'listener that says so')
        robot.wait_for(
            lambda: robot.count_subscribers('/camera/image_raw/compressed') == 2, 'listener')
        robot.spin(0.5)
        robot._call(Trigger, '/replay/resume', Trigger.Request())
        robot.wait_for(running.done, 'end of the play')
        run = running.result()
    assert run.attached and run.model == '/detector'
    assert run.class_names[0] == 'person' and len(run.class_names) == 80
    assert 110 < run.published <= 120
    assert run.unbelieved == 0
    assert run.processed > 30
    age = run.age(50)
    assert age is not None and 0.005 < age < 2
    if recorded_stamps:
        assert run.unidentified == 0
        check_detections(run, offline)
        assert run.streaming_ap50 is not None and run.streaming_ap50 > 0.1
    else:
        assert run.unidentified == run.published
        assert run.streaming_ap50 is None
