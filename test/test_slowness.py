# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""An engine that becomes slower than at warm-up, by times that are given."""

from pathlib import Path

import pytest
from test_meters import write

from prune_perception.energy.meters import MeterError
from prune_perception.energy.meters.clock_speed import clock_speed, ClockSpeed
from prune_perception.nodes.engine_health import EngineHealth, machine_conditions
from prune_perception.nodes.health import ERROR, Finding, OK, WARN
from prune_perception.runtime.monitor import FrameTiming, Monitor, STAGES
from prune_perception.runtime.slowness import Slowness

POLICIES = 'sys/devices/system/cpu/cpufreq'
WARM = 0.020


def inferences(end: float, duration: float, seconds: float = 10.0, rate: float = 5.0
               ) -> list[tuple[float, float]]:
    """Return inferences of one duration, up to a time."""
    count = round(seconds * rate)
    return [(end - (count - index) / rate, duration) for index in range(count + 1)]


def test_slow_above_twice_and_fine_again_below_one_and_a_half() -> None:
    slowness = Slowness()
    slowness.begin(0.0, WARM)
    found = []
    for index, times in enumerate((1.9, 2.1, 1.6, 1.4, 1.9)):
        end = 100.0 * (index + 1)
        pace = slowness.judge(end, inferences(end, times * WARM))
        assert pace is not None and pace.ratio == pytest.approx(times)
        found.append(pace.slow)
    assert found == [False, True, True, False, False]


def test_a_few_slow_inferences_are_none() -> None:
    slowness = Slowness()
    slowness.begin(0.0, WARM)
    assert slowness.judge(50.0, inferences(50.0, 1.0, seconds=4.0)) is None
    assert slowness.judge(50.0, inferences(50.0, 1.0, rate=0.3)) is None
    mixed = inferences(50.0, WARM)[:30] + inferences(50.0, 1.0)[30:]
    pace = slowness.judge(50.0, mixed)
    assert pace is not None and not pace.slow


def test_what_was_found_stays_through_a_disturbance_and_ends_with_the_images() -> None:
    slowness = Slowness()
    slowness.begin(0.0, WARM)
    before = inferences(50.0, 3 * WARM)
    slowness.judge(50.0, before)
    slowness.disturbed(50.0)
    assert slowness.since == 50.0
    pace = slowness.judge(60.0, before)
    assert pace is not None and pace.slow
    assert slowness.judge(60.1, before) is None
    assert slowness.judge(60.2, []) is None


def test_an_engine_may_be_so_slow_that_few_images_are_left() -> None:
    slowness = Slowness()
    slowness.begin(0.0, 0.3)
    ran = [(12.0 * index, 12.0) for index in range(1, 6)]
    assert slowness.judge(59.0, ran[:4]) is None, 'too few'
    pace = slowness.judge(60.0, ran)
    assert pace is not None and pace.slow and pace.ratio == pytest.approx(40)
    assert slowness.judge(83.0, ran) is not None, 'it is at the next one'
    # As soon as the window has enough, those before do not count.
    pace = slowness.judge(100.0, ran + inferences(100.0, 0.3))
    assert pace is not None and not pace.slow and pace.ratio == pytest.approx(1)


class Engine:
    """A detector that processes five images a second, seen by its health once a second."""

    def __init__(self, root: Path) -> None:
        self.health = EngineHealth(root)
        self.monitor = Monitor()
        self.now = 1000.0

    def begin(self, warm: float) -> None:
        self.health.begin(self.now, warm)

    def run(self, seconds: int, duration: float, finding: Finding | None = None, *,
            disturbed: bool = False) -> list[Finding]:
        """Return what is said, second by second."""
        said = []
        for _ in range(seconds):
            for _ in range(5):
                self.now += 0.2
                timing = FrameTiming(dict.fromkeys(STAGES, duration), None)
                self.monitor.processed(self.now, timing)
            said.append(self.health.judged(
                self.now, finding or Finding(OK, 'active', {'State': 'active'}), [self.monitor],
                disturbed=disturbed))
        return said


def test_slow_engine_is_told_with_the_conditions_of_the_machine(tmp_path: Path) -> None:
    write(tmp_path / POLICIES / 'policy0/scaling_cur_freq', 800_000)
    write(tmp_path / POLICIES / 'policy0/cpuinfo_max_freq', 2_400_000)
    write(tmp_path / 'proc/loadavg', '7.25 3.0 1.0 2/300 1234')
    engine = Engine(tmp_path)
    engine.begin(WARM)
    assert all(finding.level == OK for finding in engine.run(20, WARM))
    said = engine.run(20, 3 * WARM)
    levels = [finding.level for finding in said]
    assert levels[2] == OK and levels[-1] == WARN  # once most of the window is slow
    assert said[-1].message.startswith(
        'an inference takes 60.0 ms, 3.0 times the 20.0 ms at warm-up; see whether')
    assert 'Processor clock (GHz) 0.80 of 2.40' in said[-1].message
    assert 'Load over 1 min 7.2 on' in said[-1].message
    assert said[-1].values['State'] == 'active'
    assert said[-1].values['Inference lately (ms)'] == '60.00'
    after = engine.run(20, WARM)
    assert after[2].level == WARN and after[-1].level == OK
    assert any(finding.message.startswith('until ') for finding in after)
    assert after[-1].message == 'active'


def test_the_slower_it_is_the_surer_it_is_told(tmp_path: Path) -> None:
    """Ten times as slow, and within the time limit: an image each three seconds."""
    engine = Engine(tmp_path)
    engine.begin(0.3)
    for _ in range(6):
        engine.now += 3.0
        engine.monitor.processed(engine.now, FrameTiming(dict.fromkeys(STAGES, 3.0), None))
        said = engine.health.judged(
            engine.now, Finding(OK, 'active', {}), [engine.monitor], disturbed=False)
    assert said.level == WARN
    assert said.message.startswith('an inference takes 3000.0 ms, 10.0 times the 300.0 ms')


def test_exchange_of_the_engine_is_no_slowness(tmp_path: Path) -> None:
    """From a small to a large model and back, each of which keeps its own pace."""
    engine = Engine(tmp_path)
    engine.begin(WARM)
    said = engine.run(15, WARM)
    # While the other is made ready, this one has to share the processor.
    said += engine.run(15, 5 * WARM, disturbed=True)
    engine.begin(5 * WARM)
    said += engine.run(15, 5 * WARM)
    engine.begin(WARM)
    said += engine.run(15, WARM)
    assert {finding.level for finding in said} == {OK}
    assert engine.run(15, 2.5 * WARM)[-1].level == WARN


def test_worse_trouble_goes_before(tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    engine.begin(WARM)
    said = engine.run(20, 3 * WARM, Finding(ERROR, 'CUDA is not there', {}))
    assert (said[-1].level, said[-1].message) == (ERROR, 'CUDA is not there')
    assert said[-1].values['Inference, lately over at warm-up'] == '3.00'


def test_clock_of_the_cores_that_run_fastest(tmp_path: Path) -> None:
    for index, (now, most) in enumerate(((600, 1800), (1900, 2400))):
        write(tmp_path / POLICIES / f'policy{index}/scaling_cur_freq', now * 1000)
        write(tmp_path / POLICIES / f'policy{index}/cpuinfo_max_freq', most * 1000)
    write(tmp_path / POLICIES / 'policy2/scaling_cur_freq', '<unknown>')
    write(tmp_path / POLICIES / 'boost', 1)
    assert clock_speed(tmp_path) == ClockSpeed(1.9e9, 2.4e9)


def test_machine_that_tells_nothing(tmp_path: Path) -> None:
    with pytest.raises(MeterError, match='no clock of the processor'):
        clock_speed(tmp_path)
    assert machine_conditions(tmp_path) == {}
