# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""What a meter says of networks that were just made, for the verbs that make them."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from prune_perception.bundle import Bundle


def measured_lines(
        bundles: Mapping[str, Bundle], images: Sequence[NDArray[np.uint8]],
        engine: str = 'onnxruntime') -> list[str]:
    """
    Return the measured energy of each bundle, one line each, or why no meter says anything.

    :param bundles: by what they are called.
    :param images: (height, width, 3) BGR.
    :param engine: that runs them.
    """
    from prune_perception.energy.meters import best, discover
    from prune_perception.evaluation.cost import measured_energy
    from prune_perception.runtime.detector import Detector
    if best(discover()) is None:
        return ['measured energy: unavailable: this machine has no meter that can be read; '
                '`prune-perception meter` says why']
    found = measured_energy(
        {name: Detector(bundle, engine=engine) for name, bundle in bundles.items()}, images)
    return [f'measured energy, {name}, by {engine}: {figure}' for name, figure in found.items()]
