# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Networks with channels last or first, in any colour order and scale, in each kind of input."""

from dataclasses import replace
import math
from pathlib import Path

from bundles import small_card
import numpy as np
import onnx
import pytest

from prune_perception.bundle import Bundle, DecoderSpec, InputSpec, OutputSpec, write_bundle
from prune_perception.runtime.detector import Detector

CELL = 8


def write_sees_red(
        folder: Path, order: str, resize: str, last: bool, placement: str | None = None) -> Bundle:
    """Write a detector that sees a person of 16 x 16 pixels about each red cell of 8 x 8."""
    shape = (1, 4, 8, 7) if last else (1, 7, 4, 8)
    card = replace(
        small_card(), network=None,
        input=InputSpec(32, 64, order, (120.0, 130.0, 140.0), (60.0, 70.0, 80.0), resize,
                        placement),
        outputs=(OutputSpec('out', shape),), decoder=DecoderSpec('yolox', {'strides': [CELL]}))
    red = order.index('r')
    kernel = np.zeros((7, 3, CELL, CELL), np.float32)
    # A logit of 0.1 times the red less 18: 7.5 for all of it, -6.6 for the bars of a letterbox.
    kernel[4:6, red] = 0.1 * card.input.std[red] / CELL ** 2
    least = 0.1 * card.input.mean[red] - 18
    bias = np.array([0.5, 0.5, math.log(2), math.log(2), least, least, -9], np.float32)
    helper, tensor = onnx.helper, onnx.numpy_helper.from_array
    nodes = [
        helper.make_node('Cast', ['image'], ['pixels'], to=onnx.TensorProto.FLOAT),
        helper.make_node('Sub', ['pixels', 'mean'], ['moved']),
        helper.make_node('Div', ['moved', 'std'], ['scaled']),
        helper.make_node('Transpose', ['scaled'], ['planes'], perm=[0, 3, 1, 2]),
        helper.make_node('Conv', ['planes', 'kernel', 'bias'], ['map'], strides=[CELL, CELL]),
        helper.make_node('Transpose', ['map'], ['out'],
                         perm=[0, 2, 3, 1] if last else [0, 1, 2, 3])]
    model = helper.make_model(
        helper.make_graph(
            nodes, 'sees red',
            [helper.make_tensor_value_info('image', onnx.TensorProto.UINT8, (1, 32, 64, 3))],
            [helper.make_tensor_value_info('out', onnx.TensorProto.FLOAT, shape)],
            [tensor(np.array(card.input.mean, np.float32), 'mean'),
             tensor(np.array(card.input.std, np.float32), 'std'),
             tensor(kernel, 'kernel'), tensor(bias, 'bias')]),
        opset_imports=[helper.make_opsetid('', 18)], ir_version=8)
    return write_bundle(folder / 'red', card, {'model.onnx': model.SerializeToString()})


@pytest.mark.parametrize('last', [True, False])
@pytest.mark.parametrize('order', ['rgb', 'bgr'])
@pytest.mark.parametrize(('resize', 'size', 'scale'), [
    ('stretch', (32, 64), 1), ('stretch', (64, 128), 2), ('letterbox', (32, 32), 1),
    ('centre_crop', (64, 64), 1)])
def test_a_red_square_is_found_where_it_is(
        tmp_path: Path, last: bool, order: str, resize: str, size: tuple[int, int], scale: int
        ) -> None:
    # Of the tall image the middle is seen, from row 16 on.
    top = (24 if resize == 'centre_crop' else 8) * scale
    image = np.full((*size, 3), (255, 255, 0), np.uint8)  # BGR: anything but red
    image[top:top + CELL * scale, 8 * scale:16 * scale] = (0, 0, 255)
    seen = Detector(write_sees_red(tmp_path, order, resize, last), score_threshold=0.3
                    ).detect(image).detections
    box = [4 * scale, top - 4 * scale, 20 * scale, top + 12 * scale]
    assert (seen.boxes.tolist(), seen.classes.tolist()) == ([box], [0])


@pytest.mark.parametrize('order', ['rgb', 'bgr'])
def test_a_letterbox_at_the_top_left_finds_it_where_it_is(tmp_path: Path, order: str) -> None:
    # 48 high and 80 wide, so 2/3: 53 columns and 32 rows, at the left and not 5 columns from it.
    # The square from (36, 24) to (48, 36) fills the cell from (24, 16) to (32, 24).
    image = np.full((48, 80, 3), (255, 255, 0), np.uint8)
    image[24:36, 36:48] = (0, 0, 255)
    bundle = write_sees_red(tmp_path, order, 'letterbox', False, 'top_left')
    seen = Detector(bundle, score_threshold=0.3).detect(image).detections
    # (20, 12) to (36, 28) in the input; across it is 53 / 80, for columns are whole.
    np.testing.assert_allclose(
        seen.boxes, [[20 * 80 / 53, 18, 36 * 80 / 53, 42]], rtol=1e-5)
