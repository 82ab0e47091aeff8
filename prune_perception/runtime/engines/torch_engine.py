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

_AUTOMATIC = torch.get_num_threads()


class TorchEngine:
    """
    Runs the network that ``weights.safetensors`` belongs to with torch, on the CPU.

    torch's number of threads belongs to the thread that computes, which need not be the one that
    made the engine; so :meth:`run` sees to it.
    """

    problems: tuple[str, ...] = ()

    def __init__(self, bundle: Bundle, options: EngineOptions) -> None:
        if options.precision != 'f32':
            raise EngineError(
                f'engine torch computes in f32; for {options.precision} choose engine openvino')
        self._threads = options.threads or _AUTOMATIC
        self._module = Deployed(load_network(bundle), bundle.card.input).eval()
        self.description = (
            f'torch {torch.__version__}, CPU, f32, {self._threads} threads')

    def run(self, image: NDArray[np.uint8]) -> Sequence[NDArray[np.float32]]:
        """Run the network once (see :class:`Engine`)."""
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        with torch.inference_mode():
            return [output.numpy() for output in self._module(torch.from_numpy(image))]

    def cancel(self) -> None:
        """Do nothing: torch has no way to end a run."""
