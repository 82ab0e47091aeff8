# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

from dataclasses import replace

import pytest

torch = pytest.importorskip('torch')

import safetensors.torch  # noqa: E402
from torch import nn  # noqa: E402

from prune_perception.bundle import (  # noqa: E402
    BundleError,
    Card,
    DecoderSpec,
    InputSpec,
    NetworkSpec,
    OutputSpec,
    Provenance,
    write_bundle,
)
from prune_perception.networks import registry  # noqa: E402
from prune_perception.networks.nanodet import NanoDetG  # noqa: E402
from prune_perception.networks.registry import (  # noqa: E402
    build,
    load_network,
    register,
    round_weights,
    spec_of,
    weights_of,
    widths_of,
)


class Mixed(nn.Module):
    """One of each kind of layer, small."""

    def __init__(self, width=16):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.grouped = nn.Conv2d(width, width, 1, groups=4)
        self.group_norm = nn.GroupNorm(4, width)
        self.dense = nn.Linear(width, 2 * width)
        self.layer_norm = nn.LayerNorm(2 * width)
        self.out = nn.Linear(2 * width, 5)

    def forward(self, x):
        x = torch.relu(self.depthwise(torch.relu(self.norm(self.conv(x)))))
        x = self.group_norm(self.grouped(x)).mean((2, 3))
        return (self.out(self.layer_norm(self.dense(x))),)


class Transposed(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.ConvTranspose2d(3, 8, 2, stride=2)

    def forward(self, x):
        return (self.up(x),)


@pytest.fixture(autouse=True)
def networks(monkeypatch):
    monkeypatch.setattr(registry, '_constructors', dict(registry._constructors))
    register('mixed', Mixed)
    register('transposed', Transposed)


def make_card(network, module, side=64):
    with torch.no_grad():
        outputs = module(torch.zeros(1, 3, side, side))
    return Card(
        name='small', class_names=('thing',),
        input=InputSpec(side, side, 'bgr', (0., 0., 0.), (1., 1., 1.), 'stretch'),
        outputs=tuple(OutputSpec(f'out_{index}', tuple(output.shape))
                      for index, output in enumerate(outputs)),
        decoder=DecoderSpec('nanodet', {}), network=network,
        provenance=Provenance('a test', '0'), licence='Apache-2.0', attribution='none')


def make_bundle(folder, card, weights):
    return write_bundle(
        folder, card, {'model.onnx': b'not parsed here', 'weights.safetensors': weights})


def prune(module, ratio, ignored, side=64):
    pruning = pytest.importorskip('torch_pruning')
    pruner = pruning.pruner.MagnitudePruner(
        module, torch.zeros(1, 3, side, side), importance=pruning.importance.MagnitudeImportance(),
        pruning_ratio=ratio, ignored_layers=ignored)
    pruner.step()
    return module


def test_widths_are_output_and_input_channels():
    widths = widths_of(NanoDetG())
    assert len(widths) == 34
    assert widths['stem'] == (32, 3)
    assert widths['stage4.first'] == (256, 256)
    assert widths['stage4.blocks.2.b'] == (128, 128)
    assert widths['lateral32'] == (128, 512)
    assert widths['head8.predict'] == (124, 128)


def test_widths_of_groups_and_norms():
    assert widths_of(Mixed()) == {
        'conv': (16, 3), 'norm': (16, 16), 'depthwise': (16, 1), 'grouped': (16, 4),
        'group_norm': (16, 16), 'dense': (32, 16), 'layer_norm': (32, 32), 'out': (5, 32)}


def test_pruned_network_comes_back_through_a_bundle(tmp_path):
    torch.manual_seed(0)
    module = NanoDetG(classes=3, bins=8).eval()
    pruned = prune(module, 0.4, [head.predict for head in (
        module.head8, module.head16, module.head32)])
    round_weights(pruned)
    spec = spec_of('nanodet_g', pruned, {'classes': 3, 'bins': 8})
    assert spec.widths['stem'][0] < 32
    assert spec.widths['head8.predict'] == (35, pruned.head8.conv.out_channels)
    bundle = make_bundle(tmp_path / 'pruned', make_card(spec, pruned), weights_of(pruned))
    state = torch.get_rng_state()
    loaded = load_network(bundle)
    assert torch.equal(torch.get_rng_state(), state)
    assert not loaded.training
    assert widths_of(loaded) == widths_of(pruned)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for ours, theirs in zip(loaded(image), pruned(image), strict=True):
            assert ours.dtype == torch.float32
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_every_kind_of_layer_is_rebuilt():
    torch.manual_seed(0)
    module = Mixed().eval()
    pruned = prune(module, 0.5, [module.out])
    widths = widths_of(pruned)
    assert widths['conv'] == (8, 3)
    assert widths['depthwise'] == (8, 1)
    rebuilt = build(NetworkSpec('mixed', widths)).eval()
    rebuilt.load_state_dict(pruned.state_dict())
    assert rebuilt.depthwise.groups == 8
    image = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(rebuilt(image), pruned(image))


def test_norms_come_back_through_a_bundle(tmp_path):
    module = Mixed(8).eval()
    round_weights(module)
    spec = spec_of('mixed', module, {'width': 8})
    bundle = make_bundle(tmp_path / 'mixed', make_card(spec, module), weights_of(module))
    loaded = load_network(bundle)
    assert loaded.norm.num_batches_tracked.dtype == torch.int64
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(loaded(image), module(image))


@pytest.mark.parametrize(('name', 'changes', 'settings', 'expected'), [
    ('absent', {}, {}, "network 'absent' is unknown; known are .*nanodet_g"),
    ('mixed', {}, {'depth': 3}, 'settings do not fit.*depth'),
    ('mixed', {'extra': (1, 1)}, {}, "has no layer 'extra'"),
    ('mixed', {'conv': None}, {}, "does not list layer 'conv'"),
    ('mixed', {'norm': (8, 16)}, {}, "layer 'norm' .*cannot turn 16 channels into 8"),
    ('mixed', {'group_norm': (6, 6)}, {}, "layer 'group_norm' .*6 channels in 4 groups"),
    ('mixed', {'grouped': (6, 4)}, {}, "layer 'grouped' .*6 outputs in 4 groups"),
])
def test_cards_that_fit_no_network_are_refused(name, changes, settings, expected):
    widths = {**widths_of(Mixed()), **changes}
    widths = {layer: value for layer, value in widths.items() if value is not None}
    with pytest.raises(BundleError, match=expected):
        build(NetworkSpec(name, widths, settings))


def test_a_kind_of_layer_that_cannot_be_resized_is_refused():
    assert build(NetworkSpec('transposed', {'up': (3, 8)})).up.out_channels == 8
    with pytest.raises(BundleError, match="layer 'up' is a ConvTranspose2d"):
        build(NetworkSpec('transposed', {'up': (3, 6)}))


@pytest.fixture
def whole():
    """Return the card and the weights of a network, as a bundle has them."""
    module = NanoDetG(classes=1, bins=8).eval()
    spec = spec_of('nanodet_g', module, {'classes': 1, 'bins': 8})
    return make_card(spec, module), weights_of(module)


def test_a_bundle_without_weights_or_network_is_refused(tmp_path, whole):
    card, weights = whole
    bundle = write_bundle(tmp_path / 'a', card, {'model.onnx': b''})
    with pytest.raises(BundleError, match=r'weights\.safetensors: not in this bundle'):
        load_network(bundle)
    bundle = write_bundle(tmp_path / 'b', replace(card, network=None), {'model.onnx': b''})
    with pytest.raises(BundleError, match=r'model\.yaml: network is missing'):
        load_network(bundle)


def test_widths_that_do_not_fit_each_other_are_refused(tmp_path, whole):
    card, weights = whole
    state = safetensors.torch.load(weights)
    state['stem.weight'], state['stem.bias'] = state['stem.weight'][:30], state['stem.bias'][:30]
    widths = {**card.network.widths, 'stem': (30, 3)}
    card = replace(card, network=replace(card.network, widths=widths))
    bundle = make_bundle(tmp_path / 'a', card, safetensors.torch.save(state))
    expected = r"model\.yaml: .*layer 'stage1\.first', which is given \[1, 30, 16, 16\]"
    with pytest.raises(BundleError, match=expected) as error:
        load_network(bundle)
    assert '\n' not in str(error.value)


def test_outputs_of_another_network_are_refused(tmp_path, whole):
    card, weights = whole
    outputs = (replace(card.outputs[0], shape=(1, 33, 9, 9)), *card.outputs[1:])
    bundle = make_bundle(tmp_path / 'a', replace(card, outputs=outputs), weights)
    with pytest.raises(BundleError, match=r'\[1, 33, 9, 9\].*the network makes .*\[1, 33, 8, 8\]'):
        load_network(bundle)


@pytest.mark.parametrize(('change', 'expected'), [
    (lambda state: state.pop('stem.bias'), r'has no stem\.bias'),
    (lambda state: state.update(more=torch.zeros(1)), 'has more, which network'),
    (lambda state: state.update({'stem.bias': torch.zeros(31)}), r'stem\.bias is \[31\]'),
    (lambda state: state.update({'stem.weight': torch.zeros(32, 3, 5, 5)}),
     r'stem\.weight is \[32, 3, 5, 5\]'),
])
def test_weights_of_another_network_are_refused(tmp_path, whole, change, expected):
    card, weights = whole
    state = safetensors.torch.load(weights)
    change(state)
    bundle = make_bundle(tmp_path / 'a', card, safetensors.torch.save(state))
    with pytest.raises(BundleError, match=rf'weights\.safetensors: {expected}'):
        load_network(bundle)


@pytest.mark.parametrize('value', [float('nan'), 1e6])
def test_weights_that_float16_cannot_hold_are_refused(value):
    module = Mixed()
    with torch.no_grad():
        module.dense.weight[0, 0] = value
    with pytest.raises(BundleError, match=r'dense\.weight: has values that are not finite'):
        round_weights(module)


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match='registered already'):
        register('mixed', Mixed)
