# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""What can be set of each camera of the detector node, and what its values mean."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_perception.bundle import Bundle
from prune_perception.nodes.parameters import ParameterSpec, without_empty
from prune_perception.runtime.detector import class_indices
from prune_perception.runtime.region import Region

# Those of a node with one camera. With several, they are what each camera starts with, and each
# has them under its own name.
CAMERA_PARAMETERS = (
    ParameterSpec(
        'classes', [''], 'Report these classes alone; empty means all of the bundle.', live=True),
    ParameterSpec(
        'region_of_interest', [0.0, 0.0, 1.0, 1.0], 'The part of the image that is looked at: x, '
        'y, width, height as shares of the image. Boxes are in pixels of the whole image.',
        live=True),
    ParameterSpec(
        'expected_rate', 0.0, 'Rate of the camera in Hz, to tell when images are lost on the '
        'way; 0 takes the rate of the camera_info topic beside the images.',
        limits=(0.0, 1000.0), live=True),
    ParameterSpec(
        'max_rate', 0.0, 'Take no more images a second than this, in Hz; 0 means no limit.',
        limits=(0.0, 1000.0), live=True),
)
PRIORITY = ParameterSpec(
    'priority', 1, 'Share of the detector while it cannot keep up: a camera with 2 gets twice as '
    'many images processed as one with 1.', limits=(1, 100), live=True)

_CAMERA_NAME = re.compile(r'[A-Za-z](_?[A-Za-z0-9])*')


@dataclass(frozen=True)
class CameraSettings:
    """
    How one camera's images are treated.

    :param classes: indices of the classes to report; None means all.
    :param expected_rate: Hz; 0 when it is not known.
    :param max_rate: Hz; 0 means no limit.
    """

    priority: int = 1
    classes: NDArray[np.int64] | None = None
    region: Region = Region()
    expected_rate: float = 0.0
    max_rate: float = 0.0


def read_settings(value: Callable[[str], Any], camera: str, bundle: Bundle) -> CameraSettings:
    """
    Return the settings that parameters hold.

    :param value: of a parameter, by its full name.
    :param camera: its name; empty for the only one.
    :raises ValueError: a value cannot be; with the parameter's name.
    """
    def own(name: str) -> Any:
        given = value(parameter_name(camera, name))
        check_value(parameter_name(camera, name), given, bundle)
        return given

    classes = without_empty(own('classes'))
    return CameraSettings(
        priority=own('priority') if camera else 1,
        classes=class_indices(bundle, classes) if classes else None,
        region=Region.of(own('region_of_interest')), expected_rate=own('expected_rate'),
        max_rate=own('max_rate'))


def check_value(name: str, value: Any, bundle: Bundle | None) -> None:
    """
    Refuse a value of a camera's parameter that its type and range let pass.

    :param name: full name of the parameter.
    :param bundle: whose classes they have to be; None where that is not known yet.
    :raises ValueError: with the name of the parameter.
    """
    own_name = name.rpartition('.')[2]
    try:
        if own_name == 'region_of_interest':
            Region.of(value)
        elif own_name == 'classes' and bundle is not None:
            class_indices(bundle, without_empty(value))
    except (ValueError, RuntimeError) as error:
        raise ValueError(f'parameter {name}: {error}') from None


def parameter_name(camera: str, name: str) -> str:
    """Return the full name of a camera's parameter; ``camera`` is empty for the only one."""
    return f'{camera}.{name}' if camera else name


def camera_specs(camera: str, value: Callable[[str], Any]) -> list[ParameterSpec]:
    """
    Return the parameters of one of several cameras.

    :param value: of the node's parameter of the same name, which is the default.
    """
    return [replace(PRIORITY, name=f'{camera}.{PRIORITY.name}'), *(
        replace(spec, name=f'{camera}.{spec.name}', default=_plain(value(spec.name)))
        for spec in CAMERA_PARAMETERS)]


def names_problem(names: Sequence[str]) -> str | None:
    """Say what is wrong with the names of cameras, if anything is."""
    for index, name in enumerate(names):
        if not _CAMERA_NAME.fullmatch(name):
            return (f'{name!r} cannot be a part of a topic; a name begins with a letter and has '
                    'letters, digits and single underscores')
        if name in names[:index]:
            return f'{name!r} is there twice'
    return None


def _plain(value: Any) -> Any:
    """Return an array of numbers, as rclpy gives them, as a list."""
    return value if isinstance(value, (str, int, float)) else list(value)
