# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Networks of a few channels, each with one way in which channels can be tied.

All take (1, 3, 8, 8); the name of a network's layers is what the tests speak of.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from prune_perception.pruning.groups import ChannelGraph, ChannelGroup

SIZE = 8


def conv(inputs: int, outputs: int, kernel: int = 3, **options: object) -> nn.Conv2d:
    """Return a convolution that keeps the map's size, unless told otherwise."""
    return nn.Conv2d(inputs, outputs, kernel, **{  # type: ignore[arg-type]
        'padding': kernel // 2, **options})


class Residual(nn.Module):
    """Two residual additions in a row."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8)
        self.inner = conv(8, 6)
        self.outer = conv(6, 8, 1)
        self.again = conv(8, 8)
        self.predict = conv(8, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.leaky_relu(self.stem(x), 0.1)
        x = x + self.outer(functional.relu(self.inner(x)))
        x = x + self.again(x)  # takes and makes the same channels
        return self.predict(x)


class Concatenation(nn.Module):
    """Two maps side by side, one of them also taken alone."""

    def __init__(self) -> None:
        super().__init__()
        self.left = conv(3, 6, stride=2)
        self.right = conv(3, 4, stride=2)
        self.both = conv(10, 8)
        self.alone = conv(4, 8, 1)
        self.predict = conv(8, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = torch.relu(self.left(x)), torch.relu(self.right(x))
        joined = torch.cat((left, functional.max_pool2d(right, 3, 1, 1)), 1)
        return self.predict(torch.relu(self.both(joined) + self.alone(right)))


class Grouped(nn.Module):
    """A convolution in three groups between two plain ones."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 12)
        self.grouped = conv(12, 18, groups=3)
        self.predict = conv(18, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.predict(torch.relu(self.grouped(torch.relu(self.stem(x)))))


class TwoGroupings(nn.Module):
    """One map taken by convolutions of two and of three groups."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 12)
        self.pairs = conv(12, 6, groups=2)
        self.triples = conv(12, 6, groups=3)
        self.predict = conv(6, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        return self.predict(torch.relu(self.pairs(x)) + self.triples(x))


class GroupedAfterConcatenation(nn.Module):
    """Each part of a grouped convolution takes the channels of another layer."""

    def __init__(self) -> None:
        super().__init__()
        self.left = conv(3, 6)
        self.right = conv(3, 6)
        self.grouped = conv(12, 8, groups=2)
        self.predict = conv(8, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(torch.cat((self.left(x), self.right(x)), 1))
        return self.predict(torch.relu(self.grouped(x)))


class Separable(nn.Module):
    """A depthwise convolution between two pointwise ones."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8, stride=2)
        self.depthwise = conv(8, 8, groups=8)
        self.pointwise = conv(8, 12, 1)
        self.predict = conv(12, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.depthwise(torch.relu(self.stem(x))))
        return self.predict(torch.relu(self.pointwise(x)))


class Multiplied(nn.Module):
    """A depthwise convolution that makes two channels of each."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 6)
        self.depthwise = conv(6, 12, groups=6)
        self.predict = conv(12, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.predict(torch.relu(self.depthwise(torch.relu(self.stem(x)))))


class SqueezeExcite(nn.Module):
    """Channels scaled by a gate that looks at all of them (Hu et al., CVPR 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8)
        self.squeeze = conv(8, 4, 1)
        self.excite = conv(4, 8, 1)
        self.predict = conv(8, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        gate = torch.relu(self.squeeze(functional.adaptive_avg_pool2d(x, 1)))
        return self.predict(x * torch.sigmoid(self.excite(gate)))


class SharedHead(nn.Module):
    """One head for the maps of two levels."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = conv(3, 8)
        self.coarse = conv(8, 8, stride=2)
        self.tower = conv(8, 6)
        self.predict = conv(6, 5, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        fine = torch.relu(self.fine(x))
        coarse = torch.relu(self.coarse(fine))
        first, second = (self.predict(torch.relu(self.tower(level)))
                         for level in (fine, coarse))
        return first, second


class Normalised(nn.Module):
    """Batch norm after convolutions without bias; activations in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.middle = conv(8, 12, bias=False)
        self.middle_norm = nn.BatchNorm2d(12)
        self.predict = conv(12, 5, 1)
        norms: list[Any] = [self.norm, self.middle_norm]
        for norm in norms:
            nn.init.uniform_(norm.running_mean, -0.5, 0.5)
            nn.init.uniform_(norm.running_var, 0.5, 2)
            nn.init.uniform_(norm.weight, 0.5, 2)
            nn.init.uniform_(norm.bias, -0.5, 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.norm(self.stem(x)), inplace=True)
        x = functional.relu(self.middle_norm(self.middle(x)), inplace=True)
        return self.predict(x)


class InPlace(nn.Module):
    """Activations and an addition that overwrite what a convolution made."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8)
        self.side = conv(8, 8)
        self.predict = conv(8, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.leaky_relu_(self.stem(x), 0.1)
        side = self.side(x)
        side += x
        return self.predict(side.relu_())


class Overwritten(nn.Module):
    """What a linear layer was given first is gone when it is called again."""

    def __init__(self) -> None:
        super().__init__()
        self.left = conv(3, 6, stride=4)
        self.right = conv(3, 6, stride=4)
        self.hidden = nn.Linear(6 * 4, 10)
        self.predict = nn.Linear(10, 5)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        left, right = (functional.leaky_relu(layer(x), 0.1).flatten(1)
                       for layer in (self.left, self.right))
        first = self.predict(torch.relu(self.hidden(left)))
        left.zero_()
        return first, self.predict(torch.relu(self.hidden(right)))


class Rows(nn.Module):
    """Two levels, whose predictions become one list with a row for each anchor."""

    ANCHORS, COLUMNS = 2, 5

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Conv2d(3, 8, 3, padding=1)
        self.coarse = nn.Conv2d(8, 6, 3, 2, padding=1)
        self.predict_fine = nn.Conv2d(8, self.ANCHORS * self.COLUMNS, 1)
        self.predict_coarse = nn.Conv2d(6, self.ANCHORS * self.COLUMNS, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        fine = torch.relu(self.fine(x))
        maps = self.predict_fine(fine), self.predict_coarse(torch.relu(self.coarse(fine)))
        return torch.cat([
            one.reshape(len(x), self.ANCHORS, self.COLUMNS, *one.shape[2:])
            .permute(0, 3, 4, 1, 2).reshape(len(x), -1, self.COLUMNS) for one in maps], 1)


class Flattened(nn.Module):
    """A linear layer that takes each place of each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 6, stride=4)
        self.hidden = nn.Linear(6 * 4, 10)
        self.predict = nn.Linear(10, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x)).flatten(1)
        return self.predict(torch.relu(self.hidden(x)))


class Chunked(nn.Module):
    """A map cut in two halves of channels, which go different ways."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8)
        self.first = conv(4, 6)
        self.second = conv(4, 6)
        self.predict = conv(6, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = torch.relu(self.stem(x)).chunk(2, 1)
        return self.predict(torch.relu(self.first(first)) * self.second(second))


class Sliced(nn.Module):
    """The first channels of a map are added to those of another layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8)
        self.side = conv(3, 4)
        self.predict = conv(4, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.predict(torch.relu(self.stem(x)[:, :4] + self.side(x)))


class Shuffled(nn.Module):
    """Channels are shuffled by reshaping (Zhang et al., *ShuffleNet*, CVPR 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8)
        self.predict = conv(8, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        n, _, height, width = x.shape
        x = x.view(n, 2, -1, height, width).transpose(1, 2).reshape(n, -1, height, width)
        return self.predict(x)


class Turned(nn.Module):
    """Flattened with the channels last, which the shapes do not tell."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 6, stride=4)
        self.predict = nn.Linear(6 * 4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.predict(torch.relu(self.stem(x)).permute(0, 2, 3, 1).flatten(1))


class Upsampled(nn.Module):
    """A transposed convolution between two plain ones."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 6, stride=2)
        self.up = nn.ConvTranspose2d(6, 8, 2, stride=2)
        self.side = conv(3, 8)
        self.predict = conv(8, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.predict(torch.relu(self.up(torch.relu(self.stem(x))) + self.side(x)))


class Activated(nn.Module):
    """The output is a function of what the last convolution made."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.predict = conv(8, 5, 1)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = torch.relu(self.norm(self.stem(x)))
        return {'scores': torch.sigmoid(self.predict(x)).flatten(2).transpose(1, 2)}


class Untraceable(nn.Module):
    """What the stem made goes on as numbers without a history."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self.stem(x).detach().numpy())


class Failing(nn.Module):
    """Takes only images of another size."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise ValueError('needs 32 by 32\nand says so in two lines')


PRUNABLE = (Residual, Concatenation, Grouped, TwoGroupings, Separable, SqueezeExcite, SharedHead,
            Normalised, InPlace, Overwritten, Flattened)


def made(kind: type[nn.Module], seed: int = 0) -> nn.Module:
    """Return a network with the weights of a seed, ready to run."""
    torch.manual_seed(seed)
    return kind().eval()


def images(count: int, seed: int = 0, size: int = SIZE) -> list[torch.Tensor]:
    """Return images of noise with a mean that is not 0."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(1, 3, size, size, generator=generator) + 0.5 for _ in range(count)]


def graph_of(module: nn.Module) -> ChannelGraph:
    return ChannelGraph(module, images(1)[0])


def unit(group: ChannelGroup, *numbers: int) -> list[int]:
    """Return the channels of some units of a group."""
    step = group.channels // group.unit
    return [number + part * step for part in range(group.unit) for number in numbers]


def outputs_of(module: nn.Module, image: torch.Tensor) -> list[torch.Tensor]:
    with torch.no_grad():
        output = module(image)
    if isinstance(output, dict):
        return list(output.values())
    return [output] if isinstance(output, torch.Tensor) else list(output)


def repeat(module: nn.Module, group: ChannelGroup, source: int, target: int, factor: float
           ) -> None:
    """Make one channel of a group a multiple of another, wherever it is made."""
    with torch.no_grad():
        for tied in group.producers:
            layer: Any = module.get_submodule(tied.layer)
            first, second = int(tied.positions[source, 0]), int(tied.positions[target, 0])
            if hasattr(layer, 'running_mean'):
                # Its input is the multiple already.
                layer.running_mean[second] = factor * layer.running_mean[first]
                layer.running_var[second] = layer.running_var[first]
                layer.weight[second] = layer.weight[first]
                layer.bias[second] = factor * layer.bias[first]
                continue
            # A depthwise convolution's input is the multiple already, too.
            times = 1.0 if layer.weight.shape[1] == 1 and layer.groups > 1 else factor
            layer.weight[second] = times * layer.weight[first]
            if layer.bias is not None:
                layer.bias[second] = factor * layer.bias[first]


class Logits:
    """A head of independent yes and no: what it costs to be off is a cross-entropy."""

    def curvature_noise(self, outputs: object, generator: torch.Generator) -> torch.Tensor:
        total = torch.zeros(())
        for output in _listed(outputs):
            chance = output.detach().sigmoid()
            drawn = (torch.rand(output.shape, generator=generator) < chance).float()
            total = total + (output * (chance - drawn)).sum()
        return total

    def loss(self, student: object, teacher: object) -> torch.Tensor:
        return sum(  # type: ignore[return-value]
            functional.binary_cross_entropy_with_logits(one, other.sigmoid(), reduction='sum')
            for one, other in zip(_listed(student), _listed(teacher), strict=True))


class Halves:
    """A head whose gradient is no draw: the outputs themselves."""

    def curvature_noise(self, outputs: object, _: torch.Generator) -> torch.Tensor:
        return sum(output.square().sum() / 2  # type: ignore[return-value]
                   for output in _listed(outputs))


def _listed(outputs: object) -> list[torch.Tensor]:
    return [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)  # type: ignore[call-overload]
