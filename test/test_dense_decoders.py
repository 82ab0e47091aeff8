# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Each dense decoder against boxes worked out by hand, on an input of 32 x 64 pixels."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
import math
from typing import Any

from anchor_forms import ANCHORS, CELLS, fields, FORMS, forms, STRIDES
from bundles import small_card, unwritten
import numpy as np
from numpy.typing import NDArray
import pytest

from prune_perception.bundle import BundleError, DecoderSpec, OutputSpec
from prune_perception.runtime.decoders import create_decoder, Decoder, decoder_of, DecoderError
from prune_perception.runtime.decoders.anchors import retinanet_sizes, ssd_sizes

Array = NDArray[np.float32]


def decoder(name: str, shapes: Sequence[tuple[int, ...]], classes: int = 2,
            **settings: Any) -> Decoder:
    card = small_card(
        class_names=tuple(f'class {index}' for index in range(classes)),
        outputs=tuple(OutputSpec(f'output {index}', shape) for index, shape in enumerate(shapes)),
        decoder=DecoderSpec(name, settings))
    return decoder_of(card)


def found(name: str, values: Mapping[str, Array], form: str, threshold: float = 0.5,
          classes: int = 2, /, **settings: Any) -> tuple[Array, Array, list[int]]:
    """Decode the anchors in a form; return boxes, scores and classes, the best first."""
    outputs = forms(values)[form]
    for output in outputs:
        output.flags.writeable = False
    decode = decoder(name, [output.shape for output in outputs], classes, **settings)
    boxes, scores, which = decode(outputs, threshold)
    assert (boxes.dtype, scores.dtype, which.dtype) == (np.float32, np.float32, np.int64)
    assert boxes.shape == (len(scores), 4)
    best = np.argsort(-scores, kind='stable')
    return boxes[best], scores[best], which[best].tolist()


def logistic(value: float) -> float:
    return 1 / (1 + math.exp(-value))


# ---- YOLO-DFL


def yolo_anchors() -> dict[str, Array]:
    """Return three bins a side, nothing but background in two classes."""
    return fields(boxes=(12, 0), classes=(2, -9))


@pytest.mark.parametrize('form', FORMS)
def test_yolo_dfl_by_hand(form: str) -> None:
    anchors = yolo_anchors()
    # Anchor 6 is row 1, column 2 of stride 16: its point is (2.5 * 16, 1.5 * 16) = (40, 24).
    # Left 1 and right 2 strides for certain, top all bins alike: 1; bottom 1/4 and 3/4 in the
    # bins 0 and 1: 0.75.
    anchors['boxes'][6] = (-99, 99, -99, 0, 0, 0, -99, -99, 99, 0, math.log(3), -99)
    anchors['classes'][6] = (-9, 2)
    # Anchor 9 is column 1 of stride 32: its point is (48, 16), and all distances are 1 stride.
    anchors['classes'][9] = (1, -9)
    boxes, scores, classes = found('yolo_dfl', anchors, form, strides=STRIDES, bins=3)
    np.testing.assert_allclose(boxes, [
        [40 - 16, 24 - 16, 40 + 32, 24 + 12], [48 - 32, 16 - 32, 48 + 32, 16 + 32]], atol=1e-4)
    np.testing.assert_allclose(scores, [logistic(2), logistic(1)], rtol=1e-6)
    assert classes == [1, 0]


def test_yolo_dfl_with_probabilities_and_distances() -> None:
    anchors = fields(boxes=(4, 1), classes=(2, 0))
    anchors['boxes'][0] = (0.25, 0.5, 1, 0.5)  # strides of 16 from the point (8, 8)
    anchors['classes'][0] = (0.75, 0.5)
    boxes, scores, classes = found(
        'yolo_dfl', anchors, 'columns', strides=STRIDES, bins=1, scores='probabilities')
    np.testing.assert_allclose(boxes, [[4, 0, 24, 16]])
    assert (scores.tolist(), classes) == ([0.75], [0])  # one at the threshold is left out


# ---- YOLOX


@pytest.mark.parametrize('form', FORMS)
def test_yolox_by_hand(form: str) -> None:
    anchors = fields(boxes=(4, 0), objectness=(1, -9), classes=(2, 9))
    # Anchor 6 is the cell (1, 2) of stride 16, whose corner is (32, 16): the centre lies at
    # (32 + 0.25 * 16, 16 + 0.5 * 16) = (36, 24), the size is (2 * 16, 16).
    anchors['boxes'][6] = (0.25, 0.5, math.log(2), 0)
    anchors['objectness'][6], anchors['classes'][6] = 2, (-9, 1)
    # Anchor 8 is the cell (0, 0) of stride 32: centre (-32, 32), size 32 x 32.
    anchors['boxes'][8] = (-1, 1, 0, 0)
    anchors['objectness'][8], anchors['classes'][8] = 3, (3, -9)
    boxes, scores, classes = found('yolox', anchors, form, strides=STRIDES)
    np.testing.assert_allclose(boxes, [[-48, 16, -16, 48], [20, 16, 52, 32]], atol=1e-4)
    np.testing.assert_allclose(scores, [logistic(3) ** 2, logistic(2) * logistic(1)], rtol=1e-6)
    assert classes == [0, 1]


def test_yolox_with_probabilities_asks_both_of_them() -> None:
    anchors = fields(boxes=(4, 0), objectness=(1, 0), classes=(2, 1))
    anchors['objectness'][:3] = 0.75
    anchors['classes'][:3] = ((0.75, 0.5), (0.5, 0.25), (1, 0))
    _, scores, classes = found(
        'yolox', anchors, 'rows', strides=STRIDES, scores='probabilities')
    assert (scores.tolist(), classes) == ([0.75, 0.5625], [0, 0])


def test_a_size_beyond_all_bounds_is_no_infinite_box() -> None:
    anchors = fields(boxes=(4, 500), objectness=(1, 9), classes=(2, 9))
    boxes, _, _ = found('yolox', anchors, 'rows', strides=STRIDES)
    assert np.isfinite(boxes).all()


# ---- SSD


def ssd_settings() -> dict[str, Any]:
    return {'cells': [list(cells) for cells in CELLS],
            'anchors': [[[16, 8]], [[20, 40]]], 'variances': [0.1, 0.1, 0.2, 0.2]}


@pytest.mark.parametrize('form', FORMS)
def test_ssd_by_hand(form: str) -> None:
    anchors = fields(boxes=(4, 0), classes=(3, 0))
    anchors['classes'][:, 0] = 9  # background
    # Anchor 6, 16 x 8 pixels about (40, 24): the centre moves by 0.1 * 5 = half its width and
    # -0.1 * 10 = its height, to (48, 16); the width doubles, the height stays.
    anchors['boxes'][6] = (5, -10, math.log(2) / 0.2, 0)
    anchors['classes'][6] = (0, 0, math.log(6))  # 1/8, 1/8 and 6/8
    # Anchor 9 as it is: 20 x 40 about (48, 16).
    anchors['classes'][9] = (0, math.log(2), -99)  # 1/3, 2/3 and nothing
    boxes, scores, classes = found('ssd', anchors, form, **ssd_settings())
    np.testing.assert_allclose(boxes, [[32, 12, 64, 20], [38, -4, 58, 36]], atol=1e-4)
    np.testing.assert_allclose(scores, [6 / 8, 2 / 3], rtol=1e-6)
    assert classes == [1, 0]


def test_ssd_with_several_anchors_at_a_cell() -> None:
    # Two anchors on the first level, one on the second: 2 * 8 + 2 rows.
    sizes = [[[16, 8], [8, 16]], [[20, 40]]]
    scores = np.full((18, 2), -9, np.float32)
    scores[2 * 6 + 1, 1], scores[17, 0] = 2, 1  # the second at the cell (1, 2), and the last
    boxes = np.zeros((18, 4), np.float32)
    boxes[2 * 6 + 1] = (1, 0, 0, 0)  # by its width of 8
    rows = [boxes[None], scores[None]]
    maps = []
    for values in (boxes, scores):  # channels: anchor by anchor, in each its numbers
        size = values.shape[1]
        maps.append(values[:16].reshape(2, 4, 2 * size).transpose(2, 0, 1)[None])
        maps.append(values[16:].reshape(1, 2, size).transpose(2, 0, 1)[None])
    for outputs in (rows, maps):
        decode = decoder('ssd', [output.shape for output in outputs], strides=STRIDES,
                         anchors=sizes, scores='logits', variances=[1, 1, 1, 1])
        found_boxes, found_scores, classes = decode(
            [np.ascontiguousarray(output) for output in outputs], 0.5)
        best = np.argsort(-found_scores)
        np.testing.assert_allclose(
            found_boxes[best], [[44, 16, 52, 32], [38, -4, 58, 36]], atol=1e-4)
        np.testing.assert_allclose(found_scores[best], [logistic(2), logistic(1)], rtol=1e-6)
        assert classes[best].tolist() == [1, 0]


def test_ssd_with_anchors_that_are_given() -> None:
    # Two anchors: (10, 10, 30, 20) about (20, 15) and another. TensorFlow's order of differences:
    # y first; the centre moves by 0.1 * 10 heights down.
    decode = decoder(
        'ssd', [(1, 2, 4), (1, 2, 3)], anchor_boxes=[[0, 0, 8, 8], [10, 10, 30, 20]],
        deltas='yxhw', background='last')
    boxes, scores, classes = decode([
        np.array([[[0, 0, 0, 0], [10, 0, 0, 0]]], np.float32),
        np.array([[[0, 0, 9], [0, math.log(3), 0]]], np.float32)], 0.5)
    np.testing.assert_allclose(boxes, [[10, 20, 30, 30]], atol=1e-4)
    np.testing.assert_allclose(scores, [0.6], rtol=1e-6)
    assert classes.tolist() == [1]


def test_ssd_with_probabilities_leaves_out_the_background() -> None:
    anchors = fields(boxes=(4, 0), classes=(3, 0))
    anchors['classes'][:, 0] = 1
    anchors['classes'][3] = (0.25, 0.75, 0)
    boxes, scores, classes = found(
        'ssd', anchors, 'rows apart', scores='probabilities', background='first',
        **ssd_settings())
    # Anchor 3 is column 3 of the first row: 16 x 8 about (56, 8).
    assert boxes.tolist() == [[48, 4, 64, 12]]
    assert (scores.tolist(), classes) == ([0.75], [0])


def test_softmax_without_a_background() -> None:
    anchors = fields(boxes=(4, 0), classes=(2, 0))
    anchors['classes'][3] = (0, math.log(9))
    _, scores, classes = found(
        'ssd', anchors, 'rows', 0.6, background='none', **ssd_settings())
    np.testing.assert_allclose(scores, [0.9], rtol=1e-6)
    assert classes == [1]


def test_the_anchors_of_ssd_and_retinanet() -> None:
    # Of 300 pixels: 0.2 is 60, and between 0.2 and 0.45 lies sqrt(0.09) = 0.3, 90 pixels; a box
    # four times as wide as high has the sides 0.4 and 0.1.
    level, = ssd_sizes([0.2, 0.45], [[4]], (300, 300))
    np.testing.assert_allclose(level, [[60, 60], [90, 90], [120, 30], [30, 120]])
    # An area of 32 x 32: halves of sqrt(32^2 / 4) = 16 are 8, those of 64 are 32.
    level, = retinanet_sizes([[32]], [0.25, 1, 4])
    assert level == [[64, 16], [32, 32], [16, 64]]


def test_a_default_box_is_no_longer_than_the_input() -> None:
    level, = ssd_sizes([0.9, 0.9], [[4]], (300, 200))
    np.testing.assert_allclose(level, [[270, 180], [270, 180], [300, 90], [135, 200]])
    level, = ssd_sizes([0.9, 0.9], [[4]], (300, 200), clip=False)
    np.testing.assert_allclose(level[2:], [[540, 90], [135, 360]])


# ---- FCOS


@pytest.mark.parametrize('form', FORMS)
def test_fcos_by_hand(form: str) -> None:
    anchors = fields(classes=(2, -9), boxes=(4, 1), centerness=(1, 9))
    # Anchor 6: the point (40, 24), and distances in strides of 16.
    anchors['classes'][6], anchors['centerness'][6] = (-9, 1), 2
    anchors['boxes'][6] = (1, 0.5, 2, 0.25)
    boxes, scores, classes = found('fcos', anchors, form, strides=STRIDES)
    np.testing.assert_allclose(boxes, [[24, 16, 72, 28]], atol=1e-4)
    np.testing.assert_allclose(scores, [math.sqrt(logistic(1) * logistic(2))], rtol=1e-6)
    assert classes == [1]


@pytest.mark.parametrize(('centerness', 'threshold', 'scores'), [
    ('sqrt', 0.59, [0.6]), ('sqrt', 0.61, []), ('product', 0.35, [0.36]), ('product', 0.37, []),
    ('none', 0.39, [0.4]), ('none', 0.41, [])])
def test_what_fcos_makes_of_centerness(
        centerness: str, threshold: float, scores: list[float]) -> None:
    anchors = fields(classes=(2, 0), boxes=(4, 1), centerness=(1, 0.9))
    anchors['classes'][0, 0] = 0.4  # less than the score: it is sqrt(0.4 * 0.9)
    if centerness == 'none':
        del anchors['centerness']
    _, given, _ = found('fcos', anchors, 'rows', threshold, strides=STRIDES,
                        scores='probabilities', centerness=centerness)
    np.testing.assert_allclose(given, scores, rtol=1e-6)


@pytest.mark.parametrize(('settings', 'box'), [
    # Anchor 6, whose point is (40, 24), or its cell's corner (32, 16) in torchvision.
    ({}, [40 - 16, 24 - 0, 40 + 32, 24 + 16]),
    ({'offset': 0}, [32 - 16, 16 - 0, 32 + 32, 16 + 16]),
    ({'distances': 'pixels'}, [39, 24, 42, 25]),
    ({'distances': 'normalised'}, [40 - 64, 24 - 0, 40 + 128, 24 + 32]),
    ({'activation': 'exp', 'distances': 'pixels'},
     [40 - math.e, 24 - math.exp(-1), 40 + math.exp(2), 24 + math.e])])
def test_the_distances_of_fcos(settings: dict[str, Any], box: list[float]) -> None:
    anchors = fields(classes=(1, -9), boxes=(4, 1), centerness=(1, 9))
    anchors['classes'][6] = 9
    anchors['boxes'][6] = (1, -1, 2, 1)
    boxes, _, _ = found('fcos', anchors, 'rows', 0.5, 1, strides=STRIDES,
                        **{'activation': 'relu', **settings})
    np.testing.assert_allclose(boxes, [box], atol=1e-4)


# ---- CenterNet


def center_maps(**changes: float) -> list[Array]:
    """Return heatmaps of two classes and maps of sizes and offsets, 4 x 8 cells of 8 pixels."""
    return [np.full((1, 2, 4, 8), changes.get('heat', -9), np.float32),
            np.ones((1, 2, 4, 8), np.float32), np.zeros((1, 2, 4, 8), np.float32)]


def center_found(outputs: list[Array], threshold: float = 0.5, **settings: Any
                 ) -> tuple[Array, Array, Array]:
    return decoder('centernet', [output.shape for output in outputs], stride=8, **{
        'order': ['classes', 'sizes', 'offsets'], **settings})(outputs, threshold)


def test_centernet_by_hand() -> None:
    heat, size, offset = outputs = center_maps()
    heat[0, 1, 1, 2] = 2
    size[0, :, 1, 2], offset[0, :, 1, 2] = (2, 1), (0.5, 0.25)
    # The cell (1, 2) of stride 8: the centre lies at (2.5 * 8, 1.25 * 8) = (20, 10), the size is
    # (2 * 8, 1 * 8).
    for given, settings in (
            (outputs, {}),
            ([np.concatenate(outputs, 1)], {}),
            ([np.ascontiguousarray(output.transpose(0, 2, 3, 1)) for output in outputs], {}),
            ([heat, offset, size], {'order': ['classes', 'offsets', 'sizes']}),
            ([heat, size[:, ::-1], offset[:, ::-1]], {'axes': 'yx'}),
            ([heat, size * 8, offset], {'sizes': 'pixels'}),
            ([heat, size * 8 / np.array([64, 32], np.float32)[:, None, None], offset],
             {'sizes': 'normalised'})):
        boxes, scores, classes = center_found(given, **settings)
        np.testing.assert_allclose(boxes, [[12, 6, 28, 14]], atol=1e-5)
        np.testing.assert_allclose(scores, [logistic(2)], rtol=1e-6)
        assert classes.tolist() == [1]


def test_centernet_without_offsets_takes_the_centre_of_the_cell() -> None:
    heat, size, _ = center_maps(heat=0)
    heat[0, 0, 0, 7] = 0.75  # the cell's centre is (60, 4), the size 8 x 8
    boxes, scores, _ = decoder(
        'centernet', [heat.shape, size.shape], stride=8, offsets=False, scores='probabilities',
        order=['classes', 'sizes'])([heat, size], 0.5)
    np.testing.assert_allclose(boxes, [[56, 0, 64, 8]])
    assert scores.tolist() == [0.75]


def test_of_neighbours_the_highest_is_a_peak() -> None:
    heat, size, offset = center_maps()
    heat[0, 0, 1, 2:6] = (1, 2, 1.5, 1.75)  # 2 and 1.75 have no higher neighbour
    heat[0, 0, 2, 3] = 1.9  # beside 2
    heat[0, 1, 1, 2] = 1  # of another class
    heat[0, 0, 0, 0] = heat[0, 0, 3, 7] = 1  # in corners
    # The last cell of a row and the first of the next are no neighbours.
    heat[0, 1, 2, 7], heat[0, 1, 3, 0] = 1, 2
    boxes, scores, classes = center_found([heat, size, offset])
    cells = sorted(zip(classes.tolist(), (boxes[:, 1] + 4).tolist(), (boxes[:, 0] + 4).tolist(),
                       strict=True))
    assert cells == [(0, 0, 0), (0, 8, 24), (0, 8, 40), (0, 24, 56),
                     (1, 8, 16), (1, 16, 56), (1, 24, 0)]
    assert len(scores) == 7


def test_centernet_needs_no_suppression() -> None:
    shapes = [output.shape for output in center_maps()]
    order = ['classes', 'sizes', 'offsets']
    assert not decoder('centernet', shapes, stride=8, order=order).nms
    assert decoder('centernet', shapes, stride=8, order=order, nms=True).nms


# ---- as many channels as rows and columns


def square_maps(last: bool) -> list[Array]:
    """
    Return boxes and eight classes on 8 x 8 and 4 x 4 cells, one object in each.

    (1, 8, 8, 8) and (1, 4, 4, 4) can be read in two ways; the other two maps tell.
    """
    boxes, classes = ([np.full((1, size, side, side), value, np.float32) for side in (8, 4)]
                      for size, value in ((4, 1), (8, -9)))
    classes[0][0, 7, 1, 5], classes[1][0, 6, 3, 2] = 2, 1
    boxes[1][0, :, 3, 2] = (1, 0.5, 0.25, 0.75)
    maps = [*boxes, *classes]
    return [np.ascontiguousarray(each.transpose(0, 2, 3, 1)) for each in maps] if last else maps


def on_a_square(name: str, shapes: Sequence[tuple[int, ...]], classes: int, **settings: Any
                ) -> Decoder:
    """Return a decoder for an input of 64 x 64 pixels."""
    card = small_card(
        class_names=tuple(f'class {index}' for index in range(classes)),
        outputs=tuple(OutputSpec(f'output {index}', shape) for index, shape in enumerate(shapes)),
        decoder=DecoderSpec(name, settings))
    return decoder_of(replace(card, input=replace(card.input, height=64, width=64)))


@pytest.mark.parametrize('last', [False, True])
@pytest.mark.parametrize('settings', [{}, {'channels': True}])
def test_maps_that_tell_stand_for_those_that_do_not(last: bool, settings: dict[str, Any]) -> None:
    settings = {'channels': 'last' if last else 'first'} if settings else {}
    maps = square_maps(last)
    decode = on_a_square('yolo_dfl', [each.shape for each in maps], 8, strides=[8, 16], bins=1,
                         **settings)
    boxes, scores, classes = decode(maps, 0.5)
    # The points are (5.5 * 8, 1.5 * 8) = (44, 12) and (2.5 * 16, 3.5 * 16) = (40, 56).
    np.testing.assert_allclose(boxes, [[36, 4, 52, 20], [24, 48, 44, 68]])
    np.testing.assert_allclose(scores, [logistic(2), logistic(1)], rtol=1e-6)
    assert classes.tolist() == [7, 6]


@pytest.mark.parametrize('last', [False, True])
def test_where_no_map_tells_it_is_asked_for(last: bool) -> None:
    joined = np.full((1, 8, 8, 8), -9, np.float32)  # four classes and four sides
    joined[0, 4:] = 8
    joined[0, 3, 1, 5] = 2
    output = np.ascontiguousarray(joined.transpose(0, 2, 3, 1)) if last else joined
    settings = {'strides': [8], 'distances': 'pixels', 'centerness': 'none'}
    with pytest.raises(DecoderError, match=(
            "the shapes of outputs 'output 0' do not tell whether their channels come before or "
            'after the cells; set channels to first or last')):
        on_a_square('fcos', [output.shape], 4, **settings)
    boxes, _, classes = on_a_square(
        'fcos', [output.shape], 4, channels='last' if last else 'first', **settings
        )([output], 0.5)
    assert (boxes.tolist(), classes.tolist()) == ([[36, 4, 52, 20]], [3])


@pytest.mark.parametrize('last', [False, True])
def test_as_many_rows_as_numbers(last: bool) -> None:
    rows = np.zeros((6, 6), np.float32)
    rows[2] = (1, 2, 3, 4, 0.25, 0.75)
    output = np.ascontiguousarray(rows if last else rows.T)[None]
    with pytest.raises(DecoderError, match='set channels to first or last'):
        decoder('decoded', [output.shape], boxes='xyxy')
    boxes, scores, classes = decoder(
        'decoded', [output.shape], boxes='xyxy', channels='last' if last else 'first'
        )([output], 0.5)
    assert (boxes.tolist(), scores.tolist(), classes.tolist()) == ([[1, 2, 3, 4]], [0.75], [1])


def test_boxes_and_scores_may_stand_in_two_ways() -> None:
    """As ONNX's NonMaxSuppression takes them: (1, N, 4) and (1, C, N)."""
    anchors = fields(boxes=(4, 1), classes=(2, 0))
    anchors['boxes'][4], anchors['classes'][4] = (8, 4, 24, 28), (0.25, 0.75)
    outputs = [anchors['boxes'][None], np.ascontiguousarray(anchors['classes'].T)[None]]
    boxes, _, classes = decoder(
        'decoded', [output.shape for output in outputs], boxes='xyxy')(outputs, 0.5)
    assert (boxes.tolist(), classes.tolist()) == ([[8, 4, 24, 28]], [1])


@pytest.mark.parametrize('shapes', [
    [(1, 5, 1, 1)], [(1, 1, 1, 5)], [(1, 1, 5)], [(1, 5, 1)]])
def test_of_one_cell_both_ways_are_the_same(shapes: list[tuple[int, ...]]) -> None:
    values = [np.array([9, 32, 32, 32, 32], np.float32).reshape(shape) for shape in shapes]
    boxes, _, _ = on_a_square('fcos', shapes, 1, strides=[64], centerness='none',
                              distances='pixels')(values, 0.5)
    assert boxes.tolist() == [[0, 0, 64, 64]]


@pytest.mark.parametrize('shape', [(1, 4, 1, 1), (1, 1, 1, 4)])
def test_of_one_number_both_ways_are_the_same(shape: tuple[int, ...]) -> None:
    boxes, _, _ = on_a_square(
        'fcos', [(1, 1, 1, 1), shape], 1, strides=[64], centerness='none', distances='pixels'
        )([np.full((1, 1, 1, 1), 9, np.float32), np.full(shape, 32, np.float32)], 0.5)
    assert boxes.tolist() == [[0, 0, 64, 64]]


# ---- decoded already


@pytest.mark.parametrize(('form', 'units', 'numbers'), [
    ('xyxy', 'pixels', (8, 4, 24, 28)), ('yxyx', 'pixels', (4, 8, 28, 24)),
    ('xywh', 'pixels', (8, 4, 16, 24)), ('cxcywh', 'pixels', (16, 16, 16, 24)),
    ('xyxy', 'normalised', (0.125, 0.125, 0.375, 0.875)),
    ('cxcywh', 'normalised', (0.25, 0.5, 0.25, 0.75))])
def test_boxes_in_all_their_ways(form: str, units: str, numbers: tuple[float, ...]) -> None:
    anchors = fields(boxes=(4, 1), classes=(2, 0))
    anchors['boxes'][4], anchors['classes'][4] = numbers, (0.25, 0.75)
    # The last three as Ultralytics exports it, as rows, and without a batch dimension.
    columns = np.ascontiguousarray(np.concatenate(list(anchors.values()), 1).T)
    for outputs in ([columns[None]], [columns.T[None]], list(anchors.values())):
        decode = decoder('decoded', [output.shape for output in outputs], boxes=form, units=units)
        boxes, scores, classes = decode(outputs, 0.5)
        np.testing.assert_allclose(boxes, [[8, 4, 24, 28]])
        assert (scores.tolist(), classes.tolist()) == ([0.75], [1])


def test_decoded_with_objectness_and_logits() -> None:
    anchors = fields(boxes=(4, 0), objectness=(1, -9), classes=(2, 9))
    anchors['boxes'][2], anchors['objectness'][2] = (0, 0, 5, 5), 3
    anchors['classes'][2] = (-9, 3)
    _, scores, classes = found(
        'decoded', anchors, 'rows', boxes='xyxy', objectness=True, scores='logits')
    np.testing.assert_allclose(scores, [logistic(3) ** 2], rtol=1e-6)
    assert classes == [1]


def test_the_queries_of_detr() -> None:
    anchors = fields(boxes=(4, 0.5), classes=(3, 0))
    anchors['classes'][:, 2] = 9
    anchors['classes'][1] = (math.log(8), 0, 0)
    boxes, scores, classes = found(
        'decoded', anchors, 'rows apart', boxes='cxcywh', units='normalised', scores='softmax',
        background='last', nms=False)
    np.testing.assert_allclose(boxes, [[16, 8, 48, 24]])
    np.testing.assert_allclose(scores, [0.8], rtol=1e-6)
    assert classes == [0]


# ---- all of them

EVERY: dict[str, tuple[dict[str, tuple[int, float]], dict[str, Any]]] = {
    'yolo_dfl': ({'boxes': (12, 0), 'classes': (3, -9)}, {'strides': STRIDES, 'bins': 3}),
    'yolox': ({'boxes': (4, 0), 'objectness': (1, 9), 'classes': (3, -9)}, {'strides': STRIDES}),
    'ssd': ({'boxes': (4, 0), 'classes': (3, -9)},
            {'strides': STRIDES, 'anchors': [[[16, 8]], [[20, 40]]], 'scores': 'logits'}),
    'fcos': ({'classes': (3, -9), 'boxes': (4, 1), 'centerness': (1, 9)}, {'strides': STRIDES}),
    'decoded': ({'boxes': (4, 1), 'classes': (3, -9)}, {'boxes': 'cxcywh', 'scores': 'logits'}),
}


@pytest.mark.parametrize('name', EVERY)
@pytest.mark.parametrize('form', FORMS)
def test_nothing_found(name: str, form: str) -> None:
    kinds, settings = EVERY[name]
    if name == 'decoded' and form.startswith('maps'):
        settings = {**settings, 'strides': STRIDES}
    boxes, scores, classes = found(name, fields(**kinds), form, 0.5, 3, **settings)
    assert (boxes.shape, scores.shape, classes) == ((0, 4), (0,), [])


@pytest.mark.parametrize('name', EVERY)
def test_one_anchor_may_be_of_two_classes(name: str) -> None:
    kinds, settings = EVERY[name]
    anchors = fields(**kinds)
    anchors['classes'][5] = (9, -9, 8)
    boxes, _, classes = found(name, anchors, 'rows', 0.9, 3, **settings)
    assert classes == [0, 2]
    np.testing.assert_array_equal(boxes[0], boxes[1])


@pytest.mark.parametrize('name', EVERY)
def test_some_columns_alone_are_classes_of_the_card(name: str) -> None:
    kinds, settings = EVERY[name]
    anchors = fields(**kinds)
    anchors['classes'][5] = (9, 8, 7)
    _, _, classes = found(
        name, anchors, 'rows', 0.9, 2, columns=[2, 0], column_count=3, **settings)
    assert classes == [1, 0]  # column 0, then column 2


def test_softmax_over_more_columns_than_classes() -> None:
    anchors = fields(boxes=(4, 0), classes=(4, 0))
    anchors['classes'][:, 0] = 9
    anchors['classes'][5] = (0, math.log(2), math.log(5), 0)  # 1/9, 2/9, 5/9, 1/9
    anchors['classes'][7] = (0, 9, 0, 0)
    boxes, scores, classes = found(
        'ssd', anchors, 'rows', 0.1, 2, columns=[3, 2], column_count=4, **ssd_settings())
    np.testing.assert_allclose(scores, [5 / 9, 1 / 9], rtol=1e-5)
    assert classes == [1, 0]


@pytest.mark.parametrize('name', EVERY)
def test_one_class(name: str) -> None:
    kinds, settings = EVERY[name]
    anchors = fields(**{**kinds, 'classes': (1, -9)})
    anchors['classes'][5] = 9
    for form in ('rows', 'columns', 'maps') if name != 'decoded' else ('rows', 'columns'):
        boxes, _, classes = found(name, anchors, form, 0.5, 1, **settings)
        assert (len(boxes), classes) == (1, [0])


@pytest.mark.parametrize('name', EVERY)
@pytest.mark.parametrize('threshold', [0.0, 1.0])
def test_thresholds_at_the_ends(name: str, threshold: float) -> None:
    kinds, settings = EVERY[name]
    _, scores, _ = found(name, fields(**kinds), 'rows', threshold, 3, **settings)
    assert len(scores) == (0 if threshold else 3 * ANCHORS)


@pytest.mark.parametrize('name', EVERY)
def test_boxes_that_are_none_are_left_out(name: str) -> None:
    """What is not a number would take the whole image with it in suppression."""
    kinds, settings = EVERY[name]
    anchors = fields(**kinds)
    anchors['classes'][4:7] = 9
    anchors['boxes'][5] = math.nan
    anchors['boxes'][6] = math.inf
    with np.errstate(invalid='ignore'):
        boxes, _, _ = found(name, anchors, 'rows', 0.5, 3, **settings)
    assert 3 <= len(boxes) <= 6 and np.isfinite(boxes).all()


def test_boxes_inside_out_are_left_out() -> None:
    anchors = fields(boxes=(4, 0), classes=(2, 0.75))
    anchors['boxes'][:3] = ((5, 5, 4, 9), (5, 5, 9, 4), (5, 5, 9, 9))
    boxes, _, _ = found('decoded', anchors, 'rows', boxes='xyxy')
    assert boxes.tolist() == [[5, 5, 9, 9]] * 2


ROWS = (1, ANCHORS, 6)


@pytest.mark.parametrize(('name', 'shapes', 'settings', 'reason'), [
    ('yolo_dfl', [ROWS], {'strides': STRIDES, 'reg_max': 3}, 'reg_max is no setting of it; known '
     'are strides, bins, scores, order, channels, columns, column_count, nms'),
    ('yolo_dfl', [ROWS], {'strides': STRIDES, 'bins': 0}, 'bins must be an integer of at least 1'),
    ('yolo_dfl', [ROWS], {'strides': 8}, 'strides must be a list, not 8'),
    ('yolo_dfl', [ROWS], {'strides': [8, '16']},
     "strides must be an integer of at least 1, not '16'"),
    ('yolo_dfl', [ROWS], {'strides': STRIDES, 'bins': 2},
     "outputs 'output 0' [1, 10, 6] do not hold 8 of boxes, 2 of classes for 10 anchors; that "
     'would be [1, 10, 2, 4], [1, 10, 1, 2], or [1, 10, 10], or one output for each of boxes, '
     'classes'),
    ('yolo_dfl', [ROWS], {'strides': [16], 'bins': 1}, 'for 8 anchors'),
    ('yolo_dfl', [ROWS], {'strides': STRIDES, 'bins': 1, 'order': ['boxes']},
     'order is boxes; it must name boxes, classes, each once'),
    ('yolo_dfl', [ROWS], {'strides': STRIDES, 'bins': 1, 'scores': 'softmax'},
     "scores is 'softmax'; known are logits, probabilities"),
    ('yolo_dfl', [ROWS], {'strides': STRIDES, 'bins': 1, 'nms': 1}, 'nms must be true or false'),
    ('yolox', [ROWS], {'strides': STRIDES, 'columns': [0, 1]}, 'columns and column_count belong'),
    ('yolox', [ROWS], {'strides': STRIDES, 'columns': [0, 0], 'column_count': 5},
     'columns must name 2 columns, one for each class, each once'),
    ('yolox', [ROWS], {'strides': STRIDES, 'columns': [0, 5], 'column_count': 5},
     'columns must lie between 0 and 4'),
    ('ssd', [ROWS], {'strides': STRIDES}, 'set anchors or anchor_boxes, one of them'),
    ('ssd', [ROWS], {'anchors': [[[8, 8]]]}, 'strides and cells are missing'),
    ('ssd', [ROWS], {'anchors': [[[8, -8]]], 'strides': [16]}, 'anchors must be above 0, not -8'),
    ('ssd', [ROWS], {'anchors': [[[8, 8]]], 'strides': STRIDES}, 'strides must have 1 entries'),
    ('ssd', [ROWS], {'anchor_boxes': [[8, 8, 4, 4]]}, 'anchor_boxes must be a list of [x1, y1'),
    ('ssd', [ROWS], {'anchor_boxes': [[8, 8], [1]]}, 'anchor_boxes must be a list of [x1, y1'),
    ('ssd', [ROWS], {'anchors': [[[8, 8]]], 'scores': 'probabilities'}, 'background is missing'),
    ('ssd', [ROWS], {'anchors': [[[8, 8]]], 'strides': [16], 'variances': [1, 1]},
     'outputs'),
    ('fcos', [ROWS], {'strides': STRIDES, 'centerness': 'root'},
     "centerness is 'root'; known are sqrt, product, none"),
    ('fcos', [(1, ANCHORS, 7)], {'strides': STRIDES, 'offset': None}, 'offset must be a number'),
    ('centernet', [(1, 2, 2, 4), (1, 2, 2, 4), (1, 2, 2, 4)], {'stride': 16},
     "the shapes of outputs 'output 0', 'output 1', 'output 2' do not tell which is which; set "
     'order to what they are, of classes, sizes, offsets'),
    ('yolox', [(1, 4, 7, 7)], {'strides': [10], 'channels': 'first'}, ', with channels first'),
    ('yolox', [ROWS], {'strides': STRIDES, 'channels': 'middle'}, "channels is 'middle'; known "
     'are first, last'),
    ('decoded', [ROWS], {}, 'boxes is missing'),
    # What would take the memory of the robot.
    ('decoded', [(1, 1 << 40, 6)], {'boxes': 'xyxy'}, 'there would be 1099511627776 anchors'),
    ('ssd', [ROWS], {'anchors': [[[8, 8]]], 'cells': [[1 << 20, 1 << 20]]},
     'there would be 1099511627776 anchors; 4194304 are the most'),
    ('yolox', [ROWS], {'columns': [0, 1], 'column_count': 1 << 40}, 'column_count is 10995116'),
    ('decoded', [ROWS], {'boxes': 'corners'}, "boxes is 'corners'; known are xyxy"),
    ('decoded', [ROWS], {'boxes': 'xyxy', 'strides': [8]}, 'for 32 anchors'),
    ('decoded', [(6,)], {'boxes': 'xyxy'}, "outputs 'output 0' [6] do not hold"),
])
def test_what_does_not_fit_is_named_in_one_line(
        name: str, shapes: list[tuple[int, ...]], settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(DecoderError) as caught:
        decoder(name, shapes, **settings)
    message = str(caught.value)
    assert message.startswith(f'decoder.settings do not fit {name!r}: ')
    assert reason in message
    assert '\n' not in message


def test_a_bundle_is_refused_by_the_path_of_its_card() -> None:
    card = small_card(decoder=DecoderSpec('yolox', {'strides': STRIDES}))
    with pytest.raises(BundleError, match=r'^somewhere/model.yaml: decoder.settings do not fit'):
        create_decoder(unwritten(card))
