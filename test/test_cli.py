# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

import argparse
from collections.abc import Callable
from pathlib import Path
import subprocess
import sys
from types import ModuleType

import pytest

from prune_perception import __version__
from prune_perception.bundle import BundleError
from prune_perception.cli import main as module
from prune_perception.cli.main import main, VERBS
from prune_perception.frames.errors import RecordingError
from prune_perception.runtime.engines import EngineError


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that makes `work` the one verb there is; it takes a --depth."""
    def install(run: Callable[[argparse.Namespace], int]) -> None:
        fake = ModuleType('work')
        fake.NAME, fake.HELP, fake.run = 'work', 'do some work', run  # type: ignore[attr-defined]
        fake.add_arguments = lambda parser: parser.add_argument(  # type: ignore[attr-defined]
            '--depth', type=int, default=1)
        monkeypatch.setattr(module, 'VERBS', ('work',))
        monkeypatch.setattr(module, '_verb', lambda _: fake)
    return install


def failing(error: BaseException) -> Callable[[argparse.Namespace], int]:
    def run(_: argparse.Namespace) -> int:
        raise error
    return run


def test_words_reach_the_verb_and_its_status_comes_back(verb: Callable[..., None]) -> None:
    depths = []

    def run(arguments: argparse.Namespace) -> int:
        depths.append(arguments.depth)
        return len(depths) - 1

    verb(run)
    assert main(['work']) == 0
    assert main(['work', '--depth', '4']) == 1
    assert depths == [1, 4]


@pytest.mark.parametrize('error', [
    BundleError('model/model.onnx: missing, though model.yaml lists it'),
    EngineError('engine openvino: not installed'),
    RecordingError('walk.mcap: there is no such file or folder'),
    FileNotFoundError("model 'x': neither a folder nor a model"),
    PermissionError(13, 'Permission denied', 'out.json')])
def test_a_job_that_fails_says_why_in_one_line(
        error: Exception, verb: Callable[..., None],
        capsys: pytest.CaptureFixture[str]) -> None:
    verb(failing(error))
    assert main(['work']) == 1
    printed = capsys.readouterr()
    assert printed.err == f'prune-perception work: {error}\n'
    assert printed.out == ''


def test_a_fault_of_the_program_is_not_hidden(verb: Callable[..., None]) -> None:
    verb(failing(ZeroDivisionError('division by zero')))
    with pytest.raises(ZeroDivisionError):
        main(['work'])


def test_ctrl_c_ends_without_a_traceback(
        verb: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    verb(failing(KeyboardInterrupt()))
    assert main(['work']) == 1
    assert capsys.readouterr().err == 'prune-perception work: stopped\n'


@pytest.mark.parametrize('words', [
    [], ['fly'], ['--depth', '1'], ['demo', '--threads', 'two'], ['demo', 'surplus'],
    ['convert'], ['convert', 'resnet', 'folder', '-o', 'out'], ['meter', '--interval', '-1']])
def test_wrong_words_have_status_2(
        words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    printed = capsys.readouterr()
    assert printed.err.startswith('usage: prune-perception')
    assert printed.out == ''


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(['--version'])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f'prune-perception {__version__}\n'


@pytest.mark.parametrize('name', VERBS)
def test_every_verb_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([name, '--help'])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith(f'usage: prune-perception {name} ')
    with pytest.raises(SystemExit):
        main(['--help'])
    assert f'\n    {name}' in capsys.readouterr().out
    verb = module._verb(name)
    assert name == verb.NAME
    assert verb.HELP[0].islower() and not verb.HELP.endswith('.')


@pytest.mark.parametrize(('words', 'reason'), [
    (['demo', '--bag', '{absent}'], '{absent}: there is no such file or folder'),
    (['demo', '--model', '{absent}'], "model '{absent}': neither a folder nor one of the models"),
])
def test_what_is_not_there_is_named(
        words: list[str], reason: str, tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip('rosbags')
    absent = str(tmp_path / 'absent')
    assert main([word.format(absent=absent) for word in words]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f'prune-perception {words[0]}: {reason.format(absent=absent)}')
    assert len(error.splitlines()) == 1


def test_the_command_starts_without_torch_engines_and_ros() -> None:
    code = ('import sys\nfrom prune_perception.cli.main import main\n'
            'try:\n    main(["--version"])\nexcept SystemExit:\n    pass\n'
            "print([name for name in ('torch', 'rclpy', 'onnxruntime', 'openvino', 'onnx') "
            'if name in sys.modules])')
    result = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert result.stdout.splitlines() == [f'prune-perception {__version__}', '[]'], result.stderr
