# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

import copy

import numpy as np
import pytest

torch = pytest.importorskip('torch')
torch_pruning = pytest.importorskip('torch_pruning')

import small_networks as small  # noqa: E402
from torch import nn  # noqa: E402

from prune_perception.pruning.groups import ChannelGraph, GroupError  # noqa: E402
from prune_perception.pruning.importing.trial import silence  # noqa: E402

# Of each network: group -> (channels, unit, producers, consumers), where channels may go.
TIES = {
    small.Residual: {
        'stem': (8, 1, {'stem', 'outer', 'again'}, {'inner', 'again', 'predict'}),
        'inner': (6, 1, {'inner'}, {'outer'})},
    small.Concatenation: {
        'left': (6, 1, {'left'}, {'both'}),
        'right': (4, 1, {'right'}, {'both', 'alone'}),
        'both': (8, 1, {'both', 'alone'}, {'predict'})},
    small.Grouped: {
        'stem': (12, 3, {'stem'}, {'grouped'}),
        'grouped': (18, 3, {'grouped'}, {'predict'})},
    small.TwoGroupings: {'stem': (12, 6, {'stem'}, {'pairs', 'triples'})},
    small.Separable: {
        'stem': (8, 1, {'stem', 'depthwise'}, {'pointwise'}),
        'pointwise': (12, 1, {'pointwise'}, {'predict'})},
    small.SqueezeExcite: {
        'stem': (8, 1, {'stem', 'excite'}, {'squeeze', 'predict'}),
        'squeeze': (4, 1, {'squeeze'}, {'excite'})},
    small.SharedHead: {
        'fine': (8, 1, {'fine', 'coarse'}, {'coarse', 'tower'}),
        'tower': (6, 1, {'tower'}, {'predict'})},
    small.Normalised: {
        'stem': (8, 1, {'stem', 'norm'}, {'middle'}),
        'middle': (12, 1, {'middle', 'middle_norm'}, {'predict'})},
    small.InPlace: {'stem': (8, 1, {'stem', 'side'}, {'side', 'predict'})},
    small.Overwritten: {
        'left': (6, 1, {'left', 'right'}, {'hidden'}),
        'hidden': (10, 1, {'hidden'}, {'predict'})},
    small.Flattened: {
        'stem': (6, 1, {'stem'}, {'hidden'}),
        'hidden': (10, 1, {'hidden'}, {'predict'})},
}

# Of each network: groups that must stay, and a word of the reason.
FIXED = {
    small.Residual: {'predict': 'output of the network'},
    small.SharedHead: {'predict': 'output of the network'},
    small.TwoGroupings: {'pairs': '6 at a time, and there are no more'},
    small.GroupedAfterConcatenation: {
        'left': 'not spread evenly over the 2 groups of grouped',
        'right': 'not spread evenly over the 2 groups of grouped'},
    small.Multiplied: {'stem': 'depthwise makes several channels of each'},
    small.Chunked: {'stem': 'a split'},
    small.Sliced: {'stem': 'a slice', 'side': 'a slice'},
    small.Shuffled: {'stem': 'reshaping of 5 dimensions'},
    small.Turned: {'stem': 'flattened after a transposition'},
    small.Upsampled: {'stem': 'up is a ConvTranspose2d', 'up': 'up is a ConvTranspose2d'},
    small.Activated: {'predict': 'output of the network'},
}


def names(side):
    return {tied.layer for tied in side}


@pytest.mark.parametrize('kind', TIES, ids=lambda kind: kind.__name__)
def test_ties(kind):
    graph = small.graph_of(small.made(kind))
    found = {group.name: (group.channels, group.unit, names(group.producers),
                          names(group.consumers))
             for group in graph.groups if not group.fixed}
    assert found == TIES[kind]


@pytest.mark.parametrize('kind', FIXED, ids=lambda kind: kind.__name__)
def test_what_must_stay_and_why(kind):
    graph = small.graph_of(small.made(kind))
    for name, reason in FIXED[kind].items():
        matching = [group for group in graph.groups if name in names(group.producers)]
        assert matching
        for group in matching:
            assert reason in group.fixed
            with pytest.raises(GroupError, match=f'^group {group.name}: .* must stay$'):
                graph.remove({group.name: [0]})


def test_positions_behind_a_concatenation():
    graph = small.graph_of(small.made(small.Concatenation))
    taken = {tied.layer: tied for tied in graph.group('right').consumers}
    assert taken['both'].positions.tolist() == [[6], [7], [8], [9]]
    assert taken['alone'].positions.tolist() == [[0], [1], [2], [3]]
    assert taken['both'].reason == 'concatenation'


def test_positions_behind_a_flattening():
    graph = small.graph_of(small.made(small.Flattened))
    taken, = graph.group('stem').consumers
    assert taken.positions.tolist() == np.arange(24).reshape(6, 4).tolist()


def test_outputs_reshaped_to_rows_are_not_listed_number_by_number(monkeypatch):
    """As in torchvision's heads: a row of classes for each place, of all levels together."""
    listed = []
    find = torch_pruning.DependencyGraph.get_pruning_group

    def watched(self, *given):
        found = find(self, *given)
        listed.extend(len(item.idxs) for item in found.items)
        return found

    monkeypatch.setattr(torch_pruning.DependencyGraph, 'get_pruning_group', watched)
    groups = {group.name: group for group in small.graph_of(small.made(small.Rows)).groups}
    assert max(listed) == small.Rows.ANCHORS * small.Rows.COLUMNS
    assert {name: names(group.consumers) for name, group in groups.items() if not group.fixed} \
        == {'fine': {'coarse', 'predict_fine'}, 'coarse': {'predict_coarse'}}
    for name in ('predict_fine', 'predict_coarse'):
        assert groups[name].fixed == f'{name} is an output of the network'


def test_the_description_names_layers_and_reasons():
    lines = [group.describe() for group in small.graph_of(small.made(small.Residual)).groups]
    assert lines[0] == (
        'stem: 8 channels, made by stem, outer (addition), again (addition); '
        'taken by inner, again (addition), predict (addition)')
    assert lines[-1] == ('predict: 5 channels, made by predict; taken by the output; '
                         'fixed: predict is an output of the network')
    grouped = small.graph_of(small.made(small.Grouped)).group('stem').describe()
    assert grouped.startswith('stem: 12 channels, 3 at a time, made by stem')


def random_removal(groups, rng, share=0.5):
    """Return channels of all groups that may lose some: whole units, at least one."""
    removed = {}
    for group in groups:
        units = group.channels // group.unit
        if group.fixed or units < 2:
            continue
        number = int(np.clip(round(share * units), 1, units - 1))
        removed[group.name] = small.unit(group, *rng.permutation(units)[:number].tolist())
    return removed


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('kind', TIES, ids=lambda kind: kind.__name__)
def test_without_dead_channels_a_network_does_the_same(kind, seed):
    """Channels that nobody listens to can go without any difference in the outputs."""
    dense = small.made(kind, seed)
    graph = small.graph_of(dense)
    removed = random_removal(graph.groups, np.random.default_rng(seed))
    assert set(removed) == set(TIES[kind])
    for name, channels in removed.items():
        silence(dense, graph.group(name), channels)
    pruned = copy.deepcopy(dense)
    small.graph_of(pruned).remove(removed)
    for name, channels in removed.items():
        group = graph.group(name)
        for tied in group.producers:
            before, after = (module.get_submodule(tied.layer).weight.shape[0]
                             for module in (dense, pruned))
            assert after == before - len(channels) * tied.positions.shape[1]
    for image in small.images(2, seed + 1):
        for expected, found in zip(
                small.outputs_of(dense, image), small.outputs_of(pruned, image), strict=True):
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_torch_prunings_own_pruner_takes_our_units():
    """Which channels of a grouped convolution can go together is the library's to say."""
    for seed in range(5):
        module = small.made(small.Grouped, seed)
        with torch.no_grad():
            for layer in (module.stem, module.grouped):
                layer.bias.copy_(torch.arange(layer.out_channels))
        groups = {group.name: group for group in small.graph_of(module).groups}
        torch_pruning.pruner.MagnitudePruner(
            module, (small.images(1)[0],), torch_pruning.importance.RandomImportance(),
            pruning_ratio=0.5, ignored_layers=[module.predict]).step()
        for name, layer in (('stem', module.stem), ('grouped', module.grouped)):
            group = groups[name]
            gone = set(range(group.channels)) - set(layer.bias.int().tolist())
            step = group.channels // group.unit
            assert 0 < len(gone) < group.channels
            assert gone == set(small.unit(group, *{channel % step for channel in gone}))


def test_nothing_changes_when_a_removal_is_refused():
    module = small.made(small.Grouped)
    graph = small.graph_of(module)
    before = copy.deepcopy(module.state_dict())
    unit = small.unit(graph.group('stem'), 0)
    for bad, message in (
            ({'grouped': range(18)}, 'group grouped: all of its 18 channels would go; leave at '
             'least 3'),
            ({'predict': [1]}, 'group predict: predict is an output of the network; its channels '
             'must stay'),
            ({'grouped': [18]}, 'group grouped: it has channels 0 to 17, not 18'),
            ({'grouped': [0, 1, 2]}, 'group grouped: its channels go 3 at a time, every 6th '
             'together'),
            ({'neck': [0]}, 'group neck: the network has no such group of channels')):
        with pytest.raises(GroupError) as caught:
            graph.remove({'stem': unit, **bad})
        assert str(caught.value) == message
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    graph.remove({'stem': [], 'predict': []})
    assert module.stem.out_channels == 12


@pytest.mark.parametrize('kind, message', [
    (small.Untraceable, 'Untraceable cannot be traced: not every output comes from the layers'),
    (small.Failing, 'Failing cannot be traced: needs 32 by 32')])
def test_a_network_that_cannot_be_traced(kind, message):
    with pytest.raises(GroupError) as caught:
        small.graph_of(small.made(kind))
    assert str(caught.value).startswith(message)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('kind', [small.Normalised, small.Untraceable])
def test_tracing_leaves_the_network_as_it_was(kind):
    module = small.made(kind)
    module.train()
    module.stem.eval()
    module.stem.weight.requires_grad_(False)
    modes = {name: part.training for name, part in module.named_modules()}
    state = copy.deepcopy(module.state_dict())
    try:
        small.graph_of(module)
    except GroupError:
        assert kind is small.Untraceable
    assert {name: part.training for name, part in module.named_modules()} == modes
    assert [name for name, value in module.named_parameters() if not value.requires_grad] == [
        'stem.weight']
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())


def test_frozen_networks_have_the_same_groups():
    module = small.made(small.Residual).requires_grad_(False)
    assert [group.describe() for group in small.graph_of(module).groups] == [
        group.describe() for group in small.graph_of(small.made(small.Residual)).groups]


def test_groups_do_not_depend_on_the_grad_mode():
    with torch.no_grad():
        graph = small.graph_of(small.made(small.Residual))
    assert graph.group('stem').channels == 8
    with pytest.raises(KeyError):
        graph.group('outer')


def test_a_parameter_beside_the_layers_holds_its_channels():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = small.conv(3, 8)
            self.scale = nn.Parameter(torch.ones(1, 8, 1, 1))
            self.predict = small.conv(8, 5, 1)

        def forward(self, x):
            return self.predict(torch.relu(self.stem(x)) * self.scale)

    group = ChannelGraph(Scaled(), small.images(1)[0]).group('stem')
    assert 'parameter' in group.fixed


class Attention(nn.Module):
    """Two heads over all places of a map, as YOLO11 and YOLO26 have it."""

    def __init__(self):
        super().__init__()
        self.stem = small.conv(3, 8)
        self.qkv = small.conv(8, 16, 1)
        self.around = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.proj = small.conv(8, 8, 1)
        self.after = small.conv(8, 6, 1)
        self.predict = small.conv(6, 5, 1)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        batch, _, height, width = x.shape
        query, key, value = self.qkv(x).view(batch, 2, 8, height * width).split([2, 2, 4], 2)
        shares = (query.transpose(2, 3) @ key).softmax(3)
        seen = (value @ shares.transpose(2, 3)).reshape(batch, 8, height, width)
        seen = seen + self.around(value.reshape(batch, 8, height, width))
        return self.predict(torch.relu(self.after(x + self.proj(seen))))


class Blurred(nn.Module):
    """A depthwise convolution of the image itself."""

    def __init__(self):
        super().__init__()
        self.blur = nn.Conv2d(3, 3, 3, padding=1, groups=3)
        self.stem = small.conv(3, 8)
        self.predict = small.conv(8, 5, 1)

    def forward(self, x):
        return self.predict(torch.relu(self.stem(self.blur(x))))


def test_a_depthwise_layer_of_no_group_is_listed():
    graph = ChannelGraph(small.made(Blurred), small.images(1)[0])
    assert {group.name: group.fixed for group in graph.groups} == {
        'stem': '', 'predict': 'predict is an output of the network',
        'blur': 'no layer whose channels can be followed makes what it is given'}


def test_attention_is_not_followed_through_its_places(monkeypatch):
    """Each reshaping multiplies the places; past the split, YOLO26's filled the memory."""
    add = torch_pruning.dependency.group.Group.add_dep

    def watched(self, dep, idxs):
        assert len(idxs) < 100_000
        add(self, dep, idxs)

    monkeypatch.setattr(torch_pruning.dependency.group.Group, 'add_dep', watched)
    graph = ChannelGraph(small.made(Attention), small.images(1)[0])
    assert {group.name: group.fixed for group in graph.groups if group.fixed} == {
        'qkv': 'a split of the network divides them',
        'predict': 'predict is an output of the network',
        'around': 'they pass a reshaping of 3 dimensions'}
    assert graph.group('qkv').ties() == 'made by qkv; taken by what is not followed'
    group = graph.group('stem')
    assert names(group.producers) == {'stem', 'proj'}
    assert names(group.consumers) == {'qkv', 'after'}
