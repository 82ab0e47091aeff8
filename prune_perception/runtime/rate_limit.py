# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""How many images of a camera are taken a second, at most."""

import math


class RateLimit:
    """
    Lets events through up to a rate, on average.

    Times that are due lie one period apart; an event is let through when one is due. Were each
    event held against the one before instead, a limit of 20 Hz would make 15 of a camera's 30,
    since every second image comes too early by a third. At most one that was due is caught up
    with, so after a pause two may come in a row.
    """

    def __init__(self) -> None:
        self._due = self._last = -math.inf

    def allows(self, now: float, rate: float) -> bool:
        """
        Say whether an event may pass, and count it if so.

        :param now: by the monotonic clock, seconds.
        :param rate: Hz; 0 means no limit.
        """
        if rate <= 0:
            return True
        period = 1 / rate
        # Of a lower limit before, it may be far away.
        due = min(self._due, self._last + period)
        if now < due:
            return False
        # After a pause, no more than one that was due is made up for.
        self._due = max(due + period, now) if math.isfinite(due) else now + period
        self._last = now
        return True
