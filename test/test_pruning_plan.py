# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

import copy
from dataclasses import replace
import math

import numpy as np
import pytest

torch = pytest.importorskip('torch')

import small_networks as small  # noqa: E402
from torch import nn  # noqa: E402

from prune_perception.energy.counting import profile_module  # noqa: E402
from prune_perception.energy.hardware import load_profile  # noqa: E402
from prune_perception.pruning import METHODS, methods  # noqa: E402
from prune_perception.pruning.elimination import Consumer  # noqa: E402
from prune_perception.pruning.importing.trial import silence  # noqa: E402
from prune_perception.pruning.methods import (  # noqa: E402
    create,
    Restored,
    Scored,
    units_of,
    VOICE,
)
from prune_perception.pruning.observe import observe  # noqa: E402
from prune_perception.pruning.plan import (  # noqa: E402
    chunk_size,
    narrowest,
    plan_for,
    PlanError,
    Step,
    Sweep,
    sweep,
)
from prune_perception.pruning.sensitivity import channel_sensitivities  # noqa: E402
from prune_perception.pruning.width_energy import WidthEnergy  # noqa: E402

EYERISS = load_profile('eyeriss_65nm')
ALIGNMENT = 16


class Chain(nn.Module):
    """Three aligned groups, one of which takes part in an addition, and one that is odd."""

    def __init__(self):
        super().__init__()
        self.stem = small.conv(3, 24)
        self.wide = small.conv(24, 48)
        self.grouped = small.conv(48, 48, groups=3)
        self.odd = small.conv(48, 10)
        self.predict = small.conv(10, 5, 1)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = torch.relu(self.wide(x))
        return self.predict(torch.relu(self.odd(torch.relu(self.grouped(x)))))


@pytest.fixture(scope='module')
def chain():
    """Return a network, its groups and what was seen of it."""
    module = small.made(Chain)
    return module, small.graph_of(module).groups, observe(
        module, small.images(4), small.Logits(), places=32)


def width_energy(module, profile=EYERISS, bits=None):
    return WidthEnergy(module, small.images(1)[0], small.graph_of(module).groups, profile, bits)


def swept_by(name, chain, seed=0):
    module, groups, seen = chain
    return sweep(module, groups, width_energy(module),
                 create(name, module, groups, seen, seed), alignment=ALIGNMENT)


# ---- the energy of widths


def profiled(module, profile, bits):
    return profile_module(
        module, small.images(1)[0], profile=profile, bits=bits).total().energy_mac


@pytest.mark.parametrize('profile, bits', [
    ('eyeriss_65nm', None), ('eyeriss_65nm', 8), ('x86_cpu', None)])
@pytest.mark.parametrize('kind', small.PRUNABLE, ids=lambda kind: kind.__name__)
def test_the_energy_is_that_of_the_pruned_network(kind, profile, bits):
    profile = load_profile(profile)
    dense = small.made(kind)
    graph = small.graph_of(dense)
    rng = np.random.default_rng(2)
    start = width_energy(dense, profile, bits)
    assert start.total() == pytest.approx(profiled(dense, profile, bits), rel=1e-9)
    for _ in range(3):
        energy, removed = copy.deepcopy(start), {}
        for group in graph.groups:
            units = group.channels // group.unit
            if group.fixed:
                continue
            gone = small.unit(group, *rng.permutation(units)[:rng.integers(1, units)].tolist())
            removed[group.name] = gone
            before = energy.total()
            saving = energy.saving(group.name, len(gone))
            energy.remove(group.name, len(gone))
            assert before - energy.total() == pytest.approx(saving, rel=1e-9)
        pruned = copy.deepcopy(dense)
        small.graph_of(pruned).remove(removed)
        assert energy.total() == pytest.approx(profiled(pruned, profile, bits), rel=1e-9)
        for name, gone in removed.items():
            energy.remove(name, -len(gone))
        assert energy.total() == pytest.approx(start.total(), rel=1e-9)


def test_savings_are_added_in_the_same_order_in_each_run(monkeypatch):
    energy = width_energy(small.made(small.Residual))
    group = next(group for group in small.graph_of(small.made(small.Residual)).groups
                 if group.name == 'stem')
    asked = []
    priced = energy._layer
    monkeypatch.setattr(energy, '_layer', lambda path, made, taken: (
        asked.append(path), priced(path, made, taken))[1])
    energy.saving('stem', 1)
    tied = [tied.layer for tied in (*group.producers, *group.consumers)]
    assert len(set(tied)) >= 5  # a set of so many names has another order in most runs
    assert list(dict.fromkeys(asked)) == [
        layer for layer in dict.fromkeys(tied) if layer in asked]


def test_reckoning_does_not_change_the_network():
    module = small.made(small.Normalised)
    state = copy.deepcopy(module.state_dict())
    width_energy(module)
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())


# ---- the sweep


def test_chunks_are_aligned(chain):
    _, groups, _ = chain
    sizes = {group.name: chunk_size(group, group.channels, ALIGNMENT) for group in groups}
    assert sizes == {'stem': 8, 'wide': 24, 'grouped': 24, 'odd': 1, 'predict': 1}
    odd = next(group for group in groups if group.name == 'odd')
    assert chunk_size(odd, 2, 8) == 1 and chunk_size(odd, 1, 8) == 0  # nothing would be left


@pytest.mark.parametrize('channels, widths', [
    (136, [136, 128, 96, 64, 32, 16, 8]),  # to a multiple first, and at the end by halves
    (40, [40, 32, 16, 8]), (8, [8]),
    (10, [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]), (6, [6, 5, 4, 3, 2, 1])])  # never aligned
def test_widths_come_to_multiples_and_then_to_those_of_halves(channels, widths, chain):
    group = replace(chain[1][0], channels=channels)
    way = [channels]
    while size := chunk_size(group, way[-1], 32):
        way.append(way[-1] - size)
    assert way == widths and narrowest(group, 32) == widths[-1]


@pytest.mark.parametrize('name', METHODS)
def test_a_sweep_goes_down_to_the_narrowest_in_aligned_steps(name, chain):
    module, groups, _ = chain
    swept = swept_by(name, chain)
    left = {group.name: set(range(group.channels)) for group in groups}
    energy = width_energy(module)
    assert swept.dense_energy == energy.total()
    by_name = {group.name: group for group in groups}
    for step in swept.steps:
        group = by_name[step.group]
        assert len(step.channels) == chunk_size(group, len(left[step.group]), ALIGNMENT)
        assert set(step.channels) <= left[step.group]
        left[step.group] -= set(step.channels)
        period = group.channels // group.unit
        assert all({place % period for place in left[step.group]}
                   == {place - part * period for place in left[step.group]
                       if part * period <= place < (part + 1) * period}
                   for part in range(group.unit))
        energy.remove(step.group, len(step.channels))
        assert step.energy == pytest.approx(energy.total(), rel=1e-12)
    assert {name: len(rest) for name, rest in left.items()} == {
        'stem': 8, 'wide': 24, 'grouped': 24, 'odd': 1, 'predict': 5}
    removed = swept.removed()
    pruned = copy.deepcopy(module)
    small.graph_of(pruned).remove(removed)
    assert profiled(pruned, EYERISS, None) == pytest.approx(swept.steps[-1].energy, rel=1e-9)
    # Any place on the way is a part of what comes after it.
    early = swept.removed(range(4))
    assert all(set(gone) <= set(removed[name]) for name, gone in early.items())


@pytest.mark.parametrize('name', METHODS)
def test_the_same_seed_gives_the_same_sweep(name, chain):
    first, again = swept_by(name, chain), swept_by(name, chain)
    assert [(step.group, step.channels) for step in first.steps] == [
        (step.group, step.channels) for step in again.steps]


def test_only_random_depends_on_the_seed(chain):
    for name in METHODS:
        ways = {tuple((step.group, step.channels) for step in swept_by(name, chain, seed).steps)
                for seed in range(3)}
        assert len(ways) == (3 if name == 'random' else 1)


def test_progress_ends_at_one(chain):
    module, groups, seen = chain
    shares = []
    sweep(module, groups, width_energy(module), create('magnitude', module, groups, seen),
          alignment=32, progress=shares.append)
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1)
    assert len(shares) == len(set(shares))


# ---- the methods


def voices_of(module, groups, seen):
    """Return the powers of the sensitivities that the plan of ``combined`` hears."""
    return {name: values ** VOICE
            for name, values in channel_sensitivities(module, groups, seen).items()}


def test_each_step_is_the_best_for_its_energy_at_its_time(chain):
    """Against reckoning all groups anew before each step."""
    module, groups, seen = chain
    voices = voices_of(module, groups, seen)
    by_name = {group.name: group for group in groups}
    left = {group.name: np.arange(group.channels) for group in groups}
    swept, energy = swept_by('combined', chain), width_energy(module)
    consumers = {name: Consumer(module.get_submodule(name), statistics)
                 for name, statistics in seen.layers.items()}
    for step in swept.steps:
        values, best = {}, {}
        for group in swept.groups:
            size = chunk_size(group, len(left[group.name]), ALIGNMENT)
            if not size:
                continue
            units = units_of(group, left[group.name])
            costs = sum(consumers[tied.layer].costs(
                tied.positions[units].reshape(len(units), -1)) for tied in group.consumers)
            costs = costs * voices[group.name][units].max(1)
            order = np.argsort(costs)[:size // group.unit]
            values[group.name] = costs[order].sum() / energy.saving(group.name, size)
            best[group.name] = tuple(sorted(units[order].ravel()))
        assert step.group == min(values, key=values.get)
        assert step.channels == best[step.group]
        cost = 0.0
        for tied in by_name[step.group].producers:
            consumers[tied.layer].remove_outputs(tied.positions[list(step.channels)].ravel())
        for tied in by_name[step.group].consumers:
            cost += consumers[tied.layer].remove_inputs(
                tied.positions[list(step.channels)].ravel())
        assert step.cost == pytest.approx(cost, rel=1e-9)
        left[step.group] = np.setdiff1d(left[step.group], step.channels)
        energy.remove(step.group, len(step.channels))


def test_a_layer_that_loses_what_it_makes_of_what_it_takes():
    """In a block x + f(x) a channel leaves both sides of f: its own output is no loss."""
    module = small.made(small.Residual)
    group = small.graph_of(module).group('stem')
    seen = observe(module, small.images(4), small.Logits(), places=64)
    swept = sweep(module, [group], width_energy(module),
                  create('combined', module, [group], seen), alignment=1)
    channel = swept.steps[0].channels[0]
    expected = 0.0
    for name in ('inner', 'again', 'predict'):
        consumer = Consumer(module.get_submodule(name), seen.layers[name])
        if name == 'again':
            consumer.remove_outputs(np.array([channel]))
        expected += consumer.remove_inputs(np.array([channel]))
    assert swept.steps[0].cost == pytest.approx(expected, rel=1e-9)


class Price:
    """Stands for an energy: what a channel of each group saves."""

    def __init__(self, **prices):
        self._prices = prices

    def saving(self, group, channels):
        return self._prices[group] * channels


@pytest.mark.parametrize('name', ['combined', 'loss', 'energy'])
def test_the_group_with_the_least_error_for_the_energy_goes_first(name):
    """Removing from ``left`` costs error 1, from ``right`` 2, and who saves more changes."""
    module, images = small.made(small.Concatenation), small.images(4)
    graph = small.graph_of(module)
    groups = [graph.group('left'), graph.group('right')]
    seen = observe(module, images, small.Logits(), places=64)

    def chosen(**prices):
        method = create(name, module, graph.groups, seen)
        left = {group.name: np.arange(group.channels) for group in groups}
        return method.choose(groups, left, {'left': 2, 'right': 2}, Price(**prices))

    errors, cheapest = {}, {}
    for group in groups:
        costs = np.zeros(group.channels)
        for tied in group.consumers:
            costs += Consumer(module.get_submodule(tied.layer), seen.layers[tied.layer],
                              weighted=name != 'energy').costs(tied.positions)
        if name == 'combined':
            costs *= voices_of(module, graph.groups, seen)[group.name]
        order = np.argsort(costs)[:2]
        errors[group.name], cheapest[group.name] = costs[order].sum(), sorted(order)
    even = errors['left'] / errors['right']
    for price, expected in ((even * 1.01, 'left'), (even * 0.99, 'right')):
        group, channels = chosen(left=price, right=1.0)
        assert group.name == expected
        assert channels.tolist() == cheapest[expected]
    group, _ = chosen(left=0.0, right=1e-6)  # what saves nothing is the last resort
    assert group.name == 'right'


def test_a_voice_makes_a_channel_stay_and_changes_no_forecast():
    module = small.made(small.Residual)
    group = small.graph_of(module).group('inner')
    seen = observe(module, small.images(4), small.Logits(), places=64)
    loud = np.ones(group.channels)
    first, second = (
        next(step for step in sweep(module, [group], width_energy(module), Restored(
            module, [group], seen, weighted=True, voices=voices), alignment=1).steps)
        for voices in (None, {group.name: loud}))
    assert first == second  # voices of 1 change nothing
    loud[first.channels[0]] = 1e6
    last = sweep(module, [group], width_energy(module), Restored(
        module, [group], seen, weighted=True, voices={group.name: loud}), alignment=1).steps
    gone = [channel for step in last for channel in step.channels]
    assert first.channels[0] not in gone[:-1]
    # What is forecast is the growth of the loss, which no voice changes.
    alone = Consumer(module.get_submodule('outer'), seen.layers['outer'])
    assert last[0].cost == pytest.approx(
        alone.remove_inputs(np.array(last[0].channels)), rel=1e-9)


def test_loss_is_combined_without_the_sensitivities(chain, monkeypatch):
    """An exponent of 0 silences them."""
    with_them, without = swept_by('combined', chain), swept_by('loss', chain)
    assert with_them.steps != without.steps
    monkeypatch.setattr(methods, 'VOICE', 0.0)
    assert swept_by('combined', chain).steps == without.steps


def test_a_channel_that_no_one_needs_goes_first():
    module = small.made(small.Grouped)
    graph = small.graph_of(module)
    silence(module, graph.group('grouped'), small.unit(graph.group('grouped'), 4))
    seen = observe(module, small.images(4), small.Logits(), places=64)
    for name in ('combined', 'loss', 'energy', 'provable'):
        swept = sweep(module, graph.groups, width_energy(module),
                      create(name, module, graph.groups, seen), alignment=8)
        first = next(step for step in swept.steps if step.group == 'grouped')
        assert first.channels == (4, 10, 16)


def test_after_a_removal_other_channels_speak_for_what_is_gone():
    """Of two equal channels each is free, but not both."""
    module = small.made(small.Residual)
    group = small.graph_of(module).group('inner')
    small.repeat(module, group, 1, 4, 2.0)
    seen = observe(module, small.images(8), small.Logits(), places=64)
    swept = sweep(module, [group], width_energy(module),
                  create('combined', module, [group], seen), alignment=1)
    order = [step.channels[0] for step in swept.steps]
    assert order[0] in (1, 4)
    assert order[1] not in (1, 4)
    assert swept.steps[0].cost < 0.05 * swept.steps[1].cost


def test_groups_whose_takers_were_not_observed_can_still_be_swept(chain):
    module, groups, seen = chain
    partial = copy.copy(seen)
    object.__setattr__(partial, 'layers', {'wide': seen.layers['wide']})
    for name in METHODS:
        swept = sweep(module, groups, width_energy(module),
                      create(name, module, groups, partial), alignment=ALIGNMENT)
        assert len(swept.steps) == len(swept_by('magnitude', chain).steps)


def test_magnitudes_are_relative_to_a_layers_mean():
    module = small.made(small.Concatenation)
    with torch.no_grad():
        module.left.weight.mul_(100)  # that a layer is loud says nothing of its channels
        module.right.weight[2] *= 0.01
        module.both.weight[3] *= 0.001
    groups = small.graph_of(module).groups
    seen = observe(module, small.images(1), small.Logits())
    swept = sweep(module, groups, width_energy(module),
                  create('magnitude', module, groups, seen), alignment=1)
    assert (swept.steps[0].group, swept.steps[0].channels) == ('right', (2,))
    assert all(math.isnan(step.cost) for step in swept.steps)
    # Of two layers that make the same channel both count.
    norms = [layer.weight.detach().flatten(1).norm(dim=1) for layer in (module.both, module.alone)]
    relative = sum(norm / norm.mean() for norm in norms)
    both = [step.channels[0] for step in swept.steps if step.group == 'both']
    assert both == relative.argsort()[:7].tolist()


def test_provable_lets_groups_keep_in_proportion_to_their_sensitivities():
    group, other = small.graph_of(small.made(small.Residual)).groups[:2]
    scores = {'stem': np.arange(1.0, 9), 'inner': np.full(6, 36 / 6 / 2)}  # sums 36 and 18
    method = Scored(scores, share_of_group=True)
    left = {'stem': np.arange(8), 'inner': np.arange(6)}
    way = []
    for _ in range(6):
        chosen, gone = method.choose([group, other], left, {'stem': 1, 'inner': 1}, None)
        left[chosen.name] = np.setdiff1d(left[chosen.name], gone)
        way.append((chosen.name, *gone.tolist()))
    # 6 of 18 and 8 of 36 at first; the smallest scores go first, and of equals the first.
    assert [name for name, _ in way] == ['inner', 'inner', 'stem', 'inner', 'stem', 'stem']
    assert [gone for name, gone in way if name == 'stem'] == [0, 1, 2]


def test_an_unknown_method(chain):
    with pytest.raises(KeyError):
        create('best', *chain)


def test_units_of_a_grouped_layer(chain):
    group = {group.name: group for group in chain[1]}['wide']
    units = units_of(group, np.arange(48))
    assert units.tolist() == [[number, number + 16, number + 32] for number in range(16)]
    assert units_of(group, np.array([3, 19, 35])).tolist() == [[3, 19, 35]]


# ---- the plan


@pytest.mark.parametrize('name', METHODS)
@pytest.mark.parametrize('share', [0.9, 0.7, 0.5, 0.4])
def test_a_plan_is_within_its_budget_and_has_no_room_left(name, share, chain):
    module, groups, _ = chain
    swept = swept_by(name, chain)
    reference = swept.dense_energy
    plan = plan_for(swept, width_energy(module), share * reference, reference)
    assert plan.energy <= share * reference
    assert plan.share == pytest.approx(plan.energy / reference)
    pruned = copy.deepcopy(module)
    small.graph_of(pruned).remove(plan.removed)
    assert profiled(pruned, EYERISS, None) == pytest.approx(plan.energy, rel=1e-9)
    assert dict(plan.widths) == {
        group.name: (group.channels, group.channels - len(plan.removed.get(group.name, ())))
        for group in groups if not group.fixed}
    # What is away of a group is a start of its own way down ...
    cost, last = 0.0, {}
    energy = width_energy(module)
    for group in swept.groups:
        steps = [step for step in swept.steps if step.group == group.name]
        gone = set(plan.removed.get(group.name, ()))
        taken = [step for step in steps if gone.issuperset(step.channels)]
        assert taken == steps[:len(taken)]
        assert gone == {channel for step in taken for channel in step.channels}
        cost += sum(step.cost for step in taken)
        energy.remove(group.name, len(gone))
        last[group.name] = len(taken[-1].channels) if taken else 0
    assert plan.cost == pytest.approx(cost, nan_ok=True)
    # ... of which no last step fits back in.
    for name, size in last.items():
        if size:
            energy.remove(name, -size)
            assert energy.total() > share * reference
            energy.remove(name, size)


class Table:
    """Stands for an energy that does not grow with each width: what each network costs."""

    def __init__(self, costs):
        self._costs = costs
        self._away = set()

    def remove(self, group, channels):
        (self._away.add if channels > 0 else self._away.remove)(group)

    def total(self):
        return self._costs[''.join(sorted(self._away))]


def test_room_that_another_step_makes_is_used():
    """That b comes back lets a come back too, which was tried before it."""
    steps = tuple(Step(group, (0,), cost, energy) for group, cost, energy in (
        ('b', 1.0, 10), ('a', 5.0, 9), ('c', 4.0, 1)))
    energy = Table({'': 12, 'a': 11, 'abc': 1, 'bc': 4, 'ab': 9, 'ac': 2, 'c': 3})
    plan = plan_for(Sweep((), steps, 12), energy, 3, 12)
    assert plan.removed == {'c': (0,)}
    assert (plan.energy, plan.share, plan.cost) == (3, 0.25, 4.0)


class Numbers:
    """Stands for an energy of one for each channel."""

    def __init__(self, channels):
        self._left = channels

    def remove(self, group, channels):
        self._left -= channels

    def total(self):
        return self._left


def test_only_the_last_step_of_a_group_comes_back():
    """The first would fit, and leave a width that is no multiple."""
    steps = (Step('a', tuple(range(2)), 5.0, 28), Step('a', tuple(range(2, 10)), 1.0, 20))
    assert plan_for(Sweep((), steps, 30), Numbers(30), 22, 30).energy == 20


def test_a_budget_that_is_met_already_takes_nothing(chain):
    swept = swept_by('magnitude', chain)
    plan = plan_for(swept, width_energy(chain[0]), swept.dense_energy, swept.dense_energy)
    assert not plan.removed and plan.share == 1 and plan.cost == 0
    assert all(before == after for before, after in plan.widths.values())


def test_a_budget_out_of_reach_says_what_could_be(chain):
    swept = swept_by('magnitude', chain)
    reference = swept.dense_energy
    narrowest = min(step.energy for step in swept.steps) / reference
    with pytest.raises(PlanError) as caught:
        plan_for(swept, width_energy(chain[0]), 0.01 * reference, reference)
    message = str(caught.value)
    assert '\n' not in message
    assert message.startswith('a budget of 1.0% of the dense energy cannot be met: ')
    assert f'{narrowest:.1%}' in message
    asked = float(message.split('ask for at least ')[1])
    plan = plan_for(swept, width_energy(chain[0]), asked * reference, reference)
    assert asked - 0.001 <= narrowest <= plan.share <= asked


def test_without_groups_there_is_nothing_to_plan(chain):
    module = chain[0]
    swept = sweep(module, (), width_energy(module), Scored({}), alignment=8)
    with pytest.raises(PlanError, match='100.0%'):
        plan_for(swept, width_energy(module), 0.5 * swept.dense_energy, swept.dense_energy)
