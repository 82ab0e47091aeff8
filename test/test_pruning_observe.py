# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

import copy

import pytest

torch = pytest.importorskip('torch')

import small_networks as small  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from prune_perception.pruning.groups import GroupError  # noqa: E402
from prune_perception.pruning.observe import inputs_at, mixing_layers, observe  # noqa: E402

LAYERS = [
    {'kernel_size': 1},
    {'kernel_size': 1, 'stride': 2},
    {'kernel_size': 1, 'padding': 1},
    {'kernel_size': 3},
    {'kernel_size': 3, 'padding': 1, 'stride': 2},
    {'kernel_size': (3, 2), 'padding': (0, 2), 'stride': (1, 3)},
    {'kernel_size': (2, 3), 'dilation': (3, 2), 'padding': (2, 1)},
    {'kernel_size': 3, 'dilation': 2, 'padding': 2, 'stride': 2, 'groups': 3},
]


def feed(height=9, width=7, channels=6):
    return torch.randn(1, channels, height, width, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize('options', LAYERS, ids=str)
def test_inputs_are_those_of_unfold(options):
    layer, x = nn.Conv2d(6, 12, **options), feed()
    expected = functional.unfold(
        x, layer.kernel_size, layer.dilation, layer.padding, layer.stride)[0].T
    places = torch.randperm(len(expected), generator=torch.Generator().manual_seed(0))
    assert torch.equal(inputs_at(layer, x, places), expected[places])


@pytest.mark.filterwarnings('ignore:Using padding=.same.:UserWarning')
@pytest.mark.parametrize('mode', ['zeros', 'reflect', 'replicate', 'circular'])
@pytest.mark.parametrize('options', [
    *LAYERS, {'kernel_size': (4, 2), 'padding': 'same', 'dilation': (1, 2)},
    {'kernel_size': (4, 2), 'padding': 'valid'}, {'kernel_size': 1, 'padding': 'same'}], ids=str)
def test_a_layers_weight_on_its_inputs_makes_its_output(options, mode):
    layer, x = nn.Conv2d(6, 12, padding_mode=mode, **options), feed()
    output = layer(x)[0].flatten(1).T
    patches = inputs_at(layer, x, torch.arange(len(output)))
    weight, rows = layer.weight.flatten(1), 12 // layer.groups
    columns = weight.shape[1]
    for part in range(layer.groups):
        found = patches[:, part * columns:(part + 1) * columns] @ \
            weight[part * rows:(part + 1) * rows].T + layer.bias[part * rows:(part + 1) * rows]
        torch.testing.assert_close(found, output[:, part * rows:(part + 1) * rows])


def test_inputs_of_a_linear_layer():
    x = torch.randn(1, 4, 6)
    assert torch.equal(inputs_at(nn.Linear(6, 2), x, torch.tensor([2, 0])), x[0, [2, 0]])


def test_a_depthwise_convolution_mixes_nothing():
    assert set(mixing_layers(small.Separable())) == {'stem', 'pointwise', 'predict'}
    assert set(mixing_layers(small.Grouped())) == {'stem', 'grouped', 'predict'}
    assert set(mixing_layers(small.Flattened())) == {'stem', 'hidden', 'predict'}


def literal(layer, given, gradient):
    """Return gram, mean and sensitivity of one image by loops over places, taps and outputs."""
    pad, stride = layer.padding[0], layer.stride[0]
    padded = functional.pad(given, [pad] * 4)[0].double()
    _, height, width = gradient.shape[1:]
    inputs = layer.weight.shape[1] * layer.groups * 9
    gram, mean = torch.zeros(inputs, inputs).double(), torch.zeros(inputs).double()
    sensitivity = torch.zeros(gradient.shape[1]).double()
    for row in range(height):
        for column in range(width):
            x = torch.stack([
                padded[channel, row * stride + down, column * stride + right]
                for channel in range(len(padded)) for down in range(3) for right in range(3)])
            gram += torch.outer(x, x) / (height * width)
            mean += x / (height * width)
            for output in range(len(sensitivity)):
                sensitivity[output] += gradient[0, output, row, column].item() ** 2
    return gram, mean, sensitivity


def test_statistics_against_loops():
    """All places are drawn where there are fewer than asked for."""
    module, images = small.made(small.Residual), small.images(3)
    seen = observe(module, images, small.Halves(), places=64)
    expected = {name: [0, 0, 0] for name in ('stem', 'inner', 'again')}
    for image in images:
        stem = module.stem(image)
        x = functional.leaky_relu(stem, 0.1)
        inner = module.inner(x)
        taken = x + module.outer(functional.relu(inner))
        again = module.again(taken)
        loss = module.predict(taken + again).square().sum() / 2
        gradients = torch.autograd.grad(loss, (stem, inner, again))
        for (name, sums), given, gradient in zip(
                expected.items(), (image, x, taken), gradients, strict=True):
            values = literal(getattr(module, name), given.detach(), gradient)
            expected[name] = [old + new / 3 for old, new in zip(sums, values, strict=True)]
    for name, (gram, mean, sensitivity) in expected.items():
        found = seen.layers[name]
        torch.testing.assert_close(found.gram.double(), gram, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found.mean.double(), mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found.sensitivity.double(), sensitivity, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(
            found.covariance(), gram - torch.outer(mean, mean), rtol=1e-3, atol=1e-5)
        assert found.samples == 3 * 64
    assert [name for name, _ in sorted(
        seen.layers.items(), key=lambda item: item[1].order)] == [
            'stem', 'inner', 'outer', 'again', 'predict']


def test_the_sensitivity_is_the_curvature_of_the_loss():
    """The mean of drawn gradients, squared, is the Gauss-Newton matrix's diagonal."""
    torch.manual_seed(1)
    module = nn.Sequential(
        small.conv(3, 2, stride=4), nn.LeakyReLU(0.3), nn.Conv2d(2, 2, 2), nn.Flatten())
    image = small.images(1)[0]
    seen = observe(module, [image] * 3000, small.Logits())
    hidden = module[0](image).detach()

    def head(hidden):
        return module[1:](hidden)

    outputs = head(hidden).detach()
    hessian = torch.autograd.functional.hessian(
        lambda logits: small.Logits().loss(logits, outputs), outputs).reshape(2, 2)
    jacobian = torch.autograd.functional.jacobian(head, hidden).reshape(2, -1)
    exact = (jacobian.T @ hessian @ jacobian).diagonal().reshape(2, -1).sum(1)
    torch.testing.assert_close(seen.layers['0'].sensitivity, exact, rtol=0.05, atol=0)


def test_a_shared_head_is_seen_at_each_level():
    module, images = small.made(small.SharedHead), small.images(2)
    seen = observe(module, images, small.Halves(), places=100).layers['tower']
    assert seen.calls == 2
    assert [len(places) for places in seen.places] == [64, 16, 64, 16]
    assert seen.samples == 160
    inputs = []
    for image in images:
        fine = torch.relu(module.fine(image))
        inputs += [fine, torch.relu(module.coarse(fine))]
    patches = torch.cat([functional.unfold(x, 3, padding=1)[0].T for x in inputs]).detach()
    torch.testing.assert_close(seen.gram, patches.T @ patches / 160, rtol=1e-4, atol=1e-5)
    for given, output in zip(inputs, seen.outputs, strict=True):
        torch.testing.assert_close(output, module.tower(given)[0].flatten(1).T.detach())


def test_a_level_of_which_nothing_comes_counts_as_nothing():
    class Half(small.SharedHead):
        def forward(self, x):
            return super().forward(x)[1]

    module = small.made(Half)
    seen = observe(module, small.images(2), small.Halves(), places=16).layers['predict']
    assert seen.calls == 2 and len(seen.places) == len(seen.outputs) == 4
    coarse = [module(image) for image in small.images(2)]
    exact = sum(output.square().sum((0, 2, 3)) for output in coarse) / 2
    torch.testing.assert_close(seen.sensitivity, exact.detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('kind', [small.Normalised, small.InPlace])
def test_what_a_layer_made_is_seen_before_it_is_overwritten(kind):
    module, image = small.made(kind), small.images(1)[0]
    seen = observe(module, [image], small.Halves(), places=64)
    torch.testing.assert_close(
        seen.layers['stem'].outputs[0], module.stem(image)[0].flatten(1).T.detach())
    assert (seen.layers['stem'].outputs[0] < -0.2).any()  # an activation would have cut it off
    stem = module.stem(image).detach().requires_grad_()
    if kind is small.Normalised:
        x = functional.relu(module.norm(stem))
        loss = module.predict(functional.relu(module.middle_norm(module.middle(x))))
    else:
        x = functional.leaky_relu(stem, 0.1)
        loss = module.predict(functional.relu(module.side(x) + x))
    gradient, = torch.autograd.grad(loss.square().sum() / 2, stem)
    torch.testing.assert_close(
        seen.layers['stem'].sensitivity, gradient.square().sum((0, 2, 3)), rtol=1e-4, atol=1e-6)


def test_what_a_layer_took_is_seen_before_it_is_overwritten():
    module, image = small.made(small.Overwritten), small.images(1)[0]
    seen = observe(module, [image], small.Halves(), places=64)
    x = torch.cat([functional.leaky_relu(layer(image), 0.1).flatten(1)
                   for layer in (module.left, module.right)]).detach()
    torch.testing.assert_close(
        seen.layers['hidden'].gram, x.T @ x / 2, rtol=1e-4, atol=1e-5)


def test_what_the_network_is_given_may_be_overwritten():
    class Scaled(small.Residual):
        def forward(self, x):
            return super().forward(x.mul_(2))

    module, twice = small.made(Scaled), small.made(small.Residual)
    twice.load_state_dict(module.state_dict())
    images = small.images(2)
    found = observe(module, images, small.Halves()).layers
    expected = observe(twice, [2 * image for image in images], small.Halves()).layers
    assert all(torch.equal(found[name].gram, expected[name].gram) for name in expected)
    assert all(torch.equal(found[name].sensitivity, expected[name].sensitivity)
               for name in expected)


@pytest.mark.parametrize(('depthwise', 'layer'), [(False, 'side'), (True, 'one of its layers')])
def test_an_input_that_gradients_need_must_not_be_overwritten(depthwise, layer):
    class Shared(small.InPlace):
        def __init__(self):
            super().__init__()
            self.side = small.conv(8, 8, groups=8 if depthwise else 1)
            self.activation = nn.ReLU(inplace=True)

        def forward(self, x):
            x = self.stem(x)
            side = self.side(x)
            return self.predict(side + self.activation(x))

    module = small.made(Shared)
    with pytest.raises(GroupError, match=f'^Shared overwrites what {layer} was given.*') as raised:
        observe(module, small.images(1), small.Halves())
    assert '\n' not in str(raised.value)
    assert not module.side._forward_hooks
    module.activation.inplace = False
    assert 'stem' in observe(module, small.images(1), small.Halves()).layers


def test_places_are_drawn_where_the_gradients_are():
    module = small.made(small.Grouped)

    class Corner(small.Halves):
        def curvature_noise(self, outputs, generator):
            return super().curvature_noise(outputs[:, :, :2, :2], generator)

    seen = observe(module, small.images(40), Corner(), places=6)
    drawn = seen.layers['predict'].places
    assert all(len(places) == len(set(places.tolist())) == 6 for places in drawn)
    share = torch.cat(drawn)
    corner = ((share // 8 < 2) & (share % 8 < 2)).float().mean()
    assert 0.4 < corner < 4 / 6 + 1e-6
    assert (share // 8 >= 2).any()  # a part is drawn evenly
    assert seen.layers['predict'].samples == 40 * 6


def test_draws_are_those_of_the_seed():
    module, images = small.made(small.Grouped), small.images(2)
    first, again, other = (
        observe(module, images, small.Logits(), places=6, seed=seed).layers['stem']
        for seed in (1, 1, 2))
    assert torch.equal(first.gram, again.gram)
    assert not torch.equal(first.gram, other.gram)


def test_a_layer_without_effect_is_not_there():
    class Idle(small.Grouped):
        def __init__(self):
            super().__init__()
            self.idle = small.conv(3, 4)

        def forward(self, x):
            self.idle(x)
            return super().forward(x)

    seen = observe(small.made(Idle), small.images(1), small.Halves())
    assert set(seen.layers) == {'stem', 'grouped', 'predict'}


def test_the_network_stays_as_it_was():
    module = small.made(small.Normalised)
    module.stem.weight.requires_grad_(False)
    state = copy.deepcopy(module.state_dict())
    image = small.images(1)[0]
    before = image.clone()
    shares = []
    observe(module, [image, image], small.Logits(), progress=shares.append)
    assert shares == [0.5, 1.0]
    assert torch.equal(image, before)
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert all(value.grad is None for value in module.parameters())
    assert [name for name, value in module.named_parameters() if not value.requires_grad] == [
        'stem.weight']
    assert not module.stem._forward_hooks
