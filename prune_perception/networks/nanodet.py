# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
NanoDet-g: a small anchor-free detector of plain convolutions, made for accelerators.

The structure follows NanoDet (RangiLyu, 2021, https://github.com/RangiLyu/nanodet): a CSP
backbone after Wang et al., *CSPNet* (CVPR workshops 2020), a path aggregation neck without
convolutions after Liu et al., *PANet* (CVPR 2018), and a head after Li et al., *Generalized
Focal Loss* (NeurIPS 2020). Batch normalisation is folded into the convolutions.
"""

import torch
from torch import nn
from torch.nn import functional

STRIDES = (8, 16, 32)
STEM_WIDTH = 32
# Width, blocks and stride of each stage; a stage leaves twice its width.
STAGES = ((32, 1, 1), (64, 2, 2), (128, 2, 2), (256, 3, 2))
NECK_WIDTH = 128


class Block(nn.Module):
    """Two convolutions in a row, both of whose outputs are kept."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(width, width // 2, 3, padding=1)
        self.b = nn.Conv2d(width // 2, width // 2, 3, padding=1)
        self.activation = nn.LeakyReLU(0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return as many channels as came in."""
        a = self.activation(self.a(x))
        b = self.activation(self.b(a))
        return torch.cat((b, a), 1)


class Stage(nn.Module):
    """A cross-stage partial stage: a shortcut from the first convolution past the blocks."""

    def __init__(self, width: int, blocks: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, stride=stride, padding=1)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(blocks)))
        self.last = nn.Conv2d(width, width, 3, padding=1)
        self.activation = nn.LeakyReLU(0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return twice as many channels as came in."""
        shortcut = self.activation(self.first(x))
        x = self.activation(self.last(self.blocks(shortcut)))
        return torch.cat((x, shortcut), 1)


class Head(nn.Module):
    """Class logits and distance bins of one level."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.predict = nn.Conv2d(width, outputs, 1)
        self.activation = nn.LeakyReLU(0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a map of the same height and width."""
        prediction: torch.Tensor = self.predict(self.activation(self.conv(x)))
        return prediction


class NanoDetG(nn.Module):
    """
    NanoDet-g.

    :param classes: number of classes.
    :param bins: of a distance's distribution.
    """

    def __init__(self, classes: int = 80, bins: int = 11) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, STEM_WIDTH, 3, stride=2, padding=1)
        self.activation = nn.LeakyReLU(0.1)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stage1, self.stage2, self.stage3, self.stage4 = (
            Stage(*settings) for settings in STAGES)
        self.lateral8, self.lateral16, self.lateral32 = (
            nn.Conv2d(2 * width, NECK_WIDTH, 1) for width, _, _ in STAGES[1:])
        self.head8, self.head16, self.head32 = (
            Head(NECK_WIDTH, classes + 4 * bins) for _ in STRIDES)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Run the network.

        :param x: float32 (n, 3, height, width), normalised; both sides divisible by 32.
        :returns: for strides 8, 16 and 32 a map (n, classes + 4 * bins, height / stride,
            width / stride): class logits, then the bins of the distances to a box's left, top,
            right and bottom side.
        """
        x = self.stage1(self.pool(self.activation(self.stem(x))))
        x8 = self.stage2(x)
        x16 = self.stage3(x8)
        x32 = self.stage4(x16)
        x8, x16, x32 = self.lateral8(x8), self.lateral16(x16), self.lateral32(x32)
        x16 = x16 + _resize(x32, 2.0)
        x8 = x8 + _resize(x16, 2.0)
        x16 = x16 + _resize(x8, 0.5)
        x32 = x32 + _resize(x16, 0.5)
        return self.head8(x8), self.head16(x16), self.head32(x32)


def _resize(x: torch.Tensor, factor: float) -> torch.Tensor:
    # By a factor and not to the other map's size: the graph then has no shape arithmetic.
    return functional.interpolate(
        x, scale_factor=factor, mode='bilinear', align_corners=False)
