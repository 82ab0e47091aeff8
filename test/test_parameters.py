# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Parameters that were given at start and cannot be, or that there are none of."""

from diagnostic_msgs.msg import DiagnosticStatus
import pytest
from robot import detector

from prune_perception.resources import find_resource


@pytest.mark.parametrize('name, value, words', [
    ('image_transport', 'theora', 'raw, compressed'),
    ('precision', 'f8', 'f32, f16, bf16'),
    ('threads', 1000, '256')])
def test_start_value_that_cannot_be_is_told_and_can_be_mended(
        name: str, value: object, words: str) -> None:
    defaults = {'image_transport': 'raw', 'precision': 'f32', 'threads': 0}
    with detector(parameters={'autostart': True, name: value}) as robot:
        status = robot.status('detector', DiagnosticStatus.ERROR, f'parameter {name}')
        assert words in status.message
        assert str(value) in status.message
        assert 'start the node again' not in status.message
        assert robot.set_parameter(name, defaults[name]).successful
        assert robot.transition('configure')


def test_start_value_that_cannot_be_and_cannot_be_set_says_what_to_do() -> None:
    with detector(parameters={'autostart': True, 'hardware_id': 42}) as robot:
        status = robot.status('detector', DiagnosticStatus.ERROR, 'parameter hardware_id')
        assert '42' in status.message and status.message.endswith('; start the node again')


def test_start_value_that_no_parameter_takes_is_told_with_the_nearest() -> None:
    unknown = 'is ignored; there is none of that name'
    parameters = {
        'budget.watt': 12.0, 'score_treshold': 0.5, 'priority': 3, 'zzz': 1,
        # Of rclpy.
        'use_sim_time': False, 'start_type_description_service': True,
        'qos_overrides./camera/image_raw.subscription.depth': 2}
    replay = {'recording': str(find_resource('demo', 'pedestrians')), 'loops': True}
    with detector(parameters=parameters, beside={
            'power_monitor': {'sample_rates': 1.0}, 'replay_node': replay}) as robot:
        def lines() -> list[str]:
            found = [line.partition('parameter ')[2] for line in robot.log().splitlines()
                     if 'is ignored' in line]
            return sorted(found) if len(found) >= 6 else []
        assert robot.wait_for(lines, 'warnings of three nodes') == [
            f'budget.watt: {unknown}; did you mean budget.watts?',
            f'loops: {unknown}; did you mean loop?',
            'priority: is ignored; only with several cameras has each one, as NAME.priority',
            f'sample_rates: {unknown}; did you mean sample_rate?',
            f'score_treshold: {unknown}; did you mean score_threshold?',
            f'zzz: {unknown}']
        robot.values('detector')  # it is there, and has said all that it says at start
        assert len(lines()) == 6
