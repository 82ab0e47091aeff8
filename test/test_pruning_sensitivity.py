# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

import numpy as np
import pytest

torch = pytest.importorskip('torch')

import small_networks as small  # noqa: E402
from torch import nn  # noqa: E402

from prune_perception.pruning.observe import inputs_at, observe  # noqa: E402
from prune_perception.pruning.sensitivity import (  # noqa: E402
    channel_sensitivities,
    layer_sensitivities,
)

LAYERS = {
    'convolution': lambda: nn.Conv2d(16, 36, (3, 2)),
    'pointwise': lambda: nn.Conv2d(24, 4, 1, bias=False),
    'linear': lambda: nn.Linear(30, 5),
    'grouped': lambda: nn.Conv2d(48, 9, 2, groups=3),
}


def literal(layer, patches):
    """Return the sensitivities by loops over patches, outputs, signs, channels and taps."""
    groups = getattr(layer, 'groups', 1)
    outputs, channels = layer.weight.shape[:2]
    weight = layer.weight.detach().double().reshape(outputs, channels, -1).numpy()
    taps = weight.shape[2]
    result = np.zeros(groups * channels)
    for patch in patches.double().numpy():
        for i in range(outputs):
            part = i // (outputs // groups)
            products = []
            for j in range(channels):
                place = (part * channels + j) * taps
                products.append(sum(
                    weight[i, j, tap] * patch[place + tap] for tap in range(taps)))
            for sign in (1, -1):
                shares = [max(sign * product, 0) for product in products]
                total = sum(shares)
                for j in range(channels):
                    if total > 0:
                        known = result[part * channels + j]
                        result[part * channels + j] = max(known, shares[j] / total)
    return result


def patches_of(layer, count=8, seed=0):
    inputs = layer.weight[0].numel() * getattr(layer, 'groups', 1)
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, inputs, generator=generator) + 0.3


@pytest.fixture(params=LAYERS)
def layer(request):
    torch.manual_seed(1)
    return LAYERS[request.param]()


def test_sensitivities_against_loops(layer):
    patches = patches_of(layer)
    found = layer_sensitivities(layer, patches).numpy()
    np.testing.assert_allclose(found, literal(layer, patches), rtol=0, atol=1e-6)
    assert (found > 0).all() and (found <= 1).all()
    assert (found < 0.9).any()


def test_they_are_shares_of_positive_parts_for_what_is_positive(layer):
    """As the definition has it where no weight and no input is negative: one sum, no split."""
    with torch.no_grad():
        layer.weight.abs_()
    patches = patches_of(layer).abs()
    groups = getattr(layer, 'groups', 1)
    outputs, channels = layer.weight.shape[:2]
    weight = layer.weight.detach().double().reshape(groups, outputs // groups, channels, -1)
    x = patches.double().reshape(len(patches), groups, channels, -1)
    products = torch.einsum('gict,pgct->pgic', weight, x)
    expected = (products / products.sum(3, keepdim=True)).amax((0, 2)).flatten()
    torch.testing.assert_close(
        layer_sensitivities(layer, patches).double(), expected, rtol=0, atol=1e-6)
    # Of one output and one patch the shares make up a whole, so the sum is at least 1.
    assert (expected.reshape(groups, -1).sum(1) >= 1).all()


def test_the_greatest_over_the_data_counts(layer):
    """More patches never lessen a sensitivity, and what was greatest stays so."""
    patches = patches_of(layer, 20)
    whole = layer_sensitivities(layer, patches)
    halves = [layer_sensitivities(layer, part) for part in patches.split(10)]
    torch.testing.assert_close(whole, torch.maximum(*halves), rtol=1e-5, atol=0)
    assert all((whole > half + 0.01).any() for half in halves)


def test_permuted_channels_have_permuted_sensitivities(layer):
    patches = patches_of(layer)
    groups = getattr(layer, 'groups', 1)
    channels = layer.weight.shape[1]
    order = torch.randperm(channels, generator=torch.Generator().manual_seed(5))
    other = patches.reshape(len(patches), groups, channels, -1)[:, :, order].flatten(1)
    before = layer_sensitivities(layer, patches).reshape(groups, channels)
    with torch.no_grad():
        layer.weight.copy_(layer.weight[:, order].clone())
    after = layer_sensitivities(layer, other).reshape(groups, channels)
    torch.testing.assert_close(after, before[:, order], rtol=1e-5, atol=1e-7)


def test_a_channel_that_is_never_there_has_none(layer):
    groups = getattr(layer, 'groups', 1)
    patches = patches_of(layer).reshape(8, groups, layer.weight.shape[1], -1)
    patches[:, :, 1] = 0
    found = layer_sensitivities(layer, patches.flatten(1)).reshape(groups, -1)
    assert (found[:, 1] == 0).all() and (found[:, 0] > 0).all()
    alone = torch.zeros_like(patches)
    alone[:, :, 1] = patches[:, :, 0]
    found = layer_sensitivities(layer, alone.flatten(1)).reshape(groups, -1)
    assert (found[:, 1] == 1).all() and (found.sum(1) == 1).all()


def test_small_and_large_inputs_have_the_same_shares(layer):
    patches = patches_of(layer)
    for factor in (1e-10, 1e6):
        torch.testing.assert_close(
            layer_sensitivities(layer, patches * factor), layer_sensitivities(layer, patches),
            rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('kind', [small.Residual, small.SharedHead, small.Flattened,
                                  small.Grouped, small.InPlace])
def test_of_groups_the_greatest_over_images_places_and_takers(kind):
    module, images = small.made(kind), small.images(3)
    groups = small.graph_of(module).groups
    seen = observe(module, images, small.Halves(), places=8)
    shares = []
    found = channel_sensitivities(module, groups, seen, progress=shares.append)
    assert shares[-1] == 1
    inputs = {}
    handles = [module.get_submodule(name).register_forward_pre_hook(
        lambda _, given, name=name: inputs.setdefault(name, []).append(given[0].clone()))
        for name in seen.layers]
    for image in images:
        small.outputs_of(module, image)
    for handle in handles:
        handle.remove()
    for group in groups:
        expected = np.zeros(group.channels)
        for tied in group.consumers:
            layer = module.get_submodule(tied.layer)
            for given, places in zip(
                    inputs[tied.layer], seen.layers[tied.layer].places, strict=True):
                own = literal(layer, inputs_at(layer, given, places))
                expected = np.maximum(expected, own[tied.positions].max(1))
        np.testing.assert_allclose(found[group.name], expected, rtol=0, atol=1e-6)
        assert group.consumers or not found[group.name].any()
    assert not any(part._forward_pre_hooks for part in module.modules())


def test_a_small_map_is_looked_at_from_its_top_to_its_bottom():
    """A channel that is there in the lowest rows alone has a sensitivity, too."""
    module = small.made(small.Residual)
    with torch.no_grad():
        module.stem.bias.zero_()
        module.stem.weight[..., [0, 2], :] = 0  # rows stay by themselves
        module.inner.weight[..., [0, 2], :] = 0
        module.inner.bias[:] = 1
        module.inner.bias[0] = 0
        module.inner.weight[0].abs_()
        module.stem.weight.abs_()
    images = [torch.zeros(1, 3, small.SIZE, small.SIZE)]
    images[0][..., -1, :] = 1
    groups = small.graph_of(module).groups
    seen = observe(module, images, small.Halves())
    (places,) = seen.layers['outer'].places
    assert places.tolist() == list(range(small.SIZE ** 2))
    found = channel_sensitivities(module, groups, seen)
    assert 'inner' in found and (found['inner'] > 0).all()
