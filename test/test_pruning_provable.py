# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

from dataclasses import replace
from itertools import combinations
import json
import math

import numpy as np
import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('scipy')

from scipy.stats import binom, binomtest  # noqa: E402
import small_networks as small  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from prune_perception.networks.nanodet import NanoDetG  # noqa: E402
from prune_perception.pruning.error_propagation import (  # noqa: E402
    carried_by_draws,
    carried_by_the_kept,
    NotFollowed,
    propagate,
)
from prune_perception.pruning.groups import ChannelGraph  # noqa: E402
from prune_perception.pruning.importing.trial import silence  # noqa: E402
from prune_perception.pruning.observe import Observation, observe  # noqa: E402
from prune_perception.pruning.plan import Plan  # noqa: E402
from prune_perception.pruning.provable import bound_of, NOT_SHIPPED  # noqa: E402
from prune_perception.pruning.provable_observation import observe_everywhere  # noqa: E402
from prune_perception.pruning.provable_sampling import (  # noqa: E402
    draw,
    draws_for,
    draws_of_width,
    epsilon_for,
    expected_units,
    inverse_rate,
    least_sensitive,
    rate,
    reweighted,
    sampled,
)
from prune_perception.pruning.sensitivity import channel_sensitivities  # noqa: E402

DELTA = 0.05


class Mild(nn.Module):
    """Two wide layers of many channels which are all alike, and none against another."""

    def __init__(self, width=384):
        super().__init__()
        self.stem = small.conv(3, width)
        self.middle = small.conv(width, width, 1)
        self.predict = small.conv(width, 4, 1)
        with torch.no_grad():
            for layer in (self.stem, self.middle, self.predict):
                layer.weight.uniform_(0.5, 1.5)
                layer.weight /= layer.weight[0].numel()
                layer.bias.uniform_(0, 0.1)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        return self.predict(functional.leaky_relu(self.middle(x), 0.1))


class Operations(nn.Module):
    """All that an error is followed through; the stem's is given."""

    def __init__(self):
        super().__init__()
        self.stem = small.conv(3, 8)
        self.side = small.conv(8, 8, groups=8)
        self.norm = nn.BatchNorm2d(8).eval()
        self.last = small.conv(16, 5)
        self.linear = nn.Linear(5 * 9, 7)
        nn.init.uniform_(self.norm.running_var, 0.5, 2)
        nn.init.normal_(self.norm.weight)

    def forward(self, x):
        x = self.norm(self.stem(x))
        y = functional.leaky_relu(self.side(x), 0.1)
        y += 2 * x - 1
        y = y * torch.sigmoid(functional.adaptive_avg_pool2d(x, 1))
        half = functional.max_pool2d(y, 3, 2, 1)
        whole = functional.interpolate(half, scale_factor=2.0, mode='bilinear')
        whole = torch.cat([whole.chunk(2, 1)[1], torch.tanh(x), whole[:, :4]], 1)
        small_map = functional.adaptive_avg_pool2d(self.last(whole).relu_(), 3)
        return self.linear(small_map.flatten(1)), small_map.permute(0, 2, 3, 1)


class Squashed(nn.Module):
    """It ends with an operation which no rule is known for."""

    def __init__(self, operation):
        super().__init__()
        self.stem, self.predict = small.conv(3, 8), small.conv(8, 5, 1)
        self.operation = operation

    def forward(self, x):
        return self.operation(self.predict(torch.relu(self.stem(x))))


class Only:
    """Draws one unit, always the same."""

    def __init__(self, number):
        self.number = number

    def multinomial(self, draws, chances):
        assert draws == 1
        return (np.arange(len(chances)) == self.number).astype(int)


def mild(width=384):
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand(1, 3, 3, 3, generator=generator) for _ in range(2)]
    module = Mild(width).eval()
    return module, images, [group for group in ChannelGraph(module, images[0]).groups
                            if not group.fixed]


def plan_of(removed):
    return Plan(removed, {}, 0, 0)


def some(groups, generator, most=0.5):
    """Return units of each group that may go, at random."""
    removed = {}
    for group in groups:
        step = group.channels // group.unit
        if not group.fixed:
            count = int(generator.integers(1, max(2, most * step)))
            removed[group.name] = tuple(small.unit(
                group, *generator.choice(step, count, replace=False).tolist()))
    return removed


def everywhere(module, groups, images):
    """Return the sensitivities of all groups that may lose channels."""
    return observe_everywhere(
        module, groups, some(groups, np.random.default_rng(0)), images).sensitivities


def narrowed(module, images, groups, share):
    """Return the removal of the least sensitive units, and the sensitivities."""
    found = everywhere(module, groups, images)
    return {group.name: least_sensitive(
        group, found[group.name], round(share * group.channels)) for group in groups}, found


def rms_error(module, other, image):
    """Return the error of the outputs relative to them, the largest of the maps."""
    pairs = zip(small.outputs_of(module, image), small.outputs_of(other, image), strict=True)
    return max(float((two - one).double().norm() / one.double().norm()) for one, two in pairs)


# ---- the theorem


@pytest.mark.parametrize('epsilon', [1e-6, 1e-3, 0.1, 0.5, 1, 3, 50])
def test_the_rate_and_its_inverse(epsilon):
    assert rate(epsilon) >= epsilon ** 2 / (2 + 2 * epsilon / 3) * (1 - 1e-9)
    assert inverse_rate(rate(epsilon)) == pytest.approx(epsilon, rel=1e-6)
    assert inverse_rate(0) == 0 and inverse_rate(math.inf) == math.inf


@pytest.mark.parametrize('epsilon', [0.05, 0.3, 0.9, 2])
@pytest.mark.parametrize('total', [1.0, 3.7, 40])
def test_the_draws_for_an_error_give_that_error_and_no_fewer_do(epsilon, total):
    draws = draws_for(epsilon, total, 1000, DELTA)
    assert epsilon_for(draws, total, 1000, DELTA) <= epsilon * (1 + 1e-9)
    assert draws == 1 or epsilon_for(draws - 1, total, 1000, DELTA) > epsilon
    assert draws <= math.ceil(
        total * math.log(1000 / DELTA) * (2 + 2 * epsilon / 3) / epsilon ** 2)
    assert draws_for(epsilon / 2, total, 1000, DELTA) > 3 * (draws - 1)
    assert draws_for(epsilon, 2 * total, 1000, DELTA) == pytest.approx(2 * draws, abs=2)
    assert draws_for(epsilon, total, 10_000, DELTA) > draws
    assert draws_for(epsilon, total, 1000, DELTA / 10) > draws


@pytest.mark.parametrize('total', [1.5, 4, 20])
@pytest.mark.parametrize('draws', [10, 80, 500])
def test_the_theorem_for_the_output_that_one_unit_makes_alone(draws, total):
    """There the estimate is binomial, and the probability of an error known exactly."""
    for epsilon in (0.1, 0.3, 0.6, 1, 2, 5):
        counts = np.arange(draws + 1)
        wrong = np.abs(counts * total / draws - 1) > epsilon
        exact = binom.pmf(counts, draws, 1 / total)[wrong].sum()
        assert exact <= 2 * math.exp(-draws / total * rate(epsilon)) + 1e-15
    if total >= 4:  # and it is not far off: a third of the error comes up more often
        epsilon = epsilon_for(draws, total, 2, DELTA) / 3
        wrong = np.abs(counts * total / draws - 1) > epsilon
        assert binom.pmf(counts, draws, 1 / total)[wrong].sum() > DELTA


# ---- draws


def test_the_expected_number_of_units_is_that_of_many_draws():
    generator = np.random.default_rng(3)
    scores = generator.random(40) ** 3
    scores[:4] = 0
    found = [np.count_nonzero(draw(scores, 60, generator)) for _ in range(3000)]
    assert np.mean(found) == pytest.approx(expected_units(scores, 60), abs=0.2)
    widths = range(1, 36)
    draws = [draws_of_width(scores, width) for width in widths]
    assert all(one < two for one, two in zip(draws, draws[1:], strict=False))
    for width, count in zip(widths, draws, strict=True):
        assert count >= width
        assert expected_units(scores, count) <= width < expected_units(scores, count + 1)
    assert draws_of_width(scores, 36) == draws_of_width(scores, 40) == math.inf
    np.testing.assert_array_equal(draw(scores, math.inf, generator), scores > 0)


@pytest.mark.parametrize('kind', [small.Concatenation, small.Grouped, small.Flattened,
                                  small.SharedHead, small.TwoGroupings])
def test_one_draw_is_right_in_the_mean(kind):
    """Of all that one draw may give, weighted with the probabilities: the layer itself."""
    module, images = small.made(kind), small.images(2)
    groups = [group for group in small.graph_of(module).groups if not group.fixed]
    found = everywhere(module, groups, images)
    for group in groups:
        scores = found[group.name]
        chances = scores / scores.sum()
        outcomes = [(chances[number], reweighted(module, groups, {
            group.name: draw(scores, 1, Only(number))})) for number in np.flatnonzero(scores)]
        # Where a unit has no sensitivity it adds nothing, on these frames.
        expected = reweighted(module, groups, {group.name: (scores > 0).astype(float)})
        for tied in group.consumers:
            mean = sum(chance * other.get_submodule(tied.layer).weight.double()
                       for chance, other in outcomes)
            torch.testing.assert_close(
                mean, expected.get_submodule(tied.layer).weight.double(), rtol=1e-5, atol=1e-7)


def test_many_draws_are_right_in_the_mean():
    module, images, groups = mild(24)
    found = everywhere(module, groups, images)
    generator = np.random.default_rng(0)
    dense = module.predict.weight[:, :, 0, 0].detach().double()
    inputs = torch.rand(24, generator=torch.Generator().manual_seed(2)).double()
    scores = found['middle']
    estimates = torch.stack([dense @ (inputs * torch.from_numpy(draw(scores, 8, generator)))
                             for _ in range(4000)])
    off = (estimates.mean(0) - dense @ inputs) / (estimates.std(0) / 4000 ** 0.5)
    assert off.abs().max() < 4
    assert (estimates.std(0) > 0.05 * (dense @ inputs)).all()


@pytest.mark.parametrize('kind', [small.Residual, small.Concatenation, small.Grouped,
                                  small.Separable, small.Flattened, small.SharedHead])
def test_a_sampled_network_is_the_reweighted_one_without_what_was_not_drawn(kind):
    module, images = small.made(kind), small.images(2)
    groups = [group for group in small.graph_of(module).groups if not group.fixed]
    found = everywhere(module, groups, images)
    generator = np.random.default_rng(1)
    factors = {group.name: draw(found[group.name], 4, generator) for group in groups}
    wide = reweighted(module, groups, factors)
    slim = sampled(module, images[0], groups, factors)
    assert sum(map(torch.numel, slim.parameters())) < sum(map(torch.numel, wide.parameters()))
    for image in images:
        for one, two in zip(small.outputs_of(wide, image), small.outputs_of(slim, image),
                            strict=True):
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)
        assert rms_error(module, wide, image) > 0.01


def test_the_least_sensitive_have_the_smallest_sum():
    group = next(group for group in small.graph_of(small.made(small.Grouped)).groups
                 if group.unit == 3)
    units = group.channels // group.unit
    scores = np.random.default_rng(0).random(units)
    gone = least_sensitive(group, scores, 2 * group.unit)
    assert len(gone) == group.channels - 2 * group.unit
    numbers = sorted({channel % units for channel in gone})
    assert len(numbers) * group.unit == len(gone)
    assert scores[numbers].sum() == min(
        scores[list(some)].sum() for some in combinations(range(units), len(numbers)))


# ---- sensitivities


@pytest.mark.parametrize('kind', [small.Residual, small.SharedHead, small.Concatenation])
def test_of_maps_that_are_seen_whole_the_sensitivities_are_the_method_s(kind):
    """That is where channels go alone and are one input each."""
    module, images = small.made(kind), small.images(2, size=6)
    groups = ChannelGraph(module, images[0]).groups
    seen = observe(module, images, small.Halves(), places=48)
    expected = channel_sensitivities(module, groups, seen)
    for name, found in everywhere(module, groups, images).items():
        np.testing.assert_allclose(found, expected[name], atol=1e-6)


@pytest.mark.parametrize('kind', [small.Flattened, small.Grouped, small.TwoGroupings])
def test_the_share_of_a_unit_is_that_of_all_its_inputs(kind):
    """By silencing the others: what a unit adds alone, over the sum of what each one adds."""
    module, images = small.made(kind), small.images(2)
    groups = small.graph_of(module).groups
    found = everywhere(module, groups, images)
    for group in groups:
        if group.fixed or len(group.consumers) > 1:
            continue
        name = group.consumers[0].layer
        units = group.channels // group.unit
        added = []
        for number in range(units):
            alone = small.made(kind)
            silence(alone, group, small.unit(
                group, *(other for other in range(units) if other != number)))
            other = alone.get_submodule(name)
            other.bias.data.zero_()
            outputs = []
            handle = other.register_forward_hook(
                lambda _, __, output, outputs=outputs: outputs.append(output))
            for image in images:
                small.outputs_of(alone, image)
            handle.remove()
            added.append(torch.cat(outputs))
        added = torch.stack(added).double()
        expected = torch.zeros(units)
        for sign in (1, -1):
            part = (sign * added).clamp_min(0)
            share = part / part.sum(0).clamp_min(1e-30)
            expected = torch.maximum(expected, share.flatten(1).amax(1).float())
        np.testing.assert_allclose(found[group.name], expected.numpy(), atol=1e-5)


# ---- the bounds


def test_the_sampled_bound_holds_and_means_something():
    """Over all outputs, places and frames of both layers, and to the outputs of the network."""
    module, images, groups = mild()
    removed, found = narrowed(module, images, groups, 0.5)
    bound = bound_of(plan_of(removed), module, groups, Observation(tuple(images), {}), DELTA)
    assert bound.informative_sampled and bound.compounded_sampled < 0.95
    assert [layer.name for layer in bound.layers] == ['middle', 'predict']
    inputs = {}
    handles = [layer.register_forward_hook(
        lambda _, given, output, name=name: inputs.setdefault(name, []).append(
            (given[0][0].flatten(1), output[0].flatten(1).detach()))) for name, layer in (
                ('middle', module.middle), ('predict', module.predict))]
    for image in images:
        small.outputs_of(module, image)
    for handle in handles:
        handle.remove()
    for layer in bound.layers:
        bias = module.get_submodule(layer.name).bias.detach()[:, None]
        assert layer.condition == pytest.approx(max(
            float((y - bias).norm() / y.norm()) for _, y in inputs[layer.name]), rel=1e-5)
    generator = np.random.default_rng(0)
    draws, failed, worst, widths = 200, 0, 0.0, []
    for _ in range(draws):
        wrong, factors = False, {}
        for group, layer in zip(bound.groups, bound.layers, strict=True):
            factors[group.name] = draw(found[group.name], group.draws, generator)
            scale = torch.from_numpy(factors[group.name]).float()
            weight = module.get_submodule(layer.name).weight[:, :, 0, 0].detach()
            for x, _ in inputs[layer.name]:  # not negative: the positive part is all
                dense, drawn = weight @ x, weight @ (scale[:, None] * x)
                wrong |= bool(((drawn - dense).abs() > layer.sampled * dense).any())
        widths.append([np.count_nonzero(one) for one in factors.values()])
        other = reweighted(module, groups, factors)
        error = max(rms_error(module, other, image) for image in images)
        worst = max(worst, error)
        failed += wrong or error > bound.compounded_sampled
    assert binomtest(failed, draws, DELTA, alternative='greater').pvalue > 0.01
    assert worst > bound.compounded_sampled / 50
    np.testing.assert_allclose(np.mean(widths, 0), [192, 192], atol=2)


def test_with_a_tenth_of_the_draws_the_error_would_be_exceeded():
    """So that the tests above can fail: a layer of which each place has units of its own."""
    total, tails, delta = 60.0, 2 * 60, 0.2
    scores = np.ones(int(total))  # each unit is all of one output
    draws = draws_for(0.9, total, tails, delta)
    generator = np.random.default_rng(0)

    def failures(count):
        return sum(bool((np.abs(draw(scores, count, generator) - 1) > 0.9).any())
                   for _ in range(300))

    assert binomtest(failures(draws), 300, delta, alternative='greater').pvalue > 0.01
    assert binomtest(failures(draws // 10), 300, delta, alternative='greater').pvalue < 1e-6


@pytest.mark.parametrize('kind', small.PRUNABLE)
def test_the_removed_bound_is_never_exceeded(kind):
    generator = np.random.default_rng(5)
    finite = 0
    for seed in range(6):
        module, images = small.made(kind, seed), small.images(2, seed)
        groups = small.graph_of(module).groups
        removed = some(groups, generator)
        bound = bound_of(plan_of(removed), module, groups, Observation(tuple(images), {}))
        assert not bound.obstacle
        pruned = small.made(kind, seed)
        small.graph_of(pruned).remove(removed)
        error = max(rms_error(module, pruned, image) for image in images)
        assert 0 < error <= bound.compounded_removed * (1 + 1e-4)
        finite += bound.compounded_removed < 10
        for layer in bound.layers:
            assert layer.removed_seen <= layer.removed + 1e-5
    assert finite


@pytest.mark.parametrize('kind', [small.Residual, small.Concatenation, small.Grouped,
                                  small.SharedHead, small.Flattened])
def test_the_sampled_bound_is_rarely_exceeded_in_networks_of_all_kinds(kind):
    module, images = small.made(kind), small.images(2)
    groups = [group for group in small.graph_of(module).groups if not group.fixed]
    found = everywhere(module, groups, images)
    removed = some(groups, np.random.default_rng(0))
    bound = bound_of(plan_of(removed), module, groups, Observation(tuple(images), {}), 0.5)
    generator = np.random.default_rng(0)
    failed = 0
    for _ in range(30):
        factors = {group.name: draw(found[group.name], group.draws or math.inf, generator)
                   for group in bound.groups}
        other = reweighted(module, groups, factors)
        failed += any(rms_error(module, other, image) > bound.compounded_sampled * (1 + 1e-4)
                      for image in images)
    assert binomtest(failed, 30, 0.5, alternative='greater').pvalue > 0.01


def test_wider_is_closer():
    module, images, groups = mild()
    seen = Observation(tuple(images), {})
    bounds = [bound_of(plan_of(narrowed(module, images, groups, share)[0]), module, groups, seen)
              for share in (0.25, 0.5, 0.75, 0.95)]
    for kind in ('compounded_sampled', 'compounded_removed'):
        values = [getattr(bound, kind) for bound in bounds]
        assert values == sorted(values, reverse=True) and values[-1] < values[0] / 2
    assert not bounds[0].informative and bounds[-1].informative_removed
    surer = bound_of(plan_of(narrowed(module, images, groups, 0.5)[0]), module, groups, seen, 1e-6)
    assert surer.compounded_sampled > bounds[1].compounded_sampled
    assert surer.compounded_removed == bounds[1].compounded_removed


def test_nothing_removed_is_no_error():
    module, images, groups = mild(8)
    bound = bound_of(plan_of({'stem': ()}), module, groups, Observation(tuple(images), {}))
    assert bound.compounded_removed == bound.compounded_sampled == 0
    assert not bound.layers and not bound.groups and bound.informative
    assert NOT_SHIPPED in bound.text()


def test_what_adds_nothing_goes_for_nothing():
    module, images, groups = mild(8)
    with torch.no_grad():
        module.middle.weight[:, 2:4] = 0
    bound = bound_of(plan_of({'stem': (2, 3)}), module, groups, Observation(tuple(images), {}))
    assert bound.compounded_removed == bound.compounded_sampled == 0
    assert bound.groups[0].draws is None


# ---- what is said


def test_a_detector_s_bound_is_vacuous_and_says_so():
    torch.manual_seed(0)
    module = NanoDetG(classes=2, bins=3).eval()
    images = [torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))]
    groups = ChannelGraph(module, images[0]).groups
    shares = []
    bound = bound_of(
        plan_of({group.name: tuple(range(8)) for group in groups if not group.fixed}), module,
        groups, Observation(tuple(images), {}), frames=1, progress=shares.append)
    assert shares[-1] == 1 and shares == sorted(shares)
    assert not bound.obstacle and not bound.informative
    assert bound.text().count('vacuous: ') == 2 and 'informative: ' not in bound.text()
    assert NOT_SHIPPED in bound.text() and NOT_SHIPPED in bound.covers
    assert not any(layer._forward_hooks for layer in module.modules())


def test_an_informative_bound_says_what_it_covers():
    module, images, groups = mild()
    bound = bound_of(plan_of(narrowed(module, images, groups, 0.7)[0]), module, groups,
                     Observation(tuple(images), {}))
    text = bound.text()
    assert text.count('informative: at most 0.') == 2 and 'vacuous' not in text
    assert NOT_SHIPPED in text and 'probability of 0.05' in text and '2 frames' in text
    written = json.loads(json.dumps(bound.to_dict(), allow_nan=False))
    assert written['informative'] and written['delta'] == DELTA
    assert written['layers'][0]['removed'] == bound.layers[0].removed
    lost = replace(bound, compounded_sampled=math.inf)
    assert json.loads(json.dumps(lost.to_dict(), allow_nan=False))['compounded_sampled'] is None
    assert lost.text().count('vacuous: beyond what can be computed') == 1


def view_changed_in_place(x):
    x.flatten(1).mul_(2)
    return x + 1


@pytest.mark.parametrize(('operation', 'word'), [
    (lambda x: x.softmax(1), 'softmax'),
    (lambda x: functional.leaky_relu(x, 3.0), 'leaky ReLU'),
    (lambda x: x if x.sum() > 0 else -x, 'sum'),
    (lambda x: torch.from_numpy(x.numpy()), 'numpy'),
    (view_changed_in_place, 'view'),
    (lambda x: functional.interpolate(x, scale_factor=2.0, mode='bicubic'), 'bicubic'),
    (lambda x: functional.conv2d(x, x[:, :, :1, :1]), 'computed weights'),
    (lambda x: torch.zeros_like(x).copy_(x), 'zeros_like'),
])
def test_what_cannot_be_followed_is_vacuous_by_name(operation, word):
    torch.manual_seed(0)
    module, images = Squashed(lambda x: x).eval(), small.images(1)
    groups = ChannelGraph(module, images[0]).groups
    module.operation = operation
    bound = bound_of(plan_of({'stem': (0,)}), module, groups, Observation(tuple(images), {}))
    assert word in bound.obstacle and word in bound.text()
    assert not bound.informative and bound.layers[0].removed > 0


@pytest.mark.parametrize('delta', [0, 1, -1, math.nan])
def test_a_delta_that_cannot_be(delta):
    module, images, groups = mild(8)
    with pytest.raises(ValueError, match='delta'):
        bound_of(plan_of({}), module, groups, Observation(tuple(images), {}), delta)
    with pytest.raises(ValueError, match='frame'):
        bound_of(plan_of({}), module, groups, Observation((), {}))


# ---- errors on their way


@pytest.mark.parametrize('positive', [False, True])
def test_errors_are_followed_through_each_operation(positive):
    """Whatever the stem is off by within its bound, nothing is off by more than its own."""
    torch.manual_seed(0)
    module = Operations().eval()
    if positive:
        for parameter in module.parameters():
            parameter.data.abs_()
    image = small.images(1)[0].abs()
    size = torch.rand(1, 8, *image.shape[2:]) * 0.3
    parts = {'stem': type('Parts', (), {'layer': module.stem})}
    outputs = propagate(
        module, parts, image,
        lambda name, call, output, errors: (size[0].flatten(1), 2 * size[0].flatten(1)))
    most = [torch.zeros_like(values) for values, _ in outputs]
    for number in range(200):
        signs = torch.empty_like(size).uniform_(-1, 1).sign() if number else 1
        handle = module.stem.register_forward_hook(
            lambda _, __, output, noise=size * signs: output + noise)
        for place, (one, (values, errors)) in enumerate(zip(
                small.outputs_of(module, image), outputs, strict=True)):
            off = (one - values).abs()
            assert (off <= errors[0] * (1 + 1e-4) + 1e-6).all()
            assert (errors[1] >= errors[0] * (1 - 1e-5)).all()
            most[place] = torch.maximum(most[place], off)
        handle.remove()
    if positive:  # where no error cancels another, it is hardly more than what there is
        for seen, (_, errors) in zip(most, outputs, strict=True):
            assert (seen > errors[0] / 4).all()


def multiplied_in_place(x):
    y = x[:, :4].clone()
    y *= x[:, 4:]
    return y


@pytest.mark.parametrize('operation', [
    lambda x: x[:, :4] + x[:, 4:],
    lambda x: x[:, :4] - x[:, 4:],
    lambda x: x[:, :4] * x[:, 4:],
    multiplied_in_place,
    lambda x: -3 * x + 2,
    lambda x: functional.conv2d(x, WEIGHTS),
    lambda x: functional.linear(x.permute(0, 2, 3, 1), WEIGHTS[:, :, 0, 0]),
    lambda x: functional.avg_pool2d(torch.stack([x[0, 0], x[0, 5]])[None], 2, 1),
])
def test_the_error_of_an_operation_is_the_worst_that_there_is(operation):
    """Among enough random signs of a few entries each combination comes up."""
    image = small.images(1)[0][..., :3, :3]
    torch.manual_seed(0)
    module = Squashed(operation)
    module.predict = nn.Identity()
    size = torch.rand(1, 8, 3, 3, generator=torch.Generator().manual_seed(1)) + 0.1
    module.stem.bias.data.fill_(9.0)  # so that the activation cuts nothing
    given = {'stem': type('Parts', (), {'layer': module.stem})}
    (values, errors), = propagate(
        module, given, image, lambda *_: (size[0].flatten(1), size[0].flatten(1)))
    most = torch.zeros_like(values)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3000):
        noise = size * torch.randint(0, 2, size.shape, generator=generator).mul(2).sub(1)
        handle = module.stem.register_forward_hook(lambda _, __, output, noise=noise:
                                                   output + noise)
        most = torch.maximum(most, (small.outputs_of(module, image)[0] - values).abs())
        handle.remove()
    torch.testing.assert_close(errors[0], most, rtol=1e-3, atol=1e-4)


WEIGHTS = torch.randn(5, 8, 1, 1, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize('kind', [small.Grouped, small.Flattened, small.Concatenation])
def test_what_the_kept_carry_on_is_the_worst_that_there_is(kind):
    module, images = small.made(kind), small.images(1)
    groups = small.graph_of(module).groups
    removed = some(groups, np.random.default_rng(0))
    found = observe_everywhere(module, groups, removed, images)
    for name, parts in found.layers.items():
        inputs = []
        handle = parts.layer.register_forward_pre_hook(
            lambda _, given, inputs=inputs: inputs.append(given[0]))
        small.outputs_of(module, images[0])
        handle.remove()
        error = torch.rand_like(inputs[0]) + 0.1
        gone = torch.zeros(error.shape[1], dtype=torch.bool)
        for group in groups:
            for tied in group.consumers:
                if tied.layer == name and group.name in removed:
                    gone[torch.from_numpy(
                        tied.positions[list(removed[group.name])].ravel())] = True
        carried = carried_by_the_kept(parts, error, gone)
        kept = error.clone().requires_grad_()
        output = parts.layer(kept)
        # By each entry's own gradient: the weights that it comes to the output with.
        place = tuple(0 if size == 1 else size // 2 for size in output.shape)
        output[place].backward()
        worst = kept.grad.abs() * error
        worst[:, gone] = 0
        flat = 0 if output.ndim == 2 else place[2] * output.shape[3] + place[3]
        assert carried[place[1], flat].item() == pytest.approx(float(worst.sum()), rel=1e-5)


@pytest.mark.parametrize('draws', [20, 200])
def test_what_a_draw_carries_on_exceeds_its_bound_rarely(draws):
    """An error in one unit: what is carried on is its number of draws, times a constant."""
    module, images, groups = mild(12)
    found = observe_everywhere(module, groups, {'middle': (0,)}, images)
    scores = found.sensitivities['middle']
    total = scores.sum()
    error = torch.zeros(1, 12, 1, 1)
    error[:, 5] = 0.7
    carried = module.predict.weight[0, 5].item() * 0.7
    for delta in (0.3, 0.05, 1e-3):
        bound = float(carried_by_draws(found.layers['predict'], error, 1, {
            'middle': (total / draws, math.log(1 / delta), torch.from_numpy(scores))})[0, 0])
        counts = np.arange(draws + 1)
        over = counts * total / (draws * scores[5]) * carried > bound
        assert binom.pmf(counts, draws, scores[5] / total)[over].sum() <= delta
        part = counts * total / (draws * scores[5]) * carried > carried + (bound - carried) / 3
        assert delta > 0.1 or binom.pmf(counts, draws, scores[5] / total)[part].sum() > delta


def test_a_view_that_is_changed_is_refused_also_where_nothing_is_off_yet():
    module = Squashed(view_changed_in_place).eval()
    image = small.images(1)[0]
    with pytest.raises(NotFollowed, match='view'):
        propagate(module, {}, image, lambda *_: pytest.fail('no layer has errors'))
