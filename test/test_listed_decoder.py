# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

from collections.abc import Sequence
import math
from typing import Any

from bundles import small_card
import numpy as np
import pytest

from prune_perception.bundle import DecoderSpec, OutputSpec
from prune_perception.runtime.decoders import Decoder, decoder_of, DecoderError

BOXES = np.array([[8, 4, 24, 28], [0, 0, 16, 8], [32, 16, 64, 32], [1, 1, 2, 2]], np.float32)
SCORES = np.array([0.75, 0.5, 0.25, 0.625], np.float32)
LABELS = np.array([1, 0, 1, 7], np.int64)


def decoder(shapes: Sequence[tuple[int, ...]], **settings: Any) -> Decoder:
    """Return the decoder of two classes on an input of 32 x 64 pixels."""
    return decoder_of(small_card(
        outputs=tuple(OutputSpec(f'output {index}', shape) for index, shape in enumerate(shapes)),
        decoder=DecoderSpec('listed', settings)))


def decoded(outputs: Sequence[Any], threshold: float = 0.3, **settings: Any
            ) -> tuple[list[list[float]], list[float], list[int]]:
    decode = decoder([np.shape(output) for output in outputs], **{'boxes': 'xyxy', **settings})
    boxes, scores, classes = decode(outputs, threshold)
    assert (boxes.dtype, scores.dtype, classes.dtype) == (np.float32, np.float32, np.int64)
    return boxes.tolist(), scores.tolist(), classes.tolist()


# The third is below the threshold, the label of the last is none of the card's.
EXPECTED = ([[8, 4, 24, 28], [0, 0, 16, 8]], [0.75, 0.5], [1, 0])


@pytest.mark.parametrize('outputs', [
    [BOXES, SCORES, LABELS], [BOXES[None], SCORES[None], LABELS[None]],
    [BOXES, SCORES[:, None], LABELS[:, None]],
    [BOXES[None], SCORES[None], LABELS.astype(np.float32)[None]]])
def test_separate_outputs(outputs: list[Any]) -> None:
    assert decoded(outputs) == EXPECTED


def test_one_output() -> None:
    table = np.concatenate([BOXES, SCORES[:, None], LABELS[:, None]], 1).astype(np.float32)
    assert decoded([table]) == decoded([table[None]]) == EXPECTED
    numbered = np.concatenate([np.zeros((4, 1), np.float32), table], 1)
    assert decoded([numbered], order=['skip', 'boxes', 'scores', 'labels']) == EXPECTED
    turned = np.concatenate([table[:, 5:], table[:, 4:5], table[:, :4]], 1)
    assert decoded([turned], order=['labels', 'scores', 'boxes']) == EXPECTED


def test_what_lies_beyond_the_count_is_left_out() -> None:
    outputs = [np.array([1.0], np.float32), SCORES[None], BOXES[None], LABELS[None]]
    order = ['count', 'scores', 'boxes', 'labels']
    assert decoded(outputs, order=order) == ([[8, 4, 24, 28]], [0.75], [1])
    assert decoded([np.array([-1.0]), *outputs[1:]], order=order) == ([], [], [])


def test_the_number_may_differ_from_image_to_image() -> None:
    decode = decoder([(100, 4), (100,), (100,)], boxes='xyxy')
    boxes, _, classes = decode([BOXES[:1], SCORES[:1], LABELS[:1]], 0.5)
    assert (boxes.tolist(), classes.tolist()) == ([[8, 4, 24, 28]], [1])
    boxes, scores, classes = decode([BOXES[:0], SCORES[:0], LABELS[:0]], 0.5)
    assert (boxes.shape, scores.shape, classes.shape) == ((0, 4), (0,), (0,))


def test_labels_have_their_numbers() -> None:
    assert decoded([BOXES, SCORES, LABELS + 1], first_label=1) == EXPECTED
    _, _, classes = decoded([BOXES, SCORES, LABELS], labels=[7, 1])
    assert classes == [1, 0]
    unreal = np.array([1, np.nan, 1, -3], np.float32)
    assert decoded([BOXES, SCORES, unreal])[2] == [1]


def test_ways_of_boxes_and_scores() -> None:
    table = np.array([[0.25, 0.5, 0.25, 0.75, math.log(3), 1]], np.float32)
    boxes, scores, _ = decoded([table], boxes='cxcywh', units='normalised', scores='logits')
    assert boxes == [[8, 4, 24, 28]]  # of 64 x 32 pixels
    assert scores == pytest.approx([0.75])


def test_suppression_is_done_unless_said_otherwise() -> None:
    assert not decoder([(1, 300, 6)], boxes='xyxy').nms
    assert decoder([(1, 300, 6)], boxes='xyxy', nms=True).nms


@pytest.mark.parametrize(('shapes', 'settings', 'reason'), [
    ([(1, 300, 7)], {}, "output 'output 0' [1, 300, 7] is no list of 6 columns (boxes, scores, "
     'labels); set order'),
    ([(2, 300, 6)], {}, 'is no list of 6 columns'),
    ([(9, 4), (9,)], {}, '2 outputs for boxes, scores, labels; set order'),
    ([(9, 4), (8,), (9,)], {}, "output 'output 1' [8] is no list of scores for 9 detections"),
    ([(9, 5), (9,), (9,)], {}, "output 'output 0' [9, 5] is no list of boxes"),
    ([(9, 4), (9, 2), (9,)], {}, "output 'output 1' [9, 2] is no list of scores"),
    ([(9, 6)], {'order': ['boxes', 'scores', 'classes']}, "order has 'classes'; known are"),
    ([(9, 6)], {'order': ['boxes', 'scores', 'scores']}, 'each once'),
    ([(9, 7)], {'order': ['boxes', 'scores', 'labels', 'count']}, "order has 'count'"),
    ([(9, 6)], {'labels': [1]}, 'labels must be 2 numbers'),
    ([(9, 6)], {'labels': [1, 1]}, 'labels must be 2 numbers'),
    ([(9, 6)], {'labels': [1, 1 << 40]}, 'is the largest'),
    ([(9, 6)], {'first_label': -1}, 'first_label must be an integer of at least 0'),
])
def test_what_does_not_fit_is_named(
        shapes: list[tuple[int, ...]], settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(DecoderError) as caught:
        decoder(shapes, boxes='xyxy', **settings)
    assert reason in str(caught.value)
    assert '\n' not in str(caught.value)
