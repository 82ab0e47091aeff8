# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
The certificate: how much of what the dense detector sees the pruned one misses, at most.

It is measured by :mod:`.certify`; here is what it holds and how it is put into words. It is about
objects of which the dense detector is confident, in footage like that which it was measured on.
It is not about people in the world: what both detectors fail to see is in no count.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
import math
from typing import Any

from prune_perception.pruning.miss_bound import MissBound, units_needed, units_needed_at

TRACK, PICTURE, BLOCK = 'track', 'picture', 'block of time'


class CertificateError(ValueError):
    """A certificate that cannot be made or read; one line that says why."""


@dataclass(frozen=True)
class Demand:
    """
    What is to be certified, and what counts.

    :param bound: on the share of units missed, that is asked for.
    :param confidence: of each bound.
    :param confident_score: from which on a detection of the dense detector is an object.
    :param score: above which a detection of the pruned detector counts, as on the robot.
    :param overlap: intersection over union from which it is on the object.
    :param stated_rate: a unit is missed when more than this share of its objects is.
    :param fewest_frames: in which the dense detector has to be confident of an object that is
        followed; what it sees more briefly is a flicker about the score, and no unit. Trackers
        wait as long before they believe a track (``min_hits`` of Bewley et al., *Simple Online
        and Realtime Tracking*, ICIP 2016).
    """

    bound: float = 0.1
    confidence: float = 0.95
    confident_score: float = 0.35
    score: float = 0.35
    overlap: float = 0.5
    stated_rate: float = 0.5
    fewest_frames: int = 3

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        if self.fewest_frames < 1:
            raise CertificateError(f'fewest frames is {self.fewest_frames}; it must be 1 or more')
        shares = {name: value for name, value in asdict(self).items() if name != 'fewest_frames'}
        for name, value in shares.items():
            least = name in ('score', 'stated_rate')
            if not (0 <= value < 1 if least else 0 < value < 1):
                raise CertificateError(
                    f'{name.replace("_", " ")} is {value:g}; it must lie '
                    f'{"from 0 to below 1" if least else "between 0 and 1"}')


@dataclass(frozen=True)
class Source:
    """
    What was looked at, and by whom the objects are.

    :param data: name of the recording.
    :param digest: SHA-256 of the recording.
    :param first_frame: of those that were looked at, the recording's first being 1.
    :param last_frame: likewise; all frames between are among them.
    :param dense: name of the dense detector.
    :param dense_digest: of its bundle.
    :param frame_rate: of the frames that were looked at, 1/s; None where it is not known.
    :param set_aside: share of a recording that is looked at, where the rest of it serves to
        prune; None where all of it may be.
    """

    data: str
    digest: str
    first_frame: int
    last_frame: int
    dense: str
    dense_digest: str = ''
    frame_rate: float | None = None
    set_aside: float | None = None

    @property
    def frames(self) -> int:
        """How many frames were looked at."""
        return self.last_frame - self.first_frame + 1


@dataclass(frozen=True)
class Count:
    """
    What was counted of one class, or of all together.

    :param objects: detections of the dense detector, frame by frame.
    :param objects_missed: of these; a plain count, for which no bound is stated.
    :param of_units: the units, and the bound on the share of them that is missed.
    """

    objects: int
    objects_missed: int
    of_units: MissBound


@dataclass(frozen=True)
class More:
    """
    What would be enough for the bound that was asked for.

    :param units: independent ones, beside those there are.
    :param frames: about as many, if units come as they did.
    :param seconds: the same; None where the frame rate is not known.
    """

    units: int
    frames: int
    seconds: float | None


@dataclass(frozen=True)
class Certificate:
    """
    How much the pruned detector misses, at most, and on what that rests.

    :param unit: ``TRACK``, ``PICTURE`` or ``BLOCK``.
    :param block_frames: length of a block of time; units in blocks that are not neighbours are
        taken for independent. None where all units are.
    :param carried_over: units that were in view in the first frame, so that the network may have
        been fitted to the same object earlier in the recording.
    :param brief: tracks of fewer frames than the demand wants; they are no units.
    :param brief_missed: of these, the ones that were missed beyond the stated rate.
    :param classes: by name; those with objects. Each bound holds by itself: that all of them hold
        at once is less sure than any.
    """

    demand: Demand
    source: Source
    unit: str
    block_frames: int | None
    carried_over: int
    brief: int
    brief_missed: int
    overall: Count
    classes: Mapping[str, Count] = field(default_factory=dict)

    @property
    def enough(self) -> bool:
        """Whether there are units enough for the bound asked for, had none been missed."""
        return self.overall.of_units.effective >= units_needed(
            self.demand.bound, self.demand.confidence)

    @property
    def certified(self) -> bool:
        """Whether the bound is at most the one that was asked for."""
        return self.overall.of_units.bound <= self.demand.bound

    def more(self, *, at_share_seen: bool = False) -> More | None:
        """
        Return what would give the bound asked for.

        :param at_share_seen: suppose that as large a share goes on being missed; otherwise, that
            nothing more is.
        :returns: None where nothing would, or where no unit tells how often they come.
        """
        found, demand = self.overall.of_units, self.demand
        if not found.units:
            return None
        needed = units_needed_at(demand.bound, demand.confidence, found.missed / found.units) \
            if at_share_seen else units_needed(
                demand.bound, demand.confidence, found.effective_missed)
        if needed is None:
            return None
        units = max(0, needed - found.effective)
        frames = math.ceil(self.source.frames * units / found.effective)
        rate = self.source.frame_rate
        return More(units, frames, None if rate is None else frames / rate)

    def text(self) -> str:
        """Return what people should know, in two lines."""
        return f'{self._result()}\n{self._conditions()}'

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for a card or JSON."""
        nothing, same = self.more(), self.more(at_share_seen=True)
        return {
            'text': self.text(), 'certified': self.certified, 'enough_evidence': self.enough,
            'unit': self.unit, **_plain(self.overall), 'block_frames': self.block_frames,
            'carried_over': self.carried_over, 'brief': self.brief,
            'brief_missed': self.brief_missed, 'asked': asdict(self.demand),
            'measured_on': asdict(self.source),
            'classes': {name: _plain(count) for name, count in self.classes.items()},
            'more_if_nothing_is_missed': None if nothing is None else asdict(nothing),
            'more_at_the_share_seen': None if same is None else asdict(same)}

    def classes_title(self) -> str:
        """Return what :meth:`class_table` is about."""
        return (f'Certificate, class by class: each bound holds by itself with '
                f'{_percent(self.demand.confidence)} confidence; that all of them hold at once is '
                'less sure')

    def class_table(self) -> tuple[list[str], list[list[str]]]:
        """Return what is missed of each class, as text; the class with most objects first."""
        needed = units_needed(self.demand.bound, self.demand.confidence)
        head = ['class', 'missed at most', f'{_several(self.unit)} missed', 'independent',
                'objects missed, frame by frame', '']
        rows = []
        for name, count in sorted(self.classes.items(), key=lambda each: -each[1].objects):
            found = count.of_units
            rows.append([
                name, _percent(found.bound), f'{found.missed} of {found.units}',
                f'{found.effective}', f'{count.objects_missed} of {count.objects}',
                'certified' if found.bound <= self.demand.bound else
                f'above {_percent(self.demand.bound)}' if found.effective >= needed else
                f'not enough evidence for {_percent(self.demand.bound)}'])
        return head, rows

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> 'Certificate':
        """
        Return the certificate of a card.

        :raises CertificateError: a value is missing or of another kind.
        """
        try:
            return Certificate(
                Demand(**values['asked']), Source(**values['measured_on']), str(values['unit']),
                values['block_frames'], int(values['carried_over']), int(values['brief']),
                int(values['brief_missed']), _count(values),
                {str(name): _count(count) for name, count in values['classes'].items()})
        except KeyError as error:
            raise CertificateError(f'the certificate has no {error.args[0]}') from error
        except (TypeError, AttributeError, ValueError) as error:
            raise CertificateError(f'the certificate cannot be read: {error}') from error

    def _result(self) -> str:
        found, demand, source = self.overall.of_units, self.demand, self.source
        if not found.units:
            nothing = f'no object in {demand.fewest_frames} frames or more, ' \
                if self.brief else 'nothing '
            return (f'not enough evidence to certify anything: {source.dense} is confident of '
                    f'{nothing}in {_frames(source)}')
        said = f'with {_percent(demand.confidence)} confidence {self._missed(found.bound)}'
        if self.certified:
            return said
        if self.enough:
            return (f'{said}, which is more than the {_percent(demand.bound)} asked for'
                    f'{self._wish()}')
        needed = units_needed(demand.bound, demand.confidence)
        return (f'not enough evidence to certify that {self._missed(demand.bound)}: that takes '
                f'{needed} independent ones even if none is missed, and this footage has '
                f'{found.effective}, which give at most {_percent(found.bound)}{self._wish()}')

    def _missed(self, bound: float) -> str:
        """Return the statement that is certified, or would have been."""
        share, rate = f'at most {_percent(bound)}', _percent(self.demand.stated_rate)
        if self.unit == TRACK:
            return (f'{share} of the objects that {self.source.dense} is confident of in '
                    f'{self.demand.fewest_frames} frames or more are missed in more than {rate} '
                    'of them')
        return (f'in {share} of the {_several(self.unit)} more than {rate} of the objects are '
                f'missed that {self.source.dense} is confident of')

    def _wish(self) -> str:
        """Return how much more footage would do."""
        nothing, same = self.more(), self.more(at_share_seen=True)
        if nothing is None:
            return ''
        share = self.source.set_aside
        wish = f'; about {_length(nothing)} more to certify on'
        if share is not None:
            wish += (f' ({_length(nothing, share)} more of recording, {_percent(share)} of which '
                     'is for the certificate)')
        wish += ' would do if nothing more is missed'
        if same == nothing:
            return wish
        if same is None:
            return f'{wish}, and none would if as much is missed as here'
        recorded = f' ({_length(same, share)})' if share is not None else ''
        return f'{wish}, {_length(same)}{recorded} if as much is missed as here'

    def _conditions(self) -> str:
        found, count = self.overall.of_units, self.overall
        units = _several(self.unit) if found.units != 1 else self.unit
        worth = f' (worth {found.effective} independent)' if found.effective < found.units else ''
        brief = f', of {self.brief} briefer ones {self.brief_missed}' if self.brief else ''
        return (f'measured on {_frames(self.source)}, SHA-256 {self.source.digest[:12]}: '
                f'{found.missed} of {found.units} {units}{worth} missed{brief}, frame by frame '
                f'{count.objects_missed} of {count.objects}; {self._of_blocks()}it is about what '
                f'{self.source.dense} sees in footage like this, not about people in the world')

    def _of_blocks(self) -> str:
        """Return that blocks of time are less than objects, where the unit is a block."""
        rate, frames = self.source.frame_rate, self.block_frames
        if self.unit != BLOCK or rate is None or frames is None:
            return ''
        return (f'at {rate:.3g} frames/s objects cannot be followed, so that it is about blocks '
                f'of {frames / rate:.3g} s and bounds no share of objects, which is less than '
                'a certificate by tracks; ')


def _plain(count: Count) -> dict[str, Any]:
    found = asdict(count)
    return {**found.pop('of_units'), **found}


def _count(values: Mapping[str, Any]) -> Count:
    return Count(
        int(values['objects']), int(values['objects_missed']), MissBound(
            int(values['units']), int(values['effective']), int(values['missed']),
            int(values['effective_missed']), float(values['bound'])))


def _percent(share: float) -> str:
    """Return a share with one decimal, rounded up: a bound must hold as it is printed, too."""
    return f'{math.ceil(share * 1e3 - 1e-9) / 10:g} %'


def _several(unit: str) -> str:
    return 'blocks of time' if unit == BLOCK else f'{unit}s'


def _frames(source: Source) -> str:
    return (f'{source.frames} frames of {source.data} ({source.first_frame} to '
            f'{source.last_frame})')


def _length(more: More, set_aside: float = 1.0) -> str:
    """Return how long the footage is of which this share is looked at."""
    if more.seconds is None:
        return f'{math.ceil(more.frames / set_aside)} frames'
    seconds = math.ceil(more.seconds / set_aside)
    return f'{seconds} s' if seconds < 600 else f'{math.ceil(seconds / 60)} minutes'
