# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
What the robot would have seen: a recording, played at its pace to the node itself, over DDS.

A detector that needs time sees fewer frames, and says what was, not what is. Streaming accuracy
counts both. After Li, Wang and Ramanan, *Towards Streaming Perception* (ECCV 2020): the world is
asked for at the time of each frame, and judged is the newest result that there was by then.

The convention here: frame *i* goes out at the time *tᵢ*; what is known at *tᵢ* is the result that
arrived last, no later than *tᵢ*, of whichever frame. A detector of no delay at all would
therefore be judged by its result for the frame before, and before the first result there is
nothing, which is judged as such. With frames that are sent at 0, 100 and 200 ms, and results of
150 ms for each frame that is taken:

=======  ==============  =======================================
frame    sent (ms)       judged by
=======  ==============  =======================================
0        0               nothing
1        100             nothing: frame 0 is being worked on
2        200             the result for frame 0, of 150 ms
=======  ==============  =======================================

``docs/realtime.md`` says it for people, with what can be had beside a player of one's own.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
import json
import os
from pathlib import Path
import subprocess
import tempfile
from typing import Any

import numpy as np

from prune_perception.bundle import read_bundle
from prune_perception.detections import Detections
from prune_perception.evaluation.metrics import accuracy, judge
from prune_perception.evaluation.runs import FrameResult, ModelRun, Trouble
from prune_perception.evaluation.truth import GroundTruth
from prune_perception.frames.recording import open_recording
from prune_perception.node_process import (
    dds_environment,
    free_domain,
    node_command,
    start,
    stop,
)

IMAGE_TOPIC = '/camera/image_raw'
DETECTOR = '/detector'


class RealtimeError(RuntimeError):
    """There is no run to judge; the message says why and what to do."""


@dataclass(frozen=True, eq=False)
class RealtimeFrame:
    """
    One frame on its way to the detector and back.

    :param index: ``Frame.index``; None for an image whose stamp is not in the recording, or there
        more than once.
    :param sent: when it was published, by the monotonic clock, seconds; None when, with
        ``attach``, it did not reach the listener, though the detector answered it.
    :param received: when its result arrived, likewise; None when none came.
    :param detections: of that result; classes index ``RealtimeRun.class_names``.
    """

    index: int | None
    sent: float | None
    received: float | None = None
    detections: Detections | None = None

    @property
    def age(self) -> float | None:
        """Return seconds from its sending to the arrival of its result; None without either."""
        if self.sent is None or self.received is None:
            return None
        return self.received - self.sent


@dataclass(frozen=True, eq=False)
class RealtimeRun:
    """
    What a robot would have had of a detector.

    :param model: name of the bundle; the detector node's name with ``attach``.
    :param digest: of the bundle; empty with ``attach``.
    :param class_names: that the detections index.
    :param rate: how many times faster than recorded; None with ``attach``.
    :param frames: in the order they were sent.
    :param late: the longest that a frame was sent after it was due, s: above a frame's period,
        the recording was not played at its pace. None with ``attach``.
    :param troubles: what could not be played; an index of -1 is the recording itself.
    :param streaming_ap: AP of what was known at each labelled frame's time; None without truth.
    :param streaming_ap50: the same at an intersection over union of 0.5.
    :param judged: frames behind ``streaming_ap``.
    :param attached: whether somebody else played.
    :param unbelieved: frames of somebody else's whose publisher's clock is not that of this
        machine; ``sent`` is when they arrived at the listener.
    """

    model: str
    digest: str
    class_names: tuple[str, ...]
    rate: float | None
    frames: tuple[RealtimeFrame, ...]
    late: float | None
    troubles: tuple[Trouble, ...] = ()
    streaming_ap: float | None = None
    streaming_ap50: float | None = None
    judged: int = 0
    attached: bool = False
    unbelieved: int = 0

    @property
    def published(self) -> int:
        """Return the number of frames that were sent."""
        return len(self.frames)

    @property
    def processed(self) -> int:
        """Return the number of frames whose result arrived."""
        return sum(frame.received is not None for frame in self.frames)

    @property
    def dropped(self) -> int:
        """
        Return the number of frames without a result.

        The detector was busy and took a newer one, the transport lost it, or it could not be
        decoded; ``/diagnostics`` of the node tells these apart.
        """
        return self.published - self.processed

    @property
    def unidentified(self) -> int:
        """Return the number of frames of which it is not known which of the recording's."""
        return sum(frame.index is None for frame in self.frames)

    def age(self, percent: float) -> float | None:
        """Return a percentile of the ages of results on arrival, s; None without results."""
        ages = [frame.age for frame in self.frames if frame.age is not None]
        return float(np.percentile(ages, percent)) if ages else None

    def figures(self) -> dict[str, float | None]:
        """Return the figures by name, for a report; None for what is not known."""
        ages = {f'realtime_age_p{percent}_ms': self.age(percent) for percent in (50, 95, 99)}
        return {
            'realtime_published': self.published, 'realtime_processed': self.processed,
            'realtime_dropped': self.dropped,
            **{name: None if age is None else age * 1e3 for name, age in ages.items()},
            'realtime_late_ms': None if self.late is None else self.late * 1e3,
            'streaming_ap': self.streaming_ap, 'streaming_ap50': self.streaming_ap50}

    def unavailable(self, judged: bool) -> dict[str, str]:
        """
        Return why figures are not known, by name.

        :param judged: whether there was something to judge by.
        """
        reasons = {
            'realtime_age': 'no result came back of a frame whose sending is known',
            'realtime_late': 'somebody else played the recording, who does not say when a frame '
                             'was due' if self.attached else 'no frame was sent'}
        if not judged:
            reasons['streaming_ap'] = 'there is neither ground truth nor a reference'
        elif not self.judged:
            reasons['streaming_ap'] = (
                'no labelled frame was played that could be told from the others by its stamp')
        else:
            reasons['streaming_ap'] = 'the frames that were judged hold no objects of the ' \
                                      'judged classes'
        return {name: next(reason for start, reason in reasons.items() if name.startswith(start))
                for name, value in self.figures().items() if value is None}


def run_realtime(
        recording: Path, topic: str | None, model: Path | None, *, rate: float = 1.0,
        engine: str = 'onnxruntime', threads: int = 0, precision: str = 'f32',
        truth: GroundTruth | None = None,
        attach: bool = False, score_threshold: float = 0.05,
        judged_classes: Sequence[str] | None = None, image_topic: str | None = None,
        detector: str = DETECTOR, name: str | None = None, patience: float = 60.0,
        silence: float = 5.0, ready: Callable[[str], None] | None = None) -> RealtimeRun:
    """
    Play a recording to a detector node, or listen while somebody else does.

    The node runs in a DDS domain of its own, so that a robot that is running on this machine gets
    neither its images nor its ``/clock``; with ``attach``, in the caller's.

    :param topic: of the images, where a bag has several.
    :param model: folder of the bundle; with ``attach`` the node has its own, and it is not used.
    :param rate: how many times faster than recorded.
    :param truth: to judge by; what is not labelled is played, too.
    :param attach: listen to a player and a detector that run already.
    :param score_threshold: of the node; that of the offline accuracy which this is compared with.
    :param judged_classes: None takes those that the truth and the detector share.
    :param image_topic: base topic of the images; None is the recorded one with ``attach``.
    :param detector: full name of the node, with ``attach``.
    :param name: of the model in the run; None takes the bundle's, or the node's with ``attach``.
    :param patience: seconds to wait for the detector, or for the first image.
    :param silence: seconds without an image after which, with ``attach``, the play is over; and
        to wait for the last result.
    :param ready: is told, with ``attach``, the topic that is listened to, once the player may
        begin.
    :raises RealtimeError: the detector did not start or ended, or no image came.
    :raises RecordingError: the recording cannot be opened.
    :raises BundleError: the model cannot be read.
    """
    with open_recording(recording, topic) as opened:
        transport = opened.transport
        recorded_topic = opened.topic or IMAGE_TOPIC
    if transport == 'compressed':
        recorded_topic = recorded_topic.removesuffix('/compressed')
    listener: dict[str, Any] = {
        'recording': str(recording), 'topic': topic or '', 'patience': float(patience),
        'silence': float(silence)}
    with tempfile.TemporaryDirectory(prefix='prune_perception_') as folder:
        record = Path(folder) / 'record'
        listener['output'] = str(record)
        if attach:
            listener |= {
                'attach': True, 'transport': transport, 'detector': detector,
                'image_topic': image_topic or recorded_topic}
            topics = {'raw': listener['image_topic'],
                      'compressed': f'{listener["image_topic"]}/compressed'}
            _attend(
                node_command('realtime_node', parameters=listener), dds_environment(),
                # The listener begins its record when it has joined the domain.
                begun=record, tell=lambda: None if ready is None else ready(topics[transport]))
            events = list(_events(record))
            frames, names = _frames(events, _indices(recording, topic), None)
            name, digest = name or detector, ''
        else:
            if model is None:
                raise RealtimeError('there is no model to play to; give one, or attach')
            bundle = read_bundle(model)
            space = f'/evaluation_{os.getpid()}'  # should another one be in this domain
            listener |= {
                'rate': float(rate), 'detector': f'{space}{DETECTOR}',
                'image_topic': f'{space}{image_topic or IMAGE_TOPIC}'}
            node = node_command(
                'detector_node', log_level='warn',
                parameters={
                    'model': str(Path(model).resolve()), 'engine': engine, 'threads': threads,
                    'precision': precision,
                    'image_transport': transport, 'score_threshold': float(score_threshold),
                    'use_sim_time': True, 'autostart': True},
                remappings={'image': listener['image_topic'], '__ns': space})
            try:
                domain = free_domain()
            except RuntimeError as error:
                raise RealtimeError(str(error)) from None
            _attend(
                node_command('realtime_node', parameters=listener),
                dds_environment({**os.environ, 'ROS_DOMAIN_ID': str(domain)}), node)
            events = list(_events(record))
            frames, names = _frames(events, None, bundle.card.class_names)
            name, digest = name or bundle.card.name, bundle.digest
    lateness = [event['late'] for event in events if event['event'] == 'sent']
    run = RealtimeRun(
        model=name, digest=digest, class_names=names, rate=None if attach else rate,
        frames=frames, late=max(lateness, default=None), attached=attach,
        unbelieved=sum(event.get('believed') is False for event in events),
        troubles=tuple(Trouble(event['index'], event['reason'])
                       for event in events if event['event'] == 'trouble'))
    return run if truth is None else judged_by(run, truth, judged_classes)


def streaming_run(run: RealtimeRun) -> ModelRun:
    """
    Return, for each frame, what was known when it was sent.

    A frame that was played twice counts the first time. Its times are those of the sending, not
    of the recording.
    """
    arrived = sorted(
        ((frame.received, frame.detections) for frame in run.frames
         if frame.received is not None and frame.detections is not None),
        key=lambda pair: pair[0])
    times = [time for time, _ in arrived]
    results: dict[int, FrameResult] = {}
    for frame in run.frames:
        if frame.index is None or frame.sent is None or frame.index in results:
            continue
        there = bisect_right(times, frame.sent)
        known = arrived[there - 1][1] if there else Detections.none()
        results[frame.index] = FrameResult(frame.index, round(frame.sent * 1e9), None, known)
    return ModelRun(run.model, run.digest, run.class_names, '', tuple(results.values()))


def without_latency(offline: ModelRun) -> ModelRun:
    """
    Return what would have been known had each result been there before the next frame.

    The result for the frame before: its accuracy is the most that streaming accuracy can be by
    this convention, and what is below that is the cost of latency.
    """
    results = sorted(offline.results, key=lambda result: result.index)
    before = [Detections.none(), *(result.detections for result in results[:-1])]
    return replace(offline, results=tuple(
        replace(result, detections=known)
        for result, known in zip(results, before, strict=True)))


def judged_by(
        run: RealtimeRun, truth: GroundTruth,
        class_names: Sequence[str] | None = None) -> RealtimeRun:
    """
    Return a run with its streaming accuracy.

    :param class_names: to be judged; None takes those that the truth and the detector share.
    :raises MetricsError: the package for it is not installed.
    """
    names = [name for name in (class_names or truth.class_names) if name in run.class_names]
    judged = judge(truth, streaming_run(run), names)
    values: Mapping[str, float] = accuracy(judged).values if names and judged.frames else {}
    return replace(
        run, streaming_ap=values.get('ap'), streaming_ap50=values.get('ap50'),
        judged=len(judged.frames))


def _attend(
        listener: Sequence[str], environment: Mapping[str, str],
        detector: Sequence[str] | None = None, *, begun: Path | None = None,
        tell: Callable[[], None] = lambda: None) -> None:
    """
    Run the listener to its end, and a detector beside it.

    :param begun: a file that the listener makes when it is there, upon which ``tell`` is called.
    """
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as heard:
        node = start(detector, environment, stdout=said, stderr=subprocess.STDOUT) \
            if detector else None
        try:
            process = start(listener, environment, stdout=heard, stderr=subprocess.STDOUT)
            try:
                while True:
                    if begun is not None and begun.exists():
                        tell()
                        begun = None
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(0.2)
                        break
                    if node is not None and node.poll() is not None:
                        raise RealtimeError(
                            f'the detector ended with status {node.returncode}: '
                            f'{_last_line(said)}')
            finally:
                status = stop(process)
        finally:
            if node is not None:
                stop(node)
        if status:
            raise RealtimeError(_last_line(heard).removeprefix('realtime: '))


def _last_line(file: Any) -> str:
    file.seek(0)
    lines = [line for line in file.read().decode(errors='replace').splitlines() if line.strip()]
    return lines[-1] if lines else 'it said nothing'


def _events(record: Path) -> Iterator[dict[str, Any]]:
    with record.open() as file:
        for line in file:
            yield json.loads(line)


def _indices(recording: Path, topic: str | None) -> dict[int, int]:
    """Return ``Frame.index`` by stamp, of the stamps that tell one frame from another."""
    found: dict[int, int] = {}
    twice: set[int] = set()
    with open_recording(recording, topic) as opened:
        for frame in opened:
            if frame.stamp_ns is not None:
                if frame.stamp_ns in found:
                    twice.add(frame.stamp_ns)
                found[frame.stamp_ns] = frame.index
    return {stamp: index for stamp, index in found.items() if stamp not in twice}


def _frames(
        events: Sequence[Mapping[str, Any]], index_of: Mapping[int, int] | None,
        class_names: Sequence[str] | None) -> tuple[tuple[RealtimeFrame, ...], tuple[str, ...]]:
    """
    Put results and frames together by their stamps.

    Under a stamp that was sent more than once, as by a player that loops, a result belongs to the
    last sending before it.

    :param index_of: ``Frame.index`` by stamp, for images that somebody else has sent.
    :param class_names: None takes them from the record.
    """
    if class_names is None:
        class_names = next((event['names'] for event in events if event['event'] == 'classes'), [])
        seen = {each[5] for event in events for each in event.get('objects', ())}
        class_names = [*class_names, *sorted(seen - set(class_names))]
    frames: list[dict[str, Any]] = []
    open_under: dict[int, dict[str, Any]] = {}
    for event in sorted(
            (event for event in events if 'stamp' in event), key=lambda event: event['time']):
        stamp = event['stamp']
        if event['event'] != 'result':
            index = event['index'] if index_of is None else index_of.get(stamp)
            open_under[stamp] = {'index': index, 'sent': event['time']}
            frames.append(open_under[stamp])
            continue
        frame = open_under.get(stamp)
        if frame is None:
            # Either the end of what was before; or the listener lost an image that the detector
            # got, which was sent nevertheless.
            if index_of is None or not frames:
                continue
            frame = open_under[stamp] = {'index': index_of.get(stamp), 'sent': None}
            frames.append(frame)
        if 'received' not in frame:
            frame |= {
                'received': event['time'],
                'detections': _detections(event['objects'], class_names)}
    return tuple(RealtimeFrame(**frame) for frame in frames), tuple(class_names)


def _detections(objects: Sequence[Sequence[Any]], class_names: Sequence[str]) -> Detections:
    known = [each for each in objects if each[5] in class_names]
    return Detections(
        np.array([each[:4] for each in known], np.float32).reshape(-1, 4),
        np.array([each[4] for each in known], np.float32),
        np.array([class_names.index(each[5]) for each in known], np.int64))
