# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Run a function that returns a torch network, give it its weights, and export it."""

from collections.abc import Mapping
import hashlib
import importlib
import io
from pathlib import Path
import sys
from typing import Any
import warnings

import safetensors
import safetensors.torch
import torch
from torch import nn, Tensor

from prune_perception.bundle import BundleError
from prune_perception.networks.beside import opened
from prune_perception.networks.export import export_plain

_KEYS = ('state_dict', 'model_state_dict', 'model', 'ema', 'net')


def is_factory(source: str) -> bool:
    """Return whether a text names a function, ``module:function``, and not a file."""
    module, colon, function = source.partition(':')
    return bool(colon) and all(part.isidentifier() for part in module.split('.')) and (
        function.isidentifier())


def export_factory(
        source: str, checkpoint: Path | None, size: tuple[int, int], *, allow_code: bool
        ) -> tuple[bytes, str | None]:
    """
    Return the network that a function makes, as an ONNX model, and its checkpoint's SHA-256.

    The checkpoint is read first: one that cannot be used costs nothing else.

    :param source: ``module:function``; the module is looked for where Python looks, and in the
        current folder after that; the function takes nothing and returns an ``nn.Module``.
    :param checkpoint: a state dict, in safetensors or as ``torch.save`` writes it; None for the
        weights that the function's network comes with.
    :param size: height and width of its input, pixels.
    :param allow_code: that the function may be run.
    :raises BundleError: one line.
    """
    state, digest = (None, None) if checkpoint is None else read_checkpoint(checkpoint)
    if not allow_code:
        raise BundleError(
            f'{source} is code, and would run with all that you may do on this machine; if you '
            'trust it, say --allow-code. An ONNX file needs none of it, and the bundle will not '
            'need it again')
    module = _made(source)
    if state is not None:
        assert checkpoint is not None
        try:
            module.load_state_dict(state)
        except RuntimeError as error:
            raise BundleError(
                f'{checkpoint}: does not fit the network of {source}: {_short(error)}') from error
    try:
        return export_plain(module.cpu().float().eval(), size), digest
    except Exception as error:  # the exporter lets through whatever it and the network raise
        raise BundleError(f'{source}: torch cannot export it to ONNX: {_short(error)}') from error


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], str]:
    """
    Return a state dict, and the file's SHA-256; nothing in the file is run.

    :raises BundleError: it cannot be read, or holds more than tensors; one line.
    """
    try:
        with opened(path) as (file, size):
            data = file.read(size)
    except OSError as error:
        raise BundleError(f'{path}: {(error.strerror or str(error)).lower()}') from error
    digest = hashlib.sha256(data).hexdigest()
    if path.suffix == '.safetensors':
        try:
            return dict(safetensors.torch.load(data)), digest
        except (safetensors.SafetensorError, ValueError) as error:
            raise BundleError(f'{path}: not a safetensors file: {_short(error)}') from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of what the file is not, to torch's developers
            value = torch.load(io.BytesIO(data), map_location='cpu', weights_only=True)
    except Exception as error:  # a torn archive raises what it likes
        if type(error).__name__ == 'UnpicklingError':
            raise BundleError(
                f'{path}: holds more than tensors, which could be code, and none of it was run; '
                f'save its state_dict() alone, best as safetensors ({_refused(error)})'
                ) from error
        raise BundleError(f'{path}: not a checkpoint of torch: {_short(error)}') from error
    return _state_of(value, path), digest


def _state_of(value: Any, path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint that may have put them under a name."""
    if isinstance(value, Mapping):
        for key in _KEYS:
            if isinstance(value.get(key), Mapping):
                return _state_of(value[key], path)
        if value and all(isinstance(tensor, Tensor) for tensor in value.values()):
            return {str(name): tensor for name, tensor in value.items()}
    raise BundleError(f'{path}: holds no state dict: a mapping from names to tensors')


def _made(source: str) -> nn.Module:
    name, _, function = source.partition(':')
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # last: no file there may stand for a library
    try:
        module = getattr(importlib.import_module(name), function)()
    except Exception as error:  # it is somebody's code
        raise BundleError(f'{source}: {type(error).__name__}: {_short(error)}') from error
    if not isinstance(module, nn.Module):
        raise BundleError(f'{source}: returned a {type(module).__name__}, not a torch module')
    return module


def _short(error: Exception) -> str:
    """Return the first lines of an error as one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = ' '.join(lines[:3]) or type(error).__name__
    return text if len(text) <= 300 else f'{text[:300]}…'


def _refused(error: Exception) -> str:
    """Return what torch would not load, of its long advice."""
    for line in str(error).splitlines():
        if 'Unsupported' in line or 'GLOBAL' in line or 'WeightsUnpickler error' in line:
            return line.strip().removeprefix('WeightsUnpickler error: ')[:160]
    return _short(error)[:160]
