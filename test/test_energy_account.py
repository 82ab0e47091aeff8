# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The energy account and what is shown of it."""

from dataclasses import replace
from html.parser import HTMLParser
import io
import json
import math
from pathlib import Path
import subprocess
import sys

import pytest
from rich.console import Console

from prune_perception.energy.account import EnergyAccount, make_account
from prune_perception.energy.hardware import load_profile
from prune_perception.energy.layers import Layer, NetworkCount, UnknownOperator
from prune_perception.energy.model import layer_cost
from prune_perception.energy.report import html_page, joules, number, print_account, write_html
from prune_perception.energy.shapes import ConvolutionShape, MovementShape

CONVOLUTION = ConvolutionShape(16, 32, (3, 3), (20, 20), (20, 20), bias=True)
ACTIVATION = MovementShape(0, 0, operations=12800)
CONCAT = MovementShape(25600, 25600)
EYERISS = load_profile('eyeriss_65nm')


def network(*unknown: UnknownOperator, name: str = 'first') -> NetworkCount:
    layers = (Layer(name, name, 'convolution', (CONVOLUTION, ACTIVATION), ('relu',), 6400, 12800),
              Layer('cat', '', 'cat', (CONCAT,), (), 25600, 25600))
    return NetworkCount(layers, 4640, 4608, 6400, 25600, (1, 16, 20, 20), unknown)


def account(**changes) -> EnergyAccount:
    settings = {'count': network(), 'profile': EYERISS, 'network': 'tiny', **changes}
    return make_account(**settings)


def test_the_parts_add_up_to_the_total():
    for profile in ('eyeriss_65nm', 'jetson'):
        result = account(profile=load_profile(profile), batch=3, bits=8)
        energy = result.total().energy_mac
        for parts in (result.by_layer(), result.by_kind(), result.by_level()):
            assert math.isclose(sum(parts.values()), energy)
        assert math.isclose(sum(share for share, _ in result.shares()), 1)
        assert math.isclose(result.shares()[-1][1], 1)


def test_a_layer_costs_what_it_and_what_is_fused_to_it_cost():
    expected = layer_cost(CONVOLUTION, EYERISS).total + 12800 * (0.06 + 1)
    assert math.isclose(account().by_layer()['first'], expected)


def test_joules_come_with_a_cited_mac_only():
    total = account().total()
    assert total.energy_uj is not None
    assert math.isclose(total.energy_uj, total.energy_mac * 1.3e-6)
    assert account(profile=replace(EYERISS, joules_per_mac=None)).total().energy_uj is None


def test_the_floor_by_hand():
    total = account().total()
    macs = 20 * 20 * 32 * 16 * 9
    assert total.floor_mac == macs + 200 * (4608 + 6400 + 25600)
    assert total.floor_ratio == total.energy_mac / total.floor_mac > 1
    assert account(batch=4).total().floor_mac == macs + 200 * (4608 / 4 + 6400 + 25600)


def test_static_power_is_a_term_of_its_own():
    board = load_profile('cortex_a')
    without, with_time = account(profile=board), account(profile=board, seconds=0.25)
    assert without.total().static_uj is None
    assert with_time.total().static_uj == pytest.approx(1.6 * 0.25 * 1e6)
    assert with_time.total().energy_uj == without.total().energy_uj
    assert account(seconds=0.25).total().static_uj is None
    with pytest.raises(ValueError, match='measured time'):
        account(seconds=0)


def test_json_has_the_totals_and_the_conditions(tmp_path: Path):
    path = tmp_path / 'account.json'
    account(batch=2, bits=8).write_json(path)
    content = json.loads(path.read_text())
    assert content['modelled'] is True
    assert (content['profile'], content['word_bits'], content['batch']) == ('eyeriss_65nm', 8, 2)
    total = content['total']
    assert total['macs'] == 20 * 20 * 32 * 16 * 9 and total['parameters'] == 4640
    assert total['energy_uj'] == pytest.approx(total['energy_mac'] * 1.3e-6)
    layer = content['layers'][0]
    assert layer['fused'] == ['relu'] and set(layer['accesses']['weights']) == {
        'register_file', 'array', 'buffer', 'dram'}
    assert sum(layer['by_kind_mac'].values()) == pytest.approx(layer['energy_mac'])
    assert content['sources']
    summary = account(batch=2, bits=8).summary()
    assert json.loads(json.dumps(summary)) == {
        key: content[key] if key != 'unknown_operators' else [] for key in summary}


def printed(width: int, **changes) -> str:
    stream = io.StringIO()
    print_account(account(**changes), Console(file=stream, width=width, color_system=None))
    return stream.getvalue()


@pytest.mark.parametrize('width', [60, 80, 120, 200])
def test_the_table_fits_and_says_its_conditions(width: int):
    text = printed(width, bits=8, batch=2)
    tables = text[text.index('layer'):]
    # Sentences are left for the terminal to wrap.
    assert max(len(line) for line in tables.splitlines() if 'modelled' not in line) <= width
    assert text.count('modelled for eyeriss_65nm, 8-bit words, batch 2') >= 3
    assert '100.0%' in text and 'times it' in text
    assert '…' not in text


def test_an_unknown_operator_is_printed_by_name():
    unknown = UnknownOperator('fft_rfft', 3, 'head')
    for text in (printed(120, count=network(unknown)),
                 html_page(account(count=network(unknown)))):
        assert 'NOT COUNTED: operator fft_rfft, 3 calls, first in head' in text


@pytest.mark.parametrize(('value', 'text'), [
    (0, '0'), (7, '7'), (999, '999'), (1000, '1.00 k'), (999_600, '1.00 M'),
    (37_380_000, '37.4 M'), (2_090_083_840, '2.09 G'), (0.5, '0.5'), (123_456, '123 k'),
    (3e12, '3.00 T')])
def test_numbers_have_three_digits(value: float, text: str):
    assert number(value) == text


def test_joules_have_a_fitting_unit():
    assert [joules(value) for value in (12.3, 21495.1, 3e6)] == ['12.3 µJ', '21.5 mJ', '3 J']


class _Page(HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.rows = 0
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.loads += [value for name, value in attributes if name in ('src', 'href', 'data')]
        self.rows += dict(attributes).get('class') == 'row'
        if tag not in ('meta', 'br'):
            self.open.append(tag)
        assert tag not in ('script', 'link', 'iframe', 'object')

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_stands_alone(tmp_path: Path):
    path = tmp_path / 'page.html'
    write_html(account(seconds=0.1, profile=load_profile('cortex_a')), path)
    text = path.read_text(encoding='utf-8')
    page = _Page(text)
    assert page.open == [] and page.loads == []
    assert 'url(' not in text and '@import' not in text
    assert page.rows == 2
    assert text.count('modelled for cortex_a, 32-bit words, batch 1') >= 4


def test_names_are_escaped_in_the_page():
    text = html_page(account(count=network(name='<b>&'), network='<script>'))
    assert '<script>' not in text and '<b>&<' not in text
    assert '&lt;b&gt;&amp;' in text


def test_only_the_count_needs_torch():
    modules = ('account', 'report', 'model', 'hardware', 'operators', 'layers')
    program = '; '.join(f'import prune_perception.energy.{name}' for name in modules)
    subprocess.run([sys.executable, '-c', f'{program}; import sys; assert "torch" not in '
                    'sys.modules'], check=True)
