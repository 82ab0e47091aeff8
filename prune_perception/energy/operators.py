# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
From a call of a torch operator to the shapes of what it does.

One table from the operator's name to a small pure function. The functions see sizes only, so
they are read and tested without torch. An operator that is not in the table is not guessed at:
the count lists it by name.

Conventions: one fused multiply-add is one MAC; a batch of one image; an operation is an
addition, a comparison, or one step of a function such as an exponential.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from prune_perception.energy.shapes import (
    ConvolutionShape,
    linear,
    MovementShape,
    Shape,
    transposed,
)


class UnsupportedCall(ValueError):
    """A known operator called in a way that the table does not cover; says which way."""


@dataclass(frozen=True)
class TensorInfo:
    """
    What the table sees of a tensor.

    :param shape: sizes.
    :param live: whether it depends on the network's input; weights and constants do not.
    """

    shape: tuple[int, ...]
    live: bool

    @property
    def words(self) -> int:
        """Number of values."""
        return prod(self.shape)


@dataclass(frozen=True)
class Call:
    """
    One call of an operator.

    :param operator: its name without namespace and overload.
    :param arguments: by the names in the operator's schema; tensors as :class:`TensorInfo`.
    :param outputs: the tensors it returned.
    """

    operator: str
    arguments: Mapping[str, Any]
    outputs: tuple[TensorInfo, ...]

    def tensors(self) -> list[TensorInfo]:
        """Return all tensors among the arguments, those in lists too."""
        found = []
        for value in self.arguments.values():
            for entry in value if isinstance(value, list | tuple) else (value,):
                if isinstance(entry, TensorInfo):
                    found.append(entry)
        return found

    @property
    def live_words(self) -> int:
        """Words of all inputs that depend on the network's input."""
        return sum(tensor.words for tensor in self.tensors() if tensor.live)

    @property
    def constant_words(self) -> int:
        """Words of all inputs that do not; a single number costs nothing to fetch."""
        return sum(tensor.words for tensor in self.tensors()
                   if not tensor.live and tensor.words > 1)


Handler = Callable[[Call], Sequence[Shape]]


def convolution(call: Call) -> Sequence[Shape]:
    """Convolution in one or two dimensions: ordinary, grouped, depthwise, dilated, transposed."""
    inputs, weight = call.arguments['input'], call.arguments['weight']
    dimensions = len(weight.shape) - 2
    if dimensions > 2:
        raise UnsupportedCall(f'{dimensions}-D')
    kernel = _plane(weight.shape[2:])
    stride, dilation = (_plane(_spread(call.arguments[name], dimensions))
                        for name in ('stride', 'dilation'))
    size = _plane(inputs.shape[2:])
    groups = call.arguments['groups']
    bias = call.arguments['bias'] is not None
    channels, filters = inputs.shape[1], call.outputs[0].shape[1]
    if call.arguments['transposed']:
        if max(dilation) > 1:
            raise UnsupportedCall('transposed and dilated')
        return [transposed(channels, filters, kernel, size, stride, groups, bias)]
    return [ConvolutionShape(channels, filters, kernel, _plane(call.outputs[0].shape[2:]), size,
                             stride, dilation, groups, bias)]


def matrix_product(call: Call) -> Sequence[Shape]:
    """Linear layers: ``mm``, ``addmm``, ``linear``; the left operand's rows are positions."""
    left = call.arguments.get('mat1', call.arguments.get('self', call.arguments.get('input')))
    right = call.arguments.get('mat2', call.arguments.get('weight'))
    if not isinstance(left, TensorInfo) or not isinstance(right, TensorInfo):
        raise UnsupportedCall('operands')
    output = call.outputs[0]
    shape = linear(left.shape[-1], output.shape[-1], output.words // output.shape[-1],
                   bias=call.operator == 'addmm' or call.arguments.get('bias') is not None)
    if left.live and right.live:
        return [_of_maps(1, *shape.output, left.shape[-1], output.shape[-1])]
    if right.live:
        # Weights on the left: the columns of the right operand are the positions.
        return [linear(left.shape[-1], output.shape[-2], output.shape[-1])]
    return [shape]


def batched_product(call: Call) -> Sequence[Shape]:
    """``bmm`` and ``baddbmm``: products of maps, as in attention."""
    left = call.arguments.get('batch1', call.arguments.get('self'))
    right = call.arguments.get('batch2', call.arguments.get('mat2'))
    batch, rows, inner = left.shape
    if left.live and right.live:
        return [_of_maps(batch, 1, rows, inner, right.shape[2])]
    if right.live:
        rows, right = right.shape[2], TensorInfo((batch, inner, rows), False)
    return [ConvolutionShape(batch * inner, batch * right.shape[2], (1, 1), (1, rows), (1, rows),
                             groups=batch)]


def attention(call: Call) -> Sequence[Shape]:
    """Scaled dot-product attention: two products of maps and a softmax that stays inside."""
    query, key, value = (call.arguments[name] for name in ('query', 'key', 'value'))
    heads = prod(query.shape[:-2])
    rows, depth = query.shape[-2:]
    keys = key.shape[-2]
    return [_of_maps(heads, 1, rows, depth, keys),
            MovementShape(0, 0, operations=3 * heads * rows * keys),
            _of_maps(heads, 1, rows, keys, value.shape[-1])]


def elementwise(operations: int) -> Handler:
    """Element by element, with so many operations for each output."""
    def handle(call: Call) -> Sequence[Shape]:
        words = call.outputs[0].words
        return [MovementShape(call.live_words, words, operations * words, call.constant_words)]
    return handle


def rearrange(call: Call) -> Sequence[Shape]:
    """Copy, concat, pad, gather: what comes out was read, and nothing is computed."""
    words = call.outputs[0].words
    return [MovementShape(min(call.live_words, words), words)]


def normalisation(call: Call) -> Sequence[Shape]:
    """Normalisation by stored statistics that was not folded: one scale and one addition."""
    words = call.outputs[0].words
    return [MovementShape(call.live_words, words, 2 * words, call.constant_words)]


def layer_normalisation(call: Call) -> Sequence[Shape]:
    """Normalisation by the map's own statistics: two passes to measure, one to apply."""
    words = call.outputs[0].words
    return [MovementShape(2 * call.live_words, words, 5 * words, call.constant_words)]


def pooling(call: Call) -> Sequence[Shape]:
    """Maximum or mean over a window."""
    window = call.arguments['kernel_size']
    taps = prod(window) if isinstance(window, list | tuple) else window ** 2
    words = call.outputs[0].words
    return [MovementShape(call.live_words, words, words * taps)]


def reduction(call: Call) -> Sequence[Shape]:
    """Sum, mean or maximum over whole dimensions: every input once."""
    return [MovementShape(call.live_words, call.outputs[0].words, call.live_words)]


def resize(taps: int) -> Handler:
    """Resize, where each output is a mean of so many inputs; of one, it is a copy."""
    def handle(call: Call) -> Sequence[Shape]:
        words = call.outputs[0].words
        return [MovementShape(call.live_words, words, words * taps if taps > 1 else 0)]
    return handle


def softmax(call: Call) -> Sequence[Shape]:
    """Softmax: an exponential, a sum and a division for each value."""
    words = call.outputs[0].words
    return [MovementShape(call.live_words, words, 3 * words)]


def _of_maps(batch: int, height: int, rows: int, inner: int, columns: int) -> ConvolutionShape:
    return ConvolutionShape(batch * inner, batch * columns, (1, 1), (height, rows),
                            (height, rows), groups=batch, second_operand_is_map=True)


def _plane(sizes: Sequence[int]) -> tuple[int, int]:
    """Return rows and columns; a signal is a map of one row."""
    return (1, sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1])


def _spread(sizes: Sequence[int], dimensions: int) -> Sequence[int]:
    return list(sizes) * dimensions if len(sizes) == 1 else sizes


# Element-by-element functions of one map. Applied on the way out of whatever made that map,
# they move nothing: see `FUSE`.
ACTIVATIONS = frozenset((
    'relu', 'leaky_relu', 'hardtanh', 'hardswish', 'hardsigmoid', 'sigmoid', 'tanh', 'silu',
    'gelu', 'elu', 'celu', 'selu', 'mish', 'softplus', 'prelu', '_prelu_kernel', 'clamp',
    'clamp_min', 'clamp_max', 'threshold', 'neg', 'abs', 'exp', 'log', 'sqrt', 'rsqrt',
    'reciprocal', 'square', 'round', 'floor', 'ceil', 'sign', 'erf', 'log_sigmoid_forward'))

# Of two or more maps, or of a map and a constant.
BINARY = frozenset((
    'add', 'sub', 'rsub', 'mul', 'div', 'pow', 'maximum', 'minimum', 'addcmul', 'addcdiv',
    'where', 'masked_fill', 'lerp', 'eq', 'ne', 'lt', 'le', 'gt', 'ge', 'logical_and',
    'logical_or', 'logical_not', 'bitwise_not', 'bitwise_and', 'floor_divide', 'remainder'))

# Normalisation by stored statistics is a scale and an offset for each channel, which fold
# into the weights and the bias of the convolution before it.
FOLDABLE = frozenset((
    'native_batch_norm', '_native_batch_norm_legit', '_native_batch_norm_legit_no_training',
    'cudnn_batch_norm', 'miopen_batch_norm', 'batch_norm'))

MAC_OPERATORS: dict[str, Handler] = {
    'convolution': convolution, '_convolution': convolution,
    'addmm': matrix_product, 'mm': matrix_product, 'linear': matrix_product,
    'bmm': batched_product, 'baddbmm': batched_product,
    '_scaled_dot_product_flash_attention_for_cpu': attention,
    '_scaled_dot_product_flash_attention': attention,
    '_scaled_dot_product_efficient_attention': attention,
    '_scaled_dot_product_attention_math': attention,
    'scaled_dot_product_attention': attention}

OPERATORS: dict[str, Handler] = {
    **MAC_OPERATORS,
    **dict.fromkeys(ACTIVATIONS, elementwise(1)),
    **dict.fromkeys(BINARY, elementwise(1)),
    **dict.fromkeys(FOLDABLE, normalisation),
    **dict.fromkeys(('native_layer_norm', 'native_group_norm', '_fused_rms_norm'),
                    layer_normalisation),
    **dict.fromkeys(('max_pool2d_with_indices', 'max_pool2d', 'avg_pool2d', 'avg_pool1d'),
                    pooling),
    **dict.fromkeys(('_adaptive_avg_pool2d', 'adaptive_avg_pool2d', 'adaptive_max_pool2d',
                     'mean', 'sum', 'amax', 'amin', 'max', 'min', 'argmax', 'argmin', 'var',
                     'linalg_vector_norm', 'any', 'all'), reduction),
    **dict.fromkeys(('upsample_nearest1d', 'upsample_nearest2d', '_upsample_nearest_exact2d'),
                    resize(1)),
    **dict.fromkeys(('upsample_linear1d',), resize(2)),
    **dict.fromkeys(('upsample_bilinear2d', '_upsample_bilinear2d_aa'), resize(4)),
    **dict.fromkeys(('upsample_bicubic2d', '_upsample_bicubic2d_aa'), resize(16)),
    **dict.fromkeys(('_softmax', '_log_softmax', '_safe_softmax'), softmax),
    **dict.fromkeys(('cat', 'stack', 'clone', 'copy', '_to_copy', 'constant_pad_nd',
                     'reflection_pad1d', 'reflection_pad2d', 'replication_pad1d',
                     'replication_pad2d', 'index_select', 'index', 'gather', 'flip', 'roll',
                     'repeat', 'embedding', 'pixel_shuffle', 'pixel_unshuffle',
                     'channel_shuffle', 'native_channel_shuffle', '_reshape_copy', 'slice_scatter',
                     'select_scatter', 'tril', 'triu', 'im2col'), rearrange)}
