# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
The command line: finds the verb and hands the words to it.

Exit status: 0 done, 1 the job failed, 2 the words were wrong.
"""

import argparse
from collections.abc import Sequence
import importlib
import sys
from types import ModuleType

from prune_perception import __version__
from prune_perception.bundle import BundleError
from prune_perception.evaluation.files import OutputError
from prune_perception.frames.errors import RecordingError
from prune_perception.runtime.engines import EngineError

# In the order of use. Each module has NAME, HELP, add_arguments(parser) and run(arguments).
VERBS = ('demo', 'convert', 'import', 'profile', 'meter', 'calibrate', 'forecast', 'prune',
         'quantize', 'evaluate', 'potential')

# What says in its message all that a person needs; anything else is a fault of the program, and
# its traceback helps to mend it.
_FOR_PEOPLE = (BundleError, EngineError, RecordingError, OSError)


def main(words: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status."""
    verbs = [_verb(name) for name in VERBS]
    parser = argparse.ArgumentParser(
        prog='prune-perception',
        description='Make object detectors smaller for one robot, and run them on it.')
    parser.add_argument('--version', action='version', version=f'%(prog)s {__version__}')
    subparsers = parser.add_subparsers(dest='verb', metavar='VERB', required=True)
    for verb in verbs:
        subparser = subparsers.add_parser(verb.NAME, help=verb.HELP, description=verb.HELP)
        verb.add_arguments(subparser)
        subparser.set_defaults(run=verb.run)
    arguments = parser.parse_args(words)
    try:
        status: int = arguments.run(arguments)
    except _FOR_PEOPLE as error:
        print(f'prune-perception {arguments.verb}: {error}', file=sys.stderr)
        return 1
    except OutputError as error:
        print(f'prune-perception {arguments.verb}: {error}', file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        package = (error.name or '').partition('.')[0]
        if package == 'prune_perception':
            raise
        print(f'prune-perception {arguments.verb}: needs the Python package {package}, which is '
              "not installed: pip install 'prune_perception[offline]'", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f'prune-perception {arguments.verb}: stopped', file=sys.stderr)
        return 1
    return status


def _verb(name: str) -> ModuleType:
    # One verb is a word that Python keeps to itself.
    file = {'import': 'import_network'}.get(name, name)
    return importlib.import_module(f'prune_perception.cli.{file}')


if __name__ == '__main__':
    sys.exit(main())
