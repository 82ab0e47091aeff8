# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Inference engines: each runs the network of a bundle, all with the same interface."""

from collections.abc import Sequence
from dataclasses import dataclass
import importlib
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from prune_perception.bundle import Bundle

PRECISIONS = ('f32', 'f16', 'bf16')

# The modules are imported when they are asked for: a node with ONNX Runtime must not pay for
# torch, and a machine without OpenVINO must not need it.
ENGINES = {
    'onnxruntime': ('prune_perception.runtime.engines.onnxruntime_engine', 'OnnxRuntimeEngine'),
    'openvino': ('prune_perception.runtime.engines.openvino_engine', 'OpenVinoEngine'),
    'torch': ('prune_perception.runtime.engines.torch_engine', 'TorchEngine'),
}
_INSTALL = {
    'onnxruntime': 'pip install onnxruntime', 'openvino': 'pip install openvino',
    'torch': 'pip install prune_perception[offline]'}


class EngineError(RuntimeError):
    """An engine that cannot be had as asked for; the message says what would mend it."""


@dataclass(frozen=True)
class EngineOptions:
    """
    How to run a network.

    :param name: of the engine: ``onnxruntime``, ``openvino`` or ``torch``.
    :param threads: for one inference; 0 leaves the number to the engine.
    :param precision: of the arithmetic: ``f32``, ``f16`` or ``bf16``. An engine refuses one that
        it cannot promise, and never chooses a lower one by itself.
    :param providers: ONNX Runtime's execution providers in order of preference, as ``CUDA`` or
        ``CUDAExecutionProvider``; empty means the CPU. Other engines take none.
    """

    name: str = 'onnxruntime'
    threads: int = 0
    precision: str = 'f32'
    providers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no engine knows."""
        if self.name not in ENGINES:
            raise EngineError(f'engine {self.name!r} is unknown; known are {", ".join(ENGINES)}')
        if self.precision not in PRECISIONS:
            raise EngineError(
                f'precision {self.precision!r} is unknown; known are {", ".join(PRECISIONS)}')
        if self.threads < 0:
            raise EngineError(f'threads is {self.threads}; it must be 0 (automatic) or more')
        if self.providers and self.name != 'onnxruntime':
            raise EngineError(
                f'execution providers ({", ".join(self.providers)}) are for engine onnxruntime, '
                f'not {self.name}')


class Engine(Protocol):
    """
    A network ready to run.

    ``description`` names the engine, its version, device, precision and threads. ``problems``
    are lines about what was asked for and could not be had, though the engine runs: for a log
    and diagnostics, at level ERROR.
    """

    description: str
    problems: tuple[str, ...]

    def run(self, image: NDArray[np.uint8]) -> Sequence[NDArray[np.float32]]:
        """
        Run the network once.

        :param image: uint8 (1, height, width, 3) in the bundle's colour order.
        :returns: float32 outputs in the order of the card.
        """

    def cancel(self) -> None:
        """
        Ask the run that is under way in another thread to end; it then raises.

        Returns at once. An engine ends a run between two operators, if at all; without a run, and
        with an engine that cannot, nothing happens.
        """


def arithmetic(bundle: Bundle, options: EngineOptions) -> str:
    """Return in what a network computes, for a description: that of a quantised one is mixed."""
    quantisation = bundle.card.quantisation
    if quantisation is None:
        return options.precision
    return f'int{quantisation.bits} as the bundle is, otherwise {options.precision}'


def create_engine(bundle: Bundle, options: EngineOptions) -> Engine:
    """
    Load the network of a bundle into an engine.

    :raises EngineError: the engine is not installed or cannot do what the options say.
    :raises BundleError: the network does not fit the card.
    """
    module, name = ENGINES[options.name]
    try:
        engine = getattr(importlib.import_module(module), name)
    except ImportError as error:
        reason = ' '.join(str(error).split())
        raise EngineError(
            f'engine {options.name}: {reason}; install it with {_INSTALL[options.name]!r} or '
            'choose another engine') from error
    result: Engine = engine(bundle, options)
    return result
