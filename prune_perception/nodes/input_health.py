# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Whether a camera's images come as they should, and what to do where they do not."""

from collections.abc import Callable

from prune_perception.nodes.health import ERROR, Finding, held, number, OK, TRANSPORT_REMEDY, WARN
from prune_perception.runtime.hysteresis import Hold, Limit
from prune_perception.runtime.monitor import Snapshot

# Shares of the rate that is expected. Below the first images are being lost, and not merely
# jittering.
RATE_LIMIT = (0.7, 0.8)
# A camera that is told to be slow is silent between two images. A robot that drives at 1 m/s has
# gone 2 m without seeing; after 10 m nobody would call it a pause.
SECONDS_OF_SILENCE, PERIODS_OF_SILENCE = 2.0, 3
ERROR_AFTER = 5  # times that silence


class InputHealth:
    """Judges the images of one camera, once a second, from its activation on."""

    def __init__(self) -> None:
        self._rate = Limit(*RATE_LIMIT)
        self._hold = Hold()

    def finding(
            self, now: float, snapshot: Snapshot, *, topic: str, publishers: int,
            obstacle: Callable[[], str | None], expected_rate: float, seconds_active: float,
            last_failure: str | None, enabled: bool) -> Finding:
        """
        Say whether images come as they should.

        :param now: by the monotonic clock.
        :param obstacle: returns why no image can come, if that is known.
        :param expected_rate: in Hz, as it was set; 0 takes the rate that the camera announces.
        """
        values = {
            'Topic': topic,
            'Publishers': str(publishers),
            'Input rate (Hz)': number(snapshot.input_rate),
            'Camera rate (Hz)': number(expected_rate or snapshot.camera_rate),
            'Images received': str(snapshot.received),
            'Images dropped, newer came first': str(snapshot.dropped),
            'Images failed': str(snapshot.failed)}
        for reason, count in snapshot.left_out.items():
            values[f'Images left out, {reason}'] = str(count)
        if last_failure is not None:
            values['Last failure'] = last_failure
        waited = (seconds_active if snapshot.seconds_since_input is None
                  else snapshot.seconds_since_input)
        slow = self._too_few(snapshot, expected_rate)
        silence = _silence(expected_rate or snapshot.camera_rate)
        if waited > silence:
            level = ERROR if waited > ERROR_AFTER * silence else WARN
            message = obstacle() or _silent(snapshot, topic, waited)
        elif snapshot.failed_lately:
            level, message = WARN, (
                f'{snapshot.failed_lately} images could not be processed lately: {last_failure}')
        elif slow is not None:
            level, message = WARN, slow
        elif not enabled:
            level, message = OK, 'disabled: images are left out as they come'
        else:
            level, message = OK, 'images arrive' if snapshot.received else 'waiting for images'
        return held(self._hold, now, Finding(level, message, values))

    def _too_few(self, snapshot: Snapshot, expected_rate: float) -> str | None:
        """Return who loses images, and what to do, if fewer arrive than should."""
        expected = expected_rate or snapshot.camera_rate
        arriving, announced = snapshot.input_rate, snapshot.camera_rate
        share = arriving / expected if expected and arriving is not None else None
        if not self._rate.judge(share):
            return None
        text = f'{arriving:.1f} of {expected:.1f} images a second arrive'
        if announced is None:
            return (f'{text}; if the camera takes as many (its exposure may be long in the dark), '
                    f'the transport loses the others: {TRANSPORT_REMEDY}')
        if arriving is not None and arriving >= RATE_LIMIT[0] * announced:
            return (f'{text}, and the camera announces no more; see its exposure, its settings '
                    'and its cable, or set expected_rate to what it does')
        return f'{text}; the transport loses the others: {TRANSPORT_REMEDY}'


def _silence(rate: float | None) -> float:
    """Return after how many seconds without an image a camera of a rate is called silent."""
    return max(SECONDS_OF_SILENCE, PERIODS_OF_SILENCE / rate if rate else 0.0)


def _silent(snapshot: Snapshot, topic: str, waited: float) -> str:
    text = f'no image on {topic} for {waited:.0f} s'
    if snapshot.camera_rate is not None:
        return (f'{text}, though the camera announces {snapshot.camera_rate:.1f} a second: '
                f'{TRANSPORT_REMEDY}')
    return (f'{text}, though somebody publishes it; see whether the driver of the camera still '
            f'runs, and {TRANSPORT_REMEDY}')
