# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The torch module that an ONNX graph is rebuilt as."""

from collections.abc import Mapping
import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn, Tensor

from prune_perception.bundle import BundleError
from prune_perception.networks.imported.graph import count_operators, Graph, Node
from prune_perception.networks.imported.onnx_file import parse_onnx
from prune_perception.networks.imported.operators import (
    Given,
    OPERATORS,
    Step,
    UnsupportedError,
)

# Numbers in one value. That of a real network has some ten million, even at 4K; a file of a
# kilobyte can ask for any.
_MOST_COMPUTED = 1 << 28
_MOST_KNOWN = 1 << 26
_MOST_KNOWN_TOGETHER = 1 << 27  # all are kept: 1 GiB at most


@dataclass(frozen=True)
class Traced:
    """
    A graph that was followed once without computing anything of the image's.

    :param steps: for each node that the image has a part in.
    :param values: those that are known have storage; of the others there is the shape.
    :param computed: names of the values that come from the image.
    """

    steps: tuple[tuple[Node, Step], ...]
    values: Mapping[str, Tensor]
    computed: frozenset[str]


def trace(graph: Graph) -> Traced:
    """
    Follow a graph for its shapes, and compute what does not hang on the image.

    :raises BundleError: an operator is not converted, or a node cannot do what it is to; one line
        without the file.
    """
    needed = _needed(graph)
    strange = count_operators(needed, OPERATORS)
    if strange:
        raise BundleError(f'operators that cannot be converted: {strange}')
    values: dict[str, Tensor] = {
        name: torch.from_numpy(value if value.flags.writeable else value.copy())
        for name, value in graph.constants.items()}
    values |= {name: torch.empty(shape, device='meta')
               for name, shape in graph.weights.items()}
    values[graph.image] = torch.empty(graph.image_shape, device='meta')
    steps: list[tuple[Node, Step]] = []
    computed = {graph.image}
    known = 0
    # A default device that the caller has set must not reach the constants.
    with torch.device('cpu'), torch.no_grad():
        for node in needed:
            try:
                step = OPERATORS[node.op](Given(node, values, computed, graph.opset))
                made = _follow(step, values, _MOST_KNOWN_TOGETHER - known)
                known += _known_numbers(made)
            except UnsupportedError as error:
                raise BundleError(f'cannot be converted: {error}') from error
            except BundleError as error:
                raise BundleError(f'node {node.name!r} ({node.op}) {error}') from error
            except Exception as error:  # torch and Python refuse nonsense in many ways
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                raise BundleError(
                    f'node {node.name!r} ({node.op}) cannot be computed: {reason}') from error
            values.update(zip(node.outputs, made, strict=False))
            if computed.intersection(step.inputs):
                computed.update(node.outputs)
                steps.append((node, step))
            elif any(value.is_meta for value in made):
                computed.update(node.outputs)  # of weights alone
                steps.append((node, step))
    for name in graph.outputs:
        if name not in computed:
            raise BundleError(f'output {name!r} does not come from the image')
    return Traced(tuple(steps), values, frozenset(computed))


def _needed(graph: Graph) -> list[Node]:
    """Return the nodes that the outputs need."""
    wanted, found = set(graph.outputs), []
    for node in reversed(graph.nodes):
        if wanted.intersection(node.outputs):
            # An output left out has the name of an input left out.
            wanted.update(filter(None, node.inputs))
            found.append(node)
    return found[::-1]


def _known_numbers(made: tuple[Tensor, ...]) -> int:
    return sum(value.numel() for value in made if not value.is_meta)


def _follow(step: Step, values: Mapping[str, Tensor], left: int) -> tuple[Tensor, ...]:
    """
    Return what a step makes: with storage if all that it takes has some.

    :param left: how many numbers may still be stored.
    """
    given = [values[name] for name in step.inputs]
    known = step.layer is None and not any(value.is_meta for value in given)
    if not known or given:
        # The shape first: what would be too large is not made.
        made = _listed(_apply(step, step.layer, [value.to('meta') for value in given]))
        _check_size(made, _MOST_KNOWN if known else _MOST_COMPUTED)
        if not known:
            return made
        _check_left(made, left)
    made = _listed(_apply(step, None, given))
    _check_size(made, _MOST_KNOWN)
    _check_left(made, left)
    return tuple(value.contiguous() for value in made)


def _check_size(values: tuple[Tensor, ...], most: int) -> None:
    for value in values:
        if value.numel() > most:
            raise BundleError(
                f'would make {list(value.shape)}, {value.numel():.3g} numbers; at most '
                f'{most:.3g} are made')


def _check_left(values: tuple[Tensor, ...], left: int) -> None:
    if sum(value.numel() for value in values) > left:
        raise BundleError(f'would make more than {_MOST_KNOWN_TOGETHER:.3g} numbers together with '
                          'the nodes before it, all without the image')


def _apply(step: Step, layer: nn.Module | None, given: list[Tensor]) -> Any:
    made = step.run(*given) if step.run is not None else given[0]
    return made if layer is None else layer(made)


def _listed(made: Any) -> tuple[Tensor, ...]:
    return (made,) if isinstance(made, Tensor) else tuple(made)


@dataclass(frozen=True)
class _Call:
    """
    A step of the module.

    :param layer: path of the layer, or empty.
    :param inputs: names of values, or of buffers where the second is true.
    :param forgotten: values that nothing takes after it.
    """

    step: Step
    layer: str
    inputs: tuple[tuple[str, bool], ...]
    outputs: tuple[str, ...]
    forgotten: tuple[str, ...]


class OnnxNetwork(nn.Module):
    """
    A network whose structure is an ONNX graph (see :mod:`.simplify`).

    Its layers have no storage until weights are loaded; they are called after the weights.

    :param structure: of the dense network: what :func:`.onnx_file.write_onnx` wrote.
    :param fixed: why the channels of a layer must stay, for those that must.
    :raises BundleError: it is not such a structure.
    """

    def __init__(self, structure: bytes, fixed: Mapping[str, str] | None = None,
                 one_size: bool = False) -> None:
        super().__init__()
        self.structure = structure
        self.fixed_layers = dict(fixed or {})
        self.one_size = one_size
        graph = _read_structure(structure)
        traced = trace(graph)
        self._image, self._made = graph.image, tuple(graph.outputs)
        buffers: dict[str, str] = {}
        layers: dict[str, str] = {}
        last = _last_uses(traced, graph)
        calls = []
        for number, (node, step) in enumerate(traced.steps):
            inputs = []
            for name in step.inputs:
                constant = name not in traced.computed
                if constant and name not in buffers:
                    buffers[name] = f'constant_{len(buffers)}'
                    self.register_buffer(
                        buffers[name], traced.values[name], persistent=False)
                inputs.append((buffers.get(name, name), constant))
            path = self._place(step, layers)
            if step.layer is not None:  # the module has it; a copy of the step must not
                step = Step(step.inputs, step.run, None, step.weights)
            calls.append(_Call(step, path, tuple(inputs), tuple(node.outputs), last[number]))
        self._calls = tuple(calls)
        self._several = self._takes_several(graph.image_shape)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """
        Run the network.

        :param image: normalised float32 (n, 3, height, width).
        :returns: the outputs of the graph.
        """
        if len(image) == 1 or self._several:
            return self._run(image)
        found = [self._run(one[None]) for one in image]
        return tuple(torch.cat(parts) for parts in zip(*found, strict=True))

    def _run(self, image: Tensor) -> tuple[Tensor, ...]:
        values = {self._image: image}
        for call in self._calls:
            given = [getattr(self, name) if constant else values[name]
                     for name, constant in call.inputs]
            layer = self.get_submodule(call.layer) if call.layer else None
            made = _listed(_apply(call.step, layer, given))
            values.update(zip(call.outputs, made, strict=False))
            for name in call.forgotten:
                values.pop(name, None)
        return tuple(values[name] for name in self._made)

    def _place(self, step: Step, layers: dict[str, str]) -> str:
        """Put a layer into its place in the module, once, and return its path."""
        if step.layer is None:
            return ''
        path = step.weights['weight'].removesuffix('.weight')
        options = repr(step.layer)
        if path in layers:
            if layers[path] != options:
                raise BundleError(f'weights of {path} belong to {layers[path]} and to {options}')
            return path
        layers[path] = options
        place: nn.Module = self
        *parents, name = path.split('.')
        for parent in parents:
            if parent not in dict(place.named_children()):
                place.add_module(parent, nn.Module())
            place = place.get_submodule(parent)
        place.add_module(name, step.layer)
        return path

    def _takes_several(self, shape: tuple[int, ...]) -> bool:
        """Return whether images can be run side by side."""
        try:
            with torch.no_grad():
                skeleton = _on_meta(self)
                one = skeleton._run(torch.empty(shape, device='meta'))
                two = skeleton._run(torch.empty((2, *shape[1:]), device='meta'))
        except (RuntimeError, IndexError):
            return False
        return [tuple(value.shape) for value in two] == [
            (2, *value.shape[1:]) for value in one]


def _on_meta(module: OnnxNetwork) -> OnnxNetwork:
    return copy.deepcopy(module).to('meta').eval()


def _read_structure(structure: bytes) -> Graph:
    path = Path('structure.onnx')
    file = parse_onnx(structure, path)
    graph = file.graph
    if not file.inputs:
        raise BundleError(f'{path}: has no input')
    for declared in file.inputs:
        if not all(isinstance(side, int) for side in declared.sizes):
            raise BundleError(f'{path}: sizes of {declared.name!r} are left open')
    shapes = {declared.name: tuple(int(side or 0) for side in declared.sizes)
              for declared in file.inputs}
    graph.image_shape = shapes.pop(graph.image)
    graph.weights = shapes
    return graph


def _last_uses(traced: Traced, graph: Graph) -> list[tuple[str, ...]]:
    """Return for each step the values that nothing takes after it."""
    kept = set(graph.outputs)
    last: list[tuple[str, ...]] = []
    for node, step in reversed(traced.steps):
        gone = {*step.inputs, *node.outputs} - kept
        kept |= gone
        last.append(tuple(sorted(gone)))
    return last[::-1]
