# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
A detector whose findings can be drawn: a real bundle that sees coloured squares.

A square of 8 x 8 pixels in a grid of 4 x 8 is a person by its blue and a dog by its green; the
brighter, the higher the score. The box is 16 x 16 pixels about its middle, within the image.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bundles import small_card
import cv2
import numpy as np
from numpy.typing import NDArray
import onnx

from prune_perception.bundle import Bundle, write_bundle

HEIGHT, WIDTH, CELL = 32, 64, 8
PERSON, DOG = 0, 1
Blob = tuple[int, int, int, int]
"""Row and column of the square, its class, and how bright it is, to 255."""


def write_blobs(folder: Path, shyness: float = 0.0, **changes: Any) -> Bundle:
    """
    Write the bundle.

    :param shyness: taken off every logit, so that dim squares are missed.
    :param changes: other values of the card.
    """
    card = replace(small_card(), name=folder.name, network=None, **changes)
    return write_bundle(folder, card, {'model.onnx': _graph(shyness)})


def score_of(brightness: int, shyness: float = 0.0) -> float:
    """Return the score of a square."""
    return float(1 / (1 + np.exp(-((brightness - 128) / 16 - shyness))))


def box_of(row: int, column: int) -> tuple[float, float, float, float]:
    """Return the box of a square: x1, y1, x2, y2."""
    x, y = (column + 0.5) * CELL, (row + 0.5) * CELL
    return (max(0.0, x - CELL), max(0.0, y - CELL), min(float(WIDTH), x + CELL),
            min(float(HEIGHT), y + CELL))


def draw_blobs(blobs: Iterable[Blob]) -> NDArray[np.uint8]:
    """Return a picture, (32, 64, 3) BGR."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for row, column, kind, brightness in blobs:
        image[row * CELL:(row + 1) * CELL, column * CELL:(column + 1) * CELL, kind] = brightness
    return image


def write_pictures(folder: Path, frames: Sequence[Iterable[Blob]]) -> Path:
    """Write a folder of pictures, ``frame001.png`` and on."""
    folder.mkdir(parents=True)
    for number, blobs in enumerate(frames, 1):
        assert cv2.imwrite(str(folder / f'frame{number:03d}.png'), draw_blobs(blobs))
    return folder


def _graph(shyness: float) -> bytes:
    helper, nodes, outputs, weights = onnx.helper, [], [], []
    nodes.append(helper.make_node('Cast', ['image'], ['float'], to=onnx.TensorProto.FLOAT))
    nodes.append(helper.make_node('Transpose', ['float'], ['planes'], perm=[0, 3, 1, 2]))
    for name, stride in (('fine', 8), ('coarse', 16)):
        kernel = np.zeros((14, 3, 1, 1), np.float32)
        bias = np.zeros(14, np.float32)
        if name == 'fine':
            kernel[PERSON, 0] = kernel[DOG, 1] = 1 / 16
            bias[:2] = -128 / 16 - shyness
        else:
            bias[:2] = -20
        bias[3::3] = 100  # of three bins the middle one: one stride to each side
        weights += [onnx.numpy_helper.from_array(kernel, f'{name}.kernel'),
                    onnx.numpy_helper.from_array(bias, f'{name}.bias')]
        nodes += [
            helper.make_node('AveragePool', ['planes'], [f'{name}.mean'],
                             kernel_shape=[stride, stride], strides=[stride, stride]),
            helper.make_node('Conv', [f'{name}.mean', f'{name}.kernel', f'{name}.bias'], [name])]
        outputs.append(helper.make_tensor_value_info(
            name, onnx.TensorProto.FLOAT, [1, 14, HEIGHT // stride, WIDTH // stride]))
    fed = helper.make_tensor_value_info('image', onnx.TensorProto.UINT8, [1, HEIGHT, WIDTH, 3])
    model = helper.make_model(
        helper.make_graph(nodes, 'blobs', [fed], outputs, weights),
        opset_imports=[helper.make_opsetid('', 18)], ir_version=9)
    return bytes(model.SerializeToString())
