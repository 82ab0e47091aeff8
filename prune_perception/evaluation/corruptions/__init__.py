# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Bad weather, bad light, bad cameras: what a robot meets and a test set does not have.

Each corruption has five severities, and one figure that grows (or, where it says so, falls) with
the damage:

================  =============================================  ==============================
name              figure                                         severity 1 to 5
================  =============================================  ==============================
motion_blur       length of the blur, % of the image's width     0.5, 1, 1.5, 2.2, 3
noise             electrons that white is, falling               1000, 300, 100, 40, 15
low_light         stops of light that are missing                3, 4.5, 6, 7, 8
overexposure      stops of light too many                        0.7, 1.4, 2, 3, 4
jpeg              JPEG quality, falling                          25, 18, 15, 10, 7
fog               optical depth at the far end of the view       0.6, 1.2, 2, 3, 4.5
rain              streaks per million pixels                     300, 700, 1400, 2500, 4000
shaking_camera    RMS displacement, % of the image's side        0.3, 0.6, 1, 1.6, 2.5
panning_camera    speed, % of the image's width per frame        1, 2, 3, 4.5, 6
frozen_frames     frames of every 30 that repeat an older one    3, 6, 10, 15, 20
dropped_frames    % of the frames that never arrive              10, 20, 35, 50, 70
================  =============================================  ==============================

What the figures mean, and how each is made, is in the docstring of its class. The JPEG qualities
are those of Hendrycks and Dietterich, *Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations* (ICLR 2019, arXiv 1903.12261), whose five severities Michaelis et
al., *Benchmarking Robustness in Object Detection* (arXiv 1907.07484), took to detection. Theirs
are made for photographs of one size and stated in grey values; these are stated in what a camera
has (light, electrons, pixels of travel as a share of the image), and apart from the JPEG
qualities the values are this project's own. Figures under these corruptions therefore do not
compare with those of ImageNet-C or COCO-C.

Light adds up in linear light and not in grey values: blur, noise, exposure, fog and rain are
computed there (sRGB, IEC 61966-2-1). Everything follows from seed, corruption and frame index, so
that frames may be taken in any order. The same draws serve all severities: a higher one is the
same bad luck, with more of it. The draws are those of NumPy's default generator; another major
version of NumPy may draw others.

    corruption = create_corruption('panning_camera', severity=3)
    for index in range(count):
        source = corruption.frame(index)         # which frame is shown, or None: it is lost
        if source is not None:
            shown = corruption.image(images[source], index)
        truth = corruption.truth(truths[index], index, width, height)
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from prune_perception.evaluation.corruptions.camera import PanningCamera, ShakingCamera
from prune_perception.evaluation.corruptions.interface import Corruption, SEVERITIES
from prune_perception.evaluation.corruptions.sensor import (
    Jpeg,
    LowLight,
    MotionBlur,
    Noise,
    Overexposure,
)
from prune_perception.evaluation.corruptions.stream import DroppedFrames, FrozenFrames
from prune_perception.evaluation.corruptions.weather import Fog, Rain

__all__ = ['CORRUPTIONS', 'Corruption', 'SEVERITIES', 'corrupt', 'create_corruption']

CORRUPTIONS: Mapping[str, type[Corruption]] = MappingProxyType({
    kind.name: kind for kind in (
        MotionBlur, Noise, LowLight, Overexposure, Jpeg, Fog, Rain, ShakingCamera, PanningCamera,
        FrozenFrames, DroppedFrames)})
"""The corruptions by name, in the order of the table."""


def create_corruption(name: str, severity: int, seed: int = 0) -> Corruption:
    """
    Return a corruption by its name.

    :raises ValueError: no such corruption, severity or seed.
    """
    if name not in CORRUPTIONS:
        raise ValueError(f'corruption {name!r}: there is none of that name; there are '
                         f'{", ".join(CORRUPTIONS)}')
    return CORRUPTIONS[name](severity, seed)


def corrupt(
        image: NDArray[np.uint8], name: str, severity: int, *, index: int, seed: int = 0
        ) -> NDArray[np.uint8]:
    """
    Return a corrupted copy of an image.

    :param image: (height, width, 3) BGR.
    :param index: of the frame in its recording.
    :raises ValueError: no such corruption or severity, or one that does nothing to an image.
    """
    corruption = create_corruption(name, severity, seed)
    if not corruption.changes_images:
        raise ValueError(f'corruption {name!r}: chooses which frames are seen and leaves the '
                         'images as they are; ask its frame()')
    return corruption.image(image, index)
