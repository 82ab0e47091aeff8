# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The energy model: counts worked out by hand, and what must hold for any layer."""

from dataclasses import replace
import itertools
import math

import numpy as np
import pytest

from prune_perception.energy import row_stationary
from prune_perception.energy.accesses import (
    ARRAY,
    BUFFER,
    DRAM,
    INPUT_MAPS,
    OUTPUT_MAPS,
    PARTIAL_SUMS,
    REGISTER_FILE,
    run_length_share,
    WEIGHTS,
)
from prune_perception.energy.hardware import load_profile
from prune_perception.energy.model import energy_over_widths, floor_energy, layer_cost
from prune_perception.energy.shapes import ConvolutionShape, linear, MovementShape, transposed

EYERISS = load_profile('eyeriss_65nm')
CPU = load_profile('x86_cpu')

LAYERS = {
    'ordinary': ConvolutionShape(64, 96, (3, 3), (26, 26), (26, 26)),
    'strided': ConvolutionShape(3, 32, (3, 3), (208, 208), (416, 416), (2, 2)),
    'pointwise': ConvolutionShape(128, 124, (1, 1), (52, 52), (52, 52), bias=True),
    'pointwise strided': ConvolutionShape(64, 128, (1, 1), (14, 14), (28, 28), (2, 2)),
    'depthwise': ConvolutionShape(64, 64, (3, 3), (26, 26), (26, 26), groups=64),
    'grouped': ConvolutionShape(64, 96, (5, 5), (13, 13), (13, 13), groups=4),
    'dilated': ConvolutionShape(32, 32, (3, 3), (26, 26), (26, 26), dilation=(4, 4)),
    'tall kernel': ConvolutionShape(8, 16, (31, 31), (20, 20), (20, 20)),
    'linear': linear(9216, 4096),
    'rows': linear(64, 64, rows=196),
    'transposed': transposed(64, 32, (4, 4), (13, 13), (2, 2)),
    'wide': ConvolutionShape(3, 8, (7, 7), (16, 9000), (16, 9000)),
    'signal': ConvolutionShape(16, 32, (1, 9), (1, 500), (1, 500)),
    'one': ConvolutionShape(1, 1, (1, 1), (1, 1), (1, 1))}


def test_a_layer_worked_out_by_hand():
    # 2 channels of 4 by 4, 3 filters of 3 by 3, 2 by 2 out, batch 1. All fits in one pass: two
    # channels of three filters in each element (p = 3, q = 2), a set of 3 by 2 elements.
    shape = ConvolutionShape(2, 3, (3, 3), (2, 2), (4, 4))
    cost = layer_cost(shape, EYERISS)
    mapping = dict(cost.mapping)
    assert (mapping['e'], mapping['n'], mapping['m']) == (2, 1, 3)
    assert mapping['p'] * mapping['t'] >= 3 and mapping['q'] * mapping['r'] >= 2
    macs = 2 * 2 * 3 * 2 * 9
    count = cost.accesses
    # Each word once: 54 weights, 32 inputs, 12 outputs.
    assert count[:, DRAM].tolist() == [54, 32, 12, 0]
    # Weights and inputs once, outputs written and read out again; no partial sum leaves.
    assert count[:, BUFFER].tolist() == [54, 32, 24, 0]
    # A weight goes to the 2 columns. An input row goes to each of the 3 * 2 elements that uses
    # it: 3 * 2 rows of 4 words of 2 channels; the filters are in the same elements.
    assert count[WEIGHTS, ARRAY] == 54 * 2
    assert count[INPUT_MAPS, ARRAY] == 3 * 2 * 4 * 2 * -(-3 // mapping['p'])
    # 3 rows of elements, and sets on different channels, hand 12 sums on.
    assert count[PARTIAL_SUMS, ARRAY] == 12 * (3 * -(-2 // mapping['q']) - 1)
    inside = 3 * mapping['q']
    assert count[WEIGHTS, REGISTER_FILE] == count[INPUT_MAPS, REGISTER_FILE] == macs
    assert math.isclose(count[PARTIAL_SUMS, REGISTER_FILE], 2 * macs * (inside - 1) / inside)
    assert cost.compute == macs
    weights = [1, 2, 6, 200]
    assert math.isclose(cost.total, macs + float((count * weights).sum()))


@pytest.mark.parametrize('profile', [EYERISS, CPU], ids=lambda profile: profile.name)
@pytest.mark.parametrize('name', LAYERS)
@pytest.mark.parametrize('batch', [1, 4])
def test_every_word_is_moved_at_least_once(name: str, batch: int, profile):
    shape = LAYERS[name]
    cost = layer_cost(shape, profile, batch)
    count = cost.accesses
    assert np.isfinite(count).all() and (count >= 0).all()
    used = np.prod([min(1.0, kernel / stride) for kernel, stride in
                    zip(shape.kernel, shape.stride, strict=True)])
    # Kernels that stand over the last rows and columns can leave a few of them unused.
    assert count[INPUT_MAPS, DRAM] >= 0.9 * used * shape.input_words
    assert count[WEIGHTS, DRAM] >= shape.weights / batch
    assert count[OUTPUT_MAPS, DRAM] == shape.output_words
    assert count[WEIGHTS, REGISTER_FILE] == count[INPUT_MAPS, REGISTER_FILE] == shape.macs
    floor = floor_energy([shape], shape.weights, 0, shape.output_words, profile, batch)
    assert cost.total >= floor
    assert math.isclose(sum(cost.by_kind().values()), cost.total)
    assert math.isclose(sum(cost.by_level().values()), cost.total)


@pytest.mark.parametrize('name', LAYERS)
def test_the_mapping_fits_the_array(name: str):
    shape = LAYERS[name]
    mapping = dict(layer_cost(shape, EYERISS, 4).mapping)
    array = EYERISS.array
    assert array is not None
    rows = -(-shape.kernel[0] // -(-shape.kernel[0] // array.rows))
    taps = -(-shape.kernel[1] // -(-shape.kernel[1] // array.input_words))
    assert rows * mapping['e'] * mapping['r'] * mapping['t'] <= array.rows * array.columns
    assert mapping['q'] * taps <= array.input_words
    assert mapping['p'] * mapping['q'] * taps <= array.weight_words
    assert mapping['p'] <= array.partial_sum_words
    reach = (rows - 1) * shape.dilation[0] + 1
    strip = min((mapping['e'] - 1) * shape.stride[0] + reach, mapping['e'] * rows) * (
        (mapping['columns'] - 1) * shape.stride[1] + (taps - 1) * shape.dilation[1] + 1)
    held = mapping['n'] * (mapping['q'] * mapping['r'] * strip
                           + mapping['m'] * mapping['e'] * mapping['columns'])
    assert held <= EYERISS.buffer_words


@pytest.mark.parametrize('shape', [
    ConvolutionShape(24, 40, (3, 3), (13, 13), (13, 13)),
    ConvolutionShape(48, 20, (1, 1), (26, 26), (26, 26)),
    ConvolutionShape(6, 30, (5, 5), (24, 24), (24, 24))])
def test_no_mapping_that_fits_is_much_better_than_the_one_chosen(shape: ConvolutionShape):
    array = EYERISS.array
    assert array is not None
    costs = np.array([1.0, 2.0, 6.0, 200.0])
    chosen = layer_cost(shape, EYERISS)
    grid = []
    height, width = shape.output
    for e, q, r in itertools.product(range(1, height + 1), range(1, 13), (1, 2, 3, 4, 6, 8)):
        bands = array.rows // shape.kernel[0]
        sets = (bands * (array.columns // e) if e <= array.columns
                else bands // -(-e // array.columns))
        if q * shape.kernel[1] > array.input_words or r > sets:
            continue
        strip = ((e - 1) + shape.kernel[0]) * (width - 1 + shape.kernel[1])
        held = (EYERISS.buffer_words - q * r * strip) // (e * width)
        for t, p in itertools.product(range(1, sets // r + 1), range(1, 25)):
            if p * q * shape.kernel[1] <= array.weight_words and held >= 1:
                m = min(held, shape.out_channels)
                grid += [(e, 1, p, q, r, t, m), (e, 1, p, q, r, t, max(m // (p * t), 1) * p * t)]
    fields = np.array([row for row in grid if row[-1] * row[0] * width
                       <= EYERISS.buffer_words]).T[:, None, :]
    table = row_stationary.count_mapping(
        row_stationary._cut(shape, np.array([[shape.in_channels]]),
                            np.array([[shape.out_channels]]), array, EYERISS, 16),
        row_stationary.Mapping(*fields, columns=width), EYERISS, 1, 16)
    best = float(np.einsum('l,klab->ab', costs, table).min()) + shape.macs
    assert len(fields[0, 0]) > 1000
    assert chosen.total <= best * 1.01


@pytest.mark.parametrize('profile', [EYERISS, CPU], ids=lambda profile: profile.name)
@pytest.mark.parametrize('name', ['ordinary', 'pointwise', 'linear', 'dilated', 'transposed'])
def test_many_widths_at_once_cost_what_each_costs(name: str, profile):
    shape = LAYERS[name]
    inputs = np.arange(1, 131, 3)
    together = energy_over_widths(shape, inputs, shape.out_channels, profile)
    for width, energy in zip(inputs.tolist(), together, strict=True):
        alone = layer_cost(replace(shape, in_channels=width, bias=False), profile)
        biases = 0 if not shape.bias else shape.out_channels * (
            profile.costs.buffer * (profile is EYERISS) + profile.costs.dram)
        assert math.isclose(energy, alone.total + biases, rel_tol=1e-9)


def test_a_depthwise_layer_stays_one_at_other_widths():
    shape = LAYERS['depthwise']
    narrow = replace(shape, in_channels=24, out_channels=24, groups=24)
    assert math.isclose(energy_over_widths(shape, 24, 24, EYERISS)[0],
                        layer_cost(narrow, EYERISS).total)


def test_widths_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match='groups'):
        energy_over_widths(LAYERS['grouped'], 63, 96, EYERISS)


@pytest.mark.parametrize('name', ['ordinary', 'pointwise', 'linear'])
def test_fewer_channels_never_cost_more(name: str):
    energies = energy_over_widths(LAYERS[name], np.arange(1, 129), 64, EYERISS)
    # A width that fits an array badly can cost a little more than the next.
    assert (energies[:-1] <= energies[1:] * 1.06).all()
    assert energies[63] < 0.6 * energies[127]


def test_a_batch_shares_the_weights():
    shape = LAYERS['linear']
    one, many = layer_cost(shape, EYERISS, 1), layer_cost(shape, EYERISS, 16)
    assert math.isclose(many.accesses[WEIGHTS, DRAM] * 16, one.accesses[WEIGHTS, DRAM])
    assert many.accesses[INPUT_MAPS, REGISTER_FILE] == shape.macs


def test_a_batch_does_not_share_a_second_map():
    shape = replace(LAYERS['rows'], second_operand_is_map=True)
    for profile in (EYERISS, CPU):
        one, many = layer_cost(shape, profile, 1), layer_cost(shape, profile, 8)
        assert math.isclose(one.total, many.total)
        assert one.by_kind()['weights'] == 0


def test_half_the_width_costs_at_most_half():
    for shape in LAYERS.values():
        assert layer_cost(shape, EYERISS, bits=8).total <= layer_cost(
            shape, EYERISS, bits=16).total * 0.5 + 1e-6


def test_skipping_zeros_saves_the_mac_the_weight_and_the_sum():
    shape = replace(LAYERS['ordinary'], input_density=0.25)
    plain = layer_cost(shape, EYERISS)
    skipping = layer_cost(shape, replace(EYERISS, skip_zero_inputs=True))
    assert skipping.compute == plain.compute * 0.25
    ratio = skipping.accesses[:, REGISTER_FILE] / np.maximum(plain.accesses[:, REGISTER_FILE], 1)
    assert np.allclose(ratio, [0.25, 1, 0, 0.25])
    dense = replace(shape, input_density=1.0)
    assert layer_cost(dense, replace(EYERISS, skip_zero_inputs=True)).total == layer_cost(
        dense, EYERISS).total


def test_run_length_code():
    assert math.isclose(run_length_share(0.224, 16), 0.2988, rel_tol=1e-3)
    assert run_length_share(1.0, 16) == 1.0
    assert 0 < run_length_share(0.0, 16) < 0.05
    values = [run_length_share(density, 16) for density in np.linspace(0, 1, 50)]
    assert values == sorted(values)


def test_a_coded_map_moves_less_in_dram_only():
    shape = replace(LAYERS['ordinary'], input_density=0.3, output_density=0.3)
    plain = layer_cost(shape, EYERISS)
    coded = layer_cost(shape, replace(EYERISS, map_coding='run_length'))
    assert coded.accesses[OUTPUT_MAPS, DRAM] == plain.accesses[
        OUTPUT_MAPS, DRAM] * run_length_share(0.3, 16)
    assert coded.accesses[WEIGHTS, DRAM] <= plain.accesses[WEIGHTS, DRAM] * 1.5


def test_movement_by_hand():
    # An addition of two maps of 100 words.
    cost = layer_cost(MovementShape(200, 100, operations=100), EYERISS)
    assert cost.by_kind() == {
        'compute': 6.0, 'weights': 0.0, 'input_maps': 200 * 206 + 100.0,
        'output_maps': 100 * 206 + 100.0, 'partial_sums': 0.0}


def test_cache_blocking_by_hand():
    # 8 channels of 4 by 4, 32 filters of 1 by 1: all fits in the cache.
    shape = ConvolutionShape(8, 32, (1, 1), (4, 4), (4, 4))
    count = layer_cost(shape, CPU).accesses
    assert count[:, DRAM].tolist() == [256, 128, 512, 0]
    macs = 16 * 32 * 8
    assert count[WEIGHTS, BUFFER] == macs / 6
    assert count[INPUT_MAPS, BUFFER] == macs / 16


def test_what_does_not_fit_the_cache_is_streamed_past_what_stays():
    shape = linear(4096, 4096, rows=1024)
    count = layer_cost(shape, replace(CPU, buffer_words=2 ** 20)).accesses
    # 16 Mi weights in blocks of 512 Ki are 32 passes of 4 Mi inputs; 4 Mi inputs are 8 blocks,
    # past which 16 Mi weights go 8 times: 128 + 4 is less than 16 + 128.
    assert count[WEIGHTS, DRAM] == 2 ** 24 * 8
    assert count[INPUT_MAPS, DRAM] == 2 ** 22


@pytest.mark.parametrize('wrong', [{'batch': 0}, {'bits': 0}, {'bits': 65}])
def test_impossible_conditions_are_refused(wrong: dict):
    with pytest.raises(ValueError):
        layer_cost(LAYERS['ordinary'], EYERISS, **wrong)


def test_a_map_too_wide_for_the_smallest_buffer_is_refused():
    with pytest.raises(ValueError, match='does not fit'):
        layer_cost(LAYERS['ordinary'], replace(EYERISS, buffer_words=4))
