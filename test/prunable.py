# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
A detector that can be pruned in seconds: it sees coloured squares, and most of it does nothing.

The squares are those of ``blobs``: a person by its blue, a dog by its green. Two channels of each
layer carry the two colours to the outputs; the others are random, and the outputs do not use them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any

from blobs import Blob, CELL, HEIGHT, WIDTH, write_pictures
from bundles import small_card
import torch
from torch import nn

from prune_perception.bundle import Bundle, OutputSpec, write_bundle
from prune_perception.networks import registry
from prune_perception.networks.export import bundle_files
from prune_perception.networks.registry import spec_of

NAME = 'squares'
CHANNELS = 96
CLASSES = ('person', 'dog')
FRAMES = 40
_BINS = 3


class Squares(nn.Module):
    """Three layers with weights, and maps of the strides 8 and 16."""

    def __init__(self, classes: int = 2, bins: int = _BINS) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, CHANNELS, CELL, stride=CELL)
        self.second = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.third = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.down = nn.AvgPool2d(2)
        self.fine = nn.Conv2d(CHANNELS, classes + 4 * bins, 1)
        self.coarse = nn.Conv2d(CHANNELS, classes + 4 * bins, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Take normalised images whose sides are multiples of 16."""
        x = torch.relu(self.third(torch.relu(self.second(torch.relu(self.first(x))))))
        return self.fine(x), self.coarse(self.down(x))


class Untraceable(Squares):
    """It leaves torch on its way, so that nobody can follow its channels."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Run by way of NumPy, which no gradient passes."""
        return super().forward(torch.from_numpy(torch.relu(x + 0 * self.first.bias[0]).numpy()))


def use_networks() -> None:
    """Make the networks known to the registry of this process."""
    registry._constructors.setdefault(NAME, Squares)
    registry._constructors.setdefault('untraceable', Untraceable)


@contextmanager
def networks_in_use() -> Iterator[None]:
    """Make the networks known for a while, in which torch takes one thread."""
    before, threads = dict(registry._constructors), torch.get_num_threads()
    torch.set_num_threads(1)
    use_networks()
    try:
        yield
    finally:
        registry._constructors.clear()
        registry._constructors.update(before)
        torch.set_num_threads(threads)


def write_squares(folder: Path, network: str = NAME, **changes: Any) -> Bundle:
    """
    Write the bundle; ``networks_in_use`` goes around it.

    :param changes: other values of the card.
    """
    module = _squares()
    with torch.no_grad():
        outputs = module(torch.zeros(1, 3, HEIGHT, WIDTH))
    card = replace(
        small_card(), name=folder.name,
        input=replace(small_card().input, mean=(0., 0., 0.), std=(255., 255., 255.)),
        outputs=tuple(OutputSpec(name, tuple(output.shape))
                      for name, output in zip(('fine', 'coarse'), outputs, strict=True)),
        network=spec_of(network, module, {'classes': 2, 'bins': _BINS}), **changes)
    return write_bundle(folder, card, bundle_files(module, card))


def write_footage(
        folder: Path, frames: int = FRAMES,
        draw: Callable[[int], list[Blob]] | None = None) -> Path:
    """
    Write a folder of pictures in which a person walks and a dog stands.

    :param draw: what is in a frame, by its number.
    """
    return write_pictures(folder, [(draw or _walk)(number) for number in range(frames)])


def _walk(number: int) -> list[Blob]:
    return [(number % 4, number % 8, 0, 255), ((number + 2) % 4, (number + 3) % 8, 1, 230)]


def _squares() -> Squares:
    torch.manual_seed(1)
    module = Squares().eval()
    with torch.no_grad():
        # Two channels carry the mean of a colour; the others get nothing of these two.
        for layer in (module.second, module.third):
            layer.weight[:2] = 0
            for channel in (0, 1):
                layer.weight[channel, channel, 1, 1] = 1
            layer.bias[:2] = 0
        module.first.weight[:2] = 0
        module.first.bias[:2] = 0
        for channel in (0, 1):
            module.first.weight[channel, channel] = 1 / CELL ** 2
        for name, layer in (('fine', module.fine), ('coarse', module.coarse)):
            layer.weight.zero_()
            layer.bias.zero_()
            layer.bias[3::3] = 8  # of three bins the middle one: one stride to each side
            layer.bias[:2] = -8 if name == 'fine' else -20
            if name == 'fine':
                for channel in (0, 1):
                    layer.weight[channel, channel] = 16
    return module


def stopped(words: Sequence[str], stage: str, **environment: str) -> tuple[int, str, str]:
    """
    Run prune-perception, press Ctrl-C soon after it came to a stage, and see how it ends.

    :returns: exit status, and what it wrote to its output and about errors.
    """
    code = ('import sys, torch; torch.set_num_threads(1); from prunable import use_networks; '
            'use_networks(); from prune_perception.cli.main import main; sys.exit(main())')
    here = Path(__file__).resolve().parent
    process = subprocess.Popen(
        [sys.executable, '-c', code, *words], text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env={
            **os.environ, 'PYTHONPATH': os.pathsep.join((str(here), str(here.parent))),
            'OMP_NUM_THREADS': '1', **environment},
        # A shell that starts the tests in the background makes them deaf to it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    try:
        assert process.stderr is not None
        assert any(line.rstrip().endswith(f' s  {stage}') for line in process.stderr), \
            'it ended before'
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    return process.returncode, out, err
