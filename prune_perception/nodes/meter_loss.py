# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Meters that gave figures and give none any more: which one, since when, and why."""

from prune_perception.energy.meters import MeterError, MeterInfo


class MeterLoss:
    """
    Remembers when each meter gave a figure last.

    Times are given, in seconds of the monotonic clock.
    """

    def __init__(self) -> None:
        self._given: dict[tuple[str, str], float] = {}

    def given(self, info: MeterInfo, now: float) -> None:
        """Note that a meter gave a figure."""
        self._given[info.name, info.rail] = now

    def text(self, info: MeterInfo, error: MeterError, now: float) -> str:
        """Return what is to be said of a meter that gave none, and why."""
        name = info.name if info.rail in info.name else f'{info.name} ({info.rail})'
        since = self._given.get((info.name, info.rail))
        if since is None:
            return f'{name} has given no figure yet: {error}'
        return f'{name} gives no figure for {now - since:.0f} s: {error}'
