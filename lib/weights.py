"""Save and load the weights of a module; load a reader's own checkpoint without running code in it."""

from __future__ import annotations

import io
import os
import uuid
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn


def save_weights(path: str | Path, module: nn.Module) -> None:
    """Write the module's parameters and buffers, whole or not at all. Raises OSError."""
    path = Path(path)
    state = module.state_dict()
    data = safetensors.torch.save({name: state[name].cpu().contiguous() for name in state})
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_weights(path: str | Path, module: nn.Module) -> nn.Module:
    """Fill the module, in place and on its device, and return it.

    Raises FileNotFoundError, OSError for a damaged file, ValueError when the file belongs to
    another architecture.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There are no weights at {path}: run the training first.")
    try:
        tensors = safetensors.torch.load(path.read_bytes())
    except safetensors.SafetensorError as error:
        raise OSError(f"The weights in {path} are truncated or damaged ({error}).") from error
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"The weights in {path} do not fit this module: {error}") from error
    return module


def load_checkpoint(path: str | Path, module: nn.Module) -> nn.Module:
    """Fill the module, in place and on its device, from a file of `torch.save`, and return it.

    The file holds a state dict, or a dict that has one as "state_dict" or "model". The "module."
    that `nn.DataParallel` puts before every name is taken off. Code in the file is never run.

    Raises FileNotFoundError, OSError for a damaged file, ValueError when the file holds more than
    tensors and plain values, no state dict, or that of another architecture.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no checkpoint at {path}.")
    state = _without_code(path)
    for name in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(name), Mapping):
            state = state[name]
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise ValueError(f"The checkpoint {path} holds no state dict: save model.state_dict().")
    if state.keys() != module.state_dict().keys() and all(n.startswith("module.") for n in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"The checkpoint {path} does not fit this module: {error}") from error
    return module


def _without_code(path: Path) -> Any:
    """What `torch.save` wrote, if it is made of tensors and plain values."""
    file = io.BytesIO(path.read_bytes())
    packed = zipfile.is_zipfile(file)
    try:
        if packed and zipfile.ZipFile(file).testzip():  # torch.load does not look at checksums
            raise zipfile.BadZipFile("wrong checksum")
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever its unpickler meets
        if packed and not isinstance(error, zipfile.BadZipFile):
            raise ValueError(
                f"The checkpoint {path} holds more than tensors, and code in it is not run: save "
                "model.state_dict() instead."
            ) from error
        raise OSError(
            f"The checkpoint {path} is damaged, or not what torch.save makes of a state dict."
        ) from error
