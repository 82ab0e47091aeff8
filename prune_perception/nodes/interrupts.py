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

import rclpy


@contextmanager
def initialised(arguments: list[str] | None = None) -> Iterator[None]:
    """
    Initialise rclpy, and shut it down at the end.

    An interrupt does what a termination does and no more: to end the spinning, or whatever else
    the node is at. What fails because of that is not raised.

    :param arguments: of the command line; None takes the program's own.
    :raises SystemExit: they cannot be; with the reason, for people.
    """
    # Ignored by Python: rclpy, which installs its handler over that, is told all the same.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        rclpy.init(args=arguments)
    except RuntimeError as error:  # such as a parameters file that is no YAML
        raise SystemExit(' '.join(str(error).split())) from None
    try:
        yield
    except Exception:
        if rclpy.ok():
            raise
    finally:
        rclpy.try_shutdown()
