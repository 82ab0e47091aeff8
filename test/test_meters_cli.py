# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""``prune-perception meter`` on trees as the kernel lays them out."""

import argparse
import json
from pathlib import Path

import pytest
import yaml

from prune_perception.cli import meter

RECORDED = Path(__file__).parent / 'recorded'


def grow(root: Path, name: str) -> Path:
    tree = yaml.safe_load((RECORDED / f'{name}.yaml').read_text(encoding='utf-8'))
    for path, value in tree.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(f'{value}\n', encoding='utf-8')
    return root


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    meter.add_arguments(parser)
    return meter.run(parser.parse_args(words))


def test_meters_are_listed_read_and_written(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = grow(tmp_path / 'root', 'jetson_orin_nx')
    file = tmp_path / 'meters.json'
    assert run('--root', str(root), '--seconds', '0.06', '--interval', '0.02',
               '--json', str(file)) == 0
    printed = capsys.readouterr().out
    assert 'found   ina3221 VDD_IN: module; ' in printed
    assert '6.000 W' in printed
    assert 'would come from ina3221 VDD_IN (VDD_IN)' in printed
    record = json.loads(file.read_text(encoding='utf-8'))
    assert record['best'] == 'ina3221 VDD_IN'
    assert {entry['rail'] for entry in record['meters']} == {
        'VDD_IN', 'VDD_CPU_GPU_CV', 'VDD_SOC'}
    assert len(record['samples']) == 4
    first, *_, last = (
        sample['readings']['ina3221 VDD_IN'] for sample in record['samples'])
    assert last['energy_joules'] == pytest.approx(
        6.0 * (last['timestamp'] - first['timestamp']))


def test_once_prints_one_row_a_meter(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = grow(tmp_path, 'jetson_nano')
    assert run('--root', str(root), '--once', '--interval', '0.01') == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith('ina3221')]
    assert len(rows) == 3


def test_nothing_to_measure_is_a_failed_job_with_reasons(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / 'meters.json'
    assert run('--root', str(tmp_path / 'empty'), '--once', '--json', str(file)) == 1
    printed = capsys.readouterr()
    for family in ('rapl', 'ina3221', 'nvml', 'raspberry_pi_pmic', 'battery'):
        assert f'no      {family}: ' in printed.out
    assert 'nothing can be measured' in printed.err
    record = json.loads(file.read_text(encoding='utf-8'))
    assert (record['best'], record['meters'], record['samples']) == (None, [], [])
    assert len(record['refusals']) == 5


def test_a_meter_that_only_waits_is_shown_with_its_reason(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = grow(tmp_path, 'notebook_battery')
    (root / 'sys/class/power_supply/AC/online').write_text('1\n', encoding='utf-8')
    assert run('--root', str(root), '--once', '--interval', '0.01') == 1
    printed = capsys.readouterr().out
    assert 'waits   battery' in printed
    assert 'unavailable' in printed
    assert 'external power is connected' in printed


def test_a_missing_permission_prints_the_rule(
        tmp_path: Path, capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch) -> None:
    root = grow(tmp_path, 'intel_server')
    original = Path.read_text

    def read_text(self: Path, *arguments: object, **settings: object) -> str:
        if self.name == 'energy_uj':
            raise PermissionError(13, 'Permission denied')
        return original(self, *arguments, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, 'read_text', read_text)
    assert run('--root', str(root), '--once') == 1
    assert 'rule:   SUBSYSTEM=="powercap"' in capsys.readouterr().out


def test_a_file_that_cannot_be_written_is_named(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = grow(tmp_path / 'root', 'jetson_nano')
    assert run('--root', str(root), '--once', '--interval', '0.01',
               '--json', str(tmp_path / 'no' / 'meters.json')) == 1
    assert 'meters.json: cannot be written: no such file' in capsys.readouterr().err


@pytest.mark.parametrize('words', [
    ('--interval', '0'), ('--seconds', '-1'), ('--seconds', 'x'), ('--once', '--seconds', '2')])
def test_wrong_words_are_refused_with_status_2(words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as exit:
        run(*words)
    assert exit.value.code == 2
