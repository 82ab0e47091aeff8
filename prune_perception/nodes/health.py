# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""What the detector node says of itself on ``/diagnostics``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from prune_perception.runtime.hysteresis import Hold
from prune_perception.runtime.monitor import Snapshot, STAGES

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
_LEVELS = (OK, WARN, ERROR)

TRANSPORT_REMEDY = (
    'start camera and detector with the Fast DDS profile config/fastdds.xml, or use the '
    'compressed transport')
UNAVAILABLE = 'unavailable'


@dataclass(frozen=True)
class Finding:
    """A level, a sentence, and figures: what becomes one diagnostic status."""

    level: bytes
    message: str
    values: Mapping[str, str]

    def status(self, name: str, hardware_id: str) -> DiagnosticStatus:
        """Return it as a message."""
        return DiagnosticStatus(
            level=self.level, name=name, message=self.message, hardware_id=hardware_id,
            values=[KeyValue(key=key, value=value) for key, value in self.values.items()])


def detector_finding(
        *, state: str, failure: str | None, problems: tuple[str, ...],
        model: Mapping[str, str], enabled: bool, snapshots: Sequence[Snapshot]) -> Finding:
    """
    Say whether the detector runs, with what, and how often.

    :param snapshots: of each camera; empty before the node is configured.
    """
    values = {'State': state, 'Enabled': str(enabled).lower(), **model}
    if snapshots:
        rates = [each.output_rate for each in snapshots if each.output_rate is not None]
        values |= {
            'Output rate (Hz)': number(sum(rates) if rates else None),
            'Frames processed': str(sum(each.processed for each in snapshots))}
    if failure is not None:
        return Finding(ERROR, failure, values)
    if problems:
        return Finding(ERROR, '; '.join(problems), values)
    return Finding(OK, state if enabled else f'{state}, disabled', values)


def latency_finding(snapshot: Snapshot, stamp_problem: str | None) -> Finding:
    """
    Say how long a frame takes and how old a result is.

    :param stamp_problem: what is wrong with the stamps of the images, and what to do.
    """
    values: dict[str, str] = {}
    for stage in STAGES:
        spread = snapshot.latencies.get(stage)
        if spread is not None:
            values |= {
                f'{stage.capitalize()} p50 (ms)': f'{spread.p50 * 1e3:.2f}',
                f'{stage.capitalize()} p95 (ms)': f'{spread.p95 * 1e3:.2f}',
                f'{stage.capitalize()} p99 (ms)': f'{spread.p99 * 1e3:.2f}'}
    age = snapshot.age
    if age is None:
        values['Result age (ms)'] = UNAVAILABLE
    else:
        values |= {
            'Result age p50 (ms)': f'{age.p50 * 1e3:.2f}',
            'Result age p99 (ms)': f'{age.p99 * 1e3:.2f}'}
    values['Results without an age'] = str(snapshot.ages_unavailable)
    if stamp_problem is not None:
        return Finding(
            WARN, f'age of results {UNAVAILABLE}: {stamp_problem}' if age is None
            else stamp_problem, values)
    total = snapshot.latencies.get('total')
    if total is None:
        return Finding(OK, 'no frame lately', values)
    return Finding(OK, f'{total.p50 * 1e3:.1f} ms a frame', values)


def held(hold: Hold, now: float, finding: Finding) -> Finding:
    """Return a finding at the level that is kept, with its own figures, which are of now."""
    level, message = hold.judge(now, _LEVELS.index(finding.level), finding.message)
    return Finding(_LEVELS[level], message, finding.values)


def number(value: float | None) -> str:
    """Return a figure with two decimals, or that it is not known."""
    return UNAVAILABLE if value is None else f'{value:.2f}'
