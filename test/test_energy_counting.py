# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The count of a torch module: tiny networks whose counts are worked out by hand."""

import pytest

torch = pytest.importorskip('torch')

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from prune_perception.energy.counting import count, profile_module  # noqa: E402
from prune_perception.energy.hardware import load_profile  # noqa: E402
from prune_perception.energy.layers import NetworkCount  # noqa: E402
from prune_perception.energy.operators import (  # noqa: E402
    Call,
    OPERATORS,
    TensorInfo,
    UnsupportedCall,
)
from prune_perception.energy.shapes import ConvolutionShape, MovementShape  # noqa: E402


class Function(nn.Module):
    """A module around a function, with the layers it uses."""

    def __init__(self, forward, **layers):
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self._forward = forward

    def forward(self, *inputs):
        return self._forward(self, *inputs)


def counted(forward, *sizes, **layers) -> NetworkCount:
    return count(Function(forward, **layers), *(torch.randn(1, *size) for size in sizes))


def operators(result: NetworkCount) -> list[str]:
    return [layer.operator for layer in result.layers]


def test_convolution_with_everything():
    layer = nn.Conv2d(8, 12, (3, 5), stride=(2, 1), padding=(1, 4), dilation=(1, 2), groups=4)
    result = counted(lambda net, x: net.layer(x), (8, 10, 12), layer=layer)
    assert [layer.name for layer in result.layers] == ['layer']
    assert result.layers[0].shapes == (ConvolutionShape(
        8, 12, (3, 5), (5, 12), (10, 12), (2, 1), (1, 2), 4, bias=True),)
    assert result.macs == 5 * 12 * 12 * 2 * 15
    assert (result.weights, result.parameters) == (12 * 2 * 15, 12 * 2 * 15 + 12)
    assert (result.input_words, result.output_words) == (960, 720)
    assert not result.unknown


@pytest.mark.parametrize(('layer', 'size', 'macs'), [
    (nn.Conv2d(6, 6, 3, groups=6, padding=1), (6, 7, 7), 49 * 6 * 9),
    (nn.Conv1d(4, 8, 5), (4, 20), 16 * 8 * 4 * 5),
    (nn.ConvTranspose2d(4, 3, 2, stride=2), (4, 5, 6), 5 * 6 * 4 * 3 * 4),
    (nn.ConvTranspose2d(4, 3, 3, stride=2, bias=False), (4, 5, 6), 5 * 6 * 4 * 3 * 9),
    (nn.Linear(5, 7), (5,), 35),
    (nn.Linear(5, 7, bias=False), (3, 5), 105)])
def test_macs_of_layers(layer: nn.Module, size: tuple[int, ...], macs: int):
    result = counted(lambda net, x: net.layer(x), size, layer=layer)
    assert result.macs == macs
    assert result.weights == layer.weight.numel()
    assert not result.unknown


def test_functions_are_seen_like_modules():
    def forward(net, x):
        y = functional.interpolate(x, scale_factor=2, mode='bilinear')
        return torch.cat((y, y + 1), 1) * torch.sigmoid(y).mean((2, 3), keepdim=True).repeat(
            1, 2, 1, 1)
    result = counted(forward, (3, 4, 4))
    assert operators(result) == ['upsample_bilinear2d', 'add', 'cat', 'sigmoid', 'mean',
                                 'repeat', 'mul']
    resize, add, cat = (layer.shapes[0] for layer in result.layers[:3])
    assert resize == MovementShape(48, 192, 4 * 192)
    assert add == MovementShape(192, 192, 192)
    assert cat == MovementShape(384, 384)
    assert result.macs == 0 and not result.unknown


def test_each_layer_is_put_down_to_its_module():
    inner = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.MaxPool2d(2))
    result = counted(lambda net, x: torch.cat((net.a(x), net.a(x)), 1), (3, 8, 8), a=inner)
    assert [layer.name for layer in result.layers] == [
        'a.0', 'a.2', 'a.0#2', 'a.2#2', 'cat']
    # The same weights run twice: the work counts twice, the weights once.
    assert result.macs == 2 * 64 * 12
    assert result.weights == 12


def test_an_activation_after_a_convolution_is_fused():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.LeakyReLU(0.1))
    result = count(net, torch.randn(1, 3, 8, 8))
    assert operators(result) == ['convolution']
    assert len(result.layers[0].fused) == 2
    # A folded normalisation costs nothing; an activation an operation for each output.
    assert result.layers[0].shapes[1:] == (
        MovementShape(0, 0, 0), MovementShape(0, 0, 4 * 64))


def test_in_place_activations_are_fused_too():
    result = count(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 1)),
                   torch.randn(1, 3, 8, 8))
    assert operators(result) == ['convolution', 'convolution']
    assert result.layers[0].fused == ('relu',)


def test_what_another_reads_is_not_fused():
    def forward(net, x):
        y = net.conv(x)
        return functional.relu(y), y * 2.0
    result = counted(forward, (3, 8, 8), conv=nn.Conv2d(3, 4, 1))
    assert operators(result) == ['convolution', 'relu', 'mul']


def test_what_the_network_returns_is_not_fused_over():
    def forward(net, x):
        y = net.conv(x)
        return y, functional.relu(y)
    result = counted(forward, (3, 8, 8), conv=nn.Conv2d(3, 4, 1))
    assert operators(result) == ['convolution', 'relu']


def test_a_normalisation_that_cannot_be_folded_moves_its_data():
    result = count(nn.Sequential(nn.MaxPool2d(2), nn.BatchNorm2d(3)), torch.randn(1, 3, 8, 8))
    assert len(result.layers) == 2
    assert result.layers[1].shapes[0] == MovementShape(48, 48, 96, weights=12)


def test_an_activation_after_an_addition_is_fused_to_it():
    def forward(net, x):
        return functional.relu(net.a(x) + net.b(x))
    result = counted(forward, (3, 8, 8), a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(3, 4, 1))
    assert operators(result) == ['convolution', 'convolution', 'add']
    assert result.layers[2].fused == ('relu',)


def test_views_move_nothing_and_the_copies_they_force_do():
    def forward(net, x):
        y = x.flatten(1).view(1, 4, 12)[:, 1:].transpose(1, 2)
        return y.contiguous()
    result = counted(forward, (3, 4, 4))
    assert operators(result) == ['clone']
    assert result.layers[0].shapes[0] == MovementShape(36, 36)


def test_constants_are_not_counted():
    def forward(net, x):
        grid = torch.arange(8).float().mul(2).view(1, 1, 1, 8)
        return x + grid
    result = counted(forward, (3, 8, 8))
    assert operators(result) == ['add']
    assert result.layers[0].shapes[0].weights == 8


def test_attention_counts_both_products_as_maps():
    def forward(net, x):
        return functional.scaled_dot_product_attention(x, x, x)
    result = counted(forward, (2, 10, 16))
    assert not result.unknown
    assert result.macs == 2 * (2 * 10 * 10 * 16)
    assert result.weights == 0

    def by_hand(net, x):
        return torch.softmax(x @ x.transpose(1, 2), -1) @ x
    result = counted(by_hand, (10, 16))
    assert not result.unknown
    assert result.macs == 2 * 10 * 10 * 16
    assert result.weights == 0


def test_an_unknown_operator_is_named_and_not_zero():
    def forward(net, x):
        return torch.fft.rfft(net.conv(x)).abs() + torch.cumsum(x.mean(), 0)
    result = counted(forward, (3, 8, 8), conv=nn.Conv2d(3, 4, 1))
    assert {unknown.operator for unknown in result.unknown} >= {'cumsum'}
    assert any('fft' in unknown.operator for unknown in result.unknown)
    assert all(unknown.calls == 1 for unknown in result.unknown)
    # What reads its result is still counted.
    assert 'abs' in operators(result)


def test_a_known_operator_called_in_an_unknown_way_is_named_too():
    result = counted(lambda net, x: net.layer(x), (2, 4, 4, 4), layer=nn.Conv3d(2, 2, 3))
    assert [unknown.operator for unknown in result.unknown] == ['convolution (3-D)']
    assert result.unknown[0].module == 'layer'


def test_the_module_is_left_as_it_was():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Dropout(), nn.BatchNorm2d(4))
    net.train()
    net[2].eval()
    before = net[2].running_mean.clone()
    count(net, torch.randn(1, 3, 8, 8))
    assert net.training and net[1].training and not net[2].training
    assert torch.equal(net[2].running_mean, before)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())


def test_hooks_and_mode_go_when_the_module_fails():
    net = nn.Sequential(nn.Conv2d(3, 4, 1))
    with pytest.raises(RuntimeError):
        count(net, torch.randn(1, 5, 8, 8))
    assert not net[0]._forward_hooks
    assert net.training


@pytest.mark.parametrize('size', [(2, 3, 8, 8), ()])
def test_a_batch_other_than_one_is_refused(size: tuple[int, ...]):
    with pytest.raises(ValueError, match='batch of 1'):
        count(nn.Conv2d(3, 4, 1), torch.zeros(size))


def test_zeros_are_measured_after_the_activation():
    net = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.ReLU(), nn.Conv2d(2, 1, 1))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
    result = count(net, torch.ones(1, 1, 4, 4), measure_zeros=True)
    first, second = (layer.convolution for layer in result.layers)
    assert first is not None and second is not None
    assert (first.input_density, first.output_density, second.input_density) == (1, 0.5, 0.5)


def test_the_table_is_of_pure_functions():
    call = Call('max_pool2d', {'self': TensorInfo((1, 4, 8, 8), True), 'kernel_size': [3, 3]},
                (TensorInfo((1, 4, 4, 4), True),))
    assert OPERATORS['max_pool2d'](call) == [MovementShape(256, 64, 576)]
    with pytest.raises(UnsupportedCall, match='3-D'):
        OPERATORS['convolution'](Call('convolution', {
            'input': TensorInfo((1, 2, 4, 4, 4), True),
            'weight': TensorInfo((2, 2, 3, 3, 3), False)}, (TensorInfo((1, 2, 2, 2, 2), True),)))


def test_nanodet_g_has_the_published_size():
    from prune_perception.networks.nanodet import NanoDetG
    account = profile_module(NanoDetG(), torch.zeros(1, 3, 416, 416),
                             profile=load_profile('eyeriss_65nm'))
    total = account.total()
    assert round(total.macs / 1e9, 2) == 2.09
    assert round(total.parameters / 1e6, 3) == 3.786
    convolutions = [layer for layer in account.count.layers if layer.convolution]
    assert len(convolutions) == 34
    assert not account.count.unknown
