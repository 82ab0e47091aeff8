# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""What the detector node says of itself on ``/diagnostics``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from prune_perception.runtime.monitor import Snapshot, STAGES

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR

# Below this share of the camera's rate, images are being lost and not merely jittering.
_RATE_SHARE = 0.7
_SECONDS_OF_SILENCE = 2.0

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
            'Output rate (Hz)': _number(sum(rates) if rates else None),
            'Frames processed': str(sum(each.processed for each in snapshots))}
    if failure is not None:
        return Finding(ERROR, failure, values)
    if problems:
        return Finding(ERROR, '; '.join(problems), values)
    return Finding(OK, state if enabled else f'{state}, disabled', values)


def input_finding(
        snapshot: Snapshot, *, topic: str, publishers: int, expected_rate: float,
        seconds_active: float, last_failure: str | None, enabled: bool) -> Finding:
    """Say whether images come as they should."""
    camera_rate = expected_rate or snapshot.camera_rate
    values = {
        'Topic': topic,
        'Publishers': str(publishers),
        'Input rate (Hz)': _number(snapshot.input_rate),
        'Camera rate (Hz)': _number(camera_rate),
        'Images received': str(snapshot.received),
        'Images dropped, newer came first': str(snapshot.dropped),
        'Images failed': str(snapshot.failed)}
    for reason, count in snapshot.left_out.items():
        values[f'Images left out, {reason}'] = str(count)
    if last_failure is not None:
        values['Last failure'] = last_failure
    waited = (seconds_active if snapshot.seconds_since_input is None
              else snapshot.seconds_since_input)
    if publishers == 0 and waited > _SECONDS_OF_SILENCE:
        return Finding(WARN, f'nobody publishes {topic}', values)
    if waited > _SECONDS_OF_SILENCE:
        return Finding(
            WARN, f'no image on {topic} for {waited:.0f} s, though somebody publishes it; check '
            f'the QoS, and {TRANSPORT_REMEDY}', values)
    if snapshot.failed_lately:
        return Finding(
            WARN, f'{snapshot.failed_lately} images could not be processed lately: '
            f'{last_failure}', values)
    if (camera_rate and snapshot.input_rate is not None
            and snapshot.input_rate < _RATE_SHARE * camera_rate):
        return Finding(
            WARN, f'{snapshot.input_rate:.1f} of {camera_rate:.1f} images a second arrive; the '
            f'transport loses the others: {TRANSPORT_REMEDY}', values)
    if not enabled:
        return Finding(OK, 'disabled: images are left out as they come', values)
    return Finding(OK, 'images arrive' if snapshot.received else 'waiting for images', values)


def latency_finding(snapshot: Snapshot, age_problem: str | None) -> Finding:
    """Say how long a frame takes and how old a result is."""
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
    if snapshot.ages_unavailable and age_problem is not None:
        return Finding(WARN, f'age of results {UNAVAILABLE}: {age_problem}', values)
    total = snapshot.latencies.get('total')
    if total is None:
        return Finding(OK, 'no frame lately', values)
    return Finding(OK, f'{total.p50 * 1e3:.1f} ms a frame', values)


def _number(value: float | None) -> str:
    return UNAVAILABLE if value is None else f'{value:.2f}'
