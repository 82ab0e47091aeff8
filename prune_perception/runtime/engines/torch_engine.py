# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The torch module itself: the reference that the other engines are held against."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
import torch

from prune_perception.bundle import Bundle
from prune_perception.networks.export import Deployed
from prune_perception.networks.registry import load_network
from prune_perception.runtime.engines import EngineError, EngineOptions


class TorchEngine:
    """Runs the network that ``weights.safetensors`` belongs to with torch, on the CPU."""

    problems: tuple[str, ...] = ()

    def __init__(self, bundle: Bundle, options: EngineOptions) -> None:
        if options.precision != 'f32':
            raise EngineError(
                f'engine torch computes in f32; for {options.precision} choose engine openvino')
        if options.threads:
            torch.set_num_threads(options.threads)  # torch has one setting for a process
        self._module = Deployed(load_network(bundle), bundle.card.input).eval()
        self.description = (
            f'torch {torch.__version__}, CPU, f32, {torch.get_num_threads()} threads')

    def run(self, image: NDArray[np.uint8]) -> Sequence[NDArray[np.float32]]:
        """Run the network once (see :class:`Engine`)."""
        with torch.inference_mode():
            return [output.numpy() for output in self._module(torch.from_numpy(image))]

    def cancel(self) -> None:
        """Do nothing: torch has no way to end a run."""
