# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Where the modelled energy of each network goes, layer by layer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prune_perception.evaluation.figures import Evaluation
from prune_perception.evaluation.report.tables import unavailable
from prune_perception.page import Content, Markup, tag, text

_KINDS = {'compute': ('compute', '#4d4d4d'), 'weights': ('weights', '#0072b2'),
          'input_maps': ('input maps', '#56b4e9'), 'output_maps': ('output maps', '#e69f00'),
          'partial_sums': ('partial sums', '#d55e00')}
_OTHER_COLOUR = '#cc79a7'


@dataclass(frozen=True)
class _Layer:
    name: str
    kinds: Mapping[str, float]

    @property
    def total(self) -> float:
        return sum(self.kinds.values())


def energy_layers(evaluation: Evaluation) -> Markup:
    """Return the energy of each layer as bars, models of one structure beside each other."""
    hardware = evaluation.settings.hardware
    groups: dict[tuple[str, ...], dict[str, list[_Layer]]] = {}
    notes: list[Content] = []
    for run in evaluation.runs:
        account = run.energy.get(hardware)
        figures = evaluation.figures[run.name]
        if account is None:
            reason = figures.unavailable.get('energy_mac', f'no account for {hardware}')
            notes.append(tag('p', f'{run.name}: unavailable: {reason}', class_='soft'))
            continue
        layers = _layers(account)
        if layers is None:
            notes.append(tag('p', f'{run.name}: unavailable: its account for {hardware} holds '
                             'totals and no layers', class_='soft'))
            continue
        groups.setdefault(tuple(layer.name for layer in layers), {})[run.name] = layers
    if not groups:
        return text(*notes) if notes else unavailable(f'no model has an account for {hardware}')
    kinds = list(dict.fromkeys(
        kind for group in groups.values() for layers in group.values() for layer in layers
        for kind in layer.kinds))
    sources = {run.name: evaluation.figures[run.name].energy_source for run in evaluation.runs}
    return text(
        tag('p', 'Modelled, one image at a time; one unit is the energy of a multiply-accumulate '
            '(MAC). In the order of execution. ' + ' '.join(
                f'{name}: {source}.' for name, source in sources.items() if source),
            class_='soft'),
        tag('div', (tag('span', tag('i', style=f'background:{_colour(kind)}'), _title(kind))
                    for kind in kinds), class_='legend'),
        *(_group(group) for group in groups.values()), *notes)


def _group(group: Mapping[str, list[_Layer]]) -> Markup:
    largest = max((layer.total for layers in group.values() for layer in layers),
                  default=0.0) or 1.0
    rows: list[Content] = []
    for of_layer in zip(*group.values(), strict=True):
        bars = []
        for model, layer in zip(group, of_layer, strict=True):
            parts = [tag('i', style=f'width:{energy / largest:.3%};background:{_colour(kind)}',
                         title=f'{model}, {_title(kind)}: {energy / 1e6:.2f} million MAC energies')
                     for kind, energy in layer.kinds.items() if energy > 0]
            bars.append(tag('span', tag('span', f'{layer.total / 1e6:.1f}', class_='value'),
                            tag('span', parts, class_='bar'), class_='measure'))
        rows.append(tag('div', tag('span', of_layer[0].name, class_='name'),
                        tag('span', bars), class_='layer'))
    models = list(group)
    order = ('' if len(models) == 1 else
             f' In each layer, from above: {", ".join(models)}.')
    return text(tag('h3', ', '.join(models)),
                tag('p', f'10⁶ MAC energies of each layer.{order}', class_='soft'), *rows)


def _layers(account: Any) -> list[_Layer] | None:
    """Return the layers of an account; None where it has none that can be read."""
    try:
        layers = [_Layer(str(layer['name']), {str(kind): float(energy) for kind, energy
                                              in layer['by_kind_mac'].items()})
                  for layer in account['layers']]
    except (AttributeError, KeyError, TypeError, ValueError):
        return None  # a card may be from anywhere
    return layers or None


def _title(kind: str) -> str:
    return _KINDS[kind][0] if kind in _KINDS else kind.replace('_', ' ')


def _colour(kind: str) -> str:
    return _KINDS[kind][1] if kind in _KINDS else _OTHER_COLOUR
