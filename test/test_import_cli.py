# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The verb import: what it asks for, and that the other verbs take what it makes."""

from collections.abc import Iterator
from dataclasses import replace
import json
from pathlib import Path
import re
import shutil

import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('torch_pruning')
onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
pytest.importorskip('pycocotools')

from blobs import HEIGHT, WIDTH  # noqa: E402
import foreign_networks as foreign  # noqa: E402
from prunable import _squares, CLASSES, write_footage  # noqa: E402

from prune_perception.bundle import BundleError, read_bundle  # noqa: E402
from prune_perception.cli import import_network as verb  # noqa: E402
from prune_perception.cli.main import main  # noqa: E402
from prune_perception.networks.imported.onnx_file import parse_onnx  # noqa: E402
from prune_perception.pruning import forecaster, pruner  # noqa: E402
from prune_perception.pruning.importing.description import (  # noqa: E402
    describe,
    read_class_names,
    Wanted,
)
from prune_perception.runtime.detector import Detector  # noqa: E402


@pytest.fixture(scope='module')
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder with the detector of squares, imported, and footage."""
    folder, threads = tmp_path_factory.mktemp('import'), torch.get_num_threads()
    torch.set_num_threads(1)
    (folder / 'squares.onnx').write_bytes(
        foreign.exported(_squares(), shape=(1, 3, HEIGHT, WIDTH)))
    (folder / 'names.txt').write_text('\n'.join(CLASSES))
    write_footage(folder / 'footage')
    assert main([
        'import', str(folder / 'squares.onnx'), '--classes', str(folder / 'names.txt'),
        '--resize', 'stretch', '--colour', 'bgr', '--mean', '0', '--std', '255', '--decoder',
        'nanodet', '--decoder-setting', 'strides=[8, 16]', '--decoder-setting', 'bins=3',
        '--data', str(folder / 'footage'), '--licence', 'Apache-2.0', '-o',
        str(folder / 'dense')]) == 0
    yield folder
    torch.set_num_threads(threads)


def test_it_sees_what_the_network_saw(place: Path) -> None:
    from prune_perception.frames.recording import open_recording
    bundle = read_bundle(place / 'dense')
    assert bundle.card.licence == 'Apache-2.0' and bundle.card.provenance.data is not None
    with open_recording(place / 'footage') as recording:
        image = next(iter(recording)).image()
    for engine in ('onnxruntime', 'torch'):
        found = Detector(bundle, engine=engine).detect(image).detections
        assert sorted(found.classes) == [0, 1]


@pytest.mark.parametrize(('words', 'wanted'), [
    ([], (None, None)),
    (['--placement', 'top_left', '--padding', '7'], ('top_left', (7, 7, 7))),
    (['--padding', '124,116,104'], (None, (124, 116, 104)))])
def test_how_a_letterbox_is_filled_is_said(
        words: list[str], wanted: tuple[object, object], place: Path, tmp_path: Path) -> None:
    assert main([
        'import', str(place / 'squares.onnx'), '--classes', str(place / 'names.txt'),
        *foreign.WORDS, '--resize', 'letterbox', *words, '-o', str(tmp_path / 'out')]) == 0
    fed = read_bundle(tmp_path / 'out').card.input
    assert (fed.resize, fed.placement, fed.padding) == ('letterbox', *wanted)


def test_profile(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['profile', str(place / 'dense'), '--json', str(place / 'account.json')]) == 0
    account = json.loads((place / 'account.json').read_text())
    assert [layer['name'] for layer in account['layers'] if layer['macs']] == [
        'first', 'second', 'third', 'fine', 'coarse']
    assert account['unknown_operators'] == []


def test_forecast(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = forecaster.forecast
    monkeypatch.setattr(forecaster, 'forecast', lambda request, progress: whole(
        replace(request, shares=(0.5, 0.2)), progress))
    assert main(['forecast', str(place / 'dense'), '--data', str(place / 'footage')]) == 0


def test_prune_and_evaluate(
        place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    # A network of some microseconds may be slower where something else runs beside.
    monkeypatch.setattr(pruner, '_LEAST_SPEEDUP', 0.0)
    assert main(['prune', str(place / 'dense'), '--data', str(place / 'footage'), '--classes',
                 'dog', '--steps', '2', '-o', str(place / 'pruned')]) == 0
    dense, small = read_bundle(place / 'dense'), read_bundle(place / 'pruned')
    assert small.card.network is not None and dense.card.network is not None
    assert small.card.network.name == dense.card.network.name
    assert small.card.network.widths['second'] < dense.card.network.widths['second']
    assert small.card.energy['eyeriss_65nm']['share_of_parent'] <= 0.25
    assert main(['prune', str(place / 'pruned'), '--data', str(place / 'footage'), '--steps', '1',
                 '--energy-budget', '0.7', '-o', str(place / 'again')]) in (0, 1)
    capsys.readouterr()
    assert main(['evaluate', str(place / 'footage'), '--model', str(place / 'pruned'),
                 '--reference', str(place / 'dense')]) == 0


def test_all_that_is_missing_is_named_at_once(
        place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / 'open.onnx').write_bytes(
        foreign.exported(foreign.made(foreign.ResidualPyramid), open_sizes=True))
    assert main(['import', str(place / 'open.onnx'), '-o', str(place / 'out')]) == 1
    line, = [line for line in capsys.readouterr().err.splitlines() if line[:2] != '  ']
    for flag in ('--input', '--classes', '--resize stretch', '--colour bgr|rgb', '--mean',
                 '--std', '--decoder nanodet'):
        assert f'({flag}' in line, flag
    assert '--layout' not in line  # the three colours tell
    assert not (place / 'out').exists()


def test_a_bundle_does_not_replace_what_it_is_made_of(
        place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ['--classes', str(place / 'names.txt'), *foreign.WORDS]
    assert main(['import', str(place / 'squares.onnx'), *words, '-o', str(tmp_path / 'out')]) == 0
    source = tmp_path / 'out' / 'source.onnx'  # somebody keeps it there
    shutil.copy(place / 'squares.onnx', source)
    capsys.readouterr()
    assert main(['import', str(source), *words, '-o', str(tmp_path / 'out'), '--overwrite']) == 2
    assert 'would be replaced with' in capsys.readouterr().err
    assert source.exists()


@pytest.mark.parametrize(('words', 'reason'), [
    (['--input', '96'], 'its input is fixed at 64 x 32 pixels; leave --input out'),
    (['--std', '0.5'], 'are not for pixel values from 0 to 255'),
    (['--layout', 'nhwc'], 'with layout nhwc it has 64 colours'),
    (['--decoder-setting', 'bins=4'], 'decoder.settings do not fit'),
    (['--decoder-setting', 'colour=4'], 'decoder.settings do not fit'),
    (['--placement', 'top_left'], '--placement is of a letterbox, and the resize rule is stretch'),
    (['--padding', '0'], '--padding is of a letterbox, and the resize rule is stretch'),
    (['--checkpoint', 'some.pt'], '--checkpoint belongs to module:function')])
def test_what_does_not_fit(words: list[str], reason: str, place: Path,
                           capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['import', str(place / 'squares.onnx'), '--classes', str(place / 'names.txt'),
                 *foreign.WORDS, *words, '-o', str(place / 'out')]) == 1
    line, = [line for line in capsys.readouterr().err.splitlines() if line[:2] != '  ']
    assert reason in line
    assert not (place / 'out').exists()


@pytest.mark.parametrize(('words', 'reason'), [
    (['--input', '0x5'], 'is not a size'), (['--mean', '1,2'], 'is not three numbers'),
    (['--std', 'nan'], 'is not three numbers'), (['--decoder', 'unknown'], 'invalid choice'),
    (['--placement', 'left'], 'invalid choice'), (['--padding', '1,2'], 'is not three integers'),
    (['--padding', '0,0,256'], 'is not three integers'),
    (['--padding', '-1'], 'is not three integers'),
    (['--padding', '114.5'], 'is not three integers'),
    (['--decoder-setting', 'bins'], 'is not KEY=VALUE'),
    (['--decoder-setting', 'bins={'], "'bins={'")])
def test_words_that_are_wrong(words: list[str], reason: str,
                              capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(['import', 'some.onnx', *words, '-o', 'out'])
    assert caught.value.code == 2
    assert reason in capsys.readouterr().err


def described(metadata: dict[str, str], wanted: Wanted, **options: object) -> object:
    model = onnx.load_from_string(foreign.exported(
        foreign.made(foreign.ResidualPyramid), **options))  # type: ignore[arg-type]
    onnx.helper.set_model_props(model, metadata)
    return describe(parse_onnx(model.SerializeToString(), Path('file.onnx')), wanted)


def test_what_ultralytics_writes_is_read() -> None:
    found = described(
        {'author': 'Ultralytics', 'description': 'Ultralytics YOLOv8n model', 'stride': '32',
         'names': "{0: 'person', 1: \"child's bike\"}", 'imgsz': '[96, 160]', 'task': 'detect',
         'license': 'AGPL-3.0'}, Wanted(decoder='nanodet'), open_sizes=True)
    assert (found.class_names, found.size) == (  # type: ignore[attr-defined]
        ('person', "child's bike"), (96, 160))
    assert (found.resize, found.colour_order, found.std) == (  # type: ignore[attr-defined]
        'letterbox', 'rgb', (255., 255., 255.))
    assert found.licence == 'AGPL-3.0'  # type: ignore[attr-defined]
    assert found.attribution == 'Ultralytics YOLOv8n model, Ultralytics'  # type: ignore[attr-defined]


@pytest.mark.parametrize('names', [
    '["person", "dog"]', 'person,dog', 'person\ndog', "{'0': 'person', '1': 'dog'}",
    "('person', 'dog')"])
def test_class_names_of_a_file(names: str) -> None:
    found = described({'names': names}, Wanted(
        resize='stretch', colour_order='rgb', mean=(0., 0., 0.), std=(1., 1., 1.),
        decoder='nanodet'))
    assert found.class_names == ('person', 'dog')  # type: ignore[attr-defined]


def test_metadata_is_no_code(tmp_path: Path) -> None:
    mark = tmp_path / 'mark'
    with pytest.raises(BundleError, match='class names'):
        described({'classes': '{0: 1, 5: 2}', 'names': '[' * 5000, 'imgsz': (
            f'[__import__("os").mkdir({str(mark)!r})]')}, Wanted(), open_sizes=True)
    assert not mark.exists()


def test_lists_of_class_names(tmp_path: Path) -> None:
    path = tmp_path / 'names.txt'
    path.write_text('person\n\n dog \n')
    assert read_class_names(str(path)) == ('person', 'dog')
    path = tmp_path / 'data.yaml'
    path.write_text('names: {1: dog, 0: person}\n')
    assert read_class_names(str(path)) == ('person', 'dog')
    assert len(read_class_names('coco')) == 80
    path.write_text('names: !!python/object/apply:os.getcwd []')
    with pytest.raises(BundleError, match='not YAML'):
        read_class_names(str(path))
    with pytest.raises(BundleError, match='a file with one a line'):
        read_class_names(str(tmp_path / 'absent'))


ALIASES = 'a0: &a0 [x, x]\n' + ''.join(
    f'a{n}: &a{n} [{", ".join([f"*a{n - 1}"] * 9)}]\n' for n in range(1, 9))


@pytest.mark.parametrize(('content', 'reason'), [
    (ALIASES + 'names: [person, *a8]', 'class 1 is a list, not a name'),
    (ALIASES + 'names: {0: *a8}', 'class 0 is a list, not a name'),
    ('names: [person, {a: b}]', 'class 1 is a dict, not a name'),
    ('names: [no, person]', 'class 0 is a bool, not a name; put it in quotes'),
    ('names: [person, null]', 'class 1 is a NoneType'),
    (f'names: [{"n" * 201}]', 'the name of class 0 is longer than 200 characters'),
    (f'names: [0x{"f" * 100_000}]', 'the name of class 0 is longer than 200 characters'),
    (f'names: [{", ".join(["a"] * 32_769)}]', 'lists 32769 class names; at most 32768 are read')],
    ids=range(8))
def test_what_is_no_list_of_class_names(content: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / 'data.yaml'
    path.write_text(content)
    with pytest.raises(BundleError, match=f'^{re.escape(f"{path}: {reason}")}'):
        read_class_names(str(path))


def test_long_lines_are_no_class_names(tmp_path: Path) -> None:
    path = tmp_path / 'names.txt'
    path.write_text('person\n' + 'd' * 201)
    with pytest.raises(BundleError, match='the name of class 1 is longer than 200 characters'):
        read_class_names(str(path))


def test_numbers_may_be_class_names(tmp_path: Path) -> None:
    path = tmp_path / 'data.yaml'
    path.write_text('names: [7, seven]')
    assert read_class_names(str(path)) == ('7', 'seven')


def test_lists_within_lists_in_metadata_are_no_class_names() -> None:
    nested = '[' * 50 + ']' * 50
    said = {'names': f'[{nested}]', 'classes': "['person', 'dog']", 'author': 'Ultralytics'}
    found = described(said, Wanted(decoder='nanodet'))
    assert found.class_names == ('person', 'dog')  # type: ignore[attr-defined]


def test_pictures_are_compared_when_none_are_named() -> None:
    pytest.importorskip('mcap')
    assert len(verb._pictures(None)) == verb._PICTURES
    assert re.match('.*demo', str(verb.find_resource('demo', 'pedestrians')))
