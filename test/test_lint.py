# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Check the style, the types and the headers of the project's own files."""

from configparser import ConfigParser
from importlib import util
import json
from pathlib import Path
import re
import shutil
import subprocess
import sys
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parent.parent
# What is built or installed here is not the project's own.
FOREIGN = {'build', 'install', 'log', 'dist', '__pycache__'}
HEADER = ('Copyright 2026 the prune_perception authors', 'SPDX-License-Identifier: Apache-2.0')


def own_files(*patterns: str) -> list[Path]:
    """Return the project's files of some kinds, relative to its folder."""
    found = (path.relative_to(ROOT) for pattern in patterns for path in ROOT.rglob(pattern))
    return sorted(path for path in found
                  if not any(part in FOREIGN or part.startswith('.') for part in path.parts[:-1]))


def test_there_is_something_to_check() -> None:
    files = own_files('*.py')
    assert Path('prune_perception/resources.py') in files
    assert Path('test/test_lint.py') in files
    assert not any('site-packages' in path.parts for path in files)


@pytest.mark.parametrize('path', [*own_files('*.py', '*.msg', '*.sh', 'CMakeLists.txt'),
                                  Path('Makefile'), Path('.ci/run')], ids=str)
def test_copyright(path: Path) -> None:
    lines = (ROOT / path).read_text().splitlines()
    if lines and lines[0].startswith('#!'):
        lines = lines[1:]
    assert lines[:2] == [f'# {line}' for line in HEADER]


def test_licence_is_the_one_that_the_headers_name() -> None:
    text = (ROOT / 'LICENSE').read_text()
    assert 'Apache License' in text and 'Version 2.0, January 2004' in text
    assert 'END OF TERMS AND CONDITIONS' in text


@pytest.fixture(scope='module')
def complaints() -> list[str]:
    """Return what ruff has to say, one line each, beginning with the rule."""
    result = subprocess.run(
        [sys.executable, '-m', 'ruff', 'check', '--no-cache', '--output-format', 'json', '.'],
        cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode in (0, 1), result.stderr
    return [f'{entry["code"]} {entry["filename"]}:{entry["location"]["row"]}: {entry["message"]}'
            for entry in json.loads(result.stdout)]


def is_about_documentation(complaint: str) -> bool:
    """Tell whether a complaint is of a rule of pep257, which ruff calls D and a number."""
    return re.match(r'D\d', complaint) is not None


def test_ruff(complaints: list[str]) -> None:
    style = [line for line in complaints if not is_about_documentation(line)]
    assert not style, '\n'.join(style)


def test_pep257(complaints: list[str]) -> None:
    documentation = [line for line in complaints if is_about_documentation(line)]
    assert not documentation, '\n'.join(documentation)


def test_mypy() -> None:
    result = subprocess.run([sys.executable, '-m', 'mypy'], cwd=ROOT, capture_output=True,
                            text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize('path', own_files('*.xml'), ids=str)
def test_xml_is_well_formed(path: Path) -> None:
    ElementTree.parse(ROOT / path)


@pytest.mark.parametrize('path', own_files('package.xml'), ids=str)
def test_manifest_is_of_format_3(path: Path) -> None:
    from catkin_pkg.package import parse_package

    # Parsing validates, and warnings stand for what a later version will refuse.
    warnings: list[str] = []
    package = parse_package(ROOT / path, warnings=warnings)
    assert package.package_format == 3
    assert not warnings
    assert package.licenses == ['Apache-2.0']


# Of what the linters of ament complain about, what is a choice here.
CHOICES = {
    'A': "the field's own words, such as input and format, as names of arguments and fields",
    'CNL': 'a blank line at the top of a class',
    'D401': 'properties that are described by a noun; ruff checks the others',
    'E203': 'spaces in slices',
    'E402': 'imports after importorskip, and after the engines were told not to report',
    'E501': 'comments to mypy beyond the end of the line; ruff checks the others',
    'I100': 'upper and lower case are one in the order of imports; ruff checks it'}


def ament(name: str, *words: str) -> None:
    """Run a linter of ament, or skip where there is none."""
    command = shutil.which(name)
    if command is None:
        pytest.skip(f"the command '{name}' comes with ROS 2 alone (apt package "
                    f"ros-$ROS_DISTRO-{name.replace('_', '-')})")
    result = subprocess.run([command, *words], cwd=ROOT, capture_output=True, text=True,
                            check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_ament_flake8(tmp_path: Path) -> None:
    # ament's own settings, as they are in this distribution, and the choices.
    spec = util.find_spec('ament_flake8')
    config = ConfigParser()
    if spec is not None and spec.origin is not None:
        config.read(Path(spec.origin).parent / 'configuration' / 'ament_flake8.ini')
        config['flake8']['extend-ignore'] += ',' + ','.join(CHOICES)
    with (tmp_path / 'flake8.ini').open('w') as file:
        config.write(file)
    ament('ament_flake8', '--config', str(tmp_path / 'flake8.ini'),
          *map(str, own_files('*.py')))


def test_ament_pep257() -> None:
    ament('ament_pep257', '--add-ignore', 'D401', '--', *map(str, own_files('*.py')))


def test_ament_xmllint() -> None:
    # Of package.xml it would fetch the schema; what that says is tested above.
    ament('ament_xmllint', *(str(path) for path in own_files('*.xml')
                             if path.name != 'package.xml'))
