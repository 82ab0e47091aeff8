# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The fit of a hardware profile to a machine: the measurement, the fit, and what is written."""

from contextlib import contextmanager
from dataclasses import replace
import json
from pathlib import Path
import sys
from typing import Any

import pytest

pytest.importorskip('onnx')
pytest.importorskip('scipy')
pytest.importorskip('onnxruntime')

from prune_perception.calibration import calibration as module
from prune_perception.calibration import CalibrationError, measurement
from prune_perception.calibration.calibration import (
    calibrate,
    Calibration,
    check_output,
    choose_meter,
    save_profile,
    save_record,
)
from prune_perception.calibration.features import Features, features
from prune_perception.calibration.fit import fit_energy, fit_time, Observation
from prune_perception.calibration.graphs import block_model
from prune_perception.calibration.grid import grid, held_back
from prune_perception.calibration.sessions import open_session, random_feeds
from prune_perception.cli import calibrate as verb
from prune_perception.cli.main import main
from prune_perception.energy.hardware import load_profile
from prune_perception.energy.meters import (
    COUNTED,
    Discovery,
    Meter,
    MeterError,
    MeterInfo,
    Reading,
    Refusal,
    Scope,
)
from prune_perception.energy.model import layer_cost
from prune_perception.energy.shapes import ConvolutionShape, MovementShape
from prune_perception.runtime.engines import EngineError, EngineOptions
from prune_perception.runtime.machine import machine_name

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'benchmarks'))
from simulated_machine import BOARD, PC, SimulatedMachine, Truth

BASE = load_profile('x86_cpu')
COSTS = ('static_power_w', 'joules_per_mac', 'joules_per_byte')


def near(value: Any, rel: float = 1e-6) -> Any:
    """Compare by the ratio alone: the absolute tolerance of pytest is larger than a pJ."""
    return pytest.approx(value, rel=rel, abs=0)


def simulate(truth: Truth = PC, sensor: str | None = 'rapl', seed: int = 0, **changes: Any
             ) -> Calibration:
    machine = SimulatedMachine(truth, BASE, seed)
    meter = None if sensor is None else getattr(machine, sensor)()
    return calibrate(EngineOptions(threads=2), **{
        'base': BASE, 'meter': meter, 'open_block': machine.open_block, 'engine': 'simulation',
        'world': machine.world, **changes})


# What a layer asks of a machine


def test_features_by_hand():
    # 2 filters of 3 channels, 1 by 1, on 4 by 5: 120 MACs. A tile of 6 outputs by 16 filters
    # reads a weight per 6 MACs and an input per 2 MACs, and writes 40 outputs once.
    shape = ConvolutionShape(3, 2, (1, 1), (4, 5), (4, 5), bias=True)
    found = features([shape, shape], BASE)
    assert found.work == 240
    assert found.on_chip == near(240 + 2 * 0.37 * (120 / 6 + 120 / 2 + 40))
    assert found.dram_bytes == 2 * 4 * (6 + 2 + 60 + 40)
    assert found.layers == 2


def test_simple_operations_are_parts_of_a_mac():
    found = features([MovementShape(20, 10, 10)], BASE)
    assert found.work == near(7.2)
    assert found.dram_bytes == 120


def test_a_profile_whose_mapping_depends_on_costs_is_refused():
    with pytest.raises(CalibrationError, match='eyeriss_65nm has dataflow row_stationary'):
        features([], load_profile('eyeriss_65nm'))


# The grid


def test_the_grid_tells_macs_from_bytes():
    blocks = grid()
    assert len({block.name for block in blocks}) == len(blocks)
    ratios = []
    for block in blocks:
        found = features(block.shapes, BASE)
        ratios.append(found.work / found.dram_bytes)
    assert min(ratios) < 0.1
    assert max(ratios) > 100


def test_a_third_of_each_family_is_held_back():
    blocks, kept = grid(), held_back(grid())
    for family in {block.family for block in blocks}:
        members = [block.name for block in blocks if block.family == family]
        assert len(kept.intersection(members)) == len(members) // 3 > 0, family
    assert kept == held_back(blocks)
    assert kept != held_back(blocks, seed=1)


@pytest.mark.parametrize('block', [block for block in grid() if max(
    shape.weights for shape in block.shapes) < 1e6], ids=lambda block: block.name)
def test_models_are_what_their_shapes_say(block: Any):
    import onnx
    data, inputs = block_model(block)
    model = onnx.shape_inference.infer_shapes(
        onnx.load_model_from_string(data), check_type=True, strict_mode=True)
    onnx.checker.check_model(model, full_check=True)
    sizes = {value.name: [side.dim_value for side in value.type.tensor_type.shape.dim]
             for value in (*model.graph.input, *model.graph.value_info, *model.graph.output)}
    assert len(model.graph.node) == len(block.shapes)
    for node, shape in zip(model.graph.node, block.shapes, strict=True):
        words = 1
        for side in sizes[node.output[0]]:
            words *= side
        assert words == shape.output_words
    parameters = sum(len(tensor.raw_data) // 4 for tensor in model.graph.initializer
                     if tensor.name.endswith('.weight'))
    assert parameters == sum(shape.weights for shape in block.shapes)
    assert sorted(inputs) == sorted(value.name for value in model.graph.input)


@pytest.mark.parametrize('engine', ['onnxruntime', 'openvino'])
@pytest.mark.parametrize('operator', ['convolution', 'linear', 'addition', 'pooling'])
def test_blocks_run(engine: str, operator: str):
    pytest.importorskip(engine)
    block = next(block for block in grid()[::-1] if block.operator == operator)
    model, inputs = block_model(block)
    with open_session(model, random_feeds(inputs), EngineOptions(engine, 1)) as session:
        session.run()


# The fit


def observations(count: int = 20) -> list[Observation]:
    """Return layers of a machine of 2 W, 10 pJ and 100 pJ, 1 ps, 5 ps and 10 us, without noise."""
    result = []
    for index in range(count):
        given = Features(1e6 * (index + 1), 1.1e6 * (index + 1), 1e5 * ((7 * index) % 11 + 1), 2)
        seconds = given.work * 1e-12 + given.dram_bytes * 5e-12 + given.layers * 1e-5
        wall = seconds * (1 + 0.1 * (index % 3))
        result.append(Observation(
            str(index), given, seconds, 0.0, wall,
            2 * wall + given.on_chip * 10e-12 + given.dram_bytes * 100e-12))
    return result


def test_fits_are_exact_without_noise():
    kept = frozenset('123')
    times = fit_time(observations(), kept)
    assert (times.seconds_per_mac, times.seconds_per_byte, times.seconds_per_layer) == (
        near((1e-12, 5e-12, 1e-5)))
    energy = fit_energy(observations(), [2.0], kept)
    assert (energy.static_power_w, energy.joules_per_mac, energy.joules_per_byte) == (
        near((2, 10e-12, 100e-12)))
    assert energy.held_back.each.keys() == {'1', '2', '3'}
    assert energy.held_back.worst[1] < 1e-6


def test_what_is_held_back_is_not_fitted_but_judged():
    kept, seen = frozenset('123'), observations()
    seen[2] = replace(seen[2], seconds=2 * seen[2].seconds, joules=4 * (seen[2].joules or 0))
    times, energy = fit_time(seen, kept), fit_energy(seen, [2.0], kept)
    assert times.seconds_per_mac == near(1e-12)
    assert energy.joules_per_mac == near(10e-12)
    assert times.held_back.worst == ('2', near(0.5))
    assert energy.held_back.worst == ('2', near(0.75))
    assert times.held_back.median < 1e-6
    # The same error in what is fitted shows in the coefficients.
    assert fit_time(seen, frozenset('145')).seconds_per_mac != near(1e-12, rel=0.01)


def test_coefficients_are_never_negative():
    seen = [replace(item, joules=(item.joules or 0) - item.features.dram_bytes * 130e-12)
            for item in observations()]
    energy = fit_energy(seen, [2.0], frozenset('1'))
    assert energy.joules_per_byte == 0
    assert energy.joules_per_mac > 0


@pytest.mark.parametrize(('count', 'quiet', 'reason'), [
    (12, [2.0], '11 blocks of layers were measured to fit and 1 to check it'),
    (20, [], 'no quiet period was measured'),
    (20, [0.0], 'no quiet period was measured')])
def test_too_little_is_refused(count: int, quiet: list[float], reason: str):
    with pytest.raises(CalibrationError, match=reason):
        fit_energy(observations(count), quiet, frozenset('1'))


# A machine whose costs are known


@pytest.mark.parametrize('sensor', ['rapl', 'ina3221'])
@pytest.mark.parametrize('truth', [PC, BOARD], ids=['pc', 'board'])
def test_known_costs_are_recovered_within_5_percent(truth: Truth, sensor: str):
    found = simulate(truth, sensor)
    assert found.energy is not None
    for name in COSTS:
        assert getattr(found.energy, name) == near(getattr(truth, name), rel=0.05), name
    assert found.energy.idle_power_w == near(truth.static_power_w, rel=0.02)
    assert found.energy.held_back.median < 0.02
    assert found.energy.held_back.worst[1] < 0.1
    assert len(found.energy.held_back.each) == len(held_back(grid()))
    # Blocks are up to a third faster or slower than the model of time: so is its error.
    assert found.time.seconds_per_mac == near(truth.seconds_per_mac, rel=0.2)
    assert 0.03 < found.time.held_back.median < 0.3


def test_another_machine_gives_another_answer():
    # Twice the energy for a byte, the same seed: only that figure moves.
    doubled = replace(PC, joules_per_byte=2 * PC.joules_per_byte)
    one, other = simulate(PC, rounds=1).energy, simulate(doubled, rounds=1).energy
    assert one is not None and other is not None
    assert other.joules_per_byte - one.joules_per_byte == near(
        PC.joules_per_byte, rel=0.05)
    assert other.joules_per_mac == near(one.joules_per_mac, rel=0.02)


def test_windows_keep_the_rules_of_energy_per_frame():
    seen: list[float] = []
    machine = SimulatedMachine(BOARD, BASE)
    meter = machine.ina3221()
    meter.info = replace(meter.info, update_period=0.5)

    @contextmanager
    def open_block(block: Any):
        start = machine.world.clock()
        with machine.open_block(block) as runner:
            yield runner
        seen.append(machine.world.clock() - start)
    calibrate(EngineOptions(), base=BASE, meter=meter, open_block=open_block, engine='simulation',
              world=machine.world, rounds=1)
    assert min(seen) > 5.0, 'ten updates of 0.5 s'


# The written profile


def test_the_profile_reproduces_the_fit(tmp_path: Path):
    found = simulate(rounds=1)
    path = tmp_path / 'mine.yaml'
    written = save_profile(found, path)
    profile = load_profile(path)
    assert profile == written
    assert profile.name == 'mine'
    assert profile.tile == BASE.tile
    energy = found.energy
    assert energy is not None and profile.joules_per_mac and profile.static_power_w
    for block in grid()[::7]:
        dynamic = profile.joules_per_mac * sum(
            layer_cost(shape, profile).total for shape in block.shapes)
        expected = energy.joules(features(block.shapes, BASE), 0.25)
        assert dynamic + profile.static_power_w * 0.25 == near(expected)
    told = ' '.join(f'{source.figure} {source.source}' for source in profile.sources)
    for words in ('simulation', machine_name(), 'rapl package (package; simulated)', 'held back',
                  'base profile x86_cpu', found.date):
        assert words in told, words


def test_without_a_meter_no_joules_are_written(tmp_path: Path):
    found = simulate(sensor=None, no_meter='no meter is usable (rapl: none here)')
    assert found.energy is None
    profile = save_profile(found, tmp_path / 'timed.yaml')
    assert profile.joules_per_mac is None
    assert profile.static_power_w is None
    assert profile.costs == BASE.costs
    assert 'no joules' in profile.description
    assert 's per MAC' in profile.sources[0].figure
    assert 'J per' not in profile.sources[0].figure
    record = tmp_path / 'record.json'
    save_record(found, record)
    content = json.loads(record.read_text())
    assert content['energy'] is None
    assert content['no_energy'] == 'no meter is usable (rapl: none here)'
    assert content['time']['held_back']['median'] == found.time.held_back.median
    assert len(content['measurements']['observations']) == len(grid())


def test_a_rail_that_does_not_feed_the_processor_leaves_time_alone():
    # Less where more is done: no energy of a MAC can be fitted, and none is made up.
    found = simulate(replace(PC, joules_per_mac=-50e-12), rounds=1)
    assert found.energy is None
    assert 'no energy that grows with the MACs' in found.no_energy
    assert found.profile('mine').joules_per_mac is None
    assert found.time.seconds_per_mac > 0


@pytest.mark.parametrize('interruption', [KeyboardInterrupt, OSError])
@pytest.mark.parametrize('existing', [False, True])
def test_an_interrupted_write_leaves_nothing(
        interruption: type[BaseException], existing: bool, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch):
    def write_half(profile: Any, path: Path) -> None:
        path.write_text('schema: 1\nname: ha')
        raise interruption('disk full')
    found = simulate(sensor=None, rounds=1)
    monkeypatch.setattr(module, 'write_profile', write_half)
    path = tmp_path / 'mine.yaml'
    if existing:
        path.write_text('what was there')
    with pytest.raises((KeyboardInterrupt, CalibrationError)):
        save_profile(found, path)
    assert [item.name for item in tmp_path.iterdir()] == (['mine.yaml'] if existing else [])
    if existing:
        assert path.read_text() == 'what was there'


@pytest.mark.parametrize(('name', 'reason'), [
    ('mine.yml', 'a hardware profile is a .yaml file'),
    ('nowhere/mine.yaml', 'no folder that can be written to'),
    ('folder.yaml', 'is a folder')])
def test_paths_are_refused_beforehand(name: str, reason: str, tmp_path: Path):
    (tmp_path / 'folder.yaml').mkdir()
    with pytest.raises(CalibrationError, match=reason):
        check_output(tmp_path / name)


# Time limits and meters that fail


def test_a_time_limit_ends_it_with_what_there_is():
    found = simulate(time_limit=60.0)
    assert not found.measurements.complete
    assert found.measurements.rounds == 1
    assert 30 < len(found.measurements.observations) < len(grid())
    assert 60 < found.measurements.seconds < 65


def test_too_short_a_time_limit_is_refused():
    with pytest.raises(CalibrationError, match='give a longer time limit'):
        simulate(time_limit=5.0)


class Failing(Meter):
    """Reads another meter, but for some reads."""

    def __init__(self, meter: Meter, fails: Any) -> None:
        super().__init__(meter.info)
        self._meter, self._fails, self._count = meter, fails, 0

    def read(self) -> Reading:
        self._count += 1
        if self._fails(self._count):
            raise MeterError('package-0: energy_uj: permission denied')
        return self._meter.read()


def test_single_failed_reads_do_no_harm():
    machine = SimulatedMachine(PC, BASE)
    found = calibrate(
        EngineOptions(), base=BASE, meter=Failing(machine.rapl(), lambda count: count % 7 == 0),
        open_block=machine.open_block, engine='simulation', world=machine.world, rounds=1)
    assert found.energy is not None
    assert found.energy.joules_per_mac == near(PC.joules_per_mac, rel=0.05)


def test_a_meter_that_goes_away_is_named():
    machine = SimulatedMachine(PC, BASE)
    with pytest.raises(CalibrationError, match='the meter cannot be read: package-0: energy_uj'):
        calibrate(EngineOptions(), base=BASE, open_block=machine.open_block, engine='simulation',
                  meter=Failing(machine.rapl(), lambda count: count > 300), world=machine.world)


def test_the_meter_must_feed_the_processor():
    machine = SimulatedMachine(PC, BASE)
    meter = machine.rapl()
    assert choose_meter(Discovery(meters=(meter,))) == (meter, '')
    board = Failing(meter, lambda count: False)
    board.info = MeterInfo('nvml 0', 'board', Scope.GRAPHICS_BOARD, '', 0.1, COUNTED, ())
    assert 'the layers run on the processor' in choose_meter(Discovery(meters=(board,)))[1]
    waiting = Failing(meter, lambda count: True)
    assert 'permission denied' in choose_meter(Discovery(standby=(waiting,)))[1]
    nothing = choose_meter(Discovery(refusals=(Refusal('rapl', 'none here'),)))
    assert nothing == (None, 'no meter is usable (rapl: none here)')


def test_engines_that_cannot_be_measured_are_refused():
    for options in (EngineOptions('torch'), EngineOptions('openvino', precision='bf16')):
        with pytest.raises(EngineError):
            open_session(b'', {}, options)
    with pytest.raises(EngineError, match='engine onnxruntime cannot load the model'):
        open_session(b'no model', {}, EngineOptions())


# The machine's name


@pytest.mark.parametrize(('files', 'name'), [
    ({'proc/device-tree/model': 'A Board Rev 1.1\0', 'proc/cpuinfo': 'model name\t: Cortex\n'},
     'A Board Rev 1.1, '),
    ({'proc/cpuinfo': 'processor\t: 0\nmodel name\t: Some CPU\n'}, 'Some CPU, ')])
def test_machine_name(files: dict[str, str], name: str, tmp_path: Path):
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert machine_name(tmp_path).startswith(name)
    assert machine_name(tmp_path).endswith(' cores')


# The verb


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the measurement short: small blocks and short bursts, and no meter of this machine."""
    small = tuple(block for block in grid() if max(
        shape.weights for shape in block.shapes) < 2e5 and block.macs < 2e8)
    monkeypatch.setattr(module, 'grid', lambda: small)
    monkeypatch.setattr(measurement, '_BURST_SECONDS', 0.005)
    monkeypatch.setattr(verb, 'discover', lambda: Discovery(
        refusals=(Refusal('rapl', 'none here'),)))


def test_the_verb_fits_time_alone_and_says_so(
        quick: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path, record = tmp_path / 'here.yaml', tmp_path / 'here.json'
    assert main(['calibrate', '--threads', '1', '--rounds', '1', '-o', str(path), '--json',
                 str(record)]) == 0
    shown = capsys.readouterr().out
    assert 'no energy, time alone: no meter is usable (rapl: none here)' in shown
    assert 'energy  not fitted' in shown
    assert 'error, held back:     median' in shown
    assert 'J per' not in shown
    assert load_profile(path).joules_per_mac is None
    assert json.loads(record.read_text())['engine'].startswith('ONNX Runtime ')
    assert main(['profile', 'nanodet_g', '--hardware', str(path)]) == 0
    assert 'modelled for here' in capsys.readouterr().out


def test_ctrl_c_leaves_no_file(
        quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]):
    calls = 0

    def interrupted(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 10:
            raise KeyboardInterrupt
        return open_session(*arguments, **options)
    monkeypatch.setattr(module, 'open_session', interrupted)
    assert main(['calibrate', '-o', str(tmp_path / 'here.yaml')]) == 1
    assert capsys.readouterr().err == 'prune-perception calibrate: stopped\n'
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(('words', 'message'), [
    (('-o', 'here.yml'), 'here.yml: a hardware profile is a .yaml file'),
    (('--base', 'eyeriss_65nm'), 'profile eyeriss_65nm has dataflow row_stationary'),
    (('--rounds', '1', '--time-limit', '0.000001'), 'give a longer time limit')])
def test_refusals_are_one_line(quick: None, words: tuple[str, ...], message: str,
                               capsys: pytest.CaptureFixture[str]):
    assert main(['calibrate', *words]) == 1
    error = capsys.readouterr().err
    assert error.startswith('prune-perception calibrate: ')
    assert error.count('\n') == 1
    assert message in error


@pytest.mark.parametrize(('words', 'message'), [
    (('--threads', '-1'), "'-1' is not a whole number of at least 0"),
    (('--rounds', '0'), "'0' is not a whole number of at least 1"),
    (('--time-limit', 'soon'), "'soon' is not a number above 0"),
    (('--base', 'warp_drive'), "no hardware profile 'warp_drive'")])
def test_wrong_words_are_named(words: tuple[str, ...], message: str,
                               capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as status:
        main(['calibrate', *words])
    assert status.value.code == 2
    assert message in capsys.readouterr().err
