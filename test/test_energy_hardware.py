# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Shapes, hardware profiles and the widths rule."""

from dataclasses import replace
import math
from pathlib import Path

import pytest
import yaml

from prune_perception.energy.hardware import (
    HardwareProfile,
    load_profile,
    profile_names,
    ProfileError,
    write_profile,
)
from prune_perception.energy.shapes import ConvolutionShape, linear, ShapeError, transposed


def test_macs_and_weights_of_the_first_layer_of_alexnet():
    shape = ConvolutionShape(3, 96, (11, 11), (55, 55), (227, 227), (4, 4))
    assert shape.macs == 105_415_200
    assert shape.weights == 34_848


def test_groups_divide_the_work():
    whole = ConvolutionShape(96, 256, (5, 5), (27, 27), (27, 27))
    assert replace(whole, groups=2).macs * 2 == whole.macs


def test_a_transposed_convolution_does_one_mac_for_each_input_weight_and_filter():
    shape = transposed(8, 4, (4, 4), (10, 12), (2, 2))
    assert shape.macs == 10 * 12 * 8 * 4 * 16
    assert shape.weights == 8 * 4 * 16
    assert shape.output_words == 4 * 20 * 24


def test_a_transposed_convolution_whose_stride_does_not_divide_the_kernel():
    shape = transposed(8, 4, (3, 3), (10, 12), (2, 2))
    assert shape.macs == 10 * 12 * 8 * 4 * 9
    assert shape.weights == 8 * 4 * 9


def test_a_linear_layer_has_a_mac_for_each_weight_and_row():
    assert linear(10, 7, rows=3).macs == 210


@pytest.mark.parametrize('wrong', [
    {'in_channels': 0}, {'groups': 3}, {'output': (0, 4)}, {'input_density': 1.5}])
def test_an_impossible_shape_is_refused(wrong):
    good = ConvolutionShape(8, 8, (3, 3), (4, 4), (4, 4))
    with pytest.raises(ShapeError):
        replace(good, **wrong)


@pytest.mark.parametrize('name', ['eyeriss_65nm', 'x86_cpu', 'cortex_a', 'jetson'])
def test_every_shipped_profile_is_complete_and_sourced(name):
    profile = load_profile(name)
    assert profile.name == name
    assert name in profile_names()
    assert profile.sources and profile.joules_per_mac


def test_eyeriss_has_the_published_costs():
    costs = load_profile('eyeriss_65nm').costs
    assert (costs.register_file, costs.array, costs.buffer, costs.dram) == (1, 2, 6, 200)


def test_a_profile_survives_being_written_and_read(tmp_path: Path):
    for name in profile_names():
        profile = load_profile(name)
        path = tmp_path / f'{name}.yaml'
        write_profile(profile, path)
        assert load_profile(path) == profile


def test_half_the_width_costs_a_quarter_of_a_mac_and_half_an_access():
    profile = load_profile('eyeriss_65nm')
    assert profile.mac_cost(8) == 0.25
    assert profile.access_scale(8) == 0.5
    assert profile.room(100, 8) == 200
    assert profile.mac_cost(16) == 1


def test_the_mac_of_a_float_follows_the_cited_circuit_figures():
    # 0.4 + 1.1 pJ at 16 bits, 0.9 + 3.7 pJ at 32.
    assert math.isclose(load_profile('x86_cpu').mac_cost(16), 1.5 / 4.6, rel_tol=0.01)


def _content(profile: str = 'eyeriss_65nm') -> dict:
    from prune_perception.energy.hardware import profile_folder
    return yaml.safe_load((profile_folder() / f'{profile}.yaml').read_text())


@pytest.mark.parametrize(('change', 'message'), [
    (lambda c: c.pop('costs'), 'costs is missing'),
    (lambda c: c['costs'].pop('dram'), 'costs.dram is missing'),
    (lambda c: c['costs'].update(dram=-1), 'costs.dram is -1'),
    (lambda c: c['costs'].update(dram=float('nan')), 'costs.dram is nan'),
    (lambda c: c['costs'].update(disk=1), 'unknown field costs.disk'),
    (lambda c: c['costs'].update(mac=0), 'costs.mac is 0'),
    (lambda c: c.update(word_bits=True), 'word_bits is True'),
    (lambda c: c.update(dataflow='magic'), "dataflow is 'magic'"),
    (lambda c: c.update(dataflow='blocked'), 'tile is missing'),
    (lambda c: c.update(schema=2), 'schema 2 is newer'),
    (lambda c: c.update(sources=[]), 'sources is []'),
    (lambda c: c['sources'][0].pop('checked'), 'sources[0].checked is missing'),
    (lambda c: c.update(skip_zero_inputs='no'), "skip_zero_inputs is 'no'")])
def test_a_wrong_profile_is_refused_by_field(tmp_path: Path, change, message: str):
    content = _content()
    change(content)
    path = tmp_path / 'mine.yaml'
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ProfileError) as error:
        load_profile(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('text', ['', '[1, 2]', 'a: [', 'just text', '\x00'])
def test_what_is_not_a_profile_at_all_is_refused_in_one_line(tmp_path: Path, text: str):
    path = tmp_path / 'mine.yaml'
    path.write_text(text)
    with pytest.raises(ProfileError) as error:
        load_profile(path)
    assert '\n' not in str(error.value)


def test_an_unknown_profile_names_those_there_are():
    with pytest.raises(ProfileError, match='cortex_a, eyeriss_65nm'):
        load_profile('warp_drive')


def test_a_profile_is_a_value():
    assert isinstance(hash(load_profile('eyeriss_65nm')), int)
    assert load_profile('eyeriss_65nm') == load_profile('eyeriss_65nm')
    assert isinstance(load_profile('jetson'), HardwareProfile)
