# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Parameters that were given at start and cannot be."""

from diagnostic_msgs.msg import DiagnosticStatus
import pytest
from robot import detector


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
        assert robot.set_parameter(name, defaults[name]).successful
        assert robot.transition('configure')
