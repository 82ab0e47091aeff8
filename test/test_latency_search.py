# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The search for a network that is fast enough, with times that are told by the energy."""

from dataclasses import replace

import pytest

pytest.importorskip('torch')
pytest.importorskip('torch_pruning')

from prunable import networks_in_use, write_footage, write_squares

from prune_perception.energy.hardware import load_profile
from prune_perception.pruning.footage import read_footage
from prune_perception.pruning.latency import Latency
from prune_perception.pruning.latency_search import plan_for_latency
from prune_perception.pruning.plan import PlanError
from prune_perception.pruning.planner import planner_for

DENSE = 0.010  # s


@pytest.fixture(scope='module')
def swept(tmp_path_factory):
    """Return a planner and a sweep of it, by the sizes of filters: the quickest to have."""
    folder = tmp_path_factory.mktemp('search')
    with networks_in_use():
        bundle = write_squares(folder / 'dense')
        planner = replace(  # by small steps
            planner_for(bundle, load_profile('eyeriss_65nm'), method='magnitude'), alignment=8)
    images = read_footage(write_footage(folder / 'walk', 16), bundle.card.input).images
    return planner, planner.sweep(planner.observe(images, 2))


@pytest.fixture
def measure(swept):
    """Return a function that takes the time of a network to be in proportion to its energy."""
    planner, _ = swept

    def time(module):
        share = planner.account(module).total().energy_mac / planner.reference
        time.shares.append(share)
        slower = 1.5 if len(time.shares) % 2 else 1.0  # of the whole machine, now and then
        return Latency(slower * DENSE, slower * DENSE * share, 1 / share, 'an engine', 'a machine')

    time.shares = []
    return time


@pytest.mark.parametrize('share', [0.8, 0.5, 0.3])
def test_the_largest_network_that_is_fast_enough_is_found(swept, measure, share):
    planner, sweep = swept
    plan = plan_for_latency(planner, sweep, share * DENSE, measure)
    assert share - 0.1 < plan.share <= share
    assert len(measure.shares) <= 7  # of 32 networks by halves, the narrowest first


def test_a_time_that_the_dense_network_keeps_takes_nothing(swept, measure):
    planner, sweep = swept
    assert not plan_for_latency(planner, sweep, 1.01 * DENSE, measure).removed


def test_a_time_that_no_network_keeps_is_refused(swept, measure):
    planner, sweep = swept
    narrowest = sweep.steps[-1].energy / planner.reference
    said = rf'0\.1 ms cannot be met.*narrowest network takes {1.5e3 * DENSE * narrowest:.3g} ms'
    with pytest.raises(PlanError, match=said):
        plan_for_latency(planner, sweep, 0.0001, measure)
    assert len(measure.shares) == 1
