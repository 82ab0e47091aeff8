# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
The energy account of a network: what each layer costs, in which kind of data and at which level.

All figures are modelled, for one image of a batch, with words of one width, on one profile; the
account carries these and whatever prints a figure prints them too.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import accumulate
import json
from pathlib import Path
from typing import Any

import numpy as np

from prune_perception.energy.accesses import KINDS, LEVELS, Table
from prune_perception.energy.hardware import HardwareProfile
from prune_perception.energy.layers import Layer, NetworkCount
from prune_perception.energy.model import floor_energy, layer_cost

SCHEMA = 1


@dataclass(frozen=True)
class LayerAccount:
    """
    One layer's part of the account, with what is fused to it.

    :param layer: as it was counted.
    :param accesses: (4, 4) words by kind and level.
    :param energy: (4, 4) their energy, MACs.
    :param compute: energy of the arithmetic, MACs.
    :param mapping: how it lies on an array; empty where that means nothing.
    """

    layer: Layer
    accesses: Table
    energy: Table
    compute: float
    mapping: Mapping[str, int]

    @property
    def total(self) -> float:
        """Energy of the layer, MACs."""
        return self.compute + float(self.energy.sum())

    def by_kind(self) -> dict[str, float]:
        """Return energy by kind of data, MACs."""
        return {'compute': self.compute,
                **dict(zip(KINDS, self.energy.sum(axis=1).tolist(), strict=True))}

    def by_level(self) -> dict[str, float]:
        """Return energy by level of the memory, MACs."""
        return {'compute': self.compute,
                **dict(zip(LEVELS, self.energy.sum(axis=0).tolist(), strict=True))}

    def accesses_by_level(self) -> dict[str, float]:
        """Return accesses by level of the memory, words."""
        return dict(zip(LEVELS, self.accesses.sum(axis=0).tolist(), strict=True))


@dataclass(frozen=True)
class Total:
    """
    The sums of an account, for one image.

    :param macs: multiply-accumulates.
    :param parameters: of the network.
    :param weights: of convolutions and linear layers, without biases.
    :param energy_mac: in MACs of the profile's word width.
    :param energy_uj: in microjoules; None if the profile cites no joules for a MAC.
    :param floor_mac: what no schedule can go below, MACs.
    :param floor_ratio: how many times the floor the energy is.
    :param static_uj: static power times the measured time, a term of its own that
        ``energy_uj`` does not hold; None if either is unknown.
    """

    macs: int
    parameters: int
    weights: int
    energy_mac: float
    energy_uj: float | None
    floor_mac: float
    floor_ratio: float
    static_uj: float | None


@dataclass(frozen=True)
class EnergyAccount:
    """
    The modelled energy of a network, for one image of a batch.

    :param network: its name.
    :param profile: the machine.
    :param bits: of a word.
    :param batch: images processed together.
    :param layers: in the order of execution.
    :param count: what was counted.
    :param seconds: measured time for one image, if it was measured.
    """

    network: str
    profile: HardwareProfile
    bits: int
    batch: int
    layers: tuple[LayerAccount, ...]
    count: NetworkCount
    seconds: float | None = None

    @property
    def conditions(self) -> str:
        """The words that belong beside every figure."""
        return f'modelled for {self.profile.name}, {self.bits}-bit words, batch {self.batch}'

    def total(self) -> Total:
        """Return the sums."""
        energy = sum(layer.total for layer in self.layers)
        shapes = [shape for layer in self.layers for shape in layer.layer.shapes]
        floor = floor_energy(shapes, self.count.weights, self.count.input_words,
                             self.count.output_words, self.profile, self.batch, self.bits)
        joules, static = self.profile.joules_per_mac, self.profile.static_power_w
        return Total(
            macs=self.count.macs, parameters=self.count.parameters, weights=self.count.weights,
            energy_mac=energy,
            energy_uj=None if joules is None else energy * joules * 1e6,
            floor_mac=floor, floor_ratio=energy / floor if floor else float('nan'),
            static_uj=(None if static is None or self.seconds is None
                       else static * self.seconds * 1e6))

    def by_layer(self) -> dict[str, float]:
        """Return the energy of each layer by name, in the order of execution, MACs."""
        return {layer.layer.name: layer.total for layer in self.layers}

    def by_kind(self) -> dict[str, float]:
        """Return the energy of the arithmetic and of each kind of data, MACs."""
        return _sum(layer.by_kind() for layer in self.layers)

    def by_level(self) -> dict[str, float]:
        """Return the energy of the arithmetic and of each level of the memory, MACs."""
        return _sum(layer.by_level() for layer in self.layers)

    def accesses_by_level(self) -> dict[str, float]:
        """Return the accesses at each level of the memory, words."""
        return _sum(layer.accesses_by_level() for layer in self.layers)

    def shares(self) -> list[tuple[float, float]]:
        """Return each layer's share of the energy, and the running share up to it."""
        energies = [layer.total for layer in self.layers]
        whole = sum(energies) or 1.0
        return [(energy / whole, running / whole)
                for energy, running in zip(energies, accumulate(energies), strict=True)]

    def summary(self) -> dict[str, Any]:
        """Return the account without its layers, as plain values: what a bundle's card keeps."""
        return {
            'modelled': True,
            'profile': self.profile.name,
            'word_bits': self.bits,
            'batch': self.batch,
            'total': asdict(self.total()),
            'by_kind_mac': self.by_kind(),
            'by_level_mac': self.by_level(),
            'unknown_operators': [unknown.operator for unknown in self.count.unknown]}

    def to_dict(self) -> dict[str, Any]:
        """Return the whole account as plain values, ready for JSON."""
        layers = []
        for layer, (share, running) in zip(self.layers, self.shares(), strict=True):
            layers.append({
                'name': layer.layer.name, 'module': layer.layer.module,
                'operator': layer.layer.operator, 'fused': list(layer.layer.fused),
                'macs': layer.layer.macs, 'weights': layer.layer.weights,
                'input_words': layer.layer.input_words,
                'output_words': layer.layer.output_words,
                'accesses': {
                    kind: dict(zip(LEVELS, row.tolist(), strict=True))
                    for kind, row in zip(KINDS, layer.accesses, strict=True)},
                'energy_mac': layer.total, 'by_kind_mac': layer.by_kind(),
                'by_level_mac': layer.by_level(), 'share': share, 'running_share': running,
                'mapping': dict(layer.mapping)})
        return {
            'schema': SCHEMA, 'network': self.network, 'input_shape': list(
                self.count.input_shape),
            **self.summary(),
            'accesses_by_level': self.accesses_by_level(),
            'seconds': self.seconds,
            'static_power_w': self.profile.static_power_w,
            'unknown_operators': [asdict(unknown) for unknown in self.count.unknown],
            'layers': layers,
            'sources': [asdict(source) for source in self.profile.sources]}

    def write_json(self, path: Path) -> None:
        """Write :meth:`to_dict` to a file."""
        path.write_text(json.dumps(self.to_dict(), indent=2) + '\n', encoding='utf-8')


def make_account(count: NetworkCount, profile: HardwareProfile, network: str, batch: int = 1,
                 bits: int | None = None, seconds: float | None = None) -> EnergyAccount:
    """
    Return the energy account of a network that was counted.

    :param network: its name.
    :param batch: images processed together.
    :param bits: of a word; None for the profile's own width.
    :param seconds: measured time for one image, for the static term.
    :raises ValueError: for a batch, a width or a time that cannot be.
    """
    if seconds is not None and not 0 < seconds < float('inf'):
        raise ValueError(f'a measured time of {seconds} s; it is above 0')
    bits = profile.word_bits if bits is None else bits
    return EnergyAccount(
        network, profile, bits, batch,
        tuple(_layer_account(layer, profile, batch, bits) for layer in count.layers), count,
        seconds)


def _layer_account(layer: Layer, profile: HardwareProfile, batch: int, bits: int
                   ) -> LayerAccount:
    costs = [layer_cost(shape, profile, batch, bits) for shape in layer.shapes]
    return LayerAccount(
        layer,
        np.sum([cost.accesses for cost in costs], axis=0),
        np.sum([cost.energy for cost in costs], axis=0),
        sum(cost.compute for cost in costs),
        dict(costs[0].mapping))


def _sum(parts: Any) -> dict[str, float]:
    result: dict[str, float] = {}
    for part in parts:
        for name, value in part.items():
            result[name] = result.get(name, 0.0) + value
    return result
