# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Any ONNX model in an engine, with the settings of the runtime's engines, and its profiler.

The runtime's engines take a bundle, whose input is an image. A single layer has no image, and a
profile needs a setting that a robot has no use for; hence these.
"""

from collections.abc import Mapping, Sequence
import json
import os
from pathlib import Path
import tempfile
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from prune_perception.runtime.engines import EngineError, EngineOptions

ENGINES = ('onnxruntime', 'openvino')

# One operator that an engine ran: its name for it, the operator, and seconds.
NodeTime = tuple[str, str, float]


class Session(Protocol):
    """A model in an engine. As a context manager it leaves nothing behind."""

    description: str

    def run(self) -> None:
        """Run the model once, on the inputs that it was opened with."""

    def profile(self) -> list[list[NodeTime]]:
        """
        Return what the profiler saw, for each run; with ONNX Runtime that ends the profile.

        :raises EngineError: the session was opened without the profiler, or it said nothing.
        """

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...


def open_session(
        model: bytes, feeds: Mapping[str, NDArray[Any]], options: EngineOptions, *,
        profiler: bool = False) -> Session:
    """
    Load a model into an engine, on the CPU.

    :param model: an ONNX model in one piece.
    :param feeds: the inputs of every run, by name.
    :raises EngineError: the engine is not there, cannot load the model, or is not one of
        :data:`ENGINES`, or the precision is not float32.
    """
    if options.name not in ENGINES:
        raise EngineError(
            f'engine {options.name} is not measured layer by layer; choose one of '
            f'{", ".join(ENGINES)}')
    if options.precision != 'f32' or options.providers:
        raise EngineError('layers are measured in f32 on the CPU; leave precision and providers')
    kind = _OnnxRuntimeSession if options.name == 'onnxruntime' else _OpenVinoSession
    try:
        return kind(model, feeds, options.threads, profiler)
    except ImportError as error:
        raise EngineError(
            f"engine {options.name}: {' '.join(str(error).split())}; install it with "
            f"'pip install {options.name}' or choose another engine") from error
    except EngineError:
        raise
    except Exception as error:  # their exception classes share no public base
        raise EngineError(
            f"engine {options.name} cannot load the model: {' '.join(str(error).split())}"
            ) from error


class _OnnxRuntimeSession:
    """A model in ONNX Runtime; the profile is a file, which is kept in a temporary folder."""

    def __init__(
            self, model: bytes, feeds: Mapping[str, NDArray[Any]], threads: int,
            profiler: bool) -> None:
        # The engine's module turns the library's reporting off before it is imported.
        from prune_perception.runtime.engines.onnxruntime_engine import CPU, onnxruntime
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        settings.add_session_config_entry('session.intra_op.allow_spinning', '0')
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        if profiler:
            self._folder = tempfile.TemporaryDirectory(prefix='prune-perception-')
            settings.enable_profiling = True
            settings.profile_file_prefix = str(Path(self._folder.name, 'profile'))
        try:
            self._session: Any = onnxruntime.InferenceSession(model, settings, providers=[CPU])
        except Exception:
            self.__exit__()
            raise
        self._feeds = dict(feeds)
        self.description = f'ONNX Runtime {onnxruntime.__version__}, {CPU}, f32, {_said(threads)}'

    def run(self) -> None:
        """Run the model once."""
        self._session.run(None, self._feeds)

    def profile(self) -> list[list[NodeTime]]:
        """Return what the profiler saw, for each run, and end the profile."""
        if self._folder is None:
            raise EngineError('engine onnxruntime was opened without its profiler')
        path = Path(self._session.end_profiling())
        try:
            events = json.loads(path.read_text(encoding='utf-8'))
        except (OSError, ValueError) as error:
            raise EngineError(f'engine onnxruntime: its profile {path.name} cannot be read: '
                              f'{" ".join(str(error).split())}') from error
        finally:
            path.unlink(missing_ok=True)
        return parse_onnxruntime_profile(events)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        # Deleting a session that profiles writes its file; that must come before the folder goes.
        self._session = None
        if self._folder is not None:
            self._folder.cleanup()


def parse_onnxruntime_profile(events: Sequence[Mapping[str, Any]]) -> list[list[NodeTime]]:
    """
    Return the operators of each run from ONNX Runtime's events.

    The operators of a run come before the event that closes the run.

    :raises EngineError: there is no run with operators in it.
    """
    runs: list[list[NodeTime]] = []
    nodes: list[NodeTime] = []
    for event in events:
        name = str(event.get('name', ''))
        if event.get('cat') == 'Node' and name.endswith('_kernel_time'):
            operator = str(event.get('args', {}).get('op_name', 'unknown'))
            nodes.append((name.removesuffix('_kernel_time'), operator, event['dur'] * 1e-6))
        elif event.get('cat') == 'Session' and name == 'model_run':
            if nodes:
                runs.append(nodes)
            nodes = []
    if not runs:
        raise EngineError('engine onnxruntime: its profile holds no operator; is this build '
                          'made without its profiler?')
    return runs


class _OpenVinoSession:
    """A model in OpenVINO, which tells the times of the last run alone."""

    def __init__(
            self, model: bytes, feeds: Mapping[str, NDArray[Any]], threads: int,
            profiler: bool) -> None:
        # The engine's module turns the library's reporting off before it is imported.
        from prune_perception.runtime.engines.openvino_engine import openvino
        core = openvino.Core()
        settings = {
            'INFERENCE_PRECISION_HINT': 'f32', 'PERFORMANCE_HINT': 'LATENCY', 'NUM_STREAMS': '1',
            'INFERENCE_NUM_THREADS': str(threads), 'PERF_COUNT': 'YES' if profiler else 'NO'}
        compiled = core.compile_model(
            core.read_model(model=model, weights=b''), 'CPU', settings)
        self._request: Any = compiled.create_infer_request()
        self._feeds = dict(feeds)
        self._runs: list[list[NodeTime]] | None = [] if profiler else None
        version = openvino.__version__.split('-')[0]
        self.description = f'OpenVINO {version}, CPU, f32, {_said(threads)}'

    def run(self) -> None:
        """Run the model once."""
        self._request.infer(self._feeds, share_inputs=True, share_outputs=True)
        if self._runs is not None:
            self._runs.append([
                (info.node_name, info.node_type, info.real_time.total_seconds())
                for info in self._request.get_profiling_info()
                if info.status == info.Status.EXECUTED])

    def profile(self) -> list[list[NodeTime]]:
        """Return what the profiler saw, for each run."""
        if not self._runs or not any(self._runs):
            raise EngineError('engine openvino was opened without its profiler, or it saw nothing')
        return self._runs

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._request = None


def _said(threads: int) -> str:
    return f'{threads} threads' if threads else f'automatic threads of {os.cpu_count()}'


def random_feeds(shapes: Mapping[str, tuple[int, ...]], seed: int = 0
                 ) -> dict[str, NDArray[np.float32]]:
    """Return standard normal inputs; zeros could be skipped, and denormals are slow."""
    generator = np.random.default_rng(seed)
    return {name: generator.standard_normal(shape, np.float32) for name, shape in shapes.items()}
