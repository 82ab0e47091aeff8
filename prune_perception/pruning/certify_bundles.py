# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Certify a bundle that exists, against its dense one, on a recording.

The frames must be those that nothing was chosen by: the end of the recording that it was pruned
on, which is set aside for this, or better another recording. Both detectors run as on the robot,
on every frame, one frame in memory at a time.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
import tempfile

import numpy as np

from prune_perception.bundle import Bundle, Card, write_bundle
from prune_perception.detections import Detections
from prune_perception.evaluation.replay import digest_of
from prune_perception.frames.folders import FolderRecording
from prune_perception.frames.rate import frame_rate
from prune_perception.frames.recording import ImageError, open_recording, RecordingError
from prune_perception.pruning.certificate import Certificate, CertificateError, Demand, Source
from prune_perception.pruning.certify import certify
from prune_perception.pruning.footage import Footage, FootageError
from prune_perception.pruning.splits import CERTIFY
from prune_perception.runtime.detector import Detector


def certify_bundles(
        dense: Bundle, pruned: Bundle, data: Path, *, topic: str | None = None,
        part: tuple[int, int] | None = None, unrelated: bool = False,
        demand: Demand | None = None, threads: int = 0, digest: str | None = None,
        set_aside: float | None = None,
        progress: Callable[[int], None] | None = None) -> Certificate:
    """
    Return the certificate of a pruned bundle.

    :param data: a recording.
    :param topic: the image topic of a bag; None where there is but one.
    :param part: first and last frame to look at, the recording's first being 1; None for all.
    :param unrelated: the pictures of a folder have nothing to do with each other.
    :param threads: for one inference; 0 leaves the number to the engine.
    :param digest: of the recording, where it is known; a long one takes a while to read.
    :param set_aside: share of a recording that the part is, where the rest serves to prune.
    :param progress: called with the number of frames that are done.
    :raises RecordingError: the recording cannot be read.
    :raises CertificateError: there is no such frame, or the dense bundle lacks a class.
    """
    names = pruned.card.class_names
    unknown = [name for name in names if name not in dense.card.class_names]
    if unknown:
        raise CertificateError(
            f'{dense.folder}: has no class {", ".join(unknown)}, which {pruned.folder} has; give '
            'the bundle that it was pruned from')
    demand = demand or Demand()
    number = np.full(len(dense.card.class_names), -1)
    for index, name in enumerate(names):
        number[dense.card.class_names.index(name)] = index
    detectors = (
        Detector(dense, threads=threads, class_names=names, score_threshold=np.nextafter(
            demand.confident_score, 0).item()),
        Detector(pruned, threads=threads, score_threshold=demand.score))
    first, last = part or (1, None)
    seen: tuple[list[Detections], list[Detections]] = ([], [])
    times: list[int] = []
    with open_recording(data, topic) as recording:
        for frame in recording:
            if frame.index < first - 1:
                continue
            try:
                found = [detector.detect(frame.image()).detections for detector in detectors]
            except ImageError:  # its place in time is kept; nobody saw anything
                found = [Detections.none()] * 2
            seen[0].append(replace(found[0], classes=number[found[0].classes]))
            seen[1].append(found[1])
            times.append(frame.time_ns)
            if progress is not None:
                progress(len(times))
            # Not when the next one comes: behind the part the recording may be damaged.
            if last is not None and frame.index >= last - 1:
                break
        timed = not isinstance(recording, FolderRecording)  # a folder's times are supposed
    if not times:
        raise CertificateError(f'{data}: has no frame {first}; give a part that it has')
    rate = frame_rate(times) if timed else None
    source = Source(
        Path(data).name, digest or digest_of(data), first, first + len(times) - 1,
        dense.card.name, dense.digest, None if rate is None else round(rate, 6), set_aside)
    return certify(*seen, names, source, unrelated=unrelated, demand=demand)


def certify_files(
        dense: Bundle, card: Card, files: Mapping[str, bytes], footage: Footage, part: range, *,
        topic: str | None = None, unrelated: bool = False,
        progress: Callable[[float, str], None] | None = None) -> Certificate:
    """
    Return the certificate of a bundle that is not written yet.

    All frames of the part are shown to what is shipped, however many of a long recording were kept
    to work with: between those the objects have moved on and cannot be followed.

    :param card: of the new bundle, with its ``files``.
    :param footage: of which the part was set aside.
    :param part: places in the footage, the first and the last included.
    :param progress: called with the share that is done, and a word on it.
    :raises FootageError: the recording cannot be read any more.
    :raises CertificateError: as :func:`certify_bundles`.
    """
    first, last = footage.numbers[part.start], footage.numbers[part.stop - 1]
    frames = last - first + 1

    def tell(done: int) -> None:
        if progress is not None:
            progress(done / frames, f'frame {done} of {frames}')
    with tempfile.TemporaryDirectory() as folder:
        shipped = write_bundle(Path(folder) / 'network', card, files)
        try:
            return certify_bundles(
                dense, shipped, footage.path, topic=topic, part=(first, last),
                unrelated=unrelated, digest=footage.digest, set_aside=CERTIFY, progress=tell)
        except RecordingError as error:
            raise FootageError(f'{error} (it could be read before)') from error
