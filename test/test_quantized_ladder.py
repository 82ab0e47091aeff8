# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""A ladder of a bundle in float and the same in integers, in a node over real DDS."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('onnx')
pytest.importorskip('rclpy')

from blobs import box_of, draw_blobs, write_blobs
from robot import detector, people, raw

from prune_perception.bundle import GRAPH, Quantisation, write_bundle
from prune_perception.pruning.int8_graph import prepare, quantised_graph


def account(microjoules: float, bits: int) -> dict[str, Any]:
    return {'board': {'word_bits': bits, 'batch': 1, 'total': {'energy_uj': microjoules}}}


def test_int8_below_float_on_one_ladder(tmp_path: Path) -> None:
    plain = write_blobs(tmp_path / 'plain', energy=account(2000.0, 16))
    images = np.stack([draw_blobs([(1, 1, 0, level), (2, 5, 1, level)]) for level in range(256)])
    graph = quantised_graph(prepare(plain.read_file(GRAPH)), images)
    write_bundle(tmp_path / 'short', replace(
        plain.card, name='short', quantisation=Quantisation(8), energy=account(900.0, 8)),
        {GRAPH: graph})
    shown = raw(draw_blobs([(2, 3, 0, 255)]))
    with detector(parameters={
            'autostart': True, 'threads': 1,
            'ladder': [str(tmp_path / name) for name in ('short', 'plain')]}) as robot:
        found = {}
        for name, engine in (('plain', 'f32'), ('short', 'int8 as the bundle is')):
            assert robot.set_parameter('pinned', name).successful
            robot.wait_for(
                lambda name=name: robot.values('detector')['Model'] == name, f'{name} at work')
            assert f', {engine}, ' in robot.values('detector')['Engine']
            found[name] = people(robot.answer(shown))
        assert robot.values('governor')['Ladder'] == 'plain, short'
    (wanted,), (box,) = found['plain'], found['short']
    assert wanted == pytest.approx(box_of(2, 3), abs=0.5)
    assert box == pytest.approx(wanted, abs=0.5)
