# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The power monitor in its own process, and the detector that takes its figures, over real DDS."""

from pathlib import Path

from diagnostic_msgs.msg import DiagnosticStatus
import numpy as np
import pytest
from robot import detector, raw
from sensor_msgs.msg import BatteryState
from test_meters import grow

from prune_perception.energy.meters import Meter, MeterError, Reading
from prune_perception.energy.window import EnergyPerFrame, EnergyWindow, Unavailable
from prune_perception.nodes.topic_meters import (
    BatteryTopicMeter,
    MonitorTopicMeter,
    reading_message,
)

OK, WARN = DiagnosticStatus.OK, DiagnosticStatus.WARN
GREY = raw(np.full((120, 160, 3), 127, np.uint8))


def test_detector_takes_its_energy_from_the_monitor(tmp_path: Path) -> None:
    """A Jetson whose VDD_IN says 5 V and 1.2 A; then the rail goes away, and comes back."""
    root = grow(tmp_path, 'jetson_orin_nx')
    with detector(parameters={'autostart': True},
                  beside={'power_monitor': {'root': str(root)}}) as robot:
        robot.status('power_monitor: meters', OK)
        values = robot.values('power_monitor: meters')
        assert next(value for key, value in values.items()
                    if key.endswith('(W)') and 'VDD_IN' in key.upper()) == '6.000'
        assert 'rapl not usable' in values

        robot.status('power', OK, '6.00 W')
        for _ in range(30):
            robot.answer(GREY)
            robot.spin(0.1)
        figures = robot.values('power')
        assert figures['Rail'] == 'VDD_IN'
        assert figures['Source'].startswith('measured by')
        # Some 30 frames in 4 s at 6 W; the window is longer than that on a slow machine.
        assert 0.1 < float(figures['Energy per frame (J)']) < 10

        current = root / 'sys/class/hwmon/hwmon1/curr1_input'
        kept = current.read_text()
        current.unlink()
        lost = robot.status('power_monitor: meters', WARN, 'VDD_IN').message
        assert 'gives no figure for ' in lost and str(current) in lost
        robot.status('power', WARN, 'no reading')
        assert robot.values('power')['Power (W)'] == 'unavailable'
        current.write_text(kept)
        robot.status('power', OK, '6.00 W')
        robot.status('power_monitor: meters', OK)


def test_machine_without_meters_says_why(tmp_path: Path) -> None:
    with detector(beside={'power_monitor': {'root': str(tmp_path)}}) as robot:
        robot.status('power_monitor: meters', WARN, 'no usable meter')
        values = robot.values('power_monitor: meters')
        for family in ('rapl', 'ina3221', 'nvml', 'raspberry_pi_pmic', 'battery'):
            assert len(values[f'{family} not usable']) > 10


def test_battery_topic_is_a_meter(tmp_path: Path) -> None:
    parameters = {'root': str(tmp_path), 'battery_topic': '/battery_state'}
    with detector(beside={'power_monitor': parameters}) as robot:
        publisher = robot.publisher(BatteryState, '/battery_state')
        state = BatteryState(
            voltage=24.0, current=-2.5,
            power_supply_status=BatteryState.POWER_SUPPLY_STATUS_DISCHARGING)
        robot.create_timer(0.1, lambda: publisher.publish(state))
        robot.status('power_monitor: meters', OK)
        assert robot.values('power_monitor: meters')['battery topic (W)'] == '60.000'
        state.power_supply_status = BatteryState.POWER_SUPPLY_STATUS_CHARGING
        robot.status('power_monitor: meters', WARN, 'charger')
        state.power_supply_status = BatteryState.POWER_SUPPLY_STATUS_DISCHARGING
        state.current = float('nan')
        robot.status('power_monitor: meters', WARN, 'no voltage or no current')


def battery(**fields: float) -> BatteryTopicMeter:
    meter = BatteryTopicMeter('/battery')
    meter.take(BatteryState(
        **{'voltage': 12.0, 'current': -1.0,
           'power_supply_status': BatteryState.POWER_SUPPLY_STATUS_DISCHARGING, **fields}))
    return meter


def refusal(meter: Meter) -> str:
    with pytest.raises(MeterError) as caught:
        meter.read()
    return str(caught.value)


def test_battery_power_is_voltage_times_current() -> None:
    assert battery().read().power_watts == pytest.approx(12.0)
    assert '/battery: the current is above 0' in refusal(battery(current=1.0))
    assert '/battery: no battery state' in refusal(BatteryTopicMeter('/battery'))
    assert 'outside' in refusal(battery(voltage=1e6))


def test_reading_survives_its_message() -> None:
    sensor = battery()
    reading = sensor.read()
    meter = MonitorTopicMeter('/power_monitor/reading')
    assert not meter.fresh
    assert 'no reading' in refusal(meter)
    meter.take(reading_message(sensor.info, reading, 'power_monitor'))
    assert meter.fresh
    assert meter.read() == reading
    assert (meter.info.name, meter.info.rail, meter.info.scope) == (
        sensor.info.name, sensor.info.rail, sensor.info.scope)


def test_monitor_that_starts_again_is_a_break() -> None:
    """Its energy begins at zero again, which must not be taken from what came before."""
    info = battery().info
    meter = MonitorTopicMeter('/power_monitor/reading')
    window = EnergyWindow(info)

    def publish(time: float, joules: float, updates: int) -> EnergyPerFrame | Unavailable:
        meter.take(reading_message(
            info, Reading(joules, 6.0, time, updates, 0), 'power_monitor'))
        window.add_frames(10)
        window.add_reading(meter.read())
        return window.energy_per_frame()

    for second in range(100):
        energy = publish(1000.0 + second, 6.0 * second, 10 * second)
    assert isinstance(energy, EnergyPerFrame) and energy.joules == pytest.approx(0.6)
    for second in range(3):
        energy = publish(1102.0 + second, 6.0 * second, 10 * second)
        assert isinstance(energy, Unavailable) == (second == 0)
    assert isinstance(energy, EnergyPerFrame) and energy.joules == pytest.approx(0.6)


def test_battery_topic_that_cannot_be_is_told(tmp_path: Path) -> None:
    parameters = {'root': str(tmp_path), 'battery_topic': 'no such/topic!'}
    with detector(beside={'power_monitor': parameters}) as robot:
        robot.status('power_monitor: meters', WARN, 'no usable meter')
        values = robot.values('power_monitor: meters')
        assert 'battery_topic' in values['battery topic not usable']
        assert 'parameter battery_topic' in robot.log()


def test_message_that_is_no_reading_is_told() -> None:
    meter = MonitorTopicMeter('/power_monitor/reading')
    meter.take(DiagnosticStatus())
    assert '/power_monitor/reading: not a reading' in refusal(meter)
