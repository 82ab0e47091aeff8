# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Makes a detector ready beside the one that runs, so that no image waits for it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
import threading
import time

from rclpy.node import Node

from prune_perception.nodes.health import ERROR, Finding, WARN
from prune_perception.runtime.detector import Detector
from prune_perception.runtime.memory import release_freed_memory

_SECONDS_TO_STOP = 10.0

# What takes longer than this, and than so many times what all bundles took at configuration, may
# hang: TensorRT rightly takes minutes, and did so there, too. The last is how many times that is
# an error.
_LONG, _TIMES_USUAL, _TIMES_LONG = 60.0, 2.0, 5.0


@dataclass(frozen=True)
class Prepared:
    """
    A detector that has run already.

    :param seconds: the median duration of an inference at warm-up.
    """

    detector: Detector
    seconds: float

    @staticmethod
    def of(detector: Detector) -> 'Prepared':
        """Warm a detector up."""
        prepared = Prepared(detector, detector.warm_up())
        release_freed_memory()
        return prepared


class Preparation:
    """
    Loads and warms one detector at a time in a thread of its own; the newest request wins.

    All methods are called on the executor's thread, and so is what a request ends with.

    What is under way cannot be ended, so one that hangs keeps all that come after it from being
    made ready; :meth:`judged` says so.

    :param node: whose executor is told when a detector is ready.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._thread: threading.Thread | None = None
        self._current: Request | None = None
        self._next: Request | None = None
        self._since = 0.0
        self.usual = 0.0  # seconds that it took to make all bundles ready, at configuration

    @property
    def busy(self) -> bool:
        """Whether a detector is being made ready."""
        return self._current is not None

    def late(self, now: float) -> float:
        """Return how many times too long the one under way takes; below 1 is as it should be."""
        if self._thread is None:
            return 0.0
        return (now - self._since) / max(_LONG, _TIMES_USUAL * self.usual)

    def judged(self, now: float, finding: Finding) -> Finding:
        """Return a finding with what is to be said of the one under way, if that takes long."""
        late = self.late(now)
        if late < 1:
            return finding
        text = (f'an engine has been made ready for {now - self._since:.0f} s, and until that '
                'ends no other can be, whoever asks: governor, pinned or threads; if it hangs, '
                'start the node again')
        return replace(
            finding, level=max(finding.level, ERROR if late >= _TIMES_LONG else WARN),
            message=f'{text}; {finding.message}')

    def request(
            self, build: Callable[[], Prepared],
            done: Callable[[Prepared | Exception], None]) -> 'Request':
        """
        Make a detector ready; one that was asked for before and is not ready yet is given up.

        :param build: called in another thread.
        :param done: called with what it returned or raised, unless it was given up.
        """
        request = Request(build, done)
        if self._thread is None:
            self._start(request)
        else:
            # What an engine is at cannot be interrupted.
            self._current, self._next = request, request
        return request

    def pending(self, request: 'Request | None') -> bool:
        """Return whether this request will still be answered."""
        return request is not None and request is self._current

    def cancel(self, request: 'Request | None') -> None:
        """
        Give this request up, if it is pending; one that came in its place stays.

        What is under way is finished, and let go of.
        """
        if self.pending(request):
            self._current = self._next = None

    def stop(self) -> None:
        """Give up, and wait until nothing is under way."""
        self.cancel(self._current)
        if self._thread is not None:
            self._thread.join(_SECONDS_TO_STOP)

    def _start(self, request: 'Request') -> None:
        self._current, self._next = request, None
        self._since = time.monotonic()
        self._thread = threading.Thread(
            target=self._run, args=(request,), name='preparation', daemon=True)
        self._thread.start()

    def _run(self, request: 'Request') -> None:
        result: Prepared | Exception
        try:
            result = request.build()
        except Exception as error:
            result = error
        executor = self._node.executor
        if executor is not None and self._node.context.ok():
            executor.create_task(self._finish, request, result)

    def _finish(self, request: 'Request', result: Prepared | Exception) -> None:
        self._thread = None
        if self._next is not None:
            self._start(self._next)
        elif request is self._current:
            self._current = None
            request.done(result)


@dataclass(frozen=True, eq=False)
class Request:
    """What was asked for, and whom to tell."""

    build: Callable[[], Prepared]
    done: Callable[[Prepared | Exception], None]
