# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Ground truth, whatever it was written with: COCO, MOTChallenge, YOLO, or a topic of the bag.

``open_labels`` looks at what there is and returns one thing for all of them, which is asked for
the objects of each frame as the recording is read.
"""

import json
from pathlib import Path

from prune_perception.evaluation.ground_truth.coco import CocoLabels
from prune_perception.evaluation.ground_truth.labels import GroundTruthError, Labels
from prune_perception.evaluation.ground_truth.mot import MotLabels
from prune_perception.evaluation.ground_truth.yolo import YoloLabels
from prune_perception.frames.recording import Recording

__all__ = [
    'CocoLabels', 'GroundTruthError', 'Labels', 'MotLabels', 'YoloLabels', 'open_labels']

_KNOWN = (
    'a COCO file (.json), a MOTChallenge file (frame,id,x,y,w,h,...) or its sequence folder, a '
    'folder of YOLO labels (.txt), or a topic of vision_msgs/Detection2DArray in the bag')


def open_labels(
        given: str | Path, recording: Recording, *, truth_class: str = 'person') -> Labels:
    """
    Open the ground truth of a recording; which format it is in is seen from what is there.

    :param given: path of a file or folder, or name of a topic in the bag. A path wins.
    :param recording: that it belongs to.
    :param truth_class: name of what a MOTChallenge file is about.
    :raises GroundTruthError: it is not there, or cannot be read; one line with file and place.
    """
    path = Path(given)
    try:
        if path.is_dir():
            if (path / 'gt' / 'gt.txt').is_file():
                return MotLabels(path / 'gt' / 'gt.txt', truth_class)
            return YoloLabels(path)
        if path.is_file():
            return _open_file(path, truth_class)
    except OSError as error:
        raise GroundTruthError(f'{error.filename or path}: {error.strerror or error}') from error
    if recording.topic is None:
        raise GroundTruthError(
            f'{given}: there is no such file or folder; ground truth is {_KNOWN}')
    from prune_perception.evaluation.ground_truth.topic import TopicLabels
    return TopicLabels(str(given), recording)


def _open_file(path: Path, truth_class: str) -> Labels:
    with path.open('rb') as file:
        start = file.read(4096).lstrip(b'\xef\xbb\xbf \t\r\n')
    if start[:1] in (b'{', b'['):
        try:
            contents = json.loads(path.read_bytes())
        except ValueError as error:  # of JSON or of its encoding
            raise GroundTruthError(f'{path}: not valid JSON ({error})') from error
        return CocoLabels(path, contents)
    first = start.splitlines()[0] if start else b''
    if first.count(b',') >= 5:
        return MotLabels(path, truth_class)
    if len(first.split()) == 5:
        raise GroundTruthError(
            f'{path}: looks like the YOLO labels of one image; give the folder of all of them')
    raise GroundTruthError(f'{path}: not a ground truth that is known; known are {_KNOWN}')
