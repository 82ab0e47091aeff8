# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""What a planner says of a small network: its energies, its plans, and that it changes nothing."""

from collections.abc import Iterator
import copy
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('torch_pruning')

from prunable import CHANNELS, networks_in_use, write_footage, write_squares  # noqa: E402

from prune_perception.bundle import Bundle, write_bundle  # noqa: E402
from prune_perception.energy.hardware import HardwareProfile, load_profile  # noqa: E402
from prune_perception.pruning import ALIGNMENTS  # noqa: E402
from prune_perception.pruning.footage import Images, read_footage  # noqa: E402
from prune_perception.pruning.heads import HeadError  # noqa: E402
from prune_perception.pruning.observe import Observation  # noqa: E402
from prune_perception.pruning.plan import PlanError  # noqa: E402
from prune_perception.pruning.planner import Planner, planner_for  # noqa: E402


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bundle]:
    with networks_in_use():
        yield write_squares(tmp_path_factory.mktemp('planner') / 'dense')


@pytest.fixture(scope='module')
def profile() -> HardwareProfile:
    return load_profile('eyeriss_65nm')


@pytest.fixture(scope='module')
def images(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Images:
    footage = write_footage(tmp_path_factory.mktemp('planner') / 'walk', 20)
    return read_footage(footage, bundle.card.input).images


@pytest.fixture(scope='module')
def planner(bundle: Bundle, profile: HardwareProfile) -> Planner:
    return planner_for(bundle, profile)


@pytest.fixture(scope='module')
def seen(planner: Planner, images: Images) -> Observation:
    return planner.observe(images, 6)


def test_one_sweep_serves_every_budget(planner, seen):
    before = copy.deepcopy(planner.network.state_dict())
    swept = planner.sweep(seen)
    shares = (0.6, 0.4, 0.2)
    plans = [planner.plan(swept, share * planner.reference) for share in shares]
    for share, plan in zip(shares, plans, strict=True):
        assert share - 0.1 < plan.share <= share
        narrower = planner.remove(plan)
        # What was planned is what the account of the network says.
        account = planner.account(narrower).total()
        assert account.energy_mac == pytest.approx(plan.energy, rel=1e-9)
        assert plan.share == pytest.approx(plan.energy / planner.reference)
        for name, (width, left) in plan.widths.items():
            assert width == CHANNELS and narrower.get_submodule(name).out_channels == left
    assert [plan.cost for plan in plans] == sorted(plan.cost for plan in plans)
    with pytest.raises(PlanError, match='cannot be met'):
        planner.plan(swept, 0.001 * planner.reference)
    assert all(torch.equal(value, before[name])
               for name, value in planner.network.state_dict().items())


def test_a_sweep_may_end_at_the_budget(planner, seen):
    whole, part = planner.sweep(seen), planner.sweep(seen, 0.5 * planner.reference)
    assert part.steps == whole.steps[:len(part.steps)] and len(part.steps) < len(whole.steps)
    assert part.steps[-2].energy > 0.5 * planner.reference >= part.steps[-1].energy


def test_the_same_network_at_another_size(planner, images):
    smaller = planner.at((16, 32))
    assert smaller.size == (16, 32) and planner.size == (32, 64)
    assert [output.shape for output in smaller.card.outputs] == [(1, 14, 2, 4), (1, 14, 1, 2)]
    assert smaller.reference == planner.reference
    assert smaller.energy().total() < planner.energy().total()
    assert [group.name for group in smaller.groups] == [group.name for group in planner.groups]
    assert smaller.observe(images, 2).images[0].shape == (1, 3, 16, 32)
    assert smaller.at((32, 64)).card == planner.card


def test_a_smaller_input_keeps_how_a_letterbox_is_filled(planner, tmp_path):
    fed = replace(planner.card.input, resize='letterbox', placement='top_left',
                  padding=(124, 116, 104))
    whole = replace(planner, card=replace(planner.card, input=fed))
    card = whole.at((16, 32)).card
    assert card.input == replace(fed, height=16, width=32)
    written = write_bundle(tmp_path / 'small', card, {'model.onnx': b'a graph'})
    assert written.card.input == card.input


def test_images_are_spread_evenly(planner, images):
    seen = planner.observe(images, 3)
    for fed, number in zip(seen.images, (0, 9, 19), strict=True):
        pixels = np.round(fed[0].numpy().transpose(1, 2, 0) * 255)
        assert np.array_equal(pixels, images[number])


def test_energies_are_counted_once_and_not_used_up(planner, monkeypatch):
    full = planner.energy().total()
    assert full == pytest.approx(planner.reference, rel=1e-9)
    planner.energy().remove(planner.groups[0].name, 8)
    monkeypatch.setattr('prune_perception.pruning.planner.WidthEnergy', None)
    assert planner.energy().total() == full
    assert planner.at(planner.size).energy().total() == full


def test_shares_are_of_the_bundle_with_all_its_classes(bundle, profile, planner):
    one = planner_for(bundle, profile, classes=('dog',))
    assert one.card.class_names == ('dog',)
    assert one.reference == planner.reference > one.energy().total()
    with pytest.raises(HeadError, match='cat'):
        planner_for(bundle, profile, classes=('cat',))


def test_words_of_fewer_bits_need_less(bundle, profile, planner):
    fewer = planner_for(bundle, profile, bits=8)
    assert fewer.dense.bits == 8 and fewer.reference < planner.reference
    assert fewer.energy().total() == pytest.approx(fewer.reference, rel=1e-9)


def test_widths_are_multiples_of_the_alignment(bundle, profile, seen):
    for alignment in ALIGNMENTS:
        planner = planner_for(bundle, profile, alignment=alignment)
        swept = planner.sweep(seen)
        left = {group.name: group.channels for group in swept.groups}
        for step in swept.steps:
            left[step.group] -= len(step.channels)
            assert left[step.group] % alignment == 0 or left[step.group] < alignment
        assert max(len(step.channels) for step in swept.steps) == min(
            alignment, max(group.channels for group in swept.groups) // 2)


def test_the_seed_draws_the_channels(bundle, profile, seen):
    first, again, other = (
        planner_for(bundle, profile, method='random', seed=seed).sweep(seen).steps
        for seed in (1, 1, 2))
    assert [step.channels for step in first] == [step.channels for step in again]
    assert [step.channels for step in first] != [step.channels for step in other]
