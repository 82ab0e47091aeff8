# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The README says what is so."""

from pathlib import Path
import re

from prune_perception.cli.main import VERBS
from prune_perception.nodes.camera_settings import CAMERA_PARAMETERS, PRIORITY
from prune_perception.nodes.detector_parameters import PARAMETERS
from prune_perception.nodes.power_monitor import PARAMETERS as POWER_PARAMETERS
from prune_perception.nodes.replay_node import PARAMETERS as REPLAY_PARAMETERS

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / 'README.md').read_text()
TYPES = {str: 'string', int: 'int', float: 'double', bool: 'bool', list: 'string[]'}


def default(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'`{value!r}`' if value in ('', ['']) else \
        f'`{value}`' if isinstance(value, (str, list)) else str(value)


def kind(value: object) -> str:
    return 'double[]' if isinstance(value, list) and isinstance(value[0], float) else \
        TYPES[type(value)]


def test_every_parameter_is_in_the_tables() -> None:
    for spec in (*PARAMETERS, *POWER_PARAMETERS, *REPLAY_PARAMETERS):
        row = f'| `{spec.name}` | {kind(spec.default)}, {default(spec.default)} |'
        assert row in README, row


def test_every_parameter_of_a_camera_is_in_the_guide() -> None:
    guide = (ROOT / 'docs' / 'cameras.md').read_text()
    for spec in (PRIORITY, *CAMERA_PARAMETERS):
        row = f'| `<camera>.{spec.name}` | {kind(spec.default)}, '
        assert row in guide, row


def test_live_parameters_are_marked() -> None:
    for spec in PARAMETERS:
        row = next(line for line in README.splitlines() if line.startswith(f'| `{spec.name}` |'))
        assert ('*live*' in row) == spec.live, spec.name
        assert ('read-only' in row) == spec.read_only, spec.name


def test_every_verb_is_in_the_table() -> None:
    for verb in VERBS:
        assert f'\n| `{verb}` |' in README, verb


def test_links_lead_somewhere() -> None:
    for document in (ROOT / 'README.md', *(ROOT / 'docs').glob('*.md')):
        for target in re.findall(r'\]\(([^)#:]+)\)', document.read_text()):
            assert (document.parent / target).exists(), f'{document.name}: {target}'
