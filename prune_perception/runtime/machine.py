# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The name of the machine that a figure was measured on."""

import os
from pathlib import Path
import platform


def machine_name(root: Path = Path('/')) -> str:
    """
    Return what the machine calls itself, with its cores, such as ``Cortex-A72, 4 cores``.

    A board says its model in the device tree, a PC its processor in ``cpuinfo``.

    :param root: of the tree with ``proc``.
    """
    cores = f'{os.cpu_count()} cores'
    try:
        model = (root / 'proc/device-tree/model').read_text(encoding='utf-8').strip('\0 \n')
        if model:
            return f'{model}, {cores}'
    except (OSError, UnicodeDecodeError):
        pass
    try:
        text = (root / 'proc/cpuinfo').read_text(encoding='utf-8', errors='replace')
    except OSError:
        text = ''
    for line in text.splitlines():
        name, _, value = line.partition(':')
        if name.strip() == 'model name' and value.strip():
            return f'{value.strip()}, {cores}'
    return f'{platform.processor() or platform.machine()}, {cores}'
