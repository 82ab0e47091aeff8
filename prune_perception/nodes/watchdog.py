# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
What ends a hung engine: the run if that can be, the process if not.

A native call that does not return cannot be undone from within its process, and while the
executor's thread waits for it, as in a transition, nothing that runs there can say so or end it.
So a thread of its own watches, and leaves the process to whoever starts it again: launch, or
systemd.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
import os
import threading
import time

# With which the process ends when a run of the engine could not be ended, or the node could not:
# "internal software error" of sysexits.h.
STATUS_HUNG = os.EX_SOFTWARE

# A run may take so many times what it took at warm-up, if that is more than the time limit: a
# small board with a large network is slow and not hung.
WARM_UP_FACTOR = 20

# Between the request to end a run and leaving.
GRACE = 0.5

# After which a node that was told to end has to have ended; launch insists after 5 s.
SECONDS_TO_END = 4.0

_LONGEST_SLEEP = 1.0
_SECONDS_FOR_LAST_WORDS = 0.5
_LATE = 0.2  # seconds that this thread may wake too late while the process runs as it should


@dataclass(eq=False)
class _Watched:
    """
    A run of the engine.

    Times are by the monotonic clock, later by what the process stood still.

    :param since: when it was begun.
    :param at_least: the least of its limit in seconds.
    :param limit: in seconds, at which it was asked to end; None if it was not.
    :param cancelled: when it was.
    """

    what: str
    since: float
    cancel: Callable[[], None]
    at_least: float
    limit: float | None = None
    cancelled: float = 0.0


class Watchdog:
    """
    Watches one run at a time, from a thread that nothing else has to wait for.

    :param limit: returns the seconds that a run may take, also one that is under way; 0 or less
        means for ever.
    :param ending: returns whether the process was told to end.
    :param last_words: called with one line about what hung, before ``leave``; it may hang too.
    :param leave: ends the process with a status.
    """

    def __init__(
            self, *, limit: Callable[[], float], ending: Callable[[], bool],
            last_words: Callable[[str], None], leave: Callable[[int], None] = os._exit) -> None:
        self._limit = limit
        self._ending = ending
        self._last_words = last_words
        self._leave = leave
        self._lock = threading.Lock()
        self._watched: _Watched | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name='watchdog', daemon=True)
        self._thread.start()

    @contextmanager
    def watch(
            self, what: str, cancel: Callable[[], None], *, at_least: float = 0.0
            ) -> Iterator[None]:
        """
        Watch a run of the engine.

        :param what: is being looked at, for people.
        :param cancel: asks the run to end; called from another thread.
        :param at_least: seconds that this run may take, however short the limit.
        :raises TimeoutError: the run failed after it was asked to end.
        """
        watched = _Watched(what, time.monotonic(), cancel, at_least)
        self._watched = watched
        try:
            yield
        except Exception as error:
            if watched.limit is None:
                raise
            raise TimeoutError(
                f'the engine was at this image for more than {watched.limit:.1f} s, and was '
                'made to give it up') from error
        finally:
            # Not while it is being cancelled: that would hit the next run.
            with self._lock:
                self._watched = None

    def stop(self) -> None:
        """Watch no more."""
        self._stopped.set()
        self._thread.join(_LONGEST_SLEEP)

    def _run(self) -> None:
        told_to_end: float | None = None
        while True:
            begun, sleep = time.monotonic(), self._sleep(time.monotonic())
            if self._stopped.wait(sleep):
                return
            now = time.monotonic()
            late = now - begun - sleep
            watched = self._watched
            if late > _LATE:
                # The whole process was held up, as by a debugger or SIGSTOP, the run with it.
                if watched is not None:
                    watched.since += late
                    watched.cancelled += late
                if told_to_end is not None:
                    told_to_end += late
            if self._ending() and told_to_end is None:
                told_to_end = now
            if told_to_end is not None and now - told_to_end > SECONDS_TO_END:
                self._give_up(f'told to end {SECONDS_TO_END:.0f} s ago, and it could not')
            if watched is not None:
                self._look(watched, now)

    def _sleep(self, now: float) -> float:
        """
        Return the seconds until something may have to be done.

        Whatever begins meanwhile has its limit later, so no run needs to wake this thread. Not
        for long, since limits change and a request to end says nothing.
        """
        watched, limit = self._watched, self._limit()
        if watched is None or limit <= 0:
            return min(_LONGEST_SLEEP, limit) if limit > 0 else _LONGEST_SLEEP
        due = (watched.since + max(limit, watched.at_least) if watched.limit is None
               else watched.cancelled + GRACE)
        return min(_LONGEST_SLEEP, max(0.01, due - now))

    def _look(self, watched: _Watched, now: float) -> None:
        """Ask a run that takes too long to end, and leave if it has not."""
        seconds, limit = now - watched.since, self._limit()
        if watched.limit is not None:
            # From the request on: the limit may have been lowered to long before.
            if now >= watched.cancelled + GRACE and self._watched is watched:
                self._give_up(
                    f'{watched.what}: the engine has been at an image for {seconds:.1f} s and '
                    'could not be made to give it up')
        elif 0 < limit and max(limit, watched.at_least) <= seconds:
            def cancel() -> None:
                with self._lock:
                    if self._watched is watched:
                        watched.cancel()
            watched.limit, watched.cancelled = max(limit, watched.at_least), now
            threading.Thread(target=cancel, daemon=True).start()  # it is the engine's, too

    def _give_up(self, reason: str) -> None:
        # A thread that hangs may hold what the last words need.
        speaking = threading.Thread(target=self._last_words, args=(
            f'{reason}; leaving with status {STATUS_HUNG}, to be started again',), daemon=True)
        speaking.start()
        speaking.join(_SECONDS_FOR_LAST_WORDS)
        self._leave(STATUS_HUNG)
