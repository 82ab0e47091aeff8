# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

import ast
from collections.abc import Callable
from dataclasses import replace
import errno
from functools import partial
import hashlib
import json
import os
from pathlib import Path
import subprocess
import sys
import tempfile
from typing import Any

from bundles import COMMITTED, small_card
import numpy as np
import pytest
import yaml

from prune_perception.bundle import (
    Bundle,
    BundleError,
    check_place,
    check_signature,
    DecoderSpec,
    NetworkSpec,
    Provenance,
    read_bundle,
    write_bundle,
)

PACKAGE = Path(__file__).resolve().parent.parent / 'prune_perception'
GRAPH = b'a graph, which nobody parses here'


def safetensors_of(**shapes: tuple[int, ...]) -> bytes:
    """Return a safetensors file of float16 zeros, made after the format's description."""
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 2 * int(np.prod(shape))
        header[name.replace('__', '.')] = {
            'dtype': 'F16', 'shape': list(shape), 'data_offsets': [end, end + size]}
        end += size
    text = json.dumps({'__metadata__': {'made': 'here'}, **header}).encode()
    return len(text).to_bytes(8, 'little') + text + bytes(end)


WEIGHTS = safetensors_of(
    first__weight=(4, 3, 3, 3), first__bias=(4,), norm__weight=(4,), norm__bias=(4,))
FILES = {'model.onnx': GRAPH, 'weights.safetensors': WEIGHTS}


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_bundle(tmp_path / 'model', small_card(), FILES)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def refusal(act: Callable[[], object]) -> str:
    """Return the message of a refusal, which is one line of a readable length."""
    with pytest.raises(BundleError) as caught:
        act()
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert len(message) < 600
    return message


def edit(bundle: Bundle, where: str, value: Any) -> None:
    """Set one field of a card on disk; `...` takes it out."""
    path = bundle.folder / 'model.yaml'
    card = yaml.safe_load(path.read_text(encoding='utf-8'))
    *parts, last = (int(part) if part.isdigit() else part for part in where.split('/'))
    parent = card
    for part in parts:
        parent = parent[part]
    if value is ...:
        del parent[last]
    else:
        parent[last] = value
    path.write_text(yaml.safe_dump(card), encoding='utf-8')


def listing(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob('*')) if path.is_file()}


# What is read back


def test_card_comes_back_as_it_was_written(tmp_path: Path) -> None:
    card = small_card(
        class_names=('person', 'chien noir', '人', 'yes', '12', 'null'),
        provenance=Provenance('a test', '0.1.0', parent='ab' * 32, data='cd' * 32, seed=7),
        energy={'eyeriss_65nm': {
            'word_bits': 16, 'batch': 1, 'total': {'energy_uj': 1.5, 'static_uj': None}}},
        measured=({'machine': 'a board', 'latency_ms': 1e-05},),
        certificate={'bound': 0.02, 'evidence': True})
    bundle = write_bundle(tmp_path / 'model', card, FILES)
    digests = {'model.onnx': sha256(GRAPH), 'weights.safetensors': sha256(WEIGHTS)}
    assert bundle.card == replace(card, files=digests)
    assert read_bundle(bundle.folder) == bundle
    assert bundle.digest == sha256((bundle.folder / 'model.yaml').read_bytes())
    assert sorted(path.name for path in bundle.folder.iterdir()) == [
        'model.onnx', 'model.yaml', 'weights.safetensors']
    assert bundle.folder.stat().st_mode & 0o777 == 0o755


def test_optional_parts_may_be_absent(tmp_path: Path) -> None:
    card = small_card(network=None)
    bundle = write_bundle(tmp_path / 'model', card, {'model.onnx': GRAPH})
    assert bundle.card == replace(card, files={'model.onnx': sha256(GRAPH)})
    assert 'null' not in (bundle.folder / 'model.yaml').read_text(encoding='utf-8')
    for field in ('network', 'certificate', 'energy', 'measured'):
        edit(bundle, field, None)
    assert read_bundle(bundle.folder).card == bundle.card


def test_settings_that_are_none_are_kept(tmp_path: Path) -> None:
    card = small_card(network=NetworkSpec('small', {}, {'activation': None}))
    bundle = write_bundle(tmp_path / 'model', card, {'model.onnx': GRAPH})
    assert bundle.card.network is not None
    assert bundle.card.network.settings == {'activation': None}


def test_digest_names_the_content(tmp_path: Path) -> None:
    def digest(name: str, graph: bytes = GRAPH, **changes: Any) -> str:
        return write_bundle(
            tmp_path / name, small_card(**changes), {**FILES, 'model.onnx': graph}).digest

    first = digest('first')
    assert digest('same') == first
    assert len({first, digest('graph', GRAPH + b'!'), digest('card', licence='MIT')}) == 3


@pytest.mark.parametrize('changes', [
    {}, {'placement': 'top_left'}, {'placement': 'centre'}, {'padding': (124, 116, 0)},
    {'placement': 'top_left', 'padding': (0, 0, 0)}])
def test_a_letterbox_comes_back_as_it_was_written(
        tmp_path: Path, changes: dict[str, Any]) -> None:
    fed = replace(small_card().input, resize='letterbox', **changes)
    bundle = write_bundle(tmp_path / 'model', small_card(input=fed), FILES)
    assert bundle.card.input == fed
    said = yaml.safe_load((bundle.folder / 'model.yaml').read_text(encoding='utf-8'))['input']
    # What was not said is not written, so that a card is as it was before there was more to say.
    assert {'placement', 'padding'} & set(said) == set(changes)


def test_a_card_that_cannot_be_read_is_not_written(tmp_path: Path) -> None:
    card = small_card(input=replace(small_card().input, placement='top_left'))
    assert 'input.placement is of a letterbox' in refusal(
        lambda: write_bundle(tmp_path / 'model', card, FILES))
    assert not list(tmp_path.iterdir())


def test_committed_bundle_is_read() -> None:
    bundle = read_bundle(COMMITTED)
    assert bundle.card.name == 'nanodet_g'
    assert len(bundle.card.class_names) == 80
    assert bundle.card.network is not None
    assert bundle.card.network.widths['stem'] == (32, 3)


def test_a_robot_needs_no_library_for_the_weights() -> None:
    code = ("import sys; sys.modules['safetensors'] = sys.modules['torch'] = None\n"
            'from prune_perception.bundle import read_bundle\n'
            f'print(read_bundle({str(COMMITTED)!r}).card.name)')
    result = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert result.stdout == 'nanodet_g\n', result.stderr


# Files that are not what the card says


@pytest.mark.parametrize('name', ['model.onnx', 'weights.safetensors'])
@pytest.mark.parametrize('change', ['tampered', 'truncated', 'extended'])
def test_changed_files_are_refused(bundle: Bundle, name: str, change: str) -> None:
    path = bundle.folder / name
    data = path.read_bytes()
    path.write_bytes({
        'tampered': data[:-1] + bytes([data[-1] ^ 1]), 'truncated': data[:-5],
        'extended': data + b'\0'}[change])
    message = refusal(lambda: read_bundle(bundle.folder))
    assert message.startswith(f'{path}: has changed or is incomplete (SHA-256 is ')
    assert f'model.yaml says {sha256(data)[:12]}…' in message


@pytest.mark.parametrize('name', ['model.onnx', 'weights.safetensors'])
def test_missing_files_are_refused(bundle: Bundle, name: str) -> None:
    path = bundle.folder / name
    path.unlink()
    assert refusal(lambda: read_bundle(bundle.folder)) == (
        f'{path}: missing, though model.yaml lists it')
    path.mkdir()
    assert refusal(lambda: read_bundle(bundle.folder)) == f'{path}: is a directory'


def test_folders_that_are_no_bundles_are_refused(tmp_path: Path) -> None:
    absent, file, empty = tmp_path / 'absent', tmp_path / 'file', tmp_path / 'empty'
    file.write_text('text')
    empty.mkdir()
    for path in (absent, file):
        assert refusal(partial(read_bundle, path)).startswith(f'{path}: no such folder')
    assert refusal(lambda: read_bundle(empty)) == (
        f'{empty}/model.yaml: missing; {empty} is not a model bundle')
    (empty / 'model.yaml').write_bytes(b'#' * (5 << 20))
    assert 'model.yaml: larger than 4 MiB, not a card' in refusal(lambda: read_bundle(empty))


def test_a_name_with_line_breaks_makes_no_second_line(tmp_path: Path) -> None:
    message = refusal(lambda: read_bundle(tmp_path / 'two\nlines'))
    assert 'two lines: no such folder' in message


# Weights that do not fit the card


@pytest.mark.parametrize(('weights', 'reason'), [
    (safetensors_of(first__weight=(5, 3, 3, 3), norm__weight=(4,)),
     'first.weight is [5, 3, 3, 3], model.yaml says [4, 3] channels out and in'),
    (safetensors_of(first__weight=(4, 2), norm__weight=(4,)), 'first.weight is [4, 2], '),
    (safetensors_of(first__weight=(4, 3), norm__weight=(3,)),
     'norm.weight is [3], model.yaml says [4, 4]'),
    (safetensors_of(first__weight=(4, 3), norm__weight=()), 'norm.weight is [], '),
    (safetensors_of(first__bias=(4,), norm__weight=(4,)),
     'has no first.weight, which model.yaml lists'),
    (b'', 'not a safetensors file: '),
    (b'\x04\0\0\0\0\0\0\0[1, ', 'not a safetensors file: '),
    (b'\x02\0\0\0\0\0\0\0[]', 'not a safetensors file: '),
    (b'\x0b\0\0\0\0\0\0\0{"a": null}', 'not a safetensors file: '),
    (b'\xff' * 64, 'not a safetensors file: its header would have 18446744073709551615 bytes'),
])
def test_weights_that_do_not_fit_are_refused_and_leave_nothing(
        tmp_path: Path, weights: bytes, reason: str) -> None:
    folder = tmp_path / 'model'
    files = {'model.onnx': GRAPH, 'weights.safetensors': weights}
    message = refusal(lambda: write_bundle(folder, small_card(), files))
    assert message.startswith(f'{folder}/weights.safetensors: {reason}')
    assert not list(tmp_path.iterdir())


def test_weights_of_no_network_are_refused(bundle: Bundle) -> None:
    edit(bundle, 'network', ...)
    assert refusal(lambda: read_bundle(bundle.folder)).endswith(
        'weights.safetensors: present, but model.yaml does not say which network it is for')


# Cards that are none


@pytest.mark.parametrize(('text', 'reason'), [
    (b'', 'the card must be a mapping, not nothing'),
    (b'[1, 2]', 'the card must be a mapping, not a list'),
    (b'only words', 'the card must be a mapping, not a text'),
    (b'{schema: 1', 'not YAML: '),
    (b'schema: 1\n\tname: x', 'not YAML: '),
    (b'name: \xff\xfe', 'not YAML: '),
    (b'name: \0', 'not YAML: '),
    (b'name: 2024-13-45', 'not YAML: '),
    (b'name: !!bool perhaps', 'not YAML: '),
    (b'name: !!int ""', 'not YAML: '),
    (b'name: !!timestamp x', 'not YAML: '),
    (b'[' * 20000, 'not YAML: '),
])
def test_cards_that_are_no_mapping_are_refused(
        bundle: Bundle, text: bytes, reason: str) -> None:
    path = bundle.folder / 'model.yaml'
    path.write_bytes(text)
    assert refusal(lambda: read_bundle(bundle.folder)).startswith(f'{path}: {reason}')


@pytest.mark.parametrize('tag', [
    '!!python/object/apply:os.mkdir [{made}]', '!!python/object/new:os.mkdir [{made}]',
    '!!python/name:os.mkdir', '!!python/module:this'])
def test_nothing_in_a_card_is_executed(bundle: Bundle, tag: str) -> None:
    path, made = bundle.folder / 'model.yaml', bundle.folder / 'made'
    path.write_text(path.read_text(encoding='utf-8') + f'evil: {tag.format(made=made)}\n',
                    encoding='utf-8')
    assert 'model.yaml: not YAML: could not determine a constructor' in refusal(
        lambda: read_bundle(bundle.folder))
    assert not made.exists()


# Fields that are wrong


@pytest.mark.parametrize(('field', 'value', 'reason'), [
    ('schema', 2, 'schema 2 is newer than this version of prune_perception reads; update it'),
    ('schema', 0, 'schema 0 is unknown (this one reads 1)'),
    ('schema', '1', 'schema must be an integer, not a text'),
    ('schema', True, 'schema must be an integer, not bool'),
    ('schema', ..., 'schema is missing'),
    ('task', 'segmentation', "task is 'segmentation'; known are detection"),
    ('name', 3, 'name must be a text, not an integer'),
    ('name', ' ', 'name is empty'),
    ('name', ..., 'name is missing'),
    ('class_names', 'person', 'class_names must be a list, not a text'),
    ('class_names', [], 'class_names must be a list of names, at least one'),
    ('class_names', ['person', 1], 'class_names must be a list of names'),
    ('class_names', ['person', ''], 'class_names must be a list of names'),
    ('class_names', ['person', 'dog', 'person'], 'class_names has a name twice'),
    ('input', [32, 64], 'input must be a mapping, not a list'),
    ('input', ..., 'input is missing'),
    ('input/height', 0, 'input.height is 0; it must lie between 1 and 16384'),
    ('input/width', 16385, 'input.width is 16385; it must lie'),
    ('input/width', '64', 'input.width must be an integer, not a text'),
    ('input/width', 64.0, 'input.width must be an integer, not a number'),
    ('input/width', True, 'input.width must be an integer, not bool'),
    ('input/colour_order', 'gbr', "input.colour_order is 'gbr'; known are bgr, rgb"),
    ('input/resize', 1, 'input.resize must be a text, not an integer'),
    ('input/resize', 'crop', "input.resize is 'crop'; known are stretch, letterbox, centre_crop"),
    ('input/placement', 3, 'input.placement must be a text, not an integer'),
    ('input/placement', 'left', "input.placement is 'left'; known are centre, top_left"),
    ('input/placement', 'top_left',
     "input.placement is of a letterbox, and input.resize is 'stretch'; leave it out"),
    ('input/placement', 'centre', 'input.placement is of a letterbox'),
    ('input/padding', [0, 0, 0], 'input.padding is of a letterbox, and input.resize is'),
    ('input/padding', 114, 'input.padding must be a list, not an integer'),
    ('input/padding', [114], 'input.padding must be three integers from 0 to 255, not [114]'),
    ('input/padding', [1, 2, 256], 'input.padding must be three integers from 0 to 255'),
    ('input/padding', [1, -2, 3], 'input.padding must be three integers from 0 to 255'),
    ('input/padding', [1, 2, 3.5], 'input.padding must be three integers from 0 to 255'),
    ('input/padding', [1, 2, True], 'input.padding must be three integers from 0 to 255'),
    ('input/mean', 5, 'input.mean must be a list, not an integer'),
    ('input/mean', [1, 2], 'input.mean must be three numbers, not [1, 2]'),
    ('input/mean', [1, 2, 'x'], 'input.mean must be three numbers'),
    ('input/mean', [1, 2, True], 'input.mean must be three numbers'),
    ('input/mean', [1, 2, float('inf')], 'input.mean must be three numbers'),
    ('input/std', [float('nan'), 1, 1], 'input.std must be three numbers'),
    ('input/std', [1, 10 ** 400, 1], 'input.std must be three numbers'),
    ('input/std', [1.0, 0.0, 1.0], 'input.std must be above 0, not [1.0, 0.0, 1.0]'),
    ('outputs', {}, 'outputs must be a list, not a mapping'),
    ('outputs', [], 'outputs is empty'),
    ('outputs/0', 'fine', 'outputs[0] must be a mapping, not a text'),
    ('outputs/1/name', None, 'outputs[1].name is missing'),
    ('outputs/1/shape', [1, 0, 4], 'outputs[1].shape must be a list of integers above 0'),
    ('outputs/1/shape', [1, True], 'outputs[1].shape must be a list of integers above 0'),
    ('outputs/1/shape', [], 'outputs[1].shape must be a list of integers above 0'),
    ('outputs/1/shape', ['x'] * 9999, 'outputs[1].shape must be a list of integers above 0'),
    ('decoder', ..., 'decoder is missing'),
    ('decoder/name', ['nanodet'], 'decoder.name must be a text, not a list'),
    ('decoder/settings', [8, 16], 'decoder.settings must be a mapping, not a list'),
    ('network', 'small', 'network must be a mapping, not a text'),
    ('network/name', ..., 'network.name is missing'),
    ('network/widths', [[4, 3]], 'network.widths must be a mapping, not a list'),
    ('network/widths/first', [4], 'network.widths.first must be two integers, not [4]'),
    ('network/widths/first', [4, 0], 'network.widths.first must be a list of integers above 0'),
    ('network/widths/first', '4x3', 'network.widths.first must be a list of integers above 0'),
    ('network/widths/two\nlines', 4, 'network.widths.two lines must be a list of integers'),
    ('network/settings', 2, 'network.settings must be a mapping, not an integer'),
    ('provenance', 'me', 'provenance must be a mapping, not a text'),
    ('provenance/command', ..., 'provenance.command is missing'),
    ('provenance/tool_version', 0.1, 'provenance.tool_version must be a text, not a number'),
    ('provenance/parent', 12, 'provenance.parent must be a text, not an integer'),
    ('provenance/seed', '7', 'provenance.seed must be an integer, not a text'),
    ('licence', ..., 'licence is missing'),
    ('attribution', '', 'attribution is empty'),
    ('energy', [1], 'energy must be a mapping, not a list'),
    ('energy', {'chip': {}}, 'energy.chip.word_bits is missing'),
    ('energy', {'chip': {'word_bits': 8, 'batch': 1, 'total': {'energy_uj': 'two'}}},
     'energy.chip.total.energy_uj must be a number, not a text'),
    ('measured', {'ap': 0.3}, 'measured must be a list, not a mapping'),
    ('measured', [{'ap': 0.3}, 0.3], 'measured[1] must be a mapping, not a number'),
    ('certificate', 'yes', 'certificate must be a mapping, not a text'),
    ('files', [], 'files must be a mapping, not a list'),
    ('files', ..., 'files is missing'),
    ('files', {}, 'files does not list model.onnx'),
    ('files/model.onnx', 'abc', 'files.model.onnx is not a SHA-256 in hexadecimal'),
    ('files/model.onnx', 'AB' * 32, 'files.model.onnx is not a SHA-256 in hexadecimal'),
    ('files/model.onnx', 5, 'files.model.onnx is not a SHA-256 in hexadecimal'),
])
def test_wrong_fields_are_refused(
        bundle: Bundle, field: str, value: Any, reason: str) -> None:
    edit(bundle, field, value)
    message = refusal(lambda: read_bundle(bundle.folder))
    assert message.startswith(f'{bundle.folder}/model.yaml: {reason}')


@pytest.mark.parametrize('name', [
    '../secret', '..', '.', '/etc/passwd', 'sub/model.onnx', 'a\\..\\b', '.hidden', '', 'a\nb',
    'model.onnx\n', 5])
def test_names_that_leave_the_folder_are_refused(
        bundle: Bundle, name: str, tmp_path: Path) -> None:
    (tmp_path / 'secret').write_text('secret')
    path = bundle.folder / 'model.yaml'
    card = yaml.safe_load(path.read_text(encoding='utf-8'))
    card['files'][name] = sha256(b'secret')
    path.write_text(yaml.safe_dump(card), encoding='utf-8')
    assert refusal(lambda: read_bundle(bundle.folder)) == (
        f'{path}: files names {name!r}, which is not a plain file name')


# Reading a file for use


def test_files_are_checked_again_when_they_are_used(bundle: Bundle) -> None:
    path = bundle.folder / 'model.onnx'
    assert bundle.read_file('model.onnx') == GRAPH
    path.write_bytes(b'something else')
    assert refusal(lambda: bundle.read_file('model.onnx')).startswith(
        f'{path}: has changed or is incomplete')
    path.unlink()
    assert refusal(lambda: bundle.read_file('model.onnx')) == f'{path}: no such file or directory'


@pytest.mark.parametrize('name', ['model.yaml', 'notes.txt', '../model/model.onnx'])
def test_only_files_of_the_card_are_read(bundle: Bundle, name: str) -> None:
    (bundle.folder / 'notes.txt').write_text('a note')
    assert 'not in this bundle (model.yaml does not list it)' in refusal(
        lambda: bundle.read_file(name))


# Writing


def test_existing_folders_are_refused_without_a_word(bundle: Bundle) -> None:
    before = listing(bundle.folder)
    message = refusal(lambda: write_bundle(bundle.folder, small_card(name='new'), FILES))
    assert message.startswith(f'{bundle.folder}: exists already')
    assert listing(bundle.folder) == before


def test_a_bundle_is_replaced_when_asked(bundle: Bundle) -> None:
    (bundle.folder / 'notes.txt').write_text('of the old one')
    files = {'model.onnx': b'another graph'}
    new = write_bundle(bundle.folder, small_card(name='new'), files, overwrite=True)
    assert new.card.name == 'new'
    assert sorted(listing(bundle.folder.parent)) == ['model/model.onnx', 'model/model.yaml']


def test_only_bundles_and_empty_folders_are_replaced(tmp_path: Path) -> None:
    foreign, empty, file = tmp_path / 'foreign', tmp_path / 'empty', tmp_path / 'file'
    foreign.mkdir()
    empty.mkdir()
    (foreign / 'thesis.tex').write_text('years of work')
    file.write_text('text')
    for path, reason in ((foreign, 'holds files but no bundle'), (file, 'is a file')):
        message = refusal(partial(write_bundle, path, small_card(), FILES, overwrite=True))
        assert message.startswith(f'{path}: {reason}; it is not replaced')
    write_bundle(empty, small_card(), FILES, overwrite=True)
    assert listing(foreign) == {'thesis.tex': b'years of work'}
    assert file.read_text() == 'text'
    assert sorted(path.name for path in tmp_path.iterdir()) == ['empty', 'file', 'foreign']


@pytest.mark.parametrize('name', ['../evil', '/tmp/evil', '.evil', 'a/b'])
def test_names_that_leave_the_folder_are_not_written(tmp_path: Path, name: str) -> None:
    parent = tmp_path / 'parent'
    message = refusal(
        lambda: write_bundle(parent / 'model', small_card(), {**FILES, name: b'evil'}))
    assert message == f'{parent}/model: {name!r} is not a plain file name'
    assert not list(tmp_path.iterdir())


def test_a_bundle_without_graph_is_not_written(tmp_path: Path) -> None:
    message = refusal(lambda: write_bundle(tmp_path / 'model', small_card(), {}))
    assert message == f'{tmp_path}/model/model.yaml: files does not list model.onnx'
    assert not list(tmp_path.iterdir())


def test_values_that_yaml_does_not_hold_are_refused(tmp_path: Path) -> None:
    card = small_card(decoder=DecoderSpec('nanodet', {'bins': np.int64(3)}))
    message = refusal(lambda: write_bundle(tmp_path / 'model', card, FILES))
    assert message.startswith(f'{tmp_path}/model/model.yaml: cannot be written as plain YAML')
    assert not list(tmp_path.iterdir())


def failing(after: int, error: BaseException) -> Callable[..., None]:
    """Return what does nothing for some calls and then raises."""
    calls = iter([None] * after)

    def act(*_: object) -> None:
        if next(calls, error) is error:
            raise error
    return act


def broken_rename(monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException) -> None:
    """Let one call of Path.rename fail."""
    original, calls = Path.rename, iter(range(1, 100))

    def rename(self: Path, target: Path) -> Path:
        if next(calls) == number:
            raise error
        return original(self, target)

    monkeypatch.setattr(Path, 'rename', rename)


@pytest.mark.parametrize('written', [0, 1, 2])
@pytest.mark.parametrize('old', [False, True])
def test_a_full_disk_leaves_what_was_there(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int, old: bool) -> None:
    folder = tmp_path / 'model'
    if old:
        write_bundle(folder, small_card(), FILES)
    before = listing(tmp_path)
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr('os.fsync', failing(written, full))
    message = refusal(
        lambda: write_bundle(folder, small_card(name='new'), FILES, overwrite=True))
    assert message == f'{folder}: cannot be written: no space left on device'
    assert listing(tmp_path) == before
    assert len(list(tmp_path.iterdir())) == old


def test_an_interruption_leaves_what_was_there(
        bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    before = listing(bundle.folder.parent)
    monkeypatch.setattr('os.fsync', failing(1, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        write_bundle(bundle.folder, small_card(name='new'), FILES, overwrite=True)
    assert listing(bundle.folder.parent) == before
    assert len(list(bundle.folder.parent.iterdir())) == 1


@pytest.mark.parametrize('number', [1, 2])
@pytest.mark.parametrize('error', [PermissionError(errno.EPERM, 'Not so'), KeyboardInterrupt()])
def test_a_failed_exchange_brings_the_old_bundle_back(
        bundle: Bundle, monkeypatch: pytest.MonkeyPatch, number: int,
        error: BaseException) -> None:
    broken_rename(monkeypatch, number, error)
    with pytest.raises((BundleError, KeyboardInterrupt)):
        write_bundle(bundle.folder, small_card(name='new'), FILES, overwrite=True)
    assert read_bundle(bundle.folder) == bundle
    assert len(list(bundle.folder.parent.iterdir())) == 1


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('in the way')
    folder = tmp_path / 'file' / 'model'
    assert refusal(lambda: write_bundle(folder, small_card(), FILES)).startswith(
        f'{folder}: cannot be written: ')


# What a graph declares


IMAGE = {'image': [1, 32, 64, 3]}
MAPS = {'fine': [1, 14, 4, 8], 'coarse': [1, 14, 2, 4]}


def check(inputs: dict[str, list[Any]], outputs: dict[str, list[Any]], uint8: bool = True) -> None:
    check_signature(Path('model.onnx'), small_card(), inputs, outputs, takes_uint8=uint8)


@pytest.mark.parametrize(('inputs', 'outputs'), [
    (IMAGE, MAPS), ({'x': ['batch', 32, 64, 3]}, MAPS), ({'x': [None, -1, 64, 3]}, MAPS),
    (IMAGE, {'extra': [7], **MAPS}), (IMAGE, {**MAPS, 'coarse': [1, 14, '?', '?']})])
def test_graphs_that_fit_are_accepted(
        inputs: dict[str, list[Any]], outputs: dict[str, list[Any]]) -> None:
    check(inputs, outputs)


@pytest.mark.parametrize(('inputs', 'outputs', 'uint8', 'reason'), [
    ({'x': [1, 64, 32, 3]}, MAPS, True,
     "input 'x' is [1, 64, 32, 3], model.yaml says [1, 32, 64, 3] (uint8, NHWC)"),
    ({'x': ['n', 3, 32, 64]}, MAPS, True, "input 'x' is ['n', 3, 32, 64]"),
    ({'x': [32, 64, 3]}, MAPS, True, "input 'x' is [32, 64, 3]"),
    (IMAGE, MAPS, False, "input 'image' is not uint8"),
    ({**IMAGE, 'size': [2]}, MAPS, True, 'has 2 inputs; a bundle has one'),
    ({}, MAPS, True, 'has 0 inputs'),
    (IMAGE, {'fine': [1, 14, 4, 8]}, True,
     "has no output 'coarse', which model.yaml names; it has fine"),
    (IMAGE, {**MAPS, 'coarse': [1, 13, 2, 4]}, True,
     "output 'coarse' is [1, 13, 2, 4], model.yaml says [1, 14, 2, 4]"),
])
def test_graphs_that_do_not_fit_are_refused(
        inputs: dict[str, list[Any]], outputs: dict[str, list[Any]], uint8: bool,
        reason: str) -> None:
    assert refusal(lambda: check(inputs, outputs, uint8)).startswith(f'model.onnx: {reason}')


# Nothing is unpickled


def unsafe(source: str) -> list[str]:
    """Return what in a Python source could unpickle or run what a file holds."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(str(node.module))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            options = {item.arg: ast.unparse(item.value) for item in node.keywords}
            call = ast.unparse(node.func)
            if (call == 'torch.load' and options.get('weights_only') != 'True'
                    or call in ('yaml.load', 'yaml.load_all', 'yaml.unsafe_load', 'yaml.full_load')
                    or options.get('allow_pickle', 'False') != 'False'):
                found.append(f'{call}()')
    return [name for name in found if name.endswith('()') or name.partition('.')[0] in {
        'pickle', '_pickle', 'cloudpickle', 'dill', 'joblib', 'marshal', 'shelve'}]


@pytest.mark.parametrize('source', [
    'import pickle', 'from pickle import loads', 'import torch\ntorch.load(path)',
    'import torch\ntorch.load(path, weights_only=False)', 'np.load(path, allow_pickle=True)',
    'yaml.load(text, yaml.Loader)', 'import joblib'])
def test_the_search_finds_what_it_looks_for(source: str) -> None:
    assert unsafe(source)


def test_nothing_in_the_package_unpickles() -> None:
    sources = list(PACKAGE.rglob('*.py'))
    assert len(sources) > 30
    for path in sources:
        assert not unsafe(path.read_text(encoding='utf-8')), path


def test_a_place_that_takes_no_folder_is_found_beforehand(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the rights would allow it, as root's do in /proc."""
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    check_place(tmp_path / 'deep/out')
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(tempfile, 'mkdtemp', refuse)
    with pytest.raises(BundleError, match='can be written to .read-only file system.$'):
        check_place(tmp_path / 'out')
