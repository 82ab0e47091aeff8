# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The verb ``profile``."""

import argparse
import json
from pathlib import Path
import shutil

import pytest

from prune_perception.bundle import read_bundle

pytest.importorskip('torch')

from prune_perception.cli import profile
from prune_perception.resources import find_model


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    profile.add_arguments(parser)
    return profile.run(parser.parse_args(words))


def test_the_shipped_detector(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    account, page = tmp_path / 'account.json', tmp_path / 'page.html'
    assert run('nanodet_g', '--json', str(account), '--html', str(page)) == 0
    shown = capsys.readouterr().out
    assert 'modelled for eyeriss_65nm, 16-bit words, batch 1' in shown
    assert 'head8.conv' in shown
    content = json.loads(account.read_text())
    assert round(content['total']['macs'] / 1e9, 2) == 2.09
    assert round(content['total']['parameters'] / 1e6, 3) == 3.786
    assert content['unknown_operators'] == []
    assert '<!doctype html>' in page.read_text()


def test_the_account_is_saved_in_the_card(tmp_path: Path):
    folder = tmp_path / 'copy'
    shutil.copytree(find_model('nanodet_g'), folder)
    before = read_bundle(folder)
    assert run(str(folder), '--hardware', 'cortex_a', '--save') == 0
    after = read_bundle(folder)
    assert set(after.card.energy) == {*before.card.energy, 'cortex_a'}
    assert after.card.energy['cortex_a']['total']['macs'] == 2_090_083_840
    assert after.card.files == before.card.files


def test_conditions_are_taken_and_said(capsys: pytest.CaptureFixture[str]):
    assert run('nanodet_g', '--hardware', 'cortex_a', '--batch', '2', '--bits', '16',
               '--seconds', '0.2') == 0
    shown = capsys.readouterr().out
    assert 'modelled for cortex_a, 16-bit words, batch 2' in shown
    assert '320 mJ' in shown


@pytest.mark.parametrize(('words', 'message'), [
    (('--hardware', 'warp_drive'), "no hardware profile 'warp_drive'"),
    (('--batch', '0'), "'0' is not a whole number of at least 1"),
    (('--bits', 'many'), "'many' is not a whole number of at least 1")])
def test_wrong_words_are_named(words: tuple[str, ...], message: str,
                               capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as status:
        run('nanodet_g', *words)
    assert status.value.code == 2
    assert message in capsys.readouterr().err


def test_a_job_that_cannot_be_done_says_why(capsys: pytest.CaptureFixture[str]):
    assert run('nanodet_g', '--bits', '99') == 1
    assert '1 to 64' in capsys.readouterr().err
