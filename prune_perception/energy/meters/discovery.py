# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Which sensors this machine has, why the others are not usable, and which one to take."""

from dataclasses import dataclass

from prune_perception.energy.meters.interface import COUNTED, Meter, MeterInfo, Scope


@dataclass(frozen=True)
class Refusal:
    """
    Why a family of sensors, or one of its rails, is not usable.

    :param family: such as ``rapl``.
    :param reason: what was tried and found, one line.
    :param remedy: what a person can do about it, one line; empty if there is nothing.
    :param udev_rule: the rule that would give permission, where that is what is missing.
    """

    family: str
    reason: str
    remedy: str = ''
    udev_rule: str = ''


@dataclass(frozen=True)
class Discovery:
    """
    What was found.

    :param meters: read once and found to work, in the order of the families.
    :param standby: there, but with nothing to measure now, such as a battery on its charger;
        their reads raise MeterError until that changes.
    :param refusals: everything else, with reasons, and the reasons of ``standby``.
    """

    meters: tuple[Meter, ...] = ()
    standby: tuple[Meter, ...] = ()
    refusals: tuple[Refusal, ...] = ()

    def __add__(self, other: 'Discovery') -> 'Discovery':
        """Join what two families found."""
        return Discovery(
            self.meters + other.meters, self.standby + other.standby,
            self.refusals + other.refusals)


_SCOPES = (
    Scope.WHOLE_SYSTEM, Scope.MODULE, Scope.PACKAGE, Scope.BATTERY, Scope.GRAPHICS_BOARD)


def best(discovery: Discovery) -> Meter | None:
    """
    Return the meter to take for the energy of a frame, or None if there is none.

    The rule: the one that leaves out least of what the computer draws (whole system, module,
    package), then the battery, which also feeds what has nothing to do with computing, then
    the graphics board. Among equals a counter before integrated power, then the faster sensor,
    then the one found first. Meters on standby come after all that work. Memory or a single
    rail is never taken: alone it leaves out the computing, or one cannot know whether it does.
    """
    for candidates in (discovery.meters, discovery.standby):
        meters = [meter for meter in candidates if meter.scope in _SCOPES]
        if meters:
            return min(meters, key=lambda meter: _rank(meter.info))
    return None


def _rank(info: MeterInfo) -> tuple[int, bool, float]:
    return _SCOPES.index(info.scope), info.method != COUNTED, info.update_period
