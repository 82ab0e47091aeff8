# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Which frames of a recording serve which purpose.

Neighbouring frames show nearly the same picture. A random split would test a network on what it
was fitted to; so each part is one stretch of time, with a gap before the next.
"""

from dataclasses import dataclass

FEWEST = 16
"""Frames below which a recording is not split."""

CERTIFY = 0.15
"""Share of a recording that is kept aside for the certificate (of the frames outside the gaps)."""

_SELECT = 0.12  # likewise; the rest is for fitting
_FEWEST_KEPT_ASIDE = 2
_SUPPOSED_RATE = 10.0  # frames/s of pictures, which have no times
_MOST_GAP_SHARE = 0.05  # of the frames; what is so short that a second is more cannot spare it
_FEWEST_FOR_GAP = 200  # shorter recordings cannot spare that much either
_GAP_SHARE = 0.02


class SplitError(ValueError):
    """Too few frames to split; the message says how many there are and how many are needed."""


@dataclass(frozen=True)
class Splits:
    """
    The parts of a recording, in the order of time.

    :param fit: positions of the frames for statistics and distillation.
    :param select: for ridge, early stopping and choices.
    :param certify: read once, at the end, by the certificate.
    :param gap: frames left out between two parts: those of a second, fewer in short recordings.
    """

    fit: range
    select: range
    certify: range
    gap: int


def split(frames: int, frame_rate: float | None = None) -> Splits:
    """
    Split a recording.

    :param frames: how many there are.
    :param frame_rate: of these, 1/s; None where it is not known.
    :raises SplitError: fewer than ``FEWEST``.
    """
    if frames < FEWEST:
        raise SplitError(
            f'{frames} frame{"" if frames == 1 else "s"} cannot be split into frames to fit, to '
            f'select and to certify; at least {FEWEST} are needed')
    # As many left out as there are in a second: the frames on either side are further apart.
    gap = round(_SUPPOSED_RATE if frame_rate is None else frame_rate)
    gap = max(1, min(gap, round(
        (_MOST_GAP_SHARE if frames >= _FEWEST_FOR_GAP else _GAP_SHARE) * frames)))
    usable = frames - 2 * gap
    select = max(_FEWEST_KEPT_ASIDE, round(_SELECT * usable))
    certify = max(_FEWEST_KEPT_ASIDE, round(CERTIFY * usable))
    fit = usable - select - certify
    return Splits(
        range(fit), range(fit + gap, fit + gap + select), range(frames - certify, frames), gap)
