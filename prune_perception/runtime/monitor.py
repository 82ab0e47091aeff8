# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""What the detector did lately: rates, drops, latencies and ages over a sliding window."""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
import threading

import numpy as np

# What a frame's time is spent on, in order. ``wait`` is in the slot, until the worker is free;
# ``overhead`` is all of the total that is not inference.
STAGES = (
    'wait', 'decode', 'preprocess', 'inference', 'postprocess', 'publish', 'overhead', 'total')

# Frames that are remembered for longer than the window.
_FEW = 5

# Why an image that arrived was left out on purpose.
DISABLED, ABOVE_MAX_RATE = 'disabled', 'above max_rate'


@dataclass(frozen=True)
class Spread:
    """Percentiles of a quantity over the window, in its own unit."""

    p50: float
    p95: float
    p99: float
    largest: float

    @staticmethod
    def of(values: list[float]) -> 'Spread | None':
        """Return the spread of the values; None where there are none."""
        if not values:
            return None
        p50, p95, p99 = np.percentile(values, [50, 95, 99])
        return Spread(float(p50), float(p95), float(p99), max(values))


@dataclass(frozen=True)
class FrameTiming:
    """
    One processed frame.

    :param stages: durations by the monotonic clock in seconds, for each of ``STAGES``.
    :param age: node clock minus the image's stamp when its detections were published, seconds;
        None where the two cannot be compared.
    """

    stages: Mapping[str, float]
    age: float | None


@dataclass(frozen=True)
class Snapshot:
    """
    What became of a camera's images over the window, counts since activation.

    ``received`` is the sum of ``processed``, ``dropped`` (a newer one came first), ``failed``,
    ``left_out`` (on purpose, by the reason) and what is waiting or being worked on.

    Rates are in Hz, latencies and ages in seconds. A rate is None until two frames came within
    the window; so is what was never measured.
    """

    received: int
    processed: int
    dropped: int
    failed: int
    left_out: Mapping[str, int]
    input_rate: float | None
    output_rate: float | None
    camera_rate: float | None
    failed_lately: int
    seconds_since_input: float | None
    latencies: Mapping[str, Spread]
    age: Spread | None
    ages_unavailable: int


class Monitor:
    """
    Counts what happens to frames; callbacks, the worker and the reporter may call it at once.

    Every method takes ``now`` from the monotonic clock, so that a test needs no waiting.

    :param window: seconds over which rates and percentiles are taken.
    :param memory: seconds for which the last few frames are remembered, for :meth:`durations`.
    """

    def __init__(self, window: float = 10.0, memory: float = 60.0) -> None:
        self._window = window
        self._memory = memory
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()
        self._received: deque[float] = deque()
        self._camera: deque[float] = deque()
        self._failed: deque[float] = deque()
        self._frames: deque[tuple[float, FrameTiming]] = deque()
        self._last_input: float | None = None

    def received(self, now: float, *, replaced: bool = False) -> None:
        """Note an image that arrived, and whether it pushed out one that was waiting."""
        with self._lock:
            self._counts['received'] += 1
            self._counts['dropped'] += replaced
            self._received.append(now)
            self._last_input = now
            self._forget(self._received, now)

    def left_out(self, reason: str) -> None:
        """Note that an image which arrived is left out: ``DISABLED`` or ``ABOVE_MAX_RATE``."""
        with self._lock:
            self._left_out[reason] += 1

    def camera_said(self, now: float) -> None:
        """Note that the camera announced an image, by a message too small to be lost."""
        with self._lock:
            self._camera.append(now)
            self._forget(self._camera, now)

    def failed(self, now: float) -> None:
        """Note an image that could not be processed."""
        with self._lock:
            self._counts['failed'] += 1
            self._failed.append(now)
            self._forget(self._failed, now)

    def processed(self, now: float, timing: FrameTiming) -> None:
        """Note a frame whose detections were published."""
        with self._lock:
            self._counts['processed'] += 1
            self._frames.append((now, timing))
            while self._frames[0][0] < now - (
                    self._window if len(self._frames) > _FEW else self._memory):
                self._frames.popleft()

    def snapshot(self, now: float) -> Snapshot:
        """Return what is known at this moment."""
        with self._lock:
            for times in (self._received, self._camera, self._failed):
                self._forget(times, now)
            frames = [(time, timing) for time, timing in self._frames
                      if time >= now - self._window]
            spreads = {stage: Spread.of([timing.stages[stage] for _, timing in frames])
                       for stage in STAGES}
            ages = [timing.age for _, timing in frames]
            return Snapshot(
                received=self._counts['received'], processed=self._counts['processed'],
                dropped=self._counts['dropped'], failed=self._counts['failed'],
                left_out=dict(self._left_out),
                input_rate=_rate(list(self._received), now),
                output_rate=_rate([time for time, _ in frames], now),
                camera_rate=_rate(list(self._camera), now),
                failed_lately=len(self._failed),
                seconds_since_input=(
                    None if self._last_input is None else now - self._last_input),
                latencies={stage: spread for stage, spread in spreads.items() if spread},
                age=Spread.of([age for age in ages if age is not None]),
                ages_unavailable=sum(age is None for age in ages))

    def spread_since(self, stage: str, since: float) -> Spread | None:
        """Return the spread of a stage over the frames published after a time, if any were."""
        with self._lock:
            return Spread.of([timing.stages[stage] for time, timing in self._frames
                              if time >= since])

    def durations(self, stage: str, now: float) -> list[tuple[float, float]]:
        """
        Return when frames were published, and how long a stage of each took.

        Those of the window and, where it has fewer, the last few of those remembered.
        """
        with self._lock:
            return [(time, timing.stages[stage]) for time, timing in self._frames
                    if time >= now - self._memory]

    def _forget(self, times: deque[float], now: float) -> None:
        while times and times[0] < now - self._window:
            times.popleft()


def _rate(times: list[float], now: float) -> float | None:
    """
    Return events a second, from the times of the events within the window.

    A silence at the end counts as soon as it is longer than the usual gap, so that the rate of
    a source that stopped falls at once and not when the window has passed.
    """
    if len(times) < 2:
        return None
    gap = (times[-1] - times[0]) / (len(times) - 1)
    silence = now - times[-1]
    end = now if silence > 2 * gap else times[-1]
    return (len(times) - 1) / (end - times[0]) if end > times[0] else None
