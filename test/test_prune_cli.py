# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The verb prune: that it writes a bundle which works, or nothing and one line that says why."""

import argparse
from collections.abc import Iterator
import errno
import json
import os
from pathlib import Path
import re
import shutil
from typing import Any

import cv2
import pytest

pytest.importorskip('torch')
pytest.importorskip('torch_pruning')
pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
pytest.importorskip('pycocotools')

from prunable import CLASSES, FRAMES, networks_in_use, stopped, write_footage, write_squares

from prune_perception import bundle as bundle_module
from prune_perception.bundle import read_bundle
from prune_perception.cli import prune as verb
from prune_perception.cli.main import main
from prune_perception.cli.words import duration, frame_range
from prune_perception.frames.recording import open_recording
from prune_perception.pruning import pruner
from prune_perception.pruning.pruner import Outcome, prune
from prune_perception.runtime.detector import Detector

TEST = Path(__file__).resolve().parent


@pytest.fixture(scope='module', autouse=True)
def networks() -> Iterator[None]:
    with networks_in_use():
        yield


@pytest.fixture(scope='module')
def place(networks: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a dense bundle and footage."""
    folder = tmp_path_factory.mktemp('prune')
    write_squares(folder / 'dense')
    write_footage(folder / 'footage')
    return folder


def words(place: Path, *others: str, data: Path | None = None, out: str = 'out') -> list[str]:
    return ['prune', str(place / 'dense'), '--data', str(data or place / 'footage'),
            '--steps', '2', '-o', str(place / out), *others]


def refused(
        capsys: pytest.CaptureFixture[str], place: Path, command: list[str], status: int = 1,
        ) -> str:
    """Run a command that has to fail; return its one line without what comes before the reason."""
    before = sorted(place.rglob('*'))
    assert main(command) == status
    printed = capsys.readouterr()
    assert printed.out == ''
    # Stages that were begun are told as well, behind their time.
    lines = [line for line in printed.err.splitlines() if ' s  ' not in line]
    assert len(lines) == 1, printed.err
    assert sorted(place.rglob('*')) == before, 'something was left'
    assert lines[0].startswith('prune-perception prune: ')
    return lines[0].removeprefix('prune-perception prune: ')


@pytest.fixture(scope='module', autouse=True)
def any_speedup() -> Iterator[None]:
    """Let a network of some microseconds be slower, as it is when something else runs beside."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pruner, '_LEAST_SPEEDUP', 0.0)
        yield


# What works


@pytest.fixture(scope='module')
def done(place: Path) -> Outcome:
    """Prune once by the command, with everything it writes, and keep what came of it."""
    outcomes = []

    def keep(*arguments: Any) -> Outcome:
        outcomes.append(prune(*arguments))
        return outcomes[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pruner, 'prune', keep)
        assert main(words(place, '--classes', 'dog', '--json', str(place / 'figures.json'),
                          '--html', str(place / 'report.html'), out='pruned')) == 0
    return outcomes[0]


@pytest.fixture
def pruned(place: Path, done: Outcome) -> Path:
    return place / 'pruned'


@pytest.fixture
def at_once(done: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command have the outcome without the work."""
    monkeypatch.setattr(pruner, 'prune', lambda *_: done)


def test_a_smaller_bundle_comes_out_and_finds_the_same(place: Path, pruned: Path) -> None:
    dense, small = read_bundle(place / 'dense'), read_bundle(pruned)
    assert small.card.class_names == ('dog',)
    assert small.card.provenance.parent == dense.digest
    assert small.card.provenance.seed == 0
    account = small.card.energy['eyeriss_65nm']
    assert account['share_of_parent'] <= 0.25 and account['batch'] == 1
    first = Detector(dense, class_names=['dog'])
    second = Detector(small)
    with open_recording(place / 'footage') as recording:
        for frame in recording:
            wanted, = first.detect(frame.image()).detections.boxes
            found, = second.detect(frame.image()).detections.boxes
            assert abs(found - wanted).max() < 2  # pixels


def test_the_figures_are_those_of_the_bundle(place: Path, pruned: Path) -> None:
    figures = json.loads((place / 'figures.json').read_text())
    card = read_bundle(pruned).card
    assert figures['name'] == card.name and figures['class_names'] == ['dog']
    assert figures['energy']['share_of_dense'] == pytest.approx(
        card.energy['eyeriss_65nm']['share_of_parent'])
    assert figures['energy']['pruned']['total']['energy_mac'] == pytest.approx(
        card.energy['eyeriss_65nm']['total']['energy_mac'])
    assert card.network is not None
    for name, width in figures['plan']['widths'].items():
        assert card.network.widths[name][0] == width['after']
        assert width['before'] - width['after'] == len(figures['plan']['removed'].get(name, []))
    assert figures['latency']['speedup'] > 0
    assert list(figures['agreement']['by_stage'])[-2:] == ['restoration', 'distillation']
    assert figures['footage']['frames'] == FRAMES
    assert 'accuracy' not in (place / 'figures.json').read_text()
    assert (place / 'report.html').read_text().startswith('<!doctype html>')


@pytest.mark.parametrize('engine', ['onnxruntime', 'torch'])
def test_it_says_what_it_did_and_what_comes_next(
        engine: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(place, '--no-distill', '--energy-budget', '0.5', '--engine', engine,
                      out='half')) == 0
    shutil.rmtree(place / 'half')
    printed = capsys.readouterr()
    for said in ('modelled for eyeriss_65nm, 16-bit words, batch 1', 'of the dense',
                 'times faster', f'time of an image, {engine}, measured', 'restoration',
                 'not whether either is right',
                 f'wrote {place / "half"}', 'prune-perception evaluate',
                 'prune-perception demo --bag', 'measured energy'):
        assert said in printed.out, said
    assert printed.out.count(' --engine torch') == (2 if engine == 'torch' else 0)
    assert 'distillation' not in printed.out and 'ccuracy' not in printed.out
    stages = [line.split(' s  ')[1] for line in printed.err.splitlines()]
    assert stages[0] == 'read the footage' and stages[-2:] == ['export', 'certify']
    assert len(stages) == len(set(stages))  # a line each


def test_the_same_seed_gives_the_same_network(place: Path, pruned: Path) -> None:
    assert main(words(place, '--classes', 'dog', out='again')) == 0
    first, second = read_bundle(pruned), read_bundle(place / 'again')
    assert first.card.files == second.card.files
    assert first.card.network == second.card.network


def test_words_reach_the_job(
        place: Path, done: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(pruner, 'prune', lambda request, _: asked.append(request) or done)
    assert main(words(place, '--alignment', '32', '--engine', 'torch', out='asked')) == 0
    shutil.rmtree(place / 'asked')
    assert (asked[0].alignment, asked[0].engine) == (32, 'torch')


def test_overwrite_replaces_a_bundle(place: Path, at_once: None) -> None:
    old = write_squares(place / 'old')
    assert main(words(place, '--overwrite', out='old')) == 0
    new = read_bundle(place / 'old')
    assert new.digest != old.digest and new.card.provenance.parent is not None


def test_groups_are_printed_without_footage(
        place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['prune', str(place / 'dense'), '--groups']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(':')[0] for line in lines] == [
        'first', 'second', 'third', 'fine', 'coarse']
    assert 'taken by fine, coarse' in lines[2] and 'fixed: fine is an output' in lines[3]


def test_groups_are_those_of_the_classes_that_stay(
        place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def channels_of(*classes: str) -> int:
        assert main(['prune', str(place / 'dense'), '--groups', *classes]) == 0
        fine, = (line for line in capsys.readouterr().out.splitlines()
                 if line.startswith('fine:'))
        return int(re.findall(r'\d+', fine)[0])

    assert channels_of() - channels_of('--classes', 'dog') == 1
    assert "'cat' is not in bundle dense" in refused(
        capsys, place, ['prune', str(place / 'dense'), '--groups', '--classes', 'cat'])


def test_words_for_a_part_of_a_recording():
    assert frame_range('401-795') == (401, 795) and frame_range('7-7') == (7, 7)
    for text in ('0-5', '5-4', '5', '5-', '-5', 'a-b', '1-2-3'):
        with pytest.raises(argparse.ArgumentTypeError, match='not a part of a recording'):
            frame_range(text)


def test_times_have_a_unit() -> None:
    assert [duration(text) for text in ('90s', '10m', '1h', '1.5m')] == [90, 600, 3600, 90]


def test_a_terminal_gets_a_bar_for_each_stage(
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr('rich.console.Console.is_terminal', True)
    monkeypatch.setenv('COLUMNS', '100')
    with verb.stages() as progress:
        progress('observe', 0.0, '')
        progress('observe', 0.5, '96 [frames]')
        progress('observe', 1.0, '')
        progress('plan', 0.25, '')
    shown = capsys.readouterr()
    assert shown.out == ''
    for stage, share in (('observe', '100 %'), ('plan', ' 25 %')):
        last = [line for line in shown.err.splitlines() if stage in line][-1]
        assert share in last and '━' in last


# What cannot be


def test_footage_that_is_no_use(
        place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / 'empty'
    empty.mkdir()
    assert str(empty) in refused(capsys, place, words(place, data=empty))
    one = write_footage(tmp_path / 'one', frames=1)
    assert 'has 1 frame that can be used' in refused(capsys, place, words(place, data=one))
    absent = tmp_path / 'absent'
    assert str(absent) in refused(capsys, place, words(place, data=absent))


def test_a_scene_in_which_nothing_is_seen(
        place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dark = write_footage(tmp_path / 'dark', draw=lambda number: [])
    assert 'the dense network finds nothing' in refused(capsys, place, words(place, data=dark))


def test_frames_of_another_size(
        place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    from labelled_bags import write_labelled_bag
    pytest.importorskip('rosbags')
    from prune_perception.frames.recording import Frame
    stamps = [10 ** 8 * (number + 1) for number in range(FRAMES)]
    bag = write_labelled_bag(tmp_path / 'bag', stamps, {}, pictures={
        stamp: [(1, 1, 0, 255)] for stamp in stamps})
    whole = Frame.image

    def halved(frame: Frame) -> Any:
        image = whole(frame)
        return image if frame.index < 9 else cv2.resize(image, (32, 16))

    monkeypatch.setattr(Frame, 'image', halved)
    reason = refused(capsys, place, words(place, data=bag))
    assert '32 x 16 pixels, the first frame is 64 x 32' in reason


def test_a_class_that_does_not_exist(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reason = refused(capsys, place, words(place, '--classes', 'person,cat'))
    assert "'cat' is not in bundle dense" in reason and ', '.join(CLASSES) in reason


def test_a_network_that_cannot_be_traced(
        place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_squares(tmp_path / 'strange', 'untraceable')
    command = words(place)
    command[1] = str(tmp_path / 'strange')
    assert 'Untraceable cannot be traced: ' in refused(capsys, place, command)


def test_a_bundle_without_weights(
        place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from blobs import write_blobs
    write_blobs(tmp_path / 'graph')
    command = words(place)
    command[1] = str(tmp_path / 'graph')
    assert 'only model.onnx of this bundle can be run' in refused(capsys, place, command)


@pytest.mark.parametrize('budget', ['0', '1.01', '-0.5', 'nan'])
def test_a_budget_that_cannot_be(
        place: Path, budget: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = [*words(place), f'--energy-budget={budget}']
    assert f'an energy budget of {budget} cannot be' in refused(capsys, place, command, 2)
    assert 'a latency budget of 0' in refused(
        capsys, place, [*words(place), '--latency-budget=0'], 2)


def test_a_budget_that_cannot_be_met(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reason = refused(capsys, place, words(place, '--energy-budget', '0.01'))
    assert 'cannot be met' in reason and 'ask for at least' in reason


@pytest.mark.parametrize(('more', 'reason'), [
    (['--energy-budget', '0.2', '--latency-budget', '3'], 'not allowed with'),
    (['--time-limit', '10'], "'10' is not a time above 0, such as 90s, 10m or 1h"),
    (['--time-limit', '0s'], "'0s' is not a time above 0"),
    (['--classes', 'person,,dog'], 'has an empty name'),
    (['--method', 'guess'], 'invalid choice'),
    (['--hardware', 'abacus'], 'abacus'),
    (['--html', 'absent/folder/report.html'], 'the folder must exist')])
def test_wrong_words(
        place: Path, more: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words(place, *more))
    assert caught.value.code == 2
    assert reason in capsys.readouterr().err


def test_words_that_are_missing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ['prune', str(place / 'dense')]
    assert '--data and -o are needed' in refused(capsys, place, command, 2)


def test_nothing_is_written_over_what_is_read(
        place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(pruner, 'prune', lambda *_: pytest.fail('it was begun'))
    other = str(place / 'other.json')
    for more in (
            ['-o', str(place / 'dense'), '--overwrite'], ['-o', str(place), '--overwrite'],
            ['--json', str(place / 'dense/model.yaml')],
            ['--html', str(place / 'footage/frame001.png')],
            ['--json', other, '--html', other], ['--json', str(place / 'out')]):
        reason = refused(capsys, place, words(place, *more), 2)
        assert more[1] in reason


def test_a_place_that_is_taken_is_refused_before_the_work(
        place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(pruner, 'prune', lambda *_: pytest.fail('it was begun'))
    taken = tmp_path / 'taken'
    taken.mkdir()
    (taken / 'file').touch()
    for out, more, reason in (
            (taken, [], 'exists already'),
            (taken, ['--overwrite'], 'holds files but no bundle; it is not replaced'),
            (taken / 'file/out', [], 'is no folder that can be written to')):
        assert reason in refused(capsys, place, words(place, *more, out=str(out)))


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write anywhere')
def test_a_folder_that_cannot_be_written_is_found_before_the_work(
        place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o500)
    command = words(place)
    command[command.index('-o') + 1] = str(tmp_path / 'out')
    assert 'no folder that can be written to' in refused(capsys, place, command)


# What comes between


@pytest.mark.parametrize('step', ['fsync', 'rename'])
def test_a_full_disk_leaves_nothing(
        place: Path, step: str, at_once: None, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if step == 'fsync':
        monkeypatch.setattr(bundle_module.os, 'fsync', full)
    else:
        monkeypatch.setattr(Path, 'rename', full)
    reason = refused(capsys, place, words(place))
    assert reason == f'{place / "out"}: cannot be written: no space left on device'


def test_a_report_that_cannot_be_written_does_not_cost_the_bundle(
        place: Path, at_once: None, capsys: pytest.CaptureFixture[str]) -> None:
    # The device is always full.
    assert main(words(place, '--html', '/dev/full', out='kept')) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        'prune-perception prune: /dev/full: cannot be written: no space left on device')
    assert read_bundle(place / 'kept').card.class_names == ('dog',)


def test_ctrl_c_after_the_bundle_is_written_says_that_it_is_there(
        place: Path, at_once: None, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(verb, 'measured_lines', stop)
    assert main(words(place, out='late')) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        f'prune-perception prune: stopped; the bundle {place / "late"} was written before and is '
        'complete')
    assert read_bundle(place / 'late').card.class_names == ('dog',)


@pytest.mark.parametrize('stage', ['observe', pytest.param('distil', marks=pytest.mark.slow)])
def test_ctrl_c_leaves_nothing(place: Path, tmp_path: Path, stage: str) -> None:
    temporary = tmp_path / 'temporary'
    temporary.mkdir()
    command = words(place, '--time-limit', '1h', out='stopped')
    position = command.index('--steps')  # else distillation is over too soon
    del command[position:position + 2]
    before = sorted(place.rglob('*'))
    status, out, err = stopped(command, stage, TMPDIR=str(temporary))
    assert (status, out) == (1, '')
    assert err.splitlines()[-1] == 'prune-perception prune: stopped'
    assert 'Traceback' not in err
    assert sorted(place.rglob('*')) == before
    assert list(temporary.rglob('*')) == []


def test_the_readme_has_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(['prune', '--help'])
    options = set(re.findall(r'--[a-z-]+', capsys.readouterr().out)) - {'--help', '--data'}
    readme = (TEST.parent / 'README.md').read_text()
    section = readme.partition('## Prune a detector')[2].partition('\n## ')[0]
    rows = ' '.join(line.split('|')[1] for line in section.splitlines() if line.startswith('|'))
    assert options - {'--output'} == set(re.findall(r'--[a-z-]+', rows)) - {'---'}
