# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Ask whether the energy model agrees with what others measured and published.

Sets our figures beside those of two papers and of the chip that one of them describes:

- Chen, Krishna, Emer, Sze, *Eyeriss* (IEEE JSSC 52(1), 2017), measured on silicon. Its text was
  read; its tables III and V as github.com/cucapra/fodlam transcribed them.
- Yang, Chen, Sze, *Designing Energy-Efficient CNNs using Energy-Aware Pruning* (CVPR 2017), a
  model by the same group. Only its abstract was to be had: every figure of it is recalled.

Nothing in the model is fitted to these figures. Limits: the paper's model is not published as
formulas; the zeros of real activations are used as means over a network or a layer.

``--update docs/energy.md`` writes the tables into the document.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
import json
from pathlib import Path
import platform
import sys

import numpy as np
import torch

from prune_perception import __version__
from prune_perception.energy import row_stationary
from prune_perception.energy.accesses import (
    ARRAY,
    BUFFER,
    DRAM,
    LEVELS,
    REGISTER_FILE,
    WEIGHTS,
)
from prune_perception.energy.counting import count
from prune_perception.energy.hardware import HardwareProfile, load_profile
from prune_perception.energy.layers import NetworkCount
from prune_perception.energy.model import layer_cost, LayerCost
from prune_perception.energy.shapes import ConvolutionShape

sys.path.insert(0, str(Path(__file__).resolve().parent))
from published_networks import NETWORKS  # a neighbour, not a package

CHECKED, RECALLED, COMPUTED = 'checked', 'recalled', 'computed'
BEGIN, END = '<!-- tables: begin -->', '<!-- tables: end -->'

COUNTS = {'AlexNet': (60.955, 724.4), 'SqueezeNet 1.0': (1.244, 832.7),
          'GoogLeNet': (6.990, 1582.7)}  # M weights, M MACs
BATCHES = {'AlexNet': 44, 'SqueezeNet 1.0': 48, 'GoogLeNet': 48}
# CVPR 2017, recalled: MACs whose input is not zero, and energy in MACs, both 1e9 for one image.
NOT_SKIPPED = {'AlexNet': 0.371, 'SqueezeNet 1.0': 0.451, 'GoogLeNet': 0.741}
ENERGY = {'AlexNet': 3.97, 'SqueezeNet 1.0': 5.28, 'GoogLeNet': 7.63}
RATIOS = {'SqueezeNet 1.0': 1.33, 'GoogLeNet': 1.92}
SPLIT = {'output maps and partial sums': 43, 'input maps': 25, 'weights': 22, 'compute': 10}

# JSSC 2017, AlexNet's convolutions, batch 4. Table III: the mapping. Table V: the part of the
# input that is zero, accesses of the buffer and of DRAM in MB.
LAYERS = ('CONV1', 'CONV2', 'CONV3', 'CONV4', 'CONV5')
MAPPINGS = (
    {'m': 96, 'n': 1, 'e': 7, 'p': 16, 'q': 1, 'r': 1, 't': 2},
    {'m': 64, 'n': 1, 'e': 27, 'p': 16, 'q': 2, 'r': 1, 't': 1},
    {'m': 64, 'n': 4, 'e': 13, 'p': 16, 'q': 4, 'r': 1, 't': 4},
    {'m': 64, 'n': 4, 'e': 13, 'p': 16, 'q': 3, 'r': 2, 't': 2},
    {'m': 64, 'n': 4, 'e': 13, 'p': 16, 'q': 3, 'r': 2, 't': 2})
ZEROS = (0.0001, 0.387, 0.725, 0.793, 0.776)
BUFFER_MB = (18.5, 77.6, 50.2, 37.4, 24.9)
DRAM_MB = (5.0, 4.0, 3.0, 2.1, 1.3)
SILICON_BATCH = 4
SILICON_BITS = 16
FRAMES_PER_S, CHIP_MW, GATING_SAVES = 34.7, 278.0, 0.45


@dataclass(frozen=True)
class Check:
    """
    One published figure beside ours.

    :param what: the figure.
    :param published: as published.
    :param ours: as modelled or counted.
    :param unit: of both.
    :param within: the agreement that is asked for; relative, or in points for a unit of '%'.
    :param source: where the published figure stands.
    :param status: ``checked``, ``recalled`` or ``computed``.
    :param asked: whether the agreement is a goal, or the row is there to explain another.
    """

    what: str
    published: float
    ours: float
    unit: str
    within: float
    source: str
    status: str
    asked: bool = True

    @property
    def away(self) -> float:
        """How far ours is off: points for a unit of '%', else relative."""
        difference = self.ours - self.published
        return difference if self.unit == '%' else difference / self.published

    @property
    def met(self) -> bool:
        """Whether ours is within what is asked for."""
        return abs(self.away) <= self.within


def counts() -> dict[str, NetworkCount]:
    """Run each published network once and count it."""
    result = {}
    for name, make in NETWORKS.items():
        network = make()
        size = network.input_size
        assert isinstance(size, int)
        result[name] = count(network, torch.zeros(1, 3, size, size))
    return result


def check_counts(counted: dict[str, NetworkCount]) -> list[Check]:
    """Set the exact counts beside those computed from the networks' definitions."""
    checks = []
    for name, (weights, macs) in COUNTS.items():
        source = 'sums over the layers of the definition'
        checks += [
            Check(f'{name}, weights', weights, counted[name].weights / 1e6, 'M', 0.0005, source,
                  COMPUTED),
            Check(f'{name}, MACs', macs, counted[name].macs / 1e6, 'M', 0.0005, source, COMPUTED)]
    return checks


def mean_density(name: str, counted: NetworkCount) -> float:
    """
    Return the part of the inputs that is not zero, but for the first layer's, which is an image.

    From the recalled number of MACs that are not skipped.
    """
    first = _convolutions(counted)[0].macs
    return (NOT_SKIPPED[name] * 1e9 - first) / (counted.macs - first)


def network_costs(counted: NetworkCount, profile: HardwareProfile, batch: int,
                  density: float = 1.0) -> list[LayerCost]:
    """
    Return the cost of each convolution and fully connected layer, as the paper counts.

    :param density: the part of every map but the image that is not zero.
    """
    costs = []
    for index, shape in enumerate(_convolutions(counted)):
        shape = replace(shape, input_density=density if index else 1.0, output_density=density)
        costs.append(layer_cost(shape, profile, batch, profile.word_bits))
    return costs


def total(costs: Sequence[LayerCost]) -> float:
    """Return the energy of all layers, MACs."""
    return sum(cost.total for cost in costs)


def split(costs: Sequence[LayerCost]) -> dict[str, float]:
    """Return the shares in percent under the paper's names."""
    kinds = {kind: sum(cost.by_kind()[kind] for cost in costs) / total(costs) * 100
             for kind in costs[0].by_kind()}
    return {'output maps and partial sums': kinds['output_maps'] + kinds['partial_sums'],
            'input maps': kinds['input_maps'], 'weights': kinds['weights'],
            'compute': kinds['compute']}


def check_paper(counted: dict[str, NetworkCount], profile: HardwareProfile) -> list[Check]:
    """Set ratios and split beside the paper's, with zeros skipped as there, and without."""
    skipping = replace(profile, skip_zero_inputs=True)
    checks = []
    for words, machine, dense in (('zeros skipped', skipping, False),
                                  ('no zeros', profile, True)):
        costs = {name: network_costs(counted[name], machine, BATCHES[name],
                                     1.0 if dense else mean_density(name, counted[name]))
                 for name in NETWORKS}
        energies = {name: total(cost) for name, cost in costs.items()}
        for name, ratio in RATIOS.items():
            checks.append(Check(f'{name} / AlexNet, energy, {words}', ratio,
                                energies[name] / energies['AlexNet'], '', 0.20,
                                'CVPR 2017, table 2', RECALLED))
        for kind, share in split(costs['GoogLeNet']).items():
            checks.append(Check(f'GoogLeNet, {kind}, {words}', SPLIT[kind], share, '%', 8,
                                'CVPR 2017, figure of the split', RECALLED))
        if not dense:
            for name, energy in energies.items():
                checks.append(Check(f'{name}, energy of one image, {words}', ENERGY[name],
                                    energy / 1e9, 'G', 0.20, 'CVPR 2017, table 2', RECALLED,
                                    asked=False))
    return checks


def silicon_shapes(counted: NetworkCount) -> list[ConvolutionShape]:
    """
    Return AlexNet's convolutions with the zeros measured on the chip.

    An output's zeros are taken to be those of the next layer's input; pooling lies between
    some, which leaves fewer zeros than the output had. The last takes those of its own input.
    """
    shapes = _convolutions(counted)[:len(LAYERS)]
    return [replace(shape, bias=False, input_density=1 - ZEROS[index],
                    output_density=1 - ZEROS[min(index + 1, len(ZEROS) - 1)])
            for index, shape in enumerate(shapes)]


def check_silicon(counted: NetworkCount, profile: HardwareProfile) -> list[Check]:
    """Set accesses and power beside those measured on the chip."""
    chip = replace(profile, skip_zero_inputs=True, map_coding='run_length')
    shapes = silicon_shapes(counted)
    words_mb = SILICON_BITS / 8 / 1e6
    table_v = 'JSSC 2017, table V'

    def under(index: int, mapping: dict[str, int]) -> np.ndarray:
        fields = {name: np.array([[value]]) for name, value in mapping.items()}
        shape = shapes[index]
        return row_stationary.count_one(
            shape, row_stationary.Mapping(**fields, columns=shape.output[1]), chip,
            SILICON_BATCH, SILICON_BITS)

    checks = []
    published = []
    for index, layer in enumerate(LAYERS):
        # For CONV3 the count under the mapping of table III is not what table V measured;
        # under the mapping of CONV4 it is, to the digit. Both are shown.
        table = under(index, MAPPINGS[3 if index == 2 else index])
        published.append(table)
        note = ", CONV4's mapping" if index == 2 else ''
        checks.append(Check(f'{layer}, buffer accesses{note}', BUFFER_MB[index],
                            _buffer_of_maps(table) * words_mb, 'MB', 0.005, table_v, CHECKED))
        if index == 2:
            checks.append(Check(f'{layer}, buffer accesses, mapping of table III',
                                BUFFER_MB[index], _buffer_of_maps(under(2, MAPPINGS[2]))
                                * words_mb, 'MB', 0.005, table_v, CHECKED, asked=False))
    for index, layer in enumerate(LAYERS):
        checks.append(Check(f"{layer}, DRAM accesses, the paper's mapping", DRAM_MB[index],
                            float(under(index, MAPPINGS[index])[:, DRAM].sum()) * words_mb, 'MB',
                            0.20, table_v, CHECKED))
    macs = SILICON_BATCH * sum(shape.macs for shape in shapes)
    words = sum(float(under(index, mapping)[:, DRAM].sum())
                for index, mapping in enumerate(MAPPINGS))
    source = 'JSSC 2017, abstract and section VI-A'
    checks.append(Check("AlexNet, DRAM accesses a MAC, the paper's mapping", 0.0029,
                        words / macs, '', 0.20, source, CHECKED))
    own = [layer_cost(shape, chip, SILICON_BATCH, SILICON_BITS) for shape in shapes]
    words = SILICON_BATCH * sum(float(cost.accesses[:, DRAM].sum()) for cost in own)
    checks.append(Check('AlexNet, DRAM accesses a MAC, our own mapping', 0.0029, words / macs,
                        '', 0.20, source, CHECKED))

    plain = [layer_cost(shape, profile, SILICON_BATCH, SILICON_BITS) for shape in shapes]
    saved = 1 - sum(map(_element, own)) / sum(map(_element, plain))
    checks.append(Check('power of an element saved by skipping zeros', GATING_SAVES * 100,
                        saved * 100, '%', 8, 'JSSC 2017, section V-C', CHECKED, asked=False))
    on_chip = sum(cost.compute + float(cost.energy[:, [REGISTER_FILE, ARRAY, BUFFER]].sum())
                  for cost in own)
    joules = profile.joules_per_mac
    assert joules is not None
    checks.append(Check('AlexNet, power of the chip at 34.7 frames/s, DRAM not included',
                        CHIP_MW, on_chip * joules * FRAMES_PER_S * 1e3, 'mW', 0.20, source,
                        CHECKED))
    checks.append(Check('the same, of the 55 % that the paper gives to arithmetic and data',
                        CHIP_MW * 0.55, on_chip * joules * FRAMES_PER_S * 1e3, 'mW', 0.20,
                        source, CHECKED, asked=False))
    return checks


def batch_one(counted: dict[str, NetworkCount], profile: HardwareProfile
              ) -> list[tuple[str, int, float, float, float]]:
    """Return (network, batch, energy in G MACs, share of weights, ratio to AlexNet)."""
    rows = []
    for one in (False, True):
        base = 0.0
        for name in NETWORKS:
            batch = 1 if one else BATCHES[name]
            costs = network_costs(counted[name], profile, batch)
            energy = total(costs)
            base = base or energy
            weights = sum(float(cost.energy[WEIGHTS].sum()) for cost in costs) / energy
            rows.append((name, batch, energy / 1e9, weights, energy / base))
    return rows


def _convolutions(counted: NetworkCount) -> list[ConvolutionShape]:
    return [layer.convolution for layer in counted.layers if layer.convolution]


def _buffer_of_maps(table: np.ndarray) -> float:
    """Return buffer accesses but those of weights, which table V does not count."""
    return float(table[WEIGHTS + 1:, BUFFER].sum())


def _element(cost: LayerCost) -> float:
    return cost.compute + float(cost.energy[:, REGISTER_FILE].sum())


def markdown(checks: Sequence[Check]) -> str:
    """Return the checks as a table."""
    lines = ['| figure | published | ours | off by | asked | met | where published | status |',
             '|---|--:|--:|--:|--:|---|---|---|']
    for check in checks:
        unit = f' {check.unit}' if check.unit else ''
        points = check.unit == '%'
        # Adding 0.0 turns a rounded -0.0 into 0.0.
        away = (f'{round(check.away, 1) + 0.0:+.1f} points' if points
                else f'{round(check.away, 3) + 0.0:+.1%}')
        within = f'{check.within:g} points' if points else f'{check.within * 100:g} %'
        met = ('yes' if check.met else '**no**') if check.asked else '–'
        digits = '.4f' if check.published < 0.01 else '.3f' if check.published > 500 else '.4g'
        lines.append(f'| {check.what} | {check.published:g}{unit} | {check.ours:{digits}}{unit} '
                     f'| {away} | {within if check.asked else "–"} | {met} | {check.source} '
                     f'| {check.status} |')
    return '\n'.join(lines)


def document(counted: dict[str, NetworkCount], profile: HardwareProfile) -> str:
    """Return all tables, as they stand in the document."""
    where = f'Modelled for {profile.name}, {profile.word_bits}-bit words'
    rows = '\n'.join(f'| {name} | {batch} | {energy:.2f} G | {weights:.0%} | {ratio:.2f} |'
                     for name, batch, energy, weights, ratio in batch_one(counted, profile))
    densities = ', '.join(f'{name} {mean_density(name, counted[name]):.3f}' for name in NETWORKS)
    batches = ', '.join(f'{name} {batch}' for name, batch in BATCHES.items())
    return f"""### Counts

{markdown(check_counts(counted))}

### The chip

{where}, batch {SILICON_BATCH}; zeros as measured on the chip.

{markdown(check_silicon(counted['AlexNet'], profile))}

### The paper

{where}, batches: {batches}; convolutions and fully connected layers alone. Where zeros are
skipped, the part of each map that is not zero is: {densities}.

{markdown(check_paper(counted, profile))}

### At batch 1

{where}, no zeros; convolutions and fully connected layers alone.

| network | batch | energy of one image, MACs | of it weights | to AlexNet |
|---|--:|--:|--:|--:|
{rows}
"""


def all_checks(counted: dict[str, NetworkCount], profile: HardwareProfile) -> list[Check]:
    """Return every check."""
    return [*check_counts(counted), *check_silicon(counted['AlexNet'], profile),
            *check_paper(counted, profile)]


def main() -> int:
    """Print the tables; exit status 0 also where a figure is not met: that is said in them."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument('--json', type=Path, metavar='FILE')
    parser.add_argument('--update', type=Path, metavar='DOCUMENT',
                        help='write the tables between the markers of a document')
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    profile = load_profile('eyeriss_65nm')
    counted = counts()
    text = document(counted, profile)
    print(text)
    print(f'prune_perception {__version__}, torch {torch.__version__}, numpy {np.__version__}, '
          f'{platform.machine()}; no figure depends on the machine')
    if arguments.json:
        arguments.json.write_text(json.dumps({
            'modelled': True, 'profile': profile.name, 'word_bits': profile.word_bits,
            'levels': LEVELS,
            'checks': [{**asdict(check), 'away': check.away, 'met': check.met}
                       for check in all_checks(counted, profile)],
            'batch_one': batch_one(counted, profile)}, indent=2) + '\n')
    if arguments.update:
        old = arguments.update.read_text(encoding='utf-8')
        head, _, rest = old.partition(BEGIN)
        _, _, tail = rest.partition(END)
        if not rest or not tail:
            print(f'{arguments.update}: has no lines {BEGIN} and {END}', file=sys.stderr)
            return 1
        arguments.update.write_text(f'{head}{BEGIN}\n\n{text}\n{END}{tail}', encoding='utf-8')
    return 0


if __name__ == '__main__':
    sys.exit(main())
