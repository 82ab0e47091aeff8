# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
The shape of a layer: all that the energy model needs to know of it.

Sizes are for one image; the batch is a question of how the network is run, and is given to the
model beside the shape. A *word* is one value of a map or one weight, whatever its width.
"""

from dataclasses import dataclass


class ShapeError(ValueError):
    """A shape that cannot be; the message says what is wrong with it."""


@dataclass(frozen=True)
class ConvolutionShape:
    """
    A layer that multiplies and accumulates: convolution, linear, or a product of matrices.

    A linear layer is a convolution of 1 by 1 on a map of 1 by ``rows``. A worked example: the
    first layer of AlexNet, 96 filters of 11 by 11 on 3 channels with stride 4, leaves 55 by 55,
    so 55 * 55 * 96 * 3 * 11 * 11 = 105 415 200 MACs and 96 * 3 * 11 * 11 = 34 848 weights.

    :param in_channels: of all groups together.
    :param out_channels: of all groups together.
    :param kernel: rows and columns of a filter.
    :param output: rows and columns of the output map.
    :param input: rows and columns of the input map, without padding.
    :param stride: down and across.
    :param dilation: down and across.
    :param groups: channels are split into as many parts that do not see each other.
    :param bias: whether each output channel has one.
    :param second_operand_is_map: the "weights" are an activation (attention): they are
        counted as input maps, and a batch does not share them.
    :param tap_share: the part of the kernel's taps that exist. 1, except for a transposed
        convolution whose kernel is not a multiple of its stride (:func:`transposed`).
    :param input_density: the part of the input's values that are not zero.
    :param output_density: likewise of the output, after the activation fused to the layer.
    """

    in_channels: int
    out_channels: int
    kernel: tuple[int, int]
    output: tuple[int, int]
    input: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    bias: bool = False
    second_operand_is_map: bool = False
    tap_share: float = 1.0
    input_density: float = 1.0
    output_density: float = 1.0

    def __post_init__(self) -> None:
        counts = (self.in_channels, self.out_channels, self.groups,
                  *self.kernel, *self.output, *self.input, *self.stride, *self.dilation)
        if min(counts) < 1:
            raise ShapeError(f'a size below 1 in {self}')
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ShapeError(f'{self.in_channels} and {self.out_channels} channels do not '
                             f'divide into {self.groups} groups')
        for density in (self.tap_share, self.input_density, self.output_density):
            if not 0 <= density <= 1:
                raise ShapeError(f'a share outside 0 to 1 in {self}')

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image; one fused multiply-add is one."""
        rows, columns = self.output
        return rows * columns * self.weights

    @property
    def weights(self) -> int:
        """Weights without biases; for a product of two maps the words of the second."""
        taps = self.kernel[0] * self.kernel[1] * self.tap_share
        return round(self.out_channels * (self.in_channels // self.groups) * taps)

    @property
    def input_words(self) -> int:
        """Words of the input map of one image."""
        return self.in_channels * self.input[0] * self.input[1]

    @property
    def output_words(self) -> int:
        """Words of the output map of one image."""
        return self.out_channels * self.output[0] * self.output[1]


@dataclass(frozen=True)
class MovementShape:
    """
    A step that moves data and does little arithmetic: pooling, concat, resize, addition.

    :param input_words: words read for one image, of all inputs.
    :param output_words: words written for one image.
    :param operations: additions, comparisons or the like for one image.
    :param weights: words of parameters read once per batch (the scale of a normalisation).
    """

    input_words: int
    output_words: int
    operations: int = 0
    weights: int = 0

    def __post_init__(self) -> None:
        if min(self.input_words, self.output_words, self.operations, self.weights) < 0:
            raise ShapeError(f'a negative count in {self}')


Shape = ConvolutionShape | MovementShape


def linear(in_features: int, out_features: int, rows: int = 1, bias: bool = False
           ) -> ConvolutionShape:
    """Return the shape of a linear layer applied to ``rows`` vectors of each image."""
    return ConvolutionShape(in_features, out_features, (1, 1), (1, rows), (1, rows), bias=bias)


def transposed(in_channels: int, out_channels: int, kernel: tuple[int, int],
               input: tuple[int, int], stride: tuple[int, int], groups: int = 1,
               bias: bool = False) -> ConvolutionShape:
    """
    Return the shape of a transposed convolution, as what it computes.

    With a stride of s by t the output has s * t phases, each an ordinary convolution of the
    input with every s-th row and t-th column of the kernel. So it is a convolution with stride
    1 and s * t times the filters, of ceil(k / s) by ceil(l / t), on the input's own grid; no
    zero is inserted and none is multiplied. Where s does not divide k, the taps that exist
    are the share ``tap_share``.
    """
    phases = stride[0] * stride[1]
    small = (-(-kernel[0] // stride[0]), -(-kernel[1] // stride[1]))
    share = kernel[0] * kernel[1] / (phases * small[0] * small[1])
    return ConvolutionShape(in_channels, out_channels * phases, small, input, input,
                            groups=groups, bias=bias, tap_share=share)
