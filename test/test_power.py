# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""What the detector says of power and energy, from a meter whose figures are known."""

from pathlib import Path
from typing import Any

import pytest
from test_meters import grow

from prune_perception.energy.meters import (
    discover,
    Discovery,
    Meter,
    MeterError,
    MeterInfo,
    Reading,
    Scope,
)
from prune_perception.energy.modelled import common_profile, modelled_joules
from prune_perception.nodes.health import OK, WARN
from prune_perception.nodes.power import PowerReporter
from prune_perception.nodes.topic_meters import MonitorTopicMeter

WATTS = 6.0


class Sensor(Meter):
    """Draws 6 W, and renews its figure ten times a second; or is lost."""

    def __init__(self) -> None:
        super().__init__(MeterInfo(
            'sensor', 'VDD_IN', Scope.MODULE, 'the whole module', 0.1, 'energy counter', ()))
        self.seconds = 0
        self.lost = False

    def read(self) -> Reading:
        """Return the reading of one second later."""
        self.seconds += 1
        if self.lost:
            raise MeterError('VDD_IN: gone')
        return Reading(WATTS * self.seconds, WATTS, 100.0 + self.seconds, 10 * self.seconds, 0)


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, line: str) -> None:
        self.lines.append(line)

    warning = info


def reporter(*meters: Meter, **accounts: Any) -> PowerReporter:
    return PowerReporter(
        Log(), modelled_joules(accounts, ''), MonitorTopicMeter('/power_monitor/reading'),
        Discovery(meters))


def account(microjoules: float | None, static: float | None = None) -> dict[str, Any]:
    return {'word_bits': 8, 'batch': 1,
            'total': {'macs': 1, 'energy_uj': microjoules, 'static_uj': static}}


def test_energy_of_a_frame_is_the_rail_divided_by_the_frames() -> None:
    report = reporter(Sensor())
    first = report.finding(0)
    assert first.values['Energy per frame (J)'].startswith('unavailable: ')
    assert report.joules_per_frame is None
    for second in range(1, 30):
        finding = report.finding(20 * second)
    assert finding.level == OK
    assert report.watts == WATTS
    assert report.joules_per_frame == pytest.approx(WATTS / 20)
    assert finding.values['Energy per frame (J)'] == '0.3'
    assert 'idle power not known' in finding.values['Energy per frame, in full']


def test_measured_stands_beside_modelled() -> None:
    report = reporter(Sensor(), eyeriss_65nm=account(7.0), board=account(100_000.0, 20_000.0))
    for second in range(5):
        finding = report.finding(20 * second)
    assert finding.values['Modelled energy per frame (J)'] == '0.12'
    assert finding.values['Modelled for'] == 'board, 8-bit words, batch 1'
    assert finding.values['Measured over modelled'] == '2.5'


def test_modelled_without_a_meter_and_the_other_way_round() -> None:
    finding = reporter(board=account(100_000.0)).finding(10)
    assert finding.values['Modelled energy per frame (J)'] == '0.1'
    assert finding.values['Energy per frame (J)'] == 'unavailable'
    assert 'Measured over modelled' not in finding.values
    # A profile that cites no joules has no figure in them.
    finding = reporter(eyeriss_65nm=account(None)).finding(10)
    assert finding.values['Modelled energy per frame (J)'] == 'unavailable'


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        self.now += 0.5  # it is looked at twice a second: for the figure, and for the level
        return self.now


def test_meter_that_is_lost_is_told_once_and_leaves_no_figure() -> None:
    sensor, log = Sensor(), Log()
    report = PowerReporter(
        log, None, MonitorTopicMeter('/power_monitor/reading'), Discovery((sensor,)), Clock())
    for second in range(5):
        report.finding(20 * second)
    sensor.lost = True
    for second in range(5, 8):
        finding = report.finding(20 * second)
        assert (finding.level, finding.message) == (
            WARN, f'sensor (VDD_IN) gives no figure for {second - 4} s: VDD_IN: gone')
        assert finding.values['Power (W)'] == 'unavailable'
        assert report.watts is None and report.joules_per_frame is None
    assert log.lines.count('VDD_IN: gone') == 1
    # It comes back by itself; its figures at once, the level after a while.
    sensor.lost = False
    finding = report.finding(160)
    assert (finding.level, finding.values['Power (W)']) == (WARN, '6.000')
    assert finding.message == (
        'until 1 s ago: sensor (VDD_IN) gives no figure for 3 s: VDD_IN: gone; '
        'now: 6.00 W, module on VDD_IN')
    for second in range(9, 14):
        finding = report.finding(20 * second)
    assert (finding.level, finding.message) == (OK, '6.00 W, module on VDD_IN')
    assert log.lines.count('sensor gives figures again') == 1


def test_meter_that_never_gave_a_figure() -> None:
    sensor = Sensor()
    sensor.lost = True
    finding = reporter(sensor).finding(0)
    assert (finding.level, finding.message) == (
        WARN, 'sensor (VDD_IN) has given no figure yet: VDD_IN: gone')


def test_rail_of_a_recorded_board_is_lost_and_comes_back(tmp_path: Path) -> None:
    root = grow(tmp_path, 'jetson_orin_nx')
    report = PowerReporter(
        Log(), None, MonitorTopicMeter('/power_monitor/reading'), discover(root), Clock())
    assert report.finding(0).message.startswith('6.00 W')
    current = root / 'sys/class/hwmon/hwmon1/curr1_input'
    kept = current.read_text()
    current.unlink()
    finding = report.finding(20)
    assert finding.level == WARN
    assert 'VDD_IN' in finding.message and 'gives no figure for 1 s: ' in finding.message
    assert f'{current}: is not there (any more)' in finding.message
    current.write_text(kept)
    findings = [report.finding(20) for _ in range(6)]
    assert findings[0].values['Power (W)'] == '6.000'
    assert (findings[-1].level, findings[-1].message[:6]) == (OK, '6.00 W')


def test_frames_of_an_earlier_activation_do_not_count() -> None:
    report = reporter(Sensor())
    for second in range(5):
        report.finding(20 * second)
    before = report.joules_per_frame
    report.finding(0)  # activated again
    assert before is not None and report.joules_per_frame is not None
    assert report.joules_per_frame > before


def test_the_account_that_is_asked_for() -> None:
    accounts = {'board': account(2000.0), 'chip': account(500.0)}
    assert modelled_joules(accounts, '') == (pytest.approx(500e-6), 'chip, 8-bit words, batch 1')
    chosen = modelled_joules(accounts, 'board')
    assert chosen is not None and chosen[0] == pytest.approx(2000e-6)
    with pytest.raises(ValueError, match="'moon', but the model has an account for board, chip"):
        modelled_joules(accounts, 'moon')


def test_the_newest_account_that_all_have() -> None:
    assert common_profile([{'board': 1, 'chip': 1, 'moon': 1}, {'chip': 1, 'board': 1}]) == 'chip'
    assert common_profile([{'board': 1}, {'chip': 1}]) == ''


def test_frames_of_two_models_are_not_averaged() -> None:
    report = reporter(Sensor(), board=account(100_000.0))
    for second in range(10):
        report.finding(20 * second)
    assert report.joules_per_frame == pytest.approx(WATTS / 20)
    report.change_model((0.05, 'board, 8-bit words, batch 1'))
    frames = 20 * 9
    for _ in range(10):
        frames += 60
        finding = report.finding(frames)
        assert report.joules_per_frame in (None, pytest.approx(WATTS / 60))
    assert report.joules_per_frame == pytest.approx(WATTS / 60)
    assert finding.values['Modelled energy per frame (J)'] == '0.05'
