# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Find the files that come with the package: models, configuration, launch files, the demo.

They lie in the source tree beside the package, which is where an editable install runs from, or
in the `share` folder that colcon or pip installed them to, which the ament index names. The index
is a folder of marker files, so no ROS is needed to read it.
"""

import os
from pathlib import Path
import sys

PACKAGE = 'prune_perception'
FOLDERS = ('config', 'demo', 'launch', 'models')


def share_folder() -> Path:
    """
    Return the folder that holds `config`, `demo`, `launch` and `models`.

    The source tree comes first: where the code runs from there, an older copy that happens to be
    sourced must not lend it its models.

    :raises FileNotFoundError: when they are neither beside the package nor installed.
    """
    source = Path(__file__).resolve().parent.parent
    # The folder above an installed package is shared by all packages and holds no manifest.
    if (source / 'package.xml').is_file():
        return source
    prefixes = os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
    # pip installs into the environment itself, which no shell adds to that path.
    for prefix in map(Path, [*filter(None, prefixes), sys.prefix]):
        if (prefix / 'share' / 'ament_index' / 'resource_index' / 'packages' / PACKAGE).is_file():
            return prefix / 'share' / PACKAGE
    raise FileNotFoundError(
        f'{PACKAGE}: its models and configuration are neither in {source} nor under a prefix of '
        'AMENT_PREFIX_PATH: source the workspace that it was built in (install/setup.bash)')


def find_resource(*parts: str) -> Path:
    """
    Return the path of a file or folder that comes with the package.

    :param parts: of the path, for example `'config', 'perception.yaml'`.
    :raises ValueError: when the first part is none of `FOLDERS`.
    :raises FileNotFoundError: when there is no such file.
    """
    if not parts or parts[0] not in FOLDERS:
        raise ValueError(f'{"/".join(parts)!r}: must begin with one of {", ".join(FOLDERS)}')
    path = share_folder().joinpath(*parts)
    if not path.exists():
        raise FileNotFoundError(f'{path}: does not come with this copy of {PACKAGE}')
    return path


def find_config(name: str) -> Path:
    """
    Return the path of a configuration file that comes with the package.

    :param name: of the file in `config`, for example `perception.yaml`.
    :raises FileNotFoundError: when there is no such file.
    """
    return find_resource('config', name)


def find_model(name: str) -> Path:
    """
    Return the folder of a model bundle.

    :param name: the path of a bundle, absolute or from the current folder, or the name of one
        that comes with the package, for example `nanodet_g`. A path wins over a name.
    :raises FileNotFoundError: when it is neither.
    """
    path = Path(name).expanduser()
    if name and path.is_dir():
        return path.resolve()
    models = share_folder() / 'models'
    shipped = sorted(folder.name for folder in models.glob('*') if folder.is_dir())
    if name in shipped:
        return models / name
    raise FileNotFoundError(
        f'model {name!r}: neither a folder nor one of the models that come with the package '
        f'({", ".join(shipped) or "none"})')
