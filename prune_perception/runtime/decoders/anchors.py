# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Anchors: the boxes that a head predicts differences from.

Grids of anchors are given by the sizes at a cell; the formulas by which the usual networks choose
these sizes are here as well, for whoever writes a card.
"""

from collections.abc import Sequence
import math

import numpy as np
from numpy.typing import NDArray

from prune_perception.runtime.decoders.layout import centres, Level

Sizes = list[list[float]]


def grid_anchors(
        levels: Sequence[Level], strides: Sequence[tuple[float, float]],
        sizes: Sequence[Sequence[Sequence[float]]], offset: float) -> NDArray[np.float32]:
    """
    Return anchors of given sizes at each cell, (n, 4) centre x, y, width, height in pixels.

    :param levels: of the pyramid.
    :param strides: across and down, pixels a cell, for each level.
    :param sizes: for each level, width and height of each anchor at a cell, pixels.
    :param offset: of an anchor's centre in its cell, from 0 to 1.
    """
    shapes = [np.tile(np.array(of_level, np.float32), (level.rows * level.columns, 1))
              for level, of_level in zip(levels, sizes, strict=True)]
    return np.concatenate([centres(levels, strides, offset), np.concatenate(shapes)], 1)


def ssd_sizes(scales: Sequence[float], aspect_ratios: Sequence[Sequence[float]],
              size: tuple[int, int], clip: bool = True) -> list[Sizes]:
    """
    Return the anchors of SSD, for each level width and height of each in pixels.

    After Liu et al., *SSD: Single Shot MultiBox Detector* (ECCV 2016): a square of the level's
    scale, one of the geometric mean with the next level's, and for each aspect ratio a box of
    the level's scale, lying and standing. So does torchvision's ``DefaultBoxGenerator``.

    :param scales: of the input, one more than levels.
    :param aspect_ratios: for each level, above 1.
    :param size: width and height of the input, pixels.
    :param clip: whether a side longer than the input is as long as it, as in torchvision.
    """
    width, height = size
    most = 1.0 if clip else math.inf
    levels = []
    for scale, following, ratios in zip(
            scales[:-1], scales[1:], aspect_ratios, strict=True):
        shares = [(scale, scale), (math.sqrt(scale * following),) * 2]
        for ratio in ratios:
            long, short = scale * math.sqrt(ratio), scale / math.sqrt(ratio)
            shares += [(long, short), (short, long)]
        levels.append([[min(across, most) * width, min(down, most) * height]
                       for across, down in shares])
    return levels


def retinanet_sizes(sizes: Sequence[Sequence[float]], aspect_ratios: Sequence[float]
                    ) -> list[Sizes]:
    """
    Return the anchors of RetinaNet, for each level width and height of each in pixels.

    After Lin et al., *Focal Loss for Dense Object Detection* (ICCV 2017): each size in each
    aspect ratio (height to width) with the same area, ratio by ratio. As in torchvision's
    ``AnchorGenerator``, half the sides are whole pixels.

    :param sizes: square roots of the areas, for each level, pixels.
    :param aspect_ratios: of all levels.
    """
    return [[[2.0 * round(size / math.sqrt(ratio) / 2), 2.0 * round(size * math.sqrt(ratio) / 2)]
             for ratio in aspect_ratios for size in of_level] for of_level in sizes]
