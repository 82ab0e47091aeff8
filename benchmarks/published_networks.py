# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
The networks whose energy others have published, as torch modules with random weights.

Their shapes are facts of the papers and of the model definitions that were released with them:
Krizhevsky, Sutskever, Hinton (NIPS 2012) with two groups; Iandola et al., *SqueezeNet* 1.0
(arXiv 1602.07360); Szegedy et al., *Going deeper with convolutions* (CVPR 2015) without the
auxiliary classifiers. All round pooled sizes up. Local response normalisation is left out: it
has no weights, and the published figures count convolutions and fully connected layers.
"""

from collections.abc import Callable

import torch
from torch import nn


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0,
                 groups: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups),
                         nn.ReLU(inplace=True))


def _pool(kernel: int = 3, stride: int = 2, padding: int = 0) -> nn.MaxPool2d:
    return nn.MaxPool2d(kernel, stride, padding, ceil_mode=True)


class AlexNet(nn.Module):
    """The two-group network on 227 by 227; 60.955 M weights, 724.4 M MACs."""

    input_size = 227

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _convolution(3, 96, 11, 4)
        self.conv2 = _convolution(96, 256, 5, 1, 2, groups=2)
        self.conv3 = _convolution(256, 384, 3, 1, 1)
        self.conv4 = _convolution(384, 384, 3, 1, 1, groups=2)
        self.conv5 = _convolution(384, 256, 3, 1, 1, groups=2)
        self.pool = _pool()
        self.fc6 = nn.Sequential(nn.Linear(256 * 6 * 6, 4096), nn.ReLU(inplace=True))
        self.fc7 = nn.Sequential(nn.Linear(4096, 4096), nn.ReLU(inplace=True))
        self.fc8 = nn.Linear(4096, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return 1000 scores for (1, 3, 227, 227)."""
        x = self.pool(self.conv1(x))
        x = self.pool(self.conv2(x))
        x = self.pool(self.conv5(self.conv4(self.conv3(x))))
        return self.fc8(self.fc7(self.fc6(x.flatten(1))))


class Fire(nn.Module):
    """Squeeze with 1 by 1, expand with 1 by 1 and 3 by 3 side by side."""

    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = _convolution(inputs, squeeze, 1)
        self.expand1 = _convolution(squeeze, expand, 1)
        self.expand3 = _convolution(squeeze, expand, 3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return twice ``expand`` channels."""
        x = self.squeeze(x)
        return torch.cat((self.expand1(x), self.expand3(x)), 1)


class SqueezeNet(nn.Module):
    """SqueezeNet 1.0 on 227 by 227; 1.244 M weights, 832.7 M MACs."""

    input_size = 227

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _convolution(3, 96, 7, 2)
        self.fire2, self.fire3 = Fire(96, 16, 64), Fire(128, 16, 64)
        self.fire4, self.fire5 = Fire(128, 32, 128), Fire(256, 32, 128)
        self.fire6, self.fire7 = Fire(256, 48, 192), Fire(384, 48, 192)
        self.fire8, self.fire9 = Fire(384, 64, 256), Fire(512, 64, 256)
        self.pool = _pool()
        self.conv10 = _convolution(512, 1000, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return 1000 scores for (1, 3, 227, 227)."""
        x = self.pool(self.conv1(x))
        x = self.pool(self.fire4(self.fire3(self.fire2(x))))
        x = self.pool(self.fire8(self.fire7(self.fire6(self.fire5(x)))))
        return self.conv10(self.fire9(x)).mean((2, 3))


class Inception(nn.Module):
    """Four branches side by side: 1 by 1, 3 by 3, 5 by 5, and pooling with 1 by 1."""

    def __init__(self, inputs: int, one: int, reduce3: int, three: int, reduce5: int, five: int,
                 pool: int) -> None:
        super().__init__()
        self.one = _convolution(inputs, one, 1)
        self.reduce3 = _convolution(inputs, reduce3, 1)
        self.three = _convolution(reduce3, three, 3, 1, 1)
        self.reduce5 = _convolution(inputs, reduce5, 1)
        self.five = _convolution(reduce5, five, 5, 1, 2)
        self.pool = _pool(3, 1, 1)
        self.project = _convolution(inputs, pool, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the branches' channels together."""
        return torch.cat((self.one(x), self.three(self.reduce3(x)), self.five(self.reduce5(x)),
                          self.project(self.pool(x))), 1)


class GoogLeNet(nn.Module):
    """GoogLeNet on 224 by 224 without auxiliary classifiers; 6.990 M weights, 1582.7 M MACs."""

    input_size = 224

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _convolution(3, 64, 7, 2, 3)
        self.reduce2 = _convolution(64, 64, 1)
        self.conv2 = _convolution(64, 192, 3, 1, 1)
        self.pool = _pool()
        self.inception3 = nn.Sequential(
            Inception(192, 64, 96, 128, 16, 32, 32), Inception(256, 128, 128, 192, 32, 96, 64))
        self.inception4 = nn.Sequential(
            Inception(480, 192, 96, 208, 16, 48, 64), Inception(512, 160, 112, 224, 24, 64, 64),
            Inception(512, 128, 128, 256, 24, 64, 64), Inception(512, 112, 144, 288, 32, 64, 64),
            Inception(528, 256, 160, 320, 32, 128, 128))
        self.inception5 = nn.Sequential(
            Inception(832, 256, 160, 320, 32, 128, 128),
            Inception(832, 384, 192, 384, 48, 128, 128))
        self.classifier = nn.Linear(1024, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return 1000 scores for (1, 3, 224, 224)."""
        x = self.pool(self.conv1(x))
        x = self.pool(self.conv2(self.reduce2(x)))
        x = self.pool(self.inception3(x))
        x = self.pool(self.inception4(x))
        return self.classifier(self.inception5(x).mean((2, 3)))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    'AlexNet': AlexNet, 'SqueezeNet 1.0': SqueezeNet, 'GoogLeNet': GoogLeNet}
