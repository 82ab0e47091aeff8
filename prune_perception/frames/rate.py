# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""How fast the frames of a recording follow each other."""

from collections.abc import Sequence

import numpy as np

_WINDOW = 10  # frames: a recorder that writes several at once does not make a camera fast


def frame_rate(times: Sequence[int]) -> float | None:
    """
    Return the rate at which frames follow each other, 1/s; None if they all have one time.

    It is the mean rate, or the usual (median) one of ten frames on end if that is higher: a
    recorder that was stopped for a minute does not make a camera slow. Of the two, the higher is
    the careful one, for what is to last some seconds then has more frames, and not fewer.

    :param times: of the frames, ns, in their order.
    """
    span = times[-1] - times[0] if times else 0
    if span <= 0:
        return None
    mean = (len(times) - 1) * 1e9 / span
    window = min(_WINDOW, max(1, len(times) // 4))
    usual = float(np.median(np.subtract(times[window:], times[:-window])))
    return max(mean, window * 1e9 / usual) if usual > 0 else mean
