# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Boxes in the ways in which networks that decode themselves give them, in torch."""

import torch


def corners_of(boxes: torch.Tensor, form: str) -> torch.Tensor:
    """
    Return x1, y1, x2, y2 in the units of the boxes.

    :param boxes: (…, 4).
    :param form: see :func:`prune_perception.runtime.decoders.boxes.corners_of`.
    """
    if form == 'yxyx':
        return boxes[..., [1, 0, 3, 2]]
    if form == 'cxcywh':
        half = boxes[..., 2:] / 2
        return torch.cat([boxes[..., :2] - half, boxes[..., :2] + half], -1)
    if form == 'xywh':
        return torch.cat([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], -1)
    return boxes
