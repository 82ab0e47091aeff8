# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Files that nobody vouches for: one line, nothing run, nothing written."""

from collections.abc import Callable
import contextlib
import os
from pathlib import Path
import pickle
import sys
import types
from typing import Any

import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('torch_pruning')
onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

from foreign_networks import CLASSES, HEIGHT, WIDTH, WORDS, write_names  # noqa: E402
from onnx import helper, TensorProto  # noqa: E402
import safetensors.torch  # noqa: E402

from prune_perception.cli import import_network as verb  # noqa: E402
from prune_perception.cli.main import main  # noqa: E402
from prune_perception.networks.imported import onnx_file  # noqa: E402

FACTORY = """
from pathlib import Path
import torch
from torch import nn

Path({mark!r}).touch()


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 8, 8)
        self.fine = nn.Conv2d(8, 14, 1)
        self.coarse = nn.Conv2d(8, 14, 1, 2)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        return {{'fine': self.fine(x), 'coarse': self.coarse(x)}}


def small():
    torch.manual_seed(0)
    return Small()


def nothing():
    return 5


def broken():
    raise ValueError('a line\\nand another')
"""


class Malicious:
    """What a pickle runs when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.mark),))


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verb, '_pictures', lambda _: [])


def refused(folder: Path, source: object, capsys: pytest.CaptureFixture[str],
            *others: str) -> str:
    """Import what cannot be, and return the one line without what comes before the reason."""
    names = write_names(folder)
    before = sorted(folder.rglob('*'))
    assert main(['import', str(source), '--classes', str(names), *WORDS, *others,
                 '-o', str(folder / 'out')]) == 1
    printed = capsys.readouterr()
    assert printed.out == ''
    lines = [line for line in printed.err.splitlines() if not line.startswith('  ')]
    assert len(lines) == 1, printed.err
    assert sorted(folder.rglob('*')) == before, 'something was left'
    return lines[0].removeprefix('prune-perception import: ')


def small_model(**changes: Any) -> onnx.ModelProto:
    """Return a convolution whose weight is 4 x 3 x 1 x 1."""
    weight = helper.make_tensor('w', TensorProto.FLOAT, [14, 3, 1, 1], bytes(4 * 42), raw=True)
    graph = helper.make_graph(
        [helper.make_node('Conv', ['x', 'w'], ['y'])], 'small',
        [helper.make_tensor_value_info('x', TensorProto.FLOAT, [1, 3, HEIGHT, WIDTH])],
        [helper.make_tensor_value_info('y', TensorProto.FLOAT, None)], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], **changes)


def declared_large(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [50_000, 50_000, 1, 1]


def no_numbers(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].ClearField('raw_data')


def negative(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [-14, -3, 1, 1]


def negative_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = -64


def outside(model: onnx.ModelProto) -> None:
    external(model, '../secret.bin')


def absolute(model: onnx.ModelProto) -> None:
    external(model, '/etc/hostname')


def linked(model: onnx.ModelProto) -> None:
    external(model, 'link.bin')


def missing(model: onnx.ModelProto) -> None:
    external(model, 'missing.bin')


def external(model: onnx.ModelProto, location: str) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField('raw_data')
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key='location', value=location)


def endless(model: onnx.ModelProto) -> None:
    external(model, 'endless.bin')


def waiting(model: onnx.ModelProto) -> None:
    external(model, 'pipe.bin')


def a_folder(model: onnx.ModelProto) -> None:
    external(model, '.')


def at(model: onnx.ModelProto, **where: str) -> None:
    """Let the weight, of 168 bytes, lie somewhere in a file of 200."""
    external(model, 'weights.bin')
    for key, value in where.items():
        model.graph.initializer[0].external_data.add(key=key, value=value)


def offset_beyond(model: onnx.ModelProto) -> None:
    at(model, offset='33')


def offset_far_beyond(model: onnx.ModelProto) -> None:
    at(model, offset='9' * 30)


def offset_negative(model: onnx.ModelProto) -> None:
    at(model, offset='-8')


def offset_no_number(model: onnx.ModelProto) -> None:
    at(model, offset='8 bytes')


def length_beyond(model: onnx.ModelProto) -> None:
    at(model, length='201')


def length_negative(model: onnx.ModelProto) -> None:
    at(model, length='-168')


def length_short(model: onnx.ModelProto) -> None:
    at(model, length='164')


def sparse(model: onnx.ModelProto) -> None:
    """A weight of which only the numbers that are not zero are there."""
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(
        helper.make_tensor('s', TensorProto.FLOAT, [1], [1.0]),
        helper.make_tensor('', TensorProto.INT64, [1], [7]), [50_000, 50_000]))


def sparse_constant(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node('Add', ['y', 's'], ['z']))
    model.graph.node.insert(0, helper.make_node(
        'Constant', [], ['s'], 'zeros', sparse_value=helper.make_sparse_tensor(
            helper.make_tensor('', TensorProto.FLOAT, [1], [1.0]),
            helper.make_tensor('', TensorProto.INT64, [1], [7]), [50_000, 50_000])))
    model.graph.output[0].name = 'z'


def small_integers(model: onnx.ModelProto) -> None:
    """Two numbers in a byte, of a weight that nothing takes."""
    model.graph.initializer.append(TensorProto(
        name='i', data_type=TensorProto.INT4, dims=[3, 3], raw_data=bytes(5)))


def small_floats(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_type, tensor.raw_data = TensorProto.FLOAT8E4M3FN, bytes(42)


def half_of_bfloat16(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_type, tensor.raw_data = TensorProto.BFLOAT16, bytes(83)


def expands(model: onnx.ModelProto) -> None:
    """A kilobyte that asks for ten gigabytes, as a constant."""
    model.graph.node.insert(0, helper.make_node('ConstantOfShape', ['size'], ['big']))
    model.graph.node.append(helper.make_node('Add', ['y', 'big'], ['z']))
    model.graph.initializer.append(helper.make_tensor(
        'size', TensorProto.INT64, [4], [1, 14, 10_000, 20_000]))
    model.graph.output[0].name = 'z'


def tiles(model: onnx.ModelProto) -> None:
    """Likewise, as a value that comes from the image."""
    model.graph.node.append(helper.make_node('Tile', ['y', 'times'], ['z']))
    model.graph.initializer.append(helper.make_tensor(
        'times', TensorProto.INT64, [4], [1, 1000, 100, 100]))
    model.graph.output[0].name = 'z'


def pads(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.append(
        helper.make_attribute('pads', [100_000, 100_000, 100_000, 100_000]))


def circle(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[0] = 'y'


def huge(model: onnx.ModelProto) -> None:
    model.graph.node.extend(
        helper.make_node('Relu', ['y'], [f'r{number}']) for number in range(50_001))


def with_code(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node('PyOp', ['y'], ['z'], domain='com.somebody'))
    model.graph.output[0].name = 'z'


def texts(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(helper.make_tensor('t', TensorProto.STRING, [1], ['a']))


def two_inputs(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info('more', TensorProto.FLOAT, [1]))


def functions(model: onnx.ModelProto) -> None:
    model.functions.append(helper.make_function(
        'own', 'F', ['a'], ['b'], [], [helper.make_opsetid('', 17)]))


def many_constants(model: onnx.ModelProto) -> None:
    """Each small enough for itself: three times a quarter of a gigabyte."""
    model.graph.initializer.append(helper.make_tensor(
        'size', TensorProto.INT64, [3], [1000, 200, 300]))
    for number in range(3):
        model.graph.node.insert(0, helper.make_node('ConstantOfShape', ['size'], [f'b{number}']))
        model.graph.node.append(helper.make_node('ReduceMax', [f'b{number}'], [f'm{number}']))
        model.graph.node.append(helper.make_node(
            'Add', [f'z{number - 1}' if number else 'y', f'm{number}'], [f'z{number}']))
    model.graph.output[0].name = 'z2'


def the_same_bytes_often(model: onnx.ModelProto) -> None:
    """Tensors that all lie in one file, which has no storage either."""
    external(model, 'sparse.bin')
    model.graph.initializer[0].dims[:] = [1 << 26]
    for number in range(4):
        model.graph.initializer.append(model.graph.initializer[0])
        model.graph.initializer[-1].name = f'w{number}'


def constant_of_nothing(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node('Constant', [], [], 'nothing', value_float=1.0))


def made_twice(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node('Relu', ['y'], ['y'], 'again'))


def makes_a_weight(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node('Relu', ['y'], ['w'], 'again'))


def weights_twice(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(model.graph.initializer[0])


REASONS: list[tuple[Callable[[onnx.ModelProto], None], str]] = [
    (declared_large, "tensor 'w' is declared as [50000, 50000, 1, 1], and has 168 bytes for it"),
    (no_numbers, "tensor 'w' is declared as [14, 3, 1, 1], and has 0 numbers for it"),
    (negative, "tensor 'w' has a negative side: [-14, -3, 1, 1]"),
    (negative_input, "'x' has a side of -64"),
    (outside, "weight 'w' lies in '../secret.bin', outside the folder of the model"),
    (absolute, "weight 'w' lies in '/etc/hostname', outside the folder of the model"),
    (linked, "weight 'w' lies in 'link.bin', outside the folder of the model"),
    (missing, "missing.bin: no such file or directory, though model.onnx names it for 'w'"),
    (endless, "weight 'w' lies in 'endless.bin', outside the folder of the model"),
    (waiting, "pipe.bin: not an ordinary file, though model.onnx names it for 'w'"),
    (a_folder, "not an ordinary file, though model.onnx names it for 'w'"),
    (offset_beyond, 'weights.bin: shorter than 201 bytes, which model.onnx wants for'),
    (offset_far_beyond, 'weights.bin: shorter than 1000000000000000000000000000167 bytes'),
    (offset_negative, 'which is 168 bytes, and has 168 from byte -8 of weights.bin'),
    (offset_no_number, "weight 'w': invalid literal for int() with base 10: '8 bytes'"),
    (length_beyond, 'which is 168 bytes, and has 201 from byte 0 of weights.bin'),
    (length_negative, 'which is 168 bytes, and has -168 from byte 0 of weights.bin'),
    (length_short, 'which is 168 bytes, and has 164 from byte 0 of weights.bin'),
    (sparse, 'has sparse weights, which are not read'),
    (sparse_constant, "node 'zeros' is a constant without numbers"),
    (small_integers, "tensor 'i' holds numbers of int4, which are not read; of a quantised netw"),
    (small_floats, "tensor 'w' holds numbers of float8e4m3fn, which are not read"),
    (half_of_bfloat16, "tensor 'w' is declared as [14, 3, 1, 1], and has 83 bytes for it"),
    (expands, '(ConstantOfShape) would make [1, 14, 10000, 20000], 2.8e+09 numbers'),
    (tiles, '(Tile) would make [1, 14000, 6400, 9600], 8.6e+11 numbers'),
    (pads, '(Conv) would make [1, 14, 200064, 200096], 5.6e+11 numbers'),
    (circle, "node 'Conv_0' takes 'y', which nothing before it makes"),
    (huge, 'has 50002 nodes; at most 50000 are read'),
    (with_code, 'operators that cannot be converted: com.somebody.PyOp'),
    (texts, "tensor 't' holds texts, not numbers"),
    (two_inputs, 'has 2 inputs (x, more); a detector has one, the image'),
    (many_constants, '(ConstantOfShape) would make more than 1.34e+08 numbers together with'),
    (the_same_bytes_often, 'its weights in other files are 1.34e+09 bytes together'),
    (constant_of_nothing, "node 'nothing' makes nothing"),
    (made_twice, "node 'again' makes 'y', which is there already"),
    (makes_a_weight, "node 'again' makes 'w', which is there already"),
    (weights_twice, "has two weights called 'w'"),
    (functions, 'has functions of its own (F, …)')]


@pytest.mark.parametrize(('change', 'reason'), REASONS, ids=lambda value: getattr(
    value, '__name__', ''))
def test_graphs(change: Callable[[onnx.ModelProto], None], reason: str, tmp_path: Path,
                capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'secret.bin').write_bytes(bytes(168))
    folder = tmp_path / 'folder'
    folder.mkdir()
    (folder / 'link.bin').symlink_to(tmp_path / 'secret.bin')
    (folder / 'endless.bin').symlink_to('/dev/zero')
    (folder / 'weights.bin').write_bytes(bytes(200))
    os.mkfifo(folder / 'pipe.bin')  # nobody writes to it: opened, it would wait for ever
    with (folder / 'sparse.bin').open('wb') as file:
        file.truncate(1 << 28)
    model = small_model()
    change(model)
    (folder / 'model.onnx').write_bytes(model.SerializeToString())
    assert reason in refused(folder, folder / 'model.onnx', capsys)


@pytest.mark.parametrize(('content', 'reason'), [
    (b'', 'not an ONNX file: it has no graph'),
    (b'PK\x03\x04' + bytes(100), 'not an ONNX file'),
    (b'\x3a\xff\xff\xff\xff\x0f', 'not an ONNX file'),
    (None, 'no such file or directory')])
def test_no_graphs(content: bytes | None, reason: str, tmp_path: Path,
                   capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / 'model.onnx'
    if content is not None:
        path.write_bytes(content)
    assert refused(tmp_path, path, capsys).startswith(f'{path}: {reason}')


@pytest.mark.parametrize(('target', 'reason'), [
    ('/dev/zero', 'not an ordinary file'), ('pipe', 'not an ordinary file'),
    ('.', 'not an ordinary file'), ('model.onnx', 'too many levels of symbolic links')])
def test_what_would_never_end(target: str, reason: str, tmp_path: Path,
                              capsys: pytest.CaptureFixture[str]) -> None:
    """A device has no end, and a pipe waits for somebody who writes."""
    os.mkfifo(tmp_path / 'pipe')
    (tmp_path / 'model.onnx').symlink_to(target)
    assert refused(tmp_path, tmp_path / 'model.onnx', capsys) == (
        f'{tmp_path}/model.onnx: {reason}')


def test_a_file_of_more_than_the_format_holds_is_not_read(
        tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
        ) -> None:
    path = tmp_path / 'model.onnx'
    path.write_bytes(small_model().SerializeToString())
    os.truncate(path, (2 << 30) + 1)
    monkeypatch.setattr(onnx_file, 'opened', lambda file: contextlib.nullcontext(
        (types.SimpleNamespace(read=lambda _: pytest.fail('was read')), file.stat().st_size)))
    assert refused(tmp_path, path, capsys) == (
        f'{path}: larger than 2 GiB, which no ONNX file is')


def test_branches_within_branches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Deeper than a parser should follow; put together by hand, as no library does it."""
    def part(number: int, content: bytes) -> bytes:
        length, rest = b'', len(content)
        while rest > 127:
            length, rest = length + bytes([rest & 127 | 128]), rest >> 7
        return bytes([number << 3 | 2]) + length + bytes([rest]) + content

    graph = b''
    for _ in range(2000):
        graph = part(1, part(4, b'If') + part(5, part(6, graph)))
    path = tmp_path / 'model.onnx'
    path.write_bytes(part(7, graph) + part(8, b'\x10\x11'))
    assert refused(tmp_path, path, capsys).startswith(f'{path}: not an ONNX file')


def test_a_file_cut_short(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = small_model().SerializeToString()
    path = tmp_path / 'model.onnx'
    for length in (len(data) // 4, len(data) // 2, len(data) - 3):
        path.write_bytes(data[:length])
        assert str(path) in refused(tmp_path, path, capsys)


def test_external_weights_beside_the_file_are_read(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = small_model()
    external(model, 'weights.bin')
    (tmp_path / 'model.onnx').write_bytes(model.SerializeToString())
    (tmp_path / 'weights.bin').write_bytes(bytes(168))
    # It is read: what is wrong comes after it, a map of stride 1.
    assert '1 outputs' in refused(tmp_path, tmp_path / 'model.onnx', capsys)


@pytest.fixture
def factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a module; running it leaves the folder ``ran``."""
    name = f'foreign_{abs(hash(str(tmp_path)))}'
    (tmp_path / f'{name}.py').write_text(FACTORY.format(mark=str(tmp_path / 'ran')))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr('sys.dont_write_bytecode', True)
    return name


SIZE = ('--input', f'{WIDTH}x{HEIGHT}')


def test_code_is_not_run_without_leave(
        factory: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(tmp_path, f'{factory}:small', capsys, *SIZE)
    assert f'{factory}:small is code' in line and 'say --allow-code' in line
    assert not (tmp_path / 'ran').exists()


def test_a_file_of_the_current_folder_is_no_library(
        tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
        ) -> None:
    (tmp_path / 'wave.py').write_text('raise ValueError("shadows the library")')
    (tmp_path / 'beside_a_wave.py').write_text(
        'import wave\n\ndef nothing():\n    return wave.__file__')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('sys.path', list(sys.path))
    monkeypatch.setattr('sys.dont_write_bytecode', True)
    monkeypatch.delitem(sys.modules, 'wave', raising=False)
    assert 'returned a str, not a torch module' in refused(
        tmp_path, 'beside_a_wave:nothing', capsys, *SIZE, '--allow-code')


@pytest.mark.parametrize(('function', 'reason'), [
    ('nothing', 'returned a int, not a torch module'),
    ('broken', 'ValueError: a line and another'), ('absent', 'AttributeError: ')])
def test_code_that_makes_no_network(
        function: str, reason: str, factory: str, tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'ran').touch()
    assert f'{factory}:{function}: {reason}' in refused(
        tmp_path, f'{factory}:{function}', capsys, *SIZE, '--allow-code')


@pytest.mark.parametrize('kind', ['plain pickle', 'within torch'])
def test_a_pickle_with_code(kind: str, factory: str, tmp_path: Path,
                            capsys: pytest.CaptureFixture[str]) -> None:
    mark, path = tmp_path / 'owned', tmp_path / 'weights.pt'
    state = {'stem.weight': Malicious(mark)}
    if kind == 'plain pickle':
        path.write_bytes(pickle.dumps(state))
    else:
        torch.save(state, path)
    line = refused(tmp_path, f'{factory}:small', capsys, *SIZE, '--allow-code', '--checkpoint',
                   str(path))
    assert line.startswith(f'{path}: ') and ('could be code' in line or 'not a checkp' in line)
    assert not mark.exists() and not (tmp_path / 'ran').exists()
    with path.open('rb') as file:  # it would have
        if kind == 'plain pickle':
            pickle.load(file)
            assert mark.exists()


@pytest.mark.parametrize(('name', 'content', 'reason'), [
    ('weights.safetensors', b'\xff' * 8 + b'{}', 'not a safetensors file'),
    ('weights.safetensors', (120).to_bytes(8, 'little') + (
        b'{"stem.weight":{"dtype":"F32","shape":[50000,50000],"data_offsets":[0,10000000000]}}'
        .ljust(120)), 'not a safetensors file'),
    ('weights.pt', b'nothing', ''), ('weights.pt', None, 'no such file or directory'),
    ('weights.pt', 'pipe', 'not an ordinary file')])
def test_broken_checkpoints(name: str, content: bytes | str | None, reason: str, factory: str,
                            tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / name
    if content == 'pipe':
        os.mkfifo(path)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    line = refused(tmp_path, f'{factory}:small', capsys, *SIZE, '--allow-code', '--checkpoint',
                   str(path))
    assert line.startswith(f'{path}: {reason}')
    assert not (tmp_path / 'ran').exists()


def test_a_checkpoint_of_another_network(
        factory: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'ran').touch()
    path = tmp_path / 'weights.safetensors'
    safetensors.torch.save_file({'stem.weight': torch.zeros(4, 3, 8, 8)}, path)
    line = refused(tmp_path, f'{factory}:small', capsys, *SIZE, '--allow-code', '--checkpoint',
                   str(path))
    assert f'does not fit the network of {factory}:small' in line and 'stem.bias' in line
    torch.save(5, path.with_suffix('.pt'))
    assert 'holds no state dict' in refused(
        tmp_path, f'{factory}:small', capsys, *SIZE, '--allow-code', '--checkpoint',
        str(path.with_suffix('.pt')))


@pytest.mark.parametrize('kind', ['safetensors', 'pt'])
def test_a_factory_and_its_checkpoint(
        kind: str, factory: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = {'stem.weight': torch.randn(8, 3, 8, 8), 'stem.bias': torch.randn(8),
             'fine.weight': torch.randn(14, 8, 1, 1), 'fine.bias': torch.randn(14),
             'coarse.weight': torch.randn(14, 8, 1, 1), 'coarse.bias': torch.randn(14)}
    path = tmp_path / f'weights.{kind}'
    if kind == 'pt':
        torch.save({'epoch': 3, 'state_dict': state}, path)
    else:
        safetensors.torch.save_file(state, path)
    assert main(['import', f'{factory}:small', '--checkpoint', str(path), '--allow-code', *SIZE,
                 '--classes', str(write_names(tmp_path)), *WORDS,
                 '-o', str(tmp_path / 'out')]) == 0
    from prune_perception.bundle import read_bundle
    from prune_perception.networks.registry import load_network
    bundle = read_bundle(tmp_path / 'out')
    found = load_network(bundle).state_dict()
    assert {name: tensor.shape for name, tensor in found.items()} == {
        name: tensor.shape for name, tensor in state.items()}
    for name, tensor in state.items():
        assert torch.equal(found[name], tensor.half().float()), name
    assert bundle.card.class_names == CLASSES
    capsys.readouterr()
