# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""What a block asks of a machine, by the access model of the profile that the fit starts from."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from prune_perception.calibration import CalibrationError
from prune_perception.energy.accesses import DRAM
from prune_perception.energy.hardware import HardwareProfile
from prune_perception.energy.model import layer_cost
from prune_perception.energy.shapes import Shape


@dataclass(frozen=True)
class Features:
    """
    The quantities that energy and time are fitted to.

    :param work: arithmetic, MACs; a simple operation counts as the part of one that the profile
        says.
    :param on_chip: the same with the accesses to what is on the chip, MACs; the profile's costs
        relative to a MAC are kept.
    :param dram_bytes: between the chip and the memory outside.
    :param layers: how many they are.
    """

    work: float
    on_chip: float
    dram_bytes: float
    layers: int


def features(shapes: Iterable[Shape], profile: HardwareProfile, bits: int = 32) -> Features:
    """
    Return what layers ask of a machine, one image at a time.

    :param profile: for its access model and the costs relative to a MAC.
    :param bits: of the words that the engine computes with.
    :raises CalibrationError: the profile's accesses depend on the costs that are to be found.
    """
    if profile.dataflow != 'blocked':
        raise CalibrationError(
            f'profile {profile.name} has dataflow {profile.dataflow}, whose mapping depends on '
            'the costs that are to be fitted; start from one with blocked, such as x86_cpu')
    inside = replace(profile, costs=replace(profile.costs, dram=0.0))
    work = on_chip = words = 0.0
    layers = 0
    for shape in shapes:
        cost = layer_cost(shape, inside, 1, bits)
        work += cost.compute
        on_chip += cost.total
        words += float(cost.accesses[:, DRAM].sum())
        layers += 1
    return Features(work, on_chip, words * bits / 8, layers)
