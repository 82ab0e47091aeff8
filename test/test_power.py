# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""What the detector says of power and energy, from a meter whose figures are known."""

from typing import Any

import pytest

from prune_perception.energy.meters import Discovery, Meter, MeterError, MeterInfo, Reading, Scope
from prune_perception.nodes.health import OK, WARN
from prune_perception.nodes.power import modelled_energy, PowerReporter
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
        Log(), modelled_energy(accounts, ''), MonitorTopicMeter('/power_monitor/reading'),
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


def test_meter_that_is_lost_is_told_once_and_leaves_no_figure() -> None:
    sensor, log = Sensor(), Log()
    report = PowerReporter(
        log, None, MonitorTopicMeter('/power_monitor/reading'), Discovery((sensor,)))
    for second in range(5):
        report.finding(20 * second)
    sensor.lost = True
    for second in range(5, 8):
        finding = report.finding(20 * second)
        assert (finding.level, finding.message) == (WARN, 'VDD_IN: gone')
        assert finding.values['Power (W)'] == 'unavailable'
        assert report.watts is None and report.joules_per_frame is None
    assert log.lines.count('VDD_IN: gone') == 1


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
    assert modelled_energy(accounts, '') == (pytest.approx(500e-6), 'chip, 8-bit words, batch 1')
    chosen = modelled_energy(accounts, 'board')
    assert chosen is not None and chosen[0] == pytest.approx(2000e-6)
    with pytest.raises(ValueError, match="'moon', but the model has an account for board, chip"):
        modelled_energy(accounts, 'moon')


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
