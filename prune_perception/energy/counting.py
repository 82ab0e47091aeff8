# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
What a torch module does, written down while it runs once.

The module is really executed and every operator is seen where torch dispatches it, so calls of
functions (``functional.interpolate``, ``torch.cat``, ``+``) are counted like modules. Each is
put down to the module that was running.

Rules of fusion, for what moves no data of its own:

- An activation (or an operation with a constant) is applied on the way out of the convolution,
  linear layer or element-wise operation that made its input, if nothing else reads that.
- A normalisation by stored statistics folds into the convolution or linear layer before it, if
  nothing else reads that.
- Views (reshape, slice, transpose) move nothing; a copy that one forces does.
- What does not depend on the input is computed once, when the network is loaded: not counted.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map

from prune_perception.energy.account import EnergyAccount, make_account
from prune_perception.energy.hardware import HardwareProfile
from prune_perception.energy.layers import Layer, NetworkCount, UnknownOperator
from prune_perception.energy.operators import (
    ACTIVATIONS,
    BINARY,
    Call,
    FOLDABLE,
    MAC_OPERATORS,
    OPERATORS,
    TensorInfo,
    UnsupportedCall,
)
from prune_perception.energy.shapes import ConvolutionShape, MovementShape, Shape


def count(module: nn.Module, *inputs: torch.Tensor, measure_zeros: bool = False) -> NetworkCount:
    """
    Run a module once, in evaluation mode and without gradients, and write down what it did.

    :param inputs: what ``forward`` takes; the first dimension of each is a batch of 1.
    :param measure_zeros: also note which part of each map is not zero, for machines that skip
        zeros. It is that of these inputs: give real images and real weights.
    :raises ValueError: for a batch other than 1.
    """
    for tensor in inputs:
        if tensor.dim() == 0 or tensor.shape[0] != 1:
            raise ValueError(f'an example input of shape {tuple(tensor.shape)}; the first '
                             'dimension must be a batch of 1')
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        with torch.no_grad(), _paths(module) as path, _Recorder(
                path, inputs, measure_zeros) as recorder:
            outputs = module(*inputs)
    finally:
        for part in training:
            part.training = True
    results = [leaf for leaf in tree_iter(outputs) if isinstance(leaf, torch.Tensor)]
    leaves = {name for name, part in module.named_modules() if not list(part.children())}
    return NetworkCount(
        layers=tuple(_fuse(recorder, results, leaves)),
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        weights=sum(recorder.weights.values()),
        input_words=sum(tensor.numel() for tensor in inputs),
        output_words=sum(tensor.numel() for tensor in results),
        input_shape=tuple(inputs[0].shape),
        unknown=tuple(UnknownOperator(name, calls, recorder.unknown_at[name])
                      for name, calls in sorted(recorder.unknown.items())))


@dataclass
class _Event:
    """A call that was recorded, before fusion."""

    call: Call
    module: str
    shapes: tuple[Shape, ...]
    reads: tuple[int, ...]  # values, by number
    writes: int
    density: float


class _Recorder(TorchDispatchMode):
    """
    Writes down every operator that depends on the network's input.

    A value is known by its storage, so that a view is the same value as what it looks at. Every
    storage is kept until the end, or another could take its address.
    """

    def __init__(self, path: list[str], inputs: tuple[torch.Tensor, ...], measure: bool) -> None:
        super().__init__()
        self.events: list[_Event] = []
        self.unknown: Counter[str] = Counter()
        self.unknown_at: dict[str, str] = {}
        self.weights: dict[int, int] = {}
        self.densities: dict[int, float] = {}
        self._path = path
        self._measure = measure
        self._kept: list[torch.UntypedStorage] = []
        self._values: dict[int, int] = {}
        self._next = 0
        for tensor in inputs:
            self._new_value(tensor)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Leave torch's compiler out: loading it takes longer than the count."""
        return False

    def value_of(self, tensor: torch.Tensor) -> int | None:
        """Return the number of the value in a tensor, or None if it is constant."""
        return self._values.get(tensor.untyped_storage().data_ptr())

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        schema = func._schema
        reads = [tensor for tensor in tree_iter((args, kwargs)) if isinstance(
            tensor, torch.Tensor)]
        live = [value for tensor in reads if (value := self.value_of(tensor)) is not None]
        given: dict[str, Any] = {}
        if live:
            # Before the call: one that writes in place changes what it reads.
            names = [argument.name for argument in schema.arguments]
            given = {argument.name: argument.default_value for argument in schema.arguments
                     if argument.has_default_value()}
            given |= dict(zip(names, args, strict=False)) | (kwargs or {})
            given = tree_map(self._info, given)
        result = func(*args, **(kwargs or {}))
        results = [leaf for leaf in tree_iter(result) if isinstance(leaf, torch.Tensor)]
        if live and results and not _is_view(schema, reads, results):
            self._record(schema.name, given, reads, live, results)
        return result

    def _record(self, full_name: str, given: dict[str, Any], reads: list[torch.Tensor],
                live: list[int], results: list[torch.Tensor]) -> None:
        name = full_name.removeprefix('aten::').removesuffix('_')
        first = self._new_value(results[0])
        for other in results[1:]:
            if other.numel():
                self._new_value(other)
        call = Call(name, given, tuple(
            TensorInfo(tuple(tensor.shape), True) for tensor in results))
        handler = OPERATORS.get(name)
        shown = full_name.removeprefix('aten::')
        shapes: tuple[Shape, ...] = ()
        if handler is not None:
            try:
                shapes = tuple(handler(call))
            except UnsupportedCall as error:
                shown = f'{shown} ({error})'
        if not shapes:
            self.unknown[shown] += 1
            self.unknown_at.setdefault(shown, self._path[-1])
            return
        if name in MAC_OPERATORS:
            for tensor in reads:
                if self.value_of(tensor) is None and tensor.dim() > 1:
                    self.weights[tensor.untyped_storage().data_ptr()] = tensor.numel()
        density = 1.0
        if self._measure and results[0].numel():
            density = float(torch.count_nonzero(results[0])) / results[0].numel()
            self.densities[first] = density
        self.events.append(_Event(call, self._path[-1], shapes, tuple(live), first, density))

    def _new_value(self, tensor: torch.Tensor) -> int:
        storage = tensor.untyped_storage()
        self._kept.append(storage)
        self._values[storage.data_ptr()] = self._next
        self._next += 1
        return self._next - 1

    def _info(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return TensorInfo(tuple(value.shape), self.value_of(value) is not None)
        return value


def _is_view(schema: Any, reads: list[torch.Tensor], results: list[torch.Tensor]) -> bool:
    """Return whether an operator only looks at its input in another way."""
    if any(argument.alias_info is not None and argument.alias_info.is_write
           for argument in schema.arguments):
        return False
    # Not by the schema alone: `_unsafe_view` does not say that it is one.
    storages = {tensor.untyped_storage().data_ptr() for tensor in reads}
    return all(result.untyped_storage().data_ptr() in storages for result in results)


def _fuse(recorder: _Recorder, results: list[torch.Tensor], leaves: set[str]
          ) -> Iterator[Layer]:
    """Join what moves no data of its own to what it is applied to."""
    readers = Counter(value for event in recorder.events for value in set(event.reads))
    for tensor in results:
        value = recorder.value_of(tensor)
        if value is not None:
            readers[value] += 1
    leaders: dict[int, int] = {}  # value: the place of its layer in `groups`
    groups: list[list[_Event]] = []
    for event in recorder.events:
        place = leaders.get(event.reads[0]) if len(set(event.reads)) == 1 else None
        if (place is not None and readers[event.reads[0]] == 1
                and _joins(event.call, groups[place])):
            groups[place].append(event)
        else:
            groups.append([event])
            place = len(groups) - 1
        leaders[event.writes] = place
    names: Counter[str] = Counter()
    for group in groups:
        first, last = group[0], group[-1]
        name = first.module
        if not name or name not in leaves:
            name = f'{name}.{first.call.operator}'.strip('.')
        names[name] += 1
        if names[name] > 1:
            name = f'{name}#{names[name]}'
        shapes = list(first.shapes)
        if isinstance(shapes[0], ConvolutionShape):
            shapes[0] = replace(
                shapes[0], output_density=last.density,
                input_density=recorder.densities.get(first.reads[0], 1.0))
        for event in group[1:]:
            words = event.call.outputs[0].words
            done = 0 if event.call.operator in FOLDABLE else words
            shapes.append(MovementShape(0, 0, operations=done))
        yield Layer(name, first.module, first.call.operator, tuple(shapes),
                    tuple(event.call.operator for event in group[1:]),
                    first.call.live_words, last.call.outputs[0].words)


def _joins(call: Call, group: list[_Event]) -> bool:
    """Return whether a call can be fused to the layer that made its input."""
    leader = group[0].call.operator
    if call.operator in FOLDABLE:
        return leader in MAC_OPERATORS and all(
            event.call.operator in FOLDABLE for event in group[1:])
    one_map = sum(tensor.live for tensor in call.tensors()) == 1
    pointwise = call.operator in ACTIVATIONS or (call.operator in BINARY and one_map)
    same_size = call.outputs[0].words == group[-1].call.outputs[0].words
    return pointwise and same_size and (
        leader in MAC_OPERATORS or leader in BINARY or leader in ACTIVATIONS)


@contextmanager
def _paths(module: nn.Module) -> Iterator[list[str]]:
    """Keep a list whose last entry is the path of the module that is running."""
    stack = ['']
    handles = []
    for name, part in module.named_modules():
        def enter(_module: nn.Module, _inputs: Any, name: str = name) -> None:
            stack.append(name)

        def leave(_module: nn.Module, _inputs: Any, _outputs: Any) -> None:
            stack.pop()

        handles += [part.register_forward_pre_hook(enter),
                    part.register_forward_hook(leave, always_call=True)]
    try:
        yield stack
    finally:
        for handle in handles:
            handle.remove()


def profile_module(module: nn.Module, *inputs: torch.Tensor, profile: HardwareProfile,
                   network: str = '', batch: int = 1, bits: int | None = None,
                   seconds: float | None = None, measure_zeros: bool = False) -> EnergyAccount:
    """
    Return the energy account of a module, modelled for one image.

    For example ``profile_module(net, torch.zeros(1, 3, 416, 416),
    profile=load_profile('eyeriss_65nm')).by_kind()``.

    :param inputs: what ``forward`` takes, with a batch of 1, however large ``batch`` is.
    :param network: its name; the class's by default.
    :param batch: images that the machine processes together.
    :param bits: of a word; None for the profile's own width.
    :param seconds: measured time for one image, for the static term.
    :param measure_zeros: see :func:`count`.
    :raises ValueError: for an input, a batch or a width that cannot be.
    """
    counted = count(module, *inputs, measure_zeros=measure_zeros)
    return make_account(counted, profile, network or type(module).__name__, batch, bits, seconds)
