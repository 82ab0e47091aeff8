# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Check that the package's own files are found in a source tree and where it is installed."""

import os
from pathlib import Path
import shutil
import subprocess
import sys

import pytest

from prune_perception import resources

ROOT = Path(__file__).resolve().parent.parent


def run_copy(packages: Path, expression: str, **variables: str) -> subprocess.CompletedProcess:
    """Evaluate an expression with a copy of the module which lies in another place."""
    environment = {**os.environ, 'AMENT_PREFIX_PATH': '', **variables}
    # The copy is a bare file, so that no installed package can come before it.
    program = (f'import sys; sys.path.insert(0, {str(packages / "prune_perception")!r}); '
               f'import resources; print({expression})')
    return subprocess.run([sys.executable, '-c', program], env=environment, cwd='/',
                          capture_output=True, text=True, check=False)


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """Make a folder of installed packages, with nothing beside the package."""
    packages = tmp_path / 'prefix' / 'lib' / 'site-packages'
    (packages / 'prune_perception').mkdir(parents=True)
    shutil.copy(ROOT / 'prune_perception' / 'resources.py', packages / 'prune_perception')
    return packages


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """Make a prefix whose ament index names the package, with one model."""
    prefix = tmp_path / 'install'
    index = prefix / 'share' / 'ament_index' / 'resource_index' / 'packages'
    index.mkdir(parents=True)
    (index / 'prune_perception').touch()
    (prefix / 'share' / 'prune_perception' / 'models' / 'small').mkdir(parents=True)
    return prefix


def test_source_tree_is_found_beside_the_package() -> None:
    assert resources.share_folder() == ROOT
    assert resources.find_resource('config') == ROOT / 'config'


def test_source_tree_wins_over_an_installed_copy(
        prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(prefix))
    assert resources.share_folder() == ROOT


def test_installed_files_are_found_by_the_ament_index(packages: Path, prefix: Path) -> None:
    other = packages.parent / 'other'
    result = run_copy(packages, 'resources.find_model("small")',
                      AMENT_PREFIX_PATH=os.pathsep.join([str(other), str(prefix)]))
    assert result.stdout.strip() == str(prefix / 'share/prune_perception/models/small')


def test_without_index_the_error_says_what_to_source(packages: Path) -> None:
    result = run_copy(packages, 'resources.share_folder()')
    assert result.returncode == 1
    message = result.stderr.strip().splitlines()[-1]
    assert message.startswith('FileNotFoundError: prune_perception: its models')
    assert str(packages) in message and 'install/setup.bash' in message


def test_model_by_name_and_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resources.find_model('nanodet_g') == ROOT / 'models' / 'nanodet_g'
    mine = tmp_path / 'mine'
    mine.mkdir()
    assert resources.find_model(str(mine)) == mine
    monkeypatch.chdir(tmp_path)
    assert resources.find_model('mine') == mine
    (tmp_path / 'nanodet_g').mkdir()
    assert resources.find_model('nanodet_g') == tmp_path / 'nanodet_g'


@pytest.mark.parametrize('name', ['', 'nanodet', '/not/there', '../config'])
def test_unknown_model_is_refused_with_the_known_ones(
        name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match='nanodet_g') as caught:
        resources.find_model(name)
    assert repr(name) in str(caught.value)


def test_missing_resource_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r'config/no\.yaml'):
        resources.find_config('no.yaml')
    with pytest.raises(ValueError, match='must begin with one of'):
        resources.find_resource('test', 'conftest.py')
