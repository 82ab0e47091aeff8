# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Interrupts that end a node in order.

Ctrl-C under ``ros2 launch`` interrupts a node twice: the terminal does, and launch does. Python
raises KeyboardInterrupt wherever it happens to be, the second time amid the tear-down, and the
node that was asked to end dies with a traceback instead.
"""

from collections.abc import Iterator
from contextlib import contextmanager
import signal
import sys

import rclpy
from rclpy.logging import get_logger

from prune_perception.nodes.orphaned_memory import remove_orphans


@contextmanager
def initialised(arguments: list[str] | None = None) -> Iterator[None]:
    """
    Initialise rclpy, and shut it down at the end.

    An interrupt does what a termination does and no more: to end the spinning, or whatever else
    the node is at. What fails because of that is not raised.

    Where there can be no log file, as on a disk that is read-only, a node logs to the console and
    to ``/rosout`` alone, instead of not starting.

    What nodes that were killed left in shared memory is removed before (see
    :func:`remove_orphans`).

    :param arguments: of the command line; None takes the program's own.
    :raises SystemExit: they cannot be; with the reason, for people.
    """
    # Ignored by Python: rclpy, which installs its handler over that, is told all the same.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    words = sys.argv if arguments is None else arguments
    freed = remove_orphans()
    try:
        rclpy.init(args=words)
    except RuntimeError as first:
        rclpy.try_shutdown()  # of what is half initialised
        try:
            rclpy.init(args=[*words, '--ros-args', '--disable-external-lib-logs'])
        except RuntimeError as error:  # such as a parameters file that is no YAML
            raise SystemExit(_line(error)) from None
        get_logger('prune_perception').warning(
            f'no log file, the console and /rosout alone: {_line(first)}; set ROS_LOG_DIR to a '
            'folder that can be written')
    if freed:
        get_logger('prune_perception').info(
            f'removed {freed / 1e6:.1f} MB of shared memory that killed processes had left')
    try:
        yield
    except Exception:
        if rclpy.ok():
            raise
    finally:
        rclpy.try_shutdown()


def _line(error: Exception) -> str:
    return ' '.join(str(error).split())
