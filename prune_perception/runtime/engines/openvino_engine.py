# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""OpenVINO on the CPU."""

from collections.abc import Sequence
import sys

import numpy as np
from numpy.typing import NDArray

from prune_perception.bundle import Bundle, BundleError, check_signature, GRAPH
from prune_perception.runtime.engines import arithmetic, EngineError, EngineOptions

# Importing OpenVINO reports its use to an analytics service and leaves an identifier in the home
# folder. Where this module cannot be imported, it takes a stub of its own instead.
sys.modules.setdefault('openvino_telemetry', None)  # type: ignore[arg-type]

import openvino  # noqa: E402


class OpenVinoEngine:
    """Runs ``model.onnx`` with OpenVINO."""

    problems: tuple[str, ...] = ()

    def __init__(self, bundle: Bundle, options: EngineOptions) -> None:
        path = bundle.folder / GRAPH
        core = openvino.Core()
        # Where the processor has bf16, OpenVINO would choose it by itself; here the caller does.
        settings = {
            'INFERENCE_PRECISION_HINT': options.precision,
            'PERFORMANCE_HINT': 'LATENCY',
            'NUM_STREAMS': '1',
            'INFERENCE_NUM_THREADS': str(options.threads),
        }
        version = openvino.__version__.split('-')[0]
        try:
            model = core.read_model(model=bundle.read_file(GRAPH), weights=b'')
            check_signature(
                path, bundle.card, {port.any_name: _shape(port) for port in model.inputs},
                {port.any_name: _shape(port) for port in model.outputs},
                takes_uint8=all(
                    port.element_type == openvino.Type.u8 for port in model.inputs))
            compiled = core.compile_model(model, 'CPU', settings)
        except RuntimeError as error:
            raise BundleError(
                f'{path}: OpenVINO {version} cannot load it: {error}') from error
        # It takes a hint for a wish: asked for f16 on a processor without, it computes in bf16.
        chosen = compiled.get_property('INFERENCE_PRECISION_HINT').to_string()
        if chosen != options.precision:
            raise EngineError(
                f'engine openvino cannot compute in {options.precision} on this processor (it '
                f'would take {chosen}); choose precision f32')
        self._request = compiled.create_infer_request()
        self._outputs = [compiled.output(output.name) for output in bundle.card.outputs]
        threads = f'{options.threads} threads' if options.threads else 'automatic threads'
        self.description = f'OpenVINO {version}, CPU, {arithmetic(bundle, options)}, {threads}'

    def run(self, image: NDArray[np.uint8]) -> Sequence[NDArray[np.float32]]:
        """Run the network once (see :class:`Engine`); the outputs live until the next run."""
        # Not `infer`, which cannot be cancelled.
        self._request.start_async([image], share_inputs=True)
        self._request.wait()
        return [self._request.get_tensor(output).data for output in self._outputs]

    def cancel(self) -> None:
        """
        End the run after the operator that it is at (see :class:`Engine`).

        To OpenVINO, a loop with all that is in it is one operator.
        """
        self._request.cancel()


def _shape(port: 'openvino.Output') -> list[int | str]:
    return [size.get_length() if size.is_static else '?' for size in port.partial_shape]
