# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
What each operator of ONNX is in torch: a table from its name to a small function.

The functions follow the operators' specification (https://onnx.ai/onnx/operators/), in their old
forms, too, where an attribute was later made an input. What hangs on the size of a value is taken
from the value when it comes, not from the file: a network that has lost channels, is given another
size or several images must still run.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
import math
from typing import Any

import torch
from torch import nn, Tensor
from torch.nn import functional

from prune_perception.networks.imported.graph import Node

Function = Callable[..., Any]

_TYPES = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 5: torch.int16, 6: torch.int32,
    7: torch.int64, 9: torch.bool}


class UnsupportedError(ValueError):
    """An operator in a form that is not converted; the message is the operator and the form."""


@dataclass(frozen=True)
class Step:
    """
    What one node does in torch.

    :param inputs: names of the values that are passed on.
    :param run: called with them; before the layer, if there is one.
    :param layer: what has weights, without storage.
    :param weights: names of the values that are the layer's parameters and buffers.
    """

    inputs: tuple[str, ...]
    run: Function | None = None
    layer: nn.Module | None = None
    weights: Mapping[str, str] = field(default_factory=dict)


class Given:
    """
    A node and what is known of its inputs.

    :param values: tensors; those that come from the image and weights have no storage.
    :param computed: names of those that come from the image.
    """

    def __init__(self, node: Node, values: Mapping[str, Tensor], computed: Collection[str],
                 opset: int) -> None:
        self.node, self.values, self.computed, self.opset = node, values, computed, opset

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute."""
        return self.node.attributes.get(name, default)

    def has(self, index: int) -> bool:
        """Return whether there is an input."""
        return len(self.node.inputs) > index and bool(self.node.inputs[index])

    def known(self, index: int) -> bool:
        """Return whether an input is a constant."""
        return self.has(index) and not self.values[self.node.inputs[index]].is_meta

    def shape(self, index: int = 0) -> tuple[int, ...]:
        """Return the sizes of an input."""
        if not self.has(index):
            raise self.unsupported('with too few inputs')
        return tuple(self.values[self.node.inputs[index]].shape)

    def constant(self, index: int) -> Tensor:
        """Return an input that must be a constant."""
        if not self.known(index):
            raise self.unsupported(f'whose input {index + 1} is computed')
        return self.values[self.node.inputs[index]]

    def numbers(self, name: str | None, index: int | None = None) -> list[Any] | None:
        """Return a list that is an attribute in old graphs and an input in new ones."""
        if name is not None and name in self.node.attributes:
            found = self.node.attributes[name]
            return list(found) if isinstance(found, list) else [found]
        if index is None or not self.has(index):
            return None
        values: list[Any] = self.constant(index).reshape(-1).tolist()
        return values

    def axes(self, values: Sequence[int]) -> list[int]:
        """Return axes counted from the front."""
        rank = len(self.shape())
        if any(not -rank <= axis < rank for axis in values):
            raise self.unsupported(f'with axes {list(values)} of {rank}')
        return [axis % rank for axis in values]

    def axis(self, default: int) -> int:
        """Return the attribute ``axis``, counted from the front."""
        return self.axes([self.attribute('axis', default)])[0]

    def call(self, run: Function, *indices: int) -> Step:
        """Return the step that calls a function with some inputs, the first if none are named."""
        return Step(tuple(self.node.inputs[index] for index in indices or (0,)), run)

    def layer(self, layer: nn.Module, weights: Mapping[str, int],
              before: Function | None = None) -> Step:
        """
        Return the step that calls a layer with the first input.

        :param weights: index of the input that each parameter or buffer of the layer is.
        """
        expected = {**dict(layer.named_parameters()), **dict(layer.named_buffers())}
        for name, index in weights.items():
            if self.shape(index) != tuple(expected[name].shape):
                raise self.unsupported(f'whose {name} is {list(self.shape(index))}, not '
                                       f'{list(expected[name].shape)}')
            if self.node.inputs[index] in self.computed:
                raise self.unsupported(f'whose {name} is computed from the image')
        return Step((self.node.inputs[0],), before, layer.eval(), {
            name: self.node.inputs[index] for name, index in weights.items()})

    def unsupported(self, form: str) -> UnsupportedError:
        """Return the error that names the operator."""
        return UnsupportedError(f'{self.node.op} {form} (node {self.node.name!r})')


Maker = Callable[[Given], Step]


def _same(run: Function) -> Maker:
    return lambda given: given.call(run)


def _binary(run: Function) -> Maker:
    return lambda given: given.call(run, 0, 1)


def _all(run: Callable[[Sequence[Tensor]], Tensor]) -> Maker:
    return lambda given: given.call(
        lambda *values: run(values), *range(len(given.node.inputs)))


# ---- layers


def _convolution(given: Given) -> Step:
    weight = given.shape(1)
    if len(weight) != 4 or len(given.shape()) != 4:
        raise given.unsupported(f'of {len(weight) - 2} dimensions')
    group = given.attribute('group', 1)
    kernel, strides, dilations = _window(given, weight[2:])
    pads = _pads(given, kernel, strides, dilations)
    if weight[0] % group or given.shape()[1] != weight[1] * group:
        raise given.unsupported(
            f'with weights {list(weight)} in {group} groups for {given.shape()[1]} channels')
    before = None
    if pads[:2] != pads[2:]:
        before, pads = _padding(pads), [0, 0, 0, 0]
    layer = nn.Conv2d(
        weight[1] * group, weight[0], kernel, strides, (pads[0], pads[1]), dilations,  # type: ignore[arg-type]
        group, bias=given.has(2), device='meta')
    return given.layer(layer, _weight_and_bias(given), before)


def _transposed_convolution(given: Given) -> Step:
    weight = given.shape(1)
    if len(weight) != 4 or len(given.shape()) != 4:
        raise given.unsupported(f'of {len(weight) - 2} dimensions')
    kernel, strides, dilations = _window(given, weight[2:])
    group = given.attribute('group', 1)
    extra = given.attribute('output_padding') or [0, 0]
    if given.attribute('output_shape'):
        raise given.unsupported('with output_shape')
    if given.attribute('auto_pad', 'NOTSET') in ('SAME_UPPER', 'SAME_LOWER'):
        total = [dilation * (side - 1) + 1 - stride + more for side, stride, dilation, more
                 in zip(kernel, strides, dilations, extra, strict=True)]
        if any(side % 2 or side < 0 for side in total):
            raise given.unsupported('whose padding differs from side to side')
        pads = [side // 2 for side in total] * 2
    else:
        pads = _pads(given, kernel, strides, dilations)
    if pads[:2] != pads[2:]:
        raise given.unsupported('whose padding differs from side to side')
    layer = nn.ConvTranspose2d(
        weight[0], weight[1] * group, kernel, strides, tuple(pads[:2]), tuple(extra), group,  # type: ignore[arg-type]
        given.has(2), dilations, device='meta')  # type: ignore[arg-type]
    return given.layer(layer, _weight_and_bias(given))


def _weight_and_bias(given: Given) -> dict[str, int]:
    return {'weight': 1, 'bias': 2} if given.has(2) else {'weight': 1}


def _linear(given: Given) -> Step:
    """Return this package's own operator: x, weight (outputs, inputs) and maybe a bias."""
    outputs, inputs = given.shape(1)
    return given.layer(nn.Linear(inputs, outputs, given.has(2), device='meta'),
                       _weight_and_bias(given))


class _Frozen:
    """
    A norm that keeps its statistics in training.

    A file was made to be run, and what is a batch norm there may be a scale that the statistics of
    a batch have nothing to do with, as one of the pixels.
    """

    def train(self, mode: bool = True) -> Any:
        """Stay as in evaluation."""
        return super().train(False)  # type: ignore[misc]


class FrozenBatchNorm1d(_Frozen, nn.BatchNorm1d):
    """See :class:`_Frozen`."""


class FrozenBatchNorm2d(_Frozen, nn.BatchNorm2d):
    """See :class:`_Frozen`."""


def _batch_norm(given: Given) -> Step:
    if given.attribute('training_mode', 0) or len(given.node.outputs) > 1:
        raise given.unsupported('in training mode')
    channels, = given.shape(1)
    kind = FrozenBatchNorm2d if len(given.shape()) == 4 else FrozenBatchNorm1d
    layer = kind(channels, given.attribute('epsilon', 1e-5), device='meta')
    layer.eval()  # as it is in training, too
    return given.layer(
        layer, {'weight': 1, 'bias': 2, 'running_mean': 3, 'running_var': 4})


def _instance_norm(given: Given) -> Step:
    channels, = given.shape(1)
    kind = nn.InstanceNorm2d if len(given.shape()) == 4 else nn.InstanceNorm1d
    layer = kind(channels, given.attribute('epsilon', 1e-5), affine=True, device='meta')
    return given.layer(layer, {'weight': 1, 'bias': 2})


def _group_norm(given: Given) -> Step:
    channels, groups = given.shape()[1], given.attribute('num_groups')
    if given.shape(1) != (channels,):
        raise given.unsupported('with one scale for each group')
    layer = nn.GroupNorm(groups, channels, given.attribute('epsilon', 1e-5), device='meta')
    return given.layer(layer, {'weight': 1, 'bias': 2})


def _layer_norm(given: Given) -> Step:
    axis = given.axis(-1)
    if axis != len(given.shape()) - 1 or len(given.node.outputs) > 1:
        raise given.unsupported('over more than the last axis')
    layer = nn.LayerNorm(given.shape()[-1], given.attribute('epsilon', 1e-5),
                         bias=given.has(2), device='meta')
    return given.layer(layer, _weight_and_bias(given))


def _prelu(given: Given) -> Step:
    """Return this package's own operator: the slopes have one side."""
    return given.layer(nn.PReLU(given.shape(1)[0], device='meta'), {'weight': 1})


# ---- windows


def _window(given: Given, kernel: Sequence[int] | None = None
            ) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Return the sides, strides and dilations of a window."""
    sides = [given.attribute('kernel_shape') or list(kernel or ()),
             given.attribute('strides') or [1, 1], given.attribute('dilations') or [1, 1]]
    if any(len(pair) != 2 or min(pair) < 1 for pair in sides):
        raise given.unsupported('with a window that is not of two sides above 0')
    if kernel is not None and list(kernel) != list(sides[0]):
        raise given.unsupported(f'with a window of {sides[0]} and weights of {list(kernel)}')
    (height, width), strides, dilations = sides
    return (height, width), (strides[0], strides[1]), (dilations[0], dilations[1])


def _pads(given: Given, kernel: Sequence[int], strides: Sequence[int],
          dilations: Sequence[int]) -> list[int]:
    """Return the padding at the top, left, bottom and right."""
    rule = given.attribute('auto_pad', 'NOTSET')
    if rule == 'VALID':
        return [0, 0, 0, 0]
    if rule == 'NOTSET':
        pads = given.attribute('pads') or [0, 0, 0, 0]
        if len(pads) != 4 or min(pads) < 0:
            raise given.unsupported(f'with pads {pads}')
        return list(pads)
    before, after = [], []
    for size, side, stride, dilation in zip(
            given.shape()[2:], kernel, strides, dilations, strict=True):
        total = max((-(-size // stride) - 1) * stride + dilation * (side - 1) + 1 - size, 0)
        less, more = total // 2, total - total // 2
        before.append(less if rule == 'SAME_UPPER' else more)
        after.append(more if rule == 'SAME_UPPER' else less)
    return before + after


def _padding(pads: Sequence[int], value: float = 0.0) -> Function:
    top, left, bottom, right = pads
    return lambda x: functional.pad(x, (left, right, top, bottom), value=value)


def _max_pool(given: Given) -> Step:
    if len(given.node.outputs) > 1 or len(given.shape()) != 4:
        raise given.unsupported('with indices, or not of two dimensions')
    kernel, strides, dilations = _window(given)
    pads = _pads(given, kernel, strides, dilations)
    before: Function | None = None
    if pads[:2] != pads[2:] or any(
            2 * pad > side for pad, side in zip(pads[:2], kernel, strict=True)):
        before, pads = _padding(pads, -math.inf), [0, 0, 0, 0]
    ceil = bool(given.attribute('ceil_mode', 0))

    def run(x: Tensor) -> Tensor:
        return functional.max_pool2d(
            x if before is None else before(x), kernel, strides, tuple(pads[:2]), dilations,  # type: ignore[arg-type]
            ceil)
    return given.call(run)


def _average_pool(given: Given) -> Step:
    if len(given.shape()) != 4:
        raise given.unsupported('not of two dimensions')
    kernel, strides, dilations = _window(given)
    if dilations != (1, 1):
        raise given.unsupported('with dilations')
    pads = _pads(given, kernel, strides, dilations)
    counted = bool(given.attribute('count_include_pad', 0))
    ceil = bool(given.attribute('ceil_mode', 0))
    before: Function | None = None
    if pads[:2] != pads[2:]:
        if not counted or ceil:
            raise given.unsupported('whose padding differs from side to side and is not counted')
        before, pads = _padding(pads), [0, 0, 0, 0]

    def run(x: Tensor) -> Tensor:
        return functional.avg_pool2d(
            x if before is None else before(x), kernel, strides, tuple(pads[:2]), ceil,  # type: ignore[arg-type]
            counted)
    return given.call(run)


def _pad(given: Given) -> Step:
    mode = given.attribute('mode', 'constant')
    pads = given.numbers('pads', 1)
    value = given.attribute('value', 0.0)
    if given.has(2):
        value = float(given.constant(2).reshape(-1)[0])
    rank = len(given.shape())
    axes = list(range(rank))
    if given.has(3):
        axes = given.axes(given.numbers(None, 3) or [])
    if pads is None or len(pads) != 2 * len(axes):
        raise given.unsupported('without pads for each axis')
    sides = [[0, 0] for _ in range(rank)]
    for number, axis in enumerate(axes):
        sides[axis] = [pads[number], pads[number + len(axes)]]
    while len(sides) > 1 and sides[0] == [0, 0] and (mode == 'constant' or len(sides) > 2):
        sides = sides[1:]
    turned = [side for pair in reversed(sides) for side in pair]
    names = {'constant': 'constant', 'reflect': 'reflect', 'edge': 'replicate'}
    if mode not in names:
        raise given.unsupported(f'in mode {mode}')
    filled = value if mode == 'constant' else None
    return given.call(lambda x: functional.pad(x, turned, names[mode], filled))


# ---- resizing


def _resize(given: Given) -> Step:
    shape = given.shape()
    if len(shape) != 4:
        raise given.unsupported(f'of {len(shape)} dimensions')
    scales = given.numbers('scales', 2 if given.node.op == 'Resize' and given.opset > 10 else 1)
    sizes = given.numbers(None, 3) if given.node.op == 'Resize' and given.opset > 10 else None
    if given.attribute('axes') == [2, 3]:
        scales, sizes = ([*front, *values] if values else values for front, values in (
            ([1, 1], scales), (shape[:2], sizes)))
    elif given.attribute('axes'):
        raise given.unsupported(f'of axes {given.attribute("axes")}')
    if given.attribute('keep_aspect_ratio_policy', 'stretch') != 'stretch':
        raise given.unsupported('that keeps the ratio')
    if sizes:
        ratios = [size / side for size, side in zip(sizes[2:], shape[2:], strict=True)]
        unchanged = list(sizes[:2]) == list(shape[:2])
    elif scales:
        ratios = [float(scale) for scale in scales[2:]]
        unchanged = list(scales[:2]) == [1, 1]
    else:
        raise given.unsupported('without a size')
    if not unchanged or given.attribute('antialias', 0):
        raise given.unsupported('of channels, or with antialias')
    run = _interpolation(given, ratios)
    target = None
    if sizes and not all(ratio.is_integer() for ratio in ratios):
        target = tuple(int(size) for size in sizes[2:])
    return given.call(lambda x: run(x, {'size': target} if target else {
        'scale_factor': tuple(ratios)}))


def _interpolation(given: Given, ratios: Sequence[float]) -> Function:
    """Return how torch calls the rule by which coordinates and values are found."""
    mode = given.attribute('mode', 'nearest')
    # The older forms have no such attribute: they count from the corner.
    old = given.node.op == 'Upsample' or given.opset < 11
    rule = 'asymmetric' if old else given.attribute('coordinate_transformation_mode',
                                                    'half_pixel')
    rounding = 'floor' if old else given.attribute('nearest_mode', 'round_prefer_floor')
    whole = all(ratio.is_integer() for ratio in ratios)
    half = rule in ('half_pixel', 'pytorch_half_pixel')
    if mode == 'nearest':
        plain = (rule == 'asymmetric' and rounding == 'floor'
                 or rule == 'asymmetric' and rounding == 'round_prefer_floor'
                 and set(ratios) <= {1.0, 2.0}
                 or whole and half and rounding.startswith('round')
                 or whole and rule == 'tf_half_pixel_for_nn' and rounding == 'floor')
        if plain:
            return lambda x, to: functional.interpolate(x, mode='nearest', **to)
        if half and rounding.startswith('round'):
            return lambda x, to: functional.interpolate(x, mode='nearest-exact', **to)
    elif mode in ('linear', 'cubic'):
        name = {'linear': 'bilinear', 'cubic': 'bicubic'}[mode]
        if half or rule == 'align_corners':
            return lambda x, to: functional.interpolate(
                x, mode=name, align_corners=rule == 'align_corners', **to)
        if mode == 'linear' and rule == 'asymmetric' and whole:
            return lambda x, to: _bilinear_from_the_corner(x, int(ratios[0]), int(ratios[1]))
    raise given.unsupported(f'{mode}, {rule}, {rounding}, by {list(ratios)}')


def _bilinear_from_the_corner(x: Tensor, down: int, across: int) -> Tensor:
    """
    Return a map whose place i has the value of the place i / scale.

    With one more row and column at the far edge, the corners of both lie on each other.
    """
    height, width = x.shape[2:]
    wider = functional.pad(x, (0, 1, 0, 1), mode='replicate')
    larger = functional.interpolate(
        wider, size=(height * down + 1, width * across + 1), mode='bilinear', align_corners=True)
    return larger[:, :, :-1, :-1]


def _blocks(given: Given) -> Step:
    size = given.attribute('blocksize')
    if given.node.op == 'SpaceToDepth':
        # ONNX puts the place within a block before the channel, torch behind it.
        return given.call(lambda x: functional.pixel_unshuffle(x, size).unflatten(
            1, (x.shape[1], size * size)).transpose(1, 2).flatten(1, 2))
    if given.attribute('mode', 'DCR') == 'CRD':
        return given.call(lambda x: functional.pixel_shuffle(x, size))
    return given.call(lambda x: functional.pixel_shuffle(
        x.unflatten(1, (size * size, -1)).transpose(1, 2).flatten(1, 2), size))


# ---- shapes


def _reshape(given: Given) -> Step:
    shape = given.shape()
    wanted = given.numbers('shape', 1)
    if wanted is None:
        raise given.unsupported('without a shape')
    zero = bool(given.attribute('allowzero', 0))
    target = [shape[place] if side == 0 and not zero and place < len(shape) else side
              for place, side in enumerate(wanted)]
    if target.count(-1) == 1:
        rest = math.prod(side for side in target if side != -1)
        if not rest or math.prod(shape) % rest:
            raise given.unsupported(f'of {list(shape)} to {wanted}')
        target[target.index(-1)] = math.prod(shape) // rest
    if math.prod(target) != math.prod(shape) or min(target, default=0) < 0:
        raise given.unsupported(f'of {list(shape)} to {wanted}')
    # Sides that stay, at both ends, are those of what comes; a single one between fills up.
    most = min(len(shape), len(target))
    front = 0
    while front < most and shape[front] == target[front]:
        front += 1
    back = 0
    while back < most - front and shape[-1 - back] == target[-1 - back]:
        back += 1
    middle = target[front:len(target) - back]
    if len(middle) == 1:
        middle = [-1]

    def run(x: Tensor) -> Tensor:
        return x.reshape([*x.shape[:front], *middle, *x.shape[x.ndim - back:]])
    return given.call(run)


def _flatten(given: Given) -> Step:
    axis = given.attribute('axis', 1)
    axis = axis % len(given.shape()) if axis < 0 else axis
    if axis == 0:
        return given.call(lambda x: x.reshape(1, -1))
    if axis == len(given.shape()):
        return given.call(lambda x: x.reshape(-1, 1))
    return given.call(lambda x: x.flatten(axis).flatten(0, axis - 1))


def _transpose(given: Given) -> Step:
    order = given.attribute('perm') or list(range(len(given.shape())))[::-1]
    return given.call(lambda x: x.permute(order))


def _squeeze(given: Given) -> Step:
    axes = given.numbers('axes', 1)
    if axes is None:
        axes = [axis for axis, side in enumerate(given.shape()) if side == 1]
    places = tuple(given.axes(axes))
    return given.call(lambda x: x.squeeze(places))


def _unsqueeze(given: Given) -> Step:
    axes = given.numbers('axes', 1) or []
    rank = len(given.shape()) + len(axes)
    places = sorted(axis % rank for axis in axes)

    def run(x: Tensor) -> Tensor:
        for place in places:
            x = x.unsqueeze(place)
        return x
    return given.call(run)


def _slice(given: Given) -> Step:
    starts, ends = given.numbers('starts', 1) or [], given.numbers('ends', 2) or []
    axes = given.axes(given.numbers('axes', 3) or list(range(len(starts))))
    steps = given.numbers('steps', 4) or [1] * len(starts)
    shape = given.shape()
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise given.unsupported('with lists of different lengths')
    parts: list[slice] = [slice(None)] * len(shape)
    flipped = []
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step == -1 and start in (-1, shape[axis] - 1) and end < -shape[axis]:
            flipped.append(axis)
            continue
        if step < 1:
            raise given.unsupported(f'with step {step}')
        first, last, _ = slice(start, end, step).indices(shape[axis])
        # To the end, wherever that will be.
        parts[axis] = slice(first or None, None if last >= shape[axis] else last,
                            step if step > 1 else None)

    def run(x: Tensor) -> Tensor:
        for axis, part in enumerate(parts):
            if part != slice(None):
                x = x[(slice(None),) * axis + (part,)]
        return x.flip(flipped) if flipped else x
    return given.call(run)


def _split(given: Given) -> Step:
    axis = given.axis(0)
    side, parts = given.shape()[axis], len(given.node.outputs)
    sizes = given.numbers('split', 1)
    if sizes is None:
        each = -(-side // parts)
        sizes = [each] * (parts - 1) + [side - each * (parts - 1)]
    if sum(sizes) != side or len(sizes) != parts or min(sizes) < 0:
        raise given.unsupported(f'of {side} into {sizes}')
    return given.call(lambda x: x.split(sizes, axis))


def _concatenate(given: Given) -> Step:
    axis = given.axis(1)
    return given.call(lambda *values: torch.cat(values, axis), *range(len(given.node.inputs)))


def _gather(given: Given) -> Step:
    axis = given.axis(0)
    side = given.shape()[axis]
    index = given.constant(1)
    if index.numel() and not -side <= int(index.min()) <= int(index.max()) < side:
        raise given.unsupported('of places that are not there')
    index = index % side
    if index.ndim == 0:
        place = int(index)
        return given.call(lambda x: x.select(axis, place))
    shape, flat = list(index.shape), index.reshape(-1)
    return given.call(
        lambda x: x.index_select(axis, flat.to(x.device)).unflatten(axis, shape))


def _expand(given: Given) -> Step:
    shape, wanted = given.shape(), given.numbers(None, 1) or []
    rank = max(len(shape), len(wanted))
    sides = [1] * (rank - len(wanted)) + [int(side) for side in wanted]
    own = [1] * (rank - len(shape)) + list(shape)
    # -1 leaves a side as it comes; a new axis at the front has none to leave.
    target = [side if place < rank - len(shape) or side not in (1, own[place]) else -1
              for place, side in enumerate(sides)]
    return given.call(lambda x: x.expand(target))


def _tile(given: Given) -> Step:
    repeats = given.numbers(None, 1) or []
    return given.call(lambda x: x.repeat(repeats))


def _shape_of(given: Given) -> Step:
    sides = list(given.shape())[given.attribute('start', 0):given.attribute('end')]
    return Step((), lambda: torch.tensor(sides, dtype=torch.int64, device='cpu'))


def _size_of(given: Given) -> Step:
    count = math.prod(given.shape())
    return Step((), lambda: torch.tensor(count, dtype=torch.int64, device='cpu'))


def _filled(given: Given) -> Step:
    sides = [int(side) for side in given.numbers(None, 0) or []]
    value = given.attribute('value')
    filler = torch.zeros(1) if value is None else torch.from_numpy(value)
    if any(side < 0 for side in sides):
        raise given.unsupported(f'of sides {sides}')
    # One number, seen at every place: nothing of that size is made here.
    return Step((), lambda: filler.reshape(-1)[0].expand(sides))


def _range(given: Given) -> Step:
    start, end, step = (given.constant(index).item() for index in range(3))
    kind = given.constant(0).dtype
    if not step or (end - start) / step > 1 << 26:
        raise given.unsupported(f'from {start} to {end} by {step}')
    return Step((), lambda: torch.arange(start, end, step, dtype=kind, device='cpu'))


def _cast(given: Given) -> Step:
    kind = _TYPES.get(given.attribute('to'))
    if kind is None:
        raise given.unsupported(f'to the kind of number {given.attribute("to")}')
    return given.call(lambda x: x.to(kind))


# ---- arithmetic


def _divide(first: Tensor, second: Tensor) -> Tensor:
    if first.is_floating_point():
        return first / second
    return torch.div(first, second, rounding_mode='trunc')


def _remainder(given: Given) -> Step:
    return given.call(torch.fmod if given.attribute('fmod', 0) else torch.remainder, 0, 1)


def _clip(given: Given) -> Step:
    low, high = given.numbers('min', 1), given.numbers('max', 2)
    least, most = (None if bound is None else bound[0] for bound in (low, high))
    if least is None and most is None:
        return given.call(lambda x: x)
    return given.call(lambda x: x.clamp(least, most))


def _hard_sigmoid(given: Given) -> Step:
    slope, offset = given.attribute('alpha', 0.2), given.attribute('beta', 0.5)
    if abs(slope - 1 / 6) < 1e-6 and offset == 0.5:
        return given.call(functional.hardsigmoid)
    return given.call(lambda x: (slope * x + offset).clamp(0, 1))


def _gelu(given: Given) -> Step:
    approximate = given.attribute('approximate', 'none')
    return given.call(lambda x: functional.gelu(x, approximate=approximate))


def _softmax(run: Function) -> Maker:
    def make(given: Given) -> Step:
        axis = given.axis(-1 if given.opset > 12 else 1)
        if given.opset > 12 or axis == len(given.shape()) - 1:
            return given.call(lambda x: run(x, axis))
        return given.call(lambda x: run(x.flatten(axis), axis).reshape(x.shape))
    return make


def _product(given: Given) -> Step:
    return given.call(torch.matmul, 0, 1)


def _gemm(given: Given) -> Step:
    left, right = bool(given.attribute('transA', 0)), bool(given.attribute('transB', 0))
    alpha, beta = given.attribute('alpha', 1.0), given.attribute('beta', 1.0)

    def run(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        made = alpha * ((a.T if left else a) @ (b.T if right else b))
        return made if c is None else made + beta * c
    return given.call(run, *(index for index in range(3) if given.has(index)))


def _reduction(run: Function) -> Maker:
    def make(given: Given) -> Step:
        axes = given.numbers('axes', 1)
        keep = bool(given.attribute('keepdims', 1))
        if not axes:
            if given.attribute('noop_with_empty_axes', 0):
                return given.call(lambda x: x)
            axes = list(range(len(given.shape())))
        places = tuple(given.axes(axes))
        return given.call(lambda x: run(x, places, keep))
    return make


def _norm_of(given: Given) -> Step:
    order, axis = given.attribute('p', 2), given.axis(-1)
    return given.call(lambda x: x / torch.linalg.vector_norm(x, order, axis, keepdim=True))


def _arg(run: Function) -> Maker:
    def make(given: Given) -> Step:
        axis, keep = given.axis(0), bool(given.attribute('keepdims', 1))
        if given.attribute('select_last_index', 0):
            raise given.unsupported('that takes the last of equals')
        return given.call(lambda x: run(x, axis, keep))
    return make


def _unchanged(given: Given) -> Step:
    if len(given.node.outputs) > 1 and given.node.outputs[1]:
        raise given.unsupported('with a mask')
    return given.call(lambda x: x)


def _mean_of(values: Sequence[Tensor]) -> Tensor:
    return _sum_of(values) / len(values)


def _sum_of(values: Sequence[Tensor]) -> Tensor:
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total


def _largest(values: Sequence[Tensor]) -> Tensor:
    found = values[0]
    for value in values[1:]:
        found = torch.maximum(found, value)
    return found


def _smallest(values: Sequence[Tensor]) -> Tensor:
    found = values[0]
    for value in values[1:]:
        found = torch.minimum(found, value)
    return found


def _leaky(given: Given) -> Step:
    slope = given.attribute('alpha', 0.01)
    return given.call(lambda x: functional.leaky_relu(x, slope))


def _elu(given: Given) -> Step:
    alpha = given.attribute('alpha', 1.0)
    return given.call(lambda x: functional.elu(x, alpha))


def _sloped(given: Given) -> Step:
    """Return ONNX's own operator where its slopes are no layer's: they spread over anything."""
    return given.call(lambda x, slope: torch.where(x < 0, x * slope, x), 0, 1)


OWN: dict[str, Maker] = {'Linear': _linear, 'PReLU': _prelu}
"""Layers that ONNX says in other words."""

OPERATORS: dict[str, Maker] = {
    **OWN,
    'Conv': _convolution, 'ConvTranspose': _transposed_convolution,
    'BatchNormalization': _batch_norm, 'InstanceNormalization': _instance_norm,
    'GroupNormalization': _group_norm, 'LayerNormalization': _layer_norm,
    'Gemm': _gemm, 'MatMul': _product,

    'Relu': _same(functional.relu), 'LeakyRelu': _leaky, 'PRelu': _sloped, 'Elu': _elu,
    'Selu': _same(functional.selu), 'Sigmoid': _same(torch.sigmoid), 'Tanh': _same(torch.tanh),
    'HardSigmoid': _hard_sigmoid, 'HardSwish': _same(functional.hardswish),
    'Softplus': _same(functional.softplus), 'Softsign': _same(functional.softsign),
    'Gelu': _gelu, 'Mish': _same(functional.mish), 'Clip': _clip,
    'Softmax': _softmax(torch.softmax), 'LogSoftmax': _softmax(torch.log_softmax),

    'MaxPool': _max_pool, 'AveragePool': _average_pool,
    'GlobalAveragePool': _same(lambda x: x.mean(tuple(range(2, x.ndim)), True)),
    'GlobalMaxPool': _same(lambda x: x.amax(tuple(range(2, x.ndim)), True)),
    'Pad': _pad, 'Resize': _resize, 'Upsample': _resize, 'DepthToSpace': _blocks,
    'SpaceToDepth': _blocks,

    'Reshape': _reshape, 'Flatten': _flatten, 'Transpose': _transpose, 'Squeeze': _squeeze,
    'Unsqueeze': _unsqueeze, 'Slice': _slice, 'Split': _split, 'Concat': _concatenate,
    'Gather': _gather, 'Expand': _expand, 'Tile': _tile, 'Shape': _shape_of, 'Size': _size_of,
    'ConstantOfShape': _filled, 'Range': _range, 'Cast': _cast,
    'Identity': _unchanged, 'Dropout': _unchanged,

    'Add': _binary(torch.add), 'Sub': _binary(torch.sub), 'Mul': _binary(torch.mul),
    'Div': _binary(_divide), 'Mod': _remainder,
    'Pow': _binary(torch.pow), 'Sum': _all(_sum_of),
    'Mean': _all(_mean_of), 'Max': _all(_largest), 'Min': _all(_smallest),
    'Neg': _same(torch.neg), 'Abs': _same(torch.abs), 'Exp': _same(torch.exp),
    'Log': _same(torch.log), 'Sqrt': _same(torch.sqrt), 'Erf': _same(torch.erf),
    'Reciprocal': _same(torch.reciprocal), 'Floor': _same(torch.floor),
    'Ceil': _same(torch.ceil), 'Round': _same(torch.round), 'Sign': _same(torch.sign),
    'Sin': _same(torch.sin), 'Cos': _same(torch.cos),
    'Equal': _binary(torch.eq), 'Greater': _binary(torch.gt), 'Less': _binary(torch.lt),
    'GreaterOrEqual': _binary(torch.ge), 'LessOrEqual': _binary(torch.le),
    'And': _binary(torch.logical_and), 'Or': _binary(torch.logical_or),
    'Not': _same(torch.logical_not),
    'Where': lambda given: given.call(torch.where, 0, 1, 2),
    'ReduceMean': _reduction(torch.mean), 'ReduceSum': _reduction(torch.sum),
    'ReduceMax': _reduction(torch.amax), 'ReduceMin': _reduction(torch.amin),
    'ReduceL2': _reduction(lambda x, axes, keep: torch.linalg.vector_norm(x, 2, axes, keep)),
    'LpNormalization': _norm_of, 'ArgMax': _arg(torch.argmax), 'ArgMin': _arg(torch.argmin),
}
