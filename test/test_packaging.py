# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Check what is packed, by pip and by colcon, and that what is declared is what is used."""

import ast
from collections.abc import Iterator
from importlib import metadata, util
import os
from pathlib import Path
import re
import shutil
import subprocess
import sys
import tarfile
from xml.etree import ElementTree
import zipfile

import pytest

import prune_perception

ROOT = Path(__file__).resolve().parent.parent
DATA_FOLDERS = ('config', 'demo', 'launch', 'models')
# The packages that ROS 2 brings, as they are named in Python.
ROS_PACKAGE = re.compile(r'rclpy|launch(_ros)?|ament_index_python|\w+_(msgs|srvs|interfaces)')


def data_files() -> list[str]:
    """Return the files that have to be installed, relative to the project."""
    return sorted(str(path.relative_to(ROOT)) for folder in DATA_FOLDERS
                  for path in (ROOT / folder).rglob('*')
                  if path.is_file() and '__pycache__' not in path.parts)


def modules() -> list[str]:
    """Return the package's Python files, relative to the project."""
    return sorted(str(path.relative_to(ROOT))
                  for path in (ROOT / 'prune_perception').rglob('*.py'))


def run(*words: str | Path, cwd: Path, **variables: str) -> str:
    """Run a program and return what it prints; fail with all it said."""
    result = subprocess.run([str(word) for word in words], cwd=cwd, capture_output=True,
                            text=True, check=False, env={**os.environ, **variables})
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope='module')
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the tree, because building leaves things in it."""
    folder = tmp_path_factory.mktemp('source') / 'prune_perception'
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(
        '.venv*', '.git', '.*_cache', '__pycache__', '*.egg-info', 'build', 'install', 'log'))
    return folder


@pytest.fixture(scope='module')
def wheel(source: Path) -> Path:
    """Build the wheel."""
    run(sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--no-build-isolation',
        '--wheel-dir', 'dist', '.', cwd=source)
    return next((source / 'dist').glob('*.whl'))


def test_versions_agree() -> None:
    manifest = ElementTree.parse(ROOT / 'package.xml').findtext('version')
    assert manifest == prune_perception.__version__
    assert metadata.version('prune_perception') == prune_perception.__version__


def test_wheel_holds_code_and_data(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        base = f'prune_perception-{prune_perception.__version__}'
        share = f'{base}.data/data/share'
        assert f'{share}/ament_index/resource_index/packages/prune_perception' in names
        assert f'{share}/prune_perception/package.xml' in names
        assert data_files()
        assert not {f'{share}/prune_perception/{name}' for name in data_files()} - names
        assert not set(modules()) - names
        assert 'prune_perception/py.typed' in names
        assert any(name.endswith('/LICENSE') for name in names)
        scripts = archive.read(f'{base}.dist-info/entry_points.txt').decode()
    assert 'prune-perception = prune_perception.cli.main:main' in scripts


def test_source_archive_holds_what_a_build_needs(source: Path) -> None:
    run(sys.executable, 'setup.py', '--quiet', 'sdist', '--dist-dir', 'dist', cwd=source)
    with tarfile.open(next((source / 'dist').glob('*.tar.gz'))) as archive:
        names = {name.partition('/')[2] for name in archive.getnames()}
    needed = {'setup.py', 'setup.cfg', 'package.xml', 'LICENSE', 'resource/prune_perception',
              'prune_perception/py.typed', *modules(), *data_files()}
    assert not needed - names


def test_installed_wheel_finds_its_models(wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps', '--no-index',
        '--ignore-installed', '--prefix', tmp_path, wheel, cwd=tmp_path)
    packages = next(tmp_path.glob('lib/python*/site-packages'))
    printed = run(
        sys.executable, '-c',
        'from prune_perception import resources; print(resources.find_model("nanodet_g"))',
        cwd=tmp_path, PYTHONPATH=str(packages), AMENT_PREFIX_PATH=str(tmp_path))
    assert printed.strip() == str(tmp_path / 'share/prune_perception/models/nanodet_g')
    assert (tmp_path / 'bin' / 'prune-perception').is_file()


@pytest.mark.parametrize('option', [[], ['--symlink-install']], ids=['copied', 'linked'])
def test_colcon_build(option: list[str], source: Path, tmp_path: Path) -> None:
    pytest.importorskip('colcon_ros', reason='needs colcon with its ROS extension')
    run(sys.executable, '-m', 'colcon', 'build', *option, '--base-paths', source,
        cwd=tmp_path, COLCON_LOG_PATH=str(tmp_path / 'log'))
    built = tmp_path / 'install'
    # The definitions for machines without ROS 2 must not hide the robot's own vision_msgs.
    assert [path.name for path in built.iterdir() if path.is_dir()] == ['prune_perception']
    prefix = built / 'prune_perception'
    share = prefix / 'share' / 'prune_perception'
    assert not [name for name in data_files() if not (share / name).is_file()]
    commands = {path.name for path in (prefix / 'lib' / 'prune_perception').iterdir()}
    assert commands >= {point.name for point in entry_points()}
    printed = run(
        'bash', '-c', f'. {built}/setup.bash && {sys.executable} -c "'
        'from prune_perception import resources as r; print(r.__file__, r.share_folder())"',
        cwd=Path('/'), AMENT_PREFIX_PATH='', PYTHONPATH='')
    code, found = printed.split()
    assert str(ROOT) not in code
    assert found == str(source if option else share)


def entry_points() -> Iterator[metadata.EntryPoint]:
    """Yield the commands of the package."""
    for point in metadata.distribution('prune_perception').entry_points:
        if point.group == 'console_scripts':
            yield point


def test_commands_lead_to_functions() -> None:
    points = list(entry_points())
    assert 'prune-perception' in {point.name for point in points}
    for point in points:
        # Read, not imported: most of them want ROS 2.
        spec = util.find_spec(point.module)
        assert spec and spec.origin, f'{point.name}: there is no {point.module}'
        functions = {node.name for node in ast.parse(Path(spec.origin).read_text()).body
                     if isinstance(node, ast.FunctionDef)}
        assert point.attr in functions, f'{point.name}: no {point.attr}() in {point.module}'


def imported(path: Path) -> set[str]:
    """Return the top-level packages that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition('.')[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition('.')[0])
    return names


def test_manifest_names_the_ros_packages_that_are_used() -> None:
    files = [*(ROOT / 'prune_perception').rglob('*.py'), *(ROOT / 'launch').glob('*.py')]
    used = {name for path in files for name in imported(path) if ROS_PACKAGE.fullmatch(name)}
    manifest = ElementTree.parse(ROOT / 'package.xml').findall('exec_depend')
    declared = {element.text for element in manifest if element.text}
    assert 'rclpy' in used
    assert not used - declared


def test_ros_is_imported_by_the_nodes_alone() -> None:
    package = ROOT / 'prune_perception'
    for path in package.rglob('*.py'):
        if package / 'nodes' not in path.parents:
            assert not [name for name in imported(path) if ROS_PACKAGE.fullmatch(name)], path


def test_torch_is_imported_where_the_design_allows_it() -> None:
    package = ROOT / 'prune_perception'
    allowed = ('networks/', 'pruning/', 'energy/', 'runtime/engines/torch')
    for path in package.rglob('*.py'):
        name = str(path.relative_to(package))
        if not name.startswith(allowed):
            assert 'torch' not in imported(path), name


def test_every_requirement_has_a_pinned_version() -> None:
    folder = ROOT / 'requirements'
    pins = [line for line in (folder / 'constraints.txt').read_text().splitlines()
            if line and not line.startswith('#')]
    assert all(re.fullmatch(r'[\w.-]+==[\w.]+', line) for line in pins)
    pinned = {line.partition('==')[0].lower() for line in pins}
    for name in ('build', 'runtime', 'test'):
        lines = (folder / f'{name}.txt').read_text().splitlines()
        wanted = {line.lower() for line in lines if line and not line.startswith('#')}
        assert wanted and wanted <= pinned
    for name in ('ros-jazzy', 'ros-kilted'):
        lines = (folder / f'{name}.txt').read_text().splitlines()
        assert all(re.fullmatch(r'ros-[\w-]+==[\d.]+', line)
                   for line in lines if line and not line.startswith('#'))
