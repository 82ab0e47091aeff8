# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

import copy
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip('torch')

import small_networks as small  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from prune_perception.pruning import restoration  # noqa: E402
from prune_perception.pruning.observe import inputs_at, mixing_layers, observe  # noqa: E402
from prune_perception.pruning.restoration import (  # noqa: E402
    DEFAULT_RIDGE,
    kept_outputs,
    restore,
    RIDGES,
)


@pytest.fixture
def hardly_any_ridge(monkeypatch):
    monkeypatch.setattr(restoration, 'RIDGES', (1e-9,))


@pytest.fixture
def run_by_run(monkeypatch):
    """Return what restores a network as one that cannot take several images."""
    def restored(*arguments, **words):
        with monkeypatch.context() as changed:
            changed.setattr(restoration, '_batches', lambda *_: False)
            return restore(*arguments, **words)
    return restored


def pruned_of(dense, removed):
    pruned = copy.deepcopy(dense)
    graph = small.graph_of(pruned)
    graph.remove(removed)
    return pruned, kept_outputs(graph.groups, removed)


def half(dense, seed=0):
    """Return a random half of each group's units."""
    rng = np.random.default_rng(seed)
    removed = {}
    for group in small.graph_of(dense).groups:
        units = group.channels // group.unit
        if not group.fixed:
            removed[group.name] = small.unit(
                group, *rng.permutation(units)[:max(units // 2, 1)].tolist())
    return removed


def worst(dense, pruned, images):
    return max(float((one - other).abs().max()) for image in images for one, other in zip(
        small.outputs_of(dense, image), small.outputs_of(pruned, image), strict=True))


def redundant(kind, seed):
    """Return a network with a unit in each group that is a multiple of another, and the units."""
    dense = small.made(kind, seed)
    removed = {}
    for group in small.graph_of(dense).groups:
        if group.fixed:
            continue
        first, second = np.random.default_rng(seed).permutation(group.channels // group.unit)[:2]
        # A gate is no multiple of a gate: there it is the same channel again.
        factor = 1.0 if kind is small.SqueezeExcite else 1.5
        for source, target in zip(
                small.unit(group, first), small.unit(group, second), strict=True):
            small.repeat(dense, group, source, target, factor)
        removed[group.name] = small.unit(group, second)
    return dense, removed


@pytest.mark.parametrize('seed', range(2))
@pytest.mark.parametrize('kind', small.PRUNABLE, ids=lambda kind: kind.__name__)
def test_what_others_can_say_is_not_lost(kind, seed, hardly_any_ridge):
    dense, removed = redundant(kind, seed)
    fit, select = small.images(40, 1), small.images(4, 2)
    pruned, kept = pruned_of(dense, removed)
    assert worst(dense, pruned, select) > 0.01
    head = small.Halves()
    ridges = restore(pruned, observe(dense, fit, head), observe(dense, select, head), kept)
    assert set(ridges) == set(mixing_layers(dense))
    assert worst(dense, pruned, [*fit, *select]) < 1e-4


@pytest.mark.parametrize('groups', [1, 2])
@pytest.mark.parametrize('bias', [True, False])
def test_linear_combinations_and_constants_are_made_up_for(bias, groups, hardly_any_ridge):
    """A channel that is a sum of others and, if a bias can take it, a constant."""
    torch.manual_seed(4)
    dense = nn.Sequential(
        small.conv(3, 12), nn.Conv2d(12, 8, 3, groups=groups, bias=bias), nn.Conv2d(8, 4, 1))
    first = dense[0]
    with torch.no_grad():
        for part in range(groups):
            start = part * 12 // groups
            first.weight[start + 5] = first.weight[start] - 2 * first.weight[start + 1]
            first.bias[start + 5] = first.bias[start] - 2 * first.bias[start + 1]
            if bias:
                first.bias[start + 5] += 3
    removed = {'0': [part * 12 // groups + 5 for part in range(groups)]}
    pruned, kept = pruned_of(dense, removed)
    images = small.images(12)
    restore(pruned, observe(dense, images, small.Halves()), None, kept)
    assert worst(dense, pruned, small.images(3, 9)) < 0.02
    pruned, kept = pruned_of(dense, removed)
    seen = observe(dense, images, small.Halves())
    restore(pruned, seen, seen, kept)
    assert worst(dense, pruned, small.images(3, 9)) < 1e-4


def errors(layer, inputs, targets):
    """Return the mean squared error of a layer's outputs."""
    return float(np.mean([functional.mse_loss(layer(x), y).item()
                          for x, y in zip(inputs, targets, strict=True)]))


@pytest.mark.parametrize('kind', small.PRUNABLE, ids=lambda kind: kind.__name__)
def test_no_layer_gets_worse(kind, run_by_run):
    """
    On the images fitted to, each layer comes closer to the dense one than it was.

    What a layer is given is settled when its turn comes; all of its map is looked at.
    """
    dense, images = small.made(kind), small.images(6)
    removed = half(dense)
    pruned, kept = pruned_of(dense, removed)
    seen = observe(dense, images, small.Halves())
    before = copy.deepcopy(pruned)
    order = sorted(seen.layers, key=lambda name: seen.layers[name].order)
    gains = []

    def through(module, name):
        inputs, outputs = [], []
        handle = module.get_submodule(name).register_forward_hook(
            lambda _, given, output: (inputs.append(given[0].clone()),
                                      outputs.append(output.clone()), None)[-1])
        for image in images:
            small.outputs_of(module, image)
        handle.remove()
        return inputs, outputs

    def look(*_):
        name = order[len(gains)]
        inputs, _ = through(pruned, name)
        _, targets = through(dense, name)
        if name in kept:
            targets = [target.index_select(1, kept[name]) for target in targets]
        with torch.no_grad():
            gains.append((errors(before.get_submodule(name), inputs, targets),
                          errors(pruned.get_submodule(name), inputs, targets)))

    run_by_run(pruned, seen, seen, kept, progress=look)
    assert len(gains) == len(order)
    assert all(after <= unrestored + 1e-12 for unrestored, after in gains)
    assert sum(after < 0.99 * unrestored for unrestored, after in gains) >= 1


def test_the_solution_is_that_of_a_regression():
    """Of the last layer, with the ridge as samples on which its weights stay as they are."""
    dense, images = small.made(small.Grouped), small.images(6)
    removed = half(dense)
    pruned, kept = pruned_of(dense, removed)
    seen = observe(dense, images, small.Halves(), places=16)
    start = pruned.predict.weight.detach().flatten(1).double().numpy()
    ridges = restore(pruned, seen, None, kept)
    assert set(ridges.values()) == {DEFAULT_RIDGE}
    x, y = samples_of(pruned, seen)
    weight, bias = regression(x, y, start, DEFAULT_RIDGE)
    np.testing.assert_allclose(
        pruned.predict.weight.detach().flatten(1).numpy(), weight, atol=1e-6)
    np.testing.assert_allclose(pruned.predict.bias.detach().numpy(), bias, atol=1e-6)


def samples_of(pruned, seen):
    """Return what the last layer of :class:`Grouped` is given, and what it should make of it."""
    given = [torch.relu(pruned.grouped(torch.relu(pruned.stem(image)))).detach()
             for image in seen.images]
    statistics = seen.layers['predict']
    x = torch.cat([inputs_at(pruned.predict, one, places)
                   for one, places in zip(given, statistics.places, strict=True)])
    return x.double().numpy(), torch.cat(statistics.outputs).double().numpy()


def regression(x, y, start, ridge):
    mean = x.mean(0)
    strength = np.sqrt(ridge * np.mean(x.var(0)) * len(x))
    a = np.vstack([x - mean, strength * np.eye(x.shape[1])])
    b = np.vstack([y - y.mean(0), strength * start.T])
    weight = np.linalg.lstsq(a, b, rcond=None)[0]
    return weight.T, y.mean(0) - mean @ weight


@pytest.mark.parametrize('same', [True, False])
def test_the_ridge_is_the_one_that_does_best_on_the_images_kept_aside(same):
    """With few samples a weak ridge fits them best, and others not."""
    dense = small.made(small.Grouped)
    removed = half(dense)
    pruned, kept = pruned_of(dense, removed)
    start = pruned.predict.weight.detach().flatten(1).double().numpy()
    fit = observe(dense, small.images(1, 1), small.Halves(), places=10)
    select = fit if same else observe(dense, small.images(5, 2), small.Halves())
    ridges = restore(pruned, fit, select, kept)
    x, y = samples_of(pruned, fit)
    aside, wanted = samples_of(pruned, select)
    scores = {}
    for ridge in RIDGES:
        weight, bias = regression(x, y, start, ridge)
        scores[ridge] = float(((aside @ weight.T + bias - wanted) ** 2).sum())
    assert ridges['predict'] == min(scores, key=scores.get)
    assert (ridges['predict'] == min(RIDGES)) == same


def test_a_layer_makes_up_for_those_before_it():
    """The last layer is fitted to what it is given now, not to what it was given once."""
    dense, images = small.made(small.Residual), small.images(10)
    removed = half(dense)
    fit = observe(dense, images, small.Halves())
    pruned, kept = pruned_of(dense, removed)
    unrestored = copy.deepcopy(pruned)
    restore(pruned, fit, None, kept)

    def error(module):
        return sum(float((one - other).square().sum()) for image in images for one, other in zip(
            small.outputs_of(dense, image), small.outputs_of(module, image), strict=True))

    assert error(pruned) < 0.6 * error(unrestored)
    # And alone it is a least squares fit: no other weights come closer.
    x = []
    handle = pruned.predict.register_forward_pre_hook(lambda _, given: x.append(given[0]))
    for image in images:
        small.outputs_of(pruned, image)
    handle.remove()
    y = torch.cat([dense(image)[0].flatten(1).T for image in images]).detach().numpy()
    given = torch.cat([one[0].flatten(1).T for one in x]).numpy()
    design = np.hstack([given, np.ones((len(given), 1))])
    least = np.linalg.lstsq(design, y, rcond=None)[1].sum()
    assert least <= error(pruned) < 1.01 * least


def test_kept_outputs_are_numbered_as_in_the_dense_network():
    graph = small.graph_of(small.made(small.Residual))
    kept = kept_outputs(graph.groups, {'stem': (1, 6), 'inner': ()})
    assert set(kept) == {'stem', 'outer', 'again'}
    assert all(rows.tolist() == [0, 2, 3, 4, 5, 7] for rows in kept.values())


def test_a_layer_that_the_outputs_do_not_show_is_left_alone():
    dense = small.made(small.Grouped)
    seen = observe(dense, small.images(2), small.Halves())
    pruned, kept = pruned_of(dense, half(dense))
    before = pruned.grouped.weight.clone()
    only = SimpleNamespace(images=seen.images, layers={'predict': seen.layers['predict']})
    assert set(restore(pruned, only, None, kept)) == {'predict'}
    assert torch.equal(pruned.grouped.weight, before)


@pytest.mark.parametrize('kind', small.PRUNABLE, ids=lambda kind: kind.__name__)
def test_one_run_of_all_images_is_what_restoration_does_layer_by_layer(kind, run_by_run):
    dense, others = small.made(kind), small.images(4, 2)
    fit = observe(dense, small.images(12, 1), small.Halves())
    select = observe(dense, small.images(3, 3), small.Halves())
    at_once, kept = pruned_of(dense, half(dense))
    before, in_turn = copy.deepcopy(at_once), copy.deepcopy(at_once)
    runs = []
    handle = at_once.register_forward_pre_hook(lambda _, given: runs.append(len(given[0])))
    ridges = restore(at_once, fit, select, kept)
    handle.remove()
    # Two images to see whether it tells them apart, one for the size of its maps; then all of
    # them, and again for each layer that they pass several times.
    shared = sum(layer.calls > 1 for layer in fit.layers.values())
    assert runs == [2, 1, 1, 1] + (1 + shared) * [15]
    assert run_by_run(in_turn, fit, select, kept) == ridges
    largest = max(float(one.abs().max()) for one in small.outputs_of(dense, others[0]))
    assert worst(at_once, before, others) > 1e-2 * largest
    assert worst(at_once, in_turn, others) < 1e-4 * largest


@pytest.mark.parametrize('kind', small.PRUNABLE, ids=lambda kind: kind.__name__)
def test_with_every_channel_kept_it_is_the_identity(kind):
    dense = small.made(kind)
    restored = copy.deepcopy(dense)
    restore(restored, observe(dense, small.images(12, 1), small.Halves()), None, {})
    assert worst(dense, restored, small.images(4, 2)) < 1e-5


class Row(nn.Module):
    """Three convolutions of 1 x 1 in a row."""

    def __init__(self):
        super().__init__()
        self.first, self.second = small.conv(3, 6, 1), small.conv(6, 8, 1)
        self.last = small.conv(8, 5, 1)

    def forward(self, x):
        x = functional.leaky_relu(self.first(x), 0.1)
        return self.last(functional.leaky_relu(self.second(x), 0.1))


def test_it_is_the_reconstruction_of_each_input_from_the_kept_channels_one_after_the_other():
    # The literal construction: x' = A k + c by least squares in place of x, in the dense network.
    dense, images = small.made(Row), small.images(12, 1)
    gone = {name: [0, 2, 4] for name in ('first', 'second')}
    projected, kept = pruned_of(dense, gone)
    restore(projected, observe(dense, images, small.Halves()), None, kept, ridge=1e-9)

    def rows(maps):  # (places, channels)
        return torch.cat([one[0].flatten(1).T for one in maps]).double()

    others = small.images(3, 2)
    with torch.no_grad():
        fit, aside, exact = list(images), list(others), list(images)
        for name in gone:
            layer = dense.get_submodule(name)
            fit, aside, exact = ([functional.leaky_relu(layer(x), 0.1) for x in maps]
                                 for maps in (fit, aside, exact))
            stays = [channel for channel in range(layer.out_channels) if channel not in gone[name]]
            x, k = rows(exact), rows(fit)[:, stays]
            centred = k - k.mean(0)
            a = torch.linalg.lstsq(centred, x - x.mean(0)).solution
            c = x.mean(0) - k.mean(0) @ a
            fit, aside = ([(one[0, stays].flatten(1).T.double() @ a + c).T.float().reshape(
                1, -1, *one.shape[2:]) for one in maps] for maps in (fit, aside))
        wanted = [dense.last(x) for x in aside]
    for image, expected in zip(others, wanted, strict=True):
        found = small.outputs_of(projected, image)[0]
        assert torch.allclose(found, expected, atol=1e-3 * float(expected.abs().max()))


def test_of_more_images_than_memory_allows_some_are_taken_evenly_spread(monkeypatch):
    dense, images = small.made(small.Residual), small.images(24, 1)
    fit = observe(dense, images[:20], small.Halves())
    select = observe(dense, images[20:], small.Halves())
    batches, told = [], set()
    pruned, kept = pruned_of(dense, half(dense))
    # The last layer takes four channels and makes five, of float32.
    monkeypatch.setattr(restoration, '_MOST_BYTES', 9 * 4 * 9 * images[0][0, 0].numel())
    handle = pruned.register_forward_pre_hook(lambda _, given: batches.append(given[0]))
    restore(pruned, fit, select, kept, progress=lambda _, words: told.add(words))
    handle.remove()
    assert told == {'10 images'}
    # 9 of 24: three eighths of each.
    wanted = [images[number] for number in (0, 2, 5, 8, 10, 13, 16, 19, 20, 23)]
    assert torch.equal(batches[-1], torch.cat(wanted))


class Mixed(nn.Module):
    """It lays the places first, and the images behind them."""

    def __init__(self):
        super().__init__()
        self.stem, self.body = small.conv(3, 6), small.conv(6, 6)
        self.predict = nn.Linear(6, 5)

    def forward(self, x):
        x = torch.relu(self.body(torch.relu(self.stem(x))))
        return self.predict(x.flatten(2).permute(2, 0, 1))


class OneImage(Mixed):
    """It counts on one image."""

    def forward(self, x):
        x = torch.relu(self.body(torch.relu(self.stem(x))))
        return self.predict(x.reshape(1, -1, 64).swapaxes(1, 2))


@pytest.mark.parametrize('kind', [Mixed, OneImage])
def test_a_network_that_does_not_tell_images_apart_is_run_image_by_image(kind, hardly_any_ridge):
    dense = small.made(kind)
    with torch.no_grad():
        dense.stem.weight[4], dense.stem.bias[4] = dense.stem.weight[1], dense.stem.bias[1]
    fit = observe(dense, small.images(8, 1), small.Halves())
    pruned = copy.deepcopy(dense)
    pruned.stem.weight = nn.Parameter(dense.stem.weight[[0, 1, 2, 3, 5]])
    pruned.stem.bias = nn.Parameter(dense.stem.bias[[0, 1, 2, 3, 5]])
    pruned.body.weight = nn.Parameter(dense.body.weight[:, [0, 1, 2, 3, 5]])
    ridges = restore(pruned, fit, None, {'stem': torch.tensor([0, 1, 2, 3, 5])}, ridge=1e-9)
    assert list(ridges) == ['stem', 'body', 'predict']

    def output(module, image):
        with torch.no_grad():
            return module(image)

    for image in small.images(3, 2):
        assert torch.allclose(output(dense, image), output(pruned, image), atol=1e-4)
