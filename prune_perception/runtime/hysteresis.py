# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Alarms that do not flicker: they rise at once and fall late, at another limit."""

# Longer than a few reports at 1 Hz, so that one good second amid bad ones does not clear an alarm,
# and short enough that whoever mended something sees it.
SECONDS_TO_CLEAR = 5.0


class Limit:
    """
    A limit with two values: one that a figure breaks, and another at which it is kept again.

    ``Limit(0.7, 0.8)`` is broken below 0.7 and kept again above 0.8; ``Limit(2.0, 1.5)`` is
    broken above 2.0 and kept again below 1.5.

    :param bad: beyond this the limit is broken.
    :param good: beyond this, on the other side, it is kept.
    """

    def __init__(self, bad: float, good: float) -> None:
        self._bad, self._good = bad, good
        self.broken = False

    def judge(self, figure: float | None) -> bool:
        """Return whether the limit is broken now; a figure that is not known breaks none."""
        if figure is None:
            self.broken = False
        else:
            limit = self._good if self.broken else self._bad
            self.broken = figure < limit if self._bad < self._good else figure > limit
        return self.broken


class Hold:
    """
    Keeps a level until it has not been reached for some seconds.

    A level is 0 for fine, and the higher the worse. While one is kept that does not apply any
    more, the message says since when, and what was wrong::

        hold.judge(0.0, 2, 'no image')     # (2, 'no image')
        hold.judge(1.0, 0, 'images come')  # (2, 'until 1 s ago: no image; now: images come')
        hold.judge(5.0, 0, 'images come')  # (0, 'images come')

    It has no clock: times are given, in seconds that never go back.

    :param seconds: after which a level is left.
    """

    def __init__(self, seconds: float = SECONDS_TO_CLEAR) -> None:
        self._seconds = seconds
        # When each level was reached last, or a worse one, and what was wrong.
        self._reached: dict[int, tuple[float, str]] = {}

    def judge(self, now: float, level: int, message: str) -> tuple[int, str]:
        """Return the level to be told, and the message."""
        for each in range(1, level + 1):
            self._reached[each] = (now, message)
        self._reached = {each: (time, was) for each, (time, was) in self._reached.items()
                         if now - time < self._seconds}
        worst = max(self._reached, default=0)
        if worst <= level:
            return level, message
        time, was = self._reached[worst]
        past = f'until {now - time:.0f} s ago: {was}'
        return worst, f'{past}; now: {message}' if message else past
