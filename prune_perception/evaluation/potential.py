# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
How much of what pruning saves survives bad weather: the rules, without the detectors.

The *prune potential* of footage is the largest saving at which a pruned detector loses no more
than is allowed against the dense one on that footage (Liebenwein, Baykal, Carter, Gifford, Rus,
*Lost in Pruning*, MLSys 2021, where the saving is the share of weights that are gone; here it is
that of the modelled energy). It differs from footage to footage, and what holds in fair weather
need not hold in fog.

Their loss is the error on labelled data less that of the dense network. Without labels it is

    loss = consistency - agreement

Both are the average precision, at an overlap of 0.5, against what the dense detector is confident
of in the same corrupted images: *agreement* is that of the rung, *consistency* that of the dense
detector itself when it sees each of these images mirrored. A mirrored image is no harder, so what
the dense detector then says otherwise is its own doubt, and it doubts more in fog. Taken against
an agreement of 1, that doubt would be charged to pruning.

A ladder of two rungs that cost 0.5 and 0.25 of the dense one, of which in fog the second loses
0.08 and in fair weather none loses more than 0.02: with 0.05 allowed, the potential is 75 % in
fair weather and 50 % in fog, and the rung to take is the first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from prune_perception.evaluation.figures import Settings
from prune_perception.evaluation.intervals import Interval

SCHEMA = 1

LEAST_OBJECTS = 40
"""
Objects that the dense detector must be confident of for a figure: with fewer, one that is missed
by chance makes up more than half of a loss of 0.05.
"""

LEAST_CONSISTENCY = 0.5
"""
Of the dense detector with itself, for a figure. Where it contradicts itself about most of what it
says, a network that says nothing at all would come close to losing nothing.
"""

AS_RECORDED = 'as recorded'


class PotentialError(ValueError):
    """There is nothing that a potential could be told of; one line that says why."""


class Verdict(StrEnum):
    """
    What becomes of a rung under a condition.

    A rung survives by its loss, and not by the upper end of its interval. It has to survive many
    conditions at once, of which chance alone pushes one up; and agreement errs on the safe side,
    since what a rung sees otherwise than the dense detector is not all wrong. The doubt is told
    beside it.
    """

    SURE = 'survives for sure'
    """The loss is within what is allowed, also at the upper end of its interval."""
    SURVIVES = 'survives'
    """The loss is within, and the upper end of its interval is not."""
    FAILS = 'fails'
    """The loss is more than is allowed."""


@dataclass(frozen=True)
class Figure:
    """A figure with its 95 % interval; None where too few draws of frames had one."""

    value: float
    interval: Interval | None

    def verdict(self, largest: float) -> Verdict:
        """
        Return what this figure says as a loss.

        :param largest: loss that is allowed.
        """
        if self.value > largest:
            return Verdict.FAILS
        if self.interval is None or self.interval.high > largest:
            return Verdict.SURVIVES
        return Verdict.SURE


@dataclass(frozen=True)
class Rung:
    """
    A bundle of the ladder.

    :param share: of the dense bundle's modelled energy of an image.
    """

    name: str
    digest: str
    share: float

    @property
    def saving(self) -> float:
        """Share of the dense bundle's energy that is saved."""
        return 1 - self.share


@dataclass(frozen=True)
class Condition:
    """
    What became of the ladder under one corruption at one severity.

    :param corruption: its name; empty for the images as they were recorded.
    :param severity: 1 to 5; 0 for the images as they were recorded.
    :param objects: that the dense detector is confident of.
    :param consistency: of the dense detector with itself, mirrored; None without objects.
    :param reason: why there are no losses; empty where there are.
    :param agreements: of the rungs, by name; empty with a ``reason``.
    :param losses: likewise.
    :param dense_ap50: of the dense detector by labels; None without labels.
    :param excesses: AP50 of the dense detector by labels, less that of the rung, by name.
    """

    corruption: str
    severity: int
    objects: int
    consistency: float | None
    reason: str = ''
    agreements: Mapping[str, Figure] = field(default_factory=dict)
    losses: Mapping[str, Figure] = field(default_factory=dict)
    dense_ap50: float | None = None
    excesses: Mapping[str, Figure] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What a reader would call it."""
        return f'{self.corruption.replace("_", " ")} {self.severity}' if self.corruption \
            else AS_RECORDED


def why_unjudged(objects: int, consistency: float | None) -> str:
    """Return why nothing can be said of a condition; empty where something can."""
    if objects < LEAST_OBJECTS or consistency is None:
        return f'dense sees too little ({objects} objects)' if objects else 'dense sees nothing'
    if consistency < LEAST_CONSISTENCY:
        return f'dense contradicts itself ({consistency:.2f})'
    return ''


def potential(
        rungs: Sequence[Rung], losses: Mapping[str, Figure], largest: float) -> float | None:
    """
    Return the largest saving that survives; 0 where none does and the dense detector is left.

    :param losses: of each rung under a condition, by name.
    :param largest: loss that is allowed.
    :returns: None where there are no losses.
    """
    if not losses:
        return None
    return max([0.0, *(rung.saving for rung in rungs
                       if losses[rung.name].verdict(largest) is not Verdict.FAILS)])


@dataclass(frozen=True, eq=False)
class Survey:
    """
    A ladder under all conditions, and what it comes to.

    :param dense: name of the reference.
    :param dense_digest: of its bundle.
    :param rungs: the dearest first.
    :param conditions: as recorded first.
    :param largest_loss: that is allowed.
    :param up_to: severity up to which the recommended rung has to survive.
    :param class_names: that were judged.
    :param source: path of the recording.
    :param data_digest: of the recording.
    :param frames: that were looked at.
    :param part: first and last frame of the part (None: the recording's), and every how many.
    :param labels: what the excesses were judged by; None without.
    :param block: frames in a block of the bootstrap.
    :param notes: what to know; nothing was wrong.
    :param wrong: with the recording, one line each: frames that could not be read, and warnings.
    """

    dense: str
    dense_digest: str
    rungs: tuple[Rung, ...]
    conditions: tuple[Condition, ...]
    largest_loss: float
    up_to: int
    class_names: tuple[str, ...]
    source: str
    data_digest: str
    frames: int
    part: tuple[int, int | None, int]
    labels: str | None
    block: int
    settings: Settings
    notes: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    machine: str = ''
    versions: Mapping[str, str] = field(default_factory=dict)
    command: str = ''
    date: str = ''

    @property
    def asked(self) -> tuple[Condition, ...]:
        """Conditions that a rung has to survive to be recommended."""
        return tuple(each for each in self.conditions if each.severity <= self.up_to)

    @property
    def judged(self) -> tuple[Condition, ...]:
        """Of these, those of which something can be said."""
        return tuple(each for each in self.asked if not each.reason)

    @property
    def recommended(self) -> Rung | None:
        """The cheapest rung that survives all of ``judged``; None: stay with the dense one."""
        return self._cheapest((Verdict.SURE, Verdict.SURVIVES))

    @property
    def sure(self) -> Rung | None:
        """The cheapest rung that survives all of ``judged`` for sure; None: the dense one."""
        return self._cheapest((Verdict.SURE,))

    def potential(self, condition: Condition) -> float | None:
        """Return the largest saving that survives a condition; None where nothing is said."""
        return potential(self.rungs, condition.losses, self.largest_loss)

    def potential_by_labels(self, condition: Condition) -> float | None:
        """Return the same by the excess error against labels, as in the paper."""
        return potential(self.rungs, condition.excesses, self.largest_loss)

    def verdict(self, rung: Rung, condition: Condition) -> Verdict:
        """Return what becomes of a rung under a condition that is judged."""
        return condition.losses[rung.name].verdict(self.largest_loss)

    def those(self, rung: Rung, verdict: Verdict) -> tuple[Condition, ...]:
        """Return those of ``judged`` under which this becomes of a rung, the worst loss first."""
        return tuple(sorted(
            (each for each in self.judged if self.verdict(rung, each) is verdict),
            key=lambda each: -each.losses[rung.name].value))

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        recommended, sure = self.recommended, self.sure
        return {
            'schema': SCHEMA,
            'recommended': recommended.name if recommended else None,
            'sure': sure.name if sure else None,
            'limits': {rung.name: [each.name for each in self.those(rung, Verdict.FAILS)]
                       for rung in self.rungs},
            'doubts': {rung.name: [each.name for each in self.those(rung, Verdict.SURVIVES)]
                       for rung in self.rungs},
            'largest_loss': self.largest_loss, 'up_to_severity': self.up_to,
            'dense': {'name': self.dense, 'digest': self.dense_digest},
            'rungs': [{'name': rung.name, 'digest': rung.digest, 'energy_share': rung.share}
                      for rung in self.rungs],
            'conditions': [self._plain(each) for each in self.conditions],
            'class_names': list(self.class_names),
            'recording': {'path': self.source, 'digest': self.data_digest, 'frames': self.frames,
                          'first': self.part[0], 'last': self.part[1], 'every': self.part[2]},
            'labels': self.labels,
            'settings': {
                'score_threshold': self.settings.score_threshold,
                'operating_point': self.settings.operating_point, 'draws': self.settings.draws,
                'seed': self.settings.seed, 'block': self.block,
                'hardware': self.settings.hardware, 'least_objects': LEAST_OBJECTS,
                'least_consistency': LEAST_CONSISTENCY},
            'notes': list(self.notes), 'wrong': list(self.wrong), 'machine': self.machine,
            'versions': dict(self.versions), 'command': self.command, 'date': self.date}

    def _cheapest(self, verdicts: Sequence[Verdict]) -> Rung | None:
        good = [rung for rung in self.rungs if rung.saving > 0 and all(
            self.verdict(rung, each) in verdicts for each in self.judged)]
        return min(good, key=lambda rung: rung.share, default=None)

    def _plain(self, condition: Condition) -> dict[str, Any]:
        return {
            'corruption': condition.corruption or None, 'severity': condition.severity,
            'objects': condition.objects, 'consistency': condition.consistency,
            'reason': condition.reason or None, 'potential': self.potential(condition),
            'potential_by_labels': self.potential_by_labels(condition),
            'dense_ap50': condition.dense_ap50,
            'rungs': {rung.name: {
                'verdict': None if condition.reason else str(self.verdict(rung, condition)),
                **_parts('agreement', condition.agreements.get(rung.name)),
                **_parts('loss', condition.losses.get(rung.name)),
                **_parts('excess_ap50', condition.excesses.get(rung.name))}
                for rung in self.rungs}}


def _parts(name: str, figure: Figure | None) -> dict[str, Any]:
    interval = figure.interval if figure else None
    return {name: figure.value if figure else None,
            f'{name}_interval': [interval.low, interval.high] if interval else None}
