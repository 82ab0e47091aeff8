# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Check the set-up: its stamps, its choice of ROS 2 and its words when something is missing."""

import importlib.util
from pathlib import Path
import sys
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


def load() -> ModuleType:
    """Load the script, which is no part of the package."""
    path = ROOT / 'environment' / 'make_environment.py'
    spec = importlib.util.spec_from_file_location('make_environment', path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and annotations look their module up here.
    sys.modules['make_environment'] = module
    spec.loader.exec_module(module)
    return module


make_environment = load()


def new(path: Path, ros: str = 'wheels kilted'):
    """Make a description of an environment, as each run of the set-up does."""
    return make_environment.Environment(path, ros)


def test_step_is_done_until_what_it_depends_on_changes(tmp_path: Path) -> None:
    list_ = tmp_path / 'list.txt'
    list_.write_text('numpy')
    first = new(tmp_path / 'venv')
    assert not first.done('packages', [list_, 'kilted'])
    with first.step('packages', 'installing'):
        pass
    assert new(tmp_path / 'venv').done('packages', [list_, 'kilted'])
    assert not new(tmp_path / 'venv').done('packages', [list_, 'jazzy'])
    list_.write_text('numpy scipy')
    assert not new(tmp_path / 'venv').done('packages', [list_, 'kilted'])


def test_step_is_not_done_when_the_one_before_changed(tmp_path: Path) -> None:
    for word, done in (('a', False), ('a', True), ('b', False)):
        environment = new(tmp_path)
        environment.done('python', [word])
        assert environment.done('runtime', ['same'], after='python') is done
        with environment.step('runtime', 'installing'):
            pass


@pytest.mark.parametrize('error', [KeyboardInterrupt, RuntimeError])
def test_step_that_did_not_end_well_leaves_no_stamp(
        error: type[BaseException], tmp_path: Path) -> None:
    environment = new(tmp_path)
    environment.done('build', ['x'])
    with pytest.raises(error), environment.step('build', 'building'):
        raise error
    assert not new(tmp_path).done('build', ['x'])


def test_step_says_what_it_does_and_how_long_it_took(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    environment = new(tmp_path)
    environment.done('build', ['x'])
    with environment.step('build', 'building the messages'):
        pass
    assert capsys.readouterr().out == '[set-up] building the messages ... 0.0 s\n'


def test_stopped_pip_is_noticed_and_failed_pip_is_not(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_words: object) -> None:
        raise KeyboardInterrupt

    environment = new(tmp_path)
    monkeypatch.setattr(environment, 'run', stopped)
    with pytest.raises(KeyboardInterrupt):
        environment.pip_install('numpy')
    assert new(tmp_path).half_installed()

    environment = new(tmp_path / 'other')
    environment.path.mkdir()
    environment.python = Path(sys.executable)
    with pytest.raises(make_environment.SetUpError, match='no-such-package'):
        environment.pip_install('--no-index', 'no-such-package')
    assert not environment.half_installed()


@pytest.mark.parametrize(('output', 'words'), [
    ("Retrying after connection broken by 'NewConnectionError('", 'check the network'),
    ('socket.gaierror: Temporary failure in name resolution', 'check the network'),
    ('ERROR: [Errno 28] No space left on device', 'the disk is full'),
    ('ERROR: No matching distribution found for ros-rclpy==9.1.2', 'no build of ros-rclpy==9.1.2'),
    ('ERROR: something else', 'something else'),
    ('', 'no reason given'),
])
def test_failure_of_pip_is_one_line(output: str, words: str) -> None:
    message = make_environment.explain_pip(output, Path('set-up.log'))
    assert words in message
    assert '\n' not in message


def test_ros_comes_as_wheels_where_none_is_sourced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv('ROS_DISTRO', raising=False)
    assert make_environment.find_ros(None) == 'wheels kilted'
    assert make_environment.find_ros('jazzy') == 'wheels jazzy'


def test_sourced_ros_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')
    monkeypatch.setattr(make_environment, 'ROS_IMPORTS', 'import os')
    assert make_environment.find_ros(None) == 'sourced jazzy'
    assert make_environment.find_ros('jazzy') == 'sourced jazzy'
    with pytest.raises(make_environment.SetUpError, match='DISTRO=kilted'):
        make_environment.find_ros('kilted')


def test_sourced_ros_of_another_python_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')
    monkeypatch.setattr(make_environment, 'ROS_IMPORTS', 'import no_such_rclpy')
    with pytest.raises(make_environment.SetUpError, match='no_such_rclpy') as caught:
        make_environment.find_ros(None)
    assert 'PYTHON=/usr/bin/python3' in str(caught.value)


def test_all_missing_tools_are_named_at_once(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.delenv('CC', raising=False)
    monkeypatch.delenv('CXX', raising=False)
    monkeypatch.setattr(make_environment.sysconfig, 'get_path', lambda _: str(tmp_path))
    with pytest.raises(make_environment.SetUpError) as caught:
        make_environment.check_build_tools()
    message = str(caught.value)
    for tool in ('CMake', 'a C compiler', 'a C++ compiler', 'make', 'the headers of Python'):
        assert tool in message
    assert '\n' not in message


def test_old_cmake_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_environment, 'cmake_version', lambda: (3, 16))
    with pytest.raises(make_environment.SetUpError, match=r'CMake 3\.20 .* 3\.16'):
        make_environment.check_build_tools()


def test_other_machines_are_told_to_bring_ros(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_environment.platform, 'machine', lambda: 'aarch64')
    with pytest.raises(make_environment.SetUpError, match='aarch64: install ROS 2'):
        make_environment.check_machine('wheels kilted')
    make_environment.check_machine('sourced jazzy')


def test_packages_of_a_sourced_ros_are_kept(tmp_path: Path) -> None:
    import numpy

    environment = new(tmp_path, 'sourced kilted')
    words = [str(word) for word in make_environment.requirements(environment, 'runtime')]
    assert 'onnxruntime' in words
    assert not {'numpy', 'opencv-python-headless', 'PyYAML'} & set(words)
    pins = (tmp_path / 'constraints.txt').read_text().splitlines()
    assert f'numpy=={numpy.__version__}' in pins
    assert not [line for line in pins if line.startswith('opencv')]
    assert [line for line in pins if line.startswith('torch==')]


def test_build_directories_of_the_wheels_are_set_right(tmp_path: Path) -> None:
    import numpy

    environment = new(tmp_path)
    environment.python = Path(sys.executable)
    file = tmp_path / 'share' / 'std_msgs' / 'cmake' / 'export.cmake'
    file.parent.mkdir(parents=True)
    file.write_text(
        'set_target_properties(x PROPERTIES INTERFACE_INCLUDE_DIRECTORIES '
        '"/opt/python/cp311-cp311/include/python3.11;/opt/python/cp311-cp311/lib/python3.11/'
        'site-packages/numpy/_core/include")\n')
    make_environment.mend_cmake_exports(environment)
    text = file.read_text()
    assert '/opt/python' not in text
    assert f'"{make_environment.sysconfig.get_path("include")};{numpy.get_include()}"' in text
