# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Show a recording to detectors, frame by frame, and keep what they found.

One frame is in memory at a time. What cannot be read is noted with file, topic and position, and
the replay goes on with what can.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
import hashlib
from pathlib import Path
import time

import numpy as np
from numpy.typing import NDArray

from prune_perception.detections import Detections
from prune_perception.evaluation.corruptions import Corruption
from prune_perception.evaluation.ground_truth import GroundTruthError, Labels
from prune_perception.evaluation.runs import FrameResult, ModelRun, Trouble
from prune_perception.evaluation.truth import GroundTruth, Truth
from prune_perception.frames.errors import ImageError, RecordingError
from prune_perception.frames.folders import PICTURE_SUFFIXES
from prune_perception.frames.recording import Frame, Recording
from prune_perception.runtime.detector import Detector

KEPT_IMAGES = 8

_RECORDED_SUFFIXES = PICTURE_SUFFIXES | {'.mcap', '.db3', '.zstd'}

Image = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Replay:
    """
    What came of showing a recording to detectors.

    :param runs: one for each detector, in the order they were given.
    :param truth: of the frames that were shown; None where there are no labels.
    :param troubles: frames that could not be shown, and where the recording broke off.
    :param not_evaluated: how many frames that were, as far as the recording tells.
    :param warnings: what else was wrong with the recording.
    :param notes: what to know; nothing was wrong.
    :param read_seconds: (frames,) duration of reading and decoding each frame.
    :param images: some of the frames, as the detectors saw them, for what is measured later.
    """

    runs: tuple[ModelRun, ...]
    truth: GroundTruth | None
    troubles: tuple[Trouble, ...]
    not_evaluated: int
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    read_seconds: NDArray[np.float64]
    images: tuple[Image, ...] = ()


def replay(
        recording: Recording, detectors: Mapping[str, Detector], *, labels: Labels | None = None,
        reference: Detector | None = None,
        corruption: Corruption | None = None, timing: bool = True,
        progress: Callable[[int, int | None], None] | None = None) -> Replay:
    """
    Show every frame to every detector.

    The detectors take turns in being first, so that none always finds the image in the cache.

    :param detectors: by the names of their models.
    :param labels: what is known to be in the frames.
    :param reference: a detector whose detections are the truth instead.
    :param corruption: what becomes of the images on their way to the detectors, and of the places
        of what is in them. The reference sees them as they were recorded.
    :param timing: keep the durations.
    :param progress: is told the frames that are done, and of how many (None: not known).
    :raises RecordingError: not one frame could be shown.
    :raises GroundTruthError: the labels belong to no frame that was shown.
    """
    found: dict[str, list[FrameResult]] = {name: [] for name in detectors}
    truths: dict[int, Truth] = {}
    seconds: list[float] = []
    images: list[Image] = []
    watch = _Watch(recording)
    camera = None if corruption is None else _Camera(corruption)
    example = ''
    for frame, image, duration in watch.frames():
        seconds.append(duration)
        truth = _truth_of(frame, image, labels, reference)
        if truth is not None:
            truths[frame.index] = truth
        example = example or (labels.name_of(frame) if labels else '')
        seen: Image | None = image
        if corruption is not None and camera is not None:
            seen = camera.see(image, frame.index)
            if truth is not None:
                height, width = image.shape[:2]
                truths[frame.index] = corruption.truth(truth, frame.index, width, height)
        if seen is not None and len(images) < KEPT_IMAGES:
            images.append(seen.copy())  # the bag's buffer behind it must not be kept
        first = frame.index % len(detectors)
        names = list(detectors)
        for name in names[first:] + names[:first]:
            results = found[name]
            if seen is None:
                # The robot still has the newest result before the frame that was lost.
                detections = results[-1].detections if results else Detections.none()
                results.append(FrameResult(
                    frame.index, frame.time_ns, frame.stamp_ns, detections))
                continue
            result = detectors[name].detect(seen)
            results.append(FrameResult(
                frame.index, frame.time_ns, frame.stamp_ns, result.detections,
                result.timing if timing else None))
        if progress is not None:
            progress(frame.index + 1, recording.count)
    if not seconds:
        first_trouble = f'; {watch.troubles[0].reason}' if watch.troubles else ''
        raise RecordingError(
            f'{recording.path}: not one image could be evaluated{first_trouble}')
    notes: list[str] = []
    ground_truth: GroundTruth | None = None
    if labels is not None:
        if not truths:
            raise GroundTruthError(
                f'{labels.source}: matches no frame of {recording.path}; it labels '
                f'{labels.example}, the recording has {example}')
        if labels.count is not None and labels.count > len(truths):
            notes.append(
                f'{labels.source}: {labels.count - len(truths)} of {labels.count} labelled frames '
                'are not among those that were evaluated')
        ground_truth = GroundTruth(labels.class_names, truths, labels.source)
    elif reference is not None:
        card = reference.bundle.card
        ground_truth = GroundTruth(
            card.class_names, truths, f'{card.name} ({reference.bundle.digest[:12]})',
            agreement=True)
    return Replay(
        tuple(_run(name, detector, found[name]) for name, detector in detectors.items()),
        ground_truth, tuple(watch.troubles), watch.not_evaluated, watch.warnings(), tuple(notes),
        np.array(seconds), tuple(images))


def digest_of(path: Path) -> str:
    """
    Return the SHA-256 of a recording.

    Of one file it is that of its contents. Of a folder it is that of the lines that ``sha256sum``
    prints for its pictures or bag files, in the order of their names' bytes.

    :raises OSError: a file cannot be read.
    """
    if path.is_file():
        return _file_digest(path)
    files = sorted(
        (entry for entry in path.iterdir() if entry.is_file() and (
            entry.name == 'metadata.yaml' or entry.suffix.lower() in _RECORDED_SUFFIXES)),
        key=lambda entry: entry.name.encode(errors='surrogateescape'))
    lines = hashlib.sha256()
    for file in files:
        line = f'{_file_digest(file)}  {file.name}\n'
        lines.update(line.encode(errors='surrogateescape'))
    return lines.hexdigest()


class _Camera:
    """What a corrupted camera shows: spoilt images, old ones, or none."""

    def __init__(self, corruption: Corruption) -> None:
        self._corruption = corruption
        self._newest: Image | None = None  # that was not a repetition: what a frozen camera shows

    def see(self, image: Image, index: int) -> Image | None:
        """Return what is seen in place of a frame; None where it is lost."""
        shown = self._corruption.frame(index)
        if shown is None:
            return None
        if shown == index or self._newest is None:
            self._newest = image
        return self._corruption.image(self._newest, index)


class _Watch:
    """Reads the frames that can be read, and notes what is wrong with the others."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self.troubles: list[Trouble] = []
        self.not_evaluated = 0
        self._latest: int | None = None
        self._steps_back = 0
        self._first_step_back = ''

    def frames(self) -> Iterator[tuple[Frame, Image, float]]:
        """Yield each good frame with its image and the seconds that reading both took."""
        frames = iter(self._recording)
        position = 0
        while True:
            start = time.monotonic()
            try:
                frame = next(frames, None)
            except RecordingError as error:
                self._note_end(position, str(error))
                return
            if frame is None:
                return
            position = frame.index + 1
            self._compare_stamp(frame)
            try:
                image = frame.image()
            except ImageError as error:
                self.troubles.append(Trouble(frame.index, str(error)))
                self.not_evaluated += 1
                continue
            yield frame, image, time.monotonic() - start

    def warnings(self) -> tuple[str, ...]:
        """Return what is wrong with the recording and cost no frame."""
        warnings = list(self._recording.warnings)
        if self._steps_back:
            warnings.append(
                f'{self._first_step_back}: its stamp is older than that of the image before; so '
                f'are the stamps of {self._steps_back} images in all')
        return tuple(warnings)

    def _note_end(self, position: int, reason: str) -> None:
        count = self._recording.count
        if count is not None and count > position:
            self.not_evaluated += count - position
            reason = f'{reason}; {count - position} of {count} images were not read'
        self.troubles.append(Trouble(position, reason))

    def _compare_stamp(self, frame: Frame) -> None:
        if frame.stamp_ns is None:
            return
        if self._latest is not None and frame.stamp_ns < self._latest:
            self._steps_back += 1
            self._first_step_back = self._first_step_back or frame.source
        self._latest = frame.stamp_ns


def _truth_of(
        frame: Frame, image: Image, labels: Labels | None, reference: Detector | None,
        ) -> Truth | None:
    if labels is not None:
        return labels.of(frame, (image.shape[0], image.shape[1]))
    if reference is None:
        return None
    found = reference.detect(image).detections
    return Truth(found.boxes, found.classes, np.zeros(len(found), np.bool_))


def _run(name: str, detector: Detector, results: list[FrameResult]) -> ModelRun:
    bundle = detector.bundle
    return ModelRun(
        name, bundle.digest, bundle.card.class_names, detector.engine.description,
        tuple(results), bundle.card.energy, bundle.card.certificate)


def _file_digest(path: Path) -> str:
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()
