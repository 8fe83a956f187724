"""Save and load the weights of a module as a safetensors file."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import safetensors
import safetensors.torch
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
