# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Detectors as others build them, small and of random weights, and files of them.

All take (1, 3, HEIGHT, WIDTH) and make a map of 14 channels for each of the strides 8 and 16,
which the decoder ``nanodet`` reads as two classes and three bins.
"""

from collections.abc import Sequence
import io
from pathlib import Path
from typing import Any
import warnings

import torch
from torch import nn
from torch.nn import functional

HEIGHT, WIDTH = 64, 96
CLASSES, BINS = ('person', 'dog'), 3
OUTPUTS = len(CLASSES) + 4 * BINS
WORDS = ['--resize', 'stretch', '--colour', 'rgb', '--mean', '123.675,116.28,103.53', '--std',
         '58.395,57.12,57.375', '--decoder', 'nanodet', '--decoder-setting', 'strides=[8,16]',
         '--decoder-setting', f'bins={BINS}']


def conv_norm(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1,
              activation: nn.Module | None = None) -> nn.Sequential:
    """Return a convolution without bias, its batch norm and an activation."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([] if activation is None else [activation]))


class BasicBlock(nn.Module):
    """Two convolutions and a shortcut (He et al., CVPR 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.first = conv_norm(inputs, outputs, 3, stride, activation=nn.ReLU())
        self.second = conv_norm(outputs, outputs)
        self.shortcut = (conv_norm(inputs, outputs, 1, stride) if stride > 1 else nn.Identity())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.second(self.first(x)) + self.shortcut(x))


class ResidualPyramid(nn.Module):
    """A residual network, a feature pyramid, and a head that both levels share."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_norm(3, 16, 7, 2, activation=nn.ReLU())
        self.layer1 = BasicBlock(16, 16)
        self.layer2 = BasicBlock(16, 24, 2)
        self.layer3 = BasicBlock(24, 32, 2)
        self.lateral2 = nn.Conv2d(24, 16, 1)
        self.lateral3 = nn.Conv2d(32, 16, 1)
        self.smooth = nn.Conv2d(16, 16, 3, padding=1)
        self.tower = nn.Conv2d(16, 16, 3, padding=1)
        self.predict = nn.Conv2d(16, OUTPUTS, 3, padding=1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = functional.max_pool2d(self.stem(x), 3, 2, 1)
        fine = self.layer2(self.layer1(x))
        coarse = self.lateral3(self.layer3(fine))
        fine = self.smooth(
            self.lateral2(fine) + functional.interpolate(coarse, scale_factor=2.0))
        return tuple(self.predict(torch.relu(self.tower(level))) for level in (fine, coarse))


class SqueezeExcite(nn.Module):
    """A gate of each channel that looks at all (Hu et al., CVPR 2018; hard, as MobileNetV3's)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(width, width // 4, 1)
        self.expand = nn.Conv2d(width // 4, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = functional.adaptive_avg_pool2d(x, 1)
        return x * functional.hardsigmoid(self.expand(torch.relu(self.reduce(gate))))


class InvertedResidual(nn.Module):
    """Wide and depthwise between two narrow ends (Howard et al., *MobileNetV3*, 2019)."""

    def __init__(self, inputs: int, wide: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.expand = conv_norm(inputs, wide, 1, activation=nn.Hardswish())
        self.depthwise = conv_norm(wide, wide, 5, stride, wide, nn.Hardswish())
        self.gate = SqueezeExcite(wide)
        self.project = conv_norm(wide, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = self.project(self.gate(self.depthwise(self.expand(x))))
        return x + made if x.shape == made.shape else made


class InvertedResiduals(nn.Module):
    """Inverted residuals with squeeze-and-excite; bilinear upsampling; a head of its own each."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_norm(3, 16, 3, 2, activation=nn.Hardswish())
        self.one = InvertedResidual(16, 32, 16, 2)
        self.two = InvertedResidual(16, 48, 24, 2)
        self.again = InvertedResidual(24, 48, 24)
        self.three = InvertedResidual(24, 64, 32, 2)
        self.slopes = nn.PReLU(24)
        self.up = conv_norm(32, 24, 1)
        self.fine = nn.Conv2d(24, OUTPUTS, 1)
        self.coarse = nn.Conv2d(32, OUTPUTS, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        fine = self.again(self.two(self.one(self.stem(x))))
        coarse = self.three(fine)
        above = functional.interpolate(self.up(coarse), scale_factor=2.0, mode='bilinear')
        return self.fine(self.slopes(fine + above)), self.coarse(coarse)


class DenseGroups(nn.Module):
    """Grouped convolutions whose results are kept side by side (Huang et al., CVPR 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_norm(3, 16, 3, 4, activation=nn.ReLU())
        self.grow = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(16 + 8 * step), nn.ReLU(), conv_norm(
                16 + 8 * step, 16, 1, activation=nn.ReLU()),
                nn.Conv2d(16, 8, 3, padding=1, groups=4, bias=False)) for step in range(3))
        self.transition = conv_norm(40, 24, 1, activation=nn.LeakyReLU(0.1))
        self.down = nn.Conv2d(24, 24, 3, 2, 1, groups=2)
        self.fine = nn.Conv2d(24, OUTPUTS, 1)
        self.coarse = nn.Conv2d(24, OUTPUTS, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = self.stem(x)
        for step in self.grow:
            x = torch.cat((x, step(x)), 1)
        fine = functional.avg_pool2d(self.transition(x), 2, 2)
        return self.fine(fine), self.coarse(torch.relu(self.down(fine)))


class GroupNormHeads(nn.Module):
    """A head with group norms that the levels share, and a factor of each level (FCOS)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_norm(3, 16, 3, 4, activation=nn.ReLU())
        self.fine = conv_norm(16, 16, 3, 2, activation=nn.ReLU())
        self.coarse = conv_norm(16, 16, 3, 2, activation=nn.ReLU())
        self.tower = nn.Sequential(
            nn.Conv2d(16, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU())
        self.classes = nn.Conv2d(16, len(CLASSES), 3, padding=1)
        self.boxes = nn.Conv2d(16, 4 * BINS, 3, padding=1)
        self.factors = nn.ParameterList(nn.Parameter(torch.tensor(value)) for value in (1.5, .7))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        fine = self.fine(self.stem(x))
        outputs = []
        for level, factor in zip((fine, self.coarse(fine)), self.factors, strict=True):
            tower = self.tower(level)
            outputs.append(torch.cat((self.classes(tower), factor * self.boxes(tower)), 1))
        return tuple(outputs)


class Halves(nn.Module):
    """A stage that divides its channels and keeps all that it makes (YOLOv8's C2f)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.enter = conv_norm(inputs, outputs, 1, activation=nn.SiLU())
        self.block = nn.Sequential(conv_norm(outputs // 2, outputs // 2, activation=nn.SiLU()),
                                   conv_norm(outputs // 2, outputs // 2, activation=nn.SiLU()))
        self.leave = conv_norm(3 * outputs // 2, outputs, 1, activation=nn.SiLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = self.enter(x).chunk(2, 1)
        return self.leave(torch.cat((first, second, second + self.block(second)), 1))


class DividedStages(nn.Module):
    """Stages of halves, pooling in a row, and heads whose parts are joined."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_norm(3, 8, 3, 2, activation=nn.SiLU()),
                                  conv_norm(8, 16, 3, 2, activation=nn.SiLU()))
        self.stage = Halves(16, 16)
        self.down = conv_norm(16, 24, 3, 2, activation=nn.SiLU())
        self.deeper = Halves(24, 24)
        self.further = conv_norm(24, 32, 3, 2, activation=nn.SiLU())
        self.pool = conv_norm(64, 32, 1, activation=nn.SiLU())
        self.join = Halves(56, 24)
        self.boxes = nn.ModuleList(nn.Conv2d(width, 4 * BINS, 1) for width in (24, 32))
        self.classes = nn.ModuleList(nn.Conv2d(width, len(CLASSES), 1) for width in (24, 32))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        fine = self.deeper(self.down(self.stage(self.stem(x))))
        coarse = self.further(fine)
        coarse = self.pool(torch.cat((coarse, functional.max_pool2d(coarse, 5, 1, 2)), 1))
        fine = self.join(torch.cat((functional.interpolate(coarse, scale_factor=2.0), fine), 1))
        return tuple(torch.cat((classes(level), boxes(level)), 1) for classes, boxes, level in
                     zip(self.classes, self.boxes, (fine, coarse), strict=True))


class GatedConcatenation(nn.Module):
    """Depthwise convolutions and a gate over two layers side by side (as in CenterNet heads)."""

    def __init__(self) -> None:
        super().__init__()
        self.left = conv_norm(3, 16, 3, 4, activation=nn.ReLU())
        self.right = conv_norm(3, 8, 3, 4)
        self.gate = SqueezeExcite(24)
        self.depthwise = nn.Conv2d(24, 24, 5, 2, 2, groups=24, bias=False)
        self.norm = nn.BatchNorm2d(24)
        self.fine = nn.Conv2d(24, OUTPUTS, 1)
        self.down = conv_norm(24, 24, 3, 2, 24)
        self.coarse = nn.Conv2d(24, OUTPUTS, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = functional.silu(torch.cat((self.left(x), self.right(x)), 1))
        # As files from TensorFlow write it: a number first.
        x = torch.relu(self.norm(self.depthwise(0.5 * torch.sigmoid(self.gate(x)))))
        return self.fine(x), self.coarse(torch.relu(self.down(x)))


class Shuffled(nn.Module):
    """Channels that change places between groups, and a gate by the mean over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_norm(3, 16, 3, 4, activation=nn.ReLU())
        self.grouped = nn.Conv2d(16, 16, 3, 2, 1, groups=2)
        self.mixed = nn.Conv2d(16, 16, 3, padding=1)
        self.gate = nn.Conv2d(1, 1, 3, padding=1)
        self.after = nn.Conv2d(16, 16, 3, padding=1)
        self.fine = nn.Conv2d(16, OUTPUTS, 1)
        self.coarse = nn.Conv2d(16, OUTPUTS, 1, 2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = self.grouped(self.stem(x))
        x = x.unflatten(1, (2, 8)).transpose(1, 2).flatten(1, 2)
        x = torch.relu(self.mixed(x))
        x = x * torch.sigmoid(self.gate(x.mean(1, keepdim=True)))
        x = torch.relu(self.after(x))
        return self.fine(x), self.coarse(x)


class ChannelsLast(nn.Module):
    """Takes (1, HEIGHT, WIDTH, 3), as networks that came from TensorFlow do."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = ResidualPyramid()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.inner(x.permute(0, 3, 1, 2))


DETECTORS = (ResidualPyramid, InvertedResiduals, DenseGroups, GroupNormHeads, DividedStages,
             GatedConcatenation)


def made(kind: type[nn.Module], seed: int = 0) -> nn.Module:
    """Return a network whose norms have seen something."""
    torch.manual_seed(seed)
    module = kind()
    for layer in module.modules():
        if isinstance(layer, (nn.BatchNorm2d, nn.GroupNorm)):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.bias, -0.5, 0.5)
        if isinstance(layer, nn.BatchNorm2d):
            state: Any = layer
            nn.init.uniform_(state.running_mean, -0.5, 0.5)
            nn.init.uniform_(state.running_var, 0.5, 1.5)
    return module.eval()


def exported(module: nn.Module, *, opset: int = 17, shape: tuple[int, ...] = (
        1, 3, HEIGHT, WIDTH), open_sizes: bool = False,
             names: Sequence[str] = ('fine', 'coarse')) -> bytes:
    """Return an ONNX model as the exporter writes it that most files come from."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.onnx.export(
            module, (torch.zeros(shape),), file, dynamo=False, opset_version=opset,
            input_names=['pixels'], output_names=list(names),
            dynamic_axes={'pixels': {0: 'batch', 2: 'height', 3: 'width'}} if open_sizes else None)
    return file.getvalue()


def write_file(folder: Path, kind: type[nn.Module], **options: Any) -> Path:
    """Write an ONNX file of a network."""
    path = folder / f'{kind.__name__}.onnx'
    path.write_bytes(exported(made(kind), **options))
    return path


def write_names(folder: Path) -> Path:
    """Write the file of class names."""
    path = folder / 'names.txt'
    path.write_text('\n'.join(CLASSES) + '\n')
    return path
