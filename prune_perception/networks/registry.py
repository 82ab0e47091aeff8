# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Networks by name: their dense structure, and the pruned one that a bundle's card describes."""

from collections.abc import Callable, Mapping
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from prune_perception.bundle import (
    Bundle,
    BundleError,
    CARD,
    InputSpec,
    NetworkSpec,
    STRUCTURE,
    WEIGHTS,
)
from prune_perception.networks.nanodet import NanoDetG

_constructors: dict[str, Callable[..., nn.Module]] = {}


def register(name: str, constructor: Callable[..., nn.Module]) -> None:
    """
    Make a network known under a name.

    Its module takes a float32 image batch (n, 3, height, width) and returns a tuple of tensors,
    and keeps all its state in its state dict: what is not there is lost in a bundle.

    :param constructor: of the dense network; called with the settings of a card.
    :raises ValueError: the name is taken.
    """
    if name in _constructors:
        raise ValueError(f'network {name!r} is registered already')
    _constructors[name] = constructor


def registered() -> tuple[str, ...]:
    """Return the names of all networks."""
    return tuple(sorted(_constructors))


def widths_of(module: nn.Module) -> dict[str, tuple[int, int]]:
    """
    Return (output channels, input channels) of each layer with weights.

    These are the first two sizes of its weight: for a grouped convolution the input channels
    are those of one group. A normalisation, whose weight has one size, counts it twice.
    """
    return {name: _widths(layer) for name, layer in _layers(module).items()}


def build(spec: NetworkSpec, structure: bytes | None = None) -> nn.Module:
    """
    Build a network's structure with the widths of a card.

    The dense structure comes from the constructor and each layer is then given its widths, so
    that a network is described once, whichever way it is pruned. Resized weights are zero until
    others are loaded.

    :param structure: the bundle's ``structure.onnx``, for a network that is described there.
    :raises BundleError: the network or a layer is unknown, missing or cannot have its widths.
    """
    if spec.name not in _constructors:
        raise BundleError(
            f'network {spec.name!r} is unknown; known are {", ".join(registered())}')
    settings = dict(spec.settings)
    if structure is not None:
        settings['structure'] = structure
    try:
        module = _constructors[spec.name](**settings)
    except (TypeError, ValueError) as error:
        raise BundleError(f'network {spec.name!r}: settings do not fit: {error}') from error
    layers = _layers(module)
    for name in spec.widths:
        if name not in layers:
            raise BundleError(f'network {spec.name!r} has no layer {name!r}, which widths lists')
    for name, layer in layers.items():
        if name not in spec.widths:
            raise BundleError(f'network {spec.name!r}: widths does not list layer {name!r}')
        try:
            _resize(layer, *spec.widths[name])
        except ValueError as error:
            raise BundleError(f'network {spec.name!r}: layer {name!r} {error}') from error
    return module


def example_input(fed: InputSpec) -> torch.Tensor:
    """Return an input that fits a network, float32 (1, 3, height, width) of zeros."""
    return torch.zeros(1, 3, fed.height, fed.width)


def load_network(bundle: Bundle) -> nn.Module:
    """
    Return the network of a bundle with its weights, in float32 and evaluation mode.

    :raises BundleError: there are no weights, or they, the widths and the card's outputs do not
        fit each other; the message names the layer.
    """
    card = bundle.folder / CARD
    spec = bundle.card.network
    if spec is None and bundle.card.quantisation is not None:
        raise BundleError(
            f'{card}: is quantised to {bundle.card.quantisation.bits} bits and has no weights '
            'that torch could run, count or prune; it runs by onnxruntime and openvino; for all '
            f'else give the bundle that it was made from{_named(bundle.card.provenance.parent)}')
    if spec is None:
        raise BundleError(f'{card}: network is missing; only model.onnx of this bundle can be run')
    path = bundle.folder / WEIGHTS
    try:
        stored = safetensors.torch.load(bundle.read_file(WEIGHTS))
    except safetensors.SafetensorError as error:
        raise BundleError(f'{path}: not a safetensors file: {error}') from error
    try:
        # Without storage: nothing is initialised only to be replaced, and no pseudo-random
        # number is drawn from the caller's sequence.
        with torch.device('meta'):
            structure = (bundle.read_file(STRUCTURE) if STRUCTURE in bundle.card.files else None)
            module = build(spec, structure).eval()
    except BundleError as error:
        raise BundleError(f'{card}: {error}') from error
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    for name, shape in expected.items():
        if name not in stored:
            raise BundleError(f'{path}: has no {name}')
        if tuple(stored[name].shape) != shape:
            raise BundleError(
                f'{path}: {name} is {list(stored[name].shape)}, {CARD} makes it {list(shape)}')
    for name in stored:
        if name not in expected:
            raise BundleError(f'{path}: has {name}, which network {spec.name!r} has not')
    module.load_state_dict(
        {name: tensor.float() if tensor.is_floating_point() else tensor
         for name, tensor in stored.items()}, assign=True)
    _check_flow(module, bundle)
    return module


def structure_of(module: nn.Module) -> bytes | None:
    """Return what a bundle keeps of a network that no constructor describes; None for others."""
    structure = getattr(module, 'structure', None)
    return structure if isinstance(structure, bytes) else None


def round_weights(module: nn.Module) -> None:
    """
    Round a network's floating point state in place to what float16 holds, as it is stored.

    :raises BundleError: a value is not finite or too large for float16; names the tensor.
    """
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                rounded = tensor.half()
                if not torch.isfinite(rounded).all():
                    raise BundleError(
                        f'{name}: has values that are not finite in float16 (largest magnitude '
                        f'{tensor.abs().max().item():g}); the network is not fit to be stored')
                tensor.copy_(rounded)


def weights_of(module: nn.Module) -> bytes:
    """Return a network's state as ``weights.safetensors``, floating point numbers as float16."""
    data: bytes = safetensors.torch.save({
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in module.state_dict().items()})
    return data


def spec_of(name: str, module: nn.Module, settings: Mapping[str, object] | None = None
            ) -> NetworkSpec:
    """Return what a card says of a network, pruned or not."""
    return NetworkSpec(name, widths_of(module), dict(settings or {}))


def _named(parent: str | None) -> str:
    return '' if parent is None else f' (digest {parent[:12]}…)'


def _layers(module: nn.Module) -> dict[str, nn.Module]:
    return {name: layer for name, layer in module.named_modules()
            if isinstance(getattr(layer, 'weight', None), nn.Parameter)}


def _widths(layer: nn.Module) -> tuple[int, int]:
    shape = layer.get_parameter('weight').shape
    return (shape[0], shape[1]) if len(shape) > 1 else (shape[0], shape[0])


def _resize(layer: nn.Module, outputs: int, inputs: int) -> None:
    """
    Give a layer its widths, in place.

    :raises ValueError: the layer cannot have them; the message is the rest of a sentence.
    """
    if (outputs, inputs) == _widths(layer):
        return
    if isinstance(layer, _ConvNd) and not isinstance(layer, _ConvTransposeNd):
        _resize_convolution(layer, outputs, inputs)
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = outputs, inputs
    elif isinstance(layer, (_NormBase, nn.GroupNorm, nn.LayerNorm)):
        _resize_norm(layer, outputs, inputs)
    elif isinstance(layer, nn.PReLU):
        layer.num_parameters = outputs
    else:
        raise ValueError(f'is a {type(layer).__name__}, which cannot be given other widths')
    weight = layer.get_parameter('weight')
    sizes = (outputs, inputs, *weight.shape[2:])[:weight.ndim]
    layer.register_parameter('weight', nn.Parameter(weight.new_zeros(sizes)))
    if getattr(layer, 'bias', None) is not None:
        layer.register_parameter('bias', nn.Parameter(weight.new_zeros(outputs)))


def _resize_convolution(layer: _ConvNd, outputs: int, inputs: int) -> None:
    if layer.groups > 1 and layer.groups == layer.in_channels:
        # Depthwise: a channel less is a group less.
        layer.groups = outputs * layer.groups // layer.out_channels
    if not layer.groups or outputs % layer.groups:
        raise ValueError(f'cannot have {outputs} outputs in {layer.groups} groups')
    layer.out_channels, layer.in_channels = outputs, inputs * layer.groups


def _resize_norm(
        layer: '_NormBase | nn.GroupNorm | nn.LayerNorm', outputs: int, inputs: int) -> None:
    if outputs != inputs:
        raise ValueError(f'is a normalisation and cannot turn {inputs} channels into {outputs}')
    if isinstance(layer, nn.GroupNorm):
        if outputs % layer.num_groups:
            raise ValueError(f'cannot have {outputs} channels in {layer.num_groups} groups')
        layer.num_channels = outputs
    elif isinstance(layer, nn.LayerNorm):
        if len(layer.normalized_shape) != 1:
            raise ValueError('normalises over more than channels and cannot be resized')
        layer.normalized_shape = (outputs,)
    else:
        layer.num_features = outputs
        for name in ('running_mean', 'running_var'):
            if getattr(layer, name) is not None:
                setattr(layer, name, getattr(layer, name).new_zeros(outputs))


def _check_flow(module: nn.Module, bundle: Bundle) -> None:
    """Run a network once: each layer must take what the one before it gives."""
    card, fed = bundle.folder / CARD, bundle.card.input
    entered = 'the first'

    def enter(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            nonlocal entered
            entered = f'{name!r}, which is given {list(inputs[0].shape)}'
        return hook

    hooks = [layer.register_forward_pre_hook(enter(name))
             for name, layer in module.named_modules() if not list(layer.children())]
    try:
        with torch.no_grad():
            outputs = module(torch.zeros(1, 3, fed.height, fed.width))
    except RuntimeError as error:
        raise BundleError(
            f'{card}: network.widths do not fit each other: fails at or after layer {entered} '
            f'({str(error).splitlines()[0]})') from error
    finally:
        for hook in hooks:
            hook.remove()
    found = [tuple(output.shape) for output in outputs]
    wanted = [output.shape for output in bundle.card.outputs]
    if found != wanted:
        raise BundleError(
            f'{card}: outputs are {[list(shape) for shape in wanted]}, but the network makes '
            f'{[list(shape) for shape in found]}')


def _imported(**settings: Any) -> nn.Module:
    # onnx, which this imports, takes a part of a second that other networks need not wait for.
    from prune_perception.networks.imported.network import OnnxNetwork
    return OnnxNetwork(**settings)


register('nanodet_g', NanoDetG)
register('onnx', _imported)
