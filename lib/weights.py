"""Weights of a module on disk, and a reader's own checkpoint, without running code in it.

network = weights.mlp_from(weights.read_checkpoint("mine.pt"))                 # a ReLU MLP
network = weights.load_checkpoint("mine.pt", torchvision.models.resnet18())    # anything else
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

# Where training scripts put the state dict among what else they save, and what wrappers of a
# module (`nn.DataParallel`, `torch.compile`) put before its names.
PLACES = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
PREFIXES = ("module.", "_orig_mod.")


def save_weights(path: str | Path, module: nn.Module) -> None:
    """Write the module's parameters and buffers. Raises OSError."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    state = module.state_dict()
    path.write_bytes(
        safetensors.torch.save({name: state[name].cpu().contiguous() for name in state})
    )


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

    Raises what `read_checkpoint` does, and ValueError when the file belongs to another
    architecture.
    """
    state = _unprefixed(_state_dict(Path(path)), module.state_dict())
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"The checkpoint {path} does not fit this module: {error}") from error
    return module


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The state dict in a file of `torch.save`, {name: tensor}, on the CPU.

    The file holds a state dict, or a dict that has one in one of `PLACES`; `PREFIXES` before
    every name are taken off. Code in the file is never run.

    Raises FileNotFoundError, OSError for a damaged file, ValueError when the file holds more than
    tensors and plain values, no state dict, or a tensor that is packed or not finite.
    """
    return _unprefixed(_state_dict(Path(path)), {})


def mlp_from(state: Mapping[str, Tensor]) -> nn.Sequential:
    """The ReLU MLP with these weights: Flatten, Linear, ReLU, …, Linear, as float32.

    state: of linear layers in the order in which they are called, whatever their names are, e.g.
    of an `nn.Sequential`: [fan out, fan in] for each "….weight", [fan out] for a "….bias".
    Weights do not tell which function stands between the layers: it is taken to be the ReLU.

    Raises ValueError when the tensors are not those of such a chain of layers.
    """
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError("a state dict of linear layers is {name: tensor}, and not empty")
    layers: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        owner, _, kind = name.rpartition(".")
        layers.setdefault(owner, {})[kind] = value
    modules: list[nn.Module] = [nn.Flatten()]
    width = None
    for owner, tensors in layers.items():
        weight, bias = tensors.get("weight"), tensors.get("bias")
        if (
            not tensors.keys() <= {"weight", "bias"}
            or weight is None
            or weight.ndim != 2
            or (bias is not None and bias.shape != weight.shape[:1])
            or width not in (None, weight.shape[1])
        ):
            shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
            raise ValueError(
                f"{owner or 'the only layer'} with {shapes} is not the next linear layer of an "
                "MLP: build the module yourself and fill it with load_checkpoint."
            )
        width = len(weight)
        linear = nn.Linear(weight.shape[1], width, bias=bias is not None)
        linear.load_state_dict(tensors)
        modules += [linear, nn.ReLU()]
    return nn.Sequential(*modules[:-1])


def _state_dict(path: Path) -> dict[str, Tensor]:
    """What stands in the file, unpacked; names and values are checked."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no checkpoint at {path}.")
    state = _without_code(path)
    while isinstance(state, Mapping):
        inner = next((n for n in PLACES if isinstance(state.get(n), Mapping)), None)
        if inner is None:
            break
        state = state[inner]
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise ValueError(f"The checkpoint {path} holds no state dict: save model.state_dict().")
    for name, value in state.items():
        if isinstance(value, Tensor) and (wrong := _complaint(name, value)):
            raise ValueError(f"The checkpoint {path} has {wrong}")
    return dict(state)


def _complaint(name: str, tensor: Tensor) -> str:
    """Why a tensor cannot be taken; nothing if it can."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        return f"{name!r} in a packed form: save plain, dense tensors."
    if tensor.untyped_storage().nbytes() < tensor.nbytes:  # a few bytes can claim any shape
        shape = list(tensor.shape)
        return f"{name!r} of shape {shape} without so many values: save a contiguous copy of it."
    if not tensor.isfinite().all():
        return (
            f"values in {name!r} that are not finite: its training diverged, so take an earlier "
            "one."
        )
    return ""


def _unprefixed(state: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without what wrappers put before all of them, unless these are the wanted names."""
    while state and state.keys() != wanted.keys():
        prefix = next((p for p in PREFIXES if all(name.startswith(p) for name in state)), None)
        if prefix is None:
            break
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _without_code(path: Path) -> Any:
    """What `torch.save` wrote, if it is made of tensors and plain values."""
    file, packed = io.BytesIO(path.read_bytes()), False
    try:
        packed = zipfile.is_zipfile(file)
        if packed:
            archive = zipfile.ZipFile(file)
            if any(m.compress_type != zipfile.ZIP_STORED for m in archive.infolist()):
                raise zipfile.BadZipFile(
                    "torch.save compresses nothing; this may unpack to any size"
                )
            if archive.testzip():  # torch.load does not look at checksums
                raise zipfile.BadZipFile("wrong checksum")
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever its unpickler meets
        # with intact checksums, what cannot be unpickled was saved like that
        if packed and isinstance(error, pickle.UnpicklingError):
            raise ValueError(
                f"The checkpoint {path} holds more than tensors, and code in it is not run: save "
                "model.state_dict() instead."
            ) from error
        raise OSError(
            f"The checkpoint {path} is damaged, or not what torch.save makes of a state dict."
        ) from error
