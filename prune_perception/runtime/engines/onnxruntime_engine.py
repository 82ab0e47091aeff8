# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""ONNX Runtime: the default engine, on the CPU or through its execution providers."""

from collections.abc import Sequence
import os

import numpy as np
from numpy.typing import NDArray

from prune_perception.bundle import Bundle, BundleError, check_signature, GRAPH
from prune_perception.runtime.engines import arithmetic, EngineError, EngineOptions

# From version 1.29 its builds report usage and leave an identifier in the home folder, on Linux
# too (microsoft/onnxruntime#27379). It looks at this once, when it is imported; its function
# disable_telemetry_events comes too late for the first report.
os.environ['ORT_DISABLE_TELEMETRY'] = '1'

import onnxruntime

CPU = 'CPUExecutionProvider'
_ERRORS_ONLY, _NOTHING_BUT_FATAL = 3, 4  # ONNX Runtime's log severities
onnxruntime.disable_telemetry_events()  # Windows does not look at the variable


class OnnxRuntimeEngine:
    """Runs ``model.onnx`` with ONNX Runtime."""

    def __init__(self, bundle: Bundle, options: EngineOptions) -> None:
        providers, problems = _available_of(options.providers)
        _check_precision(options.precision, providers)
        graph = bundle.read_file(GRAPH)
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = options.threads
        settings.inter_op_num_threads = 1
        settings.log_severity_level = _ERRORS_ONLY
        # Threads that spin between two frames draw power for nothing and take the core from
        # the rest of the robot.
        settings.add_session_config_entry('session.intra_op.allow_spinning', '0')
        path = bundle.folder / GRAPH
        try:
            self._session = onnxruntime.InferenceSession(
                graph, settings,
                providers=[(name, _provider_options(name, options)) for name in providers])
        except Exception as error:  # its exception classes share no public base
            raise BundleError(
                f'{path}: ONNX Runtime {onnxruntime.__version__} cannot load it: {error}'
                ) from error
        running = self._session.get_providers()
        lost = [name for name in providers if name not in running]
        problems += [f'execution provider {name} is installed but could not start; '
                     f'running on {", ".join(running)}' for name in lost]
        if lost and set(lost) >= set(providers):
            raise EngineError(
                f'engine onnxruntime: none of the execution providers asked for could start '
                f'({", ".join(lost)}); see the log, or add CPU to the list')
        _check_precision(options.precision, running)
        inputs = self._session.get_inputs()
        check_signature(
            path, bundle.card, {item.name: item.shape for item in inputs},
            {item.name: item.shape for item in self._session.get_outputs()},
            takes_uint8=all(item.type == 'tensor(uint8)' for item in inputs))
        self._input = inputs[0].name
        self._outputs = [output.name for output in bundle.card.outputs]
        self._run_options = onnxruntime.RunOptions()
        self.problems = tuple(problems)
        threads = f'{options.threads} threads' if options.threads else 'automatic threads'
        self.description = (
            f'ONNX Runtime {onnxruntime.__version__}, {running[0]}, '
            f'{arithmetic(bundle, options)}, {threads}')

    def run(self, image: NDArray[np.uint8]) -> Sequence[NDArray[np.float32]]:
        """Run the network once (see :class:`Engine`)."""
        # Of each run its own, so that a request to end reaches no later one: 0.5 µs.
        self._run_options = options = onnxruntime.RunOptions()
        options.log_severity_level = _NOTHING_BUT_FATAL  # what goes wrong is raised
        outputs: list[NDArray[np.float32]] = self._session.run(
            self._outputs, {self._input: image}, options)
        return outputs

    def cancel(self) -> None:
        """End the run after the operator that it is at (see :class:`Engine`)."""
        self._run_options.terminate = True


def _available_of(asked: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the providers that this build has of those asked for, and a line for each other."""
    names = [name if name.endswith('ExecutionProvider') else f'{name}ExecutionProvider'
             for name in asked] or [CPU]
    by_lower_case = {name.lower(): name for name in onnxruntime.get_available_providers()}
    found = [by_lower_case[name.lower()] for name in names if name.lower() in by_lower_case]
    problems = [
        f'execution provider {name} was asked for, but this build of ONNX Runtime has only '
        f'{", ".join(by_lower_case.values())}' for name in names
        if name.lower() not in by_lower_case]
    if not found:
        raise EngineError(
            f'engine onnxruntime: {"; ".join(problems)}. Install the build that has it, or add '
            'CPU to the list')
    return found, problems


def _check_precision(precision: str, providers: Sequence[str]) -> None:
    if precision == 'f16' and providers[0] == 'TensorrtExecutionProvider':
        return
    if precision != 'f32':
        raise EngineError(
            f'engine onnxruntime computes in f32 on {providers[0]}; for {precision} choose '
            'engine openvino, or f16 with the TensorRT provider')


def _provider_options(name: str, options: EngineOptions) -> dict[str, str]:
    if name == 'TensorrtExecutionProvider':
        return {'trt_fp16_enable': str(options.precision == 'f16')}
    return {}
