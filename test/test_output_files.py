# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""What a verb may write, beside what it reads; and the verbs that have no other test of it."""

from pathlib import Path

import pytest

from prune_perception.cli.main import main
from prune_perception.evaluation.files import check_outputs, OutputError


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Return a folder of one picture and one report."""
    folder = tmp_path / 'walk'
    folder.mkdir()
    (folder / '1.png').touch()
    (folder / 'report.json').touch()
    return folder


def test_what_is_read_is_not_written_over(tmp_path: Path, recording: Path) -> None:
    (tmp_path / 'link').symlink_to(recording / '1.png')
    video = tmp_path / 'walk.avi'
    for path in (video, recording, recording / '1.png', tmp_path / 'link', tmp_path):
        with pytest.raises(OutputError, match='^--json '):
            check_outputs([None, video, recording], [('--json', path)])


def test_two_things_are_not_written_to_one_place(tmp_path: Path) -> None:
    for first, second in (
            ('x', 'x'), ('bundle', 'bundle/x.json'), ('bundle/x.json', 'bundle')):
        with pytest.raises(OutputError, match='^--html .* written besides'):
            check_outputs([], [('-o', tmp_path / first), ('--html', tmp_path / second)])


def test_a_report_may_lie_beside_what_is_read_and_be_written_anew(
        tmp_path: Path, recording: Path) -> None:
    check_outputs([recording, tmp_path / 'walk.avi'], [
        ('--json', recording / 'report.json'), ('--html', recording / 'report.html'),
        ('-o', recording / 'new'), ('--other', None), ('--third', tmp_path / 'x')])


@pytest.mark.parametrize('words', [
    ['calibrate', '-o', 'x.yaml', '--json', 'x.yaml'],
    ['convert', 'nanodet_g', 'published', '-o', 'published', '--overwrite'],
    ['profile', 'nanodet_g', '--json', 'x', '--html', 'x']])
def test_other_verbs_refuse_too(
        words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == '' and len(printed.err.splitlines()) == 1
    assert 'is read, or written besides' in printed.err
    assert list(tmp_path.iterdir()) == []
