# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Time per layer of a bundle, by the engine's own profiler."""

from collections import defaultdict
from collections.abc import Callable, Sequence
import statistics
import time

import numpy as np

from prune_perception.bundle import Bundle, GRAPH
from prune_perception.calibration import CalibrationError
from prune_perception.calibration.node_names import number_graph, NumberedGraph
from prune_perception.calibration.sessions import NodeTime, open_session
from prune_perception.energy.layer_times import LayerTimes
from prune_perception.runtime.engines import create_engine, EngineOptions
from prune_perception.runtime.machine import machine_name

RUNS = 30
_WARM_UP = 5
# Operators that an engine adds to turn a map from one layout to another; OpenVINO names them
# after the layer before, though they belong to the border between two.
_LAYOUT = frozenset(('Reorder', 'ReorderInput', 'ReorderOutput'))


def measure_layer_times(
        bundle: Bundle, options: EngineOptions, *, runs: int = RUNS,
        progress: Callable[[int, int], None] = lambda done, total: None) -> LayerTimes:
    """
    Run a bundle's network with and without the profiler in turn, and return medians.

    :param options: engine and threads; :data:`~.sessions.ENGINES`, float32, CPU.
    :param runs: of each kind, after the warm-up.
    :param progress: called with the runs done and all of them.
    :raises EngineError: the engine cannot be had or has no profiler.
    :raises CalibrationError: no time could be put down to any layer.
    """
    if runs < 1:
        raise CalibrationError(f'{runs} runs; at least 1 is needed')
    graph = number_graph(bundle.read_file(GRAPH))
    size = bundle.card.input
    image = np.random.default_rng(0).integers(0, 256, (1, size.height, size.width, 3), np.uint8)
    feeds = {_input_name(graph): image}
    plain: list[float] = []
    profiled: list[float] = []
    with open_session(graph.model, feeds, options, profiler=True) as session:
        engine = create_engine(bundle, options)
        for index in range(_WARM_UP + runs):
            start = time.perf_counter()
            engine.run(image)
            middle = time.perf_counter()
            session.run()
            end = time.perf_counter()
            plain.append(middle - start)
            profiled.append(end - middle)
            progress(index + 1, _WARM_UP + runs)
        nodes = session.profile()
    layers, other = attribute(nodes[_WARM_UP:], graph)
    if not layers:
        raise CalibrationError(
            f'{bundle.folder / GRAPH}: no operator could be put down to a layer; its weights '
            'are not named after the modules of the network')
    return LayerTimes(
        network=bundle.card.name, engine=engine.description, threads=options.threads,
        machine=machine_name(), runs=runs,
        layers={name: statistics.median(layers[name])
                for name in graph.order() if name in layers},
        spread={name: _spread(layers[name]) for name in graph.order() if name in layers},
        other={name: statistics.median(times) for name, times in sorted(other.items())},
        profiled_seconds=statistics.median(profiled[_WARM_UP:]),
        seconds=statistics.median(plain[_WARM_UP:]))


def attribute(runs: Sequence[Sequence[NodeTime]], graph: NumberedGraph
              ) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """
    Return the seconds of each layer, and of each other operator, in each run.

    :param runs: for each run, the operators that the engine ran.
    """
    layers: dict[str, list[float]] = defaultdict(lambda: [0.0] * len(runs))
    other: dict[str, list[float]] = defaultdict(lambda: [0.0] * len(runs))
    for index, nodes in enumerate(runs):
        for name, operator, seconds in nodes:
            if operator in _LAYOUT:
                other['change of layout'][index] += seconds
            elif (layer := graph.owner(name)) is not None:
                layers[layer][index] += seconds
            else:
                other[operator][index] += seconds
    return dict(layers), dict(other)


def _spread(times: Sequence[float]) -> float:
    low, middle, high = np.percentile(times, (25, 50, 75))
    return float((high - low) / middle) if middle else 0.0


def _input_name(graph: NumberedGraph) -> str:
    import onnx
    proto = onnx.load_model_from_string(graph.model).graph
    stored = {tensor.name for tensor in proto.initializer}
    return next(item.name for item in proto.input if item.name not in stored)
