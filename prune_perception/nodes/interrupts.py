# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Interrupts that end a node in order.

Ctrl-C under ``ros2 launch`` interrupts a node twice: the terminal does, and launch does. Python
raises KeyboardInterrupt wherever it happens to be, the second time amid the tear-down, and the
node that was asked to end dies with a traceback instead.
"""

import signal

import rclpy


def initialise(arguments: list[str] | None = None) -> None:
    """
    Initialise rclpy so that an interrupt does what a termination does, and no more.

    That is to end the spinning with ``ExternalShutdownException``.

    :param arguments: of the command line; None takes the program's own.
    """
    # Before rclpy's own handler, which calls this one when it has done its part.
    signal.signal(signal.SIGINT, lambda number, frame: None)
    rclpy.init(args=arguments)
