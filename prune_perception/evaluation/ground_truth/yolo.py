# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
YOLO: a text file for each image, ``class x y w h`` in shares of the image's width and height.

The class names are in ``data.yaml`` (``names``) or ``classes.txt``, in the folder or above it.
"""

import math
from pathlib import Path
import re
from typing import Any

import yaml

from prune_perception.evaluation.ground_truth.labels import GroundTruthError, Labels, Row, truth_of
from prune_perception.evaluation.truth import Truth
from prune_perception.frames.recording import Frame

NAME_FILES = ('data.yaml', 'dataset.yaml', 'classes.txt', 'obj.names')


class YoloLabels(Labels):
    """
    The objects of a folder of YOLO labels.

    A picture's labels are in the file of its name; a picture without a file holds nothing, as
    the format has it. In a video or bag the number that ends a file's name is that of the frame,
    from 0 if there is a file 0 and else from 1; frames from the first to the last file are
    labelled, those between without a file as empty.
    """

    def __init__(self, folder: Path) -> None:
        """
        List the files, and read the class names; each file is read when it is asked for.

        :raises GroundTruthError: there are no files, or no class names.
        :raises OSError: the folder cannot be read.
        """
        self._files = {entry.stem: entry for entry in sorted(folder.glob('*.txt'))
                       if entry.name not in NAME_FILES}
        if not self._files:
            raise GroundTruthError(
                f'{folder}: holds neither YOLO labels (.txt) nor gt/gt.txt of MOTChallenge')
        self._numbers: dict[int, Path] = {}
        for stem, file in self._files.items():
            digits = re.search(r'(\d+)$', stem)
            if digits:
                self._numbers[int(digits[1])] = file
        self._from = 0 if 0 in self._numbers else 1
        super().__init__(
            str(folder), _class_names(folder), len(self._files),
            f'files such as {next(iter(self._files.values())).name!r}')

    def of(self, frame: Frame, size: tuple[int, int]) -> Truth | None:
        """Return the objects of the picture with this name, or the frame with this number."""
        if frame.name:
            file = self._files.get(Path(frame.name).stem)
        else:
            number = frame.index + self._from
            numbers = self._numbers
            if not numbers or not min(numbers) <= number <= max(numbers):
                return None
            file = numbers.get(number)
        return truth_of(()) if file is None else truth_of(self._read(file, size))

    def name_of(self, frame: Frame) -> str:
        """Return the file name of a picture, or the number of a frame."""
        if frame.name:
            return f'file names such as {frame.name!r}'
        return f'frames from {frame.index + self._from}'

    def _read(self, file: Path, size: tuple[int, int]) -> list[Row]:
        height, width = size
        rows: list[Row] = []
        try:
            lines = file.read_text(encoding='utf-8').splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise GroundTruthError(f'{file}: cannot be read ({error})') from error
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            place = f'{file}: line {number}'
            try:
                columns = [float(text) for text in line.split()]
            except ValueError:
                columns = []
            if len(columns) != 5 or not all(map(math.isfinite, columns)):
                raise GroundTruthError(
                    f'{place}: must be class, x, y, w, h in numbers, not {line.strip()[:60]!r}')
            kind, (x, y, w, h) = int(columns[0]), columns[1:]
            if kind != columns[0] or not 0 <= kind < len(self.class_names):
                raise GroundTruthError(
                    f'{place}: class {columns[0]:g} has no name; there are '
                    f'{len(self.class_names)}')
            if not (-0.01 <= min(x, y) and max(x, y, w, h) <= 1.01 and min(w, h) >= 0):
                raise GroundTruthError(
                    f'{place}: centre and size must be shares of the image, from 0 to 1')
            rows.append((
                (x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width,
                (y + h / 2) * height, kind, False))
        return rows


def _class_names(folder: Path) -> tuple[str, ...]:
    for place in (folder, folder.parent, folder.parent.parent):
        for name in NAME_FILES:
            file = place / name
            if file.is_file():
                return _yaml_names(file) if file.suffix == '.yaml' else _text_names(file)
    raise GroundTruthError(
        f'{folder}: the classes have no names; put classes.txt with one name a line beside the '
        'labels')


def _text_names(file: Path) -> tuple[str, ...]:
    lines = file.read_text(encoding='utf-8', errors='replace').splitlines()
    return tuple(line.strip() for line in lines if line.strip())


def _yaml_names(file: Path) -> tuple[str, ...]:
    try:
        contents: Any = yaml.safe_load(file.read_text(encoding='utf-8'))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = ' '.join(str(error).split())
        raise GroundTruthError(f'{file}: not valid YAML ({reason})') from error
    names = contents.get('names') if isinstance(contents, dict) else None
    if isinstance(names, dict) and sorted(names) == list(range(len(names))):
        names = [names[index] for index in range(len(names))]
    if not isinstance(names, list):
        raise GroundTruthError(f'{file}: has no "names", a list or a mapping from 0')
    return tuple(map(str, names))
