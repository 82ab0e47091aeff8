# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
The layers that a machine is measured on.

A *block* is one kind of layer, repeated: what an engine does at the ends of a graph alone (a
change of layout, its own start) weighs less then, and layers meet their input as they do within
a network. MACs for a byte range from a fraction (an addition, a linear layer) to hundreds (a
3 by 3 convolution of many channels): only so can the two be told apart.
"""

from dataclasses import dataclass

import numpy as np

from prune_perception.energy.shapes import ConvolutionShape, linear, MovementShape, Shape

CONVOLUTION, LINEAR, ADDITION, POOLING = 'convolution', 'linear', 'addition', 'pooling'


@dataclass(frozen=True)
class Block:
    """
    One entry of the grid.

    :param name: unique, and says what it is.
    :param family: layers that compute alike; part of each family is held back.
    :param operator: how the graph is built: one of the constants of this module.
    :param shapes: of its layers, each taking what the one before leaves.
    :param map: channels, rows and columns of what the first layer takes.
    """

    name: str
    family: str
    operator: str
    shapes: tuple[Shape, ...]
    map: tuple[int, int, int]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all layers."""
        return sum(shape.macs for shape in self.shapes if isinstance(shape, ConvolutionShape))


def grid() -> tuple[Block, ...]:
    """Return the blocks; the widths and resolutions are those of detectors on robots."""
    return (
        # Dense convolutions: channels, side of the map, kernel, layers.
        _dense(16, 208, 3, 4), _dense(32, 104, 3, 4), _dense(64, 104, 3, 2), _dense(48, 80, 3, 4),
        _dense(64, 52, 3, 4), _dense(128, 52, 3, 2), _dense(96, 40, 3, 4), _dense(128, 26, 3, 4),
        _dense(256, 26, 3, 2), _dense(128, 13, 3, 4), _dense(256, 13, 3, 3),
        _dense(512, 13, 3, 2), _dense(32, 52, 5, 4), _dense(64, 26, 5, 4),
        _dense(24, 104, 7, 2),
        # With a stride of 2, each halving the map: channels, side, layers.
        _strided(3, 32, 416, 3), _strided(16, 32, 208, 3), _strided(32, 64, 104, 3),
        # Narrow and wide in turn: narrow, wide, side, layers.
        _pointwise(16, 64, 104, 4), _pointwise(32, 128, 104, 4), _pointwise(64, 64, 104, 4),
        _pointwise(64, 256, 52, 4), _pointwise(128, 128, 52, 4), _pointwise(128, 512, 26, 4),
        _pointwise(256, 256, 26, 4), _pointwise(256, 1024, 13, 4), _pointwise(8, 128, 208, 2),
        # One filter for each channel: channels, side, kernel, layers.
        _depthwise(32, 208, 3, 4), _depthwise(64, 104, 3, 4), _depthwise(128, 104, 3, 4),
        _depthwise(128, 52, 3, 4), _depthwise(256, 52, 3, 4), _depthwise(512, 26, 3, 4),
        _depthwise(128, 52, 5, 4),
        # In groups: channels, side, groups, layers.
        _grouped(64, 52, 4, 4), _grouped(128, 52, 4, 4), _grouped(256, 26, 8, 4),
        # Weights that are used once: width, layers.
        _linear(1024, 4), _linear(2048, 2), _linear(2048, 4), _linear(4096, 1), _linear(4096, 2),
        # Maps that are used once: channels, side.
        _addition(32, 104), _addition(64, 208), _addition(128, 208), _addition(64, 416),
        _pooling(32, 208), _pooling(64, 208), _pooling(128, 104))


def held_back(blocks: tuple[Block, ...], seed: int = 0) -> frozenset[str]:
    """
    Return the names of a third of each family, drawn by lot, that a fit must not see.

    :param seed: of the lot.
    """
    generator = np.random.default_rng(seed)
    families = dict.fromkeys(block.family for block in blocks)
    names: list[str] = []
    for family in families:
        members = [block.name for block in blocks if block.family == family]
        names += generator.permutation(members)[:len(members) // 3].tolist()
    return frozenset(names)


def _convolution(in_channels: int, out_channels: int, side: int, kernel: int, stride: int = 1,
                 groups: int = 1) -> ConvolutionShape:
    """Return a convolution that is padded to keep the map, but for its stride."""
    out = -(-side // stride)
    return ConvolutionShape(
        in_channels, out_channels, (kernel, kernel), (out, out), (side, side), (stride, stride),
        groups=groups, bias=True)


def _dense(channels: int, side: int, kernel: int, layers: int) -> Block:
    shape = _convolution(channels, channels, side, kernel)
    return Block(f'{layers} x conv {kernel}x{kernel}, {channels} channels, {side}x{side}',
                 'dense', CONVOLUTION, (shape,) * layers, (channels, side, side))


def _strided(in_channels: int, channels: int, side: int, layers: int) -> Block:
    shapes = []
    first = in_channels
    for index in range(layers):
        shapes.append(_convolution(first, channels << index, -(-side // (1 << index)), 3, 2))
        first = channels << index
    return Block(f'{layers} x conv 3x3 stride 2, {in_channels} to {first} channels, '
                 f'{side}x{side}', 'strided', CONVOLUTION, tuple(shapes),
                 (in_channels, side, side))


def _pointwise(narrow: int, wide: int, side: int, layers: int) -> Block:
    pair = (_convolution(narrow, wide, side, 1), _convolution(wide, narrow, side, 1))
    return Block(f'{layers} x conv 1x1, {narrow} and {wide} channels, {side}x{side}',
                 'pointwise', CONVOLUTION, pair * (layers // 2), (narrow, side, side))


def _depthwise(channels: int, side: int, kernel: int, layers: int) -> Block:
    shape = _convolution(channels, channels, side, kernel, groups=channels)
    return Block(f'{layers} x depthwise {kernel}x{kernel}, {channels} channels, {side}x{side}',
                 'depthwise', CONVOLUTION, (shape,) * layers, (channels, side, side))


def _grouped(channels: int, side: int, groups: int, layers: int) -> Block:
    shape = _convolution(channels, channels, side, 3, groups=groups)
    return Block(f'{layers} x conv 3x3 in {groups} groups, {channels} channels, {side}x{side}',
                 'grouped', CONVOLUTION, (shape,) * layers, (channels, side, side))


def _linear(width: int, layers: int) -> Block:
    return Block(f'{layers} x linear, {width} wide', 'linear', LINEAR,
                 (linear(width, width, bias=True),) * layers, (width, 1, 1))


def _addition(channels: int, side: int) -> Block:
    words = channels * side * side
    return Block(f'addition, {channels} channels, {side}x{side}', 'addition', ADDITION,
                 (MovementShape(2 * words, words, words),), (channels, side, side))


def _pooling(channels: int, side: int) -> Block:
    out = -(-side // 2)
    words = channels * out * out
    return Block(f'max-pool 3x3 stride 2, {channels} channels, {side}x{side}', 'pooling',
                 POOLING, (MovementShape(channels * side * side, words, 9 * words),),
                 (channels, side, side))
