# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
A second detector to try things on: small, built otherwise than NanoDet-g, and trained here.

Inverted residuals with depthwise convolutions and batch normalisation, after Sandler et al.,
*MobileNetV2* (CVPR 2018), additions from the coarse maps to the fine ones, and one head for all
three maps. It learns people from NanoDet-g on a recording, without labels, in minutes. Its
outputs are NanoDet's, so that the same decoder and the same loss serve.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from prune_perception.bundle import Bundle, OutputSpec, Provenance, read_bundle, write_bundle
from prune_perception.energy.hardware import load_profile
from prune_perception.networks import registry
from prune_perception.networks.export import bundle_files
from prune_perception.networks.registry import spec_of
from prune_perception.pruning.distillation import distil, Settings, teacher_of
from prune_perception.pruning.footage import read_footage, resized
from prune_perception.pruning.heads import head_of
from prune_perception.pruning.planner import planner_for
from prune_perception.pruning.splits import split

NAME = 'small_detector'
SIDE = 320
STEPS = 1000
_NECK = 64


class Inverted(nn.Module):
    """Wider by a pointwise convolution, mixed in space by a depthwise one, and narrow again."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, factor: int = 3) -> None:
        super().__init__()
        wide = factor * inputs
        self.widen = nn.Conv2d(inputs, wide, 1, bias=False)
        self.widen_norm = nn.BatchNorm2d(wide)
        self.mix = nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False)
        self.mix_norm = nn.BatchNorm2d(wide)
        self.narrow = nn.Conv2d(wide, outputs, 1, bias=False)
        self.narrow_norm = nn.BatchNorm2d(outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the sum with what came in, where both have one shape."""
        made = functional.relu(self.widen_norm(self.widen(x)))
        made = functional.relu(self.mix_norm(self.mix(made)))
        made = self.narrow_norm(self.narrow(made))
        return x + made if self.residual else made


class SmallDetector(nn.Module):
    """
    The detector; outputs as of NanoDet-g.

    :param classes: number of classes.
    :param bins: of a distance's distribution.
    """

    def __init__(self, classes: int = 1, bins: int = 11) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 3, 2, 1)
        self.to4 = Inverted(24, 32, 2)
        self.to8 = nn.Sequential(Inverted(32, 48, 2), Inverted(48, 48), Inverted(48, 48))
        self.to16 = nn.Sequential(Inverted(48, 80, 2), Inverted(80, 80), Inverted(80, 80))
        self.to32 = nn.Sequential(Inverted(80, 112, 2), Inverted(112, 112))
        self.lateral8, self.lateral16, self.lateral32 = (
            nn.Conv2d(width, _NECK, 1) for width in (48, 80, 112))
        self.tower = nn.Conv2d(_NECK, _NECK, 3, 1, 1)
        self.predict = nn.Conv2d(_NECK, classes + 4 * bins, 1)
        # Nothing is there until it is learnt: most cells are background.
        nn.init.constant_(self.predict.bias[:classes], -4.0)  # type: ignore[index]

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Take normalised images whose sides are multiples of 32."""
        x8 = self.to8(self.to4(functional.relu(self.stem(x))))
        x16 = self.to16(x8)
        x32 = self.lateral32(self.to32(x16))
        x16 = self.lateral16(x16) + functional.interpolate(x32, scale_factor=2.0)
        x8 = self.lateral8(x8) + functional.interpolate(x16, scale_factor=2.0)
        return tuple(self.predict(functional.relu(self.tower(each))) for each in (x8, x16, x32))


def use() -> None:
    """Make the network known to the registry of this process."""
    registry._constructors.setdefault(NAME, SmallDetector)


def trained(
        folder: Path, teacher: Bundle, data: Path, frames: tuple[int, int], *,
        steps: int = STEPS, seed: int = 0,
        progress: Callable[[float, str], None] | None = None) -> Bundle:
    """
    Return the bundle of the network, trained on a recording; from its folder if it is there.

    :param teacher: knows the class ``person``.
    :param frames: first and last of the recording to learn from.
    """
    use()
    if folder.exists():
        return read_bundle(folder)
    dense = planner_for(teacher, load_profile('eyeriss_65nm'), classes=('person',)).at(
        (SIDE, SIDE))
    footage = read_footage(data, teacher.card.input, part=frames)
    parts = split(len(footage.images))
    torch.manual_seed(seed)
    network = SmallDetector()
    images = resized(footage.images, (SIDE, SIDE))
    distil(network, teacher_of(dense.card, dense.network),
           images[parts.fit.start:parts.fit.stop],
           images[parts.select.start:parts.select.stop], head_of(dense.card), dense.card.input,
           Settings(steps=steps, views=800, seed=seed), progress)
    network.eval()
    with torch.no_grad():
        outputs = network(torch.zeros(1, 3, SIDE, SIDE))
    card = replace(
        dense.card, name=NAME,
        outputs=tuple(OutputSpec(spec.name, tuple(output.shape))
                      for spec, output in zip(dense.card.outputs, outputs, strict=True)),
        network=spec_of(NAME, network, {'classes': 1, 'bins': 11}),
        provenance=Provenance('benchmarks/small_detector.py', 'benchmark', seed=seed),
        energy={}, measured=(), certificate=None)
    return write_bundle(folder, card, bundle_files(network, card))
