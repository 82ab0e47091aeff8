# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Recorded time as it passes while a recording is played.

Whoever plays waits here for the moment of each frame; whoever serves requests pauses, resumes
and steps. Recorded time stands still during a pause, so that nothing is overdue after it.
"""

from collections.abc import Callable
import threading
import time


class Pace:
    """
    Recorded time against the monotonic clock; for one thread that plays and any that ask.

    :param rate: recorded seconds that pass in a second.
    :param paused: stand still from the start.
    :param clock: the monotonic clock, seconds.
    """

    def __init__(
            self, rate: float = 1.0, *, paused: bool = False,
            clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._changed = threading.Condition()
        self._origin: int | None = None  # recorded time, ns, ...
        self._since = 0.0                # ... and when it was that, or was set going again
        self._paused = paused
        self._busy = False      # something that was due is being shown
        self._stepping = False  # and that is because of a step
        self._steps = 0
        self._steps_done = 0
        self._ended = False

    def begin(self, recorded: int) -> None:
        """Let it be this recorded time (ns) now."""
        with self._changed:
            self._origin, self._since = recorded, self._clock()
            self._changed.notify_all()

    def now(self) -> int | None:
        """Return the recorded time in ns; None before the beginning."""
        with self._changed:
            return None if self._origin is None else self._now()

    def wait_until(self, recorded: int) -> bool:
        """
        Wait for a recorded time (ns), or for a step to it.

        The caller shows what is due then and calls :meth:`done`.

        :returns: False when it was ended instead.
        """
        with self._changed:
            while not self._ended:
                if self._paused and self._steps:
                    self._origin = max(self._now(), recorded)
                    self._steps -= 1
                    self._busy = self._stepping = True
                    return True
                left = (recorded - self._now()) * 1e-9 / self._rate
                if not self._paused and left <= 0:
                    self._busy = True
                    return True
                self._changed.wait(None if self._paused else left)
            return False

    def late(self, recorded: int) -> float:
        """Return seconds by which a recorded time (ns) has passed; 0 when it has not."""
        with self._changed:
            return max((self._now() - recorded) * 1e-9 / self._rate, 0.0)

    def done(self) -> None:
        """Tell that what was due has been shown."""
        with self._changed:
            self._steps_done += self._stepping
            self._busy = self._stepping = False
            self._changed.notify_all()

    @property
    def paused(self) -> bool:
        """Whether it stands still."""
        with self._changed:
            return self._paused

    def pause(self, seconds: float = 5.0) -> bool:
        """
        Stand still, once what is being shown has been shown.

        :param seconds: to wait for that.
        :returns: False when it stood still before.
        """
        with self._changed:
            if self._paused:
                return False
            self._origin, self._paused = self._now(), True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._busy, seconds)
            return True

    def resume(self) -> bool:
        """Go on from where it stands; return False when it was not paused."""
        with self._changed:
            if not self._paused:
                return False
            self._since, self._paused, self._steps = self._clock(), False, 0
            self._changed.notify_all()
            return True

    def step(self, seconds: float = 5.0) -> bool:
        """
        Let one frame through during a pause, and wait until it has been shown.

        :param seconds: to wait for that.
        :returns: False when it was not: not paused, ended, or nothing came in time.
        """
        with self._changed:
            if not self._paused or self._ended:
                return False
            self._steps += 1
            awaited = self._steps_done + self._stepping + self._steps
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: self._steps_done >= awaited or self._ended or not self._paused, seconds)
            if self._steps_done >= awaited:
                return True
            self._steps = max(self._steps - 1, 0)  # nobody waits for it any more
            return False

    def end(self) -> None:
        """Let nobody wait any longer."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def ended(self) -> bool:
        """Whether it was ended."""
        with self._changed:
            return self._ended

    def _now(self) -> int:
        origin = self._origin or 0
        if self._paused:
            return origin
        return origin + round((self._clock() - self._since) * 1e9 * self._rate)
