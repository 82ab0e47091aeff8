# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Ctrl-C under launch, which reaches a node more than once."""

import signal
import subprocess
import time

from robot import detector


def test_second_interrupt_does_not_cut_the_tear_down_short() -> None:
    with detector(parameters={'autostart': True}) as robot:
        robot.wait_for(lambda: robot.labels, 'activation')
        for _ in range(10):
            robot.process.send_signal(signal.SIGINT)
            time.sleep(0.005)
        try:
            assert robot.process.wait(10) == 0, robot.log()
        except subprocess.TimeoutExpired:
            raise AssertionError(f'the node did not end\n{robot.log()}') from None
        assert 'Traceback' not in robot.log()
