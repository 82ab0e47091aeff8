# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""All the steps of pruning together, on a small network: budgets, refusals and what is noted."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip('torch')
pytest.importorskip('torch_pruning')

from prunable import networks_in_use, write_footage, write_squares

from prune_perception.bundle import Card
from prune_perception.energy.hardware import load_profile
from prune_perception.pruning import METHODS, pruner
from prune_perception.pruning.latency import Latency
from prune_perception.pruning.plan import PlanError
from prune_perception.pruning.pruner import check_budget, prune, Request
from prune_perception.pruning.report import summary
from prune_perception.runtime.engines import Engine, ENGINES

DENSE = 0.010  # s


@pytest.fixture(scope='module')
def request_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp('pruner')
    with networks_in_use():
        bundle, footage = write_squares(folder / 'dense'), write_footage(folder / 'walk')

        def make(**changes: Any) -> Request:
            given = {'energy_budget': 0.5, 'distil': False} | changes
            return Request(bundle, footage, load_profile('eyeriss_65nm'), **given)

        yield make


@pytest.fixture
def speed(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list of the speed-ups that are measured from here on; the last one stays."""
    speedups: list[float] = [2.0]

    def measure(*_: Any, **__: Any) -> Latency:
        ratio = speedups.pop(0) if len(speedups) > 1 else speedups[0]
        return Latency(DENSE, DENSE / ratio, ratio, 'onnxruntime', 'a machine')

    monkeypatch.setattr(pruner, 'compare', measure)
    return speedups


@pytest.mark.parametrize('method', METHODS)
def test_every_method_meets_the_budget(request_of, speed, method):
    found = prune(request_of(method=method, seed=3, name='small'))
    assert 0.4 < found.share <= 0.5
    assert found.plan.share == pytest.approx(found.share, rel=1e-9)
    assert found.card.name == 'small' and found.card.certificate['text']
    assert (found.bound is not None) == (method == 'provable')
    if found.bound:
        assert 'does not cover the shipped network' in found.bound.text()


def test_widths_are_multiples_of_what_is_asked_for(request_of, speed):
    fine, coarse = (prune(request_of(alignment=alignment)) for alignment in (8, 32))
    sizes = [{len(step.channels) for step in found.swept.steps} for found in (fine, coarse)]
    assert sizes[0] == {8} and max(sizes[1]) > 8
    assert summary(coarse)['request']['alignment'] == 32


def test_words_of_fewer_bits_are_accounted_for(request_of, speed):
    found = prune(request_of(bits=8))
    assert found.dense.bits == found.pruned.bits == 8 and found.share <= 0.5


def test_the_largest_network_within_a_latency_budget_is_taken(request_of, speed):
    # Fast enough at the narrowest and at the first half, too slow above.
    speed[:] = [8.0, 8.0, 1.5, 1.5, 1.5, 1.5, 8.0]
    found = prune(request_of(energy_budget=None, latency_budget=DENSE / 4))
    assert found.latency.pruned <= DENSE / 4
    assert 0 < found.share < 1


def test_a_latency_that_is_not_kept_is_refused(request_of, speed):
    speed[:] = [8.0] * 6 + [1.5]  # six networks on the way, and then the one that is planned
    with pytest.raises(PlanError, match=r'2\.5 ms is not kept.*6\.67 ms'):
        prune(request_of(energy_budget=None, latency_budget=DENSE / 4))


def test_what_would_not_be_faster_is_refused(request_of, speed):
    speed[:] = [1.0]
    with pytest.raises(PlanError, match=r'would not be faster.*1\.00 times'):
        prune(request_of())


@pytest.mark.parametrize('engine', ENGINES)
def test_both_networks_are_run_by_the_engine_that_is_asked_for(request_of, monkeypatch, engine):
    if engine == 'openvino':
        pytest.importorskip('openvino')
    ran = []

    def measure(dense: Engine, _: Any, pruned: Engine, card: Card, name: str) -> Latency:
        fed = np.full((1, card.input.height, card.input.width, 3), 127, np.uint8)
        ran.extend((name, *(network.description.lower() for network in (dense, pruned))))
        assert [output.shape for output in pruned.run(fed)] == [
            output.shape for output in card.outputs]
        return Latency(DENSE, DENSE / 2, 2.0, name, 'a machine')

    monkeypatch.setattr(pruner, 'compare', measure)
    found = prune(request_of(engine=engine))
    assert ran and all(words.replace(' ', '').startswith(engine) for words in ran)
    assert found.latency.engine == found.card.measured[1]['engine'] == engine


def test_bad_frames_are_one_note(request_of, speed, tmp_path):
    footage = write_footage(tmp_path / 'walk')
    for path in sorted(footage.iterdir())[3:6]:
        path.write_bytes(b'no picture')
    found = prune(replace(request_of(), data=footage))
    assert len(found.notes) == 1 and found.notes[0].startswith('3 frames could not be read')


@pytest.mark.parametrize(('budgets', 'words'), [
    ({'energy_budget': None}, 'one of them'),
    ({'latency_budget': 0.1}, 'one of them'),
    ({'energy_budget': 0.0}, 'an energy budget of 0'),
    ({'energy_budget': 1.01}, 'an energy budget of 1.01'),
    ({'energy_budget': float('nan')}, 'an energy budget of nan'),
    ({'energy_budget': None, 'latency_budget': -0.005}, '-5 ms')])
def test_budgets_that_cannot_be(request_of, budgets, words):
    with pytest.raises(PlanError, match=words):
        check_budget(request_of(**budgets))
