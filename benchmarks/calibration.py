# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Ask how far a calibration can be trusted.

- *Simulation*: machines whose costs are known, read by the package's own meters in simulated
  time; how far the costs that are found are from the true ones, the worst of several seeds.
- *This machine*: the grid in a real engine, with the meter if there is one; the error on layers
  that the fit did not see, and on a whole network that it did not see.

Limits: the simulation draws energy by the very model that is fitted, so it tests the
measurement and the fit and not whether the model is true; that is what the errors on this
machine tell. Without a meter they are of time alone. Other work on the machine is in them.
"""

import argparse
from dataclasses import asdict
import json
from pathlib import Path
import platform
import sys
from typing import Any

from prune_perception import __version__
from prune_perception.bundle import read_bundle
from prune_perception.calibration.calibration import (
    calibrate,
    Calibration,
    choose_meter,
    default_base,
)
from prune_perception.calibration.features import features
from prune_perception.calibration.layer_times import measure_layer_times
from prune_perception.energy.counting import count
from prune_perception.energy.hardware import load_profile
from prune_perception.energy.meters import discover
from prune_perception.networks.registry import example_input, load_network
from prune_perception.resources import find_model
from prune_perception.runtime.engines import EngineOptions

sys.path.insert(0, str(Path(__file__).resolve().parent))
from simulated_machine import BOARD, MOSTLY_STATIC, PC, SimulatedMachine  # a neighbour

COSTS = ('static_power_w', 'joules_per_mac', 'joules_per_byte')
NETWORK = 'nanodet_g'


def simulate(seeds: int) -> list[dict[str, Any]]:
    """Return, for each machine and sensor, the errors of each cost over all seeds."""
    base = load_profile('x86_cpu')
    rows = []
    for name, truth in (('PC', PC), ('board', BOARD), ('mostly static', MOSTLY_STATIC)):
        for sensor in ('rapl', 'ina3221'):
            errors: dict[str, list[float]] = {cost: [] for cost in COSTS}
            seconds = 0.0
            for seed in range(seeds):
                machine = SimulatedMachine(truth, base, seed)
                found = calibrate(
                    EngineOptions(), base=base, meter=getattr(machine, sensor)(),
                    open_block=machine.open_block, engine='simulation', world=machine.world)
                if found.energy is None:
                    raise RuntimeError(f'{name}, {sensor}, seed {seed}: {found.no_energy}')
                for cost in COSTS:
                    errors[cost].append(
                        getattr(found.energy, cost) / getattr(truth, cost) - 1)
                seconds = found.measurements.seconds
            rows.append({'machine': name, 'sensor': sensor, 'truth': asdict(truth),
                         'errors': errors, 'seconds': seconds})
    return rows


def measure(options: EngineOptions, rounds: int | None) -> tuple[Calibration, dict[str, float]]:
    """Calibrate this machine, and predict the time of a network that the fit did not see."""
    meter, reason = choose_meter(discover())
    base = load_profile(default_base())
    found = calibrate(options, base=base, meter=meter, no_meter=reason, rounds=rounds)
    bundle = read_bundle(find_model(NETWORK))
    layers = count(load_network(bundle), example_input(bundle.card.input)).layers
    times = measure_layer_times(bundle, options)
    predicted = {layer.module: found.time.seconds(features(layer.shapes[:1], base))
                 for layer in layers if layer.convolution is not None}
    errors = sorted(abs(predicted[name] / seconds - 1) for name, seconds in times.layers.items())
    return found, {
        'measured_seconds': times.layer_seconds, 'predicted_seconds': sum(predicted.values()),
        'median_error': errors[len(errors) // 2], 'worst_error': errors[-1]}


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').strip().splitlines()[0])
    parser.add_argument('--seeds', type=int, default=10)
    parser.add_argument('--engine', choices=('onnxruntime', 'openvino'), default='onnxruntime')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--rounds', type=int)
    parser.add_argument('--json', type=Path, metavar='FILE')
    arguments = parser.parse_args()
    rows = simulate(arguments.seeds)
    print(f'Simulated meters: error of what is found, worst (mean) of {arguments.seeds} seeds\n')
    print(f'{"machine":14} {"sensor":8} {"static power":>16} {"per MAC":>16} {"per byte":>16} '
          f'{"takes":>7}')
    for row in rows:
        cells = [f'{max(map(abs, values)):.1%} ({sum(values) / len(values):+.1%})'
                 for values in row['errors'].values()]
        print(f'{row["machine"]:14} {row["sensor"]:8} ' + ' '.join(f'{cell:>16}' for cell in cells)
              + f' {row["seconds"]:5.0f} s')
    found, network = measure(
        EngineOptions(arguments.engine, arguments.threads), arguments.rounds)
    print(f'\nThis machine: {found.conditions}\n')
    if found.energy is None:
        print(f'no energy: {found.no_energy}')
    else:
        print(f'energy, error on layers held back: {found.energy.held_back}')
    times = found.time
    print(f'time: {times.seconds_per_mac:.3g} s per MAC, {times.seconds_per_byte:.3g} s per byte, '
          f'{times.seconds_per_layer:.3g} s per layer')
    print(f'time, error on fitted layers:    {times.fitted}')
    print(f'time, error on layers held back: {times.held_back}')
    spreads = sorted(item.spread for item in found.measurements.observations)
    print(f'time, spread over rounds (range by median): median {spreads[len(spreads) // 2]:.1%}, '
          f'worst {spreads[-1]:.1%}')
    print(f'{NETWORK}, convolutions by the profiler: {network["measured_seconds"] * 1e3:.2f} ms '
          f'measured, {network["predicted_seconds"] * 1e3:.2f} ms predicted; by layer, error '
          f'median {network["median_error"]:.1%}, worst {network["worst_error"]:.1%}')
    if arguments.json:
        arguments.json.write_text(json.dumps({
            'prune_perception': __version__, 'python': platform.python_version(),
            'simulation': rows, 'machine': found.to_dict(), 'network': network}, indent=2) + '\n')


if __name__ == '__main__':
    main()
