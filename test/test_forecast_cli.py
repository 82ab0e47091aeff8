# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The verb forecast: what it prints and writes, and one line where it cannot."""

from collections.abc import Iterator
import errno
import json
import os
from pathlib import Path
import re
from typing import Any

import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('torch_pruning')
pytest.importorskip('pycocotools')

from prunable import networks_in_use, stopped, write_footage, write_squares  # noqa: E402

from prune_perception.cli.main import main  # noqa: E402
from prune_perception.energy.hardware import profile_folder  # noqa: E402
from prune_perception.pruning import forecaster  # noqa: E402

TEST = Path(__file__).resolve().parent


@pytest.fixture(scope='module')
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder with a dense bundle and footage."""
    folder = tmp_path_factory.mktemp('forecast')
    with networks_in_use():
        write_squares(folder / 'dense')
        write_footage(folder / 'footage')
        yield folder


@pytest.fixture
def few_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the forecast a short one."""
    whole = forecaster.forecast

    def short(request: Any, progress: Any) -> Any:
        from dataclasses import replace
        return whole(replace(request, shares=(0.5, 0.2)), progress)

    monkeypatch.setattr(forecaster, 'forecast', short)


def words(place: Path, *others: str, data: Path | None = None) -> list[str]:
    return ['forecast', str(place / 'dense'), '--data', str(data or place / 'footage'), *others]


def refused(capsys: pytest.CaptureFixture[str], command: list[str], status: int = 1) -> str:
    """Run a command that has to fail; return its one line."""
    assert main(command) == status
    printed = capsys.readouterr()
    assert printed.out == ''
    lines = [line for line in printed.err.splitlines() if ' s  ' not in line]
    assert len(lines) == 1
    return lines[0].removeprefix('prune-perception forecast: ')


def test_it_prints_a_table_and_writes_the_same_figures(
        place: Path, tmp_path: Path, few_shares: None, capsys: pytest.CaptureFixture[str]
        ) -> None:
    before = sorted(place.rglob('*'))
    files = tmp_path / 'x.json', tmp_path / 'x.html'
    assert main(words(place, '--unrelated', '--check', '--json', str(files[0]), '--html',
                      str(files[1]))) == 0
    printed = capsys.readouterr()
    found = json.loads(files[0].read_text())
    assert len(found['points']) == 2 and found['request']['check']
    page = files[1].read_text()
    for point in found['points']:
        assert re.search(rf'^{point["energy_share"]:.1%} .*{point["predicted"]["value"]:.3f}',
                         printed.out, re.MULTILINE)
        assert f'{point["energy_share"]:.1%}' in page
    assert 'within a loss of 0.05, by the forecast' in printed.out
    assert 'the forecast was off by' in printed.out
    assert '<polyline' in page and '<script' not in page
    assert [line.split('  ')[-1] for line in printed.err.splitlines()][-1] == 'forecast'
    assert sorted(place.rglob('*')) == before
    assert sorted(tmp_path.iterdir()) == sorted(files)


def test_what_is_no_use_is_said_in_one_line(
        place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    absent = tmp_path / 'absent'
    assert str(absent) in refused(capsys, words(place, data=absent))
    one = write_footage(tmp_path / 'one', frames=1)
    assert 'has 1 frame that can be used' in refused(capsys, words(place, data=one))
    dark = write_footage(tmp_path / 'dark', draw=lambda number: [])
    assert 'the dense network finds nothing' in refused(capsys, words(place, data=dark))
    assert "'cat' is not in bundle dense" in refused(capsys, words(place, '--classes', 'cat'))
    assert str(absent) in refused(capsys, words(place, '--pruned', str(absent)))
    assert 'was not pruned from' in refused(
        capsys, words(place, '--pruned', str(place / 'dense')))


@pytest.mark.parametrize(('more', 'reason'), [
    (['--largest-loss', '0'], "'0' is not a number from 0.001 to 0.999"),
    (['--method', 'guess'], 'invalid choice'),
    (['--frames', '9-3'], 'is not a part of a recording'),
    (['--hardware', 'abacus'], 'abacus'),
    (['--html', 'absent/folder/report.html'], 'the folder must exist')])
def test_wrong_words(
        place: Path, more: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words(place, *more))
    assert caught.value.code == 2
    assert reason in capsys.readouterr().err


def test_nothing_is_written_over_what_is_read_or_written_besides(
        place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(forecaster, 'forecast', lambda *_: pytest.fail('it was begun'))
    name = str(tmp_path / 'x')
    assert 'is read, or written besides' in refused(
        capsys, words(place, '--json', name, '--html', name), 2)
    machine = tmp_path / 'machine.yaml'
    machine.write_bytes((profile_folder() / 'eyeriss_65nm.yaml').read_bytes())
    before = sorted(place.rglob('*'))
    for path, more in (
            (machine, ['--hardware', str(machine)]), (place / 'footage/frame001.png', []),
            (place / 'footage', []), (place / 'dense/weights.safetensors', [])):
        content = None if path.is_dir() else path.read_bytes()
        if content is None:
            with pytest.raises(SystemExit):
                main(words(place, *more, '--json', str(path)))
            assert 'cannot be written' in capsys.readouterr().err
        else:
            assert 'read' in refused(capsys, words(place, *more, '--json', str(path)), 2)
            assert path.read_bytes() == content
    assert sorted(place.rglob('*')) == before


def test_a_full_disk_leaves_what_was_there(
        place: Path, tmp_path: Path, few_shares: None, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / 'x.json'
    file.write_text('as it was')
    whole = Path.write_text

    def full(self: Path, text: str, *others: Any, **named: Any) -> int:
        whole(self, text[:100], *others, **named)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, 'write_text', full)
    assert main(words(place, '--json', str(file))) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        f'prune-perception forecast: {file}: cannot be written: no space left on device')
    assert file.read_text() == 'as it was'
    assert list(tmp_path.iterdir()) == [file]


def test_ctrl_c_leaves_nothing(place: Path, tmp_path: Path) -> None:
    before = sorted(place.rglob('*'))
    status, out, err = stopped(words(place, '--json', str(tmp_path / 'x.json')), 'observe')
    assert (status, out) == (1, '')
    assert err.splitlines()[-1] == 'prune-perception forecast: stopped'
    assert 'Traceback' not in err
    assert sorted(place.rglob('*')) == before
    assert list(tmp_path.iterdir()) == []


def test_the_readme_has_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(['forecast', '--help'])
    options = set(re.findall(r'--[a-z-]+', capsys.readouterr().out)) - {'--help', '--data'}
    readme = (TEST.parent / 'README.md').read_text()
    section = readme.partition('## Forecast')[2].partition('\n## ')[0]
    assert options <= set(re.findall(r'--[a-z-]+', section))
