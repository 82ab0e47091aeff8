# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

import copy

import numpy as np
import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('torch_pruning')

import small_networks as small  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from prune_perception.pruning.observe import observe  # noqa: E402
from prune_perception.pruning.projection import project, ProjectionError  # noqa: E402
from prune_perception.pruning.restoration import (  # noqa: E402
    DEFAULT_RIDGE,
    kept_outputs,
    restore,
)

NUMBER = 12


def pruned_of(dense, part=0.5, seed=0):
    """Return the network without a part of each group's units, and the outputs kept."""
    rng = np.random.default_rng(seed)
    pruned = copy.deepcopy(dense)
    graph = small.graph_of(pruned)
    removed = {}
    for group in graph.groups:
        units = group.channels // group.unit
        if not group.fixed and int(part * units):
            removed[group.name] = small.unit(
                group, *rng.permutation(units)[:int(part * units)].tolist())
    kept = kept_outputs(graph.groups, removed)
    graph.remove(removed)
    return pruned, kept


def apart(one, other, images):
    """Return the largest difference of two networks' outputs, relative to the largest output."""
    pairs = [(a, b) for image in images for a, b in zip(
        small.outputs_of(one, image), small.outputs_of(other, image), strict=True)]
    return max(float((a - b).abs().max()) for a, b in pairs) / max(
        float(a.abs().max()) for a, _ in pairs)


@pytest.mark.parametrize('kind', small.PRUNABLE, ids=lambda kind: kind.__name__)
def test_one_run_of_all_images_is_what_restoration_does_layer_by_layer(kind):
    dense = small.made(kind)
    seen = observe(dense, small.images(NUMBER, 1), small.Halves())
    restored, kept = pruned_of(dense)
    before = copy.deepcopy(restored)
    projected = copy.deepcopy(restored)
    restore(restored, seen, None, kept)
    project(projected, seen, kept, images=NUMBER, ridge=DEFAULT_RIDGE)
    others = small.images(4, 2)
    assert apart(restored, before, others) > 1e-2
    assert apart(restored, projected, others) < 1e-4


@pytest.mark.parametrize('kind', small.PRUNABLE, ids=lambda kind: kind.__name__)
def test_with_every_channel_kept_it_is_the_identity(kind):
    dense = small.made(kind)
    seen = observe(dense, small.images(NUMBER, 1), small.Halves())
    projected = copy.deepcopy(dense)
    project(projected, seen, {}, images=NUMBER)
    assert apart(dense, projected, small.images(4, 2)) < 1e-5


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
    ridge = 1e-9
    dense = small.made(Row)
    images = small.images(NUMBER, 1)
    seen = observe(dense, images, small.Halves())
    graph = small.graph_of(dense)
    gone = {group.name: [0, 2, 4] for group in graph.groups if not group.fixed}
    assert set(gone) == {'first', 'second'}
    projected = copy.deepcopy(dense)
    small.graph_of(projected).remove(gone)
    project(projected, seen, kept_outputs(graph.groups, gone), images=NUMBER, ridge=ridge)

    def rows(maps):  # (places, channels)
        return torch.cat([one[0].flatten(1).T for one in maps]).double()

    others = small.images(3, 2)
    with torch.no_grad():
        fit, aside = list(images), list(others)
        exact = list(images)  # the dense network's own maps
        for name in ('first', 'second'):
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


def test_few_images_are_spread_over_all_of_them():
    dense = small.made(small.Residual)
    images = small.images(NUMBER, 1)
    seen = observe(dense, images, small.Halves())
    batches = []
    pruned, kept = pruned_of(dense)
    handle = pruned.register_forward_pre_hook(lambda _, given: batches.append(given[0]))
    project(pruned, seen, kept, images=3)
    handle.remove()
    assert [len(batch) for batch in batches] == [3]
    for found, wanted in zip(batches[0], (images[0], images[5], images[11]), strict=True):
        assert torch.equal(found, wanted[0])


class Mixed(nn.Module):
    """It lays the places first, and the images behind them."""

    def __init__(self):
        super().__init__()
        self.stem = small.conv(3, 6)
        self.predict = nn.Linear(6, 5)

    def forward(self, x):
        return self.predict(torch.relu(self.stem(x)).flatten(2).permute(2, 0, 1))


def test_a_network_that_mixes_images_is_refused_by_the_layers_name():
    dense = small.made(Mixed)
    seen = observe(dense, small.images(4, 1), small.Halves())
    with pytest.raises(ProjectionError, match=r'layer predict: is given \(64, 4, 6\) for 4'):
        project(copy.deepcopy(dense), seen, {})
