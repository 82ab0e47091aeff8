# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Make a dense bundle of somebody's own detector, and say what can be pruned of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn

from prune_perception import __version__
from prune_perception.bundle import (
    Bundle,
    BundleError,
    Card,
    check_place,
    DecoderSpec,
    InputSpec,
    OutputSpec,
    Provenance,
    write_bundle,
)
from prune_perception.networks.export import bundle_files, INPUT_NAME
from prune_perception.networks.imported.graph import Array, Graph, Node
from prune_perception.networks.imported.network import OnnxNetwork, trace
from prune_perception.networks.imported.onnx_file import (
    OnnxFile,
    parse_onnx,
    read_onnx,
    write_onnx,
)
from prune_perception.networks.imported.rebuild import rebuild
from prune_perception.networks.imported.tensorflow_js import read_graph_model
from prune_perception.networks.registry import example_input, round_weights, spec_of
from prune_perception.pruning.footage import tensor_of
from prune_perception.pruning.groups import ChannelGraph, GroupError
from prune_perception.pruning.importing.comparison import (
    Divide,
    greatest_difference,
    TOLERANCE,
)
from prune_perception.pruning.importing.description import describe, Description, Wanted
from prune_perception.pruning.importing.factory import export_factory, is_factory
from prune_perception.pruning.importing.reference import compare
from prune_perception.pruning.importing.trial import find_fixed
from prune_perception.pruning.input_size import sizes_of
from prune_perception.runtime.decoders import create_decoder
from prune_perception.runtime.preprocess import Preprocessor

Images = Sequence[NDArray[np.uint8]]

_NOISES = 2
_ROUNDING = 5e-2  # of a field's largest number, by weights in float16; more is worth a word


@dataclass(frozen=True)
class Request:
    """
    What to import.

    :param source: path of an ONNX file, or ``module:function``.
    :param checkpoint: of the function's network; None for its own weights.
    :param wanted: what was said of the detector.
    :param images: (height, width, 3) BGR of any size: real pictures to compare outputs on.
    :param allow_code: that ``module:function`` may be run.
    """

    source: str
    destination: Path
    wanted: Wanted
    command: str
    checkpoint: Path | None = None
    images: Images = ()
    allow_code: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class Imported:
    """
    What came of it.

    :param difference: greatest difference between torch and ONNX Runtime on the file itself, as a
        share of the largest number in that field of an output.
    :param as_read: that the difference is to the graph as this package read it, for ONNX Runtime
        does not run the file; a mistake of reading would not show.
    :param rounding: likewise, between the network and itself with weights in float16.
    :param compared: how many images of noise and of the world that was found on.
    :param groups: of channels that may be taken out.
    :param fixed: one line on each group that must stay, with the reason.
    """

    bundle: Bundle
    difference: float
    as_read: bool
    rounding: float
    compared: tuple[int, int]
    layers: int
    parameters: int
    groups: int
    fixed: tuple[str, ...]
    notes: tuple[str, ...]


def import_network(request: Request, tell: Callable[[str], None] | None = None) -> Imported:
    """
    Import a network and write its bundle, complete or not at all.

    :param tell: called with the name of each stage.
    :raises BundleError: one line with the file and what is wrong with it, or what is missing.
    """
    return _Job(request, tell or (lambda _: None)).run()


class _Job:

    def __init__(self, request: Request, tell: Callable[[str], None]) -> None:
        self._request, self._tell = request, tell
        self._notes: list[str] = []

    def run(self) -> Imported:
        request = self._request
        check_place(request.destination, overwrite=request.overwrite)
        self._tell('read')
        file = self._file()
        said = describe(file, request.wanted)
        fed = InputSpec(*said.size, said.colour_order, said.mean, said.std, said.resize,
                        said.placement, said.padding)
        graph = _cut(file, said, request.wanted.outputs)
        ends = list(graph.outputs)
        self._tell('convert')
        original = write_onnx(graph)
        try:
            shapes = _output_shapes(graph)
            # A bundle's input has its name already.
            names = [f'{name}.output' if name == INPUT_NAME else name for name in graph.outputs]
            module = rebuild(graph)
        except BundleError as error:
            raise BundleError(f'{file.path}: {error}{_advice(error, graph)}') from error
        card = self._card(file, said, fed, [
            OutputSpec(name, shape) for name, shape in zip(names, shapes, strict=True)])
        # What its decoder cannot read is refused before any work.
        fields = create_decoder(Bundle(request.destination, card, '')).fields
        self._tell('compare with ONNX Runtime')
        inputs = self._inputs(fed)
        before = [_outputs(module, one) for one in inputs]
        against = compare(before, file, said.layout, ends, original,
                          [one.numpy() for one in inputs], fields)
        self._notes += [against.note] if against.note else []
        self._check_several(module, inputs, fields, file.path)
        round_weights(module)
        rounding = greatest_difference([_outputs(module, one) for one in inputs], before, fields)
        if rounding > _ROUNDING:
            self._notes.append(
                f'with weights rounded to float16, outputs differ by {rounding:.2g} of the '
                'largest; compare both on labelled pictures')
        self._tell('try what can be pruned')
        groups, fixed, settings = self._trials(module, card, inputs[0], fields)
        card = replace(card, network=spec_of('onnx', module, settings))
        self._tell('write')
        bundle = write_bundle(request.destination, card, bundle_files(module, card),
                              overwrite=request.overwrite)
        return Imported(
            bundle, against.difference, against.as_read, rounding, (_NOISES, len(request.images)),
            len(spec_of('onnx', module).widths),
            sum(parameter.numel() for parameter in module.parameters()), groups, fixed,
            tuple(self._notes))

    def _file(self) -> OnnxFile:
        request = self._request
        if not is_factory(request.source) or Path(request.source).exists():
            if request.checkpoint is not None:
                raise BundleError('--checkpoint belongs to module:function; an ONNX file has its '
                                  'weights')
            path = Path(request.source)
            return read_graph_model(path) if path.suffix == '.json' else read_onnx(path)
        if request.wanted.size is None:
            raise BundleError(f'{request.source}: say the size of its input: --input '
                              'WIDTHxHEIGHT')
        data, digest = export_factory(request.source, request.checkpoint, request.wanted.size,
                                      allow_code=request.allow_code)
        # The export is nobody's file: a card names the checkpoint, if there is one.
        return replace(parse_onnx(data, Path(request.source)), digest=digest or '')

    def _card(self, file: OnnxFile, said: Description, fed: InputSpec,
              outputs: Sequence[OutputSpec]) -> Card:
        request = self._request
        return Card(
            name=request.destination.name, class_names=said.class_names, input=fed,
            outputs=tuple(outputs), decoder=DecoderSpec(said.decoder, dict(said.settings)),
            network=None,
            provenance=Provenance(request.command, __version__, data=file.digest or None),
            licence=said.licence, attribution=said.attribution)

    def _inputs(self, fed: InputSpec) -> list[torch.Tensor]:
        """Return noise and the real pictures as the network is fed with them."""
        generator = np.random.default_rng(0)
        images = [generator.integers(0, 256, (1, fed.height, fed.width, 3), np.uint8)
                  for _ in range(_NOISES)]
        fit = Preprocessor(fed)
        images += [fit(image)[0].copy() for image in self._request.images]
        return [tensor_of(image, fed) for image in images]

    def _check_several(self, module: nn.Module, inputs: Sequence[torch.Tensor], fields: Divide,
                       path: Path) -> None:
        """Distillation shows several images at once: they must not touch each other."""
        together = _outputs(module, torch.cat(list(inputs[:2])))
        alone = [_outputs(module, one) for one in inputs[:2]]
        divided = [np.array_split(output, 2) for output in together]
        if greatest_difference(
                list(zip(*divided, strict=True)), alone, fields) > TOLERANCE:
            raise BundleError(f'{path}: computes something else for an image when it is given '
                              'two; it is not imported')

    def _trials(self, module: OnnxNetwork, card: Card, image: torch.Tensor, fields: Divide
                ) -> tuple[int, tuple[str, ...], dict[str, Any]]:
        settings: dict[str, Any] = {}
        if not _runs_at_other_sizes(module, card):
            settings['one_size'] = module.one_size = True
        try:
            fixed = find_fixed(module, image, fields)
            module.fixed_layers = fixed
            found = ChannelGraph(module, example_input(card.input)).groups
        except GroupError as error:
            self._notes.append(f'cannot be pruned: {error}')
            return 0, (), settings
        if fixed:
            settings['fixed'] = fixed
        free = [group for group in found if not group.fixed]
        return len(free), tuple(group.describe() for group in found if group.fixed), settings


def _cut(file: OnnxFile, said: Description, outputs: Sequence[str]) -> Graph:
    """Return the graph from an image of a fixed size, channels first, to the outputs."""
    graph = file.graph
    known = {name for node in graph.nodes for name in node.outputs}
    for name in outputs:
        if name not in known:
            raise BundleError(f'{file.path}: no node makes {name!r}, which --outputs names')
    graph.outputs = list(outputs) or graph.outputs
    graph.image_shape = (1, 3, *said.size)
    if said.layout == 'nhwc':
        planes = graph.fresh('planes')
        turn = Node('Transpose', planes, [planes], [graph.image], {'perm': [0, 2, 3, 1]})
        graph.nodes.insert(0, turn)
        graph.image = planes
    graph.sweep()
    return graph


def _output_shapes(graph: Graph) -> list[tuple[int, ...]]:
    values = trace(graph).values
    for name in graph.outputs:
        if not values[name].is_floating_point():
            raise BundleError(f'output {name!r} is {values[name].dtype}, not float32'.replace(
                'torch.', ''))
    return [tuple(values[name].shape) for name in graph.outputs]


def _advice(error: BundleError, graph: Graph) -> str:
    if 'operators that cannot be converted' not in str(error):
        return ''
    from prune_perception.networks.imported.operators import OPERATORS
    made = {name for node in graph.nodes for name in node.outputs}
    before = dict.fromkeys(
        name for node in graph.nodes if node.op not in OPERATORS for name in node.inputs
        if name in made)
    shown = ', '.join(list(before)[:4])
    return ('. If they come after the head, end before them with --outputs NAME,…'
            + (f' (they take {shown})' if shown else ''))


def _outputs(module: nn.Module, image: torch.Tensor) -> list[Array]:
    with torch.no_grad():
        return [output.numpy() for output in module(image)]


def _runs_at_other_sizes(module: nn.Module, card: Card) -> bool:
    """Return whether a smaller image goes through, and the decoder reads what comes out."""
    others = sizes_of(card)[1:]
    if not others:
        return True  # none will be asked for
    fed = replace(card.input, height=others[0][0], width=others[0][1])
    try:
        with torch.no_grad():
            outputs = module(example_input(fed))
        create_decoder(Bundle(Path(), replace(card, input=fed, outputs=tuple(
            OutputSpec(spec.name, tuple(output.shape))
            for spec, output in zip(card.outputs, outputs, strict=True))), ''))
    except (BundleError, RuntimeError, IndexError, ValueError):
        return False
    return True
